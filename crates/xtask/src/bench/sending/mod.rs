//! `cargo xtask bench sending`: what stands in the way of mail is in the way of no other. Destinations that do not answer, a
//! source-IP service that hangs and a webhook endpoint that is down, each beside the same without; how far connections are used
//! again, and how fast a slow endpoint is told.

pub(super) mod client;
mod hook;
mod mx;
mod report;

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::machine;
use super::options::{count, read};
use super::postrider::{self, Postrider};
use hook::Hook;
use mx::{Hosts, host};
use report::Report;

const USAGE: &str = "\
usage: cargo xtask bench sending [OPTIONS]

  --destinations N  in all (default: 1000)
  --dead N          of these that do not answer (default: 100)
  --each N          messages to each destination (default: 10)
  --messages N      to one destination, with and without a source-IP service that hangs or a webhook endpoint that
                    is down (default: 10000)
  --calls N         webhooks to a slow endpoint (default: 4000)
  --rounds N        interleaved rounds (default: 3)
  --binary PATH     a postrider to measure instead of a fresh release build
  --folder PATH     where the server writes, on a disk (default: /var/tmp)
  --write           also write the section of docs/benchmarks.md";

/// Mail that opens a service's breaker before the time is taken, to as many domains.
const FAILURES: u64 = 20;
/// How long a slow endpoint for webhooks takes.
const HOOK_DELAY: Duration = Duration::from_millis(50);
/// The service's time-out.
const SERVICE_TIMEOUT_MILLIS: u64 = 500;

#[derive(Debug, Clone)]
struct Options {
    destinations: u64,
    dead: u64,
    each: u64,
    messages: u64,
    calls: u64,
    rounds: u64,
    binary: Option<PathBuf>,
    folder: PathBuf,
    write: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            destinations: 1_000,
            dead: 100,
            each: 10,
            messages: 10_000,
            calls: 4_000,
            rounds: 3,
            binary: None,
            folder: PathBuf::from("/var/tmp"),
            write: false,
        };
        options.write = read(arguments, USAGE, |option, value| {
            match option {
                "--destinations" => options.destinations = count(option, value)?,
                "--dead" => options.dead = count(option, value)?,
                "--each" => options.each = count(option, value)?,
                "--messages" => options.messages = count(option, value)?,
                "--calls" => options.calls = count(option, value)?,
                "--rounds" => options.rounds = count(option, value)?,
                "--binary" => options.binary = Some(PathBuf::from(value)),
                "--folder" => options.folder = PathBuf::from(value),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if options.dead >= options.destinations {
            return Err("--dead must be fewer than --destinations".to_owned());
        }
        Ok(options)
    }
}

struct Bench {
    options: Options,
    folder: PathBuf,
    binary: PathBuf,
}

pub(super) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    if arguments.iter().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let options = Options::parse(arguments)?;
    let folder = super::temporary_folder(&options.folder)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => super::build(root, &["--package", "postrider"], "postrider")?,
    };
    machine::raise_open_files_max();
    let mut report = Report::new(&options, machine::describe(folder.path())?);
    let bench = Bench { options, folder: folder.path().to_path_buf(), binary };
    for round in 1..=bench.options.rounds {
        for has_dead in [false, true] {
            let took = bench.destinations(round, has_dead)?;
            let what = if has_dead { "with dead destinations" } else { "alone" };
            println!("round {round}: destinations {what}: {:.2} s", took.as_secs_f64());
            report.add_destinations(has_dead, took);
        }
        for hangs in [false, true] {
            let (rate, reuse) = bench.service(round, hangs)?;
            let what = if hangs { "with a service that hangs" } else { "without a service" };
            println!("round {round}: {what}: {rate:.0}/s, {:.2}% over connections that were open", reuse * 100.0);
            report.add_service(hangs, rate, reuse);
        }
        for endpoint in Endpoint::ALL {
            let rate = bench.webhooks(round, endpoint)?;
            println!("round {round}: {}: {rate:.0}/s", endpoint.name());
            report.add_webhooks(endpoint, rate);
        }
        let rate = bench.slow_endpoint(round)?;
        println!("round {round}: webhooks to a slow endpoint: {rate:.0}/s");
        report.slow_endpoint.push(rate);
    }
    println!("\n{}", report.markdown());
    if bench.options.write {
        let section = report.markdown();
        super::report::write(root, |before| {
            super::report::with_section(before, super::report::SENDING_HEADING, &section)
        })?;
    }
    Ok(())
}

/// Who is told by webhook of what is delivered.
#[derive(Debug, Clone, Copy)]
enum Endpoint {
    None,
    Answering,
    /// It takes connections and says nothing.
    Down,
}

impl Endpoint {
    const ALL: [Self; 3] = [Self::None, Self::Answering, Self::Down];

    fn name(self) -> &'static str {
        match self {
            Self::None => "without webhooks",
            Self::Answering => "with an endpoint that answers",
            Self::Down => "with an endpoint that is down",
        }
    }
}

impl Bench {
    fn start(&self, purpose: &str, round: u64, hosts: &Hosts, more: &[(&str, String)]) -> Result<Postrider, String> {
        let folder = postrider::folder(&self.folder, purpose, round);
        let mut settings = vec![("DELIVERY_MODE", "mx".to_owned()), ("DELIVERY_PORT", hosts.port.to_string())];
        settings.extend_from_slice(more);
        Postrider::start(&self.binary, &folder, &settings)
    }

    /// How long the destinations that answer take to get all their mail, from the first message handed in.
    fn destinations(&self, round: u64, has_dead: bool) -> Result<Duration, String> {
        let Options { destinations, dead, each, .. } = self.options;
        let hosts = Hosts::start()?;
        let server = self.start(if has_dead { "dead" } else { "alone" }, round, &hosts, &[])?;
        // Every so manieth is dead.
        let spacing = destinations / dead;
        let all = |number: u64| host(number, number.is_multiple_of(spacing) && number / spacing < dead);
        let mut recipients: Vec<Ipv4Addr> = Vec::new();
        for _ in 0..each {
            recipients.extend((0..destinations).map(all));
        }
        let is_alive = |ip: &Ipv4Addr| ip.octets()[1] == host(0, false).octets()[1];
        let alive = recipients.iter().filter(|ip| is_alive(ip)).count() as u64;
        if !has_dead {
            recipients.retain(is_alive);
        }
        let started = Instant::now();
        client::send(server.port, &recipients)?;
        hosts.wait_for(alive)?;
        let took = started.elapsed();
        // It would wait for the dead ones.
        drop(server);
        Ok(took)
    }

    /// How many messages a second leave for one destination, and which part of them over a connection that was open.
    fn service(&self, round: u64, hangs: bool) -> Result<(f64, f64), String> {
        let hosts = Hosts::start()?;
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| format!("the service: {error}"))?;
        let port = silent.local_addr().map_err(|error| format!("the service: {error}"))?.port();
        std::thread::spawn(move || {
            for mut stream in silent.incoming().flatten() {
                std::thread::spawn(move || drop(stream.read_to_end(&mut Vec::new())));
            }
        });
        let more = [
            ("IP_SELECTION_ENABLED", hangs.to_string()),
            ("IP_SELECTION_API_URL", format!("http://127.0.0.1:{port}/")),
            ("IP_SELECTION_TIMEOUT", SERVICE_TIMEOUT_MILLIS.to_string()),
        ];
        let server = self.start(if hangs { "hangs" } else { "no-service" }, round, &hosts, &more)?;
        let before: Vec<Ipv4Addr> = (0..FAILURES).map(|number| host(1_000 + number, false)).collect();
        client::send(server.port, &before)?;
        hosts.wait_for(FAILURES)?;
        let connections = hosts.connections();
        let recipients = vec![host(1, false); self.options.messages as usize];
        let started = Instant::now();
        client::send(server.port, &recipients)?;
        hosts.wait_for(FAILURES + self.options.messages)?;
        let rate = self.options.messages as f64 / started.elapsed().as_secs_f64();
        let reuse = 1.0 - (hosts.connections() - connections) as f64 / self.options.messages as f64;
        server.stop()?;
        Ok((rate, reuse))
    }

    /// How many messages a second leave for one destination.
    fn webhooks(&self, round: u64, endpoint: Endpoint) -> Result<f64, String> {
        let hosts = Hosts::start()?;
        let hook = Hook::start(matches!(endpoint, Endpoint::Answering).then_some(Duration::ZERO))?;
        let more = told(&hook, !matches!(endpoint, Endpoint::None));
        let server = self.start(&format!("hook-{endpoint:?}"), round, &hosts, &more)?;
        let rate = self.send_to_one(&server, &hosts, self.options.messages)?;
        // What is not told yet would only take time.
        drop(server);
        Ok(rate)
    }

    /// How many webhooks a second an endpoint gets that takes its time, from the first message handed in.
    fn slow_endpoint(&self, round: u64) -> Result<f64, String> {
        let hosts = Hosts::start()?;
        let hook = Hook::start(Some(HOOK_DELAY))?;
        let server = self.start("hook-slow", round, &hosts, &told(&hook, true))?;
        let started = Instant::now();
        self.send_to_one(&server, &hosts, self.options.calls)?;
        hook.wait_for(self.options.calls)?;
        let rate = self.options.calls as f64 / started.elapsed().as_secs_f64();
        server.stop()?;
        Ok(rate)
    }

    fn send_to_one(&self, server: &Postrider, hosts: &Hosts, messages: u64) -> Result<f64, String> {
        let started = Instant::now();
        client::send(server.port, &vec![host(1, false); messages as usize])?;
        hosts.wait_for(messages)?;
        Ok(messages as f64 / started.elapsed().as_secs_f64())
    }
}

/// The settings with which an endpoint is told of what is delivered.
fn told(hook: &Hook, is_told: bool) -> [(&'static str, String); 2] {
    [("WEBHOOK_ENABLED", is_told.to_string()), ("WEBHOOK_SUCCESS_URL", hook.url.clone())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_options() {
        let parse = |text: &str| Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let options = parse("--destinations 50 --dead 5 --write").unwrap();
        assert_eq!((options.destinations, options.dead, options.each, options.write), (50, 5, 10, true));
        for text in ["--dead 1000", "--dead 0", "--speed 1", "x", "--rounds"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
