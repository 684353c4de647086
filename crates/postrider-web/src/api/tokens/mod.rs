//! `/api/tokens`: who may ask, and for what.

pub(super) mod create;
pub(super) mod list;
pub(super) mod revoke;
pub(super) mod show;
pub(super) mod update;

use postrider_core::{Domain, ObjectId, Timestamp};
use postrider_store::tokens::{Scope, TokenError, TokenSettings};
use serde::{Deserialize, Deserializer};

use crate::auth::Caller;
use crate::problem::Problem;

/// What of a token is said in a request; what is not said stays as it is.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = TokenRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Said {
    /// For people; at most 100 bytes.
    name: Option<String>,
    /// What it is good for; `admin` is good for everything.
    #[schema(min_items = 1)]
    scopes: Option<Vec<Scope>>,
    /// It sends only from addresses at these domains; empty: from any.
    #[schema(max_items = 100)]
    domains: Option<Vec<String>>,
    /// From when on it is good for nothing; `null`: never.
    #[schema(value_type = Option<Timestamp>)]
    #[serde(default, deserialize_with = "given")]
    expires_at: Option<Option<Timestamp>>,
    /// Requests a minute on each node; `null`: as `API_RATE_LIMIT_PER_MINUTE` says.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 10000000)]
    #[serde(default, deserialize_with = "given")]
    requests_per_minute: Option<Option<u32>>,
}

impl Said {
    /// Changes settings as it says.
    fn apply(self, settings: &mut TokenSettings) -> Result<(), Problem> {
        let Self { name, scopes, domains, expires_at, requests_per_minute } = self;
        if let Some(name) = name {
            settings.name = name;
        }
        if let Some(scopes) = scopes {
            settings.scopes = scopes;
        }
        if let Some(domains) = domains {
            let domain = |text: &String| {
                Domain::parse(text)
                    .map_err(|error| Problem::bad_parameter("domains", format!("domains is wrong: {text:?}: {error}.")))
            };
            settings.domains = domains.iter().map(domain).collect::<Result<_, _>>()?;
        }
        if let Some(expires_at) = expires_at {
            settings.expires_at = expires_at;
        }
        if let Some(rate) = requests_per_minute {
            settings.requests_per_minute = rate;
        }
        Ok(())
    }
}

/// Refuses what would lift a limit of who asks: a token that sends from some domains only makes none, itself included, that
/// sends from others. `before`: the token as it was.
fn check_limit(
    Caller(principal): &Caller,
    before: Option<&TokenSettings>,
    after: &TokenSettings,
) -> Result<(), Problem> {
    let own = principal.sender_domains();
    let is_within = !after.domains.is_empty() && after.domains.iter().all(|domain| own.contains(domain));
    let is_as_before =
        before.is_some_and(|before| (&before.scopes, &before.domains) == (&after.scopes, &after.domains));
    if own.is_empty() || !after.has(Scope::Send) || is_within || is_as_before {
        return Ok(());
    }
    Err(Problem::limited_token())
}

/// What is there, also where it is `null`.
pub(in crate::api) fn given<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

fn no_such_token(id: ObjectId) -> Problem {
    Problem::not_found(format!("There is no token {id}."))
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let parameter = match error {
            TokenError::Store(error) => return error.into(),
            TokenError::TooMany | TokenError::Changed => return Self::conflict(format!("{error}.")),
            TokenError::BadName => "name",
            TokenError::NoScope => "scopes",
            TokenError::TooManyDomains => "domains",
            TokenError::ExpiresInThePast => "expiresAt",
            TokenError::BadRate => "requestsPerMinute",
        };
        Self::bad_parameter(parameter, format!("{parameter} is wrong: {error}."))
    }
}
