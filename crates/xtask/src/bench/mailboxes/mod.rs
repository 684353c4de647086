//! `cargo xtask bench mailboxes`: Postrider and Debian's Dovecot (mdbox) side by side, by LMTP and IMAP, in one run.
//!
//! Both get the same mail, each in a folder of its own on the same disk. Rounds are interleaved, so that what else the
//! machine does falls on both. Everything is stopped at the end.

mod delivery;
mod dovecot;
mod effort;
mod idle;
mod imap;
mod lmtp;
mod mail;
mod options;
mod reading;
mod report;
mod server;

use std::net::TcpStream;
use std::path::{Path, PathBuf};

use super::report as document;
use super::{build, machine, memory, temporary_folder};
use crate::packages::{self, MAILBOX_TOOLS};
use imap::{Client, SMALL_BUFFER_BYTES};
use options::{Options, Part};
use report::Report;
use server::{Kind, PASSWORD, Server, user};

/// What every part measures with.
struct Bench {
    options: Options,
    /// Everything that is written is below here.
    folder: PathBuf,
    /// The release binary of Postrider.
    binary: PathBuf,
    /// What this process and each that it starts may have open.
    open_files_max: u64,
}

/// Measures what `arguments` ask for, prints it, and with `--write` puts it into `docs/benchmarks.md`.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    if arguments.iter().any(|argument| argument == "--help") {
        println!("{}", options::USAGE);
        return Ok(());
    }
    let options = Options::parse(arguments)?;
    let with_dovecot = options.servers.contains(&Kind::Dovecot);
    if with_dovecot {
        packages::install(MAILBOX_TOOLS)?;
        if !packages::is_root() {
            return Err("Dovecot starts only as root; measure without it: --servers postrider".to_owned());
        }
    }
    let folder = temporary_folder(&options.folder)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None if options.servers.contains(&Kind::Postrider) => build(root, &["--package", "postrider"], "postrider")?,
        None => PathBuf::new(),
    };
    let open_files_max = machine::raise_open_files_max();
    let machine = machine::describe(folder.path())?;
    let dovecot = if with_dovecot { dovecot::version()? } else { "(not measured)".to_owned() };
    println!("{machine}\nDovecot {dovecot}");
    let bench = Bench { options, folder: folder.path().to_path_buf(), binary, open_files_max };

    let mut report = Report::new(&bench.options, machine, dovecot);
    for part in bench.options.parts.clone() {
        println!("\n== {} ==", part.name());
        match part {
            Part::Delivery => report.delivery = delivery::measure(&bench)?,
            Part::Reading => report.reading = reading::measure(&bench)?,
            Part::Idle => report.idle = idle::measure(&bench)?,
        }
    }
    let section = report.markdown();
    println!("{section}");
    if bench.options.write {
        document::write(root, |before| document::with_section(before, document::MAILBOXES_HEADING, &section))?;
    }
    Ok(())
}

impl Bench {
    /// Connection number `number`, from an address of loopback that has few.
    fn connect(&self, port: u16, number: u64) -> Result<TcpStream, String> {
        memory::connect(number, port).map_err(|error| format!("connection {number}: {error}"))
    }

    /// Fails where this machine does not allow as many open files as so many connections need.
    fn needs_files(&self, connections: u64) -> Result<(), String> {
        let max = self.open_files_max;
        if max < connections + memory::OTHER_FILES {
            return Err(format!(
                "only {max} files may be open: hold fewer connections with --idle, or raise `ulimit -n`"
            ));
        }
        Ok(())
    }

    /// How many messages the first `users` users have.
    fn exists(&self, server: &Server, users: u64) -> Result<u64, String> {
        let mut messages = 0;
        for number in 0..users {
            let stream = self.connect(server.imap_port, number)?;
            let mut client = Client::greeted(stream, SMALL_BUFFER_BYTES)?;
            client.log_in(&user(number), PASSWORD)?;
            messages += client.command("EXAMINE INBOX")?.exists;
            client.command("LOGOUT")?;
        }
        Ok(messages)
    }
}
