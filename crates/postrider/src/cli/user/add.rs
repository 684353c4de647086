//! `postrider user add`

use clap::Args;
use postrider_core::Timestamp;
use postrider_store::{Quota, directory};
use serde_json::json;

use super::{AccountArgs, password};
use crate::cli::audit::record;
use crate::cli::context;
use crate::cli::directory::Limit;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Args)]
pub(in crate::cli) struct AddArgs {
    #[command(flatten)]
    account: AccountArgs,
    /// How many bytes the user may keep: 10G, 500M, none
    #[arg(long, value_name = "BYTES", default_value = "none")]
    quota_bytes: Limit,
    /// How many messages the user may keep
    #[arg(long, value_name = "COUNT", default_value = "none")]
    quota_messages: Limit,
}

pub(super) fn run(args: AddArgs, output: &mut Output) -> Result<(), Failure> {
    let AddArgs { account, quota_bytes, quota_messages } = args;
    let (address, domain) = (account.address.clone(), account.address.domain());
    let configured = context::configured_domains()?;
    let password = password::read(account.password_stdin)?;
    let quota = Quota { bytes: quota_bytes.0, messages: quota_messages.0 };
    let mut user = password::new_user(account.address, &password, Timestamp::system())?;
    user.quota = quota;
    // Users may be added before the server has ever run.
    let receives_mail = context::with_new_store(async |store| {
        let details = json!({ "after": { "quota": quota } });
        record(store, "user.add", &address, details, async { Ok(store.add_user(user).await?) }).await?;
        Ok(directory::is_local(store, &configured, &domain).await?)
    })?;
    if output.is_json() {
        return output.json(&json!({ "address": address, "quota": quota, "receivesMail": receives_mail }));
    }
    output.line(format!("User {address} is added."))?;
    if receives_mail {
        return Ok(());
    }
    // Who only sends needs no domain here.
    output.line(format!(
        "{domain} is not a domain of this server: the user may log in, but gets no mail. To change that, run \
         `postrider domain add {domain}`, or set it in ALLOWED_DOMAINS."
    ))
}
