//! COMPRESS=DEFLATE (RFC 4978).

use postrider_testkit::{ImapClient, Site};

const USER: &str = "bob@example.org";
const PASSWORD: &str = "a long password";

#[tokio::test]
async fn all_goes_on_under_compression() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "example.org").start().await;
    postrider.add_user(USER, PASSWORD).await;
    for tls in [false, true] {
        let mut client = if tls {
            ImapClient::connect_tls(postrider.imaps()).await
        } else {
            ImapClient::connect(postrider.imap()).await
        };
        client.demand(&format!("LOGIN {USER} \"{PASSWORD}\"")).await;
        assert!(client.demand("CAPABILITY").await.text().contains(" COMPRESS=DEFLATE"));
        let other = client.command("COMPRESS LZMA").await;
        assert!(!other.is_ok(), "{other:?}");
        client.compress().await;
        let again = client.command("COMPRESS DEFLATE").await;
        assert!(again.tagged.starts_with("NO [COMPRESSIONACTIVE]"), "{again:?}");
        assert!(!client.demand("CAPABILITY").await.text().contains("COMPRESS"));
        // Long both ways: more than one step of the codec.
        let line = "A line that is said again and again.\r\n";
        let message = format!("Subject: long\r\n\r\n{}", line.repeat(20_000));
        let appended = client.append("Drafts", message.as_bytes()).await;
        assert!(appended.is_ok(), "{appended:?}");
        client.demand("SELECT Drafts").await;
        let reply = client.demand("FETCH * (BODY.PEEK[])").await;
        assert!(reply.text().ends_with(&format!("{message})\n{}", reply.tagged)), "{}", reply.text().len());
        let tag = client.idle().await;
        let mut two = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
        assert!(two.append("Drafts", b"Subject: short\r\n\r\n").await.is_ok());
        client.wait_for("").await;
        assert!(client.done(&tag).await.is_ok());
        client.demand("LOGOUT").await;
        assert_eq!(client.try_response().await, None);
    }
}

#[tokio::test]
async fn what_is_not_compressed_ends_the_session() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "example.org").start().await;
    postrider.add_user(USER, PASSWORD).await;
    let mut client = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    client.demand("COMPRESS DEFLATE").await;
    client.send_bytes(b"\xff\xff\xff\xffa NOOP\r\n").await;
    assert_eq!(client.try_response().await, None);
    // Nothing but this session has suffered.
    ImapClient::log_in(postrider.imap(), USER, PASSWORD).await.demand("NOOP").await;
}
