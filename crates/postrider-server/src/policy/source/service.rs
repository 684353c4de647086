//! The HTTP service that picks source addresses: one request, one answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use postrider_core::source::IpSelectionExchange;
use postrider_core::{Clock, Domain, SourceQuestion};
use serde::{Deserialize, Serialize};
use url::Url;

use super::local;
use crate::clock::timeout;
use crate::http::HttpClient;

/// An answer is no longer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// So much of an answer is shown to people.
const SHOWN_CHARS_MAX: usize = 2_000;

/// What an answer says at most of how long it holds.
const TTL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug)]
pub(super) struct Service {
    client: HttpClient,
    url: Url,
    timeout: Duration,
    clock: Arc<dyn Clock>,
}

/// What the service says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) ip: IpAddr,
    pub(super) ttl: Option<Duration>,
    pub(super) ehlo: Option<String>,
    /// What else was said and cannot be used.
    pub(super) flaw: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// Whether the service as a whole seems to be ill.
    pub(super) is_outage: bool,
    /// Whether asking again may help.
    pub(super) may_pass: bool,
}

impl Failure {
    fn outage(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_outage: true, may_pass: true }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(flatten)]
    question: &'a SourceQuestion,
    candidates: &'a [IpAddr],
}

/// The answer in JSON. Members that are not known are left alone.
#[derive(Deserialize)]
struct Answer {
    ip: String,
    ttl: Option<f64>,
    ehlo: Option<String>,
}

impl Service {
    pub(super) fn new(client: HttpClient, url: Url, timeout: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { client, url, timeout, clock }
    }

    /// Asks once.
    pub(super) async fn ask(&self, question: &SourceQuestion) -> (Result<Said, Failure>, IpSelectionExchange) {
        let candidates = local::candidates();
        let request = Request { question, candidates: &candidates };
        // Texts, numbers and addresses are always JSON.
        let body = serde_json::to_string(&request).unwrap_or_default();
        let mut exchange = IpSelectionExchange {
            url: without_password(&self.url),
            request: body.clone(),
            status: None,
            response: None,
            latency_ms: 0,
        };
        let started_at = self.clock.now();
        let answer = timeout(self.clock.as_ref(), self.timeout, self.exchange(body, &mut exchange)).await;
        exchange.latency_ms = self.clock.now().since(started_at).as_millis() as u64;
        let said = answer.unwrap_or_else(|_| {
            Err(Failure::outage(format!("the service did not answer within {} ms", self.timeout.as_millis())))
        });
        (said, exchange)
    }

    async fn exchange(&self, body: String, exchange: &mut IpSelectionExchange) -> Result<Said, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/plain"));
        let answer = self.client.post(&self.url, headers, body.into(), ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|error| Failure::outage(format!("the service gave no answer: {error}")))?;
        let status = answer.status;
        exchange.status = Some(status.as_u16());
        if answer.is_cut {
            return Err(Failure::outage(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")));
        }
        let text = String::from_utf8_lossy(&answer.body);
        exchange.response = Some(text.chars().take(SHOWN_CHARS_MAX).collect());
        if !status.is_success() {
            let is_busy = matches!(status.as_u16(), 408 | 425 | 429);
            let is_outage = status.is_server_error() || is_busy;
            return Err(Failure { reason: format!("the service answered {status}"), is_outage, may_pass: is_outage });
        }
        read_answer(&text)
    }
}

/// `{ "ip", "ttl"?, "ehlo"? }`, or the address alone as text.
fn read_answer(text: &str) -> Result<Said, Failure> {
    let text = text.trim();
    let answer = if let Ok(ip) = text.parse::<IpAddr>() {
        Answer { ip: ip.to_string(), ttl: None, ehlo: None }
    } else {
        serde_json::from_str(text)
            .or_else(|error| match serde_json::from_str::<String>(text) {
                Ok(ip) => Ok(Answer { ip, ttl: None, ehlo: None }),
                Err(_) => Err(error),
            })
            .map_err(|error| {
                let shown: String = text.chars().take(80).collect();
                Failure::outage(format!("the answer {shown:?} is neither an address nor the JSON of one: {error}"))
            })?
    };
    let ip = answer.ip.trim().parse::<IpAddr>().map(|ip| ip.to_canonical());
    let ip = ip.map_err(|_| Failure::outage(format!("the answer's ip {:?} is no IP address", answer.ip)))?;
    let mut flaw = None;
    let ttl = answer.ttl.and_then(|ttl| match Duration::try_from_secs_f64(ttl) {
        Ok(ttl) => Some(ttl.min(TTL_MAX)),
        Err(_) => {
            flaw = Some(format!("its ttl {ttl} is no number of seconds"));
            None
        }
    });
    let ehlo = answer.ehlo.filter(|name| !name.is_empty()).and_then(|name| {
        let read = Domain::host_name(name.trim()).map(|name| name.to_string());
        if read.is_none() {
            flaw = Some(format!("its ehlo {name:?} is no host name"));
        }
        read
    });
    Ok(Said { ip, ttl, ehlo, flaw })
}

fn without_password(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        // A URL with a host takes one.
        let _ = url.set_password(Some("***"));
    }
    if url.query().is_some() {
        url.set_query(Some("***"));
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_answer_are_read() {
        let said = |text| read_answer(text).unwrap();
        let plain = Said { ip: [192, 0, 2, 1].into(), ttl: None, ehlo: None, flaw: None };
        for text in ["192.0.2.1", " 192.0.2.1\r\n", "\"192.0.2.1\"", "{\"ip\":\"192.0.2.1\"}", "::ffff:192.0.2.1"] {
            assert_eq!(said(text), plain, "{text}");
        }
        let full = said(r#"{"ip":"2001:db8::1","ttl":60,"ehlo":"Out.Example","pool":"a"}"#);
        assert_eq!((full.ip.to_string().as_str(), full.ttl), ("2001:db8::1", Some(Duration::from_secs(60))));
        assert_eq!((full.ehlo.as_deref(), full.flaw), (Some("out.example"), None));
        assert_eq!(said(r#"{"ip":"192.0.2.1","ttl":1e300}"#).ttl, None);
        assert_eq!(said(r#"{"ip":"192.0.2.1","ttl":1e9}"#).ttl, Some(TTL_MAX));
    }

    #[test]
    fn what_cannot_be_used_of_an_answer_is_said() {
        let flaw = |text| read_answer(text).unwrap().flaw.unwrap();
        assert_eq!(flaw(r#"{"ip":"192.0.2.1","ttl":-1}"#), "its ttl -1 is no number of seconds");
        let forged = read_answer("{\"ip\":\"192.0.2.1\",\"ehlo\":\"a\\r\\nMAIL FROM:<>\"}").unwrap();
        assert_eq!((forged.ehlo, forged.flaw.is_some()), (None, true));
        for text in ["", "none", "{}", "[]", "{\"ip\":1}", "{\"ip\":\"mx.example\"}", "<html>", "192.0.2.1 192.0.2.2"] {
            assert!(read_answer(text).unwrap_err().is_outage, "{text}");
        }
    }

    #[test]
    fn secrets_of_the_url_are_not_shown() {
        let url = Url::parse("https://ann:secret@service.example/pick?key=secret").unwrap();
        assert_eq!(without_password(&url), "https://ann:***@service.example/pick?***");
    }
}
