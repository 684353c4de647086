//! Logging in over IMAP: every mechanism, with and without TLS, right and wrong.

use std::time::Duration;

use postrider_core::Address;
use postrider_testkit::{ImapClient, ImapReply, TestPostrider, mail};

use crate::imap_support::{PASSWORD, USER, another, world};

/// One client on each port, encrypted both ways.
async fn encrypted(postrider: &TestPostrider) -> [ImapClient; 2] {
    let mut upgraded = ImapClient::connect(postrider.imap()).await;
    upgraded.starttls().await;
    [upgraded, ImapClient::connect_tls(postrider.imaps()).await]
}

const MECHANISMS: [&str; 5] = ["the command", "PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"];

async fn log_in(client: &mut ImapClient, mechanism: &str, user: &str, password: &str) -> ImapReply {
    match mechanism {
        "the command" => client.command(&format!("LOGIN {user} \"{password}\"")).await,
        "PLAIN" => client.auth_plain(user, password).await,
        "LOGIN" => client.auth_login(user, password).await,
        "SCRAM-SHA-256" => client.auth_scram(user, password).await,
        _ => client.auth_scram_plus(user, password).await,
    }
}

#[tokio::test]
async fn every_mechanism_lets_the_right_password_in() {
    let postrider = world().await;
    for mechanism in MECHANISMS {
        for mut client in encrypted(&postrider).await {
            assert!(log_in(&mut client, mechanism, USER, PASSWORD).await.is_ok(), "{}", client.transcript());
            client.demand("SELECT INBOX").await;
            assert!(client.command("AUTHENTICATE PLAIN").await.tagged.starts_with("BAD"), "once is enough");
        }
    }
}

#[tokio::test]
async fn no_mechanism_lets_a_wrong_password_in() {
    let postrider = world().await;
    for user in [USER, "nobody@example.org", "bob"] {
        for mechanism in MECHANISMS {
            for mut client in encrypted(&postrider).await {
                let reply = slowly(&postrider, log_in(&mut client, mechanism, user, "a wrong password")).await;
                assert!(reply.tagged.starts_with("NO [AUTHENTICATIONFAILED] "), "{}", client.transcript());
                assert!(client.command("SELECT INBOX").await.tagged.starts_with("BAD"), "{}", client.transcript());
            }
        }
    }
}

/// By every mechanism, and with what is open; mail is kept meanwhile.
#[tokio::test]
async fn a_disabled_user_is_told_so_and_open_sessions_end() {
    const BYE: &str = "* BYE This account was disabled or removed, ask the administrator of this server";
    let postrider = world().await;
    let set_enabled = async |is_enabled| {
        let address = Address::parse(USER).unwrap();
        assert!(postrider.store().set_enabled(&address, is_enabled, postrider.now()).await.unwrap());
    };
    let mut open = another(&postrider).await;
    let mut idle = another(&postrider).await;
    idle.idle().await;
    set_enabled(false).await;
    open.send_command("FETCH 1:* (FLAGS)").await;
    assert_eq!(open.wait_for("").await, BYE);
    assert_eq!(open.try_response().await, None);
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    postrider.clock().wait_for_sleeper(minutes(3), minutes(4)).await;
    postrider.clock().advance(minutes(4)).await;
    assert_eq!(idle.wait_for("BYE").await, BYE);
    for mechanism in MECHANISMS {
        for mut client in encrypted(&postrider).await {
            let reply = slowly(&postrider, log_in(&mut client, mechanism, USER, PASSWORD)).await;
            assert!(reply.tagged.starts_with("NO [CONTACTADMIN] This account is disabled"), "{}", client.transcript());
            assert!(client.command("SELECT INBOX").await.tagged.starts_with("BAD"), "{}", client.transcript());
            let reply = slowly(&postrider, log_in(&mut client, mechanism, USER, "a wrong password")).await;
            assert!(reply.tagged.starts_with("NO [AUTHENTICATIONFAILED] "), "{}", client.transcript());
        }
    }
    postrider.send("a@client.test", &[USER], &mail::plain("a@client.test", USER, "kept")).await;
    set_enabled(true).await;
    let mut client = ImapClient::connect(postrider.imap()).await;
    let reply = slowly(&postrider, log_in(&mut client, "PLAIN", USER, PASSWORD)).await;
    assert!(reply.is_ok(), "{}", client.transcript());
    assert!(client.demand("SELECT INBOX").await.text().contains("* 1 EXISTS"), "{}", client.transcript());
}

#[tokio::test]
async fn what_can_be_done_is_told_anew_under_tls_and_when_logged_in() {
    let postrider = world().await;
    let mut client = ImapClient::connect(postrider.imap()).await;
    let said = client.demand("CAPABILITY").await.text();
    assert!(said.contains(" STARTTLS") && !said.contains("-PLUS"), "{said}");
    client.starttls().await;
    let said = client.demand("CAPABILITY").await.text();
    assert!(!said.contains(" STARTTLS") && said.contains(" AUTH=SCRAM-SHA-256-PLUS"), "{said}");
    assert!(client.command("STARTTLS").await.tagged.starts_with("BAD"));
    client.demand(&format!("LOGIN {USER} \"{PASSWORD}\"")).await;
    let said = client.demand("CAPABILITY").await.text();
    assert!(!said.contains("AUTH=") && said.contains(" QRESYNC"), "{said}");
}

/// What was said in the clear is no part of the encrypted session.
#[tokio::test]
async fn nothing_is_carried_over_into_tls() {
    let postrider = world().await;
    let mut client = ImapClient::connect(postrider.imap()).await;
    client.send_bytes(format!("a STARTTLS\r\nb LOGIN {USER} \"{PASSWORD}\"\r\n").as_bytes()).await;
    let reply = client.answer("a").await;
    if reply.is_ok() {
        client.handshake().await;
        assert!(client.command("SELECT INBOX").await.tagged.starts_with("BAD"), "{}", client.transcript());
    } else {
        assert!(reply.tagged.starts_with("BAD"), "{}", reply.text());
    }
}

/// Guessing is slowed, each time more, and the right password is not locked out by it.
#[tokio::test]
async fn failures_are_slowed() {
    let postrider = world().await;
    let mut client = ImapClient::connect(postrider.imap()).await;
    let guess = format!("LOGIN {USER} \"a wrong password\"");
    {
        let _time = postrider.clock().run();
        for _ in 0..3 {
            assert!(!client.command(&guess).await.is_ok());
        }
    }
    let tag = client.send_command(&guess).await;
    waits(&postrider, 4).await;
    assert!(slowly(&postrider, client.answer(&tag)).await.tagged.starts_with("NO [AUTHENTICATIONFAILED]"));
    let mut another = ImapClient::connect(postrider.imap()).await;
    let tag = another.send_command(&format!("LOGIN {USER} \"{PASSWORD}\"")).await;
    waits(&postrider, 8).await;
    assert!(slowly(&postrider, another.answer(&tag)).await.is_ok());
}

async fn waits(postrider: &TestPostrider, seconds: u64) {
    let delay = Duration::from_secs(seconds);
    postrider.clock().wait_for_sleeper(delay, delay).await;
}

async fn slowly<T>(postrider: &TestPostrider, answer: impl Future<Output = T>) -> T {
    let _time = postrider.clock().run();
    answer.await
}
