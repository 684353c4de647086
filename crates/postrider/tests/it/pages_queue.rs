//! The page of the queue: what it shows of each destination, and that its forms name calls that do what they say.

use std::time::Duration;

use postrider_core::EmailStatus;
use postrider_testkit::{HttpRequest, HttpResponse, Script, ScriptedMx, Site, TestPostrider, eventually, mail};
use serde_json::{Value, json};

const COUNT: usize = 12;

/// What a host may say to make a page do something.
const HOSTILE: &str = "451 4.3.0 <script>alert(1)</script>\" onload=\"x";

/// A server with mail in line for a destination that takes six a minute, and mail that another one deferred.
struct World {
    postrider: TestPostrider,
    _hosts: [ScriptedMx; 2],
}

async fn world() -> World {
    let site = Site::new().await;
    let file = site.folder().join("shaping.txt");
    std::fs::write(&file, "mx.slow.test - - 6\n").unwrap();
    let path = file.to_string_lossy().into_owned();
    let site = site.set("SHAPING_FILE", &path);
    let slow = site.mx("slow.test", Script::new()).await;
    let later = site.mx("later.test", Script::new().on("MAIL", HOSTILE)).await;
    let postrider = site.start().await;
    for n in 0..COUNT {
        let message = mail::plain("a@client.test", "b@slow.test", &format!("number {n}"));
        postrider.send("a@client.test", &["b@slow.test"], &message).await;
    }
    slow.wait_for_messages(1).await;
    let message = mail::plain("a@client.test", "b@later.test", "later");
    let id = postrider.send("a@client.test", &["b@later.test"], &message).await;
    postrider.wait_for_deferred(id, 1).await;
    World { postrider, _hosts: [slow, later] }
}

/// The page as a browser asks for it, when what was seen a moment ago is not shown any more.
async fn page(postrider: &TestPostrider, path: &str) -> HttpResponse {
    postrider.clock().leap(Duration::from_secs(1)).await;
    HttpRequest::get(path).header("accept", "text/html").send(postrider.api()).await
}

async fn html(postrider: &TestPostrider, path: &str) -> String {
    let response = page(postrider, path).await;
    assert_eq!(response.status, 200, "{path}: {}", response.text());
    response.text()
}

/// What stands between two texts.
fn between<'a>(text: &'a str, before: &str, behind: &str) -> &'a str {
    let from = text.find(before).unwrap_or_else(|| panic!("no {before} in {text}")) + before.len();
    let rest = &text[from..];
    &rest[..rest.find(behind).unwrap_or_else(|| panic!("no {behind} in {rest}"))]
}

fn row<'a>(page: &'a str, domain: &str) -> &'a str {
    between(page, &format!("id=\"d-{domain}\""), "</tr>")
}

/// What people read in the cell of a row.
fn cell(row: &str, label: &str) -> String {
    let mut text = between(row, &format!("data-label=\"{label}\">"), "</td>").to_owned();
    while let (Some(from), Some(to)) = (text.find('<'), text.find('>')) {
        text.replace_range(from..=to, "");
    }
    text
}

/// Does what a button of the row names, as the module of the pages does.
async fn press(postrider: &TestPostrider, page: &str, domain: &str, action: &str) -> Value {
    let button = between(row(page, domain), &format!("form=\"order-{action}\""), ">");
    // Else the button that has the focus becomes another when the row is fetched anew.
    assert!(row(page, domain).contains(&format!("data-key=\"{action}\" form=\"order-{action}\"")), "{page}");
    assert!(button.contains(&format!("name=\"domain\" value=\"{domain}\"")), "{button}");
    let call = between(page, &format!("<form id=\"order-{action}\" data-api=\""), "\"");
    let (method, path) = call.split_once(' ').unwrap();
    let request = HttpRequest::new(method, path).json(&json!({ "domain": domain }));
    let response = postrider.request(request).await;
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

#[tokio::test]
async fn each_destination_is_shown_with_what_keeps_its_mail() {
    let World { postrider, _hosts } = world().await;
    let page = html(&postrider, "/queue").await;
    let slow = row(&page, "slow.test");
    let waiting = (COUNT - 1).to_string();
    assert_eq!((cell(slow, "Sending"), cell(slow, "Queued"), cell(slow, "Held")), (waiting, "0".into(), "0".into()));
    assert!(
        slow.contains("6 messages a minute at most") && slow.contains("waits for the next message by its rate"),
        "{slow}"
    );
    assert!(
        slow.contains(&format!("Hold all that waits for {{domain}}? Deliveries at the moment: {}.", COUNT - 1)),
        "{slow}"
    );
    assert!(slow.contains("href=\"/emails?q=domain%3Aslow.test%20status%3Asending\""), "{slow}");
    let later = row(&page, "later.test");
    assert_eq!((cell(later, "Deferred"), cell(later, "Sending")), ("1".to_owned(), "0".to_owned()));
    assert!(cell(later, "Next attempt").starts_with("in "), "{later}");
    assert!(cell(slow, "Last reply").starts_with("250 ") && slow.contains("mx.slow.test, <time"), "{slow}");
    assert!(
        cell(slow, "Last minute").ends_with(" sent") && cell(later, "Last minute") == "1 deferred",
        "{slow}{later}"
    );
    // The last reply says it already.
    assert!(!later.contains("Last error: "), "{later}");
    assert!(
        cell(later, "Last reply").starts_with("451 4.3.0") && later.contains("&#60;script&#62;alert(1)"),
        "{later}"
    );
    assert!(!page.contains("<script>") && !page.contains("\" onload="), "{page}");
    assert!(page.find("d-slow.test") < page.find("d-later.test"), "those with the most first");
    let is_shared = !postrider.store().is_exclusive();
    assert_eq!(page.contains("are those of this server"), is_shared, "{page}");
    // The links of the counts lead to what they count.
    let led = html(&postrider, "/emails?q=domain%3Alater.test%20status%3Adeferred").await;
    assert!(led.contains("later") && led.contains("1 e-mail"), "{led}");

    let filtered = html(&postrider, "/queue?prefix=LATER").await;
    assert!(filtered.contains("d-later.test") && !filtered.contains("d-slow.test"), "{filtered}");
    let none = html(&postrider, "/queue?prefix=%22%3E%3Cscript%3E").await;
    assert!(none.contains("No mail waits for a domain that begins with") && !none.contains("\"><script>"), "{none}");
    let wrong = HttpRequest::get("/queue?page=0").header("accept", "text/html").send(postrider.api()).await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn what_the_forms_name_is_done() {
    let World { postrider, _hosts } = world().await;
    let page = html(&postrider, "/queue").await;
    press(&postrider, &page, "slow.test", "hold").await;
    let held = eventually("all to be held", async || {
        let page = html(&postrider, "/queue").await;
        (cell(row(&page, "slow.test"), "Held") == (COUNT - 1).to_string()).then_some(page)
    })
    .await;
    let slow = row(&held, "slow.test");
    assert!(!slow.contains("order-hold") && !slow.contains("order-retry"), "nothing moves: {slow}");
    let released = press(&postrider, &held, "slow.test", "release").await;
    assert_eq!(released["changed"], COUNT - 1);
    // What was seen before the order is shown no more, though no time has passed.
    let page = HttpRequest::get("/queue").header("accept", "text/html").send(postrider.api()).await.text();
    assert_eq!(cell(row(&page, "slow.test"), "Held"), "0");

    assert_eq!(press(&postrider, &page, "later.test", "cancel").await["changed"], 1);
    let page = html(&postrider, "/queue").await;
    assert!(!page.contains("d-later.test"), "{page}");

    // The form for many: the number first, then the order.
    assert!(page.contains("data-api=\"POST /api/emails/bulk/{action}\" data-bulk data-dry-run"), "{page}");
    let filter = json!({ "status": "cancelled", "domain": "later.test" });
    let order = async |body: Value| {
        let response = postrider.request(HttpRequest::post("/api/emails/bulk/retry").json(&body)).await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()
    };
    assert_eq!(order(json!({ "filter": filter, "dryRun": true })).await["matched"], 1);
    assert_eq!(order(json!({ "filter": filter })).await["changed"], 1);
}

#[tokio::test]
async fn many_destinations_come_in_pages_and_none_says_so() {
    let postrider = Site::new().await.start().await;
    assert!(html(&postrider, "/queue").await.contains("Nothing waits."));
    let recipients: Vec<String> = (0..60).map(|n| format!("b@d{n:02}.test")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let not_before = (postrider.now() + Duration::from_secs(3600)).to_rfc3339();
    let message = mail::plain("a@client.test", recipients[0], "later");
    let message = [format!("X-Postrider-Not-Before: {not_before}\r\n").as_bytes(), &message[..]].concat();
    let id = postrider.send("a@client.test", &recipients, &message).await;
    assert_eq!(postrider.email(id).await.email.status, EmailStatus::Queued);
    let first = html(&postrider, "/queue").await;
    assert!(first.contains("Domains with mail that waits: 60;"), "{first}");
    assert_eq!(first.matches("id=\"d-").count(), 40);
    assert!(first.contains("rel=\"next\" href=\"/queue?page=2\"") && !first.contains("rel=\"prev\""), "{first}");
    let second = html(&postrider, "/queue?page=2").await;
    assert_eq!(second.matches("id=\"d-").count(), 20);
    assert!(second.contains("rel=\"prev\" href=\"/queue?page=1\"") && !second.contains("rel=\"next\""), "{second}");
    assert!(second.contains("waits: 60;"));
    assert_eq!(html(&postrider, "/queue?page=9").await.matches("id=\"d-").count(), 0);
}

#[tokio::test]
async fn who_may_only_read_is_shown_no_orders() {
    const TOKEN: &str = "the-first-administrators-token";
    let site = Site::new().await.set("API_TOKEN", TOKEN);
    let later = site.mx("later.test", Script::new().on("MAIL", HOSTILE)).await;
    let postrider = site.start().await;
    let id =
        postrider.send("a@client.test", &["b@later.test"], &mail::plain("a@client.test", "b@later.test", "x")).await;
    postrider.wait_for_deferred(id, 1).await;
    let settings = json!({ "name": "reader", "scopes": ["read"] });
    let made = postrider.request(HttpRequest::post("/api/tokens").json(&settings).bearer(TOKEN)).await.json();
    let seen = async |path: &str, token: &str| {
        let response = postrider.request(HttpRequest::get(path).header("accept", "text/html").bearer(token)).await;
        (response.status, response.text())
    };
    let reader = made["token"].as_str().unwrap();
    let (status, page) = seen("/queue", reader).await;
    assert_eq!((status, page.contains("d-later.test"), page.contains("data-api")), (200, true, false), "{page}");
    assert!(!page.contains("href=\"/log\""), "no way to what is refused: {page}");
    assert_eq!(seen("/log", reader).await.0, 403);
    let (status, page) = seen("/queue", TOKEN).await;
    assert!(status == 200 && page.contains("data-api") && page.contains("href=\"/log\""), "{page}");
    drop(later);
}
