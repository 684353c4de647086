//! The section of `docs/benchmarks.md` on MongoDB.

use std::fmt::Write as _;
use std::time::Duration;

use super::drain::{self, CONCURRENCY, Drain};
use super::ingest::{Figure, Ingest};
use super::memory::Memory;
use super::mx::ANSWER_AFTER;
use super::notice::Notice;
use super::{Bench, Options};
use crate::bench::load::PAYLOAD_BYTES;
use crate::bench::machine::Machine;
use crate::bench::report::{MONGO_HEADING, joined, mebibytes, median};

/// Everything that was measured.
pub(super) struct Report {
    options: Options,
    server: String,
    machine: Machine,
    pub(super) ingest: Vec<Ingest>,
    pub(super) drain: Vec<Drain>,
    pub(super) memory: Option<Memory>,
    pub(super) notice: Option<Notice>,
}

impl Report {
    pub(super) fn new(bench: &Bench, machine: Machine) -> Self {
        Self {
            options: bench.options.clone(),
            server: bench.databases.describe(),
            machine,
            ingest: Vec::new(),
            drain: Vec::new(),
            memory: None,
            notice: None,
        }
    }

    pub(super) fn markdown(&self) -> String {
        let rounds = self.options.rounds;
        let mut out = format!(
            "{MONGO_HEADING}\nMeasured by `cargo xtask bench mongo` on {}, {rounds} interleaved rounds, each on a fresh \
             database. Middle values.\n\nMachine: {}.\n",
            self.server, self.machine
        );
        if !self.ingest.is_empty() {
            let Options { messages, sessions, .. } = &self.options;
            let _ = write!(
                out,
                "\n### Durable ingest\n\n{messages} messages of {PAYLOAD_BYTES} bytes by SMTP over {sessions} sessions, beside a \
                 plain loop over the driver that inserts the same documents of `emails` one by one from {sessions} tasks. \
                 Both wait for `w: \"majority\", j: true`. For mail to be sent on Postrider writes deliveries as well, the \
                 loop does not.\n\n{}",
                ingest_table(&self.ingest)
            );
        }
        if !self.drain.is_empty() {
            let _ = write!(
                out,
                "\n### One node and two\n\n{} deliveries to an MX that answers after {} ms, {CONCURRENCY} at once from each node, \
                 until all are recorded as sent. A conflict is a delivery that a node wanted and another one took first.\n\n{}",
                self.options.queued,
                ANSWER_AFTER.as_millis(),
                drain_table(&self.drain)
            );
        }
        if self.memory.is_some() || self.notice.is_some() {
            out.push_str("\n### A node\n\n| Postrider | measured |\n|---|---:|\n");
        }
        if let Some(Memory { empty, stored, full }) = &self.memory {
            for (what, bytes) in [
                ("an empty store".to_owned(), empty.idle_bytes),
                ("an empty store, after lists and statistics".to_owned(), empty.asked_bytes),
                (format!("{stored} e-mails queued"), full.idle_bytes),
                (format!("{stored} e-mails queued, after lists and statistics"), full.asked_bytes),
            ] {
                let _ = writeln!(out, "| resident memory, {what} | {} |", mebibytes(bytes));
            }
        }
        if let Some(Notice { heard, left }) = &self.notice {
            for (what, latencies) in [("its part of the queue", heard), ("the other's part, left for a second", left)] {
                let Some(last) = latencies.last() else { continue };
                let middle = latencies[latencies.len() / 2];
                let _ = writeln!(
                    out,
                    "| stored by a full node, sent by another: {what} | {} ms, at most {} ms |",
                    middle.as_millis(),
                    last.as_millis()
                );
            }
        }
        out
    }
}

fn ingest_table(all: &[Ingest]) -> String {
    let mut out = String::from(
        "| mail | | messages/s | each round | CPU per message, us | the database's, us | Postrider's rate by the loop's |\n\
         |---|---|---:|---|---:|---:|---:|\n",
    );
    for Ingest { mail, postrider, plain } in all {
        let ratio = format!("{:.2}", rate(postrider) / rate(plain));
        for (who, figures, ratio) in [("Postrider", postrider, ratio.as_str()), ("the loop", plain, "")] {
            let cost = middle(figures, |figure| figure.sample.cpu_microseconds_per_message);
            let database = told(middle(figures, |figure| figure.database_microseconds_per_message));
            let each = joined(&rates(figures), 0);
            let (mail, rate) = (mail.name(), rate(figures));
            let _ = writeln!(out, "| {mail} | {who} | {rate:.0} | {each} | {cost:.0} | {database} | {ratio} |");
        }
    }
    out
}

fn drain_table(all: &[Drain]) -> String {
    let mut out = String::from(
        "| domains | nodes | seconds | each round | conflicts for each claimed delivery | CPU per delivery, us | the database's, \
         us | as fast as one |\n|---:|---:|---:|---|---:|---:|---:|---:|\n",
    );
    for Drain { domains, one, two } in all {
        for (nodes, figures) in [(1, one), (2, two)] {
            let each = seconds(figures);
            let ratio = median(&seconds(one)) / median(&each);
            let conflicts = middle(figures, |figure: &drain::Figure| figure.claims.conflicts_per_delivery());
            let cost = middle(figures, |figure| figure.cpu_microseconds_per_delivery);
            let database = told(middle(figures, |figure| figure.database_microseconds_per_delivery));
            let _ = writeln!(
                out,
                "| {domains} | {nodes} | {:.1} | {} | {conflicts:.3} | {cost:.0} | {database} | {ratio:.2} |",
                median(&each),
                joined(&each, 1)
            );
        }
    }
    out
}

fn rates(figures: &[Figure]) -> Vec<f64> {
    figures.iter().map(|figure| figure.sample.messages_per_second).collect()
}

fn rate(figures: &[Figure]) -> f64 {
    median(&rates(figures))
}

fn seconds(figures: &[drain::Figure]) -> Vec<f64> {
    figures.iter().map(|figure| Duration::as_secs_f64(&figure.took)).collect()
}

/// Nothing is known of a server that is not ours.
fn told(microseconds: f64) -> String {
    if microseconds > 0.0 { format!("{microseconds:.0}") } else { "-".to_owned() }
}

fn middle<T>(figures: &[T], value: impl Fn(&T) -> f64) -> f64 {
    median(&figures.iter().map(value).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::mongo::drain::Claims;
    use crate::bench::mongo::ingest::Mail;
    use crate::bench::report::Sample;

    #[test]
    fn rates_are_compared_by_their_middle_values() {
        let figure = |messages: u64| Figure {
            sample: Sample::new(messages, Duration::from_secs(1), messages * 100),
            database_microseconds_per_message: 400.0,
        };
        let ingest = Ingest {
            mail: Mail::Kept,
            postrider: [150, 900, 100].map(figure).into(),
            plain: [50, 100, 200].map(figure).into(),
        };
        let table = ingest_table(&[ingest]);
        assert!(table.contains("| kept here | Postrider | 150 | 150, 900, 100 | 100 | 400 | 1.50 |"), "{table}");
        assert!(table.contains("| kept here | the loop | 100 | 50, 100, 200 | 100 | 400 |  |"), "{table}");
    }

    #[test]
    fn two_nodes_are_compared_with_one() {
        let figure = |seconds: u64| drain::Figure {
            took: Duration::from_secs(seconds),
            claims: Claims { claimed: 4_000, missed: 100 },
            cpu_microseconds_per_delivery: 300.0,
            database_microseconds_per_delivery: 0.0,
        };
        let drain = Drain { domains: 40, one: vec![figure(20)], two: vec![figure(10)] };
        let table = drain_table(&[drain]);
        assert!(table.contains("| 40 | 1 | 20.0 | 20.0 | 0.025 | 300 | - | 1.00 |"), "{table}");
        assert!(table.contains("| 40 | 2 | 10.0 | 10.0 | 0.025 | 300 | - | 2.00 |"), "{table}");
    }
}
