//! Real clients: what swaks, curl and Python's smtplib hand in comes out at the MX byte for byte, but for trace fields.
//!
//! They are installed by `cargo xtask test`; where one is missing, its test fails and says so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use postrider_testkit::{ReceivedMessage, Script, ScriptedMx, Site, StartTls, TestPostrider, mail};

const PYTHON_SEND: &str = r#"
import smtplib, ssl, sys
port, security, user, password = int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
if security == "tls":
    server = smtplib.SMTP_SSL(sys.argv[1], port, context=context)
else:
    server = smtplib.SMTP(sys.argv[1], port)
    if security == "starttls":
        server.starttls(context=context)
server.ehlo()
if user:
    server.login(user, password)
for path in sys.argv[6:]:
    with open(path, "rb") as message:
        options = ["BODY=8BITMIME"] if server.has_extn("8bitmime") else []
        server.sendmail("a@client.test", ["b@example.org"], message.read(), mail_options=options)
server.quit()
"#;

struct World {
    postrider: TestPostrider,
    mx: ScriptedMx,
    /// Every shape of message and the file that it is in.
    files: Vec<(mail::Shape, PathBuf)>,
}

async fn world() -> World {
    let site = Site::new().await.set("MAX_EMAIL_SIZE", "20971520");
    let mx = site.mx("example.org", Script::new().starttls(StartTls::Working)).await;
    let mut shapes = mail::shapes();
    let message = mail::big_attachment(10 << 20);
    shapes.push(mail::Shape { name: "10 MB attachment", message, is_8bit: false, has_short_lines: true });
    let files = shapes
        .into_iter()
        .map(|shape| {
            let path = site.folder().join(format!("{}.eml", shape.name.replace(' ', "-")));
            std::fs::write(&path, &shape.message).unwrap();
            (shape, path)
        })
        .collect();
    World { postrider: site.start_in_real_time().await, mx, files }
}

impl World {
    async fn run(&self, program: &str, arguments: &[&str]) {
        let path = std::env::var("PATH").unwrap_or_default();
        let environment = BTreeMap::from([("PATH".to_owned(), path)]);
        let output =
            postrider_testkit::run_command(Path::new(program), arguments, &environment, self.postrider.folder(), "")
                .await;
        assert_eq!(output.code, 0, "{program} {arguments:?}: {}{}", output.stdout, output.stderr);
    }

    /// Sends a message with each mechanism that swaks knows without further packages.
    async fn swaks_logs_in(&self, port: u16, security: &[&str], expected_trace: &str) {
        self.postrider.add_user("user@client.test", "a long password").await;
        let (host, port) = (self.host(), port.to_string());
        for (n, mechanism) in ["PLAIN", "LOGIN"].into_iter().enumerate() {
            let server = ["--server", &host, "--port", &port, "--from", "a@client.test", "--to", "b@example.org"];
            let auth = ["--auth", mechanism, "--auth-user", "user@client.test", "--auth-password", "a long password"];
            // Where it lacks what TLS needs, it says so and exits with another code than 0.
            self.run("/usr/bin/swaks", &[&server[..], &auth, security, &["--silent", "2"]].concat()).await;
            let text = self.received(n).await.text();
            assert!(text.contains(expected_trace), "{mechanism}: {text}");
        }
    }

    /// What came out for message number `n`, from 0.
    async fn received(&self, n: usize) -> ReceivedMessage {
        self.mx.wait_for_messages(n + 1).await.remove(n)
    }

    fn host(&self) -> String {
        self.postrider.ip().to_string()
    }
}

/// A message comes out as it went in, below what the server put on top of it.
fn assert_same(shape: &mail::Shape, received: &ReceivedMessage) {
    assert!(
        received.data.ends_with(&shape.message),
        "{} came out changed:\n{}",
        shape.name,
        received.data[..received.data.len().min(4000)].escape_ascii()
    );
    let added = &received.data[..received.data.len() - shape.message.len()];
    for line in added.split(|&b| b == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"\t")) {
        let is_expected =
            [b"Received: ".as_slice(), b"Date: ", b"Message-ID: "].iter().any(|name| line.starts_with(name));
        assert!(is_expected, "{}: {} was added", shape.name, line.escape_ascii());
    }
}

#[tokio::test]
async fn curl_hands_in_every_shape() {
    let world = world().await;
    let url = format!("smtp://{}", world.postrider.smtp());
    for (n, (shape, path)) in world.files.iter().enumerate() {
        let path = path.to_str().unwrap();
        let to = ["--mail-from", "a@client.test", "--mail-rcpt", "b@example.org", "--upload-file", path];
        world.run("/usr/bin/curl", &[&["--silent", "--show-error", &url][..], &to].concat()).await;
        assert_same(shape, &world.received(n).await);
    }
}

#[tokio::test]
async fn swaks_hands_in_every_shape() {
    let world = world().await;
    let (host, port) = (world.host(), world.postrider.smtp().port().to_string());
    for (n, (shape, path)) in world.files.iter().enumerate() {
        // swaks is kept from mending the message, and so from making it fit for DATA too.
        let path = path.with_extension("data");
        std::fs::write(&path, postrider_testkit::stuffed(&shape.message)).unwrap();
        let data = format!("@{}", path.to_str().unwrap());
        let to = ["--server", &host, "--port", &port, "--from", "a@client.test", "--to", "b@example.org"];
        world.run("/usr/bin/swaks", &[&to[..], &["--silent", "2", "--no-data-fixup", "--data", &data]].concat()).await;
        assert_same(shape, &world.received(n).await);
    }
}

#[tokio::test]
async fn python_hands_in_every_shape() {
    let world = world().await;
    world.postrider.add_user("user@client.test", "a long password").await;
    let script = world.postrider.folder().join("send.py");
    std::fs::write(&script, PYTHON_SEND).unwrap();
    let (host, script) = (world.host(), script.to_str().unwrap());
    let files: Vec<&str> = world.files.iter().map(|(_, path)| path.to_str().unwrap()).collect();
    let mut before = 0;
    for (server, security, user) in [
        (world.postrider.smtp(), "none", ""),
        (world.postrider.submission(), "starttls", "user@client.test"),
        (world.postrider.submissions(), "tls", "user@client.test"),
    ] {
        let port = server.port().to_string();
        let arguments = [script, &host, &port, security, user, "a long password"];
        world.run("/usr/bin/python3", &[&arguments[..], &files].concat()).await;
        let messages = world.mx.wait_for_messages(before + world.files.len()).await;
        for (shape, _) in &world.files {
            // smtplib ends every line with CRLF and the message with one, which these have; it changes nothing else.
            let came_out = messages[before..].iter().find(|message| message.data.ends_with(&shape.message));
            assert_same(shape, came_out.unwrap_or_else(|| panic!("{} did not come out", shape.name)));
        }
        before += world.files.len();
    }
}

/// In clear, which loopback alone may.
#[tokio::test]
async fn swaks_logs_in() {
    let world = world().await;
    let port = world.postrider.submission().port();
    world.swaks_logs_in(port, &[], "with ESMTPA id").await;
}

#[tokio::test]
async fn swaks_logs_in_over_tls() {
    let world = world().await;
    let port = world.postrider.submission().port();
    world.swaks_logs_in(port, &["--tls"], "with ESMTPSA id").await;
}

#[tokio::test]
async fn swaks_logs_in_over_tls_from_the_first_byte() {
    let world = world().await;
    let port = world.postrider.submissions().port();
    world.swaks_logs_in(port, &["--tls-on-connect"], "with ESMTPSA id").await;
}
