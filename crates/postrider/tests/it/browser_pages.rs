//! The pages in a real browser, over real sockets: what people do there, and what strangers' mail may not.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use postrider_core::{EmailStatus, ObjectId};
use postrider_testkit::{
    Answer, Browser, Gate, HttpAnswer, HttpRequest, HttpService, Scheme, Script, Site, TestPostrider, eventually,
};
use serde_json::json;

use crate::support::python;

const TOKEN: &str = "s3cret-of-the-administrator";

/// What a page may load in all, with an empty cache.
const FIRST_LOAD_BYTES_MAX: u64 = 100 << 10;

async fn open(postrider: &TestPostrider) -> Browser {
    Browser::start(&format!("http://{}", postrider.api())).await
}

async fn signed_in(postrider: &TestPostrider) -> Browser {
    let browser = open(postrider).await;
    browser.go("/emails").await;
    browser.wait_for_path("/sign-in").await;
    browser.fill("#token", TOKEN).await;
    browser.click("button[type=submit]").await;
    browser.wait_for_path("/emails").await;
    browser
}

fn message(subject: &str) -> Vec<u8> {
    format!("From: ann@shop.example\r\nTo: bob@example.net\r\nSubject: {subject}\r\n\r\nHello.\r\n").into_bytes()
}

/// The source of axe-core, where `cargo xtask test` puts it.
fn axe() -> String {
    let folder = python();
    let library = folder.parent().and_then(|bin| bin.parent()).expect("python is in bin").join("lib");
    let versions = std::fs::read_dir(&library).expect("the environment is there: `cargo xtask test` makes it");
    let found = versions.flatten().map(|version| version.path().join("site-packages/axe_playwright_python/axe.min.js"));
    let file =
        found.into_iter().find(|file| file.is_file()).expect("axe-core is there: `cargo xtask test` installs it");
    std::fs::read_to_string(file).expect("it can be read")
}

/// Where pictures of pages are kept.
fn pictures() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pages")
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_shows_mail_on_its_way_without_loading_again() {
    let site = Site::new().await.set("API_TOKEN", TOKEN).set("RETRY_FIRST_SECONDS", "3600");
    let gate = Gate::new();
    let mx =
        site.mx("example.net", Script::new().first(1, "RCPT", Answer::after(&gate, "451 4.7.1 Come back later"))).await;
    let postrider = site.start_in_real_time().await;
    let browser = signed_in(&postrider).await;
    browser.wait_for_text("#emails", "There is no e-mail yet").await;
    browser.run("window.sameDocument = true;", &[]).await;

    let id = postrider.send("ann@shop.example", &["bob@example.net"], &message("Order 17")).await;
    browser.wait_for_text(&format!("#r-{id}"), "Order 17").await;
    let on_its_way = browser.text(&format!("#r-{id} .status")).await;
    assert!(["queued", "sending"].contains(&on_its_way.as_str()), "{on_its_way}");
    gate.open();
    browser.wait_for_text(&format!("#r-{id} .status"), "deferred").await;
    browser.wait_for_text(&format!("#r-{id}"), "Come back later").await;
    assert_eq!(browser.run("return window.sameDocument;", &[]).await, json!(true), "nothing was loaded again");

    browser.click(&format!("#r-{id} a")).await;
    browser.wait_for_path(&format!("/emails/{id}")).await;
    browser.run("window.sameDocument = true;", &[]).await;
    browser.wait_for_text("#why", "451 4.7.1 Come back later").await;
    browser.wait_for_text("#timeline", "Attempt 1: bob@example.net deferred").await;
    browser.click(&format!("form[data-api$='{id}/retry'] button")).await;
    browser.wait_for_text(".head .status", "sent").await;
    browser.wait_for_text("#timeline", "Attempt 2: delivered to bob@example.net").await;
    browser.wait_for_text("#timeline", "Asked for: email.retry").await;
    assert_eq!(browser.run("return window.sameDocument;", &[]).await, json!(true), "nothing was loaded again");
    mx.wait_for_messages(1).await;
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_signs_in_and_out() {
    let postrider = Site::new().await.set("API_TOKEN", TOKEN).start_in_real_time().await;
    let browser = open(&postrider).await;
    browser.go("/emails?q=status%3Asent").await;
    browser.wait_for_path("/sign-in?next=").await;
    browser.fill("#token", "mistyped").await;
    browser.click("button[type=submit]").await;
    browser.wait_for_text("[role=alert]", "This token opens nothing").await;
    browser.fill("#token", TOKEN).await;
    browser.click("button[type=submit]").await;
    browser.wait_for_path("/emails?q=status%3Asent").await;
    browser.click("form[action='/sign-out'] button").await;
    browser.wait_for_path("/sign-in").await;
    browser.go("/emails").await;
    browser.wait_for_path("/sign-in").await;
    browser.close().await;

    let open_to_all = Site::new().await.start_in_real_time().await;
    let browser = open(&open_to_all).await;
    browser.go("/sign-in").await;
    browser.go("/emails").await;
    browser.wait_for_text(".who", "No sign-in: open to this machine").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_cancels_and_changes_many_by_a_filter() {
    let site = Site::new().await.set("API_TOKEN", TOKEN).set("RETRY_FIRST_SECONDS", "3600");
    let mut hosts = Vec::new();
    for domain in ["a.example", "b.example", "c.example", "d.example"] {
        hosts.push(site.mx(domain, Script::new().on("RCPT", "451 4.7.1 Come back later")).await);
    }
    let postrider = site.start_in_real_time().await;
    let mut ids = Vec::new();
    for domain in ["a.example", "b.example", "c.example"] {
        let recipient = format!("bob@{domain}");
        ids.push(postrider.send("ann@shop.example", &[&recipient], &message("Order")).await);
    }
    let other = postrider.send("zoe@shop.example", &["bob@d.example"], &message("Another")).await;
    for &id in ids.iter().chain([&other]) {
        postrider.wait_for_status(id, EmailStatus::Deferred).await;
    }
    let browser = signed_in(&postrider).await;

    browser.go(&format!("/emails/{other}")).await;
    browser.click(&format!("form[data-api$='{other}/cancel'] button")).await;
    browser.wait_for_text("#confirm", "Cancel this e-mail?").await;
    browser.click("#confirm button[value=no]").await;
    browser.click(&format!("form[data-api$='{other}/cancel'] button")).await;
    browser.click("#confirm-yes").await;
    browser.wait_for_text(".head .status", "cancelled").await;

    browser.go("/emails?q=status%3Adeferred+from%3Aann%40shop.example").await;
    browser.wait_for_text("caption", "3 e-mails").await;
    browser.click("#bulk button[value=retry]").await;
    browser.wait_for_text("#status", "Nothing is selected").await;
    hosts.iter().for_each(|host| host.set_script(Script::new()));
    browser.click("#bulk input[name=everything]").await;
    browser.click("#bulk button[value=retry]").await;
    browser.wait_for_text("#confirm-text", "Try 3 e-mails again now?").await;
    browser.click("#confirm-yes").await;
    browser.wait_for_text("#status", "3 deliveries are tried again.").await;
    for id in ids {
        postrider.wait_for_status(id, EmailStatus::Sent).await;
    }
    postrider.wait_for_status(other, EmailStatus::Cancelled).await;
    browser.wait_for_text("#emails", "Nothing matches").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_searches_with_completion_and_by_keyboard_alone() {
    let site = Site::new().await;
    let _mx = site.mx("example.net", Script::new()).await;
    let postrider = site.start_in_real_time().await;
    let apple = postrider.send("ann@shop.example", &["bob@example.net"], &message("Apple")).await;
    let pear = postrider.send("zoe@shop.example", &["bob@example.net"], &message("Pear")).await;
    postrider.wait_for_status(apple, EmailStatus::Sent).await;
    postrider.wait_for_status(pear, EmailStatus::Sent).await;
    let browser = open(&postrider).await;
    browser.go("/emails").await;
    browser.wait_for_text("#live", "Live").await;
    let (down, enter, escape) = ('\u{e015}', '\u{e007}', '\u{e00c}');

    browser.press("?").await;
    browser.wait_for_text("#keys", "Next and previous row").await;
    browser.press(&escape.to_string()).await;
    browser.press("/").await;
    browser.press("sta").await;
    browser.wait_for_text("#q-options", "status:").await;
    browser.press(&format!("{down}{enter}s")).await;
    browser.wait_for_text("#q-options", "sent").await;
    // The first is "sending", the second "sent".
    browser.press(&format!("{down}{down}{enter}from:zoe@{enter}")).await;
    browser.wait_for_path("/emails?q=status%3Asent+from%3Azoe%40").await;
    browser.wait_for_text("caption", "1 e-mail").await;
    browser.wait_for_text(&format!("#r-{pear}"), "Pear").await;
    browser.press("j").await;
    browser.press(&enter.to_string()).await;
    browser.wait_for_path(&format!("/emails/{pear}")).await;
    browser.press("ge").await;
    browser.wait_for_path("/emails").await;
    browser.go("/emails?q=nonsense%3Ax").await;
    browser.wait_for_text("[role=alert]", "nonsense").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_shows_hostile_html_and_nothing_of_it_runs_or_is_fetched() {
    let tracker = HttpService::start(IpAddr::V4(Ipv4Addr::LOCALHOST), |_| HttpAnswer::ok("seen")).await;
    let site = Site::new().await.set("API_TOKEN", TOKEN);
    let _mx = site.mx("example.net", Script::new()).await;
    let postrider = site.start_in_real_time().await;
    let at = tracker.url("/seen");
    let html = format!(
        "<style>body {{ background: url({at}-css); position: fixed }} @import '{at}-import';</style>\
         <link rel=stylesheet href='{at}-link'><Link rel=preconnect href='{at}'><meta http-equiv=refresh content='0;url={at}-refresh'>\
         <base href='{at}-base'><script>parent.document.title = 'taken'; fetch('{at}-fetch')</script>\
         <img src='{at}-image' onerror=\"top.location = '{at}-onerror'\"><iframe src='{at}-frame'></iframe>\
         <form action='{at}-form'><input name=a autofocus onfocus=\"fetch('{at}-focus')\"><button id=send>Win</button></form>\
         <svg onload=\"fetch('{at}-svg')\"></svg><object data='{at}-object'></object><p id=words>Read me</p></html></body>\
         </iframe></div><h1>Outside</h1>"
    );
    let data = format!(
        "From: eve@evil.example\r\nTo: bob@example.net\r\nSubject: </title><script>document.title='taken'</script>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n"
    );
    let id = postrider.send("eve@evil.example", &["bob@example.net"], data.as_bytes()).await;
    let browser = signed_in(&postrider).await;
    browser.go(&format!("/emails/{id}?tab=html")).await;
    browser.wait_for_text("h1", "</title><script>document.title='taken'</script>").await;
    assert_eq!(browser.count("h1").await, 1, "the message stays in its frame");
    // The frame alone, to look into it; with what is asked of it once more.
    browser.go(&format!("/emails/{id}/html")).await;
    browser.wait_for_text("#words", "Read me").await;
    browser.click("#send").await;
    let title = browser.run("return document.title;", &[]).await;
    assert_ne!(title, json!("taken"));
    browser.go(&format!("/emails/{id}")).await;
    assert_eq!(tracker.requests().len(), 0, "{:?}", tracker.requests());

    // Asked for, pictures are fetched; the rest never.
    browser.go(&format!("/emails/{id}?tab=html")).await;
    browser.click("a[href*='remote=true']").await;
    browser.wait_for_path(&format!("/emails/{id}?tab=html&remote=true")).await;
    let fetched = tracker.wait_for_requests(1).await;
    for request in &fetched {
        let allowed = ["/seen-css", "/seen-import", "/seen-link", "/seen-image"];
        assert!(allowed.contains(&request.path.as_str()), "{}", request.path);
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_replays_a_webhook() {
    let endpoint = HttpService::start(IpAddr::V4(Ipv4Addr::LOCALHOST), |_| HttpAnswer::new(500, "broken")).await;
    let site = Site::new()
        .await
        .set("API_TOKEN", TOKEN)
        .set("WEBHOOK_ENABLED", "true")
        .set("WEBHOOK_RETRIES", "0")
        .set("WEBHOOK_SUCCESS_URL", &endpoint.url("/hook"));
    let _mx = site.mx("example.net", Script::new()).await;
    let postrider = site.start_in_real_time().await;
    let id = postrider.send("ann@shop.example", &["bob@example.net"], &message("Told")).await;
    let browser = signed_in(&postrider).await;
    browser.go(&format!("/emails/{id}?tab=webhooks")).await;
    browser.wait_for_text("#tab", "given-up").await;
    browser.wait_for_text("#tab", "500").await;
    endpoint.set_answer(|_| HttpAnswer::ok(""));
    browser.click("form[data-api$='/replay'] button").await;
    browser.wait_for_text("#tab .status", "delivered").await;
    let requests = endpoint.wait_for_requests(2).await;
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_keeps_what_is_typed_while_mail_comes_and_closes_what_is_to_be_closed() {
    let site = Site::new().await;
    let _mx = site.mx("example.net", Script::new()).await;
    let postrider = site.start_in_real_time().await;
    let settings = json!({ "url": "https://app.example.org/hook", "types": ["email.failed"] });
    assert_eq!(postrider.request(HttpRequest::post("/api/webhooks").json(&settings)).await.status, 201);
    let browser = open(&postrider).await;
    browser.go("/webhooks").await;
    browser.wait_for_text("#live", "Live").await;
    browser.click("tbody summary").await;
    browser.fill("tbody input[name=description]", "half a sen").await;
    browser.run("document.addEventListener('postrider:refreshed', () => { window.refreshed = true; });", &[]).await;
    let id = postrider.send("ann@shop.example", &["bob@example.net"], &message("Meanwhile")).await;
    let refreshed = "return window.refreshed === true;";
    eventually("the page to be fetched anew", async || {
        (browser.run(refreshed, &[]).await == json!(true)).then_some(())
    })
    .await;
    browser.press("tence").await;
    let typed = browser.run("return document.querySelector('tbody input[name=description]').value;", &[]).await;
    assert_eq!(typed, json!("half a sentence"));
    let ticked = "return document.querySelectorAll('tbody input[name=types]:checked').length;";
    browser.click("tbody form[data-api='PATCH /api/webhooks/{id}'] button").await;
    browser.wait_for_text("tbody", "paused").await;
    assert_eq!(browser.run(ticked, &[]).await, json!(1), "an order leaves the other forms as they are");

    browser.go(&format!("/emails/{id}")).await;
    browser.click("[data-open='#resend']").await;
    browser.fill("#resend-to", "closed@example.net").await;
    browser.click("#resend button[formmethod=dialog]").await;
    let closed = "return !document.querySelector('#resend').open;";
    eventually("the dialog to close", async || (browser.run(closed, &[]).await == json!(true)).then_some(())).await;
    assert_eq!(postrider.emails().await.len(), 1, "nothing was sent again");

    browser.click("[data-open='#resend']").await;
    browser.fill("#resend-to", "\"Lee, Ann\" <ann@example.net>, Bob Lee <bob@example.net>, carol@example.net").await;
    browser.click("#resend button.main").await;
    let again =
        eventually("it to be sent again", async || postrider.emails().await.into_iter().find(|email| email.id != id))
            .await;
    assert_eq!(again.recipients, ["ann@example.net", "bob@example.net", "carol@example.net"]);
    browser.wait_for_path(&format!("/emails/{}", again.id)).await;
    browser.close().await;
}

/// Rows that are selected go further on as mail comes, and leave the page: they stay selected, and that is told.
#[tokio::test(flavor = "multi_thread")]
async fn browser_keeps_what_is_selected_while_mail_comes() {
    let site = Site::new().await;
    let _mx = site.mx("example.net", Script::new()).await;
    let postrider = site.start_in_real_time().await;
    for subject in ["First", "Second"] {
        let id = postrider.send("ann@shop.example", &["bob@example.net"], &message(subject)).await;
        postrider.wait_for_status(id, EmailStatus::Sent).await;
    }
    let browser = open(&postrider).await;
    browser.go("/emails?limit=2").await;
    browser.wait_for_text("#live", "Live").await;
    browser.wait_for_text("[data-selected]", "Nothing is selected.").await;
    let ticked = async || {
        let script = "const all = document.querySelector('[data-select-all]');
            const boxes = [...document.querySelectorAll('td.select input')].map((box) => box.checked);
            return { boxes, all: all.checked, some: all.indeterminate };";
        browser.run(script, &[]).await
    };
    browser.click("[data-select-all]").await;
    browser.wait_for_text("[data-selected]", "2 selected.").await;
    assert_eq!(ticked().await, json!({ "boxes": [true, true], "all": true, "some": false }));

    let third = postrider.send("ann@shop.example", &["bob@example.net"], &message("Third")).await;
    browser.wait_for_text(&format!("#r-{third}"), "Third").await;
    browser.wait_for_text("[data-selected]", "2 selected; 1 of them not on this page any more.").await;
    assert_eq!(ticked().await, json!({ "boxes": [false, true], "all": false, "some": true }));
    browser.click(&format!("#r-{third} input")).await;
    browser.wait_for_text("[data-selected]", "3 selected; 1 of them").await;
    browser.click("[data-select-none]").await;
    browser.wait_for_text("[data-selected]", "Nothing is selected.").await;
    assert_eq!(ticked().await, json!({ "boxes": [false, false], "all": false, "some": false }));

    // What is done is done to what was selected, not to what stands there by then.
    browser.click("[data-select-all]").await;
    let fourth = postrider.send("ann@shop.example", &["bob@example.net"], &message("Fourth")).await;
    postrider.wait_for_status(fourth, EmailStatus::Sent).await;
    browser.wait_for_text("[data-selected]", "2 selected; 1 of them").await;
    browser.click("#bulk button[value=delete]").await;
    browser.wait_for_text("#confirm-text", "Delete 2 e-mails for good?").await;
    browser.click("#confirm-yes").await;
    browser.wait_for_text("#status", "2 e-mails are deleted.").await;
    browser.wait_for_text("[data-selected]", "Nothing is selected.").await;
    let left: Vec<_> = postrider.emails().await.into_iter().filter_map(|email| email.subject).collect();
    assert_eq!(left, ["Fourth", "First"]);
    browser.close().await;
}

/// Who goes by keyboard: a dialog closes by Escape and gives the focus back, and what was done leaves it nearby.
#[tokio::test(flavor = "multi_thread")]
async fn browser_keeps_the_focus_and_says_what_is_missing() {
    const ESCAPE: &str = "\u{e00c}";
    const ENTER: &str = "\u{e007}";
    let service = HttpService::start(IpAddr::V4(Ipv4Addr::LOCALHOST), |_| HttpAnswer::new(500, "broken")).await;
    let site = Site::new().await.set("ALLOWED_DOMAINS", "local.test").set("IP_SELECTION_ENABLED", "true");
    let postrider = site.set("IP_SELECTION_API_URL", &service.url("/pick")).start_in_real_time().await;
    for user in ["ann@local.test", "bob@local.test"] {
        let user = json!({ "address": user, "password": "pa55word" });
        assert_eq!(postrider.request(HttpRequest::post("/api/users").json(&user)).await.status, 201);
    }
    let browser = open(&postrider).await;
    browser.go("/users/aliases").await;
    browser.fill("#add-address", "sales@local.test").await;
    browser.fill("#add-targets", "ann@local.test").await;
    browser.press(ENTER).await;
    browser.wait_for_text("tbody", "ann@local.test").await;
    browser.click("tbody summary").await;
    browser.fill("tbody input[name=targets]", "bob@local.test, ann@local.test").await;
    browser.press(ENTER).await;
    browser.wait_for_text("tbody td.wide", "bob@local.test, ann@local.test").await;
    let focused = async || {
        let script =
            "const at = document.activeElement; return at === document.body ? '' : at.innerText || at.name || at.id;";
        browser.run(script, &[]).await.as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(focused().await, "targets", "a form that was sent keeps the focus");
    browser.run("document.querySelector('tbody button.danger').focus();", &[]).await;
    browser.press(ENTER).await;
    browser.wait_for_text("#confirm-text", "Remove the alias sales@local.test?").await;
    assert_eq!(focused().await, "No, leave it");
    browser.press(ESCAPE).await;
    eventually("the focus to be back", async || (focused().await == "Remove").then_some(())).await;
    browser.press(ENTER).await;
    browser.click("#confirm-yes").await;
    browser.wait_for_text("#aliases", "There is no alias yet").await;
    eventually("the focus to be in the page", async || {
        let is_there = "return document.activeElement.id === 'content';";
        (browser.run(is_there, &[]).await == json!(true)).then_some(())
    })
    .await;
    // What was done is told on the page that one is taken to.
    browser.go("/users/ann@local.test").await;
    browser.click("form[data-api^=DELETE] button").await;
    browser.click("#confirm-yes").await;
    browser.wait_for_path("/users").await;
    browser.wait_for_text("#status", "The user is removed.").await;

    browser.go("/source-ips").await;
    browser.click("form[data-api='POST /api/ip-selection/test'] button").await;
    browser.wait_for_text("#status", "Give sender and recipient, or the id of an e-mail").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_reads_pages_without_scripts() {
    let site = Site::new().await.set("API_TOKEN", TOKEN);
    let _mx = site.mx("example.net", Script::new()).await;
    let postrider = site.start_in_real_time().await;
    let id = postrider.send("ann@shop.example", &["bob@example.net"], &message("Plain")).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    let browser = open(&postrider).await;
    browser.allow_scripts(false).await;
    browser.go("/emails").await;
    browser.fill("#token", TOKEN).await;
    browser.click("button[type=submit]").await;
    browser.wait_for_path("/emails").await;
    browser.click(&format!("#r-{id} a")).await;
    browser.wait_for_path(&format!("/emails/{id}")).await;
    browser.click("a[href*='tab=text']").await;
    browser.wait_for_path(&format!("/emails/{id}?tab=text")).await;
    browser.click("form[action='/sign-out'] button").await;
    browser.wait_for_path("/sign-in").await;
    browser.close().await;
}

/// An address as long as labels and local parts may be, with no place to break a line.
fn long_address() -> String {
    let label = "d".repeat(60);
    format!("{}@{label}.{label}.{label}.example", "a".repeat(64))
}

/// Every page that there is, with something on it.
async fn all_pages(postrider: &TestPostrider) -> Vec<(String, String)> {
    let html = "From: ann@shop.example\r\nTo: bob@example.net\r\nSubject: With everything\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<h1>Hello</h1>\r\n--b\r\n\
        Content-Type: text/plain\r\nContent-Disposition: attachment; filename=notes.txt\r\n\r\nNotes\r\n--b--\r\n";
    let sent = postrider.send("ann@shop.example", &["bob@example.net"], html.as_bytes()).await;
    let deferred = postrider.send("ann@shop.example", &["carol@example.org"], &message("Waiting")).await;
    postrider.wait_for_status(sent, EmailStatus::Sent).await;
    postrider.wait_for_status(deferred, EmailStatus::Deferred).await;
    let long = long_address();
    let long = postrider.send(&long, &[&long], &message("To somebody with a long address")).await;
    postrider.wait_for_status(long, EmailStatus::Sent).await;
    let mut pages = vec![("sign-in".to_owned(), "/sign-in".to_owned())];
    let places = postrider.get("/emails").await.text();
    let nav = places.split("aria-label=\"Pages\">").nth(1).and_then(|rest| rest.split("</nav>").next()).expect("a way");
    for path in nav.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        let name = if path == "/" { "overview" } else { path.trim_start_matches('/') };
        pages.push((name.replace('/', "-"), path.to_owned()));
    }
    let tab = |id: ObjectId, tab: &str| (format!("email-{tab}"), format!("/emails/{id}?tab={tab}"));
    pages.extend(
        ["activity", "html", "text", "headers", "source", "attachments", "authentication", "webhooks"]
            .map(|name| tab(sent, name)),
    );
    pages.push(("email-long".to_owned(), format!("/emails/{long}")));
    pages.push(("email-deferred".to_owned(), format!("/emails/{deferred}")));
    pages.push(("emails-nothing".to_owned(), "/emails?q=nothingatall".to_owned()));
    pages.push(("problem".to_owned(), "/emails/none".to_owned()));
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_finds_every_page_accessible_in_light_and_dark_and_on_a_phone() {
    let site = Site::new().await.set("RETRY_FIRST_SECONDS", "3600");
    let _mx = site.mx("example.net", Script::new()).await;
    let _long = site.mx(long_address().split_once('@').expect("it has a domain").1, Script::new()).await;
    let _deferring = site.mx("example.org", Script::new().on("RCPT", "451 4.7.1 Come back later")).await;
    let postrider = site.start_in_real_time().await;
    let axe = axe();
    let pages = all_pages(&postrider).await;
    let browser = open(&postrider).await;
    let mut faults = Vec::new();
    for (name, path) in &pages {
        for (scheme, width) in [(Scheme::Light, 1280), (Scheme::Dark, 1280), (Scheme::Light, 360), (Scheme::Dark, 360)]
        {
            browser.prefer(scheme).await;
            browser.resize(width, 900).await;
            browser.go(path).await;
            let shade = if scheme == Scheme::Dark { "dark" } else { "light" };
            // Before the picture: for it the browser makes the page as high as it is.
            let mut found = misfits(&browser, width).await;
            found.extend(browser.accessibility_violations(&axe).await);
            browser.picture(&pictures().join(format!("{name}-{width}-{shade}.png"))).await;
            faults.extend(found.into_iter().map(|what| format!("{path}, {shade}, {width} px: {what}")));
        }
        // What is not there is said with status 404, of which browsers complain.
        let complaints = browser.complaints().await;
        faults.extend(
            complaints.into_iter().filter(|_| name != "problem").map(|complaint| format!("{path}: {complaint}")),
        );
    }
    browser.close().await;
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// What is wrong with how a page fits: wider than the window, moving while it loads, or too much to load.
async fn misfits(browser: &Browser, width: u32) -> Vec<String> {
    let mut found = Vec::new();
    let wide = browser.run("return document.documentElement.scrollWidth;", &[]).await.as_u64().unwrap_or_default();
    if wide > u64::from(width) {
        found.push(format!("it is {wide} px wide"));
    }
    let shifts = "const done = arguments[arguments.length - 1];
        const shifts = [];
        new PerformanceObserver((list) => shifts.push(...list.getEntries())).observe({ type: 'layout-shift', buffered: true });
        setTimeout(() => done(shifts.map((shift) => `${shift.value} ${shift.sources.map((source) =>
            source.node?.outerHTML?.slice(0, 80))}`)), 150);";
    let shifts = browser.run_until_done(shifts).await.as_array().cloned().unwrap_or_default();
    found.extend(shifts.into_iter().map(|shift| format!("its layout shifts: {shift}")));
    let loaded = "return [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
        .reduce((all, entry) => all + entry.encodedBodySize, 0);";
    let loaded = browser.run(loaded, &[]).await;
    if loaded.as_u64().unwrap_or(u64::MAX) >= FIRST_LOAD_BYTES_MAX {
        found.push(format!("it loads {loaded} bytes"));
    }
    found
}
