//! Finding e-mails: by queries, and page by page from a place on.

use std::sync::Arc;

use bytes::Bytes;
use postrider_core::query::Query;
use postrider_core::{EmailStatus, Message, ObjectId, Recipient, ReversePath};

use super::Harness;
use super::fixtures::*;
use crate::records::*;
use crate::traits::Store;

/// What a query finds at that second, newest first.
async fn found_at(store: &Arc<dyn Store>, query: &str, seconds: i64) -> Vec<ObjectId> {
    let terms = Query::parse(query).unwrap().at(at(seconds));
    listed(store, EmailFilter { terms, ..EmailFilter::default() }).await
}

async fn found(store: &Arc<dyn Store>, query: &str) -> Vec<ObjectId> {
    found_at(store, query, 1_000).await
}

fn with_message(seconds: i64, recipients: &[&str], raw: impl Into<Bytes>) -> NewEmail {
    NewEmail { message: Message::parse(raw.into(), 0), ..email(seconds, recipients) }
}

pub(super) async fn each_term_of_a_query_restricts(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let kept = accept(&store, email(1, &[])).await;
    let raw = "Message-ID: <A.1@host.example>\r\nSubject: Your invoice\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
        --x\r\n\r\nHello\r\n--x\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\na\r\n--x--\r\n";
    let mut large = with_message(2, &["bob@two.example"], raw);
    large.instructions.add_tag("News").unwrap();
    large.deliveries[0].claimed_by = Some(node);
    let (size, large) = (large.message.raw.len(), accept(&store, large).await);
    let failed = accept(&store, claimed_email(3, &["ann@one.example"], node)).await;
    settle(&store, node, delivery(failed, 0), 9, Next::Failed).await;
    let error = detail(&store, failed).await.email.last_error.unwrap();
    let cases = [
        ("".to_owned(), vec![failed, large, kept]),
        ("status:sending".into(), vec![large]),
        ("status:sending,failed".into(), vec![failed, large]),
        ("status:received,failed".into(), vec![failed, kept]),
        ("status:queued".into(), vec![]),
        ("status:failed status:received".into(), vec![]),
        ("direction:inbound".into(), vec![kept]),
        ("domain:two.example".into(), vec![large]),
        ("tag:News".into(), vec![large]),
        ("tag:news".into(), vec![]),
        ("tag:News status:failed".into(), vec![]),
        ("subject:INVOICE".into(), vec![large]),
        ("subject:\"your invoice\"".into(), vec![large]),
        ("subject:\"invoice your\"".into(), vec![]),
        (format!("id:{large}"), vec![large]),
        (format!("id:{large} status:failed"), vec![]),
        (format!("id:{}", ObjectId::new(at(2))), vec![]),
        ("messageid:<A.1@host.example>".into(), vec![large]),
        ("messageid:A.1@host".into(), vec![]),
        ("messageid:a.1@host.example".into(), vec![]),
        ("older:998s".into(), vec![kept]),
        ("newer:998s".into(), vec![failed, large]),
        ("newer:998s older:997s".into(), vec![large]),
        (format!("after:{}", at(3)), vec![failed]),
        (format!("before:{}", at(3)), vec![large, kept]),
        (format!("larger:{size}"), vec![large]),
        (format!("smaller:{size}"), vec![failed, kept]),
        ("has:attachment".into(), vec![large]),
        (format!("error:\"{}\"", error.to_ascii_uppercase()), vec![failed]),
        ("error:greylisted".into(), vec![]),
        ("sourceip:192.0.2.1".into(), vec![failed]),
        ("sourceip:192.0.2.2".into(), vec![]),
        ("status:failed recipient:ann error:no domain:one.example".into(), vec![failed]),
    ];
    for (query, expected) in cases {
        assert_eq!(found(&store, &query).await, expected, "{query:?}");
    }
}

pub(super) async fn terms_are_negated(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let kept = accept(&store, email(1, &[])).await;
    let mut queued = with_message(2, &["bob@two.example"], "Subject: Your invoice\r\n\r\nPlease pay\r\n");
    queued.instructions.add_tag("news").unwrap();
    let queued = accept(&store, queued).await;
    let failed = accept(&store, claimed_email(3, &["ann@one.example"], node)).await;
    settle(&store, node, delivery(failed, 0), 9, Next::Failed).await;
    let size = detail(&store, queued).await.email.size;
    let cases = [
        ("-status:queued".to_owned(), vec![failed, kept]),
        ("-status:sending".into(), vec![failed, queued, kept]),
        ("-direction:inbound".into(), vec![failed, queued]),
        ("-sender:sender@".into(), vec![]),
        ("-recipient:ann".into(), vec![queued, kept]),
        ("-recipient:ann@one.example".into(), vec![queued, kept]),
        ("-domain:two.example".into(), vec![failed, kept]),
        ("-tag:news".into(), vec![failed, kept]),
        ("-subject:invoice".into(), vec![failed, kept]),
        ("-invoice".into(), vec![failed, kept]),
        ("-invoice status:failed".into(), vec![failed]),
        ("invoice -two".into(), vec![]),
        ("-invoice -ann".into(), vec![kept]),
        (format!("-id:{queued}"), vec![failed, kept]),
        ("-messageid:none@x".into(), vec![failed, queued, kept]),
        (format!("-larger:{size} -smaller:{size}"), vec![]),
        ("-has:attachment".into(), vec![failed, queued, kept]),
        ("-error:no".into(), vec![queued, kept]),
        ("-sourceip:192.0.2.1".into(), vec![queued, kept]),
        ("-older:998s".into(), vec![failed, queued]),
        ("-newer:998s".into(), vec![kept]),
    ];
    for (query, expected) in cases {
        assert_eq!(found(&store, &query).await, expected, "{query:?}");
    }
}

pub(super) async fn words_are_found_whole(harness: &dyn Harness) {
    let store = harness.open().await;
    let raw = "Message-ID: <Unique.77@host>\r\nSubject: =?utf-8?q?Your_100%_Invoice=5F7_Gr=C3=BC=C3=9Fe?=\r\n\r\n";
    let id = accept(&store, with_message(1, &["Alice@one.example"], raw)).await;
    let other = accept(&store, email(2, &["bob@one.example"])).await;
    let cases: [(&str, &[_]); 16] = [
        ("INVOICE", &[id]),
        ("invoice your", &[id]),
        ("voice", &[]),
        ("\"your 100 invoice\"", &[id]),
        ("\"your invoice\"", &[]),
        ("invoice alice", &[id]),
        ("invoice bob", &[]),
        ("unique.77@host", &[id]),
        ("one.example", &[other, id]),
        ("alice@one.example", &[id]),
        // Of two addresses the end and the beginning are not one after the other.
        ("\"com alice\"", &[]),
        ("invoice_7", &[id]),
        ("invoice%8", &[]),
        ("GR\u{dc}\u{df}E", &[id]),
        ("gr\u{fc}\u{df}", &[]),
        ("subject:one", &[]),
    ];
    for (query, expected) in cases {
        assert_eq!(found(&store, query).await, expected, "{query:?}");
    }
}

pub(super) async fn words_of_texts_are_found(harness: &dyn Harness) {
    let store = harness.open().await;
    let plain =
        "Subject: Hello\r\n\r\nPlease pay the invoice by Friday.\r\nGr\u{fc}\u{df}e, \u{8acb}\u{6c42}\u{66f8}\r\n";
    let plain = accept(&store, with_message(1, &["ann@one.example"], plain)).await;
    let encoded = "Subject: Friday\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        UGF5bWVudCByZWNlaXZlZDogdGhhbmsgeW91Lg==\r\n";
    let encoded = accept(&store, with_message(2, &["bob@one.example"], encoded)).await;
    let html = "Subject: News\r\nContent-Type: text/html\r\n\r\n<p title=\"hidden\">Fine <b>offers</b> inside</p>\r\n";
    let html = accept(&store, with_message(3, &["cid@one.example"], html)).await;
    let mixed = "Subject: Report\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nNumbers attached\r\n\
        --x\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nattachmentword\r\n--x--\r\n";
    let mixed = accept(&store, with_message(4, &["dan@one.example"], mixed)).await;
    let cases: [(&str, &[_]); 19] = [
        ("invoice", &[plain]),
        ("INVOICE pay", &[plain]),
        ("\"the invoice\"", &[plain]),
        ("\"invoice the\"", &[]),
        ("friday", &[encoded, plain]),
        ("friday -invoice", &[encoded]),
        ("subject:friday", &[encoded]),
        ("gr\u{dc}\u{df}e", &[plain]),
        ("\u{6c42}\u{66f8}", &[plain]),
        ("\"thank you\"", &[encoded]),
        ("UGF5bWVudCByZWNlaXZlZDogdGhhbmsgeW91Lg", &[]),
        ("offers inside", &[html]),
        ("attached", &[mixed]),
        ("attachmentword", &[]),
        ("invoice domain:one.example", &[plain]),
        ("invoice to:bob@one.example", &[]),
        ("status:queued friday", &[encoded, plain]),
        ("-friday -status:sent", &[mixed, html]),
        ("\"hello please\"", &[]),
    ];
    for (query, expected) in cases {
        assert_eq!(found(&store, query).await, expected, "{query:?}");
    }
    assert!(store.delete(plain).await.unwrap());
    assert_eq!(found(&store, "invoice").await, []);
    assert_eq!(found(&store, "friday").await, [encoded]);
}

pub(super) async fn addresses_are_found_whole_or_in_part(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut first = email(1, &["Bob@two.example"]);
    first.envelope.reverse_path = ReversePath(Some(address("Ann@one.example")));
    first.kept = vec![Recipient::new(address("kept@b\u{fc}cher.example"))];
    let first = accept(&store, first).await;
    let mut second = email(2, &["jimbob@two.example"]);
    second.envelope.reverse_path = ReversePath(None);
    let second = accept(&store, second).await;
    let cases: [(&str, &[_]); 14] = [
        ("sender:ann@ONE.example", &[first]),
        ("sender:nn@one.example", &[]),
        ("sender:nn@one", &[first]),
        ("sender:<>", &[second]),
        ("recipient:<>", &[]),
        ("recipient:bob@two.example", &[first]),
        ("recipient:bob@two", &[second, first]),
        ("recipient:@two.example", &[second, first]),
        ("recipient:KEPT@xn--bcher-kva.example", &[first]),
        ("recipient:kept@b\u{fc}cher.example", &[first]),
        ("recipient:ann", &[]),
        ("recipient:bob recipient:kept", &[first]),
        ("domain:b\u{fc}cher.example", &[first]),
        ("domain:example", &[]),
    ];
    for (query, expected) in cases {
        assert_eq!(found(&store, query).await, expected, "{query:?}");
    }
}

/// Pages of ten from a place on, and what is behind them.
async fn page(store: &Arc<dyn Store>, query: &str, order: ListOrder, start: ListStart) -> EmailPage {
    let terms = Query::parse(query).unwrap().at(at(1_000));
    let filter = EmailFilter { terms, ..EmailFilter::default() };
    store.find(ListRequest { order, start, ..ListRequest::newest(filter, 10) }).await.unwrap()
}

fn ids_of(page: &EmailPage) -> Vec<ObjectId> {
    page.emails.iter().map(|email| email.id).collect()
}

/// Ways to the same e-mails.
const WAYS: [&str; 7] =
    ["", "status:queued", "sender:sender", "tag:all", "domain:one.example", "text", "\"text of\" one"];

async fn accept_tagged(store: &Arc<dyn Store>, seconds: i64) -> ObjectId {
    let mut new = email(seconds, &["a@one.example"]);
    new.instructions.add_tag("all").unwrap();
    accept(store, new).await
}

pub(super) async fn lists_go_on_at_a_place(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut ids = Vec::new();
    for n in 0..25 {
        ids.push(accept_tagged(&store, n).await);
    }
    for (order, backwards) in [(ListOrder::Newest, true), (ListOrder::Oldest, false)] {
        let mut expected = ids.clone();
        if backwards {
            expected.reverse();
        }
        for way in WAYS {
            let first = page(&store, way, order, ListStart::Page(1)).await;
            assert_eq!((ids_of(&first), first.total, first.previous), (expected[..10].to_vec(), 25, None), "{way}");
            let second = page(&store, way, order, ListStart::After(first.next.unwrap())).await;
            assert_eq!(ids_of(&second), expected[10..20], "{way}");
            let third = page(&store, way, order, ListStart::After(second.next.unwrap())).await;
            assert_eq!((ids_of(&third), third.next), (expected[20..].to_vec(), None), "{way}");
            let third = page(&store, way, order, ListStart::Page(3)).await;
            assert_eq!((ids_of(&third), third.next, third.total), (expected[20..].to_vec(), None, 25), "{way}");
            assert!(third.previous.is_some() && !third.is_incomplete && !third.total_is_at_least);
        }
    }
    // What comes and goes meanwhile shifts no page.
    let first = page(&store, "", ListOrder::Newest, ListStart::Page(1)).await;
    accept_tagged(&store, 26).await;
    assert!(store.delete(ids[15]).await.unwrap());
    assert!(store.delete(ids[14]).await.unwrap());
    let second = page(&store, "", ListOrder::Newest, ListStart::After(first.next.unwrap())).await;
    ids.remove(14);
    ids.reverse();
    assert_eq!(ids_of(&second), ids[10..20]);
}

pub(super) async fn lists_go_back_from_a_place(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut ids = Vec::new();
    for n in 0..25 {
        ids.push(accept_tagged(&store, n).await);
    }
    ids.reverse();
    for way in WAYS {
        let third = page(&store, way, ListOrder::Newest, ListStart::Page(3)).await;
        let second = page(&store, way, ListOrder::Newest, ListStart::Before(third.previous.unwrap())).await;
        assert_eq!(ids_of(&second), ids[10..20], "{way}");
        let first = page(&store, way, ListOrder::Newest, ListStart::Before(second.previous.unwrap())).await;
        assert_eq!((ids_of(&first), first.previous), (ids[..10].to_vec(), None), "{way}");
        let again = page(&store, way, ListOrder::Newest, ListStart::After(first.next.unwrap())).await;
        assert_eq!(ids_of(&again), ids[10..20], "{way}");
    }
}

pub(super) async fn lists_look_at_so_many(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut ids = Vec::new();
    for n in 0..25 {
        let recipient = if n % 5 == 0 { "rare@one.example" } else { "b@one.example" };
        ids.push(accept(&store, email(n, &[recipient])).await);
    }
    let filter = EmailFilter { recipient: Some("rar".into()), ..EmailFilter::default() };
    let mut request = ListRequest { examined_max: 7, ..ListRequest::newest(filter, 10) };
    let (mut seen, mut requests) = (Vec::new(), 0);
    loop {
        let found = store.find(request.clone()).await.unwrap();
        requests += 1;
        seen.extend(ids_of(&found));
        let Some(next) = found.next else {
            assert!(!found.is_incomplete);
            break;
        };
        assert!(found.is_incomplete && found.total_is_at_least);
        request.start = ListStart::After(next);
    }
    assert_eq!(requests, 4, "7, 7, 7 and 4 of 25");
    assert_eq!(seen, [20, 15, 10, 5, 0].map(|n| ids[n]));
}

pub(super) async fn words_lead_to_old_emails(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut ids = Vec::new();
    for n in 0..25 {
        let text =
            if n % 12 == 0 { "Subject: a\r\n\r\ncommon rare word\r\n" } else { "Subject: a\r\n\r\ncommon word\r\n" };
        // Of several months, to be looked for in all of them.
        ids.push(accept(&store, with_message(n * 600_000, &["b@one.example"], text)).await);
    }
    let rare = [24, 12, 0].map(|n| ids[n]);
    for query in ["rare", "common rare", "rare -missing", "\"common rare\"", "rare domain:one.example"] {
        for (order, backwards) in [(ListOrder::Newest, false), (ListOrder::Oldest, true)] {
            let mut expected = rare.to_vec();
            if backwards {
                expected.reverse();
            }
            let terms = Query::parse(query).unwrap().at(at(0));
            let filter = EmailFilter { terms, ..EmailFilter::default() };
            let request = ListRequest { order, examined_max: 7, ..ListRequest::newest(filter, 10) };
            let found = store.find(request).await.unwrap();
            assert_eq!((ids_of(&found), found.total, found.is_incomplete), (expected, 3, false), "{query} {order:?}");
        }
    }
    let by_id = format!("rare id:{}", ids[12]);
    assert_eq!(found(&store, &by_id).await, [ids[12]]);
    assert_eq!(found(&store, "status:queued rare common").await, rare);
    assert_eq!(found(&store, "status:failed,deferred rare").await, []);
    assert_eq!(found(&store, "status:queued \"rare common\"").await, []);
    assert_eq!(page(&store, "common -rare", ListOrder::Newest, ListStart::Page(1)).await.total, 22);
    let since = format!("common after:{}", at(12 * 600_000));
    assert_eq!(page(&store, &since, ListOrder::Newest, ListStart::Page(1)).await.total, 13);
}

pub(super) async fn what_is_not_listed_is_not_found(harness: &dyn Harness) {
    let store = harness.open().await;
    let id = accept(&store, with_message(1, &["ann@one.example"], "Subject: secret\r\n\r\nhidden words\r\n")).await;
    let queries = [
        "secret",
        "\"hidden words\"",
        "subject:secret",
        "domain:one.example",
        "recipient:ann",
        "recipient:ann@one.example",
    ];
    for query in queries {
        assert_eq!(found(&store, query).await, [id], "{query}");
    }
    assert!(store.delete(id).await.unwrap());
    for query in queries {
        assert_eq!(found(&store, query).await, [], "{query}");
    }
    let again = accept(&store, with_message(3, &["ann@one.example"], "Subject: secret\r\n\r\nhidden words\r\n")).await;
    assert_eq!(found(&store, "secret").await, [again]);
    let only = EmailFilter { status: Some(EmailStatus::Queued), ..EmailFilter::default() };
    assert_eq!(listed(&store, only).await, [again]);
}
