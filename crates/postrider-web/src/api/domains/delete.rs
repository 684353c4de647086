//! `DELETE /api/domains/{domain}`: mail for a domain is kept here no more. Its users and aliases stay, and get no mail.

use axum::extract::State;
use axum::http::StatusCode;
use postrider_store::directory;
use postrider_store::dkim::DkimKeys;

use super::no_such_domain;
use crate::AppState;
use crate::audit::Audit;
use crate::extract::DomainInPath;
use crate::problem::Problem;

/// Remove a domain, with its DKIM keys.
#[utoipa::path(
    delete,
    path = "/api/domains/{domain}",
    operation_id = "removeDomain",
    tag = "directory",
    params(DomainInPath),
    responses((status = 204, description = "Mail for it is kept here no more, unless ALLOWED_DOMAINS has it."))
)]
pub(in crate::api) async fn delete(
    State(state): State<AppState>,
    DomainInPath(name): DomainInPath,
    audit: Audit,
) -> Result<StatusCode, Problem> {
    let stays = state.administration.configured_domains().contains(&name);
    audit.before(&state.store.domain(&name).await?.map(|domain| domain.catch_all));
    if !directory::remove_domain(state.store.as_ref(), &name, stays).await? {
        return Err(if stays {
            Problem::conflict(format!("{name} is local by ALLOWED_DOMAINS: take it out of there."))
        } else {
            no_such_domain()
        });
    }
    if !stays {
        DkimKeys::remove(state.store.as_ref(), &name).await?;
    }
    tracing::info!(domain = %name, "a domain was removed by request");
    Ok(StatusCode::NO_CONTENT)
}
