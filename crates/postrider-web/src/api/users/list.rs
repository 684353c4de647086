//! `GET /api/users`: a page of the users, by address.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use crate::AppState;
use crate::api::emails::list::{LIMIT_DEFAULT, LIMIT_MAX, PAGE_MAX, number};
use crate::extract::Parameters;
use crate::problem::Problem;
use crate::view::directory::{UserPageView, UserView};

/// A page of the users.
#[utoipa::path(
    get,
    path = "/api/users",
    operation_id = "listUsers",
    tag = "directory",
    params(
        ("page" = Option<u64>, Query, description = "Counted from 1.", minimum = 1, maximum = 1000000),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 20 if not given.", minimum = 1, maximum = 100),
        ("q" = Option<String>, Query, description = "A part of the address.")
    ),
    responses((status = 200, description = "A page, by address.", body = UserPageView))
)]
pub(in crate::api) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Json<UserPageView>, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let page = parameters.read("page", |value| number(value, PAGE_MAX))?.unwrap_or(1);
    let limit = parameters.read("limit", |value| number(value, LIMIT_MAX))?.unwrap_or(LIMIT_DEFAULT);
    let part = parameters.text("q").unwrap_or_default().to_lowercase();
    parameters.finish(&["page", "limit", "q"])?;
    let mut users = state.store.users().await?;
    users.retain(|user| user.address.as_str().to_lowercase().contains(&part));
    Ok(Json(UserPageView::new(users.iter().map(UserView::from).collect(), page, limit)))
}
