//! Users, aliases, domains, their keys and records, and the settings, by API: from nothing to mail in mailboxes.

use postrider_testkit::{HttpRequest, LineClient, Site, TestPostrider, mail};
use serde_json::{Value, json};

use crate::support::inbox;

async fn ask(postrider: &TestPostrider, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let request = HttpRequest::new(method, path);
    let request = body.map_or(request.clone(), |body| request.json(&body));
    let response = postrider.request(request).await;
    (response.status, if response.body.is_empty() { Value::Null } else { response.json() })
}

/// What is answered with `status`.
async fn demand(postrider: &TestPostrider, status: u16, method: &str, path: &str, body: Option<Value>) -> Value {
    let (answered, answer) = ask(postrider, method, path, body).await;
    assert_eq!(answered, status, "{method} {path}: {answer:#}");
    answer
}

async fn add_user(postrider: &TestPostrider, address: &str, password: &str) -> Value {
    demand(postrider, 201, "POST", "/api/users", Some(json!({ "address": address, "password": password }))).await
}

/// Whether a user may log in with a password.
async fn may_log_in(postrider: &TestPostrider, user: &str, password: &str) -> bool {
    let _time = postrider.clock().run();
    let mut client = LineClient::hello(postrider.submission()).await;
    client.starttls().await;
    client.demand("EHLO client.test", 250).await;
    client.auth_plain(user, password).await.code == 235
}

async fn lhlo(postrider: &TestPostrider) -> LineClient {
    let mut client = LineClient::connect(postrider.lmtp()).await.unwrap();
    client.expect(220).await;
    client.demand("LHLO client.test", 250).await;
    client
}

/// Hands a message in by LMTP once its recipient is known here.
async fn deliver(postrider: &TestPostrider, recipient: &str) {
    postrider_testkit::eventually("the server to hear of it", async || {
        let mut client = lhlo(postrider).await;
        client.demand("MAIL FROM:<a@sender.test>", 250).await;
        (client.command(&format!("RCPT TO:<{recipient}>")).await.code == 250).then_some(())
    })
    .await;
    let mut client = lhlo(postrider).await;
    let reply = client.send_mail("a@sender.test", &[recipient], &mail::plain("a@x", recipient, "x")).await;
    assert_eq!(reply.code, 250, "{}", reply.text());
}

#[tokio::test]
async fn users_domains_and_aliases_from_nothing_to_mail_in_mailboxes() {
    let postrider = Site::new().await.start().await;
    let ann = add_user(&postrider, "ann@shop.test", "the first").await;
    assert_eq!((&ann["address"], &ann["receivesMail"]), (&json!("ann@shop.test"), &json!(false)));
    let alias = json!({ "address": "sales@shop.test", "targets": ["ann@shop.test", "bob@shop.test"] });
    let refused = demand(&postrider, 409, "POST", "/api/aliases", Some(alias.clone())).await;
    assert!(refused["detail"].as_str().unwrap().contains("POST /api/domains"), "{refused}");

    let domain = json!({ "name": "Shop.test", "catchAll": "ANN@shop.test" });
    let added = demand(&postrider, 201, "POST", "/api/domains", Some(domain.clone())).await;
    assert_eq!((&added["name"], &added["catchAll"]), (&json!("shop.test"), &json!("ann@shop.test")));
    assert_eq!(added["dkimRecords"].as_array().unwrap().len(), 2, "{added:#}");
    demand(&postrider, 409, "POST", "/api/domains", Some(domain)).await;
    let nobody = demand(&postrider, 400, "POST", "/api/aliases", Some(alias.clone())).await;
    assert!(nobody["detail"].as_str().unwrap().contains("no user bob@shop.test"), "{nobody}");
    let bob = json!({ "address": "bob@shop.test", "password": "the second", "quota": { "messages": 1 } });
    let bob = demand(&postrider, 201, "POST", "/api/users", Some(bob)).await;
    assert_eq!(bob["quota"], json!({ "bytes": null, "messages": 1 }));
    assert_eq!(bob["mailboxes"].as_array().unwrap().len(), 6);
    demand(&postrider, 201, "POST", "/api/aliases", Some(alias.clone())).await;
    demand(&postrider, 409, "POST", "/api/aliases", Some(alias)).await;

    deliver(&postrider, "sales@shop.test").await;
    deliver(&postrider, "anybody@shop.test").await;
    assert_eq!(
        (inbox(&postrider, "ann@shop.test").await.len(), inbox(&postrider, "bob@shop.test").await.len()),
        (2, 1)
    );
    let ann = demand(&postrider, 200, "GET", "/api/users/ANN@shop.test", None).await;
    assert_eq!((&ann["aliases"], &ann["catchAllOf"]), (&json!(["sales@shop.test"]), &json!(["shop.test"])));
    assert!(!ann.to_string().contains("argon2"));
    let shown = demand(&postrider, 200, "GET", "/api/domains/shop.test", None).await;
    assert_eq!(shown["users"], json!(["ann@shop.test", "bob@shop.test"]));
    assert_eq!(shown["aliases"], json!(["sales@shop.test"]));

    // And back to nothing.
    let refused = demand(&postrider, 409, "DELETE", "/api/users/ann@shop.test", None).await;
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("sales@shop.test") && detail.contains("nobody else at shop.test"), "{detail}");
    demand(&postrider, 400, "DELETE", "/api/users/ann@shop.test?aliases=keep", None).await;
    add_user(&postrider, "eve@shop.test", "the third").await;
    for (alias, targets) in
        [("both@shop.test", &["ann@shop.test", "eve@shop.test"][..]), ("eves@shop.test", &["eve@shop.test"])]
    {
        let alias = json!({ "address": alias, "targets": targets });
        demand(&postrider, 201, "POST", "/api/aliases", Some(alias)).await;
    }
    demand(&postrider, 204, "DELETE", "/api/users/eve@shop.test?aliases=remove", None).await;
    demand(&postrider, 404, "GET", "/api/aliases/eves@shop.test", None).await;
    let both = demand(&postrider, 200, "GET", "/api/aliases/both@shop.test", None).await;
    assert_eq!(both["targets"], json!(["ann@shop.test"]));
    demand(&postrider, 204, "DELETE", "/api/aliases/both@shop.test", None).await;
    let alias = json!({ "targets": ["bob@shop.test"] });
    let changed = demand(&postrider, 200, "PATCH", "/api/aliases/sales@shop.test", Some(alias)).await;
    assert_eq!(changed["targets"], json!(["bob@shop.test"]));
    let change = Some(json!({ "catchAll": null }));
    assert_eq!(demand(&postrider, 200, "PATCH", "/api/domains/shop.test", change).await["catchAll"], Value::Null);
    let refused = demand(&postrider, 409, "DELETE", "/api/domains/shop.test", None).await;
    assert!(refused["detail"].as_str().unwrap().contains("remove these first"), "{refused}");
    for path in [
        "/api/aliases/sales@shop.test",
        "/api/users/bob@shop.test",
        "/api/users/ann@shop.test",
        "/api/domains/shop.test",
    ] {
        demand(&postrider, 204, "DELETE", path, None).await;
        for method in ["GET", "DELETE"] {
            demand(&postrider, 404, method, path, None).await;
        }
    }
}

#[tokio::test]
async fn a_user_is_disabled_and_enabled() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    let added = add_user(&postrider, "ann@local.test", "the first").await;
    assert_eq!(added["enabled"], json!(true));
    let path = "/api/users/ann@local.test";
    let page = async || {
        let request = HttpRequest::get("/users/ann@local.test").header("accept", "text/html");
        postrider.request(request).await.text()
    };
    assert!(page().await.contains("Disable the user"));
    let changed = demand(&postrider, 200, "PATCH", path, Some(json!({ "enabled": false }))).await;
    assert_eq!(changed["enabled"], json!(false));
    assert!(!may_log_in(&postrider, "ann@local.test", "the first").await);
    let shown = page().await;
    assert!(shown.contains("Disabled.") && shown.contains("Enable the user"), "{shown}");
    let list = demand(&postrider, 200, "GET", "/api/users", None).await;
    assert_eq!(list["users"][0]["enabled"], json!(false));
    // What else is changed leaves it so.
    let changed = demand(&postrider, 200, "PATCH", path, Some(json!({ "password": "the second" }))).await;
    assert_eq!(changed["enabled"], json!(false));
    assert!(!may_log_in(&postrider, "ann@local.test", "the second").await);
    demand(&postrider, 200, "PATCH", path, Some(json!({ "enabled": true }))).await;
    assert!(may_log_in(&postrider, "ann@local.test", "the second").await);
    let changes = demand(&postrider, 200, "GET", "/api/audit?action=user.change", None).await;
    let last = &changes["entries"][0];
    assert_eq!(
        (&last["details"]["before"]["enabled"], &last["details"]["after"]["enabled"]),
        (&json!(false), &json!(true)),
        "{changes:#}"
    );
}

#[tokio::test]
async fn a_password_and_a_quota_are_changed() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    add_user(&postrider, "ann@local.test", "the first").await;
    assert!(may_log_in(&postrider, "ann@local.test", "the first").await);
    let path = "/api/users/ann@local.test";
    let change = json!({ "password": "the second", "quota": { "bytes": 1000 } });
    let changed = demand(&postrider, 200, "PATCH", path, Some(change)).await;
    assert_eq!(changed["quota"], json!({ "bytes": 1000, "messages": null }));
    assert!(may_log_in(&postrider, "ann@local.test", "the second").await);
    assert!(!may_log_in(&postrider, "ann@local.test", "the first").await);
    let changed = demand(&postrider, 200, "PATCH", path, Some(json!({ "quota": { "messages": 5 } }))).await;
    assert_eq!(changed["quota"], json!({ "bytes": 1000, "messages": 5 }), "what is not said stays");
    let changed = demand(&postrider, 200, "PATCH", path, Some(json!({ "quota": { "bytes": null } }))).await;
    assert_eq!(changed["quota"], json!({ "bytes": null, "messages": 5 }));

    for (body, parameter) in [
        (json!({ "password": "" }), "password"),
        (json!({ "password": "seven77" }), "password"),
        (json!({ "password": "a\u{0}b" }), "password"),
        (json!({ "quota": { "bytes": u64::MAX } }), "quota"),
    ] {
        let refused = demand(&postrider, 400, "PATCH", path, Some(body)).await;
        assert_eq!(refused["parameter"], json!(parameter), "{refused}");
        assert!(!refused.to_string().contains("a\\u0000b"), "{refused}");
    }
    demand(&postrider, 400, "PATCH", path, Some(json!({ "passwort": "x" }))).await;
    demand(&postrider, 400, "PATCH", path, Some(json!({ "enabled": "no" }))).await;
    demand(&postrider, 404, "PATCH", "/api/users/nobody@local.test", Some(json!({ "password": "long enough" }))).await;
    let again = json!({ "address": "ANN@local.test", "password": "another one" });
    demand(&postrider, 409, "POST", "/api/users", Some(again)).await;
    assert!(may_log_in(&postrider, "ann@local.test", "the second").await, "nothing that was refused was done");
}

#[tokio::test]
async fn an_alias_is_one_address_of_its_own() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    add_user(&postrider, "ann@local.test", "the first").await;
    let alias = |address: &str| Some(json!({ "address": address, "targets": ["ann@local.test"] }));
    let refused = demand(&postrider, 400, "POST", "/api/aliases", alias("*@local.test")).await;
    assert!(refused["detail"].as_str().unwrap().contains("catch-all"), "{refused}");
    demand(&postrider, 201, "POST", "/api/aliases", alias("sales@local.test")).await;
    let user = json!({ "address": "sales@local.test", "password": "the second" });
    let refused = demand(&postrider, 409, "POST", "/api/users", Some(user)).await;
    assert!(refused["detail"].as_str().unwrap().contains("is an alias: remove it first"), "{refused}");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    for n in 0..5 {
        postrider.add_user(&format!("user{n}@local.test"), "password").await;
    }
    let page = demand(&postrider, 200, "GET", "/api/users?limit=2&page=3", None).await;
    assert_eq!(page["pagination"], json!({ "page": 3, "limit": 2, "total": 5, "pages": 3 }));
    assert_eq!(page["users"].as_array().unwrap().len(), 1);
    assert_eq!(page["users"][0]["address"], json!("user4@local.test"));
    let found = demand(&postrider, 200, "GET", "/api/users?q=USER3", None).await;
    assert_eq!(found["pagination"]["total"], json!(1));
    let domains = demand(&postrider, 200, "GET", "/api/domains", None).await;
    assert_eq!(domains["domains"][0]["name"], json!("local.test"), "{domains}");
    assert_eq!(demand(&postrider, 200, "GET", "/api/aliases", None).await["aliases"], json!([]));
    for path in ["/api/users?limit=101", "/api/aliases?page=0", "/api/domains?nonsense=1"] {
        demand(&postrider, 400, "GET", path, None).await;
    }
}

#[tokio::test]
async fn keys_are_made_shown_rotated_and_removed() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "local.test").set("MAIL_HOSTNAME", "mx.local.test");
    let postrider = postrider.start().await;
    let path = "/api/domains/local.test/dkim";
    assert_eq!(demand(&postrider, 200, "GET", path, None).await["keys"], json!([]));
    let rotate = format!("{path}/rotate");
    let made = demand(&postrider, 201, "POST", &rotate, None).await;
    let keys = made["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2, "{made:#}");
    assert!(keys.iter().all(|key| key["state"] == "signing" && key["published"] == false), "{made:#}");
    assert!(!made.to_string().contains("private"), "{made:#}");
    demand(&postrider, 400, "POST", &rotate, Some(json!({ "signAfterHours": 8761 }))).await;
    let made = demand(&postrider, 201, "POST", &rotate, Some(json!({ "signAfterHours": 1 }))).await;
    let states: Vec<_> = made["keys"].as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["signing", "signing", "waiting", "waiting"]);

    // What DNS is to say, and whether it does.
    let wanted = demand(&postrider, 200, "GET", "/api/domains/local.test/dns", None).await;
    let records = wanted["records"].as_array().unwrap();
    let dkim: Vec<_> = records.iter().filter(|record| record["purpose"] == "DKIM").collect();
    assert!(dkim.len() == 4 && dkim.iter().all(|record| record["state"] == "missing"), "{wanted:#}");
    let record = dkim[0];
    postrider.zone().txt(record["name"].as_str().unwrap(), record["value"].as_str().unwrap());
    postrider.zone().mx("local.test", 10, "mx.local.test");
    postrider.pass(std::time::Duration::from_secs(600)).await;
    let shown = demand(&postrider, 200, "GET", path, None).await;
    assert_eq!(shown["keys"][0]["published"], json!(true), "{shown:#}");
    demand(&postrider, 404, "GET", "/api/domains/other.test/dns", None).await;
    demand(&postrider, 404, "POST", "/api/domains/other.test/dkim/rotate", Some(json!({}))).await;

    demand(&postrider, 204, "DELETE", path, None).await;
    demand(&postrider, 404, "DELETE", path, None).await;
    assert_eq!(demand(&postrider, 200, "GET", path, None).await["keys"], json!([]));
    let refused = demand(&postrider, 409, "DELETE", "/api/domains/local.test", None).await;
    assert!(refused["detail"].as_str().unwrap().contains("ALLOWED_DOMAINS"), "{refused}");
}

#[tokio::test]
async fn the_settings_are_shown_with_their_origin_and_without_secrets() {
    let postrider = Site::new().await.set("API_TOKEN", "the-administrator-s3cret").start().await;
    let request = HttpRequest::get("/api/config").bearer("the-administrator-s3cret");
    let response = postrider.request(request).await;
    assert_eq!(response.status, 200);
    assert!(!response.text().contains("s3cret"));
    let shown = response.json();
    let setting = |name: &str| {
        let settings = shown["settings"].as_array().unwrap();
        settings.iter().find(|setting| setting["name"] == name).unwrap().clone()
    };
    assert_eq!(
        (&setting("API_TOKEN")["value"], &setting("API_TOKEN")["origin"]),
        (&json!("***"), &json!("environment"))
    );
    assert_eq!(setting("SENDER_CHECK")["origin"], json!("default"));
}
