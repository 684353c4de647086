//! Many connections with a mailbox selected that wait in IDLE: the server's memory, and how soon a delivery is announced.

use std::time::{Duration, Instant};

use super::Bench;
use super::effort::memory_bytes;
use super::imap::{Client, SMALL_BUFFER_BYTES};
use super::lmtp::{self, Connection, Mail};
use super::mail::Writer;
use super::server::{Kind, PASSWORD, Server, user};

/// In each mailbox before anybody waits.
const MESSAGES_PER_USER: u64 = 20;
/// Logins at once: each costs a server a password hash.
const LOGINS_AT_ONCE: usize = 4;
/// Deliveries that are announced.
pub(super) const ANNOUNCEMENTS: u64 = 11;
/// What a server does behind a login is over by then.
const SETTLE: Duration = Duration::from_secs(3);
/// After that an announcement counts as missing.
pub(super) const ANNOUNCED_WITHIN: Duration = Duration::from_secs(3);

/// One server with so many idle connections.
#[derive(Debug, Clone)]
pub(super) struct Idle {
    pub(super) kind: Kind,
    pub(super) idlers: u64,
    /// Each mailbox's.
    pub(super) idlers_per_user: u64,
    /// Without any connection.
    pub(super) empty_bytes: u64,
    pub(super) memory_bytes: u64,
    /// From the acknowledgement of a delivery until the last idler of its mailbox had heard of it, shortest first.
    pub(super) latencies: Vec<Duration>,
    /// Of all idlers' announcements, those that did not come in time.
    pub(super) missing: u64,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Idle>, String> {
    let mut all = Vec::new();
    for &kind in &bench.options.servers {
        let idlers = match kind {
            Kind::Dovecot => bench.options.idle_dovecot,
            Kind::Postrider => bench.options.idle,
        };
        let idle = one(bench, kind, idlers, bench.options.idle_per_user.min(idlers))?;
        println!("{idle:?}");
        all.push(idle);
    }
    Ok(all)
}

fn one(bench: &Bench, kind: Kind, idlers: u64, idlers_per_user: u64) -> Result<Idle, String> {
    bench.needs_files(idlers)?;
    let users = idlers.div_ceil(idlers_per_user);
    let folder = bench.folder.join(format!("{}-i{users}", kind.name()));
    let server = Server::start(bench, kind, &folder, users)?;
    lmtp::deliver(server.lmtp_port, 0, users * MESSAGES_PER_USER, bench.options.connections, users)?;
    std::thread::sleep(SETTLE);
    let empty_bytes = memory_bytes(server.id());
    let mut clients = waiting(bench, &server, idlers, users)?;
    std::thread::sleep(SETTLE);
    let memory_bytes = memory_bytes(server.id());

    // Those of user 0.
    let mut hearers: Vec<_> = clients.iter_mut().step_by(usize::try_from(users).unwrap_or(1)).collect();
    let mut connection = Connection::open(server.lmtp_port)?;
    let writer = Writer::new();
    let (mut latencies, mut missing) = (Vec::new(), 0);
    for number in 0..ANNOUNCEMENTS {
        let mail = Mail { recipient: user(0), text: writer.message(users * MESSAGES_PER_USER + number) };
        connection.send(&mail)?;
        let acknowledged = Instant::now();
        let deadline = acknowledged + ANNOUNCED_WITHIN;
        // One after the other: what came for the later ones in the meantime is read at once.
        for client in &mut hearers {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let wanted = MESSAGES_PER_USER + number + 1;
            let mut heard = client.announced(left);
            // An announcement that was late in the last turn may stand before this one's.
            while heard.is_some_and(|exists| exists < wanted) {
                heard = client.announced(left);
            }
            missing += u64::from(heard.is_none());
        }
        latencies.push(acknowledged.elapsed().min(ANNOUNCED_WITHIN));
    }
    latencies.sort_unstable();
    drop(clients);
    server.stop()?;
    Ok(Idle { kind, idlers, idlers_per_user, empty_bytes, memory_bytes, latencies, missing })
}

/// Opens connections that wait in IDLE; number n is of user n modulo `users`.
fn waiting(bench: &Bench, server: &Server, idlers: u64, users: u64) -> Result<Vec<Client>, String> {
    let open = |number: u64| {
        let mut client = Client::greeted(bench.connect(server.imap_port, number)?, SMALL_BUFFER_BYTES)?;
        client.log_in(&user(number % users), PASSWORD)?;
        client.command("SELECT INBOX")?;
        client.idle()?;
        Ok(client)
    };
    let lanes = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LOGINS_AT_ONCE as u64)
            .map(|lane| {
                scope
                    .spawn(move || (lane..idlers).step_by(LOGINS_AT_ONCE).map(open).collect::<Result<Vec<_>, String>>())
            })
            .collect();
        lanes
            .into_iter()
            .map(|lane| lane.join().map_err(|_| "a login's thread panicked".to_owned())?)
            .collect::<Result<Vec<_>, _>>()
    })?;
    let mut lanes: Vec<_> = lanes.into_iter().map(Vec::into_iter).collect();
    // In the order of their numbers again.
    let mut clients = Vec::new();
    while clients.len() as u64 != idlers {
        clients.extend(lanes.iter_mut().filter_map(Iterator::next));
    }
    Ok(clients)
}
