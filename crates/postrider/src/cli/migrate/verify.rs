//! Comparing what two stores have: every e-mail by its hash, the numbers that the target counts, every user.

use std::collections::BTreeMap;
use std::fmt;

use postrider_core::{EmailStatus, ObjectId, Timestamp};
use postrider_store::{QueueStats, Store, User};
use serde::Serialize;

use super::EXPORT_EMAILS;
use super::inventory::{Found, Inventory};
use super::progress::Progress;
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

    fn kinds(&self) -> [(&Named, &'static str); 4] {
        [
            (&self.missing, "e-mails missing in the target"),
            (&self.changed, "e-mails that differ"),
            (&self.unknown, "e-mails in the target only"),
            (&self.users, "users that differ"),
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
    users(&source.users().await?, &target.users().await?, &mut differences);
    Ok(differences)
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
    let (counted, read) = (source.queue_stats(now).await?.total, inventory.len());
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

fn users(source: &[User], target: &[User], differences: &mut Differences) {
    let by_address = |users: &[User]| -> BTreeMap<String, User> {
        users.iter().map(|user| (user.address.to_string(), user.clone())).collect()
    };
    let (source, target) = (by_address(source), by_address(target));
    let only_target = target.keys().filter(|address| !source.contains_key(*address));
    let differing = source.iter().filter(|(address, user)| target.get(*address) != Some(user));
    differing.map(|(address, _)| address).chain(only_target).for_each(|address| differences.users.add(address));
}
