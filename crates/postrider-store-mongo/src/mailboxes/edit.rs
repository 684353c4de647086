//! Changing what is in mailboxes: flags, copies, moves, expunges.

use std::collections::BTreeSet;

use mongodb::ClientSession;
use mongodb::bson::{Document, doc, oid};
use postrider_core::mailbox::{Flags, NamedFlags, UidSet};
use postrider_store::{
    Copied, CopyMessages, Expunged, FlagsOperation, FlagsStored, MailboxId, StoreError, StoreFlags, Usage,
};

use super::documents::{EntryDocument, entry_key, entry_range, modseq, positive};
use super::ledger::{Ledger, NewEntry, Written, find};
use crate::codes::{self, date};
use crate::counters::{Additions, Stripe};
use crate::engine::{Engine, Work};
use crate::failure::Failure;
use crate::schema::ENTRIES;

type Result<T> = std::result::Result<T, StoreError>;

/// Ranges up to this long are asked for UID by UID, so that one query takes many of them.
const RANGE_MIN: u32 = 50;

/// UIDs in one query.
const UIDS_MAX: usize = 1_000;

pub(crate) async fn store_flags(engine: &Engine, store: StoreFlags) -> Result<FlagsStored> {
    let entries = store.uids.len();
    carry_out(engine, entries, [store.mailbox], Flag { store }).await
}

pub(crate) async fn expunge(engine: &Engine, mailbox: MailboxId, uids: Option<UidSet>) -> Result<Expunged> {
    // All that are deleted may be many.
    let entries = uids.as_ref().map_or(u64::MAX, UidSet::len);
    carry_out(engine, entries, [mailbox], Expunge { mailbox: codes::oid(mailbox), uids }).await
}

pub(crate) async fn copy(engine: &Engine, copy: CopyMessages) -> Result<Copied> {
    let entries = copy.uids.len();
    carry_out(engine, entries, [copy.from, copy.to], Copy { copy }).await
}

async fn carry_out<T: Send>(
    engine: &Engine,
    entries: u64,
    mailboxes: impl IntoIterator<Item = MailboxId>,
    mut work: impl Work<Output = (T, Written)>,
) -> Result<T> {
    let ids = mailboxes.into_iter().map(codes::oid);
    let concerned: BTreeSet<_> = ids.flat_map(|mailbox| engine.courtesy.with_kin(mailbox)).collect();
    let _turn = engine.courtesy.turn(concerned).await;
    let (output, written) = engine.transaction_for(entries, &mut work).await.map_err(Failure::into_error)?;
    written.finish(engine).await;
    Ok(output)
}

struct Flag {
    store: StoreFlags,
}

impl Work for Flag {
    type Output = (FlagsStored, Written);

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<Self::Output, Failure> {
        let StoreFlags { mailbox, uids, operation, flags, unchanged_since } = &self.store;
        let mailbox = codes::oid(*mailbox);
        let (mut ledger, mut additions) = (Ledger::default(), Additions::default());
        ledger.load(engine, session, [mailbox]).await?;
        ledger.mailbox(mailbox).map_err(Failure::Refused)?;
        let entries = entries(engine, session, mailbox, uids).await?;
        let is_conflicted = |entry: &&EntryDocument| unchanged_since.is_some_and(|since| modseq(entry.modseq) > since);
        let (conflicted, free): (Vec<_>, Vec<_>) = entries.iter().partition(is_conflicted);
        let bits = numbers(&mut ledger, mailbox, *operation, flags)?;
        let mut changed = UidSet::new();
        for entry in free {
            let new = operation.apply(entry.flags(), bits);
            if new != entry.flags() {
                ledger.flag(entry, new).map_err(Failure::Refused)?;
                changed.push(entry.uid());
            }
        }
        let document = ledger.mailbox(mailbox).map_err(Failure::Refused)?;
        let stored = FlagsStored {
            conflicted: conflicted.iter().map(|entry| entry.uid()).collect(),
            modseq_before: modseq(ledger.modseq_before(mailbox)),
            modseq: modseq(document.highest_modseq),
            flags: bits,
            keywords: document.keywords().map_err(Failure::Refused)?,
            changed,
        };
        if ledger.is_empty() {
            return Ok((stored, Written::default()));
        }
        let written = ledger.write(engine, session, &mut additions).await?;
        additions.write(engine, session, stripe).await?;
        Ok((stored, written))
    }
}

/// The bits of flags in a mailbox. Keywords are added to it, unless they are to be removed.
fn numbers(
    ledger: &mut Ledger,
    mailbox: oid::ObjectId,
    operation: FlagsOperation,
    flags: &NamedFlags,
) -> std::result::Result<Flags, Failure> {
    let numbers = match operation {
        FlagsOperation::Add | FlagsOperation::Replace => ledger.learn(mailbox, [flags])?.first().copied(),
        FlagsOperation::Remove => Some(flags.known(&ledger.mailbox(mailbox)?.keywords()?)),
    };
    Ok(numbers.unwrap_or_default())
}

struct Expunge {
    mailbox: oid::ObjectId,
    uids: Option<UidSet>,
}

impl Work for Expunge {
    type Output = (Expunged, Written);

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<Self::Output, Failure> {
        let (mut ledger, mut additions) = (Ledger::default(), Additions::default());
        ledger.load(engine, session, [self.mailbox]).await?;
        let entries = match &self.uids {
            _ if ledger.mailbox(self.mailbox)?.deleted == 0 => Vec::new(),
            Some(uids) => entries(engine, session, self.mailbox, uids).await?,
            None => {
                let filter = doc! { "mailbox": self.mailbox, "isDeleted": true };
                find::<EntryDocument>(engine, session, ENTRIES, filter).await?
            }
        };
        let deleted: Vec<_> = entries.iter().filter(|entry| entry.flags().contains(Flags::DELETED)).collect();
        for entry in &deleted {
            ledger.remove(entry)?;
        }
        let expunged = Expunged {
            uids: deleted.iter().map(|entry| entry.uid()).collect(),
            modseq_before: modseq(ledger.modseq_before(self.mailbox)),
            modseq: modseq(ledger.mailbox(self.mailbox)?.highest_modseq),
        };
        if deleted.is_empty() {
            return Ok((expunged, Written::default()));
        }
        let written = ledger.write(engine, session, &mut additions).await?;
        additions.write(engine, session, stripe).await?;
        Ok((expunged, written))
    }
}

struct Copy {
    copy: CopyMessages,
}

impl Work for Copy {
    type Output = (Copied, Written);

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<Self::Output, Failure> {
        let (from, to) = (codes::oid(self.copy.from), codes::oid(self.copy.to));
        let (mut ledger, mut additions) = (Ledger::default(), Additions::default());
        ledger.load(engine, session, BTreeSet::from([from, to])).await?;
        let (source, target) = (ledger.mailbox(from)?.user, ledger.mailbox(to)?);
        if source != target.user {
            return Err(StoreError::Missing(format!("mailbox {to} of the same user")).into());
        }
        engine.courtesy.know(to, source);
        let uid_validity = u32::try_from(target.uid_validity).unwrap_or(0);
        let entries = entries(engine, session, from, &self.copy.uids).await?;
        if entries.is_empty() {
            return Ok((Copied { uid_validity, uids: Vec::new() }, Written::default()));
        }
        if !self.copy.moves {
            ledger.load_accounts(engine, session, &[source]).await?;
            let bytes = entries.iter().map(|entry| positive(entry.size)).sum();
            if !ledger.has_room(source, Usage { bytes, messages: entries.len() as u64 }) {
                return Err(Failure::Refused(StoreError::OverQuota));
            }
        }
        let uids = transfer(&mut ledger, &entries, from, to, &self.copy)?;
        let written = ledger.write(engine, session, &mut additions).await?;
        additions.write(engine, session, stripe).await?;
        Ok((Copied { uid_validity, uids }, written))
    }
}

/// Enters copies of entries into the ledger, or moves them. Returns the UIDs that they had and have.
pub(crate) fn transfer(
    ledger: &mut Ledger,
    entries: &[EntryDocument],
    from: oid::ObjectId,
    to: oid::ObjectId,
    copy: &CopyMessages,
) -> Result<Vec<(u32, u32)>> {
    ledger.check_uids(to, entries.len())?;
    let keywords = ledger.mailbox(from)?.keywords()?;
    // Few combinations of flags, however many entries.
    let used: BTreeSet<i64> = entries.iter().map(|entry| entry.flags).collect();
    let mut there = ledger.mailbox(to)?.keywords()?;
    let named: Vec<NamedFlags> = used
        .iter()
        .map(|&flags| {
            let named = NamedFlags::of(super::documents::bits(flags), &keywords).fitting(&there);
            let new = named.keywords.iter().filter(|keyword| !there.contains(keyword)).cloned().collect::<Vec<_>>();
            there.extend(new);
            named
        })
        .collect();
    let flags = ledger.learn(to, &named)?;
    let flags: std::collections::BTreeMap<i64, Flags> = used.into_iter().zip(flags).collect();
    let mut uids = Vec::with_capacity(entries.len());
    for entry in entries {
        let new = NewEntry {
            email: entry.email,
            size: entry.size,
            flags: flags.get(&entry.flags).copied().unwrap_or_default(),
            internal_date: entry.internal_date,
            saved_at: date(copy.now),
        };
        uids.push((entry.uid(), ledger.add(to, new)?));
        if copy.moves {
            ledger.remove(entry)?;
        }
    }
    Ok(uids)
}

/// The entries of a mailbox that have these UIDs, by UID.
pub(crate) async fn entries(
    engine: &Engine,
    session: &mut ClientSession,
    mailbox: oid::ObjectId,
    uids: &UidSet,
) -> std::result::Result<Vec<EntryDocument>, Failure> {
    let mut found = Vec::new();
    for condition in conditions(mailbox, uids) {
        found.extend(find::<EntryDocument>(engine, session, ENTRIES, doc! { "_id": condition }).await?);
    }
    found.sort_unstable_by_key(EntryDocument::uid);
    Ok(found)
}

/// Conditions on keys, one for each query, that together select these UIDs.
fn conditions(mailbox: oid::ObjectId, uids: &UidSet) -> Vec<Document> {
    let (mut conditions, mut keys): (Vec<Document>, Vec<String>) = (Vec::new(), Vec::new());
    for &(first, last) in uids.ranges() {
        if last - first < RANGE_MIN {
            keys.extend((first..=last).map(|uid| entry_key(mailbox, uid)));
        } else {
            conditions.push(entry_range(mailbox, first, last));
        }
        if keys.len() >= UIDS_MAX {
            conditions.push(doc! { "$in": std::mem::take(&mut keys) });
        }
    }
    if !keys.is_empty() {
        conditions.push(doc! { "$in": keys });
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_queries_find_many_uids() {
        let mailbox = oid::ObjectId::new();
        assert_eq!(conditions(mailbox, &UidSet::new()), Vec::<Document>::new());
        assert_eq!(conditions(mailbox, &UidSet::range(1, u32::MAX)).len(), 1);
        let scattered: UidSet = (0..1_500).map(|n| n * 2 + 1).collect();
        assert_eq!(conditions(mailbox, &scattered).len(), 2);
    }
}
