//! The history: what was accepted, delivered, deferred and failed, and what was sent from which address.

use std::time::Duration;

use postrider_core::EmailStatus;
use postrider_core::history::Step;
use postrider_testkit::{
    HttpAnswer, HttpService, ManualClock, Script, Site, StoreFaults, TestPostrider, eventually, mail,
};
use serde_json::{Value, json};

async fn history(postrider: &TestPostrider, span: &str) -> Value {
    let response = postrider.get(&format!("/api/history?span={span}")).await;
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

/// What was accepted, delivered, deferred and failed.
fn counts(traffic: &Value) -> [u64; 4] {
    ["accepted", "delivered", "deferred", "failed"].map(|name| traffic[name].as_u64().unwrap())
}

/// Waits until these are the sums of the last hour.
async fn wait_for(postrider: &TestPostrider, expected: [u64; 4]) {
    eventually("the history to tell of it", async || {
        (counts(&history(postrider, "hour").await["total"]) == expected).then_some(())
    })
    .await;
}

async fn send(postrider: &TestPostrider, recipient: &str, status: EmailStatus) {
    let message = mail::plain("a@client.test", recipient, "Counted");
    // From nobody: so that no notification is counted too.
    let id = postrider.send("", &[recipient], &message).await;
    if status == EmailStatus::Deferred {
        postrider.wait_for_deferred(id, 1).await;
    } else {
        postrider.wait_for_status(id, status).await;
    }
}

#[tokio::test]
async fn what_was_done_with_mail_is_told_by_spans() {
    let site = Site::new().await;
    let script = Script::new()
        .on_recipient("no@example.org", "550 5.1.1 No")
        .on_recipient("later@example.org", "450 4.2.1 Later");
    let _mx = site.mx("example.org", script).await;
    let postrider = site.start().await;
    assert_eq!(counts(&history(&postrider, "hour").await["total"]), [0; 4]);
    for (recipient, status) in [
        ("b@example.org", EmailStatus::Sent),
        ("c@example.org", EmailStatus::Sent),
        ("no@example.org", EmailStatus::Failed),
        ("later@example.org", EmailStatus::Deferred),
    ] {
        send(&postrider, recipient, status).await;
    }
    postrider.clock().advance(Duration::from_secs(1)).await;
    wait_for(&postrider, [4, 2, 1, 1]).await;
    for (span, step_seconds, steps) in [("hour", 60, 60), ("day", 600, 144), ("week", 3_600, 168)] {
        let told = history(&postrider, span).await;
        assert_eq!((&told["span"], &told["stepSeconds"]), (&json!(span), &json!(step_seconds)));
        let all = told["steps"].as_array().unwrap();
        assert_eq!(all.len(), steps);
        assert_eq!(counts(all.last().unwrap()), [4, 2, 1, 1], "{span}");
        assert_eq!(counts(&told["total"]), [4, 2, 1, 1], "{span}");
        assert!(told["total"]["latencyMs"]["p50"].is_u64() && all[0]["latencyMs"].is_null(), "{told}");
    }
    for query in ["span=month", "span=hour&step=1"] {
        assert_eq!(postrider.get(&format!("/api/history?{query}")).await.status, 400, "{query}");
        assert_eq!(postrider.get(&format!("/api/ip-selection/addresses?{query}")).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn what_was_counted_outlives_a_restart_and_a_week() {
    let site = Site::new().await;
    let _mx = site.mx("example.org", Script::new()).await;
    let clock = ManualClock::new();
    let postrider = site.start_on(&clock).await;
    send(&postrider, "b@example.org", EmailStatus::Sent).await;
    // The clock stands still: nothing was written by and by.
    let postrider = postrider.shut_down().await.start_on(&clock).await;
    assert_eq!(counts(&history(&postrider, "hour").await["total"]), [1, 1, 0, 0]);
    send(&postrider, "b@example.org", EmailStatus::Sent).await;
    clock.advance(Duration::from_secs(1)).await;
    wait_for(&postrider, [2, 2, 0, 0]).await;

    let site = postrider.shut_down().await;
    clock.leap(Duration::from_secs(8 * 24 * 3600 + 7200)).await;
    let then = ManualClock::START;
    let postrider = site.start_on(&clock).await;
    eventually("what is old to be forgotten", async || {
        let found = postrider.store().history(Step::Hour, then - Duration::from_secs(3600), postrider.now()).await;
        found.unwrap().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_outage_of_the_store_loses_no_counts() {
    let faults = StoreFaults::of_shared_store();
    let site = Site::new().await.with_store_faults(&faults).limit(|limits| limits.lease = Duration::from_secs(300));
    let _mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    send(&postrider, "b@example.org", EmailStatus::Sent).await;
    faults.set_failing(true);
    postrider.clock().advance(Duration::from_secs(2)).await;
    faults.set_failing(false);
    assert_eq!(counts(&history(&postrider, "hour").await["total"]), [0; 4]);
    postrider.clock().advance(Duration::from_secs(5)).await;
    wait_for(&postrider, [1, 1, 0, 0]).await;
}

#[tokio::test]
async fn what_left_from_which_address_is_told() {
    let site = Site::new().await;
    let chosen = site.claim_ip();
    let service =
        HttpService::start(site.claim_ip(), move |_| HttpAnswer::json(&json!({ "ip": chosen, "ttl": 60 }))).await;
    let site = site.set("IP_SELECTION_ENABLED", "true").set("IP_SELECTION_API_URL", &service.url("/pick"));
    let script = Script::new().on_recipient("no@example.org", "550 5.1.1 No");
    let _mx = site.mx("example.org", script).await;
    let postrider = site.start().await;
    for (recipient, status) in [("b@example.org", EmailStatus::Sent), ("no@example.org", EmailStatus::Failed)] {
        send(&postrider, recipient, status).await;
    }
    postrider.clock().advance(Duration::from_secs(1)).await;
    wait_for(&postrider, [2, 1, 0, 1]).await;
    for span in ["hour", "day", "week"] {
        // Addresses may be written a moment after the rest.
        let told = eventually("the address to be told of", async || {
            let told = postrider.get(&format!("/api/ip-selection/addresses?span={span}")).await.json();
            told["addresses"].as_array().is_some_and(|addresses| !addresses.is_empty()).then_some(told)
        })
        .await;
        let [address] = told["addresses"].as_array().unwrap().as_slice() else { panic!("{told}") };
        assert_eq!(address["ip"], json!(chosen));
        assert_eq!(
            (&address["attempts"], &address["delivered"], &address["failed"]),
            (&json!(2), &json!(1), &json!(1))
        );
        assert_eq!(address["origins"], json!({ "api": 1, "cache": 1 }), "{span}");
    }
}
