//! Quotas over IMAP (RFC 9208).

use postrider_core::Address;
use postrider_store::Quota;
use postrider_testkit::{ImapClient, Site};

const USER: &str = "bob@example.org";
const PASSWORD: &str = "a long password";

#[tokio::test]
async fn quotas_are_told_and_kept() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "example.org").start().await;
    postrider.add_user(USER, PASSWORD).await;
    let mut client = ImapClient::log_in(postrider.imap(), USER, PASSWORD).await;
    // Without a limit there is no root.
    assert_eq!(client.demand("GETQUOTAROOT INBOX").await.lines(), ["* QUOTAROOT INBOX"]);
    let unknown = client.command("GETQUOTA \"User quota\"").await;
    assert!(unknown.tagged.starts_with("NO [NONEXISTENT]"), "{unknown:?}");

    let address = Address::parse(USER).unwrap();
    let quota = Quota { bytes: Some(10 << 10), messages: Some(3) };
    assert!(postrider.store().set_quota(&address, quota, postrider.now()).await.unwrap());
    let message = format!("Subject: x\r\n\r\n{}", "a".repeat(1_500));
    assert!(client.append("Sent", message.as_bytes()).await.is_ok());
    let told = "* QUOTA \"User quota\" (STORAGE 2 10 MESSAGE 1 3)";
    let roots = client.demand("GETQUOTAROOT \"not there\"").await;
    assert_eq!(roots.lines(), ["* QUOTAROOT \"not there\" \"User quota\"", told]);
    assert_eq!(client.demand("GETQUOTA \"User quota\"").await.lines(), [told]);
    for (command, code) in [
        ("SETQUOTA \"User quota\" (STORAGE 100)", "NO [NOPERM]"),
        ("SETQUOTA \"\" (STORAGE 100)", "NO [NONEXISTENT]"),
        ("GETQUOTA \"\"", "NO [NONEXISTENT]"),
    ] {
        let reply = client.command(command).await;
        assert!(reply.tagged.starts_with(code), "{command}: {reply:?}");
    }
    for _ in 0..2 {
        assert!(client.append("INBOX", message.as_bytes()).await.is_ok());
    }
    for command in ["APPEND", "COPY"] {
        let reply = match command {
            "APPEND" => client.append("INBOX", message.as_bytes()).await,
            _ => {
                client.demand("SELECT INBOX").await;
                client.command("COPY 1 Trash").await
            }
        };
        assert!(reply.tagged.starts_with("NO [OVERQUOTA]"), "{command}: {reply:?}");
    }
    assert!(client.demand("CAPABILITY").await.text().contains("QUOTA=RES-STORAGE QUOTA=RES-MESSAGE"));
}
