//! Scripts of whole sessions, played against a server.

use super::LineClient;

impl LineClient {
    /// Plays a script, line by line:
    ///
    /// - `C: text` sends the text with CRLF; lines that follow each other leave in one write,
    /// - `R: text` sends the text without CRLF, with `\r`, `\n`, `\0`, `\\` and `\xHH` for bytes,
    /// - `S: text` expects a reply line, where `*` stands for any text,
    /// - `S: 250` (a code alone) expects a whole reply of that code, of any number of lines,
    /// - `S: <close>` expects the end of the connection,
    /// - `-- TLS` does the handshake.
    ///
    /// # Panics
    ///
    /// At the first line that the server does not say as written.
    pub async fn play(&mut self, script: &str) {
        let mut batch: Vec<&str> = Vec::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (kind, text) = (line.get(..2).unwrap_or_default(), line.get(2..).unwrap_or_default());
            let text = text.strip_prefix(' ').unwrap_or(text);
            if kind == "C:" {
                batch.push(text);
                continue;
            }
            self.flush(&mut batch).await;
            match (kind, text) {
                ("R:", raw) => self.send_raw(&unescape(raw)).await,
                ("S:", "<close>") => self.expect_end().await,
                ("S:", code) if code.len() == 3 => {
                    let reply = self.reply().await;
                    assert_eq!(reply.code.to_string(), code, "{}", self.transcript());
                }
                ("S:", pattern) => {
                    let line = self.line().await.unwrap_or_default();
                    assert!(matches(pattern, &line), "{pattern:?} expected, {line:?} said:\n{}", self.transcript());
                }
                ("--", _) => self.handshake().await.unwrap_or_else(|error| panic!("the handshake failed: {error}")),
                _ => panic!("{line:?} is no line of a script"),
            }
        }
        self.flush(&mut batch).await;
    }

    async fn flush(&mut self, batch: &mut Vec<&str>) {
        if !batch.is_empty() {
            self.send_batch(&std::mem::take(batch)).await;
        }
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b'0') => 0,
            Some(b'x') => {
                let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap_or_else(|_| panic!("\\x{digits} is no byte"))
            }
            Some(b'\\') => b'\\',
            other => panic!("{other:?} cannot be escaped"),
        });
    }
    out
}

/// Whether a text is as the pattern says, `*` standing for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(head) else { return false };
    (0..=rest.len()).filter(|&at| rest.is_char_boundary(at)).any(|at| matches(tail, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        assert!(matches("250 * ok", "250 all is ok"));
        assert!(matches("250*", "250"));
        assert!(!matches("250 ok", "250 okay"));
        assert!(!matches("250 *x", "250 y"));
        assert!(matches("*ü*", "für"));
    }

    #[test]
    fn escapes_are_bytes() {
        assert_eq!(unescape(r"a\r\n.\0\xff\\"), b"a\r\n.\0\xff\\");
    }
}
