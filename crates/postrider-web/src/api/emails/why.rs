//! `GET /api/emails/{id}/why`: why each delivery of an e-mail is where it is.

use axum::Json;
use axum::extract::State;
use postrider_store::EmailDetail;

use super::no_such_email;
use crate::AppState;
use crate::extract::EmailId;
use crate::problem::Problem;
use crate::view::{Running, WhyView, waiting_domains};

/// Why an e-mail is where it is: for each delivery a sentence, what it waits for, and until when.
#[utoipa::path(
    get,
    path = "/api/emails/{id}/why",
    operation_id = "explainEmail",
    tag = "emails",
    params(EmailId),
    responses((status = 200, description = "The reasons.", body = WhyView))
)]
pub(in crate::api) async fn why(State(state): State<AppState>, EmailId(id): EmailId) -> Result<Json<WhyView>, Problem> {
    let detail = state.store.email(id).await?.ok_or_else(|| no_such_email(id))?;
    explain(&state, &detail).await.map(Json)
}

/// From the record, and from what this server has taken on.
pub(crate) async fn explain(state: &AppState, detail: &EmailDetail) -> Result<WhyView, Problem> {
    let now = state.clock.now();
    let nodes = state.store.nodes(now).await?;
    let domains = waiting_domains(detail);
    let lines = state.control.domain_lines(&domains);
    let running = Running {
        node: state.control.node(),
        places: state.control.delivery_places(detail.email.id),
        lines: domains.into_iter().zip(lines).collect(),
    };
    Ok(WhyView::new(detail, &nodes, Some(&running), now))
}
