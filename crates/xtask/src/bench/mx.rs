//! What the benches' own MX hosts have in common: one conversation, and waiting for what arrives.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::process::POLL;

/// Nothing that is still alive is this quiet.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Takes mail on one connection, `on_message` before each message is answered. Commands that were sent together are answered one
/// after the other.
pub(crate) fn converse(mut stream: TcpStream, mut on_message: impl FnMut()) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::with_capacity(64 << 10, stream.try_clone()?);
    stream.write_all(b"220 mx.example ESMTP\r\n")?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_slice() {
            b"EHLO" => stream.write_all(b"250-mx.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n")?,
            b"DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                read_message(&mut input)?;
                on_message();
                stream.write_all(b"250 taken\r\n")?;
            }
            b"QUIT" => return stream.write_all(b"221 bye\r\n"),
            _ => stream.write_all(b"250 ok\r\n")?,
        }
    }
}

fn read_message(input: &mut impl BufRead) -> std::io::Result<()> {
    let mut line = Vec::new();
    while line != b".\r\n" {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Waits until `arrived` says `messages`. Fails when nothing moves any more.
pub(crate) fn wait_for(messages: u64, at: &str, arrived: impl Fn() -> u64) -> Result<(), String> {
    let (mut last, mut moved_at) = (arrived(), Instant::now());
    while last < messages {
        std::thread::sleep(POLL);
        let now = arrived();
        if now != last {
            (last, moved_at) = (now, Instant::now());
        } else if moved_at.elapsed() > STALL_TIMEOUT {
            return Err(format!("only {now} of {messages} messages arrived at {at}"));
        }
    }
    Ok(())
}
