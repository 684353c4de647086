//! Mail that comes by the API in batches, again, or once more to others: each is sent once, whatever dies, and told of as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postrider_core::EmailStatus;
use postrider_store::sqlite::SqliteOptions;
use postrider_store::{EmailFilter, Emails as _, SqliteStore};
use postrider_testkit::{HttpRequest, HttpResponse, Script, ScriptedMx, Site, StoreFaults, TestPostrider, eventually};
use serde_json::{Value, json};

use crate::support::binary;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn plain(subject: &str) -> Value {
    json!({ "from": "a@client.test", "to": "b@example.org", "subject": subject, "text": "Hi" })
}

fn keyed(path: &str, key: &str, body: &Value) -> HttpRequest {
    HttpRequest::post(path).json(body).header("idempotency-key", key)
}

#[track_caller]
fn problem(response: &HttpResponse, status: u16, name: &str) {
    assert_eq!(response.status, status, "{}", response.text());
    assert_eq!(response.json()["type"], format!("urn:problem-type:postrider:{name}"), "{}", response.text());
}

async fn world() -> (TestPostrider, ScriptedMx) {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "here.test").set("UNKNOWN_RECIPIENTS", "reject");
    let mx = site.mx("example.org", Script::new()).await;
    (site.start().await, mx)
}

#[tokio::test]
async fn a_request_that_comes_again_is_told_the_same_and_sends_nothing() {
    let (postrider, _mx) = world().await;
    let first = postrider.request(keyed("/api/emails", "k1", &plain("one"))).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (202, None), "{}", first.text());
    let postrider = postrider.restart().await;
    // With the quotation marks of the draft it is the same key.
    for key in ["k1", "\"k1\""] {
        let again = postrider.request(keyed("/api/emails", key, &plain("one"))).await;
        assert_eq!((again.status, again.json()), (202, first.json()));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.header("location"), first.header("location"));
    }
    problem(&postrider.request(keyed("/api/emails", "k1", &plain("two"))).await, 409, "idempotency-key-reused");
    problem(
        &postrider.request(keyed("/api/emails/batch", "k1", &json!([plain("one")]))).await,
        409,
        "idempotency-key-reused",
    );
    problem(&postrider.request(keyed("/api/emails", "", &plain("one"))).await, 400, "bad-parameter");
    assert_eq!(postrider.emails().await.len(), 1);

    let raw = |subject: &str, tag: &str| {
        let path = format!("/api/emails?from=a@client.test&to=b@example.org&tag={tag}");
        let message = format!("From: a@client.test\r\nSubject: {subject}\r\n\r\nHi\r\n");
        postrider.request(HttpRequest::post(&path).body("message/rfc822", message).header("idempotency-key", "k2"))
    };
    let (first, again) = (raw("raw", "x").await, raw("raw", "x").await);
    assert_eq!((first.status, first.json()), (202, again.json()));
    problem(&raw("other", "x").await, 409, "idempotency-key-reused");
    problem(&raw("raw", "y").await, 409, "idempotency-key-reused");
    assert_eq!(postrider.emails().await.len(), 2);

    // After a day it is another.
    postrider.clock().advance(DAY + Duration::from_secs(1)).await;
    let later = postrider.request(keyed("/api/emails", "k1", &plain("two"))).await;
    assert_eq!((later.status, later.header("idempotency-replayed")), (202, None), "{}", later.text());
    assert_eq!(postrider.emails().await.len(), 3);
}

/// Who needed no token has one from then on, and it is the same request.
#[tokio::test]
async fn a_key_stays_the_same_when_a_token_is_asked_for() {
    const TOKEN: &str = "the-administrator-s3cret";
    let (postrider, _mx) = world().await;
    let first = postrider.request(keyed("/api/emails", "k1", &plain("one"))).await;
    assert_eq!(first.status, 202, "{}", first.text());
    let mut site = postrider.shut_down().await;
    site.change("API_TOKEN", TOKEN);
    let postrider = site.start().await;
    let again = postrider.request(keyed("/api/emails", "k1", &plain("one")).bearer(TOKEN)).await;
    assert_eq!((again.header("idempotency-replayed"), again.json()), (Some("true"), first.json()));
}

#[tokio::test]
async fn what_was_refused_may_come_again() {
    let (postrider, _mx) = world().await;
    let mut body = plain("one");
    body["to"] = json!("ann@here.test");
    problem(&postrider.request(keyed("/api/emails", "k", &body)).await, 422, "recipients-refused");
    postrider.add_user("ann@here.test", "secret").await;
    let taken = postrider.request(keyed("/api/emails", "k", &body)).await;
    assert_eq!((taken.status, taken.header("idempotency-replayed")), (202, None), "{}", taken.text());
    body["to"] = json!("bob@here.test");
    problem(&postrider.request(keyed("/api/emails", "k", &body)).await, 409, "idempotency-key-reused");
}

#[tokio::test]
async fn while_a_request_is_worked_on_the_same_has_to_wait() {
    let faults = StoreFaults::new();
    let site = Site::new().await.with_store_faults(&faults);
    let _mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    faults.set_hanging(true);
    let request = keyed("/api/emails", "k", &plain("one"));
    let api = postrider.api();
    let first = tokio::spawn({
        let request = request.clone();
        async move { request.send(api).await }
    });
    eventually("the first to wait", async || (faults.waiting() > 0).then_some(())).await;
    let second = eventually("the second to be told", async || {
        let response = request.send(api).await;
        (response.status == 409).then_some(response)
    })
    .await;
    problem(&second, 409, "request-under-way");
    assert_eq!(second.header("retry-after"), Some("1"));
    faults.set_hanging(false);
    let first = first.await.unwrap();
    assert_eq!(first.status, 202, "{}", first.text());
    let again = request.send(api).await;
    assert_eq!((again.status, again.json()), (202, first.json()));
    assert_eq!(postrider.emails().await.len(), 1);
}

#[tokio::test]
async fn requests_that_come_together_send_one() {
    let (postrider, _mx) = world().await;
    let api = postrider.api();
    let requests: Vec<_> = (0..24)
        .map(|n| {
            let request = keyed("/api/emails", &format!("k{}", n % 3), &plain(&format!("{}", n % 3)));
            tokio::spawn(async move { request.send(api).await })
        })
        .collect();
    for request in requests {
        let response = request.await.unwrap();
        assert!([202, 409].contains(&response.status), "{}", response.text());
    }
    assert_eq!(postrider.emails().await.len(), 3);
}

#[tokio::test]
async fn a_batch_has_a_result_for_each() {
    let (postrider, _mx) = world().await;
    let mut wrong = plain("wrong");
    wrong["subject"] = json!("a\r\nBcc: x@example.org");
    let mut refused = plain("refused");
    refused["to"] = json!("nobody@here.test");
    let batch = json!([plain("first"), wrong, { "from": "a@client.test" }, 7, refused, plain("last")]);
    let response = postrider.request(keyed("/api/emails/batch", "b", &batch)).await;
    assert_eq!(response.status, 200, "{}", response.text());
    let answer = response.json();
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(2), &json!(4)));
    let results = answer["results"].as_array().unwrap();
    let told: Vec<(u64, Option<u64>, Option<&str>)> = results
        .iter()
        .map(|result| {
            let kind = result["problem"]["type"].as_str().and_then(|name| name.rsplit(':').next());
            (result["index"].as_u64().unwrap(), result["problem"]["status"].as_u64(), kind)
        })
        .collect();
    let expected = [
        (0, None, None),
        (1, Some(400), Some("bad-parameter")),
        (2, Some(400), Some("bad-parameter")),
        (3, Some(400), Some("bad-body")),
        (4, Some(422), Some("recipients-refused")),
        (5, None, None),
    ];
    assert_eq!(told, expected);
    assert_eq!(results[4]["problem"]["recipients"][0]["address"], "nobody@here.test");
    let ids: BTreeSet<String> = postrider.emails().await.iter().map(|email| email.id.to_string()).collect();
    let taken: BTreeSet<String> = [0, 5].map(|n: usize| results[n]["email"]["id"].as_str().unwrap().to_owned()).into();
    assert_eq!(ids, taken);
    let again = postrider.request(keyed("/api/emails/batch", "b", &batch)).await;
    assert_eq!((again.status, again.json()), (200, answer));
    assert_eq!(postrider.emails().await.len(), 2);
}

#[tokio::test]
async fn a_batch_has_a_limit_and_fills_its_places() {
    let (postrider, _mx) = world().await;
    let batch = |count: usize| Value::from((0..count).map(|n| plain(&n.to_string())).collect::<Vec<_>>());
    for wrong in [batch(1_001), batch(0), plain("one")] {
        problem(&postrider.request(HttpRequest::post("/api/emails/batch").json(&wrong)).await, 400, "bad-body");
    }
    let text = HttpRequest::post("/api/emails/batch").body("message/rfc822", "From: a@client.test\r\n\r\n");
    problem(&postrider.request(text).await, 415, "unsupported-media-type");
    assert!(postrider.emails().await.is_empty());
    let response = postrider.request(HttpRequest::post("/api/emails/batch").json(&batch(300))).await;
    let answer = response.json();
    assert_eq!((response.status, &answer["accepted"]), (200, &json!(300)), "{}", response.text());
    let list = postrider.store().list(&EmailFilter::default(), 1, 1_000).await.unwrap().emails;
    let subjects: BTreeMap<String, String> =
        list.into_iter().map(|email| (email.id.to_string(), email.subject.unwrap_or_default())).collect();
    for (n, result) in answer["results"].as_array().unwrap().iter().enumerate() {
        assert_eq!(subjects[result["email"]["id"].as_str().unwrap()], n.to_string());
    }
}

#[tokio::test]
async fn a_stored_message_goes_to_others_as_it_is() {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "here.test").set("MAIL_HOSTNAME", "mx.client.test");
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let output = postrider.command(binary(), &["domain", "add", "client.test"], "").await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    postrider.add_user("ann@here.test", "secret").await;
    let mut body = plain("Again");
    body["to"] = json!(["ann@here.test", "b@example.org"]);
    body["tags"] = json!(["bill"]);
    body["expiresAt"] = json!("2099-01-01T00:00:00Z");
    let first = postrider.request(HttpRequest::post("/api/emails").json(&body)).await.json();
    let first_id = first["id"].as_str().unwrap();
    let original = mx.wait_for_messages(1).await.remove(0);

    let path = format!("/api/emails/{first_id}/resend");
    let to = json!({ "to": ["Cleo <c@example.org>", "d@example.org"] });
    let second = postrider.request(keyed(&path, "r", &to)).await;
    assert_eq!(second.status, 202, "{}", second.text());
    let again = postrider.request(keyed(&path, "r", &to)).await;
    assert_eq!((again.json(), again.header("idempotency-replayed")), (second.json(), Some("true")));
    let second = second.json();
    assert_ne!(second["id"], first["id"]);
    assert_eq!(second["messageId"], first["messageId"]);
    let arrived = mx.wait_for_messages(2).await.remove(1);
    assert_eq!(
        (arrived.sender.as_str(), arrived.addresses()),
        ("a@client.test", vec!["c@example.org", "d@example.org"])
    );
    let (arrived, original) = (arrived.text(), original.text());
    let trace = arrived.strip_suffix(&original).unwrap_or_else(|| panic!("{arrived}\nis not over\n{original}"));
    assert!(trace.starts_with("Received: by mx.client.test with HTTP id "), "{trace}");
    assert!(!trace.contains("Return-Path") && !trace.contains("DKIM"), "{trace}");
    let signatures = |text: &str| text.matches("DKIM-Signature:").count();
    assert!(signatures(&original) > 0 && signatures(&arrived) == signatures(&original));
    let shown = postrider.get(&format!("/api/emails/{}", second["id"].as_str().unwrap())).await.json();
    assert_eq!((&shown["tags"], &shown["expiresAt"]), (&json!(["bill"]), &Value::Null));

    for (body, name) in [
        (json!({ "to": [] }), "bad-parameter"),
        (json!({ "to": "x" }), "bad-parameter"),
        (json!({}), "bad-body"),
        (json!({ "to": "c@example.org", "subject": "x" }), "bad-body"),
    ] {
        problem(&postrider.request(HttpRequest::post(&path).json(&body)).await, 400, name);
    }
    let nobody = HttpRequest::post("/api/emails/000000000000000000000000/resend").json(&to);
    problem(&postrider.request(nobody).await, 404, "not-found");
}

/// The server is killed while requests with keys come; whoever got no answer asks again, as often as it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_neither_loses_nor_doubles_what_has_a_key() {
    const ROUNDS: u64 = 6;
    const CLIENTS: usize = 4;
    if !Site::is_on_sqlite() {
        return;
    }
    let site = Site::new().await.set("LOG_LEVEL", "warn");
    let _mx = site.mx("example.org", Script::new()).await;
    let told: Arc<Mutex<BTreeMap<String, Value>>> = Arc::default();
    let mut unanswered: Vec<Vec<String>> = vec![Vec::new(); CLIENTS];
    let mut repeated = 0;
    for round in 0..=ROUNDS {
        let mut process = site.process(binary(), &["serve"]);
        process.wait_until_listening(site.api()).await;
        let is_last = round == ROUNDS;
        let clients: Vec<_> = unanswered
            .drain(..)
            .enumerate()
            .map(|(client, mut keys)| {
                repeated += keys.len();
                let (api, told) = (site.api(), told.clone());
                let new = (0..500).filter(|_| !is_last).map(|n| format!("{round}-{client}-{n}"));
                keys.extend(new);
                tokio::spawn(async move {
                    while let Some(key) = keys.first() {
                        let Some(answer) = try_to_post(api, key).await else { break };
                        told.lock().unwrap().insert(key.clone(), answer);
                        keys.remove(0);
                    }
                    // Only what was sent can have been carried out.
                    keys.truncate(1);
                    keys
                })
            })
            .collect();
        if !is_last {
            tokio::time::sleep(Duration::from_millis(100 + crate::load::random(round as usize) % 200)).await;
            process.kill();
        }
        for client in clients {
            unanswered.push(client.await.unwrap());
        }
        if is_last {
            process.signal("TERM");
            assert_eq!(process.wait().await.code(), Some(0), "{}", process.output());
        }
    }
    assert!(unanswered.iter().all(Vec::is_empty) && repeated > 0);
    let store = SqliteStore::open_shared(SqliteOptions::new(site.data_dir())).unwrap();
    let told: BTreeMap<String, String> = std::mem::take(&mut *told.lock().unwrap())
        .into_iter()
        .map(|(key, answer)| (answer["id"].as_str().unwrap().to_owned(), key))
        .collect();
    let mut kept = BTreeMap::new();
    for page in 1.. {
        let found = store.list(&EmailFilter::default(), page, 1_000).await.unwrap().emails;
        if found.is_empty() {
            break;
        }
        for email in found {
            assert_ne!(email.status, EmailStatus::Received);
            kept.insert(email.id.to_string(), email.subject.unwrap_or_default());
        }
    }
    assert!(
        kept == told,
        "each key's e-mail is there once, under the id that was told: {} and {}",
        kept.len(),
        told.len()
    );
}

/// Posts an e-mail whose subject is its key; `None` where no whole answer came.
async fn try_to_post(api: std::net::SocketAddr, key: &str) -> Option<Value> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let body = plain(key).to_string();
    let request = format!(
        "POST /api/emails HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Idempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(api).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 202"), "{answer}");
    serde_json::from_str(body).ok()
}

#[tokio::test]
async fn keys_are_those_of_a_token() {
    let site = Site::new().await.set("API_TOKEN", "the-administrator-s3cret");
    let _mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let mut ids = BTreeSet::new();
    for name in ["one", "other"] {
        let settings = json!({ "name": name, "scopes": ["send"] });
        let token = HttpRequest::post("/api/tokens").bearer("the-administrator-s3cret").json(&settings);
        let token = postrider.request(token).await.json()["token"].as_str().unwrap().to_owned();
        for _ in 0..2 {
            let response = postrider.request(keyed("/api/emails", "k", &plain(name)).bearer(&token)).await;
            assert_eq!(response.status, 202, "{}", response.text());
            ids.insert(response.json()["id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!((ids.len(), postrider.emails().await.len()), (2, 2));
}
