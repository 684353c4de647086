//! What comes back of mail that was sent: matched with it, noted on it, and what it means for the suppression list.

use postrider_core::bounce::FeedbackKind;
use postrider_core::{Category, EmailStatus, ObjectId, SuppressionReason};
use postrider_store::{EmailDetail, SuppressionFilter};
use postrider_testkit::{LineClient, ReceivedMessage, Script, ScriptedMx, Site, TestPostrider, mail};
use serde_json::{Value, json};

use crate::support::{NOBODY, binary, try_recipient};

const HARD: &str = "550 5.1.1 <ann@example.org>: User unknown";

struct World {
    postrider: TestPostrider,
    recipient: ScriptedMx,
}

/// A server for local.test that sends to example.org.
async fn world(bounce_domain: &str) -> World {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "local.test").set("BOUNCE_DOMAIN", bounce_domain);
    let recipient = site.mx("example.org", Script::new()).await;
    World { postrider: site.start().await, recipient }
}

impl World {
    /// Sends an e-mail. Returns its id, and it as the other side got it.
    async fn sent(&self, recipients: &[&str]) -> (ObjectId, ReceivedMessage) {
        let before = self.recipient.messages().len();
        let id = self.postrider.send("news@local.test", recipients, &mail::plain("news@local.test", "x", "hi")).await;
        self.postrider.wait_for_status(id, EmailStatus::Sent).await;
        (id, self.recipient.wait_for_messages(before + 1).await.remove(before))
    }

    /// Hands a report in where the world does.
    async fn report(&self, sender: &str, recipient: &str, report: &[u8]) -> u16 {
        let mut client = LineClient::hello(self.postrider.smtp_mx()).await;
        match try_recipient(&mut client, sender, recipient).await {
            250 => client.send_data(report).await.code,
            refused => refused,
        }
    }

    async fn feedback(&self, id: ObjectId) -> Vec<(FeedbackKind, Option<Category>)> {
        let EmailDetail { deliveries, .. } = self.postrider.email(id).await;
        deliveries.iter().flat_map(|delivery| &delivery.feedback).map(|one| (one.kind, one.category)).collect()
    }

    async fn suppressed(&self) -> Vec<(String, SuppressionReason)> {
        let listed = self.postrider.store().suppressions(&SuppressionFilter::default(), 1, 10).await.unwrap();
        listed.suppressions.into_iter().map(|one| (one.address.to_string(), one.reason)).collect()
    }
}

fn dsn(recipient: &str, diagnostic: &str, original: &str) -> Vec<u8> {
    let status = diagnostic.split(' ').nth(1).unwrap_or("5.0.0");
    format!(
        "From: MAILER-DAEMON@example.org\r\nSubject: Undelivered\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.example.org\r\n\r\nFinal-Recipient: rfc822; {recipient}\r\nAction: failed\r\n\
         Status: {status}\r\nDiagnostic-Code: smtp; {diagnostic}\r\n\r\n\
         --b\r\nContent-Type: message/rfc822\r\n\r\n{original}\r\n--b--\r\n"
    )
    .into_bytes()
}

fn complaint(fields: &str, original: &str) -> Vec<u8> {
    format!(
        "From: feedback@example.org\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nA complaint.\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n\
         Feedback-Type: abuse\r\nUser-Agent: x/1\r\nVersion: 1\r\n{fields}\r\n\
         --b\r\nContent-Type: message/rfc822\r\n\r\n{original}\r\n--b--\r\n"
    )
    .into_bytes()
}

#[tokio::test]
async fn what_comes_back_to_its_return_path_is_noted() {
    let world = world("bounces.local.test").await;
    let (id, received) = world.sent(&["Ann@example.org", "bob@example.org"]).await;
    let return_path = received.sender.clone();
    assert!(return_path.starts_with(&format!("bounce+{id}-")), "{return_path}");
    assert!(return_path.ends_with("@bounces.local.test"), "{return_path}");
    // Without a word of the original.
    assert_eq!(world.report("", &return_path, &dsn("ann@EXAMPLE.org", HARD, "")).await, 250);
    let shown = world.postrider.email(id).await;
    let feedback = &shown.deliveries[0].feedback[0];
    assert_eq!((feedback.kind, feedback.category), (FeedbackKind::Bounce, Some(Category::BadMailbox)));
    assert_eq!((feedback.status.as_deref(), feedback.text.as_str()), (Some("5.1.1"), HARD));
    assert_eq!(world.postrider.email(feedback.report).await.email.sender, "");
    assert_eq!(shown.deliveries[1].feedback, []);
    assert_eq!(shown.email.status, EmailStatus::Sent, "the other side had taken it");
    assert_eq!(world.suppressed().await, [("Ann@example.org".to_owned(), SuppressionReason::HardBounce)]);

    let full = dsn("bob@example.org", "552 5.2.2 Mailbox full", "");
    assert_eq!(world.report("", &return_path, &full).await, 250);
    assert_eq!(world.postrider.email(id).await.deliveries[1].feedback[0].category, Some(Category::Quota));
    assert_eq!(world.suppressed().await.len(), 1, "a full mailbox may be emptied");

    let api = world.postrider.get(&format!("/api/emails/{id}")).await;
    let api: Value = serde_json::from_slice(&api.body).unwrap();
    let noted = &api["deliveries"][0]["feedback"][0];
    assert_eq!((&noted["kind"], &noted["category"]), (&json!("bounce"), &json!("bad-mailbox")));
    let shown = world.postrider.command(binary(), &["email", "show", &id.to_string()], "").await.stdout;
    assert!(shown.contains("bounce (bad-mailbox, 5.1.1) came back at"), "{shown}");
    assert_eq!(world.recipient.messages().len(), 1, "nothing was sent because of it");
}

#[tokio::test]
async fn nobody_makes_return_paths_up() {
    let site = Site::new().await.set("BOUNCE_DOMAIN", "bounces.local.test").set("TRUSTED_NETWORKS", NOBODY);
    let postrider = site.start().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    let id = ObjectId::new(postrider.now());
    for forged in [format!("bounce+{id}-0123456789abcdef@bounces.local.test"), "bounce+x@bounces.local.test".to_owned()]
    {
        assert_eq!(try_recipient(&mut client, "", &forged).await, 550, "{forged}");
        client.demand("RSET", 250).await;
    }
    assert_eq!(
        try_recipient(&mut client, "", "ann@bounces.local.test").await,
        550,
        "no address of that domain is relayed"
    );
}

#[tokio::test]
async fn where_return_paths_are_ours_other_bounces_do_not_count() {
    let world = world("bounces.local.test").await;
    let (id, received) = world.sent(&["ann@example.org"]).await;
    let report = dsn("ann@example.org", HARD, &received.text());
    assert_eq!(world.report("", "news@local.test", &report).await, 250);
    assert_eq!(world.feedback(id).await, []);
    assert_eq!(world.suppressed().await, []);
}

#[tokio::test]
async fn without_return_paths_the_returned_message_tells() {
    let world = world("").await;
    let (id, received) = world.sent(&["ann@example.org"]).await;
    assert_eq!(received.sender, "news@local.test");
    let original = received.text();
    let report = dsn("ann@example.org", HARD, &original);
    // Not from the null reverse-path, it is nobody's report.
    assert_eq!(world.report("mallory@example.net", "news@local.test", &report).await, 250);
    // Of a message that only its id is known of.
    let guessed = original.replace("Message-ID: <", "Message-ID: <other.");
    assert_eq!(world.report("", "news@local.test", &dsn("ann@example.org", HARD, &guessed)).await, 250);
    assert_eq!(world.feedback(id).await, []);
    assert_eq!(world.suppressed().await, []);
    assert_eq!(world.report("", "news@local.test", &report).await, 250);
    assert_eq!(world.feedback(id).await, [(FeedbackKind::Bounce, Some(Category::BadMailbox))]);
    assert_eq!(world.suppressed().await.len(), 1);
}

#[tokio::test]
async fn a_report_says_nothing_of_others_addresses() {
    let world = world("bounces.local.test").await;
    let (id, received) = world.sent(&["ann@example.org", "bob@example.org"]).await;
    let victim = dsn("victim@example.net", HARD, &received.text());
    assert_eq!(world.report("", &received.sender, &victim).await, 250);
    assert_eq!(world.feedback(id).await, []);
    // With one recipient it is clear whose mail came back, but not that its own mailbox is gone: it may be forwarded.
    let (id, received) = world.sent(&["carl@example.org"]).await;
    assert_eq!(world.report("", &received.sender, &victim).await, 250);
    assert_eq!(world.feedback(id).await, [(FeedbackKind::Bounce, Some(Category::BadMailbox))]);
    assert_eq!(world.suppressed().await, []);
}

#[tokio::test]
async fn who_complains_gets_no_more() {
    for bounce_domain in ["", "bounces.local.test"] {
        let world = world(bounce_domain).await;
        let (id, received) = world.sent(&["ann@example.org", "bob@example.org"]).await;
        let report = complaint("Original-Rcpt-To: <ann@example.org>\r\n", &received.text());
        assert_eq!(world.report("feedback@example.org", "abuse@local.test", &report).await, 250);
        assert_eq!(world.feedback(id).await, [(FeedbackKind::Complaint, None)]);
        assert_eq!(world.suppressed().await, [("ann@example.org".to_owned(), SuppressionReason::Complaint)]);
        let again = world.postrider.send("news@local.test", &["ANN@example.org"], &mail::plain("a@b", "x", "hi")).await;
        let failed = world.postrider.wait_for_status(again, EmailStatus::Failed).await;
        assert!(failed.deliveries[0].last_error.as_ref().unwrap().contains("complained"), "{failed:?}");
    }
}
