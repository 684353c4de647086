//! Mailboxes on several nodes: who hears of what, who writes beside whom, and what is left when a connection breaks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, doc, oid};
use postrider_core::mailbox::{Flags, MailboxName, NamedFlags, UidSet};
use postrider_testkit::{GUARD_SECONDS, ProxyMode, eventually};
use tokio::sync::broadcast;

use super::outage::Cut;
use super::*;

/// Another node hears of a change within this.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

async fn add_user(store: &MongoStore, text: &str) -> UserId {
    let id = ObjectId::new(NOW);
    let scram = ScramKeys { salt: vec![1], iterations: 4_096, stored_key: [2; 32], server_key: [3; 32] };
    let user = User {
        id,
        address: Address::parse(text).unwrap(),
        password_hash: "hash".into(),
        scram,
        quota: Quota::default(),
        is_enabled: true,
        created_at: NOW,
        updated_at: NOW,
    };
    store.add_user(user).await.unwrap();
    id
}

async fn mailbox(store: &MongoStore, user: UserId, name: &str) -> MailboxId {
    store.mailbox(user, &MailboxName::parse(name).unwrap()).await.unwrap().unwrap().id
}

fn filed(users: &[UserId]) -> NewEmail {
    let filings = users.iter().map(|&user| Filing { user, special_use: None, enforces_quota: true }).collect();
    let filed = Filed { digest: Bytes::from_static(b"digest"), filings, stays_on_record: false };
    NewEmail { filed: Some(filed), ..small(&[]) }
}

fn append(mailbox: MailboxId, raw: impl Into<Bytes>, flags: Flags) -> Append {
    let message = AppendMessage {
        id: ObjectId::new(NOW),
        message: Message::parse(raw.into(), 0),
        digest: Bytes::from_static(b"digest"),
        flags: NamedFlags::from(flags),
        internal_date: NOW,
    };
    Append { mailbox, messages: vec![message], replaces: None, now: NOW }
}

fn flag(mailbox: MailboxId, uids: UidSet, operation: FlagsOperation, flags: Flags) -> StoreFlags {
    StoreFlags { mailbox, uids, operation, flags: flags.into(), unchanged_since: None }
}

fn copy(from: MailboxId, to: MailboxId, uids: UidSet, moves: bool) -> CopyMessages {
    CopyMessages { from, uids, to, moves, now: NOW }
}

/// Calls whatever the store can do with users and mailboxes.
pub(super) async fn everything(store: &MongoStore) {
    let address = Address::parse("ann@example.org").unwrap();
    let user = add_user(store, "ann@example.org").await;
    let name = |text: &str| MailboxName::parse(text).unwrap();
    let (inbox, archive) = (mailbox(store, user, "INBOX").await, mailbox(store, user, "Archive").await);
    store.accept(filed(&[user])).await.unwrap();
    store.append(append(inbox, "one", Flags::DELETED)).await.unwrap();
    store.append(Append { replaces: Some((inbox, 2)), ..append(inbox, "two", Flags::DELETED) }).await.unwrap();
    let uids = || UidSet::from_ranges([(1, 1), (3, 90)]);
    store.store_flags(flag(inbox, uids(), FlagsOperation::Add, Flags::SEEN)).await.unwrap();
    store.copy_messages(copy(inbox, archive, uids(), false)).await.unwrap();
    store.copy_messages(copy(archive, inbox, UidSet::range(1, 1), true)).await.unwrap();
    store.expunge(archive, Some(uids())).await.unwrap();
    store.expunge(inbox, None).await.unwrap();
    let opened = store.open_mailbox(inbox).await.unwrap().unwrap();
    store.mailbox_delta(inbox, 1).await.unwrap().unwrap();
    store.take_recent(inbox).await.unwrap();
    let emails: Vec<ObjectId> = opened.entries.iter().map(|entry| entry.email).collect();
    store.digests(&emails).await.unwrap();
    store.messages(&emails).await.unwrap();
    let new = |text: &str, special_use| NewMailbox { user, name: name(text), special_use, now: NOW };
    let made = store.create_mailbox(new("made", None)).await.unwrap().id;
    store.create_mailbox(new("sent", Some(postrider_core::mailbox::SpecialUse::Sent))).await.unwrap_err();
    for (from, to) in [("made", "renamed"), ("INBOX", "old")] {
        store.rename_mailbox(RenameMailbox { user, from: name(from), to: name(to), now: NOW }).await.unwrap();
    }
    for mailbox in [None, Some(made)] {
        let entries = vec![("/private/comment".to_owned(), Some(Bytes::from_static(b"x")))];
        store.set_metadata(user, mailbox, entries).await.unwrap();
        store.metadata(user, mailbox).await.unwrap();
    }
    store.subscribe(user, &name("made"), true).await.unwrap();
    store.subscribe(user, &name("made"), false).await.unwrap();
    store.delete(emails[0]).await.unwrap();
    let stored = store.export_mailboxes(user).await.unwrap();
    let exported = store.export_entries(inbox, 0, 10).await.unwrap();
    store.import_entries(inbox, exported).await.unwrap();
    store.import_mailboxes(user, stored).await.unwrap();
    store.usage(user).await.unwrap();
    store.mailboxes(user).await.unwrap();
    store.delete_mailbox(made).await.unwrap();
    let domain = postrider_core::Domain::parse("example.org").unwrap();
    let record = DomainRecord { name: domain.clone(), catch_all: None, created_at: NOW, updated_at: NOW };
    store.add_domain(record).await.unwrap();
    store.set_catch_all(&domain, Some(address.clone()), NOW).await.unwrap();
    store.domain(&domain).await.unwrap();
    store.remove_domain(&domain).await.unwrap();
    let other = Address::parse("info@example.org").unwrap();
    let alias =
        AliasRecord { address: other.clone(), targets: vec![address.clone()], created_at: NOW, updated_at: NOW };
    store.add_alias(alias).await.unwrap();
    store.set_alias_targets(&other, vec![address.clone()], NOW).await.unwrap();
    store.alias(&other).await.unwrap();
    store.remove_alias(&other).await.unwrap();
    store.set_quota(&address, Quota::default(), NOW).await.unwrap();
    store.user(&address).await.unwrap();
    store.users().await.unwrap();
    store.remove_user(&address).await.unwrap();
}

/// That numbers, references and stored messages of a database agree with its entries.
async fn check(database: &mongodb::Database) {
    let all = async |name: &str| -> Vec<Document> {
        database.collection::<Document>(name).find(doc! {}).await.unwrap().try_collect().await.unwrap()
    };
    let number = |document: &Document, name: &str| document.get_i64(name).unwrap();
    let id = |document: &Document, name: &str| document.get_object_id(name).unwrap();
    let (mut of_mailbox, mut references) = (BTreeMap::new(), BTreeMap::new());
    let mut of_user: BTreeMap<oid::ObjectId, (i64, i64)> = BTreeMap::new();
    for entry in all("entries").await {
        let counts: &mut [i64; 4] = of_mailbox.entry(id(&entry, "mailbox")).or_default();
        let flags = Flags::from_bits(number(&entry, "flags") as u64);
        let size = number(&entry, "size");
        let is = |flag| i64::from(flags.contains(flag));
        let more = [1, 1 - is(Flags::SEEN), is(Flags::DELETED), size];
        counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
        assert_eq!(entry.get_bool("isDeleted").unwrap_or(false), flags.contains(Flags::DELETED));
        *references.entry(id(&entry, "email")).or_insert(0_i64) += 1;
    }
    for mailbox in all("mailboxes").await {
        let counts = of_mailbox.remove(&id(&mailbox, "_id")).unwrap_or_default();
        let told = ["messages", "unseen", "deleted", "bytes"].map(|name| number(&mailbox, name));
        assert_eq!(told, counts, "{mailbox}");
        let usage = of_user.entry(id(&mailbox, "user")).or_default();
        *usage = (usage.0 + told[0], usage.1 + told[3]);
    }
    assert!(of_mailbox.is_empty(), "entries without a mailbox: {of_mailbox:?}");
    for account in all("accounts").await {
        let usage = of_user.remove(&id(&account, "_id")).unwrap_or_default();
        assert_eq!((number(&account, "messages"), number(&account, "bytes")), usage);
    }
    let emails: BTreeSet<_> = all("emails").await.iter().map(|email| id(email, "_id")).collect();
    for digest in all("digests").await {
        let email = id(&digest, "_id");
        let expected = references.remove(&email).unwrap_or(0);
        assert_eq!(number(&digest, "references"), expected, "{digest}");
        assert!(emails.contains(&email), "a digest without an e-mail");
        assert!(expected > 0 || digest.get_bool("staysOnRecord").unwrap(), "nothing keeps {digest}");
    }
    assert!(references.is_empty(), "entries without a message: {references:?}");
}

async fn database(url: &str) -> mongodb::Database {
    Client::with_uri_str(url).await.unwrap().default_database().unwrap()
}

/// Waits until the change is told, and forgets what else was.
async fn hear(heard: &mut broadcast::Receiver<MailboxChange>, expected: MailboxChange) {
    let listening = async { while heard.recv().await.unwrap() != expected {} };
    tokio::time::timeout(Duration::from_secs(GUARD_SECONDS), listening).await.unwrap();
    while heard.try_recv().is_ok() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_in_mailboxes_is_heard_everywhere() {
    let mongo = Mongo::default();
    let polling = MongoOptions { polls_for_changes: true, ..options(mongo.url().await) };
    let (store, other) = (mongo.store().await, mongo.store().await);
    let third = MongoStore::open(polling).await.unwrap();
    let mut heard = [store.mailbox_changes(), other.mailbox_changes(), third.mailbox_changes()];
    let user = add_user(&store, "ann@example.org").await;
    for heard in &mut heard {
        hear(heard, MailboxChange::Mailboxes { user }).await;
    }
    let inbox = mailbox(&store, user, "INBOX").await;
    let messages = MailboxChange::Messages { user, mailbox: inbox };
    let all = || UidSet::range(1, u32::MAX);
    for step in 0..5 {
        let [own, ..] = &mut heard;
        while own.try_recv().is_ok() {}
        let started = Instant::now();
        match step {
            0 => drop(store.accept(filed(&[user])).await.unwrap()),
            1 => drop(store.append(append(inbox, "a", Flags::NONE)).await.unwrap()),
            2 => drop(store.store_flags(flag(inbox, all(), FlagsOperation::Add, Flags::DELETED)).await.unwrap()),
            3 => drop(store.expunge(inbox, None).await.unwrap()),
            _ => assert!(store.delete_mailbox(inbox).await.unwrap()),
        }
        let told = std::iter::from_fn(|| heard[0].try_recv().ok()).collect::<Vec<_>>();
        assert!(told.contains(&messages), "who did it hears at once: {told:?}");
        for heard in &mut heard[1..] {
            hear(heard, messages).await;
        }
        assert!(started.elapsed() < HEARD_WITHIN * 3, "heard after {:?}", started.elapsed());
    }
    // What changes nothing is told to nobody.
    let drafts = mailbox(&store, user, "Drafts").await;
    store.store_flags(flag(drafts, all(), FlagsOperation::Add, Flags::SEEN)).await.unwrap();
    assert!(heard[0].try_recv().is_err_and(|error| error == broadcast::error::TryRecvError::Empty));
}

/// A mailbox as somebody knows it who has read all deltas.
#[derive(Debug, Default)]
struct Follower {
    modseq: Modseq,
    entries: BTreeMap<u32, Entry>,
    gone: BTreeSet<u32>,
}

impl Follower {
    async fn follow(&mut self, store: &MongoStore, mailbox: MailboxId) {
        let delta = store.mailbox_delta(mailbox, self.modseq).await.unwrap().unwrap();
        let record = &delta.record;
        assert!(delta.is_complete && record.highest_modseq >= self.modseq);
        for entry in &delta.changed {
            let window = self.modseq + 1..=record.highest_modseq;
            assert!(window.contains(&entry.modseq), "{entry:?} came out of order, in {window:?}");
            assert!(!self.gone.contains(&entry.uid), "a UID came again");
            assert!(entry.uid < record.uid_next);
            self.entries.insert(entry.uid, *entry);
        }
        for uid in delta.expunged.iter() {
            self.gone.insert(uid);
            self.entries.remove(&uid);
        }
        assert_eq!(self.entries.len() as u64, record.counts.messages, "all of it is of one moment");
        let unseen = self.entries.values().filter(|entry| !entry.flags.contains(Flags::SEEN)).count();
        assert_eq!(unseen as u64, record.counts.unseen);
        self.modseq = record.highest_modseq;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_write_one_mailbox_together() {
    const ROUNDS: u32 = 12;
    let mongo = Mongo::default();
    let stores = [Arc::new(mongo.store().await), Arc::new(mongo.store().await)];
    let user = add_user(&stores[0], "ann@example.org").await;
    let inbox = mailbox(&stores[0], user, "INBOX").await;
    let archive = mailbox(&stores[0], user, "Archive").await;
    let is_done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let followers = stores.clone().map(|store| {
        let is_done = is_done.clone();
        tokio::spawn(async move {
            let mut follower = Follower::default();
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                follower.follow(&store, inbox).await;
            }
            follower.follow(&store, inbox).await;
            follower
        })
    });
    let mut writers = Vec::new();
    for (n, store) in stores.iter().enumerate() {
        for task in 0..4 {
            let store = store.clone();
            writers.push(tokio::spawn(async move {
                let mut given = Vec::new();
                for round in 0..ROUNDS {
                    let half = |part: u32| (1..200).filter(|uid| uid % 3 == part).collect::<UidSet>();
                    match task {
                        0 => drop(store.accept(filed(&[user])).await.unwrap()),
                        1 => {
                            let next = store.mailbox_delta(inbox, Modseq::MAX).await.unwrap().unwrap().record.uid_next;
                            let uids = store.append(append(inbox, format!("{n}"), Flags::NONE)).await.unwrap().uids;
                            assert!(uids[0] >= next, "UIDs ascend in the order of commits");
                            given.extend(uids);
                        }
                        2 => {
                            let operation = if round % 2 == 0 { FlagsOperation::Add } else { FlagsOperation::Remove };
                            let seen = flag(inbox, half(n as u32), operation, Flags::SEEN);
                            store.store_flags(seen).await.unwrap();
                        }
                        _ => {
                            let part = (round % 3..round % 3 + 1).map(|offset| round * 2 + offset).collect::<UidSet>();
                            store.copy_messages(copy(inbox, archive, part.clone(), false)).await.unwrap();
                            let deleted = flag(inbox, part, FlagsOperation::Add, Flags::DELETED);
                            store.store_flags(deleted).await.unwrap();
                            store.expunge(inbox, None).await.unwrap();
                        }
                    }
                }
                given
            }));
        }
    }
    let mut given = Vec::new();
    for writer in writers {
        given.extend(writer.await.unwrap());
    }
    is_done.store(true, std::sync::atomic::Ordering::Relaxed);
    let unique: BTreeSet<_> = given.iter().collect();
    assert_eq!((unique.len(), given.len()), (2 * ROUNDS as usize, 2 * ROUNDS as usize), "each UID is given once");
    let opened = stores[1].open_mailbox(inbox).await.unwrap().unwrap();
    assert_eq!(opened.record.uid_next, 4 * ROUNDS + 1, "each message has one, and no other was used");
    for follower in followers {
        let follower = follower.await.unwrap();
        assert_eq!(follower.entries.into_values().collect::<Vec<_>>(), opened.entries);
        assert_eq!(follower.modseq, opened.record.highest_modseq);
    }
    check(&database(mongo.url().await).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_off_is_done_wholly_or_not_at_all() {
    let Some(cut) = Cut::start().await else { return };
    let store = &cut.store;
    let user = add_user(store, "ann@example.org").await;
    let (inbox, archive) = (mailbox(store, user, "INBOX").await, mailbox(store, user, "Archive").await);
    let mut acknowledged = Vec::new();
    for round in 0..6_u64 {
        for n in 0..4 {
            let new = append(inbox, format!("Subject: {round} {n}\r\n\r\n"), Flags::NONE);
            let id = new.messages[0].id;
            store.append(new).await.unwrap();
            acknowledged.push(id);
        }
        // The connection breaks at another place each time: within the transaction, at its commit, after it.
        let new = append(inbox, format!("Subject: {round} late\r\n\r\n"), Flags::NONE);
        let id = new.messages[0].id;
        let half = UidSet::from_iter((1..200).filter(|uid| uid % 2 == (round % 2) as u32));
        let moved = if round % 2 == 0 { copy(inbox, archive, half, true) } else { copy(archive, inbox, half, true) };
        let breaking = async {
            tokio::time::sleep(Duration::from_millis(2 + 5 * round)).await;
            let mode = if round % 3 == 0 { ProxyMode::Drop } else { ProxyMode::HalfClose };
            cut.proxy.set(mode).await;
        };
        let (appended, _, ()) = tokio::join!(store.append(new), store.copy_messages(moved), breaking);
        if appended.is_ok() {
            acknowledged.push(id);
        }
        cut.proxy.set(ProxyMode::Pass).await;
        eventually("the store to work again", async || store.health().await.ok()).await;
        // A transaction that nobody ends may stay open for a while and be in the way of this one.
        eventually("the mailbox to be free", async || store.append(append(archive, "x", Flags::NONE)).await.ok()).await;
    }
    let mut there = BTreeMap::new();
    for mailbox in [inbox, archive] {
        let opened = store.open_mailbox(mailbox).await.unwrap().unwrap();
        opened.entries.iter().for_each(|entry| *there.entry(entry.email).or_insert(0) += 1);
    }
    for id in acknowledged {
        assert_eq!(there.get(&id), Some(&1), "what was acknowledged is in one of the mailboxes, once");
    }
    assert!(there.values().all(|&count| count == 1), "nothing was moved by halves");
    check(&cut.database().await).await;
}

#[tokio::test]
async fn what_a_user_put_there_is_in_emails_but_marked() {
    let mongo = Mongo::default();
    let store = mongo.store().await;
    let user = add_user(&store, "ann@example.org").await;
    let inbox = mailbox(&store, user, "INBOX").await;
    let raw = "From: ann@example.org\r\nSubject: mine\r\n\r\nText.\r\n";
    store.append(append(inbox, raw, Flags::NONE)).await.unwrap();
    let emails = mongo.collection("emails").await;
    let email = emails.find_one(doc! { "subject": "mine" }).await.unwrap().unwrap();
    assert_eq!(email.get_str("raw").unwrap(), raw);
    assert!(!email.get_bool("isListed").unwrap());
    for field in ["sender", "recipients", "subject", "text", "html", "attachments", "raw", "createdAt"] {
        assert!(email.contains_key(field), "{field}");
    }
    assert!(!email.contains_key("status") && !email.contains_key("search"));
    // What is deleted from the record, and in a mailbox, is the same.
    let filed = filed(&[user]);
    let id = filed.id;
    store.accept(filed).await.unwrap();
    assert!(store.delete(id).await.unwrap());
    let filter = doc! { "_id": oid::ObjectId::from_bytes(*id.as_bytes()) };
    let email = emails.find_one(filter.clone()).await.unwrap().unwrap();
    assert!(!email.get_bool("isListed").unwrap());
    assert!(!email.contains_key("status") && !email.contains_key("search"));
    store.store_flags(flag(inbox, UidSet::range(1, 9), FlagsOperation::Add, Flags::DELETED)).await.unwrap();
    assert_eq!(store.expunge(inbox, None).await.unwrap().uids, UidSet::range(1, 2));
    assert_eq!(emails.count_documents(doc! {}).await.unwrap(), 0);
    check(&database(mongo.url().await).await).await;
}

#[tokio::test]
async fn files_go_with_the_last_mailbox() {
    let mongo = Mongo::default();
    let store = mongo.store().await;
    let user = add_user(&store, "ann@example.org").await;
    let (inbox, archive) = (mailbox(&store, user, "INBOX").await, mailbox(&store, user, "Archive").await);
    let raw = Bytes::from(postrider_testkit::mail::big_attachment(17 << 20));
    let new = append(inbox, raw.clone(), Flags::DELETED);
    let id = new.messages[0].id;
    store.append(new).await.unwrap();
    let files = mongo.collection("fs.files").await;
    assert!(files.count_documents(doc! {}).await.unwrap() > 0);
    store.copy_messages(copy(inbox, archive, UidSet::range(1, 1), false)).await.unwrap();
    store.expunge(inbox, None).await.unwrap();
    assert_eq!(store.messages(&[id]).await.unwrap(), [Some(raw.clone())]);
    store.expunge(archive, None).await.unwrap();
    assert_eq!(store.messages(&[id]).await.unwrap(), [None]);
    assert_eq!(files.count_documents(doc! {}).await.unwrap(), 0);
    // What is refused leaves nothing.
    let address = Address::parse("ann@example.org").unwrap();
    store.set_quota(&address, Quota { bytes: Some(1_000), messages: None }, NOW).await.unwrap();
    assert_eq!(store.append(append(inbox, raw, Flags::NONE)).await, Err(StoreError::OverQuota));
    assert_eq!(files.count_documents(doc! {}).await.unwrap(), 0);
}

#[tokio::test]
async fn a_sweep_goes_on_with_what_a_crash_left_of_a_mailbox() {
    let mongo = Mongo::default();
    let store = mongo.store().await;
    let user = add_user(&store, "ann@example.org").await;
    let (inbox, drafts) = (mailbox(&store, user, "INBOX").await, mailbox(&store, user, "Drafts").await);
    let new = append(drafts, "one", Flags::NONE);
    let id = new.messages[0].id;
    store.append(new).await.unwrap();
    store.append(append(inbox, "two", Flags::NONE)).await.unwrap();
    store.append(append(drafts, "three", Flags::DELETED)).await.unwrap();
    store.expunge(drafts, None).await.unwrap();
    // As a node leaves it that dies right after the first commit.
    let key = oid::ObjectId::from_bytes(*drafts.as_bytes());
    mongo.collection("mailboxes").await.delete_one(doc! { "_id": key }).await.unwrap();
    mongo.collection("removals").await.insert_one(doc! { "_id": key }).await.unwrap();
    let usage = doc! { "$inc": { "messages": -1_i64, "bytes": -3_i64, "mailboxes": -1_i64 } };
    mongo.collection("accounts").await.update_one(doc! {}, usage).await.unwrap();
    assert_eq!(store.sweep().await.unwrap(), 1);
    assert_eq!(store.sweep().await.unwrap(), 0);
    assert_eq!(store.messages(&[id]).await.unwrap(), [None]);
    for name in ["expunged", "removals"] {
        assert_eq!(mongo.collection(name).await.count_documents(doc! {}).await.unwrap(), 0, "{name}");
    }
    check(&database(mongo.url().await).await).await;
}

#[tokio::test]
async fn users_of_an_older_database_get_mailboxes() {
    let mongo = Mongo::default();
    let store = mongo.store().await;
    add_user(&store, "ann@example.org").await;
    add_user(&store, "bob@example.org").await;
    store.close().await.unwrap();
    // As the version before left it.
    for name in ["accounts", "addresses", "mailboxes", "subscriptions"] {
        mongo.collection(name).await.delete_many(doc! {}).await.unwrap();
    }
    let users = mongo.collection("users").await;
    users.update_many(doc! {}, doc! { "$unset": { "id": "", "quota": "" } }).await.unwrap();
    let version = doc! { "$set": { "version": Bson::Int64(1) } };
    mongo.collection("meta").await.update_one(doc! { "_id": "schema" }, version).await.unwrap();
    let (store, other) = tokio::join!(mongo.store(), mongo.store());
    for text in ["ann@example.org", "bob@example.org"] {
        let user = store.user(&Address::parse(text).unwrap()).await.unwrap().unwrap();
        assert_eq!(other.mailboxes(user.id).await.unwrap().len(), 6);
        assert_eq!(store.subscriptions(user.id).await.unwrap().len(), 6);
        store.accept(filed(&[user.id])).await.unwrap();
        assert_eq!(store.usage(user.id).await.unwrap().messages, 1);
        let alias = AliasRecord {
            address: user.address.clone(),
            targets: vec![user.address],
            created_at: NOW,
            updated_at: NOW,
        };
        assert!(matches!(store.add_alias(alias).await, Err(StoreError::Exists(_))));
    }
}

/// As a node that dies within a transaction leaves it: nobody can change what it changed, until somebody ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_left_open_is_ended_with_it() {
    let mongo = Mongo::default();
    let store = mongo.store().await;
    let user = add_user(&store, "ann@example.org").await;
    let inbox = mailbox(&store, user, "INBOX").await;
    for lapses in [false, true] {
        let dead = register(&mongo.store().await).await;
        let database = database(mongo.url().await).await;
        let mut session = database.client().start_session().await.unwrap();
        let noted = doc! { "$set": { "sessions": [session.id()] } };
        let of_dead = doc! { "_id": oid::ObjectId::from_bytes(*dead.as_bytes()) };
        database.collection::<Document>("nodes").update_one(of_dead, noted).await.unwrap();
        session.start_transaction().await.unwrap();
        let key = doc! { "_id": oid::ObjectId::from_bytes(*inbox.as_bytes()) };
        let update = doc! { "$inc": { "uidNext": 7_i64 } };
        let mailboxes = database.collection::<Document>("mailboxes");
        mailboxes.update_one(key, update).session(&mut session).await.unwrap();
        if lapses {
            let later = NOW + LEASE * 2;
            store.renew(Renewal::new(ObjectId::new(later), later, LEASE)).await.unwrap().unwrap();
        } else {
            store.leave(dead).await.unwrap();
        }
        let started = Instant::now();
        let next = if lapses { 2 } else { 1 };
        assert_eq!(store.append(append(inbox, "x", Flags::NONE)).await.unwrap().uids, [next]);
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}
