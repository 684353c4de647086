//! The syntax of every command: what is read, and what is refused and why.

use std::fmt::Write as _;

use crate::script::{Script, patient};
use insta::assert_snapshot;

/// Sends each to a session with a mailbox selected; writes down what was understood or answered.
fn read(commands: &[&str]) -> String {
    let mut script = Script::selected(patient());
    let mut text = String::new();
    for command in commands {
        script.forget();
        script.send(format!("a {command}\r\n"));
        let _ = writeln!(text, "{command}");
        match script.commands.first() {
            Some(command) => {
                let _ = writeln!(text, "    {:?}", command.body);
            }
            None => {
                let _ = writeln!(text, "    {}", String::from_utf8_lossy(&script.said).trim_end());
            }
        }
        // What closed the mailbox would change what follows.
        script.session.set_selected(true);
    }
    text
}

#[test]
fn mailboxes() {
    assert_snapshot!(read(&[
        "SELECT INBOX (CONDSTORE)",
        "EXAMINE \"a b\" (QRESYNC (67890007 90060115194045000 41:211,214:541))",
        "SELECT x (QRESYNC (1 0))",
        "SELECT x (QRESYNC (1 2 1:5 (1,3 7,9)) CONDSTORE)",
        "SELECT x (QRESYNC (1 2 (1,3 7,9)))",
        "SELECT x (QRESYNC (0 2))",
        "SELECT x (QRESYNC (1 2 1:*))",
        "SELECT x (FROB)",
        "SELECT x ()",
        "SELECT",
        "SELECT ",
        "SELECT a b",
        "SELECT \"a\\\"b\\\\c\"",
        "SELECT \"a\\bc\"",
        "SELECT \"abc",
        "SELECT (x)",
        "SELECT a%b",
        "CREATE Sent (USE (\\sent \\Important \\Foo))",
        "CREATE x (USE ())",
        "CREATE x (FROB)",
        "CREATE x/",
        "DELETE x",
        "RENAME a b",
        "RENAME a",
        "SUBSCRIBE x",
        "UNSUBSCRIBE x",
        "STATUS x (MESSAGES recent UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ MAILBOXID APPENDLIMIT)",
        "STATUS x (DELETED-STORAGE MESSAGES MESSAGES)",
        "STATUS x ()",
        "STATUS x (FROB)",
        "STATUS x MESSAGES",
        "NAMESPACE x",
        "ENABLE",
        "ENABLE QRESYNC IMAP4rev2 X-FROB",
        "GETQUOTA \"\"",
        "GETQUOTAROOT inbox",
        "SETQUOTA x (STORAGE 512 MESSAGE 10)",
        "SETQUOTA x ()",
        "SETQUOTA x (STORAGE)",
        "CLOSE",
        "UNSELECT",
        "CHECK x",
        "EXPUNGE",
        "UID EXPUNGE 1:3,*",
        "UID EXPUNGE",
        "COPY 1:2 x",
        "UID COPY $ x",
        "MOVE 4 x",
        "UID MOVE 4 \"x y\"",
        "MOVE 4",
        "COMPRESS LZMA",
        "ID NIL",
        "ID ()",
        "ID (\"a\")",
        "ID (a b)",
    ]));
}

#[test]
fn lists() {
    assert_snapshot!(read(&[
        "LIST \"\" \"\"",
        "LIST \"\" *",
        "LIST \"Entw&APw-rfe/\" %/a*",
        "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (INBOX \"a/%\") RETURN (CHILDREN SPECIAL-USE STATUS (MESSAGES UNSEEN))",
        "LIST (REMOTE SPECIAL-USE) \"\" % RETURN (SUBSCRIBED)",
        "LIST () \"\" % RETURN ()",
        "LIST (RECURSIVEMATCH) \"\" %",
        "LIST (RECURSIVEMATCH REMOTE) \"\" %",
        "LIST (FROB) \"\" %",
        "LIST \"\" % RETURN (FROB)",
        "LIST \"\" % RETURN",
        "LIST \"\" % FROB",
        "LIST \"\" ()",
        "LIST \"\"",
        "LSUB \"\" *",
        "LSUB \"\" (a b)",
    ]));
}

#[test]
fn fetches() {
    assert_snapshot!(read(&[
        "FETCH 1 ALL",
        "FETCH 1 FAST",
        "FETCH 1 full",
        "FETCH 1 (ALL)",
        "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY)",
        "UID FETCH 1:*,5 (FLAGS UID FLAGS) (CHANGEDSINCE 12 VANISHED)",
        "FETCH 1 (RFC822 RFC822.HEADER RFC822.TEXT)",
        "FETCH $ (MODSEQ SAVEDATE EMAILID THREADID)",
        "FETCH 1 PREVIEW",
        "FETCH 1 (PREVIEW (LAZY) UID)",
        "FETCH 1 PREVIEW (CHANGEDSINCE 3)",
        "FETCH 1 BODY[]",
        "FETCH 1 BODY.PEEK[]<0.1024>",
        "FETCH 1 BODY[HEADER]",
        "FETCH 1 BODY[TEXT]<5.1>",
        "FETCH 1 BODY.PEEK[HEADER.FIELDS (From \"To\" X-Y)]",
        "FETCH 1 BODY[1.2.HEADER.FIELDS.NOT (Date)]",
        "FETCH 1 (BODY[1] BODY[4.2.MIME] BODY[3.TEXT] BODY[3.HEADER])",
        "FETCH 1 (BINARY[1.2] BINARY.PEEK[]<0.5> BINARY.SIZE[3])",
        "FETCH 1 BODY[MIME]",
        "FETCH 1 BODY[0]",
        "FETCH 1 BODY[1.]",
        "FETCH 1 BODY[1",
        "FETCH 1 BODY[FROB]",
        "FETCH 1 BODY[HEADER.FIELDS ()]",
        "FETCH 1 BODY[]<1>",
        "FETCH 1 BODY[]<1.0>",
        "FETCH 1 BINARY[TEXT]",
        "FETCH 1 BINARY.SIZE[1.]",
        "FETCH 1 ()",
        "FETCH 1 FROB",
        "FETCH 1",
        "FETCH 0 FLAGS",
        "FETCH 4294967296 FLAGS",
        "FETCH 1: FLAGS",
        "FETCH 1,,2 FLAGS",
        "FETCH a FLAGS",
        "FETCH 1 FLAGS (VANISHED)",
        "FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)",
        "FETCH 1 FLAGS (FROB)",
        "FETCH 1 FLAGS UID",
    ]));
}

#[test]
fn stores() {
    assert_snapshot!(read(&[
        "STORE 1 FLAGS (\\Seen \\ANSWERED $Junk NonJunk)",
        "STORE 1 +FLAGS.SILENT \\Deleted",
        "UID STORE 1:3 -flags \\Deleted \\Flagged \\Draft",
        "STORE 1 (UNCHANGEDSINCE 0) FLAGS ()",
        "STORE 1 FLAGS",
        "STORE 1 FLAGS \\Recent",
        "STORE 1 FLAGS (\\Foo)",
        "STORE 1 FLAGS (a b",
        "STORE 1 *FLAGS (a)",
        "STORE 1 FLAGS.LOUD (a)",
        "STORE 1 (FROB 1) FLAGS (a)",
        "STORE FLAGS (a)",
    ]));
}

#[test]
fn searches() {
    assert_snapshot!(read(&[
        "SEARCH ALL",
        "SEARCH ANSWERED DELETED DRAFT FLAGGED NEW OLD RECENT SEEN",
        "SEARCH UNANSWERED UNDELETED UNDRAFT UNFLAGGED UNSEEN",
        "SEARCH KEYWORD $Junk UNKEYWORD x",
        "SEARCH FROM a TO \"b c\" CC d BCC e SUBJECT f BODY g TEXT h",
        "SEARCH HEADER Message-ID \"\" HEADER X {3+}\r\nabc",
        "SEARCH BEFORE 1-Jan-2026 ON \"01-feb-2026\" SINCE 29-Feb-2024",
        "SEARCH SENTBEFORE 1-Jan-2026 SENTON 2-Jan-2026 SENTSINCE 3-Jan-2026",
        "SEARCH SAVEDBEFORE 1-Jan-2026 SAVEDON 2-Jan-2026 SAVEDSINCE 3-Jan-2026 SAVEDATESUPPORTED",
        "SEARCH LARGER 100 SMALLER 5000000000 OLDER 60 YOUNGER 3600",
        "SEARCH MODSEQ 12 MODSEQ \"/flags/\\\\Seen\" all 13 MODSEQ \"/flags/$x\" priv 1",
        "SEARCH EMAILID Mabc THREADID T_1-2",
        "SEARCH 1:5,* UID 7:9 $ UID $",
        "SEARCH OR SEEN NOT (FLAGGED DRAFT) (1 (2))",
        "UID SEARCH RETURN (MIN MAX ALL COUNT SAVE) SEEN",
        "SEARCH RETURN () CHARSET utf-8 SUBJECT \"ü\"",
        "SEARCH CHARSET KOI8-R SUBJECT {1}",
        "SEARCH RETURN (FROB) ALL",
        "SEARCH",
        "SEARCH FROB",
        "SEARCH ON 31-Feb-2026",
        "SEARCH ON 1-January-2026",
        "SEARCH ON 1-Jan-26",
        "SEARCH OLDER 0",
        "SEARCH FROM",
        "SEARCH OR SEEN",
        "SEARCH NOT",
        "SEARCH (SEEN",
        "SEARCH ()",
        "SEARCH UNRECENT",
        "SEARCH UNNEW",
        "SEARCH SEEN  DRAFT",
        "SEARCH MODSEQ \"/flags/\\\\Foo\" all 1",
        "SEARCH MODSEQ \"/frob/x\" all 1",
        "SEARCH MODSEQ x",
        "SORT (SUBJECT REVERSE DATE) UTF-8 ALL",
        "UID SORT RETURN (MIN) (ARRIVAL CC FROM SIZE TO DISPLAYFROM REVERSE DISPLAYTO) us-ascii SEEN 1:3",
        "SORT () UTF-8 ALL",
        "SORT (FROB) UTF-8 ALL",
        "SORT (DATE) ALL",
        "SORT (DATE) KOI8-R ALL",
        "SORT (DATE) UTF-8",
        "THREAD REFERENCES UTF-8 SINCE 1-Jan-2026",
        "UID THREAD orderedsubject UTF-8 ALL",
        "THREAD REFS UTF-8 ALL",
    ]));
}

#[test]
fn keys_within_keys_have_a_limit() {
    let deep = |depth: usize| format!("SEARCH {}SEEN{}", "(".repeat(depth), ")".repeat(depth));
    let text =
        read(&[&deep(100), &format!("SEARCH {}SEEN", "NOT ".repeat(5000)), &format!("SEARCH{}", " 1".repeat(1001))]);
    assert_eq!(text.matches("NO [LIMIT]").count(), 3, "{text}");
    let text = read(&[&deep(50), &format!("SEARCH{}", " 1".repeat(1000))]);
    assert_eq!(text.matches("Search(").count(), 2, "{text}");
    let ranges = |count: usize| format!("FETCH 1{} FLAGS", ",1".repeat(count - 1));
    assert!(read(&[&ranges(20_000)]).contains("Fetch("));
    assert!(read(&[&ranges(20_001)]).contains("NO [LIMIT]"));
}

#[test]
fn metadata() {
    assert_snapshot!(read(&[
        "GETMETADATA \"\" /shared/comment",
        "GETMETADATA (MAXSIZE 1024 DEPTH infinity) INBOX (/private/comment /Shared/x)",
        "GETMETADATA (DEPTH infinity) INBOX (/private /SHARED)",
        "GETMETADATA INBOX /private",
        "GETMETADATA INBOX (DEPTH 1) (/private/a)",
        "GETMETADATA (DEPTH 2) INBOX /private/a",
        "GETMETADATA (FROB 2) INBOX /private/a",
        "GETMETADATA INBOX /frob/a",
        "GETMETADATA INBOX /private/",
        "GETMETADATA INBOX /private/a//b",
        "GETMETADATA INBOX \"/private/a*\"",
        "GETMETADATA INBOX ()",
        "SETMETADATA INBOX (/private/comment \"x\" /shared/y NIL /private/z {3+}\r\nabc)",
        "SETMETADATA \"\" (/private/b ~{3+}\r\na\0b)",
        "SETMETADATA INBOX (/private/b {3+}\r\na\0b)",
        "SETMETADATA INBOX (/private/comment)",
        "SETMETADATA INBOX /private/comment x",
    ]));
}

#[test]
fn notifications() {
    assert_snapshot!(read(&[
        "NOTIFY NONE",
        "NOTIFY SET STATUS (selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (From)]) MessageExpunge FlagChange))",
        "NOTIFY SET (selected-delayed (MessageNew MessageExpunge)) (inboxes NONE) (personal (MailboxName SubscriptionChange))",
        "NOTIFY SET (subscribed (MessageNew MessageExpunge AnnotationChange)) (subtree (a b) (MailboxMetadataChange))",
        "NOTIFY SET (mailboxes inbox (ServerMetadataChange Frob))",
        "NOTIFY SET (personal (MessageNew (UID) MessageExpunge))",
        "NOTIFY SET (personal (MessageNew))",
        "NOTIFY SET (personal (FlagChange))",
        "NOTIFY SET STATUS (selected MessageNew (UID) MessageExpunge) (subtree Lists MessageNew MessageExpunge)",
        "NOTIFY SET (selected NONE) (selected-delayed NONE)",
        "NOTIFY SET (selected (MailboxName))",
        "NOTIFY SET (frob (MailboxName))",
        "NOTIFY SET (personal ())",
        "NOTIFY SET",
        "NOTIFY FROB",
    ]));
}

#[test]
fn replacements() {
    assert_snapshot!(read(&[
        "REPLACE 4 Drafts (\\Draft) \"01-Jan-2026 00:00:00 +0000\" {5+}\r\nhello",
        "UID REPLACE * Drafts CATENATE (TEXT {2+}\r\nhi)",
        "REPLACE 1:2 Drafts {5+}\r\nhello",
        "REPLACE 1 Drafts",
        "APPEND x \"01-Jan-2026 24:00:00 +0000\" {1+}\r\nx",
        "APPEND x \"1-Jan-2026 00:00:00 +0000\" {1+}\r\nx",
        "APPEND x \"31-Dec-1969 23:59:60 +9959\" {1+}\r\nx",
        "APPEND x \"31-Dec-1969 23:59:60 +0060\" {1+}\r\nx",
        "APPEND x CATENATE () {1+}\r\nx",
        "APPEND x CATENATE (FROB x)",
        "APPEND x (a b) (c) {1+}\r\nx",
        "APPEND x {1+}\r\nx ",
    ]));
}
