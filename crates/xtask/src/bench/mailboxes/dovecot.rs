//! A Dovecot of our own: configuration, users and mail under a temporary folder, ports of loopback. The system's own is
//! not touched.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::load::{self, program};
use super::super::process::{self, POLL, Running};
use super::server::{PASSWORD, user};

const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Each user of the mail system is one of the kernel's: a limit of inotify counts by these.
const FIRST_UID: u32 = 61_000;

/// A running Dovecot. It is stopped when this goes out of scope.
pub(super) struct Dovecot {
    server: Running,
    pub(super) lmtp_port: u16,
    pub(super) imap_port: u16,
}

impl Dovecot {
    /// Starts it on the mail in `folder`, for users 0 and on.
    pub(super) fn start(folder: &Path, users: u64) -> Result<Self, String> {
        let refuse = |error: std::io::Error| format!("{}: {error}", folder.display());
        let (lmtp_port, imap_port) = (load::free_port()?, load::free_port()?);
        for number in 0..users {
            let home = folder.join("users.d").join(user(number));
            fs::create_dir_all(&home).map_err(refuse)?;
            std::os::unix::fs::chown(&home, Some(uid(number)), None).map_err(refuse)?;
        }
        fs::write(folder.join("users"), passwd(folder, users)).map_err(refuse)?;
        fs::write(folder.join("dovecot.conf"), configuration(folder, lmtp_port, imap_port)).map_err(refuse)?;
        let mut command = Command::new(program("dovecot")?);
        command.arg("-F").arg("-c").arg(folder.join("dovecot.conf"));
        let mut server = Running::start("dovecot", folder, command)?;
        load::wait_for_greeting(lmtp_port, &mut server)?;
        Ok(Self { server, lmtp_port, imap_port })
    }

    pub(super) fn id(&self) -> u32 {
        self.server.id()
    }
}

impl Drop for Dovecot {
    /// The master ends its children.
    fn drop(&mut self) {
        process::signal("TERM", self.id());
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.server.check().is_ok() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
    }
}

/// What the program calls itself.
pub(super) fn version() -> Result<String, String> {
    let output =
        Command::new(program("dovecot")?).arg("--version").output().map_err(|error| format!("dovecot: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn uid(number: u64) -> u32 {
    FIRST_UID + u32::try_from(number).unwrap_or_default()
}

/// passwd-file: user, password, uid, gid, gecos, home.
fn passwd(folder: &Path, users: u64) -> String {
    let mut text = String::new();
    for number in 0..users {
        let (name, uid, folder) = (user(number), uid(number), folder.display());
        let _ = writeln!(text, "{name}:{{PLAIN}}{PASSWORD}:{uid}:{uid}::{folder}/users.d/{name}::");
    }
    text
}

/// Defaults, but where they tie the instance to the machine, and for the limits, which are lifted out of the way. Logins
/// are served by few processes for all clients, which the manual calls its high-performance mode; there are as many
/// processes for LMTP as there are connections.
fn configuration(folder: &Path, lmtp_port: u16, imap_port: u16) -> String {
    let folder = folder.display();
    format!(
        "base_dir = {folder}/run\n\
         state_dir = {folder}/state\n\
         instance_name = postrider-bench\n\
         log_path = {folder}/mail.log\n\
         protocols = imap lmtp\n\
         listen = 127.0.0.1\n\
         ssl = no\n\
         disable_plaintext_auth = no\n\
         auth_mechanisms = plain\n\
         mail_location = mdbox:~/mdbox\n\
         mail_max_userip_connections = 0\n\
         first_valid_uid = 1\n\
         passdb {{\n  driver = passwd-file\n  args = {folder}/users\n}}\n\
         userdb {{\n  driver = passwd-file\n  args = {folder}/users\n}}\n\
         service lmtp {{\n  inet_listener lmtp {{\n    address = 127.0.0.1\n    port = {lmtp_port}\n  }}\n  \
         process_min_avail = 16\n  process_limit = 32\n}}\n\
         service imap-login {{\n  inet_listener imap {{\n    port = {imap_port}\n  }}\n  inet_listener imaps {{\n    port = 0\n  \
         }}\n  service_count = 0\n  process_min_avail = 2\n  process_limit = 4\n  client_limit = 10000\n}}\n\
         service imap {{\n  process_limit = 10000\n}}\n\
         service auth {{\n  client_limit = 15000\n}}\n\
         service anvil {{\n  client_limit = 15000\n}}\n\
         service stats {{\n  client_limit = 15000\n}}\n"
    )
}
