//! The audit log: whatever an administrator asks for that is more than reading is noted before it is done, and how it ended before
//! that is answered. Nothing is done that could not be noted.
//!
//! What was changed the handlers say, for only they know what of it is no secret.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use postrider_core::Clock;
use postrider_store::{AuditActor, AuditConclusion, AuditEntry, AuditId, AuditOutcome, Store};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::auth::{Actor, Caller};
use crate::problem::Problem;

/// Where entries are written.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What a handler knows of the change that it makes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Audit(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    target: Option<String>,
    details: Map<String, Value>,
}

impl Audit {
    /// What is changed, where the path does not say it.
    pub(crate) fn target(&self, target: impl Display) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).target = Some(target.to_string());
    }

    /// What it was. No secrets.
    pub(crate) fn before(&self, what: &impl Serialize) {
        self.note("before", what);
    }

    /// What it is now. No secrets.
    pub(crate) fn after(&self, what: &impl Serialize) {
        self.note("after", what);
    }

    /// Something else about the change. No secrets.
    pub(crate) fn note(&self, name: &str, what: &impl Serialize) {
        if let Ok(value) = serde_json::to_value(what) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).details.insert(name.to_owned(), value);
        }
    }

    fn conclusion(&self, outcome: AuditOutcome) -> AuditConclusion {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let details = (!known.details.is_empty()).then(|| Value::from(known.details.clone()).to_string());
        AuditConclusion::new(outcome, known.target.as_deref(), details)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Audit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Every route that changes something is recorded (`scope.rs`); elsewhere nobody reads what is noted.
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// Records what is done at a route, under the name of an action.
pub(crate) async fn record(State(action): State<Arc<str>>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let target = match RawPathParams::from_request_parts(&mut parts, &()).await {
        Ok(parameters) => parameters.iter().map(|(_, value)| value).collect::<Vec<_>>().join(" "),
        Err(_) => String::new(),
    };
    let (Some(journal), Some(Caller(principal))) =
        (parts.extensions.get::<Journal>().cloned(), parts.extensions.get::<Caller>())
    else {
        tracing::error!(%action, "a request could not be recorded: nobody says who asks");
        return Problem::internal("It could not be recorded, and was not done.").into_response();
    };
    let entry = AuditEntry::begun(actor(&principal.actor), principal.peer, &action, &target, journal.clock.now());
    let id = entry.id;
    if let Err(error) = journal.store.audit(vec![entry]).await {
        return Problem::from(error).into_response();
    }
    let audit = Audit::default();
    parts.extensions.insert(audit.clone());
    let open = Open { journal, id, audit, is_concluded: false };
    let response = next.run(Request::from_parts(parts, body)).await;
    open.conclude(outcome(&response)).await;
    response
}

/// An entry whose change is under way.
struct Open {
    journal: Journal,
    id: AuditId,
    audit: Audit,
    is_concluded: bool,
}

impl Open {
    async fn conclude(mut self, outcome: AuditOutcome) {
        let concluded = self.journal.store.conclude_audit(self.id, self.audit.conclusion(outcome)).await;
        self.is_concluded = true;
        if let Err(error) = concluded {
            // The entry is there, without an end: it tells that somebody looked.
            tracing::warn!(%error, audit.entry = %self.id, %outcome, "the end of a change could not be recorded");
        }
    }
}

/// Whoever asked is gone, or it took too long: what was begun is given up where it stands.
impl Drop for Open {
    fn drop(&mut self) {
        if self.is_concluded {
            return;
        }
        let (store, id, conclusion) =
            (self.journal.store.clone(), self.id, self.audit.conclusion(AuditOutcome::Failed));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { store.conclude_audit(id, conclusion).await });
        }
    }
}

fn outcome(response: &Response) -> AuditOutcome {
    match response.status().as_u16() {
        ..400 => AuditOutcome::Done,
        400..500 => AuditOutcome::Refused,
        500.. => AuditOutcome::Failed,
    }
}

fn actor(actor: &Actor) -> AuditActor {
    match actor {
        Actor::Token(token) => AuditActor { name: token.settings.name.clone(), token: Some(token.id) },
        Actor::Local | Actor::Administrator => AuditActor { name: actor.to_string(), token: None },
    }
}

/// `user.add` of `addUser`: the noun and the verb of an operation.
pub(crate) fn action_of(operation: &str) -> String {
    let verb = operation.find(|c: char| c.is_ascii_uppercase()).unwrap_or(operation.len());
    let (verb, noun) = operation.split_at(verb);
    let mut action = String::new();
    for c in noun.chars() {
        if c.is_ascii_uppercase() && !action.is_empty() {
            action.push('-');
        }
        action.push(c.to_ascii_lowercase());
    }
    action.push('.');
    action.push_str(verb);
    action
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::time::Duration;

    use axum::body::Body;
    use axum::routing::delete;
    use axum::{Router, middleware};
    use postrider_core::Timestamp;
    use postrider_store::{AuditFilter, AuditLog as _, SqliteOptions, SqliteStore};
    use tokio::sync::Notify;
    use tower::ServiceExt as _;

    use super::*;
    use crate::auth::Principal;

    #[test]
    fn operations_become_actions() {
        assert_eq!(action_of("addUser"), "user.add");
        assert_eq!(action_of("rotateDkimKeys"), "dkim-keys.rotate");
    }

    #[test]
    fn what_handlers_say_is_concluded() {
        let audit = Audit::default();
        assert_eq!(audit.conclusion(AuditOutcome::Refused), AuditConclusion::new(AuditOutcome::Refused, None, None));
        audit.clone().target("ann@example.org");
        audit.before(&1);
        audit.after(&[2]);
        let details = Some(r#"{"after":[2],"before":1}"#.to_owned());
        let expected = AuditConclusion::new(AuditOutcome::Done, Some("ann@example.org"), details);
        assert_eq!(audit.conclusion(AuditOutcome::Done), expected);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_said_to_have_failed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(SqliteOptions::new(folder.path())).unwrap());
        let reached = Arc::new(Notify::new());
        let handler = {
            let reached = reached.clone();
            async move |audit: Audit| {
                audit.before(&1);
                reached.notify_one();
                std::future::pending::<()>().await
            }
        };
        let layer = middleware::from_fn_with_state(Arc::<str>::from("user.remove"), record);
        let router = Router::new().route("/users/{address}", delete(handler).route_layer(layer));
        let mut request = Request::delete("/users/ann%40example.org").body(Body::empty()).unwrap();
        let principal = Principal { actor: Actor::Administrator, peer: None, session: None };
        request.extensions_mut().insert(Caller(Arc::new(principal)));
        request.extensions_mut().insert(Journal { store: store.clone(), clock: Arc::new(Stopped) });
        tokio::select! {
            _ = router.oneshot(request) => panic!("it answers"),
            () = reached.notified() => {}
        }
        let entry = loop {
            let mut page = store.audit_entries(&AuditFilter::default(), 1, 9).await.unwrap();
            if page.entries[0].outcome.is_some() {
                break page.entries.remove(0);
            }
        };
        assert_eq!((entry.target.as_str(), entry.outcome), ("ann@example.org", Some(AuditOutcome::Failed)));
        assert_eq!(entry.details.as_deref(), Some(r#"{"before":1}"#));
    }

    #[derive(Debug)]
    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(1_800_000_000_000)
        }

        fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(std::future::pending())
        }
    }
}
