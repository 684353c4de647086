//! Conversions of messages made here, compared by what a reader sees of them.

use proptest::prelude::*;

use super::*;

fn converted(raw: &[u8]) -> String {
    String::from_utf8(to_7bit(raw).unwrap()).unwrap()
}

/// The decoded contents of all leaves, in order.
fn contents(raw: &[u8]) -> Vec<Vec<u8>> {
    fn collect(message: &mail_parser::Message<'_>, into: &mut Vec<Vec<u8>>) {
        for part in &message.parts {
            match &part.body {
                mail_parser::PartType::Message(nested) => collect(nested, into),
                mail_parser::PartType::Multipart(_) => {}
                _ => into.push(part.contents().to_vec()),
            }
        }
    }
    let mut all = Vec::new();
    collect(&MessageParser::default().parse(raw).unwrap(), &mut all);
    all
}

#[test]
fn a_message_without_mime_fields_gets_them() {
    let raw = "Subject: x\r\n\r\nGrüße \r\n.\r\n";
    assert_eq!(
        converted(raw.as_bytes()),
        "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe=20\r\n.\r\n"
    );
    assert!(converted("\r\nä".as_bytes()).starts_with("MIME-Version: 1.0\r\n"));
}

#[test]
fn the_encoding_field_is_replaced_where_it_stands() {
    let raw = "Content-Transfer-Encoding:\r\n 8bit\r\nMIME-Version: 1.0\r\nContent-Type: text/plain;\r\n \
               charset=utf-8\r\n\r\nä\r\n";
    assert_eq!(
        converted(raw.as_bytes()),
        "Content-Transfer-Encoding: base64\r\nMIME-Version: 1.0\r\nContent-Type: text/plain;\r\n \
         charset=utf-8\r\n\r\nw6QNCg==\r\n"
            .replace("base64", "quoted-printable")
            .replace("w6QNCg==", "=C3=A4")
    );
}

#[test]
fn what_is_ascii_stays_byte_for_byte() {
    let raw = b"Subject: \xe4\r\nContent-Transfer-Encoding: 8bit\r\n\r\nplain\r\n";
    assert_eq!(to_7bit(raw).unwrap(), raw);
}

#[test]
fn each_part_by_itself() {
    let raw = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\
               Content-Transfer-Encoding: 8bit\r\n\r\nfür niemand\r\n--b\r\n\r\nohne Kopf: ä\r\n--b \r\n\
               Content-Type: image/png\r\n\r\nä\u{0}\r\n--b\r\nContent-Type: text/plain\r\n\
               Content-Transfer-Encoding: 8bit\r\n\r\nplain\r\n--bb is no delimiter\r\n--b\r\n\
               Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\n\
               Subject: ö\r\n\r\nnested: ö\r\n--b--\r\nauch für niemand\r\n";
    assert_eq!(
        converted(raw.as_bytes()),
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\
         Content-Transfer-Encoding: 7bit\r\n\r\nf??r niemand\r\n--b\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\nohne Kopf: =C3=A4\r\n--b \r\n\
         Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nw6QA\r\n\r\n--b\r\n\
         Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\nplain\r\n--bb is no delimiter\r\n--b\r\n\
         Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\n\
         Subject: ö\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\nnested: =C3=B6\r\n--b--\r\nauch f??r niemand\r\n"
    );
}

#[test]
fn a_digest_holds_messages() {
    let raw = "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: x\r\n\r\n1234 ä\r\n--b--\r\n";
    assert!(converted(raw.as_bytes()).contains(
        "--b\r\n\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\n1234 =C3=A4\r\n--b--"
    ));
}

#[test]
fn stray_bytes_in_encoded_bodies_are_mended() {
    let quoted = format!("Content-Transfer-Encoding: Quoted-Printable\r\n\r\na=3Db{}\r\n", "ä".repeat(40));
    let mended = to_7bit(quoted.as_bytes()).unwrap();
    assert!(mended.is_ascii());
    assert_eq!(contents(&mended), [format!("a=b{}\r\n", "ä".repeat(40)).into_bytes()]);
    assert!(mended.split(|&b| b == b'\n').all(|line| line.len() <= 77));
    let base64 = "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nYWJjä\r\nZGVm\r\n";
    assert!(converted(base64.as_bytes()).ends_with("\r\n\r\nYWJj\r\nZGVm\r\n"));
}

#[test]
fn dense_text_is_base64() {
    let raw = format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{}\r\n", "漢字".repeat(30));
    let text = converted(raw.as_bytes());
    assert!(text.contains("Content-Transfer-Encoding: base64\r\n"), "{text}");
    assert_eq!(contents(text.as_bytes()), contents(raw.as_bytes()));
}

#[test]
fn a_boundary_in_a_text_does_not_become_a_delimiter() {
    let text = format!("ä{}--b--", "x".repeat(69));
    let raw =
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n{text}\r\n--b\r\n\r\nz\r\n--b--\r\n");
    assert!(converted(raw.as_bytes()).contains("base64"));
}

#[test]
fn what_cannot_be_converted() {
    for raw in [
        "Content-Type: multipart/mixed\r\n\r\nä\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\nä\r\n",
        "Content-Type: multipart/mixed; boundary=ä\r\n\r\n--ä\r\n\r\nä\r\n--ä--\r\n",
        "Content-Type: message/partial; id=1\r\n\r\nä\r\n",
    ] {
        assert_eq!(to_7bit(raw.as_bytes()), None, "{raw}");
    }
    let nested = "Content-Type: message/rfc822\r\n\r\n";
    assert!(to_7bit(format!("{}\r\nä", nested.repeat(50)).as_bytes()).is_some());
    assert_eq!(to_7bit(format!("{}\r\nä", nested.repeat(100)).as_bytes()), None);
}

#[test]
fn a_message_as_the_whole_body_of_a_message() {
    let raw = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n\
               Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n1234 ä\r\n--b--\r\n";
    // The parser must not panic on what any peer can send, whatever it makes of it.
    assert!(MessageParser::default().parse(raw).is_some());
    assert!(converted(raw.as_bytes()).contains("\r\n\r\n1234 =C3=A4\r\n--b--"));
}

/// An entity: leaves of many kinds, and multiparts and messages of them.
fn entity() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let line = prop_oneof!["[ -~]{0,100}", "[ -~äöü€漢]{0,100}[ \t]?", "-{0,3}b?[0-9]?-{0,2}", "\\.?=?[A-F0-9]{2}"];
    let text = prop::collection::vec(line, 0..6).prop_map(|lines| lines.join("\r\n").into_bytes());
    let kind = prop_oneof![
        Just(""),
        Just("Content-Type: text/plain; charset=utf-8\r\n"),
        Just("Content-Type: text/html\r\nContent-Transfer-Encoding: 8bit\r\n"),
        Just("Content-Transfer-Encoding: 7bit\r\nContent-Type: application/octet-stream\r\n"),
        Just("content-transfer-encoding : BINARY\r\nContent-Type: image/png; name=x\r\n"),
    ];
    let leaf = (kind, text).prop_map(|(kind, text)| (kind.as_bytes().to_vec(), text));
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (prop::collection::vec(inner.clone(), 1..4), any::<u32>(), "[a-zä ]{0,5}").prop_map(
                |(parts, number, ignored)| {
                    let mut body = ignored.into_bytes();
                    for (header, content) in parts {
                        body.extend_from_slice(format!("\r\n--=_bound{number}\r\n").as_bytes());
                        body.extend_from_slice(&[&header[..], b"\r\n", &content].concat());
                    }
                    body.extend_from_slice(format!("\r\n--=_bound{number}--\r\n").as_bytes());
                    let header = format!("Content-Type: multipart/mixed; boundary=\"=_bound{number}\"\r\n");
                    (header.into_bytes(), body)
                }
            ),
            inner.prop_map(|(header, content)| {
                // The parser that these tests compare with loses its way in a message that is a message's whole body.
                if header.starts_with(b"Content-Type: message/") {
                    return (header, content);
                }
                let body = [b"Subject: x\r\n", &header[..], b"\r\n", &content].concat();
                (b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n".to_vec(), body)
            }),
        ]
    })
}

proptest! {
    #[test]
    fn the_result_is_ascii_and_says_the_same((header, body) in entity()) {
        let raw = [b"Subject: y\r\n", &header[..], b"\r\n", &body].concat();
        let out = to_7bit(&raw).unwrap();
        prop_assert!(out.is_ascii());
        prop_assert_eq!(contents(&out), contents(&raw));
        prop_assert_eq!(to_7bit(&out).unwrap(), out);
    }

    #[test]
    fn no_bytes_upset_it(raw in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(prop_oneof![
            Just("\r\n"), Just("\n"), Just("--b"), Just("--"), Just("ä"), Just(" "),
            Just("Content-Type: multipart/mixed; boundary=b\r\n"), Just("Content-Type: message/rfc822\r\n"),
            Just("Content-Transfer-Encoding: 8bit"), Just("Content-Transfer-Encoding: base64\r\n"), Just(":"),
        ], 0..40).prop_map(|pieces| pieces.concat().into_bytes()),
    ]) {
        if let Some(out) = to_7bit(&raw) {
            // Only header fields keep what is above 127, and nothing is ever added there.
            let high = |bytes: &[u8]| bytes.iter().filter(|b| !b.is_ascii()).count();
            prop_assert!(high(&out) <= high(&raw));
            prop_assert!(!raw.is_ascii() || out == raw);
        }
    }
}
