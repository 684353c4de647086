//! `cargo xtask bench`: Postrider and Postfix side by side, on this machine, in one run.
//!
//! Both are driven by the load generators of Debian's postfix package, on loopback, with their data on the same disk.
//! Rounds are interleaved and compared pair by pair, so that what else the machine does falls on both. Postfix runs as
//! an instance of its own under a temporary folder; the system's own is not touched. Everything is stopped at the end.

mod api;
mod backlog;
mod http;
mod ingest;
mod load;
mod machine;
mod mailboxes;
mod memory;
mod mongo;
mod mx;
mod options;
mod pages;
mod postfix;
mod postrider;
mod process;
mod relay;
mod report;
mod sending;

use std::path::{Path, PathBuf};

use crate::cargo;
use crate::packages::{self, BENCH_TOOLS};
use options::{Options, Part, Server};
use report::Report;

/// What every part measures with.
pub(crate) struct Bench {
    options: Options,
    /// Everything that the servers write is below here.
    folder: PathBuf,
    /// The release binary of Postrider.
    binary: PathBuf,
    /// What this process and each that it starts may have open.
    open_files_max: u64,
}

/// Measures what `arguments` ask for, prints it, and with `--write` writes `docs/benchmarks.md`.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    match arguments {
        [first, rest @ ..] if first == "mailboxes" => return mailboxes::run(root, rest),
        [first, rest @ ..] if first == "sending" => return sending::run(root, rest),
        [first, rest @ ..] if first == "pages" => return pages::run(root, rest),
        [first, rest @ ..] if first == "mongo" => return mongo::run(root, rest),
        _ => {}
    }
    if arguments.iter().any(|argument| argument == "--help") {
        println!("{}", options::USAGE);
        return Ok(());
    }
    let options = Options::parse(arguments)?;
    packages::install(BENCH_TOOLS)?;
    if options.servers.contains(&Server::Postfix) && !packages::is_root() {
        return Err("Postfix starts only as root; measure without it: --servers sink,postrider".to_owned());
    }
    let folder = temporary_folder(&options.folder)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None if options.servers.iter().any(|server| matches!(server, Server::Postrider | Server::Signing)) => {
            build(root, &["--package", "postrider"], "postrider")?
        }
        None => PathBuf::new(),
    };
    let open_files_max = machine::raise_open_files_max();
    let machine = machine::describe(folder.path())?;
    println!("{machine}");
    let bench = Bench { options, folder: folder.path().to_path_buf(), binary, open_files_max };

    let mut report = Report::new(&bench.options, machine);
    for part in bench.options.parts.clone() {
        println!("\n== {} ==", part.name());
        match part {
            Part::Ingest => report.ingest = ingest::measure(&bench)?,
            Part::Api => report.api = api::measure(&bench)?,
            Part::Relay => report.relay = relay::measure(&bench)?,
            Part::Memory => report.memory = Some(memory::measure(&bench)?),
            Part::Backlog => report.backlog = Some(backlog::measure(&bench)?),
        }
    }
    println!("\n{}", report.markdown());
    if bench.options.write {
        report::write(root, |before| report::with_own_sections(&report.markdown(), before))?;
    }
    Ok(())
}

/// A folder on a real disk that Postfix's user can reach.
fn temporary_folder(parent: &Path) -> Result<tempfile::TempDir, String> {
    use std::os::unix::fs::PermissionsExt;

    let refuse = |error: std::io::Error| format!("{}: {error}", parent.display());
    if machine::file_system(parent) == "tmpfs" {
        return Err(format!("{} is in memory; name a folder on a disk with --folder", parent.display()));
    }
    let folder = tempfile::Builder::new().prefix("postrider-bench-").tempdir_in(parent).map_err(refuse)?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).map_err(refuse)?;
    Ok(folder)
}

/// Builds a program of the workspace as it is released. Returns where it is.
fn build(root: &Path, package: &[&str], name: &str) -> Result<PathBuf, String> {
    let mut cargo = cargo();
    // What the cargo that runs this tool says of this package is no matter of the others: some would be built anew for it.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(name);
        }
    }
    let output = cargo
        .current_dir(root)
        .args(["build", "--release", "--message-format", "json-render-diagnostics"])
        .args(package)
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo build: {error}"))?;
    if !output.status.success() {
        return Err("the release build failed".to_owned());
    }
    // Cargo says where the binary is, whatever target folder is in use.
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo did not name the binary".to_owned())
}
