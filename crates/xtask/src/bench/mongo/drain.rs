//! A queue drained by one node and by two, to an MX that takes its time.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::mx::Mx;
use super::{Bench, Database, waiting};
use crate::bench::load::{self, RELAYED_DOMAIN};
use crate::bench::postrider::Postrider;
use crate::bench::process::{POLL, cpu_microseconds};

/// Deliveries at once of each node.
pub(super) const CONCURRENCY: &str = "20";

/// So that a single destination does not limit the nodes: it is for all of them together.
const CONCURRENCY_PER_DOMAIN: &str = "200";

/// How many domains the queue is for.
const DOMAINS: [u64; 2] = [40, 1];

/// By then nodes that were just started have agreed who they are, and have claimed.
pub(super) const SETTLE: Duration = Duration::from_secs(3);

/// How long what was sent may take to be recorded.
const RECORD_TIMEOUT: Duration = Duration::from_secs(60);

/// One queue, drained.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    /// From the moment when the MX opens until the store knows that all is sent.
    pub(super) took: Duration,
    pub(super) claims: Claims,
    /// Of all nodes together, for each delivery.
    pub(super) cpu_microseconds_per_delivery: f64,
    pub(super) database_microseconds_per_delivery: f64,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>6.2} s, {} claimed, {} conflicts, {:.0} us, database {:.0} us",
            self.took.as_secs_f64(),
            self.claims.claimed,
            self.claims.missed,
            self.cpu_microseconds_per_delivery,
            self.database_microseconds_per_delivery
        )
    }
}

/// All rounds of one kind of queue.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) domains: u64,
    pub(super) one: Vec<Figure>,
    pub(super) two: Vec<Figure>,
}

/// What nodes claimed, and what they wanted but another one took first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) claimed: u64,
    pub(super) missed: u64,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Drain>, String> {
    DOMAINS.into_iter().map(|domains| rounds(bench, domains)).collect()
}

fn rounds(bench: &Bench, domains: u64) -> Result<Drain, String> {
    let mut drain = Drain { domains, one: Vec::new(), two: Vec::new() };
    for round in 1..=bench.options.rounds {
        for (nodes, figures) in [(1, &mut drain.one), (2, &mut drain.two)] {
            let figure = drained(bench, domains, nodes, round)?;
            println!("{domains} domains, round {round}: {nodes} nodes {figure}");
            figures.push(figure);
        }
    }
    Ok(drain)
}

fn drained(bench: &Bench, domains: u64, nodes: u64, round: u64) -> Result<Figure, String> {
    let queued = bench.options.queued;
    let database = bench.databases.fresh()?;
    let mx = Mx::start()?;
    let name = format!("drain-{domains}-{nodes}-{round}");
    fill(bench, &name, &database, &mx, domains)?;

    let settings = [
        ("QUEUE_CONCURRENCY", CONCURRENCY),
        ("QUEUE_CONCURRENCY_PER_DOMAIN", CONCURRENCY_PER_DOMAIN),
        // The engine tells of conflicts on this level only.
        ("LOG_LEVEL", "debug"),
        ("LOG_FORMAT", "json"),
    ];
    let start = |node: u64| bench.node(&format!("{name}-{node}"), &database, &mx, &settings);
    let nodes = (1..=nodes).map(start).collect::<Result<Vec<_>, _>>()?;
    std::thread::sleep(SETTLE);
    let used = || nodes.iter().map(|node| cpu_microseconds(node.id())).sum::<u64>();
    let before = (used(), database.cpu_microseconds());
    let started = Instant::now();
    mx.open();
    mx.wait_for(queued)?;
    wait_until_recorded(&nodes[0], queued)?;
    let took = started.elapsed();
    let (used, used_by_database) = (used() - before.0, database.cpu_microseconds() - before.1);

    let logs: Vec<PathBuf> = nodes.iter().map(|node| node.log().to_path_buf()).collect();
    nodes.into_iter().try_for_each(Postrider::stop)?;
    if mx.taken() != queued {
        return Err(format!("the MX took {} messages, not the {queued} that were queued", mx.taken()));
    }
    let mut claims = Claims::default();
    for log in logs {
        claims.add(&read(&log)?);
    }
    Ok(Figure {
        took,
        claims,
        cpu_microseconds_per_delivery: used as f64 / queued as f64,
        database_microseconds_per_delivery: used_by_database as f64 / queued as f64,
    })
}

/// Fills the queue through a node that ends then, so that all is there to be claimed.
fn fill(bench: &Bench, name: &str, database: &Database, mx: &Mx, domains: u64) -> Result<(), String> {
    let queued = bench.options.queued;
    let node = bench.node(&format!("{name}-fill"), database, mx, &[("QUEUE_CONCURRENCY", "1")])?;
    for domain in 0..domains {
        // The first ones take what is over.
        let messages = queued / domains + u64::from(domain < queued % domains);
        if messages > 0 {
            load::send(node.port, &format!("d{domain}.{RELAYED_DOMAIN}"), messages, bench.options.sessions)?;
        }
    }
    let waiting = waiting(&node)?;
    node.stop()?;
    if waiting == queued { Ok(()) } else { Err(format!("{waiting} messages wait, not the {queued} that were sent")) }
}

fn wait_until_recorded(node: &Postrider, queued: u64) -> Result<(), String> {
    let deadline = Instant::now() + RECORD_TIMEOUT;
    loop {
        let sent = node.count("sent")?;
        if sent == queued {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("the store knows of {sent} messages that they are sent, of {queued}"));
        }
        std::thread::sleep(POLL);
    }
}

fn read(log: &Path) -> Result<Claims, String> {
    let text = fs::read_to_string(log).map_err(|error| format!("{}: {error}", log.display()))?;
    Ok(Claims::told(&text))
}

impl Claims {
    fn add(&mut self, other: &Self) {
        self.claimed += other.claimed;
        self.missed += other.missed;
    }

    /// What a log in JSON tells of claims.
    fn told(log: &str) -> Self {
        let mut claims = Self::default();
        for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if let (Some(claimed), Some(missed)) = (line["queue.claimed"].as_u64(), line["queue.missed"].as_u64()) {
                claims.add(&Self { claimed, missed });
            }
        }
        claims
    }

    pub(super) fn conflicts_per_delivery(&self) -> f64 {
        self.missed as f64 / self.claimed.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_what_a_log_tells_of_claims() {
        let log = "Postrider 0.1\n\
            {\"level\":\"DEBUG\",\"message\":\"claimed\",\"queue.claimed\":30,\"queue.missed\":2}\n\
            {\"level\":\"DEBUG\",\"message\":\"claimed\",\"deliveries\":30}\n\
            {\"level\":\"DEBUG\",\"message\":\"claimed\",\"queue.claimed\":10,\"queue.missed\":0}\n";
        let claims = Claims::told(log);
        assert_eq!(claims, Claims { claimed: 40, missed: 2 });
        assert!((claims.conflicts_per_delivery() - 0.05).abs() < f64::EPSILON);
        assert!(Claims::default().conflicts_per_delivery().abs() < f64::EPSILON);
    }
}
