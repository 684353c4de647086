//! Crashes amid deliveries by LMTP: the server is killed at random instants, again and again. Each recipient that was
//! answered 250 has the message, once; nobody has a UID that meant another message before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postrider::Engine;
use postrider_config::{Profile, Sources};
use postrider_core::ObjectId;
use postrider_core::mailbox::{MailboxName, NamedFlags, UidSet};
use postrider_store::{FlagsOperation, OpenMailbox, Store, StoreFlags, Usage};
use postrider_testkit::{LineClient, Site, eventually_within, mail};

use crate::load::{HERE, random};
use crate::support::binary;

/// Fewer where a dead server's transactions are in the way for a minute.
const ROUNDS: usize = 12;
const ROUNDS_MONGODB: usize = 3;
const CLIENTS: usize = 5;
const USERS: [&str; 3] = ["ann", "bob", "cat"];
/// The server lives this long in a round, at most, once it listens.
const LIFE_MILLISECONDS_MAX: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a database server keeps a dead client's transaction, and some.
const RELEASE_MAX: Duration = Duration::from_secs(90);

/// What was acknowledged.
#[derive(Debug, Default)]
struct Ledger {
    numbers: AtomicUsize,
    messages: Mutex<BTreeMap<ObjectId, Acknowledged>>,
}

#[derive(Debug, Clone)]
struct Acknowledged {
    message: Vec<u8>,
    users: Vec<&'static str>,
}

/// What was seen of a user's INBOX.
#[derive(Debug, Default)]
struct Seen {
    emails: BTreeMap<u32, ObjectId>,
    expunged: BTreeSet<u32>,
    expunged_emails: BTreeSet<ObjectId>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_recipient_that_was_answered_250_has_the_message_once() {
    let site = Site::new().await.set("ALLOWED_DOMAINS", HERE).set("LOG_LEVEL", "warn");
    for user in USERS {
        let arguments = ["user", "add", &address(user), "--password-stdin"];
        let added = site.command(binary(), &arguments, "a long password\n").await;
        assert_eq!(added.code, 0, "{}{}", added.stdout, added.stderr);
    }
    let ledger = Arc::new(Ledger::default());
    let mut seen: BTreeMap<&str, Seen> = BTreeMap::new();
    let rounds = if Site::is_on_sqlite() { ROUNDS } else { ROUNDS_MONGODB };
    for round in 0..rounds {
        let mut process = site.process(binary(), &["serve"]);
        process.wait_until_listening(site.lmtp()).await;
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| tokio::spawn(deliver_until(site.lmtp(), stop.clone(), ledger.clone()))).collect();
        tokio::time::sleep(Duration::from_millis(random(round) % LIFE_MILLISECONDS_MAX)).await;
        process.kill();
        stop.store(true, Ordering::SeqCst);
        for client in clients {
            client.await.unwrap();
        }
        let store = open(&site).await;
        for user in USERS {
            let seen = seen.entry(user).or_default();
            let inbox = check(store.as_ref(), user, &ledger, seen).await;
            expunge_last(store.as_ref(), &inbox, seen).await;
        }
        store.close().await.unwrap();
    }
    let count = ledger.messages.lock().unwrap().len();
    assert!(count > rounds, "only {count} messages were acknowledged");
}

/// Delivers to one, two or all users, one reply for each, until told to stop.
async fn deliver_until(server: SocketAddr, stop: Arc<AtomicBool>, ledger: Arc<Ledger>) {
    let Ok(mut client) = LineClient::connect(server).await else { return };
    let greeted = async {
        client.try_reply().await?;
        client.send("LHLO client.test").await;
        client.try_reply().await
    };
    if patiently(greeted).await.is_none() {
        return;
    }
    while !stop.load(Ordering::SeqCst) && patiently(deliver(&mut client, &ledger)).await.is_some() {}
}

async fn deliver(client: &mut LineClient, ledger: &Ledger) -> Option<()> {
    let number = ledger.numbers.fetch_add(1, Ordering::SeqCst);
    let users = &USERS[number % USERS.len()..];
    let mut message = mail::plain("a@sender.test", &address(users[0]), &format!("number-{number}-"));
    message.extend(format!("{number} ").repeat(number % 900).into_bytes());
    message.extend_from_slice(b"\r\n");
    let mut commands = vec!["MAIL FROM:<a@sender.test>".to_owned()];
    commands.extend(users.iter().map(|user| format!("RCPT TO:<{}>", address(user))));
    commands.push("DATA".to_owned());
    client.send_batch(&commands.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for _ in 0..commands.len() {
        client.try_reply().await.filter(|reply| reply.code < 400)?;
    }
    client.send_quietly(&[message.as_slice(), b".\r\n"].concat()).await.ok()?;
    for &user in users {
        let reply = client.try_reply().await.filter(|reply| reply.code == 250)?;
        let id: ObjectId = reply.id().and_then(|id| id.parse().ok()).expect("an acknowledgement names the id");
        let mut messages = ledger.messages.lock().unwrap();
        let acknowledged =
            messages.entry(id).or_insert_with(|| Acknowledged { message: message.clone(), users: Vec::new() });
        acknowledged.users.push(user);
    }
    Some(())
}

/// Checks a user's INBOX against what was acknowledged and what was seen before.
async fn check(store: &dyn Store, user: &str, ledger: &Ledger, seen: &mut Seen) -> OpenMailbox {
    let known = store.user(&address(user).parse().unwrap()).await.unwrap().unwrap();
    let inbox = store.mailbox(known.id, &MailboxName::inbox()).await.unwrap().unwrap();
    let open = store.open_mailbox(inbox.id).await.unwrap().unwrap();
    let uids: Vec<u32> = open.entries.iter().map(|entry| entry.uid).collect();
    assert!(uids.is_sorted_by(|a, b| a < b) && uids.iter().all(|&uid| uid < open.record.uid_next), "{uids:?}");
    let counted: Vec<ObjectId> = open.entries.iter().map(|entry| entry.email).collect();
    let emails: BTreeSet<ObjectId> = counted.iter().copied().collect();
    assert_eq!(emails.len(), counted.len(), "{user} has a message twice");
    for entry in &open.entries {
        let before = *seen.emails.entry(entry.uid).or_insert(entry.email);
        assert_eq!(before, entry.email, "UID {} of {user} means another message now", entry.uid);
        assert!(!seen.expunged.contains(&entry.uid), "UID {} of {user} came back", entry.uid);
    }
    assert!(seen.emails.keys().all(|uid| seen.expunged.contains(uid) || uids.contains(uid)), "{user} has lost mail");
    let bytes = open.entries.iter().map(|entry| u64::from(entry.size)).sum();
    assert_eq!(store.usage(known.id).await.unwrap(), Usage { bytes, messages: uids.len() as u64 });
    let messages = ledger.messages.lock().unwrap().clone();
    for (id, acknowledged) in messages.iter().filter(|(_, acknowledged)| acknowledged.users.contains(&user)) {
        if seen.expunged_emails.contains(id) {
            continue;
        }
        assert!(emails.contains(id), "{id} was acknowledged for {user} and is lost");
        let raw = store.messages(&[*id]).await.unwrap()[0].clone().unwrap();
        assert!(raw.ends_with(&acknowledged.message), "{id} was changed: {}", raw.escape_ascii());
    }
    open
}

/// Takes the newest message away, so that whoever counts UIDs from what is there gives one twice.
async fn expunge_last(store: &dyn Store, inbox: &OpenMailbox, seen: &mut Seen) {
    let Some(last) = inbox.entries.last() else { return };
    let uids: UidSet = [last.uid].into_iter().collect();
    let flags = StoreFlags {
        mailbox: inbox.record.id,
        uids: uids.clone(),
        operation: FlagsOperation::Add,
        flags: NamedFlags::from(postrider_core::mailbox::Flags::DELETED),
        unchanged_since: None,
    };
    // A database server may hold on for a while to what the dead server had begun.
    eventually_within(RELEASE_MAX, "the mailbox to be free", async || store.store_flags(flags.clone()).await.ok())
        .await;
    let expunged = store.expunge(inbox.record.id, Some(uids)).await.unwrap();
    assert!(expunged.uids.contains(last.uid));
    seen.expunged.insert(last.uid);
    seen.expunged_emails.insert(last.email);
}

async fn open(site: &Site) -> Arc<dyn Store> {
    let sources = Sources::from_variables(site.environment().clone());
    let settings = postrider_config::load(Profile::Serve, sources).unwrap_or_else(|errors| panic!("{errors}")).settings;
    Engine::of(&settings).open_beside().await.unwrap()
}

async fn patiently<T>(answer: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout(PATIENCE, answer).await.ok().flatten()
}

fn address(user: &str) -> String {
    format!("{user}@{HERE}")
}
