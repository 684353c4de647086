//! `GET /emails/{id}/html`: the HTML of a message, to be shown in a frame. It is a stranger's: nothing of it runs, and nothing is
//! fetched until somebody asks for it.
//!
//! The frame is sandboxed twice, by the page that shows it and by this answer, for whoever opens it alone. Files that came with the
//! message are put into it, so that it needs nothing from here either.

use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postrider_core::{Bodies, Summary};

use crate::AppState;
use crate::api::emails::no_such_email;
use crate::extract::{EmailId, Parameters};
use crate::problem::Problem;

/// No scripts, no forms, no plugins, no way back to the page around it. Links open elsewhere, when somebody follows them.
const CLOSED: &str = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; \
     img-src data:; font-src data:; media-src data:; form-action 'none'; frame-ancestors 'self'";
/// Somebody asked for what the sender wants to be fetched: the sender then sees who reads, and when.
const WITH_REMOTE: &str = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; \
     style-src 'unsafe-inline' http: https:; img-src data: http: https:; font-src data: http: https:; \
     media-src data: http: https:; form-action 'none'; frame-ancestors 'self'";

/// Put before the message's own HTML: links of it open in a window of their own.
const PROLOGUE: &str = "<!doctype html><meta charset=\"utf-8\"><base target=\"_blank\">";

/// Files that are put into the message, in bytes of all together; what is more is not shown.
const INLINE_BYTES_MAX: usize = 10 << 20;

pub(in crate::pages) async fn html(
    State(state): State<AppState>,
    EmailId(id): EmailId,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let with_remote = parameters.parsed::<bool>("remote")?.unwrap_or_default();
    parameters.finish(&["remote"])?;
    let message = state.store.raw(id).await?.ok_or_else(|| no_such_email(id))?;
    // A large message takes long to decode: other requests go on meanwhile.
    let shown = tokio::task::spawn_blocking(move || whole(&message.raw, with_remote)).await.map_err(|error| {
        tracing::error!(email.id = %id, %error, "a message could not be opened");
        Problem::internal("The message could not be opened. Its source can be read.")
    })?;
    let shown = shown.ok_or_else(|| Problem::not_found("The message has no HTML."))?;
    let policy = HeaderValue::from_static(if with_remote { WITH_REMOTE } else { CLOSED });
    let framed = HeaderValue::from_static("SAMEORIGIN");
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_FRAME_OPTIONS, framed),
        (header::HeaderName::from_static("x-dns-prefetch-control"), HeaderValue::from_static("off")),
    ];
    Ok((headers, Html(shown)).into_response())
}

/// The HTML with the files in it that it names (RFC 2392).
fn whole(raw: &[u8], with_remote: bool) -> Option<String> {
    let Bodies { html, attachments: contents, .. } = Bodies::parse(raw);
    let mut html = html?;
    let mut left = INLINE_BYTES_MAX;
    for (attachment, content) in Summary::parse(raw).attachments.iter().zip(contents) {
        let Some(id) = attachment.content_id.as_deref().filter(|id| !id.is_empty()) else { continue };
        let name = format!("cid:{id}");
        let count = html.matches(&name).count();
        if count == 0 || !is_picture(&attachment.content_type) {
            continue;
        }
        let Some(rest) = content.len().checked_mul(count).and_then(|bytes| left.checked_sub(bytes)) else { continue };
        left = rest;
        html = html.replace(&name, &format!("data:{};base64,{}", attachment.content_type, STANDARD.encode(content)));
    }
    // A link can have the browser connect to its host, which no policy forbids: that tells already who reads, and when.
    let html = if with_remote { html } else { without_links(&html) };
    Some(format!("{PROLOGUE}{html}"))
}

/// With every `<link` made an element that means nothing.
fn without_links(html: &str) -> String {
    const LINK: &str = "<link";
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let is_link = tag.get(..LINK.len()).is_some_and(|start| start.eq_ignore_ascii_case(LINK));
        let (start, skipped) = if is_link { ("<x-link", LINK.len()) } else { ("<", 1) };
        out.push_str(start);
        rest = tag.get(skipped..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// What may stand in the place of a name: a picture whose type is nothing but a type.
fn is_picture(content_type: &str) -> bool {
    let Some(subtype) = content_type.strip_prefix("image/") else { return false };
    !subtype.is_empty() && subtype.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_that_came_along_are_in_it() {
        let raw = b"MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=b\r\n\r\n--b\r\n\
            Content-Type: text/html\r\n\r\n<img src=\"cid:logo@x\"><img src='cid:none@x'>\r\n--b\r\n\
            Content-Type: image/png\r\nContent-ID: <logo@x>\r\nContent-Transfer-Encoding: base64\r\n\r\niVBO\r\n--b--\r\n";
        let html = whole(raw, false).unwrap();
        assert!(html.starts_with(PROLOGUE));
        assert!(html.contains("<img src=\"data:image/png;base64,iVBO\">"), "{html}");
        assert!(html.contains("cid:none@x"));
        assert_eq!(whole(b"Subject: x\r\n\r\ntext\r\n", false), None);
    }

    #[test]
    fn no_link_has_the_browser_connect() {
        let hostile = "a < b <LINK rel=preconnect href=//evil><lin\u{e9}><p>x</p><link";
        assert_eq!(without_links(hostile), "a < b <x-link rel=preconnect href=//evil><lin\u{e9}><p>x</p><x-link");
    }

    #[test]
    fn only_pictures_are() {
        assert!(is_picture("image/svg+xml") && is_picture("image/png"));
        for strange in ["text/html", "image/", "image/png\" onerror=1", "image/png;x"] {
            assert!(!is_picture(strange), "{strange}");
        }
    }
}
