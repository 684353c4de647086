//! What `postrider dev` says when it runs: where everything listens, and lines to paste.

use postrider::Engine;
use postrider_config::Settings;
use postrider_core::ports::ListenerStatus;

use crate::cli::failure::Failure;
use crate::cli::output::{BOLD, Output};

/// Says how to try what listens.
pub(super) fn introduce(settings: &Settings, listeners: &[ListenerStatus], output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&serde_json::json!({ "listeners": listeners }));
    }
    output.line(format!("{BOLD}Postrider {} is running.{BOLD:#}", env!("CARGO_PKG_VERSION")))?;
    output.line("Mail for the world is captured, not sent.")?;
    output.line(format!("Everything is kept in {}.\n", Engine::of(settings)))?;
    for ListenerStatus { name, address, .. } in listeners {
        output.line(format!("  {name:<12} {}{}", scheme(name), address))?;
    }
    let address_of = |name: &str| listeners.iter().find(|listener| listener.name == name).map(|l| l.address);
    if let Some(smtp) = address_of("smtp") {
        output.line(format!("\n{BOLD}Send a mail:{BOLD:#}"))?;
        output.line(format!(
            "  swaks --server {} --port {} --from me@example.com --to you@example.org --header 'Subject: Hello'",
            smtp.ip(),
            smtp.port()
        ))?;
        output.line(format!(
            "  printf 'Subject: Hello\\r\\n\\r\\nIt works.\\r\\n' | curl smtp://{smtp} --mail-from me@example.com \
             --mail-rcpt you@example.org --upload-file -"
        ))?;
        output.line(format!("\n{BOLD}One that is refused, and one that is deferred twice:{BOLD:#}"))?;
        for recipient in ["bounce+550@example.org", "defer+451x2@example.org"] {
            output.line(format!(
                "  swaks --server {} --port {} --from me@example.com --to {recipient}",
                smtp.ip(),
                smtp.port()
            ))?;
        }
    }
    if let Some(api) = address_of("api") {
        let token = if settings.api_token.is_some() { " -H \"Authorization: Bearer $API_TOKEN\"" } else { "" };
        output.line(format!("\n{BOLD}See what became of it:{BOLD:#}"))?;
        output.line(format!("  curl -s{token} http://{api}/api/emails"))?;
        output.line(format!("  {} email list", program()))?;
        output.line(format!("  http://{api}/ in a browser"))?;
    }
    output.line("\nCtrl-C stops it.")?;
    output.finish()
}

/// This program as it was called: what `cargo run` starts is on no PATH.
fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_default().to_string_lossy().into_owned();
    if called.is_empty() || called.contains(char::is_whitespace) { "postrider".to_owned() } else { called }
}

fn scheme(listener: &str) -> &'static str {
    match listener {
        "api" => "http://",
        "submissions" => "smtps://",
        "lmtp" => "lmtp://",
        "lmtps" => "lmtps://",
        _ => "smtp://",
    }
}
