//! `GET /api/webhooks/deliveries`: a page of calls, those that came last first.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use postrider_core::ObjectId;
use postrider_store::{CallState, EventKind};

use super::{FILTERS, filter};
use crate::AppState;
use crate::api::emails::list::{LIMIT_DEFAULT, LIMIT_MAX, PAGE_MAX, number};
use crate::extract::Parameters;
use crate::problem::Problem;
use crate::view::CallPageView;

/// A page of calls to webhook endpoints.
#[utoipa::path(
    get,
    path = "/api/webhooks/deliveries",
    operation_id = "listWebhookDeliveries",
    tag = "webhooks",
    params(
        ("page" = Option<u64>, Query, description = "Counted from 1.", minimum = 1, maximum = 1000000),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 20 if not given.", minimum = 1, maximum = 100),
        ("endpoint" = Option<ObjectId>, Query, description = "Only those to this endpoint."),
        ("state" = Option<CallState>, Query, description = "Only those that stand so."),
        ("type" = Option<EventKind>, Query, description = "Only those of events of this type."),
        ("email" = Option<ObjectId>, Query, description = "Only those about this e-mail."),
        ("from" = Option<String>, Query, description = "Of events then or later (RFC 3339, or a date)."),
        ("to" = Option<String>, Query, description = "Of events before then.")
    ),
    responses((status = 200, description = "A page, those that came last first.", body = CallPageView))
)]
pub(in crate::api) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Json<CallPageView>, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let page = parameters.read("page", |value| number(value, PAGE_MAX))?.unwrap_or(1);
    let limit = parameters.read("limit", |value| number(value, LIMIT_MAX))?.unwrap_or(LIMIT_DEFAULT);
    let filter = filter(&mut parameters)?;
    parameters.finish(&[&["page", "limit"][..], &FILTERS].concat())?;
    Ok(Json(CallPageView::new(state.store.calls(&filter, page, limit).await?, page, limit)))
}
