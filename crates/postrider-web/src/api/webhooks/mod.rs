//! `/api/webhooks`: who is called when something happens to mail.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod list;
pub(super) mod rotate;
pub(super) mod show;
pub(super) mod test;
pub(super) mod update;
pub(super) mod url_secret;

use axum::http::Uri;
use postrider_core::instructions::{TAG_BYTES_MAX, TAGS_MAX};
use postrider_core::{Domain, ObjectId};
use postrider_store::webhooks::{Endpoint, EndpointError, EndpointSettings};
use postrider_store::{EventKind, Store};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::AppState;
use crate::problem::Problem;

const URL_BYTES_MAX: usize = 2_000;
const DESCRIPTION_BYTES_MAX: usize = 500;
/// Domains, and tags, of one endpoint.
const FILTERS_MAX: usize = 100;

/// What of an endpoint is said in a request; what is not said stays as it is.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[schema(as = EndpointRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Said {
    url: Option<String>,
    description: Option<String>,
    types: Option<Vec<String>>,
    domains: Option<Vec<String>>,
    tags: Option<Vec<String>>,
    paused: Option<bool>,
    secret: Option<String>,
}

impl Said {
    /// Changes settings as it says.
    fn apply(self, settings: &mut EndpointSettings) -> Result<(), Problem> {
        let Self { url, description, types, domains, tags, paused, secret: _ } = self;
        if let Some(url) = url {
            settings.url = checked_url(url)?;
        }
        if let Some(description) = description {
            if description.len() > DESCRIPTION_BYTES_MAX {
                return Err(wrong("description", format!("it is longer than {DESCRIPTION_BYTES_MAX} bytes")));
            }
            settings.description = description;
        }
        if let Some(types) = types {
            settings.kinds = parsed::<EventKind>("types", &types)?;
        }
        if let Some(domains) = domains {
            settings.domains = parsed::<Domain>("domains", &domains)?;
        }
        if let Some(tags) = tags {
            if tags.len() > FILTERS_MAX.min(TAGS_MAX * 5)
                || tags.iter().any(|tag| tag.is_empty() || tag.len() > TAG_BYTES_MAX)
            {
                return Err(wrong("tags", format!("there are up to {FILTERS_MAX}, of up to {TAG_BYTES_MAX} bytes")));
            }
            settings.tags = tags;
        }
        if let Some(paused) = paused {
            settings.is_paused = paused;
        }
        Ok(())
    }
}

fn parsed<T: std::str::FromStr>(name: &str, texts: &[String]) -> Result<Vec<T>, Problem>
where
    T::Err: std::fmt::Display,
{
    if texts.len() > FILTERS_MAX {
        return Err(wrong(name, format!("there are more than {FILTERS_MAX}")));
    }
    texts.iter().map(|text| text.parse().map_err(|error: T::Err| wrong(name, error.to_string()))).collect()
}

fn checked_url(text: String) -> Result<String, Problem> {
    let uri: Option<Uri> = text.parse().ok();
    // RFC 9110 section 4.2.4. It would not be sent, and everybody who may see the endpoint would see it.
    if uri.as_ref().and_then(|uri| uri.authority()).is_some_and(|authority| authority.as_str().contains('@')) {
        let why = "it holds a user name or password, which are not sent; verify the signature instead, or put a secret into the path";
        return Err(wrong("url", why.to_owned()));
    }
    let is_http = uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    if is_http && text.len() <= URL_BYTES_MAX {
        return Ok(text);
    }
    Err(wrong("url", format!("it is an http:// or https:// URL of up to {URL_BYTES_MAX} bytes")))
}

fn wrong(name: &str, why: String) -> Problem {
    Problem::bad_parameter(name, format!("{name} is wrong: {why}."))
}

async fn find(store: &dyn Store, id: ObjectId) -> Result<Endpoint, Problem> {
    Endpoint::find(store, id).await?.ok_or_else(|| no_such_endpoint(id))
}

/// Keeps an endpoint, and lets the server know.
async fn save(state: &AppState, endpoint: &mut Endpoint) -> Result<(), Problem> {
    endpoint.save(state.store.as_ref(), state.clock.now()).await?;
    state.control.refresh_webhooks().await;
    Ok(())
}

/// What the audit log has of an endpoint. Where a URL leads to on its host may be a secret.
fn recorded(endpoint: &Endpoint) -> Value {
    let EndpointSettings { url, description, kinds, domains, tags, is_paused } = &endpoint.settings;
    json!({
        "host": host(url),
        "description": description, "types": kinds, "domains": domains, "tags": tags, "paused": is_paused,
    })
}

/// Scheme, host and port of a URL.
fn host(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let (scheme, host) = (uri.scheme_str()?, uri.host()?);
    Some(match uri.port_u16() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

fn no_such_endpoint(id: ObjectId) -> Problem {
    Problem::not_found(format!("There is no webhook endpoint {id}."))
}

impl From<EndpointError> for Problem {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::Store(error) => error.into(),
            EndpointError::TooMany | EndpointError::Changed => Self::conflict(format!("{error}.")),
        }
    }
}
