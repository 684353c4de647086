//! `postrider email raw`

use postrider_core::ObjectId;
use postrider_store::Store;

use super::no_such_email;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) async fn run(store: &dyn Store, id: ObjectId, output: &mut Output) -> Result<(), Failure> {
    let message = store.raw(id).await?.ok_or_else(|| no_such_email(id))?;
    output.bytes(&message.raw)
}
