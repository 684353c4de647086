//! Copying what the target does not have yet. Whatever interrupts it, the next run goes on where it ended.

use postrider_store::{AuditFilter, MailboxId, Store, StoredEmail, SuppressionFilter, User};
use serde::Serialize;

use super::inventory::{Inventory, Statuses};
use super::progress::Progress;
use super::{EXPORT_AUDIT, EXPORT_CALLS, EXPORT_EMAILS, EXPORT_ENTRIES, EXPORT_REQUESTS, EXPORT_SUPPRESSIONS};
use crate::cli::failure::Failure;

/// What the source has, and how much of it was not in the target.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Copied {
    pub(super) emails: Counts,
    pub(super) users: Counts,
    pub(super) domains: Counts,
    /// Of small things: how far source addresses are warmed up, and the like.
    pub(super) notes: Counts,
    pub(super) aliases: Counts,
    /// Addresses that nothing is sent to.
    pub(super) suppressions: Counts,
    /// Who changed what.
    pub(super) audit: Counts,
    /// What is told by webhook, or was.
    pub(super) webhooks: Counts,
    /// Requests that are known if they come again.
    pub(super) requests: Counts,
    /// Messages in mailboxes, each copy counted.
    pub(super) messages: Counts,
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

pub(super) async fn domains(source: &dyn Store, target: &dyn Store) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    for domain in source.domains().await? {
        counts.total += 1;
        if target.domain(&domain.name).await?.is_none() {
            target.add_domain(domain).await?;
            counts.moved += 1;
        }
    }
    Ok(counts)
}

pub(super) async fn aliases(source: &dyn Store, target: &dyn Store) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    for alias in source.aliases().await? {
        counts.total += 1;
        // Where the target has a user of that address instead, the comparison says so.
        let is_taken = target.user(&alias.address).await?.is_some();
        if !is_taken && target.alias(&alias.address).await?.is_none() {
            target.add_alias(alias).await?;
            counts.moved += 1;
        }
    }
    Ok(counts)
}

pub(super) async fn notes(source: &dyn Store, target: &dyn Store) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    for note in source.notes("").await? {
        counts.total += 1;
        counts.moved += u64::from(target.put_note(&note.key, note.value, 0).await?);
    }
    Ok(counts)
}

pub(super) async fn suppressions(source: &dyn Store, target: &dyn Store) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    for page in 1.. {
        let found = source.suppressions(&SuppressionFilter::default(), page, EXPORT_SUPPRESSIONS).await?;
        if found.suppressions.is_empty() {
            break;
        }
        counts.total += found.suppressions.len() as u64;
        counts.moved += target.suppress(found.suppressions).await? as u64;
    }
    Ok(counts)
}

pub(super) async fn audit(source: &dyn Store, target: &dyn Store) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    for page in 1.. {
        let found = source.audit_entries(&AuditFilter::default(), page, EXPORT_AUDIT).await?;
        if found.entries.is_empty() {
            break;
        }
        counts.total += found.entries.len() as u64;
        counts.moved += target.audit(found.entries).await? as u64;
    }
    Ok(counts)
}

pub(super) async fn webhooks(source: &dyn Store, target: &dyn Store) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    let mut calls = source.export_calls(None, EXPORT_CALLS).await?;
    while let Some(last) = calls.last() {
        let after = last.id;
        counts.total += calls.len() as u64;
        counts.moved += target.import_calls(calls).await? as u64;
        calls = source.export_calls(Some(after), EXPORT_CALLS).await?;
    }
    Ok(counts)
}

pub(super) async fn requests(source: &dyn Store, target: &dyn Store) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    let mut requests = source.export_requests(None, EXPORT_REQUESTS).await?;
    while let Some(last) = requests.last() {
        let after = last.place();
        counts.total += requests.len() as u64;
        counts.moved += target.import_requests(requests).await? as u64;
        requests = source.export_requests(Some(after), EXPORT_REQUESTS).await?;
    }
    Ok(counts)
}

/// Copies what is in the mailboxes of all users. The e-mails are there already.
pub(super) async fn mailboxes(source: &dyn Store, target: &dyn Store) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    for User { id, address, .. } in source.users().await? {
        // Another user of the same address keeps the mailboxes; the comparison finds it.
        if target.user(&address).await?.is_none_or(|user| user.id != id) {
            continue;
        }
        let stored = source.export_mailboxes(id).await?;
        let mailboxes: Vec<MailboxId> = stored.mailboxes.iter().map(|mailbox| mailbox.record.id).collect();
        target.import_mailboxes(id, stored).await?;
        for mailbox in mailboxes {
            entries(source, target, mailbox, &mut counts).await?;
        }
    }
    Ok(counts)
}

async fn entries(
    source: &dyn Store,
    target: &dyn Store,
    mailbox: MailboxId,
    counts: &mut Counts,
) -> Result<(), Failure> {
    let mut entries = source.export_entries(mailbox, 0, EXPORT_ENTRIES).await?;
    while let Some(last) = entries.last() {
        let after = last.uid;
        counts.total += entries.len() as u64;
        counts.moved += target.import_entries(mailbox, entries).await? as u64;
        entries = source.export_entries(mailbox, after, EXPORT_ENTRIES).await?;
    }
    Ok(())
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
