//! `/api/users`: who may log in and has mailboxes.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod list;
pub(super) mod show;
pub(super) mod update;

use std::fmt;

use postrider_core::Address;
use postrider_store::directory::{is_local, ways_to};
use postrider_store::{Quota, User};
use serde::Deserialize;

use crate::AppState;
use crate::administration::AdministrationError;
use crate::api::tokens::given;
use crate::problem::Problem;
use crate::view::directory::UserDetailView;

/// A password in a request. `Debug` does not show it.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
pub(super) struct Password(pub(super) String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How much a user may keep. What is not said stays as it is; `null`: no limit.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[schema(as = QuotaRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SaidQuota {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u64>)]
    bytes: Option<Option<u64>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u64>)]
    messages: Option<Option<u64>>,
}

impl SaidQuota {
    fn applied_to(&self, quota: Quota) -> Result<Quota, Problem> {
        // As the store counts.
        let too_large = |limit: &Option<u64>| limit.is_some_and(|limit| i64::try_from(limit).is_err());
        let quota =
            Quota { bytes: self.bytes.unwrap_or(quota.bytes), messages: self.messages.unwrap_or(quota.messages) };
        if too_large(&quota.bytes) || too_large(&quota.messages) {
            return Err(Problem::bad_parameter(
                "quota",
                format!("quota is wrong: at most {}, or null for none.", i64::MAX),
            ));
        }
        Ok(quota)
    }
}

async fn find(state: &AppState, address: &Address) -> Result<User, Problem> {
    state.store.user(address).await?.ok_or_else(no_such_user)
}

async fn detail(state: &AppState, user: &User) -> Result<UserDetailView, Problem> {
    let store = state.store.as_ref();
    let configured = state.administration.configured_domains();
    let receives_mail = is_local(store, configured, &user.address.domain()).await?;
    let usage = store.usage(user.id).await?;
    let ways = ways_to(store, &user.address).await?;
    let mailboxes = store.mailboxes(user.id).await?;
    Ok(UserDetailView::new(user, receives_mail, usage, ways, &mailboxes))
}

fn no_such_user() -> Problem {
    Problem::not_found("There is no user of that address.")
}

impl From<AdministrationError> for Problem {
    fn from(error: AdministrationError) -> Self {
        use postrider_store::dkim::DkimError;
        match error {
            AdministrationError::BadPassword(why) => {
                Self::bad_parameter("password", format!("password is wrong: {why}."))
            }
            AdministrationError::Dkim(DkimError::Store(error)) => error.into(),
            AdministrationError::Dkim(error) => Self::conflict(format!("{error}.")),
            AdministrationError::Failed(error) => {
                tracing::error!(error, "a request failed");
                Self::internal("It could not be done. The server's log says why.")
            }
        }
    }
}
