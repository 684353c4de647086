//! The part of a notification that people read.

use mail_parser::MessageParser;

use super::fields::{host_name, one_line, wrap};
use super::{Report, ReportKind, ReportedRecipient, excerpt};
use crate::delivery::Reply;

/// Characters of a subject that are quoted.
const SUBJECT_CHARS_MAX: usize = 200;

/// Explains what became of the message. Lines end with CRLF.
pub(super) fn explain(report: &Report<'_>) -> String {
    let mut text = String::with_capacity(1024);
    let host = host_name(report.reporting_mta);
    wrap(&format!("This is the mail server at {host}."), "", &mut text);
    text.push_str("\r\n");
    wrap(opening(report.kind), "", &mut text);
    for reported in report.recipients {
        text.push_str("\r\n");
        explain_recipient(report.kind, reported, &mut text);
    }
    text.push_str("\r\nThe message:\r\n\r\n");
    if let Some(subject) = subject(report.original) {
        wrap(&format!("Subject: {subject}"), "  ", &mut text);
    }
    wrap(&format!("Accepted: {}", report.arrived_at.to_rfc5322()), "  ", &mut text);
    text.push_str("\r\n");
    wrap("A report for mail programs and the message, or its header, are attached.", "", &mut text);
    text
}

fn opening(kind: ReportKind) -> &'static str {
    match kind {
        ReportKind::Failed => {
            "Your message could not be delivered to the recipients named below, and it will not be tried again."
        }
        ReportKind::Delayed => {
            "Your message has not been delivered yet to the recipients named below. You need not send it again: \
             delivery is still being tried."
        }
        ReportKind::Relayed => {
            "Your message was passed on to the mail servers of the recipients named below. Those servers do not \
             confirm delivery, so that you will hear no more unless it fails."
        }
        ReportKind::Delivered => "Your message was delivered to the recipients named below.",
    }
}

fn explain_recipient(kind: ReportKind, reported: &ReportedRecipient<'_>, text: &mut String) {
    wrap(&format!("<{}>", reported.recipient.address), "  ", text);
    if let Some(reason) = reported.reason.filter(|reason| !is_said_by(reason, reported.diagnostic)) {
        wrap(reason, "    ", text);
    }
    if let Some(reply) = reported.diagnostic {
        let host = reported.remote_mta.map_or("The other server", host_name);
        wrap(&format!("{host} answered:"), "    ", text);
        wrap(&reply.to_string(), "      ", text);
    }
    if let Some(until) = reported.will_retry_until.filter(|_| kind == ReportKind::Delayed) {
        wrap(&format!("It will be tried until {}.", until.to_rfc5322()), "    ", text);
    }
}

/// Whether a reason does no more than repeat the reply.
fn is_said_by(reason: &str, reply: Option<&Reply>) -> bool {
    reply.is_some_and(|reply| one_line(&reply.to_string()).contains(&one_line(reason)))
}

fn subject(original: &[u8]) -> Option<String> {
    let parsed = MessageParser::default().parse_headers(original)?;
    let subject = excerpt(parsed.subject()?, SUBJECT_CHARS_MAX);
    (!subject.is_empty()).then_some(subject)
}
