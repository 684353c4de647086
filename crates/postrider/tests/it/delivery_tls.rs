//! Mail that leaves only encrypted, to hosts that prove their names.

use std::time::Duration;

use postrider_core::{Category, EmailStatus, ObjectId};
use postrider_testkit::{
    HttpAnswer, HttpService, Script, Site, StartTls, TestPostrider, mail, servers_certificate_pem,
};

/// A site that trusts the MX hosts' certificate, and must for all domains.
async fn site() -> Site {
    let site = Site::new().await;
    let file = site.folder().join("authorities.pem");
    std::fs::write(&file, servers_certificate_pem()).unwrap();
    let path = file.to_string_lossy().into_owned();
    site.set("TLS_EXTRA_CA_FILE", &path)
        .set("TLS_REQUIRED_DOMAINS", "example.org, .test, mx.wrong.example, plain.example")
}

#[tokio::test]
async fn hosts_have_to_prove_their_names_where_that_is_required() {
    let site = site().await;
    let tls = || Script::new().starttls(StartTls::Working);
    let proven = site.mx("example.org", tls()).await;
    // Its name is not in the certificate.
    site.zone().mx("mx.wrong.example", 10, "mail.wrong.example");
    let unproven = site.host("mail.wrong.example", tls()).await;
    let clear = site.mx("plain.example", Script::new()).await;
    let free = site.mx("free.example", Script::new()).await;
    let postrider = site.start().await;
    let send = async |recipient: &str| {
        postrider.send("a@client.test", &[recipient], &mail::plain("a@client.test", recipient, "secret")).await
    };
    for recipient in ["b@example.org", "b@free.example"] {
        postrider.wait_for_status(send(recipient).await, EmailStatus::Sent).await;
    }
    assert!(proven.messages()[0].tls && !free.messages()[0].tls);
    for recipient in ["b@mx.wrong.example", "b@plain.example"] {
        let id = send(recipient).await;
        // Never in clear, however often it is tried.
        for attempts in 1..=2 {
            let detail = postrider.wait_for_deferred(id, attempts).await;
            assert_eq!(detail.deliveries[0].category, Some(Category::Tls), "{detail:#?}");
            postrider.advance_to_next_attempt(id).await;
        }
    }
    assert_eq!((unproven.messages().len(), clear.messages().len()), (0, 0));
}

#[tokio::test]
async fn a_file_of_authorities_that_cannot_be_used_stops_the_start() {
    let site = Site::new().await.set("TLS_EXTRA_CA_FILE", "/nowhere/authorities.pem");
    let output = site.command(crate::support::binary(), &["serve"], "").await;
    assert!(
        output.code != 0 && output.stderr.contains("TLS_EXTRA_CA_FILE /nowhere/authorities.pem"),
        "{}",
        output.stderr
    );
}

fn policy(mode: &str, mx: &str) -> HttpAnswer {
    HttpAnswer::ok(format!("version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 1000000\r\n"))
}

/// A site with the domain `example.org`, which shows this policy.
async fn site_with_policy(answer: HttpAnswer) -> (Site, HttpService) {
    let site = site().await.set("TLS_REQUIRED_DOMAINS", "");
    let ip = site.claim_ip();
    let service = HttpService::start_tls(ip, move |_| answer.clone()).await;
    site.zone().txt("_mta-sts.example.org", "v=STSv1; id=1;").address("mta-sts.example.org", ip);
    (site, service)
}

async fn send(postrider: &TestPostrider) -> ObjectId {
    let message = mail::plain("a@client.test", "b@example.org", "by policy");
    postrider.send("a@client.test", &["b@example.org"], &message).await
}

#[tokio::test]
async fn a_policy_that_is_enforced_keeps_mail_from_other_hosts_and_from_the_clear() {
    let (site, service) = site_with_policy(policy("enforce", "*.example.org")).await;
    // What an attacker would put first.
    site.zone().mx("example.org", 1, "evil.test");
    let evil = site.host("evil.test", Script::new().starttls(StartTls::Working)).await;
    let mx = site.mx("example.org", Script::new().starttls(StartTls::Working)).await;
    let postrider = site.start().await;
    let id = send(&postrider).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert!(mx.messages()[0].tls);
    assert_eq!((evil.connections(), service.requests().len()), (0, 1));
    assert_eq!(service.requests()[0].path, "/.well-known/mta-sts.txt");
    // The host is stripped of its TLS: the mail waits. And so it does after a restart, with the record gone and the
    // policy's host dead.
    mx.set_script(Script::new());
    service.set_answer(|_| HttpAnswer::Close);
    postrider.zone().clear("_mta-sts.example.org");
    let postrider = postrider.restart().await;
    for _ in 0..2 {
        let detail = postrider.wait_for_deferred(send(&postrider).await, 1).await;
        assert_eq!(detail.deliveries[0].category, Some(Category::Tls));
        postrider.pass(Duration::from_secs(40)).await;
    }
    assert_eq!((mx.messages().len(), service.requests().len()), (1, 1));
}

#[tokio::test]
async fn a_new_record_means_a_new_policy() {
    let (site, service) = site_with_policy(policy("enforce", "elsewhere.test")).await;
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let id = send(&postrider).await;
    let detail = postrider.wait_for_deferred(id, 1).await;
    let error = detail.email.last_error.clone().unwrap();
    assert!(error.contains("no MX host of example.org is allowed by its MTA-STS policy"), "{error}");
    service.set_answer(|_| policy("testing", "elsewhere.test"));
    postrider.zone().clear("_mta-sts.example.org").txt("_mta-sts.example.org", "v=STSv1; id=2;");
    // A new process knows no old record.
    let postrider = postrider.restart().await;
    postrider.advance_to_next_attempt(id).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!((mx.messages().len(), service.requests().len()), (1, 2));
}

#[tokio::test]
async fn a_policy_that_cannot_be_had_is_none() {
    for answer in [HttpAnswer::new(404, ""), HttpAnswer::ok("<html>"), HttpAnswer::new(301, "").header("Location: /x")]
    {
        let (site, service) = site_with_policy(answer).await;
        let mx = site.mx("example.org", Script::new()).await;
        let postrider = site.start().await;
        for _ in 0..2 {
            let id = send(&postrider).await;
            postrider.wait_for_status(id, EmailStatus::Sent).await;
            postrider.pass(Duration::from_secs(60)).await;
        }
        assert_eq!((mx.messages().len(), service.requests().len()), (2, 1), "it is not asked for again at once");
    }
    // Nor is one from a host that does not prove its name.
    let (site, service) = site_with_policy(policy("enforce", "elsewhere.test")).await;
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.set("TLS_EXTRA_CA_FILE", "").start().await;
    let id = send(&postrider).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!((mx.messages().len(), service.requests().len()), (1, 0));
}
