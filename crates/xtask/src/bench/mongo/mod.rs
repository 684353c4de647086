//! `cargo xtask bench mongo`: the store on MongoDB, beside a plain loop over the driver, and one node beside two.
//!
//! Every figure is of a fresh database. Rounds are interleaved, so that what else the machine does falls on both.

mod database;
mod drain;
mod ingest;
mod inserts;
mod memory;
mod mx;
mod notice;
mod options;
mod report;

use std::path::{Path, PathBuf};

use super::postrider::Postrider;
use super::report as document;
use super::{build, machine, postrider, temporary_folder};
use crate::packages::{self, BENCH_TOOLS};
use crate::test_server;
use database::{Database, Databases};
use mx::Mx;
use options::{Options, Part};
use report::Report;

/// What every part measures with.
struct Bench {
    options: Options,
    /// Everything that is written is below here.
    folder: PathBuf,
    /// The release binary of Postrider.
    binary: PathBuf,
    /// The loop that is compared with.
    inserts: PathBuf,
    databases: Databases,
}

/// Measures what `arguments` ask for, prints it, and with `--write` puts it into `docs/benchmarks.md`.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    if arguments.iter().any(|argument| argument == "--help") {
        println!("{}", options::USAGE);
        return Ok(());
    }
    let options = Options::parse(arguments)?;
    packages::install(BENCH_TOOLS)?;
    test_server::install()?;
    let folder = temporary_folder(&options.folder)?;
    let inserts = build(root, &["--package", "xtask", "--example", "plain-inserts"], "plain-inserts")?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(root, &["--package", "postrider"], "postrider")?,
    };
    let databases = Databases::find(folder.path(), &inserts)?;
    let machine = machine::describe(folder.path())?;
    println!("{machine}");
    let bench = Bench { options, folder: folder.path().to_path_buf(), binary, inserts, databases };

    let mut report = Report::new(&bench, machine);
    for part in bench.options.parts.clone() {
        println!("\n== {} ==", part.name());
        match part {
            Part::Ingest => report.ingest = ingest::measure(&bench)?,
            Part::Drain => report.drain = drain::measure(&bench)?,
            Part::Memory => report.memory = Some(memory::measure(&bench)?),
            Part::Notice => report.notice = Some(notice::measure(&bench)?),
        }
    }
    let section = report.markdown();
    println!("{section}");
    if bench.options.write {
        document::write(root, |before| document::with_section(before, document::MONGO_HEADING, &section))?;
    }
    Ok(())
}

impl Bench {
    /// Starts a node on a database, with everything for other domains going to `mx`. `name` is that of no other node.
    fn node(&self, name: &str, database: &Database, mx: &Mx, settings: &[(&str, &str)]) -> Result<Postrider, String> {
        let mut all = postrider::relay_to(mx.port);
        all.push(("MONGODB_URL", database.url.clone()));
        // What an MX keeps waiting is given back soon: only then it ends.
        all.push(("SHUTDOWN_TIMEOUT_SECONDS", "1".to_owned()));
        all.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Postrider::start(&self.binary, &self.folder.join(name), &all)
    }
}

/// How many e-mails wait to be sent.
fn waiting(node: &Postrider) -> Result<u64, String> {
    Ok(node.count("queued")? + node.count("sending")? + node.count("deferred")?)
}
