//! `postrider user passwd`

use postrider_core::Timestamp;
use serde_json::json;

use super::{AccountArgs, no_such_user, password};
use crate::cli::audit::record;
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) fn run(args: AccountArgs, output: &mut Output) -> Result<(), Failure> {
    let AccountArgs { address, password_stdin } = args;
    let password = password::read(password_stdin)?;
    let now = Timestamp::system();
    let user = password::new_user(address.clone(), &password, now)?;
    context::with_store(async |store| {
        let changed = async {
            let was_there = store.set_password(&address, user.password_hash, user.scram, now).await?;
            was_there.then_some(()).ok_or_else(|| no_such_user(&address))
        };
        record(store, "user.change", &address, json!({ "after": { "hasNewPassword": true } }), changed).await
    })?;
    if output.is_json() {
        return output.json(&json!({ "address": address }));
    }
    output.line(format!("User {address} has a new password."))
}
