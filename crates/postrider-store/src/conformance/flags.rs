//! Changing flags, and what a mailbox tells of its changes.

use postrider_core::ObjectId;
use postrider_core::mailbox::{Flags, NamedFlags, UidSet};

use super::Harness;
use super::fixtures::*;
use crate::error::StoreError;
use crate::records::*;

pub(super) async fn flags_are_changed(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let inbox = mailbox(&store, ann, "INBOX").await.id;
    for (text, flags) in [("1", &[][..]), ("2", &["\\Seen"]), ("3", &["\\Seen", "work"]), ("4", &["\\Deleted"])] {
        append(&store, inbox, text, flags).await;
    }
    let shown = async || {
        let OpenMailbox { record, entries } = open(&store, inbox).await;
        let flags = entries.iter().map(|entry| NamedFlags::of(entry.flags, &record.keywords));
        flags.collect::<Vec<_>>()
    };
    let all = set(&[(1, u32::MAX)]);
    let before = open(&store, inbox).await;
    // Add: only what changes is told, and has a new modseq.
    let stored = store_flags(&store, inbox, all.clone(), FlagsOperation::Add, &["\\Seen"]).await;
    assert_eq!((&stored.changed, &stored.conflicted), (&set(&[(1, 1), (4, 4)]), &UidSet::new()));
    let after = open(&store, inbox).await;
    assert_eq!((stored.modseq_before, stored.modseq), (before.record.highest_modseq, after.record.highest_modseq));
    assert!(stored.modseq > stored.modseq_before);
    assert_eq!((stored.flags, &stored.keywords), (Flags::SEEN, &after.record.keywords));
    for (old, new) in before.entries.iter().zip(&after.entries) {
        let is_changed = stored.changed.contains(old.uid);
        assert_eq!(new.modseq, if is_changed { stored.modseq } else { old.modseq });
        assert_eq!(*new, Entry { modseq: new.modseq, flags: old.flags | Flags::SEEN, ..*old });
    }
    // Replace: keywords too.
    store_flags(&store, inbox, set(&[(2, 3)]), FlagsOperation::Replace, &["later", "\\Flagged"]).await;
    let expected = [&["\\Seen"][..], &["\\Flagged", "later"], &["\\Flagged", "later"], &["\\Seen", "\\Deleted"]];
    assert_eq!(shown().await, expected.map(named));
    // Remove: what is not there is not made.
    let stored = store_flags(&store, inbox, all.clone(), FlagsOperation::Remove, &["\\Seen", "LATER", "new"]).await;
    assert_eq!((stored.changed, stored.keywords.len()), (set(&[(1, 4)]), 2));
    assert_eq!(shown().await, [&[][..], &["\\Flagged"], &["\\Flagged"], &["\\Deleted"]].map(named));
    // What changes nothing takes no modseq.
    let before = open(&store, inbox).await;
    for (uids, operation, flags) in [
        (set(&[(2, 3)]), FlagsOperation::Add, &["\\Flagged"][..]),
        (set(&[(5, 9)]), FlagsOperation::Add, &["\\Seen"]),
        (UidSet::new(), FlagsOperation::Replace, &[]),
        (all.clone(), FlagsOperation::Remove, &["\\Answered"]),
    ] {
        let stored = store_flags(&store, inbox, uids, operation, flags).await;
        assert_eq!((stored.changed, stored.modseq), (UidSet::new(), stored.modseq_before));
        assert_eq!(stored.modseq, before.record.highest_modseq);
    }
    assert_eq!(open(&store, inbox).await, before);
    let nowhere = StoreFlags {
        mailbox: ObjectId::from_bytes([9; 12]),
        uids: all,
        operation: FlagsOperation::Add,
        flags: named(&["\\Seen"]),
        unchanged_since: None,
    };
    assert!(matches!(store.store_flags(nowhere).await, Err(StoreError::Missing(_))));
}

pub(super) async fn changed_entries_are_left_alone_if_asked(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let inbox = mailbox(&store, ann, "INBOX").await.id;
    for n in 0..100 {
        append(&store, inbox, &n.to_string(), &[]).await;
    }
    let known = mailbox(&store, ann, "INBOX").await.highest_modseq;
    let touched = set(&[(3, 3), (64, 65), (99, 99)]);
    store_flags(&store, inbox, touched.clone(), FlagsOperation::Add, &["\\Answered"]).await;
    let change = |unchanged_since, operation| StoreFlags {
        mailbox: inbox,
        uids: set(&[(2, 70), (99, 200)]),
        operation,
        flags: named(&["\\Seen"]),
        unchanged_since: Some(unchanged_since),
    };
    let stored = store.store_flags(change(known, FlagsOperation::Add)).await.unwrap();
    assert_eq!(stored.conflicted, touched);
    // The last one has just that modseq: it was not changed after it.
    assert_eq!(stored.changed, set(&[(2, 2), (4, 63), (66, 70), (100, 100)]));
    let entries = entries(&store, inbox).await;
    assert!(entries.iter().all(|entry| entry.flags.contains(Flags::SEEN) == stored.changed.contains(entry.uid)));
    // One that would not change conflicts all the same.
    let stored = store.store_flags(change(known, FlagsOperation::Remove)).await.unwrap();
    assert_eq!((stored.changed, stored.conflicted), (UidSet::new(), set(&[(2, 70), (99, 100)])));
    let stored = store.store_flags(change(0, FlagsOperation::Add)).await.unwrap();
    assert_eq!(stored.conflicted, set(&[(2, 70), (99, 100)]), "0 is before everything");
}

pub(super) async fn keywords_have_their_numbers_for_good(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let inbox = mailbox(&store, ann, "INBOX").await.id;
    let uid = append(&store, inbox, "one", &["k0"]).await;
    let one = set(&[(uid, uid)]);
    for n in 1..Flags::KEYWORDS_MAX {
        let stored = store_flags(&store, inbox, one.clone(), FlagsOperation::Replace, &[&format!("k{n}")]).await;
        assert_eq!(stored.flags, Flags::keyword(n));
        assert_eq!(stored.keywords.len(), n + 1);
    }
    let before = open(&store, inbox).await;
    let more = |operation, flags: &[&str]| StoreFlags {
        mailbox: inbox,
        uids: one.clone(),
        operation,
        flags: named(flags),
        unchanged_since: None,
    };
    for operation in [FlagsOperation::Add, FlagsOperation::Replace] {
        let refused = store.store_flags(more(operation, &["\\Seen", "one-more"])).await;
        assert!(matches!(refused, Err(StoreError::Limit(_))), "{refused:?}");
    }
    assert_eq!(open(&store, inbox).await, before);
    let stored = store.store_flags(more(FlagsOperation::Remove, &["one-more", "K55"])).await.unwrap();
    assert_eq!(stored.changed, one);
    // What is copied here loses the keywords that there is no room for, and nothing else.
    let crowd = create(&store, ann, "crowd").await.id;
    let stranger = append(&store, crowd, "three", &["stranger", "k1"]).await;
    copy(&store, (crowd, inbox), set(&[(stranger, stranger)]), false).await;
    let copied = open(&store, inbox).await;
    assert_eq!(copied.record.keywords.len(), Flags::KEYWORDS_MAX);
    assert_eq!(copied.entries[1].flags, Flags::keyword(1));
    // In another mailbox they have other numbers.
    let other = create(&store, ann, "other").await.id;
    append(&store, other, "two", &["k7"]).await;
    store_flags(&store, inbox, one.clone(), FlagsOperation::Replace, &["k3", "k7", "\\Seen"]).await;
    copy(&store, (inbox, other), one, false).await;
    let copied = open(&store, other).await;
    let flags = NamedFlags::of(copied.entries[1].flags, &copied.record.keywords);
    assert_eq!(copied.record.keywords, named(&["k7", "k3"]).keywords);
    assert_eq!((flags.system, copied.entries[1].flags.keywords().count()), (Flags::SEEN, 2));
}

pub(super) async fn a_delta_is_all_that_happened_since(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let inbox = mailbox(&store, ann, "INBOX").await.id;
    let mut known = vec![open(&store, inbox).await];
    for n in 0..150 {
        accept(&store, filed_email(n, &[ann])).await;
    }
    known.push(open(&store, inbox).await);
    store_flags(&store, inbox, set(&[(60, 70), (150, 150)]), FlagsOperation::Add, &["\\Deleted", "work"]).await;
    known.push(open(&store, inbox).await);
    store.expunge(inbox, None).await.unwrap();
    known.push(open(&store, inbox).await);
    accept(&store, filed_email(200, &[ann])).await;
    store_flags(&store, inbox, set(&[(1, 2), (151, 151)]), FlagsOperation::Add, &["\\Seen"]).await;
    let now = open(&store, inbox).await;
    known.push(now.clone());
    for old in known {
        let since = old.record.highest_modseq;
        let delta = delta(&store, inbox, since).await;
        assert!(delta.is_complete);
        assert_eq!(applied(&old, &delta), now, "since {since}");
        let expected = now.entries.iter().filter(|entry| entry.modseq > since).copied().collect::<Vec<_>>();
        assert_eq!(delta.changed, expected);
    }
    let later = delta(&store, inbox, now.record.highest_modseq + 5).await;
    assert_eq!((later.changed, later.expunged), (Vec::new(), UidSet::new()));
}

pub(super) async fn what_happens_in_mailboxes_is_told(harness: &dyn Harness) {
    let store = harness.open().await;
    let beside = harness.open_beside().await;
    let (mut heard, mut heard_beside) = (store.mailbox_changes(), beside.mailbox_changes());
    let ann = add_user(&store, "ann@example.org").await;
    wait_for(&mut heard, |change| change == MailboxChange::Mailboxes { user: ann }).await;
    let inbox = mailbox(&store, ann, "INBOX").await.id;
    let messages = move |change| change == MailboxChange::Messages { user: ann, mailbox: inbox };
    let names = move |change| change == MailboxChange::Mailboxes { user: ann };
    let drain = |heard: &mut tokio::sync::broadcast::Receiver<MailboxChange>| while heard.try_recv().is_ok() {};
    drain(&mut heard);
    accept(&store, filed_email(1, &[ann])).await;
    wait_for(&mut heard, messages).await;
    store_flags(&store, inbox, set(&[(1, 1)]), FlagsOperation::Add, &["\\Deleted"]).await;
    wait_for(&mut heard, messages).await;
    store.expunge(inbox, None).await.unwrap();
    wait_for(&mut heard, messages).await;
    append(&store, inbox, "two", &[]).await;
    wait_for(&mut heard, messages).await;
    copy(&store, (inbox, inbox), set(&[(2, 2)]), false).await;
    wait_for(&mut heard, messages).await;
    let made = create(&store, ann, "a").await.id;
    wait_for(&mut heard, names).await;
    store.subscribe(ann, &name("a"), true).await.unwrap();
    wait_for(&mut heard, names).await;
    store.rename_mailbox(RenameMailbox { user: ann, from: name("a"), to: name("b"), now: at(3) }).await.unwrap();
    wait_for(&mut heard, names).await;
    store.set_metadata(ann, Some(made), vec![("/private/comment".into(), Some("x".into()))]).await.unwrap();
    wait_for(&mut heard, names).await;
    store.delete_mailbox(made).await.unwrap();
    wait_for(&mut heard, move |change| change == MailboxChange::Messages { user: ann, mailbox: made }).await;
    // What one store does is heard through another.
    drain(&mut heard_beside);
    accept(&store, filed_email(2, &[ann])).await;
    wait_for(&mut heard_beside, move |change| messages(change) || change == MailboxChange::Anything).await;
    beside.close().await.unwrap();
}
