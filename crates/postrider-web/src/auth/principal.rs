//! Who asks, and what that one may do.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use postrider_core::Domain;
use postrider_store::tokens::{Scope, Token};

use super::rate::counted;
use super::session::SessionSecret;
use crate::problem::Problem;
use crate::streams::Follower;

/// Who asks, as the guard found out.
#[derive(Debug)]
pub(crate) struct Principal {
    pub(crate) actor: Actor,
    /// Whom the connection is from; `None` where that is not known.
    pub(crate) peer: Option<IpAddr>,
    /// Of a person who signed in.
    pub(crate) session: Option<SessionSecret>,
}

/// As whom somebody asks.
#[derive(Debug, Clone)]
pub(crate) enum Actor {
    /// Somebody on this machine, where no token is asked for.
    Local,
    /// Who has `API_TOKEN`.
    Administrator,
    Token(Arc<Token>),
}

impl Principal {
    pub(crate) fn has(&self, scope: Scope) -> bool {
        match &self.actor {
            Actor::Local | Actor::Administrator => true,
            Actor::Token(token) => token.settings.has(scope),
        }
    }

    /// In whose name mail may be sent: the domains of addresses in the envelope and in the message. Empty: in anybody's.
    pub(crate) fn sender_domains(&self) -> &[Domain] {
        match &self.actor {
            Actor::Local | Actor::Administrator => &[],
            Actor::Token(token) => &token.settings.domains,
        }
    }

    /// Whose share of the streams it takes.
    pub(crate) fn follower(&self) -> Follower {
        match &self.actor {
            Actor::Local | Actor::Administrator => Follower::Address(self.peer.map(counted)),
            Actor::Token(token) => Follower::Token(token.id),
        }
    }

    /// Tells whose a thing is that requests name, whatever the token is called. Who needs no token is the one who has `API_TOKEN` once
    /// that is set: what is sent again then is known.
    pub(crate) fn owner(&self) -> String {
        match &self.actor {
            Actor::Local | Actor::Administrator => "administrator".to_owned(),
            Actor::Token(token) => token.id.to_string(),
        }
    }
}

/// For logs and records: `local`, `API_TOKEN`, or the token's id and name.
impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Administrator => f.write_str("API_TOKEN"),
            Self::Token(token) => write!(f, "token {} ({})", token.id, token.settings.name),
        }
    }
}

/// Who asks, for handlers.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Arc<Principal>);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Whom the guard does not know it does not let through; should it ever, nothing is done for nobody.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::unauthorized(super::BEARER_CHALLENGE))
    }
}

/// Lets through who has a scope. To be laid around routes: `from_fn_with_state(Scope::Read, require)`.
pub(crate) async fn require(State(scope): State<Scope>, request: Request, next: Next) -> Result<Response, Problem> {
    match request.extensions().get::<Caller>() {
        Some(Caller(principal)) if principal.has(scope) => Ok(next.run(request).await),
        Some(Caller(principal)) => {
            let Principal { actor, peer, .. } = principal.as_ref();
            tracing::info!(%actor, ?peer, %scope, "a token was used for what it is not for");
            Err(Problem::insufficient_scope(scope))
        }
        None => Err(Problem::unauthorized(super::BEARER_CHALLENGE)),
    }
}
