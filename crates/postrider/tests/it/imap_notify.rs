//! NOTIFY (RFC 5465): what is told without being asked.

use postrider_testkit::{ImapClient, Site, TestPostrider};

const USER: &str = "bob@example.org";
const PASSWORD: &str = "a long password";
const MESSAGE: &[u8] = b"From: ann@example.com\r\nSubject: Hello\r\n\r\nHello.\r\n";

async fn two() -> (TestPostrider, ImapClient, ImapClient) {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "example.org").start().await;
    postrider.add_user(USER, PASSWORD).await;
    let one = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    let mut two = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    assert!(two.append("INBOX", MESSAGE).await.is_ok());
    (postrider, one, two)
}

#[tokio::test]
async fn the_selected_mailbox_is_told_of_between_commands() {
    let (_postrider, mut one, mut two) = two().await;
    one.demand("SELECT INBOX").await;
    two.demand("SELECT INBOX").await;
    one.demand("NOTIFY SET (SELECTED (MessageNew (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)]) MessageExpunge FlagChange))")
        .await;
    assert!(two.append("INBOX", MESSAGE).await.is_ok());
    one.wait_for("2 EXISTS").await;
    let fetched = one.wait_for("2 FETCH").await;
    assert!(fetched.starts_with("* 2 FETCH (UID 2 BODY[HEADER.FIELDS (SUBJECT)] {"), "{fetched}");
    assert!(fetched.contains("Subject: Hello\r\n"), "{fetched}");
    two.demand("STORE 1 +FLAGS (\\Deleted)").await;
    assert_eq!(one.wait_for("1 FETCH").await, "* 1 FETCH (UID 1 FLAGS (\\Deleted \\Recent))");
    two.demand("EXPUNGE").await;
    one.wait_for("1 EXPUNGE").await;
    // The client's own commands are answered as ever.
    assert_eq!(one.demand("UID FETCH 2 (FLAGS)").await.untagged.len(), 1);
}

#[tokio::test]
async fn delayed_expunges_wait_for_a_command() {
    let (_postrider, mut one, mut two) = two().await;
    one.demand("SELECT INBOX").await;
    two.demand("SELECT INBOX").await;
    one.demand("NOTIFY SET (SELECTED-DELAYED (MessageNew MessageExpunge))").await;
    two.demand("STORE 1 +FLAGS (\\Deleted)").await;
    two.demand("EXPUNGE").await;
    assert!(two.append("INBOX", MESSAGE).await.is_ok());
    // Sequence numbers hold: the new one is the second.
    assert_eq!(one.wait_for("").await, "* 2 EXISTS");
    one.wait_for("").await;
    assert_eq!(one.demand("FETCH 2 (UID)").await.lines(), ["* 2 FETCH (UID 2)"]);
    assert_eq!(one.demand("NOOP").await.lines(), ["* 1 EXPUNGE"]);
    // Flags were not asked for: they are told with the next answer, as ever.
    two.demand("STORE 1 +FLAGS (\\Seen)").await;
    assert!(two.append("INBOX", MESSAGE).await.is_ok());
    one.wait_for("2 EXISTS").await;
    one.wait_for("").await;
    assert_eq!(one.demand("NOOP").await.lines(), ["* 1 FETCH (UID 2 FLAGS (\\Seen \\Recent))"]);
}

#[tokio::test]
async fn other_mailboxes_are_told_of() {
    let (postrider, mut one, mut two) = two().await;
    for name in ["a", "a/b", "c"] {
        two.demand(&format!("CREATE {name}")).await;
    }
    one.demand("SELECT Sent").await;
    let told = one
        .demand(
            "NOTIFY SET STATUS (INBOXES (MessageNew MessageExpunge)) (SUBTREE a (MessageNew MessageExpunge FlagChange)) \
             (PERSONAL NONE)",
        )
        .await;
    let lines = told.starting("STATUS");
    assert_eq!(lines.len(), 3, "{}", told.text());
    assert!(lines[0].starts_with("STATUS INBOX (MESSAGES 1 UIDNEXT 2 UIDVALIDITY "), "{}", lines[0]);
    // What is not watched makes no noise before what is.
    assert!(two.append("c", MESSAGE).await.is_ok());
    assert!(two.append("a/b", MESSAGE).await.is_ok());
    assert_eq!(one.wait_for("").await, "* STATUS a/b (UIDNEXT 2 MESSAGES 1 UNSEEN 1)");
    two.demand("SELECT a/b").await;
    two.demand("STORE 1 +FLAGS (\\Seen \\Deleted)").await;
    let line = one.wait_for("").await;
    assert!(line.starts_with("* STATUS a/b (UIDVALIDITY ") && line.ends_with(" UNSEEN 0)"), "{line}");
    two.demand("CLOSE").await;
    assert_eq!(one.wait_for("").await, "* STATUS a/b (UIDNEXT 2 MESSAGES 0 UNSEEN 0)");
    let tag = one.idle().await;
    postrider.send("ann@example.com", &[USER], MESSAGE).await;
    assert_eq!(one.wait_for("").await, "* STATUS INBOX (UIDNEXT 3 MESSAGES 2)");
    assert!(one.done(&tag).await.is_ok());
    // What is selected is not told of as another.
    one.demand("SELECT a/b").await;
    assert!(two.append("a/b", MESSAGE).await.is_ok());
    assert!(two.append("INBOX", MESSAGE).await.is_ok());
    assert_eq!(one.wait_for("").await, "* STATUS INBOX (UIDNEXT 4 MESSAGES 3)");
    assert_eq!(one.demand("NOOP").await.starting("1 EXISTS").len(), 1);
    one.demand("NOTIFY NONE").await;
    assert!(two.append("INBOX", MESSAGE).await.is_ok());
    assert_eq!(one.demand("NOOP").await.untagged.len(), 0);
}

#[tokio::test]
async fn names_subscriptions_and_notes_are_told_of() {
    let (_postrider, mut one, mut two) = two().await;
    one.demand("NOTIFY SET (PERSONAL (MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange))")
        .await;
    for (command, expected) in [
        ("CREATE a", "* LIST (\\HasNoChildren) \"/\" a"),
        ("SUBSCRIBE a", "* LIST (\\HasNoChildren \\Subscribed) \"/\" a"),
        ("RENAME a b", "* LIST (\\HasNoChildren) \"/\" b (\"OLDNAME\" (a))"),
        ("UNSUBSCRIBE a", "* LIST (\\NonExistent \\HasNoChildren) \"/\" a"),
        (
            "SETMETADATA b (/private/comment \"x\" /shared/comment \"y\")",
            "* METADATA b /private/comment /shared/comment",
        ),
        ("SETMETADATA b (/private/comment NIL)", "* METADATA b /private/comment"),
        ("SETMETADATA \"\" (/private/comment \"x\")", "* METADATA \"\" /private/comment"),
        ("DELETE b", "* LIST (\\NonExistent \\HasNoChildren) \"/\" b"),
    ] {
        two.demand(command).await;
        assert_eq!(one.wait_for("").await, expected, "{command}");
    }
    // What the client does itself it knows.
    for command in [
        "CREATE mine",
        "SUBSCRIBE mine",
        "SETMETADATA mine (/private/comment \"x\")",
        "RENAME mine yours",
        "DELETE yours",
    ] {
        one.demand(command).await;
    }
    two.demand("CREATE last").await;
    assert_eq!(one.wait_for("").await, "* LIST (\\HasNoChildren) \"/\" last");
}

#[tokio::test]
async fn what_cannot_be_watched() {
    let (_postrider, mut one, _two) = two().await;
    for (command, expected) in [
        (
            "NOTIFY SET (PERSONAL (MessageNew MessageExpunge AnnotationChange))",
            "NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange)]",
        ),
        ("NOTIFY SET (PERSONAL (SomethingElse))", "NO [BADEVENT ("),
        ("NOTIFY SET (PERSONAL (MessageNew))", "BAD"),
        ("NOTIFY SET (PERSONAL (FlagChange))", "BAD"),
        ("NOTIFY SET (SELECTED (MessageNew MessageExpunge)) (SELECTED-DELAYED (MessageNew MessageExpunge))", "BAD"),
        ("NOTIFY SET (SELECTED (MailboxName))", "BAD"),
        ("NOTIFY SET (PERSONAL (MessageNew (UID) MessageExpunge))", "BAD"),
        ("NOTIFY SET (ELSEWHERE (MailboxName))", "BAD"),
        ("NOTIFY NONE", "OK"),
    ] {
        let reply = one.command(command).await;
        assert!(reply.tagged.starts_with(expected), "{command}: {reply:?}");
    }
}
