//! The certificate: generated once and kept, or read from files and reread when they change.

use std::net::SocketAddr;
use std::path::Path;

use postrider_testkit::{LineClient, Site, certificate_pem, eventually};

/// The certificate that a server shows.
async fn shown(server: SocketAddr) -> Vec<u8> {
    let client = LineClient::connect_tls(server).await.unwrap();
    client.certificate().unwrap().to_vec()
}

fn write(folder: &Path, name: &str) {
    let (certificate, key) = certificate_pem(name);
    std::fs::write(folder.join("cert.pem"), certificate).unwrap();
    std::fs::write(folder.join("key.pem"), key).unwrap();
}

async fn with_files() -> Site {
    let site = Site::new().await;
    write(site.folder(), "first.test");
    let path = |name: &str| site.folder().join(name).to_string_lossy().into_owned();
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    site.set("TLS_CERT_FILE", &certificate).set("TLS_KEY_FILE", &key)
}

#[tokio::test]
async fn a_generated_certificate_is_kept() {
    let postrider = Site::new().await.start().await;
    let first = shown(postrider.submissions()).await;
    let postrider = postrider.restart().await;
    assert_eq!(shown(postrider.submissions()).await, first);
    let other = Site::new().await.start().await;
    assert_ne!(shown(other.submissions()).await, first, "every installation has its own");
}

#[tokio::test]
async fn files_are_reread_when_they_change() {
    let postrider = with_files().await.start().await;
    let first = shown(postrider.submissions()).await;
    write(postrider.folder(), "second.test");
    let _time = postrider.clock().run();
    let second = eventually("the new certificate", async || {
        let now = shown(postrider.submissions()).await;
        (now != first).then_some(now)
    })
    .await;
    // STARTTLS shows the same one.
    let mut client = LineClient::hello(postrider.smtp()).await;
    client.starttls().await;
    assert_eq!(client.certificate(), Some(second.as_slice()));
}

#[tokio::test]
async fn files_are_reread_when_asked_for() {
    let postrider = with_files().await.start().await;
    let first = shown(postrider.submissions()).await;
    write(postrider.folder(), "second.test");
    postrider.app().control().reload().await.unwrap();
    assert_ne!(shown(postrider.submissions()).await, first);
}

#[tokio::test]
async fn files_that_went_bad_leave_the_old_certificate_in_use() {
    let postrider = with_files().await.start().await;
    let first = shown(postrider.submissions()).await;
    std::fs::write(postrider.folder().join("cert.pem"), "half a certifi").unwrap();
    assert!(postrider.app().control().reload().await.is_err());
    assert_eq!(shown(postrider.submissions()).await, first);
}
