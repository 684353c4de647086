//! `cargo xtask bench pages`: how long the server takes for each web page, with very many e-mails stored and waiting, and what
//! pages that stay open cost it.

mod report;
mod viewer;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::http::Connection;
use super::machine;
use super::options::{count, read};
use super::postrider::Postrider;
use super::process::cpu_microseconds;
use super::sending::client::Session;
use report::{Cost, Report, Row};

const USAGE: &str = "\
usage: cargo xtask bench pages [OPTIONS]

  --emails N     stored; every tenth of them waits (default: 1000000)
  --rounds N     requests for each page (default: 21)
  --seconds N    for which open pages are measured each time (default: 30)
  --data PATH    a store that is there already, which `cargo run --release -p postrider-store --example search N PATH keep`
                 made; a few hundred e-mails are added to it
  --binary PATH  a postrider to measure instead of a fresh release build
  --folder PATH  where the server writes, on a disk (default: /var/tmp)
  --write        also write the section of docs/benchmarks.md";

/// What people look at; `{id}` is an e-mail that waits.
const PAGES: &[(&str, &str)] = &[
    ("Overview, last hour", "/"),
    ("Overview, last week", "/?span=week"),
    ("Queue", "/queue"),
    ("Queue, names that begin with `d7`", "/queue?prefix=d7"),
    ("E-mails, the first page", "/emails"),
    ("E-mails, page 1000", "/emails?page=1000"),
    ("E-mails, `status:deferred`", "/emails?q=status%3Adeferred"),
    ("E-mails, `domain:large.example`", "/emails?q=domain%3Alarge.example"),
    ("E-mails, `\"w0 w1\"`, which is in very many", "/emails?q=%22w0+w1%22"),
    ("E-mails, `w7 unique500000`, which is in none", "/emails?q=w7+unique500000"),
    ("One e-mail", "/emails/{id}"),
    ("One e-mail, its source", "/emails/{id}?tab=source"),
    ("Source IPs", "/source-ips"),
    ("Webhooks", "/webhooks"),
    ("Deliveries of webhooks", "/webhooks/deliveries"),
    ("Domains", "/domains"),
    ("Users", "/users"),
    ("Suppressions", "/suppressions"),
    ("Tokens", "/tokens"),
    ("Simulator", "/simulator"),
    ("Settings", "/settings"),
    ("Audit", "/audit"),
    ("Log", "/log"),
];

/// What ten people have open.
const OPEN: [&str; 10] =
    ["/emails", "/emails", "/emails", "/emails", "/", "/", "/queue", "/queue", "/emails/{id}", "/emails/{id}"];

/// From one e-mail to the next while pages are open.
const MAIL_INTERVAL: Duration = Duration::from_millis(200);

/// What a server does behind its start, and pages behind being opened, is over by then.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone)]
struct Options {
    emails: u64,
    rounds: usize,
    seconds: u64,
    data: Option<PathBuf>,
    binary: Option<PathBuf>,
    folder: PathBuf,
    write: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            emails: 1_000_000,
            rounds: 21,
            seconds: 30,
            data: None,
            binary: None,
            folder: PathBuf::from("/var/tmp"),
            write: false,
        };
        options.write = read(arguments, USAGE, |option, value| {
            match option {
                "--emails" => options.emails = count(option, value)?,
                "--rounds" => options.rounds = count(option, value)? as usize,
                "--seconds" => options.seconds = count(option, value)?,
                "--data" => options.data = Some(PathBuf::from(value)),
                "--binary" => options.binary = Some(PathBuf::from(value)),
                "--folder" => options.folder = PathBuf::from(value),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(options)
    }
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
    let data = match &options.data {
        Some(data) => std::path::absolute(data).map_err(|error| format!("{}: {error}", data.display()))?,
        None => fill(root, &folder.path().join("data"), options.emails)?,
    };
    let settings = [("DATA_DIR", data.display().to_string()), ("DELIVERY_MODE", "capture".to_owned())];
    let server = Postrider::start(&binary, &folder.path().join("server"), &settings)?;
    std::thread::sleep(SETTLE);
    let stored = server.count("total")?;
    let waiting = server.count("deferred")?;
    let id = waiting_email(&server)?;
    let mut report = Report::new(machine::describe(folder.path())?, stored, waiting, options.rounds, MAIL_INTERVAL);
    for (name, path) in PAGES {
        let row = measure(&server, name, &path.replace("{id}", &id), options.rounds)?;
        println!("{row}");
        report.pages.push(row);
    }
    let paths: Vec<String> = OPEN.iter().map(|path| path.replace("{id}", &id)).collect();
    for (are_open, mail_comes) in [(true, false), (false, true), (true, true)] {
        let paths = if are_open { paths.as_slice() } else { &[] };
        let cost = open(&server, paths, mail_comes, Duration::from_secs(options.seconds))?;
        println!(
            "{} pages open, mail {mail_comes}: {:.2}% of a core, {} fetched",
            paths.len(),
            cost.percent,
            cost.fetched
        );
        report.costs.push(cost);
    }
    server.stop()?;
    println!("\n{}", report.markdown());
    if options.write {
        let section = report.markdown();
        super::report::write(root, |before| {
            super::report::with_section(before, super::report::PAGES_HEADING, &section)
        })?;
    }
    Ok(())
}

/// Makes a store with so many e-mails.
fn fill(root: &Path, data: &Path, emails: u64) -> Result<PathBuf, String> {
    let program = super::build(root, &["--package", "postrider-store", "--example", "search"], "search")?;
    let status = Command::new(program)
        .arg(emails.to_string())
        .arg(data)
        .arg("keep")
        .status()
        .map_err(|error| format!("filling the store: {error}"))?;
    if status.success() { Ok(data.to_owned()) } else { Err(format!("filling the store ended with {status}")) }
}

fn waiting_email(server: &Postrider) -> Result<String, String> {
    let (list, _) = server.get("/api/emails?status=deferred&limit=1")?;
    list["emails"][0]["id"].as_str().map(str::to_owned).ok_or_else(|| "no e-mail waits in this store".to_owned())
}

/// Asks for a page again and again over one connection.
fn measure(server: &Postrider, name: &'static str, path: &str, rounds: usize) -> Result<Row, String> {
    let request = server.page_request(path);
    let mut connection = Connection::open(server.api_port)?;
    let (mut times, mut bytes) = (Vec::with_capacity(rounds), 0);
    for _ in 0..rounds {
        let started = Instant::now();
        let answer = connection.exchange(&request)?;
        times.push(started.elapsed());
        bytes = answer.of(200).map_err(|why| format!("GET {path}: {why}"))?.len();
    }
    times.sort_unstable();
    let longest = times.last().copied().unwrap_or_default();
    Ok(Row { name, median: times[times.len() / 2], longest, bytes })
}

/// What the server uses of a core while these pages are open, and mail comes or not.
fn open(server: &Postrider, paths: &[String], mail_comes: bool, time: Duration) -> Result<Cost, String> {
    let is_over = AtomicBool::new(false);
    let fetched = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for path in paths {
            let (is_over, fetched) = (&is_over, &fetched);
            scope.spawn(move || viewer::follow(server, path, is_over, fetched));
        }
        let mail = mail_comes.then(|| scope.spawn(|| send(server.port, &is_over)));
        std::thread::sleep(SETTLE);
        let (before, fetched_before, started) =
            (cpu_microseconds(server.id()), fetched.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(time);
        let used = cpu_microseconds(server.id()) - before;
        let percent = used as f64 / started.elapsed().as_micros() as f64 * 100.0;
        let fetched = fetched.load(Ordering::Relaxed) - fetched_before;
        is_over.store(true, Ordering::Relaxed);
        if let Some(mail) = mail {
            mail.join().map_err(|_| "who sends mail panicked".to_owned())??;
        }
        if mail_comes && fetched < paths.len() as u64 {
            return Err(format!("{} open pages were fetched {fetched} times only: they do not follow", paths.len()));
        }
        Ok(Cost { pages: paths.len(), mail_comes, percent, fetched })
    })
}

fn send(port: u16, is_over: &AtomicBool) -> Result<(), String> {
    let refuse = |error: std::io::Error| format!("handing mail in: {error}");
    let mut session = Session::open(port).map_err(refuse)?;
    while !is_over.load(Ordering::Relaxed) {
        session.send("person@elsewhere.example", b"Subject: measured\r\n\r\nHello\r\n.\r\n").map_err(refuse)?;
        std::thread::sleep(MAIL_INTERVAL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_options() {
        let parse = |text: &str| Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let options = parse("--emails 1000 --data x --write").unwrap();
        assert_eq!((options.emails, options.data, options.rounds, options.write), (1_000, Some("x".into()), 21, true));
        for text in ["--emails 0", "--speed 1", "x", "--rounds"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
