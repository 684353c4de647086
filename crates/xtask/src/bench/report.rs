//! The numbers as people read them.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::api::{self, Round};
use super::backlog::Backlog;
use super::load::PAYLOAD_BYTES;
use super::machine::Machine;
use super::memory::Memory;
use super::options::{Options, Server};

/// One server in one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) messages_per_second: f64,
    pub(crate) cpu_microseconds_per_message: f64,
}

impl Sample {
    pub(crate) fn new(messages: u64, took: Duration, cpu_microseconds: u64) -> Self {
        Self {
            messages_per_second: messages as f64 / took.as_secs_f64(),
            cpu_microseconds_per_message: cpu_microseconds as f64 / messages as f64,
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7.0}/s {:>7.0} us", self.messages_per_second, self.cpu_microseconds_per_message)
    }
}

/// Samples by server, in the order of rounds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds(Vec<(Server, Sample)>);

impl Rounds {
    pub(crate) fn add(&mut self, server: Server, sample: Sample) {
        self.0.push((server, sample));
    }

    fn of(&self, server: Server) -> Vec<Sample> {
        self.0.iter().filter(|(of, _)| *of == server).map(|(_, sample)| *sample).collect()
    }

    /// Postrider's rate by another's, round by round: what disturbed one round disturbed both.
    fn ratios(&self, other: Server) -> Vec<f64> {
        let pairs = self.of(Server::Postrider).into_iter().zip(self.of(other));
        pairs.map(|(ours, theirs)| ours.messages_per_second / theirs.messages_per_second).collect()
    }

    fn table(&self) -> String {
        let mut out =
            String::from("| server | messages/s | each round | CPU per message, us | Postrider's rate by this |\n");
        out.push_str("|---|---:|---|---:|---|\n");
        for server in [Server::Sink, Server::Postfix, Server::Postrider, Server::Signing] {
            let samples = self.of(server);
            if samples.is_empty() {
                continue;
            }
            let rates: Vec<f64> = samples.iter().map(|sample| sample.messages_per_second).collect();
            let costs: Vec<f64> = samples.iter().map(|sample| sample.cpu_microseconds_per_message).collect();
            let ratios = if server == Server::Postrider { Vec::new() } else { self.ratios(server) };
            let ratio = match ratios.as_slice() {
                [] => String::new(),
                ratios => format!("{:.1} ({})", median(ratios), joined(ratios, 1)),
            };
            let (rate, cost) = (median(&rates), median(&costs));
            let _ = writeln!(out, "| {} | {rate:.0} | {} | {cost:.0} | {ratio} |", title(server), joined(&rates, 0));
        }
        out
    }
}

/// The headings of what `bench mailboxes`, `bench sending`, `bench pages` and `bench mongo` measure, and of what the store's example
/// `search` does: these sections of `docs/benchmarks.md` are their own, and come behind all others, in this order.
pub(crate) const MAILBOXES_HEADING: &str = "\n## Mailboxes\n";
pub(crate) const SENDING_HEADING: &str = "\n## Sending\n";
pub(crate) const MONGO_HEADING: &str = "\n## On MongoDB\n";
const SEARCH_HEADING: &str = "\n## Finding e-mails\n";
pub(crate) const PAGES_HEADING: &str = "\n## Pages\n";
const OWN_SECTIONS: [&str; 5] = [MAILBOXES_HEADING, SENDING_HEADING, SEARCH_HEADING, PAGES_HEADING, MONGO_HEADING];

/// Writes `docs/benchmarks.md` anew, from what it is now.
pub(crate) fn write(root: &Path, change: impl FnOnce(&str) -> String) -> Result<(), String> {
    let path = root.join("docs/benchmarks.md");
    let refuse = |error: std::io::Error| format!("{}: {error}", path.display());
    let before = fs::read_to_string(&path).map_err(refuse)?;
    fs::write(&path, change(&before)).map_err(refuse)
}

/// A document with `section`, which begins with `heading`, in the place of the one that it had.
pub(crate) fn with_section(document: &str, heading: &str, section: &str) -> String {
    let first = OWN_SECTIONS.iter().filter_map(|heading| document.find(heading)).min().unwrap_or(document.len());
    let sections = OWN_SECTIONS.map(|own| if own == heading { section } else { section_of(document, own) });
    format!("{}{}", &document[..first], sections.concat())
}

/// `measured` with the sections that other commands wrote into a document.
pub(crate) fn with_own_sections(measured: &str, document: &str) -> String {
    format!("{measured}{}", OWN_SECTIONS.map(|heading| section_of(document, heading)).concat())
}

/// From a heading to the next one of its level.
fn section_of<'a>(document: &'a str, heading: &str) -> &'a str {
    let Some(start) = document.find(heading) else { return "" };
    let section = &document[start..];
    let end = section.get(heading.len()..).and_then(|rest| rest.find("\n## ")).map(|end| heading.len() + end);
    &section[..end.unwrap_or(section.len())]
}

/// Everything that was measured.
pub(crate) struct Report {
    options: Options,
    machine: Machine,
    pub(crate) ingest: Rounds,
    pub(crate) api: Vec<Round>,
    pub(crate) relay: Rounds,
    pub(crate) memory: Option<Memory>,
    pub(crate) backlog: Option<Backlog>,
}

impl Report {
    pub(crate) fn new(options: &Options, machine: Machine) -> Self {
        Self {
            options: options.clone(),
            machine,
            ingest: Rounds::default(),
            api: Vec::new(),
            relay: Rounds::default(),
            memory: None,
            backlog: None,
        }
    }

    /// `docs/benchmarks.md`.
    pub(crate) fn markdown(&self) -> String {
        let Options { messages, rounds, sessions, .. } = &self.options;
        let mut out = format!(
            "# Benchmarks\n\n\
             Measured by `cargo xtask bench`. {rounds} interleaved rounds of {messages} messages of {PAYLOAD_BYTES} bytes \
             over {sessions} sessions that stay open (`smtp-source -d`), everything on loopback and one disk. Middle \
             values; processor time is that of the server's whole process tree.\n\n\
             Machine: {}.\n",
            self.machine
        );
        if !self.ingest.0.is_empty() {
            out.push_str("\n## Durable ingest\n\nA message is on disk before its 250. smtp-sink stores nothing.\n\n");
            out.push_str(&self.ingest.table());
        }
        if !self.api.is_empty() {
            out.push_str(&api_section(&self.api, *sessions));
        }
        if !self.relay.0.is_empty() {
            out.push_str("\n## Relay\n\nAccepted, stored, and delivered to smtp-sink; the time ends with the last message there. Signing is with \
                 Ed25519 (DKIM).\n\n");
            out.push_str(&self.relay.table());
        }
        if self.memory.is_some() || self.backlog.is_some() {
            out.push_str("\n## Memory and a long queue\n\n| Postrider | measured |\n|---|---:|\n");
        }
        if let Some(memory) = &self.memory {
            let _ = writeln!(out, "| resident memory, idle | {} |", mebibytes(memory.idle_bytes));
            let _ = writeln!(
                out,
                "| resident memory, {} idle SMTP sessions | {} |",
                memory.sessions,
                mebibytes(memory.sessions_bytes)
            );
        }
        if let Some(backlog) = &self.backlog {
            let queued = backlog.queued;
            let _ = writeln!(out, "| resident memory, {queued} queued | {} |", mebibytes(backlog.resident_bytes));
            for (what, took) in [
                ("`/api/queue/stats`", backlog.stats_latency),
                ("first page of `/api/emails`", backlog.emails_latency),
                ("restart to first delivery", backlog.first_delivery),
            ] {
                let _ = writeln!(out, "| {what}, {queued} queued | {:.1} ms |", took.as_secs_f64() * 1000.0);
            }
        }
        out
    }
}

fn api_section(rounds: &[Round], sessions: u64) -> String {
    let mut out = String::from(
        "\n## Durable ingest by the API\n\nE-mails posted as JSON, each composed and on disk before its 202, beside the same server's \
         SMTP.\n\n| Postrider by | messages/s | each round | CPU per message, us | the API's rate by this |\n\
         |---|---:|---|---:|---|\n",
    );
    let ratios: Vec<f64> =
        rounds.iter().map(|round| round.api.messages_per_second / round.smtp.messages_per_second).collect();
    let ratio = format!("{:.2} ({})", median(&ratios), joined(&ratios, 2));
    let (smtp, api): (Vec<Sample>, Vec<Sample>) = rounds.iter().map(|round| (round.smtp, round.api)).unzip();
    let connections = api::CONNECTIONS;
    for (way, samples, ratio) in [
        (format!("SMTP, {sessions} sessions"), smtp, ratio),
        (format!("HTTP, {connections} connections"), api, String::new()),
    ] {
        let rates: Vec<f64> = samples.iter().map(|sample| sample.messages_per_second).collect();
        let costs: Vec<f64> = samples.iter().map(|sample| sample.cpu_microseconds_per_message).collect();
        let (rate, cost) = (median(&rates), median(&costs));
        let _ = writeln!(out, "| {way} | {rate:.0} | {} | {cost:.0} | {ratio} |", joined(&rates, 0));
    }
    out
}

fn title(server: Server) -> &'static str {
    match server {
        Server::Sink => "smtp-sink",
        Server::Postfix => "Postfix",
        Server::Postrider => "Postrider",
        Server::Signing => "Postrider, signing",
    }
}

pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / 1024.0 / 1024.0)
}

/// The middle value; of an even number, the upper of the two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) fn joined(values: &[f64], decimals: usize) -> String {
    values.iter().map(|value| format!("{value:.decimals$}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let mut rounds = Rounds::default();
        for (postfix, postrider) in [(100, 500), (200, 1400), (50, 300)] {
            rounds.add(Server::Postfix, Sample::new(postfix, Duration::from_secs(1), postfix * 1000));
            rounds.add(Server::Postrider, Sample::new(postrider, Duration::from_secs(1), postrider * 150));
        }
        assert_eq!(rounds.ratios(Server::Postfix), [5.0, 7.0, 6.0]);
        let table = rounds.table();
        assert!(table.contains("| Postfix | 100 | 100, 200, 50 | 1000 | 6.0 (5.0, 7.0, 6.0) |"), "{table}");
        assert!(table.contains("| Postrider | 500 | 500, 1400, 300 | 150 |  |"), "{table}");
        assert!(!table.contains("smtp-sink"));
    }

    #[test]
    fn the_api_is_held_against_smtp() {
        let sample = |messages| Sample::new(messages, Duration::from_secs(1), messages * 100);
        let section = api_section(&[Round { smtp: sample(1_000), api: sample(750) }], 64);
        assert!(section.contains("| SMTP, 64 sessions | 1000 | 1000 | 100 | 0.75 (0.75) |"), "{section}");
        assert!(section.contains("| HTTP, 16 connections | 750 | 750 | 100 |  |"), "{section}");
    }

    #[test]
    fn each_command_writes_its_own_sections() {
        let (mailboxes, mongo) = (format!("{MAILBOXES_HEADING}\n### x\n"), format!("{MONGO_HEADING}\n### y\n"));
        let bare = "# Benchmarks\n\n## Relay\n";
        let with_mongo = with_section(bare, MONGO_HEADING, &mongo);
        assert_eq!(with_mongo, format!("{bare}{mongo}"));
        let with_both = with_section(&with_mongo, MAILBOXES_HEADING, &mailboxes);
        assert_eq!(with_both, format!("{bare}{mailboxes}{mongo}"));
        let again = format!("{MAILBOXES_HEADING}\nnew\n");
        assert_eq!(with_section(&with_both, MAILBOXES_HEADING, &again), format!("{bare}{again}{mongo}"));
        assert_eq!(with_own_sections("# New\n", &with_both), format!("# New\n{mailboxes}{mongo}"));
        assert_eq!(with_own_sections("# New\n", bare), "# New\n");
    }

    #[test]
    fn the_middle_value() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }
}
