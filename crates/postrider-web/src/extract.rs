//! What handlers read from requests: the id in a path, the parameters of a query, a body in JSON.

use std::fmt::Display;
use std::str::FromStr;

use axum::Json;
use axum::body::HttpBody as _;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;
use postrider_core::{Address, Domain, ObjectId};
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::problem::Problem;
use crate::wording::plain;

/// A parameter's value is no longer.
const VALUE_BYTES_MAX: usize = 512;

/// The `{id}` of a path. What is no id is the id of nothing: 404.
#[derive(Debug, Clone, Copy, IntoParams)]
#[into_params(names("id"), parameter_in = Path)]
pub(crate) struct EmailId(pub(crate) ObjectId);

impl<S: Send + Sync> FromRequestParts<S> for EmailId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let not_an_id = |_| Problem::not_found("No e-mail has this id; an id is 24 hex digits.");
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::not_found("No e-mail has this id; an id is 24 hex digits."))?;
        text.parse().map(Self).map_err(not_an_id)
    }
}

/// The `{id}` of a path, of whatever. What is no id is the id of nothing: 404.
#[derive(Debug, Clone, Copy, IntoParams)]
#[into_params(names("id"), parameter_in = Path)]
pub(crate) struct Id(pub(crate) ObjectId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await.ok();
        let id = text.and_then(|Path(text)| text.parse().ok());
        id.map(Self).ok_or_else(|| Problem::not_found("Nothing has this id; an id is 24 hex digits."))
    }
}

/// A body in JSON.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match <Json<T> as FromRequest<S>>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(JsonRejection::MissingJsonContentType(_)) => Err(Problem::unsupported_media_type(
                "Send the body as JSON, with the field Content-Type: application/json.",
            )),
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Problem::body_too_large(format!("No body is longer than {} bytes.", crate::BODY_BYTES_MAX)))
            }
            Err(rejection) => {
                Err(Problem::bad_body(format!("The body cannot be read: {}.", plain(&rejection.body_text()))))
            }
        }
    }
}

/// None at all is none; what says that it is something is read.
impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        let is_none = !request.headers().contains_key(CONTENT_TYPE) && request.body().is_end_stream();
        if is_none { Ok(None) } else { <Self as FromRequest<S>>::from_request(request, state).await.map(Some) }
    }
}

/// The parameters of a query, in order.
pub(crate) fn pairs_of(uri: &Uri) -> Result<Vec<(String, String)>, Problem> {
    // What is no UTF-8 would be read as something else, and shown as that.
    if percent_decode_str(uri.query().unwrap_or_default()).decode_utf8().is_err() {
        return Err(Problem::bad_parameter("", "The query is not UTF-8: bytes that stand as %XX must be."));
    }
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|error| Problem::bad_parameter("", format!("The query cannot be read: {error}.")))?;
    let is_text = |text: &str| !text.chars().any(|char| char.is_control() && !char.is_whitespace());
    match pairs.iter().find(|(name, value)| !is_text(name) || !is_text(value)) {
        None => Ok(pairs),
        Some((name, _)) => {
            let name = if is_text(name) { name.as_str() } else { "" };
            Err(Problem::bad_parameter(name, "A parameter holds a control character, such as NUL (%00): leave it out."))
        }
    }
}

/// The parameters of a query, taken out one by one; what is left over at the end is an error.
#[derive(Debug)]
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
}

impl Parameters {
    /// Reads the query. A parameter with an empty value counts as not given, as forms send it.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Problem> {
        let pairs = pairs_of(uri)?;
        for (i, (name, value)) in pairs.iter().enumerate() {
            if value.len() > VALUE_BYTES_MAX {
                return Err(Problem::bad_parameter(name, format!("{name} is longer than {VALUE_BYTES_MAX} bytes.")));
            }
            if pairs.iter().take(i).any(|(other, _)| other == name) {
                return Err(Problem::bad_parameter(name, format!("{name} is given twice.")));
            }
        }
        Ok(Self { pairs })
    }

    /// Those of these names that are given and restrict something.
    pub(crate) fn given(&self, names: &[&str]) -> impl Iterator<Item = (&str, &str)> {
        let given = self.pairs.iter().filter(|(name, value)| names.contains(&name.as_str()) && !value.is_empty());
        given.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let at = self.pairs.iter().position(|(other, _)| other == name)?;
        let (_, value) = self.pairs.swap_remove(at);
        (!value.is_empty()).then_some(value)
    }

    pub(crate) fn parsed<T>(&mut self, name: &str) -> Result<Option<T>, Problem>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.read(name, |value| value.parse().map_err(|error: T::Err| error.to_string()))
    }

    /// Reads a value with `parse`, whose error completes the sentence "`name` is wrong: ...".
    pub(crate) fn read<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.text(name) else { return Ok(None) };
        let wrong = |error: String| Problem::bad_parameter(name, format!("{name} is wrong: {error}."));
        parse(&value).map(Some).map_err(wrong)
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(self, known: &[&str]) -> Result<(), Problem> {
        match self.pairs.first() {
            None => Ok(()),
            Some((name, _)) => {
                let detail = format!("There is no parameter {name:?}; there are {}.", known.join(", "));
                Err(Problem::bad_parameter(name, detail))
            }
        }
    }
}

/// The `{address}` of a path. What is no address is the address of nobody: 404.
#[derive(Debug, Clone, IntoParams)]
#[into_params(names("address"), parameter_in = Path)]
pub(crate) struct AddressInPath(#[param(value_type = String)] pub(crate) Address);

impl<S: Send + Sync> FromRequestParts<S> for AddressInPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await.ok();
        let address = text.and_then(|Path(text)| Address::parse(&text).ok());
        address.map(Self).ok_or_else(|| Problem::not_found("Nobody has this address; an address is local-part@domain."))
    }
}

/// The `{domain}` of a path. What is no domain is the name of nothing: 404.
#[derive(Debug, Clone, IntoParams)]
#[into_params(names("domain"), parameter_in = Path)]
pub(crate) struct DomainInPath(#[param(value_type = String)] pub(crate) Domain);

impl<S: Send + Sync> FromRequestParts<S> for DomainInPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await.ok();
        let domain = text.and_then(|Path(text)| Domain::parse(&text).ok());
        domain
            .map(Self)
            .ok_or_else(|| Problem::not_found("There is no such domain here: the name is none of a domain."))
    }
}

/// Reads a member of a body.
pub(crate) fn parsed<T>(name: &str, text: &str) -> Result<T, Problem>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error: T::Err| Problem::bad_parameter(name, format!("{name} is wrong: {error}.")))
}
