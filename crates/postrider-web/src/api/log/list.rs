//! `GET /api/log`: the last records, or those behind one, by filter.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use postrider_core::{LogLevel, LogPage, ObjectId};

use super::{FILTER, filter};
use crate::AppState;
use crate::api::emails::list::number;
use crate::extract::Parameters;
use crate::problem::Problem;

/// Records of one answer.
const LIMIT_DEFAULT: u64 = 200;
const LIMIT_MAX: u64 = 1_000;

/// The last records of this server's log.
///
/// They are those of `LOG_LEVEL`, also where `ENABLE_CONSOLE_LOG` is off: up to 5,000 records and 4 MiB, in memory. Each server has
/// its own.
#[utoipa::path(
    get,
    path = "/api/log",
    operation_id = "listLog",
    tag = "server",
    params(
        ("level" = Option<LogLevel>, Query, description = "Those that are so grave at least."),
        ("q" = Option<String>, Query, description = "Those whose line (level, target, message, `name=value` of each field) has this in \
            it, without regard to case."),
        ("email" = Option<ObjectId>, Query, description = "Those about this e-mail."),
        ("after" = Option<u64>, Query, description = "The first behind the record of this number; if not given, the newest.",
            minimum = 0),
        ("limit" = Option<u64>, Query, description = "Records of an answer; 200 if not given.", minimum = 1, maximum = 1000)
    ),
    responses((status = 200, description = "Records in the order in which they were logged.", body = LogPage))
)]
pub(in crate::api) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Json<LogPage>, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let filter = filter(&mut parameters)?;
    let after = parameters.parsed("after")?;
    let limit = parameters.read("limit", |value| number(value, LIMIT_MAX))?.unwrap_or(LIMIT_DEFAULT);
    parameters.finish(&[&FILTER[..], &["after", "limit"]].concat())?;
    Ok(Json(state.log.records(after, &filter, usize::try_from(limit).unwrap_or(usize::MAX))))
}
