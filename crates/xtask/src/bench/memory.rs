//! Memory of Postrider: idle, and with many SMTP sessions that say nothing.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::Bench;
use super::postrider::{self, Postrider};
use super::process::resident_bytes;

/// Sessions from one address; more would meet the limit per address.
const SESSIONS_PER_ADDRESS: u64 = 20;
/// What a process has open besides: logs, listeners, the database.
pub(crate) const OTHER_FILES: u64 = 200;
/// What a server does behind its start is over by then.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) idle_bytes: u64,
    pub(crate) sessions: u64,
    pub(crate) sessions_bytes: u64,
}

/// Fails where this machine does not allow as many open files as there are sessions.
pub(crate) fn measure(bench: &Bench) -> Result<Memory, String> {
    if bench.open_files_max < bench.options.idle + OTHER_FILES {
        let max = bench.open_files_max;
        return Err(format!("only {max} files may be open: hold fewer sessions with --idle, or raise `ulimit -n`"));
    }
    let server = Postrider::start(&bench.binary, &postrider::folder(&bench.folder, "memory", 1), &[])?;
    std::thread::sleep(SETTLE);
    let idle_bytes = resident_bytes(server.id());
    let sessions = bench.options.idle;
    let streams = (0..sessions).map(|n| open(n, server.port)).collect::<Result<Vec<_>, _>>()?;
    std::thread::sleep(SETTLE);
    let memory = Memory { idle_bytes, sessions, sessions_bytes: resident_bytes(server.id()) };
    drop(streams);
    server.stop()?;
    Ok(memory)
}

/// Opens session number `n` and reads its greeting.
fn open(n: u64, port: u16) -> Result<TcpStream, String> {
    let refuse = |error: std::io::Error| format!("idle session {n}: {error}");
    let mut stream = connect(n, port).map_err(refuse)?;
    let mut code = [0; 3];
    stream.read_exact(&mut code).map_err(refuse)?;
    if &code == b"220" { Ok(stream) } else { Err(format!("idle session {n}: greeted with {code:?}")) }
}

/// Connects for the `n`th time, from an address that has few connections.
pub(crate) fn connect(n: u64, port: u16) -> std::io::Result<TcpStream> {
    let host = u32::try_from(n / SESSIONS_PER_ADDRESS).map_err(std::io::Error::other)?;
    // 127.1.0.0 and on: all of 127.0.0.0/8 is this machine.
    let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + host);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}
