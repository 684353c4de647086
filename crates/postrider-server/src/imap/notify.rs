//! NOTIFY (RFC 5465), and telling without being asked: what happens in the selected mailbox, and elsewhere.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use postrider_store::{MailboxId, MailboxRecord, StoreError, UserId};
use postrider_wire::imap::command::{Fetch, FetchItem, Notify};
use postrider_wire::imap::response::{self, Code, Status};
use postrider_wire::imap::sequence::{MessageSet, SequenceNumber, SequenceSet};
use tracing::debug;

use super::hierarchy::{Listed, Names, Shows};
use super::selected::Telling;
use super::session::{End, Session};
use super::watch::{Known, Watch, Wishes};

/// Mailboxes whose annotations can be watched: each is read when anything is annotated.
const METADATA_MAILBOXES_MAX: usize = 200;

impl Session {
    /// Without a group for it, the selected mailbox is told of with the answers to commands only, as ever.
    pub(super) async fn notify(&mut self, notify: Notify) -> Result<Status, End> {
        let Notify::Set { status, groups } = notify else {
            self.watch = None;
            return Ok(Status::ok("Nothing is told without being asked"));
        };
        let wishes = match Wishes::of(groups) {
            Ok(wishes) => wishes,
            Err(status) => return Ok(status),
        };
        let Some(user) = self.user_id() else { return Ok(Status::UNAVAILABLE) };
        // Changes are listened to first, so that none falls in between.
        let mut watch = Watch::new(wishes, user, self.context.registry.changes());
        let known = async {
            if let Some(selected) = &self.selected {
                // Section 3.1: it is a NOOP, too.
                selected.shared.refresh().await?;
            }
            self.known_now(user, &watch.wishes).await
        };
        match known.await {
            Ok(Some(known)) => watch.known = known,
            Ok(None) => return Ok(Status::refusal(Code::NotificationOverflow, "That is too much to watch")),
            Err(error) => return Ok(self.store_failed("mailboxes could not be listed", &error)),
        }
        if status {
            for mailbox in &watch.known.names.mailboxes {
                let events = watch.wishes.events(mailbox.name.as_str(), &watch.known.names);
                let items = events.first_status(self.condstore);
                if !items.is_empty() && !self.has_selected(mailbox.id) {
                    self.tell_status(mailbox, &items, 0);
                    self.flush_if_large().await?;
                }
            }
        }
        self.watch = Some(Box::new(watch));
        Ok(Status::ok("What happens is told"))
    }

    /// Whether news of the selected mailbox are told as they come.
    pub(super) fn hears_selected(&self) -> bool {
        match &self.watch {
            // Section 4: in IDLE the same is told as outside of it.
            Some(watch) => watch.wishes.selected.is_some(),
            None => self.wire.is_idle(),
        }
    }

    /// Tells what has happened in the selected mailbox, with the answer to a command.
    pub(super) async fn tell(&mut self, expunges: bool) -> Result<(), End> {
        let telling = self.telling(expunges);
        self.tell_changes(telling).await
    }

    /// Tells what has happened, without being asked.
    pub(super) async fn tell_news(&mut self) -> Result<(), End> {
        let Some(watch) = &self.watch else { return self.tell(true).await };
        if let Some(wish) = &watch.wishes.selected {
            let expunges = !wish.is_delayed || self.wire.is_idle();
            let telling = Telling { flags: wish.flags, ..self.telling(expunges) };
            self.tell_changes(telling).await?;
        }
        let Some(mut watch) = self.watch.take() else { return Ok(()) };
        match self.tell_elsewhere(&mut watch).await? {
            Ok(()) => self.watch = Some(watch),
            Err(error) => {
                // Section 5.8: the client asks again when it wants to.
                debug!(%error, "what is watched could not be read");
                let status = Status::ok("Not all that happens can be told").with_code(Code::NotificationOverflow);
                status.write_untagged(self.wire.output());
            }
        }
        Ok(())
    }

    async fn tell_changes(&mut self, telling: Telling) -> Result<(), End> {
        let Some(selected) = &mut self.selected else { return Ok(()) };
        let before = selected.view.last_uid();
        if !selected.tell(self.wire.output(), telling) {
            // RFC 2180 section 3.3: nothing that the client could say of it has a meaning any more.
            self.wire.close(&Status::bye("The selected mailbox was deleted").with_code(Code::Unavailable));
            return Ok(());
        }
        let after = selected.view.last_uid();
        let wish = self.watch.as_ref().and_then(|watch| watch.wishes.selected.as_ref());
        let Some(wish) = wish.filter(|wish| !wish.fetch.is_empty() && after > before) else { return Ok(()) };
        // Section 5.2.
        let mut items = wish.fetch.clone();
        if !items.contains(&FetchItem::Uid) {
            items.insert(0, FetchItem::Uid);
        }
        let new = (SequenceNumber::Number(before + 1), SequenceNumber::Number(after));
        let Some(set) = SequenceSet::new(vec![new]) else { return Ok(()) };
        let set = MessageSet::Set(set);
        let fetch = Fetch { uid: true, set, items, changed_since: None, vanished: false };
        let status = Box::pin(self.fetch(fetch)).await?;
        if !status.is_ok() {
            debug!(%status, "new messages could not be fetched");
        }
        Ok(())
    }

    async fn tell_elsewhere(&mut self, watch: &mut Watch) -> Result<Result<(), StoreError>, End> {
        let heard = watch.take_heard();
        let mut looks_everywhere = heard.all;
        if !looks_everywhere && watch.wishes.has(|events| events.messages) {
            for mailbox in heard.mailboxes {
                match self.tell_mailbox(watch, mailbox).await {
                    Ok(true) => {}
                    Ok(false) => looks_everywhere = true,
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        if !looks_everywhere {
            return Ok(Ok(()));
        }
        let Some(user) = self.user_id() else { return Ok(Ok(())) };
        let known = match self.known_now(user, &watch.wishes).await {
            Ok(Some(known)) => known,
            Ok(None) => return Ok(Err(StoreError::Limit("too many mailboxes are watched".to_owned()))),
            Err(error) => return Ok(Err(error)),
        };
        let before = std::mem::replace(&mut watch.known, known);
        self.tell_names(watch, &before.names).await?;
        let by_id: HashMap<MailboxId, &MailboxRecord> = by_id(&before.names);
        for mailbox in &watch.known.names.mailboxes {
            if let Some(before) = by_id.get(&mailbox.id) {
                self.tell_mailbox_status(watch, before, mailbox);
                self.flush_if_large().await?;
            }
        }
        self.tell_metadata_changes(watch, &before);
        Ok(Ok(()))
    }

    /// `false`: it is not the mailbox that was known by its name.
    async fn tell_mailbox(&mut self, watch: &mut Watch, mailbox: MailboxId) -> Result<bool, StoreError> {
        let place = watch.known.names.mailboxes.iter().position(|known| known.id == mailbox);
        let Some((user, place)) = self.user_id().zip(place) else { return Ok(false) };
        let Some(known) = watch.known.names.mailboxes.get(place) else { return Ok(false) };
        let after = self.store().mailbox(user, &known.name).await?.filter(|record| record.id == mailbox);
        let Some(after) = after else { return Ok(false) };
        self.tell_mailbox_status(watch, known, &after);
        if let Some(known) = watch.known.names.mailboxes.get_mut(place) {
            *known = after;
        }
        Ok(true)
    }

    fn tell_mailbox_status(&mut self, watch: &Watch, before: &MailboxRecord, after: &MailboxRecord) {
        let events = watch.wishes.events(after.name.as_str(), &watch.known.names);
        let items = events.status(before, after, self.condstore);
        if !items.is_empty() && !self.has_selected(after.id) {
            self.tell_status(after, &items, 0);
        }
    }

    /// LIST of names that mean something else now (sections 5.4 and 5.5).
    async fn tell_names(&mut self, watch: &Watch, before: &Names) -> Result<(), End> {
        let (names, dialect) = (&watch.known.names, self.wire.dialect());
        let mut lines: Vec<Listed<'_>> = Vec::new();
        let mut told: HashSet<&str> = HashSet::new();
        let old = by_id(before);
        for mailbox in &names.mailboxes {
            let name = mailbox.name.as_str();
            let old_name = match old.get(&mailbox.id) {
                Some(known) if known.name == mailbox.name => continue,
                Some(known) => Some(known.name.as_str()),
                None => None,
            };
            let is_wanted = watch.wishes.events(name, names).names
                || old_name.is_some_and(|old_name| watch.wishes.events(old_name, before).names);
            if is_wanted && told.insert(name) {
                lines.push(Listed { name, child_info: false, old_name });
            }
        }
        let now = by_id(names);
        for gone in before.mailboxes.iter().filter(|known| !now.contains_key(&known.id)) {
            let name = gone.name.as_str();
            // Of a name that is another mailbox's now that one was told.
            if names.mailbox(name).is_none() && watch.wishes.events(name, before).names && told.insert(name) {
                lines.push(Listed { name, child_info: false, old_name: None });
            }
        }
        let begun = names.subscriptions.iter().filter(|name| !before.is_subscribed(name.as_str()));
        let ended = before.subscriptions.iter().filter(|name| !names.is_subscribed(name.as_str()));
        for name in begun.chain(ended) {
            let name = name.as_str();
            let is_wanted = [names, before].iter().any(|names| watch.wishes.events(name, names).subscriptions);
            if is_wanted && told.insert(name) {
                lines.push(Listed { name, child_info: false, old_name: None });
            }
        }
        for line in lines {
            names.write(self.wire.output(), line, Shows::ALL, dialect);
            self.flush_if_large().await?;
        }
        Ok(())
    }

    /// METADATA with the names of what was noted or forgotten (sections 5.6 and 5.7).
    fn tell_metadata_changes(&mut self, watch: &Watch, before: &Known) {
        let dialect = self.wire.dialect();
        for (mailbox, noted) in &watch.known.metadata {
            // Of a new mailbox nothing was known.
            let Some(known) = before.metadata.get(mailbox) else { continue };
            let changed = noted.iter().filter(|(name, value)| known.get(*name) != Some(value)).map(|(name, _)| name);
            let gone = known.keys().filter(|name| !noted.contains_key(*name));
            let changed: Vec<&str> = changed.chain(gone).map(String::as_str).collect();
            let name = match mailbox {
                None => "",
                Some(id) => {
                    let found = watch.known.names.mailboxes.iter().find(|known| known.id == *id);
                    found.map_or("", |found| found.name.as_str())
                }
            };
            if !changed.is_empty() {
                response::metadata_changed(self.wire.output(), name, changed, dialect);
            }
        }
    }

    /// What there is of what is watched; `None` if it is too much.
    async fn known_now(&self, user: UserId, wishes: &Wishes) -> Result<Option<Known>, StoreError> {
        let names = self.names(true).await?;
        let mut metadata = HashMap::new();
        let mut scopes: Vec<Option<MailboxId>> = Vec::new();
        if wishes.has(|events| events.metadata) {
            let watched = names.mailboxes.iter().filter(|known| wishes.events(known.name.as_str(), &names).metadata);
            scopes.extend(watched.map(|known| Some(known.id)));
        }
        scopes.extend(wishes.has(|events| events.server_metadata).then_some(None));
        if scopes.len() > METADATA_MAILBOXES_MAX {
            return Ok(None);
        }
        for scope in scopes {
            let noted = match self.store().metadata(user, scope).await {
                // It went meanwhile.
                Err(StoreError::Missing(_)) => continue,
                noted => noted?,
            };
            let digests = noted.into_iter().map(|entry| {
                let digest = digest(&entry.value);
                (entry.name, digest)
            });
            metadata.insert(scope, digests.collect::<BTreeMap<String, u64>>());
        }
        Ok(Some(Known { names, metadata }))
    }

    pub(super) fn has_selected(&self, mailbox: MailboxId) -> bool {
        self.selected.as_ref().is_some_and(|selected| selected.shared.id == mailbox)
    }

    /// What the client changes itself is nothing to tell it of.
    pub(super) fn know_names(&mut self, change: impl FnOnce(&mut Names)) {
        if let Some(watch) = &mut self.watch {
            change(&mut watch.known.names);
        }
    }

    pub(super) fn know_metadata(&mut self, mailbox: Option<MailboxId>, entries: &[(String, Option<bytes::Bytes>)]) {
        let Some(known) = self.watch.as_mut().and_then(|watch| watch.known.metadata.get_mut(&mailbox)) else { return };
        for (name, value) in entries {
            match value {
                Some(value) => known.insert(name.clone(), digest(value)),
                None => known.remove(name),
            };
        }
    }
}

fn by_id(names: &Names) -> HashMap<MailboxId, &MailboxRecord> {
    names.mailboxes.iter().map(|mailbox| (mailbox.id, mailbox)).collect()
}

fn digest(value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
