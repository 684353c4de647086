//! `postrider user add`

use postrider_core::Timestamp;
use serde_json::json;

use super::{AccountArgs, password};
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) fn run(args: AccountArgs, output: &mut Output) -> Result<(), Failure> {
    let password = password::read(args.password_stdin)?;
    let user = password::new_user(args.address.clone(), &password, Timestamp::system())?;
    // Users may be added before the server has ever run.
    context::with_new_store(async |store| Ok(store.add_user(user).await?))?;
    if output.is_json() {
        return output.json(&json!({ "address": args.address }));
    }
    output.line(format!("User {} is added.", args.address))
}
