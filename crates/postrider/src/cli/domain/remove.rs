//! `postrider domain remove`

use postrider_core::Domain;
use postrider_store::Store;
use postrider_store::dkim::DkimKeys;
use serde_json::json;

use super::{no_such_domain, show};
use crate::cli::failure::Failure;
use crate::cli::output::{Output, counted};

pub(super) async fn run(
    store: &dyn Store,
    configured: &[Domain],
    name: &Domain,
    output: &mut Output,
) -> Result<(), Failure> {
    let stays = configured.contains(name);
    if !store.remove_domain(name).await? {
        return Err(if stays {
            Failure::Conflict(format!("{name} is local by ALLOWED_DOMAINS: take it out of there"))
        } else {
            no_such_domain(name)
        });
    }
    if !stays {
        DkimKeys::remove(store, name).await?;
    }
    let (users, aliases) = show::inhabitants(store, name).await?;
    if output.is_json() {
        return output.json(&json!({ "name": name, "isLocal": stays }));
    }
    if stays {
        return output.line(format!("{name} is removed from the directory, but stays local by ALLOWED_DOMAINS."));
    }
    output.line(format!(
        "Mail for {name} is not kept here any more, and nothing is signed with its DKIM keys: they are deleted."
    ))?;
    if users.is_empty() && aliases.is_empty() {
        return Ok(());
    }
    output.line(format!(
        "Its {} and {} stay, and get no mail.",
        counted(users.len() as u64, "user", "users"),
        counted(aliases.len() as u64, "alias", "aliases")
    ))
}
