//! `postrider alias add`

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
    let alias = directory::add_alias(store, configured, &args.address, &args.targets, now).await?;
    if output.is_json() {
        return output.json(&alias);
    }
    output.line(format!("Alias {} is added: its mail goes to {}.", alias.address, listed(&alias.targets)))
}
