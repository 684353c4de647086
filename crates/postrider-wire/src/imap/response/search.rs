//! SEARCH, ESEARCH, SORT and THREAD responses (RFC 9051 section 7.3.4, RFC 3501 section 7.2.5, RFC 4731, RFC 5256).

use bytes::BytesMut;

use super::text::{number, quoted};
use crate::imap::sequence::NumberSet;

/// `* SEARCH 2 3 (MODSEQ 9)`; the mod-sequence where the search asked for one and found something.
pub fn search(out: &mut BytesMut, numbers: impl IntoIterator<Item = u32>, highest_mod_sequence: Option<u64>) {
    numbered(out, b"* SEARCH", numbers, highest_mod_sequence);
}

/// `* SORT 3 2`, in the order that was asked for.
pub fn sort(out: &mut BytesMut, numbers: impl IntoIterator<Item = u32>, highest_mod_sequence: Option<u64>) {
    numbered(out, b"* SORT", numbers, highest_mod_sequence);
}

/// An ESEARCH response: only what was asked for and is there. COUNT is told also of nothing, the others are not (RFC 4731
/// section 3.1).
#[derive(Debug, Clone, Copy, Default)]
pub struct Esearch<'a> {
    pub tag: &'a str,
    pub uid: bool,
    pub min: Option<u32>,
    pub max: Option<u32>,
    pub count: Option<u64>,
    pub all: Option<&'a NumberSet>,
    /// In the order of SORT, in place of `all`; empty: not there.
    pub all_sorted: &'a [u32],
    pub highest_mod_sequence: Option<u64>,
}

impl Esearch<'_> {
    /// `* ESEARCH (TAG "a1") UID COUNT 3 ALL 1:3`
    pub fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(b"* ESEARCH (TAG ");
        quoted(out, self.tag.as_bytes());
        out.extend_from_slice(b")");
        if self.uid {
            out.extend_from_slice(b" UID");
        }
        let numbers =
            [(&b" MIN "[..], self.min.map(u64::from)), (b" MAX ", self.max.map(u64::from)), (b" COUNT ", self.count)];
        for (name, value) in numbers {
            if let Some(value) = value {
                out.extend_from_slice(name);
                number(out, value);
            }
        }
        if !self.all_sorted.is_empty() {
            out.extend_from_slice(b" ALL ");
            sorted(out, self.all_sorted);
        } else if let Some(all) = self.all.filter(|all| !all.is_empty()) {
            out.extend_from_slice(b" ALL ");
            all.write(out);
        }
        if let Some(mod_sequence) = self.highest_mod_sequence {
            out.extend_from_slice(b" MODSEQ ");
            number(out, mod_sequence);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// A message and what answers it. Trees may be as deep as a mailbox is large: they are kept flat, and written without
/// recursion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threading {
    /// Sequence number or UID; `None`: the message is not there (or not found), but its answers belong together.
    pub number: Option<u32>,
    /// How far below the thread's first message, which is at 0. At most one more than that of the one before.
    pub depth: u32,
}

/// `* THREAD (2)(3 6 (4 23)(44 7 96))`. Messages in the order of a walk through the trees, parents before children.
pub fn thread(out: &mut BytesMut, messages: &[Threading]) {
    out.extend_from_slice(b"* THREAD");
    if !messages.is_empty() {
        out.extend_from_slice(b" ");
    }
    // Depths of the parents under which a parenthesis is open.
    let mut open: Vec<u32> = Vec::new();
    let siblings = sibling_marks(messages);
    for (index, message) in messages.iter().enumerate() {
        while open.last().is_some_and(|&depth| depth >= message.depth) {
            out.extend_from_slice(b")");
            open.pop();
        }
        let is_branch = message.depth == 0 || siblings.get(index).copied().unwrap_or(false);
        if is_branch {
            // Section 5 of RFC 5256: after a member that stands there comes a space, not so after a closed branch.
            if message.depth > 0 && out.last().is_some_and(u8::is_ascii_digit) {
                out.extend_from_slice(b" ");
            }
            out.extend_from_slice(b"(");
            open.push(message.depth);
        } else if out.last().is_some_and(u8::is_ascii_digit) {
            out.extend_from_slice(b" ");
        }
        if let Some(value) = message.number {
            number(out, u64::from(value));
        }
    }
    out.extend(std::iter::repeat_n(b')', open.len()));
    out.extend_from_slice(b"\r\n");
}

/// Which messages have sisters, so that each begins a branch of its own.
fn sibling_marks(messages: &[Threading]) -> Vec<bool> {
    let mut marks = vec![false; messages.len()];
    // The last message at each depth, along the path from the thread's first to here.
    let mut path: Vec<usize> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let depth = (message.depth as usize).min(path.len());
        if let Some(&sister) = path.get(depth) {
            marks[sister] = true;
            marks[index] = true;
        }
        path.truncate(depth);
        path.push(index);
    }
    marks
}

fn numbered(
    out: &mut BytesMut,
    name: &[u8],
    numbers: impl IntoIterator<Item = u32>,
    highest_mod_sequence: Option<u64>,
) {
    out.extend_from_slice(name);
    let mut is_empty = true;
    for value in numbers {
        out.extend_from_slice(b" ");
        number(out, u64::from(value));
        is_empty = false;
    }
    if let Some(mod_sequence) = highest_mod_sequence.filter(|_| !is_empty) {
        out.extend_from_slice(b" (MODSEQ ");
        number(out, mod_sequence);
        out.extend_from_slice(b")");
    }
    out.extend_from_slice(b"\r\n");
}

/// Numbers in an order that matters, with runs that ascend one by one as ranges (RFC 5267 section 2.1).
fn sorted(out: &mut BytesMut, numbers: &[u32]) {
    for (index, run) in numbers.chunk_by(|one, next| one.checked_add(1) == Some(*next)).enumerate() {
        if index > 0 {
            out.extend_from_slice(b",");
        }
        let (first, last) = (run[0], run[run.len() - 1]);
        number(out, u64::from(first));
        if last != first {
            out.extend_from_slice(b":");
            number(out, u64::from(last));
        }
    }
}
