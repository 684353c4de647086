//! Copying, moving and expunging; what refers to a message, and when it goes.

use postrider_core::mailbox::UidSet;
use postrider_core::{EmailStatus, ObjectId};

use super::Harness;
use super::fixtures::*;
use crate::error::StoreError;
use crate::records::*;

pub(super) async fn copies_are_of_one_message(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let (inbox, archive) = (mailbox(&store, ann, "INBOX").await.id, mailbox(&store, ann, "Archive").await);
    for (text, flags) in [("1", &["\\Seen"][..]), ("2", &["work"]), ("3", &["\\Flagged"])] {
        append(&store, inbox, text, flags).await;
    }
    let before = open(&store, inbox).await;
    let copied = copy(&store, (inbox, archive.id), set(&[(1, 1), (3, 9)]), false).await;
    assert_eq!(copied, Copied { uid_validity: archive.uid_validity, uids: vec![(1, 1), (3, 2)] });
    assert_eq!(open(&store, inbox).await, before, "the source is as it was");
    let copies = open(&store, archive.id).await;
    for ((from, _), copy) in copied.uids.iter().zip(&copies.entries) {
        let source = before.entries.iter().find(|entry| entry.uid == *from).unwrap();
        let Entry { flags, email, size, internal_date, .. } = *source;
        let modseq = copies.record.highest_modseq;
        assert_eq!(*copy, Entry { uid: copy.uid, modseq, flags, email, size, internal_date, saved_at: at(60) });
    }
    assert!(copies.record.keywords.is_empty(), "it gets the keywords that come, not those that do not");
    // Into the same mailbox.
    let copied = copy(&store, (inbox, inbox), set(&[(2, 2)]), false).await;
    assert_eq!(copied.uids, [(2, 4)]);
    assert_eq!(entries(&store, inbox).await[3].flags, before.entries[1].flags);
    // Nothing to copy is no change.
    let before = open(&store, archive.id).await;
    assert_eq!(copy(&store, (inbox, archive.id), set(&[(77, 99)]), false).await.uids, []);
    assert_eq!(copy(&store, (inbox, archive.id), UidSet::new(), true).await.uids, []);
    assert_eq!(open(&store, archive.id).await, before);
    let nowhere = ObjectId::from_bytes([9; 12]);
    for (from, to) in [(inbox, nowhere), (nowhere, inbox)] {
        let refused = store.copy_messages(CopyMessages { from, uids: set(&[(1, 1)]), to, moves: true, now: at(60) });
        assert!(matches!(refused.await, Err(StoreError::Missing(_))));
    }
}

pub(super) async fn moved_messages_are_gone_from_where_they_were(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let (inbox, archive) = (mailbox(&store, ann, "INBOX").await.id, mailbox(&store, ann, "Archive").await.id);
    for n in 0..130 {
        append(&store, inbox, &n.to_string(), if n % 3 == 0 { &["\\Seen", "k"] } else { &[] }).await;
    }
    let (before, target) = (open(&store, inbox).await, open(&store, archive).await);
    let uids_moved = set(&[(10, 70), (128, 128)]);
    let moved = copy(&store, (inbox, archive), uids_moved.clone(), true).await;
    let expected: Vec<(u32, u32)> = uids_moved.iter().zip(1..).collect();
    assert_eq!(moved.uids, expected);
    let after = open(&store, inbox).await;
    let left = before.entries.iter().filter(|entry| !uids_moved.contains(entry.uid)).copied();
    assert_eq!(after.entries, left.collect::<Vec<_>>(), "the others are as they were");
    let since = delta(&store, inbox, before.record.highest_modseq).await;
    assert_eq!((&since.expunged, &since.changed), (&uids_moved, &Vec::new()));
    assert_eq!(applied(&before, &since), after);
    assert_eq!(
        applied(&target, &delta(&store, archive, target.record.highest_modseq).await),
        open(&store, archive).await
    );
    for entry in entries(&store, archive).await {
        assert!(is_kept(&store, entry.email).await);
    }
    // Within a mailbox: new UIDs, the same messages.
    let before = open(&store, archive).await;
    let moved = copy(&store, (archive, archive), set(&[(1, 2)]), true).await;
    assert_eq!(moved.uids, [(1, 63), (2, 64)]);
    let after = open(&store, archive).await;
    assert_eq!(after.record.counts, before.record.counts);
    assert_eq!(applied(&before, &delta(&store, archive, before.record.highest_modseq).await), after);
    assert!(is_kept(&store, before.entries[0].email).await);
}

pub(super) async fn marked_messages_are_expunged(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let inbox = mailbox(&store, ann, "INBOX").await.id;
    for n in 0..200 {
        append(&store, inbox, &n.to_string(), if n % 2 == 0 { &["\\Deleted"] } else { &[] }).await;
    }
    let before = open(&store, inbox).await;
    let only = set(&[(1, 5), (64, 66), (300, 400)]);
    let expunged = store.expunge(inbox, Some(only)).await.unwrap();
    assert_eq!(expunged.uids, set(&[(1, 1), (3, 3), (5, 5), (65, 65)]));
    assert_eq!(expunged.modseq_before, before.record.highest_modseq);
    let after = open(&store, inbox).await;
    assert_eq!(expunged.modseq, after.record.highest_modseq);
    assert_eq!(after.record.uid_next, before.record.uid_next);
    assert_eq!(applied(&before, &delta(&store, inbox, expunged.modseq_before).await), after);
    let expunged = store.expunge(inbox, None).await.unwrap();
    assert_eq!(expunged.uids.len(), 96);
    assert!(uids(&store, inbox).await.iter().all(|uid| uid % 2 == 0));
    // Nothing to expunge takes no modseq.
    let unchanged = store.expunge(inbox, None).await.unwrap();
    assert_eq!(
        (unchanged.uids.len(), unchanged.modseq_before, unchanged.modseq),
        (0, expunged.modseq, expunged.modseq)
    );
    let unchanged = store.expunge(inbox, Some(set(&[(2, 2)]))).await.unwrap();
    assert_eq!((unchanged.uids.len(), unchanged.modseq), (0, expunged.modseq));
    assert!(matches!(store.expunge(ObjectId::from_bytes([9; 12]), None).await, Err(StoreError::Missing(_))));
    // UIDs are not used again, not even the last.
    store_flags(&store, inbox, set(&[(1, 999)]), FlagsOperation::Add, &["\\Deleted"]).await;
    store.expunge(inbox, None).await.unwrap();
    assert_eq!(append(&store, inbox, "next", &[]).await, 201);
}

pub(super) async fn expunged_uids_are_remembered(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let inbox = mailbox(&store, ann, "INBOX").await.id;
    // More than two times what is remembered, in parts of a thousand.
    let kept = u32::try_from(MailboxDelta::EXPUNGED_KEPT).unwrap();
    append(&store, inbox, "one", &["\\Deleted"]).await;
    let mut known = Vec::new();
    let mut highest = 1;
    for _ in 0..(2 * kept + 5_000) / 1_000 {
        while mailbox(&store, ann, "INBOX").await.counts.messages < 1_000 {
            let counts = mailbox(&store, ann, "INBOX").await.counts;
            let last = highest - counts.messages as u32 + 1;
            let some = set(&[(last, highest.min(last + 999 - counts.messages as u32))]);
            highest = copy(&store, (inbox, inbox), some, false).await.uids.last().unwrap().1;
        }
        known.push(open(&store, inbox).await);
        let all_but_one = set(&[(1, highest - 1)]);
        assert_eq!(store.expunge(inbox, Some(all_but_one)).await.unwrap().uids.len(), 999);
    }
    let now = open(&store, inbox).await;
    let mut remembered = 0;
    for old in known.iter().rev() {
        let delta = delta(&store, inbox, old.record.highest_modseq).await;
        remembered += 999;
        // At least so many are remembered, and what is not all says so.
        assert!(delta.is_complete || remembered > kept, "of the last {remembered} some are forgotten");
        if delta.is_complete {
            assert_eq!(applied(old, &delta), now);
        }
        assert!(delta.expunged.iter().all(|uid| uid < highest), "what is there was not expunged");
    }
}

pub(super) async fn a_message_goes_with_what_refers_to_it_last(harness: &dyn Harness) {
    let store = harness.open().await;
    let (ann, bob) = (add_user(&store, "ann@example.org").await, add_user(&store, "bob@example.org").await);
    let inboxes = [mailbox(&store, ann, "INBOX").await.id, mailbox(&store, bob, "INBOX").await.id];
    let trash = mailbox(&store, ann, "Trash").await.id;
    let total = async || store.queue_stats(at(99)).await.unwrap().total;
    let take = async |mailbox, uid| {
        let one = set(&[(uid, uid)]);
        store_flags(&store, mailbox, one.clone(), FlagsOperation::Add, &["\\Deleted"]).await;
        assert_eq!(store.expunge(mailbox, Some(one)).await.unwrap().uids.len(), 1);
    };
    // Delivered to two, copied by one.
    let filed = accept(&store, filed_email(5, &[ann, bob])).await;
    copy(&store, (inboxes[0], trash), set(&[(1, 1)]), false).await;
    copy(&store, (trash, trash), set(&[(1, 1)]), false).await;
    take(inboxes[0], 1).await;
    take(trash, 1).await;
    copy(&store, (trash, inboxes[0]), set(&[(2, 2)]), true).await;
    take(inboxes[0], 2).await;
    assert!(is_kept(&store, filed).await);
    assert_eq!((total().await, listed(&store, EmailFilter::default()).await), (1, vec![filed]));
    take(inboxes[1], 1).await;
    assert!(!is_kept(&store, filed).await);
    assert!(store.email(filed).await.unwrap().is_none() && store.raw(filed).await.unwrap().is_none());
    assert_eq!((total().await, listed(&store, EmailFilter::default()).await), (0, vec![]));
    // What stays on record does so without entries.
    let mut recorded = filed_email(6, &[ann]);
    recorded.filed.as_mut().unwrap().stays_on_record = true;
    let recorded = accept(&store, recorded).await;
    take(inboxes[0], 3).await;
    assert!(store.raw(recorded).await.unwrap().is_some());
    assert_eq!((total().await, listed(&store, EmailFilter::default()).await), (1, vec![recorded]));
    assert!(store.delete(recorded).await.unwrap());
    assert_eq!(store.messages(&[recorded]).await.unwrap(), [None]);
    // What its user put there goes with its last entry.
    append(&store, trash, "own", &["\\Deleted"]).await;
    let own = entries(&store, trash).await[0].email;
    copy(&store, (trash, inboxes[0]), set(&[(3, 3)]), false).await;
    store.expunge(trash, None).await.unwrap();
    assert!(is_kept(&store, own).await);
    store.expunge(inboxes[0], None).await.unwrap();
    assert!(!is_kept(&store, own).await);
}

pub(super) async fn what_is_deleted_from_the_record_stays_in_mailboxes(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let ann = add_user(&store, "ann@example.org").await;
    let inbox = mailbox(&store, ann, "INBOX").await.id;
    // One that is delivered elsewhere too, and waits for that.
    let mut both = filed_email(5, &[ann]);
    both.deliveries = email(5, &["x@one.example", "y@two.example"]).deliveries;
    both.deliveries[1].claimed_by = Some(node);
    both.filed.as_mut().unwrap().stays_on_record = true;
    let both = accept(&store, both).await;
    let only = accept(&store, filed_email(6, &[ann])).await;
    let before = open(&store, inbox).await;
    for email in [both, only] {
        assert!(store.delete(email).await.unwrap());
        assert!(!store.delete(email).await.unwrap(), "it is listed no more");
        assert!(store.email(email).await.unwrap().is_none() && store.raw(email).await.unwrap().is_none());
        assert!(is_kept(&store, email).await);
    }
    assert_eq!(open(&store, inbox).await, before);
    assert_eq!(listed(&store, EmailFilter::default()).await, []);
    for &status in EmailStatus::ALL {
        assert_eq!(listed(&store, EmailFilter { status: Some(status), ..EmailFilter::default() }).await, []);
    }
    assert_eq!(store.queue_stats(at(7)).await.unwrap(), QueueStats::default());
    assert_eq!(claim_all(&store, node, 100).await, []);
    assert_eq!(settle(&store, node, delivery(both, 1), 8, Next::Sent).await, 0);
    assert_eq!(store.order(Selection::default(), Order::Retry, at(9)).await.unwrap(), Ordered::default());
    assert_eq!(listed(&store, EmailFilter::default()).await, []);
    store_flags(&store, inbox, set(&[(1, 2)]), FlagsOperation::Add, &["\\Deleted"]).await;
    store.expunge(inbox, None).await.unwrap();
    assert!(!is_kept(&store, both).await && !is_kept(&store, only).await);
}

pub(super) async fn a_deleted_mailbox_takes_its_messages_along(harness: &dyn Harness) {
    let store = harness.open().await;
    let (ann, bob) = (add_user(&store, "ann@example.org").await, add_user(&store, "bob@example.org").await);
    let made = create(&store, ann, "a").await.id;
    let shared = accept(&store, filed_email(5, &[ann, bob])).await;
    let inbox = mailbox(&store, ann, "INBOX").await.id;
    copy(&store, (inbox, made), set(&[(1, 1)]), true).await;
    // More than one part of it, most of them copies.
    append(&store, made, "own", &[]).await;
    let own = entries(&store, made).await[1].email;
    while mailbox(&store, ann, "a").await.counts.messages < 3_000 {
        let highest = mailbox(&store, ann, "a").await.uid_next - 1;
        copy(&store, (made, made), set(&[(2, highest)]), false).await;
    }
    assert!(store.delete_mailbox(made).await.unwrap());
    assert!(!is_kept(&store, own).await);
    assert!(is_kept(&store, shared).await);
    assert_eq!(store.usage(ann).await.unwrap(), Usage::default());
    // With the user all goes.
    append(&store, inbox, "other", &[]).await;
    let other = entries(&store, inbox).await[0].email;
    assert!(store.remove_user(&address("ann@example.org")).await.unwrap());
    assert!(!is_kept(&store, other).await);
    assert_eq!(store.open_mailbox(inbox).await.unwrap(), None);
    assert_eq!((store.mailboxes(ann).await.unwrap(), store.subscriptions(ann).await.unwrap()), (vec![], vec![]));
    assert!(store.remove_user(&address("bob@example.org")).await.unwrap());
    assert!(!is_kept(&store, shared).await);
    assert_eq!(listed(&store, EmailFilter::default()).await, []);
    // One who comes later under that address has nothing of it.
    let again = User { id: ObjectId::from_bytes([8; 12]), ..user("ann@example.org") };
    store.add_user(again).await.unwrap();
    assert_eq!(store.usage(ObjectId::from_bytes([8; 12])).await.unwrap(), Usage::default());
    assert_eq!(store.mailboxes(ann).await.unwrap(), []);
}

pub(super) async fn quotas_are_kept_to(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let (inbox, archive) = (mailbox(&store, ann, "INBOX").await.id, mailbox(&store, ann, "Archive").await.id);
    let set_quota = async |bytes, messages| {
        let quota = Quota { bytes, messages };
        assert!(store.set_quota(&address("ann@example.org"), quota, at(2)).await.unwrap());
        assert_eq!(store.user(&address("Ann@example.org")).await.unwrap().unwrap().quota, quota);
    };
    let size = append_message(50, "12345", &[]).message.raw.len() as u64;
    append(&store, inbox, "12345", &[]).await;
    append(&store, archive, "12345", &["\\Deleted"]).await;
    assert_eq!(store.usage(ann).await.unwrap(), Usage { bytes: 2 * size, messages: 2 }, "deleted ones count");
    let try_append = async || {
        let messages = vec![append_message(50, "12345", &[])];
        store.append(Append { mailbox: inbox, messages, replaces: None, now: at(3) }).await.map(|_| ())
    };
    let try_copy = async |moves| {
        let copy = CopyMessages { from: inbox, uids: set(&[(1, 1)]), to: archive, moves, now: at(3) };
        store.copy_messages(copy).await.map(|_| ())
    };
    for (bytes, messages) in [(Some(3 * size - 1), None), (None, Some(2)), (Some(size), Some(9))] {
        set_quota(bytes, messages).await;
        let before = open(&store, inbox).await;
        assert_eq!(
            (try_append().await, try_copy(false).await),
            (Err(StoreError::OverQuota), Err(StoreError::OverQuota))
        );
        assert_eq!(open(&store, inbox).await, before);
    }
    try_copy(true).await.unwrap();
    set_quota(Some(3 * size), Some(3)).await;
    try_append().await.unwrap();
    assert_eq!(try_append().await, Err(StoreError::OverQuota));
    store.expunge(archive, None).await.unwrap();
    try_append().await.unwrap();
    assert!(!store.set_quota(&address("nobody@example.org"), Quota::default(), at(2)).await.unwrap());
    set_quota(None, None).await;
    try_append().await.unwrap();
}

pub(super) async fn concurrent_filings_pass_no_quota(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let quota = Quota { bytes: None, messages: Some(30) };
    store.set_quota(&address("ann@example.org"), quota, at(2)).await.unwrap();
    let tasks = (0..90).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut new = filed_email(n, &[ann]);
            new.filed.as_mut().unwrap().filings[0].enforces_quota = true;
            let id = new.id;
            (id, store.accept(new).await.unwrap())
        })
    });
    let mut filed = 0;
    for task in tasks.collect::<Vec<_>>() {
        let (id, accepted) = task.await.unwrap();
        let is_filed = accepted.refused.is_empty();
        filed += u64::from(is_filed);
        assert_eq!(is_kept(&store, id).await, is_filed);
    }
    assert_eq!(filed, 30);
    assert_eq!(store.usage(ann).await.unwrap().messages, 30);
}
