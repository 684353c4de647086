//! How the ACME library asks an authority: with the program's own HTTP client, and minding when it may ask again.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, Request, Response};
use instant_acme::{BodyWrapper, BytesResponse, Error};
use postrider_core::{Clock, Timestamp};
use serde_json::Value;
use url::Url;

use crate::http::{HttpAnswer, HttpClient};

/// The longest answer of an authority that is read: a chain of certificates is a few thousand bytes.
const ANSWER_BYTES_MAX: usize = 128 << 10;

/// Clones ask by the same client and remember the same.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    http: HttpClient,
    clock: Arc<dyn Clock>,
    /// As the last answer had it.
    retry_at: Arc<Mutex<Option<Timestamp>>>,
}

impl Transport {
    pub(super) fn new(http: HttpClient, clock: Arc<dyn Clock>) -> Self {
        Self { http, clock, retry_at: Arc::default() }
    }

    /// When the authority wants to be asked again (RFC 8555 section 6.6), if its last answer said it.
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        *self.retry_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|error| Error::Other(error.into()))?;
        if url.scheme() != "https" {
            // RFC 8555 section 6.1. The directory may say what it likes.
            return Err(Error::Other(format!("{url} is no https:// URL").into()));
        }
        let Ok(body) = body.collect().await;
        let answer = self.http.send(parts.method, &url, parts.headers, body.to_bytes(), ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|error| Error::Other(format!("no answer from {url}: {error}").into()))?;
        *self.retry_at.lock().unwrap_or_else(PoisonError::into_inner) = retry_at(&answer.headers, self.clock.now());
        readable(&answer).map_err(|what| Error::Other(format!("{url} answered {what}").into()))?;
        let mut response = Response::new(Full::new(Bytes::from(answer.body)));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(BytesResponse::from(response))
    }
}

impl instant_acme::HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().ask(request))
    }
}

/// Whether an answer says anything to the library, which takes every refusal for a problem document (RFC 7807).
fn readable(answer: &HttpAnswer) -> Result<(), String> {
    if answer.is_cut {
        return Err(format!("with more than {ANSWER_BYTES_MAX} bytes"));
    }
    let is_problem = || serde_json::from_slice::<Value>(&answer.body).is_ok_and(|body| body.get("type").is_some());
    if answer.status.is_success() || is_problem() { Ok(()) } else { Err(format!("HTTP {}", answer.status)) }
}

/// Seconds, or a date (RFC 9110 section 10.2.3).
fn retry_at(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(now + Duration::from_secs(seconds));
    }
    let since =
        SystemTime::from(text.parse::<httpdate::HttpDate>().ok()?).duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(0) + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_millis(1_795_354_780_123);
        let read = |text: &'static str| {
            let headers = [(RETRY_AFTER, hyper::header::HeaderValue::from_static(text))].into_iter().collect();
            retry_at(&headers, now)
        };
        assert_eq!(read("120"), Some(now + Duration::from_secs(120)));
        assert_eq!(read("Sun, 22 Nov 2026 13:39:40 GMT"), Some(Timestamp::from_millis(1_795_354_780_000)));
        assert_eq!(read("soon"), None);
        assert_eq!(retry_at(&HeaderMap::new(), now), None);
    }
}
