//! `postrider suppression remove`

use postrider_core::Address;
use postrider_store::Store;
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) async fn run(store: &dyn Store, address: &Address, output: &mut Output) -> Result<(), Failure> {
    if !store.unsuppress(address).await? {
        return Err(Failure::NotFound(format!("{address} is not on the suppression list")));
    }
    if output.is_json() {
        return output.json(&json!({ "address": address }));
    }
    output.line(format!("Mail to {address} is sent again."))
}
