//! `/api/webhooks/deliveries`: the calls to endpoints, those that were given up among them.

pub(super) mod list;
pub(super) mod replay;
pub(super) mod show;

use postrider_core::{ObjectId, Timestamp};
use postrider_store::CallFilter;

use crate::extract::Parameters;
use crate::problem::Problem;

/// The parameters that restrict.
const FILTERS: [&str; 6] = ["endpoint", "state", "type", "email", "from", "to"];

fn filter(parameters: &mut Parameters) -> Result<CallFilter, Problem> {
    let time = |text: &str| {
        Timestamp::parse_rfc3339(text)
            .ok_or_else(|| format!("{text:?} is no time like 2026-11-22T13:39:40Z and no date"))
    };
    Ok(CallFilter {
        ids: Vec::new(),
        endpoint: parameters.parsed("endpoint")?,
        state: parameters.parsed("state")?,
        kind: parameters.parsed("type")?,
        email: parameters.parsed("email")?,
        from: parameters.read("from", time)?,
        to: parameters.read("to", time)?,
    })
}

fn no_such_delivery(id: ObjectId) -> Problem {
    Problem::not_found(format!("There is no webhook delivery {id}; those that were taken are kept for some days."))
}
