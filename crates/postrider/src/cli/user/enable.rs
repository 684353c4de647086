//! `postrider user disable` and `enable`

use postrider_core::{Address, Timestamp};
use postrider_store::Store;
use serde_json::json;

use super::no_such_user;
use crate::cli::audit::record;
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) fn run(address: Address, is_enabled: bool, output: &mut Output) -> Result<(), Failure> {
    context::with_store(async |store| {
        let details = json!({ "after": { "enabled": is_enabled } });
        record(store, "user.change", &address, details, set(store, &address, is_enabled, output)).await
    })
}

async fn set(store: &dyn Store, address: &Address, is_enabled: bool, output: &mut Output) -> Result<(), Failure> {
    if !store.set_enabled(address, is_enabled, Timestamp::system()).await? {
        return Err(no_such_user(address));
    }
    if output.is_json() {
        return output.json(&json!({ "address": address, "enabled": is_enabled }));
    }
    output.line(match is_enabled {
        true => format!("User {address} may log in."),
        false => {
            format!("User {address} may not log in any more; open sessions end. Mail for the user is kept as ever.")
        }
    })
}
