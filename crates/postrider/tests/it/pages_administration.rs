//! The pages of who administers the server: what they show of hostile values and of secrets, whom they are for, and that each form
//! asks for what the API has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use postrider_core::EmailStatus;
use postrider_testkit::{
    HttpAnswer, HttpRequest, HttpResponse, HttpService, Script, Site, TestPostrider, eventually, mail,
};
use serde_json::{Value, json};

const API_TOKEN: &str = "the-administrator-s3cret";

/// What would run, or end an attribute, if it came through as it is.
const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";

/// Pages that a walk looks at, at most.
const PAGES_MAX: usize = 300;

struct World {
    postrider: TestPostrider,
    _hook: HttpService,
    /// Of the endpoint, and of a token.
    secrets: Vec<String>,
}

async fn get(postrider: &TestPostrider, path: &str, token: &str) -> HttpResponse {
    postrider.request(HttpRequest::get(path).bearer(token).header("accept", "text/html")).await
}

async fn order(postrider: &TestPostrider, method: &str, path: &str, body: Value) -> Value {
    let response = postrider.request(HttpRequest::new(method, path).bearer(API_TOKEN).json(&body)).await;
    assert!(matches!(response.status, 200..=202), "{method} {path}: {} {}", response.status, response.text());
    response.json()
}

/// One of everything, named as badly as may be.
async fn world() -> World {
    let site = Site::new().await.set("API_TOKEN", API_TOKEN).set("ALLOWED_DOMAINS", "local.test");
    let site =
        site.set("WEBHOOK_RETRIES", "0").set("WEBHOOK_TIMEOUT", "300000").set("WEBHOOK_SECRET", "the-hook-s3cret");
    let hook = HttpService::start(site.claim_ip(), |_| HttpAnswer::new(500, HOSTILE)).await;
    let _mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let password = "pa55word";
    order(&postrider, "POST", "/api/users", json!({ "address": "ann@local.test", "password": password })).await;
    order(&postrider, "POST", "/api/users", json!({ "address": "\"<i>b/c\"@local.test", "password": password })).await;
    order(&postrider, "POST", "/api/aliases", json!({ "address": "sales@local.test", "targets": ["ann@local.test"] }))
        .await;
    order(&postrider, "POST", "/api/domains", json!({ "name": "shop.test", "catchAll": "ann@local.test" })).await;
    order(&postrider, "POST", "/api/suppressions", json!({ "address": "gone@example.org", "note": HOSTILE })).await;
    let endpoint =
        json!({ "url": hook.url("/hook"), "description": HOSTILE, "tags": [HOSTILE], "types": ["email.delivered"] });
    order(&postrider, "POST", "/api/webhooks", endpoint).await;
    let endpoint = json!({ "url": hook.url("/all") });
    let endpoint = order(&postrider, "POST", "/api/webhooks", endpoint).await;
    let token = order(&postrider, "POST", "/api/tokens", json!({ "name": HOSTILE, "scopes": ["admin"] })).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let secrets = vec![text(&endpoint["secret"]), text(&token["token"]), password.to_owned()];
    let id = postrider
        .send("a@client.test", &["b@example.org"], &mail::plain("a@client.test", "b@example.org", HOSTILE))
        .await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    eventually("calls that are given up", async || {
        postrider.pass(Duration::from_secs(1)).await;
        let path = "/api/webhooks/deliveries?state=given-up";
        let page = postrider.request(HttpRequest::get(path).bearer(API_TOKEN)).await.json();
        (page["pagination"]["total"] == 2).then_some(())
    })
    .await;
    World { postrider, _hook: hook, secrets }
}

/// An element of a page: its name, and its attributes as HTML writes them, decoded.
#[derive(Debug)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
}

impl Element {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

fn decoded(text: &str) -> String {
    let known = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ];
    known.iter().fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// The tags of a page in order, those that end an element with a slash before the name. The pages are ours: every value is quoted.
fn elements(html: &str) -> Vec<Element> {
    let mut elements = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '/').collect();
        rest = &rest[name.len()..];
        let mut attributes = BTreeMap::new();
        loop {
            rest = rest.trim_start();
            let end = rest.find(['=', '>', ' ', '\n']).unwrap_or(rest.len());
            let (attribute, behind) = rest.split_at(end);
            if let Some(value) = behind.strip_prefix("=\"") {
                let close = value.find('"').unwrap_or(value.len());
                attributes.insert(attribute.to_owned(), decoded(&value[..close]));
                rest = value.get(close + 1..).unwrap_or_default();
                continue;
            }
            if !attribute.is_empty() {
                attributes.insert(attribute.to_owned(), String::new());
            }
            rest = behind.strip_prefix('=').unwrap_or(behind);
            if rest.starts_with('>') || rest.is_empty() {
                break;
            }
        }
        elements.push(Element { name, attributes });
    }
    elements
}

/// Every page that links lead to, by its address.
async fn walk(postrider: &TestPostrider, token: &str) -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    let mut seen = BTreeSet::from(["/".to_owned()]);
    let mut waiting = VecDeque::from(["/".to_owned()]);
    while let Some(path) = waiting.pop_front() {
        assert!(pages.len() < PAGES_MAX, "too many pages");
        let response = get(postrider, &path, token).await;
        if matches!(response.status, 303 | 307) {
            let to = response.header("location").unwrap().to_owned();
            seen.insert(to.clone());
            waiting.push_back(to);
            continue;
        }
        // An e-mail may be gone when its link is followed.
        if path.starts_with("/emails/") && response.status == 404 {
            continue;
        }
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        if !response.header("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
            continue;
        }
        // With "no-referrer", browsers say "Origin: null" of the pages' own forms, and nobody could sign in.
        assert_eq!(response.header("referrer-policy"), Some("same-origin"), "{path}");
        let html = response.text();
        for element in elements(&html).iter().filter(|element| element.name == "a") {
            let Some(to) = element.get("href").filter(|to| to.starts_with('/')) else { continue };
            let to = to.split('#').next().unwrap_or_default().to_owned();
            let is_page =
                !["/api/", "/static/", "/health", "/metrics", "/sign-"].iter().any(|other| to.starts_with(other));
            if is_page && seen.insert(to.clone()) {
                waiting.push_back(to);
            }
        }
        pages.insert(path, html);
    }
    pages
}

/// What the document says of a schema, behind its references.
fn schema<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => match schema["oneOf"].as_array().or_else(|| schema["allOf"].as_array()) {
            // A thing or `null`.
            Some(several) => several
                .iter()
                .map(|one| self::schema(document, one))
                .find(|one| one["properties"].is_object())
                .unwrap_or(schema),
            None => schema,
        },
    }
}

fn has_member(document: &Value, body: &Value, name: &str) -> bool {
    let mut at = schema(document, body);
    for step in name.split('.') {
        match at["properties"].get(step) {
            Some(member) => at = schema(document, member),
            None => return false,
        }
    }
    true
}

/// The operation of a path in which a page may have put the name of what it is about.
fn operation<'d>(document: &'d Value, method: &str, path: &str) -> &'d Value {
    let is_it = |template: &str| {
        let (parts, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        parts.len() == given.len()
            && parts.iter().zip(given).all(|(part, given)| *part == given || part.starts_with('{'))
    };
    let paths = document["paths"].as_object().unwrap();
    let named = paths.get(path).map(|item| &item[method.to_lowercase()]).filter(|operation| operation.is_object());
    let found = || paths.iter().filter(|(template, _)| is_it(template)).map(|(_, item)| &item[method.to_lowercase()]);
    named.or_else(|| found().find(|operation| operation.is_object())).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn every_form_asks_for_what_the_api_has() {
    let World { postrider, .. } = world().await;
    let document = postrider.get("/api/openapi.json").await.json();
    let pages = walk(&postrider, API_TOKEN).await;
    let mut routes = BTreeSet::new();
    for (page, html) in &pages {
        let elements = elements(html);
        let mut form: Option<&Element> = None;
        for element in &elements {
            match element.name.as_str() {
                "form" => form = element.get("data-api").map(|_| element),
                "/form" => form = None,
                _ => {}
            }
            let Some(api) = form.and_then(|form| form.get("data-api")) else { continue };
            let (method, target) = api.split_once(' ').unwrap_or_else(|| panic!("{page}: {api}"));
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let operation = operation(&document, method, path);
            assert!(operation.is_object(), "{page}: the API has no {method} {path}");
            routes.insert(format!("{method} {path}"));
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let has = |place: &str, name: &str| parameters.iter().any(|p| p["in"] == place && p["name"] == name);
            for name in query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split('=').next().unwrap()) {
                assert!(has("query", name), "{page}: {method} {path} has no parameter {name}");
            }
            let is_field = matches!(element.name.as_str(), "input" | "textarea" | "select" | "button");
            let Some(name) = element.get("name").filter(|_| is_field) else { continue };
            let is_number = element.get("type") == Some("number");
            assert!(
                !is_number || (element.get("min").is_some() && element.get("max").is_some()),
                "{page}: {name} has no limits"
            );
            let is_bulk = form.is_some_and(|form| form.get("data-bulk").is_some());
            if path.contains(&format!("{{{name}}}")) || is_bulk {
                continue;
            }
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            assert!(has_member(&document, body, name), "{page}: {method} {path} has no member {name}");
        }
    }
    for route in [
        "POST /api/users",
        "PATCH /api/users/{address}",
        "DELETE /api/users/{address}",
        "PATCH /api/aliases/{address}",
        "POST /api/domains",
        "POST /api/domains/{domain}/dkim/rotate",
        "DELETE /api/suppressions/{address}",
        "PATCH /api/tokens/{id}",
        "POST /api/webhooks/{id}/rotate",
        "POST /api/webhooks/{id}/test",
        "POST /api/webhooks/deliveries/replay",
        "POST /api/webhooks/deliveries/{id}/replay",
    ] {
        assert!(routes.contains(route), "no page has a form for {route}");
    }
}

#[tokio::test]
async fn nothing_that_others_wrote_becomes_part_of_a_page_and_no_secret_is_shown() {
    let World { postrider, secrets, .. } = world().await;
    let pages = walk(&postrider, API_TOKEN).await;
    for place in
        ["/webhooks", "/domains", "/users", "/users/aliases", "/suppressions", "/tokens", "/settings", "/audit"]
    {
        assert!(pages.contains_key(place), "{place} is not led to");
    }
    for (path, html) in &pages {
        for secret in secrets.iter().map(String::as_str).chain([API_TOKEN, "the-hook-s3cret"]) {
            assert!(!html.contains(secret), "{path} shows a secret");
        }
        let elements = elements(html);
        // What is hostile holds a script and an image.
        let script = |element: &Element| {
            element.name == "script" && element.get("src").is_none_or(|src| !src.starts_with("/static/"))
        };
        let image = |element: &Element| {
            element.name == "img" && element.get("src").is_none_or(|src| !src.starts_with("/static/"))
        };
        assert!(!elements.iter().any(|element| script(element) || image(element) || element.name == "i"), "{path}");
        let inline = |name: &String| name == "style" || name.starts_with("on");
        assert!(!elements.iter().any(|element| element.attributes.keys().any(inline)), "{path}");
        // What one reads and fills in has a name, and no two things have the same id.
        let mut ids = BTreeSet::new();
        let mut labelled: BTreeSet<&str> = BTreeSet::new();
        labelled
            .extend(elements.iter().filter(|element| element.name == "label").filter_map(|element| element.get("for")));
        for element in &elements {
            if let Some(id) = element.get("id") {
                assert!(ids.insert(id), "{path}: {id} is there twice");
            }
            let kind = element.get("type").unwrap_or_default();
            let is_field = matches!(element.name.as_str(), "input" | "textarea" | "select");
            if is_field && !matches!(kind, "hidden" | "checkbox" | "radio") {
                let has_label = element.get("id").is_some_and(|id| labelled.contains(id));
                assert!(has_label || element.get("aria-label").is_some(), "{path}: {element:?} has no label");
            }
        }
        assert_eq!(
            elements.iter().filter(|element| element.name == "table").count(),
            elements.iter().filter(|element| element.name == "caption").count(),
            "{path}: a table has no caption"
        );
    }
    let shown = |path: &str| decoded(&pages[path]);
    assert!(shown("/tokens").contains(HOSTILE) && shown("/webhooks").contains(HOSTILE));
    assert!(shown("/suppressions").contains(HOSTILE) && shown("/users").contains("\"<i>b/c\"@local.test"));
    let delivery = pages.iter().find(|(path, _)| path.starts_with("/webhooks/deliveries/")).unwrap().1;
    assert!(
        decoded(delivery).contains(HOSTILE) && delivery.contains("First KiB") && delivery.contains("500"),
        "{delivery}"
    );
    assert!(pages.keys().any(|path| path.starts_with("/users/%22%3Ci%3Eb%2Fc%22")), "one with a slash is led to");
    assert!(pages["/settings"].contains("***"), "a secret that is set is seen to be");
}

#[tokio::test]
async fn a_page_is_for_whom_the_api_is() {
    let World { postrider, .. } = world().await;
    let token = async |scope: &str| {
        let token = order(&postrider, "POST", "/api/tokens", json!({ "name": scope, "scopes": [scope] })).await;
        token["token"].as_str().unwrap().to_owned()
    };
    let (reader, sender) = (token("read").await, token("send").await);
    let sign_in = async |token: &str| {
        let form = format!("token={token}&next=%2Fusers").into_bytes();
        postrider.request(HttpRequest::post("/sign-in").body("application/x-www-form-urlencoded", form)).await
    };
    assert_eq!(sign_in(&reader).await.status, 303);
    let refused = sign_in(&sender).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("This token may send e-mails, and sees no page."), "{}", refused.text());
    assert!(refused.header("set-cookie").is_none(), "nobody is signed in to see nothing");
    for path in ["/webhooks", "/webhooks/deliveries", "/tokens", "/settings", "/audit"] {
        assert_eq!(get(&postrider, path, &reader).await.status, 403, "{path}");
        assert_eq!(get(&postrider, path, &sender).await.status, 403, "{path}");
    }
    for path in [
        "/domains",
        "/domains/shop.test",
        "/domains/shop.test/dns",
        "/users",
        "/users/aliases",
        "/users/ann@local.test",
        "/suppressions",
    ] {
        assert_eq!(get(&postrider, path, &sender).await.status, 403, "{path}");
        let page = get(&postrider, path, &reader).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(!page.text().contains("data-api"), "{path} offers what would be refused");
        for other in ["/webhooks", "/tokens", "/settings", "/audit"] {
            assert!(!page.text().contains(&format!("href=\"{other}\"")), "{path} leads to {other}");
        }
        let without = postrider.request(HttpRequest::get(path).header("accept", "text/html")).await;
        assert_eq!(without.status, 303, "{path}");
    }
    for path in [
        "/users/nobody@local.test",
        "/domains/other.test",
        "/domains/other.test/dns",
        "/webhooks/deliveries/65951fd5aabbccddeeff0011",
    ] {
        assert_eq!(get(&postrider, path, API_TOKEN).await.status, 404, "{path}");
    }
    for path in [
        "/users?nonsense=1",
        "/suppressions?reason=none",
        "/audit?from=yesterday",
        "/webhooks/deliveries?state=x",
        "/users?page=0",
        "/settings?set=all",
    ] {
        assert_eq!(get(&postrider, path, API_TOKEN).await.status, 400, "{path}");
    }
    for path in
        ["/users?q=%FF", "/emails?q=%E4%F6", "/log?q=a%00b", "/queue?prefix=%1B%5B1m", "/users?%C3=1", "/?%00=1"]
    {
        let page = get(&postrider, path, API_TOKEN).await;
        assert_eq!(page.status, 400, "{path}");
        let text = page.text();
        assert!(!text.contains(['\u{fffd}', '\0', '\u{1b}']), "{path}: {text}");
        assert!(text.contains("UTF-8") || text.contains("control character"), "{path}: {text}");
    }
}

/// An endpoint that has moved does not rewrite what was.
#[tokio::test]
async fn a_call_shows_the_url_that_was_called() {
    let World { postrider, _hook, .. } = world().await;
    let endpoints = postrider.request(HttpRequest::get("/api/webhooks").bearer(API_TOKEN)).await.json();
    let endpoints = endpoints["webhooks"].as_array().unwrap();
    let all = endpoints.iter().find(|endpoint| endpoint["url"] == _hook.url("/all")).unwrap();
    let path = format!("/api/webhooks/{}", all["id"].as_str().unwrap());
    order(&postrider, "PATCH", &path, json!({ "url": "https://moved.example/hook" })).await;
    let filter = format!("/webhooks/deliveries?state=given-up&endpoint={}", all["id"].as_str().unwrap());
    let page = get(&postrider, &filter, API_TOKEN).await.text();
    assert!(
        page.contains(&format!("{}<div class=\"soft small\">now https://moved.example/hook", _hook.url("/all"))),
        "{page}"
    );
    // Who may read e-mails is told of calls, not of who is called.
    let call = postrider.request(HttpRequest::get("/api/webhooks/deliveries?state=given-up").bearer(API_TOKEN)).await;
    let call = &call.json()["deliveries"][0];
    assert!(call["attempts"][0]["url"].is_string(), "{call:#}");
    let timeline = format!("/api/emails/{}/timeline", call["email"].as_str().unwrap());
    let timeline = postrider.request(HttpRequest::get(&timeline).bearer(API_TOKEN)).await.text();
    assert!(timeline.contains("webhook") && !timeline.contains(&_hook.url("")), "{timeline}");
}

#[tokio::test]
async fn lists_are_searched_and_come_in_pages() {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "local.test");
    let postrider = site.start().await;
    let text = async |path: &str| {
        let page = postrider.request(HttpRequest::get(path).header("accept", "text/html")).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text());
        page.text()
    };
    // Nothing is there yet, and each page says what to do.
    for (path, says) in [
        ("/users", "There is no user yet"),
        ("/users/aliases", "There is no alias yet"),
        ("/suppressions", "No address is listed"),
        ("/tokens", "There is no token yet"),
        ("/webhooks", "There is no endpoint yet"),
        ("/webhooks/deliveries", "No delivery stands so"),
        ("/audit", "Nothing was changed yet"),
    ] {
        assert!(text(path).await.contains(says), "{path}");
    }
    for n in 0..60 {
        let body = json!({ "address": format!("gone{n:02}@example.org") });
        assert_eq!(postrider.request(HttpRequest::post("/api/suppressions").json(&body)).await.status, 201);
    }
    let first = text("/suppressions").await;
    assert!(!first.contains("has no effect"));
    assert!(first.contains("60 addresses") && first.contains("gone59@") && !first.contains("gone09@"));
    assert!(first.contains("href=\"/suppressions?page=2\"") && !first.contains("rel=\"prev\""));
    let second = text("/suppressions?page=2").await;
    assert!(second.contains("gone09@") && !second.contains("rel=\"next\"") && second.contains("Page 2 of 2"));
    let found = text("/suppressions?q=GONE07&reason=manual").await;
    assert!(found.contains("1 address,") && found.contains("gone07@") && !found.contains("gone08@"));
    assert!(text("/suppressions?q=nobody").await.contains("Nothing matches"));
    let changed = text("/audit?action=suppression.add&target=gone07").await;
    assert!(changed.contains("1 change,") && changed.contains("suppression.add") && changed.contains("local"));
    let settings = text("/settings?q=ALLOWED_DOMAINS").await;
    assert!(settings.contains("<code>local.test</code>") && settings.contains("environment"), "{settings}");
    assert!(!text("/settings?set=only").await.contains("s-RETRY_FACTOR"));
    let domain = text("/domains").await;
    assert!(domain.contains("local.test") && domain.contains("ALLOWED_DOMAINS"));
}

#[tokio::test]
async fn what_has_no_effect_is_told() {
    let site = Site::new().await.set("ALLOWED_DOMAINS", "local.test").set("SUPPRESSION_ENABLED", "false");
    let postrider = site.start().await;
    let text =
        async |path: &str| HttpRequest::get(path).header("accept", "text/html").send(postrider.api()).await.text();
    assert!(text("/suppressions").await.contains("The list is kept and has no effect"));
    for address in ["ann@local.test", "bob@elsewhere.test"] {
        postrider.add_user(address, "pa55word").await;
    }
    let users = text("/users").await;
    let (ann, bob) = (users.find("ann@local.test").unwrap(), users.find("bob@elsewhere.test").unwrap());
    let told = users.find("receives no mail").unwrap();
    assert!(ann < bob && bob < told, "only bob is told to receive none: {users}");
    assert_eq!(users.matches("receives no mail").count(), 1);
}

#[tokio::test]
async fn dns_is_shown_with_what_to_publish() {
    let site = Site::new().await.set("MAIL_HOSTNAME", "mx.shop.test");
    let postrider = site.start().await;
    let added = postrider.request(HttpRequest::post("/api/domains").json(&json!({ "name": "shop.test" }))).await.json();
    let record = &added["dkimRecords"][0];
    let page = async || {
        postrider.request(HttpRequest::get("/domains/shop.test/dns").header("accept", "text/html")).await.text()
    };
    let before = page().await;
    assert!(before.contains("records are missing") && before.contains("Copy"), "{before}");
    assert!(decoded(&before).contains(record["value"].as_str().unwrap()), "{before}");
    postrider.zone().txt(record["name"].as_str().unwrap(), record["value"].as_str().unwrap());
    postrider.pass(Duration::from_secs(600)).await;
    let after = page().await;
    assert!(after.matches("as it should be").count() > before.matches("as it should be").count(), "{after}");
    assert!(after.contains("signing") && after.contains("Rotate the keys"), "{after}");
}
