//! What tests of IMAP commands stand on: a mailbox with messages, and clients that look at it.

use postrider_testkit::{ImapClient, ImapReply, Site, TestPostrider};

pub(crate) const USER: &str = "bob@example.org";
pub(crate) const PASSWORD: &str = "a long password";

/// When the messages of [`inbox`] came, as far as INTERNALDATE says.
pub(crate) const DATE: &str = "\"25-Nov-2026 09:30:00 +0000\"";

/// A server with one user.
pub(crate) async fn world() -> TestPostrider {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "example.org").start().await;
    postrider.add_user(USER, PASSWORD).await;
    postrider
}

/// A user with these messages in INBOX, and a client that has selected it.
pub(crate) async fn inbox(messages: &[Vec<u8>]) -> (TestPostrider, ImapClient) {
    let postrider = world().await;
    let mut client = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    if !messages.is_empty() {
        append_all(&mut client, "INBOX", messages).await;
    }
    client.demand("SELECT INBOX").await;
    (postrider, client)
}

/// A second client of the same user that has selected INBOX.
pub(crate) async fn another(postrider: &TestPostrider) -> ImapClient {
    let mut client = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    client.demand("SELECT INBOX").await;
    client
}

/// Appends messages in one command.
pub(crate) async fn append_all(client: &mut ImapClient, mailbox: &str, messages: &[Vec<u8>]) -> ImapReply {
    let mut command = format!("batch APPEND {mailbox}").into_bytes();
    for message in messages {
        command.extend_from_slice(format!(" {DATE} {{{}+}}\r\n", message.len()).as_bytes());
        command.extend_from_slice(message);
    }
    command.extend_from_slice(b"\r\n");
    client.send_bytes(&command).await;
    client.answer("batch").await
}

/// A small message with a subject that tells it apart.
pub(crate) fn plain(number: usize) -> Vec<u8> {
    format!(
        "From: ann@example.com\r\nTo: {USER}\r\nSubject: Message {number}\r\nDate: Wed, 25 Nov 2026 10:00:00 +0100\r\n\
         Message-ID: <{number}@example.com>\r\n\r\nText {number}.\r\n"
    )
    .into_bytes()
}

pub(crate) fn plains(count: usize) -> Vec<Vec<u8>> {
    (1..=count).map(plain).collect()
}

/// The FETCH responses, without `* `.
pub(crate) fn fetched(reply: &ImapReply) -> Vec<String> {
    reply.starting("").into_iter().filter(|line| line.contains(" FETCH (")).collect()
}

/// The first literal of the first FETCH response.
pub(crate) fn literal(reply: &ImapReply) -> Vec<u8> {
    let response = reply.untagged.iter().find(|line| line.windows(8).any(|window| window == b" FETCH (")).unwrap();
    let open = response.windows(3).position(|window| window == b"}\r\n").unwrap();
    let digits = response[..open].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let length: usize = std::str::from_utf8(&response[open - digits..open]).unwrap().parse().unwrap();
    response[open + 3..open + 3 + length].to_vec()
}
