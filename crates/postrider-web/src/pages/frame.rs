//! What stands around every page: where one is and can go, who one is, and the fields of HTTP that all pages have.

use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use postrider_core::Timestamp;
use postrider_store::tokens::Scope;

use super::assets::Asset;
use crate::AppState;
use crate::auth::{Actor, Caller, Principal};
use crate::extract::pairs_of;
use crate::problem::Problem;

/// Pages load, run and ask nothing but what this server has, send forms nowhere else, and are shown in no frame.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
     frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page that one can go to.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: &'static str,
    pub(super) title: &'static str,
    /// Who does not have it does not see the way there.
    scope: Scope,
}

/// All pages that one goes to, in the order of the way there.
pub(super) const PLACES: &[Place] = &[
    Place { path: "/", title: "Overview", scope: Scope::Read },
    Place { path: "/queue", title: "Queue", scope: Scope::Read },
    Place { path: "/emails", title: "E-mails", scope: Scope::Read },
    Place { path: "/source-ips", title: "Source IPs", scope: Scope::Read },
    Place { path: "/webhooks", title: "Webhooks", scope: Scope::Admin },
    Place { path: "/domains", title: "Domains", scope: Scope::Read },
    Place { path: "/users", title: "Users", scope: Scope::Read },
    Place { path: "/suppressions", title: "Suppressions", scope: Scope::Read },
    Place { path: "/tokens", title: "Tokens", scope: Scope::Admin },
    Place { path: "/simulator", title: "Simulator", scope: Scope::Read },
    Place { path: "/settings", title: "Settings", scope: Scope::Admin },
    Place { path: "/audit", title: "Audit", scope: Scope::Admin },
    Place { path: "/log", title: "Log", scope: Scope::Admin },
];

/// A request for a page.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) principal: Arc<Principal>,
    pub(super) now: Timestamp,
    version: &'static str,
}

impl FromRequestParts<AppState> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let Caller(principal) = Caller::from_request_parts(parts, state).await?;
        // Pages say what is wrong with a parameter beside it, and there show it: what is no text is not shown.
        pairs_of(&parts.uri)?;
        Ok(Self { principal, now: state.clock.now(), version: state.version })
    }
}

impl Visit {
    /// The frame of a page of this title; `path`: that of its place.
    pub(super) fn frame(&self, title: impl Into<String>, path: &'static str) -> Frame {
        let who = match &self.principal.actor {
            Actor::Local => None,
            Actor::Administrator => Some("API_TOKEN".to_owned()),
            Actor::Token(token) => Some(token.settings.name.clone()),
        };
        Frame {
            title: title.into(),
            path,
            places: PLACES.iter().filter(|place| self.may(place.scope)).collect(),
            who,
            csrf_token: self.principal.session.as_ref().map(|session| session.csrf_token()),
            may_change: self.may(Scope::Admin),
            version: self.version,
        }
    }

    pub(super) fn may(&self, scope: Scope) -> bool {
        self.principal.has(scope)
    }
}

/// What the layout shows around a page.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) title: String,
    path: &'static str,
    pub(super) places: Vec<&'static Place>,
    /// Who looks; `None` where no token is asked for, and whoever is on this machine may.
    pub(super) who: Option<String>,
    pub(super) csrf_token: Option<String>,
    /// Whether who looks may give orders: others are shown no buttons that would be refused.
    pub(super) may_change: bool,
    pub(super) version: &'static str,
}

impl Frame {
    pub(super) fn is_here(&self, place: &Place) -> bool {
        place.path == self.path
    }

    /// Whether who looks may go there.
    pub(super) fn has(&self, path: &str) -> bool {
        self.places.iter().any(|place| place.path == path)
    }

    pub(super) fn asset(&self, name: &'static str) -> Asset {
        Asset(name)
    }
}

/// A page as an answer.
#[derive(Debug)]
pub(super) struct Page<T>(pub(super) T);

impl<T: Template> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            Ok(html) => {
                let policy = HeaderValue::from_static(PAGE_POLICY);
                ([(header::CONTENT_SECURITY_POLICY, policy)], Html(html)).into_response()
            }
            Err(error) => {
                tracing::error!(%error, "a page could not be written");
                Problem::internal("The page could not be written. The server's log says more.").into_response()
            }
        }
    }
}
