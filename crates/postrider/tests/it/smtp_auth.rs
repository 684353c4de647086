//! AUTH on the wire, with every mechanism, right and wrong.

use std::task::Poll;
use std::time::Duration;

use postrider_core::{Address, EmailStatus};
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

/// Who knows the password is told what is the matter; who does not learns nothing of it.
#[tokio::test]
async fn a_disabled_user_may_not_send() {
    let postrider = server().await;
    let _time = postrider.clock().run();
    let set_enabled = async |is_enabled| {
        let address = Address::parse(USER).unwrap();
        assert!(postrider.store().set_enabled(&address, is_enabled, postrider.now()).await.unwrap());
    };
    let mut open = submission(&postrider).await;
    assert_eq!(open.auth_plain(USER, PASSWORD).await.code, 235);
    open.demand(&format!("MAIL FROM:<{USER}>"), 250).await;
    open.demand("RSET", 250).await;
    set_enabled(false).await;
    open.demand(&format!("MAIL FROM:<{USER}>"), 525).await;
    open.demand(&format!("MAIL FROM:<{USER}>"), 525).await;
    for (reply, mut client) in by_each_mechanism(&postrider, USER, PASSWORD).await {
        assert_eq!(reply.code, 525, "{}", client.transcript());
        assert!(client.transcript().contains("525 5.7.13 This account is disabled"), "{}", client.transcript());
        assert_eq!(try_recipient(&mut client, USER, "b@example.org").await, 530);
    }
    let wrong = by_each_mechanism(&postrider, USER, "wrong password").await;
    let unknown = by_each_mechanism(&postrider, "nobody@local.test", "wrong password").await;
    for ((wrong, _), (unknown, _)) in wrong.into_iter().zip(unknown) {
        assert_eq!(wrong, unknown);
    }
    set_enabled(true).await;
    open.demand(&format!("MAIL FROM:<{USER}>"), 250).await;
    for (reply, client) in by_each_mechanism(&postrider, USER, PASSWORD).await {
        assert_eq!(reply.code, 235, "{}", client.transcript());
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

/// More connections than there are cores, all through with EHLO.
async fn many_submissions(postrider: &TestPostrider) -> Vec<LineClient> {
    run_together((0..cores() + 20).map(|_| submission(postrider))).await
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs all of them at once; the outputs in the order of the futures.
async fn run_together<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

/// Guesses on many connections at once. In the two minutes after which the rest is put off, no more guesses are looked at
/// than the cores began with, and those that the delays of 1, 2, 4, 8, 16, 30 and 30 seconds let through.
async fn assert_parallel_guesses_are_slowed(guess: impl AsyncFn(LineClient) -> ClientReply) {
    let postrider = server().await;
    let clients = many_submissions(&postrider).await;
    let _time = postrider.clock().run();
    let replies = run_together(clients.into_iter().map(|client| guess(client))).await;
    let wrong = replies.iter().filter(|reply| reply.code == 535).count();
    assert!((1..=cores() + 7).contains(&wrong), "{replies:?}");
    assert_eq!(postrider.app().control().smtp_stats().auth_failures, wrong as u64);
    assert!(replies.iter().all(|reply| matches!(reply.code, 535 | 454 | 421)), "{replies:?}");
}

#[tokio::test]
async fn guessing_in_parallel_gains_nothing() {
    assert_parallel_guesses_are_slowed(async |mut client: LineClient| client.auth_plain(USER, "wrong").await).await;
}

/// All exchanges are let through before one has failed; their proofs are looked at one after the other.
#[tokio::test]
async fn guessing_in_parallel_exchanges_gains_nothing() {
    assert_parallel_guesses_are_slowed(async |mut client: LineClient| client.auth_scram(USER, "wrong").await).await;
}

/// An application that opens many connections at once is not taken for one that guesses: no time passes here.
#[tokio::test]
async fn many_right_log_ins_at_once_are_not_slowed() {
    let postrider = server().await;
    let clients = many_submissions(&postrider).await;
    let log_ins = clients.into_iter().enumerate().map(async |(number, mut client)| match number % 2 {
        0 => client.auth_plain(USER, PASSWORD).await,
        _ => client.auth_scram(USER, PASSWORD).await,
    });
    for reply in run_together(log_ins).await {
        assert_eq!(reply.code, 235);
    }
}

/// A first line that begins with white space would continue the last of the server's own fields.
#[tokio::test]
async fn a_message_cannot_continue_the_servers_fields() {
    let postrider = server().await;
    let mut client = submission(&postrider).await;
    assert_eq!(client.auth_plain(USER, PASSWORD).await.code, 235);
    for message in [" continued\r\nSubject: x\r\n\r\ny\r\n", "\tcontinued\r\n"] {
        let reply = client.send_mail(USER, &[USER], message.as_bytes()).await;
        let id = postrider.accepted(&reply).await;
        let kept = postrider.store().raw(id).await.unwrap().unwrap().raw.to_vec();
        let kept = String::from_utf8(kept).unwrap();
        let (header, body) = kept.split_once("\r\n\r\n").unwrap();
        assert!(header.contains("\r\nDate: ") && header.contains("\r\nMessage-ID: <"), "{kept}");
        assert_eq!(body, message);
        assert_eq!(postrider.email(id).await.email.subject, None);

        let mut stranger = LineClient::hello(postrider.smtp_mx()).await;
        let reply = stranger.send_mail("a@example.net", &[USER], message.as_bytes()).await;
        let kept = postrider.store().raw(postrider.accepted(&reply).await).await.unwrap().unwrap().raw.to_vec();
        let kept = String::from_utf8(kept).unwrap();
        assert_eq!(kept.split_once("\r\n\r\n").unwrap().1, message);
    }
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
