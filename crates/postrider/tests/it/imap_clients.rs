//! Real mail programs read, file and synchronise what is kept here.
//!
//! They are installed by `cargo xtask test`; where one is missing, its test fails and says so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use postrider_testkit::{ImapClient, Site, TestPostrider};

const USER: &str = "bob@example.org";
const PASSWORD: &str = "a long password";

/// What Python's imaplib does with a mailbox, each step checked by itself.
const PYTHON_READ: &str = include_str!("imap_clients/read.py");

struct World {
    postrider: TestPostrider,
}

impl World {
    async fn new() -> Self {
        let postrider = Site::new().await.set("ALLOWED_DOMAINS", "example.org").start_in_real_time().await;
        postrider.add_user(USER, PASSWORD).await;
        Self { postrider }
    }

    async fn client(&self) -> ImapClient {
        ImapClient::log_in(self.postrider.imap(), USER, PASSWORD).await
    }

    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.postrider.folder().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn write(&self, name: &str, content: &str) -> String {
        let path = self.postrider.folder().join(name);
        std::fs::write(&path, content).unwrap();
        // getmail and fetchmail refuse files that others can read.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, mode).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs a program, which must succeed; gives what it printed.
    async fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.try_run(program, arguments).await;
        assert_eq!(output.0, 0, "{program} {arguments:?}: {}", output.1);
        output.1
    }

    async fn try_run(&self, program: &str, arguments: &[&str]) -> (i32, String) {
        let path = std::env::var("PATH").unwrap_or_default();
        let home = self.postrider.folder().to_str().unwrap().to_owned();
        let environment = BTreeMap::from([("PATH".to_owned(), path), ("HOME".to_owned(), home)]);
        let folder = self.postrider.folder();
        let output = postrider_testkit::run_command(Path::new(program), arguments, &environment, folder, "").await;
        (output.code, format!("{}{}", output.stdout, output.stderr))
    }

    fn address(&self) -> (String, String, String) {
        let (ip, imap, imaps) = (self.postrider.ip(), self.postrider.imap().port(), self.postrider.imaps().port());
        (ip.to_string(), imap.to_string(), imaps.to_string())
    }
}

fn message(n: usize) -> Vec<u8> {
    format!(
        "From: Ann <ann@example.com>\r\nTo: {USER}\r\nSubject: Message {n} gr\u{fc}n\r\nMessage-ID: <m{n}@example.com>\r\n\
         Date: Thu, 26 Nov 2026 10:{:02}:{:02} +0000\r\n\r\nBody of {n}.\r\n{}",
        n / 60 % 60,
        n % 60,
        "A line of text that goes on for a while.\r\n".repeat(n % 50)
    )
    .into_bytes()
}

/// A maildir, as mbsync writes one: names carry UIDs and flags.
#[derive(Debug, PartialEq, Eq)]
struct Local {
    /// By Message-ID: flags, and a hash of the content without the fields that the program adds.
    messages: BTreeMap<String, (String, u64)>,
}

impl Local {
    fn read(folder: &Path) -> Self {
        let mut messages = BTreeMap::new();
        for part in ["cur", "new"] {
            let Ok(files) = std::fs::read_dir(folder.join(part)) else { continue };
            for file in files {
                let path = file.unwrap().path();
                let content = std::fs::read(&path).unwrap();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let flags = name.rsplit_once(":2,").map_or("", |(_, flags)| flags).to_owned();
                messages.insert(message_id(&content), (flags, hash(&content)));
            }
        }
        Self { messages }
    }
}

fn message_id(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    let line = text.lines().find_map(|line| line.strip_prefix("Message-ID: "));
    line.unwrap_or_else(|| panic!("no Message-ID in {text}")).trim().to_owned()
}

/// Of the lines but those that mbsync adds, whatever ends them.
fn hash(content: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(content).replace("\r\n", "\n");
    let lines = text.lines().filter(|line| !line.starts_with("X-TUID: "));
    lines
        .flat_map(|line| line.bytes().chain([b'\n']))
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// What the server has: by Message-ID, flags as a maildir writes them, and the hash.
async fn remote(client: &mut ImapClient, mailbox: &str) -> BTreeMap<String, (String, u64)> {
    client.demand(&format!("EXAMINE {mailbox}")).await;
    let reply = client.demand("UID FETCH 1:* (FLAGS BODY.PEEK[])").await;
    let mut messages = BTreeMap::new();
    for line in &reply.untagged {
        let Some(at) = line.windows(3).position(|three| three == b"}\r\n") else { continue };
        let head = String::from_utf8_lossy(&line[..at]).into_owned();
        let length: usize = head.rsplit_once('{').unwrap().1.parse().unwrap();
        let content = &line[at + 3..at + 3 + length];
        let rest = String::from_utf8_lossy(&line[at + 3 + length..]).into_owned();
        let flags = format!("{head}{rest}");
        let letters = [("\\Draft", 'D'), ("\\Flagged", 'F'), ("\\Answered", 'R'), ("\\Seen", 'S'), ("\\Deleted", 'T')];
        let flags: String =
            letters.iter().filter(|(name, _)| flags.contains(name)).map(|(_, letter)| *letter).collect();
        messages.insert(message_id(content), (flags, hash(content)));
    }
    messages
}

/// 300 messages, changed on both sides between the runs, are the same on both at the end.
#[tokio::test]
async fn mbsync_keeps_both_sides_equal() {
    let world = World::new().await;
    let (host, port, _) = world.address();
    let local = world.folder("mail");
    let config = format!(
        "IMAPAccount postrider\nHost {host}\nPort {port}\nUser {USER}\nPass \"{PASSWORD}\"\nSSLType None\n\
         AuthMechs LOGIN\n\nIMAPStore remote\nAccount postrider\n\nMaildirStore local\nPath {local}/\nInbox {local}/INBOX\n\
         SubFolders Verbatim\n\nChannel all\nFar :remote:\nNear :local:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n",
        local = local.display()
    );
    let config = world.write("mbsyncrc", &config);
    let sync = ["--config", config.as_str(), "--all"];
    let mut client = world.client().await;
    for n in 0..300 {
        let flags = ["()", "(\\Seen)", "(\\Flagged \\Seen)", "(\\Answered)"][n % 4];
        assert!(client.append(&format!("INBOX {flags}"), &message(n)).await.is_ok());
    }
    world.run("/usr/bin/mbsync", &sync).await;
    assert_eq!(Local::read(&local.join("INBOX")).messages, remote(&mut client, "INBOX").await);

    // The server's side: flags, deletions, a move, new mail.
    client.demand("SELECT INBOX").await;
    client.demand("STORE 1:20 +FLAGS (\\Seen)").await;
    client.demand("STORE 21:30 -FLAGS (\\Seen \\Flagged \\Answered)").await;
    client.demand("STORE 31:40 +FLAGS (\\Deleted)").await;
    client.demand("EXPUNGE").await;
    client.demand("MOVE 100:109 Archive").await;
    for n in 300..310 {
        assert!(client.append("INBOX", &message(n)).await.is_ok());
    }
    // The local side: flags, deletions, a move, a new folder and new mail in it.
    let cur = local.join("INBOX/cur");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&cur).unwrap().map(|file| file.unwrap().path()).collect();
    // Seen ones, which are in this folder, that the server's side left alone.
    files.retain(|file| {
        let id = message_id(&std::fs::read(file).unwrap());
        id.trim_start_matches("<m").split('@').next().unwrap().parse::<usize>().unwrap() >= 200
    });
    files.sort();
    for file in &files[..10] {
        let name = file.to_str().unwrap();
        let (base, _) = name.rsplit_once(":2,").unwrap();
        std::fs::rename(file, format!("{base}:2,FS")).unwrap();
    }
    files[10..20].iter().for_each(|file| std::fs::remove_file(file).unwrap());
    for part in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(local.join("Work").join(part)).unwrap();
    }
    for (n, file) in files[20..25].iter().enumerate() {
        std::fs::rename(file, local.join(format!("Work/cur/moved-{n}:2,S"))).unwrap();
    }
    std::fs::write(local.join("Work/new/fresh"), message(999)).unwrap();

    for _ in 0..2 {
        world.run("/usr/bin/mbsync", &sync).await;
    }
    for mailbox in ["INBOX", "Archive", "Work"] {
        let (here, there) = (Local::read(&local.join(mailbox)).messages, remote(&mut client, mailbox).await);
        assert_eq!(here, there, "{mailbox}");
        assert!(!here.is_empty(), "{mailbox}");
    }
    assert_eq!(remote(&mut client, "INBOX").await.len(), 300 - 10 - 10 + 10 - 10 - 5);
    assert_eq!(remote(&mut client, "Archive").await.len(), 10);
    assert_eq!(remote(&mut client, "Work").await.len(), 6);
    let before = remote(&mut client, "INBOX").await;
    world.run("/usr/bin/mbsync", &sync).await;
    assert_eq!(remote(&mut client, "INBOX").await, before, "nothing is left to do");
}

#[tokio::test]
async fn python_reads_searches_and_files() {
    let world = World::new().await;
    let (host, port, ports) = world.address();
    let mut client = world.client().await;
    for n in 0..5 {
        assert!(client.append("INBOX", &message(n)).await.is_ok());
    }
    let script = world.write("read.py", PYTHON_READ);
    for (security, port) in [("none", &port), ("starttls", &port), ("tls", &ports)] {
        let printed = world.run("/usr/bin/python3", &[&script, &host, port, security, USER, PASSWORD]).await;
        assert!(printed.ends_with("all is well\n"), "{security}: {printed}");
    }
}

#[tokio::test]
async fn curl_lists_fetches_and_appends() {
    let world = World::new().await;
    let (host, port, ports) = world.address();
    let login = format!("{USER}:{PASSWORD}");
    let file = world.postrider.folder().join("new.eml");
    std::fs::write(&file, message(7)).unwrap();
    for (url, more) in [
        (format!("imap://{host}:{port}"), vec![]),
        (format!("imap://{host}:{port}"), vec!["--ssl-reqd", "--insecure"]),
        (format!("imaps://{host}:{ports}"), vec!["--insecure"]),
    ] {
        let base = [&["--silent", "--show-error", "--user", &login][..], &more].concat();
        let with = |last: &[&str]| -> Vec<String> { base.iter().chain(last).map(|word| (*word).to_owned()).collect() };
        let run = async |last: &[&str]| {
            let arguments = with(last);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            world.run("/usr/bin/curl", &arguments).await
        };
        run(&[&format!("{url}/INBOX"), "--upload-file", file.to_str().unwrap()]).await;
        assert!(run(&[&url]).await.contains("* LIST (\\HasNoChildren) \"/\" INBOX"), "the list");
        let fetched = run(&[&format!("{url}/INBOX;MAILINDEX=1")]).await;
        assert_eq!(fetched.as_bytes(), message(7));
        let section = run(&[&format!("{url}/INBOX;MAILINDEX=1;SECTION=TEXT")]).await;
        assert!(section.starts_with("Body of 7."), "{section}");
        assert!(run(&[&format!("{url}/INBOX?SUBJECT%20Message")]).await.starts_with("* SEARCH 1"));
    }
}

#[tokio::test]
async fn fetchmail_takes_what_is_unseen() {
    let world = World::new().await;
    let (host, port, _) = world.address();
    let mut client = world.client().await;
    for n in 0..3 {
        let flags = if n == 0 { "(\\Seen)" } else { "()" };
        assert!(client.append(&format!("INBOX {flags}"), &message(n)).await.is_ok());
    }
    let taken = world.postrider.folder().join("taken");
    let config = format!(
        "poll {host} service {port} protocol imap user \"{USER}\" password \"{PASSWORD}\" sslproto \"\" keep \
         mda \"cat >> {}\"\n",
        taken.display()
    );
    let config = world.write("fetchmailrc", &config);
    world.run("/usr/bin/fetchmail", &["--fetchmailrc", &config, "--nosyslog", "--nodetach"]).await;
    let content = std::fs::read_to_string(&taken).unwrap();
    assert!(!content.contains("<m0@example.com>") && content.contains("<m1@example.com>"), "{content}");
    assert!(content.contains("<m2@example.com>"), "{content}");
    client.demand("SELECT INBOX").await;
    assert_eq!(client.demand("SEARCH UNSEEN").await.starting("SEARCH"), ["SEARCH"]);
}

#[tokio::test]
async fn getmail_takes_all_and_deletes_it() {
    let world = World::new().await;
    let (host, _, ports) = world.address();
    let mut client = world.client().await;
    for n in 0..20 {
        assert!(client.append("INBOX", &message(n)).await.is_ok());
    }
    let target = world.folder("got");
    for part in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(target.join(part)).unwrap();
    }
    // A maildir of its own it does not write as root, whom tests may be.
    let deliver = world.write("deliver.sh", &format!("exec cat > \"$(mktemp {}/new/XXXXXXXX)\"\n", target.display()));
    let config = format!(
        "[retriever]\ntype = SimpleIMAPSSLRetriever\nserver = {host}\nport = {ports}\nusername = {USER}\n\
         password = {PASSWORD}\n\n[destination]\ntype = MDA_external\npath = /bin/sh\narguments = (\"{deliver}\",)\n\
         allow_root_commands = true\n\n[options]\ndelete = true\ndelivered_to = false\nreceived = false\n",
    );
    let config = world.write("getmailrc", &config);
    let folder = world.folder("getmail");
    world.run("/usr/bin/getmail", &["--getmaildir", folder.to_str().unwrap(), "--rcfile", &config]).await;
    assert_eq!(Local::read(&target).messages.len(), 20);
    client.demand("SELECT INBOX").await;
    assert_eq!(client.demand("SEARCH ALL").await.starting("SEARCH"), ["SEARCH"], "they are gone");
}

#[tokio::test]
async fn offlineimap_synchronises() {
    let world = World::new().await;
    let (host, port, _) = world.address();
    let mut client = world.client().await;
    for n in 0..30 {
        assert!(client.append("INBOX (\\Seen)", &message(n)).await.is_ok());
    }
    client.demand("CREATE Entw&APw-rfe/Gro&AN8-").await;
    assert!(client.append("Entw&APw-rfe/Gro&AN8-", &message(40)).await.is_ok());
    let local = world.folder("offline");
    let metadata = world.folder("offline-state");
    let config = format!(
        "[general]\naccounts = one\nmetadata = {}\nui = quiet\n\n[Account one]\nlocalrepository = here\n\
         remoterepository = there\n\n[Repository here]\ntype = Maildir\nlocalfolders = {}\n\n[Repository there]\n\
         type = IMAP\nremotehost = {host}\nremoteport = {port}\nremoteuser = {USER}\nremotepass = {PASSWORD}\nssl = no\n\
         starttls = no\nauth_mechanisms = PLAIN\n",
        metadata.display(),
        local.display()
    );
    let config = world.write("offlineimaprc", &config);
    world.run("/usr/bin/offlineimap", &["-c", &config, "-o"]).await;
    assert_eq!(Local::read(&local.join("INBOX")).messages, remote(&mut client, "INBOX").await);
    let file = std::fs::read_dir(local.join("INBOX/cur")).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&file).unwrap();
    std::fs::write(local.join("INBOX/new/fresh"), message(50)).unwrap();
    world.run("/usr/bin/offlineimap", &["-c", &config, "-o"]).await;
    let there = remote(&mut client, "INBOX").await;
    assert_eq!(there.len(), 30);
    assert!(there.contains_key("<m50@example.com>"));
}
