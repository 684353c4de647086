//! DKIM signatures on what is sent, judged by Python's dkimpy, which knows nothing of us.

use std::collections::BTreeMap;
use std::time::Duration;

use postrider_core::{EmailStatus, ObjectId};
use postrider_testkit::{Script, ScriptedMx, Site, TestPostrider, eventually, mail};
use serde_json::Value;

use crate::support::binary;

/// Debian's own, which finds the packages that `cargo xtask test` installs.
const PYTHON: &str = "/usr/bin/python3";

/// Prints for each signature of a message its domain and whether it holds. The records are those of a file.
const JUDGE: &str = r#"
import json, sys
import dkim
records = {name.encode() + b".": value.encode() for name, value in json.load(open(sys.argv[1])).items()}
message = open(sys.argv[2], "rb").read()
judge = dkim.DKIM(message, minkey=1024)
count = sum(1 for name, value in judge.headers if name.lower() == b"dkim-signature")
for number in range(count):
    judge = dkim.DKIM(message, minkey=1024)
    holds = judge.verify(idx=number, dnsfunc=lambda name, timeout=5: records.get(name))
    fields = judge.signature_fields
    signed = b"".join(fields[b"h"].split()).lower().split(b":")
    print(fields[b"a"].decode(), fields[b"d"].decode(), holds, signed.count(b"from"))
"#;

struct World {
    postrider: TestPostrider,
    mx: ScriptedMx,
    /// Of `old.test`, without 8BITMIME.
    old_mx: ScriptedMx,
}

async fn world() -> World {
    let site = Site::new().await.set("MAIL_HOSTNAME", "mx.shop.test");
    let mx = site.mx("example.org", Script::new()).await;
    let old_mx = site.mx("old.test", Script::new().without("8BITMIME")).await;
    World { postrider: site.start().await, mx, old_mx }
}

impl World {
    async fn command(&self, arguments: &[&str]) -> Value {
        let output = self.postrider.command(binary(), &[arguments, &["--json"]].concat(), "").await;
        assert_eq!(output.code, 0, "{arguments:?}: {}{}", output.stdout, output.stderr);
        assert!(!output.stdout.contains("privateKey"), "{}", output.stdout);
        serde_json::from_str(&output.stdout).unwrap()
    }

    /// The records of all keys of a domain, by name.
    async fn records(&self, domain: &str) -> BTreeMap<String, String> {
        let keys = self.command(&["domain", "dkim", domain]).await["keys"].clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let record = |key: &Value| (text(&key["record"]["name"]), text(&key["record"]["value"]));
        keys.as_array().unwrap().iter().map(record).collect()
    }

    fn publish(&self, records: &BTreeMap<String, String>) {
        for (name, value) in records {
            self.postrider.zone().txt(name, value);
        }
    }

    async fn states(&self, domain: &str) -> Vec<String> {
        let keys = self.command(&["domain", "dkim", domain]).await["keys"].clone();
        keys.as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap().to_owned()).collect()
    }

    /// Sends a message; gives what arrived at the MX as the `number`th, counted from 1.
    async fn sent(&self, number: usize, message: &[u8]) -> Vec<u8> {
        self.postrider.send("a@shop.test", &["b@example.org"], message).await;
        self.mx.wait_for_messages(number).await.remove(number - 1).data.to_vec()
    }

    async fn stored(&self, id: ObjectId) -> String {
        let message = self.postrider.store().raw(id).await.unwrap().unwrap();
        String::from_utf8_lossy(&message.raw).into_owned()
    }

    /// What Python says of the message's signatures, a line for each.
    async fn judged(&self, message: &[u8], records: &BTreeMap<String, String>) -> Vec<String> {
        let path = |name: &str| self.postrider.folder().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("message"), message).unwrap();
        std::fs::write(path("records"), serde_json::to_string(records).unwrap()).unwrap();
        let mut python = tokio::process::Command::new(PYTHON);
        let output = python.args(["-c", JUDGE, &path("records"), &path("message")]).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said} (cargo xtask test installs what this needs)");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }
}

fn from(author: &str) -> Vec<u8> {
    mail::plain(author, "b@example.org", "signed")
}

/// RFC 6376 section 5.3: a signature must outlive the way. Hosts without 8BITMIME are sent other bytes than were signed first.
#[tokio::test]
async fn what_is_converted_on_the_way_out_is_signed_anew() {
    let world = world().await;
    world.command(&["domain", "add", "shop.test"]).await;
    let records = world.records("shop.test").await;
    world.publish(&records);
    let message = "From: a@shop.test\r\nTo: b@old.test\r\nSubject: caf\r\nMIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\u{fc}\u{df}e \u{1f980}\r\n";
    world.postrider.send("a@shop.test", &["b@old.test", "c@example.org"], message.as_bytes()).await;
    let converted = world.old_mx.wait_for_messages(1).await.remove(0).data.to_vec();
    assert!(converted.is_ascii());
    let expected = ["ed25519-sha256 shop.test True 2", "rsa-sha256 shop.test True 2"];
    assert_eq!(world.judged(&converted, &records).await, expected);
    let kept = world.mx.wait_for_messages(1).await.remove(0).data.to_vec();
    assert!(!kept.is_ascii());
    assert_eq!(world.judged(&kept, &records).await, expected);
}

#[tokio::test]
async fn every_shape_of_mail_is_signed_so_that_others_can_check_it() {
    let world = world().await;
    world.command(&["domain", "add", "shop.test"]).await;
    let records = world.records("shop.test").await;
    let head = "From: \"A, B\" <a@shop.test>\r\nTo: b@example.org,\r\n  c@example.org\r\nSubject:  many   spaces\t\r\n";
    let bodies = [
        "\r\n".to_owned(),
        "\r\n\r\n\r\n".to_owned(),
        "\r\n one  two\t \r\n\r\n three \r\n \r\n\r\n".to_owned(),
        format!(
            "Cc: d@example.org\r\ncc: e@example.org\r\nList-Unsubscribe: <https://x>\r\n\r\n{}",
            "line\r\n".repeat(20_000)
        ),
        format!("\r\n{}\r\n", "é".repeat(400)),
    ];
    for (number, body) in bodies.iter().enumerate() {
        let message = world.sent(number + 1, format!("{head}{body}").as_bytes()).await;
        let judged = world.judged(&message, &records).await;
        assert_eq!(judged, ["ed25519-sha256 shop.test True 2", "rsa-sha256 shop.test True 2"], "{body:.40}");
        let forged = String::from_utf8_lossy(&message).replacen("Subject:", "From: c@evil.test\r\nSubject:", 1);
        let judged = world.judged(forged.as_bytes(), &records).await;
        assert!(judged.iter().all(|line| line.contains("False")), "{judged:?}");
    }
}

#[tokio::test]
async fn the_authors_domain_signs_and_no_other() {
    let world = world().await;
    let arrived = world.sent(1, &from("a@shop.test")).await;
    assert!(!String::from_utf8_lossy(&arrived).contains("DKIM-Signature"), "nobody has keys yet");
    world.command(&["domain", "add", "shop.test"]).await;
    let records = world.records("shop.test").await;
    // The server hears of the new keys within a second.
    eventually("the server to sign", async || {
        world.postrider.pass(Duration::from_secs(11)).await;
        let id = world.postrider.send("a@shop.test", &["b@example.org"], &from("a@news.shop.test")).await;
        let stored = world.stored(id).await;
        stored.contains("d=shop.test").then_some(())
    })
    .await;
    let number = world.postrider.emails().await.len();
    let arrived = world.mx.wait_for_messages(number).await.remove(number - 1).data.to_vec();
    assert_eq!(world.judged(&arrived, &records).await.len(), 2, "a domain above the author's counts as its own");
    for author in ["a@other.test", "a@shop.test, b@other.test", "a@test", "shop.test"] {
        let number = world.postrider.emails().await.len() + 1;
        let arrived = world.sent(number, &from(author)).await;
        assert!(!String::from_utf8_lossy(&arrived).contains("DKIM-Signature"), "{author}");
    }
    // Mail for somebody here, and mail of strangers, is not signed.
    eventually("the server to keep the domain's mail, unsigned", async || {
        let kept = world.postrider.send("a@shop.test", &["x@shop.test"], &from("a@shop.test")).await;
        (!world.stored(kept).await.contains("DKIM-Signature")).then_some(())
    })
    .await;

    world.command(&["domain", "remove", "shop.test"]).await;
    eventually("the server to sign no more", async || {
        world.postrider.pass(Duration::from_secs(11)).await;
        let id = world.postrider.send("a@shop.test", &["b@example.org"], &from("a@shop.test")).await;
        let stored = world.stored(id).await;
        (!stored.contains("DKIM-Signature")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn new_keys_sign_once_they_are_published() {
    let world = world().await;
    world.command(&["domain", "add", "shop.test"]).await;
    let old = world.records("shop.test").await;
    world.command(&["domain", "dkim", "shop.test", "--rotate"]).await;
    let refused = world.postrider.command(binary(), &["domain", "dkim", "shop.test", "--rotate"], "").await;
    assert_eq!(refused.code, 4, "{}", refused.stdout);
    let all = world.records("shop.test").await;
    assert_eq!(
        (all.len(), world.states("shop.test").await),
        (4, vec!["signing".to_owned(), "signing".into(), "waiting".into(), "waiting".into()])
    );
    let arrived = world.sent(1, &from("a@shop.test")).await;
    assert_eq!(world.judged(&arrived, &old).await.len(), 2);

    world.publish(&all);
    let mut number = 1;
    eventually("the new keys to sign", async || {
        // The server looks at DNS every ten minutes.
        world.postrider.pass(Duration::from_secs(601)).await;
        number += 1;
        let arrived = world.sent(number, &from("a@shop.test")).await;
        let new: BTreeMap<_, _> = all.clone().into_iter().filter(|(name, _)| !old.contains_key(name)).collect();
        let names: Vec<_> = new.keys().map(|name| name.split('.').next().unwrap().to_owned()).collect();
        let text = String::from_utf8_lossy(&arrived).into_owned();
        names.iter().all(|name| text.contains(&format!("s={name};"))).then_some(())
    })
    .await;
    assert_eq!(world.states("shop.test").await, ["retired", "retired", "signing", "signing"]);
}

#[tokio::test]
async fn our_own_notifications_are_signed() {
    let site = Site::new().await.set("MAIL_HOSTNAME", "mx.shop.test").set("DKIM_ALGORITHMS", "rsa");
    let mx = site.mx("client.test", Script::new()).await;
    let _refusing = site.mx("example.org", Script::new().on("RCPT", "550 5.1.1 No such user here")).await;
    let old_mx = site.mx("old.test", Script::new()).await;
    let world = World { postrider: site.start().await, mx, old_mx };
    world.command(&["domain", "add", "shop.test"]).await;
    let records = world.records("shop.test").await;
    let id = world.postrider.send("a@client.test", &["b@example.org"], &from("a@client.test")).await;
    world.postrider.wait_for_status(id, EmailStatus::Failed).await;
    let report = world.mx.wait_for_messages(1).await.remove(0);
    assert_eq!(world.judged(&report.data, &records).await, ["rsa-sha256 shop.test True 2"]);
}

#[tokio::test]
async fn keys_are_of_domains_of_this_server() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    let unknown = postrider.command(binary(), &["domain", "dkim", "other.test"], "").await;
    assert_eq!(unknown.code, 3, "{}", unknown.stderr);
    let shown = postrider.command(binary(), &["domain", "dkim", "local.test"], "").await;
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(shown.stdout.contains("-rsa._domainkey.local.test. IN TXT \"v=DKIM1; k=rsa; p="), "{}", shown.stdout);
    assert!(shown.stdout.contains("not in DNS") && !shown.stdout.contains("MII\""), "{}", shown.stdout);
}
