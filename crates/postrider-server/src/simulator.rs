//! The simulator of `DELIVERY_MODE=capture`: an MX on loopback that takes mail for the world and lets the local part of the
//! recipient decide what becomes of it.
//!
//! Whatever it accepts it forgets: the message is in the store already, as every e-mail is.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use postrider_core::Clock;
use postrider_core::simulation::Behaviour;
use postrider_wire::smtp::reply::Reply;
use postrider_wire::smtp::server::{Event, ServerConfig, Session, Verdict};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::listen::ACCEPT_RETRY;
use crate::stream::Stream;

/// Addresses whose deferrals are counted.
const COUNTED_MAX: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Simulator {
    listener: TcpListener,
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    config: Arc<ServerConfig>,
    /// How often each sender and recipient with `defer+CODExN` was deferred since it was last accepted.
    deferrals: Mutex<HashMap<(String, String), u32>>,
}

impl Simulator {
    pub(crate) async fn bind(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let mut config = ServerConfig::new("simulator.localhost");
        config.banner = "Postrider simulator".to_owned();
        // What the sessions have taken, the simulator takes.
        config.limits.message_bytes_max = usize::MAX / 2;
        config.limits.text_line_bytes_max = usize::MAX / 2;
        // Refusing is what it is for.
        config.limits.refused_recipients_max = usize::MAX;
        config.limits.errors_max = usize::MAX;
        config.repair_line_ends = true;
        let shared = Shared { clock, config: Arc::new(config), deferrals: Mutex::default() };
        Ok(Self { listener, port, shared: Arc::new(shared) })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Serves the queue's connections. Goes on while the server drains, so that deliveries under way can end; it ends with
    /// the runtime.
    pub(crate) async fn run(self, mut draining: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((tcp, _)) => {
                        let _ = tcp.set_nodelay(true);
                        tokio::spawn(converse(self.shared.clone(), tcp));
                    }
                    Err(error) => {
                        warn!(%error, "the simulator could not accept a connection");
                        self.shared.clock.sleep(ACCEPT_RETRY).await;
                    }
                },
                // All senders are gone: so is the server.
                closed = draining.changed() => {
                    if closed.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

async fn converse(shared: Arc<Shared>, tcp: TcpStream) {
    let mut stream = Stream::Clear(tcp);
    let mut session = Session::new(shared.config.clone(), None);
    let mut input = BytesMut::new();
    let mut sender = String::new();
    loop {
        while let Some(event) = session.next_event(&mut input) {
            match event {
                Event::Mail(command) => {
                    sender = command.reverse_path;
                    session.respond(Verdict::Accept);
                }
                Event::Recipient(command) => match shared.answer(&sender, &command.forward_path).await {
                    Some(verdict) => session.respond(verdict),
                    None => return,
                },
                Event::DataStart => session.begin_message(BytesMut::new()),
                Event::Hello { .. } | Event::Message { .. } => session.respond(Verdict::Accept),
                Event::Closed => {
                    let output = session.output().split();
                    let _ = stream.write_all(&output).await;
                    return;
                }
                other => debug!(event = ?other, "the simulator passes over"),
            }
        }
        let output = session.output().split();
        if !output.is_empty() && stream.write_all(&output).await.is_err() {
            return;
        }
        if session.is_closed() || !matches!(stream.read(&mut input, 64 << 10).await, Ok(1..)) {
            return;
        }
    }
}

impl Shared {
    /// The answer to RCPT; `None` closes the connection.
    async fn answer(&self, sender: &str, recipient: &str) -> Option<Verdict> {
        match Behaviour::of(recipient) {
            Behaviour::Accept => Some(Verdict::Accept),
            Behaviour::Refuse { code } | Behaviour::Defer { code, times: None } => Some(Verdict::Reject(refusal(code))),
            Behaviour::Defer { code, times: Some(times) } => {
                let key = (sender.to_owned(), recipient.to_owned());
                let mut deferrals = self.deferrals.lock().unwrap_or_else(PoisonError::into_inner);
                if deferrals.len() >= COUNTED_MAX {
                    deferrals.clear();
                }
                let count = deferrals.entry(key.clone()).or_default();
                if *count >= times {
                    deferrals.remove(&key);
                    return Some(Verdict::Accept);
                }
                *count += 1;
                Some(Verdict::Reject(refusal(code)))
            }
            Behaviour::Slow(duration) => {
                self.clock.sleep(duration).await;
                Some(Verdict::Accept)
            }
            Behaviour::Drop => None,
        }
    }
}

/// A refusal as a server would put it (codes of RFC 3463).
fn refusal(code: u16) -> Reply {
    let (enhanced, text) = match code {
        550 => ((5, 1, 1), "No such mailbox"),
        551 => ((5, 1, 6), "Mailbox has moved"),
        552 => ((5, 2, 2), "Mailbox is full"),
        553 => ((5, 1, 3), "Mailbox name not allowed"),
        554 => ((5, 7, 1), "Message refused"),
        500.. => ((5, 0, 0), "Refused"),
        450 => ((4, 2, 1), "Mailbox is busy"),
        451 => ((4, 7, 1), "Greylisted, try again later"),
        452 => ((4, 2, 2), "Mailbox is full for now"),
        _ => ((4, 0, 0), "Not now"),
    };
    Reply::new(code, enhanced, format!("{text} (simulated)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn defers_as_often_as_asked_and_begins_anew() {
        let simulator = Simulator::bind(Arc::new(crate::clock::SystemClock)).await.unwrap();
        let mut accepted = Vec::new();
        for _ in 0..6 {
            let answer = simulator.shared.answer("a@example.org", "defer+451x2@example.com").await;
            accepted.push(answer == Some(Verdict::Accept));
        }
        assert_eq!(accepted, [false, false, true, false, false, true]);
    }
}
