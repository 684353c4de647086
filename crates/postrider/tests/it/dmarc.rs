//! DMARC over the test's DNS, by cases as data: whose policy holds, what aligns (RFC 9989 sections 4.10 and 5.3), and messages
//! that would hide from it (section 11.5).

use std::collections::BTreeSet;

use postrider_testkit::{ClientReply, LineClient, TestPostrider, Zone};

use crate::support::site_of_strangers;

/// The policies of the test's Internet. Who sends for `any.test` has SPF speak for it.
const RECORDS: [(&str, &str); 12] = [
    ("_dmarc.relaxed.test", "v=DMARC1; p=reject; rua=mailto:d@relaxed.test"),
    ("_dmarc.strict.test", "v=DMARC1; p=reject; aspf=s; adkim=s"),
    ("_dmarc.parent.test", "v=DMARC1; p=reject; sp=quarantine; np=none"),
    ("exists.parent.test", "a text, so that the name exists"),
    ("_dmarc.own.parent.test", "v=DMARC1; p=none"),
    ("exists.own.parent.test", "a text, so that the name exists"),
    ("_dmarc.trying.test", "v=DMARC1; p=reject; t=y"),
    ("_dmarc.sampled.test", "v=DMARC1; p=reject; pct=0"),
    ("_dmarc.broken.test", "v=DMARC1; p=sometimes"),
    ("_dmarc.version.test", "v=DMARC2; p=reject"),
    ("_dmarc.suffix.test", "v=DMARC1; p=reject; psd=y"),
    ("_dmarc.shop.suffix.test", "v=DMARC1; p=quarantine; psd=n"),
];

/// MAIL FROM, the From fields, and what is to be found: result, author, policy, and what is done about it.
type Case<'a> = (&'a str, &'a str, &'a str);

const CASES: &[Case<'_>] = &[
    // What aligns: the same domain, one above or below it where that is enough, no other.
    ("a@relaxed.test", "From: b@relaxed.test", "pass relaxed.test reject none"),
    ("a@mail.relaxed.test", "From: b@relaxed.test", "pass relaxed.test reject none"),
    ("a@relaxed.test", "From: b@mail.relaxed.test", "pass mail.relaxed.test reject none"),
    ("a@one.relaxed.test", "From: b@two.relaxed.test", "pass two.relaxed.test reject none"),
    ("a@unrelaxed.test", "From: b@relaxed.test", "fail relaxed.test reject quarantine"),
    ("a@relaxed.test.any.test", "From: b@relaxed.test", "fail relaxed.test reject quarantine"),
    ("a@strict.test", "From: b@strict.test", "pass strict.test reject none"),
    ("a@mail.strict.test", "From: b@strict.test", "fail strict.test reject quarantine"),
    ("a@any.test", "From: b@strict.test", "fail strict.test reject quarantine"),
    // Whose policy: the domain's own, else that of the organization, for names that exist and names that do not.
    ("a@any.test", "From: b@parent.test", "fail parent.test reject quarantine"),
    ("a@any.test", "From: b@exists.parent.test", "fail exists.parent.test quarantine quarantine"),
    ("a@any.test", "From: b@nowhere.parent.test", "fail nowhere.parent.test none none"),
    ("a@any.test", "From: b@own.parent.test", "fail own.parent.test none none"),
    ("a@any.test", "From: b@below.own.parent.test", "fail below.own.parent.test none none"),
    ("a@any.test", "From: b@exists.own.parent.test", "fail exists.own.parent.test quarantine quarantine"),
    ("a@any.test", "From: b@nobody.test", "none nobody.test - none"),
    // A public suffix is no organization: what stands right below it is.
    ("a@other.suffix.test", "From: b@shop.suffix.test", "fail shop.suffix.test quarantine quarantine"),
    ("a@mail.shop.suffix.test", "From: b@shop.suffix.test", "pass shop.suffix.test quarantine none"),
    ("a@one.suffix.test", "From: b@two.suffix.test", "fail two.suffix.test reject quarantine"),
    // What records say.
    ("a@any.test", "From: b@trying.test", "fail trying.test quarantine quarantine"),
    ("a@any.test", "From: b@sampled.test", "fail sampled.test reject quarantine"),
    ("a@any.test", "From: b@broken.test", "permerror broken.test - none"),
    ("a@any.test", "From: b@version.test", "none version.test - none"),
    // One author however often, in any shape.
    ("a@any.test", "From: b@RELAXED.Test, c@relaxed.test", "fail relaxed.test reject quarantine"),
    ("a@any.test", "From: The Boss <b@relaxed.test>", "fail relaxed.test reject quarantine"),
    ("a@any.test", "From: \"x@any.test\" <b@relaxed.test>", "fail relaxed.test reject quarantine"),
    ("a@any.test", "From: team: b@relaxed.test, c@relaxed.test;", "fail relaxed.test reject quarantine"),
    ("a@any.test", "From: (c@any.test) b@relaxed.test", "fail relaxed.test reject quarantine"),
    ("a@any.test", "fRoM : b@relaxed.test", "fail relaxed.test reject quarantine"),
    // Of several the one that fares worst, wherever it stands.
    ("a@any.test", "From: x@any.test, b@relaxed.test", "fail relaxed.test reject quarantine"),
    ("a@any.test", "From: b@relaxed.test, x@any.test", "fail relaxed.test reject quarantine"),
    ("a@relaxed.test", "From: b@relaxed.test, x@nobody.test", "none nobody.test - none"),
    ("a@any.test", "From: x@any.test\r\nFrom: b@relaxed.test", "fail relaxed.test reject quarantine"),
    ("a@any.test", "From: x@own.parent.test, b@exists.parent.test", "fail exists.parent.test quarantine quarantine"),
    // Who hides from all.
    ("a@any.test", "Sender: b@relaxed.test", "permerror - - quarantine"),
    ("a@any.test", "From: nobody", "permerror - - quarantine"),
    ("a@any.test", "From: the boss of relaxed.test:;", "permerror - - quarantine"),
    ("a@any.test", "From: a@1.test, a@2.test, a@3.test, a@4.test, a@5.test, a@6.test", "permerror - - quarantine"),
];

async fn world(settings: &[(&str, &str)]) -> TestPostrider {
    let mut site = site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test");
    for (name, value) in settings {
        site.change(name, value);
    }
    let postrider = site.start().await;
    let zone: &Zone = postrider.zone();
    RECORDS.iter().for_each(|(name, text)| {
        zone.txt(name, text);
    });
    let domains: BTreeSet<&str> = CASES.iter().filter_map(|(sender, _, _)| sender.split('@').next_back()).collect();
    domains.iter().for_each(|domain| {
        zone.txt(domain, "v=spf1 +all");
    });
    postrider
}

async fn send(postrider: &TestPostrider, sender: &str, fields: &str) -> ClientReply {
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    let message = format!("Subject: dmarc\r\n{fields}\r\n\r\nText\r\n");
    client.send_mail(sender, &["x@local.test"], message.as_bytes()).await
}

#[tokio::test]
async fn the_author_decides() {
    let postrider = world(&[]).await;
    let mut wrong = Vec::new();
    for (sender, fields, expected) in CASES {
        let reply = send(&postrider, sender, fields).await;
        let id = postrider.accepted(&reply).await;
        let authentication = postrider.email(id).await.authentication;
        let found = authentication.iter().find(|found| found.method == "dmarc").unwrap();
        let property = |name: &str| found.properties.get(name).map_or("-", String::as_str);
        let said =
            [&found.result, property("header.from"), property("policy.dmarc"), property("disposition")].join(" ");
        if said != *expected {
            wrong.push(format!("{sender} {fields}: {said} for {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn who_hides_is_refused_where_others_are() {
    let postrider = world(&[("DMARC_REJECT", "true")]).await;
    for (fields, code, text) in [
        ("From: x@any.test, b@relaxed.test", 550, "5.7.26 The author's domain"),
        ("Sender: b@relaxed.test", 550, "5.7.26 Nobody can say"),
        ("From: b@any.test", 250, ""),
    ] {
        let reply = send(&postrider, "a@any.test", fields).await;
        assert!(reply.code == code && reply.text().contains(text), "{fields}: {reply:?}");
    }
}
