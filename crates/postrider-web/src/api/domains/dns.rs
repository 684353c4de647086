//! `GET /api/domains/{domain}/dns`: every DNS record that a domain needs, each compared with what DNS says.

use axum::Json;
use axum::extract::State;

use super::find;
use crate::AppState;
use crate::extract::DomainInPath;
use crate::problem::Problem;
use crate::view::DnsView;

/// The DNS records that a domain needs, and whether DNS has them.
#[utoipa::path(
    get,
    path = "/api/domains/{domain}/dns",
    operation_id = "showDomainDns",
    tag = "directory",
    params(DomainInPath),
    responses((status = 200, description = "Every record, with what DNS says of it.", body = DnsView))
)]
pub(in crate::api) async fn dns(
    State(state): State<AppState>,
    DomainInPath(name): DomainInPath,
) -> Result<Json<DnsView>, Problem> {
    let domain = find(&state, &name).await?.name;
    let records = state.administration.dns_records(&domain).await?;
    Ok(Json(DnsView { domain, records }))
}
