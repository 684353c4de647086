//! Copying what the target does not have yet. Whatever interrupts it, the next run goes on where it ended.

use postrider_store::{Store, StoredEmail};
use serde::Serialize;

use super::EXPORT_EMAILS;
use super::inventory::{Inventory, Statuses};
use super::progress::Progress;
use crate::cli::failure::Failure;

/// What the source has, and how much of it was not in the target.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Copied {
    pub(super) emails: Counts,
    pub(super) users: Counts,
    pub(super) statuses: Statuses,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) total: u64,
    pub(super) moved: u64,
}

pub(super) async fn users(source: &dyn Store, target: &dyn Store) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    for user in source.users().await? {
        counts.total += 1;
        // One that is there and differs is found by the comparison.
        if target.user(&user.address).await?.is_none() {
            target.add_user(user).await?;
            counts.moved += 1;
        }
    }
    Ok(counts)
}

/// Copies the e-mails, and lists what they are for the comparison.
pub(super) async fn emails(
    source: &dyn Store,
    target: &dyn Store,
    progress: &mut Progress,
) -> Result<(Counts, Inventory), Failure> {
    progress.begin("copied", source.queue_stats(postrider_core::Timestamp::system()).await?.total);
    let (mut counts, mut inventory) = (Counts::default(), Inventory::default());
    let mut emails = source.export(None, EXPORT_EMAILS).await?;
    while let Some(last) = emails.last() {
        let after = last.id;
        for email in &emails {
            inventory.add(email);
            progress.email(email);
        }
        counts.total += emails.len() as u64;
        let (moved, next) = tokio::join!(import(target, emails), source.export(Some(after), EXPORT_EMAILS));
        counts.moved += moved?;
        emails = next?;
    }
    Ok((counts, inventory))
}

async fn import(target: &dyn Store, emails: Vec<StoredEmail>) -> Result<u64, Failure> {
    Ok(target.import(emails).await? as u64)
}
