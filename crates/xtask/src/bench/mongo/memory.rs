//! Memory of a node, with an empty store and with a full one.

use super::drain::{CONCURRENCY, SETTLE};
use super::mx::Mx;
use super::{Bench, Database, waiting};
use crate::bench::load::{self, RELAYED_DOMAIN};
use crate::bench::process::resident_bytes;
use crate::bench::report::mebibytes;

/// What is asked for, again and again: pages and statistics. Claims the node makes by itself.
const PATHS: &[&str] = &[
    "/api/emails?page=1&limit=100",
    "/api/emails?page=50&limit=100",
    "/api/emails?status=queued&limit=100",
    "/api/emails?status=sent&limit=100",
    "/api/queue/stats",
];

const TIMES: usize = 10;

/// The resident memory of a node that was just started, and after it was asked for much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resident {
    pub(super) idle_bytes: u64,
    pub(super) asked_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub(super) empty: Resident,
    pub(super) stored: u64,
    pub(super) full: Resident,
}

pub(super) fn measure(bench: &Bench) -> Result<Memory, String> {
    let database = bench.databases.fresh()?;
    let mx = Mx::start()?;
    let empty = resident(bench, "memory-empty", &database, &mx)?;
    let stored = bench.options.stored;
    let node = bench.node("memory-fill", &database, &mx, &[("QUEUE_CONCURRENCY", "1")])?;
    let took = load::send(node.port, RELAYED_DOMAIN, stored, bench.options.sessions)?;
    println!("{stored} e-mails stored in {:.0} s", took.as_secs_f64());
    let waiting = waiting(&node)?;
    node.stop()?;
    if waiting != stored {
        return Err(format!("{waiting} messages wait, not the {stored} that were sent"));
    }
    let full = resident(bench, "memory-full", &database, &mx)?;
    Ok(Memory { empty, stored, full })
}

fn resident(bench: &Bench, name: &str, database: &Database, mx: &Mx) -> Result<Resident, String> {
    let node = bench.node(name, database, mx, &[("QUEUE_CONCURRENCY", CONCURRENCY)])?;
    std::thread::sleep(SETTLE);
    let idle_bytes = resident_bytes(node.id());
    for _ in 0..TIMES {
        for path in PATHS {
            node.get(path)?;
        }
    }
    let asked_bytes = resident_bytes(node.id());
    node.stop()?;
    println!("{name}: {} idle, {} after it was asked", mebibytes(idle_bytes), mebibytes(asked_bytes));
    Ok(Resident { idle_bytes, asked_bytes })
}
