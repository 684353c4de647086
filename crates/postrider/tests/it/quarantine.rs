//! DMARC's quarantine: what fails goes to the mailbox for junk of each user, and every mail program hears of it there.

use postrider_core::Address;
use postrider_core::mailbox::{MailboxName, SpecialUse};
use postrider_store::{DomainRecord, MailboxRecord, directory};
use postrider_testkit::{ImapClient, LineClient, TestPostrider, mail};

use crate::support::site_of_strangers;

const USERS: [&str; 3] = ["ann@local.test", "bob@local.test", "cat@local.test"];

/// A world in which `bank.test` wants its mail quarantined that is not its own, and `strict.test` wants it refused.
async fn world(settings: &[(&str, &str)]) -> TestPostrider {
    let mut site = site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test");
    for (name, value) in settings {
        site.change(name, value);
    }
    let postrider = site.start().await;
    postrider.zone().txt("_dmarc.bank.test", "v=DMARC1; p=quarantine; pct=10");
    postrider.zone().txt("_dmarc.strict.test", "v=DMARC1; p=reject");
    postrider.zone().txt("_dmarc.trying.test", "v=DMARC1; p=quarantine; t=y");
    postrider.zone().txt("_dmarc.watching.test", "v=DMARC1; p=none");
    for user in USERS {
        postrider.add_user(user, "password").await;
    }
    postrider
}

/// Sends a message of a stranger from this author; gives the code of the answer.
async fn send(postrider: &TestPostrider, author: &str, recipients: &[&str]) -> u16 {
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    client.send_mail("a@elsewhere.test", recipients, &mail::plain(author, recipients[0], "quarantine")).await.code
}

async fn mailboxes(postrider: &TestPostrider, user: &str) -> Vec<MailboxRecord> {
    let store = postrider.store();
    let user = store.user(&user.parse::<Address>().unwrap()).await.unwrap().unwrap();
    store.mailboxes(user.id).await.unwrap()
}

/// How many messages are in a user's INBOX, and in that for junk.
async fn counts(postrider: &TestPostrider, user: &str) -> (u64, u64) {
    let mailboxes = mailboxes(postrider, user).await;
    let inbox = mailboxes.iter().filter(|mailbox| mailbox.name.is_inbox());
    let junk = mailboxes.iter().filter(|mailbox| mailbox.special_use == Some(SpecialUse::Junk));
    (inbox.map(|mailbox| mailbox.counts.messages).sum(), junk.map(|mailbox| mailbox.counts.messages).sum())
}

#[tokio::test]
async fn what_fails_goes_where_the_authors_domain_and_the_settings_say() {
    let (inbox, junk) = ((1, 0), (0, 1));
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, u16, (u64, u64));
    let cases: &[Case<'_>] = &[
        (&[], "a@bank.test", 250, junk),
        (&[], "a@strict.test", 250, junk),
        (&[], "a@trying.test", 250, inbox),
        (&[], "a@watching.test", 250, inbox),
        (&[], "a@elsewhere.test", 250, inbox),
        (&[("DMARC_REJECT", "true")], "a@strict.test", 550, (0, 0)),
        (&[("DMARC_REJECT", "true")], "a@bank.test", 250, junk),
        (&[("DMARC_QUARANTINE", "false")], "a@bank.test", 250, inbox),
        (&[("DMARC_QUARANTINE", "false")], "a@strict.test", 250, inbox),
        (&[("VERIFY_INCOMING", "false")], "a@bank.test", 250, inbox),
        (&[("TRUSTED_NETWORKS", "127.0.0.0/8")], "a@bank.test", 250, inbox),
    ];
    for (settings, author, code, expected) in cases {
        let postrider = world(settings).await;
        assert_eq!(send(&postrider, author, &["ann@local.test"]).await, *code, "{settings:?} {author}");
        assert_eq!(counts(&postrider, "ann@local.test").await, *expected, "{settings:?} {author}");
    }
}

#[tokio::test]
async fn aliases_and_catch_alls_have_it_aside_too() {
    let postrider = world(&[]).await;
    let store = postrider.store();
    let address = |text: &str| text.parse::<Address>().unwrap();
    let (configured, now) = (["local.test".parse().unwrap()], postrider.now());
    let targets = [address("ann@local.test"), address("bob@local.test")];
    directory::add_alias(store.as_ref(), &configured, &address("sales@local.test"), &targets, now).await.unwrap();
    let (name, catch_all) = ("caught.test".parse().unwrap(), Some(address("cat@local.test")));
    store.add_domain(DomainRecord { name, catch_all, created_at: now, updated_at: now }).await.unwrap();
    assert_eq!(
        send(&postrider, "a@bank.test", &["sales@local.test", "any@caught.test", "bob+x@local.test"]).await,
        250
    );
    for user in USERS {
        assert_eq!(counts(&postrider, user).await, (0, 1), "{user}");
    }
    // With a mailbox of another name, and with none.
    let mut client = ImapClient::log_in(postrider.imap(), "ann@local.test", "password").await;
    client.demand("RENAME Junk Spam").await;
    let mut other = ImapClient::log_in(postrider.imap(), "bob@local.test", "password").await;
    other.demand("DELETE Junk").await;
    assert_eq!(send(&postrider, "a@bank.test", &["sales@local.test"]).await, 250);
    assert_eq!(counts(&postrider, "ann@local.test").await, (0, 2));
    assert_eq!(counts(&postrider, "bob@local.test").await, (0, 1));
    let name = MailboxName::parse("Junk").unwrap();
    assert!(mailboxes(&postrider, "bob@local.test").await.iter().any(|mailbox| mailbox.name == name));
}

#[tokio::test]
async fn mail_programs_hear_of_it_at_once() {
    let postrider = world(&[]).await;
    let mut idle = ImapClient::log_in(postrider.imap(), "ann@local.test", "password").await;
    idle.demand("SELECT Junk").await;
    idle.idle().await;
    let mut notified = ImapClient::log_in(postrider.imap(), "ann@local.test", "password").await;
    notified.demand("NOTIFY SET (PERSONAL (MessageNew MessageExpunge MailboxName))").await;
    assert_eq!(send(&postrider, "a@bank.test", &["ann@local.test"]).await, 250);
    idle.wait_for("1 EXISTS").await;
    let status = notified.wait_for("STATUS").await;
    assert!(status.contains("Junk") && status.contains("MESSAGES 1"), "{status}");
    // One who had none is told that there is one.
    let mut bob = ImapClient::log_in(postrider.imap(), "bob@local.test", "password").await;
    bob.demand("DELETE Junk").await;
    bob.demand("NOTIFY SET (PERSONAL (MessageNew MessageExpunge MailboxName))").await;
    assert_eq!(send(&postrider, "a@bank.test", &["bob@local.test"]).await, 250);
    let list = bob.wait_for("LIST").await;
    assert!(list.contains("Junk"), "{list}");
}
