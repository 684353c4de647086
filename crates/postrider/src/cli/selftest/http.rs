//! A GET or a POST to our own API. HTTP/1.0 is all it takes: one request, one answer, the end of the connection ends the body. It
//! is no client for other servers.

use std::net::SocketAddr;
use std::time::Duration;

use postrider_config::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{STEP_TIMEOUT, step_within};

/// No answer is read further. Ours are far smaller.
const ANSWER_BYTES_MAX: u64 = 8 * 1024 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Answer {
    pub(in crate::cli) status: u16,
    body: Vec<u8>,
}

impl Answer {
    pub(in crate::cli) fn json(&self) -> Result<serde_json::Value, String> {
        serde_json::from_slice(&self.body).map_err(|error| format!("the answer is no JSON: {error}"))
    }
}

/// Asks for `target`, which must be a path and query without spaces. The error says in words what went wrong.
pub(in crate::cli) async fn get(api: SocketAddr, target: &str, token: Option<&Secret>) -> Result<Answer, String> {
    let head = format!("GET {target} HTTP/1.0\r\n");
    exchange(api, &head, token, "", STEP_TIMEOUT).await
}

/// Sends `body`, in JSON, to `target`; waits for the answer for as long as `patience`.
pub(in crate::cli) async fn post(
    api: SocketAddr,
    target: &str,
    token: Option<&Secret>,
    body: &serde_json::Value,
    patience: Duration,
) -> Result<Answer, String> {
    let body = body.to_string();
    let head =
        format!("POST {target} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    exchange(api, &head, token, &body, patience).await
}

async fn exchange(
    api: SocketAddr,
    head: &str,
    token: Option<&Secret>,
    body: &str,
    patience: Duration,
) -> Result<Answer, String> {
    let authorization = token.map(|token| format!("Authorization: Bearer {}\r\n", token.0)).unwrap_or_default();
    let request = format!("{head}Host: {api}\r\n{authorization}Accept: application/json\r\n\r\n{body}");
    let answer = step_within(patience, &format!("http://{api}"), async {
        let mut stream = TcpStream::connect(api).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    })
    .await?;
    parse(&answer).ok_or_else(|| format!("http://{api}: what came is no HTTP answer; is that port our API?"))
}

/// RFC 9112 sections 4 and 6.3.
fn parse(answer: &[u8]) -> Option<Answer> {
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..head_end)?).ok()?;
    let mut status_line = head.lines().next()?.split(' ');
    status_line.next().filter(|version| version.starts_with("HTTP/1."))?;
    let status = status_line.next()?.parse().ok()?;
    Some(Answer { status, body: answer.get(head_end + 4..)?.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_answer() {
        let answer = parse(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{\"status\":\"ok\"}").unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json().unwrap()["status"], "ok");
        for nonsense in ["", "220 mx ESMTP\r\n", "HTTP/1.0\r\n\r\n", "HTTP/1.1 abc OK\r\n\r\n", "SSH-2.0-x\r\n\r\n"] {
            assert_eq!(parse(nonsense.as_bytes()), None, "{nonsense}");
        }
    }
}
