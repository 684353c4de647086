//! `postrider token list`

use postrider_core::Timestamp;
use postrider_store::Store;
use postrider_store::tokens::{Scope, Token, last_uses};
use postrider_web::view::TokenView;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::table::{Cell, Table};

pub(super) async fn run(store: &dyn Store, output: &mut Output) -> Result<(), Failure> {
    let (now, uses) = (Timestamp::system(), last_uses(store).await?);
    let view = |token: Token| {
        let last_used_at = uses.get(&token.id).copied();
        TokenView::new(token, last_used_at, now)
    };
    let tokens: Vec<TokenView> = Token::all(store).await?.into_iter().map(view).collect();
    if output.is_json() {
        return output.json(&tokens);
    }
    let mut table = Table::new(&["ID", "NAME", "SCOPES", "SENDS AS", "EXPIRES", "LAST USED"]);
    for token in &tokens {
        let expires = match (token.expires_at, token.expired) {
            (None, _) => "never".to_owned(),
            (Some(at), false) => at.to_string(),
            (Some(_), true) => "has expired".to_owned(),
        };
        table.row([
            Cell::text(token.id.to_string()),
            Cell::text(&token.name),
            Cell::text(token.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ")),
            Cell::text(sends_as(token)),
            Cell::text(expires),
            Cell::text(token.last_used_at.map_or_else(|| "never".to_owned(), |at| at.to_string())),
        ]);
    }
    output.table(&table)
}

fn sends_as(token: &TokenView) -> String {
    if token.scopes == [Scope::Read] {
        return "nobody".to_owned();
    }
    let domains: Vec<&str> = token.domains.iter().map(|domain| domain.as_str()).collect();
    if domains.is_empty() { "anybody".to_owned() } else { domains.join(", ") }
}
