//! `GET /api/ip-selection/addresses`: what was sent from which address, and what came of it.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use crate::AppState;
use crate::api::history::show::span;
use crate::problem::Problem;
use crate::view::history::{AddressHistoryView, Span};

/// What was sent from which address, and what came of it, of all nodes together.
///
/// It is counted by hours: the first of them may begin before the span.
#[utoipa::path(
    get,
    path = "/api/ip-selection/addresses",
    operation_id = "ipSelectionAddresses",
    tag = "source addresses",
    params(("span" = Option<Span>, Query, description = "How far back; `hour` if not given.")),
    responses((status = 200, description = "The addresses, the busiest first.", body = AddressHistoryView))
)]
pub(in crate::api) async fn addresses(
    State(state): State<AppState>,
    uri: Uri,
) -> Result<Json<AddressHistoryView>, Problem> {
    let span = span(&uri)?;
    let now = state.clock.now();
    let found = state.store.address_history(span.first_hour(now), span.bounds(now).1).await?;
    Ok(Json(AddressHistoryView::new(span, now, found)))
}
