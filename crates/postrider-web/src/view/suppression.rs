//! The suppression list as JSON.

use postrider_store::{Suppression, SuppressionPage};
use serde::Serialize;

use super::Pagination;

/// A page of the suppression list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SuppressionPageView {
    suppressions: Vec<Suppression>,
    pagination: Pagination,
}

impl SuppressionPageView {
    /// What [`postrider_store::Suppressions::suppressions`] answered when asked for `page` with `limit` of them a page.
    pub fn new(found: SuppressionPage, page: u64, limit: u64) -> Self {
        Self { pagination: Pagination::new(page, limit, found.total), suppressions: found.suppressions }
    }
}
