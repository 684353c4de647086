//! Relay: from a client through the server to smtp-sink, until the last message has arrived there.

use std::time::Instant;

use super::Bench;
use super::ingest::WARM_UP_MESSAGES;
use super::load::{self, RELAYED_DOMAIN, SENDER_DOMAIN, Sink};
use super::options::Server;
use super::postfix::{Job, Postfix};
use super::postrider::{self, Postrider, relay_to};
use super::process::cpu_microseconds;
use super::report::{Rounds, Sample};

/// Measures Postfix and Postrider, as far as they are chosen, once in each round.
pub(crate) fn measure(bench: &Bench) -> Result<Rounds, String> {
    let mut rounds = Rounds::default();
    for round in 1..=bench.options.rounds {
        for &server in &bench.options.servers {
            let sink = Sink::start()?;
            let sample = match server {
                Server::Sink => continue,
                Server::Postfix => {
                    let folder = bench.folder.join(format!("postfix-relay-{round}"));
                    let postfix = Postfix::start(folder, Job::Relay { port: sink.port })?;
                    timed(bench, postfix.port, postfix.master, &sink)?
                }
                Server::Postrider | Server::Signing => {
                    let folder = postrider::folder(&bench.folder, &format!("relay-{}", server.name()), round);
                    let mut settings = relay_to(sink.port);
                    if server == Server::Signing {
                        Postrider::administer(&bench.binary, &folder, &["domain", "add", SENDER_DOMAIN], "")?;
                        settings.push(("DKIM_ALGORITHMS", "ed25519".to_owned()));
                    }
                    let server = Postrider::start(&bench.binary, &folder, &settings)?;
                    let sample = timed(bench, server.port, server.id(), &sink)?;
                    server.stop()?;
                    sample
                }
            };
            let expected = bench.options.messages + WARM_UP_MESSAGES;
            if sink.messages() != expected {
                return Err(format!("smtp-sink took {} messages, not {expected}", sink.messages()));
            }
            println!("round {round}: {:<9} {sample}", server.name());
            rounds.add(server, sample);
        }
    }
    Ok(rounds)
}

fn timed(bench: &Bench, port: u16, id: u32, sink: &Sink) -> Result<Sample, String> {
    let options = &bench.options;
    load::send(port, RELAYED_DOMAIN, WARM_UP_MESSAGES, options.sessions)?;
    sink.wait_for(WARM_UP_MESSAGES)?;
    let before = cpu_microseconds(id);
    let started = Instant::now();
    load::send(port, RELAYED_DOMAIN, options.messages, options.sessions)?;
    sink.wait_for(WARM_UP_MESSAGES + options.messages)?;
    Ok(Sample::new(options.messages, started.elapsed(), cpu_microseconds(id) - before))
}
