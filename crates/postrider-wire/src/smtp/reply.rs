//! Replies: the value that both sides speak of, and the table of all that our server says (RFC 5321 section 4.2,
//! enhanced codes by RFC 3463 and RFC 2034).
//!
//! A reply holds what the peer may know and nothing else: the private cause of a refusal belongs in the log. This module
//! knows no session and no command; reading replies is the client's.

use std::borrow::Cow;
use std::fmt;

use bytes::BufMut;

/// An enhanced status code: class, subject, detail (RFC 3463 section 2).
pub type EnhancedCode = (u8, u16, u16);

/// What a server says to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits, 200 to 599.
    pub code: u16,
    /// Greetings, answers to HELO and EHLO, and 3xx replies carry none (RFC 2034 section 4).
    pub enhanced: Option<EnhancedCode>,
    /// The texts of the lines, without codes, joined by line feeds.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// Bytes of one line with its codes and CRLF (RFC 5321 section 4.5.3.1.5). What is longer is cut when written.
    pub const LINE_BYTES_MAX: usize = 512;

    /// A reply with an enhanced code.
    pub fn new(code: u16, enhanced: EnhancedCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced: Some(enhanced), text: text.into() }
    }

    /// A reply without an enhanced code.
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced: None, text: text.into() }
    }

    const fn fixed(code: u16, enhanced: EnhancedCode, text: &'static str) -> Self {
        Self { code, enhanced: Some(enhanced), text: Cow::Borrowed(text) }
    }

    /// The command was done (2xx).
    pub const fn is_positive(&self) -> bool {
        self.code >= 200 && self.code < 300
    }

    /// The server waits for more of the command: data, or a SASL response (3xx).
    pub const fn is_intermediate(&self) -> bool {
        self.code >= 300 && self.code < 400
    }

    /// Not done, but may be at another time (4xx).
    pub const fn is_transient(&self) -> bool {
        self.code >= 400 && self.code < 500
    }

    /// Not done, and trying again as it is will not help (5xx).
    pub const fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// Appends the reply with its line ends: one line for each line of the text, each with both codes.
    ///
    /// Control characters become spaces, so that a text that quotes a peer cannot break out of its line. A line over
    /// [`Reply::LINE_BYTES_MAX`] is cut at a character.
    pub fn write(&self, out: &mut impl BufMut) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let mut head = [0u8; HEAD_BYTES_MAX];
            let head = self.head(&mut head, lines.peek().is_some());
            out.put_slice(head);
            put_text(out, cut(line, Self::LINE_BYTES_MAX - head.len() - 2));
            out.put_slice(b"\r\n");
        }
    }

    /// What stands before the text of a line: `250-2.1.5 `.
    fn head<'a>(&self, buffer: &'a mut [u8; HEAD_BYTES_MAX], more: bool) -> &'a [u8] {
        use std::io::Write as _;
        let mut rest = &mut buffer[..];
        let separator = if more { '-' } else { ' ' };
        // Writing fails only where the buffer ends, and the longest head fits.
        let _ = write!(rest, "{:03}{separator}", self.code.min(999));
        if let Some((class, subject, detail)) = self.enhanced {
            let _ = write!(rest, "{class}.{subject}.{detail} ");
        }
        let used = HEAD_BYTES_MAX - rest.len();
        &buffer[..used]
    }
}

/// `250-`, and `255.65535.65535 `.
const HEAD_BYTES_MAX: usize = 4 + 16;

/// The longest start of `text` that is no longer than `bytes_max` and ends between characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max { text } else { &text[..text.floor_char_boundary(bytes_max)] }
}

fn put_text(out: &mut impl BufMut, text: &str) {
    if text.bytes().any(|b| b.is_ascii_control()) {
        let clean: Vec<u8> = text.bytes().map(|b| if b.is_ascii_control() { b' ' } else { b }).collect();
        out.put_slice(&clean);
    } else {
        out.put_slice(text.as_bytes());
    }
}

impl fmt::Display for Reply {
    /// On one line, for people: `550 5.1.1 No such mailbox here`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some((class, subject, detail)) = self.enhanced {
            write!(f, " {class}.{subject}.{detail}")?;
        }
        if !self.text.is_empty() {
            write!(f, " {}", self.text.replace(|c: char| c.is_control(), " "))?;
        }
        Ok(())
    }
}

/// The table: everything our server says, but for greeting, EHLO and SASL challenges, which are made where they belong.
impl Reply {
    pub const OK: Self = Self::fixed(250, (2, 0, 0), "OK");
    /// A field for this server says what cannot be meant.
    pub fn bad_instruction(field: &str, why: &str) -> Self {
        Self { code: 554, enhanced: Some((5, 6, 0)), text: format!("{field}: {why}").into() }
    }

    pub const SENDER_OK: Self = Self::fixed(250, (2, 1, 0), "Sender OK");
    pub const RECIPIENT_OK: Self = Self::fixed(250, (2, 1, 5), "Recipient OK");
    pub const RESET: Self = Self::fixed(250, (2, 0, 0), "Transaction forgotten");
    pub const MESSAGE_ACCEPTED: Self = Self::fixed(250, (2, 0, 0), "Message accepted");
    pub const CHUNK_OK: Self = Self::fixed(250, (2, 0, 0), "Chunk received");
    pub const CANNOT_VERIFY: Self =
        Self::fixed(252, (2, 5, 0), "Cannot verify, but will take a message and try to deliver it");
    pub const START_DATA: Self = Self { code: 354, enhanced: None, text: Cow::Borrowed("End data with <CRLF>.<CRLF>") };
    pub const READY_FOR_TLS: Self = Self::fixed(220, (2, 0, 0), "Ready to start TLS");
    pub const AUTHENTICATED: Self = Self::fixed(235, (2, 7, 0), "Authentication succeeded");

    // The end of a session.
    pub const SHUTTING_DOWN: Self = Self::fixed(421, (4, 3, 2), "Server is shutting down, try again later");
    pub const IDLE_TOO_LONG: Self = Self::fixed(421, (4, 4, 2), "Idle for too long, closing");
    pub const TOO_MANY_ERRORS: Self = Self::fixed(421, (4, 7, 0), "Too many errors, closing");
    pub const TOO_MANY_SESSIONS: Self = Self::fixed(421, (4, 7, 0), "Too many sessions, try again later");
    pub const INTERNAL_FAILURE: Self = Self::fixed(421, (4, 3, 0), "Internal failure, try again later");
    pub const NOT_HTTP: Self = Self::fixed(421, (4, 7, 0), "This is SMTP, not HTTP; closing");
    pub const MESSAGE_ENDLESS: Self = Self::fixed(421, (4, 3, 4), "Message is far too large, closing");

    pub const LMTP_FOR_TRUSTED: Self =
        Self::fixed(554, (5, 7, 1), "LMTP is served here to trusted networks only (TRUSTED_NETWORKS); closing");

    // Commands that cannot be understood or are out of place.
    pub const LINE_TOO_LONG: Self = Self::fixed(500, (5, 5, 2), "Line too long");
    pub const BAD_LINE_END: Self =
        Self::fixed(500, (5, 5, 2), "Lines end with CRLF; bare CR, bare LF and NUL are not allowed");
    pub const NOT_UTF8: Self = Self::fixed(500, (5, 5, 2), "Commands are ASCII or UTF-8");
    pub const UNKNOWN_COMMAND: Self = Self::fixed(500, (5, 5, 2), "Unknown command");
    pub const NOT_IMPLEMENTED: Self = Self::fixed(502, (5, 5, 1), "Command not implemented");
    pub const BAD_SYNTAX: Self = Self::fixed(501, (5, 5, 4), "Syntax error in parameters");
    pub const UNEXPECTED_PARAMETER: Self = Self::fixed(501, (5, 5, 4), "This command takes no parameters");
    pub const DUPLICATE_PARAMETER: Self = Self::fixed(501, (5, 5, 4), "Parameter given twice");
    pub const BAD_PARAMETER_VALUE: Self = Self::fixed(501, (5, 5, 4), "Bad value of a parameter");
    pub const UNKNOWN_PARAMETER: Self = Self::fixed(555, (5, 5, 4), "Parameter not recognised or not offered");
    pub const NOT_HELD_HERE: Self =
        Self::fixed(550, (5, 3, 3), "Mail for addresses here cannot be held for later; send it when it is due");
    pub const HELD_TOO_LONG: Self =
        Self::fixed(501, (5, 5, 4), "Messages are not held for so long; EHLO says how long they are");
    pub const HELD_UNTIL_NO_TIME: Self =
        Self::fixed(501, (5, 5, 4), "HOLDUNTIL is a time to come, as 2026-12-24T18:00:00Z");
    pub const BAD_HELLO_NAME: Self = Self::fixed(501, (5, 5, 4), "A host name or address literal is needed");
    pub const BAD_SEQUENCE: Self = Self::fixed(503, (5, 5, 1), "Bad sequence of commands");
    pub const HELLO_FIRST: Self = Self::fixed(503, (5, 5, 1), "Say EHLO or HELO first");
    pub const LHLO_FIRST: Self = Self::fixed(503, (5, 5, 1), "Say LHLO first");
    pub const NOT_SMTP: Self = Self::fixed(500, (5, 5, 1), "This is LMTP, not SMTP: say LHLO");
    pub const NOT_LMTP: Self = Self::fixed(500, (5, 5, 1), "This is SMTP, not LMTP: say EHLO or HELO");
    pub const MAIL_FIRST: Self = Self::fixed(503, (5, 5, 1), "Say MAIL first");
    pub const NESTED_MAIL: Self = Self::fixed(503, (5, 5, 1), "A transaction is open already");
    pub const NO_VALID_RECIPIENTS: Self = Self::fixed(554, (5, 5, 1), "No valid recipients");
    pub const LMTP_NO_VALID_RECIPIENTS: Self = Self::fixed(503, (5, 5, 1), "No valid recipients");
    pub const BDAT_UNDERWAY: Self = Self::fixed(503, (5, 5, 1), "BDAT is under way, go on with it or say RSET");

    // Addresses.
    pub const BAD_REVERSE_PATH: Self = Self::fixed(501, (5, 1, 7), "Bad syntax of the sender's address");
    pub const BAD_FORWARD_PATH: Self = Self::fixed(501, (5, 1, 3), "Bad syntax of the recipient's address");
    pub const ADDRESS_NEEDS_SMTPUTF8: Self =
        Self::fixed(553, (5, 6, 7), "Non-ASCII addresses are allowed only with SMTPUTF8");
    pub const NO_SUCH_MAILBOX: Self = Self::fixed(550, (5, 1, 1), "No such mailbox here");
    pub const MAILBOX_FULL: Self = Self::fixed(552, (5, 2, 2), "Mailbox is full");
    pub const RELAY_DENIED: Self = Self::fixed(550, (5, 7, 1), "Relaying is not allowed");
    pub const NOT_DELIVERED_HERE: Self =
        Self::fixed(550, (5, 7, 1), "This domain's mail is not delivered here, and LMTP does not relay");
    pub const TOO_MANY_RECIPIENTS: Self = Self::fixed(452, (4, 5, 3), "Too many recipients, send the rest later");

    // Messages.
    pub const MESSAGE_TOO_LARGE: Self = Self::fixed(552, (5, 3, 4), "Message is too large");
    pub const TEXT_LINE_TOO_LONG: Self = Self::fixed(500, (5, 5, 2), "A line of the message is too long");
    pub const BARE_LINE_END: Self =
        Self::fixed(550, (5, 6, 0), "Message has a bare CR or bare LF; its lines must end with CRLF");
    pub const NUL_IN_MESSAGE: Self = Self::fixed(550, (5, 6, 0), "Message has a NUL character");
    pub const MAIL_LOOP: Self = Self::fixed(554, (5, 4, 6), "Too many Received fields: the message goes in circles");
    /// RFC 7372 section 3.4.
    pub const REVERSE_DNS_FAILED: Self =
        Self::fixed(550, (5, 7, 25), "Your address has no name in reverse DNS that knows the address");
    pub const REVERSE_DNS_UNKNOWN: Self =
        Self::fixed(451, (4, 7, 25), "Your address cannot be looked up in reverse DNS now, try again later");
    pub const EHLO_REFUSED: Self =
        Self::fixed(550, (5, 7, 1), "Your EHLO names no host that exists, or another than yours");
    pub const EHLO_UNKNOWN: Self =
        Self::fixed(451, (4, 7, 1), "The name in your EHLO cannot be looked up now, try again later");
    /// RFC 7489 section 10.3, RFC 7372 section 3.3.
    pub const DMARC_FAILED: Self = Self::fixed(
        550,
        (5, 7, 26),
        "The author's domain wants such mail refused (DMARC): neither SPF nor DKIM speaks for it",
    );
    pub const DMARC_UNKNOWN: Self = Self::fixed(
        451,
        (4, 7, 26),
        "The author's domain wants mail that fails DMARC refused or put aside, and DNS does not say now whether this does",
    );
    pub const NO_AUTHOR: Self =
        Self::fixed(550, (5, 7, 26), "Nobody can say whose mail this is: one author in one From field is needed");
    pub const STORE_UNAVAILABLE: Self = Self::fixed(451, (4, 3, 0), "Cannot keep the message now, try again later");
    pub const STORE_FULL: Self = Self::fixed(452, (4, 3, 1), "Not enough storage now, try again later");
    pub const OVERLOADED: Self = Self::fixed(452, (4, 3, 1), "Too busy now, try again later");

    // Encryption and authentication.
    pub const TLS_NOT_OFFERED: Self = Self::fixed(502, (5, 5, 1), "STARTTLS is not offered");
    pub const TLS_ACTIVE: Self = Self::fixed(503, (5, 5, 1), "TLS is active already");
    pub const TLS_REQUIRED: Self = Self::fixed(530, (5, 7, 0), "Say STARTTLS first");
    pub const TLS_UNAVAILABLE: Self = Self::fixed(454, (4, 7, 0), "TLS is not available now");
    pub const AUTH_NOT_OFFERED: Self = Self::fixed(502, (5, 5, 1), "AUTH is not offered");
    pub const AUTH_REQUIRED: Self = Self::fixed(530, (5, 7, 0), "Authentication required");
    pub const AUTH_NEEDS_TLS: Self =
        Self::fixed(538, (5, 7, 11), "Encryption is required for authentication: say STARTTLS first");
    pub const AUTH_DONE: Self = Self::fixed(503, (5, 5, 1), "Authenticated already");
    pub const AUTH_CANCELLED: Self = Self::fixed(501, (5, 7, 0), "Authentication cancelled");
    pub const AUTH_MECHANISM_UNKNOWN: Self = Self::fixed(504, (5, 5, 4), "Mechanism not offered");
    pub const AUTH_BAD_RESPONSE: Self = Self::fixed(501, (5, 5, 2), "The response is not valid for this mechanism");
    pub const AUTH_LINE_TOO_LONG: Self = Self::fixed(500, (5, 5, 6), "Authentication exchange line is too long");
    pub const AUTH_FAILED: Self = Self::fixed(535, (5, 7, 8), "User name or password is wrong");
    /// X.7.13 of the registry that RFC 5248 made: the password is right, and the administrator has the say.
    pub const ACCOUNT_DISABLED: Self =
        Self::fixed(525, (5, 7, 13), "This account is disabled, ask the administrator of this server");
    pub const AUTH_UNAVAILABLE: Self = Self::fixed(454, (4, 7, 0), "Cannot check this now, try again later");
    pub const SENDER_NOT_ALLOWED: Self = Self::fixed(550, (5, 7, 1), "You may not send from this address");

    /// 221, with the server's name (RFC 5321 section 4.2.3).
    pub fn closing(hostname: &str) -> Self {
        Self::new(221, (2, 0, 0), format!("{hostname} closing, goodbye"))
    }

    /// 250 to the end of data, with the id under which the message is kept.
    pub fn accepted_as(id: impl fmt::Display) -> Self {
        Self::new(250, (2, 0, 0), format!("Message accepted as {id}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_has_both_codes() {
        assert_eq!(written(&Reply::new(250, (2, 1, 5), "a\nb")), "250-2.1.5 a\r\n250 2.1.5 b\r\n");
        assert_eq!(written(&Reply::plain(250, "a\n\nb")), "250-a\r\n250-\r\n250 b\r\n");
        assert_eq!(written(&Reply::plain(334, "")), "334 \r\n");
        assert_eq!(Reply::NO_SUCH_MAILBOX.to_string(), "550 5.1.1 No such mailbox here");
    }

    #[test]
    fn a_text_cannot_leave_its_line() {
        assert_eq!(written(&Reply::new(550, (5, 0, 0), "x\r250 OK\0\x7f")), "550 5.0.0 x 250 OK  \r\n");
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let text = written(&Reply::new(999, (255, 65535, 65535), "ä".repeat(400)));
        assert_eq!(text.len(), Reply::LINE_BYTES_MAX);
        assert!(text.ends_with("ä\r\n"));
    }
}
