//! What messages look like on the wire: line ends, dot-stuffing, the end of data (RFC 5321 sections 2.3.8 and 4.5.2).
//!
//! Reading is strict: only CRLF.CRLF ends data and only CRLF ends a line, so that no two servers on a message's way can
//! disagree about where it ends. This module knows bytes and lines; it knows no command, no reply and no header field.

use std::sync::LazyLock;

use bytes::{BufMut, BytesMut};
use memchr::{memchr, memchr_iter, memchr2, memmem, memrchr};

/// Finds where a line starts with a dot: the only places where data can end or was stuffed.
static LINE_WITH_DOT: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\r\n."));

/// What a message on the wire is held to.
#[derive(Debug, Clone, Copy)]
pub struct TextRules {
    /// Bytes of one line with its CRLF, dots that were stuffed not counted.
    pub line_bytes_max: usize,
    /// Bytes of the message, dots that were stuffed not counted.
    pub message_bytes_max: usize,
    /// Bare CR and bare LF become CRLF instead of being a fault.
    pub repair_line_ends: bool,
}

/// Why a message cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFault {
    TooLarge,
    Nul,
    BareLineEnd,
    LineTooLong,
}

/// Checks a message's bytes and gathers them; those of DATA come through a [`DataDecoder`], those of BDAT as they are.
///
/// After the first fault nothing more is gathered, but counting goes on: which fault is told at the end must not depend on
/// how the network cut the bytes.
#[derive(Debug)]
pub struct TextChecker {
    rules: TextRules,
    /// Bytes of the message so far, held or not.
    message_bytes: u64,
    /// Bytes of the line that has not ended yet.
    line_bytes: usize,
    /// The last byte was a CR that is not in the message yet: a LF may follow.
    cr_held: bool,
    repaired: bool,
    nul: bool,
    bare_line_end: bool,
    line_too_long: bool,
}

impl TextChecker {
    pub fn new(rules: TextRules) -> Self {
        Self {
            rules,
            message_bytes: 0,
            line_bytes: 0,
            cr_held: false,
            repaired: false,
            nul: false,
            bare_line_end: false,
            line_too_long: false,
        }
    }

    /// Takes the next bytes of the message, cut anywhere, and appends them to `out` while there is no fault.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut BytesMut) {
        if bytes.is_empty() {
            return;
        }
        if self.cr_held {
            self.cr_held = false;
            if bytes[0] == b'\n' {
                self.append(b"\r\n", out);
                bytes = &bytes[1..];
            } else {
                self.bare(out);
            }
        }
        if let [rest @ .., b'\r'] = bytes {
            self.cr_held = true;
            bytes = rest;
        }
        let run = scan(bytes);
        self.nul |= run.nul;
        if run.bare_line_end {
            self.push_with_bare_line_ends(bytes, out);
        } else {
            self.append(bytes, out);
        }
    }

    /// Ends the message: a CR that waited for its LF is bare now.
    pub fn finish(&mut self, out: &mut BytesMut) {
        if std::mem::take(&mut self.cr_held) {
            self.bare(out);
        }
    }

    /// The fault to tell. The worst one, not the first.
    pub fn fault(&self) -> Option<TextFault> {
        if self.message_bytes > self.rules.message_bytes_max as u64 {
            Some(TextFault::TooLarge)
        } else if self.nul {
            Some(TextFault::Nul)
        } else if self.bare_line_end {
            Some(TextFault::BareLineEnd)
        } else if self.line_too_long {
            Some(TextFault::LineTooLong)
        } else {
            None
        }
    }

    /// Whether a bare CR or LF was made a CRLF.
    pub fn repaired(&self) -> bool {
        self.repaired
    }

    /// Bytes of the message so far, whether gathered or not.
    pub fn message_bytes(&self) -> u64 {
        self.message_bytes
    }

    fn append(&mut self, bytes: &[u8], out: &mut BytesMut) {
        self.message_bytes = self.message_bytes.saturating_add(bytes.len() as u64);
        self.count_lines(bytes);
        if self.fault().is_none() {
            out.extend_from_slice(bytes);
        }
    }

    /// One CR or LF stands alone.
    fn bare(&mut self, out: &mut BytesMut) {
        if self.rules.repair_line_ends {
            self.repaired = true;
            self.append(b"\r\n", out);
        } else {
            self.bare_line_end = true;
            // It counts as it came.
            self.message_bytes = self.message_bytes.saturating_add(1);
        }
    }

    /// The slow way, only for messages that have bare line ends. `bytes` does not end with CR.
    fn push_with_bare_line_ends(&mut self, mut bytes: &[u8], out: &mut BytesMut) {
        while let Some(at) = memchr2(b'\r', b'\n', bytes) {
            self.append(&bytes[..at], out);
            if bytes[at..].starts_with(b"\r\n") {
                self.append(b"\r\n", out);
                bytes = &bytes[at + 2..];
            } else {
                self.bare(out);
                bytes = &bytes[at + 1..];
            }
        }
        self.append(bytes, out);
    }

    /// Looks at the length of each line only where one could be too long: short reads of short lines cost one search.
    fn count_lines(&mut self, bytes: &[u8]) {
        let line_bytes_max = self.rules.line_bytes_max;
        if self.line_bytes.saturating_add(bytes.len()) <= line_bytes_max {
            self.line_bytes = match memrchr(b'\n', bytes) {
                Some(at) => bytes.len() - at - 1,
                None => self.line_bytes + bytes.len(),
            };
            return;
        }
        let mut line_start = 0;
        for at in memchr_iter(b'\n', bytes) {
            self.line_too_long |= self.line_bytes.saturating_add(at + 1 - line_start) > line_bytes_max;
            self.line_bytes = 0;
            line_start = at + 1;
        }
        self.line_bytes = self.line_bytes.saturating_add(bytes.len() - line_start);
        self.line_too_long |= self.line_bytes > line_bytes_max;
    }
}

/// What one look over a run of bytes found.
struct Run {
    bare_line_end: bool,
    nul: bool,
}

/// Whether each CR is followed by LF, each LF preceded by CR, and no byte is NUL. Written without branches so that the
/// compiler makes vector instructions of it.
fn scan(bytes: &[u8]) -> Run {
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return Run { bare_line_end: false, nul: false };
    };
    let mut bare = u8::from(first == b'\n') | u8::from(last == b'\r');
    let mut nul = u8::from(last == 0);
    for (&byte, &next) in bytes.iter().zip(&bytes[1..]) {
        bare |= u8::from(byte == b'\r') ^ u8::from(next == b'\n');
        nul |= u8::from(byte == 0);
    }
    Run { bare_line_end: bare != 0, nul: nul != 0 }
}

/// Whether a message's lines all end with CRLF, and no CR or LF stands elsewhere. What does not hold to this must not be
/// sent: the next server might see another end of data in it.
pub fn line_ends_hold(message: &[u8]) -> bool {
    !scan(message).bare_line_end
}

/// Reads the data of DATA: takes off stuffed dots, finds the end, checks the text on the way.
///
/// A dot is stuffed, and data ends, only after a CRLF that stood on the wire: a line end that was repaired can neither end
/// data nor make a dot disappear.
#[derive(Debug)]
pub struct DataDecoder {
    checker: TextChecker,
    /// The wire's last two bytes were CRLF, or nothing was read yet.
    at_line_start: bool,
}

/// How far a [`DataDecoder`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that are done with. What is left, two bytes at most unless data ended, must come again with
    /// more behind it.
    pub consumed: usize,
    /// The end of data was read; it is among the consumed bytes.
    pub ended: bool,
}

impl DataDecoder {
    pub fn new(rules: TextRules) -> Self {
        Self { checker: TextChecker::new(rules), at_line_start: true }
    }

    /// Reads what it can of `input`, and appends the message's bytes to `out`.
    pub fn decode(&mut self, input: &[u8], out: &mut BytesMut) -> Decoded {
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            if self.at_line_start {
                match rest {
                    b"" | b"." | b".\r" => return Decoded { consumed, ended: false },
                    [b'.', b'\r', b'\n', ..] => {
                        self.checker.finish(out);
                        return Decoded { consumed: consumed + 3, ended: true };
                    }
                    [b'.', ..] => consumed += 1,
                    _ => {}
                }
                self.at_line_start = false;
                continue;
            }
            match LINE_WITH_DOT.find(rest) {
                Some(at) => {
                    self.checker.push(&rest[..at + 2], out);
                    consumed += at + 2;
                    self.at_line_start = true;
                }
                None => {
                    // A CR at the end waits in the input: whether a line starts behind it is not known yet.
                    let run = rest.strip_suffix(b"\r").unwrap_or(rest);
                    self.checker.push(run, out);
                    self.at_line_start = run.ends_with(b"\r\n");
                    return Decoded { consumed: consumed + run.len(), ended: false };
                }
            }
        }
    }

    pub fn checker(&self) -> &TextChecker {
        &self.checker
    }
}

/// Writes a message as the data of DATA: a dot is put before each line that starts with one, and the end is marked.
///
/// The message's line ends must be CRLF (see [`line_ends_hold`]).
#[derive(Debug)]
pub struct DotStuffer {
    tail: Tail,
}

/// What the bytes so far end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    LineStart,
    Cr,
    Text,
}

impl DotStuffer {
    pub fn new() -> Self {
        Self { tail: Tail::LineStart }
    }

    /// Appends the next bytes of the message, cut anywhere, to `out`.
    pub fn push(&mut self, mut chunk: &[u8], out: &mut impl BufMut) {
        if self.tail == Tail::Cr && chunk.first() == Some(&b'\n') {
            out.put_u8(b'\n');
            chunk = &chunk[1..];
            self.tail = Tail::LineStart;
        }
        let Some(&last) = chunk.last() else { return };
        if self.tail == Tail::LineStart && chunk[0] == b'.' {
            out.put_u8(b'.');
        }
        let mut done = 0;
        for at in LINE_WITH_DOT.find_iter(chunk) {
            out.put_slice(&chunk[done..at + 3]);
            out.put_u8(b'.');
            done = at + 3;
        }
        out.put_slice(&chunk[done..]);
        self.tail = match last {
            b'\r' => Tail::Cr,
            _ if chunk.ends_with(b"\r\n") => Tail::LineStart,
            _ => Tail::Text,
        };
    }

    /// Ends the last line where the message did not, and appends the dot that ends data.
    pub fn finish(self, out: &mut impl BufMut) {
        out.put_slice(match self.tail {
            Tail::LineStart => b".\r\n",
            Tail::Cr => b"\n.\r\n",
            Tail::Text => b"\r\n.\r\n",
        });
    }
}

impl Default for DotStuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// The position behind the CRLF that ends the first line of `input`.
pub(crate) fn line_end(input: &[u8]) -> Option<usize> {
    let mut start = 0;
    while let Some(at) = memchr(b'\n', &input[start..]) {
        let at = start + at;
        if at > 0 && input[at - 1] == b'\r' {
            return Some(at + 1);
        }
        start = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: TextRules = TextRules { line_bytes_max: 100, message_bytes_max: 1000, repair_line_ends: false };

    /// Decodes pieces as a session would, leaving what was not consumed for the next; answers message, fault, what
    /// followed the end (`None`: no end).
    fn decode(rules: TextRules, pieces: &[&[u8]]) -> (Vec<u8>, Option<TextFault>, Option<Vec<u8>>) {
        let mut decoder = DataDecoder::new(rules);
        let (mut input, mut out) = (Vec::new(), BytesMut::new());
        for (i, piece) in pieces.iter().enumerate() {
            input.extend_from_slice(piece);
            let decoded = decoder.decode(&input, &mut out);
            input.drain(..decoded.consumed);
            if decoded.ended {
                pieces[i + 1..].iter().for_each(|rest| input.extend_from_slice(rest));
                return (out.to_vec(), decoder.checker().fault(), Some(input));
            }
            assert!(input.len() <= 2, "{input:?} was left");
        }
        (out.to_vec(), decoder.checker().fault(), None)
    }

    fn decode_whole(rules: TextRules, input: &[u8]) -> (Vec<u8>, Option<TextFault>, Option<Vec<u8>>) {
        decode(rules, &[input])
    }

    #[test]
    fn dots_go_and_the_end_is_found() {
        let (message, fault, rest) = decode_whole(RULES, b"..a\r\n.b\r\nc.\r\n...\r\n.\r\nQUIT\r\n");
        assert_eq!(message, b".a\r\nb\r\nc.\r\n..\r\n");
        assert_eq!((fault, rest.as_deref()), (None, Some(&b"QUIT\r\n"[..])));
        assert_eq!(decode_whole(RULES, b".\r\n"), (Vec::new(), None, Some(Vec::new())));
    }

    #[test]
    fn only_crlf_dot_crlf_ends_data() {
        for smuggled in [
            "\n.\n",
            "\n.\r\n",
            "\r.\r",
            "\r\n.\n",
            "\r\n.\r",
            "\r\r\n.\r\r\n",
            "\r\n\0.\r\n",
            "\r\n.\0\r\n",
            "\r.\r\n",
        ] {
            let input = format!("a{smuggled}MAIL FROM:<b@c>\r\n.\r\n");
            for repair_line_ends in [false, true] {
                let rules = TextRules { repair_line_ends, ..RULES };
                let (message, fault, rest) = decode_whole(rules, input.as_bytes());
                assert_eq!(rest.as_deref(), Some(&b""[..]), "{smuggled:?} ended data");
                let nul = smuggled.contains('\0');
                let expected = match (nul, repair_line_ends) {
                    (true, _) => Some(TextFault::Nul),
                    (false, true) => None,
                    (false, false) => Some(TextFault::BareLineEnd),
                };
                assert_eq!(fault, expected, "{smuggled:?}");
                assert!(line_ends_hold(&message));
            }
        }
    }

    #[test]
    fn a_repaired_line_end_neither_ends_data_nor_eats_a_dot() {
        let rules = TextRules { repair_line_ends: true, ..RULES };
        let (message, fault, rest) = decode_whole(rules, b"a\n.\nb\r.\r\nc\n..d\r\n.\r\n");
        assert_eq!(message, b"a\r\n.\r\nb\r\n.\r\nc\r\n..d\r\n");
        assert_eq!((fault, rest.as_deref()), (None, Some(&b""[..])));
    }

    #[test]
    fn limits_are_exact() {
        let rules = TextRules { line_bytes_max: 6, message_bytes_max: 10, repair_line_ends: false };
        assert_eq!(decode_whole(rules, b"1234\r\n12\r\n.\r\n").1, None);
        assert_eq!(decode_whole(rules, b"12345\r\n1\r\n.\r\n").1, Some(TextFault::LineTooLong));
        assert_eq!(decode_whole(rules, b".1234\r\n.\r\n").1, None);
        assert_eq!(decode_whole(rules, b"1234\r\n123\r\n.\r\n").1, Some(TextFault::TooLarge));
        // A line is measured as it is after its repair.
        let repairing = TextRules { repair_line_ends: true, ..rules };
        assert_eq!(decode_whole(repairing, b"1234\n\r\n.\r\n").1, None);
        assert_eq!(decode_whole(repairing, b"12345\n\r\n.\r\n").1, Some(TextFault::LineTooLong));
    }

    #[test]
    fn nothing_is_held_after_a_fault() {
        let mut decoder = DataDecoder::new(RULES);
        let mut out = BytesMut::new();
        decoder.decode(b"a\nb\r\n", &mut out);
        let held = out.len();
        decoder.decode(&[b'x'; 5000], &mut out);
        assert_eq!(out.len(), held);
        assert_eq!(decoder.checker().message_bytes(), 5005);
    }

    #[test]
    fn chunks_may_cut_a_line_end() {
        let mut checker = TextChecker::new(RULES);
        let mut out = BytesMut::new();
        for piece in [&b"a\r"[..], b"\nb", b"\r\n", b"\r", b"\n"] {
            checker.push(piece, &mut out);
        }
        checker.finish(&mut out);
        assert_eq!((&out[..], checker.fault()), (&b"a\r\nb\r\n\r\n"[..], None));
        checker.push(b"c\r", &mut out);
        checker.finish(&mut out);
        assert_eq!(checker.fault(), Some(TextFault::BareLineEnd));
    }

    #[test]
    fn stuffs_and_ends() {
        for (message, data) in [
            (&b""[..], &b".\r\n"[..]),
            (b".", b"..\r\n.\r\n"),
            (b"a\r\n.\r\n..b\r\n", b"a\r\n..\r\n...b\r\n.\r\n"),
            (b"a\r", b"a\r\n.\r\n"),
        ] {
            let mut out = Vec::new();
            let mut stuffer = DotStuffer::new();
            stuffer.push(message, &mut out);
            stuffer.finish(&mut out);
            assert_eq!(out, data);
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        /// Bytes of which most matter.
        fn wire() -> impl Strategy<Value = Vec<u8>> {
            let byte = prop_oneof![
                6 => Just(b'\r'), 6 => Just(b'\n'), 6 => Just(b'.'), 3 => Just(b'a'), 1 => Just(0u8), 1 => any::<u8>()
            ];
            prop_oneof![
                proptest::collection::vec(byte, 0..60),
                proptest::collection::vec(
                    prop_oneof![Just("\r\n"), Just("."), Just("ab"), Just("\n"), Just("\r")],
                    0..30
                )
                .prop_map(|words| words.concat().into_bytes()),
            ]
        }

        fn pieces<'a>(input: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts {
                pieces.push(&input[start..cut]);
                start = cut;
            }
            pieces.push(&input[start..]);
            pieces
        }

        fn indices() -> impl Strategy<Value = Vec<prop::sample::Index>> {
            proptest::collection::vec(any::<prop::sample::Index>(), 0..8)
        }

        proptest! {
            #[test]
            fn cuts_change_nothing(input in wire(), cuts in indices(), repair_line_ends: bool, small: bool) {
                let rules = if small {
                    TextRules { line_bytes_max: 5, message_bytes_max: 20, repair_line_ends }
                } else {
                    TextRules { repair_line_ends, ..RULES }
                };
                let (message, fault, rest) = decode_whole(rules, &input);
                let (cut_message, cut_fault, cut_rest) = decode(rules, &pieces(&input, &cuts));
                prop_assert_eq!((fault, &rest), (cut_fault, &cut_rest));
                if fault.is_none() {
                    prop_assert_eq!(message, cut_message);
                }
            }

            #[test]
            fn the_end_is_where_the_standard_says(input in wire()) {
                let at = if input.starts_with(b".\r\n") { Some(3) } else { memmem::find(&input, b"\r\n.\r\n").map(|at| at + 5) };
                let (_, _, rest) = decode_whole(RULES, &input);
                prop_assert_eq!(rest, at.map(|at| input[at..].to_vec()));
            }

            #[test]
            fn what_is_accepted_has_only_crlf(input in wire(), repair_line_ends: bool) {
                let (message, fault, rest) = decode_whole(TextRules { repair_line_ends, ..RULES }, &input);
                if fault.is_none() && rest.is_some() {
                    prop_assert!(line_ends_hold(&message) && !message.contains(&0));
                }
            }

            #[test]
            fn stuffed_data_decodes_to_the_message(
                words in proptest::collection::vec(prop_oneof![Just("\r\n"), Just("."), Just("..a")], 0..30),
                cuts in indices(),
            ) {
                let message = words.concat().into_bytes();
                let (mut data, mut stuffer) = (Vec::new(), DotStuffer::new());
                for piece in pieces(&message, &cuts) {
                    stuffer.push(piece, &mut data);
                }
                stuffer.finish(&mut data);
                let mut expected = message;
                if !expected.is_empty() && !expected.ends_with(b"\r\n") {
                    expected.extend_from_slice(b"\r\n");
                }
                let (decoded, fault, rest) = decode_whole(RULES, &data);
                prop_assert_eq!((decoded, fault, rest), (expected, None, Some(Vec::new())));
            }
        }
    }
}
