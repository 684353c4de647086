//! What senders ask beyond the envelope: later, sooner, not after, and by which name.

use std::time::Duration;

use postrider_core::{DeliveryStatus, EmailStatus, Priority};
use postrider_store::{EmailFilter, Order, Selection};
use postrider_testkit::{Answer, Gate, Script, Site, mail};
use serde_json::json;

const HOUR: Duration = Duration::from_secs(3600);

/// A message with these fields besides.
fn message(fields: &str) -> Vec<u8> {
    let plain = mail::plain("a@client.test", "b@example.org", "asked");
    [fields.as_bytes(), &plain].concat()
}

#[tokio::test]
async fn a_message_is_held_until_its_time_has_come() {
    let site = Site::new().await.set("RETRY_EXPIRE_SECONDS", "14400");
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let until = postrider.now() + 10 * HOUR;
    let mut client = postrider.client().await;
    client.demand("MAIL FROM:<a@client.test> HOLDFOR=36000", 250).await;
    client.demand("RCPT TO:<b@example.org>", 250).await;
    let reply = client.send_data(&message("")).await;
    let held = postrider.accepted(&reply).await;
    let field = format!("X-Postrider-Not-Before: {}\r\n", (until + HOUR).to_rfc3339());
    let later = postrider.send("a@client.test", &["b@example.org"], &message(&field)).await;
    let past = message("X-Postrider-Not-Before: 2020-01-01\r\n");
    let past = postrider.send("a@client.test", &["b@example.org"], &past).await;
    postrider.wait_for_status(past, EmailStatus::Sent).await;
    let email = postrider.email(held).await.email;
    assert_eq!((email.status, email.next_attempt_at), (EmailStatus::Queued, Some(until)));
    let postrider = postrider.restart().await;
    postrider.pass(9 * HOUR).await;
    assert_eq!(mx.messages().len(), 1);
    postrider.pass(HOUR).await;
    postrider.wait_for_status(held, EmailStatus::Sent).await;
    assert_eq!(postrider.email(later).await.email.status, EmailStatus::Queued);
    // It expires by the time that it may be sent, not by that of its acceptance.
    mx.set_script(Script::new().on("MAIL", "451 4.3.0 Later"));
    postrider.pass(HOUR).await;
    let deferred = postrider.wait_for_deferred(later, 1).await;
    assert_eq!(deferred.email.status, EmailStatus::Deferred);
}

#[tokio::test]
async fn what_cannot_be_held_is_refused() {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "here.test");
    let postrider = site.start().await;
    let mut client = postrider.client().await;
    for (mail, code) in [
        ("HOLDFOR=99999999", "501 5.5.4"),
        ("HOLDUNTIL=2020-01-01T00:00:00Z", "501 5.5.4"),
        ("HOLDUNTIL=soon", "501 5.5.4"),
    ] {
        let reply = client.command(&format!("MAIL FROM:<a@client.test> {mail}")).await;
        assert!(reply.text().starts_with(code), "{mail}: {}", reply.text());
    }
    client.demand("MAIL FROM:<a@client.test> HOLDFOR=60", 250).await;
    let reply = client.command("RCPT TO:<b@here.test>").await;
    assert!(reply.text().starts_with("550 5.3.3"), "{}", reply.text());
    client.demand("RSET", 250).await;
    let held = message("X-Postrider-Not-Before: 2099-01-01\r\n");
    let reply = client.send_mail("a@client.test", &["b@example.org"], &held).await;
    assert!(reply.text().starts_with("501 5.5.4"), "{}", reply.text());
    for (field, why) in [
        ("X-Postrider-Priority: urgent", "X-Postrider-Priority: a priority is a number"),
        ("X-Postrider-Tag: a", "X-Postrider-Tag: there is no such field"),
        (
            "X-Postrider-Not-Before: 2026-01-03\r\nX-Postrider-Expires-At: 2026-01-03",
            "X-Postrider-Expires-At: it expires before it may be sent",
        ),
    ] {
        let reply = client.send_mail("a@client.test", &["b@example.org"], &message(&format!("{field}\r\n"))).await;
        assert!(reply.text().starts_with(&format!("554 5.6.0 {why}")), "{}", reply.text());
    }
    assert!(postrider.emails().await.is_empty());
}

#[tokio::test]
async fn fields_for_this_server_are_taken_out_and_kept() {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "here.test");
    let mx = site.mx("example.org", Script::new()).await;
    let stranger = site.smtp_mx();
    let postrider = site.start().await;
    let fields = "X-Postrider-Tags: invoice, =?utf-8?q?M=C3=A4rz?=\r\nX-Postrider-Metadata: order=17\r\n\
        X-Postrider-Priority: low\r\nX-Postrider-Expires-At: 2099-01-01\r\n";
    let id = postrider.send("a@client.test", &["b@example.org"], &message(fields)).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(mx.messages()[0].without_trace(), message(""));
    let shown = postrider.get(&format!("/api/emails/{id}")).await.json();
    assert_eq!((&shown["tags"], &shown["metadata"]), (&json!(["invoice", "März"]), &json!({ "order": "17" })));
    assert_eq!((&shown["priority"], &shown["expiresAt"]), (&json!(-4), &json!("2099-01-01T00:00:00.000Z")));
    let listed = postrider.get("/api/emails?tag=M%C3%A4rz").await.json();
    assert_eq!(listed["emails"][0]["id"], id.to_string());
    assert_eq!(postrider.get("/api/emails?tag=m%C3%A4rz").await.json()["pagination"]["total"], 0);
    // A stranger asks nothing of us, and its message stays as it is.
    let mut client = postrider_testkit::LineClient::hello(stranger).await;
    let reply = client.send_mail("x@else.test", &["b@here.test"], &message(fields)).await;
    let kept = postrider.accepted(&reply).await;
    let detail = postrider.email(kept).await;
    assert!(detail.instructions.is_empty());
    let raw = postrider.store().raw(kept).await.unwrap().unwrap().raw;
    assert!(String::from_utf8_lossy(&raw).contains("X-Postrider-Tags"));
}

#[tokio::test]
async fn the_urgent_overtake_what_waits() {
    let site = Site::new().await.set("QUEUE_CONCURRENCY_PER_DOMAIN", "1");
    let gate = Gate::new();
    let script = Script::new().capabilities(&["PIPELINING", "MT-PRIORITY"]);
    let mx = site.mx("example.org", script.on(".", Answer::after(&gate, "250 2.0.0 Taken"))).await;
    let postrider = site.start().await;
    let mut client = postrider.client().await;
    // The first one is on its way before the others come.
    for (n, priority) in [0i8, -9, 0, 9, 0, 4].into_iter().enumerate() {
        let parameter = if priority == 0 { String::new() } else { format!(" MT-PRIORITY={priority}") };
        client.demand(&format!("MAIL FROM:<a{n}@client.test>{parameter}"), 250).await;
        client.demand("RCPT TO:<b@example.org>", 250).await;
        let reply = client.send_data(&message("")).await;
        let id = postrider.accepted(&reply).await;
        if n == 0 {
            mx.wait_for_line("C: <data>", 1).await;
        }
        assert_eq!(postrider.email(id).await.instructions.priority, Priority::new(priority).unwrap());
    }
    gate.open();
    mx.wait_for_messages(6).await;
    let transcript = mx.transcript(1);
    let mails: Vec<&str> = transcript.lines().filter(|line| line.contains("MAIL FROM")).collect();
    let expected = ["a0@", "a3@", "a5@", "a2@", "a4@", "a1@"];
    assert!(mails.iter().zip(expected).all(|(mail, sender)| mail.contains(sender)), "{mails:?}");
    assert!(mails[1].ends_with("MT-PRIORITY=9") && mails[5].ends_with("MT-PRIORITY=-9"), "{mails:?}");
    assert!(!mails[0].contains("MT-PRIORITY"), "{mails:?}");
}

#[tokio::test]
async fn what_comes_too_late_is_not_sent() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new().on("MAIL", "451 4.3.0 Later")).await;
    let postrider = site.start().await;
    let at = postrider.now() + Duration::from_secs(90);
    let field = format!("X-Postrider-Expires-At: {}\r\n", at.to_rfc3339());
    let id = postrider.send("a@client.test", &["b@example.org"], &message(&field)).await;
    postrider.wait_for_deferred(id, 1).await;
    postrider.advance_to_next_attempt(id).await;
    let deferred = postrider.wait_for_deferred(id, 2).await;
    assert_eq!(deferred.email.next_attempt_at, Some(at), "the last attempt is at the end");
    let attempted = mx.connections();
    postrider.pass(Duration::from_secs(3600)).await;
    let failed = postrider.wait_for_status(id, EmailStatus::Failed).await;
    assert_eq!(failed.deliveries[0].category, Some(postrider_core::Category::Expired));
    assert_eq!(mx.connections(), attempted, "not tried after its time");
    let error = failed.email.last_error.unwrap_or_default();
    assert!(error.contains("its sender wanted it"), "{error}");
}

#[tokio::test]
async fn orders_reach_what_has_a_tag() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new().on("MAIL", "451 4.3.0 Later")).await;
    let postrider = site.start().await;
    let news = postrider.send("a@client.test", &["b@example.org"], &message("X-Postrider-Tags: news\r\n")).await;
    let other = postrider.send("a@client.test", &["b@example.org"], &message("X-Postrider-Tags: bill\r\n")).await;
    for id in [news, other] {
        postrider.wait_for_deferred(id, 1).await;
    }
    let tagged = Selection { tag: Some("news".into()), ..Selection::default() };
    let now = postrider.now();
    let ordered = postrider.store().order(tagged.clone(), Order::Hold, now).await.unwrap();
    assert_eq!(ordered.changed, 1);
    mx.set_script(Script::new());
    postrider.advance_to_next_attempt(other).await;
    postrider.wait_for_status(other, EmailStatus::Sent).await;
    let filter = EmailFilter { tag: Some("news".into()), status: Some(EmailStatus::Held), ..EmailFilter::default() };
    assert_eq!(postrider.store().list(&filter, 1, 10).await.unwrap().total, 1);
    let held = Selection { status: Some(DeliveryStatus::Held), ..tagged };
    postrider.store().order(held, Order::Release, now).await.unwrap();
    postrider.wait_for_status(news, EmailStatus::Sent).await;
}
