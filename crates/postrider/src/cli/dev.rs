//! What `postrider dev` says when it runs: where everything listens, and lines to paste.

use std::net::SocketAddr;

use postrider::Engine;
use postrider_config::Settings;
use postrider_core::ports::ListenerStatus;
use serde_json::json;

use crate::cli::demo::DemoUser;
use crate::cli::failure::Failure;
use crate::cli::output::{BOLD, Output};

/// Says how to try what listens.
pub(super) fn introduce(
    settings: &Settings,
    listeners: &[ListenerStatus],
    demo: Option<&DemoUser>,
    output: &mut Output,
) -> Result<(), Failure> {
    if output.is_json() {
        let demo = demo.map(|demo| json!({ "address": demo.address, "password": demo.password }));
        return output.json(&json!({ "listeners": listeners, "demoUser": demo }));
    }
    output.line(format!("{BOLD}Postrider {} is running.{BOLD:#}", env!("CARGO_PKG_VERSION")))?;
    output.line("Mail for the world is captured, not sent.")?;
    output.line(format!("Everything is kept in {}.\n", Engine::of(settings)))?;
    for ListenerStatus { name, address, .. } in listeners {
        output.line(format!("  {name:<12} {}{}", scheme(name), address))?;
    }
    let address_of = |name: &str| listeners.iter().find(|listener| listener.name == name).map(|l| l.address);
    if let Some(smtp) = address_of("smtp") {
        show_sending(smtp, output)?;
    }
    if let Some(demo) = demo {
        show_reading(demo, listeners, output)?;
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

fn show_sending(smtp: SocketAddr, output: &mut Output) -> Result<(), Failure> {
    let swaks = format!("swaks --server {} --port {} --from me@example.com", smtp.ip(), smtp.port());
    output.line(format!("\n{BOLD}Send a mail:{BOLD:#}"))?;
    output.line(format!("  {swaks} --to you@example.org --header 'Subject: Hello'"))?;
    output.line(format!(
        "  printf 'Subject: Hello\\r\\n\\r\\nIt works.\\r\\n' | curl smtp://{smtp} --mail-from me@example.com \
         --mail-rcpt you@example.org --upload-file -"
    ))?;
    output.line(format!("\n{BOLD}One that is refused, and one that is deferred twice:{BOLD:#}"))?;
    for recipient in ["bounce+550@example.org", "defer+451x2@example.org"] {
        output.line(format!("  {swaks} --to {recipient}"))?;
    }
    Ok(())
}

/// How to connect a mail program: what its account settings ask for.
fn show_reading(demo: &DemoUser, listeners: &[ListenerStatus], output: &mut Output) -> Result<(), Failure> {
    let DemoUser { address, password } = demo;
    output.line(format!(
        "\n{BOLD}Read mail in a mail program{BOLD:#} (the certificate is self-signed: accept it once):"
    ))?;
    for (name, value) in [("user name", address.as_str()), ("password", password)] {
        output.line(format!("  {name:<12} {value}"))?;
    }
    for (name, label, security) in [
        ("imaps", "IMAP", "TLS"),
        ("imap", "IMAP", "STARTTLS, or none on this machine"),
        ("submissions", "SMTP", "TLS, password"),
        ("submission", "SMTP", "STARTTLS, password"),
    ] {
        if let Some(listener) = listeners.iter().find(|listener| listener.name == name) {
            let (ip, port) = (listener.address.ip(), listener.address.port());
            output.line(format!("  {label:<12} server {ip}, port {port}, security: {security}"))?;
        }
    }
    if let Some(imaps) = listeners.iter().find(|listener| listener.name == "imaps") {
        let url = imaps.address;
        output.line(format!("  curl --insecure --user {address}:{password} 'imaps://{url}/INBOX;MAILINDEX=1'"))?;
    }
    output.line(format!("  What is sent to {address} arrives there."))
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
        "imap" => "imap://",
        "imaps" => "imaps://",
        _ => "smtp://",
    }
}
