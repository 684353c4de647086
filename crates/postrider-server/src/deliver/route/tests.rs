//! Which routes are found, and how often somebody is asked.

use async_trait::async_trait;

use super::*;
use crate::clock::SystemClock;

#[derive(Debug)]
struct Zone(Result<Vec<(u16, &'static str)>, ResolveError>);

#[async_trait]
impl Resolver for Zone {
    async fn mx(&self, _: &str) -> Result<Vec<MxRecord>, ResolveError> {
        let records = self.0.clone()?;
        Ok(records.into_iter().map(|(preference, x)| MxRecord { preference, exchange: x.to_owned() }).collect())
    }

    async fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, ResolveError> {
        Err(ResolveError::NoRecords)
    }

    async fn texts(&self, _name: &str) -> Result<Vec<String>, ResolveError> {
        Err(ResolveError::NoRecords)
    }

    async fn names(&self, _: IpAddr) -> Result<Vec<String>, ResolveError> {
        Err(ResolveError::NoRecords)
    }
}

fn router(resolver: Arc<dyn Resolver>) -> Router {
    Router {
        resolver,
        clock: Arc::new(SystemClock),
        hostname: "us.example".to_owned(),
        delivery_port: 25,
        profiles: Profiles::default(),
        tls_required: Vec::new(),
        mta_sts: None,
        dnssec: None,
        fixed: None,
        known: Mutex::default(),
        under_way: Mutex::default(),
    }
}

async fn find(zone: Zone, domain: &str) -> Result<Vec<String>, NoRoute> {
    let route = router(Arc::new(zone)).find(&Domain::parse(domain).unwrap(), TlsRule::Usual).await?;
    Ok(route.hosts.iter().map(|host| host.name.clone()).collect())
}

#[tokio::test]
async fn hosts_come_by_preference() {
    let zone = Zone(Ok(vec![(20, "c.example"), (10, "b.example"), (10, "a.example")]));
    assert_eq!(find(zone, "example.org").await.unwrap(), ["a.example", "b.example", "c.example"]);
    assert_eq!(find(Zone(Err(ResolveError::NoRecords)), "example.org").await.unwrap(), ["example.org"]);
    assert_eq!(find(Zone(Err(ResolveError::NoSuchDomain)), "[127.0.0.9]").await.unwrap(), ["127.0.0.9"]);
}

#[tokio::test]
async fn what_cannot_be_is_refused_for_good_and_what_may_come_is_not() {
    let no_route = |zone| async { find(zone, "example.org").await.unwrap_err() };
    assert_eq!(no_route(Zone(Ok(vec![(0, ".")]))).await.enhanced_code, "5.1.10");
    assert!(no_route(Zone(Err(ResolveError::NoSuchDomain))).await.permanent);
    assert!(!no_route(Zone(Err(ResolveError::Temporary("SERVFAIL".into())))).await.permanent);
}

#[tokio::test]
async fn mail_does_not_go_to_ourselves_or_to_a_worse_host() {
    let zone = Zone(Ok(vec![(10, "best.example"), (20, "us.example"), (30, "worst.example")]));
    assert_eq!(find(zone, "example.org").await.unwrap(), ["best.example"]);
    let alone = Zone(Ok(vec![(10, "us.example"), (20, "worse.example")]));
    assert_eq!(find(alone, "example.org").await.unwrap_err().enhanced_code, "5.4.6");
}

#[tokio::test]
async fn our_own_name_without_records_is_no_way_out() {
    let no_route = find(Zone(Err(ResolveError::NoRecords)), "us.example").await.unwrap_err();
    assert_eq!(no_route.enhanced_code, "5.4.6");
    let Outcome::Failed { reply: None, reason, .. } = no_route.outcome() else { panic!("{no_route:?}") };
    assert!(reason.starts_with("5.4.6 "), "{reason}");
}

#[tokio::test]
async fn a_dot_among_other_records_is_no_null_mx() {
    let zone = Zone(Ok(vec![(0, "."), (10, "a.example")]));
    assert_eq!(find(zone, "example.org").await.unwrap(), ["a.example"]);
}

/// Counts questions, and answers none before it may.
#[derive(Debug, Default)]
struct SlowZone {
    asked: std::sync::atomic::AtomicUsize,
    may_answer: tokio::sync::Notify,
}

#[async_trait]
impl Resolver for SlowZone {
    async fn mx(&self, _: &str) -> Result<Vec<MxRecord>, ResolveError> {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.may_answer.notified().await;
        Err(ResolveError::Temporary("SERVFAIL".into()))
    }

    async fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, ResolveError> {
        Err(ResolveError::NoRecords)
    }

    async fn texts(&self, _name: &str) -> Result<Vec<String>, ResolveError> {
        Err(ResolveError::NoRecords)
    }

    async fn names(&self, _: IpAddr) -> Result<Vec<String>, ResolveError> {
        Err(ResolveError::NoRecords)
    }
}

#[tokio::test]
async fn all_who_ask_at_once_share_one_look_up() {
    let zone = Arc::new(SlowZone::default());
    let router = Arc::new(router(zone.clone()));
    let asked = || zone.asked.load(std::sync::atomic::Ordering::Relaxed);
    let domain = Domain::parse("example.org").unwrap();
    for round in 1..=2 {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (router, domain) = (router.clone(), domain.clone());
            tasks.spawn(async move { router.find(&domain, TlsRule::Usual).await });
        }
        while asked() < round {
            tokio::task::yield_now().await;
        }
        zone.may_answer.notify_one();
        while let Some(found) = tasks.join_next().await {
            assert!(!found.unwrap().unwrap_err().permanent);
        }
        assert_eq!((asked(), router.under_way().len()), (round, 0));
    }
}

#[tokio::test]
async fn a_look_up_that_is_given_up_is_taken_over() {
    let zone = Arc::new(SlowZone::default());
    let router = router(zone.clone());
    let domain = Domain::parse("example.org").unwrap();
    let mut first = Box::pin(router.find(&domain, TlsRule::Usual));
    let mut second = Box::pin(router.find(&domain, TlsRule::Usual));
    for find in [&mut first, &mut second] {
        assert!(std::future::poll_fn(|c| std::task::Poll::Ready(find.as_mut().poll(c).is_pending())).await);
    }
    drop(first);
    zone.may_answer.notify_one();
    assert!(!second.await.unwrap_err().permanent);
    assert_eq!(router.under_way().len(), 0);
}
