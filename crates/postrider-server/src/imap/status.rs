//! STATUS (RFC 9051 section 6.3.11): what a mailbox's record tells without opening it.

use postrider_store::{MailboxRecord, StoreError};
use postrider_wire::imap::command::StatusItem;
use postrider_wire::imap::response::{self, Status, StatusValue};

use super::names::known_name;
use super::session::{End, Session};

impl Session {
    pub(super) async fn status(&mut self, mailbox: &str, items: &[StatusItem]) -> Result<Status, End> {
        let name = match known_name(mailbox) {
            Ok(name) => name,
            Err(status) => return Ok(status),
        };
        let Some(user) = self.user_id() else { return Ok(Status::UNAVAILABLE) };
        let record = match self.store().mailbox(user, &name).await {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(super::select::no_such_mailbox()),
            Err(error) => return Ok(self.store_failed("a mailbox could not be looked up", &error)),
        };
        // Before numbers of the selected mailbox are told in another way, its client hears what they stand on.
        if let Some(selected) = self.selected.as_ref().filter(|selected| selected.shared.id == record.id) {
            if let Err(error) = selected.shared.refresh().await {
                return Ok(self.store_failed("a mailbox could not be read", &error));
            }
            self.tell(true).await?;
        }
        self.enable_condstore_for(items);
        match self.recent(&record, items).await {
            Ok(recent) => self.tell_status(&record, items, recent),
            Err(error) => return Ok(self.store_failed("a mailbox could not be read", &error)),
        }
        Ok(Status::ok("Told"))
    }

    /// How many messages are recent, where that is asked for (RFC 3501 section 6.3.10): in the selected mailbox for this session,
    /// in others for nobody yet. Only for that a mailbox has to be opened.
    pub(super) async fn recent(&self, record: &MailboxRecord, items: &[StatusItem]) -> Result<u64, StoreError> {
        if !items.contains(&StatusItem::Recent) {
            return Ok(0);
        }
        if let Some(selected) = self.selected.as_ref().filter(|selected| selected.shared.id == record.id) {
            return Ok(u64::from(selected.recent()));
        }
        if record.recent_from >= record.uid_next || record.counts.messages == 0 {
            return Ok(0);
        }
        let Some(shared) = self.context.registry.open(record.id).await? else { return Ok(0) };
        let recent = shared.snapshot().map_or(0, |open| open.len() - open.index_from(record.recent_from));
        // Clients ask again and again.
        self.context.registry.left(shared);
        Ok(recent as u64)
    }

    /// One STATUS response. Of the selected mailbox it says what its client was told.
    pub(super) fn tell_status(&mut self, record: &MailboxRecord, items: &[StatusItem], recent: u64) {
        let selected = self.selected.as_ref().filter(|selected| selected.shared.id == record.id);
        let name = &record.name;
        let record = selected.map_or(record, |selected| selected.record());
        let counts = record.counts;
        let messages = selected.map_or(counts.messages, |selected| selected.view.len() as u64);
        let id = record.id.to_string();
        let append_limit = self.context.message_bytes_max as u64;
        let values: Vec<(StatusItem, StatusValue<'_>)> = items
            .iter()
            .map(|&item| {
                let value = match item {
                    StatusItem::Messages => StatusValue::Number(messages),
                    StatusItem::Recent => StatusValue::Number(recent),
                    StatusItem::UidNext => StatusValue::Number(u64::from(record.uid_next)),
                    StatusItem::UidValidity => StatusValue::Number(u64::from(record.uid_validity)),
                    StatusItem::Unseen => StatusValue::Number(counts.unseen),
                    StatusItem::Deleted => StatusValue::Number(counts.deleted),
                    StatusItem::Size => StatusValue::Number(counts.bytes),
                    StatusItem::HighestModSeq => StatusValue::Number(record.highest_modseq),
                    StatusItem::MailboxId => StatusValue::Id(&id),
                    StatusItem::AppendLimit => StatusValue::Number(append_limit),
                    StatusItem::DeletedStorage => StatusValue::Number(counts.deleted_bytes),
                };
                (item, value)
            })
            .collect();
        let dialect = self.wire.dialect();
        response::status(self.wire.output(), name.as_str(), values, dialect);
    }
}
