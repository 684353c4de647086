//! Durable ingest: how fast a server takes messages that it must keep, and what of the processor each costs.

use std::path::Path;

use super::Bench;
use super::load::{self, KEPT_DOMAIN, Sink};
use super::options::Server;
use super::postfix::{Job, Postfix};
use super::postrider::{self, Postrider};
use super::process::cpu_microseconds;
use super::report::{Rounds, Sample};

/// Sent before the clock starts, so that processes are up and caches warm.
pub(crate) const WARM_UP_MESSAGES: u64 = 500;

/// Measures every chosen server once in each round, one after the other.
pub(crate) fn measure(bench: &Bench) -> Result<Rounds, String> {
    let mut rounds = Rounds::default();
    for round in 1..=bench.options.rounds {
        for &server in &bench.options.servers {
            let sample = match server {
                Server::Sink => sink(bench)?,
                Server::Postfix => postfix(bench, &bench.folder.join(format!("postfix-ingest-{round}")))?,
                Server::Postrider => postrider(bench, round)?,
                // What is kept here is not signed.
                Server::Signing => continue,
            };
            println!("round {round}: {:<9} {sample}", server.name());
            rounds.add(server, sample);
        }
    }
    Ok(rounds)
}

/// The protocol alone: it stores nothing.
fn sink(bench: &Bench) -> Result<Sample, String> {
    let sink = Sink::start()?;
    timed(bench, sink.port, sink.id())
}

/// Every message is put on hold, so that Postfix only takes and keeps it.
fn postfix(bench: &Bench, folder: &Path) -> Result<Sample, String> {
    let postfix = Postfix::start(folder.to_path_buf(), Job::Hold)?;
    let sample = timed(bench, postfix.port, postfix.master)?;
    let held = postfix.held();
    if held != bench.options.messages + WARM_UP_MESSAGES {
        return Err(format!("Postfix holds {held} messages, not what it was sent"));
    }
    Ok(sample)
}

fn postrider(bench: &Bench, round: u64) -> Result<Sample, String> {
    let folder = postrider::folder(&bench.folder, "ingest", round);
    let server = Postrider::start(&bench.binary, &folder, &[])?;
    let sample = timed(bench, server.port, server.id())?;
    let kept = server.count("received")?;
    if kept != bench.options.messages + WARM_UP_MESSAGES {
        return Err(format!("Postrider keeps {kept} messages, not what it was sent"));
    }
    server.stop()?;
    Ok(sample)
}

fn timed(bench: &Bench, port: u16, id: u32) -> Result<Sample, String> {
    let options = &bench.options;
    load::send(port, KEPT_DOMAIN, WARM_UP_MESSAGES, options.sessions)?;
    let before = cpu_microseconds(id);
    let took = load::send(port, KEPT_DOMAIN, options.messages, options.sessions)?;
    Ok(Sample::new(options.messages, took, cpu_microseconds(id) - before))
}
