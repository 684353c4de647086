//! `postrider token add`

use std::time::Duration;

use clap::Args;
use postrider_core::{Domain, Timestamp};
use postrider_store::Store;
use postrider_store::tokens::{Scope, Token, TokenSettings, TokenText};
use postrider_web::view::TokenView;
use serde_json::json;

use crate::cli::audit::record;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Args)]
pub(in crate::cli) struct AddArgs {
    /// What it is for, for people
    name: String,
    /// What it is good for: read, send or admin; may be given several times
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<Scope>,
    /// It sends only from addresses at this domain; may be given several times
    #[arg(long = "domain", value_name = "DOMAIN")]
    domains: Vec<Domain>,
    /// When it expires: 90d, 12h, or a date or time as 2027-01-31 or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = expiry)]
    expires: Option<Expiry>,
    /// Requests a minute that it may make on each node
    #[arg(long, value_name = "COUNT")]
    requests_per_minute: Option<u32>,
}

/// About a hundred years: behind that no date is meant.
const EXPIRY_DAYS_MAX: u64 = 36_500;

/// When a token expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    After(Duration),
    At(Timestamp),
}

pub(super) async fn run(store: &dyn Store, args: &AddArgs, output: &mut Output) -> Result<(), Failure> {
    let now = Timestamp::system();
    let settings = TokenSettings {
        name: args.name.clone(),
        scopes: args.scopes.clone(),
        domains: args.domains.clone(),
        expires_at: args.expires.map(|expiry| match expiry {
            Expiry::After(duration) => now + duration,
            Expiry::At(at) => at,
        }),
        requests_per_minute: args.requests_per_minute,
    };
    let (mut token, text) = Token::new(settings, now)?;
    let (id, details) = (token.id, json!({ "after": token.settings }));
    record(store, "token.make", id, details, async { Ok(token.save(store, now).await?) }).await?;
    if output.is_json() {
        return output.json(&TokenView::with_text(token, text, now));
    }
    let TokenText(text) = text;
    output.line(format!("Token {} is made. This is it, shown this once:", token.id))?;
    output.line(format!("\n{text}\n"))?;
    output
        .line("Send it as bearer token: Authorization: Bearer TOKEN. A running server takes it from a second later on.")
}

fn expiry(text: &str) -> Result<Expiry, String> {
    let allowed = || "a number of days or hours as 90d or 12h, or a date or time as 2027-01-31".to_owned();
    if let Some(at) = Timestamp::parse_rfc3339(text) {
        return Ok(Expiry::At(at));
    }
    let (number, seconds) = match (text.strip_suffix('d'), text.strip_suffix('h')) {
        (Some(days), _) => (days, 24 * 3600),
        (_, Some(hours)) => (hours, 3600),
        _ => return Err(allowed()),
    };
    let number: u32 = number.parse().map_err(|_| allowed())?;
    let duration = Duration::from_secs(u64::from(number) * seconds);
    if duration > Duration::from_secs(EXPIRY_DAYS_MAX * 24 * 3600) {
        return Err(format!("at most {EXPIRY_DAYS_MAX}d; without --expires it never does"));
    }
    Ok(Expiry::After(duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_from_now_and_by_the_calendar() {
        assert_eq!(expiry("90d"), Ok(Expiry::After(Duration::from_secs(90 * 86_400))));
        assert_eq!(expiry("12h"), Ok(Expiry::After(Duration::from_secs(43_200))));
        assert_eq!(expiry("2026-11-22"), Ok(Expiry::At(Timestamp::from_millis(1_795_305_600_000))));
        for text in ["", "d", "90", "90m", "-1d", "1.5d", "tomorrow", "99999999999d", "36501d"] {
            assert!(expiry(text).is_err(), "{text}");
        }
    }
}
