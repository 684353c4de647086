//! Delivery by LMTP: how fast a server puts messages into mailboxes for good, and what of the processor each costs.

use super::super::process::cpu_microseconds;
use super::super::report::Sample;
use super::Bench;
use super::lmtp;
use super::server::{Kind, Server};

/// Delivered before the clock starts, so that processes are up and mailboxes are there.
const WARM_UP_MESSAGES: u64 = 320;
/// One mailbox, and as many as there are connections.
const USERS: [u64; 2] = [1, 16];

/// All rounds with one number of users.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) users: u64,
    pub(super) samples: Vec<(Kind, Sample)>,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Delivery>, String> {
    let mut all = Vec::new();
    for users in USERS {
        let mut samples = Vec::new();
        for round in 1..=bench.options.rounds {
            for &kind in &bench.options.servers {
                let sample = one_round(bench, kind, users, round)?;
                println!("round {round}, {users:>2} users: {kind:<9} {sample}");
                samples.push((kind, sample));
            }
        }
        all.push(Delivery { users, samples });
    }
    Ok(all)
}

fn one_round(bench: &Bench, kind: Kind, users: u64, round: u64) -> Result<Sample, String> {
    let super::Options { messages, connections, .. } = bench.options;
    let server = Server::start(bench, kind, &bench.folder.join(format!("{}-d{users}-{round}", kind.name())), users)?;
    lmtp::deliver(server.lmtp_port, 0, WARM_UP_MESSAGES, connections, users)?;
    let before = cpu_microseconds(server.id());
    let took = lmtp::deliver(server.lmtp_port, WARM_UP_MESSAGES, messages, connections, users)?;
    let sample = Sample::new(messages, took, cpu_microseconds(server.id()) - before);
    let kept = bench.exists(&server, users)?;
    server.stop()?;
    if kept != messages + WARM_UP_MESSAGES {
        return Err(format!("{kind} has {kept} messages in its mailboxes, not what it was sent"));
    }
    Ok(sample)
}
