//! Fresh databases: each on a server of its own, or by another name on the one that `MONGODB_TEST_URL` names.

use std::cell::Cell;
use std::env;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::load;
use super::super::process::{POLL, Running, cpu_microseconds};
use crate::test_server;

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Where databases are made.
pub(super) struct Databases {
    place: Place,
    folder: PathBuf,
    /// It can drop databases.
    inserts: PathBuf,
    made: Cell<u32>,
}

enum Place {
    /// The program of a server.
    Program(PathBuf),
    /// A server that runs already.
    Url(String),
}

/// An empty database. It goes when this is dropped.
pub(super) struct Database {
    pub(super) url: String,
    server: Option<Running>,
    folder: PathBuf,
    inserts: PathBuf,
}

impl Databases {
    pub(super) fn find(folder: &Path, inserts: &Path) -> Result<Self, String> {
        let place = match test_server::program()? {
            Some(program) => Place::Program(program),
            None => Place::Url(env::var("MONGODB_TEST_URL").map_err(|error| format!("MONGODB_TEST_URL: {error}"))?),
        };
        Ok(Self { place, folder: folder.to_path_buf(), inserts: inserts.to_path_buf(), made: Cell::new(0) })
    }

    /// The server, for people.
    pub(super) fn describe(&self) -> String {
        match &self.place {
            Place::Program(_) => "the MongoDB server of the tests, started for each figure".to_owned(),
            Place::Url(_) => "the server of MONGODB_TEST_URL".to_owned(),
        }
    }

    pub(super) fn fresh(&self) -> Result<Database, String> {
        self.made.set(self.made.get() + 1);
        let name = format!("postrider_bench_{}_{}", std::process::id(), self.made.get());
        let folder = self.folder.join(&name);
        let (url, server) = match &self.place {
            Place::Program(program) => {
                let (port, server) = start(program, &folder)?;
                (format!("mongodb://127.0.0.1:{port}/{name}"), Some(server))
            }
            Place::Url(url) => (with_database(url, &name), None),
        };
        Ok(Database { url, server, folder, inserts: self.inserts.clone() })
    }
}

impl Database {
    /// What the server has used of the processors; 0 if it is not ours.
    pub(super) fn cpu_microseconds(&self) -> u64 {
        self.server.as_ref().map_or(0, |server| cpu_microseconds(server.id()))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        match self.server.take() {
            Some(server) => {
                drop(server);
                // What cannot be removed goes with the folder that all is below.
                let _ = fs::remove_dir_all(&self.folder);
            }
            None => drop(Command::new(&self.inserts).args(["drop", &self.url]).status()),
        }
    }
}

fn start(program: &Path, folder: &Path) -> Result<(u16, Running), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let port = load::free_port()?;
    let mut command = Command::new(program);
    command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--storage-path"]).arg(folder.join("data"));
    // Without the first of these it acknowledges writes that a crash loses.
    command.args(["--sync-on-commit", "--write-tickets", "2", "--cache-size", "256M", "--log-level", "WARNING"]);
    let mut server = Running::start("mongodb", folder, command)?;
    let deadline = Instant::now() + START_TIMEOUT;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        server.check()?;
        if Instant::now() > deadline {
            return Err(format!("the MongoDB server does not listen on port {port}:\n{}", server.last_lines()));
        }
        std::thread::sleep(POLL);
    }
    Ok((port, server))
}

/// `url` with another database. Who logs in does so where the first URL says.
fn with_database(url: &str, name: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("mongodb", url));
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (database, options) = path.split_once('?').unwrap_or((path, ""));
    let mut options: Vec<_> = options.split('&').filter(|option| !option.is_empty()).map(str::to_owned).collect();
    let names_login = options.iter().any(|option| option.to_ascii_lowercase().starts_with("authsource="));
    if hosts.contains('@') && !names_login {
        options.push(format!("authSource={}", if database.is_empty() { "admin" } else { database }));
    }
    let mark = if options.is_empty() { "" } else { "?" };
    format!("{scheme}://{hosts}/{name}{mark}{}", options.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_in_any_url() {
        assert_eq!(with_database("mongodb://one:1,two:2", "new"), "mongodb://one:1,two:2/new");
        assert_eq!(
            with_database("mongodb://ann:secret@one/old?tls=true", "new"),
            "mongodb://ann:secret@one/new?tls=true&authSource=old"
        );
    }
}
