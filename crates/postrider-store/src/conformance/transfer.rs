//! Moving everything from one store to another.

use std::sync::Arc;

use bytes::Bytes;
use postrider_core::{
    BodyType, Category, DsnReturn, EmailStatus, Envelope, Message, Notify, ObjectId, Outcome, Recipient, ReversePath,
};

use super::Harness;
use super::fixtures::*;
use crate::error::StoreError;
use crate::records::*;
use crate::traits::Store;

/// When all is there that [`populate`] makes.
const POPULATED: i64 = 100;

/// Puts one of everything into the store: each status, each field, messages of all kinds.
async fn populate(store: &Arc<dyn Store>) -> NodeId {
    let node = register(store, 0).await;
    received(store).await;
    let mut tried = email(2, &["a@one.example", "b@two.example", "c@three.example", "d@four.example"]);
    tried.deliveries.iter_mut().for_each(|delivery| delivery.claimed_by = Some(node));
    let tried = accept(store, tried).await;
    let mut settle = Settle::default();
    for (number, next) in (0..).zip([Next::Sent, Next::Failed, Next::Retry { at: at(20) }, Next::Retry { at: at(900) }])
    {
        let mut settlement = settlement(delivery(tried, number), 1, 3 + i64::from(number), next);
        settlement.delay_notified = number == 3;
        settle.settlements.push(settlement);
    }
    store.settle(node, settle).await.unwrap();
    assert_eq!(claim_all(store, node, 20).await, [delivery(tried, 2)]);
    // Tried after an e-mail that came later, and for another reason.
    let mut again = settlement(delivery(tried, 2), 2, 60, Next::Retry { at: at(800) });
    again.attempt.source_ip = Some("2001:db8::1".parse().unwrap());
    again.attempt.outcome =
        Outcome::Deferred { category: Category::Connection, reply: None, reason: "nobody answers".into() };
    store.settle(node, Settle { settlements: vec![again], ..Settle::default() }).await.unwrap();
    let retried = accept(store, claimed_email(30, &["a@one.example"], node)).await;
    assert_eq!(super::fixtures::settle(store, node, delivery(retried, 0), 31, Next::Failed).await, 1);
    order(store, retried, Order::Retry, 32).await;
    for (seconds, next) in [(33, Next::Sent), (34, Next::Failed), (35, Next::Retry { at: at(40) })] {
        let id = accept(store, claimed_email(seconds, &["x@three.example"], node)).await;
        super::fixtures::settle(store, node, delivery(id, 0), seconds + 1, next).await;
    }
    let held = accept(store, email(41, &["h@five.example"])).await;
    order(store, held, Order::Hold, 42).await;
    let cancelled = accept(store, email(43, &["c@five.example"])).await;
    order(store, cancelled, Order::Cancel, 44).await;
    accept(store, claimed_email(45, &["s@six.example"], node)).await;
    let mut later = email(46, &["l@six.example", "m@six.example"]);
    later.deliveries[1].due_at = at(5_000);
    accept(store, later).await;
    node
}

async fn received(store: &Arc<dyn Store>) {
    let mut new = email(1, &["b@two.example", "\"q u\"@[192.0.2.7]"]);
    let raw = b"Return-Path: <>\r\nMessage-ID: <m@x>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nHello \xff\r\n\
        --b\r\nContent-Type: text/csv; name=t.csv\r\nContent-Disposition: attachment\r\n\r\n1,2\r\n--b--\r\n";
    new.message = Message::parse(Bytes::from_static(raw), 17);
    new.envelope = Envelope {
        reverse_path: ReversePath(Some(address("Sender@EXAMPLE.com"))),
        body: BodyType::EightBitMime,
        smtputf8: true,
        dsn_return: Some(DsnReturn::Headers),
        envelope_id: Some("env+2B".into()),
        require_tls: true,
    };
    new.kept = vec![Recipient {
        address: address("kept@here.example"),
        notify: Some(Notify::NEVER),
        original_recipient: Some("rfc822;x".into()),
    }];
    new.deliveries[0].recipient.notify = Some(Notify { success: true, failure: false, delay: true });
    (new.instructions, new.authentication) = (instructions(), authentication());
    let id = accept(store, new.clone()).await;
    order(store, id, Order::Cancel, 1).await;
    let alone = NewEmail {
        id: ObjectId::new(at(1)),
        envelope: Envelope::default(),
        message: Message::parse(Bytes::new(), 0),
        deliveries: Vec::new(),
        ..new
    };
    accept(store, alone).await;
}

async fn order(store: &Arc<dyn Store>, id: ObjectId, order: Order, seconds: i64) {
    let selection = Selection { emails: vec![id], ..Selection::default() };
    assert!(store.order(selection, order, at(seconds)).await.unwrap().changed > 0);
}

/// Everything, in exports of so many.
async fn export_all(store: &Arc<dyn Store>, count: usize) -> Vec<StoredEmail> {
    export_after(store, None, count).await
}

async fn export_after(store: &Arc<dyn Store>, mut after: Option<ObjectId>, count: usize) -> Vec<StoredEmail> {
    let mut all = Vec::new();
    loop {
        let emails = store.export(after, count).await.unwrap();
        let Some(last) = emails.last() else { return all };
        assert!(emails.len() <= count);
        after = Some(last.id);
        all.extend(emails);
    }
}

fn ids_of(emails: &[StoredEmail]) -> Vec<ObjectId> {
    emails.iter().map(|email| email.id).collect()
}

/// Compares two stores by all that can be read of them.
async fn assert_same(one: &Arc<dyn Store>, other: &Arc<dyn Store>) {
    let page = one.list(&EmailFilter::default(), 1, 1_000).await.unwrap();
    assert_eq!(other.list(&EmailFilter::default(), 1, 1_000).await.unwrap(), page);
    for email in &page.emails {
        assert_eq!(detail(other, email.id).await, detail(one, email.id).await);
        assert_eq!(other.raw(email.id).await.unwrap(), one.raw(email.id).await.unwrap());
    }
    for &status in EmailStatus::ALL {
        let filter = EmailFilter { status: Some(status), ..EmailFilter::default() };
        assert_eq!(listed(other, filter.clone()).await, listed(one, filter).await, "{status}");
    }
    assert_eq!(stats(other).await, stats(one).await);
}

/// Without what was sent and failed in the last minute, which does not move.
async fn stats(store: &Arc<dyn Store>) -> QueueStats {
    let stats = store.queue_stats(at(POPULATED)).await.unwrap();
    QueueStats { sent_last_minute: 0, failed_last_minute: 0, ..stats }
}

pub(super) async fn an_imported_store_is_the_same_by_every_read(harness: &dyn Harness) {
    let store = harness.open().await;
    let node = populate(&store).await;
    let statuses = |stats: &QueueStats| {
        [
            stats.queued,
            stats.sending,
            stats.deferred,
            stats.sent,
            stats.failed,
            stats.held,
            stats.cancelled,
            stats.received,
        ]
    };
    assert!(statuses(&stats(&store).await).iter().all(|&count| count > 0), "one of everything");
    let emails = export_all(&store, 4).await;
    let other = harness.open_other().await;
    assert_eq!(other.import(emails).await.unwrap() as u64, stats(&store).await.total);
    // Claims are left out: the one that is being sent is the same only when nobody sends it.
    assert_eq!(stats(&other).await.sending, 0);
    store.leave(node).await.unwrap();
    assert_same(&store, &other).await;
    // What can be claimed is the same, with all that sending takes; and what comes of it.
    let mut claims = Vec::new();
    for store in [&store, &other] {
        let node = register(store, POPULATED).await;
        let mut claimed = store.claim(request(node, 10_000, 1_000)).await.unwrap().emails;
        claimed.sort_by_key(|email| email.id);
        for email in &claimed {
            for claimed in &email.deliveries {
                let id = delivery(email.id, claimed.number);
                let next = Next::Retry { at: at(20_000) };
                let settlement = settlement(id, claimed.attempts + 1, 10_001, next);
                let settle = Settle { settlements: vec![settlement], ..Settle::default() };
                assert_eq!(store.settle(node, settle).await.unwrap(), 1);
            }
        }
        claims.push(claimed);
    }
    assert!(claims[0].len() >= 5);
    assert_eq!(claims[1], claims[0]);
    assert_same(&store, &other).await;
}

pub(super) async fn an_import_leaves_out_what_is_there(harness: &dyn Harness) {
    let store = harness.open().await;
    let node = populate(&store).await;
    store.leave(node).await.unwrap();
    let emails = export_all(&store, 1_000).await;
    let other = harness.open_other().await;
    let (first, rest) = emails.split_at(3);
    assert_eq!(other.import(first.to_vec()).await.unwrap(), 3);
    assert_eq!(other.import(first.to_vec()).await.unwrap(), 0);
    let twice: Vec<_> = emails.iter().chain(rest).cloned().collect();
    assert_eq!(other.import(twice).await.unwrap(), rest.len());
    assert_eq!(other.import(Vec::new()).await.unwrap(), 0);
    assert_same(&store, &other).await;
    // What has gone on meanwhile is not set back.
    let held = listed(&other, EmailFilter { status: Some(EmailStatus::Held), ..EmailFilter::default() }).await;
    order(&other, held[0], Order::Release, 60).await;
    assert_eq!(other.import(emails).await.unwrap(), 0);
    assert_eq!(detail(&other, held[0]).await.email.status, EmailStatus::Queued);
}

pub(super) async fn an_export_goes_on_behind_any_email(harness: &dyn Harness) {
    let store = harness.open().await;
    assert!(store.export(None, 10).await.unwrap().is_empty());
    populate(&store).await;
    let all = ids_of(&export_all(&store, 1_000).await);
    let mut listed = listed(&store, EmailFilter::default()).await;
    listed.sort();
    let mut sorted = all.clone();
    sorted.sort();
    assert_eq!(sorted, listed, "each is there once");
    for count in [1, 3] {
        assert_eq!(ids_of(&export_all(&store, count).await), all);
    }
    for (n, &id) in all.iter().enumerate() {
        assert_eq!(ids_of(&export_after(&store, Some(id), 5).await), all[n + 1..]);
    }
    assert!(store.export(None, 0).await.unwrap().is_empty());
}

pub(super) async fn large_messages_come_in_small_exports(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut numbers = Numbers(3);
    let noise: Vec<u8> = (0..50_000).map(|_| numbers.below(256) as u8).collect();
    let raw: Bytes = noise.iter().copied().cycle().take(9 << 20).collect();
    let mut ids = Vec::new();
    for n in 0..4 {
        let mut new = email(n, &["a@one.example"]);
        new.message = Message::parse(raw.clone(), 0);
        ids.push(accept(&store, new).await);
    }
    assert!(store.export(None, 100).await.unwrap().len() < 4, "36 MiB in one answer");
    let emails = export_all(&store, 100).await;
    assert_eq!(emails.len(), 4);
    let other = harness.open_other().await;
    for email in emails {
        assert_eq!(other.import(vec![email]).await.unwrap(), 1);
    }
    for id in ids {
        assert!(other.raw(id).await.unwrap().unwrap().raw == raw);
    }
}

/// Mailboxes of one user, with something of everything in them.
async fn populate_mailboxes(store: &Arc<dyn Store>) -> UserId {
    let (ann, bob) = (add_user(store, "ann@example.org").await, add_user(store, "bob@example.org").await);
    let inbox = mailbox(store, ann, "INBOX").await.id;
    for n in 0..150 {
        accept(store, filed_email(n, &[ann, bob][..if n % 5 == 0 { 2 } else { 1 }])).await;
    }
    let mut recorded = filed_email(200, &[ann]);
    recorded.filed.as_mut().unwrap().stays_on_record = true;
    accept(store, recorded).await;
    append(store, inbox, "own", &["\\Seen", "$Forwarded", "work"]).await;
    let work = create(store, ann, "work/2026").await.id;
    copy(store, (inbox, work), set(&[(10, 100), (152, 152)]), false).await;
    store_flags(store, inbox, set(&[(1, 20), (100, 120)]), FlagsOperation::Add, &["\\Deleted", "later"]).await;
    store.expunge(inbox, None).await.unwrap();
    copy(store, (work, inbox), set(&[(5, 9)]), true).await;
    // From the record, not from the mailboxes.
    assert!(store.delete(entries(store, work).await[20].email).await.unwrap());
    store.take_recent(inbox).await.unwrap();
    store.delete_mailbox(mailbox(store, ann, "Junk").await.id).await.unwrap();
    let comment = |value: &'static str| vec![("/private/comment".to_owned(), Some(Bytes::from(value)))];
    store.set_metadata(ann, Some(work), comment("of work")).await.unwrap();
    store.set_metadata(ann, None, comment("of all")).await.unwrap();
    store.subscribe(ann, &name("nowhere"), true).await.unwrap();
    store.subscribe(ann, &name("Sent"), false).await.unwrap();
    ann
}

async fn import_mailboxes(source: &Arc<dyn Store>, target: &Arc<dyn Store>, user: UserId) -> usize {
    let stored = source.export_mailboxes(user).await.unwrap();
    target.import_mailboxes(user, stored.clone()).await.unwrap();
    let mut imported = 0;
    for StoredMailbox { record, .. } in &stored.mailboxes {
        let mut after = 0;
        loop {
            let entries = source.export_entries(record.id, after, 40).await.unwrap();
            let Some(last) = entries.last() else { break };
            assert!(entries.len() <= 40 && entries[0].uid > after);
            after = last.uid;
            imported += target.import_entries(record.id, entries).await.unwrap();
        }
    }
    assert_eq!(target.export_mailboxes(user).await.unwrap(), stored);
    imported
}

pub(super) async fn imported_mailboxes_are_the_same_by_every_read(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = populate_mailboxes(&store).await;
    let other = harness.open_other().await;
    let users = store.users().await.unwrap();
    for user in users.clone() {
        other.add_user(user).await.unwrap();
    }
    let emails = export_all(&store, 50).await;
    assert!(emails.iter().any(|email| !email.hold.is_listed) && emails.iter().any(|email| email.hold.stays_on_record));
    assert!(emails.iter().all(|email| email.digest == Some(digest_of(&email.message.raw))));
    let unlisted = emails.iter().filter(|email| !email.hold.is_listed).count();
    assert_eq!(other.import(emails.clone()).await.unwrap(), emails.len());
    assert_eq!(stats(&other).await.total as usize, emails.len() - unlisted);
    // What only mailboxes keep waits for them.
    for email in &emails {
        assert!(is_kept(&other, email.id).await);
    }
    let mut expected = 0;
    for user in &users {
        expected += store.usage(user.id).await.unwrap().messages as usize;
        import_mailboxes(&store, &other, user.id).await;
        assert_eq!(import_mailboxes(&store, &other, user.id).await, 0, "once more is nothing new");
        assert_eq!(other.mailboxes(user.id).await.unwrap(), store.mailboxes(user.id).await.unwrap());
        assert_eq!(other.subscriptions(user.id).await.unwrap(), store.subscriptions(user.id).await.unwrap());
        assert_eq!(other.metadata(user.id, None).await.unwrap(), store.metadata(user.id, None).await.unwrap());
        assert_eq!(other.usage(user.id).await.unwrap(), store.usage(user.id).await.unwrap());
        for record in store.mailboxes(user.id).await.unwrap() {
            assert_eq!(open(&other, record.id).await, open(&store, record.id).await);
            let notes = store.metadata(user.id, Some(record.id)).await.unwrap();
            assert_eq!(other.metadata(user.id, Some(record.id)).await.unwrap(), notes);
            for since in [0, 1, record.highest_modseq / 2, record.highest_modseq] {
                assert_eq!(delta(&other, record.id, since).await, delta(&store, record.id, since).await);
            }
        }
    }
    assert!(expected > 200);
    assert_same(&store, &other).await;
    // They go on alike: UIDs, recent messages, UIDVALIDITY, and what goes with its last reference.
    for store in [&store, &other] {
        let inbox = mailbox(store, ann, "INBOX").await;
        assert_eq!(append(store, inbox.id, "next", &["later"]).await, inbox.uid_next);
        assert_eq!(store.take_recent(inbox.id).await, Ok(inbox.uid_next));
        store.delete_mailbox(mailbox(store, ann, "work/2026").await.id).await.unwrap();
    }
    let next = store.export_mailboxes(ann).await.unwrap().uid_validity_next;
    assert!(create(&other, ann, "new").await.uid_validity >= next);
    for email in &emails {
        assert_eq!(is_kept(&other, email.id).await, is_kept(&store, email.id).await, "{}", email.id);
    }
}

pub(super) async fn imports_of_mailboxes_are_all_or_nothing(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    accept(&store, filed_email(5, &[ann])).await;
    let stored = store.export_mailboxes(ann).await.unwrap();
    let inbox = mailbox(&store, ann, "INBOX").await;
    let before = open(&store, inbox.id).await;
    // Mail that is there is not thrown away.
    let others = StoredMailboxes { mailboxes: Vec::new(), ..stored.clone() };
    assert!(matches!(store.import_mailboxes(ann, others).await, Err(StoreError::Exists(_))));
    assert_eq!(store.export_mailboxes(ann).await.unwrap(), stored);
    let nobody = ObjectId::from_bytes([9; 12]);
    assert!(matches!(store.import_mailboxes(nobody, stored).await, Err(StoreError::Missing(_))));
    assert!(matches!(store.export_mailboxes(nobody).await, Err(StoreError::Missing(_))));
    // Entries of e-mails that are not there.
    let new = Entry { uid: 2, ..before.entries[0] };
    let dangling = Entry { uid: 3, email: nobody, ..new };
    assert!(matches!(store.import_entries(inbox.id, vec![new, dangling]).await, Err(StoreError::Missing(_))));
    assert!(matches!(store.import_entries(nobody, vec![new]).await, Err(StoreError::Missing(_))));
    assert_eq!(open(&store, inbox.id).await, before);
    assert_eq!(store.import_entries(inbox.id, before.entries.clone()).await, Ok(0));
    assert_eq!(store.export_entries(inbox.id, 1, 10).await, Ok(Vec::new()));
}
