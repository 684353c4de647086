//! Three nodes on one database, under load, while they are killed and stopped at random: every acknowledged message is
//! delivered, nothing settled is sent again, and what is repeated was in flight.

use std::sync::Arc;
use std::time::Duration;

use postrider_testkit::{Answer, Gate, MongoServer, Script, eventually};

use crate::cluster::Cluster;
use crate::load::{self, Ledger, Load, Repeats};

const NODES: usize = 3;
const ROUNDS: usize = 24;
const CLIENTS_PER_NODE: usize = 2;
const REST: Duration = Duration::from_millis(50);

/// Short, so that many leases lapse in a test, and still long beside what a busy machine makes a renewal wait.
const LEASE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_is_delivered_once_whatever_becomes_of_the_nodes() {
    let database = MongoServer::shared().await.database();
    let mut cluster = Cluster::start(&[database.url(); NODES], LEASE, Script::new()).await;
    let (ledger, mut repeats) = (Arc::new(Ledger::default()), Repeats::default());
    let load = Load::start(&ledger, &cluster.servers(), CLIENTS_PER_NODE, REST);
    for round in 0..ROUNDS {
        let number = load::random(round) as usize % NODES;
        cluster.wait_until_it_sends(number).await;
        tokio::time::sleep(Duration::from_millis(load::random(round + ROUNDS) % 300)).await;
        match round % 4 {
            0 => stop_until_the_lease_has_lapsed(&cluster, number, &mut repeats).await,
            1 => stop_briefly(&cluster, number, round).await,
            _ => kill(&mut cluster, number, &mut repeats).await,
        }
        repeats.check_settled(cluster.store.as_ref(), &cluster.mx).await;
    }
    load.end().await;
    cluster.wait_until_drained().await;
    repeats.check_settled(cluster.store.as_ref(), &cluster.mx).await;
    repeats.check(&cluster.mx);
    ledger.check_delivered(&cluster.mx);
    ledger.check_store(cluster.store.as_ref()).await;
    assert!(ledger.count() > 2 * ROUNDS, "only {} messages were acknowledged", ledger.count());
    cluster.shut_down().await;
}

async fn kill(cluster: &mut Cluster, number: usize, repeats: &mut Repeats) {
    cluster.kill(number).await;
    let settled = Repeats::settled_now(cluster.store.as_ref()).await;
    repeats.allow_in_flight(&cluster.mx, &cluster.nodes[number].name, &settled);
    cluster.nodes[number].restart().await;
}

/// The others take over, and the node finds that out when it wakes.
async fn stop_until_the_lease_has_lapsed(cluster: &Cluster, number: usize, repeats: &mut Repeats) {
    let node = &cluster.nodes[number];
    node.stop().await;
    let settled = Repeats::settled_now(cluster.store.as_ref()).await;
    tokio::time::sleep(LEASE + LEASE / 2).await;
    repeats.allow_in_flight(&cluster.mx, &node.name, &settled);
    node.go_on();
}

/// Nobody need notice.
async fn stop_briefly(cluster: &Cluster, number: usize, round: usize) {
    cluster.nodes[number].stop().await;
    tokio::time::sleep(LEASE / 10 + LEASE / 10 * (round as u32 % 3)).await;
    cluster.nodes[number].go_on();
}

/// The moment that counts most: the node has the permission to send the message when it is stopped, and when it wakes
/// another node has sent it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_wakes_up_too_late_does_not_send() {
    let database = MongoServer::shared().await.database();
    let cluster = Cluster::start(&[database.url(); 2], LEASE, Script::new()).await;
    cluster.warm_up(0).await;
    let (sleeper, before, gate) = (&cluster.nodes[0], cluster.mx.all_messages().len(), Gate::new());
    cluster.mx.set_script(Script::new().first(1, "DATA", Answer::after(&gate, "354 Go ahead")));
    cluster.hand_in(0, "once").await;
    cluster.mx.wait_for_line("DATA", before + 1).await;
    sleeper.stop().await;
    gate.open();
    let by_other = cluster.mx.wait_for_messages(before + 1).await.remove(before);
    assert_eq!(by_other.helo, cluster.nodes[1].name, "{}", cluster.describe().await);
    sleeper.go_on();
    eventually("it to give up", async || (cluster.mx.connections_open_of(&sleeper.name) == 0).then_some(())).await;
    assert_eq!(cluster.mx.all_messages().len(), before + 1);
    sleeper.wait_for_health(200).await;
    cluster.wait_until_drained().await;
}
