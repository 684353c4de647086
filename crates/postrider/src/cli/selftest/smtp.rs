//! As much SMTP as it takes to try a server: a command, its reply.

use std::fmt;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};

use super::step;

/// RFC 5321 section 4.5.3.1.5 says 512; some headroom shows what a wrong server said.
const REPLY_LINE_BYTES_MAX: u64 = 2048;
const REPLY_LINES_MAX: usize = 100;

/// A dialogue with a server.
#[derive(Debug)]
pub(in crate::cli) struct Dialogue<S> {
    stream: BufReader<S>,
}

/// A reply (RFC 5321 section 4.2).
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Reply {
    pub(in crate::cli) code: u16,
    /// The lines' texts, without codes.
    pub(in crate::cli) lines: Vec<String>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Dialogue<S> {
    pub(in crate::cli) fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// The stream, to go on with TLS. What was read ahead is dropped, as RFC 3207 section 4.2 wants it.
    pub(in crate::cli) fn into_stream(self) -> S {
        self.stream.into_inner()
    }

    /// Reads the greeting, which must be positive.
    pub(in crate::cli) async fn greeting(&mut self) -> Result<Reply, String> {
        step("greeting", self.read_reply()).await?.expect("greeting", 220)
    }

    /// Sends a line and reads the reply, which must have the code `expected`.
    pub(in crate::cli) async fn command(&mut self, line: &str, expected: u16) -> Result<Reply, String> {
        let verb = line.split(' ').next().unwrap_or_default().to_owned();
        self.send(&verb, format!("{line}\r\n").as_bytes(), expected).await
    }

    /// Sends a message whose lines end in CRLF and do not begin with a dot, and its end.
    pub(in crate::cli) async fn message(&mut self, message: &str, expected: u16) -> Result<Reply, String> {
        self.send("end of data", format!("{message}.\r\n").as_bytes(), expected).await
    }

    async fn send(&mut self, what: &str, bytes: &[u8], expected: u16) -> Result<Reply, String> {
        let reply = step(what, async {
            self.stream.write_all(bytes).await.map_err(|error| error.to_string())?;
            self.stream.flush().await.map_err(|error| error.to_string())?;
            self.read_reply().await
        });
        reply.await?.expect(what, expected)
    }

    async fn read_reply(&mut self) -> Result<Reply, String> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            let mut limited = (&mut self.stream).take(REPLY_LINE_BYTES_MAX);
            limited.read_until(b'\n', &mut line).await.map_err(|error| error.to_string())?;
            if line.is_empty() {
                return Err("the server closed the connection".to_owned());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            let (Some(code), "" | " " | "-") = (code, line.get(3..4).unwrap_or_default()) else {
                return Err(format!("{line:?} is no reply"));
            };
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.get(3..4) != Some("-") {
                return Ok(Reply { code, lines });
            }
            if lines.len() >= REPLY_LINES_MAX {
                return Err(format!("the reply has more than {REPLY_LINES_MAX} lines"));
            }
        }
    }
}

impl Reply {
    /// Whether a reply to EHLO lists the extension.
    pub(in crate::cli) fn lists(&self, keyword: &str) -> bool {
        self.lines
            .iter()
            .skip(1)
            .any(|line| line.split(' ').next().is_some_and(|word| word.eq_ignore_ascii_case(keyword)))
    }

    /// The words of all lines.
    pub(in crate::cli) fn words(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().flat_map(|line| line.split(' '))
    }

    fn expect(self, what: &str, expected: u16) -> Result<Self, String> {
        if self.code == expected { Ok(self) } else { Err(format!("{what} was answered {self}")) }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.lines.join(" / "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reply(bytes: &[u8]) -> Result<Reply, String> {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        theirs.write_all(bytes).await.unwrap();
        drop(theirs);
        Dialogue::new(ours).read_reply().await
    }

    #[tokio::test]
    async fn reads_replies() {
        let ehlo = reply(b"250-mx.example.org\r\n250-SIZE 10485760\r\n250 starttls\r\n").await.unwrap();
        assert_eq!(ehlo.code, 250);
        assert!(ehlo.lists("STARTTLS") && ehlo.lists("SIZE") && !ehlo.lists("mx.example.org"));
        assert_eq!(reply(b"250\r\n").await.unwrap().lines, [""]);
        assert!(reply(b"250-half").await.is_err());
        assert!(reply(b"").await.unwrap_err().contains("closed"));
        assert!(reply(b"SSH-2.0-x\r\n").await.unwrap_err().contains("no reply"));
        assert!(reply(b"22\xc3\xbc\r\n").await.is_err());
        assert!(reply(&b"250-x\r\n".repeat(200)).await.unwrap_err().contains("lines"));
        assert!(reply(&b"2".repeat(5000)).await.is_err());
    }

    #[tokio::test]
    async fn a_refusal_names_the_command() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        theirs.write_all(b"550 5.7.1 No relaying\r\n").await.unwrap();
        let error = Dialogue::new(ours).command("RCPT TO:<a@b>", 250).await.unwrap_err();
        assert_eq!(error, "RCPT was answered 550 5.7.1 No relaying");
    }
}
