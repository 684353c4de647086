//! COPY and MOVE: where copies go, in which order a move is told, and what is refused.

use insta::assert_snapshot;
use postrider_core::{Address, Timestamp};
use postrider_store::Quota;
use postrider_testkit::scrub;

use crate::imap_support::{USER, another, fetched, inbox, literal, plain, plains};

#[tokio::test]
async fn copies_and_moves() {
    let (_postrider, mut client) = inbox(&plains(5)).await;
    let mut said = Vec::new();
    for command in [
        "STORE 1 FLAGS.SILENT (\\Seen Work)",
        "COPY 1,3 Archive",
        "UID COPY 2,99 Archive",
        "UID COPY 99 Archive",
        "COPY 1 INBOX",
        "MOVE 2 Archive",
        "UID MOVE 4:5 Archive",
        "COPY 1 Nowhere",
        "MOVE 1 Nowhere",
        "MOVE 9 Archive",
        "FETCH 1:* UID",
        "STATUS Archive (MESSAGES UIDNEXT)",
        "SELECT Archive",
        "FETCH 1:* (UID FLAGS INTERNALDATE)",
    ] {
        said.push(format!("C: {command}\n{}", client.command(command).await.text()));
    }
    assert_snapshot!("copy_and_move", without_uid_validities(&scrub(&said.join("\n"))));
    assert_eq!(literal(&client.demand("FETCH 2 BODY.PEEK[]").await), plain(3));
}

#[tokio::test]
async fn others_are_told_of_a_move() {
    let (postrider, mut client) = inbox(&plains(3)).await;
    let mut other = another(&postrider).await;
    let mut third = another(&postrider).await;
    other.demand("SELECT Archive").await;
    client.demand("ENABLE QRESYNC").await;
    let (idle, third_idle) = (other.idle().await, third.idle().await);
    let reply = client.demand("MOVE 1:2 Archive").await;
    let lines = reply.lines();
    assert!(lines[0].starts_with("* OK [COPYUID ") && lines[0].contains(" 1:2 1:2]"), "{}", reply.text());
    assert_eq!(lines[1..], ["* VANISHED 1:2"], "{}", reply.text());
    assert_eq!(other.wait_for("2 EXISTS").await, "* 2 EXISTS");
    assert_eq!([third.wait_for("2 EXP").await, third.wait_for("1 EXP").await], ["* 2 EXPUNGE", "* 1 EXPUNGE"]);
    assert!(other.done(&idle).await.is_ok() && third.done(&third_idle).await.is_ok());
    assert_eq!(fetched(&third.demand("FETCH 1:* UID").await), ["1 FETCH (UID 3)"]);
    assert!(other.demand("FETCH 2 BODY.PEEK[]").await.text().contains("Message 2"));
}

#[tokio::test]
async fn what_cannot_be_copied_or_moved() {
    let (postrider, mut client) = inbox(&plains(3)).await;
    client.demand("EXAMINE INBOX").await;
    assert!(client.command("MOVE 1 Archive").await.tagged.starts_with("NO [NOPERM]"));
    client.demand("COPY 1 Archive").await;
    client.demand("SELECT INBOX").await;
    let address = Address::parse(USER).unwrap();
    let quota = Quota { bytes: None, messages: Some(5) };
    assert!(postrider.store().set_quota(&address, quota, Timestamp::default()).await.unwrap());
    assert!(client.command("COPY 2:3 Archive").await.tagged.starts_with("NO [OVERQUOTA]"));
    assert!(client.demand("STATUS Archive (MESSAGES)").await.text().contains("MESSAGES 1)"), "all or nothing");
    client.demand("MOVE 2:3 Archive").await;
    assert!(client.demand("STATUS Archive (MESSAGES)").await.text().contains("MESSAGES 3)"));
}

/// UIDVALIDITY is the only number of ten digits.
fn without_uid_validities(said: &str) -> String {
    let words = said.split_inclusive([' ', ']', '\n']).map(|word| {
        let digits = word.trim_end_matches([' ', ']', '\n']);
        let is_validity = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_validity { word.replace(digits, "[uidvalidity]") } else { word.to_owned() }
    });
    words.collect()
}
