//! `DELETE /api/domains/{domain}`: mail for a domain is kept here no more. Its users and aliases stay, and get no mail.

use axum::extract::State;
use axum::http::StatusCode;
use postrider_store::dkim::DkimKeys;

use super::no_such_domain;
use crate::AppState;
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
) -> Result<StatusCode, Problem> {
    let stays = state.administration.configured_domains().contains(&name);
    if !state.store.remove_domain(&name).await? {
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
