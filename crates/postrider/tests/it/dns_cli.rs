//! `postrider dns`: what a domain needs, beside what DNS has.

use std::sync::Arc;

use postrider_core::{Domain, Resolver};
use postrider_server::dns::DnsResolver;
use postrider_server::published_policy;
use postrider_testkit::{HttpAnswer, HttpService, Site, servers_certificate_pem};
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
    let all = ["MX", "SPF", "DKIM", "DKIM", "DMARC", "MTA-STS", "MTA-STS", "TLS-RPT"];
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
    let published = records(&site, 1).await;
    let mut expected: Vec<_> = all.iter().chain(&["PTR"]).map(|purpose| format!("{purpose} present")).collect();
    // The policy's host is not there.
    expected[6] = "MTA-STS wrong".to_owned();
    assert_eq!(states(&published), expected);
    let found = published[6]["found"][0].as_str().unwrap();
    assert!(found.starts_with("https://mta-sts.local.test/.well-known/mta-sts.txt"), "{found}");
    let shown = site.command(binary(), &["dns", "local.test"], "").await;
    assert!(shown.code == 1 && shown.stdout.contains("v=DMARC1"), "{}", shown.stdout);

    let selector =
        missing.iter().find(|record| record["purpose"] == "DKIM").unwrap()["name"].as_str().unwrap().to_owned();
    zone.clear(&selector).txt(&selector, "v=DKIM1; k=ed25519; p=");
    zone.clear("local.test").mx("local.test", 10, "mx.elsewhere.test").txt("local.test", "v=spf1 -all");
    zone.txt("local.test", "v=spf1 mx -all");
    let wrong: Vec<_> = records(&site, 1).await.into_iter().filter(|record| record["state"] == "wrong").collect();
    assert_eq!(states(&wrong), ["MX wrong", "SPF wrong", "DKIM wrong", "MTA-STS wrong"]);
    assert_eq!(wrong[0]["found"][0], "10 mx.elsewhere.test.");
}

#[tokio::test]
async fn every_address_that_mail_leaves_from_is_looked_at() {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "local.test").set("MAIL_HOSTNAME", "mx.local.test");
    let site = site.set("BOUNCE_DOMAIN", "bounces.local.test");
    let [own, sender, unnamed] = [[192, 0, 2, 1], [127, 0, 0, 1], [127, 0, 0, 2]].map(std::net::IpAddr::from);
    let site = site.set("SOURCE_IPS", &format!("{sender},{unnamed}"));
    let zone = site.zone();
    zone.address("mx.local.test", own).mx("local.test", 10, "mx.local.test").ptr(own, "mx.local.test");
    zone.txt("local.test", "v=spf1 mx -all").ptr(sender, "out.local.test").address("out.local.test", sender);
    // A name that does not lead back.
    zone.ptr(unnamed, "any.elsewhere.test");
    let shown = records(&site, 1).await;
    let of = |purpose: &str| shown.iter().filter(move |record| record["purpose"] == purpose).collect::<Vec<_>>();
    let [spf, returns] = of("SPF")[..] else { panic!("{shown:#?}") };
    assert_eq!((&spf["state"], &returns["state"]), (&"wrong".into(), &"missing".into()));
    assert_eq!(spf["value"], "v=spf1 mx a:mx.local.test ip4:127.0.0.1 ip4:127.0.0.2 -all");
    assert_eq!(spf["found"][1], "mail from 127.0.0.1 (SOURCE_IPS) does not pass it: fail");
    let [mx, returned] = of("MX")[..] else { panic!("{shown:#?}") };
    assert_eq!((&mx["state"], &returned["state"]), (&"present".into(), &"missing".into()));
    assert_eq!(returned["name"], "bounces.local.test");
    let pointers: Vec<_> = of("PTR").iter().map(|record| record["state"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["present", "present", "wrong"]);

    // Of a service, what it picks is its own affair; what is left is known.
    zone.clear("local.test").mx("local.test", 10, "mx.local.test").txt("local.test", "v=spf1 ip4:127.0.0.2 -all");
    let site = site.set("SOURCE_IPS", "").set("IP_SELECTION_ENABLED", "true").set("FALLBACK_IP", "127.0.0.2");
    let site = site.set("IP_SELECTION_API_URL", "http://127.0.0.1:9/");
    let spf = records(&site, 1).await.into_iter().find(|record| record["purpose"] == "SPF").unwrap();
    assert_eq!(spf["state"], "present", "{spf:#}");
}

#[tokio::test]
async fn the_policy_file_is_read_as_others_read_it() {
    let site = Site::new().await;
    let ip = site.claim_ip();
    let policy =
        |mx: &str| HttpAnswer::ok(format!("version: STSv1\r\nmode: enforce\r\nmx: {mx}\r\nmax_age: 86400\r\n"));
    let answer = policy("*.local.test");
    let service = HttpService::start_tls(ip, move |_| answer.clone()).await;
    site.zone().address("mta-sts.example.org", ip);
    let servers = [site.environment()["DNS_SERVERS"].parse().unwrap()];
    let resolver: Arc<dyn Resolver> = Arc::new(DnsResolver::new(&servers).unwrap());
    let authorities = site.folder().join("authorities.pem");
    std::fs::write(&authorities, servers_certificate_pem()).unwrap();
    let port = service.url("/").trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    let domain: Domain = "example.org".parse().unwrap();
    let read = || published_policy(resolver.clone(), &domain, Some(&authorities), port);
    let read_policy = read().await.unwrap();
    assert!(read_policy.allows("MX.local.test") && !read_policy.allows("mx.elsewhere.test"));
    assert!(read_policy.lines.contains(&"mx: *.local.test".to_owned()), "{read_policy:?}");
    service.set_answer(|_| HttpAnswer::new(404, ""));
    let error = read().await.unwrap_err();
    assert!(error.contains("answered 404"), "{error}");
    service.set_answer(|_| HttpAnswer::ok("version: STSv2"));
    read().await.unwrap_err();
}
