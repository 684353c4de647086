//! TLS-RPT: domains that ask for it are told how well the way to them was protected.

use std::io::Read as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::GzDecoder;
use postrider_core::EmailStatus;
use postrider_testkit::{
    HttpAnswer, HttpService, ReceivedMessage, Script, Site, StartTls, StoreFaults, TestPostrider, eventually, mail,
    servers_association, servers_certificate_pem,
};
use serde_json::Value;

const SENDER: &str = "a@client.test";
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn site() -> Site {
    let site = Site::new().await;
    let file = site.folder().join("authorities.pem");
    std::fs::write(&file, servers_certificate_pem()).unwrap();
    let path = file.to_string_lossy().into_owned();
    site.set("TLS_EXTRA_CA_FILE", &path).set("TLS_REPORTS_ENABLED", "true")
}

async fn send(postrider: &TestPostrider, recipient: &str, status: EmailStatus) {
    let id = postrider.send(SENDER, &[recipient], &mail::plain(SENDER, recipient, "hello")).await;
    postrider.wait_for_status(id, status).await;
}

/// Lets the day end, and the time in which nodes hand in what they counted.
async fn end_day(postrider: &TestPostrider) {
    // What was counted is handed in: by and by, for a question to DNS may run out of the test's time, and is put again later.
    for _ in 0..20 {
        postrider.pass(Duration::from_secs(60)).await;
    }
    postrider.clock().leap(DAY).await;
    postrider.pass(Duration::from_secs(1200)).await;
}

fn unpacked(gzip: &[u8]) -> Value {
    let mut text = String::new();
    GzDecoder::new(gzip).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The report in an e-mail.
fn attached(message: &ReceivedMessage) -> Value {
    let text = String::from_utf8_lossy(&message.data).into_owned();
    let part = text.split("Content-Type: application/tlsrpt+gzip").nth(1).expect("there is a report");
    let body = part.split("\r\n\r\n").nth(1).expect("the part has a body");
    let base64: String = body.split("\r\n--").next().unwrap_or_default().split_ascii_whitespace().collect();
    unpacked(&BASE64.decode(base64).unwrap())
}

fn policy<'a>(report: &'a Value, kind: &str) -> &'a Value {
    let policies = report["policies"].as_array().unwrap();
    policies.iter().find(|policy| policy["policy"]["policy-type"] == kind).unwrap_or_else(|| panic!("{report:#}"))
}

#[tokio::test]
async fn a_domain_that_asks_for_it_gets_one_report_of_a_day_by_mail() {
    let site = site().await;
    site.zone().txt("_smtp._tls.example.org", "v=TLSRPTv1; rua=mailto:tls@reports.test");
    let mx = site.mx("example.org", Script::new().starttls(StartTls::Working)).await;
    let silent = site.mx("silent.test", Script::new()).await;
    let reports = site.mx("reports.test", Script::new()).await;
    let postrider = site.start().await;
    for recipient in ["b@example.org", "c@example.org", "b@silent.test"] {
        send(&postrider, recipient, EmailStatus::Sent).await;
    }
    // The third has another connection, without TLS.
    postrider.pass(Duration::from_secs(120)).await;
    mx.set_script(Script::new());
    send(&postrider, "d@example.org", EmailStatus::Sent).await;
    // Counts outlive the process.
    let postrider = postrider.restart().await;
    end_day(&postrider).await;
    let message = &reports.wait_for_messages(1).await[0];
    assert_eq!((message.sender.as_str(), message.addresses()), ("", vec!["tls@reports.test"]));
    let text = String::from_utf8_lossy(&message.data).into_owned();
    for part in [
        "From: <postmaster@postrider.test>",
        "Subject: Report Domain: example.org\r\n Submitter: postrider.test\r\n Report-ID: <",
        "TLS-Report-Domain: example.org\r\n",
        "TLS-Report-Submitter: postrider.test\r\n",
        "TLS-Required: No\r\n",
        "Content-Type: multipart/report; report-type=\"tlsrpt\"",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let report = attached(message);
    assert_eq!(
        (&report["organization-name"], &report["contact-info"]),
        (&"postrider.test".into(), &"postmaster@postrider.test".into())
    );
    let found = policy(&report, "no-policy-found");
    assert_eq!(found["policy"]["policy-domain"], "example.org");
    assert_eq!(found["summary"]["total-successful-session-count"], 2, "{report:#}");
    assert_eq!(found["summary"]["total-failure-session-count"], 1, "{report:#}");
    let detail = &found["failure-details"][0];
    assert_eq!(
        (&detail["result-type"], &detail["failed-session-count"]),
        (&"starttls-not-supported".into(), &1.into())
    );
    assert_eq!(detail["receiving-mx-hostname"], "mx.example.org");
    // Neither a second one, nor one about the report.
    end_day(&postrider).await;
    assert_eq!((reports.messages().len(), silent.messages().len()), (1, 1));
    assert!(postrider.store().notes("tls-report/").await.unwrap().is_empty());
}

#[tokio::test]
async fn policies_and_what_failed_of_them_are_told() {
    let site = site().await.set("DANE_ENABLED", "true");
    site.zone().sign();
    let file = site.folder().join("root.key");
    std::fs::write(&file, site.zone().trust_anchor()).unwrap();
    let site = site.set("DNSSEC_TRUST_ANCHOR_FILE", &file.to_string_lossy());
    let ip = site.claim_ip();
    let service = HttpService::start_tls(ip, |request| match request.method.as_str() {
        "POST" => HttpAnswer::new(201, ""),
        _ => HttpAnswer::ok("version: STSv1\nmode: enforce\nmx: mx.wrong.example\nmax_age: 100000\n"),
    })
    .await;
    let collector = format!("v=TLSRPTv1; rua=https://collector.example.org:{}/v1", postrider_testkit::ports::HTTPS);
    site.zone().address("collector.example.org", ip);
    // A policy, and a host whose name is not in its certificate.
    site.zone().txt("_mta-sts.wrong.example", "v=STSv1; id=1;").cname("mta-sts.wrong.example", "mta-sts.example.org");
    site.zone().address("mta-sts.example.org", ip);
    let domain = "example.org";
    site.zone().txt("_mta-sts.example.org", "v=STSv1; id=1;").txt("_smtp._tls.example.org", &collector);
    site.zone().mx(domain, 10, "mx.wrong.example");
    let unproven = site.host("mx.wrong.example", Script::new().starttls(StartTls::Working)).await;
    // TLSA records: of the right certificate, and of another.
    for (domain, data) in [("dane.test", servers_association(1, 1)), ("other.test", vec![7; 32])] {
        site.zone().txt(&format!("_smtp._tls.{domain}"), &collector);
        site.zone().tlsa(&format!("_2500._tcp.mx.{domain}"), 3, 1, 1, &data);
    }
    let _dane = site.mx("dane.test", Script::new().starttls(StartTls::Working)).await;
    let _other = site.mx("other.test", Script::new().starttls(StartTls::Working)).await;
    let postrider = site.start().await;
    send(&postrider, "b@example.org", EmailStatus::Deferred).await;
    send(&postrider, "b@dane.test", EmailStatus::Sent).await;
    send(&postrider, "b@other.test", EmailStatus::Deferred).await;
    end_day(&postrider).await;
    // One is the policy's. Where a call took too long by the test's time, which passes quickly, it is made once more.
    eventually("the policy's and three reports", async || {
        let posts = service.requests().iter().filter(|request| request.method == "POST").count();
        if posts < 3 {
            postrider.pass(Duration::from_secs(600)).await;
        }
        (posts >= 3).then_some(())
    })
    .await;
    let posted = |domain: &str| {
        let requests = service.requests();
        let posts = requests.iter().filter(|request| request.method == "POST");
        let mut reports = posts.map(|post| {
            assert_eq!((post.path.as_str(), post.header("content-type")), ("/v1", Some("application/tlsrpt+gzip")));
            unpacked(&post.body)
        });
        let of_domain = |report: &Value| report["policies"][0]["policy"]["policy-domain"] == domain;
        reports.find(of_domain).unwrap_or_else(|| panic!("no report for {domain}"))
    };
    let report = posted("example.org");
    let sts = policy(&report, "sts");
    assert_eq!(sts["policy"]["mx-host"][0], "mx.wrong.example");
    assert_eq!(sts["policy"]["policy-string"][1], "mode: enforce");
    assert_eq!(sts["failure-details"][0]["result-type"], "certificate-host-mismatch", "{report:#}");
    let report = posted("dane.test");
    let tlsa = policy(&report, "tlsa");
    assert_eq!(tlsa["summary"]["total-successful-session-count"], 1);
    let record = tlsa["policy"]["policy-string"][0].as_str().unwrap();
    assert!(record.starts_with("_2500._tcp.mx.dane.test. IN TLSA 3 1 1 "), "{record}");
    // On a busy machine, a proof may have taken too long at first.
    let report = posted("other.test");
    assert!(report.to_string().contains("\"result-type\":\"tlsa-invalid\""), "{report:#}");
    assert_eq!(unproven.messages().len(), 0);
}

#[tokio::test]
async fn nodes_count_together_and_one_of_them_reports() {
    let site = site().await.with_store_faults(&StoreFaults::of_nodes());
    site.zone().txt("_smtp._tls.example.org", "v=TLSRPTv1; rua=mailto:tls@reports.test");
    let _mx = site.mx("example.org", Script::new().starttls(StartTls::Working)).await;
    let reports = site.mx("reports.test", Script::new()).await;
    let other = site.beside().await.set("TLS_REPORTS_ENABLED", "true");
    let first = site.start().await;
    let other = other.start_on(first.clock()).await;
    send(&first, "b@example.org", EmailStatus::Sent).await;
    send(&other, "c@example.org", EmailStatus::Sent).await;
    end_day(&first).await;
    let report = attached(&reports.wait_for_messages(1).await[0]);
    let found = policy(&report, "no-policy-found");
    assert_eq!(found["summary"]["total-successful-session-count"], 2, "{report:#}");
    end_day(&first).await;
    assert_eq!(reports.messages().len(), 1);
}
