//! Header sections: where one ends, and its fields in order, verbatim.
//!
//! Lines may end in CRLF or in LF alone: what was stored is read as it is. Values are not decoded here.

use std::ops::Range;

use memchr::{memchr, memchr_iter};

/// The bytes of one field's value that are described, decoded and listed; what is longer is cut.
pub const FIELD_BYTES_MAX: usize = 64 << 10;

/// Where the header section of a message or part ends, with its empty line; the length of `message` if it has none.
pub fn header_end(message: &[u8]) -> usize {
    if let Some(empty) = line_end_at(message, 0) {
        return empty;
    }
    for at in memchr_iter(b'\n', message) {
        if let Some(end) = line_end_at(message, at + 1) {
            return end;
        }
    }
    message.len()
}

/// One field of a header section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// As written; empty for a line that is no field.
    pub name: &'a [u8],
    /// Behind the colon, with its folds, without its line end.
    pub value: &'a [u8],
    /// The whole field, with its line end if it has one.
    pub line: &'a [u8],
    /// Where `line` starts in the section.
    pub start: usize,
}

impl<'a> Field<'a> {
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value's first [`FIELD_BYTES_MAX`] bytes.
    pub(crate) fn limited_value(&self) -> &'a [u8] {
        &self.value[..self.value.len().min(FIELD_BYTES_MAX)]
    }

    /// Where the value stands in the section.
    pub fn value_range(&self) -> Range<usize> {
        // What is no field has no value: nothing, at its start.
        let start = self.start + self.line.len().min(self.value_offset());
        start..start + self.value.len()
    }

    fn value_offset(&self) -> usize {
        if self.name.is_empty() { 0 } else { memchr(b':', self.line).map_or(0, |colon| colon + 1) }
    }
}

/// The fields of a header section, in order. Ends at the empty line.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    section: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub fn new(section: &'a [u8]) -> Self {
        Self { section, at: 0 }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let start = self.at;
        if start >= self.section.len() || line_end_at(self.section, start).is_some() {
            return None;
        }
        let mut end = next_line(self.section, start);
        // RFC 5322 section 2.2.3: a line that starts with a blank goes on with the field.
        while matches!(self.section.get(end), Some(b' ' | b'\t')) {
            end = next_line(self.section, end);
        }
        self.at = end;
        let line = &self.section[start..end];
        let (name, value) = match memchr(b':', line) {
            Some(colon) if is_name(line[..colon].trim_ascii_end()) => {
                (line[..colon].trim_ascii_end(), without_line_end(&line[colon + 1..]))
            }
            _ => (&line[..0], &line[..0]),
        };
        Some(Field { name, value, line, start })
    }
}

/// The fields of these names, or with `is_not` all others, verbatim and in order, and an empty line: what
/// `BODY[HEADER.FIELDS (...)]` and `BODY[HEADER.FIELDS.NOT (...)]` answer (RFC 3501 section 6.4.5).
pub fn select_fields<N: AsRef<[u8]>>(section: &[u8], names: &[N], is_not: bool) -> Vec<u8> {
    let mut selected = Vec::with_capacity(if is_not { section.len() + 2 } else { 256 });
    for field in Fields::new(section) {
        if field.name.is_empty() {
            continue;
        }
        if names.iter().any(|name| field.name.eq_ignore_ascii_case(name.as_ref())) != is_not {
            selected.extend_from_slice(field.line);
            if !field.line.ends_with(b"\n") {
                selected.extend_from_slice(b"\r\n");
            }
        }
    }
    selected.extend_from_slice(b"\r\n");
    selected
}

/// A value without outer blanks, each fold as one blank, and without NUL, which no IMAP string can carry. Borrowed where
/// nothing had to go.
pub(crate) fn unfold(value: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let value = value.trim_ascii();
    if memchr::memchr3(b'\r', b'\n', 0, value).is_none() {
        return value.into();
    }
    let mut unfolded = Vec::with_capacity(value.len());
    let mut is_fold = false;
    for &byte in value {
        match byte {
            0 => {}
            b'\r' | b'\n' => is_fold = true,
            b' ' | b'\t' if is_fold => {}
            _ => {
                if is_fold && !unfolded.ends_with(b" ") {
                    unfolded.push(b' ');
                }
                is_fold = false;
                unfolded.push(byte);
            }
        }
    }
    unfolded.into()
}

/// Behind the line end that stands at `at`, if one does.
fn line_end_at(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at..)? {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    }
}

/// Where the line after the one at `at` starts.
fn next_line(bytes: &[u8], at: usize) -> usize {
    memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end + 1)
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// RFC 5322 section 3.6.8, but for bytes above 127 (RFC 6532 does not allow them either; they are kept as they came).
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&b| b > b' ' && b != 127)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_at_its_empty_line() {
        for (message, end) in [
            (&b"A: b\r\n\r\nbody\r\n\r\n"[..], 8),
            (b"A: b\n\nbody", 6),
            (b"A: b\r\n\nbody", 7),
            (b"\r\nbody", 2),
            (b"\nbody", 1),
            (b"A: b\r\n", 6),
            (b"", 0),
        ] {
            assert_eq!(header_end(message), end, "{message:?}");
        }
    }

    #[test]
    fn fields_are_verbatim() {
        let section = b"Subject : a\r\n b\r\nno field\r\nFrom me at 10:00\r\nX:\nLast: c\r\n\r\nbody: d\r\n";
        let fields: Vec<Field<'_>> = Fields::new(section).collect();
        let names: Vec<&[u8]> = fields.iter().map(|field| field.name).collect();
        assert_eq!(names, [&b"Subject"[..], b"", b"", b"X", b"Last"]);
        assert_eq!(fields[0].value, b" a\r\n b");
        assert_eq!(fields[3].value, b"");
        for field in &fields {
            assert_eq!(&section[field.value_range()], field.value);
        }
        assert_eq!(fields.iter().map(|field| field.line).collect::<Vec<_>>().concat(), section[..section.len() - 11]);
    }

    #[test]
    fn folds_are_blanks() {
        assert_eq!(*unfold(b" a  b\r\n"), *b"a  b");
        assert_eq!(*unfold(b"a\r\n\t b \r\n c\nd\0"), *b"a b c d");
    }

    #[test]
    fn fields_are_selected_in_the_message_s_order() {
        let section = b"To: a\r\nSubject: b\r\n c\r\nX: d\r\nto: e\n\r\n";
        assert_eq!(select_fields(section, &["SUBJECT", "TO"], false), b"To: a\r\nSubject: b\r\n c\r\nto: e\n\r\n");
        assert_eq!(select_fields(section, &["SUBJECT", "TO"], true), b"X: d\r\n\r\n");
        assert_eq!(select_fields(section, &["Cc"], false), b"\r\n");
        assert_eq!(select_fields(b"To: a", &["To"], false), b"To: a\r\n\r\n");
    }
}
