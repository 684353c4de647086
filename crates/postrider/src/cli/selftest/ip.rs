//! `postrider selftest ip`: has the running server ask the service that picks source addresses, and shows the exchange.

use std::time::Duration;

use clap::Args;
use postrider_config::Settings;
use postrider_core::Address;
use serde_json::{Value, json};

use super::email::{default_recipient, default_sender};
use super::http;
use super::steps::Steps;
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

const ADVICE: &str = "look at IP_SELECTION_API_URL and IP_SELECTION_TIMEOUT, and at the service's own log";

/// What our own server takes for the way there and back, beside the time of the service.
const PATIENCE_SPARE: Duration = Duration::from_secs(5);

#[derive(Debug, Default, Args)]
pub(super) struct IpArgs {
    /// The sender that the service is asked about; by default postmaster at the first of ALLOWED_DOMAINS or at MAIL_HOSTNAME
    #[arg(long, value_name = "ADDRESS")]
    from: Option<Address>,
    /// The recipient that the service is asked about
    #[arg(long, value_name = "ADDRESS")]
    to: Option<Address>,
}

pub(super) async fn run(settings: &Settings, args: IpArgs, output: &mut Output) -> Result<(), Failure> {
    let api = context::api_address(settings)
        .ok_or_else(|| Failure::Usage("API_PORT is 0: the test needs that listener".to_owned()))?;
    if !settings.ip_selection.enabled {
        return Err(Failure::Usage("IP_SELECTION_ENABLED is false: there is no service to ask".to_owned()));
    }
    let recipient = args.to.map_or_else(|| default_recipient(settings), Ok)?;
    let sender = args.from.map_or_else(|| default_sender(settings), Ok)?;
    let body = json!({ "sender": sender.as_str(), "recipient": recipient.as_str() });
    let patience = settings.ip_selection.timeout + PATIENCE_SPARE;
    let mut steps = Steps::new(output);
    steps.done(format!("asking through http://{api} for mail from {sender} to {recipient}"))?;
    let target = "/api/ip-selection/test";
    let answered = http::post(api, target, settings.api_token.as_ref(), &body, patience).await;
    let answer = match answered.and_then(|answer| Ok((answer.status, answer.json()?))) {
        Ok((200, answer)) => answer,
        Ok((status, problem)) => {
            let detail = text(&problem, "/detail").unwrap_or("no more is said").to_owned();
            return steps
                .failed(format!("the server answered {status}: {detail}"), "is it running with these settings?");
        }
        Err(error) => return steps.failed(error, "is the server running? API_HOST, API_PORT and API_TOKEN say where"),
    };
    steps.done(format!("asked {}: {}", show(&answer, "/exchange/url"), show(&answer, "/exchange/request")))?;
    let latency = answer.pointer("/exchange/latencyMs").and_then(Value::as_u64).unwrap_or_default();
    if let Some(status) = answer.pointer("/exchange/status") {
        let response = show(&answer, "/exchange/response");
        steps.done(format!("answered {status} after {latency} ms: {}", response.trim()))?;
    }
    let origin = show(&answer, "/decision/origin");
    let ip = text(&answer, "/decision/ip").unwrap_or("the address that the system chooses");
    match text(&answer, "/decision/error") {
        Some(error) if origin != "api" => {
            steps.failed(format!("{error}; mail would leave from {ip} ({origin})"), ADVICE)
        }
        flaw => {
            let ehlo = text(&answer, "/ehlo").unwrap_or(&settings.mail_hostname);
            let flaw = flaw.map(|flaw| format!("; {flaw}")).unwrap_or_default();
            steps.done(format!("mail would leave from {ip} as {ehlo}{flaw}"))?;
            steps.succeeded(&answer)
        }
    }
}

fn text<'a>(answer: &'a Value, pointer: &str) -> Option<&'a str> {
    answer.pointer(pointer)?.as_str()
}

fn show<'a>(answer: &'a Value, pointer: &str) -> &'a str {
    text(answer, pointer).unwrap_or_default()
}
