//! How soon one node hears what another one stored: mail that the first has no room to send, until the second has sent it.

use std::time::{Duration, Instant};

use super::drain::{CONCURRENCY, SETTLE};
use super::mx::{ANSWER_AFTER, Mx};
use super::{Bench, waiting};
use crate::bench::load::{self, RELAYED_DOMAIN};

/// More than a node holds of one domain whose deliveries do not end, with one delivery at once.
const HELD: u64 = 200;

const MESSAGES: u64 = 21;

/// What is another node's part of a queue a node takes when it was left for so long.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// From a message's acknowledgement by one node to its arrival from the other, shortest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    /// Of what is the other's part: it takes that as soon as it hears of it.
    pub(super) heard: Vec<Duration>,
    /// Of what is the first one's part.
    pub(super) left: Vec<Duration>,
}

impl Notice {
    fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        let (heard, left) = latencies.into_iter().partition(|latency| *latency < LEFT_ALONE);
        Self { heard, left }
    }
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
    println!("each of the next, in ms: {}", joined(&latencies));
    Ok(Notice::of(latencies))
}

fn joined(latencies: &[Duration]) -> String {
    latencies.iter().map(|latency| latency.as_millis().to_string()).collect::<Vec<_>>().join(", ")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_alone_is_told_apart() {
        let latencies = [1_090, 12, 4, 1_004].map(Duration::from_millis);
        let notice = Notice::of(latencies.into());
        assert_eq!(notice.heard, [latencies[2], latencies[1]]);
        assert_eq!(notice.left, [latencies[3], latencies[0]]);
    }
}
