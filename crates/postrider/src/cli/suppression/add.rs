//! `postrider suppression add`

use clap::Args;
use postrider_core::{Address, SuppressionReason, Timestamp};
use postrider_store::{Store, StoreError, Suppression};

use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Args)]
pub(in crate::cli) struct AddArgs {
    /// The address
    address: Address,
    /// Why, for people: part of what is said of deliveries that fail for it
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

impl AddArgs {
    pub(super) fn address(&self) -> &Address {
        &self.address
    }
}

pub(super) async fn run(store: &dyn Store, args: &AddArgs, output: &mut Output) -> Result<(), Failure> {
    let AddArgs { address, note } = args;
    let now = Timestamp::system();
    let suppression = Suppression::new(address.clone(), SuppressionReason::Manual, None, note.as_deref(), now);
    if store.suppress(vec![suppression.clone()]).await? == 0 {
        return Err(StoreError::Exists(format!("suppression of {address}")).into());
    }
    if output.is_json() {
        return output.json(&suppression);
    }
    output.line(format!("Nothing is sent to {address} any more."))
}
