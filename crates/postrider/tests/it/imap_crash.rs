//! Crashes while mailboxes change: the server is killed at random instants amid APPEND, MOVE, STORE and EXPUNGE, again and
//! again. What was acknowledged is there, nothing is there twice, and no UID ever means two messages.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postrider_testkit::{ImapClient, ImapReply, Site};

use crate::load;
use crate::support::binary;

const ROUNDS: usize = 12;
const CLIENTS: usize = 4;
const USER: &str = "bob@local.test";
const PASSWORD: &str = "a long password";
/// The server lives this long in a round, at most, once clients are at work.
const LIFE_MILLISECONDS_MAX: u64 = 500;

/// What clients were told.
#[derive(Debug, Default)]
struct Ledger {
    numbers: AtomicUsize,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// Messages that were appended or moved to a mailbox, by mailbox and UID.
    uids: BTreeMap<(String, u32), usize>,
    /// Where each message is, as far as was acknowledged; `None`: expunged.
    places: BTreeMap<usize, Option<String>>,
    /// Those whose last command was not answered: they may be here or there.
    doubtful: BTreeSet<usize>,
    flagged: BTreeSet<usize>,
}

impl Told {
    fn has_uid(&mut self, mailbox: &str, uid: u32, number: usize) {
        let before = self.uids.insert((mailbox.to_owned(), uid), number);
        assert!(before.is_none_or(|before| before == number), "UID {uid} of {mailbox} was {before:?}, now {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_and_no_uid_is_used_twice() {
    let site = Site::new().await.set("ALLOWED_DOMAINS", load::HERE).set("LOG_LEVEL", "warn");
    let arguments = ["user", "add", USER, "--password-stdin"];
    let added = postrider_testkit::run_command(binary(), &arguments, site.environment(), site.folder(), PASSWORD).await;
    assert_eq!(added.code, 0, "{}{}", added.stdout, added.stderr);
    let ledger = Arc::new(Ledger::default());
    for round in 0..ROUNDS {
        let mut process = site.process(binary(), &["serve"]);
        process.wait_until_listening(site.imap()).await;
        let stop = Arc::new(AtomicBool::new(false));
        let begun = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| tokio::spawn(work(site.imap(), n, ledger.clone(), stop.clone(), begun.clone())))
            .collect();
        postrider_testkit::eventually("the clients to begin", async || {
            (begun.load(Ordering::SeqCst) == CLIENTS).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(load::random(round) % LIFE_MILLISECONDS_MAX)).await;
        process.kill();
        stop.store(true, Ordering::SeqCst);
        for client in clients {
            client.await.unwrap();
        }
    }
    let mut process = site.process(binary(), &["serve"]);
    process.wait_until_listening(site.imap()).await;
    check(site.imap(), &ledger).await;
    process.signal("TERM");
    assert_eq!(process.wait().await.code(), Some(0), "{}", process.output());
}

/// Appends messages, flags, moves and expunges its own, until the server is gone.
async fn work(server: SocketAddr, client: usize, ledger: Arc<Ledger>, stop: Arc<AtomicBool>, begun: Arc<AtomicUsize>) {
    let session = ImapClient::try_log_in(server, USER, PASSWORD).await;
    begun.fetch_add(1, Ordering::SeqCst);
    let Some(mut session) = session else { return };
    if session.try_command("SELECT INBOX").await.is_none() {
        return;
    }
    for step in client.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let number = ledger.numbers.fetch_add(1, Ordering::SeqCst);
        if one(&mut session, number, step, &ledger).await.is_none() {
            return;
        }
    }
}

/// The life of one message. `None` where the server does not answer any more.
async fn one(session: &mut ImapClient, number: usize, step: usize, ledger: &Ledger) -> Option<()> {
    let message = message(number);
    let doubt = |is_doubtful| {
        let mut told = ledger.told.lock().unwrap();
        if is_doubtful { told.doubtful.insert(number) } else { told.doubtful.remove(&number) }
    };
    doubt(true);
    let reply = session.try_command(&format!("APPEND INBOX {{{}+}}\r\n{message}", message.len())).await?;
    let uid = code_number(&reply, "APPENDUID", 1)?;
    {
        let mut told = ledger.told.lock().unwrap();
        told.has_uid("INBOX", uid, number);
        told.places.insert(number, Some("INBOX".to_owned()));
    }
    let stored = session.try_command(&format!("UID STORE {uid} +FLAGS (\\Flagged)")).await?;
    if stored.is_ok() {
        ledger.told.lock().unwrap().flagged.insert(number);
    }
    match step % 3 {
        0 => {
            let reply = session.try_command(&format!("UID MOVE {uid} Archive")).await?;
            let moved = reply.lines().iter().find_map(|line| copy_uid(line))?;
            let mut told = ledger.told.lock().unwrap();
            told.has_uid("Archive", moved, number);
            told.places.insert(number, Some("Archive".to_owned()));
        }
        1 => {
            session.try_command(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)")).await?;
            let reply = session.try_command(&format!("UID EXPUNGE {uid}")).await?;
            if reply.is_ok() {
                ledger.told.lock().unwrap().places.insert(number, None);
            }
        }
        _ => {}
    }
    doubt(false);
    Some(())
}

/// What is in the mailboxes is what was acknowledged.
async fn check(server: SocketAddr, ledger: &Ledger) {
    let mut client = ImapClient::log_in(server, USER, PASSWORD).await;
    let mut replies = Vec::new();
    for mailbox in ["INBOX", "Archive"] {
        client.demand(&format!("SELECT {mailbox}")).await;
        replies.push((mailbox, client.demand("UID FETCH 1:* (FLAGS BODY.PEEK[])").await));
    }
    let mut there: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut flagged = BTreeSet::new();
    let mut told = ledger.told.lock().unwrap();
    for (mailbox, reply) in &replies {
        for line in reply.lines().iter().filter(|line| line.contains(" FETCH (")) {
            let number: usize = between(line, "Subject: number ", "\r\n").parse().unwrap();
            let uid: u32 = line.split("UID ").nth(1).unwrap().split([' ', ')']).next().unwrap().parse().unwrap();
            assert!(line.contains(&message(number)), "message {number} was changed: {line}");
            told.has_uid(mailbox, uid, number);
            there.entry(number).or_default().push((*mailbox).to_owned());
            if line.contains("\\Flagged") {
                flagged.insert(number);
            }
        }
    }
    let mut acknowledged = 0;
    for (number, place) in &told.places {
        let found = there.get(number).cloned().unwrap_or_default();
        assert!(found.len() <= 1, "message {number} is in {found:?}");
        if told.doubtful.contains(number) {
            continue;
        }
        acknowledged += 1;
        assert_eq!(found.first(), place.as_ref(), "message {number}");
        if place.is_some() {
            assert_eq!(flagged.contains(number), told.flagged.contains(number), "the flag of message {number}");
        }
    }
    assert!(acknowledged > ROUNDS, "only {acknowledged} messages were acknowledged");
}

fn message(number: usize) -> String {
    format!("From: a@example.org\r\nSubject: number {number}\r\n\r\n{}\r\n", format!("{number} ").repeat(number % 300))
}

fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let rest = text.split(from).nth(1).unwrap_or_else(|| panic!("no {from:?} in {text}"));
    rest.split(to).next().unwrap_or_default()
}

/// A number in a response code of the tagged answer: `[APPENDUID 5 7]`.
fn code_number(reply: &ImapReply, name: &str, position: usize) -> Option<u32> {
    let inner = reply.tagged.split(name).nth(1)?.split(']').next()?;
    inner.split_whitespace().nth(position)?.parse().ok()
}

/// Where a message went: the last number of `[COPYUID 5 7 1]`.
fn copy_uid(line: &str) -> Option<u32> {
    line.split("COPYUID").nth(1)?.split(']').next()?.split_whitespace().nth(2)?.parse().ok()
}
