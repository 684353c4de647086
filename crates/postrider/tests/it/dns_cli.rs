//! `postrider dns`: what a domain needs, beside what DNS has.

use postrider_testkit::Site;
use serde_json::Value;

use crate::support::binary;

async fn records(site: &Site, code: i32) -> Vec<Value> {
    let output = site.command(binary(), &["dns", "local.test", "--json"], "").await;
    assert_eq!(output.code, code, "{}{}", output.stdout, output.stderr);
    let shown: Value = serde_json::from_str(&output.stdout).unwrap();
    shown["records"].as_array().unwrap().clone()
}

fn states(records: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    records.iter().map(|record| format!("{} {}", text(&record["purpose"]), text(&record["state"]))).collect()
}

#[tokio::test]
async fn each_record_is_present_wrong_or_missing() {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "local.test").set("MAIL_HOSTNAME", "mx.local.test");
    let unknown = site.command(binary(), &["dns", "other.test"], "").await;
    assert_eq!(unknown.code, 3, "{}", unknown.stderr);
    let keys = site.command(binary(), &["domain", "dkim", "local.test", "--json"], "").await;
    assert_eq!(keys.code, 0, "{}", keys.stderr);
    let all = ["MX", "SPF", "DKIM", "DKIM", "DMARC", "MTA-STS", "TLS-RPT"];
    let missing = records(&site, 1).await;
    assert_eq!(
        states(&missing),
        all.iter().chain(&["PTR"]).map(|purpose| format!("{purpose} missing")).collect::<Vec<_>>()
    );

    // Publish just what it says, and it is content.
    let zone = site.zone();
    // The names of loopback are no matter of DNS, so the address is another; nothing connects to it.
    let ip = [192, 0, 2, 1].into();
    zone.address("mx.local.test", ip).mx("local.test", 10, "mx.local.test").ptr(ip, "mx.local.test");
    for record in missing.iter().filter(|record| record["type"] == "TXT") {
        zone.txt(record["name"].as_str().unwrap(), record["value"].as_str().unwrap());
    }
    assert_eq!(
        states(&records(&site, 0).await),
        all.iter().chain(&["PTR"]).map(|purpose| format!("{purpose} present")).collect::<Vec<_>>()
    );
    let shown = site.command(binary(), &["dns", "local.test"], "").await;
    assert!(shown.code == 0 && shown.stdout.contains("v=DMARC1"), "{}", shown.stdout);

    let selector =
        missing.iter().find(|record| record["purpose"] == "DKIM").unwrap()["name"].as_str().unwrap().to_owned();
    zone.clear(&selector).txt(&selector, "v=DKIM1; k=ed25519; p=");
    zone.clear("local.test").mx("local.test", 10, "mx.elsewhere.test").txt("local.test", "v=spf1 -all");
    zone.txt("local.test", "v=spf1 mx -all");
    let wrong: Vec<_> = records(&site, 1).await.into_iter().filter(|record| record["state"] == "wrong").collect();
    assert_eq!(states(&wrong), ["MX wrong", "SPF wrong", "DKIM wrong"]);
    assert_eq!(wrong[0]["found"][0], "10 mx.elsewhere.test.");
}
