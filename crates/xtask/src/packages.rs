//! The Debian packages that chores use, and how they are installed. The one list.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use self::Part::{File, PerlModule, Program, PythonModule};

/// Something that a chore uses, and the package that brings it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    pub(crate) part: Part,
    pub(crate) package: &'static str,
}

/// What of a package is used: by it one sees whether the package is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Program(&'static str),
    /// A program that another one starts, by its path.
    File(&'static str),
    PerlModule(&'static str),
    /// Of Debian's own Python.
    PythonModule(&'static str),
}

/// What the tests start: real mail clients, the judges of what Postrider says.
pub(crate) const TEST_TOOLS: &[Tool] = &[
    Tool { part: Program("curl"), package: "curl" },
    Tool { part: Program("python3"), package: "python3" },
    Tool { part: Program("swaks"), package: "swaks" },
    // What swaks needs for TLS, and does without unless asked. AUTH PLAIN and LOGIN it has itself.
    Tool { part: PerlModule("Net::SSLeay"), package: "libnet-ssleay-perl" },
    // Mail programs that read, fetch and synchronise by IMAP.
    Tool { part: Program("mbsync"), package: "isync" },
    Tool { part: Program("fetchmail"), package: "fetchmail" },
    Tool { part: Program("getmail"), package: "getmail6" },
    Tool { part: Program("offlineimap"), package: "offlineimap3" },
    // The browser that the pages are tested in.
    Tool { part: Program("chromium"), package: "chromium" },
    Tool { part: Program("chromedriver"), package: "chromium-driver" },
    // The judge of signatures, and what it needs for Ed25519.
    Tool { part: PythonModule("dkim"), package: "python3-dkim" },
    Tool { part: PythonModule("nacl"), package: "python3-nacl" },
    // A reader of the MongoDB store that is no program of ours.
    Tool { part: PythonModule("pymongo"), package: "python3-pymongo" },
    Tool { part: PythonModule("gridfs"), package: "python3-gridfs" },
];

/// What `bench` starts.
pub(crate) const BENCH_TOOLS: &[Tool] = &[
    Tool { part: Program("postfix"), package: "postfix" },
    Tool { part: Program("smtp-sink"), package: "postfix" },
    Tool { part: Program("smtp-source"), package: "postfix" },
];

/// What `bench mailboxes` starts.
pub(crate) const MAILBOX_TOOLS: &[Tool] = &[
    Tool { part: Program("dovecot"), package: "dovecot-core" },
    Tool { part: File("/usr/lib/dovecot/imap"), package: "dovecot-imapd" },
    Tool { part: File("/usr/lib/dovecot/lmtp"), package: "dovecot-lmtpd" },
];

/// The one that finds the modules that packages bring; another one may come first in PATH.
const DEBIAN_PYTHON: &str = "/usr/bin/python3";

/// Debian keeps daemons and their tools out of a user's PATH.
const FURTHER_FOLDERS: &[&str] = &["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// Installs through apt-get what is missing. Without root or without apt-get, the error says what to install.
pub(crate) fn install(tools: &[Tool]) -> Result<(), String> {
    let missing = missing(tools, is_there);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if find("apt-get").is_none() || !is_root() {
        return Err(format!("these packages are needed; install them first, as root: apt-get install {list}"));
    }
    println!("installing {list}");
    let install = || apt_get(&["install", "--yes", "--no-install-recommends"], &missing);
    // The lists of a fresh machine are empty or old: one update, and one more try.
    let installed = install() || (apt_get(&["update"], &[]) && install());
    if !installed {
        return Err(format!("apt-get could not install {list}"));
    }
    match self::missing(tools, is_there).as_slice() {
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

fn is_there(part: Part) -> bool {
    match part {
        Program(program) => find(program).is_some(),
        File(path) => Path::new(path).is_file(),
        PerlModule(module) => runs("perl", &[&format!("-M{module}"), "-e", "1"]),
        PythonModule(module) => runs(DEBIAN_PYTHON, &["-c", &format!("import {module}")]),
    }
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// The packages of the tools that are not there, each once.
fn missing(tools: &[Tool], is_there: impl Fn(Part) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<_> = tools.iter().filter(|tool| !is_there(tool.part)).map(|tool| tool.package).collect();
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
        assert_eq!(missing(TEST_TOOLS, |part| part != Program("swaks")), ["swaks"]);
        assert_eq!(missing(TEST_TOOLS, |_| true), [""; 0]);
    }

    #[test]
    fn finds_programs() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-of-any-name").is_none());
    }

    #[test]
    fn sees_what_is_there() {
        assert!(is_there(Program("sh")));
        assert!(!is_there(PerlModule("No::Such::Module::Of::Any::Name")));
        assert!(!is_there(PythonModule("no_such_module_of_any_name")));
    }
}
