//! The overview and the page of source addresses: what they show of mail that was sent, of what waits, and of a store that fails.

use std::time::Duration;

use postrider_core::EmailStatus;
use postrider_testkit::{
    HttpAnswer, HttpRequest, HttpService, Script, Site, StoreFaults, TestPostrider, eventually, mail,
};
use serde_json::json;

async fn page(postrider: &TestPostrider, path: &str) -> String {
    let response = postrider.request(HttpRequest::get(path).header("accept", "text/html")).await;
    assert_eq!(response.status, 200, "{path}: {}", response.text());
    let policy = response.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let text = response.text().to_owned();
    assert!(!text.contains("style=") && !text.contains("NaN"), "{path}: {text}");
    text
}

/// Sent by nobody, so that no notification is counted too.
async fn send(postrider: &TestPostrider, recipient: &str, status: EmailStatus) {
    let id = postrider.send("", &[recipient], &mail::plain("a@client.test", recipient, "Counted")).await;
    if status == EmailStatus::Deferred {
        postrider.wait_for_deferred(id, 1).await;
    } else {
        postrider.wait_for_status(id, status).await;
    }
}

#[tokio::test]
async fn the_overview_shows_what_was_sent_and_what_waits() {
    let site = Site::new().await;
    let script = Script::new().on_recipient("later@example.org", "450 4.2.1 <b>Later</b>");
    let _mx = site.mx("example.org", script).await;
    let postrider = site.start().await;
    let empty = page(&postrider, "/").await;
    assert!(empty.contains("Nothing was sent or received in the last hour"), "{empty}");
    assert!(empty.contains("Nothing waits for any destination"), "{empty}");
    for (recipient, status) in [("b@example.org", EmailStatus::Sent), ("later@example.org", EmailStatus::Deferred)] {
        send(&postrider, recipient, status).await;
    }
    postrider.clock().advance(Duration::from_secs(1)).await;
    for (path, said) in [
        ("/", ["03:04: 2 accepted", "03:04: 1 delivered", "03:04: 1 deferred", "03:04: 0 failed"]),
        ("/?span=day", ["03:00: 2 accepted", "03:00: 1 delivered", "03:00: 1 deferred", "03:00: 0 failed"]),
        (
            "/?span=week",
            ["01-02 03:00: 2 accepted", "01-02 03:00: 1 delivered", "03:00: 1 deferred", "03:00: 0 failed"],
        ),
    ] {
        let shown = eventually("the overview to show it", async || {
            let shown = page(&postrider, path).await;
            shown.contains(said[0]).then_some(shown)
        })
        .await;
        for text in said {
            assert!(shown.contains(text), "{text} is missing at {path}: {shown}");
        }
        let row = "<td class=\"number\">2</td><td class=\"number\">1</td><td class=\"number\">1</td><td class=\"number\">0</td>";
        assert!(shown.contains(row), "the table has it too: {shown}");
        assert!(shown.contains("half delivered within") && !shown.contains("Nothing was sent"), "{shown}");
        assert!(!shown.contains("<b>Later</b>") && shown.contains("450 4.2.1"), "{shown}");
    }
    let shown = page(&postrider, "/").await;
    for part in ["Listener smtp", "Store", "Source-IP service", "Webhooks", "example.org"] {
        assert!(shown.contains(part), "{part} is missing: {shown}");
    }
    assert_eq!(shown.contains("Disk"), Site::is_on_sqlite(), "{shown}");
    assert_eq!(postrider.get("/?span=month").await.status, 400);
    assert_eq!(postrider.get("/source-ips?spam=1").await.status, 400);
}

#[tokio::test]
async fn the_overview_is_there_while_the_store_is_not() {
    let faults = StoreFaults::of_shared_store();
    let postrider = Site::new().await.with_store_faults(&faults).start().await;
    faults.set_failing(true);
    let shown = page(&postrider, "/").await;
    for text in ["What was done cannot be told now", "What waits cannot be told now", "failing", "Listener smtp"] {
        assert!(shown.contains(text), "{text} is missing: {shown}");
    }
    assert!(page(&postrider, "/source-ips").await.contains("cannot be told now"));
    faults.set_failing(false);
    assert!(!page(&postrider, "/").await.contains("cannot be told now"));
}

#[tokio::test]
async fn source_addresses_are_shown_with_what_came_of_them() {
    let site = Site::new().await;
    let chosen = site.claim_ip();
    let service =
        HttpService::start(site.claim_ip(), move |_| HttpAnswer::json(&json!({ "ip": chosen, "ttl": 60 }))).await;
    let site = site.set("IP_SELECTION_ENABLED", "true").set("IP_SELECTION_API_URL", &service.url("/pick"));
    let _mx = site.mx("example.org", Script::new().on_recipient("no@example.org", "550 5.1.1 No")).await;
    let postrider = site.start().await;
    for (recipient, status) in [("b@example.org", EmailStatus::Sent), ("no@example.org", EmailStatus::Failed)] {
        send(&postrider, recipient, status).await;
    }
    postrider.clock().advance(Duration::from_secs(1)).await;
    let shown = eventually("the address to be shown", async || {
        let shown = page(&postrider, "/source-ips").await;
        shown.contains("50 %").then_some(shown)
    })
    .await;
    assert!(shown.contains(&chosen.to_string()) && shown.contains("api 1, cache 1"), "{shown}");
    for form in ["POST /api/ip-selection/clear-cache", "POST /api/ip-selection/test"] {
        assert!(shown.contains(&format!("data-api=\"{form}\"")), "{form} is missing: {shown}");
    }
    let cleared = postrider.request(HttpRequest::new("POST", "/api/ip-selection/clear-cache")).await;
    assert_eq!(cleared.json(), json!({ "cleared": 1 }));
    assert!(page(&postrider, "/source-ips?span=week").await.contains("Forget 0 answers"));
}

#[tokio::test]
async fn addresses_that_are_warmed_up_say_how_far() {
    let site = Site::new().await;
    let fresh = site.claim_ip();
    let site = site.set("SOURCE_IPS", &fresh.to_string()).set("SOURCE_IP_WARMUP", &format!("{fresh}=9"));
    let _mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    for n in 0..2 {
        send(&postrider, &format!("r{n}@example.org"), EmailStatus::Sent).await;
    }
    postrider.clock().advance(Duration::from_secs(1)).await;
    let shown = eventually("the addresses to be shown", async || {
        let shown = page(&postrider, "/source-ips").await;
        shown.contains("configured 2").then_some(shown)
    })
    .await;
    assert!(shown.contains("day 1: 2 of 9 messages"), "{shown}");
    assert!(shown.contains("No service is asked") && !shown.contains("clear-cache"), "{shown}");
}
