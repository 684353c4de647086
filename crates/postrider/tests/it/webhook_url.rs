//! URLs that e-mails ask for (`webhookUrl`): told of what becomes of these e-mails besides all endpoints, with the same care.

use std::time::Duration;

use postrider_core::{EmailStatus, ObjectId};
use postrider_testkit::{HttpAnswer, HttpReceived, HttpRequest, HttpService, Script, Site, TestPostrider, eventually};
use serde_json::{Value, json};

use crate::webhook::{SECRET, judged};

fn ok(_: &HttpReceived) -> HttpAnswer {
    HttpAnswer::new(204, "")
}

async fn post(postrider: &TestPostrider, url: Option<&str>) -> ObjectId {
    let email = json!({ "from": "a@client.test", "to": "b@example.org", "text": "Hi", "webhookUrl": url });
    let response = postrider.request(HttpRequest::post("/api/emails").json(&email)).await;
    assert_eq!(response.status, 202, "{}", response.text());
    response.json()["id"].as_str().unwrap().parse().unwrap()
}

/// What a path was told of: the types of events, and of which e-mail.
fn told(hook: &HttpService, path: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let calls = hook.requests().into_iter().filter(|call| call.path == path);
    calls.map(|call| call.json()).map(|told| (text(&told["type"]), text(&told["data"]["id"]))).collect()
}

async fn wait_for(postrider: &TestPostrider, hook: &HttpService, path: &str, count: usize) -> Vec<(String, String)> {
    eventually("calls", async || {
        postrider.pass(Duration::from_secs(10)).await;
        let told = told(hook, path);
        (told.len() >= count).then_some(told)
    })
    .await
}

fn both(id: ObjectId) -> Vec<(String, String)> {
    ["email.accepted", "email.delivered"].map(|kind| (kind.to_owned(), id.to_string())).into()
}

#[tokio::test]
async fn a_url_is_told_of_its_e_mail_besides_the_endpoints() {
    let site = Site::new()
        .await
        .set("WEBHOOK_PRIVATE_URLS", "true")
        .set("WEBHOOK_ENABLED", "true")
        .set("WEBHOOK_SECRET", SECRET);
    let hook = HttpService::start(site.claim_ip(), ok).await;
    let site = site.set("WEBHOOK_TIMEOUT", "300000").set("WEBHOOK_SUCCESS_URL", &hook.url("/success"));
    let _mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let id = post(&postrider, Some(&hook.url("/mine?order=17"))).await;
    let other = post(&postrider, None).await;
    postrider.wait_for_status(other, EmailStatus::Sent).await;
    assert_eq!(wait_for(&postrider, &hook, "/mine?order=17", 2).await, both(id));
    assert_eq!(wait_for(&postrider, &hook, "/success", 2).await.len(), 2, "endpoints are told of both");
    let call = hook.requests().into_iter().find(|call| call.path.starts_with("/mine")).unwrap();
    let own =
        postrider.request(HttpRequest::post("/api/webhooks/url-secret").json(&json!({ "url": hook.url("/x") }))).await;
    let own = own.json()["secret"].as_str().unwrap().to_owned();
    assert!(judged(&call, &own).await.is_some(), "it is signed by the secret of its host");
    assert!(judged(&call, SECRET).await.is_none(), "who chooses a URL has nothing that other endpoints take");
    let elsewhere = json!({ "url": "https://elsewhere.example/" });
    let other = postrider.request(HttpRequest::post("/api/webhooks/url-secret").json(&elsewhere)).await;
    assert!(judged(&call, other.json()["secret"].as_str().unwrap()).await.is_none());
    let shown = postrider.get(&format!("/api/webhooks/deliveries?email={id}")).await.json();
    let urls = shown["deliveries"].as_array().unwrap().iter().filter(|call| call["url"] == hook.url("/mine?order=17"));
    assert_eq!(urls.count(), 2, "{shown}");
}

/// A secret is for who receives a URL's calls, so it is the same for all of its host, and there must be one.
#[tokio::test]
async fn what_no_url_is_has_no_secret_nor_is_an_endpoint() {
    let site = Site::new().await;
    let postrider = site.start().await;
    let ask = async |path: &str, body: Value| postrider.request(HttpRequest::post(path).json(&body)).await;
    let unsigned = ask("/api/webhooks/url-secret", json!({ "url": "https://app.example/" })).await;
    assert_eq!(unsigned.status, 409, "{}", unsigned.text());
    assert!(unsigned.json()["detail"].as_str().unwrap().contains("WEBHOOK_SECRET"));
    for body in [json!({ "url": "ftp://app.example/" }), json!({ "url": "https://ann:x@app.example/" }), json!({})] {
        assert_eq!(ask("/api/webhooks/url-secret", body.clone()).await.status, 400, "{body}");
    }
    let refused = ask("/api/webhooks", json!({ "url": "https://ann:pa55@app.example/hook" })).await;
    assert_eq!((refused.status, &refused.json()["parameter"]), (400, &json!("url")));
    assert!(refused.json()["detail"].as_str().unwrap().contains("user name or password"), "{}", refused.text());
    assert!(!refused.text().contains("pa55"));
}

/// Without any other endpoint, and over a restart.
#[tokio::test]
async fn a_url_that_fails_is_told_later() {
    let site = Site::new().await.set("WEBHOOK_PRIVATE_URLS", "true").set("WEBHOOK_TIMEOUT", "300000");
    let hook = HttpService::start(site.claim_ip(), |_| HttpAnswer::new(500, "")).await;
    let _mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let id = post(&postrider, Some(&hook.url("/mine"))).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    wait_for(&postrider, &hook, "/mine", 1).await;
    let postrider = postrider.restart().await;
    hook.set_answer(ok);
    let tries = hook.requests().len();
    let told = wait_for(&postrider, &hook, "/mine", tries + 2).await;
    assert_eq!(told[told.len() - 2..], both(id), "in order");
}

/// Each gets its calls, however many there are.
#[tokio::test]
async fn many_endpoints_are_told() {
    const ENDPOINTS: usize = 40;
    let site = Site::new().await.set("WEBHOOK_PRIVATE_URLS", "true").set("WEBHOOK_TIMEOUT", "300000");
    let hook = HttpService::start(site.claim_ip(), ok).await;
    let _mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    for n in 0..ENDPOINTS {
        let endpoint = json!({ "url": hook.url(&format!("/{n}")), "types": ["email.accepted"] });
        let response = postrider.request(HttpRequest::post("/api/webhooks").json(&endpoint)).await;
        assert_eq!(response.status, 201, "{}", response.text());
    }
    let id = post(&postrider, Some(&hook.url("/mine"))).await;
    assert_eq!(wait_for(&postrider, &hook, "/mine", 2).await, both(id));
    for n in 0..ENDPOINTS {
        assert_eq!(wait_for(&postrider, &hook, &format!("/{n}"), 1).await.len(), 1, "{n}");
    }
}

/// Whoever may send is not to have this server call what only this server reaches.
#[tokio::test]
async fn addresses_that_are_not_public_are_not_called() {
    let site = Site::new().await.set("WEBHOOK_RETRIES", "0");
    let hook = HttpService::start(site.claim_ip(), ok).await;
    let _mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let id = post(&postrider, Some(&hook.url("/inside"))).await;
    let given_up = eventually("calls that are given up", async || {
        postrider.pass(Duration::from_secs(10)).await;
        let listed = postrider.get("/api/webhooks/deliveries?state=given-up").await.json();
        let deliveries = listed["deliveries"].as_array().unwrap().clone();
        (deliveries.len() == 2).then_some(deliveries)
    })
    .await;
    assert!(given_up.iter().all(|call| call["email"] == id.to_string()));
    assert!(given_up[0]["attempts"][0]["error"].as_str().unwrap().contains("no public address"));
    assert_eq!(hook.requests().len(), 0);
}
