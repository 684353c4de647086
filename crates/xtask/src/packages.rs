//! The Debian packages that chores use, and how they are installed. The one list.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that a chore starts, and the package that brings it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

/// What the tests start: real mail clients, the judges of what Postrider says.
pub(crate) const TEST_TOOLS: &[Tool] = &[
    Tool { program: "curl", package: "curl" },
    Tool { program: "python3", package: "python3" },
    Tool { program: "swaks", package: "swaks" },
];

/// What `bench` starts.
pub(crate) const BENCH_TOOLS: &[Tool] = &[
    Tool { program: "postfix", package: "postfix" },
    Tool { program: "smtp-sink", package: "postfix" },
    Tool { program: "smtp-source", package: "postfix" },
];

/// Debian keeps daemons and their tools out of a user's PATH.
const FURTHER_FOLDERS: &[&str] = &["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// Installs through apt-get what is missing. Without root or without apt-get, the error says what to install.
pub(crate) fn install(tools: &[Tool]) -> Result<(), String> {
    let missing = missing(tools, |program| find(program).is_some());
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if find("apt-get").is_none() || !is_root() {
        return Err(format!("these programs are needed; install them first, as root: apt-get install {list}"));
    }
    println!("installing {list}");
    let install = || apt_get(&["install", "--yes", "--no-install-recommends"], &missing);
    // The lists of a fresh machine are empty or old: one update, and one more try.
    let installed = install() || (apt_get(&["update"], &[]) && install());
    if !installed {
        return Err(format!("apt-get could not install {list}"));
    }
    match self::missing(tools, |program| find(program).is_some()).as_slice() {
        [] => Ok(()),
        still => Err(format!("still missing after installation: {}", still.join(" "))),
    }
}

/// Where a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let further = FURTHER_FOLDERS.iter().map(|folder| Path::new(folder).to_path_buf());
    std::env::split_paths(&path).chain(further).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Whether this process may do what root may.
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    // Real, effective, saved, file system.
    uids.split_whitespace().nth(1) == Some("0")
}

/// The packages of the tools that are not there, each once.
fn missing(tools: &[Tool], is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<_> = tools.iter().filter(|tool| !is_there(tool.program)).map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn apt_get(arguments: &[&str], packages: &[&str]) -> bool {
    let status = Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .arg("--quiet")
        .args(arguments)
        .args(packages)
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_only_for_what_is_missing_and_once() {
        assert_eq!(missing(BENCH_TOOLS, |_| false), ["postfix"]);
        assert_eq!(missing(TEST_TOOLS, |program| program != "swaks"), ["swaks"]);
        assert_eq!(missing(TEST_TOOLS, |_| true), [""; 0]);
    }

    #[test]
    fn finds_programs() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-of-any-name").is_none());
    }
}
