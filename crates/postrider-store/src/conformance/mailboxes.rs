//! Which mailboxes users have, how they are called, what they are subscribed to.

use postrider_core::mailbox::SpecialUse;

use super::Harness;
use super::fixtures::*;
use crate::error::StoreError;
use crate::records::*;
use crate::traits::{MAILBOXES_PER_USER_MAX, METADATA_ENTRIES_MAX};

/// The names of a user's mailboxes, each of which is found by its name too.
async fn names(store: &std::sync::Arc<dyn crate::Store>, user: UserId) -> Vec<String> {
    let all = store.mailboxes(user).await.unwrap();
    for record in &all {
        assert_eq!(store.mailbox(user, &record.name).await.unwrap().as_ref(), Some(record));
        assert_eq!(record.user, user);
    }
    all.iter().map(|record| record.name.to_string()).collect()
}

pub(super) async fn a_user_has_six_mailboxes_from_the_start(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let bob = add_user(&store, "bob@example.org").await;
    for user in [ann, bob] {
        assert_eq!(names(&store, user).await, ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"]);
        let subscribed = store.subscriptions(user).await.unwrap();
        assert_eq!(subscribed, ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"].map(name));
        for record in store.mailboxes(user).await.unwrap() {
            let special_use = SpecialUse::ALL.into_iter().find(|special| special.as_str() == record.name.as_str());
            assert_eq!(record.special_use, special_use);
            assert_eq!((record.uid_next, record.highest_modseq), (1, 1));
            assert_eq!((record.counts, record.created_at), (MailboxCounts::default(), at(1)));
            assert!(record.uid_validity > 0 && record.keywords.is_empty());
            assert_eq!(open(&store, record.id).await, OpenMailbox { record, entries: Vec::new() });
        }
    }
    let ids = |records: &[MailboxRecord]| records.iter().map(|record| record.id).collect::<Vec<_>>();
    let (of_ann, of_bob) = (store.mailboxes(ann).await.unwrap(), store.mailboxes(bob).await.unwrap());
    assert!(ids(&of_ann).iter().all(|id| !ids(&of_bob).contains(id)));
    let nobody = UserId::from_bytes([9; 12]);
    assert_eq!(store.mailboxes(nobody).await.unwrap(), []);
    assert_eq!(store.mailbox(nobody, &name("INBOX")).await.unwrap(), None);
    assert_eq!(store.open_mailbox(nobody).await.unwrap(), None);
    assert_eq!(store.mailbox_delta(nobody, 0).await.unwrap(), None);
}

pub(super) async fn mailboxes_are_made_and_deleted(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let highest = store.mailboxes(ann).await.unwrap().iter().map(|record| record.uid_validity).max();
    // Those above it are not made.
    let made = create(&store, ann, "a/b/c \u{e9}").await;
    assert!(Some(made.uid_validity) > highest);
    assert_eq!((made.uid_next, made.highest_modseq, made.created_at), (1, 1, at(2)));
    assert_eq!(mailbox(&store, ann, "a/b/c \u{e9}").await, made);
    assert_eq!(store.mailbox(ann, &name("a/b")).await.unwrap(), None);
    assert!(!store.subscriptions(ann).await.unwrap().contains(&made.name));
    let again = |text: &str, special_use, user| NewMailbox { user, name: name(text), special_use, now: at(3) };
    let refused = store.create_mailbox(again("a/b/c \u{e9}", None, ann)).await;
    assert!(matches!(refused, Err(StoreError::Exists(_))), "{refused:?}");
    let refused = store.create_mailbox(again("other", Some(SpecialUse::Sent), ann)).await;
    assert!(matches!(refused, Err(StoreError::Exists(_))), "{refused:?}");
    let refused = store.create_mailbox(again("x", None, UserId::from_bytes([9; 12]))).await;
    assert!(matches!(refused, Err(StoreError::Missing(_))), "{refused:?}");
    // Names are bytes: case counts but for INBOX.
    create(&store, ann, "A/b/c \u{e9}").await;
    create(&store, ann, "a").await;
    assert!(store.delete_mailbox(mailbox(&store, ann, "a").await.id).await.unwrap());
    assert!(!store.delete_mailbox(UserId::from_bytes([7; 12])).await.unwrap());
    assert_eq!(store.mailbox(ann, &name("a")).await.unwrap(), None);
    assert_eq!(mailbox(&store, ann, "a/b/c \u{e9}").await, made, "those below stay");
    assert!(store.delete_mailbox(made.id).await.unwrap());
    assert!(!store.delete_mailbox(made.id).await.unwrap());
    assert_eq!(store.open_mailbox(made.id).await.unwrap(), None);
    let anew = create(&store, ann, "a/b/c \u{e9}").await;
    assert!(anew.uid_validity > made.uid_validity && anew.id != made.id);
    // What was the mailbox for a use may be another.
    assert!(store.delete_mailbox(mailbox(&store, ann, "Sent").await.id).await.unwrap());
    let sent = store.create_mailbox(again("Gesendet", Some(SpecialUse::Sent), ann)).await.unwrap();
    assert_eq!(mailbox(&store, ann, "Gesendet").await.special_use, Some(SpecialUse::Sent));
    assert_eq!(sent.special_use, Some(SpecialUse::Sent));
}

pub(super) async fn a_renamed_mailbox_takes_those_below_along(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    for text in ["a", "a/b", "a/b/c", "ab", "a-b", "a0", "x/y"] {
        create(&store, ann, text).await;
    }
    let before = mailbox(&store, ann, "a/b").await;
    let uid = append(&store, before.id, "one", &["work"]).await;
    let before = mailbox(&store, ann, "a/b").await;
    store.subscribe(ann, &name("a/b"), true).await.unwrap();
    let rename = |from: &str, to: &str| {
        store.rename_mailbox(RenameMailbox { user: ann, from: name(from), to: name(to), now: at(4) })
    };
    rename("a", "z").await.unwrap();
    let all = names(&store, ann).await;
    let own = all.iter().filter(|text| !SpecialUse::ALL.iter().any(|special| special.as_str() == *text));
    assert_eq!(own.collect::<Vec<_>>(), ["INBOX", "a-b", "a0", "ab", "x/y", "z", "z/b", "z/b/c"]);
    assert_eq!(mailbox(&store, ann, "z/b").await, MailboxRecord { name: name("z/b"), ..before.clone() });
    assert_eq!(uids(&store, before.id).await, [uid]);
    assert!(store.subscriptions(ann).await.unwrap().contains(&name("a/b")), "subscriptions are to names");
    // One that is but a level.
    rename("x", "w").await.unwrap();
    mailbox(&store, ann, "w/y").await;
    // Into the place of its own parent's level.
    rename("z/b", "z/b2").await.unwrap();
    rename("w/y", "w").await.unwrap();
    mailbox(&store, ann, "w").await;
    assert!(matches!(rename("nowhere", "somewhere").await, Err(StoreError::Missing(_))));
    for (from, to) in [("z", "ab"), ("z", "INBOX"), ("INBOX", "ab"), ("ab", "Trash")] {
        assert!(matches!(rename(from, to).await, Err(StoreError::Exists(_))), "{from} to {to}");
    }
    let long = "l".repeat(996);
    assert!(matches!(rename("z", &long).await, Err(StoreError::Limit(_))), "z/b2/c would be too long");
    mailbox(&store, ann, "z").await;
    mailbox(&store, ann, "z/b2/c").await;
}

pub(super) async fn renaming_inbox_moves_its_messages(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let below = create(&store, ann, "INBOX/below").await;
    let email = accept(&store, filed_email(5, &[ann])).await;
    let inbox = mailbox(&store, ann, "INBOX").await;
    append(&store, inbox.id, "two", &["\\Seen", "work"]).await;
    let inbox = mailbox(&store, ann, "INBOX").await;
    let rename = RenameMailbox { user: ann, from: name("inbox"), to: name("old"), now: at(6) };
    store.rename_mailbox(rename).await.unwrap();
    let after = open(&store, inbox.id).await;
    assert_eq!(after.entries, []);
    assert_eq!((after.record.name, after.record.uid_validity), (name("INBOX"), inbox.uid_validity));
    assert_eq!(after.record.uid_next, inbox.uid_next);
    assert_eq!(delta(&store, inbox.id, inbox.highest_modseq).await.expunged, set(&[(1, 2)]));
    let old = open(&store, mailbox(&store, ann, "old").await.id).await;
    assert_eq!(old.entries.len(), 2);
    assert_eq!(old.entries[0].email, email);
    assert!(old.record.uid_validity > inbox.uid_validity);
    let flags = old.entries[1].flags;
    assert_eq!(postrider_core::mailbox::NamedFlags::of(flags, &old.record.keywords), named(&["\\Seen", "work"]));
    assert_eq!(mailbox(&store, ann, "INBOX/below").await, below);
    assert!(is_kept(&store, email).await);
    // Mail goes on coming to INBOX.
    accept(&store, filed_email(7, &[ann])).await;
    assert_eq!(uids(&store, inbox.id).await, [3]);
}

pub(super) async fn subscriptions_are_to_names(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let bob = add_user(&store, "bob@example.org").await;
    for text in ["nowhere/yet", "b"] {
        store.subscribe(ann, &name(text), true).await.unwrap();
        store.subscribe(ann, &name(text), true).await.unwrap();
    }
    for text in ["Archive", "Drafts", "Junk", "Sent", "never"] {
        store.subscribe(ann, &name(text), false).await.unwrap();
    }
    let expected = ["INBOX", "Trash", "b", "nowhere/yet"].map(name);
    assert_eq!(store.subscriptions(ann).await.unwrap(), expected);
    assert!(store.delete_mailbox(mailbox(&store, ann, "Trash").await.id).await.unwrap());
    assert_eq!(store.subscriptions(ann).await.unwrap(), expected, "a deleted mailbox stays subscribed");
    assert_eq!(store.subscriptions(bob).await.unwrap().len(), 6);
    assert_eq!(store.subscriptions(UserId::from_bytes([9; 12])).await.unwrap(), []);
}

pub(super) async fn a_user_has_so_many_mailboxes(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let there = store.mailboxes(ann).await.unwrap().len();
    for part in 0..10 {
        let calls = (0..MAILBOXES_PER_USER_MAX / 10).filter(|n| part > 0 || *n >= there).map(|n| {
            let store = store.clone();
            tokio::spawn(async move { create(&store, ann, &format!("m{part}/{n}")).await.id })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
    }
    let one_more = NewMailbox { user: ann, name: name("one more"), special_use: None, now: at(3) };
    assert!(matches!(store.create_mailbox(one_more.clone()).await, Err(StoreError::Limit(_))));
    assert_eq!(store.mailboxes(ann).await.unwrap().len(), MAILBOXES_PER_USER_MAX);
    // Mail for a use that no mailbox is for goes to INBOX then.
    assert!(store.delete_mailbox(mailbox(&store, ann, "Junk").await.id).await.unwrap());
    create(&store, ann, "last").await;
    let mut junk = filed_email(5, &[ann]);
    junk.filed.as_mut().unwrap().filings[0].special_use = Some(SpecialUse::Junk);
    accept(&store, junk).await;
    assert_eq!(uids(&store, mailbox(&store, ann, "INBOX").await.id).await, [1]);
    assert!(store.delete_mailbox(mailbox(&store, ann, "m1/1").await.id).await.unwrap());
    store.create_mailbox(one_more).await.unwrap();
}

pub(super) async fn annotations_are_kept(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let inbox = mailbox(&store, ann, "INBOX").await.id;
    let entry = |name: &str, value: &'static [u8]| (name.to_owned(), Some(value.into()));
    let noted = |name: &str, value: &'static [u8]| MetadataEntry { name: name.into(), value: value.into() };
    let entries = vec![entry("/shared/comment", b"for all"), entry("/private/comment", b"\0\xff")];
    store.set_metadata(ann, Some(inbox), entries).await.unwrap();
    store.set_metadata(ann, None, vec![entry("/private/comment", b"")]).await.unwrap();
    let expected = [noted("/private/comment", b"\0\xff"), noted("/shared/comment", b"for all")];
    assert_eq!(store.metadata(ann, Some(inbox)).await.unwrap(), expected);
    assert_eq!(store.metadata(ann, None).await.unwrap(), [noted("/private/comment", b"")]);
    let changes = vec![("/private/comment".to_owned(), None), entry("/shared/comment", b"other"), ("/x".into(), None)];
    store.set_metadata(ann, Some(inbox), changes).await.unwrap();
    assert_eq!(store.metadata(ann, Some(inbox)).await.unwrap(), [noted("/shared/comment", b"other")]);
    // All or nothing.
    let many = (0..METADATA_ENTRIES_MAX).map(|n| entry(&format!("/private/{n}"), b"v"));
    let refused = store.set_metadata(ann, Some(inbox), many.clone().collect()).await;
    assert!(matches!(refused, Err(StoreError::Limit(_))), "{refused:?}");
    assert_eq!(store.metadata(ann, Some(inbox)).await.unwrap(), [noted("/shared/comment", b"other")]);
    store.set_metadata(ann, Some(inbox), many.skip(1).collect()).await.unwrap();
    let missing = store.metadata(ann, Some(UserId::from_bytes([9; 12]))).await;
    assert!(matches!(missing, Err(StoreError::Missing(_))), "{missing:?}");
    // They go with the mailbox, and follow it when it is renamed.
    let made = create(&store, ann, "a").await.id;
    store.set_metadata(ann, Some(made), vec![entry("/private/comment", b"of a")]).await.unwrap();
    let rename = RenameMailbox { user: ann, from: name("a"), to: name("b"), now: at(4) };
    store.rename_mailbox(rename).await.unwrap();
    assert_eq!(store.metadata(ann, Some(made)).await.unwrap(), [noted("/private/comment", b"of a")]);
    store.delete_mailbox(made).await.unwrap();
    assert!(matches!(store.metadata(ann, Some(made)).await, Err(StoreError::Missing(_))));
}
