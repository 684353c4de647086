//! STORE: what becomes of flags, what the client is told, and what others are.

use insta::assert_snapshot;

use crate::imap_support::{another, fetched, inbox, plains};

#[tokio::test]
async fn flags_are_set_added_and_removed() {
    let (_postrider, mut client) = inbox(&plains(3)).await;
    let mut said = Vec::new();
    for command in [
        "STORE 1:2 +FLAGS (\\Flagged \\Seen)",
        "STORE 1 -FLAGS \\Seen",
        "STORE 2 FLAGS ($Forwarded Work)",
        "UID STORE 2:3 +FLAGS (work)",
        "STORE 3 FLAGS ()",
        "STORE 1:3 +FLAGS.SILENT (\\Answered)",
        "STORE 1:3 +FLAGS ()",
        "UID STORE 77 +FLAGS (\\Seen)",
        "STORE 4 +FLAGS (\\Seen)",
        "STORE 1 +FLAGS (\\Recent)",
        "STORE 1 FLAGS",
        "FETCH 1:* FLAGS",
    ] {
        said.push(format!("C: {command}\n{}", client.command(command).await.text()));
    }
    assert_snapshot!("store_flags", said.join("\n"));
}

#[tokio::test]
async fn others_are_told_and_a_silent_client_is_not() {
    let (postrider, mut client) = inbox(&plains(3)).await;
    let mut other = another(&postrider).await;
    assert_eq!(client.demand("STORE 1 +FLAGS.SILENT (\\Seen)").await.untagged.len(), 0);
    assert_eq!(fetched(&other.demand("NOOP").await), ["1 FETCH (UID 1 FLAGS (\\Seen))"]);
    assert_eq!(client.demand("NOOP").await.untagged.len(), 0);
    // A keyword that is new is announced before it is used.
    client.demand("STORE 2 +FLAGS.SILENT (New)").await;
    let told = other.demand("NOOP").await.lines();
    assert!(told[0].starts_with("* FLAGS (") && told[0].contains("New"), "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("* 2 FETCH (UID 2 FLAGS (New))"));
    // What another did to the same message meanwhile is told, silent or not (RFC 9051 section 6.4.6).
    other.demand("STORE 3 +FLAGS.SILENT (\\Flagged)").await;
    let reply = client.demand("STORE 3 +FLAGS.SILENT (\\Seen)").await;
    assert_eq!(fetched(&reply), ["3 FETCH (UID 3 FLAGS (\\Flagged \\Seen \\Recent))"]);
    let tag = other.idle().await;
    client.demand("STORE 1 +FLAGS (\\Deleted)").await;
    assert_eq!(other.wait_for("1 FETCH").await, "* 1 FETCH (UID 1 FLAGS (\\Deleted \\Seen))");
    assert!(other.done(&tag).await.is_ok());
}

#[tokio::test]
async fn conditional_stores() {
    let (postrider, mut client) = inbox(&plains(3)).await;
    let mut other = another(&postrider).await;
    let reply = client.demand("FETCH 1 MODSEQ").await.text();
    let modseq: u64 = reply.split("MODSEQ (").nth(1).unwrap().split(')').next().unwrap().parse().unwrap();
    other.demand("STORE 2 +FLAGS (\\Flagged)").await;
    let reply = client.command(&format!("STORE 1:3 (UNCHANGEDSINCE {modseq}) +FLAGS.SILENT (\\Seen)")).await;
    assert!(reply.tagged.starts_with("OK [MODIFIED 2]"), "{}", reply.text());
    let lines = fetched(&reply);
    assert!(lines[0].starts_with("1 FETCH (UID 1 MODSEQ ("), "also where it is silent: {}", reply.text());
    assert!(lines.iter().any(|line| line.starts_with("2 FETCH (UID 2 FLAGS (\\Flagged")), "{}", reply.text());
    let reply = client.command(&format!("UID STORE 2:3 (UNCHANGEDSINCE {modseq}) FLAGS (\\Answered)")).await;
    assert!(reply.tagged.starts_with("OK [MODIFIED 2:3]"), "{}", reply.text());
    assert_eq!(fetched(&reply).len(), 0, "{}", reply.text());
    let reply = client.demand("STORE 1 +FLAGS.SILENT (\\Draft)").await;
    assert!(fetched(&reply)[0].starts_with("1 FETCH (UID 1 MODSEQ ("), "{}", reply.text());
}

#[tokio::test]
async fn where_flags_cannot_be_stored() {
    let (postrider, mut client) = inbox(&plains(2)).await;
    let keywords: Vec<String> = (0..60).map(|number| format!("k{number}")).collect();
    let reply = client.command(&format!("STORE 1 +FLAGS ({})", keywords.join(" "))).await;
    assert!(reply.tagged.starts_with("NO [LIMIT]"), "{}", reply.text());
    let reply = client.command(&format!("STORE 1 +FLAGS ({})", "k".repeat(200))).await;
    assert!(reply.tagged.starts_with("NO [LIMIT]"), "{}", reply.text());
    assert!(client.demand("FETCH 1 FLAGS").await.text().contains("FLAGS (\\Recent)"), "all or nothing");

    let mut other = another(&postrider).await;
    other.demand("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    other.demand("EXPUNGE").await;
    let reply = client.command("STORE 1:2 +FLAGS (\\Seen)").await;
    assert!(reply.tagged.starts_with("NO [EXPUNGEISSUED]"), "{}", reply.text());
    assert!(fetched(&reply).iter().any(|line| line.starts_with("2 FETCH (UID 2 FLAGS (\\Seen")), "{}", reply.text());

    client.demand("EXAMINE INBOX").await;
    assert!(client.command("STORE 1 +FLAGS (\\Seen)").await.tagged.starts_with("NO [NOPERM]"));
}
