//! A transaction as it is asked for and as it ended, and its commands as they are written (RFC 5321 section 3.3).
//!
//! Nothing that is written here can hold a line end: what could, is refused before the first byte.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::capabilities::Capabilities;
use crate::smtp::envelope::{DsnReturn, Notify};
use crate::smtp::reply::Reply;
use crate::smtp::text::line_ends_hold;

/// One message with its envelope. Parameters go to the server only where it offers their extension.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    /// Without angle brackets; empty is the null reverse-path.
    pub reverse_path: String,
    /// Of the message, in bytes, for SIZE (RFC 1870).
    pub size: Option<u64>,
    /// Whether the message has bytes above 127 (RFC 6152). Where the server lacks 8BITMIME, convert it first.
    pub body_8bitmime: bool,
    /// Whether envelope or header need SMTPUTF8 (RFC 6531). Refused where the server lacks it.
    pub smtputf8: bool,
    /// RET (RFC 3461 section 4.3).
    pub dsn_return: Option<DsnReturn>,
    /// ENVID in xtext (RFC 3461 section 4.4).
    pub envelope_id: Option<String>,
    /// REQUIRETLS (RFC 8689): who asks for it goes to no server that lacks it.
    pub require_tls: bool,
    /// MT-PRIORITY (RFC 6710), from -9 to 9.
    pub priority: Option<i8>,
    /// At least one.
    pub recipients: Vec<TransactionRecipient>,
    /// All line ends are CRLF. A missing last one is added; dots are stuffed on the way out.
    pub message: Bytes,
}

#[derive(Debug, Clone, Default)]
pub struct TransactionRecipient {
    /// Without angle brackets.
    pub address: String,
    pub notify: Option<Notify>,
    /// ORCPT, `rfc822;` and the address in xtext (RFC 3461 section 4.2).
    pub original_recipient: Option<String>,
}

/// What became of a transaction to which the server has answered all that it will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionResult {
    /// In the order of [`Transaction::recipients`].
    pub recipients: Vec<RecipientResult>,
    /// What was said, in order. On a connection's first transaction it begins with the greeting.
    pub exchanges: Vec<Exchange>,
    /// Whether the connection may carry another transaction.
    pub usable: bool,
}

/// What the server said last about one recipient: to the end of data, or to the command that it refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientResult {
    Accepted(Reply),
    /// For now or for good, as the reply's code says.
    Rejected(Reply),
}

/// A command and the reply to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// `connect` for the greeting, `.` for the end of data, otherwise the command's verb.
    pub command: Cow<'static, str>,
    /// Which recipient a RCPT was for.
    pub recipient: Option<usize>,
    pub reply: Reply,
}

/// Why a transaction cannot be begun. Nothing of it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactError {
    /// The connection is not idle: no transaction may begin now.
    NotReady,
    NoRecipients,
    /// A path or a parameter has a character that must not stand there, or needs SMTPUTF8 without asking for it.
    UnfitText,
    /// The message has a CR or LF that is not part of a line end: another server could see an end of data there.
    BareLineEnd,
    /// The message needs SMTPUTF8 and the server lacks it (RFC 6531 section 3.4).
    Smtputf8NotOffered,
}

impl fmt::Display for TransactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReady => "the connection is not ready for a transaction",
            Self::NoRecipients => "the transaction has no recipients",
            Self::UnfitText => "an address or parameter has a character that cannot be sent",
            Self::BareLineEnd => "the message has a bare CR or LF",
            Self::Smtputf8NotOffered => "the message needs SMTPUTF8, which the server does not offer",
        })
    }
}

impl std::error::Error for TransactError {}

impl Transaction {
    /// Whether every command can be written for this server.
    pub(super) fn check(&self, capabilities: &Capabilities) -> Result<(), TransactError> {
        if self.recipients.is_empty() {
            return Err(TransactError::NoRecipients);
        }
        if self.smtputf8 && !capabilities.smtputf8 {
            return Err(TransactError::Smtputf8NotOffered);
        }
        let path_holds = |text: &str| text.is_empty() || is_path(text, self.smtputf8);
        let recipient_holds = |recipient: &TransactionRecipient| {
            is_path(&recipient.address, self.smtputf8)
                // UTF-8 in it is written in ASCII where need be.
                && recipient.original_recipient.as_deref().is_none_or(|text| is_parameter(text, true))
        };
        let all_hold = path_holds(&self.reverse_path)
            && self.envelope_id.as_deref().is_none_or(|text| is_parameter(text, false))
            && self.recipients.iter().all(recipient_holds);
        if !all_hold {
            return Err(TransactError::UnfitText);
        }
        if line_ends_hold(&self.message) { Ok(()) } else { Err(TransactError::BareLineEnd) }
    }

    /// Appends MAIL with its line end.
    pub(super) fn write_mail(&self, capabilities: &Capabilities, out: &mut Vec<u8>) {
        put(out, &["MAIL FROM:<", &self.reverse_path, ">"]);
        if let Some(size) = self.size.filter(|_| capabilities.size) {
            put(out, &[" SIZE=", &size.to_string()]);
        }
        if self.body_8bitmime && capabilities.eight_bit_mime {
            put(out, &[" BODY=8BITMIME"]);
        }
        if self.smtputf8 {
            put(out, &[" SMTPUTF8"]);
        }
        if capabilities.dsn {
            match self.dsn_return {
                Some(DsnReturn::Full) => put(out, &[" RET=FULL"]),
                Some(DsnReturn::Headers) => put(out, &[" RET=HDRS"]),
                None => {}
            }
            if let Some(envelope_id) = &self.envelope_id {
                put(out, &[" ENVID=", envelope_id]);
            }
        }
        if let Some(priority) = self.priority.filter(|_| capabilities.mt_priority) {
            put(out, &[" MT-PRIORITY=", &priority.to_string()]);
        }
        if self.require_tls && capabilities.require_tls {
            put(out, &[" REQUIRETLS"]);
        }
        put(out, &["\r\n"]);
    }

    /// Appends the RCPT of one recipient with its line end.
    pub(super) fn write_rcpt(&self, recipient: usize, capabilities: &Capabilities, out: &mut Vec<u8>) {
        let Some(recipient) = self.recipients.get(recipient) else { return };
        put(out, &["RCPT TO:<", &recipient.address, ">"]);
        if capabilities.dsn {
            if let Some(notify) = recipient.notify {
                put(out, &[" NOTIFY=", &notify.to_parameter()]);
            }
            if let Some(original) = &recipient.original_recipient {
                put(out, &[" ORCPT=", &self.orcpt(original)]);
            }
        }
        put(out, &["\r\n"]);
    }
}

impl Transaction {
    /// An ORCPT as this server can read it: without SMTPUTF8 in `utf-8-addr-xtext` (RFC 6533 section 3).
    fn orcpt<'a>(&self, original_recipient: &'a str) -> Cow<'a, str> {
        if self.smtputf8 || original_recipient.is_ascii() {
            return Cow::Borrowed(original_recipient);
        }
        let escape = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\x{{{:X}}}", u32::from(c)) };
        Cow::Owned(original_recipient.chars().map(escape).collect())
    }
}

impl Notify {
    fn to_parameter(self) -> String {
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let asked: Vec<&str> = words.into_iter().filter(|(asked, _)| *asked).map(|(_, word)| word).collect();
        if asked.is_empty() { "NEVER".to_owned() } else { asked.join(",") }
    }
}

/// Whether a path can stand between angle brackets without ending them or the line: the address itself was parsed
/// before it came here, this is the last door.
fn is_path(text: &str, smtputf8: bool) -> bool {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for byte in text.bytes() {
        let is_allowed = match byte {
            0..=31 | 127 => false,
            128.. => smtputf8,
            b' ' | b'<' | b'>' => is_quoted,
            _ => true,
        };
        if !is_allowed {
            return false;
        }
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
    }
    !text.is_empty() && !is_quoted
}

/// Whether a text can be a parameter's value (RFC 5321 section 4.1.2, RFC 6531 section 3.3). Unlike there, `=` may stand
/// in it: what a sender gave is passed on, and it does no harm.
fn is_parameter(text: &str, utf8: bool) -> bool {
    !text.is_empty() && text.bytes().all(|b| (33..=126).contains(&b) || (utf8 && b >= 128))
}

fn put(out: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_could_end_a_line_or_a_path_is_sent() {
        let all = Capabilities { smtputf8: true, dsn: true, ..Capabilities::default() };
        let sound = Transaction {
            reverse_path: "a@example.org".into(),
            recipients: vec![TransactionRecipient { address: "b@example.net".into(), ..Default::default() }],
            ..Transaction::default()
        };
        assert_eq!(sound.check(&all), Ok(()));
        for text in ["a\r\nRCPT TO:<x@y>", "a\nb", "a\0b", "a> b", "a b@c", "\"a@b", "ä@b", "a\x7f@b", "<"] {
            let mut transaction = sound.clone();
            transaction.reverse_path = text.into();
            assert_eq!(transaction.check(&all), Err(TransactError::UnfitText), "{text:?}");
            let mut transaction = sound.clone();
            transaction.recipients[0].address = text.into();
            assert_eq!(transaction.check(&all), Err(TransactError::UnfitText), "{text:?}");
        }
        let with_umlaut = Transaction { envelope_id: Some("ä".into()), ..sound.clone() };
        assert_eq!(with_umlaut.check(&all), Err(TransactError::UnfitText));
        for text in ["", "a b", "a\r\nb"] {
            let mut transaction = sound.clone();
            transaction.envelope_id = Some(text.into());
            assert_eq!(transaction.check(&all), Err(TransactError::UnfitText), "{text:?}");
            let mut transaction = sound.clone();
            transaction.recipients[0].original_recipient = Some(text.into());
            assert_eq!(transaction.check(&all), Err(TransactError::UnfitText), "{text:?}");
        }
        for text in ["", r#""a > b\" c"@d"#, "a@[IPv6:::1]"] {
            let transaction = Transaction { reverse_path: text.into(), ..sound.clone() };
            assert_eq!(transaction.check(&all), Ok(()), "{text:?}");
        }
        assert_eq!(Transaction::default().check(&all), Err(TransactError::NoRecipients));
    }

    #[test]
    fn an_original_recipient_travels_in_ascii_where_it_must() {
        let dsn = Capabilities { dsn: true, ..Capabilities::default() };
        let written = |smtputf8| {
            let recipient = TransactionRecipient {
                address: "b@example.net".into(),
                original_recipient: Some("utf-8;用ä@example.jp".into()),
                ..Default::default()
            };
            let transaction = Transaction { smtputf8, recipients: vec![recipient], ..Transaction::default() };
            assert_eq!(transaction.check(&Capabilities { smtputf8, ..dsn }), Ok(()));
            let mut out = Vec::new();
            transaction.write_rcpt(0, &dsn, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(false), "RCPT TO:<b@example.net> ORCPT=utf-8;\\x{7528}\\x{E4}@example.jp\r\n");
        assert_eq!(written(true), "RCPT TO:<b@example.net> ORCPT=utf-8;用ä@example.jp\r\n");
    }

    #[test]
    fn smtputf8_is_asked_for_or_absent() {
        let transaction = Transaction {
            smtputf8: true,
            recipients: vec![TransactionRecipient { address: "ä@example.net".into(), ..Default::default() }],
            ..Transaction::default()
        };
        let offered = Capabilities { smtputf8: true, ..Capabilities::default() };
        assert_eq!(transaction.check(&offered), Ok(()));
        assert_eq!(transaction.check(&Capabilities::default()), Err(TransactError::Smtputf8NotOffered));
    }
}
