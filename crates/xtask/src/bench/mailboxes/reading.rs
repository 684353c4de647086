//! One large mailbox: how soon each of what mail programs ask is answered whole, and what of the processor it costs.
//!
//! The mailbox is filled by LMTP once. Every round works on a copy of it, with the server started anew: what is first in
//! a round finds what delivery left behind, and nothing that reading adds. The files are in the system's cache.

use std::time::Duration;

use super::Bench;
use super::effort::Effort;
use super::imap::{Answer, Client, LARGE_BUFFER_BYTES};
use super::lmtp;
use super::mail::{ABSENT_WORD, SUBJECT_EVERY, SUBJECT_WORD, TEXT_EVERY, TEXT_WORD};
use super::server::{self, Kind, PASSWORD, Server, user};

const SELECT: &str = "SELECT INBOX";
const LIST: &str = "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)";
const BODIES: &str = "FETCH 1:* BODY.PEEK[]";
const IN_ANOTHER_CONNECTION: &str = "`SELECT` in another connection";
const AFTER_UNSELECT: &str = "`SELECT` after `UNSELECT`";

/// What is asked, in this order.
pub(super) struct Operation {
    pub(super) title: &'static str,
    command: fn() -> String,
    /// Whether an answer is whole, for so many messages.
    is_whole: fn(&Answer, u64) -> bool,
    /// At least how many times as fast as Dovecot it shall be.
    pub(super) target: f64,
}

pub(super) const OPERATIONS: &[Operation] = &[
    operation("`SELECT`, the first", || SELECT.to_owned(), |answer, messages| answer.exists == messages, 1.0),
    operation(IN_ANOTHER_CONNECTION, || SELECT.to_owned(), |answer, messages| answer.exists == messages, 1.0),
    operation(AFTER_UNSELECT, || SELECT.to_owned(), |answer, messages| answer.exists == messages, 1.0),
    operation("list, the first", || LIST.to_owned(), |answer, messages| answer.fetched == messages, 2.0),
    operation("list, again", || LIST.to_owned(), |answer, messages| answer.fetched == messages, 1.0),
    operation("all bodies, the first", || BODIES.to_owned(), has_bodies, 2.0),
    operation("all bodies, again", || BODIES.to_owned(), has_bodies, 2.0),
    operation(
        "`SEARCH SUBJECT`, in some",
        || format!("SEARCH SUBJECT {SUBJECT_WORD}"),
        |answer, messages| answer.found == messages.div_ceil(SUBJECT_EVERY),
        1.0,
    ),
    operation(
        "`SEARCH SUBJECT`, in none",
        || format!("SEARCH SUBJECT {ABSENT_WORD}"),
        |answer, _| answer.found == 0,
        1.0,
    ),
    operation(
        "`SEARCH TEXT`, in some",
        || format!("SEARCH TEXT {TEXT_WORD}"),
        |answer, messages| answer.found == messages.div_ceil(TEXT_EVERY),
        1.0,
    ),
    operation("`SEARCH TEXT`, in none", || format!("SEARCH TEXT {ABSENT_WORD}"), |answer, _| answer.found == 0, 1.0),
    operation("`STORE 1:* +FLAGS`", || store("+FLAGS"), |answer, messages| answer.fetched == messages, 1.0),
    operation("`STORE 1:* -FLAGS`", || store("-FLAGS"), |answer, messages| answer.fetched == messages, 1.0),
    operation("`STORE 1:* +FLAGS.SILENT`", || store("+FLAGS.SILENT"), |answer, _| answer.fetched == 0, 1.0),
    operation("`STORE 1:* -FLAGS.SILENT`", || store("-FLAGS.SILENT"), |answer, _| answer.fetched == 0, 1.0),
];

const fn operation(
    title: &'static str,
    command: fn() -> String,
    is_whole: fn(&Answer, u64) -> bool,
    target: f64,
) -> Operation {
    Operation { title, command, is_whole, target }
}

fn store(item: &str) -> String {
    format!("STORE 1:* {item} (\\Flagged)")
}

/// A message grows by the fields that delivery adds; nothing of it may be missing.
fn has_bodies(answer: &Answer, messages: u64) -> bool {
    answer.fetched == messages && answer.literal_bytes >= messages * super::super::load::PAYLOAD_BYTES
}

/// One operation in one round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    pub(super) kind: Kind,
    /// Its place in [`OPERATIONS`].
    pub(super) operation: usize,
    pub(super) took: Duration,
    pub(super) processor: Duration,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    for &kind in &bench.options.servers {
        fill(bench, kind)?;
    }
    for round in 1..=bench.options.rounds {
        for &kind in &bench.options.servers {
            figures.extend(one_round(bench, kind, round)?);
        }
    }
    Ok(figures)
}

fn filled(bench: &Bench, kind: Kind) -> std::path::PathBuf {
    bench.folder.join(format!("{}-filled", kind.name()))
}

fn fill(bench: &Bench, kind: Kind) -> Result<(), String> {
    let server = Server::start(bench, kind, &filled(bench, kind), 1)?;
    let took = lmtp::deliver(server.lmtp_port, 0, bench.options.mailbox, bench.options.connections, 1)?;
    println!("{kind} has taken {} messages in {:.1} s", bench.options.mailbox, took.as_secs_f64());
    server.stop()
}

fn one_round(bench: &Bench, kind: Kind, round: u64) -> Result<Vec<Figure>, String> {
    let folder = bench.folder.join(format!("{}-r{round}", kind.name()));
    server::copy(&filled(bench, kind), &folder)?;
    let server = Server::start(bench, kind, &folder, 1)?;
    let mut client = open(bench, &server)?;
    let mut figures = Vec::new();
    for (place, operation) in OPERATIONS.iter().enumerate() {
        let command = (operation.command)();
        if operation.title == IN_ANOTHER_CONNECTION {
            client.command("LOGOUT")?;
            client = open(bench, &server)?;
        } else if operation.title == AFTER_UNSELECT {
            client.command("UNSELECT")?;
        }
        let before = Effort::of(server.id());
        let answer = client.command(&command)?;
        let processor = Effort::of(server.id()).since(&before);
        if !(operation.is_whole)(&answer, bench.options.mailbox) {
            return Err(format!("{kind} does not answer {command} whole: {answer:?}"));
        }
        let milliseconds = answer.took.as_secs_f64() * 1_000.0;
        println!("round {round}: {kind:<9} {:<28} {milliseconds:>9.1} ms {:>11} bytes", operation.title, answer.bytes);
        figures.push(Figure { kind, operation: place, took: answer.took, processor });
    }
    client.command("LOGOUT")?;
    server.stop()?;
    std::fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(figures)
}

fn open(bench: &Bench, server: &Server) -> Result<Client, String> {
    let mut client = Client::greeted(bench.connect(server.imap_port, 0)?, LARGE_BUFFER_BYTES)?;
    client.log_in(&user(0), PASSWORD)?;
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_lacks_something_is_seen() {
        let named = |title: &str| OPERATIONS.iter().find(|operation| operation.title == title).unwrap();
        let answer = Answer { fetched: 1_000, found: 5, ..Answer::default() };
        assert!((named("list, the first").is_whole)(&answer, 1_000));
        assert!(!(named("list, the first").is_whole)(&answer, 1_001));
        assert!(!(named("all bodies, again").is_whole)(&answer, 1_000));
        assert!((named("`SEARCH SUBJECT`, in some").is_whole)(&answer, 1_000));
        assert!(!(named("`SEARCH TEXT`, in none").is_whole)(&answer, 1_000));
    }
}
