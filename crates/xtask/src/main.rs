//! The project's chores: `cargo xtask test | bench | tidy | docs`. Plain std, so that it builds fast on a fresh machine.
//! It knows the workspace's layout, the settings' table and the outside of the `postrider` binary; no other inside.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

mod bench;
mod docs;
mod packages;
mod python;
mod test;
mod test_server;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [ARGUMENTS]   installs what the tests need, then runs every test; ARGUMENTS go to `cargo test`
  tidy               checks the rules of the house that neither rustc nor clippy knows
  docs [--check]     writes the generated documents, or tells whether they are current
  bench [OPTIONS]    measures Postrider and Postfix side by side; --help lists the options
  bench mailboxes    measures LMTP and IMAP of Postrider and Dovecot side by side
  bench sending      measures what stands in the way of mail: dead destinations, hanging services
  bench pages        measures the web pages with a million e-mails, and what ten open ones cost
  bench mongo        measures the store on MongoDB, and two nodes beside one";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let root = workspace_root();
    let done = match command.as_str() {
        "test" => test::run(&root, &arguments),
        "tidy" => tidy::run(&root, &arguments),
        "docs" => docs::run(&root, &arguments),
        "bench" => bench::run(&root, &arguments),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Two folders above this crate. Cargo sets the variable when it runs the tool; the constant serves a binary run by hand.
fn workspace_root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&manifest).ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default()
}

/// The cargo that runs this tool.
fn cargo() -> std::process::Command {
    std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
