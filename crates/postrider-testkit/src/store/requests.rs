//! The requests of a store that fails.

use async_trait::async_trait;
use postrider_core::Timestamp;
use postrider_core::submission::RequestKey;
use postrider_store::{RequestRecord, Requests};

use super::{FaultyStore, Result};

#[async_trait]
impl Requests for FaultyStore {
    async fn request(&self, key: RequestKey) -> Result<Vec<RequestRecord>> {
        self.working().await?.request(key).await
    }

    async fn sweep_requests(&self, before: Timestamp, count: usize) -> Result<u64> {
        self.working().await?.sweep_requests(before, count).await
    }
}
