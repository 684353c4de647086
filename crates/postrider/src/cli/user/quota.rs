//! `postrider user quota`

use clap::Args;
use postrider_core::{Address, Timestamp};
use postrider_store::{Quota, Store};
use serde_json::{Value, json};

use super::no_such_user;
use crate::cli::directory::{Limit, bytes_used, messages_used};
use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// What is not named stays.
#[derive(Debug, Args)]
pub(in crate::cli) struct QuotaArgs {
    /// The user's address
    address: Address,
    /// How many bytes the user may keep: 10G, 500M, none
    #[arg(long, value_name = "BYTES")]
    bytes: Option<Limit>,
    /// How many messages the user may keep, or none
    #[arg(long, value_name = "COUNT")]
    messages: Option<Limit>,
}

impl QuotaArgs {
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// What is asked for; what is not stays.
    pub(super) fn limits(&self) -> Value {
        let named = [("bytes", self.bytes), ("messages", self.messages)];
        named.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), json!(limit?.0)))).collect()
    }
}

pub(super) async fn run(store: &dyn Store, args: &QuotaArgs, output: &mut Output) -> Result<(), Failure> {
    let QuotaArgs { address, bytes, messages } = args;
    if bytes.is_none() && messages.is_none() {
        return Err(Failure::Usage("say which limit: --bytes, --messages or both".to_owned()));
    }
    let user = store.user(address).await?.ok_or_else(|| no_such_user(address))?;
    let quota = Quota {
        bytes: bytes.map_or(user.quota.bytes, |limit| limit.0),
        messages: messages.map_or(user.quota.messages, |limit| limit.0),
    };
    if !store.set_quota(address, quota, Timestamp::system()).await? {
        return Err(no_such_user(address));
    }
    let usage = store.usage(user.id).await?;
    if output.is_json() {
        return output.json(&json!({ "address": user.address, "quota": quota, "usage": usage }));
    }
    output.line(format!("User {} has a new quota.", user.address))?;
    output.field("Bytes", bytes_used(usage, quota))?;
    output.field("Messages", messages_used(usage, quota))
}
