//! `GET /api/suppressions`: a page of the suppression list, listed last first.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use postrider_store::SuppressionFilter;

use crate::AppState;
use crate::api::emails::list::{LIMIT_DEFAULT, LIMIT_MAX, PAGE_MAX, number};
use crate::extract::Parameters;
use crate::problem::Problem;
use crate::view::SuppressionPageView;

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
