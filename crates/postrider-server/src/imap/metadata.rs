//! GETMETADATA and SETMETADATA (RFC 5464): what users note of their mailboxes, and of all their mail.

use std::collections::BTreeSet;

use bytes::Bytes;
use postrider_store::{MailboxId, MailboxRecord, MetadataEntry, StoreError, UserId};
use postrider_wire::imap::command::{GetMetadata, MetadataDepth, SetMetadata};
use postrider_wire::imap::response::{self, Code, Status};

use super::hierarchy::attribute;
use super::names::known_name;
use super::select::no_such_mailbox;
use super::session::{End, OUTPUT_BYTES, Session};

/// Of one value.
const VALUE_BYTES_MAX: usize = 32 << 10;

/// Of one entry's name.
const NAME_BYTES_MAX: usize = 256;

/// What the mailbox is for (RFC 6154 section 4). It is given when the mailbox is made.
const SPECIAL_USE: &str = "/private/specialuse";

impl Session {
    pub(super) async fn get_metadata(&mut self, get: GetMetadata) -> Result<Status, End> {
        let scope = match self.scope(&get.mailbox).await {
            Ok(scope) => scope,
            Err(status) => return Ok(status),
        };
        let Some(user) = self.user_id() else { return Ok(Status::UNAVAILABLE) };
        let noted = match self.noted(user, &scope).await {
            Ok(noted) => noted,
            Err(error) => return Ok(self.store_failed("metadata could not be read", &error)),
        };
        let max = get.max_size_bytes.unwrap_or(u64::MAX);
        let mut longest = 0;
        let mut told = BTreeSet::new();
        let mut batch = Batch::default();
        for asked in &get.entries {
            let below = asked.to_ascii_lowercase();
            let known: Vec<&MetadataEntry> =
                noted.iter().filter(|entry| is_asked(&entry.name, &below, get.depth)).collect();
            if get.depth == MetadataDepth::Zero && known.is_empty() && told.insert(below) {
                batch.add(asked, None);
            }
            for entry in known {
                let bytes = entry.value.len() as u64;
                if bytes > max {
                    longest = longest.max(bytes);
                } else if told.insert(entry.name.clone()) {
                    // As the client spells it, where it does.
                    let name = if entry.name.eq_ignore_ascii_case(asked) { asked } else { &entry.name };
                    batch.add(name, Some(&entry.value));
                }
                if batch.bytes > OUTPUT_BYTES {
                    self.tell_metadata(&get.mailbox, &mut batch);
                    self.flush().await?;
                }
            }
        }
        self.tell_metadata(&get.mailbox, &mut batch);
        Ok(match longest {
            0 => Status::ok("Told"),
            bytes => Status::ok("Some are longer").with_code(Code::MetadataLongEntries(bytes)),
        })
    }

    pub(super) async fn set_metadata(&mut self, set: SetMetadata) -> Result<Status, End> {
        let scope = match self.scope(&set.mailbox).await {
            Ok(scope) => scope,
            Err(status) => return Ok(status),
        };
        for (name, value) in &set.entries {
            if let Err(status) = check(&scope, name, value.as_ref()) {
                return Ok(status);
            }
        }
        let Some(user) = self.user_id() else { return Ok(Status::UNAVAILABLE) };
        let entries: Vec<(String, Option<Bytes>)> =
            set.entries.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        Ok(match self.store().set_metadata(user, scope.mailbox(), entries.clone()).await {
            Ok(()) => {
                self.know_metadata(scope.mailbox(), &entries);
                Status::ok("Noted")
            }
            Err(StoreError::Limit(_)) => Status::refusal(Code::MetadataTooMany, "No more can be noted there"),
            Err(error) => self.store_failed("metadata could not be changed", &error),
        })
    }

    async fn scope(&self, mailbox: &str) -> Result<Scope, Status> {
        if mailbox.is_empty() {
            return Ok(Scope::Server);
        }
        let name = known_name(mailbox)?;
        let Some(user) = self.user_id() else { return Err(Status::UNAVAILABLE) };
        match self.store().mailbox(user, &name).await {
            Ok(Some(record)) => Ok(Scope::Mailbox(Box::new(record))),
            Ok(None) => Err(no_such_mailbox()),
            Err(error) => Err(self.store_failed("a mailbox could not be looked up", &error)),
        }
    }

    async fn noted(&self, user: UserId, scope: &Scope) -> Result<Vec<MetadataEntry>, StoreError> {
        let mut noted = self.store().metadata(user, scope.mailbox()).await?;
        if let Scope::Mailbox(record) = scope
            && let Some(special_use) = record.special_use
        {
            let value = Bytes::from_static(attribute(special_use).as_bytes());
            noted.push(MetadataEntry { name: SPECIAL_USE.to_owned(), value });
        }
        Ok(noted)
    }

    fn tell_metadata(&mut self, mailbox: &str, batch: &mut Batch<'_>) {
        let entries = std::mem::take(batch).entries;
        if !entries.is_empty() {
            let dialect = self.wire.dialect();
            response::metadata(self.wire.output(), mailbox, entries, dialect);
        }
    }
}

/// What annotations are of.
enum Scope {
    /// All of the user's mail.
    Server,
    Mailbox(Box<MailboxRecord>),
}

impl Scope {
    fn mailbox(&self) -> Option<MailboxId> {
        match self {
            Self::Server => None,
            Self::Mailbox(record) => Some(record.id),
        }
    }
}

/// Entries for one response.
#[derive(Default)]
struct Batch<'e> {
    entries: Vec<(&'e str, Option<&'e [u8]>)>,
    bytes: usize,
}

impl<'e> Batch<'e> {
    fn add(&mut self, name: &'e str, value: Option<&'e Bytes>) {
        self.bytes += name.len() + value.map_or(0, Bytes::len);
        self.entries.push((name, value.map(|value| &value[..])));
    }
}

/// Whether an entry is `asked`, or far enough below it. Both in lower case.
fn is_asked(name: &str, asked: &str, depth: MetadataDepth) -> bool {
    let Some(rest) = name.strip_prefix(asked.strip_suffix('/').unwrap_or(asked)) else { return false };
    match (rest.strip_prefix('/'), depth) {
        (None, _) => rest.is_empty(),
        (Some(_), MetadataDepth::Zero) => false,
        (Some(below), MetadataDepth::One) => !below.contains('/'),
        (Some(_), MetadataDepth::Infinity) => true,
    }
}

fn check(scope: &Scope, name: &str, value: Option<&Bytes>) -> Result<(), Status> {
    // RFC 5464 section 3.2.
    let is_name = name.bytes().all(|b| (b' '..0x7f).contains(&b) && !matches!(b, b'*' | b'%'));
    if !is_name || name.contains("//") || name.ends_with('/') {
        return Err(Status::bad("An entry cannot be called so"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(Status::refusal(Code::Limit, "The entry's name is too long"));
    }
    if value.is_some_and(|value| value.len() > VALUE_BYTES_MAX) {
        return Err(Status::refusal(Code::MetadataMaxSize(VALUE_BYTES_MAX as u64), "The value is too long"));
    }
    if matches!(scope, Scope::Server) && !name.to_ascii_lowercase().starts_with("/private/") {
        return Err(Status::refusal(Code::NoPerm, "What all users see is not noted here"));
    }
    if name.eq_ignore_ascii_case(SPECIAL_USE) {
        return Err(Status::refusal(Code::Cannot, "What a mailbox is for is said when it is made"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth() {
        for (name, zero, one, infinity) in [
            ("/private/a", true, true, true),
            ("/private/a/b", false, true, true),
            ("/private/a/b/c", false, false, true),
            ("/private/ab", false, false, false),
            ("/private", false, false, false),
        ] {
            assert_eq!(is_asked(name, "/private/a", MetadataDepth::Zero), zero, "{name}");
            assert_eq!(is_asked(name, "/private/a", MetadataDepth::One), one, "{name}");
            assert_eq!(is_asked(name, "/private/a", MetadataDepth::Infinity), infinity, "{name}");
        }
    }

    #[test]
    fn names_of_entries() {
        for name in ["/private/a*", "/private//a", "/private/a/", "/private/\u{e4}", "/private/a\n"] {
            assert!(check(&Scope::Server, name, None).is_err(), "{name}");
        }
        assert_eq!(check(&Scope::Server, "/Private/Vendor/x", None), Ok(()));
        assert!(check(&Scope::Server, "/shared/comment", None).is_err());
        let long = Bytes::from(vec![0; VALUE_BYTES_MAX + 1]);
        let status = check(&Scope::Server, "/private/a", Some(&long)).map_err(|status| status.code);
        assert_eq!(status, Err(Some(Code::MetadataMaxSize(VALUE_BYTES_MAX as u64))));
    }
}
