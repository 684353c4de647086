//! The command line beside a running server: both see the same store.

use std::time::Duration;

use postrider_core::{EmailStatus, ObjectId, Timestamp};
use postrider_store::Renewal;
use postrider_store_mongo::MongoOptions;
use postrider_testkit::{
    CommandOutput, HttpAnswer, HttpService, LineClient, MongoServer, Script, Site, TestPostrider, mail,
};
use serde_json::{Value, json};

use crate::support::binary;

async fn run(site: &Site, arguments: &[&str]) -> CommandOutput {
    site.command(binary(), arguments, "").await
}

/// Runs a command that must succeed, with `--json`.
async fn json_of(site: &Site, arguments: &[&str]) -> Value {
    let output = run(site, &[arguments, &["--json"]].concat()).await;
    assert_eq!(output.code, 0, "{arguments:?}: {}", output.stderr);
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.stdout))
}

async fn server(script: Script) -> (TestPostrider, postrider_testkit::ScriptedMx) {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "local.test");
    let mx = site.mx("example.org", script).await;
    (site.start_in_real_time().await, mx)
}

#[tokio::test]
async fn users_are_added_listed_and_removed_while_the_server_runs() {
    let postrider = Site::new().await.start().await;
    // Failed log-ins are slowed, by the server's clock.
    let _time = postrider.clock().run();
    let added =
        postrider.command(binary(), &["user", "add", "ann@local.test", "--password-stdin"], "first password\n").await;
    assert_eq!(added.code, 0, "{}", added.stderr);
    let again =
        postrider.command(binary(), &["user", "add", "ANN@local.test", "--password-stdin"], "first password\n").await;
    assert_eq!(again.code, 4, "{}", again.stderr);

    let log_in = async |password: &str| {
        let mut client = LineClient::connect_tls(postrider.submissions()).await.unwrap();
        client.expect(220).await;
        client.command("EHLO client.test").await;
        let plain = client.auth_plain("ann@local.test", password).await.code;
        let mut client = LineClient::connect_tls(postrider.submissions()).await.unwrap();
        client.expect(220).await;
        client.command("EHLO client.test").await;
        (plain, client.auth_scram_plus("ann@local.test", password).await.code)
    };
    assert_eq!(log_in("first password").await, (235, 235));

    let users = json_of(&postrider, &["user", "list"]).await;
    assert_eq!(users[0]["address"], json!("ann@local.test"));
    let changed = postrider
        .command(binary(), &["user", "passwd", "ann@local.test", "--password-stdin"], "second password\n")
        .await;
    assert_eq!(changed.code, 0, "{}", changed.stderr);
    assert_eq!(log_in("first password").await, (535, 535));
    assert_eq!(log_in("second password").await, (235, 235));

    assert_eq!(run(&postrider, &["user", "remove", "ann@local.test"]).await.code, 0);
    assert_eq!(run(&postrider, &["user", "remove", "ann@local.test"]).await.code, 3);
    assert_eq!(log_in("second password").await, (535, 535));
}

#[tokio::test]
async fn emails_are_listed_shown_and_given_byte_for_byte() {
    let (postrider, _mx) = server(Script::new()).await;
    let message = mail::plain("ann@client.test", "b@example.org", "shown");
    let id = postrider.send("ann@client.test", &["b@example.org"], &message).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;

    let list = json_of(&postrider, &["email", "list"]).await;
    assert_eq!(list["emails"][0]["id"], json!(id.to_string()));
    let table = run(&postrider, &["email", "list"]).await;
    assert!(table.stdout.contains(&id.to_string()) && table.stdout.contains("sent"), "{}", table.stdout);

    let id = id.to_string();
    let shown = json_of(&postrider, &["email", "show", &id]).await;
    assert_eq!(shown["deliveries"][0]["recipient"], json!("b@example.org"));
    assert_eq!(shown, postrider.get(&format!("/api/emails/{id}")).await.json(), "the API shows the same");
    assert!(run(&postrider, &["email", "show", &id]).await.stdout.contains("shown"));

    let raw = run(&postrider, &["email", "raw", &id]).await;
    assert_eq!(raw.stdout.as_bytes(), postrider.store().raw(id.parse().unwrap()).await.unwrap().unwrap().raw);
    assert_eq!(run(&postrider, &["email", "show", "0123456789abcdef01234567"]).await.code, 3);
    assert_eq!(run(&postrider, &["email", "show", "nonsense"]).await.code, 2);
}

#[tokio::test]
async fn the_queue_is_ordered_about() {
    let (postrider, mx) = server(Script::new().on("MAIL", "451 4.3.0 Later")).await;
    let id = postrider.send("", &["b@example.org"], &mail::plain("", "b@example.org", "ordered")).await;
    postrider.wait_for_deferred(id, 1).await;
    let text = id.to_string();
    assert!(run(&postrider, &["queue", "list"]).await.stdout.contains("example.org"));

    assert_eq!(run(&postrider, &["queue", "hold", &text]).await.code, 0);
    assert_eq!(postrider.email(id).await.email.status, EmailStatus::Held);
    mx.set_script(Script::new());
    assert_eq!(run(&postrider, &["queue", "release", "--domain", "example.org"]).await.code, 0);
    // The server sees by itself, within a second, that somebody changed the queue behind its back.
    postrider.wait_for_status(id, EmailStatus::Sent).await;

    mx.set_script(Script::new().on("MAIL", "451 4.3.0 Later"));
    let id = postrider.send("", &["b@example.org"], &mail::plain("", "b@example.org", "ordered")).await;
    postrider.wait_for_deferred(id, 1).await;
    assert_eq!(run(&postrider, &["queue", "cancel", "--all"]).await.code, 0);
    assert_eq!(postrider.email(id).await.email.status, EmailStatus::Cancelled);
    mx.set_script(Script::new());
    assert_eq!(run(&postrider, &["queue", "retry", "--status", "cancelled"]).await.code, 0);
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    assert_eq!(run(&postrider, &["queue", "retry"]).await.code, 2, "an order needs to say for what");
}

#[tokio::test]
async fn the_server_is_tried_by_selftest() {
    let site = Site::new().await.set("DELIVERY_MODE", "capture");
    let postrider = site.start_in_real_time().await;
    for arguments in [&["selftest", "ports"][..], &["selftest", "email"]] {
        let output = run(&postrider, arguments).await;
        assert_eq!(output.code, 0, "{arguments:?}: {}{}", output.stdout, output.stderr);
    }
    let site = postrider.shut_down().await;
    let output = run(&site, &["selftest", "ports"]).await;
    assert_eq!(output.code, 1, "{}", output.stdout);
}

#[tokio::test]
async fn the_service_that_picks_source_addresses_is_tried_by_selftest() {
    let site = Site::new().await;
    let output = run(&site, &["selftest", "ip"]).await;
    assert_eq!(output.code, 2, "{}", output.stderr);
    let service = HttpService::start(site.claim_ip(), |_| HttpAnswer::ok("127.0.0.9")).await;
    let site = site.set("IP_SELECTION_ENABLED", "true").set("IP_SELECTION_API_URL", &service.url("/pick"));
    let postrider = site.set("ALLOWED_DOMAINS", "local.test").start_in_real_time().await;
    let output = run(&postrider, &["selftest", "ip", "--to", "b@example.org"]).await;
    assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
    let said = "mail would leave from 127.0.0.9 as postrider.test";
    assert!(output.stdout.contains("example.org") && output.stdout.contains(said), "{}", output.stdout);
    let shown = json_of(&postrider, &["selftest", "ip"]).await;
    assert_eq!((&shown["ok"], &shown["decision"]["ip"]), (&json!(true), &json!("127.0.0.9")));
    service.set_answer(|_| HttpAnswer::new(500, "Ill"));
    let output = run(&postrider, &["selftest", "ip"]).await;
    assert_eq!(output.code, 1, "{}", output.stdout);
    assert!(output.stdout.contains("the service answered 500") && output.stdout.contains("IP_SELECTION_API_URL"));
    drop(postrider.shut_down().await);
}

#[tokio::test]
async fn settings_are_checked_and_shown() {
    let site = Site::new().await.set("API_TOKEN", "a-long-and-secret-token");
    site.zone().address("postrider.test", site.ip());
    let config = run(&site, &["config"]).await;
    assert_eq!(config.code, 0, "{}", config.stderr);
    assert!(config.stdout.contains("SMTP_PORT") && config.stdout.contains("2525"), "{}", config.stdout);
    assert!(!config.stdout.contains("secret-token"), "{}", config.stdout);
    let check = run(&site, &["check"]).await;
    assert_eq!(check.code, 0, "{}{}", check.stdout, check.stderr);
    let shaping = site.folder().join("shaping.txt");
    let site = site.set("SHAPING_FILE", &shaping.to_string_lossy());
    std::fs::write(&shaping, "mx.slow.test - - 6\n").unwrap();
    let check = run(&site, &["check"]).await;
    assert!(check.code == 0 && check.stdout.contains("shaping.txt is understood"), "{}", check.stdout);
    std::fs::write(&shaping, "# slow\nmx.slow.test - - many\n").unwrap();
    let site = site.set("TLS_CERT_FILE", "/nowhere/cert.pem").set("TLS_KEY_FILE", "/nowhere/key.pem");
    let check = run(&site, &["check"]).await;
    assert_eq!(check.code, 1, "{}", check.stdout);
    assert!(check.stdout.contains("/nowhere/cert.pem"), "{}", check.stdout);
    assert!(check.stdout.contains("shaping.txt: line 2"), "{}", check.stdout);
}

/// The first command of the README: everything on loopback, and it says how to try it.
#[tokio::test]
async fn dev_starts_everything_and_says_how_to_try_it() {
    let site = Site::new().await;
    let mut process = site.process(binary(), &["dev"]);
    process.wait_until_listening(site.smtp()).await;
    let mut client = LineClient::hello(site.smtp()).await;
    let reply = client.send_mail("a@client.test", &["b@example.org"], &mail::plain("a@x", "b@y", "dev")).await;
    let id = reply.id().unwrap();
    postrider_testkit::eventually("the mail to be captured", async || {
        let email = postrider_testkit::HttpRequest::get(&format!("/api/emails/{id}")).send(site.api()).await;
        (email.json()["status"] == json!("sent")).then_some(())
    })
    .await;
    let (user, password) = introduced(&process).await;
    let said = process.output();
    assert!(said.contains("swaks") && said.contains("curl"), "{said}");

    let mut client = LineClient::connect_tls(site.submissions()).await.unwrap();
    client.expect(220).await;
    client.command("EHLO client.test").await;
    assert_eq!(client.auth_plain(&user, &password).await.code, 235);
    client.send_mail("a@client.test", &[&user], &mail::plain("a@x", &user, "demo")).await;
    let lmtp = run(&site, &["selftest", "--dev", "lmtp"]).await;
    assert_eq!(lmtp.code, 0, "{}{}", lmtp.stdout, lmtp.stderr);
    let shown = json_of(&site, &["user", "show", &user]).await;
    assert_eq!((&shown["usage"]["messages"], &shown["receivesMail"]), (&json!(2), &json!(true)), "{shown}");

    process.signal("TERM");
    process.wait().await;
    let again = site.process(binary(), &["dev"]);
    assert_eq!(introduced(&again).await, (user, password), "the second start finds what the first has made");
}

/// The user name and the password that `dev` says a mail program takes.
async fn introduced(process: &postrider_testkit::PostriderProcess) -> (String, String) {
    postrider_testkit::eventually("the introduction", async || {
        let said = process.output();
        let value = |name: &str| said.lines().find_map(|line| Some(line.trim().strip_prefix(name)?.trim().to_owned()));
        said.contains("Ctrl-C").then(|| value("user name").zip(value("password"))).flatten()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_of_a_mongodb_and_who_runs_on_it() {
    let database = MongoServer::shared().await.database();
    let site = Site::new().await.set("MONGODB_URL", database.url());
    let findings = async || {
        // Other areas may find fault with this machine.
        let output = run(&site, &["check", "--json"]).await;
        let findings: Vec<Value> = serde_json::from_str(&output.stdout).unwrap();
        let of_store = findings.iter().filter(|finding| finding["area"] == "store");
        of_store.map(|finding| format!("{} {}", finding["level"], finding["message"])).collect::<Vec<_>>()
    };
    let found = findings().await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("ok") && found[0].contains("the MongoDB of MONGODB_URL is well"), "{found:?}");
    assert!(found[1].contains("no node runs on it now"), "{found:?}");

    let store = postrider_store_mongo::open(MongoOptions::new(database.url())).await.unwrap();
    let now = Timestamp::system();
    for host in ["mx1.example", "mx2.example"] {
        let renewal = Renewal::new(ObjectId::new(now), now, Duration::from_secs(60));
        store.renew(Renewal { host: host.into(), ..renewal }).await.unwrap();
    }
    let found = findings().await;
    assert!(found[1].contains("2 nodes run on it: mx1.example, mx2.example"), "{found:?}");
    store.close().await.unwrap();
}
