//! The load generators of Debian's postfix package, and the sockets around them.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::mx;
use super::process::{POLL, Running};
use crate::packages;

/// The payload of every message, in bytes.
pub(crate) const PAYLOAD_BYTES: u64 = 8_192;
/// Mail for here is kept by the server under test.
pub(crate) const KEPT_DOMAIN: &str = "kept.example";
/// Whom all mail is from.
pub(crate) const SENDER_DOMAIN: &str = "source.example";
/// Mail for here goes on to the sink.
pub(crate) const RELAYED_DOMAIN: &str = "relayed.example";

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A port of loopback that is free now.
pub(crate) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| format!("no free port: {error}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|error| format!("no free port: {error}"))
}

/// Sends messages to one recipient with smtp-source over `sessions` sessions that stay open. Returns how long it took.
pub(crate) fn send(port: u16, domain: &str, messages: u64, sessions: u64) -> Result<Duration, String> {
    let started = Instant::now();
    let output = Command::new(program("smtp-source")?)
        .args(["-d", "-M", SENDER_DOMAIN, "-f", &format!("sender@{SENDER_DOMAIN}")])
        .args(["-t", &format!("recipient@{domain}")])
        .args(["-s", &sessions.min(messages).to_string(), "-m", &messages.to_string()])
        .args(["-l", &PAYLOAD_BYTES.to_string(), &format!("127.0.0.1:{port}")])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("smtp-source: {error}"))?;
    let took = started.elapsed();
    if !output.status.success() || !output.stderr.is_empty() {
        return Err(format!("smtp-source: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(took)
}

/// Waits until a server greets on a port of loopback.
pub(crate) fn wait_for_greeting(port: u16, server: &mut Running) -> Result<(), String> {
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        server.check()?;
        if greets(port) {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    Err(format!("nothing greets on port {port} within {START_TIMEOUT:?}:\n{}", server.last_lines()))
}

fn greets(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(stream) = TcpStream::connect_timeout(&address, START_TIMEOUT) else { return false };
    let mut line = Vec::new();
    let is_read = stream.set_read_timeout(Some(START_TIMEOUT)).is_ok()
        && BufReader::new(stream.take(1_024)).read_until(b'\n', &mut line).is_ok();
    is_read && line.starts_with(b"220")
}

/// An smtp-sink, which counts what it takes and keeps nothing.
pub(crate) struct Sink {
    child: Child,
    pub(crate) port: u16,
    messages: Arc<AtomicU64>,
}

impl Sink {
    pub(crate) fn start() -> Result<Self, String> {
        let port = free_port()?;
        let mut command = Command::new(program("smtp-sink")?);
        command.arg("-c");
        // It will not stay root.
        if packages::is_root() {
            command.args(["-u", "postfix"]);
        }
        command.args([format!("127.0.0.1:{port}"), "1000".to_owned()]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| format!("smtp-sink: {error}"))?;
        let messages = Arc::new(AtomicU64::new(0));
        if let Some(output) = child.stdout.take() {
            let messages = Arc::clone(&messages);
            std::thread::spawn(move || count(output, &messages));
        }
        let sink = Self { child, port, messages };
        let deadline = Instant::now() + START_TIMEOUT;
        while !greets(port) {
            if Instant::now() > deadline {
                return Err("smtp-sink does not greet".to_owned());
            }
            std::thread::sleep(POLL);
        }
        Ok(sink)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How many messages it has taken.
    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Waits until it has taken `messages` in all. Fails when nothing moves any more.
    pub(crate) fn wait_for(&self, messages: u64) -> Result<(), String> {
        mx::wait_for(messages, "smtp-sink", || self.messages())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Both fail only where the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Follows the counters that smtp-sink paints over each other: `sess=1 quit=1 mesg=1`, with a carriage return.
fn count(output: impl Read, messages: &AtomicU64) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\r', &mut line).is_ok_and(|read| read > 0) {
        if let Some(count) = counted(&String::from_utf8_lossy(&line)) {
            messages.store(count, Ordering::Relaxed);
        }
        line.clear();
    }
}

fn counted(line: &str) -> Option<u64> {
    line.split_whitespace().find_map(|word| word.strip_prefix("mesg="))?.parse().ok()
}

/// The files below a folder.
pub(crate) fn files_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

/// Where one of our programs is; Debian keeps them out of a user's PATH.
pub(crate) fn program(name: &str) -> Result<std::path::PathBuf, String> {
    packages::find(name).ok_or_else(|| format!("{name} is not installed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_counters() {
        let messages = AtomicU64::new(0);
        count(&b"sess=1 quit=0 mesg=1\rsess=1 quit=0 mesg=12\rsess=1 qu"[..], &messages);
        assert_eq!(messages.load(Ordering::Relaxed), 12);
        assert_eq!(counted("sess=1 quit=1 mesg=x"), None);
    }
}
