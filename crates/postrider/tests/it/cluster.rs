//! Several nodes, each a process of its own, on one MongoDB database.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use postrider::app::{App, Ports};
use postrider_config::{Profile, Sources};
use postrider_core::Timestamp;
use postrider_server::Limits;
use postrider_store::Store;
use postrider_store_mongo::MongoOptions;
use postrider_testkit::{
    HttpRequest, LineClient, PostriderProcess, Script, ScriptedMx, Site, eventually, eventually_within, mail,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::load;

/// Tells this test program to be a node, and how long its lease is.
const NODE_VARIABLE: &str = "TEST_NODE_LEASE_MILLISECONDS";

/// How long it may take until a node that was just started sends: leases of dead ones lapse first, and all must know that.
const SENDS_AGAIN_MAX: Duration = Duration::from_secs(30);

/// How long a queue may take to drain: what a node held when it died within a transaction is free when the database gives that
/// up, after a minute.
const DRAINED_MAX: Duration = Duration::from_secs(120);

/// Of what the MX saw, as much as helps.
const TOLD_BYTES_MAX: usize = 20_000;

/// The nodes, and what they share.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    /// Where their mail for the world goes.
    pub(crate) mx: ScriptedMx,
    /// Beside the nodes, to look at what they did.
    pub(crate) store: Arc<dyn Store>,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    /// What it calls itself.
    pub(crate) name: String,
    site: Site,
    lease: Duration,
    process: PostriderProcess,
}

impl Cluster {
    /// Starts a node for each URL, all of the same database. The first URL is for the observer too.
    pub(crate) async fn start(urls: &[&str], lease: Duration, script: Script) -> Self {
        let first = site(0).await;
        let mx = first.mx(load::AWAY, script).await;
        let dns = first.environment()["DNS_SERVERS"].clone();
        let mut nodes = Vec::new();
        let mut first = Some(first);
        for (number, url) in urls.iter().enumerate() {
            let site = match first.take() {
                Some(first) => first,
                None => site(number).await.set("DNS_SERVERS", &dns),
            };
            nodes.push(Node::start(site.set("MONGODB_URL", url), lease).await);
        }
        let store = postrider_store_mongo::open(MongoOptions::new(urls[0])).await.unwrap();
        Self { nodes, mx, store }
    }

    /// Where the nodes take mail.
    pub(crate) fn servers(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.site.smtp()).collect()
    }

    /// SIGKILL for one node. Returns when what it sent has arrived.
    pub(crate) async fn kill(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.process.kill();
        let name = node.name.clone();
        eventually("its connections to end", async || (self.mx.connections_open_of(&name) == 0).then_some(())).await;
    }

    /// How many messages a node has sent.
    pub(crate) fn sent_by(&self, number: usize) -> usize {
        let name = &self.nodes[number].name;
        self.mx.all_messages().iter().filter(|message| message.helo == *name).count()
    }

    /// Hands a message in at a node, which must take it.
    pub(crate) async fn hand_in(&self, number: usize, subject: &str) {
        let recipient = format!("b@{}", load::AWAY);
        let mut client = LineClient::hello(self.nodes[number].smtp()).await;
        let reply = client.send_mail("", &[&recipient], &mail::plain("", &recipient, subject)).await;
        assert_eq!(reply.code, 250, "{}", reply.text());
    }

    /// Waits until a node sends what it is handed: at first it has to come to an understanding with the others.
    pub(crate) async fn warm_up(&self, number: usize) {
        eventually("the node to send its own", async || {
            self.hand_in(number, "warm-up").await;
            self.wait_until_drained().await;
            (self.sent_by(number) > 0).then_some(())
        })
        .await;
    }

    /// Waits until a node sends something more.
    pub(crate) async fn wait_until_it_sends(&self, number: usize) {
        let before = self.sent_by(number);
        let what = format!("{} to send", self.nodes[number].name);
        self.wait(SENDS_AGAIN_MAX, &what, async || (self.sent_by(number) > before).then_some(())).await;
    }

    /// Waits until nothing waits for delivery any more.
    pub(crate) async fn wait_until_drained(&self) {
        self.wait(DRAINED_MAX, "the queue to drain", async || {
            let stats = self.store.queue_stats(Timestamp::system()).await.ok()?;
            (stats.queued + stats.sending + stats.deferred == 0).then_some(())
        })
        .await;
    }

    /// As `eventually`, telling in a panic how all stands.
    async fn wait(&self, limit: Duration, what: &str, condition: impl AsyncFnMut() -> Option<()>) {
        // The time-out is the shorter one.
        let waiting = eventually_within(2 * limit, what, condition);
        if tokio::time::timeout(limit, waiting).await.is_err() {
            panic!("waited in vain for {what}; {}", self.describe().await);
        }
    }

    /// How all stands, for a test that fails.
    pub(crate) async fn describe(&self) -> String {
        let stats = self.store.queue_stats(Timestamp::system()).await;
        let nodes = self.store.nodes(Timestamp::system()).await;
        let said: Vec<_> = self.nodes.iter().map(Node::troubles).collect();
        let came: Vec<_> = (1..=self.mx.connections()).map(|number| self.mx.transcript(number)).collect();
        let came = came.join("\n--\n");
        let tail = came.len().saturating_sub(TOLD_BYTES_MAX);
        format!("{stats:#?}\n{nodes:#?}\n{}\nthe MX:\n{}", said.join("\n"), came.get(tail..).unwrap_or_default())
    }

    /// SIGTERM for all: each must end in order.
    pub(crate) async fn shut_down(&mut self) {
        for node in &mut self.nodes {
            node.process.signal("TERM");
        }
        for node in &mut self.nodes {
            let status = node.process.wait().await;
            assert_eq!(status.code(), Some(0), "{}: {}", node.name, node.process.output());
        }
    }
}

impl Node {
    async fn start(site: Site, lease: Duration) -> Self {
        let name = site.environment()["MAIL_HOSTNAME"].clone();
        let process = spawn(&site, lease);
        let mut node = Self { name, site, lease, process };
        node.wait_until_listening().await;
        node
    }

    pub(crate) async fn restart(&mut self) {
        self.process = spawn(&self.site, self.lease);
        self.wait_until_listening().await;
    }

    pub(crate) async fn stop(&self) {
        self.process.stop().await;
    }

    pub(crate) fn go_on(&self) {
        self.process.go_on();
    }

    pub(crate) fn smtp(&self) -> SocketAddr {
        self.site.smtp()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    /// What `/health` answers.
    pub(crate) async fn health(&self) -> u16 {
        HttpRequest::get("/health").send(self.site.api()).await.status
    }

    pub(crate) async fn wait_for_health(&self, code: u16) {
        let what = format!("the health of {} to be {code}", self.name);
        eventually(&what, async || (self.health().await == code).then_some(())).await;
    }

    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    /// What it said of more than single messages.
    fn troubles(&self) -> String {
        let output = self.output();
        let lines = output.lines().filter(|line| !["accepted", "delivered"].iter().any(|word| line.contains(word)));
        format!("{}:\n{}", self.name, lines.collect::<Vec<_>>().join("\n"))
    }

    async fn wait_until_listening(&mut self) {
        self.process.wait_until_listening(self.site.smtp()).await;
    }
}

async fn site(number: usize) -> Site {
    Site::new()
        .await
        .set("MAIL_HOSTNAME", &format!("node{number}.postrider.test"))
        .set("ALLOWED_DOMAINS", load::HERE)
        .set("RETRY_FIRST_SECONDS", "1")
        .set("RETRY_MAX_SECONDS", "2")
}

/// This test program, run once more to be a node: so that its lease can be as short as a test needs it.
fn spawn(site: &Site, lease: Duration) -> PostriderProcess {
    let program: PathBuf = std::env::current_exe().unwrap();
    let mut environment: BTreeMap<String, String> = site.environment().clone();
    environment.insert(NODE_VARIABLE.to_owned(), lease.as_millis().to_string());
    PostriderProcess::start(&program, &["--exact", "cluster::be_a_node", "--nocapture"], &environment, site.folder())
}

/// No test: what [`spawn`] runs.
#[test]
fn be_a_node() {
    let Ok(lease) = std::env::var(NODE_VARIABLE) else { return };
    let limits = Limits { lease: Duration::from_millis(lease.parse().unwrap()), ..Limits::default() };
    let variables = std::env::vars().filter(|(name, _)| name != NODE_VARIABLE);
    let loaded = postrider_config::load(Profile::Serve, Sources::from_variables(variables)).unwrap();
    tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(false).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        let app = App::start(loaded.settings, Ports { limits, ..Ports::default() }).await.unwrap();
        terminate.recv().await;
        app.shutdown().await;
    });
}
