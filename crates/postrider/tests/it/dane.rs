//! DANE: mail to hosts whose certificates DNSSEC speaks of, in a small Internet that is signed.

use std::time::Duration;

use postrider_core::delivery::TlsAuthentication;
use postrider_core::{Category, EmailStatus, ObjectId};
use postrider_store::EmailDetail;
use postrider_testkit::{Failure, Script, ScriptedMx, Site, StartTls, TestPostrider, mail, servers_association};

const TLSA_NAME: &str = "_2500._tcp.mx.example.org";

const DANE_TA: u8 = 2;
const DANE_EE: u8 = 3;

/// A site where DNSSEC is checked from the root of the test's zone.
async fn signed_site() -> Site {
    let site = Site::new().await;
    site.zone().sign();
    let file = site.folder().join("root.key");
    std::fs::write(&file, site.zone().trust_anchor()).unwrap();
    let path = file.to_string_lossy().into_owned();
    site.set("DANE_ENABLED", "true").set("DNSSEC_TRUST_ANCHOR_FILE", &path)
}

fn encrypted() -> Script {
    Script::new().starttls(StartTls::Working)
}

async fn send(postrider: &TestPostrider, recipient: &str) -> ObjectId {
    postrider.send("a@client.test", &[recipient], &mail::plain("a@client.test", recipient, "by DANE")).await
}

async fn sent(postrider: &TestPostrider, recipient: &str) -> EmailDetail {
    let id = send(postrider, recipient).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await
}

/// By what the host proved itself in the last attempt.
fn authentication(detail: &EmailDetail) -> Option<TlsAuthentication> {
    detail.deliveries[0].tls.as_ref().expect("it was encrypted").authentication
}

/// Sends and tries again, in vain; gives what stood in the way.
async fn refused(postrider: &TestPostrider, mx: &ScriptedMx, recipient: &str) -> (Option<Category>, String) {
    let id = send(postrider, recipient).await;
    let mut detail = postrider.wait_for_deferred(id, 1).await;
    for attempts in 2..=3 {
        postrider.advance_to_next_attempt(id).await;
        detail = postrider.wait_for_deferred(id, attempts).await;
    }
    assert_eq!(mx.messages().len(), 0, "never in clear, never to another");
    (detail.deliveries[0].category, detail.email.last_error.clone().unwrap_or_default())
}

#[tokio::test]
async fn certificates_that_dnssec_speaks_of_are_enough() {
    for (selector, matching) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
        let site = signed_site().await;
        let mx = site.mx("example.org", encrypted()).await;
        // The certificate is nobody's that is trusted here: the record alone makes it good.
        site.zone().tlsa(TLSA_NAME, DANE_EE, selector, matching, &servers_association(selector, matching));
        let postrider = site.start().await;
        let detail = sent(&postrider, "b@example.org").await;
        assert_eq!(authentication(&detail), Some(TlsAuthentication::Dane), "{selector} {matching}");
        assert!(mx.messages()[0].tls);
    }
}

#[tokio::test]
async fn no_mail_goes_to_a_host_with_another_certificate_or_without_one() {
    for script in [encrypted(), Script::new()] {
        let site = signed_site().await;
        let mx = site.mx("example.org", script).await;
        site.zone().tlsa(TLSA_NAME, DANE_EE, 1, 1, &[7; 32]);
        let postrider = site.start().await;
        assert_eq!(refused(&postrider, &mx, "b@example.org").await.0, Some(Category::Tls));
    }
}

#[tokio::test]
async fn records_that_cannot_be_had_keep_mail_from_the_host() {
    for spoil in [
        |site: &Site| {
            site.zone().fail(TLSA_NAME, Failure::ServFail);
        },
        |site: &Site| {
            site.zone().forge(TLSA_NAME);
        },
    ] {
        let site = signed_site().await;
        let mx = site.mx("example.org", encrypted()).await;
        site.zone().tlsa(TLSA_NAME, DANE_EE, 1, 1, &servers_association(1, 1));
        spoil(&site);
        let postrider = site.start().await;
        let (category, error) = refused(&postrider, &mx, "b@example.org").await;
        assert_eq!(category, Some(Category::Dns));
        assert!(error.contains("whether mx.example.org has TLSA records cannot be found out"), "{error}");
        // Another host may take it.
        postrider.zone().mx("example.org", 20, "other.example.org");
        let other = postrider.host("other.example.org", Script::new()).await;
        sent(&postrider, "c@example.org").await;
        assert_eq!(other.messages().len(), 1);
    }
}

#[tokio::test]
async fn a_forged_way_to_a_host_is_none() {
    let site = signed_site().await;
    let mx = site.mx("example.org", encrypted()).await;
    site.zone().forge("example.org");
    let postrider = site.start().await;
    let (category, error) = refused(&postrider, &mx, "b@example.org").await;
    assert_eq!(category, Some(Category::Dns));
    assert!(error.contains("DNSSEC disproves"), "{error}");
}

#[tokio::test]
async fn records_without_use_still_ask_for_encryption() {
    let site = signed_site().await;
    let mx = site.mx("example.org", encrypted()).await;
    // PKIX-TA and PKIX-EE, a type that nobody knows, and half a digest (RFC 7672 section 3.1.3).
    for (usage, matching, data) in [(0, 1, &[1; 32][..]), (1, 1, &[1; 32]), (3, 9, &[1; 32]), (3, 1, &[1; 16])] {
        site.zone().tlsa(TLSA_NAME, usage, 1, matching, data);
    }
    let postrider = site.start().await;
    let detail = sent(&postrider, "b@example.org").await;
    assert_eq!(authentication(&detail), None);
    let clear = postrider.mx("clear.example", Script::new()).await;
    postrider.zone().tlsa("_2500._tcp.mx.clear.example", 0, 1, 1, &[1; 32]);
    assert_eq!(refused(&postrider, &clear, "b@clear.example").await.0, Some(Category::Tls));
    assert_eq!(mx.messages().len(), 1);
}

#[tokio::test]
async fn what_is_not_signed_says_nothing() {
    let site = signed_site().await;
    // Zones of their own: one signed, one not, with records that would keep all mail away.
    site.zone().delegate("signed.example", true).delegate("plain.example", false);
    let signed = site.mx("signed.example", encrypted()).await;
    site.zone().tlsa("_2500._tcp.mx.signed.example", DANE_EE, 1, 1, &servers_association(1, 1));
    let plain = site.mx("plain.example", Script::new()).await;
    site.zone().tlsa("_2500._tcp.mx.plain.example", DANE_EE, 1, 1, &[7; 32]);
    // A signed domain whose host is in a zone that is not.
    site.zone().mx("hosted.example", 10, "mx.plain.example");
    // No TLSA records, and no MX records either.
    let bare = site.mx("bare.example", Script::new()).await;
    let alone = site.host("alone.example", encrypted()).await;
    site.zone().tlsa("_2500._tcp.alone.example", DANE_EE, 1, 1, &servers_association(1, 1));
    let postrider = site.start().await;
    for recipient in ["b@plain.example", "b@hosted.example", "b@bare.example"] {
        let detail = sent(&postrider, recipient).await;
        assert!(detail.deliveries[0].tls.is_none(), "{detail:#?}");
    }
    for recipient in ["b@signed.example", "b@alone.example"] {
        assert_eq!(authentication(&sent(&postrider, recipient).await), Some(TlsAuthentication::Dane), "{recipient}");
    }
    let messages = [&plain, &signed, &bare, &alone].map(|mx| mx.messages().len());
    assert_eq!(messages, [2, 1, 1, 1]);
}

#[tokio::test]
async fn records_of_an_alias_target_come_before_those_of_the_alias() {
    let site = signed_site().await;
    site.zone().mx("example.org", 10, "alias.test").cname("alias.test", "target.test");
    let mx = site.host("target.test", encrypted()).await;
    site.zone().tlsa("_2500._tcp.alias.test", DANE_EE, 1, 1, &[7; 32]);
    site.zone().tlsa("_2500._tcp.target.test", DANE_EE, 1, 1, &servers_association(1, 1));
    let postrider = site.start().await;
    sent(&postrider, "b@example.org").await;
    assert_eq!(mx.messages().len(), 1);
    // Without these, those of the alias count.
    postrider.zone().clear("_2500._tcp.target.test");
    let postrider = postrider.restart().await;
    let id = send(&postrider, "b@example.org").await;
    let detail = postrider.wait_for_deferred(id, 1).await;
    assert_eq!(detail.deliveries[0].category, Some(Category::Tls));
}

#[tokio::test]
async fn name_servers_that_take_signatures_away_hinder_no_mail() {
    let site = signed_site().await;
    site.zone().strip_signatures();
    let mx = site.mx("example.org", Script::new()).await;
    site.zone().tlsa(TLSA_NAME, DANE_EE, 1, 1, &[7; 32]);
    let postrider = site.start().await;
    sent(&postrider, "b@example.org").await;
    assert!(!mx.messages()[0].tls);
}

/// Nobody takes the proofs away by keeping the first question from being answered.
#[tokio::test]
async fn an_outage_of_name_servers_is_no_leave_to_go_unproven() {
    let site = signed_site().await;
    site.zone().fail(".", Failure::ServFail);
    let mx = site.mx("example.org", Script::new()).await;
    site.zone().tlsa(TLSA_NAME, DANE_EE, 1, 1, &[7; 32]);
    let output = site.command(crate::support::binary(), &["check"], "").await;
    assert!(output.stdout.contains("do not say now whether they pass DNSSEC on"), "{}", output.stdout);
    let postrider = site.start().await;
    let id = send(&postrider, "b@example.org").await;
    let detail = postrider.wait_for_deferred(id, 1).await;
    assert_eq!(detail.deliveries[0].category, Some(Category::Dns));
    // Once they answer, it is known that they are able, and nothing goes in clear.
    postrider.zone().clear(".");
    postrider.advance_to_next_attempt(id).await;
    let detail = postrider.wait_for_deferred(id, 2).await;
    assert_eq!(detail.deliveries[0].category, Some(Category::Tls));
    assert_eq!(mx.messages().len(), 0);
}

#[tokio::test]
async fn authorities_of_ones_own_vouch_for_names() {
    let site = signed_site().await;
    let mx = site.mx("example.org", encrypted()).await;
    // A certificate is no authority for itself (RFC 7671 section 5.2).
    site.zone().tlsa(TLSA_NAME, DANE_TA, 0, 1, &servers_association(0, 1));
    let postrider = site.start().await;
    assert_eq!(refused(&postrider, &mx, "b@example.org").await.0, Some(Category::Tls));
}

#[tokio::test]
async fn a_file_of_trust_anchors_that_cannot_be_used_stops_the_start() {
    let site = Site::new().await.set("DANE_ENABLED", "true").set("DNSSEC_TRUST_ANCHOR_FILE", "/nowhere/root.key");
    let output = site.command(crate::support::binary(), &["serve"], "").await;
    assert!(
        output.code != 0 && output.stderr.contains("DNSSEC_TRUST_ANCHOR_FILE /nowhere/root.key"),
        "{}",
        output.stderr
    );
}

/// ARCHITECTURE.md tells the price.
#[tokio::test]
async fn proofs_cost_few_questions_and_are_kept() {
    let site = signed_site().await.set("MTA_STS_ENABLED", "false");
    let zone = site.zone().clone();
    zone.time_to_live(3600).delegate("signed.example", true).delegate("plain.example", false);
    let _signed = site.mx("signed.example", encrypted()).await;
    zone.tlsa("_2500._tcp.mx.signed.example", DANE_EE, 1, 1, &servers_association(1, 1));
    let _plain = site.mx("plain.example", Script::new()).await;
    let postrider = site.start().await;
    let mut counts = Vec::new();
    for recipient in ["b@plain.example", "b@signed.example", "c@plain.example", "c@signed.example"] {
        let before = zone.asked().len();
        sent(&postrider, recipient).await;
        counts.push(zone.asked().len() - before);
        // The route is asked for anew.
        postrider.pass(Duration::from_secs(60)).await;
    }
    // The first answers for the root, too. Without DANE it were 3, 3, 0 and 0.
    assert_eq!(counts, [9, 14, 0, 0]);
}

#[tokio::test]
async fn check_says_whether_proofs_can_be_had() {
    let site = signed_site().await;
    let output = site.command(crate::support::binary(), &["check"], "").await;
    assert!(output.stdout.contains("the DNS servers pass DNSSEC on"), "{}", output.stdout);
    site.zone().strip_signatures();
    let output = site.command(crate::support::binary(), &["check"], "").await;
    assert!(output.stdout.contains("the DNS servers pass no DNSSEC on"), "{}", output.stdout);
}
