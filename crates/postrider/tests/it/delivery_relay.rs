//! `DELIVERY_MODE=relay`: all mail through one host, with TLS and AUTH as `RELAY_URL` says.

use postrider_core::EmailStatus;
use postrider_testkit::{RecordType, Script, ScriptedMx, Site, StartTls, TestPostrider, mail, ports};

/// A relay, and a Postrider that uses it; `url` gets the relay's address and port for `HOST`.
async fn world(script: Script, url: &str) -> (TestPostrider, ScriptedMx) {
    let site = Site::new().await;
    let relay = site.host("relay.test", script).await;
    let url = url.replace("HOST", &format!("{}:{}", relay.address().ip(), ports::DELIVERY));
    let site = site.set("DELIVERY_MODE", "relay").set("RELAY_URL", &url);
    (site.start().await, relay)
}

async fn send(postrider: &TestPostrider, status: EmailStatus) {
    let message = mail::plain("", "b@example.org", "relayed");
    let id = postrider.send("", &["b@example.org", "c@elsewhere.test"], &message).await;
    postrider.wait_for_status(id, status).await;
}

#[tokio::test]
async fn all_mail_goes_through_the_relay() {
    let (postrider, relay) = world(Script::new(), "smtp://HOST").await;
    send(&postrider, EmailStatus::Sent).await;
    assert_eq!(relay.messages()[0].addresses(), ["b@example.org", "c@elsewhere.test"]);
    assert_eq!(postrider.zone().count("example.org", RecordType::MX), 0);
}

#[tokio::test]
async fn it_logs_in_over_starttls() {
    let script = Script::new().starttls(StartTls::Working).credentials("us er", "p@ss:word/");
    let (postrider, relay) = world(script, "smtp://us%20er:p%40ss%3Aword%2F@HOST").await;
    send(&postrider, EmailStatus::Sent).await;
    let message = &relay.messages()[0];
    assert_eq!((message.user.as_deref(), message.tls), (Some("us er"), true));
}

#[tokio::test]
async fn it_logs_in_over_tls_from_the_first_byte() {
    let script = Script::new().implicit_tls().credentials("user", "password");
    let (postrider, relay) = world(script, "smtps://user:password@HOST").await;
    send(&postrider, EmailStatus::Sent).await;
    let message = &relay.messages()[0];
    assert_eq!((message.user.as_deref(), message.tls), (Some("user"), true));
}

/// A wrong password is the operator's to mend; the mail waits for it.
#[tokio::test]
async fn wrong_credentials_lose_no_mail() {
    let (postrider, relay) = world(Script::new().credentials("user", "password"), "smtp://user:wrong@HOST").await;
    send(&postrider, EmailStatus::Deferred).await;
    assert!(relay.all_messages().is_empty());
    relay.set_script(Script::new().credentials("user", "wrong"));
    let id = postrider.emails().await[0].id;
    postrider.advance_to_next_attempt(id).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
}

#[tokio::test]
async fn the_relay_may_be_a_name() {
    let site = Site::new().await;
    let relay = site.host("relay.test", Script::new()).await;
    let url = format!("smtp://relay.test:{}", ports::DELIVERY);
    let postrider = site.set("DELIVERY_MODE", "relay").set("RELAY_URL", &url).start().await;
    send(&postrider, EmailStatus::Sent).await;
    assert_eq!(relay.messages().len(), 1);
}
