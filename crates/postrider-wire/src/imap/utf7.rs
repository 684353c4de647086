//! Modified UTF-7, in which IMAP4rev1 writes names of mailboxes (RFC 3501 section 5.1.3).

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::response::text::utf7_base64;

/// Bits that are left over at the end may be anything: some clients do not clear them.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Appends a name in modified UTF-7.
pub(crate) fn encode(name: &str, out: &mut String) {
    let mut units = Vec::new();
    for c in name.chars() {
        if c.is_ascii() && !c.is_ascii_control() {
            flush(&mut units, out);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            let mut buffer = [0; 2];
            units.extend(c.encode_utf16(&mut buffer).iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    flush(&mut units, out);
}

/// Reads a name. `None`: it is no modified UTF-7. What could have been written otherwise is read as it was meant: two
/// names that differ in bytes alone are one name.
pub(crate) fn decode(name: &str) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((plain, shifted)) = rest.split_once('&') {
        text.push_str(plain);
        let (encoded, behind) = shifted.split_once('-')?;
        if encoded.is_empty() {
            text.push('&');
        } else {
            decode_shifted(encoded, &mut text)?;
        }
        rest = behind;
    }
    text.push_str(rest);
    Some(text)
}

fn decode_shifted(encoded: &str, text: &mut String) -> Option<()> {
    if encoded.contains('/') {
        return None;
    }
    let bytes = BASE64.decode(encoded.replace(',', "/")).ok()?;
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() || pairs.is_empty() {
        return None;
    }
    for c in char::decode_utf16(pairs.iter().map(|pair| u16::from_be_bytes(*pair))) {
        text.push(c.ok()?);
    }
    Some(())
}

fn flush(units: &mut Vec<u8>, out: &mut String) {
    if !units.is_empty() {
        out.push('&');
        out.push_str(&utf7_base64(units));
        out.push('-');
        units.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for (name, encoded) in [
            ("INBOX", "INBOX"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("A & B", "A &- B"),
            ("☺", "&Jjo-"),
            ("\u{1F600}", "&2D3eAA-"),
            ("", ""),
        ] {
            let mut out = String::new();
            encode(name, &mut out);
            assert_eq!(out, encoded);
            assert_eq!(decode(encoded).as_deref(), Some(name));
        }
        assert_eq!(decode("&Jjo-&Jjo-").as_deref(), Some("☺☺"));
    }

    #[test]
    fn what_is_no_utf7() {
        for name in ["A & B", "&", "&Jjo", "&Jj-", "&A/A-", "&2D0-", "&====-", "&Jjo=-"] {
            assert_eq!(decode(name), None, "{name}");
        }
    }
}
