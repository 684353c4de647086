//! `/api/log`: the last records of this server's log, and those that come.

pub(super) mod follow;
pub(super) mod list;

use postrider_core::LogFilter;

use crate::extract::Parameters;
use crate::problem::Problem;

/// The parameters of a filter.
const FILTER: [&str; 3] = ["level", "q", "email"];

pub(crate) fn filter(parameters: &mut Parameters) -> Result<LogFilter, Problem> {
    let (level, email) = (parameters.parsed("level")?, parameters.parsed("email")?);
    Ok(LogFilter::new(level, email, parameters.text("q").as_deref()))
}
