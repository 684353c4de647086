//! `postrider selftest email`: hands the server a mail as an application would, and follows it through the API to its
//! end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;
use postrider_config::{DeliveryMode, Settings};
use postrider_core::{Address, EmailStatus, ObjectId, Timestamp};
use serde_json::{Value, json};

use super::http;
use super::ports::connect;
use super::smtp::{Dialogue, Reply};
use super::steps::Steps;
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// How often the API is asked what became of the mail.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const TIMEOUT_SECONDS_DEFAULT: u64 = 60;

#[derive(Debug, Args)]
pub(super) struct EmailArgs {
    /// Whom to send the test mail; by default postmaster at the first of ALLOWED_DOMAINS, or anybody where mail is
    /// captured
    #[arg(long, value_name = "ADDRESS")]
    to: Option<Address>,
    /// The sender, who hears of a failure; by default postmaster at the first of ALLOWED_DOMAINS or at MAIL_HOSTNAME
    #[arg(long, value_name = "ADDRESS")]
    from: Option<Address>,
    /// How long to follow it
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT_SECONDS_DEFAULT)]
    timeout_seconds: u64,
}

impl Default for EmailArgs {
    fn default() -> Self {
        Self { to: None, from: None, timeout_seconds: TIMEOUT_SECONDS_DEFAULT }
    }
}

pub(super) async fn run(settings: &Settings, args: EmailArgs, output: &mut Output) -> Result<(), Failure> {
    let turned_off = |setting| Failure::Usage(format!("{setting} is 0: the test needs that listener"));
    let smtp = context::smtp_address(settings).ok_or_else(|| turned_off("SMTP_PORT"))?;
    let api = context::api_address(settings).ok_or_else(|| turned_off("API_PORT"))?;
    let recipient = args.to.clone().map_or_else(|| default_recipient(settings), Ok)?;
    let sender = args.from.clone().map_or_else(|| default_sender(settings), Ok)?;
    let id = ObjectId::new(Timestamp::system());
    let message_id = format!("selftest.{id}@{}", settings.mail_hostname);
    let message = compose("email", &sender, &recipient, &message_id);

    let mut steps = Steps::new(output);
    steps.done(format!("sending to {recipient} through {smtp}"))?;
    let reply = match send(smtp, &settings.mail_hostname, &sender, &recipient, &message).await {
        Ok(reply) => reply,
        Err(error) => return steps.failed(error, advice_for_sending(settings)),
    };
    steps.done(format!("accepted: {reply}"))?;
    follow(settings, api, &message_id, Duration::from_secs(args.timeout_seconds), steps).await
}

/// Asks the API again and again until the mail has come to rest.
async fn follow(
    settings: &Settings,
    api: SocketAddr,
    message_id: &str,
    timeout: Duration,
    mut steps: Steps<'_>,
) -> Result<(), Failure> {
    let started_at = Instant::now();
    let target = format!("/api/emails?limit=1&q={message_id}");
    let mut last_seen = None;
    loop {
        let email = match find(api, &target, settings).await {
            Ok(email) => email,
            Err(error) => {
                return steps.failed(error, "look at the server's log, and at API_HOST, API_PORT and API_TOKEN");
            }
        };
        let text = |name: &str| email.get(name).and_then(Value::as_str).unwrap_or_default();
        let (id, error) = (text("id").to_owned(), text("lastError").to_owned());
        let status = text("status").parse::<EmailStatus>().ok();
        if status != last_seen {
            last_seen = status;
            if let Some(status) = status {
                steps.seen(status, &error)?;
            }
        }
        match status {
            Some(EmailStatus::Sent | EmailStatus::Received) => {
                let seconds = started_at.elapsed().as_secs_f32();
                steps.done(format!("e-mail {id} has come to its end after {seconds:.1} s"))?;
                return steps.succeeded(&json!({ "email": email }));
            }
            Some(status @ (EmailStatus::Failed | EmailStatus::Held | EmailStatus::Cancelled)) => {
                return steps.failed(
                    format!("e-mail {id} ended as {status}: {error}"),
                    format!("postrider email show {id} tells every attempt"),
                );
            }
            _ if started_at.elapsed() >= timeout => {
                let state = status.map_or("not listed", EmailStatus::as_str);
                let reason = if error.is_empty() { String::new() } else { format!(": {error}") };
                return steps.failed(
                    format!("after {} s the e-mail {id} is still {state}{reason}", timeout.as_secs()),
                    format!("postrider email show {id} tells every attempt; --timeout-seconds follows it for longer"),
                );
            }
            _ => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// The e-mail, or null as long as the list does not show it.
async fn find(api: SocketAddr, target: &str, settings: &Settings) -> Result<Value, String> {
    let answer = http::get(api, target, settings.api_token.as_ref()).await?;
    let document = answer.json()?;
    if answer.status != 200 {
        let detail = document.get("detail").and_then(Value::as_str).unwrap_or_default();
        return Err(format!("the API answered {}: {detail}", answer.status));
    }
    Ok(document.pointer("/emails/0").cloned().unwrap_or_default())
}

async fn send(
    smtp: SocketAddr,
    hostname: &str,
    sender: &Address,
    recipient: &Address,
    message: &str,
) -> Result<Reply, String> {
    let mut dialogue = Dialogue::new(connect(smtp).await?);
    dialogue.greeting().await?;
    dialogue.command(&format!("EHLO {hostname}"), 250).await?;
    let smtputf8 = if sender.as_str().is_ascii() && recipient.as_str().is_ascii() { "" } else { " SMTPUTF8" };
    dialogue.command(&format!("MAIL FROM:<{sender}>{smtputf8}"), 250).await?;
    dialogue.command(&format!("RCPT TO:<{recipient}>"), 250).await?;
    dialogue.command("DATA", 354).await?;
    let reply = dialogue.message(message, 250).await?;
    // The mail is accepted; how the server says goodbye does not matter any more.
    let _ = dialogue.command("QUIT", 221).await;
    Ok(reply)
}

pub(super) fn compose(test: &str, sender: &Address, recipient: &Address, message_id: &str) -> String {
    let date = Timestamp::system().to_rfc5322();
    format!(
        "Date: {date}\r\nFrom: <{sender}>\r\nTo: <{recipient}>\r\nSubject: Postrider self-test\r\n\
         Message-ID: <{message_id}>\r\nAuto-Submitted: auto-generated\r\n\r\n\
         This mail was sent by `postrider selftest {test}`. It can be deleted.\r\n"
    )
}

pub(super) fn default_recipient(settings: &Settings) -> Result<Address, Failure> {
    let domain = match (settings.allowed_domains.first(), settings.delivery_mode) {
        (Some(domain), _) => domain.as_str(),
        (None, DeliveryMode::Capture) => "example.org",
        (None, _) => {
            return Err(Failure::Usage(
                "the mail would leave for the world: say with --to to whom it may go".to_owned(),
            ));
        }
    };
    postmaster(domain)
}

pub(super) fn default_sender(settings: &Settings) -> Result<Address, Failure> {
    postmaster(settings.allowed_domains.first().map_or(settings.mail_hostname.as_str(), |domain| domain.as_str()))
}

/// RFC 2142 section 5: every mail domain has one.
fn postmaster(domain: &str) -> Result<Address, Failure> {
    Address::parse(&format!("postmaster@{domain}"))
        .map_err(|error| Failure::Usage(format!("postmaster@{domain} is no address: {error}; use --from and --to")))
}

fn advice_for_sending(settings: &Settings) -> String {
    format!(
        "is the server running with SMTP_PORT {}? This host's address must be in TRUSTED_NETWORKS; postrider check \
         looks for mistakes",
        settings.smtp_port
    )
}
