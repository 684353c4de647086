//! The pages of e-mails: that nothing is read in another order than it is written, and that numbers are of what is shown.

use postrider_core::EmailStatus;
use postrider_testkit::{HttpRequest, Script, Site, TestPostrider, mail};

async fn page(postrider: &TestPostrider, path: &str) -> String {
    let response = postrider.request(HttpRequest::get(path).header("accept", "text/html")).await;
    assert_eq!(response.status, 200, "{path}: {}", response.text());
    response.text()
}

#[tokio::test]
async fn what_is_written_to_be_read_in_another_order_is_shown_as_written() {
    let site = Site::new().await;
    let _mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let message = "From: a@client.test\r\nTo: b@example.org\r\nSubject: =?utf-8?Q?=E2=80=AEgpj.exe?=\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n--b\r\n\
        Content-Type: application/octet-stream\r\n\
        Content-Disposition: attachment; filename*=UTF-8''%E2%80%AEgpj.exe\r\n\r\nMZ\r\n--b--\r\n";
    let id = postrider.send("a@client.test", &["b@example.org"], message.as_bytes()).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    for (path, shown) in [
        ("/emails".to_owned(), "<bdi>[U+202E]gpj.exe</bdi></a>"),
        (format!("/emails/{id}"), "<h1><bdi>[U+202E]gpj.exe</bdi></h1>"),
        (format!("/emails/{id}?tab=attachments"), "<bdi>[U+202E]gpj.exe</bdi></a>"),
        (format!("/emails/{id}?tab=headers"), "<bdi>[U+202E]gpj.exe</bdi></td>"),
    ] {
        let page = page(&postrider, &path).await;
        assert!(page.contains(shown) && !page.contains('\u{202E}'), "{path}: {page}");
    }
    let file = postrider.get(&format!("/api/emails/{id}/attachments/0")).await;
    assert_eq!(file.header("content-disposition"), Some("attachment; filename*=UTF-8''_gpj.exe"));
    let none = postrider.get(&format!("/api/emails/{id}/attachments/1")).await;
    assert_eq!(
        (none.status, none.text().contains("has no attachment 1, but one only: 0.")),
        (404, true),
        "{}",
        none.text()
    );
}

#[tokio::test]
async fn numbers_stand_beside_statuses_where_nothing_else_is_asked() {
    let site = Site::new().await;
    let _mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let message = mail::plain("a@client.test", "b@example.org", "Counted");
    let id = postrider.send("a@client.test", &["b@example.org"], &message).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    for path in ["/emails", "/emails?status=sent", "/emails?q="] {
        let page = page(&postrider, path).await;
        assert!(page.contains(">all 1</a>") && page.contains(">sent 1</a>"), "{path}: {page}");
    }
    for path in ["/emails?q=domain%3Aelsewhere.test", "/emails?sender=nobody%40client.test&status=sent"] {
        let page = page(&postrider, path).await;
        assert!(page.contains(">all</a>") && page.contains(">sent</a>"), "{path}: {page}");
    }
    let none = postrider.get(&format!("/api/emails/{id}/attachments/0")).await;
    assert_eq!((none.status, none.text().contains("has no attachments.")), (404, true), "{}", none.text());
}
