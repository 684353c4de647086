//! `DELIVERY_MODE=capture`: the local part of the recipient decides what becomes of the mail.

use std::time::Duration;

use postrider_core::{Category, EmailStatus, ObjectId};
use postrider_store::EmailDetail;
use postrider_testkit::{Site, TestPostrider, mail};

async fn captor() -> TestPostrider {
    Site::new().await.set("DELIVERY_MODE", "capture").start().await
}

async fn send(postrider: &TestPostrider, recipient: &str) -> ObjectId {
    postrider.send("", &[recipient], &mail::plain("", recipient, "captured")).await
}

fn code(detail: &EmailDetail) -> Option<u16> {
    detail.deliveries[0].last_response.as_ref().map(|reply| reply.code)
}

#[tokio::test]
async fn mail_for_the_world_is_accepted_and_goes_nowhere() {
    let postrider = captor().await;
    let id = send(&postrider, "anybody@example.org").await;
    let detail = postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert!(detail.deliveries[0].mx_ip.is_some_and(|ip| ip.is_loopback()));
    assert!(postrider.zone().asked().is_empty());
}

#[tokio::test]
async fn bounce_is_refused_for_good() {
    let postrider = captor().await;
    for expected in [550, 552, 554] {
        let id = send(&postrider, &format!("bounce+{expected}@example.org")).await;
        assert_eq!(code(&postrider.wait_for_status(id, EmailStatus::Failed).await), Some(expected));
    }
}

/// Refusing is what it is for: it does not take the queue for somebody who probes for addresses.
#[tokio::test]
async fn however_many_bounce_each_gets_its_answer() {
    let postrider = captor().await;
    // What is no code counts as 550: so there are as many addresses as one likes.
    let recipients: Vec<String> = (0..300).map(|n| format!("bounce+number{n}@example.org")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let id = postrider.send("", &recipients, &mail::plain("", recipients[0], "captured")).await;
    let detail = postrider.wait_for_status(id, EmailStatus::Failed).await;
    for delivery in &detail.deliveries {
        let code = delivery.last_response.as_ref().map(|reply| reply.code);
        assert_eq!((code, delivery.attempts), (Some(550), 1), "{}", delivery.recipient);
    }
}

#[tokio::test]
async fn defer_is_refused_for_now() {
    let postrider = captor().await;
    let id = send(&postrider, "defer+451@example.org").await;
    for attempt in 1..=3 {
        assert_eq!(code(&postrider.wait_for_deferred(id, attempt).await), Some(451));
        postrider.advance_to_next_attempt(id).await;
    }
}

#[tokio::test]
async fn defer_twice_is_accepted_the_third_time() {
    let postrider = captor().await;
    let id = send(&postrider, "defer+421x2@example.org").await;
    for attempt in 1..=2 {
        postrider.wait_for_deferred(id, attempt).await;
        postrider.advance_to_next_attempt(id).await;
    }
    assert_eq!(postrider.wait_for_status(id, EmailStatus::Sent).await.email.attempts, 3);
}

#[tokio::test]
async fn slow_answers_after_its_seconds() {
    let postrider = captor().await;
    let id = send(&postrider, "slow+5@example.org").await;
    postrider.clock().wait_for_sleeper(Duration::from_secs(5), Duration::from_secs(5)).await;
    postrider.clock().advance(Duration::from_millis(4900)).await;
    assert_eq!(postrider.email(id).await.email.status, EmailStatus::Sending);
    postrider.clock().advance(Duration::from_millis(200)).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
}

#[tokio::test]
async fn drop_closes_the_connection() {
    let postrider = captor().await;
    let id = send(&postrider, "drop@example.org").await;
    let detail = postrider.wait_for_deferred(id, 1).await;
    assert_eq!(detail.deliveries[0].category, Some(Category::Connection));
}

#[tokio::test]
async fn recipients_of_one_message_behave_each_in_its_way() {
    let postrider = captor().await;
    let recipients = ["fine@example.org", "bounce+550@example.net", "defer+450@example.com"];
    let id = postrider.send("", &recipients, &mail::plain("", "fine@example.org", "captured")).await;
    let detail = postrider.wait_for_deferred(id, 1).await;
    let statuses: Vec<_> = detail.deliveries.iter().map(|delivery| delivery.status).collect();
    assert_eq!(statuses, [EmailStatus::Sent, EmailStatus::Failed, EmailStatus::Deferred]);
}
