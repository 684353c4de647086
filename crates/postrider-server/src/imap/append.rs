//! APPEND (RFC 9051 section 6.3.12) with MULTIAPPEND (RFC 3502) and CATENATE (RFC 4469), and REPLACE (RFC 8508).
//!
//! What is appended is kept byte for byte: a message whose lines end with LF alone is read as it is.

use postrider_core::mailbox::Digest;
use postrider_core::{Message, ObjectId, Timestamp};
use postrider_store::{self as store, Appended, MailboxId, Usage};
use postrider_wire::imap::command::{Append, AppendData, AppendMessage, LiteralKind, Replace};
use postrider_wire::imap::response::{Code, Status};
use postrider_wire::imap::sequence::{MessageSet, NumberSet, SequenceSet};
use postrider_wire::imap::server::{LiteralOffer, Verdict};

use super::session::{End, Session};
use super::store::{named_flags, no_such_keyword};
use crate::parse::parse;

impl Session {
    /// Whether a message may be sent that is announced: there is where to put it, room in the quota, and memory to hold it.
    pub(super) async fn literal(&mut self, offer: LiteralOffer) -> Verdict {
        if let Err(status) = self.target(&offer.mailbox).await {
            return Verdict::Reject(status);
        }
        let bytes = offer.earlier_bytes.saturating_add(offer.bytes);
        match self.has_room(Usage { bytes, messages: offer.earlier_messages as u64 + 1 }).await {
            Ok(true) => {}
            Ok(false) => return Verdict::Reject(Status::refusal(Code::OverQuota, "The quota is full")),
            Err(status) => return Verdict::Reject(status),
        }
        let held = usize::try_from(bytes).unwrap_or(usize::MAX);
        if !self.share.get_or_insert_with(|| self.context.common.memory.share()).resize(held) {
            tracing::warn!("a message was put off: no memory is left for messages");
            return Verdict::Reject(Status::refusal(Code::InUse, "Too much to do, try again soon"));
        }
        Verdict::Accept
    }

    async fn has_room(&self, more: Usage) -> Result<bool, Status> {
        let (Some(user), Some(address)) = (self.user_id(), self.user_address()) else { return Ok(true) };
        let known = self.store().user(address).await;
        let known = known.map_err(|error| self.store_failed("a user could not be looked up", &error))?;
        let quota = known.map(|user| user.quota).unwrap_or_default();
        if quota.bytes.is_none() && quota.messages.is_none() {
            return Ok(true);
        }
        let usage = self.store().usage(user).await;
        let usage = usage.map_err(|error| self.store_failed("the quota could not be looked up", &error))?;
        Ok(quota.has_room(usage, more))
    }

    pub(super) async fn append(&mut self, append: Append) -> Result<Status, End> {
        let target = match self.target(&append.mailbox).await {
            Ok(record) => record.id,
            Err(status) => return Ok(self.appended(Err(status))),
        };
        let mut messages = Vec::with_capacity(append.messages.len());
        for message in append.messages {
            match self.prepare(message).await {
                Ok(message) => messages.push(message),
                Err(status) => return Ok(self.appended(Err(status))),
            }
        }
        let result = self.put(target, messages, None).await;
        Ok(self.appended(result))
    }

    pub(super) async fn replace(&mut self, replace: Replace) -> Result<Status, End> {
        let Some(selected) = &self.selected else { return Ok(Status::bad("No mailbox is selected")) };
        if selected.is_read_only {
            return Ok(self.appended(Err(Status::refusal(Code::NoPerm, "The mailbox was opened read-only"))));
        }
        let mailbox = selected.shared.id;
        let set = SequenceSet::new(vec![(replace.target, replace.target)]).map(MessageSet::Set);
        let places = match set.map(|set| selected.places(&set, replace.uid, &self.saved)) {
            Some(Ok(places)) => places,
            Some(Err(status)) => return Ok(self.appended(Err(status))),
            None => return Ok(self.appended(Err(Status::bad("There is no message 0")))),
        };
        let Some(uid) = selected.uids(&places).first() else {
            return Ok(self.appended(Err(Status::refusal(Code::Nonexistent, "There is no such message"))));
        };
        let target = match self.target(&replace.mailbox).await {
            Ok(record) => record.id,
            Err(status) => return Ok(self.appended(Err(status))),
        };
        let message = match self.prepare(replace.message).await {
            Ok(message) => message,
            Err(status) => return Ok(self.appended(Err(status))),
        };
        let result = self.put(target, vec![message], Some((mailbox, uid))).await;
        let status = self.appended(result);
        if !status.is_ok() {
            return Ok(status);
        }
        // RFC 8508 section 3.2: before the old one is told to be gone.
        status.write_untagged(self.wire.output());
        Ok(Status::ok("Replaced"))
    }

    async fn put(
        &mut self,
        mailbox: MailboxId,
        messages: Vec<store::AppendMessage>,
        replaces: Option<(MailboxId, u32)>,
    ) -> Result<Appended, Status> {
        let request = store::Append { mailbox, messages, replaces, now: self.now() };
        let appended = self.store().append(request).await;
        let appended = appended.map_err(|error| match error {
            store::StoreError::Missing(_) => super::copy::try_create(),
            error => self.store_failed("a message could not be appended", &error),
        })?;
        if let Some(selected) = &self.selected
            && (selected.shared.id == mailbox || replaces.is_some())
        {
            selected.shared.changed_here().await;
        }
        Ok(appended)
    }

    /// The answer; what was held of the messages is let go.
    fn appended(&mut self, result: Result<Appended, Status>) -> Status {
        self.share = None;
        match result {
            Ok(Appended { uid_validity, uids }) => {
                let uids: NumberSet = uids.into_iter().collect();
                Status::ok("Appended").with_code(Code::AppendUid { uid_validity, uids })
            }
            Err(status) => status,
        }
    }

    /// A message as the store takes it.
    async fn prepare(&mut self, message: AppendMessage) -> Result<store::AppendMessage, Status> {
        let flags = named_flags(&message.flags).map_err(|_| no_such_keyword())?;
        let now = self.now();
        let internal_date =
            message.internal_date.map_or(now, |at| Timestamp::from_millis(at.unix_seconds.saturating_mul(1_000)));
        let raw = match message.data {
            AppendData::Message { bytes, kind } => {
                let has_nul = memchr::memchr(0, &bytes).is_some();
                match kind {
                    LiteralKind::Plain if has_nul => {
                        return Err(Status::bad("NUL stands in a literal that is no literal8"));
                    }
                    // RFC 3516 section 4.4. It could be told to nobody who does not ask for BINARY.
                    _ if has_nul => return Err(Status::refusal(Code::UnknownCte, "NUL is kept only in encoded parts")),
                    _ => bytes,
                }
            }
            AppendData::Catenate(parts) => self.concatenate(parts).await?,
        };
        let bytes = raw.len();
        let parsed = parse(bytes, || (Digest::of(&raw).as_bytes().clone(), Message::parse(raw, 0))).await;
        let (digest, message) = parsed.ok_or(Status::UNAVAILABLE)?;
        Ok(store::AppendMessage { id: ObjectId::new(now), message, digest, flags, internal_date })
    }
}
