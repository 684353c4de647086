//! Makes transcripts the same in every run: ids, dates, loopback addresses and nonces become names.

use std::net::Ipv4Addr;

/// Shapes and what stands for them. In a shape `h` is a hex digit in lower case, `9` a digit, `A` and `a` a letter in
/// upper and lower case; all else is itself.
const SHAPES: &[(&str, &str)] = &[
    ("Aaa, 99 Aaa 9999 99:99:99 +9999", "[date]"),
    ("Aaa, 9 Aaa 9999 99:99:99 +9999", "[date]"),
    ("9999-99-99T99:99:99.999Z", "[time]"),
    ("hhhhhhhhhhhhhhhhhhhhhhhh", "[id]"),
];

/// Replaces what differs from run to run.
pub fn scrub(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_word = false;
    while let Some(first) = rest.chars().next() {
        let found = if in_word { None } else { shape(rest).or_else(|| loopback(rest)) };
        if let Some((length, name)) = found {
            out.push_str(name);
            rest = &rest[length..];
            in_word = false;
            continue;
        }
        out.push(first);
        in_word = first.is_ascii_alphanumeric();
        rest = &rest[first.len_utf8()..];
    }
    out
}

fn shape(text: &str) -> Option<(usize, &'static str)> {
    let bytes = text.as_bytes();
    SHAPES.iter().find_map(|&(shape, name)| {
        let head = bytes.get(..shape.len())?;
        let fits = head.iter().zip(shape.bytes()).all(|(&b, kind)| match kind {
            b'h' => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
            b'9' => b.is_ascii_digit(),
            b'A' => b.is_ascii_uppercase(),
            b'a' => b.is_ascii_lowercase(),
            other => b == other,
        });
        let ends = !bytes.get(shape.len()).is_some_and(u8::is_ascii_alphanumeric);
        (fits && ends).then_some((shape.len(), name))
    })
}

fn loopback(text: &str) -> Option<(usize, &'static str)> {
    let length = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let candidate = text[..length].trim_end_matches('.');
    let ip: Ipv4Addr = candidate.parse().ok()?;
    ip.is_loopback().then_some((candidate.len(), "[ip]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_gets_a_name() {
        assert_eq!(
            scrub("250 2.0.0 Kept as 65951fd5aabbccddeeff0011 at Fri, 02 Jan 2026 03:04:05 +0000 from 127.3.4.5."),
            "250 2.0.0 Kept as [id] at [date] from [ip]."
        );
        assert_eq!(scrub("2026-01-02T03:04:05.000Z <65951fd5aabbccddeeff0011@mx>"), "[time] <[id]@mx>");
    }

    #[test]
    fn all_else_stays() {
        for text in ["192.0.2.1", "65951fd5aabbccddeeff00112", "x65951fd5aabbccddeeff0011", "Größe 10.5", "127.0.0"] {
            assert_eq!(scrub(text), text);
        }
    }
}
