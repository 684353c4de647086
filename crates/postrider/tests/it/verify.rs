//! Mail from the world is verified: SPF, DKIM, ARC and DMARC over the test's DNS, with signatures made by Python's dkimpy.

use base64::Engine as _;
use postrider_server::dkim::KeyPairs;
use postrider_store::dkim::DkimKey;
use postrider_testkit::{Failure, LineClient, TestPostrider, Zone, mail};

use crate::support::site_of_strangers;

/// Debian's own, which finds the packages that `cargo xtask test` installs.
const PYTHON: &str = "/usr/bin/python3";

/// Signs a message with DKIM, or seals it with ARC.
const SIGNER: &str = r#"
import sys
import dkim
what, message, key, selector, domain = sys.argv[1:]
message = open(message, "rb").read()
key = open(key, "rb").read()
if what == "dkim":
    added = [dkim.sign(message, selector.encode(), domain.encode(), key)]
else:
    added = dkim.arc_sign(message, selector.encode(), domain.encode(), key, b"list.test")
sys.stdout.buffer.write(b"".join(added) + message)
"#;

async fn world(settings: &[(&str, &str)]) -> TestPostrider {
    let mut site = site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test");
    for (name, value) in settings {
        site.change(name, value);
    }
    site.start().await
}

/// What the server said of a message that it took; the reply where it took none.
async fn results(postrider: &TestPostrider, sender: &str, message: &[u8]) -> Result<String, String> {
    let mut client = LineClient::connect_from([127, 0, 0, 1].into(), postrider.smtp_mx()).await.unwrap();
    client.expect(220).await;
    client.demand("EHLO client.test", 250).await;
    let reply = client.send_mail(sender, &["x@local.test"], message).await;
    if reply.code != 250 {
        return Err(reply.text());
    }
    let id = postrider.accepted(&reply).await;
    let raw = postrider.store().raw(id).await.unwrap().unwrap().raw;
    let text = String::from_utf8_lossy(&raw).replace("\r\n\t", " ").replace("\r\n ", " ");
    let field = text.lines().find_map(|line| line.strip_prefix("Authentication-Results: postrider.test; "));
    Ok(field.unwrap_or_default().to_owned())
}

async fn spf(postrider: &TestPostrider, domain: &str) -> String {
    let sender = format!("a@{domain}");
    let results = results(postrider, &sender, &mail::plain(&sender, "x@local.test", "spf")).await.unwrap();
    let word = results.strip_prefix("spf=").and_then(|rest| rest.split(' ').next());
    word.unwrap_or_else(|| panic!("no SPF in {results:?}")).to_owned()
}

/// RFC 7208: mechanisms, qualifiers, limits and errors. The client is 127.0.0.1.
#[tokio::test]
async fn spf_as_the_rfc_says() {
    let postrider = world(&[]).await;
    let zone: &Zone = postrider.zone();
    zone.a("here.test", "127.0.0.1".parse().unwrap()).a("there.test", "192.0.2.1".parse().unwrap());
    zone.mx("mx.test", 10, "here.test");
    zone.txt("included.test", "v=spf1 ip4:127.0.0.1 -all").txt("excluded.test", "v=spf1 -all");
    zone.a("1.0.0.127.listed.test", "127.0.0.2".parse().unwrap()).a("a.users.test", "127.0.0.2".parse().unwrap());
    let chain = |n: usize| format!("v=spf1 include:chain{}.test -all", n + 1);
    for n in 0..12 {
        zone.txt(&format!("chain{n}.test"), &chain(n));
    }
    let cases = [
        ("v=spf1 +all", "pass"),
        ("v=spf1 -all", "fail"),
        ("v=spf1 ~all", "softfail"),
        ("v=spf1 ?all", "neutral"),
        ("v=spf1", "neutral"),
        ("v=spf1 ip4:127.0.0.0/24 -all", "pass"),
        ("v=spf1 ip4:127.0.1.0/24 -all", "fail"),
        ("v=spf1 ip6:::1 -all", "fail"),
        ("v=spf1 a:here.test -all", "pass"),
        ("v=spf1 a:there.test -all", "fail"),
        ("v=spf1 mx:mx.test -all", "pass"),
        ("v=spf1 include:included.test -all", "pass"),
        ("v=spf1 include:excluded.test ~all", "softfail"),
        ("v=spf1 include:nowhere.test -all", "permerror"),
        ("v=spf1 redirect=included.test", "pass"),
        ("v=spf1 redirect=excluded.test", "fail"),
        ("v=spf1 exists:%{ir}.listed.test -all", "pass"),
        ("v=spf1 exists:%{i}.listed.test -all", "fail"),
        ("v=spf1 include:chain0.test -all", "permerror"),
        ("v=spf10 -all", "none"),
        ("v=spf1 ip4:127.0.0.1 unheard-of", "permerror"),
        ("v=spf1 ip4:127.0.0.1/33", "permerror"),
        ("v=spf1 exists:%{l}.users.test -all", "pass"),
        ("v=spf1 a:no1.test a:no2.test a:no3.test +all", "permerror"),
    ];
    for (number, (record, expected)) in cases.iter().enumerate() {
        let domain = format!("case{number}.test");
        zone.txt(&domain, record);
        assert_eq!(spf(&postrider, &domain).await, *expected, "{record}");
    }
    zone.txt("two.test", "v=spf1 -all").txt("two.test", "v=spf1 +all").fail("broken.test", Failure::ServFail);
    for (domain, expected) in [("unheard.test", "none"), ("two.test", "permerror"), ("broken.test", "temperror")] {
        assert_eq!(spf(&postrider, domain).await, expected, "{domain}");
    }
}

/// RFC 7489: what aligns, and which policy holds.
#[tokio::test]
async fn dmarc_as_the_rfc_says() {
    let postrider = world(&[("DMARC_REJECT", "true")]).await;
    let zone: &Zone = postrider.zone();
    for domain in ["strict.test", "relaxed.test", "news.relaxed.test", "quarantine.test", "none.test", "silent.test"] {
        zone.txt(domain, "v=spf1 +all");
    }
    zone.txt("_dmarc.strict.test", "v=DMARC1; p=reject; aspf=s; adkim=s");
    zone.txt("_dmarc.relaxed.test", "v=DMARC1; p=reject; sp=none");
    zone.txt("_dmarc.quarantine.test", "v=DMARC1; p=quarantine");
    zone.txt("_dmarc.none.test", "v=DMARC1; p=none");
    let cases = [
        ("a@strict.test", "a@strict.test", "dmarc=pass header.from=strict.test"),
        ("a@relaxed.test", "a@news.relaxed.test", "dmarc=pass"),
        ("a@news.relaxed.test", "a@relaxed.test", "dmarc=pass"),
        ("a@silent.test", "a@other.relaxed.test", "dmarc=fail header.from=other.relaxed.test policy.dmarc=none"),
        ("a@silent.test", "a@quarantine.test", "dmarc=fail"),
        ("a@silent.test", "a@none.test", "dmarc=fail"),
        ("a@silent.test", "a@silent.test", "dmarc=none"),
    ];
    for (sender, author, expected) in cases {
        let said = results(&postrider, sender, &mail::plain(author, "x@local.test", "dmarc")).await;
        assert!(said.as_ref().is_ok_and(|said| said.contains(expected)), "{sender} {author}: {said:?}");
    }
    for (sender, author) in [("a@silent.test", "a@strict.test"), ("a@silent.test", "a@relaxed.test")] {
        let said = results(&postrider, sender, &mail::plain(author, "x@local.test", "dmarc")).await;
        assert!(said.as_ref().is_err_and(|said| said.contains("5.7.26")), "{sender} {author}: {said:?}");
    }
    // Without the setting such mail is only marked.
    let postrider = world(&[]).await;
    postrider.zone().txt("_dmarc.strict.test", "v=DMARC1; p=reject");
    let said =
        results(&postrider, "a@silent.test", &mail::plain("a@strict.test", "x@local.test", "dmarc")).await.unwrap();
    assert!(said.contains("dmarc=fail header.from=strict.test policy.dmarc=reject"), "{said}");
}

/// Whoever brings a message may answer for its own signatures as badly as it likes.
#[tokio::test]
async fn signatures_that_dns_does_not_answer_for_let_nothing_in() {
    let postrider = world(&[("DMARC_REJECT", "true")]).await;
    let zone: &Zone = postrider.zone();
    zone.txt("evil.test", "v=spf1 +all").txt("_dmarc.strict.test", "v=DMARC1; p=reject");
    for domain in ["evil.test", "strict.test"] {
        zone.fail(&format!("k._domainkey.{domain}"), Failure::ServFail);
    }
    // Over an empty body (RFC 6376 section 3.4.3).
    let signed = |domain: &str| {
        format!(
            "DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d={domain}; s=k; h=from;\r\n\
             \tbh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=; b=AAAA\r\n"
        )
    };
    let message =
        |signatures: &str| format!("{signatures}From: a@strict.test\r\nTo: x@local.test\r\n\r\n").into_bytes();
    let said = results(&postrider, "a@evil.test", &message(&signed("evil.test").repeat(3))).await;
    assert!(said.as_ref().is_err_and(|said| said.starts_with("550 5.7.26")), "{said:?}");
    // One that could speak for the author: it is to come again.
    let said = results(&postrider, "a@evil.test", &message(&signed("strict.test"))).await;
    assert!(said.as_ref().is_err_and(|said| said.starts_with("451 4.7.26")), "{said:?}");
}

/// A key as dkimpy reads it; published under the selector `s`.
fn publish(postrider: &TestPostrider, domain: &str) -> DkimKey {
    let (_, rsa) = KeyPairs::generate().unwrap().under("s");
    postrider.zone().txt(&format!("s._domainkey.{domain}"), &format!("v=DKIM1; p={}", rsa.public_key));
    rsa
}

async fn with_python(postrider: &TestPostrider, what: &str, domain: &str, key: &DkimKey, message: &[u8]) -> Vec<u8> {
    let der = base64::engine::general_purpose::STANDARD.decode(&key.private_key.0).unwrap();
    let lines = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = lines.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    let path = |name: &str| postrider.folder().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("key.pem"), pem).unwrap();
    std::fs::write(path("message"), message).unwrap();
    let mut python = tokio::process::Command::new(PYTHON);
    let arguments = ["-c", SIGNER, what, &path("message"), &path("key.pem"), "s", domain];
    let output = python.args(arguments).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test]
async fn signatures_and_seals_of_others_are_verified() {
    let postrider = world(&[("DMARC_REJECT", "true")]).await;
    postrider.zone().txt("_dmarc.shop.test", "v=DMARC1; p=reject");
    let key = publish(&postrider, "shop.test");
    let seal = publish(&postrider, "list.test");
    let large = format!("From: a@shop.test\r\nSubject: large\r\n\r\n{}", "a line of it \r\n".repeat(10_000));
    for message in [mail::plain("a@shop.test", "x@local.test", "signed"), large.into_bytes()] {
        let signed = with_python(&postrider, "dkim", "shop.test", &key, &message).await;
        let said = results(&postrider, "a@elsewhere.test", &signed).await.unwrap();
        assert!(said.contains("dkim=pass header.d=shop.test header.s=s; dmarc=pass header.from=shop.test"), "{said}");
        let changed = [&signed[..], b"more\r\n"].concat();
        let said = results(&postrider, "a@elsewhere.test", &changed).await;
        assert!(said.as_ref().is_err_and(|said| said.contains("5.7.26")), "{said:?}");
    }
    let message =
        [&b"Authentication-Results: list.test; spf=pass\r\n"[..], &mail::plain("a@other.test", "x@local.test", "arc")]
            .concat();
    let sealed = with_python(&postrider, "arc", "list.test", &seal, &message).await;
    let said = results(&postrider, "a@elsewhere.test", &sealed).await.unwrap();
    assert!(said.contains("arc=pass; dmarc=none"), "{said}");
    let changed = [&sealed[..], b"more\r\n"].concat();
    let said = results(&postrider, "a@elsewhere.test", &changed).await.unwrap();
    assert!(said.contains("arc=fail"), "{said}");
}

#[tokio::test]
async fn only_strangers_on_the_mx_port_are_verified_and_nobody_speaks_in_our_name() {
    let postrider = world(&[]).await;
    let forged = [
        &b"Authentication-Results: postrider.test; dmarc=pass\r\n"[..],
        &mail::plain("a@shop.test", "x@local.test", "x"),
    ]
    .concat();
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    let reply = client.send_mail("", &["x@local.test"], &forged).await;
    let id = postrider.accepted(&reply).await;
    let raw = String::from_utf8_lossy(&postrider.store().raw(id).await.unwrap().unwrap().raw).into_owned();
    assert_eq!(raw.matches("Authentication-Results:").count(), 1, "{raw}");
    assert!(raw.contains("spf=none smtp.helo="), "{raw}");

    for settings in [[("TRUSTED_NETWORKS", "127.0.0.0/8")], [("VERIFY_INCOMING", "false")]] {
        let is_trusted = settings[0].0 == "TRUSTED_NETWORKS";
        let postrider = world(&settings).await;
        // Who is trusted may be the server that found it out.
        let said = results(&postrider, "a@shop.test", &forged).await.unwrap();
        assert_eq!(said, if is_trusted { "dmarc=pass" } else { "" });
        assert_eq!(
            results(&postrider, "a@shop.test", &mail::plain("a@shop.test", "x@local.test", "x")).await.unwrap(),
            ""
        );
    }
}
