//! `postrider user passwd`

use postrider_core::Timestamp;
use serde_json::json;

use super::{AccountArgs, no_such_user, password};
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) fn run(args: AccountArgs, output: &mut Output) -> Result<(), Failure> {
    let AccountArgs { address, password_stdin } = args;
    let password = password::read(password_stdin)?;
    let now = Timestamp::system();
    let user = password::new_user(address.clone(), &password, now)?;
    let was_there = context::with_store(async |store| {
        Ok(store.set_password(&address, user.password_hash, user.scram, now).await?)
    })?;
    if !was_there {
        return Err(no_such_user(&address));
    }
    if output.is_json() {
        return output.json(&json!({ "address": address }));
    }
    output.line(format!("User {address} has a new password."))
}
