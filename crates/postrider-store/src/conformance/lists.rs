//! Lists and numbers.

use postrider_core::{Direction, EmailStatus, Envelope, Recipient, ReversePath};

use super::Harness;
use super::fixtures::*;
use crate::records::*;

pub(super) async fn lists_are_newest_first_in_pages(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut ids = Vec::new();
    for n in 0..25 {
        ids.push(accept(&store, email(n, &["a@one.example"])).await);
    }
    ids.reverse();
    for (page, range) in [(1, 0..10), (2, 10..20), (3, 20..25), (4, 25..25), (u64::MAX, 25..25)] {
        // A filter that all pass takes another way than none.
        for filter in [EmailFilter::default(), EmailFilter { sender: Some("sender".into()), ..EmailFilter::default() }]
        {
            let listed = store.list(&filter, page, 10).await.unwrap();
            assert_eq!(listed.total, 25);
            assert_eq!(listed.emails.iter().map(|email| email.id).collect::<Vec<_>>(), ids[range.clone()]);
        }
    }
    assert_eq!(
        store.list(&EmailFilter::default(), 1, 0).await.unwrap(),
        EmailPage { total: 25, ..EmailPage::default() }
    );
    let waiting = EmailFilter { status: Some(EmailStatus::Queued), ..EmailFilter::default() };
    let listed = store.list(&waiting, 2, 10).await.unwrap();
    assert_eq!((listed.total, listed.emails[0].id), (25, ids[10]));
}

pub(super) async fn lists_filter_by_each_field(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut kept = email(1, &[]);
    kept.kept = vec![Recipient::new(address("Kept@B\u{fc}cher.example"))];
    kept.envelope = Envelope::default();
    let kept = accept(&store, kept).await;
    let mut sent = email(2, &["alice@one.example", "bob@two.example"]);
    sent.envelope.reverse_path = ReversePath(Some(address("News@List.example")));
    sent.instructions.add_tag("a.b$").unwrap();
    let sent = accept(&store, sent).await;
    let filter = EmailFilter::default;
    let cases = [
        (filter(), vec![sent, kept]),
        (EmailFilter { direction: Some(Direction::Inbound), ..filter() }, vec![kept]),
        (EmailFilter { direction: Some(Direction::Outbound), ..filter() }, vec![sent]),
        (EmailFilter { sender: Some("news@LIST".into()), ..filter() }, vec![sent]),
        (EmailFilter { sender: Some("alice".into()), ..filter() }, vec![]),
        (EmailFilter { recipient: Some("BOB@".into()), ..filter() }, vec![sent]),
        (EmailFilter { recipient: Some("kept@b".into()), ..filter() }, vec![kept]),
        (EmailFilter { recipient: Some("example\nbob".into()), ..filter() }, vec![]),
        (EmailFilter { recipient: Some("%".into()), ..filter() }, vec![]),
        (EmailFilter { domain: Some(domain("two.example")), ..filter() }, vec![sent]),
        (EmailFilter { domain: Some(domain("list.EXAMPLE")), ..filter() }, vec![sent]),
        (EmailFilter { domain: Some(domain("xn--bcher-kva.example")), ..filter() }, vec![kept]),
        (EmailFilter { domain: Some(domain("example")), ..filter() }, vec![]),
        (EmailFilter { tag: Some("a.b$".into()), ..filter() }, vec![sent]),
        (EmailFilter { tag: Some("a.b$".into()), direction: Some(Direction::Inbound), ..filter() }, vec![]),
        (EmailFilter { tag: Some("a.b".into()), ..filter() }, vec![]),
        (EmailFilter { tag: Some("a.b$".into()), status: Some(EmailStatus::Queued), ..filter() }, vec![sent]),
        (EmailFilter { tag: Some("a.b$".into()), sender: Some("NEWS".into()), ..filter() }, vec![sent]),
        (
            EmailFilter {
                direction: Some(Direction::Outbound),
                recipient: Some("alice".into()),
                domain: Some(domain("two.example")),
                ..filter()
            },
            vec![sent],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(listed(&store, filter.clone()).await, expected, "{filter:?}");
    }
}

pub(super) async fn lists_filter_by_status(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let received = accept(&store, email(1, &[])).await;
    let queued = accept(&store, email(2, &["a@one.example"])).await;
    let mut claimed = Vec::new();
    for n in 3..8 {
        claimed.push(accept(&store, claimed_email(n, &["a@one.example"], node)).await);
    }
    settle(&store, node, delivery(claimed[0], 0), 9, Next::Sent).await;
    settle(&store, node, delivery(claimed[1], 0), 9, Next::Failed).await;
    settle(&store, node, delivery(claimed[2], 0), 9, Next::Retry { at: at(100) }).await;
    store.release(node, vec![delivery(claimed[3], 0)]).await.unwrap();
    let hold = Selection { emails: vec![claimed[3]], ..Selection::default() };
    store.order(hold, Order::Hold, at(10)).await.unwrap();
    let cancelled = accept(&store, email(8, &["a@one.example"])).await;
    let cancel = Selection { emails: vec![cancelled], ..Selection::default() };
    store.order(cancel, Order::Cancel, at(10)).await.unwrap();
    let cases = [
        (EmailStatus::Received, received),
        (EmailStatus::Queued, queued),
        (EmailStatus::Sent, claimed[0]),
        (EmailStatus::Failed, claimed[1]),
        (EmailStatus::Deferred, claimed[2]),
        (EmailStatus::Held, claimed[3]),
        (EmailStatus::Sending, claimed[4]),
        (EmailStatus::Cancelled, cancelled),
    ];
    assert_eq!(cases.len(), EmailStatus::ALL.len());
    for (status, id) in cases {
        let only = EmailFilter { status: Some(status), ..EmailFilter::default() };
        assert_eq!(listed(&store, only.clone()).await, [id], "{status}");
        assert_eq!(store.list(&only, 1, 5).await.unwrap().emails[0].status, status);
        let inbound = EmailFilter { direction: Some(Direction::Inbound), ..only };
        assert_eq!(listed(&store, inbound).await.len(), usize::from(status == EmailStatus::Received));
    }
}

pub(super) async fn lists_filter_by_time(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(accept(&store, email(n * 10, &["a@one.example"])).await);
    }
    // A session may take long between making the id and accepting.
    let mut late = email(1, &["a@one.example"]);
    late.created_at = at(3_600);
    let late = accept(&store, late).await;
    let filter = |from: Option<i64>, to: Option<i64>| EmailFilter {
        from: from.map(at),
        to: to.map(at),
        ..EmailFilter::default()
    };
    assert_eq!(listed(&store, filter(Some(20), None)).await, [ids[4], ids[3], ids[2], late]);
    assert_eq!(listed(&store, filter(None, Some(20))).await, [ids[1], ids[0]]);
    assert_eq!(listed(&store, filter(Some(10), Some(40))).await, [ids[3], ids[2], ids[1]]);
    assert_eq!(listed(&store, filter(Some(3_600), Some(3_601))).await, [late]);
    assert_eq!(listed(&store, filter(Some(30), Some(30))).await, []);
    assert_eq!(listed(&store, filter(Some(1_000_000), None)).await, []);
    assert_eq!(listed(&store, filter(None, Some(-1_000_000))).await, []);
}

pub(super) async fn an_empty_store_has_empty_lists_and_stats(harness: &dyn Harness) {
    let store = harness.open().await;
    assert_eq!(store.queue_stats(at(0)).await.unwrap(), QueueStats::default());
    let page = store.list(&EmailFilter::default(), 1, 20).await.unwrap();
    assert_eq!(page, EmailPage::default());
    assert_eq!(store.order(Selection::default(), Order::Retry, at(0)).await.unwrap(), Ordered::default());
}

pub(super) async fn stats_count_each_email_once(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    accept(&store, email(1, &[])).await;
    accept(&store, email(1, &["a@one.example", "b@two.example", "c@three.example"])).await;
    let id = accept(&store, claimed_email(2, &["a@one.example", "b@two.example"], node)).await;
    let stats = store.queue_stats(at(3)).await.unwrap();
    assert_eq!((stats.received, stats.queued, stats.sending, stats.total), (1, 1, 1, 3));
    settle(&store, node, delivery(id, 0), 3, Next::Sent).await;
    settle(&store, node, delivery(id, 1), 3, Next::Sent).await;
    let stats = store.queue_stats(at(3)).await.unwrap();
    assert_eq!((stats.received, stats.queued, stats.sending, stats.sent, stats.total), (1, 1, 0, 1, 3));
}

pub(super) async fn stats_tell_of_domains(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    for n in 0..3 {
        accept(&store, email(n, &["a@Many.example", "b@many.example", "a@few.example"])).await;
    }
    let id = accept(&store, claimed_email(5, &["a@few.example", "a@gone.example"], node)).await;
    settle(&store, node, delivery(id, 0), 6, Next::Retry { at: at(100) }).await;
    let stats = store.queue_stats(at(7)).await.unwrap();
    let stat = |name, queued, deferred, last_error: Option<&str>| DomainStats {
        domain: domain(name),
        queued,
        deferred,
        last_error: last_error.map(Into::into),
    };
    let error = attempt(1, 6, Next::Retry { at: at(100) }).outcome.error();
    assert_eq!(
        stats.domains,
        [
            stat("many.example", 6, 0, None),
            stat("few.example", 3, 1, error.as_deref()),
            // What is being sent waits too, for its outcome.
            stat("gone.example", 1, 0, None),
        ]
    );
    settle(&store, node, delivery(id, 1), 8, Next::Sent).await;
    assert_eq!(store.queue_stats(at(9)).await.unwrap().domains.len(), 2);

    let recipients: Vec<_> = (0..150).map(|n| format!("a@d{n}.example")).collect();
    accept(&store, email(9, &recipients.iter().map(String::as_str).collect::<Vec<_>>())).await;
    let stats = store.queue_stats(at(9)).await.unwrap();
    assert_eq!(stats.domains.len(), QueueStats::DOMAINS_MAX);
    assert_eq!(stats.domains[0].domain, domain("many.example"), "the most first");
}

pub(super) async fn the_queue_is_seen_by_domain(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    for n in 0..3 {
        accept(&store, email(n, &["a@Many.example", "b@many.example", "a@held.example"])).await;
    }
    let id = accept(&store, claimed_email(5, &["a@few.example", "a@held.example", "a@few.example"], node)).await;
    settle(&store, node, delivery(id, 0), 6, Next::Retry { at: at(100) }).await;
    let held = Selection { recipient_domain: Some(domain("held.example")), ..Selection::default() };
    store.order(held, Order::Hold, at(7)).await.unwrap();
    let page = async |prefix: Option<&str>, page, limit| {
        let filter = QueueDomainFilter { prefix: prefix.map(Into::into) };
        store.queue_domains(&filter, page, limit).await.unwrap()
    };
    let shown = |name, queued, deferred, sending, held| QueueDomain {
        domain: domain(name),
        queued,
        deferred,
        sending,
        held,
        oldest_at: Some(at(0)),
        next_attempt_at: None,
        last_error: None,
    };
    let many = QueueDomain { next_attempt_at: Some(at(0)), ..shown("many.example", 6, 0, 0, 0) };
    let few = QueueDomain {
        oldest_at: Some(at(5)),
        next_attempt_at: Some(at(100)),
        last_error: attempt(1, 6, Next::Retry { at: at(100) }).outcome.error(),
        ..shown("few.example", 0, 1, 1, 0)
    };
    // One of them is held as soon as the node lets go.
    let held = shown("held.example", 0, 0, 1, 3);
    let expected = vec![many.clone(), held.clone(), few.clone()];
    assert_eq!(page(None, 1, 10).await, QueueDomainPage { domains: expected, total: 3 });
    assert_eq!(page(None, 2, 2).await, QueueDomainPage { domains: vec![few], total: 3 });
    assert_eq!(page(None, 3, 2).await, QueueDomainPage { domains: vec![], total: 3 });
    assert_eq!(page(Some("HE"), 1, 10).await, QueueDomainPage { domains: vec![held], total: 1 });
    assert_eq!(page(Some("%"), 1, 10).await.total, 0);

    store.release(node, vec![delivery(id, 1), delivery(id, 2)]).await.unwrap();
    let found = page(None, 1, 10).await.domains;
    let counts: Vec<_> = found.iter().map(|shown| (shown.queued, shown.deferred, shown.sending, shown.held)).collect();
    assert_eq!(counts, [(6, 0, 0, 0), (0, 0, 0, 4), (1, 1, 0, 0)]);
    store.order(Selection::default(), Order::Cancel, at(9)).await.unwrap();
    assert_eq!(page(None, 1, 10).await, QueueDomainPage { domains: vec![], total: 0 });
}

pub(super) async fn stats_tell_of_the_last_minute(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    for (n, next) in [Next::Sent, Next::Sent, Next::Failed, Next::Retry { at: at(9_000) }].into_iter().enumerate() {
        let id = accept(&store, claimed_email(n as i64, &["a@one.example"], node)).await;
        settle(&store, node, delivery(id, 0), 100, next).await;
    }
    let old = accept(&store, claimed_email(1, &["a@one.example"], node)).await;
    settle(&store, node, delivery(old, 0), 20, Next::Sent).await;
    let minute = async |seconds| {
        let stats = store.queue_stats(at(seconds)).await.unwrap();
        (stats.sent_last_minute, stats.failed_last_minute)
    };
    assert_eq!(minute(100).await, (2, 1));
    assert_eq!(minute(145).await, (2, 1));
    assert_eq!(minute(171).await, (0, 0));
    assert_eq!(minute(100_000).await, (0, 0));
}

pub(super) async fn stats_tell_the_oldest(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    accept(&store, email(1, &[])).await;
    let first = accept(&store, claimed_email(5, &["a@one.example"], node)).await;
    let second = accept(&store, email(20, &["a@one.example"])).await;
    let oldest = async || store.queue_stats(at(100)).await.unwrap().oldest_queued_seconds;
    assert_eq!(oldest().await, Some(95), "what is being sent still waits");
    settle(&store, node, delivery(first, 0), 30, Next::Retry { at: at(500) }).await;
    assert_eq!(oldest().await, Some(95), "what is deferred waits");
    assert!(store.delete(first).await.unwrap());
    assert_eq!(oldest().await, Some(80));
    assert_eq!(store.queue_stats(at(1)).await.unwrap().oldest_queued_seconds, Some(0), "never less than nothing");
    assert!(store.delete(second).await.unwrap());
    assert_eq!(oldest().await, None);
}
