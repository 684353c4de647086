//! `cargo xtask test`: everything that a fresh machine needs to run every test, and then every test.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::cargo;
use crate::packages::{self, TEST_TOOLS};
use crate::python;
use crate::test_server;

/// How long each fuzz target runs. Its corpus is replayed by the normal tests in any case.
const FUZZ_SECONDS: u32 = 10;

/// The tests of a started server that are run once more on MongoDB: all but those that bring their own, and the thousands of
/// requests that only look at what the API answers, and what a browser makes of the pages.
const MONGODB_RUN: &[&str] = &[
    "--package",
    "postrider",
    "--test",
    "it",
    "--",
    "--skip",
    "mongodb_",
    "--skip",
    "api_document",
    "--skip",
    "browser_",
];

/// Installs, tests, fuzzes briefly, and sums up. `arguments` go to `cargo test`; with any, that is all, because then
/// somebody is after one thing.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    packages::install(TEST_TOOLS)?;
    test_server::install()?;
    python::install()?;
    let started = Instant::now();
    let tests = cargo_test(root, arguments)?;
    let (on_mongodb, fuzz) = if arguments.is_empty() {
        println!("once more on MongoDB");
        (Some(on_mongodb(root)?), fuzz(root))
    } else {
        (None, Fuzz::Skipped("arguments were given".to_owned()))
    };

    println!("\nsummary, after {} s:", started.elapsed().as_secs());
    println!("  tests       {}", summary(Some(tests)));
    println!("  on MongoDB  {}", summary(on_mongodb));
    println!("  fuzz        {}", fuzz.summary());
    let holds = tests && on_mongodb != Some(false) && !matches!(fuzz, Fuzz::Failed(_));
    if holds { Ok(()) } else { Err("the tests do not pass".to_owned()) }
}

fn summary(holds: Option<bool>) -> &'static str {
    match holds {
        Some(true) => "pass",
        Some(false) => "FAIL; cargo's list above names them",
        None => "skipped: arguments were given; POSTRIDER_TEST_STORE=mongodb runs what they name on MongoDB",
    }
}

/// Whether the tests pass.
fn cargo_test(root: &Path, arguments: &[String]) -> Result<bool, String> {
    let mut command = cargo();
    command.current_dir(root).arg("test");
    if !names_a_package(arguments) {
        command.arg("--workspace");
    }
    // Without this the first failing crate hides the others.
    if !arguments.iter().any(|argument| argument == "--no-fail-fast") {
        command.arg("--no-fail-fast");
    }
    succeeded(command.args(arguments))
}

/// Whether the tests pass on the other store.
fn on_mongodb(root: &Path) -> Result<bool, String> {
    let mut command = cargo();
    command.current_dir(root).arg("test").args(MONGODB_RUN).env("POSTRIDER_TEST_STORE", "mongodb");
    succeeded(&mut command)
}

fn succeeded(cargo_test: &mut Command) -> Result<bool, String> {
    let status = cargo_test.status().map_err(|error| format!("cargo test: {error}"))?;
    Ok(status.success())
}

fn names_a_package(arguments: &[String]) -> bool {
    let ours = arguments.iter().take_while(|argument| *argument != "--");
    ours.into_iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

/// What became of the fuzz targets.
#[derive(Debug, PartialEq, Eq)]
enum Fuzz {
    Skipped(String),
    /// So many targets ran.
    Passed(usize),
    /// These targets found something.
    Failed(Vec<String>),
}

impl Fuzz {
    fn summary(&self) -> String {
        match self {
            Self::Skipped(why) => format!("skipped: {why}"),
            Self::Passed(count) => format!("pass: {count} targets, {FUZZ_SECONDS} s each"),
            Self::Failed(targets) => format!("FAIL: {}; see fuzz/artifacts", targets.join(", ")),
        }
    }
}

fn fuzz(root: &Path) -> Fuzz {
    let targets = match fuzz_targets(&root.join("fuzz/fuzz_targets")) {
        targets if targets.is_empty() => return Fuzz::Skipped("there are no targets".to_owned()),
        targets => targets,
    };
    if !succeeds(Command::new("cargo").args(["+nightly", "--version"])) {
        return Fuzz::Skipped("no nightly toolchain; `rustup toolchain install nightly` brings one".to_owned());
    }
    if !succeeds(Command::new("cargo").args(["+nightly", "fuzz", "--version"])) {
        return Fuzz::Skipped("no cargo-fuzz; `cargo install cargo-fuzz` brings it".to_owned());
    }
    let time = format!("-max_total_time={FUZZ_SECONDS}");
    let run = |target: &String| {
        println!("fuzzing {target} for {FUZZ_SECONDS} s");
        let mut command = Command::new("cargo");
        // The toolchain that runs this tool would otherwise win over the one named.
        command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
        // The fuzzer keeps what it finds in the first folder; the second, our seeds, it only reads.
        let found = root.join("target/fuzz-corpus").join(target);
        if fs::create_dir_all(&found).is_err() {
            return false;
        }
        command.current_dir(root).args(["+nightly", "fuzz", "run", target.as_str()]);
        command.arg(found).arg(root.join("fuzz/corpus").join(target)).args(["--", time.as_str()]);
        command.status().is_ok_and(|status| status.success())
    };
    let failed: Vec<String> = targets.iter().filter(|target| !run(target)).cloned().collect();
    if failed.is_empty() { Fuzz::Passed(targets.len()) } else { Fuzz::Failed(failed) }
}

/// One target for each file, in order.
fn fuzz_targets(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut targets: Vec<String> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| path.file_stem()?.to_str().map(str::to_owned))
        .collect();
    targets.sort();
    targets
}

fn succeeds(command: &mut Command) -> bool {
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_package_is_tested_alone() {
        let named = |text: &str| names_a_package(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert!(named("-p xtask") && named("--package=xtask") && named("--lib -pxtask"));
        assert!(!named("") && !named("--lib smtp") && !named("-- -p"));
    }

    #[test]
    fn targets_are_the_rust_files_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.rs", "a.rs", "notes.md"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(fuzz_targets(folder.path()), ["a", "b"]);
        assert_eq!(fuzz_targets(&folder.path().join("none")), [""; 0]);
    }
}
