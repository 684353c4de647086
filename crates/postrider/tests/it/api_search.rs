//! Finding e-mails by API: the language of queries, cursors, and orders to what a query finds.

use postrider_core::{EmailStatus, ObjectId};
use postrider_testkit::{HttpRequest, HttpResponse, Script, ScriptedMx, Site, TestPostrider, mail};
use serde_json::{Value, json};

struct World {
    postrider: TestPostrider,
    _mx: ScriptedMx,
    /// Deferred, sent, and kept here.
    invoice: String,
    report: String,
    kept: String,
}

async fn world() -> World {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "local.test");
    let mx = site.mx("example.org", Script::new().on_recipient("later@example.org", "451 4.2.2 Mailbox full")).await;
    let postrider = site.start().await;
    let message = mail::plain("ann@client.test", "later@example.org", "Ihre Rechnung für Größe 7");
    let invoice = postrider.send("ann@client.test", &["later@example.org"], &message).await;
    let fields: &[u8] = b"X-Postrider-Tags: news\r\n";
    let message = [fields, &mail::plain("bob@client.test", "b@example.org", "Monthly report")].concat();
    let report = postrider.send("bob@client.test", &["b@example.org"], &message).await;
    let kept = postrider.send("eve@client.test", &["c@local.test"], &mail::plain("eve@x", "c@y", "Kept")).await;
    postrider.wait_for_deferred(invoice, 1).await;
    postrider.wait_for_status(report, EmailStatus::Sent).await;
    let [invoice, report, kept] = [invoice, report, kept].map(|id: ObjectId| id.to_string());
    World { postrider, _mx: mx, invoice, report, kept }
}

/// A value as it stands in a query.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn ids(response: &HttpResponse) -> Vec<String> {
    let page = response.json();
    let emails = page["emails"].as_array().unwrap_or_else(|| panic!("{page}"));
    emails.iter().map(|email| email["id"].as_str().unwrap().to_owned()).collect()
}

impl World {
    async fn found(&self, query: &str) -> HttpResponse {
        self.postrider.get(&format!("/api/emails?q={}", encoded(query))).await
    }

    async fn bulk(&self, action: &str, body: Value) -> Value {
        let request = HttpRequest::post(&format!("/api/emails/bulk/{action}")).json(&body);
        let response = self.postrider.request(request).await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()
    }
}

#[tokio::test]
async fn queries_find_what_all_their_terms_are_true_of() {
    let world = world().await;
    let World { invoice, report, kept, .. } = &world;
    for (query, expected) in [
        ("status:deferred", vec![invoice]),
        ("status:sent,received", vec![kept, report]),
        ("rechnung", vec![invoice]),
        ("\"ihre RECHNUNG\" GRÖSSE", vec![]),
        ("\"ihre RECHNUNG\" GRÖßE", vec![invoice]),
        ("domain:example.org -tag:news", vec![invoice]),
        ("to:c@local.test direction:inbound", vec![kept]),
        ("error:\"mailbox full\" from:ann@client.test", vec![invoice]),
        ("newer:1h -status:deferred subject:report", vec![report]),
        ("older:1h", vec![]),
        (&format!("id:{report}"), vec![report]),
    ] {
        assert_eq!(ids(&world.found(query).await).iter().collect::<Vec<_>>(), expected, "{query}");
    }
}

#[tokio::test]
async fn what_is_wrong_in_a_query_is_named_with_its_place() {
    let world = world().await;
    for (query, part) in [
        ("status:sent older:soon", "at character 19: \"soon\" is no time like 30m"),
        ("colour:red", "there is no key colour; there are status, direction, sender"),
        ("\"open", "at character 1: this quote is not closed"),
    ] {
        let response = world.found(query).await;
        assert_eq!(response.status, 400, "{query}");
        let problem = response.json();
        assert!(problem["type"].as_str().unwrap().ends_with("bad-parameter"), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
    }
    let response = world.postrider.get("/api/emails?sort=size").await;
    assert_eq!(response.status, 400);
    assert!(response.text().contains("createdAt"), "{}", response.text());
}

#[tokio::test]
async fn cursors_lead_on_and_back_whatever_comes_meanwhile() {
    let world = world().await;
    let World { postrider, invoice, report, kept, .. } = &world;
    let first = postrider.get("/api/emails?limit=1").await;
    let cursor = |page: &HttpResponse, name: &str| page.json()["pagination"][name].as_str().map(str::to_owned);
    assert_eq!((ids(&first), cursor(&first, "prevCursor")), (vec![kept.clone()], None));
    postrider.send("eve@client.test", &["c@local.test"], &mail::plain("eve@x", "c@y", "Newer")).await;
    let next = cursor(&first, "nextCursor").unwrap();
    let second = postrider.get(&format!("/api/emails?limit=1&cursor={next}")).await;
    assert_eq!(ids(&second), std::slice::from_ref(report));
    assert_eq!(second.json()["pagination"]["page"], 2);
    let next = cursor(&second, "nextCursor").unwrap();
    let third = postrider.get(&format!("/api/emails?limit=1&cursor={next}")).await;
    assert_eq!((ids(&third), cursor(&third, "nextCursor")), (vec![invoice.clone()], None));
    let back = cursor(&third, "prevCursor").unwrap();
    assert_eq!(ids(&postrider.get(&format!("/api/emails?limit=1&cursor={back}")).await), std::slice::from_ref(report));
    let oldest = postrider.get("/api/emails?sort=createdAt&limit=2").await;
    assert_eq!(ids(&oldest), [invoice.clone(), report.clone()]);
    assert_eq!(postrider.get("/api/emails?cursor=AAAA").await.status, 400);
    assert_eq!(postrider.get(&format!("/api/emails?page=2&cursor={back}")).await.status, 400);
}

#[tokio::test]
async fn orders_are_given_to_what_a_query_finds() {
    let world = world().await;
    let World { postrider, invoice, report, kept, .. } = &world;
    let filter = json!({ "q": "status:deferred rechnung" });
    let counted = world.bulk("hold", json!({ "filter": filter, "dryRun": true })).await;
    assert_eq!((&counted["matched"], &counted["changed"]), (&json!(1), &json!(0)));
    assert_eq!(world.bulk("hold", json!({ "filter": filter })).await["changed"], 1);
    assert_eq!(ids(&world.found("status:held").await), std::slice::from_ref(invoice));
    let deleted = world.bulk("delete", json!({ "filter": { "q": "-tag:news", "direction": "inbound" } })).await;
    assert_eq!(deleted["changed"], 1);
    assert_eq!(ids(&postrider.get("/api/emails").await), [report.clone(), invoice.clone()], "{kept} is gone");
    let request = HttpRequest::post("/api/emails/bulk/delete").json(&json!({ "filter": { "q": "older:soon" } }));
    assert_eq!(postrider.request(request).await.status, 400);
}
