//! Orders by API: one e-mail, many of them, a part of the queue; and the suppression list.

use postrider_core::{EmailStatus, ObjectId};
use postrider_testkit::{HttpRequest, Script, ScriptedMx, Site, TestPostrider, mail};
use serde_json::{Value, json};

struct World {
    postrider: TestPostrider,
    mx: ScriptedMx,
    ids: Vec<ObjectId>,
}

/// Four e-mails that are deferred, two of them with a tag.
async fn world() -> World {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new().on("MAIL", "451 4.3.0 Later")).await;
    let postrider = site.start().await;
    let mut ids = Vec::new();
    for n in 0..4 {
        let fields = if n < 2 { "X-Postrider-Tags: news\r\n" } else { "" };
        let message =
            [fields.as_bytes(), &mail::plain("a@client.test", "b@example.org", &format!("number {n}"))].concat();
        ids.push(postrider.send("a@client.test", &["b@example.org"], &message).await);
    }
    for id in &ids {
        postrider.wait_for_deferred(*id, 1).await;
    }
    World { postrider, mx, ids }
}

impl World {
    async fn post(&self, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = HttpRequest::post(path);
        let request = body.map_or(request.clone(), |body| request.json(&body));
        let response = self.postrider.request(request).await;
        (response.status, if response.body.is_empty() { Value::Null } else { response.json() })
    }

    async fn statuses(&self) -> Vec<EmailStatus> {
        let mut statuses = Vec::new();
        for id in &self.ids {
            statuses.push(self.postrider.email(*id).await.email.status);
        }
        statuses
    }
}

use EmailStatus::{Cancelled, Deferred, Held};

#[tokio::test]
async fn one_email_is_held_released_and_cancelled() {
    let world = world().await;
    let path = |action: &str| format!("/api/emails/{}/{action}", world.ids[0]);
    let (status, email) = world.post(&path("hold"), None).await;
    assert_eq!((status, &email["status"]), (200, &json!("held")));
    assert_eq!(world.post(&path("hold"), None).await.0, 409);
    world.mx.set_script(Script::new());
    assert_eq!(world.post(&path("release"), None).await.0, 200);
    world.postrider.wait_for_status(world.ids[0], EmailStatus::Sent).await;
    assert_eq!(world.post(&path("cancel"), None).await.0, 409, "it is sent");
    let (status, email) = world.post(&format!("/api/emails/{}/cancel", world.ids[1]), None).await;
    assert_eq!((status, &email["status"]), (200, &json!("cancelled")));
    assert_eq!(world.post("/api/emails/000000000000000000000000/hold", None).await.0, 404);
}

#[tokio::test]
async fn orders_are_in_the_timeline() {
    const API_TOKEN: &str = "the-administrator-s3cret";
    let site = Site::new().await.set("API_TOKEN", API_TOKEN);
    let _mx = site.mx("example.org", Script::new().on("MAIL", "451 4.3.0 Later")).await;
    let postrider = site.start().await;
    let id =
        postrider.send("a@client.test", &["b@example.org"], &mail::plain("a@client.test", "b@example.org", "x")).await;
    postrider.wait_for_deferred(id, 1).await;
    let ask = async |request: HttpRequest, token: &str| postrider.request(request.bearer(token)).await;
    let reader = HttpRequest::post("/api/tokens").json(&json!({ "name": "reader", "scopes": ["read"] }));
    let reader = ask(reader, API_TOKEN).await.json()["token"].as_str().unwrap().to_owned();
    for (action, status) in [("hold", 200), ("hold", 409), ("cancel", 200)] {
        let request = HttpRequest::post(&format!("/api/emails/{id}/{action}"));
        assert_eq!(ask(request, API_TOKEN).await.status, status, "{action}");
    }
    let orders = async |token: &str| {
        let timeline = ask(HttpRequest::get(&format!("/api/emails/{id}/timeline")), token).await.json();
        let entries = timeline["entries"].as_array().unwrap().clone();
        assert_eq!((&entries[0]["type"], &timeline["ordersLeftOut"]), (&json!("accepted"), &json!(0)));
        entries.into_iter().filter(|entry| entry["type"] == "order").collect::<Vec<_>>()
    };
    let told: Vec<_> = orders(API_TOKEN)
        .await
        .iter()
        .map(|order| ["actor", "action", "outcome"].map(|name| order[name].as_str().unwrap().to_owned()).join(" "))
        .collect();
    assert_eq!(told, ["API_TOKEN email.hold done", "API_TOKEN email.hold refused", "API_TOKEN email.cancel done"]);
    // Who did it is for those who may read the audit log.
    let seen = orders(&reader).await;
    assert!(seen.len() == 3 && seen.iter().all(|order| order["actor"] == Value::Null), "{seen:?}");
}

#[tokio::test]
async fn many_emails_are_changed_by_ids_or_by_filter() {
    let world = world().await;
    let bulk = async |action: &str, body: Value| world.post(&format!("/api/emails/bulk/{action}"), Some(body)).await;
    let news = json!({ "filter": { "tag": "news" }, "dryRun": true });
    let (status, counted) = bulk("hold", news).await;
    assert_eq!(
        (status, counted),
        (200, json!({ "matched": 2, "changed": 0, "recalled": 0, "sending": 0, "scheduled": 0, "more": false }))
    );
    assert_eq!(world.statuses().await, [Deferred; 4]);
    let (_, held) = bulk("hold", json!({ "filter": { "tag": "news", "status": "deferred" } })).await;
    assert_eq!(held["changed"], 2);
    assert_eq!(world.statuses().await, [Held, Held, Deferred, Deferred]);
    let (_, cancelled) = bulk("cancel", json!({ "ids": [world.ids[1], world.ids[3], world.ids[3]] })).await;
    assert_eq!((&cancelled["matched"], &cancelled["changed"]), (&json!(2), &json!(2)));
    assert_eq!(world.statuses().await, [Held, Cancelled, Deferred, Cancelled]);
    let (_, deleted) = bulk("delete", json!({ "filter": { "q": "number", "status": "cancelled" } })).await;
    assert_eq!(deleted["changed"], 2);
    assert_eq!(world.postrider.emails().await.len(), 2);
    for (action, body, status) in [
        ("hold", json!({ "ids": ["000000000000000000000000"] }), 404),
        ("hold", json!({}), 400),
        ("hold", json!({ "ids": [], "filter": {} }), 400),
        ("delete", json!({ "filter": {} }), 400),
        ("delete", json!({ "filter": { "tag": null, "q": null } }), 400),
        ("delete", json!({ "filter": { "q": " " } }), 400),
        ("delete", json!({ "filter": { "sender": "" } }), 400),
        ("delete", json!({ "filter": { "status": "held" }, "all": true }), 400),
        ("delete?dryRun=true", json!({ "filter": { "status": "deferred" } }), 400),
        ("delete", json!({ "all": false }), 400),
        ("hold", json!({ "filter": { "statsu": "held" } }), 400),
        ("hold", json!({ "filter": { "domain": "a..b" } }), 400),
        ("explode", json!({ "filter": {} }), 404),
    ] {
        assert_eq!(bulk(action, body.clone()).await.0, status, "{action} {body}");
    }
    assert_eq!(world.postrider.emails().await.len(), 2);
    let (_, all) = bulk("delete", json!({ "all": true, "dryRun": true })).await;
    assert_eq!((&all["matched"], &all["changed"]), (&json!(2), &json!(0)));
}

#[tokio::test]
async fn a_part_of_the_queue_is_ordered() {
    let world = world().await;
    let (status, held) = world.post("/api/queue/hold", Some(json!({ "tag": "news" }))).await;
    assert_eq!((status, &held["changed"]), (200, &json!(2)));
    assert_eq!(world.statuses().await, [Held, Held, Deferred, Deferred]);
    assert_eq!(world.post("/api/queue/hold", Some(json!({ "domain": "other.test" }))).await.1["changed"], 0);
    assert_eq!(world.post("/api/queue/cancel", Some(json!({}))).await.0, 400, "everything is meant only if it is said");
    assert_eq!(world.post("/api/queue/cancel", Some(json!({ "all": true, "tag": "x" }))).await.0, 400);
    assert_eq!(world.post("/api/queue/cancel", Some(json!({ "status": "held" }))).await.1["changed"], 2);
    world.mx.set_script(Script::new());
    // What was cancelled is not meant unless it is named.
    assert_eq!(world.post("/api/queue/retry", Some(json!({ "sender": "A@client.test" }))).await.1["changed"], 2);
    for id in &world.ids[2..] {
        world.postrider.wait_for_status(*id, EmailStatus::Sent).await;
    }
    assert_eq!(world.statuses().await[..2], [Cancelled, Cancelled]);
}

#[tokio::test]
async fn the_suppression_list_is_kept() {
    let world = world().await;
    let add = json!({ "address": "No@Example.org", "note": "asked to be left alone" });
    let (status, listed) = world.post("/api/suppressions", Some(add.clone())).await;
    assert_eq!((status, &listed["reason"], &listed["text"]), (201, &json!("manual"), &json!("asked to be left alone")));
    assert_eq!(world.post("/api/suppressions", Some(add)).await.0, 409);
    assert_eq!(world.post("/api/suppressions", Some(json!({ "address": "no" }))).await.0, 400);
    let page = world.postrider.get("/api/suppressions?q=no%40example&reason=manual").await.json();
    assert_eq!((&page["pagination"]["total"], &page["suppressions"][0]["address"]), (&json!(1), &listed["address"]));
    let message = mail::plain("a@client.test", "no@example.org", "x");
    let id = world.postrider.send("a@client.test", &["no@example.org"], &message).await;
    let failed = world.postrider.wait_for_status(id, EmailStatus::Failed).await;
    assert!(failed.email.last_error.unwrap().contains("asked to be left alone"));
    let remove =
        async || world.postrider.request(HttpRequest::delete("/api/suppressions/no%40example.org")).await.status;
    assert_eq!((remove().await, remove().await), (204, 404));
    assert_eq!(world.postrider.get("/api/suppressions?reason=maybe").await.status, 400);
}
