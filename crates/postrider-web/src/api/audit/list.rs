//! `GET /api/audit`: a page of the audit log, by filter.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use postrider_core::Timestamp;
use postrider_store::AuditFilter;

use crate::AppState;
use crate::api::emails::list::{LIMIT_DEFAULT, LIMIT_MAX, PAGE_MAX, number};
use crate::extract::Parameters;
use crate::problem::Problem;
use crate::view::AuditPageView;

/// Who changed what.
#[utoipa::path(
    get,
    path = "/api/audit",
    operation_id = "listAudit",
    tag = "server",
    params(
        ("page" = Option<u64>, Query, description = "Counted from 1.", minimum = 1, maximum = 1000000),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 20 if not given.", minimum = 1, maximum = 100),
        ("actor" = Option<String>, Query, description = "A part of the name of who did it, or the id of a token."),
        ("action" = Option<String>, Query, description = "An action, as `user.add`, or its noun, as `user`."),
        ("target" = Option<String>, Query, description = "A part of what was to be changed."),
        ("from" = Option<String>, Query, description = "Then or later (RFC 3339, or a date)."),
        ("to" = Option<String>, Query, description = "Before then.")
    ),
    responses((status = 200, description = "A page, the newest first.", body = AuditPageView))
)]
pub(in crate::api) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Json<AuditPageView>, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let page = parameters.read("page", |value| number(value, PAGE_MAX))?.unwrap_or(1);
    let limit = parameters.read("limit", |value| number(value, LIMIT_MAX))?.unwrap_or(LIMIT_DEFAULT);
    let filter = filter(&mut parameters)?;
    parameters.finish(&["page", "limit", "actor", "action", "target", "from", "to"])?;
    Ok(Json(AuditPageView::new(state.store.audit_entries(&filter, page, limit).await?, page, limit)))
}

/// Which entries are asked for.
pub(crate) fn filter(parameters: &mut Parameters) -> Result<AuditFilter, Problem> {
    let time = |text: &str| {
        let allowed = || "it is a time as 2026-11-22T13:39:40Z, or a date as 2026-11-22".to_owned();
        Timestamp::parse_rfc3339(text).ok_or_else(allowed)
    };
    Ok(AuditFilter {
        from: parameters.read("from", time)?,
        to: parameters.read("to", time)?,
        actor: parameters.text("actor"),
        action: parameters.text("action"),
        target: parameters.text("target"),
    })
}
