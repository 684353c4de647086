//! Messages and where their parts stand.

use super::*;

/// Each part's number, kind and body.
fn outline(raw: &str) -> Vec<String> {
    fn visit(structure: &Structure, raw: &str, part: &Part, path: &str, out: &mut Vec<String>) {
        let body = if part.children.is_empty() { &raw[part.body.clone()] } else { "" };
        let kind = part.content_type(raw.as_bytes());
        out.push(format!("{path} {}/{} {body:?}", kind.main, kind.subtype));
        for (i, child) in structure.children(part).enumerate() {
            visit(structure, raw, child, &format!("{path}.{}", i + 1), out);
        }
    }
    let structure = Structure::parse(raw.as_bytes());
    let mut out = Vec::new();
    visit(&structure, raw, structure.root(), "0", &mut out);
    out
}

fn multipart(kind: &str, boundary: &str) -> String {
    format!("Content-Type: multipart/{kind}; boundary=\"{boundary}\"\r\n\r\n")
}

#[test]
fn one_part() {
    assert_eq!(outline("A: b\r\n\r\nHello\r\n"), ["0 text/plain \"Hello\\r\\n\""]);
    assert_eq!(outline("A: b"), ["0 text/plain \"\""]);
    assert_eq!(outline(""), ["0 text/plain \"\""]);
    assert_eq!(outline("Content-Type: junk\n\nx"), ["0 text/plain \"x\""]);
    assert_eq!(outline("Content-Type: image/png\n\nx"), ["0 image/png \"x\""]);
}

#[test]
fn parts_end_before_the_line_end_of_the_delimiter() {
    let raw = multipart("mixed", "x")
        + "preamble\r\n--x\r\n\r\none\r\n\r\n--x \t\r\nContent-Type: a/b\r\n\r\n--x\r\n--x\r\nA: b\r\n--x--\r\n--x\r\n";
    assert_eq!(
        outline(&raw),
        [
            "0 multipart/mixed \"\"",
            "0.1 text/plain \"one\\r\\n\"",
            "0.2 a/b \"\"",
            "0.3 text/plain \"\"",
            "0.4 text/plain \"\""
        ]
    );
    let bare = raw.replace("\r\n", "\n");
    assert_eq!(outline(&bare)[1], "0.1 text/plain \"one\\n\"");
    assert_eq!(outline(&bare).len(), 5);
}

#[test]
fn multiparts_within_each_other() {
    // The inner boundary begins as the outer one, and is not closed.
    let raw = multipart("mixed", "x")
        + "--x\r\n"
        + &multipart("alternative", "xy")
        + "--xy\r\n\r\none\r\n--xy\r\n\r\ntwo\r\n--x\r\n\r\nthree\r\n--x--\r\nepilogue";
    assert_eq!(
        outline(&raw),
        [
            "0 multipart/mixed \"\"",
            "0.1 multipart/alternative \"\"",
            "0.1.1 text/plain \"one\"",
            "0.1.2 text/plain \"two\"",
            "0.2 text/plain \"three\""
        ]
    );
}

#[test]
fn a_multipart_without_parts_is_one_text() {
    for header in ["Content-Type: multipart/mixed\r\n\r\n".to_owned(), multipart("mixed", "y")] {
        assert_eq!(outline(&(header + "text\r\n--x")), ["0 multipart/mixed \"\"", "0.1 text/plain \"text\\r\\n--x\""]);
    }
}

#[test]
fn messages_within() {
    let inner = multipart("mixed", "y") + "--y\r\n\r\none\r\n--y--";
    let raw = multipart("digest", "x")
        + "--x\r\n\r\nSubject: a\r\n\r\nfirst\r\n--x\r\nContent-Type: message/rfc822\r\n\r\n"
        + &inner
        + "\r\n--x\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ==\r\n--x--\r\n";
    assert_eq!(
        outline(&raw),
        [
            "0 multipart/digest \"\"",
            "0.1 message/rfc822 \"\"",
            "0.1.1 text/plain \"first\"",
            "0.2 message/rfc822 \"\"",
            "0.2.1 multipart/mixed \"\"",
            "0.2.1.1 text/plain \"one\"",
            "0.3 application/octet-stream \"QQ==\""
        ]
    );
    let structure = Structure::parse(raw.as_bytes());
    let text = |path: &[u32], section| structure.section(path, section).map(|range| &raw[range]);
    assert_eq!(text(&[1], Section::Whole), Some("Subject: a\r\n\r\nfirst"));
    assert_eq!(text(&[1], Section::Header), Some("Subject: a\r\n\r\n"));
    assert_eq!(text(&[1], Section::Text), Some("first"));
    assert_eq!(text(&[1, 1], Section::Whole), Some("first"));
    assert_eq!(text(&[1, 1], Section::Mime), Some("Subject: a\r\n\r\n"));
    assert_eq!(text(&[1, 1], Section::Header), None);
    assert_eq!(text(&[2, 1], Section::Whole), Some("one"));
    assert_eq!(text(&[2], Section::Text).map(|text| text.starts_with("--y")), Some(true));
    assert_eq!(text(&[3], Section::Mime).map(|text| text.ends_with("base64\r\n\r\n")), Some(true));
    assert_eq!(text(&[], Section::Whole), Some(raw.as_str()));
    assert_eq!(text(&[], Section::Mime), None);
    for path in [&[0][..], &[4], &[1, 2], &[1, 1, 1], &[2, 1, 1], &[2, 2], &[u32::MAX]] {
        assert_eq!(structure.part(path), None, "{path:?}");
    }
}

#[test]
fn a_message_cut_within_its_header() {
    let raw = multipart("mixed", "x") + "--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: a\r\n\r\n--x--\r\n";
    let structure = Structure::parse(raw.as_bytes());
    for section in [Section::Whole, Section::Header] {
        assert_eq!(structure.section(&[1], section).map(|range| &raw[range]), Some("Subject: a\r\n\r\n"));
    }
}

#[test]
fn a_message_that_is_no_multipart_has_one_part() {
    let raw = "Subject: a\r\n\r\ntext";
    let structure = Structure::parse(raw.as_bytes());
    assert_eq!(structure.section(&[1], Section::Whole).map(|range| &raw[range]), Some("text"));
    assert_eq!(structure.section(&[1], Section::Mime).map(|range| &raw[range]), Some("Subject: a\r\n\r\n"));
    assert_eq!(structure.part(&[1, 1]), None);
    let raw = "Content-Type: message/rfc822\r\n\r\nSubject: b\r\n\r\ntext";
    let structure = Structure::parse(raw.as_bytes());
    assert_eq!(structure.section(&[1], Section::Header).map(|range| &raw[range]), Some("Subject: b\r\n\r\n"));
    assert_eq!(structure.section(&[1, 1], Section::Whole).map(|range| &raw[range]), Some("text"));
}

#[test]
fn parts_are_decoded() {
    let raw = b"Content-Transfer-Encoding: base64\r\n\r\nSGVs\r\nbG8=\r\n";
    assert_eq!(Structure::parse(raw).root().decoded(raw).as_deref(), Ok(&b"Hello"[..]));
    let raw = b"Content-Transfer-Encoding: x-own\r\n\r\nSGVs";
    assert_eq!(Structure::parse(raw).root().decoded(raw), Err(UnknownEncoding));
}

#[test]
fn depth_and_count_have_limits() {
    let deep: String = (0..200).map(|i| multipart("mixed", &i.to_string()) + &format!("--{i}\r\n")).collect();
    let structure = Structure::parse(deep.as_bytes());
    assert_eq!(structure.parts().len(), DEPTH_MAX + 1);
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(200);
    assert_eq!(Structure::parse(messages.as_bytes()).parts().len(), DEPTH_MAX + 1);
    let many = multipart("mixed", "x") + &"--x\r\n\r\na\r\n".repeat(3_000);
    let structure = Structure::parse(many.as_bytes());
    assert_eq!(structure.parts().len(), PARTS_MAX);
    assert_eq!(structure.root().body.end, many.len());
}
