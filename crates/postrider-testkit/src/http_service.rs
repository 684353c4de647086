//! A scripted HTTP service: it notes what it is asked and answers as it is told, well or badly.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::wait::eventually;

/// Where every such service listens; each has an address of its own.
const PORT: u16 = 8085;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct HttpReceived {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl HttpReceived {
    /// The first header of that name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }
}

/// What a request is answered.
#[derive(Debug, Clone)]
pub enum HttpAnswer {
    Reply {
        status: u16,
        /// Whole lines without their ends: `Retry-After: 5`.
        headers: Vec<String>,
        body: String,
    },
    /// The same, a byte at a time with this much real time between.
    Drip(Box<HttpAnswer>, Duration),
    /// Nothing, for as long as the connection lasts.
    Hang,
    /// The connection ends instead.
    Close,
}

impl HttpAnswer {
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self::Reply { status, headers: Vec::new(), body: body.into() }
    }

    pub fn ok(body: impl Into<String>) -> Self {
        Self::new(200, body)
    }

    pub fn json(body: &Value) -> Self {
        Self::Reply { status: 200, headers: vec!["Content-Type: application/json".to_owned()], body: body.to_string() }
    }

    /// With one more header.
    pub fn header(mut self, line: &str) -> Self {
        if let Self::Reply { headers, .. } = &mut self {
            headers.push(line.to_owned());
        }
        self
    }
}

type Answering = Arc<dyn Fn(&HttpReceived) -> HttpAnswer + Send + Sync>;

struct Shared {
    answering: Mutex<Answering>,
    requests: Mutex<Vec<HttpReceived>>,
}

/// A running service. Dropping it stops it.
pub struct HttpService {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl std::fmt::Debug for HttpService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpService").field("address", &self.address).finish_non_exhaustive()
    }
}

impl HttpService {
    /// Starts a service at an address that nobody else uses.
    ///
    /// # Panics
    ///
    /// When its port is taken.
    pub async fn start(ip: IpAddr, answer: impl Fn(&HttpReceived) -> HttpAnswer + Send + Sync + 'static) -> Self {
        Self::listen(SocketAddr::new(ip, PORT), None, Arc::new(answer)).await
    }

    /// The same with TLS, on [`crate::ports::HTTPS`], with the certificate [`crate::servers_certificate_pem`].
    ///
    /// # Panics
    ///
    /// When its port is taken.
    pub async fn start_tls(ip: IpAddr, answer: impl Fn(&HttpReceived) -> HttpAnswer + Send + Sync + 'static) -> Self {
        let acceptor = TlsAcceptor::from(crate::tls::server_config());
        Self::listen(SocketAddr::new(ip, crate::ports::HTTPS), Some(acceptor), Arc::new(answer)).await
    }

    async fn listen(address: SocketAddr, tls: Option<TlsAcceptor>, answer: Answering) -> Self {
        let listener = TcpListener::bind(address).await.expect("a claimed address has free ports");
        let shared = Arc::new(Shared { answering: Mutex::new(answer), requests: Mutex::default() });
        let accepting = tokio::spawn(accept(listener, tls, shared.clone()));
        Self { address, shared, accepting }
    }

    /// A URL of this service.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers otherwise from now on.
    pub fn set_answer(&self, answer: impl Fn(&HttpReceived) -> HttpAnswer + Send + Sync + 'static) {
        *self.shared.answering.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(answer);
    }

    /// All requests, in the order in which they came.
    pub fn requests(&self) -> Vec<HttpReceived> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for `count` requests.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<HttpReceived> {
        eventually(&format!("{count} requests"), async || {
            let requests = self.requests();
            (requests.len() >= count).then_some(requests)
        })
        .await
    }
}

impl Drop for HttpService {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    // Dropping the set ends the connections with the service.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, tls) = (shared.clone(), tls.clone());
        connections.spawn(async move {
            let mut stream: Box<dyn Stream> = match tls {
                None => Box::new(stream),
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => Box::new(stream),
                    // The client did not like the certificate.
                    Err(_) => return,
                },
            };
            let mut input = Vec::new();
            while let Ok(Some(request)) = read_request(stream.as_mut(), &mut input).await {
                let answering = shared.answering.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let answer = answering(&request);
                shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                if !matches!(write_answer(stream.as_mut(), answer, Duration::ZERO).await, Ok(true)) {
                    break;
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Reads a request with its body (RFC 9112). `None` at the end of the connection.
async fn read_request(stream: &mut dyn Stream, input: &mut Vec<u8>) -> std::io::Result<Option<HttpReceived>> {
    let head_end = loop {
        if let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&input[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut start = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (start.next().unwrap_or_default(), start.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let end = head_end + 4 + length.unwrap_or(0usize);
    while input.len() < end {
        if stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
    let body = Bytes::copy_from_slice(&input[head_end + 4..end]);
    input.drain(..end);
    Ok(Some(HttpReceived { method, path, headers, body }))
}

/// Whether the connection goes on.
async fn write_answer(stream: &mut dyn Stream, answer: HttpAnswer, pause: Duration) -> std::io::Result<bool> {
    match answer {
        HttpAnswer::Hang => std::future::pending().await,
        HttpAnswer::Close => Ok(false),
        HttpAnswer::Drip(answer, pause) => Box::pin(write_answer(stream, *answer, pause)).await,
        HttpAnswer::Reply { status, headers, body } => {
            let mut text = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\n", body.len());
            headers.iter().for_each(|line| text.extend([line.as_str(), "\r\n"]));
            text.extend(["\r\n", &body]);
            if pause.is_zero() {
                stream.write_all(text.as_bytes()).await?;
            } else {
                for byte in text.as_bytes() {
                    stream.write_all(&[*byte]).await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Ok(true)
        }
    }
}
