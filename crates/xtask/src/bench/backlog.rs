//! A long queue: memory and the API's latency with it, and how soon after a restart the first message leaves.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use super::Bench;
use super::load::{self, RELAYED_DOMAIN, Sink};
use super::postrider::{self, Postrider, relay_to};
use super::process::{POLL, resident_bytes};

/// Requests whose median is reported.
const REQUESTS: usize = 21;
const FIRST_DELIVERY_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Backlog {
    pub(crate) queued: u64,
    pub(crate) resident_bytes: u64,
    pub(crate) stats_latency: Duration,
    pub(crate) emails_latency: Duration,
    pub(crate) first_delivery: Duration,
}

pub(crate) fn measure(bench: &Bench) -> Result<Backlog, String> {
    let folder = postrider::folder(&bench.folder, "backlog", 1);
    let queued = bench.options.queued;

    // A relay that takes the connection and then says nothing, and one delivery at once: all others stay due.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| format!("the silent relay: {error}"))?;
    let silent_port = silent.local_addr().map_err(|error| format!("the silent relay: {error}"))?.port();
    let mut settings = relay_to(silent_port);
    settings.push(("QUEUE_CONCURRENCY", "1".to_owned()));
    let server = Postrider::start(&bench.binary, &folder, &settings)?;
    load::send(server.port, RELAYED_DOMAIN, queued, bench.options.sessions)?;
    let waiting = server.count("queued")? + server.count("sending")? + server.count("deferred")?;
    if waiting != queued {
        return Err(format!("{waiting} messages wait, not the {queued} that were sent"));
    }
    let stats_latency = latency(&server, "/api/queue/stats")?;
    let emails_latency = latency(&server, "/api/emails")?;
    let resident_bytes = resident_bytes(server.id());
    server.stop()?;

    let sink = Sink::start()?;
    let started = Instant::now();
    let mut server = Postrider::spawn(&bench.binary, &folder, &relay_to(sink.port))?;
    while sink.messages() == 0 {
        server.check()?;
        if started.elapsed() > FIRST_DELIVERY_TIMEOUT {
            return Err(format!("nothing was delivered within {FIRST_DELIVERY_TIMEOUT:?} of the restart"));
        }
        std::thread::sleep(POLL);
    }
    let first_delivery = started.elapsed();
    Ok(Backlog { queued, resident_bytes, stats_latency, emails_latency, first_delivery })
}

fn latency(server: &Postrider, path: &str) -> Result<Duration, String> {
    let mut latencies = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        latencies.push(server.get(path)?.1);
    }
    latencies.sort_unstable();
    Ok(latencies[REQUESTS / 2])
}
