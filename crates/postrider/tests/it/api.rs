//! The REST API of a running server: shapes, filters, orders, and who may ask.

use std::collections::{BTreeMap, BTreeSet};

use insta::assert_snapshot;
use postrider_core::EmailStatus;
use postrider_testkit::{
    HttpRequest, HttpResponse, Script, ScriptedMx, Site, StartTls, TestPostrider, eventually, mail, scrub,
};
use serde_json::{Value, json};

async fn world() -> (TestPostrider, ScriptedMx) {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "local.test");
    let mx = site.mx("example.org", Script::new().on_recipient("never@example.org", "550 5.1.1 Never")).await;
    (site.start().await, mx)
}

/// A readable form without what differs from run to run.
fn plain(response: &HttpResponse) -> String {
    let text = serde_json::to_string_pretty(&response.json()).unwrap();
    let lines = text.lines().filter(|line| !line.contains("latencyMs") && !line.contains("sizeBytes"));
    scrub(&lines.collect::<Vec<_>>().join("\n"))
}

fn ids(response: &HttpResponse) -> Vec<String> {
    let emails = response.json()["emails"].as_array().unwrap().clone();
    emails.iter().map(|email| email["id"].as_str().unwrap().to_owned()).collect()
}

async fn expect_problem(response: HttpResponse, status: u16) {
    assert_eq!(response.status, status, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    let problem = response.json();
    assert_eq!(problem["status"], json!(status));
    for member in ["type", "title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    }
}

#[tokio::test]
async fn health_is_told() {
    let (postrider, _mx) = world().await;
    let response = postrider.get("/health").await;
    assert_eq!(response.status, 200);
    let health = response.json();
    let names: Vec<_> = health["listeners"].as_array().unwrap().iter().map(|l| l["name"].as_str().unwrap()).collect();
    for name in ["smtp", "smtp-mx", "submission", "submissions", "lmtp", "lmtps", "imap", "imaps", "api"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for member in ["status", "store", "queue", "listeners", "version", "uptimeSeconds"] {
        assert!(health.get(member).is_some(), "{member} is missing in {health}");
    }
}

#[tokio::test]
async fn an_email_that_was_sent_and_one_that_failed() {
    let (postrider, mx) = world().await;
    mx.set_script(Script::new().starttls(StartTls::Working).on_recipient("never@example.org", "550 5.1.1 Never"));
    let multipart = mail::shapes().into_iter().find(|shape| shape.name == "multipart").unwrap();
    let id = postrider.send("", &["b@example.org", "never@example.org"], &multipart.message).await;
    postrider.wait_for_status(id, EmailStatus::Failed).await;
    let response = postrider.get(&format!("/api/emails/{id}")).await;
    assert_eq!(response.status, 200);
    let text = plain(&response);
    let stable: Vec<_> = text.lines().filter(|line| !line.contains("\"durationMs\"")).collect();
    assert_snapshot!(stable.join("\n"));
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let (postrider, _mx) = world().await;
    let mut all = Vec::new();
    for n in 0..5 {
        let message = mail::plain("ann@client.test", "b@example.org", &format!("Report {n}"));
        all.push(postrider.send("ann@client.test", &["b@example.org"], &message).await.to_string());
    }
    let kept =
        postrider.send("bob@client.test", &["c@local.test"], &mail::plain("bob@x", "c@y", "Kept")).await.to_string();
    for id in &all {
        postrider.wait_for_status(id.parse().unwrap(), EmailStatus::Sent).await;
    }

    let page = postrider.get("/api/emails?page=2&limit=4").await;
    let pagination = &page.json()["pagination"];
    assert_eq!(
        [&pagination["page"], &pagination["limit"], &pagination["total"], &pagination["pages"]],
        [&json!(2), &json!(4), &json!(6), &json!(2)]
    );
    assert_eq!(ids(&page), [all[1].clone(), all[0].clone()]);
    assert_eq!(ids(&postrider.get("/api/emails").await)[0], kept, "the newest comes first");

    let newest_first: Vec<_> = all.iter().rev().cloned().collect();
    for (query, expected) in [
        ("status=sent", newest_first.clone()),
        ("status=received", vec![kept.clone()]),
        ("direction=inbound", vec![kept.clone()]),
        ("direction=outbound", newest_first.clone()),
        ("sender=BOB", vec![kept.clone()]),
        ("recipient=c%40local", vec![kept.clone()]),
        ("domain=example.org", newest_first.clone()),
        ("domain=local.test&status=sent", vec![]),
        ("q=report+3", vec![all[3].clone()]),
        ("from=2026-01-02", [vec![kept.clone()], newest_first].concat()),
        ("to=2026-01-02", vec![]),
        ("page=9", vec![]),
    ] {
        let response = postrider.get(&format!("/api/emails?{query}")).await;
        assert_eq!(response.status, 200, "{query}: {}", response.text());
        assert_eq!(ids(&response), expected, "{query}");
    }
    for query in ["page=0", "limit=1000", "status=lost", "from=yesterday", "order=asc"] {
        expect_problem(postrider.get(&format!("/api/emails?{query}")).await, 400).await;
    }
}

#[tokio::test]
async fn the_queue_in_numbers() {
    let (postrider, mx) = world().await;
    let send = async |recipient: &str| postrider.send("", &[recipient], &mail::plain("", recipient, "counted")).await;
    postrider.wait_for_status(send("b@example.org").await, EmailStatus::Sent).await;
    postrider.wait_for_status(send("never@example.org").await, EmailStatus::Failed).await;
    send("c@local.test").await;
    mx.set_script(Script::new().on("RCPT", "451 4.2.1 Come back later"));
    postrider.wait_for_deferred(send("d@example.org").await, 1).await;
    let stats = postrider.get("/api/queue/stats").await;
    assert_eq!(stats.status, 200);
    assert_snapshot!(plain(&stats));
}

#[tokio::test]
async fn the_listeners_in_numbers() {
    let (postrider, _mx) = world().await;
    postrider.send("", &["c@local.test"], &mail::plain("", "c@local.test", "counted")).await;
    let stats = postrider.get("/api/smtp/stats").await;
    assert_eq!(stats.status, 200);
    let stats = stats.json();
    assert_eq!((&stats["messagesAccepted"], &stats["sessionsTotal"]), (&json!(1), &json!(1)), "{stats}");
}

#[tokio::test]
async fn retry_tries_at_once() {
    let (postrider, mx) = world().await;
    mx.set_script(Script::new().first(1, "RCPT", "451 4.2.1 Later"));
    let id = postrider.send("", &["b@example.org"], &mail::plain("", "b@example.org", "retried")).await;
    postrider.wait_for_deferred(id, 1).await;
    let retry = HttpRequest::post(&format!("/api/emails/{id}/retry"));
    let response = postrider.request(retry.clone()).await;
    assert_eq!(response.status, 200, "{}", response.text());
    // No time has passed on the server's clock.
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    expect_problem(postrider.request(retry).await, 409).await;
    expect_problem(postrider.request(HttpRequest::post("/api/emails/0123456789abcdef01234567/retry")).await, 404).await;
}

#[tokio::test]
async fn a_failed_email_can_be_tried_again() {
    let (postrider, mx) = world().await;
    let id = postrider.send("", &["never@example.org"], &mail::plain("", "never@example.org", "retried")).await;
    postrider.wait_for_status(id, EmailStatus::Failed).await;
    mx.set_script(Script::new());
    let retry = HttpRequest::post(&format!("/api/emails/{id}/retry"));
    assert_eq!(postrider.request(retry.clone()).await.status, 200);
    // The address is known not to exist: that has to be taken back first.
    eventually("the second attempt", async || (postrider.email(id).await.attempts.len() == 2).then_some(())).await;
    let failed = postrider.wait_for_status(id, EmailStatus::Failed).await;
    let error = failed.email.last_error.unwrap();
    assert!(error.contains("suppression list"), "{error}");
    let address = "never@example.org".parse().unwrap();
    assert!(postrider.store().unsuppress(&address).await.unwrap());
    assert_eq!(postrider.request(retry).await.status, 200);
    postrider.wait_for_status(id, EmailStatus::Sent).await;
}

#[tokio::test]
async fn delete_forgets() {
    let (postrider, _mx) = world().await;
    let id = postrider.send("", &["c@local.test"], &mail::plain("", "c@local.test", "deleted")).await;
    let path = format!("/api/emails/{id}");
    let deleted = postrider.request(HttpRequest::delete(&path)).await;
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    expect_problem(postrider.get(&path).await, 404).await;
    expect_problem(postrider.request(HttpRequest::delete(&path)).await, 404).await;
    assert_eq!(postrider.get("/api/emails").await.json()["pagination"]["total"], json!(0));
}

#[tokio::test]
async fn the_raw_message_is_given_byte_for_byte() {
    let (postrider, _mx) = world().await;
    let shape = mail::shapes().into_iter().find(|shape| shape.name == "latin-1").unwrap();
    let id = postrider.send("", &["c@local.test"], &shape.message).await;
    let raw = postrider.get(&format!("/api/emails/{id}/raw")).await;
    assert_eq!(raw.status, 200);
    assert_eq!(raw.body, postrider.store().raw(id).await.unwrap().unwrap().raw);
}

#[tokio::test]
async fn attachments_are_given_decoded() {
    let (postrider, _mx) = world().await;
    let shape = mail::shapes().into_iter().find(|shape| shape.name == "nested").unwrap();
    let id = postrider.send("", &["c@local.test"], &shape.message).await;
    let listed = postrider.get(&format!("/api/emails/{id}")).await.json()["attachments"].clone();
    assert_eq!((&listed[0]["contentType"], &listed[0]["contentId"]), (&json!("image/gif"), &json!("x")));
    let image = postrider.get(&format!("/api/emails/{id}/attachments/0")).await;
    assert_eq!((image.status, image.header("content-type")), (200, Some("image/gif")));
    assert_eq!(image.header("content-disposition"), Some("attachment; filename*=UTF-8''attachment-0"));
    assert!(image.body.starts_with(b"GIF89a"));
    assert_eq!(listed[0]["size"], json!(image.body.len()));
    let message = postrider.get(&format!("/api/emails/{id}/attachments/1")).await;
    assert_eq!(message.header("content-type"), Some("message/rfc822"));
    assert!(message.text().contains("the message inside"));
    for path in ["attachments/2", "attachments/-1", "attachments/x", "attachments/99999999999999999999"] {
        expect_problem(postrider.get(&format!("/api/emails/{id}/{path}")).await, 404).await;
    }
}

/// What `GET /metrics` says, by name and labels.
async fn metrics(postrider: &TestPostrider) -> BTreeMap<String, f64> {
    let response = postrider.get("/metrics").await;
    assert_eq!((response.status, response.header("content-type")), (200, Some("text/plain; version=0.0.4")));
    let text = response.text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn what_is_done_is_counted() {
    let (postrider, _mx) = world().await;
    let before = metrics(&postrider).await;
    let message = mail::plain("a@client.test", "b@example.org", "counted");
    // Nobody is told of the failure, which would be an e-mail more.
    let id = postrider.send("", &["b@example.org", "never@example.org"], &message).await;
    postrider.wait_for_status(id, EmailStatus::Failed).await;
    postrider.send("a@client.test", &["c@local.test"], &message).await;
    let after = metrics(&postrider).await;
    let grown = |name: &str| after.get(name).unwrap_or(&0.0) - before.get(name).unwrap_or(&0.0);
    assert_eq!(grown(r#"postrider_messages_total{result="accepted"}"#), 2.0);
    assert_eq!(grown(r#"postrider_delivery_attempts_total{category="",result="delivered"}"#), 1.0);
    assert_eq!(grown(r#"postrider_delivery_attempts_total{category="bad-mailbox",result="failed"}"#), 1.0);
    assert_eq!(grown("postrider_delivery_seconds_count"), 1.0);
    assert!(grown("postrider_accept_seconds_count") >= 2.0);
    assert_eq!(grown(r#"postrider_sessions_total{listener="smtp"}"#), 2.0);
    // All of them stand there before there is something to count, or the first would be in no rate.
    for name in [
        r#"postrider_sessions_total{listener="imap"}"#,
        r#"postrider_sessions_refused_total{listener="smtp-mx"}"#,
        r#"postrider_sessions_open{listener="submission"}"#,
        r#"postrider_delivery_attempts_total{category="quota",result="deferred"}"#,
        r#"postrider_webhook_calls_total{result="given-up"}"#,
    ] {
        assert_eq!(before.get(name), Some(&0.0), "{name}");
    }
    assert_eq!(after[r#"postrider_queue_emails{status="failed"}"#], 1.0);
    assert_eq!(after[r#"postrider_queue_emails{status="received"}"#], 1.0);
    assert_eq!(after[r#"postrider_listener_up{listener="smtp-mx"}"#], 1.0);
    assert_eq!(grown(r#"postrider_http_requests_total{method="GET",route="/metrics",status="200"}"#), 1.0);
    assert!(after.keys().any(|name| name.starts_with("process_resident_memory_bytes")));
}

/// The list in docs/metrics.md is neither too long nor too short.
#[tokio::test]
async fn every_metric_is_in_the_catalogue() {
    let (postrider, _mx) = world().await;
    let text = postrider.get("/metrics").await.text();
    let told: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| !name.starts_with("process_"))
        .collect();
    let listed: BTreeSet<&str> = postrider_core::metrics::ALL.iter().map(|metric| metric.name).collect();
    assert!(told.is_subset(&listed), "{told:?}");
    // Those with labels come when there is something to count.
    let plain = postrider_core::metrics::ALL.iter().filter(|metric| metric.labels.is_empty()).map(|metric| metric.name);
    // Of the disk of a database server nothing is known.
    let plain = plain.filter(|name| Site::is_on_sqlite() || *name != postrider_core::metrics::STORE_FREE_BYTES.name);
    let missing: Vec<_> = plain.filter(|name| !told.contains(name)).collect();
    assert_eq!(missing, [""; 0]);
}

#[tokio::test]
async fn a_token_is_demanded_where_one_is_set() {
    let postrider = Site::new().await.set("API_TOKEN", "a-long-and-secret-token").start().await;
    for path in
        ["/api/emails", "/metrics", "/api/queue/stats", "/api/smtp/stats", "/api/emails/0123456789abcdef01234567", "/"]
    {
        assert_eq!(postrider.get(path).await.status, 401, "{path}");
        let wrong = postrider.request(HttpRequest::get(path).bearer("a-long-and-secret-tokeN")).await;
        assert_eq!(wrong.status, 401, "{path}");
        let right = postrider.request(HttpRequest::get(path).bearer("a-long-and-secret-token")).await;
        assert_ne!(right.status, 401, "{path}");
    }
    let health = postrider.get("/health").await;
    assert_eq!((health.status, health.json()), (200, json!({ "status": "ok" })));
}

#[tokio::test]
async fn without_a_token_a_page_of_elsewhere_changes_nothing() {
    let (postrider, _mx) = world().await;
    let id = postrider.send("", &["c@local.test"], &mail::plain("", "c@local.test", "kept")).await;
    let path = format!("/api/emails/{id}");
    let foreign = postrider.request(HttpRequest::delete(&path).header("origin", "http://evil.example")).await;
    assert_eq!(foreign.status, 403, "{}", foreign.text());
    // A name that was rebound to this machine (DNS rebinding).
    let rebound = postrider.request(HttpRequest::get(&path).header("host", "evil.example:3000")).await;
    assert_eq!(rebound.status, 403, "{}", rebound.text());
    assert_eq!(postrider.get(&path).await.status, 200);
}

#[tokio::test]
async fn the_page_lists_emails_and_runs_nothing_of_theirs() {
    let (postrider, _mx) = world().await;
    let message = mail::plain("a@client.test", "c@local.test", "<script>alert(1)</script>");
    postrider.send("a@client.test", &["c@local.test"], &message).await;
    let page = postrider.get("/emails").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("&#60;script&#62;") && !page.text().contains("<script>alert"), "{}", page.text());
    assert!(page.header("content-security-policy").is_some());
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let (postrider, _mx) = world().await;
    expect_problem(postrider.get("/api/nothing").await, 404).await;
    expect_problem(postrider.get("/api/emails/not-an-id").await, 404).await;
    expect_problem(postrider.request(HttpRequest::new("PUT", "/api/emails")).await, 405).await;
    let value: Value = postrider.get("/api/emails").await.json();
    assert_eq!(value["emails"], json!([]));
}
