//! Accepting, reading and deleting e-mails.

use bytes::Bytes;
use postrider_core::{
    BodyType, Direction, DsnReturn, EmailStatus, Envelope, Message, Notify, ObjectId, Recipient, ReversePath,
};

use super::Harness;
use super::fixtures::*;
use crate::error::StoreError;
use crate::records::*;

pub(super) async fn messages_come_back_byte_for_byte(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut numbers = Numbers(1);
    let noise: Vec<u8> = (0..100_000).map(|_| numbers.below(256) as u8).collect();
    let messages: Vec<Bytes> = vec![
        Bytes::new(),
        Bytes::from_static(b"x"),
        Bytes::from_static(b"Subject: \xff\xfe\r\n\r\n\x00\x01\xc3\xa4 8bit\r\n"),
        Bytes::from_static(b"bare \n and \r and \r\n.\r\n"),
        Bytes::from(noise.clone()),
        Bytes::from("Subject: text\r\n\r\n".to_owned() + &"The quick brown fox.\r\n".repeat(5_000)),
        Bytes::from(noise.iter().copied().cycle().take(10 << 20).collect::<Vec<u8>>()),
    ];
    for (n, raw) in messages.into_iter().enumerate() {
        let mut new = email(n as i64, &["a@one.example"]);
        new.message = Message::parse(raw.clone(), raw.len().min(7) as u32);
        let id = accept(&store, new).await;
        let read = store.raw(id).await.unwrap().unwrap();
        assert!(read.raw == raw, "message {n} of {} bytes", raw.len());
        assert_eq!(read.return_path_bytes as usize, raw.len().min(7));
        assert!(read.relayed() == raw.slice(raw.len().min(7)..));
        assert_eq!(detail(&store, id).await.email.size, raw.len() as u64);
    }
    assert_eq!(store.raw(ObjectId::new(at(0))).await.unwrap(), None);
}

pub(super) async fn an_email_shows_all_that_was_accepted(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut new = email(5, &["b@two.example", "\"q u\"@[192.0.2.7]"]);
    let raw = "Message-ID: <m@x>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n\
               Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n\
               --b\r\nContent-Type: text/csv; name=t.csv\r\nContent-Disposition: attachment\r\n\r\n1,2\r\n--b--\r\n";
    new.message = Message::parse(Bytes::from_static(raw.as_bytes()), 0);
    new.envelope = Envelope {
        reverse_path: ReversePath(Some(address("Sender@EXAMPLE.com"))),
        body: BodyType::EightBitMime,
        smtputf8: true,
        dsn_return: Some(DsnReturn::Headers),
        envelope_id: Some("env+2B".into()),
        require_tls: true,
    };
    new.kept = vec![Recipient::new(address("kept@here.example"))];
    (new.instructions, new.authentication) = (instructions(), authentication());
    let summary = new.message.summary.clone();
    let (envelope, id) = (new.envelope.clone(), accept(&store, new).await);
    let detail = detail(&store, id).await;
    let record = &detail.email;
    assert_eq!(detail.envelope, envelope);
    assert_eq!((&detail.instructions, &detail.authentication), (&instructions(), &authentication()));
    assert_eq!(record.tags, instructions().tags);
    assert_eq!(record.id, id);
    assert_eq!(record.message_id.as_deref(), Some("m@x"));
    assert_eq!(record.subject.as_deref(), Some("Grüße"));
    assert_eq!(record.direction, Direction::Outbound);
    assert_eq!(record.sender, "Sender@EXAMPLE.com");
    assert_eq!(record.recipients, ["kept@here.example", "b@two.example", "\"q u\"@[192.0.2.7]"]);
    assert_eq!(record.attachments, summary.attachments);
    assert_eq!(record.attachments.len(), 1);
    assert_eq!((record.status, record.attempts), (EmailStatus::Queued, 0));
    assert_eq!((record.created_at, record.updated_at, record.next_attempt_at), (at(5), at(5), Some(at(5))));
    assert_eq!((record.last_error.as_ref(), record.source_ip), (None, None));
    let deliveries: Vec<_> = detail.deliveries.iter().map(|d| (d.number, d.recipient.as_str(), d.status)).collect();
    assert_eq!(
        deliveries,
        [(0, "b@two.example", EmailStatus::Queued), (1, "\"q u\"@[192.0.2.7]", EmailStatus::Queued)]
    );
    assert!(detail.attempts.is_empty());
    let page = store.list(&EmailFilter::default(), 1, 10).await.unwrap();
    assert_eq!(page.emails, [detail.email], "a list shows the same");

    let mut kept = email(6, &[]);
    kept.envelope = Envelope::default();
    kept.kept = vec![Recipient {
        address: address("kept@here.example"),
        notify: Some(Notify::NEVER),
        original_recipient: Some("rfc822;x".into()),
    }];
    let id = accept(&store, kept).await;
    let record = store.email(id).await.unwrap().unwrap().email;
    assert_eq!(
        (record.status, record.direction, record.sender.as_str()),
        (EmailStatus::Received, Direction::Inbound, "")
    );
    assert_eq!(record.next_attempt_at, None);
    assert_eq!(store.email(ObjectId::new(at(6))).await.unwrap(), None);
}

pub(super) async fn an_id_is_taken_once(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let first = email(1, &["a@one.example"]);
    let mut second = email(2, &["b@two.example"]);
    second.id = first.id;
    let raw = first.message.raw.clone();
    let id = accept(&store, first).await;
    assert!(matches!(store.accept(second).await, Err(StoreError::Exists(_))));
    assert_eq!(store.raw(id).await.unwrap().unwrap().raw, raw, "the first is as it was");
    assert_eq!(claim_all(&store, node, 5).await, [delivery(id, 0)], "nothing of the second is there");
    assert_eq!(store.queue_stats(at(5)).await.unwrap().total, 1);
}

pub(super) async fn ids_that_differ_only_in_their_process_are_different(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut raws = Vec::new();
    for process in 0..10u8 {
        let mut new = email(i64::from(process), &["a@one.example"]);
        let mut bytes = *ObjectId::lower_bound(at(0)).as_bytes();
        bytes[4] = process;
        bytes[11] = 3;
        new.id = ObjectId::from_bytes(bytes);
        let raw = new.message.raw.clone();
        raws.push((accept(&store, new).await, raw));
    }
    assert!(store.delete(raws[0].0).await.unwrap());
    assert_eq!(store.raw(raws[0].0).await.unwrap(), None);
    for (id, raw) in &raws[1..] {
        assert_eq!(store.raw(*id).await.unwrap().unwrap().raw, raw);
        assert!(matches!(store.accept(NewEmail { id: *id, ..email(1, &[]) }).await, Err(StoreError::Exists(_))));
    }
}

pub(super) async fn concurrent_accepts_are_all_there(harness: &dyn Harness) {
    let store = harness.open().await;
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { accept(&store, email(n, &["a@one.example"])).await })
        })
        .collect();
    let mut ids = Vec::new();
    for task in tasks {
        ids.push(task.await.unwrap());
    }
    for id in &ids {
        assert!(store.raw(*id).await.unwrap().is_some());
    }
    assert_eq!(store.queue_stats(at(200)).await.unwrap().queued, 200);
}

pub(super) async fn a_flood_is_stored_or_refused(harness: &dyn Harness) {
    let store = harness.open().await;
    let tasks: Vec<_> = (0..3_000)
        .map(|n| {
            let store = store.clone();
            let new = email(n, &["a@one.example"]);
            (new.id, tokio::spawn(async move { store.accept(new).await }))
        })
        .collect();
    let mut stored = 0;
    for (id, task) in tasks {
        let result = task.await.unwrap();
        assert!(matches!(result, Ok(_) | Err(StoreError::Overloaded)), "{result:?}");
        assert_eq!(store.raw(id).await.unwrap().is_some(), result.is_ok());
        stored += u64::from(result.is_ok());
    }
    assert!(stored > 0);
    assert_eq!(store.queue_stats(at(3000)).await.unwrap().queued, stored);
}

pub(super) async fn dropped_calls_are_done_wholly_or_not_at_all(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let mut ids = Vec::new();
    for n in 0..100 {
        let new = claimed_email(n, &["a@one.example", "b@two.example"], node);
        ids.push(new.id);
        let store = store.clone();
        let task = tokio::spawn(async move { store.accept(new).await });
        tokio::task::yield_now().await;
        task.abort();
        let _ = task.await;
    }
    // What was handed over may be written after what came later: until it settles, calls that wait for an answer pass.
    let mut seen = None;
    for n in 0..200 {
        accept(&store, email(100 + n, &[])).await;
        let without_these = store.queue_stats(at(300)).await.unwrap().total - (n as u64 + 1);
        if n >= 20 && seen == Some(without_these) {
            break;
        }
        seen = Some(without_these);
    }
    let mut stored = 0;
    for id in ids {
        let detail = store.email(id).await.unwrap();
        assert_eq!(detail.is_some(), store.raw(id).await.unwrap().is_some());
        if let Some(detail) = detail {
            assert_eq!(detail.deliveries.len(), 2);
            stored += 1;
        }
    }
    assert_eq!(Some(stored), seen);
}

pub(super) async fn deleting_leaves_nothing(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let mut new = claimed_email(1, &["a@one.example", "b@two.example"], node);
    new.instructions.add_tag("x").unwrap();
    let id = accept(&store, new).await;
    let other = accept(&store, email(2, &["c@one.example"])).await;
    settle(&store, node, delivery(id, 0), 3, Next::Retry { at: at(10) }).await;
    assert!(store.delete(id).await.unwrap());
    assert!(!store.delete(id).await.unwrap());
    assert_eq!(store.email(id).await.unwrap(), None);
    assert_eq!(store.raw(id).await.unwrap(), None);
    assert_eq!(listed(&store, EmailFilter::default()).await, [other]);
    assert_eq!(claim_all(&store, node, 1000).await, [delivery(other, 0)]);
    let stats = store.queue_stats(at(1000)).await.unwrap();
    assert_eq!((stats.total, stats.sending, stats.queued), (1, 1, 0));
    assert_eq!(stats.domains.len(), 1);
    // The id is free again, and nothing of the former e-mail hangs on it.
    let mut again = email(1, &["a@one.example"]);
    again.id = id;
    accept(&store, again).await;
    assert!(detail(&store, id).await.attempts.is_empty());
    let tagged = EmailFilter { tag: Some("x".into()), ..EmailFilter::default() };
    assert_eq!(listed(&store, tagged).await, [], "its tags are gone too");
}
