//! How soon one node hears what another one stored: mail that the first has no room to send, until the second has sent it.

use std::time::{Duration, Instant};

use super::drain::{CONCURRENCY, SETTLE};
use super::mx::{ANSWER_AFTER, Mx};
use super::{Bench, waiting};
use crate::bench::load::{self, RELAYED_DOMAIN};

/// More than a node holds of one domain whose deliveries do not end, with one delivery at once.
const HELD: u64 = 200;

const MESSAGES: u64 = 21;

/// From a message's acknowledgement by one node to its arrival from the other, in order.
#[derive(Debug, Clone)]
pub(super) struct Notice {
    pub(super) latencies: Vec<Duration>,
}

pub(super) fn measure(bench: &Bench) -> Result<Notice, String> {
    let database = bench.databases.fresh()?;
    let (closed, open) = (Mx::start()?, Mx::start()?);
    let full = bench.node("notice-full", &database, &closed, &[("QUEUE_CONCURRENCY", "1")])?;
    let other = bench.node("notice-other", &database, &open, &[("QUEUE_CONCURRENCY", CONCURRENCY)])?;
    open.open();
    std::thread::sleep(SETTLE);
    load::send(full.port, RELAYED_DOMAIN, HELD, bench.options.sessions)?;
    // What the full node does not hold the other one sends.
    let mut sent = settled(&open);
    let held = waiting(&full)?;
    println!("the first node holds {held} messages, the other has sent {sent}");
    let mut latencies = Vec::new();
    for _ in 0..MESSAGES {
        load::send(full.port, &format!("notice.{RELAYED_DOMAIN}"), 1, 1)?;
        let acknowledged = Instant::now();
        sent += 1;
        open.wait_for(sent)?;
        latencies.push(acknowledged.elapsed().saturating_sub(ANSWER_AFTER));
    }
    full.stop()?;
    other.stop()?;
    latencies.sort_unstable();
    Ok(Notice { latencies })
}

/// How many messages an MX has taken, when no more have come for a while.
fn settled(mx: &Mx) -> u64 {
    let mut last = mx.taken();
    loop {
        std::thread::sleep(SETTLE);
        let now = mx.taken();
        if now == last {
            return now;
        }
        last = now;
    }
}
