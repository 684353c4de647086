//! How responses are written.

use bytes::BytesMut;
use insta::assert_snapshot;
use postrider_wire::imap::command::{Section, SectionText, StatusItem};
use postrider_wire::imap::date::DateTime;
use postrider_wire::imap::flag::Flag;
use postrider_wire::imap::response::{
    self, Code, Condition, Dialect, Esearch, FetchLine, ListLine, Status, StatusValue, Threading,
};
use postrider_wire::imap::sequence::NumberSet;

const OLD: Dialect = Dialect { utf8_accept: false, rev2: false };
const REV2: Dialect = Dialect { utf8_accept: false, rev2: true };

fn written(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    String::from_utf8(out.to_vec()).expect("the tests write UTF-8").replace("\r\n", "\n").replace('\0', "\\0")
}

fn numbers(numbers: &[u32]) -> NumberSet {
    numbers.iter().copied().collect()
}

#[test]
fn codes() {
    let codes = vec![
        Code::Alert,
        Code::AppendUid { uid_validity: 7, uids: numbers(&[4, 5]) },
        Code::BadCharset(&["US-ASCII", "UTF-8"]),
        Code::BadEvent(&["MessageNew", "MessageExpunge"]),
        Code::BadUrl("/x]\r\ny".to_owned()),
        Code::Capability("IMAP4rev1 IMAP4rev2".to_owned()),
        Code::Closed,
        Code::CopyUid { uid_validity: 7, source: numbers(&[1, 2, 9]), destination: numbers(&[4, 5, 6]) },
        Code::HighestModSeq(715_194_045_007),
        Code::InProgress { tag: "a\"1".to_owned(), progress: Some(5), goal: Some(9) },
        Code::InProgress { tag: "a1".to_owned(), progress: None, goal: Some(9) },
        Code::MailboxId("F1".to_owned()),
        Code::MetadataLongEntries(99),
        Code::MetadataMaxSize(99),
        Code::MetadataTooMany,
        Code::MetadataNoPrivate,
        Code::Modified(numbers(&[7, 9])),
        Code::PermanentFlags { flags: vec![Flag::Seen, Flag::Keyword("$x".to_owned())], new_keywords: true },
        Code::PermanentFlags { flags: vec![], new_keywords: false },
        Code::ReadOnly,
        Code::UidNext(4),
        Code::UidValidity(5),
        Code::UnknownCte,
        Code::Unseen(6),
        Code::UseAttr,
    ];
    let text = written(|out| {
        for code in codes {
            Status::new(Condition::No, Some(code), "Text").write_tagged(out, "a");
        }
        Status::new(Condition::Ok, None, "[x] a\r\nb\u{fc}").write_untagged(out);
        Status::new(Condition::Bye, None, "").write_untagged(out);
        Status::new(Condition::Bad, None, "x".repeat(500)).write_untagged(out);
    });
    assert_snapshot!(text);
}

#[test]
fn mailboxes() {
    let text = written(|out| {
        for dialect in [OLD, REV2] {
            for name in ["INBOX", "Entwürfe", "A & B", "a\"b\\c", "", "nil", "a(b", "a]b", "x\r\ny", "*"] {
                response::list(out, &ListLine { name, delimiter: Some('/'), ..ListLine::default() }, dialect);
            }
        }
        let line = ListLine {
            attributes: &["\\HasChildren", "\\Sent"],
            name: "x",
            delimiter: None,
            child_info_subscribed: true,
            old_name: Some("y z"),
        };
        response::list(out, &line, OLD);
        response::lsub(out, &line, OLD);
        let values = [
            (StatusItem::Messages, StatusValue::Number(3)),
            (StatusItem::MailboxId, StatusValue::Id("F1")),
            (StatusItem::AppendLimit, StatusValue::Nil),
        ];
        response::status(out, "Entwürfe", values, OLD);
        response::exists(out, 4_294_967_295);
        response::recent(out, 0);
        response::flags(out, [Flag::Seen, Flag::Keyword("x".to_owned())]);
        response::namespace(out, "", '/', OLD);
        response::enabled(out, ["CONDSTORE", "QRESYNC"]);
        response::enabled(out, []);
        response::id(out, [("name", "Postrider")]);
        response::id(out, []);
        response::quota(out, "", [("STORAGE", 10, 512), ("MESSAGE", 1, 2)], OLD);
        response::quota_root(out, "INBOX", ["", "x y"], OLD);
        response::metadata(out, "", [("/shared/a", Some(&b"x"[..])), ("/shared/b", None)], OLD);
        response::metadata(out, "INBOX", [("/private/a", Some(&b"a\r\nb\0"[..]))], OLD);
        response::metadata_changed(out, "INBOX", ["/private/a"], OLD);
    });
    assert_snapshot!(text);
}

#[test]
fn fetches() {
    let at = DateTime { unix_seconds: 1_795_687_083, zone_minutes: -90 };
    let section = |part: &[u32], text| Section { part: part.to_vec(), text };
    let fields = vec!["From".to_owned(), "X Y".to_owned()];
    let text = written(|out| {
        let mut line = FetchLine::begin(out, 12, OLD);
        line.uid(7);
        line.flags(["\\Seen", "$x"]);
        line.mod_sequence(9);
        line.internal_date(at);
        line.rfc822_size(1234);
        line.save_date(Some(at));
        line.save_date(None);
        line.email_id("M1");
        line.thread_id(Some("T1"));
        line.thread_id(None);
        line.preview(Some("ü \"x\""));
        line.preview(None);
        line.rendered("ENVELOPE", b"(NIL)");
        line.item("RFC822", Some(b"hello"));
        line.end();
        let mut line = FetchLine::begin(out, 1, REV2);
        line.preview(Some("ü \"x\""));
        line.body_section(&section(&[], None), None, Some(b"hello"));
        line.body_section(&section(&[1, 2], None), Some(0), Some(b""));
        line.body_section(&section(&[], Some(SectionText::Header)), None, None);
        line.body_section(&section(&[3], Some(SectionText::Mime)), None, None);
        line.body_section(&section(&[], Some(SectionText::Text)), Some(5), None);
        line.body_section(&section(&[4], Some(SectionText::HeaderFields(fields.clone()))), None, None);
        line.body_section(&section(&[], Some(SectionText::HeaderFieldsNot(fields))), None, None);
        line.body_section_head(&section(&[1], None), None, 3);
        line.out().extend_from_slice(b"abc");
        line.binary(&[1], None, Some(b"a\0b"));
        line.binary(&[], Some(0), Some(b"ab"));
        line.binary_size(&[1, 2], 5);
        line.end();
        response::expunge(out, 3);
        response::vanished(out, &numbers(&[1, 2, 3, 7]), true);
        response::vanished(out, &numbers(&[1]), false);
        response::vanished(out, &NumberSet::new(), false);
    });
    assert_snapshot!(text);
}

#[test]
fn searches() {
    let all = numbers(&[1, 2, 3, 9]);
    let text = written(|out| {
        response::search(out, [2, 3], Some(9));
        response::search(out, [], Some(9));
        response::sort(out, [3, 2], None);
        let all_of_it = Esearch {
            tag: "a1",
            uid: true,
            min: Some(1),
            max: Some(9),
            count: Some(4),
            all: Some(&all),
            ..Esearch::default()
        };
        all_of_it.write(out);
        let none = NumberSet::new();
        Esearch { tag: "a\"1", count: Some(0), all: Some(&none), ..Esearch::default() }.write(out);
        let sorted =
            Esearch { tag: "a1", all_sorted: &[5, 3, 4, 5, 1], highest_mod_sequence: Some(7), ..Esearch::default() };
        sorted.write(out);
    });
    assert_snapshot!(text);
}

/// RFC 5256 sections 4 and 5.
#[test]
fn threads() {
    let thread = |members: &[(u32, u32)]| {
        let members: Vec<Threading> = members
            .iter()
            .map(|&(number, depth)| Threading { number: (number > 0).then_some(number), depth })
            .collect();
        written(|out| response::thread(out, &members))
    };
    assert_eq!(thread(&[]), "* THREAD\n");
    assert_eq!(
        thread(&[(2, 0), (3, 0), (6, 1), (4, 2), (23, 3), (44, 2), (7, 3), (96, 4)]),
        "* THREAD (2)(3 6 (4 23)(44 7 96))\n"
    );
    assert_eq!(thread(&[(0, 0), (3, 1), (5, 1)]), "* THREAD ((3)(5))\n");
    assert_eq!(thread(&[(0, 0), (3, 1), (6, 2), (4, 3), (23, 4), (44, 3), (5, 1)]), "* THREAD ((3 6 (4 23)(44))(5))\n");
    assert_eq!(
        thread(&[(166, 0), (167, 0), (168, 0), (172, 0), (174, 1), (175, 2), (176, 2), (178, 2), (181, 2), (180, 2)]),
        "* THREAD (166)(167)(168)(172 174 (175)(176)(178)(181)(180))\n"
    );
    assert_eq!(thread(&[(1, 0), (0, 1), (2, 2), (3, 2), (4, 1)]), "* THREAD (1 ((2)(3))(4))\n");
    assert_eq!(thread(&[(1, 0), (2, 1), (3, 2), (4, 1), (5, 0)]), "* THREAD (1 (2 3)(4))(5)\n");
}
