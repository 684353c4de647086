//! A Postrider of our own: the release binary, its data under a temporary folder, ports of loopback.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::http;
use super::load::{self, KEPT_DOMAIN};
use super::process::Running;

/// More than its own `SHUTDOWN_TIMEOUT_SECONDS`.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Listeners that nobody asked for.
const OFF: &[&str] =
    &["SMTP_MX_PORT", "SUBMISSION_PORT", "SUBMISSIONS_PORT", "LMTP_PORT", "LMTPS_PORT", "IMAP_PORT", "IMAPS_PORT"];
const API_TOKEN: &str = "benchmarks-are-measured-on-loopback";

/// A running Postrider. It is killed when this goes out of scope.
pub(crate) struct Postrider {
    server: Running,
    pub(crate) port: u16,
    pub(crate) api_port: u16,
}

impl Postrider {
    /// Starts `serve` on the data in `folder` and waits for its greeting. Every setting that is not in `settings` has its
    /// default, but for the ports and the name.
    pub(crate) fn start(binary: &Path, folder: &Path, settings: &[(&str, String)]) -> Result<Self, String> {
        let mut postrider = Self::spawn(binary, folder, settings)?;
        load::wait_for_greeting(postrider.port, &mut postrider.server)?;
        Ok(postrider)
    }

    /// As [`Self::start`], without waiting.
    pub(crate) fn spawn(binary: &Path, folder: &Path, settings: &[(&str, String)]) -> Result<Self, String> {
        let (port, api_port) = (load::free_port()?, load::free_port()?);
        let mut command = command(binary, folder)?;
        command.arg("serve").env("SMTP_PORT", port.to_string()).env("API_PORT", api_port.to_string());
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        Ok(Self { server: Running::start("postrider", folder, command)?, port, api_port })
    }

    /// Runs a command of administration on the data in `folder`, with `input` as its standard input.
    pub(crate) fn administer(binary: &Path, folder: &Path, arguments: &[&str], input: &str) -> Result<(), String> {
        let refuse = |error: std::io::Error| format!("postrider {}: {error}", arguments.join(" "));
        let mut command = command(binary, folder)?;
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(refuse)?;
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(input.as_bytes()).map_err(refuse)?;
        }
        let output = child.wait_with_output().map_err(refuse)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("postrider {}: {}", arguments.join(" "), said.trim()));
        }
        Ok(())
    }

    pub(crate) fn id(&self) -> u32 {
        self.server.id()
    }

    /// Where its log goes.
    pub(crate) fn log(&self) -> &Path {
        self.server.log()
    }

    /// Fails if it has ended.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        self.server.check()
    }

    /// Ends it as an operator would.
    pub(crate) fn stop(self) -> Result<(), String> {
        self.server.stop(STOP_TIMEOUT)
    }

    /// Asks the API. Returns the answer and how long it took.
    pub(crate) fn get(&self, path: &str) -> Result<(Value, Duration), String> {
        http::get(self.api_port, path, API_TOKEN)
    }

    /// A request that posts JSON to the API, over a connection that stays open.
    pub(crate) fn request(&self, path: &str, json: &str) -> String {
        format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {API_TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        )
    }

    /// A request for a web page, over a connection that stays open.
    pub(crate) fn page_request(&self, path: &str) -> String {
        format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {API_TOKEN}\r\nAccept: text/html\r\n\r\n"
        )
    }

    /// How many e-mails the queue's statistics count under this name.
    pub(crate) fn count(&self, name: &str) -> Result<u64, String> {
        let (stats, _) = self.get("/api/queue/stats")?;
        stats[name].as_u64().ok_or_else(|| format!("/api/queue/stats has no number {name}: {stats}"))
    }
}

/// The program with the settings that all instances have. A folder of its own, so that no `.env` is read; no variable of
/// the caller's, so that none counts.
fn command(binary: &Path, folder: &Path) -> Result<Command, String> {
    let binary = fs::canonicalize(binary).map_err(|error| format!("{}: {error}", binary.display()))?;
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut command = Command::new(binary);
    command.current_dir(folder).env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.envs(OFF.iter().map(|name| (name, "0")));
    command.env("SMTP_HOST", "127.0.0.1").env("API_TOKEN", API_TOKEN);
    command.env("DATA_DIR", folder.join("data")).env("MAIL_HOSTNAME", "postrider.example");
    command.env("ALLOWED_DOMAINS", KEPT_DOMAIN);
    Ok(command)
}

/// Settings that send everything to one port of loopback.
pub(crate) fn relay_to(port: u16) -> Vec<(&'static str, String)> {
    vec![("DELIVERY_MODE", "relay".to_owned()), ("RELAY_URL", format!("smtp://127.0.0.1:{port}"))]
}

/// A folder for one instance, of a name that was not used before.
pub(crate) fn folder(parent: &Path, purpose: &str, round: u64) -> PathBuf {
    parent.join(format!("postrider-{purpose}-{round}"))
}
