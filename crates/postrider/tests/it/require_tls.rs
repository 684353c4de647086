//! REQUIRETLS and `TLS-Required: No`: what messages ask of the TLS on their way.

use postrider_core::{EmailStatus, ObjectId};
use postrider_testkit::{
    LineClient, Script, Site, StartTls, TestPostrider, mail, servers_association, servers_certificate_pem,
};

const SENDER: &str = "a@client.test";

/// A site with DNSSEC and the authority of the servers' certificate.
async fn site() -> Site {
    let site = Site::new().await;
    site.zone().sign();
    let file = |name: &str, content: String| {
        let file = site.folder().join(name);
        std::fs::write(&file, content).unwrap();
        file.to_string_lossy().into_owned()
    };
    let root = file("root.key", site.zone().trust_anchor());
    let authorities = file("authorities.pem", servers_certificate_pem());
    site.set("DANE_ENABLED", "true").set("DNSSEC_TRUST_ANCHOR_FILE", &root).set("TLS_EXTRA_CA_FILE", &authorities)
}

fn protecting() -> Script {
    let capabilities =
        ["PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "REQUIRETLS"];
    Script::new().starttls(StartTls::Working).capabilities(&capabilities)
}

/// A session in which mail may be sent, encrypted.
async fn client(postrider: &TestPostrider) -> LineClient {
    postrider.add_user("user@client.test", "secret password").await;
    let mut client = LineClient::connect_tls(postrider.submissions()).await.unwrap();
    client.expect(220).await;
    client.demand("EHLO client.test", 250).await;
    assert_eq!(client.auth_plain("user@client.test", "secret password").await.code, 235);
    client
}

/// Sends a message that requires TLS.
async fn send(postrider: &TestPostrider, client: &mut LineClient, recipient: &str) -> ObjectId {
    client.demand(&format!("MAIL FROM:<{SENDER}> REQUIRETLS RET=FULL"), 250).await;
    client.demand(&format!("RCPT TO:<{recipient}>"), 250).await;
    let reply = client.send_data(&mail::plain(SENDER, recipient, "for your eyes only")).await;
    postrider.accepted(&reply).await
}

#[tokio::test]
async fn the_extension_is_offered_and_understood_in_tls_alone() {
    let postrider = site().await.start().await;
    let mut clear = postrider.client().await;
    assert!(!clear.transcript().contains("REQUIRETLS"), "{}", clear.transcript());
    clear.demand(&format!("MAIL FROM:<{SENDER}> REQUIRETLS"), 555).await;
    let mut client = client(&postrider).await;
    assert!(client.transcript().contains("REQUIRETLS"), "{}", client.transcript());
    client.demand(&format!("MAIL FROM:<{SENDER}> REQUIRETLS=YES"), 501).await;
    client.demand(&format!("MAIL FROM:<{SENDER}> REQUIRETLS"), 250).await;
}

#[tokio::test]
async fn it_goes_on_to_hosts_that_prove_themselves_and_keep_to_it() {
    let site = site().await;
    // The way to the first is proven by DNSSEC, and its name by an authority; the second has TLSA records.
    let named = site.mx("example.org", protecting()).await;
    let recorded = site.mx("dane.example", protecting()).await;
    site.zone().tlsa("_2500._tcp.mx.dane.example", 3, 1, 1, &servers_association(1, 1));
    let postrider = site.start().await;
    let mut client = client(&postrider).await;
    for (recipient, mx) in [("b@example.org", &named), ("b@dane.example", &recorded)] {
        let id = send(&postrider, &mut client, recipient).await;
        let detail = postrider.wait_for_status(id, EmailStatus::Sent).await;
        assert!(detail.deliveries[0].tls.as_ref().unwrap().authentication.is_some());
        let message = &mx.messages()[0];
        assert!(message.tls && message.parameters.contains(&"REQUIRETLS".to_owned()), "{message:?}");
        // RFC 8689 section 5: nobody is to send more of it back.
        assert!(message.parameters.contains(&"RET=HDRS".to_owned()), "{message:?}");
    }
}

#[tokio::test]
async fn it_comes_back_where_it_cannot_be_protected() {
    let site = site().await;
    site.zone().delegate("unproven.test", false);
    site.zone().mx("client.test", 10, "back.example.org");
    let back = site.host("back.example.org", protecting()).await;
    let without = protecting().without("REQUIRETLS");
    let unable = site.mx("example.org", without).await;
    let clear = site.mx("clear.test", protecting().starttls(StartTls::Absent)).await;
    let unproven = site.mx("unproven.test", protecting()).await;
    let postrider = site.start().await;
    let mut client = client(&postrider).await;
    let cases = [("b@example.org", "5.7.30"), ("b@clear.test", "5.7.10"), ("b@unproven.test", "5.7.10")];
    for (nth, (recipient, status)) in cases.into_iter().enumerate() {
        let id = send(&postrider, &mut client, recipient).await;
        postrider.wait_for_status(id, EmailStatus::Failed).await;
        let report = &back.wait_for_messages(nth + 1).await[nth];
        let text = String::from_utf8_lossy(&report.data).into_owned();
        assert!(text.contains(&format!("Status: {status}")), "{text}");
        // The report is protected in the same way, and has no more of the message than its header.
        assert!(report.parameters.contains(&"REQUIRETLS".to_owned()), "{report:?}");
        assert!(
            text.contains("Content-Type: text/rfc822-headers") && !text.contains("for your eyes only\r\n--"),
            "{text}"
        );
    }
    let messages = [&unable, &clear, &unproven].map(|mx| mx.all_messages().len());
    assert_eq!(messages, [0, 0, 0]);
}

#[tokio::test]
async fn another_host_may_protect_it() {
    let site = site().await;
    let unable = site.mx("example.org", Script::new().starttls(StartTls::Working)).await;
    site.zone().mx("example.org", 20, "other.example.org");
    let able = site.host("other.example.org", protecting()).await;
    let postrider = site.start().await;
    let mut client = client(&postrider).await;
    let id = send(&postrider, &mut client, "b@example.org").await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!((unable.messages().len(), able.messages().len()), (0, 1));
    // Ordinary mail goes to the first.
    let ordinary = postrider.send(SENDER, &["c@example.org"], &mail::plain(SENDER, "c@example.org", "hello")).await;
    postrider.wait_for_status(ordinary, EmailStatus::Sent).await;
    assert_eq!(unable.messages().len(), 1);
}

#[tokio::test]
async fn a_message_that_waives_tls_passes_by_records_of_other_certificates() {
    let site = site().await.set("TLS_REQUIRED_DOMAINS", "operator.test");
    let mx = site.mx("example.org", Script::new()).await;
    site.zone().tlsa("_2500._tcp.mx.example.org", 3, 1, 1, &[7; 32]);
    let required = site.mx("operator.test", Script::new()).await;
    let postrider = site.start().await;
    let waiving = |recipient: &str| [b"TLS-Required: No\r\n", &mail::plain(SENDER, recipient, "help")[..]].concat();
    let id = postrider.send(SENDER, &["b@example.org"], &waiving("b@example.org")).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert!(String::from_utf8_lossy(&mx.messages()[0].data).contains("TLS-Required: No"), "the next host hears of it");
    // What the operator asks for is not the sender's to waive.
    let id = postrider.send(SENDER, &["b@operator.test"], &waiving("b@operator.test")).await;
    postrider.wait_for_deferred(id, 1).await;
    let usual = postrider.send(SENDER, &["b@example.org"], &mail::plain(SENDER, "b@example.org", "hello")).await;
    postrider.wait_for_deferred(usual, 1).await;
    assert_eq!((mx.messages().len(), required.messages().len()), (1, 0));
}
