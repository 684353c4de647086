//! A store that cannot be reached: nothing is acknowledged that is not kept, nothing is begun that could not be recorded,
//! and all goes on by itself.

use std::time::Duration;

use postrider_core::EmailStatus;
use postrider_testkit::{Answer, Gate, ImapClient, Script, Site, StoreFaults, eventually, mail};

use crate::imap_support::{PASSWORD, USER, append_all, plain, plains};

fn message(n: usize) -> Vec<u8> {
    mail::plain("a@client.test", "b@example.org", &format!("number {n}"))
}

async fn site(faults: &StoreFaults) -> Site {
    Site::new().await.with_store_faults(faults).limit(|limits| limits.lease = Duration::from_secs(30))
}

#[tokio::test]
async fn sessions_outlive_an_outage_and_mail_is_put_off() {
    let faults = StoreFaults::of_shared_store();
    let site = site(&faults).await;
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let mut client = postrider.client().await;
    faults.set_failing(true);
    let reply = client.send_mail("a@client.test", &["b@example.org"], &message(1)).await;
    assert_eq!(reply.code, 451);
    assert!(reply.text().starts_with("451 4.3.0 "), "{}", reply.text());
    faults.set_failing(false);
    let _time = postrider.clock().run();
    let reply = client.send_mail("a@client.test", &["b@example.org"], &message(2)).await;
    let id = postrider.accepted(&reply).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(mx.messages().len(), 1);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_not_waited_for_for_ever() {
    let faults = StoreFaults::of_shared_store();
    let site = site(&faults).await.limit(|limits| limits.store_timeout = Duration::from_secs(120));
    let postrider = site.set("ALLOWED_DOMAINS", "here.test").set("UNKNOWN_RECIPIENTS", "reject").start().await;
    let mut client = postrider.client().await;
    faults.set_hanging(true);
    client.demand("MAIL FROM:<a@client.test>", 250).await;
    let (reply, ()) = tokio::join!(client.command("RCPT TO:<b@here.test>"), async {
        postrider.clock().wait_for_sleeper(Duration::from_secs(100), Duration::from_secs(120)).await;
        postrider.clock().advance(Duration::from_secs(120)).await;
    });
    assert_eq!(reply.code, 451, "{}", reply.text());
    client.demand("RSET", 250).await;
    let message = message(1);
    let (reply, ()) = tokio::join!(client.send_mail("a@client.test", &["b@example.org"], &message), async {
        postrider.clock().wait_for_sleeper(Duration::from_secs(100), Duration::from_secs(120)).await;
        postrider.clock().advance(Duration::from_secs(120)).await;
    });
    assert_eq!(reply.code, 451, "{}", reply.text());
    client.demand("NOOP", 250).await;
}

#[tokio::test]
async fn health_tells_of_a_store_that_does_not_answer_in_time() {
    let faults = StoreFaults::of_shared_store();
    let postrider = site(&faults).await.start().await;
    assert_eq!(postrider.get("/health").await.status, 200);
    faults.set_hanging(true);
    let (health, ()) = tokio::join!(postrider.get("/health"), async {
        postrider.clock().wait_for_sleeper(Duration::from_millis(1500), Duration::from_secs(2)).await;
        postrider.clock().advance(Duration::from_secs(2)).await;
    });
    assert_eq!(health.status, 503);
    faults.set_hanging(false);
    faults.set_failing(true);
    assert_eq!(postrider.get("/health").await.status, 503);
    faults.set_failing(false);
    assert_eq!(postrider.get("/health").await.status, 200);
}

/// What would come of a message could not be recorded: it had to be sent again if the outage outlived the lease.
#[tokio::test]
async fn no_message_is_begun_during_an_outage() {
    let faults = StoreFaults::of_shared_store();
    let site = site(&faults).await.set("QUEUE_CONCURRENCY_PER_DOMAIN", "1");
    let gate = Gate::new();
    let mx = site.mx("example.org", Script::new().on(".", Answer::after(&gate, "250 2.0.0 Kept"))).await;
    let postrider = site.start().await;
    for n in 0..3 {
        postrider.send("a@client.test", &["b@example.org"], &message(n)).await;
    }
    mx.wait_for_line("C: <data>", 1).await;
    faults.set_failing(true);
    let reply = postrider.client().await.send_mail("a@client.test", &["b@example.org"], &message(3)).await;
    assert_eq!(reply.code, 451);
    gate.open();
    mx.wait_for_messages(1).await;
    for _ in 0..10 {
        postrider.clock().advance(Duration::from_secs(1)).await;
    }
    assert_eq!(mx.all_messages().len(), 1);
    faults.set_failing(false);
    let _time = postrider.clock().run();
    mx.wait_for_messages(3).await;
    eventually("all to be recorded", async || {
        postrider.emails().await.iter().all(|email| email.status == EmailStatus::Sent).then_some(())
    })
    .await;
    assert_eq!(mx.messages().len(), 3);
}

/// The claims are lost when the outage outlives the lease, what is known of them is not.
#[tokio::test]
async fn what_was_answered_250_before_a_long_outage_is_recorded_after_it_and_not_sent_again() {
    let faults = StoreFaults::of_shared_store();
    let site = site(&faults).await;
    let gate = Gate::new();
    let script = Script::new()
        .on(".", Answer::after(&gate, "250 2.0.0 Kept"))
        .on_recipient("nobody@example.org", "550 5.1.1 No such user");
    let mx = site.mx("example.org", script).await;
    let postrider = site.start().await;
    let recipients = ["b@example.org", "nobody@example.org"];
    let id = postrider.send("a@client.test", &recipients, &message(1)).await;
    mx.wait_for_line("C: <data>", 1).await;
    faults.set_failing(true);
    gate.open();
    mx.wait_for_messages(1).await;
    for _ in 0..60 {
        postrider.clock().advance(Duration::from_secs(3)).await;
    }
    faults.set_failing(false);
    let _time = postrider.clock().run();
    let detail = postrider.wait_for_status(id, EmailStatus::Failed).await;
    let codes: Vec<u16> = detail.deliveries.iter().filter_map(|d| Some(d.last_response.as_ref()?.code)).collect();
    assert_eq!(codes, [250, 550]);
    assert_eq!((mx.messages().len(), mx.connections()), (1, 1));
    // The sender is told once, too.
    assert_eq!(postrider.wait_for_emails(2).await.len(), 2);
}

/// What is made is answered so, also where nobody can see yet what came of it: who were told otherwise would do it again.
#[tokio::test]
async fn what_was_changed_in_a_mailbox_is_not_taken_back() {
    let faults = StoreFaults::new();
    let postrider = site(&faults).await.set("ALLOWED_DOMAINS", "example.org").start().await;
    postrider.add_user(USER, PASSWORD).await;
    let mut client = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    append_all(&mut client, "INBOX", &plains(4)).await;
    client.demand("SELECT INBOX").await;
    faults.set_hiding_deltas(true);
    assert!(client.append("INBOX", &plain(5)).await.tagged.starts_with("OK [APPENDUID "));
    assert!(client.command("COPY 1 INBOX").await.tagged.starts_with("OK [COPYUID "));
    assert!(client.demand("MOVE 2 Archive").await.lines()[0].starts_with("* OK [COPYUID "));
    client.demand("STORE 3 +FLAGS (\\Deleted)").await;
    client.demand("EXPUNGE").await;
    assert_eq!(client.command("NOOP").await.tagged, "NO [UNAVAILABLE] Not possible for now, try again later");
    faults.set_hiding_deltas(false);
    let told = client.demand("NOOP").await.lines();
    assert_eq!(told[..3], ["* 3 EXPUNGE", "* 2 EXPUNGE", "* 4 EXISTS"], "{told:?}");
    assert_eq!(client.demand("UID SEARCH ALL").await.lines(), ["* SEARCH 1 4 5 6"]);
    assert_eq!(client.demand("STATUS Archive (MESSAGES)").await.starting("STATUS"), ["STATUS Archive (MESSAGES 1)"]);
}
