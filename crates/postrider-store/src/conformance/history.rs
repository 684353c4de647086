//! The history.

use std::time::Duration;

use postrider_core::history::{AddressTraffic, Step, Traffic};
use postrider_core::{ObjectId, SourceOrigin, Timestamp};

use super::Harness;
use super::fixtures::*;
use crate::records::*;

fn minute(number: i64) -> Timestamp {
    at(number * 60)
}

fn traffic(accepted: u64, latencies_ms: &[u64]) -> Traffic {
    let mut traffic =
        Traffic { accepted, delivered: latencies_ms.len() as u64, deferred: 2, failed: 1, ..Traffic::default() };
    latencies_ms.iter().for_each(|&millis| traffic.latencies.note(Duration::from_millis(millis)));
    traffic
}

fn part(step: Step, at: Timestamp, traffic: Traffic) -> TrafficPart {
    TrafficPart { step, at, part: ObjectId::new(at), traffic }
}

fn address(at: Timestamp, ip: &str, delivered: u64, origin: SourceOrigin) -> AddressPart {
    let mut traffic = AddressTraffic { delivered, deferred: 1, failed: 3, ..AddressTraffic::default() };
    traffic.note_origin(origin, delivered);
    AddressPart { at, ip: ip.parse().unwrap(), part: ObjectId::new(at), traffic }
}

pub(super) async fn what_all_counted_is_added_up(harness: &dyn Harness) {
    let store = harness.open().await;
    let one = part(Step::Minute, minute(1), traffic(5, &[40, 9_000]));
    let other = part(Step::Minute, minute(1), traffic(7, &[40]));
    let later = part(Step::Minute, minute(3), traffic(1, &[]));
    let of_hour = part(Step::Hour, minute(0), traffic(13, &[]));
    store.put_history(vec![one.clone(), later.clone(), of_hour.clone()], Vec::new()).await.unwrap();
    store.put_history(vec![other.clone()], Vec::new()).await.unwrap();
    store.put_history(Vec::new(), Vec::new()).await.unwrap();
    store.close().await.unwrap();

    let store = harness.open().await;
    let mut sum = one.traffic.clone();
    sum.add(&other.traffic);
    assert_eq!((sum.accepted, sum.delivered, sum.deferred, sum.failed, sum.latencies.count()), (12, 3, 4, 2, 3));
    let first = TrafficSpan { at: minute(1), traffic: sum };
    let last = TrafficSpan { at: minute(3), traffic: later.traffic };
    assert_eq!(store.history(Step::Minute, minute(0), minute(9)).await, Ok(vec![first.clone(), last.clone()]));
    assert_eq!(store.history(Step::Minute, minute(1), minute(3)).await, Ok(vec![first]), "without the end");
    assert_eq!(store.history(Step::Minute, minute(2), minute(9)).await, Ok(vec![last]));
    let hours = store.history(Step::Hour, minute(0), minute(9)).await.unwrap();
    assert_eq!(hours, [TrafficSpan { at: minute(0), traffic: of_hour.traffic }], "spans of another length are others");
    assert_eq!(store.history(Step::TenMinutes, minute(0), minute(9)).await, Ok(Vec::new()));
}

pub(super) async fn what_is_handed_in_again_counts_once(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut counted = part(Step::Minute, minute(1), traffic(5, &[40]));
    let mut sent = address(minute(0), "192.0.2.1", 4, SourceOrigin::Api);
    for _ in 0..2 {
        store.put_history(vec![counted.clone()], vec![sent.clone()]).await.unwrap();
    }
    counted.traffic.accepted = 6;
    sent.traffic.delivered = 9;
    store.put_history(vec![counted.clone()], vec![sent.clone()]).await.unwrap();
    let found = store.history(Step::Minute, minute(0), minute(9)).await.unwrap();
    assert_eq!(found, [TrafficSpan { at: minute(1), traffic: counted.traffic }]);
    let addresses = store.address_history(minute(0), minute(9)).await.unwrap();
    assert_eq!(addresses, [AddressHistory { ip: sent.ip, traffic: sent.traffic, last_used_at: minute(0) }]);
}

pub(super) async fn what_left_from_each_address_is_added_up(harness: &dyn Harness) {
    let store = harness.open().await;
    let parts = vec![
        address(minute(60), "192.0.2.1", 4, SourceOrigin::Api),
        address(minute(60), "192.0.2.1", 2, SourceOrigin::Cache),
        address(minute(120), "192.0.2.1", 1, SourceOrigin::Api),
        address(minute(60), "2001:db8::1", 1, SourceOrigin::Fallback),
        address(minute(180), "192.0.2.9", 1, SourceOrigin::Default),
    ];
    store.put_history(Vec::new(), parts.clone()).await.unwrap();
    let found = store.address_history(minute(60), minute(180)).await.unwrap();
    assert_eq!(found.iter().map(|found| found.ip).collect::<Vec<_>>(), [parts[0].ip, parts[3].ip]);
    let traffic = &found[0].traffic;
    assert_eq!((traffic.delivered, traffic.deferred, traffic.failed, traffic.attempts()), (7, 3, 9, 19));
    let origins: Vec<_> = traffic.by_origin().collect();
    assert_eq!(origins, [(SourceOrigin::Api, 5), (SourceOrigin::Cache, 2)]);
    assert_eq!((found[0].last_used_at, found[1].last_used_at), (minute(120), minute(60)));
}

pub(super) async fn old_history_is_forgotten(harness: &dyn Harness) {
    let store = harness.open().await;
    let minutes = (0..5).map(|n| part(Step::Minute, minute(n), traffic(1, &[])));
    let hours = [0, 60].map(|n| part(Step::Hour, minute(n), traffic(1, &[])));
    let addresses = [0, 60].map(|n| address(minute(n), "192.0.2.1", 1, SourceOrigin::Api));
    store.put_history(minutes.chain(hours).collect(), addresses.to_vec()).await.unwrap();
    let mut swept = 0;
    for _ in 0..9 {
        let now = store.sweep_history(minute(3), 2).await.unwrap();
        assert!(now <= 4, "no more than asked for of each kind");
        swept += now;
    }
    assert_eq!(swept, 3 + 1 + 1);
    let left = store.history(Step::Minute, minute(0), minute(9)).await.unwrap();
    assert_eq!(left.iter().map(|span| span.at).collect::<Vec<_>>(), [minute(3), minute(4)]);
    assert_eq!(store.history(Step::Hour, minute(0), minute(99)).await.unwrap().len(), 1);
    assert_eq!(store.address_history(minute(0), minute(99)).await.unwrap().len(), 1);
}
