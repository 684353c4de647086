//! `GET /api/suppressions`: a page of the suppression list, listed last first.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use postrider_core::SuppressionReason;
use postrider_store::SuppressionFilter;

use crate::AppState;
use crate::api::emails::list::{LIMIT_DEFAULT, LIMIT_MAX, PAGE_MAX, number};
use crate::extract::Parameters;
use crate::problem::Problem;
use crate::view::SuppressionPageView;

/// A page of the suppression list.
///
/// Where `SUPPRESSION_ENABLED` is `false` (`GET /api/config` says so), the list is kept and has no effect.
#[utoipa::path(
    get,
    path = "/api/suppressions",
    operation_id = "listSuppressions",
    tag = "suppressions",
    params(
        ("page" = Option<u64>, Query, description = "Counted from 1.", minimum = 1, maximum = 1000000),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 20 if not given.", minimum = 1, maximum = 100),
        ("q" = Option<String>, Query, description = "A part of the address."),
        ("reason" = Option<SuppressionReason>, Query, description = "Only those listed for this.")
    ),
    responses((status = 200, description = "A page, listed last first.", body = SuppressionPageView))
)]
pub(in crate::api) async fn list(
    State(state): State<AppState>,
    uri: Uri,
) -> Result<Json<SuppressionPageView>, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let page = parameters.read("page", |value| number(value, PAGE_MAX))?.unwrap_or(1);
    let limit = parameters.read("limit", |value| number(value, LIMIT_MAX))?.unwrap_or(LIMIT_DEFAULT);
    let filter = SuppressionFilter { query: parameters.text("q"), reason: parameters.parsed("reason")? };
    parameters.finish(&["page", "limit", "q", "reason"])?;
    let found = state.store.suppressions(&filter, page, limit).await?;
    Ok(Json(SuppressionPageView::new(found, page, limit)))
}
