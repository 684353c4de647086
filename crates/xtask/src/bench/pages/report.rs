//! The numbers as people read them.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::bench::machine::Machine;
use crate::bench::report::PAGES_HEADING;

/// How long one page takes.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) median: Duration,
    pub(super) longest: Duration,
    pub(super) bytes: usize,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let kib = self.bytes as f64 / 1024.0;
        write!(f, "| {} | {:.1} ms | {:.1} ms | {kib:.0} KiB |", self.name, ms(self.median), ms(self.longest))
    }
}

/// What open pages cost.
pub(super) struct Cost {
    pub(super) pages: usize,
    pub(super) mail_comes: bool,
    /// Of a core, the server's whole process.
    pub(super) percent: f64,
    /// Pages that were fetched anew meanwhile.
    pub(super) fetched: u64,
}

pub(super) struct Report {
    machine: Machine,
    stored: u64,
    waiting: u64,
    rounds: usize,
    mail_interval: Duration,
    pub(super) pages: Vec<Row>,
    pub(super) costs: Vec<Cost>,
}

impl Report {
    pub(super) fn new(machine: Machine, stored: u64, waiting: u64, rounds: usize, mail_interval: Duration) -> Self {
        Self { machine, stored, waiting, rounds, mail_interval, pages: Vec::new(), costs: Vec::new() }
    }

    /// The section of `docs/benchmarks.md`.
    pub(super) fn markdown(&self) -> String {
        let Self { machine, stored, waiting, rounds, .. } = self;
        let mut out = format!(
            "{PAGES_HEADING}\nMeasured by `cargo xtask bench pages`: a server that was just started on an embedded store of {stored} e-mails, \
             {waiting} of which wait. {rounds} requests for each page over one connection on loopback; the time is that until the \
             whole page is there. The target is under 100 ms.\n\nMachine: {machine}.\n\n\
             | page | median | longest | size |\n|---|---:|---:|---:|\n"
        );
        for row in &self.pages {
            let _ = writeln!(out, "{row}");
        }
        let per_second = 1.0 / self.mail_interval.as_secs_f64();
        let _ = write!(
            out,
            "\nPages that stay open are told that something happened, and are fetched anew every second at most. Ten are open: four of E-mails, \
             two each of Overview, Queue and one e-mail. The target is under 2% of a core for them. Mail is {per_second:.0} e-mails a second that \
             are taken and delivered.\n\n| pages open | mail | of a core | fetched |\n|---:|---|---:|---:|\n"
        );
        for cost in &self.costs {
            let mail = if cost.mail_comes { "comes" } else { "none" };
            let _ = writeln!(out, "| {} | {mail} | {:.2}% | {} |", cost.pages, cost.percent, cost.fetched);
        }
        let of = |are_open: bool| {
            self.costs.iter().find(|cost| cost.mail_comes && (cost.pages > 0) == are_open).map(|cost| cost.percent)
        };
        if let (Some(without), Some(with)) = (of(false), of(true)) {
            let _ = writeln!(out, "\nWhile mail comes, they cost {:.2}% of a core.", with - without);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_is_that_of_the_pages_alone() {
        let folder = tempfile::tempdir().unwrap();
        let machine = crate::bench::machine::describe(folder.path()).unwrap();
        let mut report = Report::new(machine, 10, 1, 3, Duration::from_millis(200));
        let cost = |pages, mail_comes, percent| Cost { pages, mail_comes, percent, fetched: 7 };
        report.costs = vec![cost(10, false, 0.25), cost(0, true, 1.5), cost(10, true, 3.0)];
        report.pages.push(Row {
            name: "Log",
            median: Duration::from_micros(1_220),
            longest: Duration::from_millis(3),
            bytes: 2_048,
        });
        let section = report.markdown();
        assert!(section.contains("| Log | 1.2 ms | 3.0 ms | 2 KiB |"), "{section}");
        assert!(
            section.contains("Mail is 5 e-mails a second") && section.contains("they cost 1.50% of a core"),
            "{section}"
        );
    }
}
