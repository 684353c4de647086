//! Certificates from an authority by ACME: got, shared, renewed, and never lost to a failure.

use std::time::Duration;

use postrider_store::acme::{AcmeFailure, AcmeOrders};
use postrider_testkit::{
    AcmeFault, AcmeServer, LineClient, ManualClock, Site, StoreFaults, TestPostrider, eventually, ports,
    servers_certificate_pem,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The site's own name.
const NAME: &str = "postrider.test";

/// A site that trusts the authority that is started with it, and gets its certificate there.
async fn with_authority(site: Site) -> (Site, ManualClock, AcmeServer) {
    let clock = ManualClock::new();
    let authority = AcmeServer::start(&site, &clock).await;
    let site = using(site, &authority);
    (site, clock, authority)
}

fn using(site: Site, authority: &AcmeServer) -> Site {
    let file = site.folder().join("authorities.pem");
    std::fs::write(&file, servers_certificate_pem()).unwrap();
    let path = file.to_string_lossy().into_owned();
    site.set("TLS_EXTRA_CA_FILE", &path)
        .set("ACME_ENABLED", "true")
        .set("ACME_DIRECTORY_URL", &authority.directory_url())
}

/// The certificate that a server shows on a port with TLS from the first byte.
async fn shown(postrider: &TestPostrider) -> Vec<u8> {
    LineClient::connect_tls(postrider.submissions()).await.unwrap().certificate().unwrap().to_vec()
}

/// Waits, in a time that runs, until the server shows a certificate of the authority's for these names that is not `before`.
async fn given(postrider: &TestPostrider, authority: &AcmeServer, names: &[&str], before: &[u8]) -> Vec<u8> {
    let _time = postrider.clock().run();
    eventually("a certificate of the authority's", async || {
        let now = shown(postrider).await;
        (now != before && authority.has_given(&now, names)).then_some(now)
    })
    .await
}

/// Waits, in a time that runs, until the last try is recorded as a failure, the `count`th in a row.
async fn failed(postrider: &TestPostrider, count: u32) -> AcmeFailure {
    let _time = postrider.clock().run();
    eventually("a failure", async || {
        let orders = AcmeOrders::find(postrider.store().as_ref(), &[NAME.to_owned()]).await.unwrap();
        orders.failure.filter(|failure| failure.count == count)
    })
    .await
}

#[tokio::test]
async fn a_first_certificate_comes_by_http_and_is_kept() {
    let (site, clock, authority) = with_authority(Site::new().await).await;
    let site = site.set("ACME_DOMAINS", "postrider.test, imap.postrider.test").set("ACME_EMAIL", "ann@example.org");
    authority.lead("imap.postrider.test", site.ip());
    let postrider = site.start_on(&clock).await;
    let own = shown(&postrider).await;
    let names = [NAME, "imap.postrider.test"];
    assert!(!authority.has_given(&own, &names), "the self-signed one serves until then");
    let first = given(&postrider, &authority, &names, &own).await;
    assert_eq!(authority.contacts(), [serde_json::json!(["mailto:ann@example.org"])]);
    // STARTTLS shows the same one.
    let mut client = LineClient::hello(postrider.smtp()).await;
    client.starttls().await;
    assert_eq!(client.certificate(), Some(first.as_slice()));

    let postrider = postrider.restart().await;
    assert_eq!(shown(&postrider).await, first, "the kept one is in use from the start");
    clock.leap(DAY).await;
    clock.wait_for_sleeper(Duration::ZERO, Duration::from_secs(30)).await;
    assert_eq!(authority.count("new-order"), 1);
    assert_eq!(authority.count("new-account"), 1);
}

#[tokio::test]
async fn a_first_certificate_comes_by_tls() {
    let (site, clock, authority) = with_authority(Site::new().await).await;
    let postrider = site.set("ACME_CHALLENGE", "tls-alpn-01").start_on(&clock).await;
    given(&postrider, &authority, &[NAME], &[]).await;
    let listeners = postrider.app().listeners();
    assert!(listeners.iter().any(|listener| listener.name == "acme-tls"), "{listeners:?}");
    // Other handshakes are not for this listener, and what was shown is gone.
    let ip = postrider.ip();
    assert!(LineClient::connect_tls((ip, ports::ACME_TLS).into()).await.is_err());
}

#[tokio::test]
async fn it_is_renewed_when_a_third_of_its_life_is_left() {
    let (site, clock, authority) = with_authority(Site::new().await).await;
    authority.set_certificate_life(DAY * 21);
    let postrider = site.start_on(&clock).await;
    let first = given(&postrider, &authority, &[NAME], &[]).await;
    // Not before: the renewals are spread over a thirtieth of the life before the last third.
    clock.leap(DAY * 13).await;
    clock.wait_for_sleeper(Duration::ZERO, Duration::from_secs(30)).await;
    clock.advance(Duration::from_secs(60)).await;
    assert_eq!(authority.count("new-order"), 1);
    clock.leap(DAY).await;
    let second = given(&postrider, &authority, &[NAME], &first).await;
    assert_ne!(first, second);
    assert_eq!((authority.count("new-order"), authority.count("new-account")), (2, 1), "the account stays");
}

#[tokio::test]
async fn it_is_renewed_earlier_or_later_where_the_authority_wants_that() {
    let (site, clock, authority) = with_authority(Site::new().await).await;
    let postrider = site.start_on(&clock).await;
    let start = postrider.now();
    // Later than a third of 90 days before the end, at first.
    authority.want_renewal(start + DAY * 70, start + DAY * 71);
    let first = given(&postrider, &authority, &[NAME], &[]).await;
    for _ in 0..3 {
        clock.leap(DAY * 22).await;
        clock.wait_for_sleeper(Duration::ZERO, Duration::from_secs(30)).await;
        clock.advance(Duration::from_secs(60)).await;
    }
    assert_eq!(authority.count("new-order"), 1);
    // Something has happened: now.
    authority.want_renewal(start, start + DAY);
    clock.leap(DAY).await;
    given(&postrider, &authority, &[NAME], &first).await;
    assert_eq!((authority.count("new-order"), authority.replacements()), (2, 1));
    // It says the same of the new one; that is not renewed on and on.
    clock.advance(Duration::from_secs(7 * 3600)).await;
    clock.wait_for_sleeper(Duration::ZERO, Duration::from_secs(30)).await;
    assert_eq!(authority.count("new-order"), 2);
}

#[tokio::test]
async fn a_failure_leaves_the_certificate_in_use_and_is_got_over() {
    let (site, clock, authority) = with_authority(Site::new().await).await;
    authority.set_certificate_life(DAY * 21);
    let postrider = site.start_on(&clock).await;
    let first = given(&postrider, &authority, &[NAME], &[]).await;
    // An address where nobody answers.
    authority.lead(NAME, postrider.claim_ip());
    clock.leap(DAY * 14).await;
    let failure = failed(&postrider, 1).await;
    assert!(failure.error.contains("port 80 of postrider.test"), "{}", failure.error);
    assert!(failure.error.contains("must reach ACME_HTTP_PORT here"), "{}", failure.error);
    authority.lead_nowhere(NAME);
    let failure = failed(&postrider, 2).await;
    assert!(failure.error.contains("give postrider.test an address record"), "{}", failure.error);
    assert_eq!(shown(&postrider).await, first);
    let waited = failure.retry_at.since(failure.at);
    assert!((Duration::from_secs(540)..=Duration::from_secs(660)).contains(&waited), "{waited:?}");

    authority.lead(NAME, postrider.ip());
    // Asked to, it tries at once.
    postrider.app().control().reload().await.unwrap();
    eventually("the fourth order", async || (authority.count("new-order") == 4).then_some(())).await;
    assert!(postrider.now() < failure.retry_at);
    given(&postrider, &authority, &[NAME], &first).await;
    assert_eq!(authority.count("new-order"), 4);
    let orders = AcmeOrders::find(postrider.store().as_ref(), &[NAME.to_owned()]).await.unwrap();
    assert_eq!(orders.failure, None);
}

#[tokio::test]
async fn what_authorities_do_now_and_then_is_got_over() {
    let (site, clock, authority) = with_authority(Site::new().await).await;
    authority.fail(AcmeFault::BadNonce);
    authority.fail(AcmeFault::BadNonce);
    authority.fail(AcmeFault::SlowIssuing { looks: 3 });
    let postrider = site.start_on(&clock).await;
    given(&postrider, &authority, &[NAME], &[]).await;
    assert_eq!(authority.count("new-order"), 1);
}

#[tokio::test]
async fn an_order_that_is_never_done_is_given_up() {
    let site = Site::new().await.limit(|limits| limits.acme_order_max = Duration::from_secs(600));
    let (site, clock, authority) = with_authority(site).await;
    authority.fail(AcmeFault::SlowIssuing { looks: u32::MAX });
    let postrider = site.start_on(&clock).await;
    let failure = failed(&postrider, 1).await;
    assert_eq!(failure.error, "the authority was not done with the order after 600 s");
    assert_eq!(postrider.store().notes("acme/challenge/").await.unwrap(), [], "what was shown is taken away");
    given(&postrider, &authority, &[NAME], &[]).await;
}

#[tokio::test]
async fn a_shutdown_waits_for_no_authority() {
    let (site, clock, authority) = with_authority(Site::new().await).await;
    authority.fail(AcmeFault::SlowIssuing { looks: u32::MAX });
    let postrider = site.start_on(&clock).await;
    let running = clock.run();
    eventually("looks at the order", async || (authority.count("order") > 3).then_some(())).await;
    drop(running);
    let postrider = postrider.restart().await;
    // The turn was given back: nothing has to lapse before the next order.
    given(&postrider, &authority, &[NAME], &[]).await;
    assert!(postrider.now().since(ManualClock::START) < DAY);
    assert_eq!((authority.count("new-order"), authority.count("new-account")), (2, 1));
}

#[tokio::test]
async fn the_authority_says_when_it_may_be_asked_again() {
    let (site, clock, authority) = with_authority(Site::new().await).await;
    authority.fail(AcmeFault::RateLimited { retry_after_seconds: 36_000 });
    authority.fail(AcmeFault::InternalError);
    let postrider = site.start_on(&clock).await;
    let failure = failed(&postrider, 1).await;
    assert!(failure.error.contains("too many certificates already issued (rateLimited)"), "{}", failure.error);
    assert_eq!(failure.retry_at.since(failure.at), Duration::from_secs(36_000));
    postrider.app().control().reload().await.unwrap();
    clock.leap(Duration::from_secs(35_900)).await;
    clock.wait_for_sleeper(Duration::ZERO, Duration::from_secs(30)).await;
    assert_eq!(authority.count("new-order"), 1);
    let failure = failed(&postrider, 2).await;
    assert!(failure.error.ends_with("answered HTTP 500 Internal Server Error"), "{}", failure.error);
    given(&postrider, &authority, &[NAME], &[]).await;
}

#[tokio::test]
async fn an_account_that_is_lost_is_made_anew() {
    let (site, clock, authority) = with_authority(Site::new().await).await;
    authority.set_certificate_life(DAY * 21);
    let postrider = site.start_on(&clock).await;
    let first = given(&postrider, &authority, &[NAME], &[]).await;
    authority.fail(AcmeFault::ForgottenAccounts);
    clock.leap(DAY * 14).await;
    given(&postrider, &authority, &[NAME], &first).await;
    assert_eq!(authority.count("new-account"), 2);
}

#[tokio::test]
async fn an_account_is_bound_to_one_of_a_customer() {
    let (site, clock, authority) = with_authority(Site::new().await).await;
    authority.require_external_account("key-1", b"secret");
    let site = site.set("ACME_EAB_KEY_ID", "key-1").set("ACME_EAB_HMAC_KEY", "c2VjcmV0");
    let postrider = site.start_on(&clock).await;
    given(&postrider, &authority, &[NAME], &[]).await;
}

#[tokio::test]
async fn of_two_nodes_one_asks_and_either_answers() {
    let site = Site::new().await.with_store_faults(&StoreFaults::of_nodes());
    let (site, clock, authority) = with_authority(site).await;
    let first = site.start_on(&clock).await;
    let second = using(first.beside().await, &authority);
    // Whichever asks, the authority finds the second, which has no certificate yet either.
    authority.lead(NAME, second.ip());
    let second = second.start_on(&clock).await;
    let certificate = given(&first, &authority, &[NAME], &[]).await;
    let _time = clock.run();
    eventually("the other node to show it", async || (shown(&second).await == certificate).then_some(())).await;
    assert_eq!((authority.count("new-order"), authority.count("new-account")), (1, 1));
}

#[tokio::test]
async fn one_more_name_takes_no_certificate_away() {
    let (site, clock, authority) = with_authority(Site::new().await).await;
    let postrider = site.start_on(&clock).await;
    let first = given(&postrider, &authority, &[NAME], &[]).await;
    // This one does not lead here yet.
    let site = postrider.shut_down().await.set("ACME_DOMAINS", "postrider.test, imap.postrider.test");
    let postrider = site.start_on(&clock).await;
    assert_eq!(shown(&postrider).await, first, "better than a self-signed one");
    let names = [NAME, "imap.postrider.test"];
    let _time = clock.run();
    eventually("a failure", async || {
        let orders = AcmeOrders::find(postrider.store().as_ref(), &names.map(str::to_owned)).await.unwrap();
        orders.failure
    })
    .await;
    assert_eq!(shown(&postrider).await, first);
    authority.lead("imap.postrider.test", postrider.ip());
    given(&postrider, &authority, &names, &first).await;
}

#[tokio::test]
async fn check_and_selftest_tell_how_it_stands() {
    let (site, clock, authority) = with_authority(Site::new().await).await;
    site.zone().address(NAME, site.ip());
    let check = async |site: &Site| site.command(crate::support::binary(), &["check"], "").await.stdout;
    let before = check(&site).await;
    assert!(before.contains("has given no certificate for postrider.test yet"), "{before}");
    let found = format!("the authority finds postrider.test at {}, where ACME_HTTP_PORT is bound", site.ip());
    assert!(before.contains(&found) && before.contains("acme-http can listen on"), "{before}");
    authority.fail(AcmeFault::RateLimited { retry_after_seconds: 60 });
    let postrider = site.start_on(&clock).await;
    failed(&postrider, 1).await;
    let output = check(&postrider).await;
    assert!(output.contains("failed: the authority refuses: too many certificates"), "{output}");
    given(&postrider, &authority, &[NAME], &[]).await;
    let ports = postrider.command(crate::support::binary(), &["selftest", "ports"], "").await.stdout;
    let tried = ports.lines().find(|line| line.contains("acme-http"));
    assert!(tried.is_some_and(|line| line.starts_with("ok") && line.ends_with("answers")), "{ports}");
}

#[tokio::test]
async fn the_listener_answers_nothing_else() {
    let (site, clock, _authority) = with_authority(Site::new().await).await;
    let postrider = site.start_on(&clock).await;
    let ask = async |request: &[u8]| {
        let mut stream = TcpStream::connect((postrider.ip(), ports::ACME_HTTP)).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    };
    for path in ["/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/unknown", "/../../etc/passwd"] {
        let answer = ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    assert_eq!(ask(&[b'x'; 10_000]).await, "", "what has no end is not answered");
    // Nor waited for.
    let mut silent = TcpStream::connect((postrider.ip(), ports::ACME_HTTP)).await.unwrap();
    silent.write_all(b"GET / HT").await.unwrap();
    clock.wait_for_sleeper(Duration::from_secs(15), Duration::from_secs(20)).await;
    clock.advance(Duration::from_secs(20)).await;
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap(), 0);
}
