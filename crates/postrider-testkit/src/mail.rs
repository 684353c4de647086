//! Messages of every shape that mail has, made on the spot. All end their lines with CRLF and themselves with one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// A message of one line of text. The subject marks it, so that it can be found again.
pub fn plain(sender: &str, recipient: &str, subject: &str) -> Vec<u8> {
    format!(
        "From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: {subject}\r\nDate: Fri, 02 Jan 2026 03:04:05 +0000\r\n\
         Message-ID: <{subject}@client.test>\r\n\r\nGood day.\r\n"
    )
    .into_bytes()
}

/// A shape of message, by name.
#[derive(Debug, Clone)]
pub struct Shape {
    pub name: &'static str,
    pub message: Vec<u8>,
    /// Whether it has bytes above 127.
    pub is_8bit: bool,
    /// Whether all lines keep to 998 bytes (RFC 5322 section 2.1.1).
    pub has_short_lines: bool,
}

/// One message of every shape, the big one apart: [`big_attachment`].
pub fn shapes() -> Vec<Shape> {
    let shape = |name, message: Vec<u8>| Shape {
        name,
        is_8bit: !message.is_ascii(),
        has_short_lines: message.split(|&b| b == b'\n').all(|line| line.len() <= 999),
        message,
    };
    let text = |text: &str| lines(text).into_bytes();
    vec![
        shape("plain", plain("a@client.test", "b@example.org", "plain")),
        shape("multipart", text(MULTIPART)),
        shape("nested", text(NESTED)),
        shape("8bit", text(EIGHT_BIT)),
        shape("base64", text(&format!("{HEAD}Content-Transfer-Encoding: base64\n\n{}\n", BASE64.encode("Grüße\r\n")))),
        shape("encoded words", text(ENCODED_WORDS)),
        shape("broken mime", text(BROKEN_MIME)),
        shape(
            "latin-1",
            [lines(HEAD).as_bytes(), b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xfc\xdfe\r\n"].concat(),
        ),
        shape("no header", text("\nOnly a body: no field stands above it.\n")),
        shape("no body", text("Subject: nothing follows\n")),
        shape("dots", text(&format!("{HEAD}\n.\n..\n.dot\n\n.\n"))),
        shape("trailing blank lines", text(&format!("{HEAD}\ntext\n\n\n\n"))),
        shape("spaces at line ends", text(&format!("{HEAD}\ntext \t\n  \n"))),
        shape("long header", text(&format!("{HEAD}X-Long: {}\n\ntext\n", "word ".repeat(190)))),
        shape("many fields", text(&format!("{HEAD}{}\ntext\n", "X-Field: value\n".repeat(300)))),
        shape("long lines", text(&format!("{HEAD}\n{}\n{}\n", "x".repeat(5000), "y ".repeat(20_000)))),
    ]
}

/// A message with an attachment of `bytes` random-looking bytes in base64.
pub fn big_attachment(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        // xorshift64: enough to keep compression from making it small.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(bytes)
    .collect();
    let encoded = BASE64.encode(content);
    let mut message = lines(&format!(
        "{HEAD}MIME-Version: 1.0\nContent-Type: application/octet-stream; name=\"big.bin\"\n\
         Content-Disposition: attachment; filename=\"big.bin\"\nContent-Transfer-Encoding: base64\n\n"
    ))
    .into_bytes();
    for line in encoded.as_bytes().chunks(76) {
        message.extend_from_slice(line);
        message.extend_from_slice(b"\r\n");
    }
    message
}

fn lines(text: &str) -> String {
    text.replace('\n', "\r\n")
}

const HEAD: &str = "From: <a@client.test>\nTo: <b@example.org>\nSubject: shape\n\
    Date: Fri, 02 Jan 2026 03:04:05 +0000\nMessage-ID: <shape@client.test>\n";

const MULTIPART: &str = "From: Ann <a@client.test>\nTo: b@example.org\nSubject: two ways\nDate: Fri, 02 Jan 2026 03:04:05 +0000\n\
    Message-ID: <two@client.test>\nMIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=\"=_one\"\n\n\
    A preamble.\n--=_one\nContent-Type: text/plain; charset=utf-8\n\nText.\n--=_one\n\
    Content-Type: text/html; charset=utf-8\n\n<p>Text.</p>\n--=_one--\nAn epilogue.\n";

const NESTED: &str = "From: a@client.test\nTo: b@example.org\nSubject: inside of inside\nDate: Fri, 02 Jan 2026 03:04:05 +0000\n\
    Message-ID: <nested@client.test>\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=outer\n\n--outer\n\
    Content-Type: multipart/related; boundary=inner\n\n--inner\nContent-Type: text/html\n\n<img src=\"cid:x\">\n--inner\n\
    Content-Type: image/gif\nContent-ID: <x>\nContent-Transfer-Encoding: base64\n\nR0lGODlhAQABAAAAACw=\n--inner--\n\
    --outer\nContent-Type: message/rfc822\n\nFrom: c@client.test\nSubject: the message inside\n\nInside.\n--outer--\n";

const EIGHT_BIT: &str = "From: a@client.test\nTo: b@example.org\nSubject: eight bits\nDate: Fri, 02 Jan 2026 03:04:05 +0000\n\
    Message-ID: <eight@client.test>\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
    Content-Transfer-Encoding: 8bit\n\nGrüße aus Köln, 你好, 🦀.\n";

const ENCODED_WORDS: &str = "From: =?utf-8?Q?J=C3=B6rg?= <a@client.test>\nTo: b@example.org\n\
    Subject: =?utf-8?B?R3LDvMOfZQ==?=\n =?iso-8859-1?Q?_aus_K=F6ln?=\nDate: Fri, 02 Jan 2026 03:04:05 +0000\n\
    Message-ID: <words@client.test>\n\nText.\n";

const BROKEN_MIME: &str = "From: a@client.test\nTo: b@example.org\nSubject: =?utf-8?B?%%%?= =?x\nDate: yesterday\n\
    Message-ID: not an id\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"never\nContent-Type: ;;;=\n\
    Content-Transfer-Encoding: quoted-unreadable\nA line that is no field\n\n--nowhere\nContent-Type: image/\n\n=ZZ=\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_what_its_name_says() {
        let shapes = shapes();
        for shape in &shapes {
            assert!(shape.message.ends_with(b"\r\n"), "{}", shape.name);
            assert!(!shape.message.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r'), "{}", shape.name);
        }
        let named = |name| shapes.iter().find(|shape| shape.name == name).unwrap();
        assert!(named("8bit").is_8bit && named("latin-1").is_8bit && !named("plain").is_8bit);
        assert!(!named("long lines").has_short_lines && named("long header").has_short_lines);
        assert!(big_attachment(30_000).len() > 40_000);
    }
}
