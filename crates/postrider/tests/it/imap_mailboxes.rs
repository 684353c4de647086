//! Mailboxes over IMAP: LIST, LSUB, STATUS, CREATE, DELETE, RENAME, subscriptions, ENABLE, ID, NAMESPACE, METADATA.

use postrider_testkit::{ImapClient, Site, TestPostrider};

const USER: &str = "bob@example.org";
const PASSWORD: &str = "a long password";
const MESSAGE: &[u8] = b"From: ann@example.com\r\nSubject: Hello\r\n\r\nHello.\r\n";

async fn site() -> (TestPostrider, ImapClient) {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "example.org").start().await;
    postrider.add_user(USER, PASSWORD).await;
    let client = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    (postrider, client)
}

/// The answers to all of it, one after the other, as a transcript.
async fn say(client: &mut ImapClient, commands: &[&str]) -> String {
    for command in commands {
        client.command(command).await;
    }
    client.transcript()
}

/// Makes mailboxes.
async fn make(client: &mut ImapClient, names: &[&str]) {
    for name in names {
        client.demand(&format!("CREATE \"{name}\"")).await;
    }
}

/// `name attributes...` of each LIST or LSUB response, shorter to compare.
async fn listed(client: &mut ImapClient, command: &str) -> Vec<String> {
    let reply = client.demand(command).await;
    let lines = reply.lines().into_iter();
    lines
        .map(|line| {
            let rest = line.strip_prefix("* LIST (").or_else(|| line.strip_prefix("* LSUB (")).unwrap_or(&line);
            let (attributes, name) = rest.split_once(") \"/\" ").unwrap_or(("", rest));
            format!("{name} {attributes}").trim_end().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn a_new_users_mailboxes() {
    let (_postrider, mut client) = site().await;
    insta::assert_snapshot!(
        say(
            &mut client,
            &[
                "NAMESPACE",
                "ID (\"name\" \"test\" \"version\" NIL)",
                "ID NIL",
                "LIST \"\" \"\"",
                "LIST \"\" *",
                "LSUB \"\" *",
                "LIST (SUBSCRIBED) \"\" * RETURN (CHILDREN SPECIAL-USE)",
                "LIST (SPECIAL-USE) \"\" *",
                "LIST \"\" (inbox S%) RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY))",
                "STATUS INBOX (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ APPENDLIMIT DELETED-STORAGE)",
                "STATUS Nowhere (MESSAGES)",
                "ENABLE CONDSTORE X-NOTHING",
                "ENABLE QRESYNC UTF8=ACCEPT IMAP4rev2",
                "ENABLE QRESYNC",
            ],
        )
        .await
    );
}

#[tokio::test]
async fn levels_without_a_mailbox_are_shown_as_such() {
    let (_postrider, mut client) = site().await;
    make(&mut client, &["a/b/c", "a b", "x"]).await;
    client.demand("SUBSCRIBE a/b/c").await;
    client.demand("SUBSCRIBE gone/away").await;
    for (command, expected) in [
        (
            "LIST \"\" a*",
            &[
                "a \\Noselect \\HasChildren",
                "a/b \\Noselect \\HasChildren",
                "a/b/c \\HasNoChildren",
                "\"a b\" \\HasNoChildren",
            ][..],
        ),
        ("LIST \"\" a%", &["a \\Noselect \\HasChildren", "\"a b\" \\HasNoChildren"]),
        ("LIST \"\" %/%", &["a/b \\Noselect \\HasChildren"]),
        ("LIST a/ %", &["a/b \\Noselect \\HasChildren"]),
        ("LIST () \"\" a RETURN ()", &["a \\NonExistent"]),
        (
            "LIST () \"\" (a% x) RETURN (CHILDREN)",
            &["a \\NonExistent \\HasChildren", "\"a b\" \\HasNoChildren", "x \\HasNoChildren"],
        ),
        ("LIST (SUBSCRIBED) \"\" (a* gone/%)", &["a/b/c \\Subscribed", "gone/away \\NonExistent \\Subscribed"]),
        (
            "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (a% g%)",
            &[
                "a (\"CHILDINFO\" (\"SUBSCRIBED\")) \\NonExistent",
                "gone (\"CHILDINFO\" (\"SUBSCRIBED\")) \\NonExistent",
            ],
        ),
        (
            "LIST (REMOTE SUBSCRIBED RECURSIVEMATCH) \"\" a/b/c RETURN (CHILDREN)",
            &["a/b/c \\HasNoChildren \\Subscribed"],
        ),
        (
            "LIST (SPECIAL-USE SUBSCRIBED) \"\" * RETURN (SPECIAL-USE)",
            &[
                "Archive \\Subscribed \\Archive",
                "Drafts \\Subscribed \\Drafts",
                "Junk \\Subscribed \\Junk",
                "Sent \\Subscribed \\Sent",
                "Trash \\Subscribed \\Trash",
            ],
        ),
        ("LSUB \"\" %", &["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash", "a \\Noselect", "gone \\Noselect"]),
        ("LSUB \"\" a/%", &["a/b \\Noselect"]),
        ("LSUB \"\" a*", &["a/b/c"]),
        ("LSUB a/b/ c", &["a/b/c"]),
    ] {
        assert_eq!(listed(&mut client, command).await, expected, "{command}");
    }
}

#[tokio::test]
async fn mailboxes_are_made() {
    let (_postrider, mut client) = site().await;
    insta::assert_snapshot!(
        say(
            &mut client,
            &[
                "CREATE Work",
                "CREATE Work",
                "CREATE inbox",
                "CREATE Work/2026/",
                "CREATE inbox/Later",
                "CREATE \"Entw&APw-rfe\"",
                "CREATE a//b",
                "CREATE \"a%\"",
                "CREATE Mine (USE (\\Archive))",
                "CREATE Flags (USE (\\Flagged))",
                "CREATE Both (USE (\\Sent \\Junk))",
                "DELETE Archive",
                "CREATE Mine (USE (\\Archive))",
                "LIST \"\" *",
                "STATUS Work (MAILBOXID)",
                "ENABLE IMAP4rev2",
                "CREATE inbox/Now",
                "CREATE \"Ü/&\"",
                "LIST \"\" \"Ü*\"",
                "STATUS \"Entwürfe\" (MESSAGES)",
            ],
        )
        .await
    );
}

#[tokio::test]
async fn mailboxes_are_deleted_and_renamed() {
    let (_postrider, mut client) = site().await;
    make(&mut client, &["a", "a/b", "a/b/c", "x"]).await;
    client.append("INBOX", MESSAGE).await;
    client.append("a", MESSAGE).await;
    insta::assert_snapshot!(
        say(
            &mut client,
            &[
                "DELETE INBOX",
                "DELETE nowhere",
                "DELETE a",
                "LIST \"\" a*",
                "DELETE a",
                "SELECT a",
                "RENAME a b",
                "LIST \"\" b*",
                "RENAME b b/below",
                "RENAME b/b x",
                "RENAME x inbox",
                "CREATE p/q",
                "RENAME p INBOX",
                "RENAME nowhere y",
                "RENAME x \"y*\"",
                "RENAME x deep/down/",
                "LIST \"\" d*",
                "RENAME INBOX INBOX/old",
                "STATUS INBOX (MESSAGES UIDNEXT)",
                "STATUS INBOX/old (MESSAGES UIDNEXT)",
                "RENAME Sent Posted",
                "LIST (SPECIAL-USE) \"\" P*",
                "SELECT b/b",
                "DELETE b/b",
                "FETCH 1 UID",
                "CREATE b/b",
                "ENABLE QRESYNC",
            ],
        )
        .await
    );
}

#[tokio::test]
async fn names_outlive_mailboxes_in_subscriptions() {
    let (_postrider, mut client) = site().await;
    make(&mut client, &["a"]).await;
    for command in
        ["SUBSCRIBE a", "SUBSCRIBE a", "DELETE a", "SUBSCRIBE Inbox/b", "UNSUBSCRIBE Sent", "UNSUBSCRIBE never"]
    {
        client.demand(command).await;
    }
    let subscribed = listed(&mut client, "LIST (SUBSCRIBED) \"\" *").await;
    let expected = ["Archive", "Drafts", "INBOX", "INBOX/b \\NonExistent", "Junk", "Trash", "a \\NonExistent"];
    let expected: Vec<String> = expected.iter().map(|name| format!("{name} \\Subscribed")).collect();
    assert_eq!(subscribed, expected);
    let refused = client.command("SUBSCRIBE \"a*\"").await;
    assert!(refused.tagged.starts_with("NO [CANNOT]"), "{refused:?}");
}

#[tokio::test]
async fn status_says_what_the_selected_session_was_told() {
    let (postrider, mut client) = site().await;
    client.append("INBOX", MESSAGE).await;
    client.demand("SELECT INBOX").await;
    let mut other = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    other.append("INBOX (\\Seen \\Deleted)", MESSAGE).await;
    let reply = client.demand("STATUS INBOX (MESSAGES UNSEEN DELETED SIZE DELETED-STORAGE UIDNEXT)").await;
    let bytes = MESSAGE.len();
    assert_eq!(
        reply.lines(),
        [
            "* 2 EXISTS".to_owned(),
            "* 2 RECENT".to_owned(),
            format!(
                "* STATUS INBOX (MESSAGES 2 UNSEEN 1 DELETED 1 SIZE {} DELETED-STORAGE {bytes} UIDNEXT 3)",
                2 * bytes
            ),
        ]
    );
    // What nobody was told of is recent for whoever comes; to ask takes nothing away (RFC 3501 section 6.3.10).
    for _ in 0..2 {
        other.append("Drafts", MESSAGE).await;
    }
    for _ in 0..2 {
        assert_eq!(client.demand("STATUS Drafts (RECENT)").await.lines(), ["* STATUS Drafts (RECENT 2)"]);
    }
    other.demand("SELECT Drafts").await;
    let listed = client.demand("LIST \"\" Drafts RETURN (STATUS (RECENT))").await;
    assert_eq!(listed.starting("STATUS"), ["STATUS Drafts (RECENT 0)"]);
    // RFC 7162 section 3.1: to ask for it is to enable CONDSTORE.
    let reply = client.demand("STATUS Sent (HIGHESTMODSEQ)").await;
    assert_eq!(reply.starting("OK [HIGHESTMODSEQ").len(), 1, "{}", reply.text());
    other.demand("SELECT INBOX").await;
    other.demand("STORE 1 +FLAGS (\\Flagged)").await;
    let told = client.demand("NOOP").await;
    assert!(
        told.text().contains("FETCH (UID 1 FLAGS (\\Flagged") && told.text().contains("MODSEQ ("),
        "{}",
        told.text()
    );
}

#[tokio::test]
async fn what_is_noted_of_mailboxes() {
    let (_postrider, mut client) = site().await;
    insta::assert_snapshot!(
        say(
            &mut client,
            &[
                "SETMETADATA INBOX (/private/comment \"My mail\" /shared/Comment \"Ours\" /private/comment/more/still \"Deep\")",
                "GETMETADATA INBOX /private/comment",
                "GETMETADATA INBOX (/shared/COMMENT /private/nothing)",
                "GETMETADATA (DEPTH 1) INBOX /private/comment",
                "GETMETADATA (DEPTH infinity) INBOX (/private/comment /shared/comment)",
                "GETMETADATA (MAXSIZE 4) INBOX (/private/comment /shared/comment)",
                "SETMETADATA INBOX (/private/comment NIL)",
                "GETMETADATA INBOX /private/comment",
                "SETMETADATA \"\" (/private/vendor/x/y {3+}\r\na b)",
                "GETMETADATA \"\" /private/vendor/x/y",
                "SETMETADATA \"\" (/shared/comment \"x\")",
                "SETMETADATA INBOX (/private/a//b \"x\")",
                "SETMETADATA nowhere (/private/a \"x\")",
                "GETMETADATA nowhere /private/a",
                "GETMETADATA Sent /private/specialuse",
                "SETMETADATA Sent (/private/specialuse \"\\\\Junk\")",
                "RENAME Sent Posted",
                "GETMETADATA Posted /private/specialuse",
            ],
        )
        .await
    );
    let long = "a".repeat(40_000);
    let reply = client.command(&format!("SETMETADATA INBOX (/private/long {{40000+}}\r\n{long})")).await;
    assert_eq!(reply.tagged, "NO [METADATA MAXSIZE 32768] The value is too long");
}

#[tokio::test]
async fn a_command_for_many_mailboxes_is_quick() {
    let (_postrider, mut client) = site().await;
    let tags: Vec<String> = (0..300).map(|n| format!("CREATE m/{:02}/{n}", n % 20)).collect();
    for command in &tags {
        client.send(&format!("t {command}")).await;
    }
    for _ in &tags {
        assert!(client.answer("t").await.is_ok());
    }
    assert_eq!(listed(&mut client, "LIST \"\" m*").await.len(), 1 + 20 + 300);
    assert_eq!(listed(&mut client, "LIST \"\" m/%").await.len(), 20);
    let pattern = "*1".repeat(30);
    assert_eq!(listed(&mut client, &format!("LIST \"\" {pattern}")).await.len(), 0);
}
