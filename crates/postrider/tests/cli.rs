//! The commands as programs see them: standard output, exit codes, and a store that another process has open.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use postrider_core::{Address, Direction, Envelope, Message, ObjectId, Recipient, ReversePath, Timestamp};
use postrider_store::{
    Emails as _, NewDelivery, NewEmail, Queue as _, Renewal, SqliteOptions, SqliteStore, Store as _,
};
use postrider_testkit::{DnsServer, LoopbackIp, Zone};
use serde_json::Value;

const RAW: &[u8] = b"Subject: \x1b[31mred\r\nFrom: <a@example.com>\r\n\r\nText\xff\r\n";

/// A folder with its own store and no settings from outside.
struct House(tempfile::TempDir);

impl House {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn data_dir(&self) -> std::path::PathBuf {
        self.0.path().join("data")
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
        command.args(line.split(' ')).current_dir(self.0.path()).env_clear();
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).stdin(Stdio::null()).output().unwrap()
    }

    fn run_with_input(&self, line: &str, input: &str) -> Output {
        let mut command = self.command(line);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
}

/// Stores an e-mail as the server does, and holds the store open as the server does.
async fn serve_one(data_dir: &Path, claimed: bool) -> (SqliteStore, ObjectId) {
    let store = SqliteStore::open(SqliteOptions::new(data_dir)).unwrap();
    let now = Timestamp::system();
    let (node, id) = (ObjectId::new(now), ObjectId::new(now));
    store.renew(Renewal::new(node, now, Duration::from_secs(3600))).await.unwrap();
    let email = NewEmail {
        id,
        created_at: now,
        direction: Direction::Outbound,
        envelope: Envelope { reverse_path: ReversePath::parse("a@example.com").unwrap(), ..Envelope::default() },
        instructions: Default::default(),
        authentication: Vec::new(),
        events: Vec::new(),
        request: None,
        message: Message::parse(RAW.into(), 0),
        kept: Vec::new(),
        deliveries: vec![NewDelivery {
            recipient: Recipient::new(Address::parse("b@example.org").unwrap()),
            claimed_by: claimed.then_some(node),
            due_at: now,
        }],
        filed: None,
    };
    store.accept(email).await.unwrap();
    (store, id)
}

#[test]
fn users_come_and_go() {
    let house = House::new();
    assert_code(&house.run("user list"), 1);
    assert_code(&house.run_with_input("user add a@example.org --password-stdin", "a secret\n"), 0);
    assert_code(&house.run_with_input("user add A@example.org --password-stdin", "a secret\n"), 4);
    assert_code(&house.run_with_input("user add b@example.org --password-stdin", "\n"), 2);
    assert_code(&house.run_with_input("user add b@example.org --password-stdin", "seven77\n"), 2);
    assert_code(&house.run_with_input("user passwd a@example.org --password-stdin", "another one\n"), 0);
    assert_code(&house.run_with_input("user passwd c@example.org --password-stdin", "another one\n"), 3);
    let users = json(&house.run("user list --json"));
    assert_eq!(users.as_array().unwrap().len(), 1);
    assert_eq!(users[0]["address"], "a@example.org");
    assert!(!users.to_string().contains("argon2"));
    assert_code(&house.run("user disable c@example.org"), 3);
    assert_code(&house.run("user disable a@example.org"), 0);
    assert_eq!(json(&house.run("user list --json"))[0]["enabled"], false);
    assert!(text(&house.run("user show a@example.org")).contains("no: disabled"));
    assert_code(&house.run("user enable a@example.org"), 0);
    assert_eq!(json(&house.run("user list --json"))[0]["enabled"], true);
    let changes = json(&house.run("audit list --json"));
    let enabled = |entry: &Value| entry["details"]["after"]["enabled"].as_bool();
    let entries = changes.as_array().or_else(|| changes["entries"].as_array()).unwrap();
    assert_eq!(entries.iter().filter_map(enabled).collect::<Vec<_>>(), [true, false, false], "{changes:#}");
    assert_code(&house.run("user remove a@example.org"), 0);
    assert_code(&house.run("user remove a@example.org"), 3);
}

#[tokio::test]
async fn emails_are_seen_beside_a_running_server() {
    let house = House::new();
    let (_store, id) = serve_one(&house.data_dir(), false).await;

    let list = json(&house.run("email list --json"));
    assert_eq!(list["emails"][0]["id"], id.to_string());
    assert_eq!(list["pagination"]["total"], 1);
    assert_eq!(json(&house.run("email list --json -- status:queued -direction:inbound"))["pagination"]["total"], 1);
    assert_eq!(json(&house.run("email list --json --query older:1h"))["pagination"]["total"], 0);
    let wrong = house.run("email list older:soon");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("is no time like 30m"), "{wrong:?}");
    assert_eq!(json(&house.run("email list --json --status sent"))["pagination"]["total"], 0);
    assert_eq!(json(&house.run("queue list --json"))["stats"]["queued"], 1);
    assert!(text(&house.run("queue list")).contains("1 queued, 0 sending"));
    let beyond = text(&house.run("email list --page 100000"));
    assert_eq!(beyond, "1 e-mail. There is no page 100000; the last is 1.\n");

    assert_eq!(house.run(&format!("email raw {id}")).stdout, RAW);
    let shown = text(&house.run(&format!("email show {id}")));
    assert!(shown.contains("To b@example.org: queued"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no message drives the terminal: {shown:?}");
    assert_eq!(json(&house.run(&format!("email show {id} --json")))["deliveries"][0]["recipient"], "b@example.org");

    assert_code(&house.run("email show 000000000000000000000000"), 3);
    assert_code(&house.run("email raw 000000000000000000000000"), 3);
    assert_code(&house.run("email show nonsense"), 2);
}

#[tokio::test]
async fn orders_change_what_they_name() {
    let house = House::new();
    let (store, id) = serve_one(&house.data_dir(), false).await;
    let status = async || store.email(id).await.unwrap().unwrap().email.status.as_str();

    assert_code(&house.run("queue hold --domain elsewhere.example"), 0);
    assert_eq!(status().await, "queued");
    assert_eq!(json(&house.run("queue hold --domain example.org --json"))["changed"], 1);
    assert_eq!(status().await, "held");
    assert_code(&house.run(&format!("queue hold {id}")), 4);
    assert_code(&house.run(&format!("queue release {id}")), 0);
    assert_eq!(status().await, "queued");
    assert_code(&house.run("queue cancel --all"), 0);
    assert_eq!(status().await, "cancelled");
    assert_eq!(json(&house.run("queue retry --all --json"))["changed"], 0, "all means all that wait");
    assert_eq!(json(&house.run("queue retry --domain example.org --json"))["changed"], 0);
    assert_eq!(status().await, "cancelled");
    assert_code(&house.run("queue retry --status cancelled --sender a@example.com"), 0);
    assert_eq!(status().await, "queued");
    assert_eq!(json(&house.run("queue retry --all --json"))["changed"], 1);
    assert_code(&house.run("queue cancel --all"), 0);
    assert_eq!(json(&house.run(&format!("queue retry {id} --json")))["changed"], 1);
    assert_code(&house.run("queue retry 000000000000000000000000"), 3);
    assert_code(&house.run("queue retry"), 2);
}

#[tokio::test]
async fn an_order_waits_for_what_is_being_sent() {
    let house = House::new();
    let (store, id) = serve_one(&house.data_dir(), true).await;
    let ordered = async || {
        let delivery = store.email(id).await.unwrap().unwrap().deliveries.remove(0);
        (delivery.status.as_str(), delivery.ordered.map(|status| status.as_str()))
    };
    let output = house.run(&format!("queue cancel {id}"));
    assert_code(&output, 0);
    assert!(text(&output).contains("1 is taken on by a server"), "{output:?}");
    assert_eq!(ordered().await, ("sending", Some("cancelled")));
    // What is only to be tried again is on its way already.
    let again = house.run(&format!("queue retry {id}"));
    assert_code(&again, 0);
    assert_eq!(ordered().await, ("sending", None));
}

#[test]
fn wrong_settings_are_told_and_checked() {
    let house = House::new();
    let run = |line: &str| house.command(line).env("SMTP_PORT", "many").output().unwrap();
    for line in ["config", "serve", "email list"] {
        let output = run(line);
        assert_code(&output, 2);
        assert!(String::from_utf8_lossy(&output.stderr).contains("SMTP_PORT"), "{output:?}");
    }
    let output = run("check --json");
    assert_code(&output, 1);
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings[0]["level"], "fail");

    let shown =
        json(&house.command("config --json").env("API_TOKEN", "very-secret-token-1234567890").output().unwrap());
    assert!(!shown.to_string().contains("very-secret"));
}

#[test]
fn each_wrong_setting_is_a_line_of_its_own() {
    let house = House::new();
    let output = house.command("config").env("SMTP_PORT", "many").env("LOG_LEVEL", "loud").output().unwrap();
    assert_code(&output, 2);
    let lines: Vec<String> = String::from_utf8(output.stderr).unwrap().lines().map(str::to_owned).collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.starts_with("postrider: ")), "{lines:?}");
}

/// A port that is taken is told with the setting that it comes from.
#[test]
fn a_port_that_is_taken_names_its_setting() {
    let house = House::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mail = ["SMTP", "SMTP_MX", "SUBMISSION", "SUBMISSIONS", "LMTP", "LMTPS", "IMAP", "IMAPS"];
    for setting in ["SMTP_PORT", "IMAP_PORT", "API_PORT"] {
        let mut command = house.command("dev");
        for name in mail {
            command.env(format!("{name}_PORT"), "0");
        }
        command.env("API_PORT", "0").env("SMTP_HOST", "127.0.0.1").env("API_HOST", "127.0.0.1").env(setting, &port);
        let output = command.output().unwrap();
        assert_code(&output, 1);
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().find(|line| line.starts_with("postrider: ")).unwrap_or_default();
        assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
        assert!(said.contains(&format!("set {setting} to another port, or to 0 to turn this listener off")), "{said}");
    }
}

/// A server that would keep mail elsewhere than was meant, or relay for everybody, does not start.
#[test]
fn settings_that_would_do_harm_stop_the_start() {
    let house = House::new();
    for (name, value, said) in [
        ("MONGODB_URL", "127.0.0.1/mail", "MONGODB_URL"),
        ("TRUSTED_NETWORKS", "0.0.0.0/0", "open relay"),
        ("TRUSTED_NETWORKS", "::/0", "open relay"),
    ] {
        let output = house.command("serve").env(name, value).output().unwrap();
        assert_code(&output, 2);
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{output:?}");
        assert!(!house.data_dir().exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_not_called_well() {
    let house = House::new();
    let (_ip, dns) = dns_server().await;
    let (store, _) = serve_one(&house.data_dir(), false).await;
    store.close().await.unwrap();
    drop(store);
    let of_store = |arguments: &str| {
        let findings = findings_of(house.command(arguments).env("DNS_SERVERS", dns.address().to_string()));
        findings.into_iter().filter(|finding| finding["area"] == "store").collect::<Vec<_>>()
    };
    let well = of_store("check --dev --json");
    assert!(well.iter().all(|finding| finding["level"] != "fail"), "{well:?}");
    assert!(well[0]["message"].as_str().unwrap().contains("MiB are free"), "{well:?}");

    // Bytes behind the database, of which the file system keeps none.
    let path = house.data_dir().join("postrider.db");
    let size_bytes = std::fs::metadata(&path).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(3 << 30).unwrap();
    let large = of_store("check --dev --json");
    assert!(large.last().unwrap()["message"].as_str().unwrap().contains("check --full"), "{large:?}");
    file.set_len(size_bytes).unwrap();

    let mut bytes = std::fs::read(&path).unwrap();
    bytes[16 << 10..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let damaged = of_store("check --dev --json --full");
    let last = damaged.last().unwrap();
    assert_eq!(last["level"], "fail", "{damaged:?}");
    assert!(last["message"].as_str().unwrap().contains("is damaged"), "{last}");
    assert!(last["advice"].as_str().unwrap().contains("backup"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mongodb_that_is_not_there_is_told() {
    let house = House::new();
    let (_ip, dns) = dns_server().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let command = |line: &str| {
        let mut command = house.command(line);
        command.env("MONGODB_URL", format!("mongodb://ann:hunter2@{free}/mail"));
        command
    };
    let findings = findings_of(command("check --dev --json").env("DNS_SERVERS", dns.address().to_string()));
    let store = findings.iter().find(|finding| finding["area"] == "store").unwrap();
    assert_eq!(store["level"], "fail");
    assert!(store["message"].as_str().unwrap().contains("MONGODB_URL"), "{store}");
    assert!(store["advice"].as_str().unwrap().contains("rs.initiate()"), "{store}");
    let list = command("user list").output().unwrap();
    assert_code(&list, 1);
    let config = command("config --json").output().unwrap();
    let shown = json(&config)["settings"].to_string();
    assert!(shown.contains(&format!("mongodb://ann:***@{free}/mail")), "{shown}");
    for shown in [format!("{findings:?}"), format!("{list:?}"), format!("{config:?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert!(!house.data_dir().exists(), "nothing goes into the embedded store instead");
}

#[tokio::test]
async fn a_move_that_cannot_be_is_refused() {
    let house = House::new();
    let url = ("MONGODB_URL", "mongodb://127.0.0.1:1/mail?serverSelectionTimeoutMS=200");
    let run = |line: &str| house.command(line).env(url.0, url.1).output().unwrap();
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert_code(&run("migrate --from sqlite --to sqlite"), 2);
    assert_code(&run("migrate --from sqlite"), 2);
    let unset = house.run("migrate --from sqlite --to mongodb");
    assert_code(&unset, 2);
    assert!(said(&unset).contains("MONGODB_URL"), "{unset:?}");
    let no_source = run("migrate --from sqlite --to mongodb");
    assert_code(&no_source, 1);
    assert!(said(&no_source).contains("there is no store"), "{no_source:?}");
    let (server, _) = serve_one(&house.data_dir(), false).await;
    let running = run("migrate --from sqlite --to mongodb");
    assert_code(&running, 1);
    assert!(said(&running).contains("another Postrider is running"), "{running:?}");
    server.close().await.unwrap();
    let no_target = run("migrate --from sqlite --to mongodb --json");
    assert_code(&no_target, 1);
    assert!(said(&no_target).contains("the MongoDB of MONGODB_URL"), "{no_target:?}");
    assert!(no_target.stdout.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_not_there_is_told() {
    let house = House::new();
    let (_ip, dns) = dns_server().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = house.command("check --json");
    command
        .env("DNS_SERVERS", dns.address().to_string())
        .env("DELIVERY_MODE", "relay")
        .env("RELAY_URL", format!("smtp://{free}"));
    let findings = findings_of(&mut command);
    let relay = findings.iter().find(|finding| finding["area"] == "relay").unwrap();
    assert_eq!(relay["level"], "fail");
    assert!(relay["advice"].as_str().unwrap().contains("RELAY_URL"), "{relay}");
}

/// One that knows no name, and says so at once.
async fn dns_server() -> (LoopbackIp, DnsServer) {
    let ip = LoopbackIp::claim();
    let dns = DnsServer::start(ip.ip(), Zone::new()).await.unwrap();
    (ip, dns)
}

/// What `check` found, well or not.
fn findings_of(command: &mut Command) -> Vec<Value> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test]
async fn nobody_reading_is_no_failure() {
    let house = House::new();
    let (_store, id) = serve_one(&house.data_dir(), false).await;
    for line in [format!("email show {id}"), format!("email raw {id}"), "email list --json".to_owned()] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = house.command(&line).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_code(&output, 0);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}
