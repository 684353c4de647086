//! The way to a collector of traces (OpenTelemetry): the library's port for HTTP, over our own client.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::{Request, Response};
use opentelemetry_http::{HttpClient as CollectorPort, HttpError};
use rustls::ClientConfig;
use tokio::runtime::Handle;
use url::Url;

use crate::clock::{SystemClock, timeout};
use crate::http::HttpClient;

/// A collector that takes longer is left without these traces.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of its answer, which only says what it did not take.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Sends to a collector. The library asks from a thread of its own; connections are the runtime's.
#[derive(Debug)]
pub struct CollectorClient {
    http: HttpClient,
    runtime: Handle,
}

impl CollectorClient {
    /// `tls`: one that verifies.
    pub fn new(tls: &ClientConfig, runtime: Handle) -> Self {
        Self { http: HttpClient::new(tls), runtime }
    }
}

#[async_trait]
impl CollectorPort for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let (parts, body) = request.into_parts();
        let url: Url = parts.uri.to_string().parse()?;
        let sending = async move {
            let answer = http.send(parts.method, &url, parts.headers, body, ANSWER_BYTES_MAX);
            match timeout(&SystemClock, PATIENCE, answer).await {
                Ok(answer) => Ok(answer?),
                Err(_) => Err(HttpError::from(format!("the collector did not answer within {} s", PATIENCE.as_secs()))),
            }
        };
        let answer = self.runtime.spawn(sending).await??;
        let mut response = Response::new(Bytes::from(answer.body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}
