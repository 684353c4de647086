//! The database dies, or the way to it: nothing that was acknowledged is lost, clients are told to come again, and every node
//! goes on by itself when it is back.

use std::sync::Arc;
use std::time::Duration;

use postrider_testkit::{Answer, Gate, LineClient, MongoServer, ProxyMode, Script, TcpProxy, eventually, mail};

use crate::cluster::Cluster;
use crate::load::{self, Ledger, Load, Repeats};

const CLIENTS_PER_NODE: usize = 2;
const REST: Duration = Duration::from_millis(50);
const KILLS: usize = 8;

/// What nodes have in production.
const LEASE: Duration = Duration::from_secs(30);

/// For tests in which a lease is to lapse.
const SHORT_LEASE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_and_restarted_loses_nothing_and_stops_no_node() {
    let Some(mut server) = MongoServer::start_own().await else { return };
    let database = server.database();
    let mut cluster = Cluster::start(&[database.url(); 2], LEASE, Script::new()).await;
    let (ledger, mut repeats) = (Arc::new(Ledger::default()), Repeats::default());
    let load = Load::start(&ledger, &cluster.servers(), CLIENTS_PER_NODE, REST);
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(load::random(kill) % 1000)).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(load::random(kill + KILLS) % 1000)).await;
        server.restart().await;
        for number in 0..cluster.nodes.len() {
            cluster.wait_until_it_sends(number).await;
        }
    }
    load.end().await;
    cluster.wait_until_drained().await;
    repeats.check_settled(cluster.store.as_ref(), &cluster.mx).await;
    // All outages were shorter than the lease: what came of each delivery was recorded in the end.
    repeats.check(&cluster.mx);
    ledger.check_delivered(&cluster.mx);
    ledger.check_store(cluster.store.as_ref()).await;
    assert!(ledger.count() > 2 * KILLS, "only {} messages were acknowledged", ledger.count());
    for node in &mut cluster.nodes {
        assert!(!node.has_ended(), "{}", node.output());
    }
    cluster.shut_down().await;
}

/// Sessions are kept, and `/health` tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_gone_mail_is_put_off() {
    let Some(mut server) = MongoServer::start_own().await else { return };
    let database = server.database();
    let cluster = Cluster::start(&[database.url()], LEASE, Script::new()).await;
    let mut client = LineClient::hello(cluster.nodes[0].smtp()).await;
    is_taken(&mut client).await;
    server.kill();
    is_put_off(&mut client).await;
    cluster.nodes[0].wait_for_health(503).await;
    server.restart().await;
    cluster.nodes[0].wait_for_health(200).await;
    is_taken(&mut client).await;
}

/// What a network does, on the way of one of two nodes to the database.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Mode(ProxyMode),
    RefuseAll,
    CutOnce,
}

const FAULTS: [Fault; 5] = [
    Fault::RefuseAll,
    Fault::Mode(ProxyMode::Drop),
    Fault::Mode(ProxyMode::HalfClose),
    Fault::Mode(ProxyMode::Delay(Duration::from_millis(100))),
    Fault::CutOnce,
];

impl Fault {
    /// Whether the node cannot work while it lasts.
    fn is_outage(self) -> bool {
        !matches!(self, Self::Mode(ProxyMode::Delay(_)) | Self::CutOnce)
    }

    async fn begin(self, proxy: &TcpProxy) {
        match self {
            Self::Mode(mode) => proxy.set(mode).await,
            Self::RefuseAll => {
                proxy.set(ProxyMode::Refuse).await;
                proxy.cut().await;
            }
            Self::CutOnce => proxy.cut().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_puts_mail_off_and_comes_back_by_itself() {
    let Some(server) = MongoServer::start_own().await else { return };
    let database = server.database();
    let proxy = TcpProxy::start(server.address()).await;
    let behind_proxy = database.url_through(proxy.address());
    let mut cluster = Cluster::start(&[database.url(), &behind_proxy], SHORT_LEASE, Script::new()).await;
    let (ledger, mut repeats) = (Arc::new(Ledger::default()), Repeats::default());
    let load = Load::start(&ledger, &cluster.servers(), CLIENTS_PER_NODE, REST);
    for fault in FAULTS {
        let node = &cluster.nodes[1];
        cluster.wait_until_it_sends(1).await;
        let mut client = LineClient::hello(node.smtp()).await;
        let settled = Repeats::settled_now(cluster.store.as_ref()).await;
        fault.begin(&proxy).await;
        if fault.is_outage() {
            is_put_off(&mut client).await;
            node.wait_for_health(503).await;
            assert_eq!(cluster.nodes[0].health().await, 200, "{fault:?} is no business of the other node");
        }
        tokio::time::sleep(SHORT_LEASE + SHORT_LEASE / 2).await;
        cluster.wait_until_it_sends(0).await;
        repeats.allow_in_flight(&cluster.mx, &node.name, &settled);
        proxy.set(ProxyMode::Pass).await;
        node.wait_for_health(200).await;
        is_taken(&mut client).await;
        repeats.check_settled(cluster.store.as_ref(), &cluster.mx).await;
    }
    cluster.wait_until_it_sends(1).await;
    load.end().await;
    cluster.wait_until_drained().await;
    repeats.check_settled(cluster.store.as_ref(), &cluster.mx).await;
    repeats.check(&cluster.mx);
    ledger.check_delivered(&cluster.mx);
    ledger.check_store(cluster.store.as_ref()).await;
    cluster.shut_down().await;
}

/// It stops by itself before its lease lapses: by then another node sends the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_stops_sending_before_its_lease_lapses() {
    let Some(server) = MongoServer::start_own().await else { return };
    let database = server.database();
    let proxy = TcpProxy::start(server.address()).await;
    let behind_proxy = database.url_through(proxy.address());
    let cluster = Cluster::start(&[database.url(), &behind_proxy], SHORT_LEASE, Script::new()).await;
    cluster.warm_up(1).await;
    let (cut_off, before, gate) = (&cluster.nodes[1], cluster.mx.all_messages().len(), Gate::new());
    cluster.mx.set_script(Script::new().first(1, "DATA", Answer::after(&gate, "354 Go ahead")));
    cluster.hand_in(1, "once").await;
    cluster.mx.wait_for_line("DATA", before + 1).await;
    proxy.set(ProxyMode::Drop).await;
    let by_other = cluster.mx.wait_for_messages(before + 1).await.remove(before);
    assert_eq!(by_other.helo, cluster.nodes[0].name);
    gate.open();
    let given_up = async || (cluster.mx.connections_open_of(&cut_off.name) == 0).then_some(());
    eventually("it to have given up", given_up).await;
    proxy.set(ProxyMode::Pass).await;
    cut_off.wait_for_health(200).await;
    cluster.wait_until_drained().await;
    assert_eq!(cluster.mx.all_messages().len(), before + 1);
}

/// The session is kept, and the message is to come again.
async fn is_put_off(client: &mut LineClient) {
    let reply =
        client.send_mail("", &[&format!("b@{}", load::HERE)], &mail::plain("", "b@local.test", "put-off")).await;
    assert_eq!(reply.code, 451, "{}", reply.text());
}

async fn is_taken(client: &mut LineClient) {
    let reply = client.send_mail("", &[&format!("b@{}", load::HERE)], &mail::plain("", "b@local.test", "taken")).await;
    assert_eq!(reply.code, 250, "{}", reply.text());
}
