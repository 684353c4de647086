//! `postrider email show`: an e-mail's whole story.

use std::fmt::Write as _;

use postrider_core::bounce::Feedback;
use postrider_core::{
    Attempt, AuthenticationResult, Category, Content, Envelope, Instructions, ObjectId, Outcome, Priority,
};
use postrider_store::{DeliveryRecord, EmailDetail, EmailRecord, Store};
use postrider_web::view::EmailDetailView;

use super::no_such_email;
use crate::cli::failure::Failure;
use crate::cli::output::{BOLD, Output, printable, style_of};

/// Characters of the text that are shown; the rest is in `email raw`.
const TEXT_CHARS_MAX: usize = 2000;

pub(super) async fn run(store: &dyn Store, id: ObjectId, output: &mut Output) -> Result<(), Failure> {
    let detail = store.email(id).await?.ok_or_else(|| no_such_email(id))?;
    let message = store.raw(id).await?.ok_or_else(|| no_such_email(id))?;
    let content = Content::parse(&message.raw);
    if output.is_json() {
        return output.json(&EmailDetailView::new(detail, content));
    }
    let EmailDetail { email, envelope, instructions, authentication, deliveries, attempts } = &detail;
    show_email(email, output)?;
    show_instructions(instructions, envelope, output)?;
    show_authentication(authentication, output)?;
    for delivery in deliveries {
        let attempts = attempts.iter().filter(|(number, _)| *number == delivery.number).map(|(_, attempt)| attempt);
        show_delivery(delivery, attempts, output)?;
    }
    show_content(&content, output)
}

fn show_email(email: &EmailRecord, output: &mut Output) -> Result<(), Failure> {
    let style = style_of(email.status);
    let sender = if email.sender.is_empty() { "<>" } else { &email.sender };
    field("Id", &email.id.to_string(), output)?;
    output.line(format!("{:<12} {style}{}{style:#}", "Status", email.status))?;
    field("From", sender, output)?;
    for recipient in &email.recipients {
        field("To", recipient, output)?;
    }
    field("Subject", email.subject.as_deref().unwrap_or_default(), output)?;
    field("Message-ID", email.message_id.as_deref().unwrap_or_default(), output)?;
    field("Size", &format!("{} bytes", email.size), output)?;
    field("Accepted", &email.created_at.to_string(), output)?;
    field("Changed", &email.updated_at.to_string(), output)
}

/// What the sender asked.
fn show_instructions(instructions: &Instructions, envelope: &Envelope, output: &mut Output) -> Result<(), Failure> {
    let Instructions { priority, tags, metadata, expires_at, waives_tls, source_ip, webhook_url } = instructions;
    if *priority != Priority::NORMAL {
        field("Priority", &priority.get().to_string(), output)?;
    }
    if !tags.is_empty() {
        field("Tags", &tags.join(", "), output)?;
    }
    for (name, value) in metadata {
        field("Metadata", &format!("{name}={value}"), output)?;
    }
    if let Some(at) = expires_at {
        field("Expires", &at.to_string(), output)?;
    }
    if let Some(ip) = source_ip {
        field("Leaves from", &ip.to_string(), output)?;
    }
    if let Some(url) = webhook_url {
        field("Tells", url, output)?;
    }
    if *waives_tls {
        field("Waives", "TLS (TLS-Required: No)", output)?;
    }
    if envelope.require_tls {
        field("Requires", "verified TLS (REQUIRETLS)", output)?;
    }
    Ok(())
}

/// What was found out about who it is from.
fn show_authentication(results: &[AuthenticationResult], output: &mut Output) -> Result<(), Failure> {
    for AuthenticationResult { method, result, properties, reason } in results {
        let mut text = format!("{method}={result}");
        // Writing to a String does not fail.
        for (name, value) in properties {
            let _ = write!(text, " {name}={value}");
        }
        if let Some(reason) = reason {
            let _ = write!(text, " ({reason})");
        }
        field("Verified", &one_line(&text), output)?;
    }
    Ok(())
}

fn show_delivery<'a>(
    delivery: &DeliveryRecord,
    attempts: impl Iterator<Item = &'a Attempt>,
    output: &mut Output,
) -> Result<(), Failure> {
    let style = style_of(delivery.status);
    let recipient = printable(&delivery.recipient);
    output.line(format!("\n{BOLD}To {recipient}{BOLD:#}: {style}{}{style:#}", delivery.status))?;
    if let Some(ordered) = delivery.ordered {
        output.line(format!("  {ordered} as soon as it is let go of, unless it is sent or fails before"))?;
    }
    if let Some(at) = delivery.next_attempt_at {
        output.line(format!("  next attempt {at}"))?;
    }
    for attempt in attempts {
        show_attempt(attempt, output)?;
    }
    for Feedback { kind, received_at, report, category, status, text } in &delivery.feedback {
        let details: Vec<&str> = category.map(Category::as_str).into_iter().chain(status.as_deref()).collect();
        let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
        output.line(printable(&format!("  {kind}{details} came back at {received_at}, in e-mail {report}")))?;
        output.line(printable(&format!("    {}", one_line(text))))?;
    }
    Ok(())
}

fn show_attempt(attempt: &Attempt, output: &mut Output) -> Result<(), Failure> {
    let mut line =
        format!("  attempt {} at {}, {} ms", attempt.number, attempt.started_at, attempt.duration.as_millis());
    // Writing to a String does not fail.
    if let Some(mx) = &attempt.mx {
        let _ = write!(line, ", to {mx}");
    }
    if let Some(ip) = attempt.mx_ip {
        let _ = write!(line, " [{ip}]");
    }
    if let Some(ip) = attempt.source_ip {
        let _ = write!(line, ", from [{ip}]");
    }
    if let Some(decision) = &attempt.ip_selection {
        let _ = write!(line, " ({})", decision.origin);
    }
    match &attempt.tls {
        Some(tls) => {
            let _ = write!(line, ", {} {}", tls.version, tls.cipher);
            if let Some(authentication) = tls.authentication {
                let _ = write!(line, " ({authentication})");
            }
        }
        None => line.push_str(", not encrypted"),
    }
    output.line(printable(&line))?;
    if let Some(error) = attempt.ip_selection.as_ref().and_then(|decision| decision.error.as_ref()) {
        output.line(printable(&format!("    source    {}", one_line(error))))?;
    }
    for exchange in &attempt.exchanges {
        output.line(printable(&format!("    {:<9} {}", exchange.command, one_line(&exchange.reply.to_string()))))?;
    }
    let outcome = match &attempt.outcome {
        Outcome::Delivered { .. } => "delivered".to_owned(),
        Outcome::Deferred { category, reason, .. } => format!("deferred ({category}): {reason}"),
        Outcome::Failed { category, reason, .. } => format!("failed ({category}): {reason}"),
    };
    output.line(printable(&format!("    = {}", one_line(&outcome))))
}

fn show_content(content: &Content, output: &mut Output) -> Result<(), Failure> {
    if !content.attachments.is_empty() {
        output.line(format!("\n{BOLD}Attachments{BOLD:#}"))?;
    }
    for attachment in &content.attachments {
        let name = attachment.filename.as_deref().unwrap_or("(no name)");
        output.line(printable(&format!("  {name}, {}, {} bytes", attachment.content_type, attachment.size)))?;
    }
    output.line(format!("\n{BOLD}Header{BOLD:#}"))?;
    for (name, value) in &content.headers {
        output.line(printable(&format!("  {name}: {}", one_line(value))))?;
    }
    let Some(text) = &content.text else { return Ok(()) };
    output.line(format!("\n{BOLD}Text{BOLD:#}"))?;
    let shown: String = text.chars().take(TEXT_CHARS_MAX).collect();
    output.line(printable(shown.trim_end()))?;
    if text.chars().nth(TEXT_CHARS_MAX).is_some() {
        output.line("... (the whole message: postrider email raw)")?;
    }
    Ok(())
}

fn field(name: &str, value: &str, output: &mut Output) -> Result<(), Failure> {
    output.line(format!("{name:<12} {}", printable(value)))
}

/// Replies and fields may have several lines.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\t'], " ")
}
