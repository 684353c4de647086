//! What to measure, and how much of it.

use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
usage: cargo xtask bench [OPTIONS]
       cargo xtask bench mailboxes [OPTIONS]   measures LMTP and IMAP beside Dovecot; --help lists its options
       cargo xtask bench sending [OPTIONS]     measures sending where something stands in the way; --help lists its options
       cargo xtask bench pages [OPTIONS]       measures the web pages; --help lists its options
       cargo xtask bench mongo [OPTIONS]       measures the store on MongoDB; --help lists its options

  --parts LIST      of ingest, api, relay, memory, backlog (default: all)
  --servers LIST    of sink, postfix, postrider, signing (default: all); signing is postrider with DKIM, in relay only
  --messages N      per round of ingest, api and relay (default: 10000)
  --rounds N        interleaved rounds (default: 3)
  --sessions N      SMTP sessions that send at once (default: 64)
  --idle N          idle SMTP sessions held open in the memory part (default: 5000)
  --queued N        messages queued in the backlog part (default: 100000)
  --binary PATH     a postrider to measure instead of a fresh release build
  --folder PATH     where the servers write, on a disk (default: /var/tmp)
  --write           also write docs/benchmarks.md";

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Ingest,
    /// By the API, beside SMTP.
    Api,
    Relay,
    Memory,
    Backlog,
}

/// Who can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Sink,
    Postfix,
    Postrider,
    /// Postrider that signs what it relays, with Ed25519.
    Signing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) parts: Vec<Part>,
    pub(crate) servers: Vec<Server>,
    pub(crate) messages: u64,
    pub(crate) rounds: u64,
    pub(crate) sessions: u64,
    pub(crate) idle: u64,
    pub(crate) queued: u64,
    pub(crate) binary: Option<PathBuf>,
    pub(crate) folder: PathBuf,
    pub(crate) write: bool,
}

impl Part {
    const ALL: [Self; 5] = [Self::Ingest, Self::Api, Self::Relay, Self::Memory, Self::Backlog];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Api => "api",
            Self::Relay => "relay",
            Self::Memory => "memory",
            Self::Backlog => "backlog",
        }
    }
}

impl Server {
    const ALL: [Self; 4] = [Self::Sink, Self::Postfix, Self::Postrider, Self::Signing];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sink => "sink",
            Self::Postfix => "postfix",
            Self::Postrider => "postrider",
            Self::Signing => "signing",
        }
    }
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            parts: Part::ALL.to_vec(),
            servers: Server::ALL.to_vec(),
            messages: 10_000,
            rounds: 3,
            sessions: 64,
            idle: 5_000,
            queued: 100_000,
            binary: None,
            folder: PathBuf::from("/var/tmp"),
            write: false,
        };
        options.write = read(arguments, USAGE, |option, value| {
            match option {
                "--parts" => options.parts = list(value, &Part::ALL, Part::name)?,
                "--servers" => options.servers = list(value, &Server::ALL, Server::name)?,
                "--messages" => options.messages = count(option, value)?,
                "--rounds" => options.rounds = count(option, value)?,
                "--sessions" => options.sessions = count(option, value)?,
                "--idle" => options.idle = count(option, value)?,
                "--queued" => options.queued = count(option, value)?,
                "--binary" => options.binary = Some(PathBuf::from(value)),
                "--folder" => options.folder = PathBuf::from(value),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        // Only Postrider has the other parts.
        if !options.servers.contains(&Server::Postrider) {
            options.parts.retain(|part| matches!(part, Part::Ingest | Part::Relay));
        }
        Ok(options)
    }
}

/// Reads options, each with a value that `set` takes, which says whether it knows the option. Returns whether `--write`, which
/// all benches have, is among them.
pub(crate) fn read(
    arguments: &[String],
    usage: &str,
    mut set: impl FnMut(&str, &str) -> Result<bool, String>,
) -> Result<bool, String> {
    let mut writes = false;
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        if option == "--write" {
            writes = true;
            continue;
        }
        let value = rest.next().ok_or_else(|| format!("{option} needs a value\n\n{usage}"))?;
        if !set(option, value)? {
            return Err(format!("{option} is no option\n\n{usage}"));
        }
    }
    Ok(writes)
}

pub(crate) fn list<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<Vec<T>, String> {
    let find = |word: &str| {
        let known = all.iter().map(|item| name(*item)).collect::<Vec<_>>().join(", ");
        all.iter().copied().find(|item| name(*item) == word).ok_or(format!("{word:?} is none of {known}"))
    };
    text.split(',').map(find).collect()
}

pub(crate) fn count(option: &str, text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("{option}: {text:?} is no whole number above 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn reads_options() {
        let options = parse("--parts relay --servers postfix,sink --messages 10 --write").unwrap();
        assert_eq!(options.parts, [Part::Relay]);
        assert_eq!(options.servers, [Server::Postfix, Server::Sink]);
        assert_eq!((options.messages, options.rounds, options.write), (10, 3, true));
        assert_eq!(parse("--servers postfix").unwrap().parts, [Part::Ingest, Part::Relay]);
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["--parts", "--parts x", "--messages 0", "--messages x", "--speed 1", "x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
