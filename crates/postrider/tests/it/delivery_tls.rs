//! Mail that leaves only encrypted, to hosts that prove their names.

use postrider_core::{Category, EmailStatus};
use postrider_testkit::{Script, Site, StartTls, mail, servers_certificate_pem};

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
