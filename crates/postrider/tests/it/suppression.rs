//! The suppression list: who gets on it, and what that means for mail to them.

use std::time::Duration;

use postrider_core::{Category, EmailStatus, Outcome, SuppressionReason};
use postrider_store::{EmailDetail, Suppression, SuppressionFilter};
use postrider_testkit::{Script, Site, TestPostrider, mail};
use serde_json::{Value, json};

use crate::support::binary;

const NO_SUCH_USER: &str = "550 5.1.1 No such user here";

async fn listed(postrider: &TestPostrider) -> Vec<Suppression> {
    postrider.store().suppressions(&SuppressionFilter::default(), 1, 100).await.unwrap().suppressions
}

async fn send(postrider: &TestPostrider, recipients: &[&str], status: EmailStatus) -> EmailDetail {
    let message = mail::plain("a@client.test", "b@example.org", "x");
    let id = postrider.send("a@client.test", recipients, &message).await;
    postrider.wait_for_status(id, status).await
}

#[tokio::test]
async fn a_hard_bounce_is_the_last_connection_for_an_address() {
    let site = Site::new().await;
    let recipient = site.mx("example.org", Script::new().on_recipient("Gone@example.org", NO_SUCH_USER)).await;
    let sender = site.mx("client.test", Script::new()).await;
    let postrider = site.start().await;
    let bounced = send(&postrider, &["Gone@example.org"], EmailStatus::Failed).await;
    let suppressions = listed(&postrider).await;
    assert_eq!(suppressions.len(), 1);
    let Suppression { address, reason, email, text, .. } = &suppressions[0];
    assert_eq!((address.as_str(), *reason), ("Gone@example.org", SuppressionReason::HardBounce));
    assert_eq!((*email, text.as_deref()), (Some(bounced.email.id), Some(NO_SUCH_USER)));
    sender.wait_for_messages(1).await;

    // The other recipient of the same message is not kept waiting, and the sender is told as of any failure.
    let connections = recipient.connections();
    let mixed = send(&postrider, &["gONE@EXAMPLE.org", "here@example.org"], EmailStatus::Failed).await;
    let (first, second) = (&mixed.deliveries[0], &mixed.deliveries[1]);
    assert_eq!((first.status, second.status), (EmailStatus::Failed, EmailStatus::Sent));
    assert_eq!((first.category, &first.mx_ip), (Some(Category::Policy), &None));
    let error = first.last_error.clone().unwrap();
    assert!(error.starts_with("5.7.1 not sent") && error.contains(NO_SUCH_USER), "{error}");
    assert_eq!(recipient.messages().len(), 1);
    let report = sender.wait_for_messages(2).await.remove(1).text();
    assert!(report.contains("Status: 5.7.1\r\n") && !report.contains("Diagnostic-Code"), "{report}");

    send(&postrider, &["gone@example.org"], EmailStatus::Failed).await;
    assert!(recipient.connections() <= connections + 1, "none for the suppressed address alone");
    assert_eq!(listed(&postrider).await, suppressions, "the first reason stays");
}

#[tokio::test]
async fn what_says_nothing_of_the_mailbox_lists_nobody() {
    let site = Site::new().await;
    let script = Script::new()
        .on_recipient("spam@example.org", "550 5.7.1 Message rejected as spam")
        .on_recipient("full@example.org", "552 5.2.2 Mailbox full")
        .on_recipient("why@example.org", "550 Administrative prohibition");
    let _recipient = site.mx("example.org", script).await;
    // To the whole message, after several were accepted: nobody knows whose mailbox is meant.
    let _other = site.mx("example.net", Script::new().on(".", NO_SUCH_USER)).await;
    // To MAIL: of the sender.
    let _third = site.mx("example.com", Script::new().on("MAIL", "550 5.1.1 User unknown")).await;
    let postrider = site.start().await;
    let all =
        ["spam@example.org", "full@example.org", "why@example.org", "a@example.net", "b@example.net", "c@example.com"];
    let failed = send(&postrider, &all, EmailStatus::Failed).await;
    assert!(failed.deliveries.iter().all(|delivery| delivery.status == EmailStatus::Failed));
    assert_eq!(listed(&postrider).await, []);
    // To a message with one recipient it can mean nobody else.
    send(&postrider, &["a@example.net"], EmailStatus::Failed).await;
    assert_eq!(listed(&postrider).await.len(), 1);
}

#[tokio::test]
async fn the_list_is_asked_again_when_a_delivery_is_tried_again() {
    let site = Site::new().await;
    let recipient = site.mx("example.org", Script::new().on("RCPT", "451 4.3.0 Later")).await;
    let postrider = site.start().await;
    let deferred = send(&postrider, &["b@example.org"], EmailStatus::Deferred).await;
    let suppression =
        Suppression::new("B@example.org".parse().unwrap(), SuppressionReason::Complaint, None, None, postrider.now());
    postrider.store().suppress(vec![suppression]).await.unwrap();
    let connections = recipient.connections();
    postrider.advance_to_next_attempt(deferred.email.id).await;
    let failed = postrider.wait_for_status(deferred.email.id, EmailStatus::Failed).await;
    let Outcome::Failed { reason, reply, .. } = &failed.attempts.last().unwrap().1.outcome else { panic!("it failed") };
    assert!(reply.is_none() && reason.contains("the recipient complained of mail"), "{reason}");
    assert_eq!(recipient.connections(), connections);
    assert_eq!(failed.attempts.len(), 2);
}

#[tokio::test]
async fn turned_off_the_list_has_no_effect() {
    let site = Site::new().await.set("SUPPRESSION_ENABLED", "false");
    let _recipient = site.mx("example.org", Script::new().first(1, "RCPT", NO_SUCH_USER)).await;
    let postrider = site.start().await;
    send(&postrider, &["b@example.org"], EmailStatus::Failed).await;
    assert_eq!(listed(&postrider).await, []);
    let by_hand =
        Suppression::new("b@example.org".parse().unwrap(), SuppressionReason::Manual, None, None, postrider.now());
    postrider.store().suppress(vec![by_hand]).await.unwrap();
    send(&postrider, &["b@example.org"], EmailStatus::Sent).await;
}

#[tokio::test]
async fn what_the_simulator_refuses_is_refused_again() {
    let postrider = Site::new().await.set("DELIVERY_MODE", "capture").set("SUPPRESSION_ENABLED", "true").start().await;
    for _ in 0..2 {
        let failed = send(&postrider, &["bounce+550@example.org"], EmailStatus::Failed).await;
        assert!(failed.deliveries[0].mx_ip.is_some(), "it was asked");
    }
    assert_eq!(listed(&postrider).await, []);
}

#[tokio::test]
async fn the_command_line_lists_adds_and_removes() {
    let site = Site::new().await;
    let recipient = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let run = async |arguments: &[&str], code: i32| {
        let arguments = [&["suppression"], arguments].concat();
        let output = postrider.command(binary(), &arguments, "").await;
        assert_eq!(output.code, code, "{arguments:?}: {}{}", output.stdout, output.stderr);
        output.stdout
    };
    assert!(run(&["list"], 0).await.contains("0 suppressed addresses."));
    let added = run(&["add", "Ann@example.org", "--note", "asked us to stop"], 0).await;
    assert!(added.contains("Nothing is sent to Ann@example.org any more."), "{added}");
    run(&["add", "ann@EXAMPLE.org"], 4).await;
    run(&["add", "bob@example.net"], 0).await;
    // The server hears of it within a second.
    let failed = postrider_testkit::eventually("a delivery to fail", async || {
        let message = mail::plain("", "ann@example.org", "x");
        let id = postrider.send("", &["ann@example.org"], &message).await;
        let shown = postrider_testkit::eventually("an end", async || {
            let shown = postrider.email(id).await;
            matches!(shown.email.status, EmailStatus::Sent | EmailStatus::Failed).then_some(shown)
        });
        let shown = shown.await;
        (shown.email.status == EmailStatus::Failed).then_some(shown)
    })
    .await;
    let error = failed.deliveries[0].last_error.clone().unwrap();
    assert!(error.contains("an operator listed it") && error.contains("asked us to stop"), "{error}");

    let list: Value = serde_json::from_str(&run(&["list", "--query", "ANN", "--json"], 0).await).unwrap();
    assert_eq!(list["pagination"], json!({ "page": 1, "limit": 20, "total": 1, "pages": 1 }));
    let shown = &list["suppressions"][0];
    assert_eq!((&shown["address"], &shown["reason"]), (&json!("Ann@example.org"), &json!("manual")));
    assert_eq!((&shown["text"], &shown["email"]), (&json!("asked us to stop"), &json!(null)));
    let table = run(&["list", "--reason", "manual", "--limit", "1"], 0).await;
    assert!(table.contains("bob@example.net") && table.contains("Page 1 of 2"), "{table}");
    run(&["list", "--reason", "nonsense"], 2).await;

    run(&["remove", "ANN@example.org"], 0).await;
    run(&["remove", "ann@example.org"], 3).await;
    postrider.pass(Duration::from_secs(1)).await;
    let before = recipient.messages().len();
    postrider_testkit::eventually("a delivery to succeed", async || {
        let id = postrider.send("", &["ann@example.org"], &mail::plain("", "ann@example.org", "x")).await;
        let _ = postrider_testkit::eventually("an end", async || {
            let status = postrider.email(id).await.email.status;
            matches!(status, EmailStatus::Sent | EmailStatus::Failed).then_some(())
        })
        .await;
        (recipient.messages().len() > before).then_some(())
    })
    .await;
}
