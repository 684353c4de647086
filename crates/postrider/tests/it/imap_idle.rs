//! What sessions hear of each other's changes, and when (RFC 3501 section 7.4.1, RFC 2177, RFC 7162); and the limits of sessions.

use std::time::Duration;

use postrider_testkit::{ImapClient, Site, TestPostrider};

const USER: &str = "bob@example.org";
const PASSWORD: &str = "a long password";
const MESSAGE: &[u8] = b"From: ann@example.com\r\nSubject: Hello\r\n\r\nHello.\r\n";

/// Two sessions of one user; the first has INBOX with so many messages selected.
async fn two(messages: usize) -> (TestPostrider, ImapClient, ImapClient) {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "example.org").start().await;
    postrider.add_user(USER, PASSWORD).await;
    let mut one = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    let mut two = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    for _ in 0..messages {
        assert!(two.append("INBOX", MESSAGE).await.is_ok());
    }
    two.demand("SELECT INBOX").await;
    one.demand("SELECT INBOX").await;
    (postrider, one, two)
}

#[tokio::test]
async fn idlers_hear_at_once() {
    let (postrider, mut one, mut two) = two(2).await;
    let tag = one.idle().await;
    two.demand("STORE 1 +FLAGS (\\Flagged)").await;
    assert_eq!(one.wait_for("1 FETCH").await, "* 1 FETCH (UID 1 FLAGS (\\Flagged))");
    assert!(two.append("INBOX", MESSAGE).await.is_ok());
    assert_eq!(one.wait_for("").await, "* 3 EXISTS");
    one.wait_for("1 RECENT").await;
    two.demand("STORE 1:2 +FLAGS.SILENT (\\Deleted)").await;
    one.wait_for("2 FETCH").await;
    two.demand("EXPUNGE").await;
    // From the end, so that each number means what it meant.
    assert_eq!(one.wait_for("").await, "* 2 EXPUNGE");
    assert_eq!(one.wait_for("").await, "* 1 EXPUNGE");
    postrider.client().await;
    assert_eq!(one.done(&tag).await.untagged.len(), 0);
    // Mail that is delivered is heard of, too.
    let tag = one.idle().await;
    postrider.send("ann@example.com", &[USER], MESSAGE).await;
    one.wait_for("2 EXISTS").await;
    one.done(&tag).await;
    two.demand("NOOP").await;
    two.demand("STORE 1:2 +FLAGS (new)").await;
    let told = one.demand("NOOP").await;
    assert!(told.text().contains("* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft new)"), "{}", told.text());
}

#[tokio::test]
async fn the_next_command_tells_of_everything() {
    let (_postrider, mut one, mut two) = two(3).await;
    two.demand("STORE 2 +FLAGS (\\Seen \\Deleted)").await;
    assert!(two.append("INBOX", MESSAGE).await.is_ok());
    two.demand("EXPUNGE").await;
    let told = one.demand("NOOP").await;
    assert_eq!(told.lines(), ["* 2 EXPUNGE", "* 3 EXISTS", "* 1 RECENT"], "{}", told.text());
    two.demand("STORE 1 +FLAGS (\\Seen)").await;
    for command in ["CHECK", "NOOP"] {
        let told = one.demand(command).await;
        assert_eq!(told.untagged.len(), usize::from(command == "CHECK"), "{command}: {}", told.text());
    }
}

/// Sequence numbers mean the same from before the command to its answer (RFC 3501 section 7.4.1).
#[tokio::test]
async fn sequence_numbers_hold_where_they_must() {
    let (_postrider, mut one, mut two) = two(4).await;
    two.demand("STORE 1 +FLAGS (\\Deleted)").await;
    one.demand("NOOP").await;
    two.demand("EXPUNGE").await;
    assert!(two.append("INBOX", MESSAGE).await.is_ok());
    for command in
        ["FETCH 2 (UID)", "STORE 2 +FLAGS (\\Answered)", "SEARCH ALL", "SORT (ARRIVAL) UTF-8 ALL", "FETCH 5 (UID)"]
    {
        let told = one.demand(command).await;
        assert_eq!(told.starting("").iter().filter(|line| line.ends_with("EXPUNGE")).count(), 0, "{command}");
    }
    // New messages are told of, with the number that they have among those that are still shown.
    let reply = one.demand("FETCH 2,5 (UID)").await;
    assert_eq!(reply.lines(), ["* 2 FETCH (UID 2)", "* 5 FETCH (UID 5)"]);
    let gone = one.command("FETCH 1 (BODY.PEEK[])").await;
    assert!(!gone.tagged.starts_with("BAD"), "{gone:?}");
    // UID commands do not mind (RFC 9051 section 7.5.1).
    let told = one.demand("UID SEARCH ALL").await;
    assert_eq!(told.starting("1 EXPUNGE").len(), 1, "{}", told.text());
    assert_eq!(one.demand("FETCH 1 (UID)").await.lines(), ["* 1 FETCH (UID 2)"]);
    assert_eq!(one.demand("FETCH 4 (UID)").await.lines(), ["* 4 FETCH (UID 5)"]);
}

#[tokio::test]
async fn with_qresync_what_vanished_is_told_by_uid() {
    let (_postrider, mut one, mut two) = two(4).await;
    one.demand("UNSELECT").await;
    one.demand("ENABLE QRESYNC").await;
    one.demand("SELECT INBOX").await;
    let tag = one.idle().await;
    two.demand("STORE 1:3 +FLAGS (\\Deleted)").await;
    let line = one.wait_for("3 FETCH").await;
    assert!(line.contains("MODSEQ ("), "{line}");
    two.demand("UID EXPUNGE 1,3").await;
    assert_eq!(one.wait_for("VANISHED").await, "* VANISHED 1,3");
    one.done(&tag).await;
    two.demand("EXPUNGE").await;
    assert_eq!(one.demand("NOOP").await.lines(), ["* VANISHED 2"]);
}

#[tokio::test]
async fn a_mailbox_goes_from_under_a_session() {
    let (_postrider, mut one, mut two) = two(1).await;
    two.demand("CREATE a").await;
    two.demand("CREATE b").await;
    assert!(two.append("a", MESSAGE).await.is_ok());
    one.demand("SELECT a").await;
    // Its name may change.
    two.demand("RENAME a c").await;
    assert!(two.append("c", MESSAGE).await.is_ok());
    one.demand("NOOP").await;
    assert_eq!(one.demand("FETCH 2 (UID)").await.lines(), ["* 2 FETCH (UID 2)"]);
    let tag = one.idle().await;
    two.demand("DELETE c").await;
    assert_eq!(one.wait_for("BYE").await, "* BYE [UNAVAILABLE] The selected mailbox was deleted");
    assert_eq!(one.try_response().await, None, "{tag}");
    // Renaming INBOX takes its messages away.
    let mut three = ImapClient::log_in(_postrider.imap(), USER, PASSWORD).await;
    three.demand("SELECT INBOX").await;
    two.demand("RENAME INBOX old").await;
    assert_eq!(three.demand("NOOP").await.lines(), ["* 1 EXPUNGE"]);
    assert_eq!(two.demand("NOOP").await.untagged.len(), 0);
}

#[tokio::test]
async fn silence_ends_sessions_in_time() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "example.org").start().await;
    postrider.add_user(USER, PASSWORD).await;
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    // Who does not log in.
    let mut stranger = ImapClient::connect(postrider.imap()).await;
    postrider.clock().wait_for_sleeper(minutes(3) - Duration::from_secs(1), minutes(3)).await;
    postrider.clock().advance(minutes(3)).await;
    assert_eq!(stranger.wait_for("BYE").await, "* BYE [UNAVAILABLE] Silent for too long");
    assert_eq!(stranger.try_response().await, None);
    // Who does, and says nothing for half an hour.
    let mut silent = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    postrider.clock().wait_for_sleeper(minutes(29), minutes(30)).await;
    postrider.clock().advance(minutes(29)).await;
    silent.demand("NOOP").await;
    postrider.clock().wait_for_sleeper(minutes(29), minutes(30)).await;
    postrider.clock().advance(minutes(30)).await;
    assert_eq!(silent.wait_for("BYE").await, "* BYE [UNAVAILABLE] Silent for too long");
    // In IDLE there is a sign of life now and then, and an end as well.
    let mut idler = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    idler.demand("SELECT INBOX").await;
    idler.idle().await;
    for _ in 0..7 {
        postrider.clock().wait_for_sleeper(minutes(3), minutes(4)).await;
        postrider.clock().advance(minutes(4)).await;
        assert_eq!(idler.wait_for("").await, "* OK Still here");
    }
    postrider.clock().wait_for_sleeper(minutes(1), minutes(2)).await;
    postrider.clock().advance(minutes(2)).await;
    assert_eq!(idler.wait_for("").await, "* BYE [UNAVAILABLE] Silent for too long");
}

#[tokio::test]
async fn a_user_has_so_many_sessions() {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "example.org");
    let postrider = site.limit(|limits| limits.imap_connections_per_user_max = 2).start().await;
    postrider.add_user(USER, PASSWORD).await;
    postrider.add_user("ann@example.org", PASSWORD).await;
    let mut one = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    let _two = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    let mut three = ImapClient::connect(postrider.imap()).await;
    three.send_command(&format!("LOGIN {USER} \"{PASSWORD}\"")).await;
    let bye = three.wait_for("BYE").await;
    assert!(bye.starts_with("* BYE [LIMIT]"), "{bye}");
    let _other = ImapClient::log_in(postrider.imap(), "ann@example.org", PASSWORD).await;
    one.demand("LOGOUT").await;
    assert_eq!(one.try_response().await, None);
    postrider_testkit::eventually("the place to be free", async || {
        let mut again = ImapClient::connect(postrider.imap()).await;
        again.send_command(&format!("LOGIN {USER} \"{PASSWORD}\"")).await;
        let answer = String::from_utf8(again.response().await).unwrap();
        answer.contains("OK").then_some(())
    })
    .await;
}
