//! E-mails that come into mailboxes as they are accepted, and those that users put there.

use std::collections::BTreeMap;

use postrider_core::ObjectId;
use postrider_core::mailbox::{Flags, NamedFlags, SpecialUse};

use super::Harness;
use super::fixtures::*;
use crate::error::StoreError;
use crate::records::*;

pub(super) async fn a_filed_email_is_in_each_inbox(harness: &dyn Harness) {
    let store = harness.open().await;
    let users = [add_user(&store, "ann@example.org").await, add_user(&store, "bob@example.org").await];
    let (first, second) = (filed_email(5, &users), filed_email(6, &users[..1]));
    let size = first.message.raw.len();
    let expected = |new: &NewEmail, uid, modseq| Entry {
        uid,
        modseq,
        flags: Flags::NONE,
        email: new.id,
        size: new.message.raw.len() as u32,
        internal_date: new.created_at,
        saved_at: new.created_at,
    };
    let (inbox, of_bob) = (mailbox(&store, users[0], "INBOX").await, mailbox(&store, users[1], "INBOX").await);
    assert_eq!(store.accept(first.clone()).await, Ok(Accepted::default()));
    let opened = open(&store, inbox.id).await;
    let modseq = opened.record.highest_modseq;
    assert!(modseq > inbox.highest_modseq);
    assert_eq!(opened.entries, [expected(&first, 1, modseq)]);
    assert_eq!(opened.record, mailbox(&store, users[0], "INBOX").await);
    assert_eq!(entries(&store, of_bob.id).await[0].email, first.id);
    store.accept(second.clone()).await.unwrap();
    let opened = open(&store, inbox.id).await;
    assert_eq!(opened.entries, [expected(&first, 1, modseq), expected(&second, 2, opened.record.highest_modseq)]);
    assert!(opened.record.highest_modseq > modseq);
    let messages = store.messages(&[second.id, ObjectId::from_bytes([1; 12]), first.id]).await.unwrap();
    assert_eq!(messages, [Some(second.message.raw.clone()), None, Some(first.message.raw.clone())]);
    let digests = store.digests(&[second.id, ObjectId::from_bytes([1; 12]), first.id]).await.unwrap();
    assert_eq!(digests, [Some(digest_of(&second.message.raw)), None, Some(digest_of(&first.message.raw))]);
    // It is on record as well.
    assert_eq!(detail(&store, first.id).await.email.size, size as u64);
    assert_eq!(listed(&store, EmailFilter::default()).await, [second.id, first.id]);
    assert_eq!(store.usage(users[1]).await.unwrap(), Usage { bytes: size as u64, messages: 1 });
    assert!(matches!(store.accept(first.clone()).await, Err(StoreError::Exists(_))));
    assert_eq!(uids(&store, inbox.id).await, [1, 2], "one that is there already is not filed again");
}

pub(super) async fn a_filing_is_refused_by_itself(harness: &dyn Harness) {
    let store = harness.open().await;
    let full = add_user(&store, "full@example.org").await;
    let room = add_user(&store, "room@example.org").await;
    let nobody = ObjectId::from_bytes([9; 12]);
    let quota = Quota { messages: Some(0), bytes: None };
    assert!(store.set_quota(&address("full@example.org"), quota, at(2)).await.unwrap());
    let with = |users: &[UserId], stays_on_record, enforces_quota| {
        let mut new = filed_email(5, users);
        if let Some(filed) = &mut new.filed {
            filed.stays_on_record = stays_on_record;
            filed.filings.iter_mut().for_each(|filing| filing.enforces_quota = enforces_quota);
        }
        new
    };
    let some = with(&[full, room, nobody], false, true);
    let refused = BTreeMap::from([(0, FilingRefusal::OverQuota), (2, FilingRefusal::NoUser)]);
    assert_eq!(store.accept(some.clone()).await, Ok(Accepted { refused }));
    assert_eq!(uids(&store, mailbox(&store, room, "INBOX").await.id).await, [1]);
    assert_eq!(uids(&store, mailbox(&store, full, "INBOX").await.id).await, [0u32; 0]);
    assert!(is_kept(&store, some.id).await);
    // Where all are refused and nothing else keeps it, nothing is stored.
    let none = with(&[full, nobody], false, true);
    let refused = BTreeMap::from([(0, FilingRefusal::OverQuota), (1, FilingRefusal::NoUser)]);
    assert_eq!(store.accept(none.clone()).await, Ok(Accepted { refused: refused.clone() }));
    assert!(store.email(none.id).await.unwrap().is_none());
    assert_eq!(store.messages(&[none.id]).await.unwrap(), [None]);
    let kept = with(&[full, nobody], true, true);
    assert_eq!(store.accept(kept.clone()).await, Ok(Accepted { refused }));
    assert_eq!(detail(&store, kept.id).await.email.id, kept.id);
    assert_eq!(listed(&store, EmailFilter::default()).await, [kept.id, some.id]);
    assert_eq!(store.queue_stats(at(9)).await.unwrap().total, 2);
    // A filing that asks for no quota is done.
    let forced = with(&[full], false, false);
    assert_eq!(store.accept(forced.clone()).await, Ok(Accepted::default()));
    assert_eq!(uids(&store, mailbox(&store, full, "INBOX").await.id).await, [1]);
    assert_eq!(mailbox(&store, full, "INBOX").await.uid_next, 2, "what was refused took no UID");
    // Copies of one e-mail count each.
    let quota = Quota { messages: Some(3), bytes: None };
    assert!(store.set_quota(&address("room@example.org"), quota, at(2)).await.unwrap());
    let refused = BTreeMap::from([(2, FilingRefusal::OverQuota)]);
    assert_eq!(store.accept(with(&[room, room, room], false, true)).await, Ok(Accepted { refused }));
    assert_eq!(uids(&store, mailbox(&store, room, "INBOX").await.id).await, [1, 2, 3]);
}

pub(super) async fn an_email_is_filed_by_the_use_of_mailboxes(harness: &dyn Harness) {
    let store = harness.open().await;
    let users = [add_user(&store, "ann@example.org").await, add_user(&store, "bob@example.org").await];
    let [ann, bob] = users;
    let junk = |seconds, users: &[UserId]| {
        let mut new = filed_email(seconds, users);
        let filings = new.filed.iter_mut().flat_map(|filed| &mut filed.filings);
        filings.for_each(|filing| filing.special_use = Some(SpecialUse::Junk));
        new
    };
    let uids_in = async |user, text: &str| uids(&store, mailbox(&store, user, text).await.id).await;
    // The use counts, not the name.
    let renamed = RenameMailbox { user: ann, from: name("Junk"), to: name("Spam/All"), now: at(3) };
    store.rename_mailbox(renamed).await.unwrap();
    accept(&store, junk(5, &users)).await;
    assert_eq!((uids_in(ann, "Spam/All").await, uids_in(bob, "Junk").await), (vec![1], vec![1]));
    assert_eq!(uids_in(ann, "INBOX").await, [0u32; 0]);
    assert_eq!(store.usage(bob).await.unwrap().messages, 1);
    // Each copy has its own.
    let mut mixed = junk(6, &users);
    mixed.filed.as_mut().unwrap().filings[0].special_use = None;
    accept(&store, mixed).await;
    assert_eq!((uids_in(ann, "INBOX").await, uids_in(bob, "Junk").await), (vec![1], vec![1, 2]));
    // Without one for the use, the one of its name.
    let cat = add_user(&store, "cat@example.org").await;
    assert!(store.delete_mailbox(mailbox(&store, cat, "Junk").await.id).await.unwrap());
    create(&store, cat, "Junk").await;
    accept(&store, junk(7, &[cat])).await;
    assert_eq!(uids_in(cat, "Junk").await, [1]);
    assert_eq!(mailbox(&store, cat, "Junk").await.special_use, None);
    // Without either, a new one.
    let old = mailbox(&store, bob, "Junk").await;
    assert!(store.delete_mailbox(old.id).await.unwrap());
    store.subscribe(bob, &name("Junk"), false).await.unwrap();
    let count = store.mailboxes(bob).await.unwrap().len();
    let mut heard = store.mailbox_changes();
    accept(&store, junk(8, &[bob, bob])).await;
    wait_for(&mut heard, |change| change == MailboxChange::Mailboxes { user: bob }).await;
    let made = mailbox(&store, bob, "Junk").await;
    assert_eq!((made.special_use, made.counts.messages), (Some(SpecialUse::Junk), 2));
    assert!(made.id != old.id && made.uid_validity > old.uid_validity);
    assert!(store.subscriptions(bob).await.unwrap().contains(&name("Junk")));
    assert_eq!(store.mailboxes(bob).await.unwrap().len(), count + 1);
    assert!(create(&store, bob, "more").await.uid_validity > made.uid_validity);
    let mut refused = junk(9, &[ObjectId::from_bytes([9; 12])]);
    refused.filed.as_mut().unwrap().stays_on_record = true;
    assert_eq!(store.accept(refused).await.unwrap().refused, BTreeMap::from([(0, FilingRefusal::NoUser)]));
}

pub(super) async fn notifications_are_filed(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let ann = add_user(&store, "ann@example.org").await;
    let outbound = accept(&store, claimed_email(1, &["x@example.com", "y@example.com"], node)).await;
    let inbox = mailbox(&store, ann, "INBOX").await.id;
    let with_notification = |number, notification: NewEmail| Settle {
        settlements: vec![settlement(delivery(outbound, number), 1, 3, Next::Failed)],
        notifications: vec![notification],
        ..Settle::default()
    };
    let notification = filed_email(3, &[ann]);
    assert_eq!(store.settle(node, with_notification(0, notification.clone())).await, Ok(1));
    assert_eq!(entries(&store, inbox).await[0].email, notification.id);
    // Without a settlement there is none.
    assert_eq!(store.settle(node, with_notification(0, filed_email(4, &[ann]))).await, Ok(0));
    assert_eq!(uids(&store, inbox).await, [1]);
    // One that cannot be stored undoes everything, its filing too.
    let refused = store.settle(node, with_notification(1, notification)).await;
    assert!(matches!(refused, Err(StoreError::Exists(_))), "{refused:?}");
    assert_eq!(uids(&store, inbox).await, [1]);
}

pub(super) async fn appended_messages_have_what_was_given(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let drafts = mailbox(&store, ann, "Drafts").await;
    let messages: Vec<_> = ["one", "two", "three"]
        .iter()
        .zip([&["\\Seen", "Work"][..], &["WORK", "\\Draft", "$Forwarded"], &[]])
        .map(|(text, flags)| append_message(50, text, flags))
        .collect();
    let append = Append { mailbox: drafts.id, messages: messages.clone(), replaces: None, now: at(51) };
    let appended = store.append(append).await.unwrap();
    assert_eq!(appended, Appended { uid_validity: drafts.uid_validity, uids: vec![1, 2, 3] });
    let opened = open(&store, drafts.id).await;
    let keywords: Vec<_> = opened.record.keywords.iter().map(|keyword| keyword.as_str()).collect();
    assert_eq!(keywords, ["Work", "$Forwarded"], "a keyword is shown as it was first written");
    for (entry, message) in opened.entries.iter().zip(&messages) {
        assert_eq!(NamedFlags::of(entry.flags, &opened.record.keywords).system, message.flags.system);
        assert_eq!(entry.flags.keywords().count(), message.flags.keywords.len());
        assert_eq!((entry.email, entry.size as usize), (message.id, message.message.raw.len()));
        assert_eq!((entry.internal_date, entry.saved_at), (message.internal_date, at(51)));
        assert!(is_kept(&store, message.id).await);
        assert!(store.email(message.id).await.unwrap().is_none(), "what a user put there is not on record");
        assert!(store.raw(message.id).await.unwrap().is_none());
        assert!(!store.delete(message.id).await.unwrap());
    }
    assert!(opened.entries.iter().all(|entry| entry.modseq == opened.record.highest_modseq), "one commit");
    assert_eq!(listed(&store, EmailFilter::default()).await, []);
    let received = EmailFilter { status: Some(postrider_core::EmailStatus::Received), ..EmailFilter::default() };
    assert_eq!(listed(&store, received).await, []);
    assert_eq!(store.queue_stats(at(60)).await.unwrap(), QueueStats::default());
}

pub(super) async fn appends_are_all_or_nothing(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let drafts = mailbox(&store, ann, "Drafts").await;
    let append = |messages| Append { mailbox: drafts.id, messages, replaces: None, now: at(51) };
    let taken = append_message(50, "taken", &["first"]);
    store.append(append(vec![taken.clone()])).await.unwrap();
    let before = open(&store, drafts.id).await;
    let new = append_message(50, "new", &["second"]);
    let refused = store.append(append(vec![new.clone(), taken])).await;
    assert!(matches!(refused, Err(StoreError::Exists(_))), "{refused:?}");
    let many: Vec<String> = (0..Flags::KEYWORDS_MAX).map(|n| format!("k{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let refused = store.append(append(vec![new.clone(), append_message(50, "many", &many)])).await;
    assert!(matches!(refused, Err(StoreError::Limit(_))), "{refused:?}");
    let nowhere = Append { mailbox: ObjectId::from_bytes([9; 12]), ..append(vec![new.clone()]) };
    assert!(matches!(store.append(nowhere).await, Err(StoreError::Missing(_))));
    assert_eq!(open(&store, drafts.id).await, before);
    assert!(!is_kept(&store, new.id).await);
    // As many keywords as there may be.
    store.append(append(vec![append_message(50, "most", &many[1..])])).await.unwrap();
    assert_eq!(mailbox(&store, ann, "Drafts").await.keywords.len(), Flags::KEYWORDS_MAX);
}

pub(super) async fn a_message_is_replaced_in_one_commit(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let (drafts, sent) = (mailbox(&store, ann, "Drafts").await, mailbox(&store, ann, "Sent").await);
    let replace = |mailbox, text: &str, replaces| Append {
        mailbox,
        messages: vec![append_message(50, text, &["\\Seen"])],
        replaces: Some(replaces),
        now: at(51),
    };
    append(&store, drafts.id, "first", &[]).await;
    let first = open(&store, drafts.id).await;
    store.append(replace(drafts.id, "second", (drafts.id, 1))).await.unwrap();
    assert_eq!(uids(&store, drafts.id).await, [2]);
    let since = delta(&store, drafts.id, first.record.highest_modseq).await;
    assert_eq!((since.changed[0].uid, since.expunged), (2, set(&[(1, 1)])));
    assert!(!is_kept(&store, first.entries[0].email).await);
    // Into another mailbox.
    store.append(replace(sent.id, "third", (drafts.id, 2))).await.unwrap();
    assert_eq!((uids(&store, drafts.id).await, uids(&store, sent.id).await), (vec![], vec![1]));
    // What is not there is not replaced.
    for replaces in [(drafts.id, 2), (sent.id, 77), (ObjectId::from_bytes([9; 12]), 1)] {
        store.append(replace(sent.id, "more", replaces)).await.unwrap();
    }
    assert_eq!(uids(&store, sent.id).await, [1, 2, 3, 4]);
    // One message for another passes no quota that it keeps to.
    let usage = store.usage(ann).await.unwrap();
    let quota = Quota { messages: Some(usage.messages), bytes: None };
    store.set_quota(&address("ann@example.org"), quota, at(52)).await.unwrap();
    store.append(replace(sent.id, "same", (sent.id, 4))).await.unwrap();
    assert_eq!(uids(&store, sent.id).await, [1, 2, 3, 5]);
    assert_eq!(store.append(replace(sent.id, "more", (sent.id, 4))).await, Err(StoreError::OverQuota));
}

pub(super) async fn concurrent_filings_take_turns(harness: &dyn Harness) {
    let store = harness.open().await;
    let users = [add_user(&store, "ann@example.org").await, add_user(&store, "bob@example.org").await];
    let tasks = (0..100).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.accept(filed_email(n, &users)).await.map(|_| ()) })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    for user in users {
        let entries = entries(&store, mailbox(&store, user, "INBOX").await.id).await;
        assert_eq!(entries.iter().map(|entry| entry.uid).collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>());
        assert!(entries.windows(2).all(|pair| pair[0].modseq <= pair[1].modseq));
    }
}

pub(super) async fn recent_messages_are_told_once(harness: &dyn Harness) {
    let store = harness.open().await;
    let ann = add_user(&store, "ann@example.org").await;
    let inbox = mailbox(&store, ann, "INBOX").await;
    assert_eq!(store.take_recent(inbox.id).await, Ok(1));
    accept(&store, filed_email(5, &[ann])).await;
    append(&store, inbox.id, "two", &[]).await;
    let before = mailbox(&store, ann, "INBOX").await;
    assert_eq!(store.take_recent(inbox.id).await, Ok(1));
    assert_eq!(store.take_recent(inbox.id).await, Ok(3));
    let after = MailboxRecord { recent_from: 3, ..before };
    assert_eq!(mailbox(&store, ann, "INBOX").await, after, "nothing else of the mailbox changes");
    accept(&store, filed_email(5, &[ann])).await;
    assert_eq!(store.take_recent(inbox.id).await, Ok(3));
    assert!(matches!(store.take_recent(ObjectId::from_bytes([9; 12])).await, Err(StoreError::Missing(_))));
    // Of two who ask at once one is answered.
    for n in 4..20 {
        accept(&store, filed_email(5, &[ann])).await;
        let (one, other) = tokio::join!(store.take_recent(inbox.id), store.take_recent(inbox.id));
        let mut answers = [one.unwrap(), other.unwrap()];
        answers.sort_unstable();
        assert_eq!(answers, [n, n + 1]);
    }
}
