//! `GET /api/emails/{id}/attachments/{n}`: one attachment, decoded.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use postrider_core::{Attachment, Content, ObjectId};

use super::no_such_email;
use crate::AppState;
use crate::bidi::turns;
use crate::problem::Problem;

/// What is not written as it is in a parameter (RFC 8187 section 3.2.1).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One attachment, decoded; text is in UTF-8.
#[utoipa::path(
    get,
    path = "/api/emails/{id}/attachments/{n}",
    operation_id = "emailAttachment",
    tag = "emails",
    params(
        ("id" = ObjectId, Path, description = "The e-mail."),
        ("n" = usize, Path, description = "Its place in the e-mail's `attachments`, from 0.")
    ),
    responses((status = 200, description = "The file, with its own media type.", content_type = "*/*", body = Vec<u8>))
)]
pub(in crate::api) async fn attachment(
    State(state): State<AppState>,
    path: Option<Path<(String, String)>>,
) -> Result<impl IntoResponse, Problem> {
    let nothing = || Problem::not_found("No attachment is there: a path is /api/emails/ID/attachments/N, N from 0.");
    let Path((id, n)) = path.ok_or_else(nothing)?;
    let id: ObjectId = id.parse().map_err(|_| nothing())?;
    let n: usize = n.parse().map_err(|_| nothing())?;
    let message = state.store.raw(id).await?.ok_or_else(|| no_such_email(id))?;
    // A large message takes long to decode: other requests go on meanwhile.
    let opened = tokio::task::spawn_blocking(move || Content::attachment(&message.raw, n)).await.map_err(|error| {
        tracing::error!(email.id = %id, error = %error, "an attachment could not be opened");
        Problem::internal("The attachment could not be opened. The message can be read raw: /api/emails/ID/raw.")
    })?;
    let Some((attachment, content)) = opened else { return Err(none(&state, id, n).await?) };
    let headers =
        [(header::CONTENT_TYPE, media_type(&attachment)), (header::CONTENT_DISPOSITION, disposition(&attachment, n))];
    Ok((headers, content))
}

/// What is said where there is no such attachment: how many there are.
async fn none(state: &AppState, id: ObjectId, n: usize) -> Result<Problem, Problem> {
    let detail = state.store.email(id).await?.ok_or_else(|| no_such_email(id))?;
    Ok(Problem::not_found(match detail.email.attachments.len() {
        0 => format!("The e-mail {id} has no attachments."),
        1 => format!("The e-mail {id} has no attachment {n}, but one only: 0."),
        count => format!("The e-mail {id} has no attachment {n}: they are counted from 0 to {}.", count - 1),
    }))
}

/// What the sender calls it. Nothing of it is run here: answers are sandboxed, and meant to be saved.
fn media_type(attachment: &Attachment) -> HeaderValue {
    let name = &attachment.content_type;
    let is_token =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let is_media_type = name.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    let text = if name.starts_with("text/") { format!("{name}; charset=utf-8") } else { name.clone() };
    let known = HeaderValue::from_str(&text).ok().filter(|_| is_media_type);
    known.unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// Under what name it is saved (RFC 6266): one that file managers show in the order in which it is written.
fn disposition(attachment: &Attachment, n: usize) -> HeaderValue {
    let name = attachment.filename.clone().unwrap_or_else(|| format!("attachment-{n}"));
    let name = name.replace(turns, "_");
    let encoded = utf8_percent_encode(&name, ENCODED);
    HeaderValue::from_str(&format!("attachment; filename*=UTF-8''{encoded}"))
        .unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(filename: Option<&str>, content_type: &str) -> Attachment {
        let filename = filename.map(str::to_owned);
        Attachment { filename, content_type: content_type.to_owned(), size: 1, content_id: None }
    }

    #[test]
    fn names_and_types_of_strangers_do_no_harm() {
        let name = |filename| disposition(&attachment(filename, "text/plain"), 3);
        assert_eq!(name(Some("a b\"\r\n;\u{fc}.pdf")), "attachment; filename*=UTF-8''a%20b%22%0D%0A%3B%C3%BC.pdf");
        assert_eq!(name(Some("\u{202e}gpj.exe")), "attachment; filename*=UTF-8''_gpj.exe");
        assert_eq!(name(None), "attachment; filename*=UTF-8''attachment-3");
        let kind = |content_type| media_type(&attachment(None, content_type));
        assert_eq!(kind("application/pdf"), "application/pdf");
        assert_eq!(kind("text/html"), "text/html; charset=utf-8");
        for strange in ["a", "a/", "a/b c", "a/b;c=d", "text/\r\nX: y", "a/\u{fc}"] {
            assert_eq!(kind(strange), "application/octet-stream", "{strange}");
        }
    }
}
