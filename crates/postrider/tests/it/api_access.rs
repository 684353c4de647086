//! Who may ask the API for what: every route against every kind of token, and tokens from being made to being revoked.

use std::time::Duration;

use postrider_testkit::{HttpRequest, HttpResponse, Site, TestPostrider};
use serde_json::{Value, json};

use crate::support::binary;

const API_TOKEN: &str = "the-administrator-s3cret";

/// Of no token of ours.
const UNKNOWN: &str = "pr_65f0c1d2a3b4c5d6e7f80912_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

async fn world() -> TestPostrider {
    Site::new().await.set("API_TOKEN", API_TOKEN).start().await
}

async fn ask(
    postrider: &TestPostrider,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<Value>,
) -> HttpResponse {
    let mut request = HttpRequest::new(method, path);
    if let Some(token) = token {
        request = request.bearer(token);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    postrider.request(request).await
}

/// What the administrator is answered.
async fn order(postrider: &TestPostrider, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let response = ask(postrider, method, path, Some(API_TOKEN), body).await;
    (response.status, if response.body.is_empty() { Value::Null } else { response.json() })
}

/// Makes a token; its id and its text.
async fn make(postrider: &TestPostrider, settings: Value) -> (String, String) {
    let (status, token) = order(postrider, "POST", "/api/tokens", Some(settings)).await;
    assert_eq!(status, 201, "{token}");
    let text = |name: &str| token[name].as_str().unwrap().to_owned();
    (text("id"), text("token"))
}

async fn scoped(postrider: &TestPostrider, scopes: &[&str]) -> String {
    make(postrider, json!({ "name": scopes.join(" and "), "scopes": scopes })).await.1
}

/// What a token gets where a scope is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    Through,
    Unknown,
    /// 403, with the scope that is missing.
    Lacks(String),
}

fn way(response: &HttpResponse) -> Way {
    match response.status {
        401 => {
            assert_eq!(response.json()["type"], "urn:problem-type:postrider:unauthorized");
            assert!(response.header("www-authenticate").is_some());
            Way::Unknown
        }
        403 => {
            let problem = response.json();
            assert_eq!(problem["type"], "urn:problem-type:postrider:insufficient-scope", "{problem}");
            Way::Lacks(problem["scope"].as_str().unwrap().to_owned())
        }
        status => {
            assert!(status < 500 || status == 503, "{status} {}", response.text());
            Way::Through
        }
    }
}

/// Method, path and scope of each operation in the server's own document; no scope where everybody may.
async fn operations(postrider: &TestPostrider) -> Vec<(String, String, Option<String>)> {
    let document = postrider.get("/api/openapi.json").await.json();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        // What is no id is the id of nothing. No route knows the parameter: what would be done for long is refused.
        let path = path.split('/').map(|part| if part.starts_with('{') { "nothing" } else { part });
        let path = format!("{}?nonsense=1", path.collect::<Vec<_>>().join("/"));
        for (method, operation) in item.as_object().unwrap() {
            let scope = operation["security"][0]["token"][0].as_str().map(str::to_owned);
            operations.push((method.to_uppercase(), path.clone(), scope));
        }
    }
    operations
}

#[tokio::test]
async fn every_route_is_for_whom_the_document_says() {
    let postrider = world().await;
    let soon = (postrider.now() + Duration::from_secs(60)).to_rfc3339();
    let (_, expired) = make(&postrider, json!({ "name": "a", "scopes": ["admin"], "expiresAt": soon })).await;
    let (id, revoked) = make(&postrider, json!({ "name": "b", "scopes": ["admin"] })).await;
    assert_eq!(order(&postrider, "DELETE", &format!("/api/tokens/{id}"), None).await.0, 204);
    postrider.pass(Duration::from_secs(60)).await;
    let mut holders = vec![
        (Some(API_TOKEN.to_owned()), &["read", "send", "admin"][..]),
        (None, &[]),
        (Some(UNKNOWN.to_owned()), &[]),
        (Some(expired), &[]),
        (Some(revoked), &[]),
    ];
    for scopes in [&["read"][..], &["send"], &["read", "send"], &["admin"]] {
        let opens = if scopes == ["admin"] { &["read", "send", "admin"] } else { scopes };
        holders.push((Some(scoped(&postrider, scopes).await), opens));
    }
    let operations = operations(&postrider).await;
    assert!(operations.len() > 35, "{}", operations.len());
    for (method, path, scope) in &operations {
        for (token, opens) in &holders {
            let way = way(&ask(&postrider, method, path, token.as_deref(), None).await);
            let expected = match scope {
                None => Way::Through,
                Some(scope) if opens.contains(&scope.as_str()) => Way::Through,
                Some(_) if opens.is_empty() => Way::Unknown,
                Some(scope) => Way::Lacks(scope.clone()),
            };
            assert_eq!(way, expected, "{method} {path} with {token:?}, good for {opens:?}");
        }
    }
    // Besides the API there are pages, and paths that lead nowhere.
    for (path, expected) in [("/emails", 403), ("/api/nowhere", 404)] {
        let sender = &holders.iter().find(|(_, opens)| *opens == ["send"]).unwrap().0;
        assert_eq!(ask(&postrider, "GET", path, sender.as_deref(), None).await.status, expected, "{path}");
        assert_eq!(ask(&postrider, "GET", path, None, None).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn a_token_is_shown_once_and_opens_until_it_is_revoked() {
    let postrider = world().await;
    let settings = json!({ "name": " shop ", "scopes": ["send", "read"], "domains": ["Shop.example"] });
    let (id, text) = make(&postrider, settings).await;
    assert!(text.starts_with(&format!("pr_{id}_")), "{text}");
    let path = format!("/api/tokens/{id}");
    let (status, shown) = order(&postrider, "GET", &path, None).await;
    assert_eq!((status, &shown["name"], &shown["scopes"]), (200, &json!("shop"), &json!(["read", "send"])));
    assert_eq!((&shown["domains"], &shown["lastUsedAt"]), (&json!(["shop.example"]), &Value::Null));
    let (_, listed) = order(&postrider, "GET", "/api/tokens", None).await;
    assert_eq!(listed, json!({ "tokens": [shown] }));
    let secret = text.rsplit('_').next().unwrap();
    assert!(!listed.to_string().contains(secret));

    assert_eq!(ask(&postrider, "GET", "/api/emails", Some(&text), None).await.status, 200);
    let used = postrider_testkit::eventually("the use to be noted", async || {
        let (_, shown) = order(&postrider, "GET", &path, None).await;
        shown["lastUsedAt"].as_str().map(str::to_owned)
    });
    assert!(used.await.starts_with("20"));

    let (status, changed) = order(&postrider, "PATCH", &path, Some(json!({ "scopes": ["send"] }))).await;
    assert_eq!((status, &changed["scopes"], &changed["name"]), (200, &json!(["send"]), &json!("shop")));
    assert_eq!(ask(&postrider, "GET", "/api/emails", Some(&text), None).await.status, 403, "at once");
    assert_eq!(order(&postrider, "DELETE", &path, None).await.0, 204);
    assert_eq!(ask(&postrider, "GET", "/api/emails", Some(&text), None).await.status, 401, "at once");
    assert_eq!(order(&postrider, "DELETE", &path, None).await.0, 404);
    assert_eq!(order(&postrider, "PATCH", &path, Some(json!({}))).await.0, 404);
}

#[tokio::test]
async fn who_is_limited_to_domains_cannot_lift_that() {
    let postrider = world().await;
    let limited = json!({ "name": "shop", "scopes": ["admin"], "domains": ["shop.example", "news.example"] });
    let (own, text) = make(&postrider, limited).await;
    let (other, _) = make(&postrider, json!({ "name": "all", "scopes": ["send"] })).await;
    let tried = async |method: &str, path: String, body: Value| {
        let response = ask(&postrider, method, &path, Some(&text), Some(body)).await;
        let problem = (response.status == 403).then(|| response.json()["type"].as_str().unwrap().to_owned());
        assert!(problem.is_none_or(|problem| problem.ends_with(":limited-token")), "{}", response.text());
        response.status
    };
    let to = |id: &str| format!("/api/tokens/{id}");
    for (body, status) in [
        (json!({ "name": "x", "scopes": ["send"] }), 403),
        (json!({ "name": "x", "scopes": ["admin"], "domains": [] }), 403),
        (json!({ "name": "x", "scopes": ["send"], "domains": ["shop.example", "else.example"] }), 403),
        (json!({ "name": "x", "scopes": ["send"], "domains": ["shop.example"] }), 201),
        // One that sends nothing sends from nowhere.
        (json!({ "name": "x", "scopes": ["read"] }), 201),
    ] {
        assert_eq!(tried("POST", "/api/tokens".to_owned(), body.clone()).await, status, "{body}");
    }
    assert_eq!(tried("PATCH", to(&own), json!({ "domains": [] })).await, 403);
    assert_eq!(tried("PATCH", to(&own), json!({ "domains": ["shop.example"], "name": "smaller" })).await, 200);
    assert_eq!(tried("PATCH", to(&own), json!({ "domains": ["shop.example", "news.example"] })).await, 403);
    assert_eq!(tried("PATCH", to(&other), json!({ "name": "renamed" })).await, 200, "nobody gets more by it");
    assert_eq!(tried("PATCH", to(&other), json!({ "scopes": ["read", "send"] })).await, 403);
}

#[tokio::test]
async fn what_makes_no_token_is_refused_by_name() {
    let postrider = world().await;
    for (body, parameter) in [
        (json!({ "scopes": ["read"] }), "name"),
        (json!({ "name": "x" }), "scopes"),
        (json!({ "name": "x", "scopes": [] }), "scopes"),
        (json!({ "name": "x", "scopes": ["send"], "domains": ["no domain"] }), "domains"),
        (json!({ "name": "x", "scopes": ["send"], "expiresAt": "2001-01-01T00:00:00Z" }), "expiresAt"),
        (json!({ "name": "x", "scopes": ["send"], "requestsPerMinute": 0 }), "requestsPerMinute"),
    ] {
        let (status, problem) = order(&postrider, "POST", "/api/tokens", Some(body.clone())).await;
        assert_eq!((status, &problem["parameter"]), (400, &json!(parameter)), "{body}: {problem}");
    }
    for body in [json!({ "name": "x", "scopes": ["all"] }), json!({ "name": "x", "scopes": ["read"], "more": 1 })] {
        assert_eq!(order(&postrider, "POST", "/api/tokens", Some(body.clone())).await.0, 400, "{body}");
    }
    assert_eq!(order(&postrider, "GET", "/api/tokens", None).await.1, json!({ "tokens": [] }));
}

#[tokio::test]
async fn tokens_of_the_command_line_count_in_a_running_server() {
    let postrider = world().await;
    let run = async |arguments: &[&str]| {
        let output = postrider.command(binary(), &[&["token"], arguments].concat(), "").await;
        assert_eq!(output.code, 0, "{}", output.stderr);
        output.stdout
    };
    let added = run(&["add", "shop", "--scope", "read", "--expires", "90d", "--json"]).await;
    let added: Value = serde_json::from_str(&added).unwrap();
    let (id, text) = (added["id"].as_str().unwrap(), added["token"].as_str().unwrap());
    postrider.pass(Duration::from_secs(1)).await;
    assert_eq!(ask(&postrider, "GET", "/api/emails", Some(text), None).await.status, 200);
    let listed = run(&["list"]).await;
    assert!(listed.contains(id) && listed.contains("shop") && !listed.contains(text), "{listed}");
    let shown = run(&["add", "other", "--scope", "send", "--domain", "shop.example"]).await;
    assert!(shown.contains("shown this once") && shown.contains("pr_"), "{shown}");

    assert!(run(&["revoke", id]).await.contains("is revoked"));
    postrider.pass(Duration::from_secs(1)).await;
    assert_eq!(ask(&postrider, "GET", "/api/emails", Some(text), None).await.status, 401);
    let again = postrider.command(binary(), &["token", "revoke", id], "").await;
    assert_eq!(again.code, 3, "{}", again.stderr);
    let refused = postrider.command(binary(), &["token", "add", "x", "--scope", "all"], "").await;
    assert!(refused.code == 2 && refused.stderr.contains("none of read, send, admin"), "{}", refused.stderr);
}

#[tokio::test]
async fn what_is_left_to_a_token_is_told_and_kept_to() {
    let postrider = world().await;
    let (_, text) = make(&postrider, json!({ "name": "slow", "scopes": ["read"], "requestsPerMinute": 2 })).await;
    let first = ask(&postrider, "GET", "/api/emails", Some(&text), None).await;
    assert_eq!((first.status, first.header("ratelimit-policy")), (200, Some("\"token\";q=2;w=60")));
    assert_eq!(first.header("ratelimit"), Some("\"token\";r=1;t=30"));
    // What is not for it counts, too.
    assert_eq!(ask(&postrider, "GET", "/api/tokens", Some(&text), None).await.status, 403);
    let refused = ask(&postrider, "GET", "/api/emails", Some(&text), None).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("30")));
    assert_eq!(refused.json()["type"], "urn:problem-type:postrider:too-many-requests");
    postrider.pass(Duration::from_secs(30)).await;
    assert_eq!(ask(&postrider, "GET", "/api/emails", Some(&text), None).await.status, 200);
    assert_eq!(ask(&postrider, "GET", "/api/emails", Some(API_TOKEN), None).await.header("ratelimit"), None);
}
