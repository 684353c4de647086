//! A Postfix instance of our own: configuration, queue and data under a temporary folder, one port of loopback.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::load::{self, program};
use super::process::{self, POLL, Running};

const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// What the instance does with mail.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Job {
    /// Takes it, keeps it in the queue on disk, delivers nothing.
    Hold,
    /// Delivers it to this port of loopback.
    Relay { port: u16 },
}

/// A running instance. It is stopped when this goes out of scope.
pub(crate) struct Postfix {
    script: Option<Running>,
    folder: PathBuf,
    pub(crate) port: u16,
    /// Root of all its processes.
    pub(crate) master: u32,
}

impl Postfix {
    /// Starts an instance in `folder`, which must not be there yet.
    pub(crate) fn start(folder: PathBuf, job: Job) -> Result<Self, String> {
        let port = load::free_port()?;
        let refuse = |error: std::io::Error| format!("{}: {error}", folder.display());
        for name in ["config", "spool", "data"] {
            fs::create_dir_all(folder.join(name)).map_err(refuse)?;
        }
        chown_to_postfix(&folder.join("data"))?;
        fs::write(folder.join("config/main.cf"), main_cf(&folder, job)?).map_err(refuse)?;
        fs::write(folder.join("config/master.cf"), master_cf(port)).map_err(refuse)?;

        let mut command = Command::new(program("postfix")?);
        command.arg("-c").arg(folder.join("config")).arg("start-fg");
        let mut script = Running::start("postfix", &folder, command)?;
        load::wait_for_greeting(port, &mut script)?;
        let master = fs::read_to_string(folder.join("spool/pid/master.pid")).map_err(refuse)?;
        let master = master.trim().parse().map_err(|_| "Postfix's master.pid holds no number".to_owned())?;
        Ok(Self { script: Some(script), folder, port, master })
    }

    /// How many messages are on hold.
    pub(crate) fn held(&self) -> u64 {
        load::files_below(&self.folder.join("spool/hold"))
    }
}

impl Drop for Postfix {
    /// The master ends its children; the script that started it ends with it.
    fn drop(&mut self) {
        process::signal("TERM", self.master);
        let deadline = Instant::now() + STOP_TIMEOUT;
        if let Some(mut script) = self.script.take() {
            while script.check().is_ok() && Instant::now() < deadline {
                std::thread::sleep(POLL);
            }
        }
        if Path::new(&format!("/proc/{}", self.master)).exists() {
            process::signal("KILL", self.master);
        }
    }
}

/// Defaults wherever they do not tie the instance to the machine; the same limits of concurrency as Postrider's, which
/// are the defaults of both.
fn main_cf(folder: &Path, job: Job) -> Result<String, String> {
    let folder = folder.display();
    let mut text = format!(
        "compatibility_level = 3.6\n\
         queue_directory = {folder}/spool\n\
         data_directory = {folder}/data\n\
         command_directory = {}\n\
         daemon_directory = {}\n\
         maillog_file = {folder}/mail.log\n\
         maillog_file_prefixes = {folder}\n\
         mail_owner = postfix\n\
         setgid_group = postdrop\n\
         myhostname = postfix.example\n\
         mydestination =\n\
         inet_interfaces = 127.0.0.1\n\
         inet_protocols = ipv4\n\
         mynetworks = 127.0.0.0/8\n\
         alias_maps =\n\
         smtpd_relay_restrictions = permit_mynetworks, reject\n\
         smtpd_client_connection_count_limit = 0\n\
         disable_dns_lookups = yes\n",
        default_of("command_directory")?,
        default_of("daemon_directory")?,
    );
    let _ = match job {
        Job::Hold => writeln!(text, "smtpd_recipient_restrictions = check_recipient_access static:HOLD"),
        Job::Relay { port } => writeln!(text, "relayhost = [127.0.0.1]:{port}"),
    };
    Ok(text)
}

/// The services that taking, queueing and relaying mail needs, outside of any chroot.
fn master_cf(port: u16) -> String {
    format!(
        "127.0.0.1:{port} inet n - n - - smtpd\n\
         cleanup unix n - n - 0 cleanup\n\
         qmgr unix n - n 300 1 qmgr\n\
         rewrite unix - - n - - trivial-rewrite\n\
         bounce unix - - n - 0 bounce\n\
         defer unix - - n - 0 bounce\n\
         trace unix - - n - 0 bounce\n\
         proxymap unix - - n - - proxymap\n\
         smtp unix - - n - - smtp\n\
         relay unix - - n - - smtp\n\
         error unix - - n - - error\n\
         retry unix - - n - - error\n\
         discard unix - - n - - discard\n\
         anvil unix - - n - 1 anvil\n\
         scache unix - - n - 1 scache\n\
         tlsmgr unix - - n 1000? 1 tlsmgr\n\
         postlog unix-dgram n - n - 1 postlogd\n"
    )
}

/// A default that the distribution compiled in.
fn default_of(name: &str) -> Result<String, String> {
    let output = Command::new(program("postconf")?)
        .args(["-dh", name])
        .stderr(Stdio::null())
        .output()
        .map_err(|error| format!("postconf: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn chown_to_postfix(folder: &Path) -> Result<(), String> {
    match Command::new("chown").arg("postfix").arg(folder).status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("cannot give {} to the user postfix", folder.display())),
    }
}
