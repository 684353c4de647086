//! What several tests need.

use std::path::{Path, PathBuf};

use postrider_core::mailbox::MailboxName;
use postrider_store::{Entry, Store};
use postrider_testkit::{LineClient, Site, TestPostrider};

/// A network that nobody comes from: with it as `TRUSTED_NETWORKS`, every client of a test is a stranger.
pub(crate) const NOBODY: &str = "127.255.255.254/32";

/// The program under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_postrider"))
}

/// A site where every client is a stranger.
pub(crate) async fn site_of_strangers() -> Site {
    Site::new().await.set("TRUSTED_NETWORKS", NOBODY)
}

/// Says MAIL and RCPT; gives the code of the first refusal, or of RCPT.
pub(crate) async fn try_recipient(client: &mut LineClient, sender: &str, recipient: &str) -> u16 {
    let mail = client.command(&format!("MAIL FROM:<{sender}>")).await;
    if mail.code != 250 {
        return mail.code;
    }
    client.command(&format!("RCPT TO:<{recipient}>")).await.code
}

/// What is in a user's INBOX.
pub(crate) async fn inbox(postrider: &TestPostrider, user: &str) -> Vec<Entry> {
    inbox_in(postrider.store().as_ref(), user).await
}

/// As [`inbox`], in a store that was opened beside a server.
pub(crate) async fn inbox_in(store: &dyn Store, user: &str) -> Vec<Entry> {
    let user = store.user(&user.parse().unwrap()).await.unwrap().unwrap();
    let inbox = store.mailbox(user.id, &MailboxName::inbox()).await.unwrap().unwrap();
    store.open_mailbox(inbox.id).await.unwrap().unwrap().entries
}

/// The Python with the packages that `cargo xtask test` installs beside Debian's.
pub(crate) fn python() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    cache.expect("HOME is set").join("postrider/python-2/bin/python")
}
