//! `postrider alias remove`

use postrider_core::Address;
use postrider_store::Store;
use serde_json::json;

use super::no_such_alias;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) async fn run(store: &dyn Store, address: &Address, output: &mut Output) -> Result<(), Failure> {
    if !store.remove_alias(address).await? {
        return Err(no_such_alias(address));
    }
    if output.is_json() {
        return output.json(&json!({ "address": address }));
    }
    output.line(format!("Alias {address} is removed."))
}
