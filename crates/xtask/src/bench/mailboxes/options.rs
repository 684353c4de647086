//! What to measure of mailboxes, and how much of it.

use std::path::PathBuf;

use super::super::options::{count, list, read};
use super::server::Kind;

pub(super) const USAGE: &str = "\
usage: cargo xtask bench mailboxes [OPTIONS]

  --parts LIST        of delivery, reading, idle (default: all)
  --servers LIST      of dovecot, postrider (default: all)
  --messages N        per round of delivery (default: 3000)
  --rounds N          interleaved rounds of delivery and reading (default: 5)
  --connections N     that deliver by LMTP at once (default: 16)
  --mailbox N         messages in the mailbox that is read (default: 10000)
  --idle N            connections of Postrider that wait in IDLE (default: 5000)
  --idle-per-user N   of these, of one user and mailbox (default: 100)
  --idle-dovecot N    connections of Dovecot that do so (default: 1000)
  --binary PATH       a postrider to measure instead of a fresh release build
  --folder PATH       where the servers write, on a disk (default: /var/tmp)
  --write             also write the section of docs/benchmarks.md";

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Delivery,
    Reading,
    Idle,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) parts: Vec<Part>,
    pub(super) servers: Vec<Kind>,
    pub(super) messages: u64,
    pub(super) rounds: u64,
    pub(super) connections: u64,
    pub(super) mailbox: u64,
    pub(super) idle: u64,
    pub(super) idle_per_user: u64,
    pub(super) idle_dovecot: u64,
    pub(super) binary: Option<PathBuf>,
    pub(super) folder: PathBuf,
    pub(super) write: bool,
}

impl Part {
    const ALL: [Self; 3] = [Self::Delivery, Self::Reading, Self::Idle];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Reading => "reading",
            Self::Idle => "idle",
        }
    }
}

impl Options {
    pub(super) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            parts: Part::ALL.to_vec(),
            servers: Kind::ALL.to_vec(),
            messages: 3_000,
            rounds: 5,
            connections: 16,
            mailbox: 10_000,
            idle: 5_000,
            idle_per_user: 100,
            idle_dovecot: 1_000,
            binary: None,
            folder: PathBuf::from("/var/tmp"),
            write: false,
        };
        options.write = read(arguments, USAGE, |option, value| {
            match option {
                "--parts" => options.parts = list(value, &Part::ALL, Part::name)?,
                "--servers" => options.servers = list(value, &Kind::ALL, Kind::name)?,
                "--messages" => options.messages = count(option, value)?,
                "--rounds" => options.rounds = count(option, value)?,
                "--connections" => options.connections = count(option, value)?,
                "--mailbox" => options.mailbox = count(option, value)?,
                "--idle" => options.idle = count(option, value)?,
                "--idle-per-user" => options.idle_per_user = count(option, value)?,
                "--idle-dovecot" => options.idle_dovecot = count(option, value)?,
                "--binary" => options.binary = Some(PathBuf::from(value)),
                "--folder" => options.folder = PathBuf::from(value),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn reads_options() {
        let options = parse("--parts reading,idle --servers dovecot --mailbox 10 --write").unwrap();
        assert_eq!(options.parts, [Part::Reading, Part::Idle]);
        assert_eq!(options.servers, [Kind::Dovecot]);
        assert_eq!((options.mailbox, options.messages, options.write), (10, 3_000, true));
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["--parts relay", "--idle", "--rounds 0", "--servers sink", "x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
