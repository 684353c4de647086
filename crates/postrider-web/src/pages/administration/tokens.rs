//! `GET /tokens`: who may ask the API, for what, and until when. A token itself is shown once, when it is made.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use postrider_store::tokens::{Scope, Token, last_uses};

use super::listed;
use crate::AppState;
use crate::extract::Parameters;
use crate::pages::format::{Counted, When};
use crate::pages::frame::{Frame, Page, Visit};
use crate::problem::Problem;

const PLACE: &str = "/tokens";

#[derive(Template)]
#[template(path = "administration/tokens.html")]
pub(in crate::pages) struct TokensPage {
    frame: Frame,
    scopes: [Scope; 3],
    rows: Vec<Row>,
    counted: Counted,
}

struct Row {
    token: Token,
    domains: String,
    has_expired: bool,
    expires: Option<When>,
    /// As the form has it.
    expires_text: String,
    requests_per_minute: String,
    created: When,
    used: Option<When>,
}

impl Row {
    fn has(&self, scope: &Scope) -> bool {
        self.token.settings.scopes.contains(scope)
    }
}

pub(in crate::pages) async fn list(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Page<TokensPage>, Problem> {
    Parameters::of(&uri)?.finish(&["none"])?;
    let tokens = Token::all(state.store.as_ref()).await?;
    let uses = last_uses(state.store.as_ref()).await?;
    let when = |at| When::new(at, visit.now);
    let row = |token: Token| {
        let settings = &token.settings;
        Row {
            domains: listed(&settings.domains),
            has_expired: token.has_expired(visit.now),
            expires: settings.expires_at.map(when),
            expires_text: settings.expires_at.map(|at| at.to_rfc3339()).unwrap_or_default(),
            requests_per_minute: settings.requests_per_minute.map(|rate| rate.to_string()).unwrap_or_default(),
            created: when(token.created_at),
            used: uses.get(&token.id).copied().map(when),
            token,
        }
    };
    let counted = Counted(tokens.len() as u64, "token", "tokens");
    let rows = tokens.into_iter().map(row).collect();
    Ok(Page(TokensPage { frame: visit.frame("Tokens", PLACE), scopes: Scope::ALL, rows, counted }))
}
