//! The API against the embedded store: shapes, errors and what protects both.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod office;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use postrider_core::ports::{ListenerStatus, MemoryLease, SmtpStats, WebhookTest};
use postrider_core::queue::{DeliveryPlace, DomainLine};
use postrider_core::source::{IpSelectionExchange, IpSelectionStats, IpSelectionTest};
use postrider_core::{
    Address, Attempt, Category, Clock, Control, ControlError, Direction, Domain, Envelope, Instructions, Message,
    ObjectId, Outcome, Recipient, Reply, ReversePath, SourceDecision, SourceOrigin, SourceQuestion, Submission,
    SubmissionError, SubmissionLimits, Submitted, Timestamp,
};
use postrider_store::{DeliveryId, NewDelivery, NewEmail, Next, Settle, Settlement, SqliteOptions, SqliteStore, Store};
use postrider_web::{RateLimits, Web, router};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use office::{NoLog, NoOffice};

const NOW: Timestamp = Timestamp::from_millis(1_795_354_780_123);
const RAW: &str =
    "Subject: Hello <b>World</b>\r\nMessage-ID: <m1@example.com>\r\nFrom: <a@example.com>\r\n\r\nIt works.\r\n";

#[derive(Debug)]
struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn sleep(&self, _duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

#[derive(Debug, Default)]
struct Server {
    kicks: AtomicUsize,
    is_closing: AtomicBool,
}

#[async_trait::async_trait]
impl Control for Server {
    fn kick_queue(&self) {
        self.kicks.fetch_add(1, Ordering::Relaxed);
    }

    fn node(&self) -> Option<ObjectId> {
        None
    }

    fn delivery_places(&self, _: ObjectId) -> Vec<DeliveryPlace> {
        Vec::new()
    }

    fn domain_lines(&self, domains: &[Domain]) -> Vec<DomainLine> {
        vec![DomainLine::default(); domains.len()]
    }

    fn smtp_stats(&self) -> SmtpStats {
        SmtpStats { messages_accepted: 7, ..SmtpStats::default() }
    }

    fn metrics(&self) -> Vec<postrider_core::metrics::MetricFamily> {
        Vec::new()
    }

    fn listeners(&self) -> Vec<ListenerStatus> {
        let address = SocketAddr::from(([127, 0, 0, 1], 2525));
        vec![ListenerStatus { name: "smtp", address, open: !self.is_closing.load(Ordering::Relaxed) }]
    }

    fn uptime(&self) -> Duration {
        Duration::from_secs(42)
    }

    fn ip_selection_stats(&self) -> IpSelectionStats {
        IpSelectionStats { enabled: true, hits: 3, ..IpSelectionStats::default() }
    }

    fn clear_ip_selection_cache(&self) -> usize {
        5
    }

    async fn test_ip_selection(&self, question: SourceQuestion) -> Result<IpSelectionTest, ControlError> {
        if self.is_closing.load(Ordering::Relaxed) {
            return Err(ControlError("there is no service to ask".to_owned()));
        }
        let request = serde_json::to_string(&question).unwrap();
        let exchange = IpSelectionExchange {
            url: "http://service.example/".to_owned(),
            request,
            status: Some(200),
            response: Some("192.0.2.7".to_owned()),
            latency_ms: 4,
        };
        let ip = Some("192.0.2.7".parse().unwrap());
        let decision = SourceDecision { ip, origin: SourceOrigin::Api, latency: Duration::from_millis(4), error: None };
        Ok(IpSelectionTest { decision, ehlo: None, exchange })
    }

    async fn refresh_webhooks(&self) {}

    async fn test_webhook(&self, _: ObjectId) -> Result<WebhookTest, ControlError> {
        Ok(WebhookTest { delivered: true, status: Some(204), error: None, body: None, duration_ms: 7 })
    }

    fn webhook_url_secret(&self, url: &str) -> Option<String> {
        (!self.is_closing.load(Ordering::Relaxed)).then(|| format!("whsec_of {url}"))
    }

    async fn submit(&self, _: Submission) -> Result<Submitted, SubmissionError> {
        Err(SubmissionError::NotNow(Reply { code: 452, enhanced_code: None, text: "Too busy now".to_owned() }))
    }

    fn submission_limits(&self) -> SubmissionLimits {
        SubmissionLimits { message_bytes_max: 10_000, recipients_max: 10 }
    }

    fn lease_memory(&self) -> Box<dyn MemoryLease> {
        Box::new(Memory)
    }

    async fn reload(&self) -> Result<(), ControlError> {
        Ok(())
    }
}

#[derive(Debug)]
struct Memory;

impl MemoryLease for Memory {
    fn resize(&mut self, _: usize) -> bool {
        true
    }
}

struct House {
    store: Arc<SqliteStore>,
    server: Arc<Server>,
    router: Router,
    node: ObjectId,
    _folder: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    #[track_caller]
    fn problem(&self, status: StatusCode, name: &str) -> Value {
        assert_eq!(self.status, status, "{:?}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:problem-type:postrider:{name}"));
        assert_eq!(problem["status"], status.as_u16());
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        problem
    }
}

impl House {
    async fn new(api_token: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(SqliteOptions::new(folder.path())).unwrap());
        let server = Arc::new(Server::default());
        let router = router(Web {
            store: store.clone(),
            control: server.clone(),
            administration: Arc::new(NoOffice),
            log: Arc::new(NoLog),
            clock: Arc::new(StoppedClock),
            api_token: api_token.map(str::to_owned),
            rate_limits: RateLimits::default(),
            version: "1.2.3",
        });
        let node = ObjectId::new(NOW);
        postrider_store::Queue::renew(
            store.as_ref(),
            postrider_store::Renewal::new(node, NOW, Duration::from_secs(60)),
        )
        .await
        .unwrap();
        Self { store, server, router, node, _folder: folder }
    }

    async fn ask(&self, method: Method, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(method, target, fields, Body::empty()).await
    }

    async fn post(&self, target: &str, body: impl Into<Body>) -> Answer {
        self.send(Method::POST, target, &[("content-type", "application/json")], body.into()).await
    }

    async fn send(&self, method: Method, target: &str, fields: &[(&str, &str)], body: Body) -> Answer {
        let mut request = Request::builder().method(method).uri(target).header("host", "localhost:3000");
        for (name, value) in fields {
            request
                .headers_mut()
                .unwrap()
                .insert(axum::http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, target: &str) -> Answer {
        self.ask(Method::GET, target, &[]).await
    }

    /// An e-mail to one recipient elsewhere, claimed by the house's node or left to the queue.
    async fn accept(&self, recipient: &str, is_claimed: bool) -> ObjectId {
        let id = ObjectId::new(NOW);
        let mut instructions = Instructions { priority: "high".parse().unwrap(), ..Instructions::default() };
        instructions.add_tag("news").unwrap();
        instructions.add_metadata("order", "17").unwrap();
        let email = NewEmail {
            id,
            created_at: NOW,
            direction: Direction::Outbound,
            envelope: Envelope { reverse_path: ReversePath::parse("a@example.com").unwrap(), ..Envelope::default() },
            instructions,
            authentication: Vec::new(),
            events: Vec::new(),
            request: None,
            message: Message::parse(Bytes::from_static(RAW.as_bytes()), 0),
            kept: Vec::new(),
            deliveries: vec![NewDelivery {
                recipient: Recipient::new(Address::parse(recipient).unwrap()),
                claimed_by: is_claimed.then_some(self.node),
                due_at: NOW,
            }],
            filed: None,
        };
        postrider_store::Emails::accept(self.store.as_ref(), email).await.unwrap();
        id
    }

    async fn settle(&self, id: ObjectId, outcome: Outcome, next: Next) {
        let attempt = Attempt {
            number: 1,
            started_at: NOW,
            duration: Duration::from_millis(120),
            mx: Some("mx.example.org".to_owned()),
            mx_ip: Some("192.0.2.1".parse().unwrap()),
            source_ip: Some("192.0.2.7".parse().unwrap()),
            ip_selection: Some(SourceDecision {
                ip: Some("192.0.2.7".parse().unwrap()),
                origin: SourceOrigin::Cache,
                latency: Duration::ZERO,
                error: None,
            }),
            tls: None,
            exchanges: Vec::new(),
            outcome,
        };
        let settlement =
            Settlement { id: DeliveryId { email: id, number: 0 }, attempt, next, delay_notified: false, event: None };
        let settle = Settle { settlements: vec![settlement], ..Settle::default() };
        assert_eq!(postrider_store::Queue::settle(self.store.as_ref(), self.node, settle).await.unwrap(), 1);
    }
}

fn refusal() -> Outcome {
    let reply = Reply { code: 550, enhanced_code: Some("5.1.1".to_owned()), text: "No such user".to_owned() };
    Outcome::Failed { category: Category::BadMailbox, reply: Some(reply), reason: "refused".to_owned() }
}

#[tokio::test]
async fn an_email_in_a_list_and_alone() {
    let house = House::new(None).await;
    let id = house.accept("b@example.org", true).await;
    house.settle(id, refusal(), Next::Failed).await;

    let list = house.get("/api/emails?limit=10").await.json();
    assert_eq!(list["pagination"], json!({ "page": 1, "limit": 10, "total": 1, "pages": 1 }));
    let email = &list["emails"][0];
    let mut names: Vec<&str> = email.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "attempts",
            "createdAt",
            "direction",
            "id",
            "lastError",
            "messageId",
            "nextAttemptAt",
            "recipients",
            "sender",
            "size",
            "sourceIp",
            "status",
            "subject",
            "tags",
            "updatedAt"
        ]
    );
    assert_eq!(email["id"], id.to_string());
    assert_eq!(email["status"], "failed");
    assert_eq!(email["lastError"], "550 5.1.1 No such user");
    assert_eq!(email["size"], RAW.len());

    let alone = house.get(&format!("/api/emails/{id}")).await.json();
    assert_eq!((&alone["tags"], &alone["metadata"]["order"]), (&json!(["news"]), &json!("17")));
    assert_eq!((&alone["priority"], &alone["requireTls"]), (&json!(4), &json!(false)));
    assert_eq!(alone["authentication"], json!([]));
    assert_eq!(alone["text"], "It works.\r\n");
    assert_eq!(alone["html"], Value::Null);
    assert_eq!(alone["headers"][0], json!({ "name": "Subject", "value": "Hello <b>World</b>" }));
    assert_eq!(alone["attachments"], json!([]));
    let delivery = &alone["deliveries"][0];
    assert_eq!(delivery["recipient"], "b@example.org");
    assert_eq!(delivery["attempts"], 1);
    assert_eq!(delivery["lastResponse"], json!({ "code": 550, "enhancedCode": "5.1.1", "text": "No such user" }));
    assert_eq!(delivery["mxIp"], "192.0.2.1");
    assert_eq!(delivery["history"][0]["durationMs"], 120);
    assert_eq!(delivery["history"][0]["outcome"]["result"], "failed");
}

#[tokio::test]
async fn a_timeline_tells_what_happened() {
    let house = House::new(None).await;
    let id = house.accept("b@example.org", true).await;
    house.settle(id, refusal(), Next::Failed).await;
    let timeline = house.get(&format!("/api/emails/{id}/timeline")).await.json();
    assert_eq!((&timeline["status"], &timeline["webhooksLeftOut"]), (&json!("failed"), &json!(0)));
    let entries = timeline["entries"].as_array().unwrap();
    let types: Vec<_> = entries.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["accepted", "parsed", "source-ip", "attempt"]);
    assert_eq!(entries[0]["recipients"], json!(["b@example.org"]));
    assert_eq!(entries[1]["messageId"], "m1@example.com");
    assert_eq!(entries[2]["decision"]["origin"], "cache");
    assert_eq!((&entries[3]["recipient"], &entries[3]["at"]), (&json!("b@example.org"), &entries[0]["at"]));
    assert_eq!(entries[3]["attempt"]["outcome"]["reply"]["code"], 550);
    house.get("/api/emails/000000000000000000000000/timeline").await.problem(StatusCode::NOT_FOUND, "not-found");
}

#[tokio::test]
async fn the_raw_message_is_byte_for_byte() {
    let house = House::new(None).await;
    let id = house.accept("b@example.org", false).await;
    let raw = house.get(&format!("/api/emails/{id}/raw")).await;
    assert_eq!(raw.body, RAW);
    assert_eq!(raw.header("content-type"), "message/rfc822");
    assert!(raw.header("content-disposition").starts_with("attachment"));
    house.get("/api/emails/000000000000000000000000/raw").await.problem(StatusCode::NOT_FOUND, "not-found");
}

#[tokio::test]
async fn pages_and_filters() {
    let house = House::new(None).await;
    for i in 0..5 {
        house.accept(&format!("b{i}@example.org"), false).await;
    }
    let page = house.get("/api/emails?page=3&limit=2").await.json();
    let pagination = &page["pagination"];
    assert_eq!(
        [
            &pagination["page"],
            &pagination["limit"],
            &pagination["total"],
            &pagination["pages"],
            &pagination["nextCursor"]
        ],
        [&json!(3), &json!(2), &json!(5), &json!(3), &json!(null)]
    );
    assert_eq!(page["emails"].as_array().unwrap().len(), 1);
    assert_eq!(page["emails"][0]["recipients"], json!(["b0@example.org"]));
    assert_eq!(house.get("/api/emails?recipient=B3@").await.json()["pagination"]["total"], 1);
    assert_eq!(house.get("/api/emails?status=sent").await.json()["pagination"]["total"], 0);

    let problem = house.get("/api/emails?status=sendin").await.problem(StatusCode::BAD_REQUEST, "bad-parameter");
    assert_eq!(problem["parameter"], "status");
    assert!(problem["detail"].as_str().unwrap().contains("sending"));
    let problem = house.get("/api/emails?colour=red").await.problem(StatusCode::BAD_REQUEST, "bad-parameter");
    assert_eq!(problem["parameter"], "colour");
}

#[tokio::test]
async fn a_retry_needs_something_to_retry() {
    let house = House::new(None).await;
    let retry = async |id: &str| house.ask(Method::POST, &format!("/api/emails/{id}/retry"), &[]).await;

    let failed = house.accept("b@example.org", true).await;
    house.settle(failed, refusal(), Next::Failed).await;
    let answer = retry(&failed.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["status"], "queued");
    assert_eq!(house.server.kicks.load(Ordering::Relaxed), 1);

    let sending = house.accept("b@example.org", true).await;
    let problem = retry(&sending.to_string()).await.problem(StatusCode::CONFLICT, "conflict");
    assert!(problem["detail"].as_str().unwrap().contains("being sent"));

    let reply = Reply { code: 250, enhanced_code: None, text: "OK".to_owned() };
    house.settle(sending, Outcome::Delivered { reply }, Next::Sent).await;
    let problem = retry(&sending.to_string()).await.problem(StatusCode::CONFLICT, "conflict");
    assert!(problem["detail"].as_str().unwrap().starts_with("Nothing can be tried"));

    retry("000000000000000000000000").await.problem(StatusCode::NOT_FOUND, "not-found");
    retry("nonsense").await.problem(StatusCode::NOT_FOUND, "not-found");
    assert_eq!(house.server.kicks.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn deleted_is_gone() {
    let house = House::new(None).await;
    let id = house.accept("b@example.org", false).await;
    let target = format!("/api/emails/{id}");
    assert_eq!(house.ask(Method::DELETE, &target, &[]).await.status, StatusCode::NO_CONTENT);
    house.ask(Method::DELETE, &target, &[]).await.problem(StatusCode::NOT_FOUND, "not-found");
    house.get(&target).await.problem(StatusCode::NOT_FOUND, "not-found");
}

#[tokio::test]
async fn numbers() {
    let house = House::new(None).await;
    house.accept("b@example.org", false).await;
    let stats = house.get("/api/queue/stats").await.json();
    assert_eq!((&stats["queued"], &stats["total"]), (&json!(1), &json!(1)));
    assert_eq!(stats["domains"], json!([{ "domain": "example.org", "queued": 1, "deferred": 0, "lastError": null }]));
    assert_eq!(house.get("/api/smtp/stats").await.json()["messagesAccepted"], 7);
}

#[tokio::test]
async fn the_selection_of_source_addresses_is_shown_cleared_and_tested() {
    let house = House::new(None).await;
    let stats = house.get("/api/ip-selection/stats").await.json();
    assert_eq!(
        (&stats["enabled"], &stats["hits"], &stats["breaker"]["state"]),
        (&json!(true), &json!(3), &json!("closed"))
    );
    let cleared = house.ask(Method::POST, "/api/ip-selection/clear-cache", &[]).await;
    assert_eq!(cleared.json(), json!({ "cleared": 5 }));

    let test = async |body: Value| house.post("/api/ip-selection/test", body.to_string()).await;
    let request = |answer: &Answer| -> Value {
        serde_json::from_str(answer.json()["exchange"]["request"].as_str().unwrap()).unwrap()
    };
    let answer = test(json!({ "sender": "", "recipient": "b@Example.org" })).await;
    assert_eq!(answer.json()["decision"], json!({ "ip": "192.0.2.7", "origin": "api", "latencyMs": 4 }),);
    let asked = request(&answer);
    assert_eq!((&asked["sender"], &asked["recipientDomain"]), (&json!(""), &json!("example.org")));
    let id = house.accept("b@example.org", false).await;
    let asked = request(&test(json!({ "id": id })).await);
    assert_eq!((&asked["emailId"], &asked["subject"]), (&json!(id), &json!("Hello <b>World</b>")));
    assert_eq!(
        (&asked["sender"], &asked["size"], &asked["attempt"]),
        (&json!("a@example.com"), &json!(RAW.len()), &json!(1))
    );

    test(json!({ "id": id, "recipient": "c@example.org" })).await.problem(StatusCode::CONFLICT, "conflict");
    test(json!({ "id": "000000000000000000000000" })).await.problem(StatusCode::NOT_FOUND, "not-found");
    test(json!({ "id": "x" })).await.problem(StatusCode::BAD_REQUEST, "bad-parameter");
    test(json!({ "sender": "a b", "recipient": "b@example.org" }))
        .await
        .problem(StatusCode::BAD_REQUEST, "bad-parameter");
    for body in
        [json!({}), json!({ "sender": "a@example.com" }), json!({ "id": id, "sender": "" }), json!({ "to": "b" })]
    {
        test(body).await.problem(StatusCode::BAD_REQUEST, "bad-body");
    }
    let target = "/api/ip-selection/test";
    house.post(target, "{").await.problem(StatusCode::BAD_REQUEST, "bad-body");
    house.post(target, "x".repeat(100_000)).await.problem(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large");
    house.ask(Method::POST, target, &[]).await.problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type");
    house.server.is_closing.store(true, Ordering::Relaxed);
    test(json!({ "sender": "", "recipient": "b@example.org" })).await.problem(StatusCode::CONFLICT, "conflict");
}

#[tokio::test]
async fn health_is_well_or_503() {
    let house = House::new(None).await;
    let well = house.get("/health").await;
    assert_eq!(well.status, StatusCode::OK);
    let health = well.json();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["store"]["engine"], "sqlite");
    assert_eq!(health["queue"]["queued"], 0);
    assert_eq!(health["listeners"], json!([{ "name": "smtp", "address": "127.0.0.1:2525", "open": true }]));
    assert_eq!((&health["version"], &health["uptimeSeconds"]), (&json!("1.2.3"), &json!(42)));

    house.server.is_closing.store(true, Ordering::Relaxed);
    let closing = house.get("/health").await;
    assert_eq!(closing.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(closing.json()["status"], "failing");
}

#[tokio::test]
async fn a_store_that_is_gone_is_503() {
    let house = House::new(None).await;
    house.store.close().await.unwrap();
    let answer = house.get("/api/emails").await;
    answer.problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable");
    assert_eq!(answer.header("retry-after"), "5");
    let health = house.get("/health").await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(health.json()["store"]["status"], "failing");
}

#[tokio::test]
async fn the_token_is_asked_for() {
    let house = House::new(Some("s3cret")).await;
    for target in ["/api/emails", "/api/queue/stats", "/api/none", "/api"] {
        let answer = house.get(target).await;
        answer.problem(StatusCode::UNAUTHORIZED, "unauthorized");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    let page = house.ask(Method::GET, "/emails?q=a", &[("accept", "text/html")]).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    assert_eq!(page.header("location"), "/sign-in?next=%2Femails%3Fq%3Da");
    let with_token = [("authorization", "Bearer s3cret")];
    assert_eq!(house.ask(Method::GET, "/api/emails", &with_token).await.status, StatusCode::OK);
    assert_eq!(house.get("/health").await.json(), json!({ "status": "ok" }));
    assert_eq!(house.ask(Method::GET, "/health", &with_token).await.json()["version"], "1.2.3");
    // With a token the name by which the server is reached is no secret.
    let by_name = [("authorization", "Bearer s3cret"), ("host", "mail.example.org")];
    assert_eq!(house.ask(Method::GET, "/api/emails", &by_name).await.status, StatusCode::OK);
}

#[tokio::test]
async fn strange_pages_reach_nothing() {
    let house = House::new(None).await;
    let id = house.accept("b@example.org", false).await;
    let rebound = house.ask(Method::GET, "/api/emails", &[("host", "evil.example:3000")]).await;
    rebound.problem(StatusCode::FORBIDDEN, "forbidden-origin");
    let target = format!("/api/emails/{id}");
    let crossed = house.ask(Method::DELETE, &target, &[("origin", "https://evil.example")]).await;
    crossed.problem(StatusCode::FORBIDDEN, "forbidden-origin");
    assert_eq!(house.get(&target).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let house = House::new(None).await;
    house.get("/nothing").await.problem(StatusCode::NOT_FOUND, "not-found");
    let answer = house.ask(Method::PUT, "/api/emails", &[]).await;
    answer.problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed");
    assert!(answer.header("allow").contains("GET"), "{:?}", answer.headers);
    for answer in [answer, house.get("/api/emails").await, house.get("/nothing").await] {
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"));
    }
}

#[tokio::test]
async fn the_page_shows_mail_as_text() {
    let house = House::new(None).await;
    assert!(String::from_utf8_lossy(&house.get("/emails").await.body).contains("There is no e-mail yet."));
    let id = house.accept("b@example.org", false).await;
    let page = house.get("/emails").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    let html = String::from_utf8_lossy(&page.body);
    assert!(
        html.contains(&format!("<a href=\"/emails/{id}\"><bdi>Hello &#60;b&#62;World&#60;/b&#62;</bdi></a>")),
        "{html}"
    );
    assert!(!html.contains("<b>World"));
    assert_eq!(html.matches("<script").count(), 1, "the module, and nothing that mail brought");
    assert_eq!(house.get("/static/postrider.css").await.header("content-type"), "text/css; charset=utf-8");
}
