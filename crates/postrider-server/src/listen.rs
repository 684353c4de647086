//! Listeners: bound at start, accepting until the server shuts down.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tracing::{Instrument, error, info, info_span, warn};

use crate::limits::counted_address;
use crate::smtp::Context;

/// Connections that the system holds ready for us.
const BACKLOG: u32 = 1024;
/// After a failure to accept (out of file descriptors, most likely) before the next try.
pub(crate) const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Files that the process has open beside its sessions: the store's, the queue's connections, the API's.
const FURTHER_FILES: u64 = 1024;

/// Raises the limit on open files as far as the process may: the usual one is far below what the sessions alone need.
pub(crate) fn raise_open_files_max(sessions_max: usize) {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!(%error, "the limit on open files cannot be raised");
    }
    let needed = (sessions_max as u64).saturating_add(FURTHER_FILES);
    // None is unlimited.
    if let Some(files_max) = getrlimit(Resource::Nofile).current.filter(|&files_max| files_max < needed) {
        warn!(
            files_max,
            needed,
            "the limit on open files is too low for {sessions_max} sessions; raise it (systemd: LimitNOFILE={needed})"
        );
    }
}

/// Binds a listener.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the old connections' last packets.
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // Or [::] would take the IPv4 port, too, and 0.0.0.0 could not be bound beside it.
        socket2::SockRef::from(&socket).set_only_v6(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The open sessions, counted in all and by [`counted_address`].
#[derive(Debug)]
pub(crate) struct Sessions {
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    ended: Notify,
    trusted: Vec<IpNet>,
}

impl Sessions {
    pub(crate) fn new(trusted: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), by_address: Mutex::default(), ended: Notify::new(), trusted })
    }

    fn is_trusted(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&peer))
    }

    /// Counts a session in, if there is room for it.
    fn enter(self: &Arc<Self>, peer: IpAddr, listener: &'static str, context: &Arc<Context>) -> Option<OpenSession> {
        let limits = &context.limits;
        if self.open.fetch_add(1, Ordering::AcqRel) >= limits.sessions_max {
            self.leave();
            return None;
        }
        // Trusted networks are limited only by the whole: an application may well open hundreds.
        let counted_as = (!self.is_trusted(peer)).then(|| counted_address(peer));
        if let Some(address) = counted_as {
            let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            let count = by_address.entry(address).or_default();
            if *count >= limits.sessions_per_address_max {
                drop(by_address);
                self.leave();
                return None;
            }
            *count += 1;
        }
        context.stats.session_begun(listener);
        Some(OpenSession { sessions: self.clone(), context: context.clone(), listener, peer, counted_as })
    }

    /// Counts a session out, also one that did not come to be: the shutdown may have seen it.
    fn leave(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        self.ended.notify_waiters();
    }

    /// Ends when no session is open.
    pub(crate) async fn all_ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}

/// A session that is counted; counted out when dropped, however it ended.
struct OpenSession {
    sessions: Arc<Sessions>,
    context: Arc<Context>,
    listener: &'static str,
    peer: IpAddr,
    /// Under which address; `None`: only in all.
    counted_as: Option<IpAddr>,
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        if std::thread::panicking() {
            error!(peer = %self.peer, "a session ended in a fault of this program; the others go on");
        }
        if let Some(address) = self.counted_as {
            let mut by_address = self.sessions.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = by_address.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    by_address.remove(&address);
                }
            }
        }
        self.context.stats.session_ended(self.listener);
        self.sessions.leave();
    }
}

/// What a listener does with its connections.
pub(crate) trait Service: Send + Sync + 'static {
    /// As `/health` and the log name it.
    fn name(&self) -> &'static str;

    /// What a peer is told that there is no room for, as far as that is possible without waiting.
    fn too_many_sessions(&self) -> Option<Vec<u8>>;

    /// Runs a session to its end.
    fn serve(self: Arc<Self>, tcp: TcpStream, peer: IpAddr, is_trusted: bool) -> impl Future<Output = ()> + Send;
}

/// Accepts connections until the server drains; then the socket is closed.
pub(crate) async fn accept<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    sessions: Arc<Sessions>,
    context: Arc<Context>,
) {
    let mut draining = context.draining.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = draining.wait_for(|&draining| draining) => return,
        };
        match accepted {
            Ok((tcp, peer)) => begin(tcp, peer, &service, &sessions, &context),
            Err(error) => {
                warn!(listener = service.name(), %error, "a connection could not be accepted");
                context.clock.sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn begin<S: Service>(
    tcp: TcpStream,
    peer: SocketAddr,
    service: &Arc<S>,
    sessions: &Arc<Sessions>,
    context: &Arc<Context>,
) {
    // An IPv4 client of an IPv6 socket is the IPv4 client that it is.
    let ip = peer.ip().to_canonical();
    let Some(counted) = sessions.enter(ip, service.name(), context) else {
        context.stats.session_refused(service.name());
        info!(listener = service.name(), peer = %ip, "refused: too many sessions");
        if let Some(line) = service.too_many_sessions() {
            // Not tokio's try_write: it knows nothing yet of what a connection just accepted is ready for, and may not
            // even try.
            let _ = socket2::SockRef::from(&tcp).send(&line);
        }
        return;
    };
    let _ = tcp.set_nodelay(true);
    let is_trusted = sessions.is_trusted(ip);
    let span = info_span!("session", listener = service.name(), peer = %peer);
    let service = service.clone();
    tokio::spawn(
        async move {
            let _counted = counted;
            service.serve(tcp, ip, is_trusted).await;
        }
        .instrument(span),
    );
}
