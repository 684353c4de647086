//! Comparing what two stores have: every e-mail by its hash, the numbers that the target counts, the directory, every
//! mailbox with all its entries.

use std::collections::BTreeMap;
use std::fmt;

use postrider_core::{EmailStatus, ObjectId, Timestamp};
use postrider_store::{
    AuditFilter, MailboxId, QueueStats, Store, StoreError, StoredMailboxes, SuppressionFilter, User,
};
use serde::Serialize;

use super::inventory::{Found, Inventory};
use super::progress::Progress;
use super::{EXPORT_AUDIT, EXPORT_CALLS, EXPORT_EMAILS, EXPORT_ENTRIES, EXPORT_REQUESTS, EXPORT_SUPPRESSIONS};
use crate::cli::failure::Failure;

/// Of each kind of difference so many are named.
const NAMED_MAX: usize = 10;

/// What is not the same in both stores.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Differences {
    /// E-mails that the target does not have.
    missing: Named,
    /// E-mails that are others there.
    changed: Named,
    /// E-mails that only the target has.
    unknown: Named,
    /// Users that are missing, others, or only in the target.
    users: Named,
    domains: Named,
    aliases: Named,
    suppressions: Named,
    audit: Named,
    notes: Named,
    webhooks: Named,
    requests: Named,
    /// Mailboxes, and what is noted of all of a user's mail.
    mailboxes: Named,
    /// Numbers that a store gives and that are wrong.
    counts: Vec<String>,
}

/// How many, and the first of them.
#[derive(Debug, Default, Serialize)]
struct Named {
    count: u64,
    first: Vec<String>,
}

impl Named {
    fn add(&mut self, name: impl fmt::Display) {
        self.count += 1;
        if self.first.len() < NAMED_MAX {
            self.first.push(name.to_string());
        }
    }
}

impl Differences {
    pub(super) fn is_none(&self) -> bool {
        self.kinds().iter().all(|(named, _)| named.count == 0) && self.counts.is_empty()
    }

    fn kinds(&self) -> [(&Named, &'static str); 12] {
        [
            (&self.missing, "e-mails missing in the target"),
            (&self.changed, "e-mails that differ"),
            (&self.unknown, "e-mails in the target only"),
            (&self.users, "users that differ"),
            (&self.domains, "domains that differ"),
            (&self.aliases, "aliases that differ"),
            (&self.suppressions, "suppressed addresses that differ"),
            (&self.audit, "entries of the audit log that differ"),
            (&self.notes, "notes that differ"),
            (&self.webhooks, "webhook calls that differ"),
            (&self.requests, "requests with keys that differ"),
            (&self.mailboxes, "mailboxes that differ"),
        ]
    }
}

impl fmt::Display for Differences {
    /// A line for each kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.kinds().into_iter().filter(|(named, _)| named.count > 0);
        let kinds = kinds.map(|(named, what)| {
            let more = if named.count > named.first.len() as u64 { ", ..." } else { "" };
            format!("{what}: {} ({}{more})", named.count, named.first.join(", "))
        });
        let lines: Vec<String> = kinds.chain(self.counts.iter().cloned()).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Compares the target with what was read of the source.
pub(super) async fn compare(
    source: &dyn Store,
    target: &dyn Store,
    inventory: &mut Inventory,
    progress: &mut Progress,
) -> Result<Differences, Failure> {
    let mut differences = Differences::default();
    progress.begin("compared", inventory.len());
    let mut after: Option<ObjectId> = None;
    loop {
        let emails = target.export(after, EXPORT_EMAILS).await?;
        let Some(last) = emails.last() else { break };
        after = Some(last.id);
        for email in &emails {
            match inventory.find(email) {
                Found::Same => {}
                Found::Changed => differences.changed.add(email.id),
                Found::Unknown => differences.unknown.add(email.id),
            }
            progress.email(email);
        }
    }
    inventory.missing().for_each(|id| differences.missing.add(id));
    count(source, target, inventory, &mut differences).await?;
    let users = source.users().await?;
    let address = |user: &User| user.address.to_string();
    differing(&users, &target.users().await?, address, &mut differences.users);
    let (domains, there) = (source.domains().await?, target.domains().await?);
    differing(&domains, &there, |domain| domain.name.to_string(), &mut differences.domains);
    let (aliases, there) = (source.aliases().await?, target.aliases().await?);
    differing(&aliases, &there, |alias| alias.address.to_string(), &mut differences.aliases);
    suppressions(source, target, &mut differences.suppressions).await?;
    audit(source, target, &mut differences.audit).await?;
    // Versions count changes; those of the copy begin anew.
    let notes = async |store: &dyn Store| {
        let mut notes = store.notes("").await?;
        notes.iter_mut().for_each(|note| note.version = 0);
        Ok::<_, Failure>(notes)
    };
    let (kept, there) = (notes(source).await?, notes(target).await?);
    differing(&kept, &there, |note| note.key.clone(), &mut differences.notes);
    webhooks(source, target, &mut differences.webhooks).await?;
    requests(source, target, &mut differences.requests).await?;
    for user in &users {
        mailboxes(source, target, user, &mut differences.mailboxes).await?;
    }
    Ok(differences)
}

/// Compares what is told by webhook, in the order of ids.
async fn webhooks(source: &dyn Store, target: &dyn Store, named: &mut Named) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let kept = source.export_calls(after, EXPORT_CALLS).await?;
        let there = target.export_calls(after, EXPORT_CALLS).await?;
        differing(&kept, &there, |call| call.id.to_string(), named);
        let Some(last) = kept.last().filter(|_| kept.len() == there.len()) else { return Ok(()) };
        after = Some(last.id);
    }
}

/// Compares the requests that are known, in the order of their keys.
async fn requests(source: &dyn Store, target: &dyn Store, named: &mut Named) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let kept = source.export_requests(after, EXPORT_REQUESTS).await?;
        let there = target.export_requests(after, EXPORT_REQUESTS).await?;
        differing(&kept, &there, |request| format!("{:02x?} {}", request.part.key, request.part.number), named);
        let Some(last) = kept.last().filter(|_| kept.len() == there.len()) else { return Ok(()) };
        after = Some(last.place());
    }
}

/// Compares the audit logs, which have one order.
async fn audit(source: &dyn Store, target: &dyn Store, named: &mut Named) -> Result<(), Failure> {
    for page in 1.. {
        let read = async |store: &dyn Store| {
            Ok::<_, Failure>(store.audit_entries(&AuditFilter::default(), page, EXPORT_AUDIT).await?)
        };
        let (logged, there) = (read(source).await?.entries, read(target).await?.entries);
        if logged.is_empty() && there.is_empty() {
            break;
        }
        differing(&logged, &there, |entry| entry.id.to_string(), named);
    }
    Ok(())
}

/// Compares the suppression lists, which have one order.
async fn suppressions(source: &dyn Store, target: &dyn Store, named: &mut Named) -> Result<(), Failure> {
    for page in 1.. {
        let read = async |store: &dyn Store| {
            Ok::<_, Failure>(store.suppressions(&SuppressionFilter::default(), page, EXPORT_SUPPRESSIONS).await?)
        };
        let (listed, there) = (read(source).await?.suppressions, read(target).await?.suppressions);
        if listed.is_empty() && there.is_empty() {
            break;
        }
        differing(&listed, &there, |suppression| suppression.address.to_string(), named);
    }
    Ok(())
}

/// Compares a user's mailboxes, and all that is in them.
async fn mailboxes(source: &dyn Store, target: &dyn Store, user: &User, named: &mut Named) -> Result<(), Failure> {
    let stored = source.export_mailboxes(user.id).await?;
    let there = match target.export_mailboxes(user.id).await {
        Err(StoreError::Missing(_)) => StoredMailboxes::default(),
        result => result?,
    };
    let shown = |name: &dyn fmt::Display| format!("{} of {}", name, user.address);
    differing(&stored.mailboxes, &there.mailboxes, |mailbox| shown(&mailbox.record.name), named);
    let all = |stored: &StoredMailboxes| StoredMailboxes { mailboxes: Vec::new(), ..stored.clone() };
    if all(&stored) != all(&there) {
        named.add(shown(&"all mail"));
    }
    for mailbox in &stored.mailboxes {
        let is_there = there.mailboxes.iter().any(|other| other.record.id == mailbox.record.id);
        if is_there && !has_same_entries(source, target, mailbox.record.id).await? {
            named.add(shown(&mailbox.record.name));
        }
    }
    Ok(())
}

async fn has_same_entries(source: &dyn Store, target: &dyn Store, mailbox: MailboxId) -> Result<bool, Failure> {
    let mut after = 0;
    loop {
        let entries = source.export_entries(mailbox, after, EXPORT_ENTRIES).await?;
        if target.export_entries(mailbox, after, EXPORT_ENTRIES).await? != entries {
            return Ok(false);
        }
        let Some(last) = entries.last() else { return Ok(true) };
        after = last.uid;
    }
}

/// Compares the numbers that the stores keep with what was read.
async fn count(
    source: &dyn Store,
    target: &dyn Store,
    inventory: &Inventory,
    differences: &mut Differences,
) -> Result<(), Failure> {
    let now = Timestamp::system();
    // By status only in the target: claims of a server that died count in the source yet.
    let (counted, read) = (source.queue_stats(now).await?.total, inventory.listed());
    if counted != read {
        differences.counts.push(format!("e-mails: the source counts {counted}, but {read} could be read"));
    }
    let stats = target.queue_stats(now).await?;
    let statuses = inventory.statuses();
    for &status in EmailStatus::ALL {
        let (counted, read) = (count_of(&stats, status), statuses.get(status.as_str()).copied().unwrap_or(0));
        if counted != read {
            differences.counts.push(format!("{status} e-mails: the target counts {counted}, the source has {read}"));
        }
    }
    Ok(())
}

fn count_of(stats: &QueueStats, status: EmailStatus) -> u64 {
    match status {
        EmailStatus::Received => stats.received,
        EmailStatus::Queued => stats.queued,
        EmailStatus::Sending => stats.sending,
        EmailStatus::Deferred => stats.deferred,
        EmailStatus::Sent => stats.sent,
        EmailStatus::Failed => stats.failed,
        EmailStatus::Held => stats.held,
        EmailStatus::Cancelled => stats.cancelled,
    }
}

/// Names what is not the same on both sides.
fn differing<T: Clone + PartialEq>(source: &[T], target: &[T], name: impl Fn(&T) -> String, named: &mut Named) {
    let by_name = |all: &[T]| -> BTreeMap<String, T> { all.iter().map(|one| (name(one), one.clone())).collect() };
    let (source, target) = (by_name(source), by_name(target));
    let only_target = target.keys().filter(|name| !source.contains_key(*name));
    let differing = source.iter().filter(|(name, one)| target.get(*name) != Some(one));
    differing.map(|(name, _)| name).chain(only_target).for_each(|name| named.add(name));
}
