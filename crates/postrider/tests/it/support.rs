//! What several tests need.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postrider_core::mailbox::MailboxName;
use postrider_store::{Entry, Store};
use postrider_testkit::{LineClient, Site, TestPostrider};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// A network that nobody comes from: with it as `TRUSTED_NETWORKS`, every client of a test is a stranger.
pub(crate) const NOBODY: &str = "127.255.255.254/32";

/// The program under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_postrider"))
}

/// A site where every client is a stranger.
pub(crate) async fn site_of_strangers() -> Site {
    Site::new().await.set("TRUSTED_NETWORKS", NOBODY)
}

/// Says MAIL and RCPT; gives the code of the first refusal, or of RCPT.
pub(crate) async fn try_recipient(client: &mut LineClient, sender: &str, recipient: &str) -> u16 {
    let mail = client.command(&format!("MAIL FROM:<{sender}>")).await;
    if mail.code != 250 {
        return mail.code;
    }
    client.command(&format!("RCPT TO:<{recipient}>")).await.code
}

/// What is in a user's INBOX.
pub(crate) async fn inbox(postrider: &TestPostrider, user: &str) -> Vec<Entry> {
    inbox_in(postrider.store().as_ref(), user).await
}

/// As [`inbox`], in a store that was opened beside a server.
pub(crate) async fn inbox_in(store: &dyn Store, user: &str) -> Vec<Entry> {
    let user = store.user(&user.parse().unwrap()).await.unwrap().unwrap();
    let inbox = store.mailbox(user.id, &MailboxName::inbox()).await.unwrap().unwrap();
    store.open_mailbox(inbox.id).await.unwrap().unwrap().entries
}

/// The Python with the packages that `cargo xtask test` installs beside Debian's.
pub(crate) fn python() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    cache.expect("HOME is set").join("postrider/python-3/bin/python")
}

/// How long somebody waits for a line of a stream.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client of a stream of server-sent events.
pub(crate) struct Follower {
    stream: BufReader<TcpStream>,
    /// Of the answer.
    pub(crate) status: u16,
}

/// One server-sent event.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

impl Follower {
    /// `fields`: more of the request, each with its line end.
    pub(crate) async fn new(api: SocketAddr, path: &str, fields: &str) -> Self {
        let mut stream = TcpStream::connect(api).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut follower = Self { stream: BufReader::new(stream), status: 0 };
        let status = follower.line().await;
        follower.status = status.split(' ').nth(1).unwrap().parse().unwrap();
        while !follower.line().await.is_empty() {}
        follower
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.stream.read_line(&mut line));
        read.await.expect("something comes").unwrap();
        line.trim_end().to_owned()
    }

    /// Reads on until the last chunk (RFC 9112 section 7.1).
    pub(crate) async fn wait_for_end(mut self) {
        while self.line().await != "0" {}
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Told {
        let (mut name, mut id) = (String::new(), String::new());
        loop {
            let line = self.line().await;
            if let Some(text) = line.strip_prefix("event: ") {
                name = text.to_owned();
            } else if let Some(text) = line.strip_prefix("id: ") {
                id = text.to_owned();
            } else if let Some(text) = line.strip_prefix("data: ") {
                return Told { name, id, data: serde_json::from_str(text).unwrap() };
            }
        }
    }
}
