//! `GET /`: the queue's numbers and the newest e-mails.

use std::fmt::{self, Write as _};

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use postrider_store::{DomainStats, EmailFilter, EmailRecord, QueueStats};

use super::PAGE_POLICY;
use super::escape::Escaped;
use crate::AppState;
use crate::problem::Problem;

/// E-mails on the page.
const EMAILS_MAX: u64 = 50;
/// Recipients named of one e-mail; the rest is counted.
const RECIPIENTS_SHOWN_MAX: usize = 3;
/// Domains with waiting deliveries on the page.
const DOMAINS_SHOWN_MAX: usize = 10;

pub(super) async fn root(State(state): State<AppState>) -> Result<impl IntoResponse, Problem> {
    let stats = state.store.queue_stats(state.clock.now()).await?;
    let emails = state.store.list(&EmailFilter::default(), 1, EMAILS_MAX).await?.emails;
    let page = RootPage { stats, emails, version: state.version };
    Ok(([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(page.to_string())))
}

struct RootPage {
    stats: QueueStats,
    emails: Vec<EmailRecord>,
    version: &'static str,
}

impl fmt::Display for RootPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(concat!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
            "<title>Postrider</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n<body>\n",
            "<header><h1>Postrider</h1></header>\n<main>\n",
        ))?;
        self.write_numbers(f)?;
        self.write_domains(f)?;
        self.write_emails(f)?;
        write!(
            f,
            "</main>\n<footer>Postrider {} · <a href=\"/health\">health</a> · \
             <a href=\"/api/queue/stats\">queue</a> · <a href=\"/api/emails\">e-mails</a></footer>\n</body>\n</html>\n",
            Escaped(self.version)
        )
    }
}

impl RootPage {
    fn write_numbers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<h2>Queue</h2>\n<dl>\n")?;
        for (name, count) in [
            ("queued", self.stats.queued),
            ("sending", self.stats.sending),
            ("deferred", self.stats.deferred),
            ("held", self.stats.held),
            ("sent", self.stats.sent),
            ("failed", self.stats.failed),
            ("cancelled", self.stats.cancelled),
            ("received", self.stats.received),
            ("sent in the last minute", self.stats.sent_last_minute),
            ("failed in the last minute", self.stats.failed_last_minute),
        ] {
            writeln!(f, "<div><dt>{name}</dt><dd>{count}</dd></div>")?;
        }
        if let Some(seconds) = self.stats.oldest_queued_seconds {
            writeln!(f, "<div><dt>oldest waiting, seconds</dt><dd>{seconds}</dd></div>")?;
        }
        f.write_str("</dl>\n")
    }

    fn write_domains(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stats.domains.is_empty() {
            return Ok(());
        }
        f.write_str(concat!(
            "<h2>Waiting, by domain</h2>\n<table>\n<thead><tr><th scope=\"col\">Domain</th>",
            "<th scope=\"col\">Queued</th><th scope=\"col\">Deferred</th><th scope=\"col\">Last error</th></tr>",
            "</thead>\n<tbody>\n",
        ))?;
        for DomainStats { domain, queued, deferred, last_error } in self.stats.domains.iter().take(DOMAINS_SHOWN_MAX) {
            writeln!(
                f,
                "<tr><td>{}</td><td>{queued}</td><td>{deferred}</td><td>{}</td></tr>",
                Escaped(domain.as_str()),
                Escaped(last_error.as_deref().unwrap_or_default())
            )?;
        }
        f.write_str("</tbody>\n</table>\n")
    }

    fn write_emails(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<h2>Newest e-mails</h2>\n")?;
        if self.emails.is_empty() {
            return f.write_str("<p>There are none yet.</p>\n");
        }
        f.write_str(concat!(
            "<table>\n<thead><tr><th scope=\"col\">Accepted</th><th scope=\"col\">Status</th>",
            "<th scope=\"col\">From</th><th scope=\"col\">To</th><th scope=\"col\">Subject</th>",
            "<th scope=\"col\">Last error</th></tr></thead>\n<tbody>\n",
        ))?;
        for email in &self.emails {
            let subject = email.subject.as_deref().filter(|subject| !subject.is_empty()).unwrap_or("(no subject)");
            let sender = if email.sender.is_empty() { "<>" } else { &email.sender };
            writeln!(
                f,
                "<tr><td><time datetime=\"{at}\">{at}</time></td><td class=\"{status}\">{status}</td><td>{}</td>\
                 <td>{}</td><td><a href=\"/api/emails/{}\">{}</a></td><td>{}</td></tr>",
                Escaped(sender),
                Escaped(&recipients(&email.recipients)),
                email.id,
                Escaped(subject),
                Escaped(email.last_error.as_deref().unwrap_or_default()),
                at = email.created_at,
                status = email.status,
            )?;
        }
        f.write_str("</tbody>\n</table>\n")
    }
}

fn recipients(all: &[String]) -> String {
    let mut text = all.iter().take(RECIPIENTS_SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if all.len() > RECIPIENTS_SHOWN_MAX {
        let _ = write!(text, " and {} more", all.len() - RECIPIENTS_SHOWN_MAX);
    }
    text
}
