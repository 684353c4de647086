//! The directory on the command line, beside a running server.

use postrider_testkit::{CommandOutput, LineClient, Site, TestPostrider, mail};
use serde_json::{Value, json};

use crate::support::{binary, inbox};

#[tokio::test]
async fn users_domains_and_aliases_from_nothing_to_mail_in_mailboxes() {
    let postrider = Site::new().await.start().await;
    let added = add_user(&postrider, "ann@shop.test", &[]).await;
    assert_eq!(added.code, 0, "{}", added.stderr);
    assert!(added.stdout.contains("postrider domain add shop.test"), "{}", added.stdout);
    let refused = run(&postrider, &["alias", "add", "sales@shop.test", "ann@shop.test"]).await;
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(refused.stderr.contains("shop.test is not a domain of this server: make it one"), "{}", refused.stderr);

    demand(&postrider, &["domain", "add", "Shop.test", "--catch-all", "ANN@shop.test"], 0).await;
    demand(&postrider, &["domain", "add", "shop.test"], 4).await;
    let added = add_user(&postrider, "bob@shop.test", &["--quota-bytes", "10K", "--quota-messages", "1"]).await;
    assert!(added.code == 0 && !added.stdout.contains("domain add"), "{}{}", added.stdout, added.stderr);
    demand(&postrider, &["alias", "add", "sales@shop.test", "ann@shop.test", "bob@shop.test"], 0).await;
    postrider_testkit::eventually("the server to hear of it", async || {
        let mut client = lhlo(&postrider).await;
        client.demand("MAIL FROM:<a@sender.test>", 250).await;
        (client.command("RCPT TO:<sales@shop.test>").await.code == 250).then_some(())
    })
    .await;
    for recipient in ["sales@shop.test", "anybody@shop.test"] {
        let mut client = lhlo(&postrider).await;
        let reply = client.send_mail("a@sender.test", &[recipient], &mail::plain("a@x", recipient, "x")).await;
        assert_eq!(reply.code, 250, "{}", reply.text());
    }
    assert_eq!(
        (inbox(&postrider, "ann@shop.test").await.len(), inbox(&postrider, "bob@shop.test").await.len()),
        (2, 1)
    );

    let bob = json_of(&postrider, &["user", "show", "BOB@shop.test"]).await;
    assert_eq!(bob["quota"], json!({ "bytes": 10_240, "messages": 1 }));
    assert_eq!(bob["usage"]["messages"], json!(1));
    assert_eq!(bob["aliases"], json!(["sales@shop.test"]));
    assert_eq!(bob["mailboxes"].as_array().unwrap().len(), 6, "{bob}");
    assert!(!bob.to_string().contains("argon2"));
    let shown = run(&postrider, &["user", "show", "bob@shop.test"]).await.stdout;
    assert!(shown.contains("1 of 1 (100 %)") && shown.contains("INBOX"), "{shown}");
    let ann = json_of(&postrider, &["user", "show", "ann@shop.test"]).await;
    assert_eq!(ann["catchAllOf"], json!(["shop.test"]));
}

#[tokio::test]
async fn a_quota_is_set_and_lifted() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    postrider.add_user("ann@local.test", "password").await;
    let quota = async |arguments: &[&str]| {
        let all = [&["user", "quota", "ann@local.test"], arguments].concat();
        json_of(&postrider, &all).await["quota"].clone()
    };
    assert_eq!(quota(&["--bytes", "2G"]).await, json!({ "bytes": 2_147_483_648_u64, "messages": null }));
    assert_eq!(quota(&["--messages", "5"]).await, json!({ "bytes": 2_147_483_648_u64, "messages": 5 }));
    assert_eq!(quota(&["--bytes", "none"]).await, json!({ "bytes": null, "messages": 5 }));
    demand(&postrider, &["user", "quota", "ann@local.test"], 2).await;
    demand(&postrider, &["user", "quota", "ann@local.test", "--bytes", "much"], 2).await;
    demand(&postrider, &["user", "quota", "nobody@local.test", "--bytes", "1"], 3).await;
    assert_eq!(json_of(&postrider, &["user", "list"]).await[0]["quota"]["messages"], json!(5));
}

#[tokio::test]
async fn domains_come_from_settings_and_directory() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    postrider.add_user("ann@local.test", "password").await;
    demand(&postrider, &["domain", "add", "other.test"], 0).await;
    let list = json_of(&postrider, &["domain", "list"]).await;
    let names: Vec<_> = list.as_array().unwrap().iter().map(|domain| domain["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["local.test", "other.test"]);
    assert_eq!((&list[0]["inSettings"], &list[0]["inDirectory"]), (&json!(true), &json!(false)));

    demand(&postrider, &["domain", "catch-all", "local.test", "nobody@local.test"], 3).await;
    demand(&postrider, &["domain", "catch-all", "local.test", "b@elsewhere.test"], 2).await;
    demand(&postrider, &["domain", "catch-all", "none.test", "ann@local.test"], 3).await;
    demand(&postrider, &["domain", "catch-all", "local.test"], 2).await;
    demand(&postrider, &["domain", "catch-all", "local.test", "ann@local.test"], 0).await;
    let shown = json_of(&postrider, &["domain", "show", "local.test"]).await;
    assert_eq!((&shown["catchAll"], &shown["users"]), (&json!("ann@local.test"), &json!(["ann@local.test"])));
    let refused = demand(&postrider, &["user", "remove", "ann@local.test"], 4).await;
    assert!(refused.stderr.contains("nobody else at local.test") && refused.stderr.contains("--with-aliases"));
    let removed = demand(&postrider, &["user", "remove", "ann@local.test", "--with-aliases"], 0).await;
    assert!(removed.stdout.contains("domain catch-all local.test"), "{}", removed.stdout);
    demand(&postrider, &["domain", "remove", "local.test"], 0).await;
    let still = demand(&postrider, &["domain", "remove", "local.test"], 4).await;
    assert!(still.stderr.contains("ALLOWED_DOMAINS"), "{}", still.stderr);
    demand(&postrider, &["domain", "remove", "other.test"], 0).await;
    demand(&postrider, &["domain", "remove", "other.test"], 3).await;
    demand(&postrider, &["domain", "show", "other.test"], 3).await;
}

#[tokio::test]
async fn aliases_lead_to_users_of_this_server() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    for user in ["ann@local.test", "bob@local.test"] {
        postrider.add_user(user, "password").await;
    }
    demand(&postrider, &["alias", "add", "all@local.test", "ann@local.test"], 0).await;
    for (arguments, code, said) in [
        (&["alias", "add", "all@local.test", "bob@local.test"][..], 4, "exists"),
        (&["alias", "add", "ann@local.test", "bob@local.test"], 4, "exists"),
        (&["alias", "add", "x@local.test", "nobody@local.test"], 3, "there is no user nobody@local.test"),
        (&["alias", "add", "x@local.test", "b@elsewhere.test"], 2, "to users here only"),
        (&["alias", "add", "x@local.test", "all@local.test"], 2, "is an alias itself"),
        (&["alias", "add", "x@elsewhere.test", "ann@local.test"], 4, "postrider domain add elsewhere.test"),
        (&["alias", "add", "x@local.test"], 2, "USER"),
        (&["alias", "set", "x@local.test", "ann@local.test"], 3, "there is no alias x@local.test"),
        (&["alias", "show", "x@local.test"], 3, "there is no alias x@local.test"),
        (&["alias", "remove", "x@local.test"], 3, "there is no alias x@local.test"),
    ] {
        let output = demand(&postrider, arguments, code).await;
        assert!(output.stderr.contains(said), "{arguments:?}: {}", output.stderr);
    }
    let refused = add_user(&postrider, "ALL@local.test", &[]).await;
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    demand(&postrider, &["alias", "set", "ALL@local.test", "ann@local.test", "bob@local.test"], 0).await;
    let list = json_of(&postrider, &["alias", "list"]).await;
    assert_eq!(list[0]["targets"], json!(["ann@local.test", "bob@local.test"]));
    demand(&postrider, &["alias", "add", "bobs@local.test", "bob@local.test"], 0).await;
    let refused = demand(&postrider, &["user", "remove", "BOB@local.test"], 4).await.stderr;
    assert!(refused.contains("all@local.test, bobs@local.test"), "{refused}");
    let removed = demand(&postrider, &["user", "remove", "BOB@local.test", "--with-aliases"], 0).await.stdout;
    assert!(
        removed.contains("alias all@local.test leads to its other") && removed.contains("bobs@local.test is removed")
    );
    let list = json_of(&postrider, &["alias", "list"]).await;
    assert_eq!((list.as_array().unwrap().len(), &list[0]["targets"]), (1, &json!(["ann@local.test"])));
    demand(&postrider, &["alias", "remove", "all@local.test"], 0).await;
    assert_eq!(json_of(&postrider, &["alias", "list"]).await, json!([]));
}

#[tokio::test]
async fn selftest_lmtp_finds_what_it_delivered() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "local.test").start_in_real_time().await;
    postrider.add_user("ann@local.test", "password").await;
    let found = json_of(&postrider, &["selftest", "lmtp", "--to", "ann+test@local.test"]).await;
    assert_eq!((&found["ok"], &found["mailboxes"]), (&json!(true), &json!(1)), "{found}");
    assert_eq!(inbox(&postrider, "ann@local.test").await.len(), 1);
    demand(&postrider, &["selftest", "lmtp"], 2).await;
    let failed = demand(&postrider, &["selftest", "lmtp", "--to", "nobody@local.test"], 1).await;
    assert!(failed.stdout.contains("550 5.1.1"), "{}", failed.stdout);
}

async fn run(site: &Site, arguments: &[&str]) -> CommandOutput {
    site.command(binary(), arguments, "").await
}

/// Runs a command that must end with this code.
async fn demand(site: &Site, arguments: &[&str], code: i32) -> CommandOutput {
    let output = run(site, arguments).await;
    assert_eq!(output.code, code, "{arguments:?}: {}{}", output.stdout, output.stderr);
    output
}

async fn json_of(site: &Site, arguments: &[&str]) -> Value {
    let output = demand(site, &[arguments, &["--json"]].concat(), 0).await;
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.stdout))
}

async fn add_user(site: &Site, address: &str, options: &[&str]) -> CommandOutput {
    site.command(binary(), &[&["user", "add", address, "--password-stdin"], options].concat(), "password\n").await
}

async fn lhlo(postrider: &TestPostrider) -> LineClient {
    let mut client = LineClient::connect(postrider.lmtp()).await.unwrap();
    client.expect(220).await;
    client.demand("LHLO client.test", 250).await;
    client
}
