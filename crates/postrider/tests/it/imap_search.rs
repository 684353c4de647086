//! SEARCH, SORT and THREAD: what is found, in which order, and how it is told.

use std::time::Duration;

use insta::assert_snapshot;
use postrider_testkit::{ImapClient, Site, StoreFaults, TestPostrider, eventually};

use crate::imap_support::{PASSWORD, USER, another, append_all, plains, world};

/// Mail of one conversation and beside it, in many charsets and encodings. How each is filed, and the message.
const MAIL: [(&str, &str); 6] = [
    (
        " (\\Seen) \"01-Dec-2025 23:30:00 +0000\"",
        "From: Ann <ann@example.com>\r\nTo: bob@example.org\r\nSubject: Plans\r\n\
         Date: Mon, 1 Dec 2025 09:00:00 +0000\r\nMessage-ID: <plans@example.com>\r\n\r\nLet us meet.\r\n",
    ),
    (
        " (\\Answered $Work) \"02-Dec-2025 10:00:00 +0000\"",
        "From: =?iso-8859-1?Q?J=FCrgen?= <zoe@example.com>\r\nTo: bob@example.org\r\nCc: Carol <carol@example.net>\r\n\
         Subject: Re: Plans\r\nDate: Tue, 2 Dec 2025 09:00:00 +0000\r\nMessage-ID: <re@example.com>\r\n\
         In-Reply-To: <plans@example.com>\r\n\r\nWhere?\r\n",
    ),
    (
        " (\\Flagged) \"03-Dec-2025 10:00:00 +0000\"",
        "From: Carol <carol@example.net>\r\nTo: ann@example.com\r\nBcc: dave@example.org\r\nSubject: RE: Plans\r\n\
         Date: Wed, 3 Dec 2025 09:00:00 +0000\r\nMessage-ID: <re-re@example.net>\r\n\
         References: <plans@example.com> <re@example.com>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n\
         SW0gQ2Fmw6kgU2Now7ZubGVpdG5lcg==\r\n",
    ),
    (
        " () \"04-Dec-2025 10:00:00 +0000\"",
        "From: =?utf-8?B?w4lyaWM=?= <eric@example.com>\r\nTo: bob@example.org\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\
         Date: Sun, 1 Jun 2025 09:00:00 +0000\r\nMessage-ID: <gruesse@example.com>\r\nX-Spare: none\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\nSch=F6ne Gr=FC=DFe aus=\r\n der Ferne\r\n--b\r\n\
         Content-Type: text/html; charset=utf-8\r\n\r\n<p>Von weit <b>weg</b></p>\r\n--b--\r\n",
    ),
    (
        " (\\Draft \\Deleted) \"05-Dec-2025 10:00:00 +0000\"",
        "From: bob@example.org\r\nTo: list@example.com\r\nSubject: Another matter\r\n\
         Date: Fri, 5 Dec 2025 09:00:00 +0000\r\nMessage-ID: <other@example.org>\r\n\r\n\
         A long text, a long text, a long text, a long text, a long text, a long text, a long text, a long text.\r\n",
    ),
    ("", "From: ann@example.com\r\nTo: bob@example.org\r\nSubject: Now\r\n\r\nJust come.\r\n"),
];

/// A client that has selected a mailbox with [`MAIL`]; UIDs are 10 above sequence numbers.
async fn mailbox() -> (TestPostrider, ImapClient) {
    let postrider = world().await;
    let mut client = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    for number in 0..10 {
        assert!(client.append("INBOX (\\Deleted)", format!("Subject: Gone {number}\r\n\r\n").as_bytes()).await.is_ok());
    }
    client.demand("SELECT INBOX").await;
    client.demand("CLOSE").await;
    for (filed, message) in MAIL {
        assert!(client.append(&format!("INBOX{filed}"), message.as_bytes()).await.is_ok());
    }
    client.demand("SELECT INBOX").await;
    (postrider, client)
}

/// What a SEARCH for this finds, by sequence number.
async fn found(client: &mut ImapClient, key: &str) -> Vec<u32> {
    let reply = client.demand(&format!("SEARCH {key}")).await;
    let [line] = &reply.starting("SEARCH")[..] else { panic!("{key}: {}", reply.text()) };
    line.split(' ').skip(1).map(|number| number.parse().unwrap()).collect()
}

async fn say(client: &mut ImapClient, commands: &[&str]) -> String {
    let mut said = Vec::new();
    for command in commands {
        said.push(format!("C: {command}\n{}", client.command(command).await.text()));
    }
    said.join("\n")
}

#[tokio::test]
async fn every_key_finds_what_it_names() {
    let (postrider, mut client) = mailbox().await;
    let all = [1, 2, 3, 4, 5, 6];
    for (key, expected) in [
        ("ALL", &all[..]),
        ("SEEN", &[1]),
        ("UNSEEN", &[2, 3, 4, 5, 6]),
        ("ANSWERED", &[2]),
        ("UNANSWERED FLAGGED", &[3]),
        ("UNFLAGGED UNDELETED", &[1, 2, 4, 6]),
        ("DELETED", &[5]),
        ("DRAFT", &[5]),
        ("UNDRAFT SEEN", &[1]),
        ("NEW", &all[1..]),
        ("OLD", &[]),
        ("RECENT SEEN", &[1]),
        ("KEYWORD $work", &[2]),
        ("UNKEYWORD $work 1:3", &[1, 3]),
        ("KEYWORD unheard-of", &[]),
        ("2:3,*", &[2, 3, 6]),
        ("UID 12:13,99", &[2, 3]),
        ("UID *", &[6]),
        ("FROM ann", &[1, 6]),
        ("FROM \"Jürgen\"", &[2]),
        ("FROM zoe@EXAMPLE", &[2]),
        ("TO bob", &[1, 2, 4, 6]),
        ("CC carol", &[2]),
        ("BCC dave", &[3]),
        ("SUBJECT plans", &[1, 2, 3]),
        ("SUBJECT \"grüße\"", &[4]),
        ("SUBJECT \"GRÜßE\"", &[4]),
        ("SUBJECT GRUSSE", &[]),
        ("HEADER X-Spare \"\"", &[4]),
        ("HEADER X-Spare some", &[]),
        ("HEADER In-Reply-To plans@", &[2]),
        ("HEADER Message-ID \"\"", &[1, 2, 3, 4, 5]),
        ("BODY \"Schönleitner\"", &[3]),
        ("BODY \"aus der Ferne\"", &[4]),
        ("BODY \"weit <b>weg\"", &[4]),
        ("BODY Plans", &[]),
        ("TEXT plans", &[1, 2, 3]),
        ("TEXT \"CAFÉ\"", &[3]),
        ("TEXT \"Éric\"", &[4]),
        // INTERNALDATE and Date without regard to time and zone.
        ("BEFORE 2-Dec-2025", &[1]),
        ("ON 2-Dec-2025", &[2]),
        ("SINCE 4-Dec-2025", &[4, 5, 6]),
        ("SENTBEFORE 1-Dec-2025", &[4]),
        ("SENTON 3-Dec-2025", &[3]),
        ("SENTSINCE 3-Dec-2025 SENTBEFORE 6-Dec-2025", &[3, 5]),
        ("SAVEDON 2-Jan-2026", &all),
        ("SAVEDBEFORE 2-Jan-2026", &[]),
        ("SAVEDSINCE 3-Jan-2026", &[]),
        ("SAVEDATESUPPORTED", &all),
        ("YOUNGER 60", &[6]),
        ("OLDER 60", &[1, 2, 3, 4, 5]),
        ("LARGER 420", &[4]),
        ("SMALLER 100", &[6]),
        ("OR SEEN FLAGGED", &[1, 3]),
        ("NOT (OR SEEN FLAGGED) NOT 5", &[2, 4, 6]),
        // What is decided without the message decides for it.
        ("OR SEEN BODY \"Schönleitner\"", &[1, 3]),
        ("NOT TEXT plans", &[4, 5, 6]),
        ("EMAILID unheard-of", &[]),
        ("THREADID unheard-of", &[]),
    ] {
        assert_eq!(found(&mut client, key).await, expected, "{key}");
    }
    postrider.clock().advance(Duration::from_secs(61)).await;
    assert!(found(&mut client, "YOUNGER 60").await.is_empty());
    // The ids that FETCH tells find what they are of.
    let told = client.demand("FETCH 2 (EMAILID THREADID)").await.text();
    let id = |name: &str| told.split_once(&format!("{name} (")).unwrap().1.split_once(')').unwrap().0.to_owned();
    assert_eq!(found(&mut client, &format!("EMAILID {}", id("EMAILID"))).await, [2]);
    assert_eq!(found(&mut client, &format!("THREADID {}", id("THREADID"))).await, [1, 2, 3]);
}

#[tokio::test]
async fn results_are_told_as_they_were_asked_for() {
    let (_postrider, mut client) = mailbox().await;
    assert_snapshot!(
        "search_results",
        say(
            &mut client,
            &[
                "SEARCH UNSEEN",
                "UID SEARCH UNSEEN",
                "SEARCH SUBJECT nowhere",
                "SEARCH RETURN () UNSEEN",
                "SEARCH RETURN (MIN MAX COUNT) UNSEEN",
                "UID SEARCH RETURN (ALL) NOT 3",
                "UID SEARCH RETURN (MIN MAX ALL COUNT) SUBJECT nowhere",
                "SEARCH RETURN (SAVE) SUBJECT plans",
                "SEARCH $ UNSEEN",
                "FETCH $ UID",
                "SEARCH RETURN (SAVE MIN) $ UNSEEN",
                "UID STORE $ +FLAGS.SILENT (Found)",
                "SEARCH KEYWORD Found",
                "SEARCH RETURN (SAVE COUNT) 5:6",
                "UID FETCH $ UID",
                "SEARCH RETURN (SAVE) CHARSET KOI8-R SUBJECT plans",
                "SEARCH $",
                "SEARCH CHARSET UTF-8 FROM ann",
                "SEARCH 7",
                "UID SEARCH UID 99",
                "SEARCH UNHEARD-OF",
                "SEARCH RETURN (MIN MAX) MODSEQ 1",
                "SEARCH MODSEQ 1 SEEN",
                "ENABLE IMAP4rev2",
                "SEARCH SEEN",
            ]
        )
        .await
    );
}

#[tokio::test]
async fn sorted_by_every_criterion() {
    let (_postrider, mut client) = mailbox().await;
    for (criteria, expected) in [
        ("ARRIVAL", "1 2 3 4 5 6"),
        ("REVERSE ARRIVAL", "6 5 4 3 2 1"),
        // The one without a Date has the day it came.
        ("DATE", "4 1 2 3 5 6"),
        ("SIZE", "6 1 2 5 3 4"),
        ("SUBJECT DATE", "5 4 6 1 2 3"),
        ("SUBJECT REVERSE DATE", "5 4 6 3 2 1"),
        ("FROM ARRIVAL", "1 6 5 3 4 2"),
        ("TO REVERSE ARRIVAL", "3 6 4 2 1 5"),
        ("CC ARRIVAL", "1 3 4 5 6 2"),
        ("DISPLAYFROM ARRIVAL", "1 6 5 3 4 2"),
        ("DISPLAYTO ARRIVAL", "3 1 2 4 6 5"),
    ] {
        let reply = client.demand(&format!("SORT ({criteria}) UTF-8 ALL")).await;
        assert_eq!(reply.starting("SORT"), [format!("SORT {expected}")], "{criteria}");
    }
    assert_snapshot!(
        "sort_results",
        say(
            &mut client,
            &[
                "UID SORT (REVERSE DATE) UTF-8 SUBJECT plans",
                "SORT (DATE) UTF-8 SUBJECT nowhere",
                "SORT RETURN () (REVERSE ARRIVAL) UTF-8 ALL",
                "UID SORT RETURN (MIN MAX COUNT) (REVERSE SUBJECT) UTF-8 ALL",
                // The first in this order, not the first in the mailbox.
                "SORT RETURN (SAVE MIN) (REVERSE ARRIVAL) UTF-8 1:4",
                "FETCH $ UID",
                "SORT RETURN (ALL) (DATE) UTF-8 MODSEQ 1",
                "SORT (DATE) KOI8-R ALL",
                "SORT (DATE) UTF-8 7",
            ]
        )
        .await
    );
}

#[tokio::test]
async fn threaded_by_both_algorithms() {
    let (_postrider, mut client) = mailbox().await;
    assert_snapshot!(
        "thread_results",
        say(
            &mut client,
            &[
                "THREAD REFERENCES UTF-8 ALL",
                "UID THREAD ORDEREDSUBJECT UTF-8 ALL",
                "THREAD REFERENCES UTF-8 2:3",
                "THREAD REFERENCES UTF-8 SUBJECT nowhere",
                "THREAD UNHEARD-OF UTF-8 ALL",
                "THREAD REFERENCES KOI8-R ALL",
            ]
        )
        .await
    );
}

/// RFC 9585.
#[tokio::test]
async fn a_client_that_waits_is_told_how_far_the_search_is() {
    let faults = StoreFaults::new();
    let site = Site::new().await.set("ALLOWED_DOMAINS", "example.org").with_store_faults(&faults);
    let postrider = site.start().await;
    postrider.add_user(USER, PASSWORD).await;
    let mut client = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    for messages in plains(1_001).chunks(100) {
        assert!(append_all(&mut client, "INBOX", messages).await.is_ok());
    }
    client.demand("SELECT INBOX").await;
    faults.set_hanging(true);
    let (reply, ()) = tokio::join!(client.command("SEARCH SUBJECT \"Message 1001\""), async {
        eventually("both lots wait for the store", async || (faults.waiting() == 2).then_some(())).await;
        postrider.clock().advance(Duration::from_secs(11)).await;
        faults.set_hanging(false);
    });
    let [progress, result] = &reply.lines()[..] else { panic!("{}", reply.text()) };
    assert!(progress.starts_with("* OK [INPROGRESS (\"a3\" 1000 1001)] "), "{progress}");
    assert_eq!(result, "* SEARCH 1001");
}

/// Numbers hold while another session expunges, and what is gone is found by nothing that has to look into it.
#[tokio::test]
async fn what_is_gone_meanwhile_is_not_found() {
    let (postrider, mut client) = mailbox().await;
    let mut other = another(&postrider).await;
    other.demand("EXPUNGE").await;
    assert_eq!(client.demand("SEARCH TEXT \"a long text\"").await.lines(), ["* SEARCH"]);
    assert_eq!(client.demand("SORT (SUBJECT) UTF-8 4:6").await.lines(), ["* SORT 4 6"]);
    assert_eq!(client.demand("NOOP").await.lines(), ["* 5 EXPUNGE"]);
}
