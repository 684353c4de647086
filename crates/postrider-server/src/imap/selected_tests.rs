//! Whatever happens to a mailbox, a client that applies what it is told knows what the store has; and sequence numbers hold
//! where they must.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use postrider_core::mailbox::{Digest, Flags, NamedFlags, UidSet};
use postrider_core::{Address, Message, ObjectId, Timestamp};
use postrider_store::sqlite::SqliteOptions;
use postrider_store::{
    Append, AppendMessage, CopyMessages, Directory, FlagsOperation, MailboxId, Mailboxes, NewMailbox, Quota, ScramKeys,
    SqliteStore, StoreFlags, User, UserId,
};
use postrider_wire::imap::response::Dialect;
use proptest::prelude::*;

use super::registry::Registry;
use super::selected::{Selected, Telling, flag_names};
use crate::clock::SystemClock;

/// What may happen, and what the session may do meanwhile. UIDs are taken from those that were given so far.
#[derive(Debug, Clone)]
enum Step {
    Append {
        count: usize,
        flags: u64,
    },
    Store {
        operation: FlagsOperation,
        uids: Vec<u32>,
        flags: u64,
        keyword: Option<u8>,
    },
    Expunge,
    Move {
        uids: Vec<u32>,
    },
    /// The session changes flags itself, and is not told of that.
    OwnSilentStore {
        operation: FlagsOperation,
        uids: Vec<u32>,
        flags: u64,
        keyword: Option<u8>,
    },
    Refresh,
    Tell {
        expunges: bool,
        flags: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let uids = || prop::collection::vec(1u32..40, 0..8);
    let operation =
        || prop_oneof![Just(FlagsOperation::Replace), Just(FlagsOperation::Add), Just(FlagsOperation::Remove)];
    let step = prop_oneof![
        2 => (1usize..6, 0u64..32).prop_map(|(count, flags)| Step::Append { count, flags }),
        3 => (operation(), uids(), 0u64..32, prop::option::of(0u8..4))
            .prop_map(|(operation, uids, flags, keyword)| Step::Store { operation, uids, flags, keyword }),
        2 => Just(Step::Expunge),
        1 => uids().prop_map(|uids| Step::Move { uids }),
        1 => (operation(), uids(), 0u64..32, prop::option::of(0u8..4))
            .prop_map(|(operation, uids, flags, keyword)| Step::OwnSilentStore { operation, uids, flags, keyword }),
        3 => Just(Step::Refresh),
        4 => (any::<bool>(), any::<bool>()).prop_map(|(expunges, flags)| Step::Tell { expunges, flags }),
    ];
    prop::collection::vec(step, 1..40)
}

pub(super) struct World {
    _folder: tempfile::TempDir,
    pub(super) store: Arc<SqliteStore>,
    pub(super) user: UserId,
}

impl World {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(SqliteOptions::new(folder.path())).unwrap());
        let now = Timestamp::system();
        let user = User {
            id: ObjectId::new(now),
            address: Address::parse("bob@example.org").unwrap(),
            password_hash: String::new(),
            scram: ScramKeys { salt: Vec::new(), iterations: 1, stored_key: [0; 32], server_key: [0; 32] },
            quota: Quota::default(),
            is_enabled: true,
            created_at: now,
            updated_at: now,
        };
        let id = user.id;
        store.add_user(user).await.unwrap();
        Self { _folder: folder, store, user: id }
    }

    pub(super) async fn mailbox(&self) -> MailboxId {
        let now = Timestamp::system();
        let name = format!("m{}", ObjectId::new(now)).parse().unwrap();
        self.store.create_mailbox(NewMailbox { user: self.user, name, special_use: None, now }).await.unwrap().id
    }

    /// A message to be appended.
    pub(super) fn message(&self, flags: u64) -> AppendMessage {
        let now = Timestamp::system();
        let raw = Bytes::from_static(b"Subject: x\r\n\r\nx\r\n");
        AppendMessage {
            id: ObjectId::new(now),
            message: Message::parse(raw.clone(), 0),
            digest: Digest::of(&raw).as_bytes().clone(),
            flags: NamedFlags::from(Flags::from_bits(flags)),
            internal_date: now,
        }
    }

    async fn append(&self, mailbox: MailboxId, count: usize, flags: u64) {
        let now = Timestamp::system();
        let messages = (0..count).map(|_| self.message(flags)).collect();
        self.store.append(Append { mailbox, messages, replaces: None, now }).await.unwrap();
    }
}

/// A client that believes what it is told.
#[derive(Debug, Default)]
struct Client {
    /// UID and flags by sequence number, as far as it knows.
    messages: Vec<Option<(u32, String)>>,
    /// Of the last FLAGS response.
    flags: String,
}

impl Client {
    /// Takes in responses. Returns how many messages went.
    fn hear(&mut self, responses: &[u8]) -> usize {
        let mut gone = 0;
        for line in std::str::from_utf8(responses).unwrap().lines() {
            let line = line.strip_prefix("* ").unwrap();
            if let Some(uids) = line.strip_prefix("VANISHED ") {
                let before = self.messages.len();
                let set = uid_set(uids);
                self.messages.retain(|message| message.as_ref().is_none_or(|(uid, _)| !set.contains(*uid)));
                gone += before - self.messages.len();
                continue;
            }
            if let Some(flags) = line.strip_prefix("FLAGS ") {
                self.flags = flags.to_owned();
            }
            let (number, rest) = line.split_once(' ').unwrap();
            let Ok(number) = number.parse::<usize>() else { continue };
            if rest == "EXISTS" {
                assert!(number >= self.messages.len(), "messages went without a word");
                self.messages.resize(number, None);
            } else if rest == "EXPUNGE" {
                self.messages.remove(number - 1);
                gone += 1;
            } else if let Some(items) = rest.strip_prefix("FETCH (UID ") {
                let (uid, items) = items.split_once(" FLAGS (").unwrap();
                let (uid, flags) = (uid.parse().unwrap(), items.split_once(')').unwrap().0.to_owned());
                let known = self.messages.get_mut(number - 1).expect("a message that was told of");
                assert!(known.as_ref().is_none_or(|(known, _)| *known == uid), "a number means another message");
                *known = Some((uid, flags));
            }
        }
        gone
    }

    /// Asks for what it does not know, as clients do.
    fn fetch(&mut self, selected: &Selected) {
        for (index, message) in self.messages.iter_mut().enumerate() {
            let entry = selected.view.get(index).expect("as many as were told of");
            let known = message.get_or_insert_with(|| (entry.uid, shown(selected, entry.flags)));
            assert_eq!(known.0, entry.uid);
        }
    }
}

fn named(flags: u64, keyword: Option<u8>) -> NamedFlags {
    let keywords = keyword.map(|n| format!("k{n}").parse().unwrap()).into_iter().collect();
    NamedFlags { system: Flags::from_bits(flags), keywords }
}

fn shown(selected: &Selected, flags: Flags) -> String {
    flag_names(flags, &selected.view.record.keywords).collect::<Vec<_>>().join(" ")
}

fn uid_set(text: &str) -> UidSet {
    UidSet::from_ranges(text.split(',').map(|range| {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        (first.parse().unwrap(), last.parse().unwrap())
    }))
}

async fn check(world: &World, steps: Vec<Step>, qresync: bool) {
    let (mailbox, other) = (world.mailbox().await, world.mailbox().await);
    world.append(mailbox, 3, 0).await;
    let registry = Registry::new(world.store.clone(), Arc::new(SystemClock));
    let shared = registry.open(mailbox).await.unwrap().unwrap();
    let mut selected = Selected::new(shared.clone(), false, u32::MAX).unwrap();
    let mut client = Client { messages: vec![None; selected.view.len()], flags: String::new() };
    client.fetch(&selected);
    let dialect = Dialect { rev2: true, utf8_accept: false };
    let tell = |selected: &mut Selected, client: &mut Client, expunges: bool, flags: bool| {
        let mut out = BytesMut::new();
        assert!(selected.tell(&mut out, Telling { dialect, condstore: false, qresync, expunges, flags }));
        let gone = client.hear(&out);
        assert!(expunges || gone == 0, "sequence numbers have shifted");
        assert_eq!(client.messages.len(), selected.view.len());
        client.fetch(selected);
    };
    for step in steps {
        match step {
            Step::Append { count, flags } => world.append(mailbox, count, flags).await,
            Step::Store { operation, uids, flags, keyword } => {
                let flags = named(flags, keyword);
                let uids = uids.into_iter().collect();
                let store = StoreFlags { mailbox, uids, operation, flags, unchanged_since: None };
                world.store.store_flags(store).await.unwrap();
            }
            Step::Expunge => {
                world.store.expunge(mailbox, None).await.unwrap();
            }
            Step::Move { uids } => {
                let uids = uids.into_iter().collect();
                let copy = CopyMessages { from: mailbox, uids, to: other, moves: true, now: Timestamp::system() };
                world.store.copy_messages(copy).await.unwrap();
            }
            Step::OwnSilentStore { operation, uids, flags, keyword } => {
                // Of what the client knows; others may have it changed or expunged meanwhile.
                let uids: UidSet = uids.into_iter().filter(|uid| selected.view.index_of(*uid).is_some()).collect();
                let flags = named(flags, keyword);
                let store = StoreFlags { mailbox, uids, operation, flags, unchanged_since: None };
                let stored = world.store.store_flags(store).await.unwrap();
                assert!(shared.flags_stored(operation, &stored).await);
                selected.know(operation, &stored);
                for (index, message) in client.messages.iter_mut().enumerate() {
                    let entry = selected.view.get(index).unwrap();
                    if stored.changed.contains(entry.uid) && entry.modseq == stored.modseq {
                        *message = Some((entry.uid, shown(&selected, entry.flags)));
                    }
                }
            }
            Step::Refresh => shared.refresh().await.unwrap(),
            Step::Tell { expunges, flags } => tell(&mut selected, &mut client, expunges, flags),
        }
    }
    shared.refresh().await.unwrap();
    tell(&mut selected, &mut client, true, true);
    let truth = world.store.open_mailbox(mailbox).await.unwrap().unwrap();
    assert_eq!(*selected.view.record, truth.record);
    assert_eq!(selected.view.iter().copied().collect::<Vec<_>>(), truth.entries);
    let expected: Vec<_> = truth.entries.iter().map(|entry| Some((entry.uid, shown(&selected, entry.flags)))).collect();
    assert_eq!(client.messages, expected);
    let mut keywords = truth.record.keywords.iter();
    assert!(keywords.all(|keyword| client.flags.contains(keyword.as_str())), "a keyword came without a word");
}

#[test]
fn a_client_knows_what_the_store_has() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        // Each has a store to write to.
        cases: ProptestConfig::default().cases / 5,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&(steps(), any::<bool>()), |(steps, qresync)| {
        runtime.block_on(check(&world, steps, qresync));
        Ok(())
    });
    result.unwrap();
}
