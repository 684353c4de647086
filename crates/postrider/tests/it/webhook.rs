//! Webhooks: applications are told what became of their mail, whatever they answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postrider_core::{EmailStatus, ObjectId};
use postrider_store::{CallFilter, CallRecord, CallState, EventKind};
use postrider_testkit::{
    HttpAnswer, HttpReceived, HttpRequest, HttpService, Script, Site, TestPostrider, eventually, mail,
};
use serde_json::{Value, json};

use crate::support::{Follower, Told, python};

pub(crate) const SECRET: &str = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcY";

/// Says whether the library of Standard Webhooks takes what it reads.
const JUDGE: &str = r#"
import datetime, json, sys
from standardwebhooks import webhooks
call = json.load(sys.stdin)
class Then(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(int(call["headers"]["webhook-timestamp"]), tz)
webhooks.datetime = Then
print(json.dumps(webhooks.Webhook(call["secret"]).verify(call["body"], call["headers"])))
"#;

struct World {
    site: Site,
    hook: HttpService,
}

/// A site with an endpoint for all three settings.
async fn world(answer: impl Fn(&HttpReceived) -> HttpAnswer + Send + Sync + 'static) -> World {
    let site = Site::new().await.set("WEBHOOK_ENABLED", "true").set("WEBHOOK_SECRET", SECRET);
    // The tests' time goes by while calls are under way: they must not run out of it.
    let site = site.set("WEBHOOK_TIMEOUT", "300000");
    let hook = HttpService::start(site.claim_ip(), answer).await;
    let site = site
        .set("WEBHOOK_SUCCESS_URL", &hook.url("/success"))
        .set("WEBHOOK_FAILURE_URL", &hook.url("/failure"))
        .set("WEBHOOK_RECEIVED_URL", &hook.url("/received"))
        .set("ALLOWED_DOMAINS", "here.test");
    World { site, hook }
}

fn ok(_: &HttpReceived) -> HttpAnswer {
    HttpAnswer::new(204, "")
}

fn message() -> Vec<u8> {
    mail::plain("a@client.test", "b@example.org", "told")
}

/// What the library of the standard makes of a call; `None` if it refuses it.
pub(crate) async fn judged(call: &HttpReceived, secret: &str) -> Option<Value> {
    let headers: serde_json::Map<String, Value> =
        call.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let body = String::from_utf8(call.body.to_vec()).unwrap();
    let input = json!({ "secret": secret, "headers": headers, "body": body }).to_string();
    let mut command = tokio::process::Command::new(python());
    command.args(["-c", JUDGE]).stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("cargo xtask test installs what this needs");
    let mut stdin = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || said.contains("WebhookVerificationError"), "{said}");
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

/// The first call about an e-mail.
async fn call_of(hook: &HttpService, id: ObjectId) -> HttpReceived {
    eventually("a call", async || hook.requests().into_iter().find(|call| call.json()["data"]["id"] == id.to_string()))
        .await
}

async fn calls(postrider: &TestPostrider, state: CallState) -> Vec<CallRecord> {
    let filter = CallFilter { state: Some(state), ..CallFilter::default() };
    postrider.store().calls(&filter, 1, 100).await.unwrap().calls
}

/// Waits until so many calls have this state.
async fn wait_for_calls(postrider: &TestPostrider, state: CallState, count: usize) -> Vec<CallRecord> {
    eventually(&format!("{count} calls that are {}", state.as_str()), async || {
        postrider.pass(Duration::from_secs(1)).await;
        let found = calls(postrider, state).await;
        (found.len() >= count).then_some(found)
    })
    .await
}

/// Lets the time pass until the one call that waits was tried so often.
async fn wait_for_tries(postrider: &TestPostrider, tries: u32) -> CallRecord {
    eventually(&format!("{tries} tries"), async || {
        postrider.pass(Duration::from_secs(1)).await;
        let waiting = calls(postrider, CallState::Waiting).await;
        waiting.into_iter().find(|call| call.tries >= tries)
    })
    .await
}

#[tokio::test]
async fn outcomes_are_told_and_signed() {
    let World { site, hook } = world(ok).await;
    let mx = site.mx("example.org", Script::new().on_recipient("no@example.org", "550 5.1.1 No such user")).await;
    let stranger = site.smtp_mx();
    let postrider = site.start().await;
    let tagged = [b"X-Postrider-Tags: bill\r\nX-Postrider-Metadata: order=17\r\n", &message()[..]].concat();
    let id = postrider.send("a@client.test", &["b@example.org"], &tagged).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    let call = hook.wait_for_requests(1).await.remove(0);
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/success"));
    assert_eq!(call.header("content-type"), Some("application/json"));
    let told = call.json();
    assert_eq!((&told["type"], &told["id"]), (&json!("email.delivered"), &json!(call.header("webhook-id"))));
    let data = &told["data"];
    let expected = json!({
        "id": id, "messageId": data["messageId"], "direction": "outbound", "sender": "a@client.test", "subject": "told",
        "size": data["size"], "createdAt": data["createdAt"], "tags": ["bill"], "metadata": { "order": "17" },
        "recipient": "b@example.org", "smtp": { "code": 250, "enhancedCode": "2.0.0", "text": data["smtp"]["text"] },
        "category": null, "error": null, "permanent": false, "attempts": 1, "nextAttemptAt": null,
        "mx": data["mx"], "mxIp": data["mxIp"], "sourceIp": data["sourceIp"], "tls": data["tls"],
    });
    assert_eq!(*data, expected);
    assert!(data["mx"].is_string() && data["mxIp"].is_string() && data["messageId"].is_string());
    assert_eq!(judged(&call, SECRET).await, Some(told.clone()));
    assert_eq!(judged(&call, "whsec_AAAA").await, None);
    let entries = eventually("a timeline with the webhook", async || {
        let timeline = postrider.get(&format!("/api/emails/{id}/timeline")).await.json();
        let entries = timeline["entries"].as_array().unwrap().clone();
        entries.iter().any(|entry| entry["type"] == "webhook").then_some(entries)
    })
    .await;
    let types: Vec<_> = entries.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["accepted", "parsed", "attempt", "webhook"]);
    let told_of = &entries[3];
    assert_eq!((&told_of["event"], &told_of["state"]), (&json!("email.delivered"), &json!("delivered")));
    assert_eq!(told_of["attempt"]["status"], 204);

    let id = postrider.send("a@client.test", &["no@example.org"], &message()).await;
    postrider.wait_for_status(id, EmailStatus::Failed).await;
    let call = call_of(&hook, id).await;
    let told = call.json();
    assert_eq!((call.path.as_str(), &told["type"]), ("/failure", &json!("email.failed")));
    let data = &told["data"];
    assert_eq!(data["smtp"], json!({ "code": 550, "enhancedCode": "5.1.1", "text": "No such user" }));
    assert_eq!((&data["category"], &data["permanent"]), (&json!("bad-mailbox"), &json!(true)));

    mx.set_script(Script::new().on("MAIL", "451 4.3.0 Later"));
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    let deferred = postrider.wait_for_deferred(id, 1).await;
    let told = call_of(&hook, id).await.json();
    assert_eq!((&told["type"], &told["data"]["permanent"]), (&json!("email.deferred"), &json!(false)));
    assert_eq!(told["data"]["nextAttemptAt"], json!(deferred.email.next_attempt_at));

    let mut client = postrider_testkit::LineClient::hello(stranger).await;
    let reply = client.send_mail("x@else.test", &["b@here.test", "c@here.test"], &message()).await;
    let id = postrider.accepted(&reply).await;
    let call = call_of(&hook, id).await;
    let told = call.json();
    assert_eq!((call.path.as_str(), &told["type"]), ("/received", &json!("email.received")));
    assert_eq!(told["data"]["recipients"], json!(["b@here.test", "c@here.test"]));
    assert_eq!((&told["data"]["id"], &told["data"]["direction"]), (&json!(id), &json!("inbound")));
    // The notification of the failure could not be sent either, and that is told too.
    wait_for_calls(&postrider, CallState::Delivered, 5).await;
    assert_eq!(hook.requests().len(), 5, "each once");
}

#[tokio::test]
async fn what_an_endpoint_does_not_take_is_tried_again_and_then_listed() {
    let World { site, hook } = world(|_| HttpAnswer::new(500, "out of order")).await;
    let _mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    for (tries, seconds) in [(1, 10), (2, 30), (3, 90)] {
        let call = wait_for_tries(&postrider, tries).await;
        // The test's time goes by while a call is made.
        let ended_at = call.attempts.last().map(|attempt| attempt.at + Duration::from_millis(attempt.duration_ms));
        let wait = call.due_at.unwrap().since(ended_at.unwrap()).as_secs_f64();
        assert!((wait - f64::from(seconds)).abs() <= f64::from(seconds) * 0.2 + 0.1, "{wait} after {tries} tries");
    }
    let given_up = wait_for_calls(&postrider, CallState::GivenUp, 1).await.remove(0);
    assert_eq!((given_up.kind, given_up.email, given_up.attempts.len()), (EventKind::Delivered, id, 4));
    let attempt = &given_up.attempts[0];
    assert_eq!((attempt.status, attempt.body.as_deref()), (Some(500), Some("out of order")));
    assert!(attempt.error.as_deref().unwrap().contains("500"));
    let ids: Vec<_> = hook.requests().iter().map(|call| call.header("webhook-id").unwrap().to_owned()).collect();
    assert!(ids.len() == 4 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");

    // What was given up can be replayed.
    hook.set_answer(ok);
    let filter = CallFilter { state: Some(CallState::GivenUp), ..CallFilter::default() };
    assert_eq!(postrider.store().replay_calls(&filter, postrider.now()).await.unwrap(), 1);
    wait_for_calls(&postrider, CallState::Delivered, 1).await;
    assert_eq!(hook.requests()[4].header("webhook-id").unwrap(), ids[0]);
}

#[tokio::test]
async fn endpoints_that_answer_badly_are_understood() {
    let World { site, hook } = world(ok).await;
    let site = site.set("WEBHOOK_TIMEOUT", "60000");
    let _mx = site.mx("example.org", Script::new()).await;
    let elsewhere = hook.url("/elsewhere");
    let redirect = HttpAnswer::new(301, "").header(&format!("Location: {elsewhere}"));
    let busy = HttpAnswer::new(429, "").header("Retry-After: 1000");
    let postrider = site.start().await;
    for (answer, part) in [
        (redirect, "redirects are not followed"),
        (busy, "429"),
        (HttpAnswer::Close, ""),
        (HttpAnswer::Hang, "no whole answer within 60000 ms"),
        (HttpAnswer::Drip(Box::new(HttpAnswer::ok("x".repeat(1000))), Duration::from_millis(200)), "no whole answer"),
    ] {
        hook.set_answer(move |_| answer.clone());
        let made = hook.requests().len();
        let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
        postrider.wait_for_status(id, EmailStatus::Sent).await;
        hook.wait_for_requests(made + 1).await;
        if part.contains("no whole answer") {
            postrider.pass(Duration::from_secs(60)).await;
        }
        let call = wait_for_tries(&postrider, 1).await;
        let attempt = &call.attempts[0];
        assert!(attempt.error.as_ref().is_some_and(|error| error.contains(part)), "{part}: {attempt:?}");
        if part == "429" {
            assert!(call.due_at.unwrap() >= attempt.at + Duration::from_secs(1000), "it asked for time");
        }
        assert!(!hook.requests().iter().any(|call| call.path == "/elsewhere"));
        hook.set_answer(ok);
        postrider.store().replay_calls(&CallFilter::default(), postrider.now()).await.unwrap();
        eventually("the call is taken", async || {
            postrider.pass(Duration::from_secs(1)).await;
            calls(&postrider, CallState::Waiting).await.is_empty().then_some(())
        })
        .await;
    }
    // Gone, and for good.
    hook.set_answer(|_| HttpAnswer::new(410, ""));
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    let given_up = wait_for_calls(&postrider, CallState::GivenUp, 1).await;
    assert_eq!(given_up[0].attempts.last().unwrap().status, Some(410));
}

#[tokio::test]
async fn what_is_told_of_an_email_keeps_its_order_over_a_restart() {
    let World { site, hook } = world(|_| HttpAnswer::new(503, "")).await;
    let site = site.set("WEBHOOK_RETRIES", "100");
    let mx = site.mx("example.org", Script::new().on("MAIL", "451 4.3.0 Later")).await;
    let all = hook.url("/all");
    let postrider = site.start().await;
    // One endpoint for all there is.
    let (_, made) =
        api(&postrider, "POST", "/api/webhooks", Some(json!({ "url": all, "domains": ["example.org"] }))).await;
    let endpoint: ObjectId = made["id"].as_str().unwrap().parse().unwrap();
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    postrider.wait_for_deferred(id, 1).await;
    mx.set_script(Script::new());
    postrider.advance_to_next_attempt(id).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    let postrider = postrider.restart().await;
    hook.set_answer(ok);
    let told = async || {
        let taken = calls(&postrider, CallState::Delivered).await;
        taken.iter().filter(|call| call.endpoint == endpoint).count() == 3
    };
    eventually("all three are taken", async || {
        postrider.pass(Duration::from_secs(30)).await;
        told().await.then_some(())
    })
    .await;
    let mut kinds: Vec<String> = Vec::new();
    for call in hook.requests().iter().filter(|call| call.path == "/all") {
        let told = call.json();
        assert_eq!(told["data"]["id"], id.to_string());
        let kind = told["type"].as_str().unwrap().to_owned();
        if kinds.last() != Some(&kind) {
            kinds.push(kind);
        }
    }
    assert_eq!(kinds, ["email.accepted", "email.deferred", "email.delivered"]);
}

#[tokio::test]
async fn a_dead_endpoint_holds_up_no_other_and_no_mail() {
    let World { site, hook } = world(ok).await;
    let counted = Arc::new(AtomicUsize::new(0));
    let count = counted.clone();
    hook.set_answer(move |request| {
        if request.path == "/received" {
            return HttpAnswer::Hang;
        }
        count.fetch_add(1, Ordering::SeqCst);
        HttpAnswer::new(204, "")
    });
    let _mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        postrider.send("a@client.test", &["c@here.test"], &message()).await;
        ids.push(postrider.send("a@client.test", &["b@example.org"], &message()).await);
    }
    for id in ids {
        postrider.wait_for_status(id, EmailStatus::Sent).await;
    }
    eventually("forty calls", async || (counted.load(Ordering::SeqCst) == 40).then_some(())).await;
    let hanging = hook.requests().iter().filter(|request| request.path == "/received").count();
    assert!(hanging <= 32, "{hanging} calls to one endpoint at the same time");
}

async fn api(postrider: &TestPostrider, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let request = HttpRequest::new(method, path);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let response = postrider.request(request).await;
    let answer = if response.body.is_empty() { Value::Null } else { response.json() };
    (response.status, answer)
}

#[tokio::test]
async fn endpoints_are_kept_by_api() {
    let World { site, hook } = world(ok).await;
    let mx = site.mx("example.org", Script::new()).await;
    let _other = site.mx("else.test", Script::new()).await;
    let postrider = site.start().await;
    let new = json!({ "url": hook.url("/mine"), "types": ["email.delivered"], "domains": ["Example.ORG"], "description": "x" });
    let (status, made) = api(&postrider, "POST", "/api/webhooks", Some(new)).await;
    assert_eq!((status, &made["types"], &made["domains"]), (201, &json!(["email.delivered"]), &json!(["example.org"])));
    let secret = made["secret"].as_str().unwrap().to_owned();
    let path = format!("/api/webhooks/{}", made["id"].as_str().unwrap());
    let (_, listed) = api(&postrider, "GET", "/api/webhooks", None).await;
    assert_eq!(listed["webhooks"][0]["id"], made["id"]);
    assert!(listed["webhooks"][0].get("secret").is_none(), "it is shown once");

    // A sample goes out at once, whatever is subscribed to.
    let (status, tested) = api(&postrider, "POST", &format!("{path}/test"), None).await;
    assert_eq!((status, &tested["delivered"], &tested["status"]), (200, &json!(true), &json!(204)));
    let sample = hook.wait_for_requests(1).await.remove(0);
    assert_eq!(sample.json()["data"]["tags"], json!(["sample"]));
    assert!(judged(&sample, &secret).await.is_some());

    let to_mine = || hook.requests().into_iter().filter(|call| call.path == "/mine").count();
    let send = async |recipient: &str| {
        let id = postrider.send("a@client.test", &[recipient], &message()).await;
        postrider.wait_for_status(id, EmailStatus::Sent).await;
        id
    };
    send("b@else.test").await;
    let id = send("b@example.org").await;
    eventually("the one of the domain", async || (to_mine() == 2).then_some(())).await;
    assert_eq!(
        hook.requests().iter().rev().find(|call| call.path == "/mine").unwrap().json()["data"]["id"],
        id.to_string()
    );

    // Paused: it waits. Two secrets sign after a change.
    let (status, paused) = api(&postrider, "PATCH", &path, Some(json!({ "paused": true }))).await;
    assert_eq!((status, &paused["paused"]), (200, &json!(true)));
    let (_, rotated) = api(&postrider, "POST", &format!("{path}/rotate"), None).await;
    let id = send("b@example.org").await;
    let waiting = format!("/api/webhooks/deliveries?endpoint={}&state=waiting", made["id"].as_str().unwrap());
    let (_, page) = api(&postrider, "GET", &waiting, None).await;
    assert_eq!((&page["pagination"]["total"], &page["deliveries"][0]["email"]), (&json!(1), &json!(id)));
    api(&postrider, "PATCH", &path, Some(json!({ "paused": false }))).await;
    eventually("what waited", async || (to_mine() == 3).then_some(())).await;
    let call = hook.requests().into_iter().rfind(|call| call.path == "/mine").unwrap();
    for secret in [secret.as_str(), rotated["secret"].as_str().unwrap()] {
        assert!(judged(&call, secret).await.is_some(), "both sign for a day");
    }

    // One that is replayed comes again; one that was given up is replayed unless something else is said.
    let delivery = page["deliveries"][0]["id"].as_str().unwrap();
    wait_for_calls(&postrider, CallState::Delivered, 3).await;
    let (status, replayed) =
        api(&postrider, "POST", &format!("/api/webhooks/deliveries/{delivery}/replay"), None).await;
    assert_eq!((status, replayed), (200, json!({ "replayed": 1 })));
    eventually("the same again", async || {
        postrider.pass(Duration::from_secs(1)).await;
        (to_mine() == 4).then_some(())
    })
    .await;
    let (_, none) = api(&postrider, "POST", "/api/webhooks/deliveries/replay?dryRun=true", None).await;
    assert_eq!(none, json!({ "replayed": 0 }));
    let (_, shown) = api(&postrider, "GET", &format!("/api/webhooks/deliveries/{delivery}"), None).await;
    assert_eq!((&shown["data"]["id"], &shown["attempts"][0]["status"]), (&json!(id), &json!(204)));

    assert_eq!(api(&postrider, "DELETE", &path, None).await.0, 204);
    assert_eq!(api(&postrider, "GET", &path, None).await.0, 404);
    for (body, name) in [
        (json!({ "url": "ftp://x" }), "url"),
        (json!({ "types": [] }), "url"),
        (json!({ "url": "https://x.test", "types": ["email.opened"] }), "types"),
        (json!({ "url": "https://x.test", "secret": "short" }), "secret"),
        (json!({ "url": "https://x.test", "domains": ["a..b"] }), "domains"),
    ] {
        let (status, problem) = api(&postrider, "POST", "/api/webhooks", Some(body.clone())).await;
        assert_eq!((status, &problem["parameter"]), (400, &json!(name)), "{body}");
    }
    drop(mx);
}

#[tokio::test]
async fn events_are_followed_and_gone_on_with() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new().on("MAIL", "451 4.3.0 Later")).await;
    // The clock of the machine: the stream looks for events by itself.
    let postrider = site.set("RETRY_FIRST_SECONDS", "1").start_in_real_time().await;
    let mut follower = Follower::new(postrider.api(), "/api/events", "").await;
    let id = postrider.send("a@client.test", &["b@example.org"], &message()).await;
    let Told { name, id: first, data } = follower.next().await;
    assert_eq!(
        (name.as_str(), &data["email"], &data["type"]),
        ("email.accepted", &json!(id), &json!("email.accepted"))
    );
    let Told { name, data, .. } = follower.next().await;
    assert_eq!((name.as_str(), &data["delivery"]), ("email.deferred", &json!(0)));
    mx.set_script(Script::new());
    loop {
        match follower.next().await.name.as_str() {
            "email.deferred" => {}
            name => break assert_eq!(name, "email.delivered"),
        }
    }
    // From behind the first, and only what is asked for.
    let mut again = Follower::new(postrider.api(), "/api/events", &format!("Last-Event-ID: {first}\r\n")).await;
    assert_eq!(again.next().await.name, "email.deferred");
    let path = format!("/api/events?type=email.delivered&email={id}&after={first}");
    let mut delivered = Follower::new(postrider.api(), &path, "").await;
    assert_eq!(delivered.next().await.name, "email.delivered");
    // What is none, and what is still to come.
    for after in ["nonsense", "1000000"] {
        let refused = postrider.get(&format!("/api/events?after={after}")).await;
        assert_eq!((refused.status, refused.json()["parameter"].as_str()), (400, Some("Last-Event-ID")), "{after}");
    }
}

#[tokio::test]
async fn who_may_follow_no_more_hears_no_more() {
    const TOKEN: &str = "the-first-administrators-token";
    let postrider = Site::new().await.set("API_TOKEN", TOKEN).start_in_real_time().await;
    let settings = json!({ "name": "reader", "scopes": ["read"] });
    let made = postrider.request(HttpRequest::post("/api/tokens").json(&settings).bearer(TOKEN)).await.json();
    let bearing = format!("Authorization: Bearer {}\r\n", made["token"].as_str().unwrap());
    let mut follower = Follower::new(postrider.api(), "/api/events", &bearing).await;
    postrider.send("a@client.test", &["b@example.org"], &message()).await;
    assert_eq!(follower.next().await.name, "email.accepted");
    let path = format!("/api/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(postrider.request(HttpRequest::delete(&path).bearer(TOKEN)).await.status, 204);
    follower.wait_for_end().await;
}
