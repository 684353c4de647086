//! The audit log: who changed what by API and by command line, and what is never in it.

use std::time::Duration;

use postrider_store::{AuditActor, AuditEntry, AuditFilter};
use postrider_testkit::{CommandOutput, HttpRequest, Site, TestPostrider};
use serde_json::{Value, json};

use crate::support::binary;

const API_TOKEN: &str = "the-administrator-s3cret";

async fn world() -> TestPostrider {
    Site::new().await.set("API_TOKEN", API_TOKEN).set("ALLOWED_DOMAINS", "local.test").start().await
}

async fn ask(postrider: &TestPostrider, token: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let request = HttpRequest::new(method, path).bearer(token);
    let request = body.map_or(request.clone(), |body| request.json(&body));
    let response = postrider.request(request).await;
    (response.status, if response.body.is_empty() { Value::Null } else { response.json() })
}

/// The entries that the API shows with these parameters, the oldest first.
async fn entries(postrider: &TestPostrider, query: &str) -> Vec<Value> {
    let (status, page) = ask(postrider, API_TOKEN, "GET", &format!("/api/audit?limit=100&{query}"), None).await;
    assert_eq!(status, 200, "{page}");
    page["entries"].as_array().unwrap().iter().rev().cloned().collect()
}

/// Of each entry who did what to what, and how it ended.
fn told(entries: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let names = ["actor", "action", "target", "outcome"];
    entries.iter().map(|entry| names.map(|name| text(&entry[name])).join(" ")).collect()
}

async fn run(postrider: &TestPostrider, arguments: &[&str], input: &str) -> CommandOutput {
    postrider.command(binary(), arguments, input).await
}

#[tokio::test]
async fn what_is_changed_by_api_is_known_with_who_did_it() {
    let postrider = world().await;
    let settings = json!({ "name": "robot", "scopes": ["admin"] });
    let (_, robot) = ask(&postrider, API_TOKEN, "POST", "/api/tokens", Some(settings)).await;
    let (id, token) = (robot["id"].as_str().unwrap(), robot["token"].as_str().unwrap());
    let user = json!({ "address": "ann@local.test", "password": "pa55word-one" });
    assert_eq!(ask(&postrider, token, "POST", "/api/users", Some(user.clone())).await.0, 201);
    assert_eq!(ask(&postrider, token, "POST", "/api/users", Some(user)).await.0, 409);
    let change = json!({ "password": "pa55word-two", "quota": { "messages": 5 } });
    assert_eq!(ask(&postrider, token, "PATCH", "/api/users/ann@local.test", Some(change)).await.0, 200);
    postrider.pass(Duration::from_secs(10)).await;
    assert_eq!(ask(&postrider, API_TOKEN, "DELETE", "/api/users/ann@local.test", None).await.0, 204);
    assert_eq!(ask(&postrider, API_TOKEN, "POST", "/api/queue/hold", Some(json!({ "all": true }))).await.0, 200);

    let all = entries(&postrider, "").await;
    assert_eq!(
        told(&all),
        [
            format!("API_TOKEN token.make {id} done"),
            "robot user.add ann@local.test done".to_owned(),
            "robot user.add ann@local.test refused".to_owned(),
            "robot user.change ann@local.test done".to_owned(),
            "API_TOKEN user.remove ann@local.test done".to_owned(),
            "API_TOKEN deliveries.hold  done".to_owned(),
        ]
    );
    assert_eq!((&all[3]["token"], &all[3]["peer"]), (&json!(id), &json!("127.0.0.1")));
    assert_eq!(all[3]["details"]["before"], json!({ "quota": { "bytes": null, "messages": null }, "enabled": true }));
    let after = json!({ "quota": { "bytes": null, "messages": 5 }, "enabled": true, "hasNewPassword": true });
    assert_eq!(all[3]["details"]["after"], after);
    assert_eq!(all[5]["details"]["selection"]["all"], json!(true));
    let shown = json!(all).to_string();
    for secret in ["pa55word", token.rsplit('_').next().unwrap(), "s3cret", "argon2"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }

    // What is only read is not in it, nor what somebody was not let in for.
    let (_, reader) =
        ask(&postrider, API_TOKEN, "POST", "/api/tokens", Some(json!({ "name": "r", "scopes": ["read"] }))).await;
    let reader = reader["token"].as_str().unwrap();
    assert_eq!(ask(&postrider, reader, "GET", "/api/users", None).await.0, 200);
    assert_eq!(ask(&postrider, reader, "DELETE", "/api/users/ann@local.test", None).await.0, 403);
    assert_eq!(entries(&postrider, "").await.len(), 7);

    assert_eq!(entries(&postrider, "action=user").await.len(), 4);
    assert_eq!(entries(&postrider, "action=user.add&actor=ROBOT").await.len(), 2);
    assert_eq!(entries(&postrider, &format!("actor={id}")).await.len(), 3);
    assert_eq!(entries(&postrider, "target=ann@").await.len(), 4);
    let since = all[4]["at"].as_str().unwrap();
    assert_eq!(entries(&postrider, &format!("from={since}&action=user")).await.len(), 1);
    assert_eq!(entries(&postrider, &format!("to={since}")).await.len(), 4);
    for wrong in ["from=yesterday", "limit=101", "who=ann"] {
        assert_eq!(ask(&postrider, API_TOKEN, "GET", &format!("/api/audit?{wrong}"), None).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn what_is_changed_by_command_line_is_known_too() {
    let postrider = world().await;
    for (arguments, input, code) in [
        (&["user", "add", "ann@local.test", "--password-stdin"][..], "pa55word-one\n", 0),
        (&["user", "passwd", "ann@local.test", "--password-stdin"], "pa55word-two\n", 0),
        (&["user", "quota", "ann@local.test", "--messages", "5"], "", 0),
        (&["alias", "add", "sales@local.test", "ann@local.test"], "", 0),
        (&["alias", "set", "sales@local.test", "bob@local.test"], "", 3),
        (&["domain", "add", "shop.test"], "", 0),
        (&["suppression", "add", "gone@there.test"], "", 0),
        (&["token", "add", "robot", "--scope", "send"], "", 0),
        (&["queue", "hold", "--domain", "there.test"], "", 0),
        (&["user", "remove", "ann@local.test"], "", 4),
        (&["user", "remove", "ann@local.test", "--with-aliases"], "", 0),
    ] {
        let output = run(&postrider, arguments, input).await;
        assert_eq!(output.code, code, "{arguments:?}: {}", output.stderr);
    }
    let all = entries(&postrider, "actor=command").await;
    // The command line's clock is the machine's: commands of one moment may stand in any order.
    let mut told = told(&all);
    told.sort();
    let token = all.iter().find(|entry| entry["action"] == "token.make").unwrap()["target"].as_str().unwrap();
    let mut expected = [
        "user.add ann@local.test done",
        "user.change ann@local.test done",
        "user.change ann@local.test done",
        "alias.add sales@local.test done",
        "alias.change sales@local.test refused",
        "domain.add shop.test done",
        "dkim-keys.rotate shop.test done",
        "suppression.add gone@there.test done",
        &format!("token.make {token} done"),
        "deliveries.hold  done",
        "user.remove ann@local.test refused",
        "user.remove ann@local.test done",
    ]
    .map(|text| format!("command line {text}"));
    expected.sort();
    assert_eq!(told, expected);
    assert!(!json!(all).to_string().contains("pa55word"));
    let quota = all.iter().find(|entry| entry["details"]["after"]["quota"] == json!({ "messages": 5 }));
    assert!(quota.is_some(), "{all:#?}");

    let shown = run(&postrider, &["audit", "list", "--action", "alias"], "").await;
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(shown.stdout.contains("alias.change") && shown.stdout.contains("2 entries"), "{}", shown.stdout);
    let shown = run(&postrider, &["audit", "list", "--target", "shop.test", "--json"], "").await;
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["pagination"]["total"], json!(2), "{shown:#}");
}

#[tokio::test]
async fn old_entries_are_forgotten() {
    let postrider = Site::new().await.set("AUDIT_RETENTION_DAYS", "2").start().await;
    let days_ago = |days: u64| {
        let actor = AuditActor { name: "somebody".to_owned(), token: None };
        AuditEntry::begun(actor, None, "user.add", "x", postrider.now() - Duration::from_secs(days * 86_400))
    };
    let (young, old) = (days_ago(1), days_ago(2));
    postrider.store().audit(vec![young.clone(), old]).await.unwrap();
    let left = postrider_testkit::eventually("the old entry to be forgotten", async || {
        postrider.pass(Duration::from_secs(600)).await;
        let page = postrider.store().audit_entries(&AuditFilter::default(), 1, 9).await.unwrap();
        (page.total < 2).then_some(page.entries)
    });
    assert_eq!(left.await, [young]);
}
