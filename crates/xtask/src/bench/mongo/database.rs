//! Fresh databases: each on a server of its own, or by another name on the one that `MONGODB_TEST_URL` names.

use std::cell::Cell;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::load;
use super::super::process::{POLL, Running, cpu_microseconds};

/// Where `cargo xtask test` installs the server, in the user's folder for caches.
const CACHED_PROGRAM: &str = "postrider/secantus-mdb-0.5.3-beta.196/bin/secantusd-rs";

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
        let place = place(|name| env::var_os(name).filter(|value| !value.is_empty()))?;
        if let Place::Program(program) = &place
            && !program.is_file()
        {
            return Err(format!("no MongoDB test server at {}: `cargo xtask test` installs it", program.display()));
        }
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

fn place(variable: impl Fn(&str) -> Option<OsString>) -> Result<Place, String> {
    if let Some(url) = variable("MONGODB_TEST_URL") {
        return url.into_string().map(Place::Url).map_err(|_| "MONGODB_TEST_URL is not UTF-8".to_owned());
    }
    let cache = match variable("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(variable("HOME").unwrap_or_default()).join(".cache"),
    };
    Ok(Place::Program(variable("POSTRIDER_TEST_MONGOD").map_or_else(|| cache.join(CACHED_PROGRAM), PathBuf::from)))
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
    fn the_server_is_the_one_that_the_tests_use() {
        let among = |variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            match place(find).unwrap() {
                Place::Program(program) => program.to_string_lossy().into_owned(),
                Place::Url(url) => url,
            }
        };
        assert_eq!(among(&[("HOME", "/h")]), format!("/h/.cache/{CACHED_PROGRAM}"));
        assert_eq!(among(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), format!("/c/{CACHED_PROGRAM}"));
        assert_eq!(among(&[("HOME", "/h"), ("POSTRIDER_TEST_MONGOD", "/opt/mongod")]), "/opt/mongod");
        let both = [("MONGODB_TEST_URL", "mongodb://db"), ("POSTRIDER_TEST_MONGOD", "/opt/mongod")];
        assert_eq!(among(&both), "mongodb://db");
        let testkit = include_str!("../../../../postrider-testkit/src/mongo.rs");
        assert!(testkit.contains(&format!("\"{CACHED_PROGRAM}\"")));
    }

    #[test]
    fn a_database_is_named_in_any_url() {
        assert_eq!(with_database("mongodb://one:1,two:2", "new"), "mongodb://one:1,two:2/new");
        assert_eq!(
            with_database("mongodb://ann:secret@one/old?tls=true", "new"),
            "mongodb://ann:secret@one/new?tls=true&authSource=old"
        );
    }
}
