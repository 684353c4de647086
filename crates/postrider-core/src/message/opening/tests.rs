//! Messages whose parts have no end of their own.

use proptest::prelude::*;

use super::*;
use crate::mime::Section;
use crate::{Attachment, Bodies, Content, Summary};

/// A multipart of these parts, each with its header section, after the first line ends.
fn mixed(parts: &[&str]) -> String {
    let parts: String = parts.iter().map(|part| format!("--B\r\n{part}\r\n")).collect();
    format!("Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n{parts}--B--\r\n")
}

const TEXT: &str = "Content-Type: text/plain\r\n\r\nbody";
const FILE: &str =
    "Content-Type: application/x-msdownload\r\nContent-Disposition: attachment; filename=a.exe\r\n\r\nMZ";
const LISTED_FILE: &str = "application/x-msdownload a.exe \"MZ\"";

/// What is listed, as all that lists attachments must say it, and as IMAP shows it.
fn listed(raw: &str) -> Vec<String> {
    let content = Content::parse(raw.as_bytes());
    assert_eq!(Summary::parse(raw.as_bytes()).attachments, content.attachments);
    let bodies = Bodies::parse(raw.as_bytes());
    assert_eq!((&bodies.text, &bodies.html), (&content.text, &content.html));
    let structure = Structure::parse(raw.as_bytes());
    let mut leaves = Vec::new();
    add_leaves(&structure, structure.root(), &mut leaves);
    // What makes no sense in its encoding is listed as it is.
    let shown: Vec<_> = leaves
        .iter()
        .flat_map(|leaf| [leaf.decoded(raw.as_bytes()).unwrap_or_default(), raw.as_bytes()[leaf.body.clone()].into()])
        .collect();
    let describe = |(n, attachment): (usize, &Attachment)| {
        let (again, bytes) = Content::attachment(raw.as_bytes(), n).unwrap();
        assert_eq!((&again, &bytes, again.size), (attachment, &bodies.attachments[n], bytes.len() as u64));
        assert!(shown.iter().any(|shown| **shown == *bytes), "IMAP has no part {:?}", String::from_utf8_lossy(&bytes));
        let name = attachment.filename.as_deref().unwrap_or("-");
        format!("{} {name} {:?}", attachment.content_type, String::from_utf8_lossy(&bytes))
    };
    content.attachments.iter().enumerate().map(describe).collect()
}

#[test]
fn a_message_within_ends_where_the_multipart_goes_on() {
    for (inner, message) in [
        ("From: x@y.test\r\nSubject: only headers", "From: x@y.test\r\nSubject: only headers\r\n"),
        ("From: x@y.test\r\n\r\n", "From: x@y.test\r\n\r\n"),
        ("", "\r\n"),
        // Within it, another; and a multipart that nothing closes.
        ("Content-Type: message/rfc822\r\n\r\nFrom: x", "Content-Type: message/rfc822\r\n\r\nFrom: x\r\n"),
        (
            "Content-Type: multipart/mixed; boundary=C\r\n\r\n--C\r\nA: b",
            "Content-Type: multipart/mixed; boundary=C\r\n\r\n--C\r\nA: b\r\n",
        ),
    ] {
        let raw = mixed(&[TEXT, &format!("Content-Type: message/rfc822\r\n\r\n{inner}"), FILE]);
        assert_eq!(listed(&raw), [&format!("message/rfc822 - {message:?}"), LISTED_FILE], "{raw}");
        let content = Content::parse(raw.as_bytes());
        assert_eq!(content.text.as_deref(), Some("body"));
        assert_eq!(content.headers[2].1, "multipart/mixed; boundary=B");
        let range = Structure::parse(raw.as_bytes()).section(&[3], Section::Whole).unwrap();
        assert_eq!(&raw[range], "MZ");
        let with_bare_lines = listed(&raw.replace("\r\n", "\n"));
        assert_eq!(with_bare_lines[1], LISTED_FILE, "{raw}");
    }
}

#[test]
fn nothing_else_hides_a_part() {
    for hiding in [
        // No empty line; a multipart without an end; a delimiter in the midst of a line; an encoding that nobody knows.
        "Content-Type: application/octet-stream",
        "Content-Type: multipart/mixed; boundary=C\r\n\r\n--C\r\n\r\ntext",
        "\r\nsee --B-- for more",
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: x-own\r\n\r\nFrom: x",
        "Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=D\r\n\r\n--D\r\nx",
        "Content-Transfer-Encoding: base64\r\n\r\n(",
    ] {
        let raw = mixed(&[TEXT, hiding, FILE]);
        assert_eq!(listed(&raw).last().map(String::as_str), Some(LISTED_FILE), "{raw}");
    }
    let last =
        mixed(&[TEXT, "Content-Type: application/x-msdownload\r\nContent-Disposition: attachment; filename=a.exe"]);
    assert_eq!(listed(&last), ["application/x-msdownload a.exe \"\""]);
}

#[test]
fn a_delimiter_that_the_message_has_is_not_used() {
    assert_eq!(unused_delimiter(b""), "postrider-part-00000000");
    assert_eq!(
        unused_delimiter(b"postrider-part-00000000 postrider-part-00000002 postrider-part-"),
        "postrider-part-00000001"
    );
}

#[derive(Debug, Clone)]
enum Tree {
    File { has_body: bool },
    Message { inner: &'static str },
    Multipart { parts: Vec<Tree>, is_closed: bool },
}

impl Tree {
    /// Writes the part; `names` gets what must be listed of it.
    fn write(&self, raw: &mut String, multiparts: &mut usize, names: &mut Vec<String>) {
        let name = format!("f{}", names.len());
        match self {
            Self::File { has_body } => {
                let body = if *has_body { format!("\r\n{name}") } else { String::new() };
                raw.push_str(&format!("Content-Type: application/x; name={name}\r\n{body}"));
                names.push(name);
            }
            Self::Message { inner } => {
                raw.push_str(&format!("Content-Type: message/rfc822; name={name}\r\n\r\n{inner}"));
                names.push(name);
            }
            Self::Multipart { parts, is_closed } => {
                let boundary = format!("b{multiparts}.");
                *multiparts += 1;
                raw.push_str(&format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n"));
                for part in parts {
                    raw.push_str(&format!("\r\n--{boundary}\r\n"));
                    part.write(raw, multiparts, names);
                }
                if *is_closed {
                    raw.push_str(&format!("\r\n--{boundary}--\r\n"));
                }
            }
        }
    }
}

fn trees() -> impl Strategy<Value = Vec<Tree>> {
    let inner = ["", "From: x", "From: x\r\n\r\n", "\r\nbody", "Content-Type: message/rfc822\r\n\r\nA: b", "no field"];
    let leaf = prop_oneof![
        any::<bool>().prop_map(|has_body| Tree::File { has_body }),
        proptest::sample::select(inner.to_vec()).prop_map(|inner| Tree::Message { inner }),
    ];
    let tree = leaf.prop_recursive(4, 24, 4, |tree| {
        (proptest::collection::vec(tree, 1..4), any::<bool>())
            .prop_map(|(parts, is_closed)| Tree::Multipart { parts, is_closed })
    });
    proptest::collection::vec(tree, 1..5)
}

proptest! {
    #[test]
    fn every_leaf_is_listed(parts in trees(), is_closed: bool, has_bare_lines: bool) {
        let (mut raw, mut names) = ("From: a@b.test\r\n".to_owned(), Vec::new());
        Tree::Multipart { parts, is_closed }.write(&mut raw, &mut 0, &mut names);
        if has_bare_lines {
            raw = raw.replace("\r\n", "\n");
        }
        let found: Vec<_> = Summary::parse(raw.as_bytes()).attachments.into_iter().filter_map(|a| a.filename).collect();
        prop_assert_eq!(&found, &names, "{}", raw);
        prop_assert_eq!(Bodies::parse(raw.as_bytes()).attachments.len(), names.len());
    }

    #[test]
    fn any_bytes_open(raw in "(Content-Type: (multipart/mixed; boundary=B|message/rfc822|text/plain)|--B(--)?|A: b|\r\n|\n|x){0,24}") {
        let raw = format!("Content-Type: multipart/mixed; boundary=B\r\n\r\n{raw}");
        let structure = Structure::parse(raw.as_bytes());
        let mut leaves = Vec::new();
        add_leaves(&structure, structure.root(), &mut leaves);
        let anew = written_anew(raw.as_bytes(), &structure);
        let parsed = MessageParser::default().parse(&anew).unwrap();
        let found = parsed.parts.iter().filter(|part| !matches!(part.body, PartType::Multipart(_))).count();
        prop_assert_eq!(found, leaves.len(), "{}\n{}", raw, String::from_utf8_lossy(&anew));
    }
}
