//! Who may ask: with which token for what, how often, and, where no token is asked for, only browsers and programs of this machine.
//!
//! A listener without `API_TOKEN` is open to whoever reaches loopback, and a web page in a browser on this machine reaches
//! it too. Two checks keep strange pages out. The Host field must name loopback, so that a page whose name was rebound to
//! 127.0.0.1 reads nothing. And a changing request must not come from a page of another origin.
//!
//! The guard finds out who asks. What that one may do is decided where the routes are: each says which scope it takes.

mod credentials;
mod known;
mod origin;
mod principal;
mod rate;
pub(crate) mod session;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use postrider_core::Clock;
use postrider_store::Store;
use postrider_store::tokens::Scope;

use self::credentials::{Credentials, SecretDigest};
use self::known::KnownTokens;
pub(crate) use self::principal::{Actor, Caller, Principal, require};
use self::rate::{Counts, Exhausted, Quota, Report, counted};
use self::session::{Began, CSRF_HEADER, SessionSecret, Sessions};
use crate::AppState;
use crate::api::openapi;
use crate::audit::Journal;
use crate::pages::{SIGN_IN_PATH, SIGN_OUT_PATH, STATIC_PREFIX};
use crate::problem::Problem;

const HEALTH_PATH: &str = "/health";
const BEARER_CHALLENGE: &str = r#"Bearer realm="Postrider""#;
/// RFC 6750 section 3.1: what was sent opens nothing.
const INVALID_TOKEN_CHALLENGE: &str = r#"Bearer realm="Postrider", error="invalid_token""#;

/// What an address may guess at `API_TOKEN`, which people may have chosen, in a minute. Other tokens are beyond guessing.
const WRONG_TOKENS_PER_MINUTE: Quota = Quota(10);

/// How many requests a minute are answered, on each node; `None`: any number.
#[derive(Debug, Clone, Copy, Default)]
pub struct RateLimits {
    /// To each token that has no limit of its own. `API_TOKEN` has none.
    pub token_requests_per_minute: Option<u32>,
    /// To each address, but for those of this machine.
    pub address_requests_per_minute: Option<u32>,
}

/// Decides about requests.
pub(crate) struct Guard {
    clock: Arc<dyn Clock>,
    /// `API_TOKEN`.
    secret: Option<SecretDigest>,
    tokens: KnownTokens,
    sessions: Sessions,
    limits: RateLimits,
    token_counts: Counts<postrider_store::tokens::TokenId>,
    address_counts: Counts<IpAddr>,
    wrong_counts: Counts<IpAddr>,
}

/// Of a request, what the guard looks at.
struct Asked<'a> {
    method: &'a Method,
    path: &'a str,
    headers: &'a HeaderMap,
    peer: Option<IpAddr>,
}

impl Asked<'_> {
    /// Whether people see it who are not known yet: there they sign in.
    fn is_open_page(&self) -> bool {
        self.path == SIGN_IN_PATH || self.path.starts_with(STATIC_PREFIX)
    }
}

impl Guard {
    pub(crate) fn new(
        api_token: Option<&str>,
        limits: RateLimits,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            secret: api_token.map(SecretDigest::new),
            tokens: KnownTokens::new(store.clone(), clock.clone()),
            sessions: Sessions::new(store, api_token),
            clock,
            limits,
            token_counts: Counts::new(),
            address_counts: Counts::new(),
            wrong_counts: Counts::new(),
        }
    }

    /// Tokens were changed here: what they open now counts from the next request on.
    pub(crate) fn forget_tokens(&self) {
        self.tokens.forget();
    }

    /// Whether who was let in to something that goes on may stay.
    pub(crate) async fn still_admits(&self, principal: &Principal, scope: Scope) -> bool {
        if let Some(secret) = &principal.session
            && matches!(self.sessions.find(secret, self.clock.now()).await, Ok(None))
        {
            return false;
        }
        match &principal.actor {
            Actor::Local | Actor::Administrator => true,
            Actor::Token(token) => self.tokens.stands(token, scope).await,
        }
    }

    /// Whether one must sign in to see more than where one signs in.
    pub(crate) fn asks_for_tokens(&self) -> bool {
        self.secret.is_some()
    }

    /// Begins a session for who has this token. `None` where no token is asked for.
    pub(crate) async fn sign_in(&self, token: &str, peer: Option<IpAddr>) -> Result<Option<SessionSecret>, Problem> {
        let with = match self.find(Credentials::parse(token.trim()), peer).await? {
            Actor::Local => return Ok(None),
            Actor::Administrator => Began::ApiToken,
            Actor::Token(token) if !token.settings.has(Scope::Read) => return Err(Problem::token_without_pages()),
            Actor::Token(token) => Began::Token(token.id),
        };
        Ok(Some(self.sessions.begin(with, self.clock.now()).await?))
    }

    pub(crate) async fn sign_out(&self, session: &SessionSecret) -> Result<(), Problem> {
        Ok(self.sessions.end(session).await?)
    }

    /// Who asks, if that one may ask at all. `None` only where nobody needs to be known.
    async fn admit(&self, asked: &Asked<'_>, report: &mut Report) -> Result<Option<Principal>, Problem> {
        if !asked.method.is_safe() && !origin::is_same_origin(asked.headers) {
            return Err(Problem::forbidden_origin(
                "A page of another origin may not change anything here. Send the request from a program, or without \
                 the Origin field.",
            ));
        }
        // Load balancers ask without credentials; the handler shows details only to those who may see everything.
        if asked.path == HEALTH_PATH {
            return Ok(self.identify(asked).await.ok());
        }
        // What the API can do is no secret, and a page that is to ask for a token must be seen without one.
        if openapi::is_documentation(asked.path) {
            return Ok(None);
        }
        self.count_address(asked.peer, report)?;
        if asked.is_open_page() {
            self.check_host(asked)?;
            return Ok(None);
        }
        let principal = self.identify(asked).await?;
        self.count_token(&principal.actor, report)?;
        Ok(Some(principal))
    }

    fn check_host(&self, asked: &Asked<'_>) -> Result<(), Problem> {
        if self.secret.is_some() || origin::host_is_local(asked.headers) {
            return Ok(());
        }
        Err(Problem::forbidden_origin(
            "Without API_TOKEN only names of this machine are answered: use http://localhost or http://127.0.0.1, \
             or set API_TOKEN.",
        ))
    }

    async fn identify(&self, asked: &Asked<'_>) -> Result<Principal, Problem> {
        self.check_host(asked)?;
        let credentials = Credentials::of(asked.headers);
        if matches!(credentials, Credentials::None)
            && self.secret.is_some()
            && let Some(secret) = SessionSecret::of(asked.headers)
        {
            let actor = self.resume(&secret, asked).await?;
            return Ok(Principal { actor, peer: asked.peer, session: Some(secret) });
        }
        Ok(Principal { actor: self.find(credentials, asked.peer).await?, peer: asked.peer, session: None })
    }

    /// Who signed in. A cookie comes by itself, so what changes something must also tell what only pages of the session know.
    async fn resume(&self, secret: &SessionSecret, asked: &Asked<'_>) -> Result<Actor, Problem> {
        let actor = match self.sessions.find(secret, self.clock.now()).await? {
            None => None,
            Some(Began::ApiToken) => Some(Actor::Administrator),
            Some(Began::Token(id)) => self.tokens.still(id).await?.map(Actor::Token),
        };
        let actor = actor.ok_or_else(|| Problem::unauthorized(BEARER_CHALLENGE))?;
        let told = asked.headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
        // The form that signs out has it among its fields, so that it works without scripts.
        let is_told = told.is_some_and(|told| secret.is_csrf_token(told)) || asked.path == SIGN_OUT_PATH;
        if asked.method.is_safe() || is_told {
            return Ok(actor);
        }
        Err(Problem::forbidden_origin("The page is of another session than you are in now. Load it again."))
    }

    async fn find(&self, credentials: Credentials, peer: Option<IpAddr>) -> Result<Actor, Problem> {
        match (credentials, &self.secret) {
            (Credentials::Token { presented, text }, secret) => match self.tokens.find(&presented).await? {
                Some(token) => Ok(Actor::Token(token)),
                None if secret.as_ref().is_some_and(|secret| secret.matches(&text)) => Ok(Actor::Administrator),
                None => Err(Problem::unauthorized(INVALID_TOKEN_CHALLENGE)),
            },
            (_, None) => Ok(Actor::Local),
            (Credentials::Other(text), Some(secret)) => self.compare(secret, &text, peer),
            (Credentials::None, Some(_)) => Err(Problem::unauthorized(BEARER_CHALLENGE)),
        }
    }

    /// Compares with `API_TOKEN`. Where an address has tried too many wrong ones nothing is compared: else the answers would tell.
    fn compare(&self, secret: &SecretDigest, text: &str, peer: Option<IpAddr>) -> Result<Actor, Problem> {
        let now = self.clock.now();
        let counted = peer.map(counted);
        if let Some(Err(exhausted)) = counted.map(|peer| self.wrong_counts.check(peer, WRONG_TOKENS_PER_MINUTE, now)) {
            let detail = "Too many wrong tokens came from this address. Try again later; tokens of `postrider token add` \
                          are answered meanwhile.";
            return Err(Problem::too_many_requests(detail, exhausted.retry_after_seconds));
        }
        if secret.matches(text) {
            return Ok(Actor::Administrator);
        }
        if let Some(peer) = counted
            && self.wrong_counts.take(peer, WRONG_TOKENS_PER_MINUTE, now).is_ok_and(|left| left.remaining == 0)
        {
            tracing::warn!(%peer, "too many wrong API tokens: those that are tried next are not looked at");
        }
        Err(Problem::unauthorized(INVALID_TOKEN_CHALLENGE))
    }

    fn count_address(&self, peer: Option<IpAddr>, report: &mut Report) -> Result<(), Problem> {
        let (Some(peer), Some(quota)) = (peer, self.limits.address_requests_per_minute) else { return Ok(()) };
        if peer.to_canonical().is_loopback() {
            return Ok(());
        }
        let taken = self.address_counts.take(counted(peer), Quota(quota), self.clock.now());
        note(taken, "address", "this address", report)
    }

    fn count_token(&self, actor: &Actor, report: &mut Report) -> Result<(), Problem> {
        let Actor::Token(token) = actor else { return Ok(()) };
        let Some(quota) = token.settings.requests_per_minute.or(self.limits.token_requests_per_minute) else {
            return Ok(());
        };
        note(self.token_counts.take(token.id, Quota(quota), self.clock.now()), "token", "this token", report)
    }
}

/// Puts into the report what is left, or that nothing is.
fn note(
    taken: Result<rate::Left, Exhausted>,
    name: &'static str,
    whose: &str,
    report: &mut Report,
) -> Result<(), Problem> {
    match taken {
        Ok(left) => {
            report.add(name, left);
            Ok(())
        }
        Err(Exhausted { left, retry_after_seconds }) => {
            report.add(name, left);
            let detail = format!(
                "{} requests a minute are answered for {whose}. Wait {retry_after_seconds} s, or ask for more at once: \
                 lists in larger pages, orders for many e-mails, e-mails in batches.",
                left.quota.0
            );
            Err(Problem::too_many_requests(detail, retry_after_seconds))
        }
    }
}

/// Lets through whom [`Guard`] admits, and tells handlers who that is ([`Caller`]).
pub(crate) async fn guard(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let asked = Asked { method: request.method(), path: request.uri().path(), headers: request.headers(), peer };
    let mut report = Report::default();
    let mut response = match state.guard.admit(&asked, &mut report).await {
        Ok(principal) => {
            if !request.method().is_safe() {
                let journal = Journal { store: state.store.clone(), clock: state.clock.clone() };
                request.extensions_mut().insert(journal);
            }
            if let Some(principal) = principal {
                request.extensions_mut().insert(Caller(Arc::new(principal)));
            }
            let is_change = !request.method().is_safe();
            let response = next.run(request).await;
            if is_change && response.status().is_success() {
                state.summaries.stir();
            }
            response
        }
        Err(problem) => problem.into_response(),
    };
    report.write(response.headers_mut());
    response
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("has_token", &self.secret.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
