//! Why an e-mail is where it is, by API and by command line, and the queue by recipient domain.

use std::time::Duration;

use postrider_core::{
    Direction, EmailStatus, Envelope, Instructions, Message, ObjectId, Recipient, ReversePath, SourceOrigin, Timestamp,
};
use postrider_store::{NewDelivery, NewEmail};
use postrider_testkit::{
    Answer, Failure, Gate, HttpAnswer, HttpRequest, HttpService, Script, ScriptedMx, Site, StoreFaults, TestPostrider,
    eventually, mail,
};
use serde_json::{Value, json};

use crate::support::binary;

async fn send(postrider: &TestPostrider, recipient: &str) -> ObjectId {
    send_with(postrider, recipient, "").await
}

/// With these fields besides.
async fn send_with(postrider: &TestPostrider, recipient: &str, fields: &str) -> ObjectId {
    let message = [fields.as_bytes(), &mail::plain("a@client.test", recipient, "why")].concat();
    postrider.send("a@client.test", &[recipient], &message).await
}

async fn why(postrider: &TestPostrider, id: ObjectId) -> Value {
    let response = postrider.get(&format!("/api/emails/{id}/why")).await;
    assert_eq!(response.status, 200);
    response.json()
}

/// Waits until the only delivery is there for this reason.
async fn reason(postrider: &TestPostrider, id: ObjectId, reason: &str) -> Value {
    eventually(&format!("the reason to be {reason}"), async || {
        let delivery = why(postrider, id).await["deliveries"][0].clone();
        (delivery["reason"] == reason).then_some(delivery)
    })
    .await
}

fn sentence(delivery: &Value) -> &str {
    delivery["sentence"].as_str().unwrap()
}

fn time(value: &Value) -> Timestamp {
    Timestamp::parse_rfc3339(value.as_str().unwrap()).unwrap()
}

/// A destination that takes six messages a minute.
async fn slow(site: Site) -> (Site, ScriptedMx) {
    let file = site.folder().join("shaping.txt");
    std::fs::write(&file, "mx.slow.test - - 6\n").unwrap();
    let path = file.to_string_lossy().into_owned();
    let mx = site.mx("slow.test", Script::new()).await;
    (site.set("SHAPING_FILE", &path), mx)
}

#[tokio::test]
async fn what_rests_says_what_it_came_from() {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "here.test");
    let _mx = site.mx("example.org", Script::new()).await;
    let refusals = Script::new().on_recipient("gone@no.test", "550 5.1.1 No such user");
    let _no = site.mx("no.test", refusals.on_recipient("later@no.test", "451 4.3.0 Not now")).await;
    let postrider = site.start().await;
    let sent = reason(&postrider, send(&postrider, "b@example.org").await, "sent").await;
    assert!(sentence(&sent).starts_with("mx.example.org took it at 2026-01-02T"), "{sent:#}");
    let failed = reason(&postrider, send(&postrider, "gone@no.test").await, "failed").await;
    assert!(sentence(&failed).contains("mx.no.test refused it for good"), "{failed:#}");
    // It is listed now.
    let listed = reason(&postrider, send(&postrider, "gone@no.test").await, "suppressed").await;
    assert!(sentence(&listed).contains("mail to it bounced"), "{listed:#}");

    let deferred = send(&postrider, "later@no.test").await;
    let back_off = reason(&postrider, deferred, "back-off").await;
    assert!(sentence(&back_off).contains("451 4.3.0 Not now; the next one is made at"), "{back_off:#}");
    let next = postrider.email(deferred).await.email.next_attempt_at.unwrap();
    assert_eq!((time(&back_off["until"]), &back_off["facts"]["category"]), (next, &json!("temporary")));
    assert_eq!((&back_off["facts"]["attempts"], &back_off["facts"]["mx"]), (&json!(1), &json!("mx.no.test")));
    for (order, status, says) in [("hold", "held", "until somebody releases it"), ("cancel", "cancelled", "a retry")] {
        let path = format!("/api/emails/{deferred}/{order}");
        assert_eq!(postrider.request(HttpRequest::post(&path).json(&json!({}))).await.status, 200);
        let delivery = reason(&postrider, deferred, status).await;
        assert!(sentence(&delivery).contains(says) && delivery.get("until").is_none(), "{delivery:#}");
    }

    let later = send_with(&postrider, "b@example.org", "X-Postrider-Not-Before: 2026-01-04\r\n").await;
    let scheduled = reason(&postrider, later, "scheduled").await;
    assert_eq!(scheduled["until"], "2026-01-04T00:00:00.000Z");
    let expiring = send_with(&postrider, "later@no.test", "X-Postrider-Expires-At: 2026-01-03\r\n").await;
    reason(&postrider, expiring, "back-off").await;
    postrider.pass(Duration::from_secs(24 * 3600)).await;
    let expired = reason(&postrider, expiring, "expired").await;
    assert_eq!(expired["facts"]["expiresAt"], "2026-01-03T00:00:00.000Z");
    let kept = send(&postrider, "b@here.test").await;
    assert_eq!(why(&postrider, kept).await["deliveries"], json!([]));
    assert_eq!(postrider.get("/api/emails/65951fd5aabbccddeeff0011/why").await.status, 404);
}

#[tokio::test]
async fn a_line_says_what_it_waits_for_and_until_when() {
    let (site, mx) = slow(Site::new().await).await;
    let postrider = site.start().await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(send(&postrider, "b@slow.test").await);
        mx.wait_for_messages(1).await;
    }
    postrider.wait_for_status(ids[0], EmailStatus::Sent).await;
    let began = postrider.now();
    for (ahead, id) in ids[1..].iter().enumerate() {
        let delivery = reason(&postrider, *id, "rate-limit").await;
        assert!(sentence(&delivery).contains("mx.slow.test is sent 6 messages a minute"), "{delivery:#}");
        assert_eq!(delivery["facts"]["ahead"], ahead);
        let destination = &delivery["facts"]["destination"];
        assert_eq!((&destination["inLine"], &destination["messagesPerMinute"]), (&json!(3), &json!(6)));
        let wait = time(&delivery["until"]).since(began).as_millis();
        let expected = (ahead as u128 + 1) * 10_000;
        assert!((expected - 1_000..=expected).contains(&wait), "{ahead}: {wait}");
    }
    // What is foretold comes true.
    for n in 1..3 {
        let waiting = reason(&postrider, ids[n], "rate-limit").await;
        postrider.pass(time(&waiting["until"]).since(postrider.now())).await;
        reason(&postrider, ids[n], "sent").await;
        reason(&postrider, ids[n + 1], "rate-limit").await;
    }
}

#[tokio::test]
async fn a_destination_that_says_it_is_too_much_is_left_alone() {
    let site = Site::new().await;
    let _mx = site.mx("example.org", Script::new().first(1, "MAIL", "421 4.7.0 Too many messages")).await;
    let postrider = site.start().await;
    reason(&postrider, send(&postrider, "b@example.org").await, "back-off").await;
    let id = send(&postrider, "b@example.org").await;
    let paused = reason(&postrider, id, "paused").await;
    assert!(sentence(&paused).contains("said that it is sent too much"), "{paused:#}");
    assert_eq!(paused["until"], paused["facts"]["destination"]["pausedUntil"]);
    postrider.pass(time(&paused["until"]).since(postrider.now())).await;
    reason(&postrider, id, "sent").await;
}

#[tokio::test]
async fn limits_are_named() {
    let gate = Gate::new();
    let site = Site::new().await.set("QUEUE_CONCURRENCY_PER_DOMAIN", "1").set("QUEUE_CONCURRENCY", "1");
    let site = site.limit(|limits| limits.claims_per_domain_slot = 2);
    let mx = site.mx("example.org", Script::new().on(".", Answer::after(&gate, "250 2.0.0 Taken"))).await;
    let _other = site.mx("other.test", Script::new()).await;
    let postrider = site.start().await;
    let first = send(&postrider, "b@example.org").await;
    mx.wait_for_line("C: <data>", 1).await;
    let sending = reason(&postrider, first, "sending").await;
    assert!(sentence(&sending).contains("being sent to mx.example.org, which began at 2026-"), "{sending:#}");
    let second = send(&postrider, "b@example.org").await;
    let connections = reason(&postrider, second, "connections").await;
    assert!(sentence(&connections).contains("QUEUE_CONCURRENCY_PER_DOMAIN"), "{connections:#}");
    // The third is not even taken on.
    let third = send(&postrider, "b@example.org").await;
    let left = reason(&postrider, third, "connections").await;
    assert!(sentence(&left).contains("2 others to its domain are before it"), "{left:#}");
    assert_eq!((&left["facts"]["takenOn"], &left["facts"]["takenOnMax"]), (&json!(2), &json!(2)));
    let elsewhere = send(&postrider, "b@other.test").await;
    let concurrency = reason(&postrider, elsewhere, "concurrency").await;
    assert!(sentence(&concurrency).contains("QUEUE_CONCURRENCY"), "{concurrency:#}");
    gate.open();
    for id in [first, second, third, elsewhere] {
        reason(&postrider, id, "sent").await;
    }
}

#[tokio::test]
async fn what_is_asked_of_others_is_named() {
    let gate = Gate::new();
    let site = Site::new().await;
    let service = HttpService::start(site.claim_ip(), |_| HttpAnswer::Hang).await;
    site.zone().fail("mute.test", Failure::Silent);
    let greets = Script::new().on("CONNECT", Answer::after(&gate, "220 mx.example.org ESMTP"));
    let _mx = site.mx("example.org", greets).await;
    let postrider = site.set("IP_SELECTION_API_URL", &service.url("/pick")).start().await;
    let dns = reason(&postrider, send(&postrider, "b@mute.test").await, "dns").await;
    assert!(sentence(&dns).starts_with("DNS is asked where its mail goes, which began at 2026-"), "{dns:#}");
    let id = send(&postrider, "b@example.org").await;
    let connecting = reason(&postrider, id, "connecting").await;
    assert!(sentence(&connecting).contains("A connection to mx.example.org is opened for it"), "{connecting:#}");
    gate.open();
    reason(&postrider, id, "sent").await;
    let mut site = postrider.shut_down().await;
    site.change("IP_SELECTION_ENABLED", "true");
    let postrider = site.start().await;
    let chosen = reason(&postrider, send(&postrider, "b@example.org").await, "source-ip").await;
    assert!(sentence(&chosen).contains("from which address"), "{chosen:#}");
}

/// An e-mail that is in the store alone, due now.
async fn store_email(postrider: &TestPostrider, recipient: &str, instructions: Instructions) -> ObjectId {
    let (id, now) = (ObjectId::new(postrider.now()), postrider.now());
    let recipient = Recipient::new(recipient.parse().unwrap());
    let email = NewEmail {
        id,
        created_at: now,
        direction: Direction::Outbound,
        envelope: Envelope { reverse_path: ReversePath::parse("a@client.test").unwrap(), ..Envelope::default() },
        instructions,
        authentication: Vec::new(),
        message: Message::parse(mail::plain("a@client.test", recipient.address.as_str(), "why").into(), 0),
        kept: Vec::new(),
        deliveries: vec![NewDelivery { recipient, claimed_by: None, due_at: now }],
        filed: None,
        events: Vec::new(),
        request: None,
    };
    postrider.store().accept(email).await.unwrap();
    id
}

#[tokio::test]
async fn memory_is_named() {
    const MEMORY_BYTES: usize = 1 << 20;
    let gate = Gate::new();
    let site = Site::new().await.limit(|limits| limits.memory_bytes_max = MEMORY_BYTES);
    let _mx = site.mx("example.org", Script::new().on(".", Answer::after(&gate, "250 2.0.0 Taken"))).await;
    let postrider = site.start().await;
    let mut lease = postrider.app().control().lease_memory();
    assert!(lease.resize(MEMORY_BYTES));
    let ids = [
        store_email(&postrider, "b@example.org", Instructions::default()).await,
        store_email(&postrider, "c@example.org", Instructions::default()).await,
    ];
    // One goes on all the same, or nothing would ever be sent; the other waits until that one is through.
    let waiting = eventually("one to wait", async || {
        postrider.pass(Duration::from_secs(1)).await;
        for id in ids {
            let delivery = why(&postrider, id).await["deliveries"][0].clone();
            if delivery["reason"] == "memory" {
                return Some(delivery);
            }
        }
        None
    })
    .await;
    assert!(sentence(&waiting).contains("waits for room in memory"), "{waiting:#}");
    gate.open();
    for id in ids {
        reason(&postrider, id, "sent").await;
    }
}

#[tokio::test]
async fn what_cannot_be_recorded_yet_says_so() {
    let gate = Gate::new();
    let faults = StoreFaults::of_shared_store();
    let site = Site::new().await.with_store_faults(&faults);
    let mx = site.mx("example.org", Script::new().on(".", Answer::after(&gate, "250 2.0.0 Taken"))).await;
    let postrider = site.start().await;
    let id = send(&postrider, "b@example.org").await;
    mx.wait_for_line("C: <data>", 1).await;
    faults.set_hanging(true);
    gate.open();
    // The outcome is on its way into the store, which then does not take it.
    eventually("the outcome to be handed over", async || (faults.waiting() > 0).then_some(())).await;
    faults.set_failing(true);
    faults.set_hanging(false);
    eventually("the outcome to be refused", async || {
        (postrider.get("/health").await.status == 503 && faults.waiting() == 0).then_some(())
    })
    .await;
    faults.set_failing(false);
    let delivery = why(&postrider, id).await["deliveries"][0].clone();
    assert_eq!(delivery["reason"], "recording", "{delivery:#}");
    assert!(sentence(&delivery).contains("records what came of it"), "{delivery:#}");
    postrider.pass(Duration::from_secs(2)).await;
    reason(&postrider, id, "sent").await;
    assert_eq!(mx.messages().len(), 1, "once");
}

#[tokio::test]
async fn a_server_that_lost_its_lease_says_that_it_sends_nothing() {
    let faults = StoreFaults::of_shared_store();
    let site = Site::new().await.with_store_faults(&faults).limit(|limits| limits.lease = Duration::from_secs(30));
    let _mx = site.mx("example.org", Script::new().first(1, "RCPT", "451 4.3.0 Not now")).await;
    let postrider = site.start().await;
    let id = send(&postrider, "b@example.org").await;
    reason(&postrider, id, "back-off").await;
    faults.set_failing(true);
    postrider.pass(Duration::from_secs(300)).await;
    faults.set_failing(false);
    // Nobody looks at the clock meanwhile: the server tries to have a lease again later.
    let lost = why(&postrider, id).await["deliveries"][0].clone();
    assert_eq!(lost["reason"], "not-sending", "{lost:#}");
    assert!(sentence(&lost).contains("sends nothing now"), "{lost:#}");
    eventually("it to be sent", async || {
        postrider.pass(Duration::from_secs(10)).await;
        (why(&postrider, id).await["deliveries"][0]["reason"] == "sent").then_some(())
    })
    .await;
}

/// An address that mail asks to leave from is one of this host's when it is handed in, and need not be when it leaves.
#[tokio::test]
async fn an_address_that_has_gone_keeps_no_mail_and_is_told() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    // Of TEST-NET-1, which no host has (RFC 5737).
    let gone: std::net::IpAddr = "192.0.2.1".parse().unwrap();
    let instructions = Instructions { source_ip: Some(gone), ..Instructions::default() };
    let id = store_email(&postrider, "b@example.org", instructions).await;
    let sent = postrider.wait_for_status(id, EmailStatus::Sent).await;
    let decision = sent.attempts[0].1.ip_selection.clone().unwrap();
    assert!(decision.ip.is_some_and(|ip| ip.is_loopback()) && decision.origin == SourceOrigin::Default, "{decision:?}");
    let error = decision.error.unwrap();
    assert!(error.contains("192.0.2.1, which is no address of this host any more"), "{error}");
    assert!(mx.wait_for_messages(1).await[0].peer.is_loopback());
    let timeline = postrider.get(&format!("/api/emails/{id}/timeline")).await.json();
    let chosen = timeline["entries"].as_array().unwrap().iter().find(|entry| entry["type"] == "source-ip").unwrap();
    assert_eq!(chosen["decision"]["error"], error, "{chosen:#}");
}

#[tokio::test]
async fn another_server_has_it() {
    let gate = Gate::new();
    let site = Site::new().await.with_store_faults(&StoreFaults::of_nodes());
    let site = site.limit(|limits| limits.lease = Duration::from_secs(300));
    let mx = site.mx("example.org", Script::new().on(".", Answer::after(&gate, "250 2.0.0 Taken"))).await;
    let postrider = site.start().await;
    let id = send(&postrider, "b@example.org").await;
    mx.wait_for_line("C: <data>", 1).await;
    let node = reason(&postrider, id, "sending").await["facts"]["node"]["id"].clone();
    let other = postrider.beside().await.set("MAIL_HOSTNAME", "second.test");
    let other = other.start_on(postrider.clock()).await;
    let elsewhere = reason(&other, id, "other-server").await;
    assert!(node.is_string() && elsewhere["facts"]["node"]["id"] == node, "{elsewhere:#}");
    assert!(sentence(&elsewhere).contains("with a lease that ends at"), "{elsewhere:#}");
    gate.open();
    reason(&other, id, "sent").await;
}

#[tokio::test]
async fn the_command_line_asks_the_server_and_else_the_record() {
    let (site, mx) = slow(Site::new().await).await;
    let postrider = site.start().await;
    let (first, second) = (send(&postrider, "b@slow.test").await, send(&postrider, "b@slow.test").await);
    mx.wait_for_messages(1).await;
    let (sent, waiting) = eventually("one to be sent", async || {
        let is_sent = async |id| why(&postrider, id).await["status"] == "sent";
        match (is_sent(first).await, is_sent(second).await) {
            (true, _) => Some((first, second)),
            (_, true) => Some((second, first)),
            _ => None,
        }
    })
    .await;
    reason(&postrider, waiting, "rate-limit").await;
    let shown = postrider.command(binary(), &["email", "why", &waiting.to_string()], "").await;
    assert!(shown.code == 0 && shown.stdout.contains("sending (rate-limit)"), "{}{}", shown.stdout, shown.stderr);
    assert!(shown.stdout.contains("mx.slow.test is sent 6 messages a minute"), "{}", shown.stdout);
    let unknown = ["email", "why", "65951fd5aabbccddeeff0011"];
    assert_eq!(postrider.command(binary(), &unknown, "").await.code, 3);

    let site = postrider.shut_down().await;
    let shown = site.command(binary(), &["email", "why", &sent.to_string(), "--json"], "").await;
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!((&shown["live"], &shown["deliveries"][0]["reason"]), (&json!(false), &json!("sent")));
    let shown = site.command(binary(), &["email", "why", &waiting.to_string()], "").await;
    assert!(shown.stdout.contains("no server runs that could take it on"), "{}", shown.stdout);
    assert!(shown.stdout.contains("This is from the record"), "{}", shown.stdout);
    assert_eq!(site.command(binary(), &unknown, "").await.code, 3);
}

#[tokio::test]
async fn the_queue_is_shown_by_domain() {
    let (site, mx) = slow(Site::new().await).await;
    let _later = site.mx("later.test", Script::new().on("RCPT", "451 4.3.0 Not now")).await;
    let postrider = site.start().await;
    for _ in 0..4 {
        send(&postrider, "b@slow.test").await;
    }
    mx.wait_for_messages(1).await;
    let deferred = send(&postrider, "b@later.test").await;
    let held = send(&postrider, "c@later.test").await;
    for id in [deferred, held] {
        postrider.wait_for_deferred(id, 1).await;
    }
    let path = format!("/api/emails/{held}/hold");
    assert_eq!(postrider.request(HttpRequest::post(&path).json(&json!({}))).await.status, 200);
    let page = eventually("three to be in line", async || {
        let page = postrider.get("/api/queue/domains").await.json();
        let destination = &page["domains"][0]["destinations"][0];
        (destination["waitsFor"] == "rate-limit" && page["domains"][0]["sending"] == 3).then_some(page)
    })
    .await;
    let slow = &page["domains"][0];
    assert_eq!((&slow["domain"], &slow["takenOn"], &slow["claimWait"]), (&json!("slow.test"), &json!(3), &Value::Null));
    let destination = &slow["destinations"][0];
    assert_eq!((&destination["host"], &destination["inLine"]), (&json!("mx.slow.test"), &json!(3)));
    assert_eq!((&destination["messagesPerMinute"], &destination["connectionsCause"]), (&json!(6), &json!("growing")));
    assert!(destination["goesOnAt"].is_string() && slow["oldestAt"].is_string(), "{slow:#}");
    let later = &page["domains"][1];
    assert_eq!((&later["deferred"], &later["held"], &later["sending"]), (&json!(1), &json!(1), &json!(0)));
    assert_eq!(later["lastError"], "451 4.3.0 Not now");
    assert_eq!((&slow["deliveredLastMinute"], &slow["deferredLastMinute"]), (&json!(1), &json!(0)));
    assert_eq!((&later["deferredLastMinute"], &later["failedLastMinute"]), (&json!(2), &json!(0)));
    assert_eq!(
        (&slow["lastResult"]["mx"], &later["lastResult"]["mx"]),
        (&json!("mx.slow.test"), &json!("mx.later.test"))
    );
    assert_eq!(slow["lastResult"]["outcome"]["reply"]["code"], 250);
    let outcome = &later["lastResult"]["outcome"];
    let reply = json!({ "code": 451, "enhancedCode": "4.3.0", "text": "Not now" });
    assert_eq!((&outcome["result"], &outcome["reply"]), (&json!("deferred"), &reply));
    assert!(time(&later["lastResult"]["at"]) <= postrider.now(), "{later:#}");
    let next = postrider.email(deferred).await.email.next_attempt_at.unwrap();
    assert_eq!(time(&later["nextAttemptAt"]), next);
    assert_eq!(page["pagination"], json!({ "page": 1, "limit": 20, "total": 2, "pages": 1 }));
    let second = postrider.get("/api/queue/domains?limit=1&page=2").await.json();
    assert_eq!(second["domains"][0]["domain"], "later.test");
    assert_eq!(postrider.get("/api/queue/domains?prefix=SL").await.json()["pagination"]["total"], 1);
    for wrong in ["limit=101", "page=0", "domain=slow.test", "prefix=a&prefix=b"] {
        assert_eq!(postrider.get(&format!("/api/queue/domains?{wrong}")).await.status, 400, "{wrong}");
    }
}
