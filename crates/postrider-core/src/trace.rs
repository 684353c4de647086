//! Trace fields (RFC 5321 section 4.4), and the few fields that a server looks for before it takes a message.

use std::fmt::Write as _;
use std::net::IpAddr;

use memchr::memmem;

use crate::address::{Address, ReversePath};
use crate::id::ObjectId;
use crate::instructions;
use crate::mime::Fields;
use crate::time::Timestamp;

/// A message with more Received fields than this is going in circles (RFC 5321 section 6.3).
pub const RECEIVED_FIELDS_MAX: usize = 100;

/// What a Received field tells.
#[derive(Debug, Clone)]
pub struct Received<'a> {
    /// What the client called itself in EHLO, and its address; `None` where it did not come by SMTP.
    pub client: Option<(&'a str, IpAddr)>,
    /// This host's name.
    pub hostname: &'a str,
    /// `ESMTPSA` and its kin (RFC 3848).
    pub protocol: &'a str,
    /// Version and cipher, where the session was encrypted.
    pub tls: Option<(&'a str, &'a str)>,
    pub id: ObjectId,
    /// Named only where it is the only one: recipients do not learn of each other here (RFC 5321 section 7.6).
    pub recipient: Option<&'a Address>,
    pub at: Timestamp,
}

impl Received<'_> {
    /// Appends the field, folded, with its CRLF.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut text = String::with_capacity(256);
        text.push_str("Received: ");
        if let Some((helo, peer)) = self.client {
            let literal = match peer {
                IpAddr::V4(ip) => format!("[{ip}]"),
                IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
            };
            // What the peer said is shown only if it cannot be taken for anything else.
            let helo_holds = helo.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b) || b >= 128);
            let helo = if helo_holds && !helo.is_empty() { helo } else { "unknown" };
            let _ = write!(text, "from {helo} ({literal})\r\n\t");
        }
        let _ = write!(text, "by {} with {} id {}", self.hostname, self.protocol, self.id);
        if let Some((version, cipher)) = self.tls {
            let _ = write!(text, "\r\n\t({version} {cipher})");
        }
        if let Some(recipient) = self.recipient {
            let _ = write!(text, "\r\n\tfor <{recipient}>");
        }
        let _ = write!(text, ";\r\n\t{}\r\n", self.at.to_rfc5322());
        out.extend_from_slice(text.as_bytes());
    }
}

/// Appends the Return-Path field that a final delivery puts on top.
pub fn write_return_path(reverse_path: &ReversePath, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("Return-Path: <{reverse_path}>\r\n").as_bytes());
}

/// The end of the header section: the offset behind the empty line that ends it, or the whole length.
pub fn header_end(message: &[u8]) -> usize {
    if message.starts_with(b"\r\n") {
        return 2;
    }
    memmem::find(message, b"\r\n\r\n").map_or(message.len(), |at| at + 4)
}

/// Whether a header section has a field of this name.
pub fn has_field(message: &[u8], name: &[u8]) -> bool {
    Fields::new(&message[..header_end(message)]).any(|field| field.name.eq_ignore_ascii_case(name))
}

/// Whether a header can be what a message begins with. A line that begins with white space goes on with the one before; with none
/// before it, the message is all body.
pub fn has_header(message: &[u8]) -> bool {
    !message.starts_with(b" ") && !message.starts_with(b"\t")
}

/// What a server wants to know of a header section before it takes the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeaderScan {
    pub received_fields: usize,
    pub has_date: bool,
    pub has_message_id: bool,
    pub from_fields: usize,
    /// Where the last of them begins.
    pub from_at: usize,
    /// `TLS-Required: No` (RFC 8689 section 3).
    pub waives_tls: bool,
    /// Whether a field is for this server: [`crate::instructions::FIELD_PREFIX`].
    pub has_instructions: bool,
    /// Authentication-Results, of whatever server.
    pub has_authentication_results: bool,
    /// Bcc or Resent-Bcc.
    pub names_bcc: bool,
}

impl HeaderScan {
    pub fn of(message: &[u8]) -> Self {
        let mut scan = Self::default();
        if !has_header(message) {
            return scan;
        }
        let header = &message[..header_end(message)];
        let mut line_start = 0;
        while line_start < header.len() {
            let line = &header[line_start..];
            let is = |name: &[u8]| {
                line.len() > name.len()
                    && line[..name.len()].eq_ignore_ascii_case(name)
                    && line[name.len()..].iter().find(|&&b| b != b' ' && b != b'\t') == Some(&b':')
            };
            match line[0] {
                b'a' | b'A' if is(b"authentication-results") => scan.has_authentication_results = true,
                b'b' | b'B' if is(b"bcc") => scan.names_bcc = true,
                b'r' | b'R' if is(b"resent-bcc") => scan.names_bcc = true,
                b'r' | b'R' if is(b"received") => scan.received_fields += 1,
                b'd' | b'D' if is(b"date") => scan.has_date = true,
                b'm' | b'M' if is(b"message-id") => scan.has_message_id = true,
                b'f' | b'F' if is(b"from") => {
                    scan.from_fields += 1;
                    scan.from_at = line_start;
                }
                b't' | b'T' if is(b"tls-required") => {
                    let end = memchr::memchr(b'\n', line).unwrap_or(line.len());
                    let value =
                        memchr::memchr(b':', line).and_then(|colon| line.get(colon + 1..end)).unwrap_or_default();
                    scan.waives_tls |= value.trim_ascii().eq_ignore_ascii_case(b"no");
                }
                b'x' | b'X' => {
                    let prefix = instructions::FIELD_PREFIX.as_bytes();
                    let start = line.get(..prefix.len());
                    scan.has_instructions |= start.is_some_and(|start| start.eq_ignore_ascii_case(prefix));
                }
                _ => {}
            }
            line_start = memchr::memchr(b'\n', line).map_or(header.len(), |at| line_start + at + 1);
        }
        scan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_received_field() {
        let recipient = Address::parse("b@example.org").unwrap();
        let received = Received {
            client: Some(("client.example", "2001:db8::7".parse().unwrap())),
            hostname: "mx.example.org",
            protocol: "ESMTPS",
            tls: Some(("TLSv1.3", "TLS13_AES_256_GCM_SHA384")),
            id: ObjectId::from_bytes([7; 12]),
            recipient: Some(&recipient),
            at: Timestamp::from_millis(1_795_354_780_123),
        };
        let mut out = Vec::new();
        received.write(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "Received: from client.example ([IPv6:2001:db8::7])\r\n\
             \tby mx.example.org with ESMTPS id 070707070707070707070707\r\n\
             \t(TLSv1.3 TLS13_AES_256_GCM_SHA384)\r\n\
             \tfor <b@example.org>;\r\n\
             \tSun, 22 Nov 2026 13:39:40 +0000\r\n"
        );
    }

    #[test]
    fn a_peer_cannot_write_into_the_field() {
        let mut out = Vec::new();
        let received = Received {
            client: Some(("x\r\nBcc: everyone (", "192.0.2.1".parse().unwrap())),
            hostname: "mx.example.org",
            protocol: "SMTP",
            tls: None,
            id: ObjectId::default(),
            recipient: None,
            at: Timestamp::default(),
        };
        received.write(&mut out);
        assert!(out.starts_with(b"Received: from unknown ([192.0.2.1])\r\n"));
    }

    #[test]
    fn scans_only_the_header() {
        let message =
            b"Received: a\r\nRECEIVED : b\r\n folded\r\nSubject: Date: x\r\nDate: now\r\n\r\nMessage-ID: <body>\r\n";
        let scan = HeaderScan::of(message);
        assert_eq!(
            scan,
            HeaderScan { received_fields: 2, has_date: true, has_message_id: false, ..HeaderScan::default() }
        );
        let scan = HeaderScan::of(b"To: a\r\nFrom: b\r\n\r\nFrom: body\r\n");
        assert_eq!((scan.from_fields, scan.from_at), (1, 7));
        assert!(HeaderScan::of(b"To: a\r\nx-postrider-tags: b\r\n\r\n").has_instructions);
        for header in ["Bcc: a", "bcc :", "Resent-BCC: b"] {
            assert!(HeaderScan::of(format!("To: a\r\n{header}\r\n\r\n").as_bytes()).names_bcc, "{header}");
        }
        assert!(!HeaderScan::of(b"To: a\r\nX-Bcc: a\r\nBccs: a\r\n\r\nBcc: body\r\n").names_bcc);
        assert!(HeaderScan::of(b"authentication-results: x\r\n\r\n").has_authentication_results);
        assert!(!HeaderScan::of(b"X-Postride: a\r\nX-\r\n\r\nX-Postrider-Tags: body\r\n").has_instructions);
        for (header, waives) in [("TLS-Required: No", true), ("tls-required :no ", true), ("TLS-Required: Yes", false)]
        {
            let message = format!("From: a\r\n{header}\r\n\r\nTLS-Required: No\r\n");
            assert_eq!(HeaderScan::of(message.as_bytes()).waives_tls, waives, "{header}");
        }
        assert_eq!(HeaderScan::of(b"\r\nDate: body\r\n"), HeaderScan::default());
        assert_eq!(HeaderScan::of(b""), HeaderScan::default());
        assert_eq!(header_end(b"a: b\r\n"), 6);
    }
}
