//! `/api/aliases`: addresses whose mail goes to users of other addresses.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod list;
pub(super) mod show;
pub(super) mod update;

use postrider_core::Address;
use postrider_store::directory::{ALIAS_TARGETS_MAX, DirectoryError};

use crate::extract::parsed;
use crate::problem::Problem;

fn targets(texts: &[String]) -> Result<Vec<Address>, Problem> {
    if texts.len() > ALIAS_TARGETS_MAX {
        return Err(DirectoryError::TooManyTargets.into());
    }
    texts.iter().map(|text| parsed("targets", text)).collect()
}

fn no_such_alias() -> Problem {
    Problem::not_found("There is no alias of that address.")
}

impl From<DirectoryError> for Problem {
    fn from(error: DirectoryError) -> Self {
        let detail = format!("{error}.");
        match error {
            DirectoryError::Store(error) => error.into(),
            DirectoryError::NotLocal(domain) => Self::conflict(format!(
                "{domain} is not a domain of this server: make it one with POST /api/domains, or in ALLOWED_DOMAINS."
            )),
            DirectoryError::InUse(..) => Self::conflict(detail),
            DirectoryError::LedTo(user, ways) => Self::conflict(format!(
                "Mail for {ways} reaches {user}: have it go elsewhere first, or remove that with the user by ?aliases=remove."
            )),
            DirectoryError::NoAlias(_) | DirectoryError::NoDomain(_) => Self::not_found(detail),
            // The request names them beside what it is about.
            DirectoryError::NoUser(_)
            | DirectoryError::Elsewhere(_)
            | DirectoryError::IsAlias(_)
            | DirectoryError::IsPattern(..)
            | DirectoryError::NoTargets
            | DirectoryError::TooManyTargets => Self::bad_body(detail),
        }
    }
}
