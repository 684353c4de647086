//! AUTH on the wire, with every mechanism, right and wrong.

use std::time::Duration;

use postrider_core::EmailStatus;
use postrider_testkit::{ClientReply, LineClient, Script, TestPostrider, mail};

use crate::support::{site_of_strangers, try_recipient};

const USER: &str = "user@local.test";
const PASSWORD: &str = "correct horse, battery=staple";

async fn server() -> TestPostrider {
    let site = site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test");
    let postrider = site.start().await;
    postrider.add_user(USER, PASSWORD).await;
    postrider
}

/// A session on the submission port, encrypted by STARTTLS.
async fn submission(postrider: &TestPostrider) -> LineClient {
    let mut client = LineClient::hello(postrider.submission()).await;
    client.starttls().await;
    client.demand("EHLO client.test", 250).await;
    client
}

/// Logs in by each mechanism, each on a connection of its own.
async fn by_each_mechanism(postrider: &TestPostrider, user: &str, password: &str) -> Vec<(ClientReply, LineClient)> {
    let mut results = Vec::new();
    for mechanism in ["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"] {
        let mut client = submission(postrider).await;
        let reply = match mechanism {
            "PLAIN" => client.auth_plain(user, password).await,
            "LOGIN" => client.auth_login(user, password).await,
            "SCRAM-SHA-256" => client.auth_scram(user, password).await,
            _ => client.auth_scram_plus(user, password).await,
        };
        results.push((reply, client));
    }
    results
}

#[tokio::test]
async fn every_mechanism_lets_the_right_password_in() {
    let postrider = server().await;
    for (reply, mut client) in by_each_mechanism(&postrider, USER, PASSWORD).await {
        assert_eq!(reply.code, 235, "{}", client.transcript());
        assert_eq!(try_recipient(&mut client, USER, "b@example.org").await, 250);
    }
}

#[tokio::test]
async fn no_mechanism_lets_a_wrong_password_in() {
    let postrider = server().await;
    let _time = postrider.clock().run();
    for (reply, mut client) in by_each_mechanism(&postrider, USER, "wrong password").await {
        assert_eq!(reply.code, 535, "{}", client.transcript());
        assert_eq!(try_recipient(&mut client, USER, "b@example.org").await, 530);
    }
}

#[tokio::test]
async fn an_unknown_user_cannot_be_told_from_a_wrong_password() {
    let postrider = server().await;
    let _time = postrider.clock().run();
    let wrong = by_each_mechanism(&postrider, USER, "wrong password").await;
    let unknown = by_each_mechanism(&postrider, "nobody@local.test", "wrong password").await;
    for ((wrong, _), (unknown, _)) in wrong.into_iter().zip(unknown) {
        assert_eq!(wrong, unknown);
    }
}

#[tokio::test]
async fn a_binding_to_another_session_is_refused() {
    let postrider = server().await;
    let _time = postrider.clock().run();
    let mut client = submission(&postrider).await;
    let reply = client.auth_scram_plus_elsewhere(USER, PASSWORD).await;
    assert_eq!(reply.code, 535, "{}", client.transcript());
    assert_eq!(postrider.app().control().smtp_stats().auth_failures, 1, "it counts as a guess");
    assert_eq!(try_recipient(&mut client, USER, "b@example.org").await, 530);
}

#[tokio::test]
async fn who_logged_in_may_relay_on_the_applications_port() {
    let site = site_of_strangers().await;
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    postrider.add_user(USER, PASSWORD).await;
    let mut client = LineClient::hello(postrider.smtp()).await;
    client.starttls().await;
    client.demand("EHLO client.test", 250).await;
    assert_eq!(client.auth_plain(USER, PASSWORD).await.code, 235);
    let reply = client.send_mail(USER, &["b@example.org"], &mail::plain(USER, "b@example.org", "authenticated")).await;
    postrider.wait_for_status(postrider.accepted(&reply).await, EmailStatus::Sent).await;
    let received = mx.messages()[0].text();
    assert!(received.contains("with ESMTPSA id"), "{received}");
}

#[tokio::test]
async fn a_password_changed_or_removed_holds_at_once() {
    let postrider = server().await;
    let _time = postrider.clock().run();
    let address = USER.parse().unwrap();
    assert!(postrider.store().remove_user(&address).await.unwrap());
    for (reply, _) in by_each_mechanism(&postrider, USER, PASSWORD).await {
        assert_eq!(reply.code, 535);
    }
}

#[tokio::test]
async fn auth_twice_and_inside_a_transaction_is_out_of_order() {
    let postrider = server().await;
    let mut client = submission(&postrider).await;
    client.demand("AUTH PLAIN *", 501).await;
    client.demand("AUTH UNHEARD-OF", 504).await;
    client.demand("AUTH LOGIN", 334).await;
    client.demand("*", 501).await;
    assert_eq!(client.auth_plain(USER, PASSWORD).await.code, 235);
    assert_eq!(client.auth_plain(USER, PASSWORD).await.code, 503);
}

/// Guessing is slowed, each time more, and the right password is not locked out by it.
#[tokio::test]
async fn failures_are_slowed() {
    let postrider = server().await;
    let mut client = submission(&postrider).await;
    for _ in 0..4 {
        let reply = slowly(&postrider, client.auth_plain(USER, "wrong password")).await;
        assert_eq!(reply.code, 535);
    }
    client.send(&format!("AUTH PLAIN {WRONG_PASSWORD_BASE64}")).await;
    wait_for_delay(&postrider, 8).await;
    assert_eq!(slowly(&postrider, client.reply()).await.code, 535);
    // Were the right password answered at once, silence would tell that one is wrong.
    client.send(&format!("AUTH PLAIN {PASSWORD_BASE64}")).await;
    wait_for_delay(&postrider, 16).await;
    assert_eq!(slowly(&postrider, client.reply()).await.code, 235);
    // The account has proven itself; the address that guessed has not, whatever the mechanism.
    let mut client = submission(&postrider).await;
    client.send("AUTH SCRAM-SHA-256 biwsbj11c2VyQGxvY2FsLnRlc3Qscj1hYmM=").await;
    wait_for_delay(&postrider, 16).await;
    assert_eq!(slowly(&postrider, client.reply()).await.code, 334);
}

#[tokio::test]
async fn a_delayed_log_in_does_not_hold_up_a_shutdown() {
    let postrider = server().await;
    let mut client = submission(&postrider).await;
    for _ in 0..4 {
        slowly(&postrider, client.auth_plain(USER, "wrong password")).await;
    }
    client.send(&format!("AUTH PLAIN {PASSWORD_BASE64}")).await;
    wait_for_delay(&postrider, 8).await;
    // No time passes from here on.
    let shutdown = tokio::spawn(postrider.shut_down());
    client.expect(421).await;
    shutdown.await.unwrap();
}

/// `\0user@local.test\0wrong`
const WRONG_PASSWORD_BASE64: &str = "AHVzZXJAbG9jYWwudGVzdAB3cm9uZw==";
/// `\0user@local.test\0correct horse, battery=staple`
const PASSWORD_BASE64: &str = "AHVzZXJAbG9jYWwudGVzdABjb3JyZWN0IGhvcnNlLCBiYXR0ZXJ5PXN0YXBsZQ==";

/// Waits until a log-in waits for this long; nothing else sleeps for as long, to the millisecond, while the clock stands.
async fn wait_for_delay(postrider: &TestPostrider, seconds: u64) {
    let delay = Duration::from_secs(seconds);
    postrider.clock().wait_for_sleeper(delay, delay).await;
}

/// Waits for something while the clock goes on, slowly enough that the server does not forget in the meantime.
async fn slowly<T>(postrider: &TestPostrider, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        tokio::select! {
            output = &mut future => return output,
            () = tokio::time::sleep(Duration::from_millis(10)) => postrider.clock().advance(Duration::from_secs(1)).await,
        }
    }
}
