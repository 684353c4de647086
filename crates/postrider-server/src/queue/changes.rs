//! What others change: heard from the store, and what follows when the nodes are others.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use postrider_store::{Change, Membership};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::Queue;
use crate::deliver::connect::Connection;

/// What is told within this time of the last look is looked at together.
const HEARING_PAUSE: Duration = Duration::from_millis(200);

impl Queue {
    /// Looks where the store says that something has changed, until the queue has stopped.
    pub(super) async fn hear_changes(self: &Arc<Self>) {
        let mut ended = self.ended.subscribe();
        let hearing = async {
            let mut changes = self.store.changes();
            while let Some(heard) = hear(&mut changes).await {
                if heard.contains(&Change::Queue) {
                    self.kick();
                }
                if heard.contains(&Change::Orders) {
                    self.heed_orders();
                }
                if heard.contains(&Change::Nodes) {
                    self.renew_wake.notify_one();
                }
                self.delivery.clock.sleep(HEARING_PAUSE).await;
            }
        };
        tokio::select! {
            // A store that tells nothing more is closed, or looked into now and then only.
            () = hearing => {}
            _ = ended.wait_for(|&ended| ended) => {}
        }
    }

    /// Keeps to this node's share among others.
    pub(super) fn keep_to(self: &Arc<Self>, membership: Membership) {
        let (reshaped, node) = {
            let mut lanes = self.lanes();
            (lanes.keep_to(membership, self.now()), lanes.node())
        };
        let (Some(reshaped), Some(node)) = (reshaped, node) else { return };
        reshaped.surplus.into_iter().for_each(|connection| self.close_surplus(connection));
        self.give_back(reshaped.not_ours);
        reshaped.start.into_iter().for_each(|start| self.start_worker(start, node));
        // There may be more to claim for this node.
        self.kick();
    }

    /// Ends a connection that is beyond this node's share.
    pub(super) fn close_surplus(self: &Arc<Self>, connection: Connection) {
        let queue = self.clone();
        tokio::spawn(async move {
            connection.quit(queue.delivery.clock.clone()).await;
            queue.lanes().note_closed();
            queue.tell_shares();
        });
    }

    /// Tells the other nodes, if this one has come to keep to other shares.
    pub(super) fn tell_shares(&self) {
        if self.lanes().has_news() {
            self.renew_wake.notify_one();
        }
    }
}

/// All that was told since the last time, at least one. `None`: nothing will be told any more.
async fn hear(changes: &mut Receiver<Change>) -> Option<HashSet<Change>> {
    let mut heard = HashSet::new();
    match changes.recv().await {
        Ok(change) => heard.extend([change]),
        Err(RecvError::Lagged(_)) => heard.extend(Change::ALL),
        Err(RecvError::Closed) => return None,
    }
    loop {
        match changes.try_recv() {
            Ok(change) => heard.extend([change]),
            Err(TryRecvError::Lagged(_)) => heard.extend(Change::ALL),
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Some(heard),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast;

    use super::*;

    #[tokio::test]
    async fn what_was_missed_may_have_been_anything() {
        let sender = broadcast::Sender::new(2);
        let mut changes = sender.subscribe();
        sender.send(Change::Queue).unwrap();
        sender.send(Change::Queue).unwrap();
        assert_eq!(hear(&mut changes).await, Some(HashSet::from([Change::Queue])));
        for _ in 0..3 {
            sender.send(Change::Directory).unwrap();
        }
        assert_eq!(hear(&mut changes).await, Some(HashSet::from(Change::ALL)));
        drop(sender);
        assert_eq!(hear(&mut changes).await, None);
    }
}
