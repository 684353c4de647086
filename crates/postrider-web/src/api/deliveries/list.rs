//! `GET /api/webhooks/deliveries`: a page of calls, those that came last first.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use super::{FILTERS, filter};
use crate::AppState;
use crate::api::emails::list::{LIMIT_DEFAULT, LIMIT_MAX, PAGE_MAX, number};
use crate::extract::Parameters;
use crate::problem::Problem;
use crate::view::CallPageView;

pub(in crate::api) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Json<CallPageView>, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let page = parameters.read("page", |value| number(value, PAGE_MAX))?.unwrap_or(1);
    let limit = parameters.read("limit", |value| number(value, LIMIT_MAX))?.unwrap_or(LIMIT_DEFAULT);
    let filter = filter(&mut parameters)?;
    parameters.finish(&[&["page", "limit"][..], &FILTERS].concat())?;
    Ok(Json(CallPageView::new(state.store.calls(&filter, page, limit).await?, page, limit)))
}
