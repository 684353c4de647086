//! The page of the simulator: the rules with examples, samples that its forms send, and what became of mail.

use postrider_core::{EmailStatus, ObjectId};
use postrider_testkit::{HttpRequest, Site, TestPostrider, mail};
use serde_json::{Map, Value, json};

async fn html(postrider: &TestPostrider, path: &str) -> String {
    let response = HttpRequest::get(path).header("accept", "text/html").send(postrider.api()).await;
    assert_eq!(response.status, 200, "{path}: {}", response.text());
    response.text()
}

fn between<'a>(text: &'a str, before: &str, behind: &str) -> &'a str {
    let from = text.find(before).unwrap_or_else(|| panic!("no {before} in {text}")) + before.len();
    let rest = &text[from..];
    &rest[..rest.find(behind).unwrap_or_else(|| panic!("no {behind} in {rest}"))]
}

/// Sends the sample to an address as the page's form says it; gives its id.
async fn send_sample(postrider: &TestPostrider, page: &str, address: &str) -> ObjectId {
    let form = between(page, &format!("aria-label=\"Send a sample to {address}\">"), "</form>");
    let fields = form.split("type=\"hidden\" name=\"").skip(1).map(|field| {
        let value = between(field, "value=\"", "\"");
        (field[..field.find('"').unwrap()].to_owned(), json!(value))
    });
    let body: Value = fields.collect::<Map<_, _>>().into();
    assert_eq!(body["to"], address);
    let response = postrider.request(HttpRequest::post("/api/emails").json(&body)).await;
    assert_eq!(response.status, 202, "{body}: {}", response.text());
    response.json()["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn samples_become_what_the_page_says() {
    let postrider = Site::new().await.set("DELIVERY_MODE", "capture").start().await;
    let empty = html(&postrider, "/simulator").await;
    assert!(empty.contains("No mail for other hosts was handed in yet."), "{empty}");
    for (address, said) in [
        ("bounce+550@example.org", "refused for good with 550"),
        ("defer+451x2@example.org", "deferred with 451 2 times, then taken"),
        ("slow+5@example.org", "taken after 5 s"),
        ("drop@example.org", "cut off"),
    ] {
        let row = between(&empty, &format!(">{address}</code>"), "</tr>");
        assert!(row.contains(said) && row.contains("data-copy=\"#example-"), "{row}");
    }
    let taken = send_sample(&postrider, &empty, "anna@example.org").await;
    let refused = send_sample(&postrider, &empty, "bounce+550@example.org").await;
    let deferred = send_sample(&postrider, &empty, "defer+451x2@example.org").await;
    postrider.wait_for_status(taken, EmailStatus::Sent).await;
    postrider.wait_for_status(refused, EmailStatus::Failed).await;
    postrider.wait_for_deferred(deferred, 1).await;
    let page = html(&postrider, "/simulator").await;
    for (id, status, said) in [
        (taken, "sent", "taken at once"),
        (refused, "failed", "refused for good with 550"),
        (deferred, "deferred", "deferred with 451 2 times"),
    ] {
        let row = between(&page, &format!("id=\"r-{id}\""), "</tr>");
        assert!(row.contains(&format!("status {status}")) && row.contains(said), "{row}");
        assert!(row.contains(&format!("href=\"/emails/{id}\"")), "{row}");
    }
    let only = html(&postrider, "/simulator?status=failed").await;
    assert!(only.contains(&format!("r-{refused}")) && !only.contains(&format!("r-{taken}")), "{only}");
    assert!(html(&postrider, "/simulator?status=cancelled").await.contains("None is so."));
    let wrong = HttpRequest::get("/simulator?status=lost").header("accept", "text/html").send(postrider.api()).await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn what_strangers_write_is_only_read() {
    let postrider = Site::new().await.set("DELIVERY_MODE", "capture").start().await;
    let recipient = "\"<img src=x onerror=alert(1)>\"@example.org";
    let message = mail::plain("a@client.test", "b@example.org", "<script>alert(1)</script>");
    let id = postrider.send("a@client.test", &[recipient], &message).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    let page = html(&postrider, "/simulator").await;
    assert!(page.contains("&#60;script&#62;alert(1)") && page.contains("&#60;img src=x"), "{page}");
    assert!(!page.contains("<script>alert") && !page.contains("<img src=x"), "{page}");
}

#[tokio::test]
async fn where_mail_leaves_for_real_the_page_says_how_to_get_it() {
    let postrider = Site::new().await.start().await;
    let page = html(&postrider, "/simulator").await;
    assert!(page.contains("The simulator is off") && page.contains("DELIVERY_MODE is <code>mx</code>"), "{page}");
    assert!(page.contains("DELIVERY_MODE=capture") && page.contains("bounce+550@example.org"), "{page}");
    assert!(!page.contains("data-api"), "nothing is sent from here: {page}");
}
