//! One call: what is sent, what counts as taken, and when it is tried again.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use postrider_core::{Clock, Timestamp};
use postrider_store::webhooks::WebhookSecret;
use postrider_store::{CallAttempt, CallNext, ClaimedCall};
use serde::Serialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use url::Url;

use super::signature;
use crate::clock::timeout;
use crate::http::HttpClient;

/// Before the first further try; each next wait is so many times the one before.
const RETRY_FIRST: Duration = Duration::from_secs(10);
const RETRY_FACTOR: u32 = 3;
const RETRY_MAX: Duration = Duration::from_secs(3600);

/// An endpoint that asks for more time gets so much.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// A part of each wait that is random, so that what failed together does not come back together.
const JITTER: f64 = 0.2;

/// What an endpoint is sent.
#[derive(Serialize)]
struct Body<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: Timestamp,
    data: &'a RawValue,
}

/// Who is called.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) url: String,
    /// Each signs.
    pub(super) secrets: Vec<WebhookSecret>,
}

/// How often, and for how long, a call is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) timeout: Duration,
    pub(super) retries: u32,
}

/// Makes a call once. What came of it, and what follows.
pub(super) async fn make(
    http: &HttpClient,
    clock: &dyn Clock,
    called: &Called,
    call: &ClaimedCall,
    patience: Patience,
) -> (CallAttempt, CallNext) {
    let at = clock.now();
    let asked = timeout(clock, patience.timeout, ask(http, called, call, at)).await;
    let now = clock.now();
    let answer =
        asked.unwrap_or_else(|_| Answer::none(format!("no whole answer within {} ms", patience.timeout.as_millis())));
    let Answer { status, error, body, retry_after } = answer;
    let is_taken = error.is_none();
    let next = if is_taken {
        CallNext::Delivered
    } else if status == Some(StatusCode::GONE) || call.tries >= patience.retries {
        // RFC 9110 section 15.5.11: gone, and for good.
        CallNext::GivenUp
    } else {
        let asked_for = retry_after.and_then(|text| read_retry_after(&text, now)).unwrap_or_default();
        CallNext::Retry { at: now + wait(call.tries, crate::random_fraction()).max(asked_for) }
    };
    let duration_ms = now.since(at).as_millis() as u64;
    let (url, status) = (Some(called.url.clone()), status.map(|status| status.as_u16()));
    (CallAttempt { at, duration_ms, url, status, error, body }, next)
}

/// What an endpoint said.
struct Answer {
    status: Option<StatusCode>,
    /// `None`: it took the call.
    error: Option<String>,
    body: Option<String>,
    retry_after: Option<String>,
}

impl Answer {
    fn none(error: String) -> Self {
        Self { status: None, error: Some(error), body: None, retry_after: None }
    }
}

async fn ask(http: &HttpClient, called: &Called, call: &ClaimedCall, now: Timestamp) -> Answer {
    let url = match Url::parse(&called.url) {
        Ok(url) => url,
        Err(error) => return Answer::none(format!("the URL cannot be used: {error}")),
    };
    let body = match body(call) {
        Ok(body) => body,
        Err(error) => return Answer::none(format!("the event cannot be written: {error}")),
    };
    let headers = signature::headers(call.event, now, &body, called.secrets.iter());
    let answer = match http.post(&url, headers, body.into(), CallAttempt::BODY_BYTES_MAX).await {
        Ok(answer) => answer,
        Err(error) => return Answer::none(error.to_string()),
    };
    let status = answer.status;
    let error = if status.is_success() {
        None
    } else if status.is_redirection() {
        Some(format!("it answered {status}; redirects are not followed, set the URL to where it leads"))
    } else {
        Some(format!("it answered {status}"))
    };
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let retry_after = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Answer { status: Some(status), error, body: (!text.is_empty()).then_some(text), retry_after }
}

fn body(call: &ClaimedCall) -> serde_json::Result<String> {
    let data: &RawValue = serde_json::from_str(&call.data)?;
    serde_json::to_string(&Body { id: call.event.to_string(), kind: call.kind.as_str(), timestamp: call.at, data })
}

/// How long a call waits that has failed after so many tries before.
fn wait(tries: u32, random: f64) -> Duration {
    let wait = RETRY_FIRST.saturating_mul(RETRY_FACTOR.saturating_pow(tries)).min(RETRY_MAX);
    wait.mul_f64(1.0 + JITTER * (2.0 * random - 1.0))
}

/// RFC 9110 section 10.2.3: seconds, or a date.
fn read_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            // An HTTP-date is RFC 5322's, but for the name of its zone.
            let date = OffsetDateTime::parse(&text.replace("GMT", "+0000"), &Rfc2822).ok()?;
            Timestamp::from_millis(date.unix_timestamp().saturating_mul(1000)).since(now)
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow() {
        let seconds: Vec<u64> = (0..8).map(|tries| wait(tries, 0.5).as_secs()).collect();
        assert_eq!(seconds, [10, 30, 90, 270, 810, 2430, 3600, 3600]);
        assert!(wait(0, 0.0) < wait(0, 1.0));
        assert_eq!(wait(u32::MAX, 0.5), RETRY_MAX);
    }

    #[test]
    fn an_endpoint_may_ask_for_time() {
        let now = Timestamp::parse_rfc3339("2026-11-22T13:39:40Z").unwrap();
        let read = |text| read_retry_after(text, now).map(|wait| wait.as_secs());
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("Sun, 22 Nov 2026 13:40:00 GMT"), Some(20));
        assert_eq!(read("Sun, 22 Nov 2026 13:00:00 GMT"), Some(0));
        assert_eq!(read("99999999"), Some(24 * 3600));
        assert_eq!(read("soon"), None);
    }
}
