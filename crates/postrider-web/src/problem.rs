//! Errors as problem documents (RFC 9457). The private cause goes to the log; the document says what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postrider_store::StoreError;
use postrider_store::tokens::Scope;
use serde::Serialize;

use crate::view::RecipientView;

/// `type` of every problem starts so; what follows never changes its meaning.
const TYPE_PREFIX: &str = "urn:problem-type:postrider:";

/// An error as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    kind: &'static Kind,
    detail: String,
    extra: Extra,
}

/// What some problems tell beside their document's standard members.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Extra {
    None,
    /// The parameter that is wrong.
    Parameter(String),
    /// The scheme by which the client may come in (RFC 9110 section 11.6.1).
    Challenge(&'static str),
    /// The scope that the token lacks.
    Scope(Scope),
    /// Why each recipient was refused.
    Recipients(Vec<RecipientView>),
    /// The time after which another try is worth it (RFC 9110 section 10.2.3).
    RetryAfterSeconds(u16),
}

/// What all problems of one type have in common.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    name: &'static str,
    status: StatusCode,
    title: &'static str,
}

const BAD_PARAMETER: Kind =
    Kind { name: "bad-parameter", status: StatusCode::BAD_REQUEST, title: "A parameter is wrong" };
const BAD_BODY: Kind =
    Kind { name: "bad-body", status: StatusCode::BAD_REQUEST, title: "The body of the request is wrong" };
const UNSUPPORTED_MEDIA_TYPE: Kind = Kind {
    name: "unsupported-media-type",
    status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
    title: "The body of the request is of another type",
};
const BODY_TOO_LARGE: Kind = Kind {
    name: "body-too-large",
    status: StatusCode::PAYLOAD_TOO_LARGE,
    title: "The body of the request is too large",
};
const UNAUTHORIZED: Kind =
    Kind { name: "unauthorized", status: StatusCode::UNAUTHORIZED, title: "The API token is missing or wrong" };
const FORBIDDEN_ORIGIN: Kind =
    Kind { name: "forbidden-origin", status: StatusCode::FORBIDDEN, title: "Requests from there are not answered" };
const INSUFFICIENT_SCOPE: Kind =
    Kind { name: "insufficient-scope", status: StatusCode::FORBIDDEN, title: "The token is not for this" };
const LIMITED_TOKEN: Kind =
    Kind { name: "limited-token", status: StatusCode::FORBIDDEN, title: "The token may not give more than it has" };
const TOO_MANY_REQUESTS: Kind =
    Kind { name: "too-many-requests", status: StatusCode::TOO_MANY_REQUESTS, title: "Too many requests" };
const NOT_FOUND: Kind = Kind { name: "not-found", status: StatusCode::NOT_FOUND, title: "Not found" };
const METHOD_NOT_ALLOWED: Kind = Kind {
    name: "method-not-allowed",
    status: StatusCode::METHOD_NOT_ALLOWED,
    title: "This cannot be done with that method",
};
const SENDER_NOT_ALLOWED: Kind =
    Kind { name: "sender-not-allowed", status: StatusCode::FORBIDDEN, title: "The token may not send in that name" };
const MESSAGE_REFUSED: Kind = Kind {
    name: "message-refused",
    status: StatusCode::UNPROCESSABLE_ENTITY,
    title: "The message cannot be taken as it is",
};
const RECIPIENTS_REFUSED: Kind =
    Kind { name: "recipients-refused", status: StatusCode::UNPROCESSABLE_ENTITY, title: "No recipient is accepted" };
const CONFLICT: Kind =
    Kind { name: "conflict", status: StatusCode::CONFLICT, title: "The state does not allow this now" };
const REQUEST_UNDER_WAY: Kind = Kind {
    name: "request-under-way",
    status: StatusCode::CONFLICT,
    title: "The same request is being worked on at this moment",
};
const IDEMPOTENCY_KEY_REUSED: Kind = Kind {
    name: "idempotency-key-reused",
    status: StatusCode::CONFLICT,
    title: "The key was used for another request",
};
const INTERNAL: Kind =
    Kind { name: "internal", status: StatusCode::INTERNAL_SERVER_ERROR, title: "Something is broken here" };
const UNAVAILABLE: Kind =
    Kind { name: "unavailable", status: StatusCode::SERVICE_UNAVAILABLE, title: "Not possible at this moment" };

impl Problem {
    /// A query parameter that is unknown, repeated or has a value that is not allowed.
    pub(crate) fn bad_parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::new(&BAD_PARAMETER, detail, Extra::Parameter(name.to_owned()))
    }

    pub(crate) fn bad_body(detail: impl Into<String>) -> Self {
        Self::new(&BAD_BODY, detail, Extra::None)
    }

    pub(crate) fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(&UNSUPPORTED_MEDIA_TYPE, detail, Extra::None)
    }

    pub(crate) fn body_too_large(detail: impl Into<String>) -> Self {
        Self::new(&BODY_TOO_LARGE, detail, Extra::None)
    }

    pub(crate) fn unauthorized(challenge: &'static str) -> Self {
        let detail = "Send a token of this server (`postrider token add`) or the value of API_TOKEN as bearer token: \
                      Authorization: Bearer TOKEN. One that was revoked or has expired is good for nothing.";
        Self::new(&UNAUTHORIZED, detail, Extra::Challenge(challenge))
    }

    pub(crate) fn sender_not_allowed() -> Self {
        let detail = "Your token sends in the name of some domains only, and the sender, or one whom the message says that it is \
                      from, is at none of them. A message that comes whole has one From field.";
        Self::new(&SENDER_NOT_ALLOWED, detail, Extra::None)
    }

    /// A token that sends from some domains only would lift that limit.
    pub(crate) fn limited_token() -> Self {
        let detail = "Your token sends in the name of some domains only, and gives no other token more: name domains, and only \
                      those of yours, or ask an administrator without such a limit.";
        Self::new(&LIMITED_TOKEN, detail, Extra::None)
    }

    /// RFC 6750 section 3.1.
    pub(crate) fn insufficient_scope(scope: Scope) -> Self {
        let detail = format!("This takes a token with the scope {scope}, and yours has it not: ask an administrator.");
        Self::new(&INSUFFICIENT_SCOPE, detail, Extra::Scope(scope))
    }

    /// Who signs in would see nothing.
    pub(crate) fn token_without_pages() -> Self {
        let detail =
            "This token may send e-mails, and sees no page. Sign in with one that has the scope read or admin.";
        Self::new(&INSUFFICIENT_SCOPE, detail, Extra::Scope(Scope::Read))
    }

    pub(crate) fn too_many_requests(detail: impl Into<String>, retry_after_seconds: u16) -> Self {
        Self::new(&TOO_MANY_REQUESTS, detail, Extra::RetryAfterSeconds(retry_after_seconds))
    }

    pub(crate) fn forbidden_origin(detail: impl Into<String>) -> Self {
        Self::new(&FORBIDDEN_ORIGIN, detail, Extra::None)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(&NOT_FOUND, detail, Extra::None)
    }

    pub(crate) fn method_not_allowed(detail: impl Into<String>) -> Self {
        Self::new(&METHOD_NOT_ALLOWED, detail, Extra::None)
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(&CONFLICT, detail, Extra::None)
    }

    pub(crate) fn request_under_way() -> Self {
        let detail =
            "A request with this Idempotency-Key is being worked on. Send it again soon to hear what became of it.";
        Self::new(&REQUEST_UNDER_WAY, detail, Extra::RetryAfterSeconds(1))
    }

    pub(crate) fn idempotency_key_reused() -> Self {
        let detail = "Another request came with this Idempotency-Key within the last 24 hours. Give each request a key of its own.";
        Self::new(&IDEMPOTENCY_KEY_REUSED, detail, Extra::None)
    }

    pub(crate) fn message_refused(detail: impl Into<String>) -> Self {
        Self::new(&MESSAGE_REFUSED, detail, Extra::None)
    }

    pub(crate) fn recipients_refused(recipients: Vec<RecipientView>) -> Self {
        let detail = "Nothing was sent: every recipient was refused; \"recipients\" says why each was.";
        Self::new(&RECIPIENTS_REFUSED, detail, Extra::Recipients(recipients))
    }

    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self::new(&INTERNAL, detail, Extra::None)
    }

    pub(crate) fn unavailable(detail: impl Into<String>, retry_after_seconds: u16) -> Self {
        Self::new(&UNAVAILABLE, detail, Extra::RetryAfterSeconds(retry_after_seconds))
    }

    pub(crate) fn document(&self) -> Document<'_> {
        Document {
            r#type: format!("{TYPE_PREFIX}{}", self.kind.name),
            title: self.kind.title,
            status: self.kind.status.as_u16(),
            detail: &self.detail,
            parameter: match &self.extra {
                Extra::Parameter(name) => Some(name),
                _ => None,
            },
            scope: match self.extra {
                Extra::Scope(scope) => Some(scope),
                _ => None,
            },
            recipients: match &self.extra {
                Extra::Recipients(recipients) => Some(recipients),
                _ => None,
            },
        }
    }

    fn new(kind: &'static Kind, detail: impl Into<String>, extra: Extra) -> Self {
        Self { kind, detail: detail.into(), extra }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Exists(name) => return Self::conflict(format!("{name} exists already.")),
            StoreError::Overloaded => tracing::warn!(error = %error, "a request was refused"),
            StoreError::Full(_)
            | StoreError::Unavailable(_)
            | StoreError::Missing(_)
            | StoreError::OverQuota
            | StoreError::Limit(_)
            | StoreError::Corrupt(_) => {
                tracing::error!(error = %error, "a request failed");
            }
        }
        match error {
            StoreError::Overloaded => Self::unavailable("The store is overloaded. Try again soon.", 1),
            StoreError::Unavailable(_) => {
                Self::unavailable("The store does not answer. The server's log says why; try again later.", 5)
            }
            StoreError::Full(_) => {
                Self::unavailable("No space is left where the store writes. Make room, then try again.", 60)
            }
            StoreError::Exists(_)
            | StoreError::Missing(_)
            | StoreError::OverQuota
            | StoreError::Limit(_)
            | StoreError::Corrupt(_) => {
                Self::internal("The store could not read a record. The server's log says more.")
            }
        }
    }
}

/// The members of RFC 9457 section 3.1, and `parameter`, `scope` and `recipients` as extensions.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document<'a> {
    /// Says what is wrong, for programs; it never changes its meaning.
    r#type: String,
    pub(crate) title: &'a str,
    pub(crate) status: u16,
    /// What is wrong this time, and what to do.
    pub(crate) detail: &'a str,
    /// The parameter or member that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    /// The scope that the token lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<Scope>,
    /// Where no recipient is accepted: why each is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<RecipientView>>)]
    recipients: Option<&'a [RecipientView]>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.kind.status, axum::Json(self.document())).into_response();
        // For who shows people a page in its place.
        response.extensions_mut().insert(self.clone());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.extra {
            Extra::None | Extra::Parameter(_) | Extra::Recipients(_) => {}
            Extra::Challenge(scheme) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
            }
            Extra::Scope(scope) => {
                let challenge = match scope {
                    Scope::Read => r#"Bearer realm="Postrider", error="insufficient_scope", scope="read""#,
                    Scope::Send => r#"Bearer realm="Postrider", error="insufficient_scope", scope="send""#,
                    Scope::Admin => r#"Bearer realm="Postrider", error="insufficient_scope", scope="admin""#,
                };
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            Extra::RetryAfterSeconds(seconds) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
        }
        response
    }
}
