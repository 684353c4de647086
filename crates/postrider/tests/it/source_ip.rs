//! From which address mail leaves: the service that picks it, what stands in for its answers, and what is told of it.

use std::net::IpAddr;
use std::time::Duration;

use postrider_core::{Attempt, EmailStatus, ObjectId, SourceOrigin};
use postrider_store::EmailDetail;
use postrider_testkit::{
    HttpAnswer, HttpReceived, HttpRequest, HttpService, Script, ScriptedMx, Site, TestPostrider, eventually, mail,
};
use serde_json::{Value, json};

/// A site with a service that answers so.
async fn site(answer: impl Fn(&HttpReceived) -> HttpAnswer + Send + Sync + 'static) -> (Site, HttpService) {
    let site = Site::new().await;
    let service = HttpService::start(site.claim_ip(), answer).await;
    let url = service.url("/pick");
    (site.set("IP_SELECTION_ENABLED", "true").set("IP_SELECTION_API_URL", &url), service)
}

fn picks(ip: IpAddr) -> HttpAnswer {
    HttpAnswer::json(&json!({ "ip": ip }))
}

async fn send(postrider: &TestPostrider, recipient: &str) -> ObjectId {
    let message = mail::plain("a@client.test", recipient, "From where");
    postrider.send("a@client.test", &[recipient], &message).await
}

async fn sent(postrider: &TestPostrider, recipient: &str) -> EmailDetail {
    postrider.wait_for_status(send(postrider, recipient).await, EmailStatus::Sent).await
}

fn attempt(detail: &EmailDetail) -> &Attempt {
    &detail.attempts.last().unwrap().1
}

/// Origin, address and error of the last attempt's decision.
fn decision(detail: &EmailDetail) -> (SourceOrigin, Option<IpAddr>, Option<String>) {
    let decision = attempt(detail).ip_selection.clone().unwrap();
    (decision.origin, decision.ip, decision.error)
}

fn last_peer(mx: &ScriptedMx) -> IpAddr {
    mx.messages().last().unwrap().peer
}

async fn stats(postrider: &TestPostrider) -> Value {
    postrider.get("/api/ip-selection/stats").await.json()
}

#[tokio::test]
async fn mail_leaves_from_where_the_service_says() {
    let (site, service) = site(|_| HttpAnswer::ok("")).await;
    let (first, second) = (site.claim_ip(), site.claim_ip());
    service.set_answer(move |request| match request.json()["recipientDomain"].as_str() {
        Some("one.test") => HttpAnswer::json(&json!({ "ip": first, "ttl": 60, "ehlo": "Out1.client.test" })),
        _ => HttpAnswer::ok(format!("{second}\n")),
    });
    let (one, two) = (site.mx("one.test", Script::new()).await, site.mx("two.test", Script::new()).await);
    let postrider = site.start().await;

    let detail = sent(&postrider, "b@one.test").await;
    assert_eq!(last_peer(&one), first);
    assert_eq!(one.messages()[0].helo, "out1.client.test");
    assert_eq!(decision(&detail), (SourceOrigin::Api, Some(first), None));
    assert_eq!(attempt(&detail).source_ip, Some(first));
    let shown = postrider.get(&format!("/api/emails/{}", detail.email.id)).await.json();
    let shown = &shown["deliveries"][0]["history"][0]["ipSelection"];
    assert_eq!((&shown["ip"], &shown["origin"]), (&json!(first), &json!("api")));
    assert!(shown["latencyMs"].is_u64() && shown["error"].is_null());

    let asked = service.requests()[0].clone();
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/pick"));
    let asked = asked.json();
    let candidates = asked["candidates"].as_array().unwrap();
    assert!(candidates.iter().all(Value::is_string) && !candidates.is_empty());
    let expected = json!({
        "emailId": detail.email.id, "sender": "a@client.test", "senderDomain": "client.test",
        "recipient": "b@one.test", "recipientDomain": "one.test", "subject": "From where", "size": asked["size"],
        "attempt": 1, "candidates": candidates,
    });
    assert_eq!(asked, expected);
    assert!(asked["size"].as_u64().unwrap() > 100);

    // The address alone as text; and no name of its own.
    sent(&postrider, "b@two.test").await;
    assert_eq!((last_peer(&two), two.messages()[0].helo.as_str()), (second, "postrider.test"));

    // The same pair of domains: the answer holds, and the connection is used again.
    let detail = sent(&postrider, "c@one.test").await;
    assert_eq!(decision(&detail).0, SourceOrigin::Cache);
    assert_eq!((service.requests().len(), one.connections()), (2, 1));

    let stats = stats(&postrider).await;
    assert_eq!((&stats["hits"], &stats["misses"], &stats["requests"]), (&json!(1), &json!(2), &json!(2)));
    assert_eq!(
        (&stats["entries"], &stats["errors"], &stats["breaker"]["state"]),
        (&json!(2), &json!(0), &json!("closed"))
    );
    let busiest = &stats["addresses"][0];
    assert_eq!((&busiest["ip"], &busiest["attempts"]), (&json!(first), &json!(2)));
    assert!(stats["latencyMs"]["p99"].is_u64());
}

#[tokio::test]
async fn an_answer_holds_for_its_time_and_each_attempt_asks_anew() {
    let (site, service) = site(|_| HttpAnswer::ok("")).await;
    let (old, new) = (site.claim_ip(), site.claim_ip());
    service.set_answer(move |_| HttpAnswer::json(&json!({ "ip": old, "ttl": 30 })));
    let mx = site.mx("example.org", Script::new().on("RCPT", "451 4.7.1 Not from there")).await;
    let postrider = site.start().await;
    let id = send(&postrider, "b@example.org").await;
    postrider.wait_for_deferred(id, 1).await;
    // The address is taken out of service.
    service.set_answer(move |_| HttpAnswer::json(&json!({ "ip": new, "ttl": 30 })));
    mx.set_script(Script::new());
    postrider.advance_to_next_attempt(id).await;
    let detail = postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(decision(&detail), (SourceOrigin::Api, Some(new), None));
    assert_eq!(last_peer(&mx), new);
    assert_eq!(service.requests()[1].json()["attempt"], 2);
    // Within the time nobody is asked, until the answers are forgotten.
    sent(&postrider, "b@example.org").await;
    assert_eq!(service.requests().len(), 2);
    let cleared = postrider.request(HttpRequest::post("/api/ip-selection/clear-cache")).await.json();
    assert_eq!(cleared, json!({ "cleared": 1 }));
    sent(&postrider, "b@example.org").await;
    assert_eq!(service.requests().len(), 3);
}

#[tokio::test]
async fn without_a_usable_answer_mail_leaves_from_the_fallback() {
    let (site, service) = site(|_| HttpAnswer::Close).await;
    let fallback = site.claim_ip();
    let mx = site.mx("example.org", Script::new()).await;
    site.zone().mx("other.test", 10, "mx.example.org");
    let site = site.set("FALLBACK_IP", &fallback.to_string()).set("IP_SELECTION_RETRIES", "1");
    let postrider = site.start().await;
    let big = "x".repeat(100_000);
    let bad: [(HttpAnswer, &str); 9] = [
        (HttpAnswer::Close, "no answer"),
        (HttpAnswer::new(404, "No"), "the service answered 404"),
        (HttpAnswer::new(302, "").header("Location: /elsewhere"), "the service answered 302"),
        (HttpAnswer::ok("192.0.2.77"), "192.0.2.77, which is no address of this host"),
        (HttpAnswer::ok("0.0.0.0"), "0.0.0.0, which is no address of this host"),
        (HttpAnswer::ok("<html>"), "is neither an address nor the JSON of one"),
        (HttpAnswer::json(&json!({ "ip": "mx.example" })), "is no IP address"),
        (HttpAnswer::ok(""), "is neither an address nor the JSON of one"),
        (HttpAnswer::ok(big), "longer than"),
    ];
    for (answer, error) in bad {
        let case = format!("{answer:?}").chars().take(60).collect::<String>();
        service.set_answer(move |_| answer.clone());
        let asked = service.requests().len();
        let detail = sent(&postrider, "b@example.org").await;
        let (origin, ip, said) = decision(&detail);
        assert_eq!((origin, ip, last_peer(&mx)), (SourceOrigin::Fallback, Some(fallback), fallback), "{case}");
        assert!(said.as_deref().is_some_and(|said| said.contains(error)), "{case}: {said:?}");
        assert!(service.requests().len() > asked, "{case}");
        // What failed is not asked again at once; and a good answer closes the breaker before the next case.
        service.set_answer(move |_| picks(fallback));
        postrider.pass(Duration::from_secs(70)).await;
        sent(&postrider, "b@other.test").await;
        postrider.request(HttpRequest::post("/api/ip-selection/clear-cache")).await;
    }
    assert!(stats(&postrider).await["fallbacks"].as_u64().unwrap() >= 9);
}

#[tokio::test]
async fn an_old_answer_is_better_than_none_and_the_systems_choice_comes_last() {
    let (site, service) = site(|_| HttpAnswer::ok("")).await;
    let (picked, fallback) = (site.claim_ip(), site.claim_ip());
    service.set_answer(move |_| HttpAnswer::json(&json!({ "ip": picked, "ttl": 10 })));
    let mx = site.mx("example.org", Script::new()).await;
    let other = site.mx("other.test", Script::new()).await;
    let site = site.set("FALLBACK_IP", &fallback.to_string()).set("IP_SELECTION_RETRIES", "0");
    let postrider = site.start().await;
    sent(&postrider, "b@example.org").await;
    service.set_answer(|_| HttpAnswer::new(500, "Ill"));
    postrider.pass(Duration::from_secs(11)).await;
    let (origin, ip, error) = decision(&sent(&postrider, "b@example.org").await);
    assert_eq!((origin, ip, last_peer(&mx)), (SourceOrigin::Stale, Some(picked), picked));
    assert!(error.unwrap().contains("500"));
    // Of another pair there is no old answer.
    let (origin, ..) = decision(&sent(&postrider, "b@other.test").await);
    assert_eq!((origin, last_peer(&other)), (SourceOrigin::Fallback, fallback));
    // A fallback that is none of this host's leaves it to the system.
    let mut site = postrider.shut_down().await;
    site.change("FALLBACK_IP", "192.0.2.9");
    let postrider = site.start().await;
    let (origin, ip, error) = decision(&sent(&postrider, "b@other.test").await);
    assert_eq!((origin, ip), (SourceOrigin::Default, Some(last_peer(&other))));
    assert!(error.unwrap().contains("500"));
}

#[tokio::test]
async fn a_service_that_fails_again_and_again_is_left_alone() {
    let (site, service) = site(|_| HttpAnswer::Hang).await;
    let picked = site.claim_ip();
    for number in 0..8 {
        site.zone().mx(&format!("d{number}.test"), 10, "mx.test");
    }
    let mx = site.host("mx.test", Script::new()).await;
    let postrider = site.set("IP_SELECTION_TIMEOUT", "1000").set("IP_SELECTION_RETRIES", "2").start().await;
    for number in 0..4 {
        send(&postrider, &format!("b@d{number}.test")).await;
    }
    service.wait_for_requests(4).await;
    postrider.clock().leap(Duration::from_millis(1_001)).await;
    // One that failed asks again; that is the fifth failure in a row.
    let waiting = eventually("the breaker to open", async || {
        postrider.clock().leap(Duration::from_millis(200)).await;
        (stats(&postrider).await["breaker"]["state"] == "open").then_some(())
    });
    waiting.await;
    mx.wait_for_messages(4).await;
    let asked = service.requests().len();
    assert!((5..=8).contains(&asked), "{asked}");
    // Nobody asks, nobody waits.
    let (origin, _, error) = decision(&sent(&postrider, "b@d4.test").await);
    assert_eq!(origin, SourceOrigin::Default);
    assert!(error.unwrap().contains("not asked for now"));
    assert_eq!(service.requests().len(), asked);
    // After a while one question finds out, and its mail does not wait for the answer.
    service.set_answer(move |_| picks(picked));
    postrider.pass(Duration::from_secs(6)).await;
    sent(&postrider, "b@d5.test").await;
    eventually("the breaker to close", async || {
        (stats(&postrider).await["breaker"]["state"] == "closed").then_some(())
    })
    .await;
    assert_eq!(service.requests().len(), asked + 1);
    assert_eq!(decision(&sent(&postrider, "b@d6.test").await), (SourceOrigin::Api, Some(picked), None));
    assert_eq!(last_peer(&mx), picked);
}

#[tokio::test]
async fn all_who_need_the_same_answer_share_one_question() {
    let (site, service) = site(|_| HttpAnswer::ok("")).await;
    let picked = site.claim_ip();
    service.set_answer(move |_| HttpAnswer::Drip(Box::new(picks(picked)), Duration::from_millis(2)));
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    for _ in 0..10 {
        send(&postrider, "b@example.org").await;
    }
    let messages = mx.wait_for_messages(10).await;
    assert!(messages.iter().all(|message| message.peer == picked));
    assert_eq!(service.requests().len(), 1);
}

/// Domains that share their MX, but not their source: a transaction has one source, and so has a connection.
#[tokio::test]
async fn connections_are_kept_by_their_source() {
    let (site, service) = site(|_| HttpAnswer::ok("")).await;
    let ips = [site.claim_ip(), site.claim_ip()];
    service.set_answer(move |request| picks(ips[usize::from(request.json()["recipientDomain"] == "two.test")]));
    site.zone().mx("one.test", 10, "mx.test").mx("two.test", 10, "mx.test");
    let mx = site.host("mx.test", Script::new()).await;
    let postrider = site.set("QUEUE_CONCURRENCY_PER_DOMAIN", "2").start().await;
    let message = mail::plain("a@client.test", "b@one.test", "To both");
    let id = postrider.send("a@client.test", &["b@one.test", "b@two.test"], &message).await;
    let detail = postrider.wait_for_status(id, EmailStatus::Sent).await;
    let sources: Vec<_> = detail.attempts.iter().map(|(_, attempt)| attempt.source_ip.unwrap()).collect();
    assert_eq!(sources, ips);
    for _ in 0..5 {
        sent(&postrider, "b@one.test").await;
        sent(&postrider, "b@two.test").await;
    }
    for message in mx.messages() {
        let is_two = message.addresses().contains(&"b@two.test");
        assert_eq!(message.peer, ips[usize::from(is_two)]);
    }
    assert_eq!((mx.messages().len(), mx.connections(), mx.connections_open_peak()), (12, 2, 2));
    // With room for one connection only, each gives way to the other.
    let mut site = postrider.shut_down().await;
    site.change("QUEUE_CONCURRENCY_PER_DOMAIN", "1");
    let peak = Script::new();
    mx.set_script(peak);
    let postrider = site.start().await;
    sent(&postrider, "b@one.test").await;
    sent(&postrider, "b@two.test").await;
    assert_eq!(last_peer(&mx), ips[1]);
    assert_eq!(mx.connections(), 4);
    mx.wait_for_ended(3).await;
}

#[tokio::test]
async fn a_family_that_the_other_side_does_not_have_strands_no_mail() {
    let (site, _service) = site(|_| HttpAnswer::ok("::1")).await;
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let detail = sent(&postrider, "b@example.org").await;
    let (origin, ip, error) = decision(&detail);
    assert_eq!((origin, ip), (SourceOrigin::Default, Some(last_peer(&mx))));
    assert_eq!(error.unwrap(), "::1 was chosen, but no host of the destination has an IPv6 address");
}

#[tokio::test]
async fn a_test_shows_the_exchange_and_sends_nothing() {
    let (site, service) = site(|_| HttpAnswer::ok("")).await;
    let picked = site.claim_ip();
    service.set_answer(move |_| HttpAnswer::json(&json!({ "ip": picked, "ehlo": "a b" })));
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let body = json!({ "sender": "a@client.test", "recipient": "b@example.org" });
    let test = HttpRequest::post("/api/ip-selection/test").json(&body);
    let shown = postrider.request(test.clone()).await.json();
    assert_eq!((&shown["decision"]["ip"], &shown["decision"]["origin"]), (&json!(picked), &json!("api")));
    assert_eq!(shown["decision"]["error"], "its ehlo \"a b\" is no host name");
    assert_eq!((&shown["exchange"]["status"], &shown["exchange"]["url"]), (&json!(200), &json!(service.url("/pick"))));
    let request: Value = serde_json::from_str(shown["exchange"]["request"].as_str().unwrap()).unwrap();
    assert_eq!((&request["recipient"], &request["emailId"]), (&json!("b@example.org"), &Value::Null));
    service.set_answer(|_| HttpAnswer::new(503, "Later"));
    let shown = postrider.request(test).await.json();
    assert_eq!((&shown["decision"]["origin"], &shown["exchange"]["response"]), (&json!("default"), &json!("Later")));
    let stats = stats(&postrider).await;
    assert_eq!((&stats["requests"], &stats["entries"], mx.connections()), (&json!(0), &json!(0), 0));
}

#[tokio::test]
async fn without_a_service_mail_leaves_from_the_configured_addresses() {
    let site = Site::new().await;
    let (heavy, light) = (site.claim_ip(), site.claim_ip());
    for number in 0..4 {
        site.zone().mx(&format!("d{number}.test"), 10, "mx.test");
    }
    let mx = site.host("mx.test", Script::new()).await;
    let postrider = site.set("SOURCE_IPS", &format!("{heavy}*3, {light}")).start().await;
    let mut peers = Vec::new();
    for round in 0..2 {
        for number in 0..4 {
            let detail = sent(&postrider, &format!("b@d{number}.test")).await;
            assert_eq!(decision(&detail), (SourceOrigin::Configured, Some(last_peer(&mx)), None), "{round}");
            peers.push(last_peer(&mx));
        }
    }
    assert_eq!(peers, [heavy, heavy, light, heavy, heavy, heavy, light, heavy], "in turn, and each domain stays");
    let stats = stats(&postrider).await;
    assert_eq!((&stats["enabled"], &stats["addresses"][0]["attempts"]), (&json!(false), &json!(6)));
}

#[tokio::test]
async fn a_new_address_is_warmed_up_over_restarts() {
    let site = Site::new().await;
    let fresh = site.claim_ip();
    let mx = site.mx("example.org", Script::new()).await;
    let site = site.set("SOURCE_IPS", &fresh.to_string()).set("SOURCE_IP_WARMUP", &format!("{fresh}=2*2"));
    // A failed attempt is made again soon after midnight.
    let postrider = site.set("RETRY_MAX_SECONDS", "3600").start().await;
    sent(&postrider, "a@example.org").await;
    let postrider = postrider.restart().await;
    sent(&postrider, "b@example.org").await;
    let id = send(&postrider, "c@example.org").await;
    let detail = postrider.wait_for_deferred(id, 1).await;
    let error = detail.email.last_error.clone().unwrap();
    assert!(error.contains("what their warm-up allows today"), "{error}");
    assert_eq!(mx.messages().len(), 2);
    let stats = stats(&postrider).await;
    assert_eq!(stats["warmUps"], json!([{ "ip": fresh, "day": 1, "limit": 2, "used": 2 }]));
    postrider.pass(Duration::from_secs(24 * 3600)).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!((mx.messages().len(), last_peer(&mx)), (3, fresh));
}
