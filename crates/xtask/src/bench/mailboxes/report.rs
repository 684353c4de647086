//! The section of `docs/benchmarks.md` on mailboxes.

use std::fmt::Write as _;
use std::time::Duration;

use super::delivery::Delivery;
use super::idle::{ANNOUNCED_WITHIN, ANNOUNCEMENTS, Idle};
use super::options::Options;
use super::reading::{Figure, OPERATIONS};
use super::server::Kind;
use crate::bench::load::PAYLOAD_BYTES;
use crate::bench::machine::Machine;
use crate::bench::report::{MAILBOXES_HEADING, Sample, joined, mebibytes, median};

/// Everything that was measured.
pub(super) struct Report {
    options: Options,
    machine: Machine,
    /// Its version.
    dovecot: String,
    pub(super) delivery: Vec<Delivery>,
    pub(super) reading: Vec<Figure>,
    pub(super) idle: Vec<Idle>,
}

impl Report {
    pub(super) fn new(options: &Options, machine: Machine, dovecot: String) -> Self {
        Self { options: options.clone(), machine, dovecot, delivery: Vec::new(), reading: Vec::new(), idle: Vec::new() }
    }

    pub(super) fn markdown(&self) -> String {
        let Options { rounds, messages, connections, mailbox, .. } = &self.options;
        let mut out = format!(
            "{MAILBOXES_HEADING}\nMeasured by `cargo xtask bench mailboxes` beside Dovecot {} with mdbox: the same mail, each in a \
             folder of its own, {rounds} interleaved rounds. Middle values, and the least and the most; processor time is that \
             of the server's whole process tree.\n\nMachine: {}.\n",
            self.dovecot, self.machine
        );
        if !self.delivery.is_empty() {
            let _ = write!(
                out,
                "\n### Delivery\n\n{messages} messages of {PAYLOAD_BYTES} bytes by LMTP over {connections} connections that stay \
                 open, each in its mailbox for good before its 250.\n\n{}",
                delivery_table(&self.delivery)
            );
        }
        if !self.reading.is_empty() {
            let _ = write!(
                out,
                "\n### Reading\n\nOne mailbox of {mailbox} such messages, one client. Each round is on a fresh copy of what \
                 delivery left, the server started anew, in this order; files are in the system's cache. The time is from \
                 sending the command to having read its whole answer. A list is `FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE \
                 ENVELOPE BODYSTRUCTURE)`, all bodies are `FETCH 1:* BODY.PEEK[]`.\n\n{}",
                reading_table(&self.reading)
            );
        }
        if !self.idle.is_empty() {
            let _ = write!(
                out,
                "\n### Waiting\n\nConnections with a mailbox selected, in IDLE. Memory is the whole process tree's, shared pages \
                 divided (PSS). Announced: from a delivery's 250 until the last idler of its mailbox has read `EXISTS`; after \
                 {} s an idler counts as not in time.\n\n{}",
                ANNOUNCED_WITHIN.as_secs(),
                idle_table(&self.idle)
            );
        }
        out
    }
}

fn delivery_table(all: &[Delivery]) -> String {
    let mut out = String::from(
        "| mailboxes | server | messages/s | each round | CPU per message, us | Postrider's rate by Dovecot's |\n\
         |---:|---|---:|---|---:|---:|\n",
    );
    for Delivery { users, samples } in all {
        let of = |kind: Kind, value: fn(&Sample) -> f64| {
            samples.iter().filter(|(of, _)| *of == kind).map(|(_, sample)| value(sample)).collect::<Vec<_>>()
        };
        let rate = |kind: Kind| of(kind, |sample| sample.messages_per_second);
        for kind in Kind::ALL {
            let rates = rate(kind);
            if rates.is_empty() {
                continue;
            }
            let cost = median(&of(kind, |sample| sample.cpu_microseconds_per_message));
            let ratio = if kind == Kind::Postrider {
                ratio(median(&rates), median(&rate(Kind::Dovecot)))
            } else {
                String::new()
            };
            let _ = writeln!(
                out,
                "| {users} | {kind} | {:.0} | {} | {cost:.0} | {ratio} |",
                median(&rates),
                joined(&rates, 0)
            );
        }
    }
    out
}

fn reading_table(figures: &[Figure]) -> String {
    let mut out = String::from(
        "| | Dovecot, ms | CPU, ms | Postrider, ms | CPU, ms | as fast as Dovecot | at least |\n|---|---|---:|---|---:|---:|---:|\n",
    );
    for (place, operation) in OPERATIONS.iter().enumerate() {
        let of = |kind: Kind, value: fn(&Figure) -> Duration| {
            let figures = figures.iter().filter(|figure| figure.kind == kind && figure.operation == place);
            figures.map(|figure| value(figure).as_secs_f64() * 1_000.0).collect::<Vec<_>>()
        };
        let took = Kind::ALL.map(|kind| of(kind, |figure| figure.took));
        let cost = Kind::ALL.map(|kind| of(kind, |figure| figure.processor));
        let [theirs, ours] = &took;
        let ratio = ratio(median(theirs), median(ours));
        let [(theirs, their_cost), (ours, our_cost)] = [0, 1].map(|kind| (spread(&took[kind]), middle(&cost[kind])));
        let _ = writeln!(
            out,
            "| {} | {theirs} | {their_cost} | {ours} | {our_cost} | {ratio} | {} |",
            operation.title, operation.target
        );
    }
    out
}

fn idle_table(all: &[Idle]) -> String {
    let mut out = String::from(
        "| server | connections | of one mailbox | memory before | with them | for each | announced after, ms | at most, ms | not \
         in time |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for idle in all {
        let each = idle.memory_bytes.saturating_sub(idle.empty_bytes) / idle.idlers.max(1) / 1_024;
        let latencies: Vec<f64> = idle.latencies.iter().map(|latency| latency.as_secs_f64() * 1_000.0).collect();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {each} KiB | {:.1} | {:.1} | {} of {} |",
            idle.kind,
            idle.idlers,
            idle.idlers_per_user,
            mebibytes(idle.empty_bytes),
            mebibytes(idle.memory_bytes),
            median(&latencies),
            latencies.last().copied().unwrap_or(f64::NAN),
            idle.missing,
            idle.idlers_per_user * ANNOUNCEMENTS
        );
    }
    out
}

/// How many times one value is the other.
fn ratio(value: f64, by: f64) -> String {
    let ratio = value / by;
    if ratio.is_finite() { format!("{ratio:.2}") } else { String::new() }
}

/// The middle value, the least and the most.
fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    if values.is_empty() { String::new() } else { format!("{:.1} ({least:.1} to {most:.1})", median(values)) }
}

fn middle(values: &[f64]) -> String {
    if values.is_empty() { String::new() } else { format!("{:.1}", median(values)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_compared_by_their_middle_values() {
        let sample = |messages: u64| Sample::new(messages, Duration::from_secs(1), messages * 100);
        let samples = [300, 100, 200].map(|n| (Kind::Dovecot, sample(n))).into_iter();
        let samples = samples.chain([900, 1_000, 1_100].map(|n| (Kind::Postrider, sample(n)))).collect();
        let table = delivery_table(&[Delivery { users: 16, samples }]);
        assert!(table.contains("| 16 | Dovecot | 200 | 300, 100, 200 | 100 |  |"), "{table}");
        assert!(table.contains("| 16 | Postrider | 1000 | 900, 1000, 1100 | 100 | 5.00 |"), "{table}");
    }

    #[test]
    fn answers_are_compared_by_their_middle_values() {
        let figure = |kind, milliseconds: u64| Figure {
            kind,
            operation: 0,
            took: Duration::from_millis(milliseconds),
            processor: Duration::from_millis(1),
        };
        let theirs = [9, 6, 8].map(|took| figure(Kind::Dovecot, took));
        let ours = [4, 2, 1].map(|took| figure(Kind::Postrider, took));
        let table = reading_table(&[theirs, ours].concat());
        let row = table.lines().nth(2).unwrap();
        assert!(row.ends_with("| 8.0 (6.0 to 9.0) | 1.0 | 2.0 (1.0 to 4.0) | 1.0 | 4.00 | 1 |"), "{row}");
    }
}
