//! The outbox of a store that fails.

use async_trait::async_trait;
use postrider_core::Timestamp;
use postrider_store::{
    CallClaimRequest, CallFilter, CallPage, CallSettlement, ClaimedCall, EndpointId, EventPage, Outbox, OutboxSweep,
};

use super::{FaultyStore, Result};

#[async_trait]
impl Outbox for FaultyStore {
    async fn claim_calls(&self, request: CallClaimRequest) -> Result<Vec<ClaimedCall>> {
        self.working().await?.claim_calls(request).await
    }

    async fn settle_calls(&self, settlements: Vec<CallSettlement>) -> Result<usize> {
        self.working().await?.settle_calls(settlements).await
    }

    async fn calls(&self, filter: &CallFilter, page: u64, limit: u64) -> Result<CallPage> {
        self.working().await?.calls(filter, page, limit).await
    }

    async fn replay_calls(&self, filter: &CallFilter, now: Timestamp) -> Result<u64> {
        self.working().await?.replay_calls(filter, now).await
    }

    async fn drop_calls(&self, endpoint: EndpointId) -> Result<u64> {
        self.working().await?.drop_calls(endpoint).await
    }

    async fn events(&self, after: Option<&str>, limit: usize) -> Result<EventPage> {
        self.working().await?.events(after, limit).await
    }

    async fn sweep_outbox(&self, sweep: OutboxSweep) -> Result<u64> {
        self.working().await?.sweep_outbox(sweep).await
    }
}
