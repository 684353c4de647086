//! Delivery status notifications: who hears of what (RFC 3461, RFC 3464).

use std::time::Duration;

use insta::assert_snapshot;
use postrider_core::EmailStatus;
use postrider_testkit::{ReceivedMessage, Script, ScriptedMx, Site, TestPostrider, mail, scrub};

const NO_SUCH_USER: &str = "550 5.1.1 No such user here";

struct World {
    postrider: TestPostrider,
    /// Where the sender's reports go.
    sender: ScriptedMx,
    _recipient: ScriptedMx,
}

async fn world(recipient: Script) -> World {
    let site = Site::new().await;
    let recipient = site.mx("example.org", recipient).await;
    let sender = site.mx("client.test", Script::new()).await;
    World { postrider: site.start().await, sender, _recipient: recipient }
}

impl World {
    /// Sends with parameters of MAIL and RCPT, and waits for the failure.
    async fn fail(&self, mail_parameters: &str, rcpt_parameters: &str) {
        let mut client = self.postrider.client().await;
        client.demand(&format!("MAIL FROM:<a@client.test>{mail_parameters}"), 250).await;
        client.demand(&format!("RCPT TO:<b@example.org>{rcpt_parameters}"), 250).await;
        let reply = client.send_data(&mail::plain("a@client.test", "b@example.org", "returned")).await;
        let id = self.postrider.accepted(&reply).await;
        self.postrider.wait_for_status(id, EmailStatus::Failed).await;
    }

    async fn report(&self) -> ReceivedMessage {
        self.sender.wait_for_messages(1).await.remove(0)
    }
}

/// Without what differs from run to run.
fn plain(report: &ReceivedMessage) -> String {
    let text = report.text().replace('\r', "");
    let boundary = text.split("boundary=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("no boundary");
    scrub(&text.replace(boundary, "[boundary]"))
}

#[tokio::test]
async fn the_sender_hears_of_a_failure() {
    let world = world(Script::new().on("RCPT", NO_SUCH_USER)).await;
    world.fail("", "").await;
    let report = world.report().await;
    assert_eq!((report.sender.as_str(), report.addresses()), ("", vec!["a@client.test"]));
    assert_snapshot!(plain(&report));
    assert_eq!(world.postrider.emails().await.len(), 2, "the message and its report");
}

#[tokio::test]
async fn a_report_brings_back_what_was_asked_for() {
    let world = world(Script::new().on("RCPT", NO_SUCH_USER)).await;
    world.fail(" RET=FULL ENVID=order+2B17", " NOTIFY=FAILURE ORCPT=rfc822;original+40example.org").await;
    let text = world.report().await.text();
    for expected in [
        "Original-Envelope-Id: order+17",
        "Original-Recipient: rfc822; original@example.org",
        "message/rfc822",
        "Good day.",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in {text}");
    }
}

#[tokio::test]
async fn headers_alone_come_back_by_default() {
    let world = world(Script::new().on(".", "554 5.6.0 Not this")).await;
    world.fail(" RET=HDRS", "").await;
    let text = world.report().await.text();
    assert!(text.contains("Subject: returned") && !text.contains("Good day."), "{text}");
    assert!(text.contains("Not this"), "{text}");
}

/// RFC 3464 section 2.3.6: what we decide ourselves is not put into another server's mouth.
#[tokio::test]
async fn our_own_refusal_is_not_reported_as_the_other_sides() {
    let world = world(Script::new().capabilities(&["SIZE 100"])).await;
    world.fail("", "").await;
    let text = world.report().await.text();
    assert!(text.contains("Status: 5.3.4\r\n"), "{text}");
    assert!(text.contains("larger than the other side takes"), "{text}");
    assert!(!text.contains("Diagnostic-Code:") && !text.contains("Remote-MTA:"), "{text}");
}

#[tokio::test]
async fn nobody_hears_of_what_nobody_sent() {
    let world = world(Script::new().on("RCPT", NO_SUCH_USER)).await;
    let message = mail::plain("a@client.test", "b@example.org", "bounce");
    let id = world.postrider.send("", &["b@example.org"], &message).await;
    world.postrider.wait_for_status(id, EmailStatus::Failed).await;
    world.postrider.pass(Duration::from_secs(10)).await;
    assert_eq!(world.postrider.emails().await.len(), 1);
    assert_eq!(world.sender.connections(), 0);
}

#[tokio::test]
async fn a_sender_who_does_not_want_to_hear_does_not() {
    for notify in ["NEVER", "SUCCESS", "DELAY"] {
        let world = world(Script::new().on("RCPT", NO_SUCH_USER)).await;
        world.fail("", &format!(" NOTIFY={notify}")).await;
        world.postrider.pass(Duration::from_secs(10)).await;
        assert_eq!(world.postrider.emails().await.len(), 1, "{notify}");
    }
}

#[tokio::test]
async fn a_report_that_cannot_be_delivered_is_not_reported() {
    let world = world(Script::new().on("RCPT", NO_SUCH_USER)).await;
    world.sender.set_script(Script::new().on("RCPT", NO_SUCH_USER));
    world.fail("", "").await;
    let emails = world.postrider.wait_for_emails(2).await;
    world.postrider.wait_for_status(emails[0].id, EmailStatus::Failed).await;
    world.postrider.pass(Duration::from_secs(10)).await;
    assert_eq!(world.postrider.emails().await.len(), 2);
}

#[tokio::test]
async fn several_failures_make_one_report() {
    let world = world(Script::new().on("RCPT", NO_SUCH_USER)).await;
    let message = mail::plain("a@client.test", "b@example.org", "returned");
    let id = world.postrider.send("a@client.test", &["b@example.org", "c@example.org"], &message).await;
    world.postrider.wait_for_status(id, EmailStatus::Failed).await;
    let text = world.report().await.text();
    assert!(text.contains("b@example.org") && text.contains("c@example.org"), "{text}");
    assert_eq!(world.postrider.emails().await.len(), 2);
}

#[tokio::test]
async fn a_local_sender_finds_the_report_here() {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "local.test");
    let _mx = site.mx("example.org", Script::new().on("RCPT", NO_SUCH_USER)).await;
    let postrider = site.start().await;
    let message = mail::plain("a@local.test", "b@example.org", "returned");
    let id = postrider.send("a@local.test", &["b@example.org"], &message).await;
    postrider.wait_for_status(id, EmailStatus::Failed).await;
    let emails = postrider.wait_for_emails(2).await;
    assert_eq!((emails[0].status, emails[0].recipients[0].as_str()), (EmailStatus::Received, "a@local.test"));
}

#[tokio::test]
async fn a_delay_is_told_once_and_only_if_asked_for() {
    let site = Site::new().await.set("RETRY_FIRST_SECONDS", "14400").set("RETRY_MAX_SECONDS", "14400");
    let _mx = site.mx("example.org", Script::new().on("MAIL", "451 4.3.0 Later")).await;
    let sender = site.mx("client.test", Script::new()).await;
    let postrider = site.start().await;
    let mut client = postrider.client().await;
    let mut ids = Vec::new();
    for parameter in [" NOTIFY=DELAY,FAILURE", ""] {
        client.demand("MAIL FROM:<a@client.test>", 250).await;
        client.demand(&format!("RCPT TO:<b@example.org>{parameter}"), 250).await;
        let reply = client.send_data(&mail::plain("a@client.test", "b@example.org", "delayed")).await;
        ids.push(postrider.accepted(&reply).await);
    }
    for attempt in 1..=3 {
        for &id in &ids {
            postrider.wait_for_deferred(id, attempt).await;
        }
        // As a machine that was asleep sees it: hours later, all at once.
        postrider.clock().leap(Duration::from_secs(16_000)).await;
        postrider.pass(Duration::from_secs(5)).await;
    }
    let report = sender.wait_for_messages(1).await.remove(0);
    assert!(report.text().contains("Action: delayed"), "{}", report.text());
    assert!(report.text().contains("Will-Retry-Until: "), "{}", report.text());
    for &id in &ids {
        postrider.wait_for_deferred(id, 4).await;
    }
    assert_eq!(sender.messages().len(), 1);
    assert_eq!(postrider.emails().await.len(), 3);
}
