//! `postrider token revoke`

use postrider_core::ObjectId;
use postrider_store::Store;
use postrider_store::tokens::Token;
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) async fn run(store: &dyn Store, id: ObjectId, output: &mut Output) -> Result<(), Failure> {
    if !Token::revoke(store, id).await? {
        return Err(Failure::NotFound(format!("there is no token {id}")));
    }
    if output.is_json() {
        return output.json(&json!({ "id": id }));
    }
    output.line(format!("Token {id} is revoked."))
}
