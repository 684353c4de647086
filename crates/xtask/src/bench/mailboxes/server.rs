//! One of the two servers that are compared, on a folder of its own.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::super::load::{self, KEPT_DOMAIN};
use super::super::postrider::Postrider;
use super::Bench;
use super::dovecot::Dovecot;

/// Of every user.
pub(super) const PASSWORD: &str = "benchmarks-are-measured-on-loopback";

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Dovecot,
    Postrider,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Dovecot, Self::Postrider];

    /// As an option names it, and a folder.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dovecot => "dovecot",
            Self::Postrider => "postrider",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dovecot => "Dovecot",
            Self::Postrider => "Postrider",
        })
    }
}

/// A running server. It ends when this goes out of scope.
pub(super) struct Server {
    instance: Instance,
    pub(super) lmtp_port: u16,
    pub(super) imap_port: u16,
}

enum Instance {
    Dovecot(Dovecot),
    Postrider(Postrider),
}

impl Server {
    /// Starts it on `folder`; where that is new, with `users` users.
    pub(super) fn start(bench: &Bench, kind: Kind, folder: &Path, users: u64) -> Result<Self, String> {
        let is_new = !folder.exists();
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        match kind {
            Kind::Dovecot => {
                let dovecot = Dovecot::start(folder, users)?;
                let (lmtp_port, imap_port) = (dovecot.lmtp_port, dovecot.imap_port);
                Ok(Self { instance: Instance::Dovecot(dovecot), lmtp_port, imap_port })
            }
            Kind::Postrider => {
                let (lmtp_port, imap_port) = (load::free_port()?, load::free_port()?);
                let settings = [("LMTP_PORT", lmtp_port.to_string()), ("IMAP_PORT", imap_port.to_string())];
                let postrider = Postrider::start(&bench.binary, folder, &settings)?;
                if is_new {
                    for number in 0..users {
                        let arguments = ["user", "add", &user(number), "--password-stdin"];
                        Postrider::administer(&bench.binary, folder, &arguments, &format!("{PASSWORD}\n"))?;
                    }
                }
                Ok(Self { instance: Instance::Postrider(postrider), lmtp_port, imap_port })
            }
        }
    }

    /// Root of all its processes.
    pub(super) fn id(&self) -> u32 {
        match &self.instance {
            Instance::Dovecot(dovecot) => dovecot.id(),
            Instance::Postrider(postrider) => postrider.id(),
        }
    }

    /// Ends it as an operator would.
    pub(super) fn stop(self) -> Result<(), String> {
        match self.instance {
            Instance::Dovecot(dovecot) => {
                drop(dovecot);
                Ok(())
            }
            Instance::Postrider(postrider) => postrider.stop(),
        }
    }
}

/// The address of user `number`.
pub(super) fn user(number: u64) -> String {
    format!("user{number}@{KEPT_DOMAIN}")
}

/// Makes a copy of a stopped server's folder, and waits until it is on disk.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), String> {
    for (program, arguments) in [("cp", vec!["--archive".as_ref(), from.as_os_str(), to.as_os_str()]), ("sync", vec![])]
    {
        match Command::new(program).args(arguments).status() {
            Ok(status) if status.success() => {}
            _ => return Err(format!("cannot copy {} to {}", from.display(), to.display())),
        }
    }
    Ok(())
}
