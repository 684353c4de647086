//! Mail that applications hand in by the API: what it becomes, and what is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_parser::{Addr, MessageParser, MimeHeaders as _, PartType};
use postrider_core::{EmailStatus, ObjectId, SourceOrigin};
use postrider_testkit::{HttpRequest, HttpResponse, ReceivedMessage, Script, ScriptedMx, Site, TestPostrider, mail};
use serde_json::{Value, json};

const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\n\r";

async fn world() -> (TestPostrider, ScriptedMx) {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "here.test").set("MAIL_HOSTNAME", "mx.client.test");
    let mx = site.mx("example.org", Script::new()).await;
    (site.start().await, mx)
}

async fn post(postrider: &TestPostrider, body: &Value) -> HttpResponse {
    postrider.request(HttpRequest::post("/api/emails").json(body)).await
}

/// Posts an e-mail that is taken.
async fn taken(postrider: &TestPostrider, body: &Value) -> Value {
    let response = post(postrider, body).await;
    assert_eq!(response.status, 202, "{}", response.text());
    let answer = response.json();
    let location = format!("/api/emails/{}", answer["id"].as_str().unwrap());
    assert_eq!(response.header("location"), Some(location.as_str()));
    answer
}

fn id_of(answer: &Value) -> ObjectId {
    answer["id"].as_str().unwrap().parse().unwrap()
}

/// The problem that an answer is.
#[track_caller]
fn problem(response: &HttpResponse, status: u16, name: &str) -> Value {
    assert_eq!(response.status, status, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    let problem = response.json();
    assert_eq!(problem["type"], format!("urn:problem-type:postrider:{name}"), "{problem}");
    problem
}

fn plain() -> Value {
    json!({ "from": "a@client.test", "to": "b@example.org", "subject": "Hello", "text": "Hi" })
}

/// With other members.
fn with(changes: Value) -> Value {
    let mut body = plain();
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn only_message(mx: &ScriptedMx) -> ReceivedMessage {
    let mut messages = mx.wait_for_messages(1).await;
    assert_eq!(messages.len(), 1);
    messages.remove(0)
}

fn named(address: &Addr<'_>) -> (Option<String>, String) {
    (address.name().map(str::to_owned), address.address().unwrap().to_owned())
}

#[tokio::test]
async fn every_member_is_in_what_arrives() {
    let (postrider, mx) = world().await;
    let answer = taken(
        &postrider,
        &json!({
            "from": "Änne Müller <a@client.test>",
            "to": ["b@example.org", { "name": "Ben, \"B\" O'Neil", "address": "ben@example.org" }],
            "cc": { "name": "蔡", "address": "c@example.org" },
            "bcc": ["secret@example.org", "b@example.org"],
            "replyTo": "Desk <desk@client.test>",
            "subject": "Rechnung für März 📎",
            "text": "Grüße\n.\nvon uns\n",
            "html": "<p>Grüße <img src=\"cid:logo@client.test\"></p>",
            "headers": { "X-Campaign": "spring", "List-Unsubscribe": ["<https://client.test/u>"], "X-Note": "schön" },
            "attachments": [
                { "filename": "Rechnung März.pdf", "contentType": "application/pdf", "content": BASE64.encode(b"%PDF\r\n\n\r") },
                { "filename": "logo.png", "contentType": "image/png", "content": BASE64.encode(PIXEL), "contentId": "logo@client.test" },
                { "filename": "data.csv", "contentType": "text/csv; charset=utf-8", "content": BASE64.encode("a;b\nä;c\n") },
                { "content": "QUJD\r\nREVG\n" },
            ],
            "tags": ["bill"],
            "metadata": { "order": "17" },
            "priority": "high",
            "expiresAt": "2099-01-01T00:00:00Z",
        }),
    )
    .await;
    let id = id_of(&answer);
    assert_eq!(answer["messageId"], format!("{id}@mx.client.test"));
    assert_eq!(answer["status"], "queued");
    let recipients: Vec<_> =
        answer["recipients"].as_array().unwrap().iter().map(|r| (&r["address"], &r["status"])).collect();
    let expected = ["b@example.org", "ben@example.org", "c@example.org", "secret@example.org"];
    assert_eq!(recipients.len(), 4, "each once: {answer}");
    assert!(recipients.iter().zip(expected).all(|((address, status), is)| **address == is && **status == "queued"));

    let arrived = only_message(&mx).await;
    assert_eq!((arrived.sender.as_str(), arrived.addresses()), ("a@client.test", expected.to_vec()));
    let text = arrived.text();
    assert!(!text.contains("secret") && !text.contains("Bcc") && !text.contains("X-Postrider"), "{text}");
    assert!(text.starts_with(&format!("Received: by mx.client.test with HTTP id {id};\r\n\t")), "{text}");
    let parsed = MessageParser::default().parse(arrived.data.as_ref()).unwrap();
    assert_eq!(named(parsed.from().unwrap().first().unwrap()), (Some("Änne Müller".into()), "a@client.test".into()));
    let to: Vec<_> = parsed.to().unwrap().iter().map(named).collect();
    assert_eq!(to, [(None, "b@example.org".into()), (Some("Ben, \"B\" O'Neil".into()), "ben@example.org".into())]);
    assert_eq!(named(parsed.cc().unwrap().first().unwrap()), (Some("蔡".into()), "c@example.org".into()));
    assert_eq!(named(parsed.reply_to().unwrap().first().unwrap()), (Some("Desk".into()), "desk@client.test".into()));
    assert_eq!(parsed.subject(), Some("Rechnung für März 📎"));
    assert_eq!(parsed.message_id(), Some(format!("{id}@mx.client.test").as_str()));
    assert!(parsed.date().is_some());
    assert_eq!(parsed.header_raw("X-Campaign").map(str::trim), Some("spring"));
    assert_eq!(parsed.header_raw("List-Unsubscribe").map(str::trim), Some("<https://client.test/u>"));
    assert_eq!(parsed.header_raw("X-Note").map(str::trim), Some("=?utf-8?B?c2Now7Zu?="), "schön");
    assert_eq!(parsed.body_text(0).unwrap().replace("\r\n", "\n"), "Grüße\n.\nvon uns\n");
    assert_eq!(parsed.body_html(0).unwrap(), "<p>Grüße <img src=\"cid:logo@client.test\"></p>");

    let types: Vec<String> = parsed
        .parts
        .iter()
        .map(|part| part.content_type().map(|t| format!("{}/{}", t.ctype(), t.subtype().unwrap())).unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "multipart/mixed",
            "multipart/alternative",
            "text/plain",
            "multipart/related",
            "text/html",
            "image/png",
            "application/pdf",
            "text/csv",
            "application/octet-stream"
        ]
    );
    let part = |n: usize| &parsed.parts[n];
    assert_eq!((part(5).content_id(), part(5).attachment_name()), (Some("logo@client.test"), Some("logo.png")));
    assert!(part(5).content_disposition().unwrap().is_inline());
    assert_eq!(part(6).attachment_name(), Some("Rechnung März.pdf"));
    assert!(part(6).content_disposition().unwrap().is_attachment());
    for (n, content) in [(5, PIXEL), (6, b"%PDF\r\n\n\r".as_slice()), (7, "a;b\nä;c\n".as_bytes()), (8, b"ABCDEF")] {
        let bytes = match &part(n).body {
            PartType::Binary(bytes) | PartType::InlineBinary(bytes) => bytes.to_vec(),
            PartType::Text(text) => text.as_bytes().to_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!(bytes, content, "part {n}");
    }
    let shown = postrider.get(&format!("/api/emails/{id}")).await.json();
    assert_eq!((&shown["tags"], &shown["metadata"]), (&json!(["bill"]), &json!({ "order": "17" })));
    assert_eq!((&shown["priority"], &shown["expiresAt"]), (&json!(4), &json!("2099-01-01T00:00:00.000Z")));
    assert_eq!(shown["direction"], "outbound");
}

#[tokio::test]
async fn what_is_for_people_here_is_kept_and_what_cannot_be_is_told() {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "here.test").set("UNKNOWN_RECIPIENTS", "reject");
    let _mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    postrider.add_user("ann@here.test", "secret").await;
    let answer = taken(&postrider, &with(json!({ "to": ["ann@here.test", "no@here.test", "b@example.org"] }))).await;
    let recipients = answer["recipients"].as_array().unwrap();
    assert_eq!(recipients[0], json!({ "address": "ann@here.test", "status": "received" }));
    assert_eq!(recipients[1]["status"], "refused");
    assert!(recipients[1]["error"].as_str().unwrap().starts_with("550 5.1.1"), "{answer}");
    assert_eq!(recipients[2]["status"], "queued");
    let user = postrider.store().user(&"ann@here.test".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(postrider.store().usage(user.id).await.unwrap().messages, 1);
    let only_here = taken(&postrider, &with(json!({ "to": "ann@here.test" }))).await;
    assert_eq!(only_here["status"], "received");

    let refused = problem(&post(&postrider, &with(json!({ "to": "no@here.test" }))).await, 422, "recipients-refused");
    assert_eq!(refused["recipients"][0]["status"], "refused");
    let held = with(json!({ "to": "ann@here.test", "notBefore": "2098-01-01T00:00:00Z" }));
    let far = problem(&post(&postrider, &held).await, 422, "message-refused");
    assert!(far["detail"].as_str().unwrap().contains("not held for so long"), "{far}");
    let soon = (postrider.now() + std::time::Duration::from_secs(60)).to_rfc3339();
    let held = problem(
        &post(&postrider, &with(json!({ "to": "ann@here.test", "notBefore": soon }))).await,
        422,
        "recipients-refused",
    );
    assert!(held["recipients"][0]["error"].as_str().unwrap().contains("held for later"), "{held}");
    let past = with(json!({ "expiresAt": postrider.now().to_rfc3339() }));
    let past_problem = problem(&post(&postrider, &past).await, 422, "message-refused");
    assert!(past_problem["detail"].as_str().unwrap().contains("expiresAt"), "{past_problem}");
    let batch = postrider.request(HttpRequest::post("/api/emails/batch").json(&json!([past, plain()]))).await.json();
    assert_eq!((&batch["accepted"], &batch["refused"]), (&json!(1), &json!(1)));
    assert!(batch["results"][0]["problem"]["detail"].as_str().unwrap().contains("has expired"), "{batch}");
    let held = taken(&postrider, &with(json!({ "notBefore": soon }))).await;
    let email = postrider.email(id_of(&held)).await.email;
    assert_eq!((email.status, email.next_attempt_at.unwrap().to_rfc3339()), (EmailStatus::Queued, soon.clone()));
    let retry = HttpRequest::post(&format!("/api/emails/{}/retry", id_of(&held)));
    let left_alone = problem(&postrider.request(retry).await, 409, "conflict");
    assert!(left_alone["detail"].as_str().unwrap().contains("not sent before its time"), "{left_alone}");
    let retry = HttpRequest::post("/api/queue/retry").json(&json!({ "domain": "example.org", "status": "queued" }));
    assert_eq!(postrider.request(retry).await.json()["scheduled"], json!(1));
    let email = postrider.email(id_of(&held)).await.email;
    assert_eq!((email.status, email.next_attempt_at.unwrap().to_rfc3339()), (EmailStatus::Queued, soon));
}

#[tokio::test]
async fn no_line_of_the_header_can_be_smuggled_in() {
    let (postrider, _mx) = world().await;
    let evil = "x\r\nBcc: victim@example.org";
    for (change, member) in [
        (json!({ "subject": evil }), "subject"),
        (json!({ "from": format!("{evil} <a@client.test>") }), "from"),
        (json!({ "from": format!("a@client.test{evil}") }), "from"),
        (json!({ "to": [{ "name": "x\ny", "address": "b@example.org" }] }), "to[0]"),
        (json!({ "replyTo": "x\r <b@example.org>" }), "replyTo"),
        (json!({ "headers": { "X-A": evil } }), "headers.X-A"),
        (json!({ "headers": { "X-A\r\nBcc": "x" } }), "headers.X-A\\r\\nBcc"),
        (json!({ "headers": { "X-A:": "x" } }), "headers.X-A:"),
        (json!({ "headers": { "X-A": "a\u{0}b" } }), "headers.X-A"),
        (json!({ "attachments": [{ "content": "", "filename": evil }] }), "attachments[0].filename"),
        (json!({ "attachments": [{ "content": "", "contentType": "a/b\r\nX: y" }] }), "attachments[0].contentType"),
        (json!({ "attachments": [{ "content": "", "contentId": "a\r\nX: y" }] }), "attachments[0].contentId"),
        (json!({ "tags": ["a\r\nb"] }), "tags"),
    ] {
        let response = post(&postrider, &with(change.clone())).await;
        assert_eq!(problem(&response, 400, "bad-parameter")["parameter"], member, "{change}");
    }
    assert!(postrider.emails().await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_and_says_what_is_wrong() {
    let (postrider, _mx) = world().await;
    for (change, member) in [
        (json!({ "to": [] }), "to"),
        (json!({ "to": "b" }), "to"),
        (json!({ "from": "Ann" }), "from"),
        (json!({ "text": null }), "text"),
        (json!({ "headers": { "From": "x@y.test" } }), "headers.From"),
        (json!({ "headers": { "bcc": "x@y.test" } }), "headers.bcc"),
        (json!({ "headers": { "Date": "today" } }), "headers.Date"),
        (json!({ "headers": { "Content-Type": "text/plain" } }), "headers.Content-Type"),
        (json!({ "headers": { "X-Postrider-Tags": "a" } }), "headers.X-Postrider-Tags"),
        (json!({ "headers": { "Message-ID": "no id" } }), "headers.Message-ID"),
        (json!({ "headers": { "X-A": "x".repeat(1_000) } }), "headers.X-A"),
        (json!({ "attachments": [{ "content": "!" }] }), "attachments[0].content"),
        (json!({ "attachments": [{ "content": "", "contentType": "multipart/mixed" }] }), "attachments[0].contentType"),
        (json!({ "priority": 10 }), "priority"),
        (json!({ "tags": ["a,b"] }), "tags"),
        (json!({ "webhookUrl": "ftp://x" }), "webhookUrl"),
        (json!({ "sourceIp": "0.0.0.0" }), "sourceIp"),
        (json!({ "sourceIp": "192.0.2.1" }), "sourceIp"),
    ] {
        let response = post(&postrider, &with(change.clone())).await;
        assert_eq!(problem(&response, 400, "bad-parameter")["parameter"], member, "{change}");
    }
    for change in [
        json!({ "from": 7 }),
        json!({ "too": "b@example.org" }),
        json!({ "notBefore": "tomorrow" }),
        json!({ "metadata": { "a": 1 } }),
        json!({ "attachments": [{ "path": "/etc/passwd" }] }),
    ] {
        let wrong = problem(&post(&postrider, &with(change)).await, 400, "bad-body");
        let detail = wrong["detail"].as_str().unwrap();
        assert!(!detail.contains("struct") && !detail.contains("u64"), "{detail}");
    }
    for body in ["", "{", "[]", "null", "{\"from\": \"a@client.test\"}"] {
        let request = HttpRequest::post("/api/emails").body("application/json", body);
        let status = postrider.request(request).await.status;
        assert_eq!(status, 400, "{body}");
    }
    let request = HttpRequest::post("/api/emails").body("text/plain", "x");
    problem(&postrider.request(request).await, 415, "unsupported-media-type");
    let request = HttpRequest::post("/api/emails?to=b@example.org").json(&plain());
    problem(&postrider.request(request).await, 400, "bad-parameter");
    assert!(postrider.emails().await.is_empty());
}

#[tokio::test]
async fn limits_hold() {
    let site = Site::new().await.set("MAX_EMAIL_SIZE", "20000").limit(|limits| limits.recipients_max = 3);
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let file = |bytes: usize| json!({ "attachments": [{ "content": BASE64.encode(vec![7; bytes]) }] });
    taken(&postrider, &with(file(12_000))).await;
    problem(&post(&postrider, &with(file(20_000))).await, 413, "body-too-large");
    problem(&post(&postrider, &with(file(900_000))).await, 413, "body-too-large");
    problem(&post(&postrider, &with(file(2_000_000))).await, 413, "body-too-large");
    let many: Vec<String> = (0..4).map(|n| format!("b{n}@example.org")).collect();
    problem(&post(&postrider, &with(json!({ "to": many }))).await, 422, "message-refused");
    mx.wait_for_messages(1).await;
    assert_eq!(postrider.emails().await.len(), 1);
}

#[tokio::test]
async fn without_memory_it_is_to_come_again() {
    let site = Site::new().await.limit(|limits| limits.memory_bytes_max = 100_000);
    let _mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let large = with(json!({ "text": "x".repeat(60_000) }));
    let response = post(&postrider, &large).await;
    problem(&response, 503, "unavailable");
    assert!(response.header("retry-after").is_some());
    taken(&postrider, &with(json!({ "text": "x".repeat(10_000) }))).await;
    assert_eq!(postrider.emails().await.len(), 1);
}

#[tokio::test]
async fn a_message_comes_as_it_is() {
    let (postrider, mx) = world().await;
    let message = b"Bcc: c@example.org,\r\n hidden@example.org\r\nFrom: a@client.test\r\nX-Postrider-Tags: b\r\n\
          Authentication-Results: mx.client.test; dmarc=pass\r\nSubject: raw\n\nBody\r\n.\nwith ends\rof all kinds"
        .to_vec();
    let query = "from=bounce@client.test&to=b@example.org&to=c%40example.org&tag=a&metadata=order%3D17&priority=-2\
        &expiresAt=2099-01-01T00:00:00Z";
    let request = HttpRequest::post(&format!("/api/emails?{query}")).body("message/rfc822", message);
    let response = postrider.request(request).await;
    assert_eq!(response.status, 202, "{}", response.text());
    let id = id_of(&response.json());
    let arrived = only_message(&mx).await;
    assert_eq!(arrived.sender, "bounce@client.test");
    assert_eq!(arrived.addresses(), ["b@example.org", "c@example.org"]);
    let text = arrived.text();
    assert!(
        text.ends_with("From: a@client.test\r\nSubject: raw\r\n\r\nBody\r\n.\r\nwith ends\r\nof all kinds\r\n"),
        "{text}"
    );
    assert!(text.contains(&format!("Message-ID: <{id}@mx.client.test>\r\n")), "{text}");
    assert!(!text.contains("hidden") && !text.contains("Authentication-Results"), "{text}");
    let shown = postrider.get(&format!("/api/emails/{id}")).await.json();
    assert_eq!((&shown["tags"], &shown["priority"]), (&json!(["a", "b"]), &json!(-2)));
    assert_eq!(shown["metadata"], json!({ "order": "17" }));

    let latin = mail::shapes().into_iter().find(|shape| shape.name == "latin-1").unwrap().message;
    let request = HttpRequest::post("/api/emails?from=%3C%3E&to=b@example.org").body("message/rfc822", latin.clone());
    assert_eq!(postrider.request(request).await.status, 202);
    let arrived = mx.wait_for_messages(2).await.remove(1);
    assert_eq!(arrived.sender, "");
    assert!(arrived.data.ends_with(&latin[latin.len() - 20..]));
    for (query, parameter) in [
        ("to=b@example.org", "from"),
        ("from=a@client.test", "to"),
        ("from=a&to=b@example.org", "from"),
        ("from=a@client.test&to=b", "to"),
        ("from=a@client.test&from=b@client.test&to=b@example.org", "from"),
        ("from=a@client.test&to=b@example.org&cc=x@example.org", "cc"),
        ("from=a@client.test&to=b@example.org&notBefore=x", "notBefore"),
        ("from=a@client.test&to=b@example.org&metadata=x", "metadata"),
    ] {
        let request =
            HttpRequest::post(&format!("/api/emails?{query}")).body("message/rfc822", "From: a@client.test\r\n\r\n");
        assert_eq!(problem(&postrider.request(request).await, 400, "bad-parameter")["parameter"], parameter, "{query}");
    }
    let request =
        HttpRequest::post("/api/emails?from=a@client.test&to=b@example.org").body("message/rfc822", "{\"from\": 1}");
    problem(&postrider.request(request).await, 400, "bad-body");
    for first in [" \r\n", " From: other@client.test\r\n", "\t"] {
        let message = format!("{first}From: a@client.test\r\n\r\ntext\r\n");
        let request =
            HttpRequest::post("/api/emails?from=a@client.test&to=b@example.org").body("message/rfc822", message);
        problem(&postrider.request(request).await, 400, "bad-body");
    }
    let request = HttpRequest::post("/api/emails?from=a@client.test&to=b@example.org")
        .body("message/rfc822", "From: a@b\r\n\r\na\0b");
    problem(&postrider.request(request).await, 422, "message-refused");
}

#[tokio::test]
async fn what_is_sent_to_people_is_signed() {
    let (postrider, mx) = world().await;
    let output = postrider.command(crate::support::binary(), &["domain", "add", "client.test"], "").await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    taken(&postrider, &plain()).await;
    let text = only_message(&mx).await.text();
    assert!(text.contains("DKIM-Signature: ") && text.contains("d=client.test"), "{text}");
}

#[tokio::test]
async fn mail_leaves_from_where_it_asks_to() {
    let site = Site::new().await;
    let ip = site.claim_ip();
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let id = id_of(&taken(&postrider, &with(json!({ "sourceIp": ip }))).await);
    let sent = postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(only_message(&mx).await.peer, ip);
    let decision = sent.attempts[0].1.ip_selection.clone().unwrap();
    assert_eq!((decision.ip, decision.origin, decision.error), (Some(ip), SourceOrigin::Request, None));
    let shown = postrider.get(&format!("/api/emails/{id}")).await.json();
    assert_eq!((&shown["requestedSourceIp"], &shown["sourceIp"]), (&json!(ip), &json!(ip)));
}

#[tokio::test]
async fn a_token_for_some_domains_sends_in_their_name_only() {
    let site = Site::new().await.set("API_TOKEN", "the-administrator-s3cret");
    let _mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let settings = json!({ "name": "shop", "scopes": ["send"], "domains": ["client.test"] });
    let token = HttpRequest::post("/api/tokens").bearer("the-administrator-s3cret").json(&settings);
    let token = postrider.request(token).await.json()["token"].as_str().unwrap().to_owned();
    let post = async |request: HttpRequest| postrider.request(request.bearer(&token)).await;
    assert_eq!(post(HttpRequest::post("/api/emails").json(&plain())).await.status, 202);
    for change in [json!({ "from": "a@other.test" }), json!({ "headers": { "Resent-From": "a@other.test" } })] {
        let response = post(HttpRequest::post("/api/emails").json(&with(change))).await;
        problem(&response, 403, "sender-not-allowed");
    }
    let raw = async |from: &str, message: &str| {
        let path = format!("/api/emails?from={from}&to=b@example.org");
        post(HttpRequest::post(&path).body("message/rfc822", message)).await
    };
    assert_eq!(raw("%3C%3E", "From: a@client.test\r\n\r\n").await.status, 202);
    for (from, message) in [
        ("a@other.test", "From: a@client.test\r\n\r\n"),
        ("a@client.test", "From: a@other.test\r\n\r\n"),
        ("a@client.test", "From: a@client.test, b@other.test\r\n\r\n"),
        ("a@client.test", "From: a@client.test\r\nFrom: a@client.test\r\n\r\n"),
        ("a@client.test", "From: a@client.test\r\nSender: b@other.test\r\n\r\n"),
        // What ends a line once it is sent ends one for this too.
        ("a@client.test", "From: a@client.test\r\nX: y\rSender: b@other.test\r\n\r\n"),
    ] {
        problem(&raw(from, message).await, 403, "sender-not-allowed");
    }
    let email = post(HttpRequest::post("/api/emails").json(&plain())).await.json();
    let path = format!("/api/emails/{}/resend", email["id"].as_str().unwrap());
    let resent = post(HttpRequest::post(&path).json(&json!({ "to": "me@example.org" }))).await;
    problem(&resent, 403, "insufficient-scope");
}
