//! What to measure on MongoDB, and how much of it.

use std::path::PathBuf;

use super::super::options::{count, list, read};

pub(crate) const USAGE: &str = "\
usage: cargo xtask bench mongo [OPTIONS]

  --parts LIST      of ingest, drain, memory, notice (default: all)
  --messages N      per round of ingest (default: 10000)
  --rounds N        interleaved rounds of ingest and drain (default: 3)
  --sessions N      SMTP sessions that send at once, and tasks of the loop beside them (default: 64)
  --queued N        deliveries that are drained (default: 4000); of few the first node takes all in advance
  --stored N        e-mails in the store of the memory part (default: 50000)
  --binary PATH     a postrider to measure instead of a fresh release build
  --folder PATH     where the servers write, on a disk (default: /var/tmp)
  --write           also write the section of docs/benchmarks.md

The database server is the one that the tests use: what `cargo xtask test` installs, the program of POSTRIDER_TEST_MONGOD,
or the running server of MONGODB_TEST_URL.";

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Ingest,
    Drain,
    Memory,
    Notice,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) parts: Vec<Part>,
    pub(super) messages: u64,
    pub(super) rounds: u64,
    pub(super) sessions: u64,
    pub(super) queued: u64,
    pub(super) stored: u64,
    pub(super) binary: Option<PathBuf>,
    pub(super) folder: PathBuf,
    pub(super) write: bool,
}

impl Part {
    const ALL: [Self; 4] = [Self::Ingest, Self::Drain, Self::Memory, Self::Notice];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Drain => "drain",
            Self::Memory => "memory",
            Self::Notice => "notice",
        }
    }
}

impl Options {
    pub(super) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            parts: Part::ALL.to_vec(),
            messages: 10_000,
            rounds: 3,
            sessions: 64,
            queued: 4_000,
            stored: 50_000,
            binary: None,
            folder: PathBuf::from("/var/tmp"),
            write: false,
        };
        options.write = read(arguments, USAGE, |option, value| {
            match option {
                "--parts" => options.parts = list(value, &Part::ALL, Part::name)?,
                "--messages" => options.messages = count(option, value)?,
                "--rounds" => options.rounds = count(option, value)?,
                "--sessions" => options.sessions = count(option, value)?,
                "--queued" => options.queued = count(option, value)?,
                "--stored" => options.stored = count(option, value)?,
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
        let options = parse("--parts drain,notice --queued 10 --write").unwrap();
        assert_eq!(options.parts, [Part::Drain, Part::Notice]);
        assert_eq!((options.queued, options.messages, options.write), (10, 10_000, true));
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["--parts relay", "--stored", "--rounds 0", "--servers sink", "x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
