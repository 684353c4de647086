//! Outcomes: every recipient has its own, whatever became of the others in the same transaction.

use postrider_core::{Category, EmailStatus};
use postrider_store::EmailDetail;
use postrider_testkit::{Answer, Script, ScriptedMx, Site, TestPostrider, mail};

async fn world(script: Script) -> (TestPostrider, ScriptedMx) {
    let site = Site::new().await;
    let mx = site.mx("example.org", script).await;
    (site.start().await, mx)
}

fn message() -> Vec<u8> {
    mail::plain("", "b@example.org", "outcome")
}

fn statuses(detail: &EmailDetail) -> Vec<(&str, EmailStatus)> {
    detail.deliveries.iter().map(|delivery| (delivery.recipient.as_str(), delivery.status)).collect()
}

#[tokio::test]
async fn every_recipient_has_its_own_outcome() {
    for script in [Script::new(), Script::new().without("PIPELINING")] {
        let script = script
            .on_recipient("never@example.org", "550 5.1.1 Never")
            .on_recipient("later@example.org", "451 4.2.1 Later");
        let (postrider, mx) = world(script).await;
        let recipients = ["good@example.org", "never@example.org", "later@example.org", "fine@example.org"];
        let id = postrider.send("", &recipients, &message()).await;
        let detail = postrider.wait_for_deferred(id, 1).await;
        assert_eq!(
            statuses(&detail),
            [
                ("good@example.org", EmailStatus::Sent),
                ("never@example.org", EmailStatus::Failed),
                ("later@example.org", EmailStatus::Deferred),
                ("fine@example.org", EmailStatus::Sent)
            ]
        );
        assert_eq!(detail.deliveries[1].category, Some(Category::BadMailbox));
        assert_eq!(detail.deliveries[1].last_response.as_ref().map(|reply| reply.code), Some(550));
        assert_eq!(mx.messages()[0].addresses(), ["good@example.org", "fine@example.org"]);

        // Only who was put off is tried again.
        mx.set_script(Script::new());
        postrider.advance_to_next_attempt(id).await;
        postrider.wait_for_status(id, EmailStatus::Failed).await;
        assert_eq!(mx.wait_for_messages(2).await[1].addresses(), ["later@example.org"]);
    }
}

#[tokio::test]
async fn a_refused_sender_is_an_outcome_for_all() {
    let (postrider, mx) = world(Script::new().on("MAIL", "550 5.7.1 We do not like you")).await;
    let id = postrider.send("", &["b@example.org", "c@example.org"], &message()).await;
    let detail = postrider.wait_for_status(id, EmailStatus::Failed).await;
    assert!(detail.deliveries.iter().all(|delivery| delivery.category == Some(Category::Policy)), "{detail:?}");
    assert!(mx.all_messages().iter().all(|message| message.data.is_empty()));
}

#[tokio::test]
async fn a_refused_message_is_an_outcome_for_those_who_were_accepted() {
    let script = Script::new().on_recipient("never@example.org", "550 5.1.1 Never").on(".", "554 5.6.0 Not this");
    let (postrider, _mx) = world(script).await;
    let id = postrider.send("", &["b@example.org", "never@example.org"], &message()).await;
    let detail = postrider.wait_for_status(id, EmailStatus::Failed).await;
    let categories: Vec<_> = detail.deliveries.iter().map(|delivery| delivery.category).collect();
    assert_eq!(categories, [Some(Category::Content), Some(Category::BadMailbox)]);
}

#[tokio::test]
async fn a_refused_data_command_is_an_outcome_for_all() {
    let (postrider, mx) = world(Script::new().on("DATA", "451 4.3.0 Disk trouble")).await;
    let id = postrider.send("", &["b@example.org"], &message()).await;
    postrider.wait_for_deferred(id, 1).await;
    assert!(mx.all_messages().is_empty());
}

#[tokio::test]
async fn a_server_that_shuts_down_puts_off_and_no_more() {
    for verb in ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        let script = Script::new().first(1, verb, Answer::ReplyThenClose("421 4.3.2 Shutting down".into()));
        let (postrider, mx) = world(script).await;
        let id = postrider.send("", &["b@example.org"], &message()).await;
        postrider.wait_for_deferred(id, 1).await;
        postrider.advance_to_next_attempt(id).await;
        postrider.wait_for_status(id, EmailStatus::Sent).await;
        assert_eq!(mx.messages().len(), 1, "{verb}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_puts_off_and_no_more() {
    for verb in ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        let (postrider, mx) = world(Script::new().first(1, verb, Answer::Close)).await;
        let id = postrider.send("", &["b@example.org"], &message()).await;
        let detail = postrider.wait_for_deferred(id, 1).await;
        assert_eq!(detail.deliveries[0].category, Some(Category::Connection), "{verb}");
        postrider.advance_to_next_attempt(id).await;
        postrider.wait_for_status(id, EmailStatus::Sent).await;
        assert_eq!(mx.messages().len(), 1, "{verb}");
    }
}

/// RFC 5321 section 4.2.1: a greeting of 5xx is of this host, and another may do better.
#[tokio::test]
async fn a_host_that_greets_with_a_refusal_is_not_the_end() {
    let site = Site::new().await;
    site.zone().mx("example.org", 10, "first.test").mx("example.org", 20, "second.test");
    let first = site.host("first.test", Script::new().on("CONNECT", "554 5.3.2 No service")).await;
    let second = site.host("second.test", Script::new()).await;
    let postrider = site.start().await;
    let id = postrider.send("", &["b@example.org"], &message()).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!((first.connections(), second.messages().len()), (1, 1));
}

/// RFC 5321 section 4.5.3.1.10: 552 is what old servers say to one recipient too many.
#[tokio::test]
async fn recipients_beyond_what_the_server_takes_are_put_off() {
    let recipients: Vec<String> = (0..102).map(|number| format!("b{number}@example.org")).collect();
    let script = Script::new()
        .on_recipient("b7@example.org", "552 5.2.2 Full")
        .on_recipient("b100@example.org", "552 Too many recipients")
        .on_recipient("b101@example.org", "552 Too many recipients");
    let (postrider, mx) = world(script).await;
    let names: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let id = postrider.send("", &names, &message()).await;
    let detail = postrider.wait_for_deferred(id, 1).await;
    let of = |number: usize| statuses(&detail)[number].1;
    assert_eq!((of(7), of(99)), (EmailStatus::Failed, EmailStatus::Sent));
    assert_eq!((of(100), of(101)), (EmailStatus::Deferred, EmailStatus::Deferred));

    mx.set_script(Script::new());
    postrider.advance_to_next_attempt(id).await;
    postrider.wait_for_status(id, EmailStatus::Failed).await;
    assert_eq!(mx.wait_for_messages(2).await[1].addresses(), ["b100@example.org", "b101@example.org"]);
}

/// 421 to RSET, like 421 to MAIL, was decided before our message came.
#[tokio::test]
async fn a_kept_connection_that_says_goodbye_is_no_attempt() {
    let script = Script::new().on_recipient("never@example.org", "550 5.1.1 Never").first(
        1,
        "RSET",
        Answer::ReplyThenClose("421 4.4.2 Idle for too long".into()),
    );
    let (postrider, mx) = world(script).await;
    let id = postrider.send("", &["never@example.org"], &message()).await;
    postrider.wait_for_status(id, EmailStatus::Failed).await;
    let id = postrider.send("", &["b@example.org"], &message()).await;
    let detail = postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!((detail.email.attempts, mx.connections()), (1, 2));
}
