//! A server that speaks MongoDB's protocol, for tests: one for all tests of a binary, or one of a test's own to kill.
//!
//! It knows how to start and end a server, and nothing of what is stored in it.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postrider_core::{ObjectId, Timestamp};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::{GUARD_SECONDS, LoopbackIp};

/// Where `cargo xtask test` installs the test server, in the user's folder for caches.
const CACHED_BINARY: &str = "postrider/secantus-mdb-0.5.3-beta.196/bin/secantusd-rs";

/// The port of a server that is started here. Its address is its own, so that a restarted one comes back at the same place.
const SERVER_PORT: u16 = 27_117;

/// Starts the server and sends it the signals that are named on the standard input; says which it has sent. At the end of the
/// input, which the end of the test process brings about however it came, the server ends too, and its folder goes.
const SUPERVISOR: &str = r#"
folder=$1; shift
"$@" </dev/null >>"$folder/server.log" 2>&1 &
server=$!
while read -r signal; do
    kill -s "$signal" "$server"
    if [ "$signal" = KILL ]; then wait "$server"; exit 0; fi
    echo "$signal"
done
kill -s KILL "$server"; wait "$server"; rm -rf -- "$folder"
"#;

/// A server for tests: the one that `MONGODB_TEST_URL` names, or one started here.
#[derive(Debug)]
pub struct MongoServer {
    url: String,
    /// `None`: it is not ours.
    process: Option<ServerProcess>,
}

impl MongoServer {
    /// The server that all tests of this process share. It ends with the process.
    ///
    /// # Panics
    ///
    /// When it cannot be started; the panic says how to install it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<MongoServer> = OnceCell::const_new();
        SHARED
            .get_or_init(async || match given_url() {
                Some(url) => Self { url, process: None },
                None => Self::start().await,
            })
            .await
    }

    /// A server of the test's own, which it may kill. `None` where `MONGODB_TEST_URL` says that another kind of server is to
    /// be tried, which we cannot start.
    ///
    /// # Panics
    ///
    /// When it cannot be started; the panic says how to install it.
    pub async fn start_own() -> Option<Self> {
        match given_url() {
            Some(_) => None,
            None => Some(Self::start().await),
        }
    }

    async fn start() -> Self {
        let process = ServerProcess::start().await;
        Self { url: format!("mongodb://{}", process.address), process: Some(process) }
    }

    /// A new and empty database.
    pub fn database(&self) -> MongoDatabase {
        let name = format!("postrider_test_{}", ObjectId::new(Timestamp::system()));
        MongoDatabase { url: with_database(&self.url, &name), name, is_kept: self.process.is_none() }
    }

    /// Where it listens.
    ///
    /// # Panics
    ///
    /// When it is not ours, like all methods below.
    pub fn address(&self) -> SocketAddr {
        self.process.as_ref().expect("the server is the test's own").address
    }

    /// SIGKILL: it ends at once, with nothing tidied up.
    pub fn kill(&mut self) {
        self.own().end();
    }

    /// Starts it again where it was, with what it stored, after [`MongoServer::kill`] or instead of it.
    pub async fn restart(&mut self) {
        self.own().restart().await;
    }

    /// SIGSTOP: it stands still, its connections stay.
    pub fn stop(&mut self) {
        self.own().signal("STOP");
    }

    /// SIGCONT: it goes on after [`MongoServer::stop`].
    pub fn go_on(&mut self) {
        self.own().signal("CONT");
    }

    fn own(&mut self) -> &mut ServerProcess {
        self.process.as_mut().expect("the server is the test's own")
    }
}

/// A database of a [`MongoServer`]. On a server that lives on, it is removed when this is dropped.
#[derive(Debug)]
pub struct MongoDatabase {
    url: String,
    name: String,
    is_kept: bool,
}

impl MongoDatabase {
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The database as clients reach it through a [`crate::TcpProxy`] in front of a server of the test's own.
    pub fn url_through(&self, proxy: SocketAddr) -> String {
        // Else the driver would ask the server for its address, and go there.
        format!("mongodb://{proxy}/{}?directConnection=true", self.name)
    }
}

impl Drop for MongoDatabase {
    fn drop(&mut self) {
        if !self.is_kept {
            return;
        }
        let (url, name) = (self.url.clone(), self.name.clone());
        // A thread, because the test's runtime is busy with this drop.
        let removing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let client = mongodb::Client::with_uri_str(url).await?;
                client.database(&name).drop().await
            })
        });
        // What cannot be removed is left: the test has its result.
        let _ = removing.join();
    }
}

/// A server started here. Dropping it ends it.
#[derive(Debug)]
struct ServerProcess {
    address: SocketAddr,
    supervisor: Child,
    folder: TempDir,
    _ip: LoopbackIp,
}

impl ServerProcess {
    async fn start() -> Self {
        let ip = LoopbackIp::claim();
        let address = SocketAddr::new(ip.ip(), SERVER_PORT);
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let supervisor = spawn(address, folder.path());
        let process = Self { address, supervisor, folder, _ip: ip };
        process.wait_until_listening().await;
        process
    }

    async fn restart(&mut self) {
        self.end();
        self.supervisor = spawn(self.address, self.folder.path());
        self.wait_until_listening().await;
    }

    async fn wait_until_listening(&self) {
        let started = Instant::now();
        while TcpStream::connect(self.address).await.is_err() {
            if started.elapsed() > Duration::from_secs(GUARD_SECONDS) {
                let log = std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
                panic!("the MongoDB server does not listen on {}:\n{log}", self.address);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns when the signal is sent.
    fn signal(&mut self, name: &str) {
        self.order(name);
        let stdout = self.supervisor.stdout.as_mut().expect("it is piped");
        let sent = BufReader::with_capacity(1, stdout).lines().next();
        assert!(sent.is_some_and(|line| line.is_ok_and(|sent| sent == name)), "SIG{name} was not sent");
    }

    fn order(&mut self, name: &str) {
        if let Some(stdin) = &mut self.supervisor.stdin {
            // One that has ended takes no orders.
            let _ = writeln!(stdin, "{name}");
        }
    }

    /// Kills the server and waits for its end; its folder stays.
    fn end(&mut self) {
        self.order("KILL");
        let _ = self.supervisor.wait();
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts a server at `address` that keeps everything in `folder`.
fn spawn(address: SocketAddr, folder: &Path) -> Child {
    let binary = binary();
    assert!(binary.is_file(), "no MongoDB test server at {}: `cargo xtask test` installs it", binary.display());
    Command::new("sh")
        .args(["-c", SUPERVISOR, "sh"])
        .arg(folder)
        .arg(binary)
        .args(["--host", &address.ip().to_string(), "--port", &address.port().to_string(), "--storage-path"])
        .arg(folder.join("data"))
        // Without this the server acknowledges writes that a crash loses.
        .arg("--sync-on-commit")
        .args(["--write-tickets", "16", "--cache-size", "256M", "--log-level", "WARNING"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // An interrupt from the terminal is for the tests; the supervisor outlives them to tidy up.
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("sh: {error}"))
}

/// The server that the tests are to use instead of the one that is started here.
fn given_url() -> Option<String> {
    env::var("MONGODB_TEST_URL").ok().filter(|url| !url.is_empty())
}

/// Where the test server's program is.
fn binary() -> PathBuf {
    binary_among(|name| env::var_os(name).filter(|value| !value.is_empty()))
}

fn binary_among(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let cache = || match variable("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(variable("HOME").unwrap_or_default()).join(".cache"),
    };
    variable("POSTRIDER_TEST_MONGOD").map_or_else(|| cache().join(CACHED_BINARY), PathBuf::from)
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
    use crate::eventually;

    #[tokio::test]
    async fn a_server_ends_with_the_process_that_started_it_and_leaves_nothing() {
        let Some(MongoServer { process: Some(mut process), .. }) = MongoServer::start_own().await else { return };
        // As the system does it when this process ends.
        drop(process.supervisor.stdin.take());
        eventually("the server's end", async || TcpStream::connect(process.address).await.err()).await;
        eventually("its folder to go", async || (!process.folder.path().exists()).then_some(())).await;
    }

    #[tokio::test]
    async fn a_dropped_server_is_gone() {
        let Some(MongoServer { process: Some(process), .. }) = MongoServer::start_own().await else { return };
        let (address, folder) = (process.address, process.folder.path().to_path_buf());
        drop(process);
        assert!(TcpStream::connect(address).await.is_err() && !folder.exists());
    }

    #[test]
    fn the_binary_is_the_one_that_is_named_or_the_cached_one() {
        let among = |variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            binary_among(find).to_string_lossy().into_owned()
        };
        assert_eq!(among(&[("POSTRIDER_TEST_MONGOD", "/opt/mongod"), ("HOME", "/h")]), "/opt/mongod");
        assert_eq!(among(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")]), format!("/c/{CACHED_BINARY}"));
        assert_eq!(among(&[("HOME", "/h")]), format!("/h/.cache/{CACHED_BINARY}"));
    }

    #[test]
    fn a_database_is_named_in_any_url() {
        let named = |url| with_database(url, "new");
        assert_eq!(named("mongodb://one:1,two:2"), "mongodb://one:1,two:2/new");
        assert_eq!(named("mongodb://one/old?replicaSet=rs"), "mongodb://one/new?replicaSet=rs");
        assert_eq!(
            named("mongodb+srv://ann:secret@one/?tls=true"),
            "mongodb+srv://ann:secret@one/new?tls=true&authSource=admin"
        );
        assert_eq!(named("mongodb://ann:secret@one/old"), "mongodb://ann:secret@one/new?authSource=old");
        assert_eq!(named("mongodb://ann:secret@one/old?authSource=x"), "mongodb://ann:secret@one/new?authSource=x");
    }

    #[tokio::test]
    async fn where_the_server_lives_on_a_database_goes_with_its_test() {
        let server = MongoServer::shared().await;
        let (mut database, other) = (server.database(), server.database());
        assert_ne!(database.name(), other.name());
        database.is_kept = true;
        let client = mongodb::Client::with_uri_str(database.url()).await.unwrap();
        for name in [database.name(), other.name()] {
            let things = client.database(name).collection("things");
            things.insert_one(mongodb::bson::doc! { "is": "there" }).await.unwrap();
        }
        let (gone, there) = (database.name().to_owned(), other.name().to_owned());
        drop(database);
        let names = client.list_database_names().await.unwrap();
        assert!(names.contains(&there) && !names.contains(&gone), "{names:?}");
    }
}
