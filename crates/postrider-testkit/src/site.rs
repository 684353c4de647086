//! A small Internet with room for one Postrider: its address and folder, a name server, and MXs.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postrider_server::Limits;
use postrider_store::sqlite::SqliteOptions;
use postrider_store::{SqliteStore, Store, StoreError};
use postrider_store_mongo::{LeaseClock, MongoOptions};
use tempfile::TempDir;

use crate::{
    DnsServer, LoopbackIp, MongoDatabase, MongoServer, PostriderProcess, Script, ScriptedMx, StoreFaults, Zone,
};

/// Which store the sites of a test run are on: `sqlite`, as by default, or `mongodb`.
const ENGINE_VARIABLE: &str = "POSTRIDER_TEST_STORE";

/// The setting that puts a Postrider on MongoDB.
const MONGODB_SETTING: &str = "MONGODB_URL";

/// A node's lease, and the patience with the store, in tests. Their clocks leap, and what takes a moment of real time must
/// not come too late.
const LEASE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The ports of a Postrider under test. Its address is its own, so the ports are the same for all.
pub mod ports {
    pub const SMTP: u16 = 2525;
    pub const SMTP_MX: u16 = 2526;
    pub const SUBMISSION: u16 = 2587;
    pub const SUBMISSIONS: u16 = 2465;
    pub const LMTP: u16 = 2424;
    pub const LMTPS: u16 = 2425;
    pub const IMAP: u16 = 2143;
    pub const IMAPS: u16 = 2993;
    pub const API: u16 = 3000;
    /// Where it answers authorities of ACME.
    pub const ACME_HTTP: u16 = 2080;
    pub const ACME_TLS: u16 = 2443;
    /// Where it finds MTA-STS policies.
    pub const HTTPS: u16 = 8443;
    /// Where it finds every MX.
    pub const DELIVERY: u16 = 2500;
}

/// A place for one Postrider under test. All in it lies on loopback and under a temporary folder.
#[derive(Debug)]
pub struct Site {
    ip: LoopbackIp,
    folder: TempDir,
    dns: DnsServer,
    hosts: Mutex<Vec<LoopbackIp>>,
    environment: BTreeMap<String, String>,
    limits: Limits,
    faults: Option<StoreFaults>,
    _database: Option<MongoDatabase>,
}

impl Site {
    /// Whether the sites of this test run are on SQLite. Tests of SQLite's own files return at once where they are not.
    ///
    /// # Panics
    ///
    /// When `POSTRIDER_TEST_STORE` names no engine.
    pub fn is_on_sqlite() -> bool {
        match std::env::var(ENGINE_VARIABLE).as_deref() {
            Err(_) | Ok("" | "sqlite") => true,
            Ok("mongodb") => false,
            Ok(other) => panic!("{ENGINE_VARIABLE} is {other}; it may be sqlite or mongodb"),
        }
    }

    /// A site whose settings are the defaults of `postrider serve`, but for addresses, ports and the folder, and on MongoDB
    /// the database.
    ///
    /// # Panics
    ///
    /// When the machine gives no loopback address or no temporary folder.
    pub async fn new() -> Self {
        let ip = LoopbackIp::claim();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let dns = DnsServer::start(ip.ip(), Zone::new()).await.expect("a claimed address has free ports");
        let address = ip.ip().to_string();
        let data_dir = folder.path().join("data").to_string_lossy().into_owned();
        let numbers = [
            ("SMTP_PORT", ports::SMTP),
            ("SMTP_MX_PORT", ports::SMTP_MX),
            ("SUBMISSION_PORT", ports::SUBMISSION),
            ("SUBMISSIONS_PORT", ports::SUBMISSIONS),
            ("API_PORT", ports::API),
            ("DELIVERY_PORT", ports::DELIVERY),
            ("LMTP_PORT", ports::LMTP),
            ("LMTPS_PORT", ports::LMTPS),
            ("IMAP_PORT", ports::IMAP),
            ("IMAPS_PORT", ports::IMAPS),
            ("ACME_HTTP_PORT", ports::ACME_HTTP),
            ("ACME_TLS_PORT", ports::ACME_TLS),
        ];
        let texts = [
            ("SMTP_HOST", address.clone()),
            ("API_HOST", address),
            ("DATA_DIR", data_dir),
            ("MAIL_HOSTNAME", "postrider.test".to_owned()),
            ("DNS_SERVERS", dns.address().to_string()),
        ];
        let mut environment: BTreeMap<_, _> = numbers
            .into_iter()
            .map(|(name, port)| (name.to_owned(), port.to_string()))
            .chain(texts.into_iter().map(|(name, text)| (name.to_owned(), text)))
            .collect();
        let database = if Self::is_on_sqlite() { None } else { Some(MongoServer::shared().await.database()) };
        if let Some(database) = &database {
            environment.insert(MONGODB_SETTING.to_owned(), database.url().to_owned());
        }
        let mta_sts_port = ports::HTTPS;
        let limits = Limits {
            lease: LEASE,
            store_timeout: LEASE,
            acme_order_max: LEASE,
            mta_sts_port,
            tls_report_spread: Duration::ZERO,
            ..Limits::default()
        };
        Self { ip, folder, dns, hosts: Mutex::default(), environment, limits, faults: None, _database: database }
    }

    /// A site for one more node on this site's store, which has to be [`StoreFaults::of_nodes`], in the same Internet.
    ///
    /// # Panics
    ///
    /// As [`Site::new`], and when this site's store is its own.
    pub async fn beside(&self) -> Self {
        let faults = self.faults().for_another_node();
        assert!(faults.nodes.is_some(), "the store is one site's own");
        let mut site = Self::new().await.with_store_faults(&faults);
        site.limits = self.limits.clone();
        for name in ["DNS_SERVERS", MONGODB_SETTING] {
            if let Some(value) = self.environment.get(name) {
                site.change(name, value);
            }
        }
        site
    }

    /// The faults of this site's store, as its server sees it.
    ///
    /// # Panics
    ///
    /// When it has none.
    pub fn faults(&self) -> &StoreFaults {
        self.faults.as_ref().expect("this site's store has faults")
    }

    /// Changes a setting. It counts from the next start.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.change(name, value);
        self
    }

    /// Changes a setting in place.
    pub fn change(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Changes the limits of a server that starts inside the test.
    pub fn limit(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Puts faults between a server that starts inside the test and its store.
    pub fn with_store_faults(mut self, faults: &StoreFaults) -> Self {
        self.faults = Some(faults.clone());
        self
    }

    /// This site's store, which has to be [`StoreFaults::of_nodes`], as a command line beside its server opens it.
    ///
    /// # Panics
    ///
    /// When it does not open.
    pub async fn store_beside(&self) -> Arc<dyn Store> {
        let opened = self.store().await.unwrap_or_else(|error| panic!("the store does not open: {error}"));
        opened.expect("a store with faults is opened here")
    }

    /// The store for a server inside the test: on MongoDB with leases by the test's clock, and with the faults, if there are
    /// any. `None`: the server opens its store as its settings say.
    pub(crate) async fn store(&self) -> Result<Option<Arc<dyn Store>>, StoreError> {
        let store: Arc<dyn Store> = match (self.environment.get(MONGODB_SETTING), &self.faults) {
            (Some(url), _) => {
                let options = MongoOptions { lease_clock: LeaseClock::Callers, ..MongoOptions::new(url) };
                let store = postrider_store_mongo::open(options).await?;
                // This engine knows nodes itself.
                return Ok(Some(match &self.faults {
                    Some(faults) => faults.without_nodes().between(store),
                    None => store,
                }));
            }
            (None, Some(StoreFaults { nodes: Some(nodes), .. })) => nodes.store(&self.data_dir()).await?,
            (None, Some(_)) => Arc::new(SqliteStore::open(SqliteOptions::new(self.data_dir()))?),
            (None, None) => return Ok(None),
        };
        Ok(Some(match &self.faults {
            Some(faults) => faults.between(store),
            None => store,
        }))
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits.clone()
    }

    /// The settings, as a process gets them.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    pub fn ip(&self) -> IpAddr {
        self.ip.ip()
    }

    pub fn zone(&self) -> &Zone {
        self.dns.zone()
    }

    /// For files of a test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The applications' port.
    pub fn smtp(&self) -> SocketAddr {
        self.port(ports::SMTP)
    }

    /// The port for mail from the world.
    pub fn smtp_mx(&self) -> SocketAddr {
        self.port(ports::SMTP_MX)
    }

    pub fn submission(&self) -> SocketAddr {
        self.port(ports::SUBMISSION)
    }

    /// Submission with TLS from the first byte.
    pub fn submissions(&self) -> SocketAddr {
        self.port(ports::SUBMISSIONS)
    }

    pub fn lmtp(&self) -> SocketAddr {
        self.port(ports::LMTP)
    }

    /// LMTP with TLS from the first byte.
    pub fn lmtps(&self) -> SocketAddr {
        self.port(ports::LMTPS)
    }

    pub fn imap(&self) -> SocketAddr {
        self.port(ports::IMAP)
    }

    /// IMAP with TLS from the first byte.
    pub fn imaps(&self) -> SocketAddr {
        self.port(ports::IMAPS)
    }

    pub fn api(&self) -> SocketAddr {
        self.port(ports::API)
    }

    /// An address of the site's own, for one more host.
    pub fn claim_ip(&self) -> IpAddr {
        let claimed = LoopbackIp::claim();
        let ip = claimed.ip();
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).push(claimed);
        ip
    }

    /// Starts a server at an address of its own and names it `host` in the zone.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub async fn host(&self, host: &str, script: Script) -> ScriptedMx {
        let ip = self.claim_ip();
        self.zone().address(host, ip);
        ScriptedMx::start(SocketAddr::new(ip, ports::DELIVERY), script).await.expect("a claimed address has free ports")
    }

    /// Starts a server and makes it the one MX of `domain`.
    pub async fn mx(&self, domain: &str, script: Script) -> ScriptedMx {
        let host = format!("mx.{domain}");
        self.zone().mx(domain, 10, &host);
        self.host(&host, script).await
    }

    /// Starts the program `binary` with the site's settings; see [`PostriderProcess`].
    pub fn process(&self, binary: &Path, arguments: &[&str]) -> PostriderProcess {
        PostriderProcess::start(binary, arguments, &self.environment, self.folder.path())
    }

    /// Runs the program to its end; gives its exit code and what it wrote.
    pub async fn command(&self, binary: &Path, arguments: &[&str], input: &str) -> crate::CommandOutput {
        crate::process::run_command(binary, arguments, &self.environment, self.folder.path(), input).await
    }

    fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip.ip(), port)
    }
}
