//! What holds for any input: sets are what their ranges say, names survive, and no cut of the bytes changes anything.

use std::collections::BTreeSet;

use bytes::BytesMut;
use postrider_wire::imap::command::CommandBody;
use postrider_wire::imap::response::{Dialect, text};
use postrider_wire::imap::sequence::{MessageSet, NumberSet, SequenceNumber, SequenceSet};
use proptest::prelude::*;

use crate::script::{Script, patient};

fn sequence_number() -> impl Strategy<Value = SequenceNumber> {
    prop_oneof![9 => (1u32..60).prop_map(SequenceNumber::Number), 1 => Just(SequenceNumber::Largest)]
}

fn sequence_set() -> impl Strategy<Value = SequenceSet> {
    let range = (sequence_number(), sequence_number());
    prop::collection::vec(range, 1..12).prop_map(|ranges| SequenceSet::new(ranges).expect("no range is empty"))
}

fn on_the_wire(set: &SequenceSet) -> String {
    let number = |number: SequenceNumber| match number {
        SequenceNumber::Number(number) => number.to_string(),
        SequenceNumber::Largest => "*".to_owned(),
    };
    let ranges: Vec<String> =
        set.ranges().iter().map(|&(one, two)| format!("{}:{}", number(one), number(two))).collect();
    ranges.join(",")
}

/// By the letter of RFC 9051 section 9: `seq-range`.
fn expected(set: &SequenceSet, largest: u32) -> BTreeSet<u32> {
    let mut numbers = BTreeSet::new();
    for &(one, two) in set.ranges() {
        if let (Some(one), Some(two)) = (one.resolve(largest), two.resolve(largest)) {
            numbers.extend(one.min(two)..=one.max(two));
        }
    }
    numbers
}

fn written(set: &NumberSet) -> String {
    let mut out = BytesMut::new();
    set.write(&mut out);
    String::from_utf8(out.to_vec()).expect("sets are ASCII")
}

fn parsed(script: &mut Script, set: &str) -> SequenceSet {
    script.forget();
    script.send(format!("a UID EXPUNGE {set}\r\n"));
    match script.commands.pop().map(|command| command.body) {
        Some(CommandBody::Expunge { uids: Some(MessageSet::Set(set)) }) => set,
        other => panic!("{set} was read as {other:?}"),
    }
}

proptest! {
    #[test]
    fn a_set_has_the_numbers_of_its_ranges(set in sequence_set(), largest in 0u32..60) {
        let numbers = set.resolve(largest);
        let expected = expected(&set, largest);
        prop_assert!(numbers.iter().eq(expected.iter().copied()));
        prop_assert_eq!(numbers.count(), expected.len() as u64);
        prop_assert_eq!(numbers.first(), expected.first().copied());
        prop_assert_eq!(numbers.last(), expected.last().copied());
        prop_assert!(numbers.ranges().is_sorted_by(|one, next| one.end() + 1 < *next.start()));
        for number in 0..70 {
            prop_assert_eq!(numbers.contains(number), expected.contains(&number));
        }
    }

    #[test]
    fn sets_go_over_the_wire_and_back(set in sequence_set(), largest in 1u32..60) {
        let mut script = Script::selected(patient());
        prop_assert_eq!(&parsed(&mut script, &on_the_wire(&set)), &set);
        let numbers = set.resolve(largest);
        prop_assert_eq!(parsed(&mut script, &written(&numbers)).resolve(0), numbers);
    }

    #[test]
    fn what_is_in_both(one in sequence_set(), two in sequence_set()) {
        let common = one.resolve(30).intersection(&two.resolve(50));
        let expected = &expected(&one, 30) & &expected(&two, 50);
        prop_assert!(common.iter().eq(expected));
        prop_assert!(common.ranges().iter().all(|range| !range.is_empty()));
    }

    #[test]
    fn numbers_in_any_order(numbers in prop::collection::vec(0u32..40, 0..40)) {
        let expected: BTreeSet<u32> = numbers.iter().copied().collect();
        let collected: NumberSet = numbers.iter().copied().collect();
        let mut pushed = NumberSet::new();
        numbers.iter().for_each(|&number| pushed.push(number));
        prop_assert!(collected.iter().eq(expected));
        prop_assert_eq!(collected, pushed);
    }

    #[test]
    fn names_go_over_the_wire_and_back(name in "[^\\pC]{0,40}", rev2: bool) {
        let dialect = Dialect { utf8_accept: false, rev2 };
        let mut out = BytesMut::from(&b"a DELETE "[..]);
        text::mailbox_name(&mut out, &name, dialect);
        out.extend_from_slice(b"\r\n");
        let mut script = Script::logged_in(patient());
        if rev2 {
            script.send("0 ENABLE IMAP4rev2\r\n").forget();
        }
        script.send(out);
        let expected = if name.eq_ignore_ascii_case("INBOX") { "INBOX".to_owned() } else { name };
        prop_assert_eq!(&script.commands[0].body, &CommandBody::Delete { mailbox: expected });
    }

    #[test]
    fn no_cut_changes_anything(words in prop::collection::vec(word(), 0..60), cuts in prop::collection::vec(0usize..200, 0..6)) {
        let bytes = words.concat();
        let mut whole = Script::selected(patient());
        whole.send(&bytes);
        let mut pieces = Script::selected(patient());
        let mut rest = &bytes[..];
        for cut in cuts {
            let (piece, behind) = rest.split_at(cut.min(rest.len()));
            pieces.send(piece);
            rest = behind;
        }
        pieces.send(rest);
        prop_assert_eq!(String::from_utf8_lossy(&pieces.said), String::from_utf8_lossy(&whole.said));
        prop_assert_eq!(pieces.commands, whole.commands);
    }

    #[test]
    fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), logged_in: bool) {
        let mut script = if logged_in { Script::selected(patient()) } else { Script::new(patient()) };
        script.send(bytes);
    }
}

/// What commands are made of, and what breaks them.
fn word() -> impl Strategy<Value = Vec<u8>> {
    let words: &[&str] = &[
        "a",
        " ",
        " ",
        " ",
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        "(",
        ")",
        "\"",
        "\\",
        "{3}\r\n",
        "{3+}\r\n",
        "{0+}\r\n",
        "~{4+}\r\n",
        "{2000+}\r\n",
        "abc",
        "1:*",
        "1,5",
        "$",
        "*",
        "%",
        "[",
        "]",
        "<0.5>",
        "<",
        ">",
        ".",
        "-",
        "+",
        "UID",
        "FETCH",
        "STORE",
        "SEARCH",
        "APPEND",
        "LIST",
        "STATUS",
        "SELECT",
        "INBOX",
        "NOOP",
        "IDLE",
        "DONE",
        "LOGOUT",
        "FLAGS",
        "BODY",
        "BODY[",
        "BINARY[",
        "HEADER.FIELDS",
        "(FLAGS)",
        "\\Seen",
        "RETURN",
        "NOT",
        "OR",
        "SUBJECT",
        "ON",
        "1-Jan-2026",
        "\"01-Jan-2026 00:00:00 +0000\"",
        "CATENATE",
        "TEXT",
        "URL",
        "UTF8",
        "MODSEQ",
        "CHANGEDSINCE",
        "NIL",
        "a APPEND x ",
        "a FETCH 1 ",
        "a SEARCH ",
        "a NOOP\r\n",
        "a STORE 1 FLAGS ",
        "a LIST \"\" ",
        "a SELECT ",
        "&-",
        "&",
        "ü",
        "COMPRESS",
        "DEFLATE",
        "ENABLE",
        "UTF8=ACCEPT",
        "IMAP4rev2",
        "NOTIFY",
        "SET",
        "SETMETADATA",
        "/private/a",
    ];
    prop_oneof![
        20 => prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ]
}
