//! `postrider alias set`

use postrider_core::{Domain, Timestamp};
use postrider_store::{Store, directory};

use super::{TargetArgs, listed};
use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) async fn run(
    store: &dyn Store,
    configured: &[Domain],
    args: &TargetArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let now = Timestamp::system();
    let alias = directory::set_alias_targets(store, configured, &args.address, &args.targets, now).await?;
    if output.is_json() {
        return output.json(&alias);
    }
    output.line(format!("Mail for {} goes to {} now.", alias.address, listed(&alias.targets)))
}
