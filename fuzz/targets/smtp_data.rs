//! The data of DATA: cuts change nothing, only CRLF.CRLF ends it, and what is accepted can be sent on unchanged.

use bytes::BytesMut;
use postrider_wire::smtp::text::{DataDecoder, DotStuffer, TextFault, TextRules, line_ends_hold};

const RULES: TextRules = TextRules { line_bytes_max: 200, message_bytes_max: 1000, repair_line_ends: false };

/// The first byte tells where to cut and whether to repair line ends.
pub(crate) fn run(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else { return };
    let rules = TextRules { repair_line_ends: first % 2 == 1, ..RULES };
    let (one, two) = data.split_at(usize::from(first / 2).min(data.len()));
    let (message, fault, end) = decode(rules, &[data]);
    let (cut_message, cut_fault, cut_end) = decode(rules, &[one, two]);
    assert_eq!((fault, end), (cut_fault, cut_end));

    let true_end = if data.starts_with(b".\r\n") {
        Some(3)
    } else {
        data.windows(5).position(|w| w == b"\r\n.\r\n").map(|at| at + 5)
    };
    assert_eq!(end, true_end, "only CRLF.CRLF ends data");
    if fault.is_some() || end.is_none() {
        return;
    }
    assert_eq!(message, cut_message);
    assert!(line_ends_hold(&message) && !message.contains(&0));
    let mut stuffed = Vec::new();
    let mut stuffer = DotStuffer::new();
    stuffer.push(&message, &mut stuffed);
    stuffer.finish(&mut stuffed);
    assert_eq!(decode(RULES, &[&stuffed]), (message, None, Some(stuffed.len())));
}

/// The message, its fault, and how many bytes it took, if it ended.
fn decode(rules: TextRules, pieces: &[&[u8]]) -> (Vec<u8>, Option<TextFault>, Option<usize>) {
    let mut decoder = DataDecoder::new(rules);
    let (mut input, mut out, mut taken) = (Vec::new(), BytesMut::new(), 0);
    for piece in pieces {
        input.extend_from_slice(piece);
        let decoded = decoder.decode(&input, &mut out);
        input.drain(..decoded.consumed);
        taken += decoded.consumed;
        if decoded.ended {
            return (out.to_vec(), decoder.checker().fault(), Some(taken));
        }
    }
    (out.to_vec(), decoder.checker().fault(), None)
}
