//! What every e-mail of a store comes to: an id and a hash, the same in every engine.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use postrider_core::bounce::Feedback;
use postrider_core::{
    Attachment, Attempt, AuthenticationResult, Direction, EmailStatus, Envelope, Instructions, ObjectId, Recipient,
    Timestamp,
};
use postrider_store::{StoredDelivery, StoredEmail};
use ring::digest::{Context, SHA256};
use serde::Serialize;

/// How many e-mails have each status.
pub(super) type Statuses = BTreeMap<&'static str, u64>;

type Hash = [u8; 32];

/// The e-mails of a store, 45 bytes each.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    entries: Vec<Entry>,
    statuses: Statuses,
    listed: u64,
    is_sorted: bool,
}

#[derive(Debug)]
struct Entry {
    id: ObjectId,
    hash: Hash,
    is_found: bool,
}

/// What an e-mail of another store is to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Same,
    Changed,
    Unknown,
}

impl Inventory {
    pub(super) fn add(&mut self, email: &StoredEmail) {
        self.entries.push(Entry { id: email.id, hash: hash(email), is_found: false });
        // A store counts only what it lists.
        if email.hold.is_listed {
            *self.statuses.entry(status(email).as_str()).or_default() += 1;
            self.listed += 1;
        }
        self.is_sorted = false;
    }

    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// How many of them are listed.
    pub(super) fn listed(&self) -> u64 {
        self.listed
    }

    pub(super) fn statuses(&self) -> Statuses {
        self.statuses.clone()
    }

    /// Looks for an e-mail of the other store.
    pub(super) fn find(&mut self, email: &StoredEmail) -> Found {
        if !self.is_sorted {
            self.entries.sort_unstable_by_key(|entry| entry.id);
            self.is_sorted = true;
        }
        let position = self.entries.binary_search_by_key(&email.id, |entry| entry.id);
        let Some(entry) = position.ok().and_then(|position| self.entries.get_mut(position)) else {
            return Found::Unknown;
        };
        entry.is_found = true;
        if entry.hash == hash(email) { Found::Same } else { Found::Changed }
    }

    /// Those that were looked for in vain.
    pub(super) fn missing(&self) -> impl Iterator<Item = ObjectId> {
        self.entries.iter().filter(|entry| !entry.is_found).map(|entry| entry.id)
    }
}

fn status(email: &StoredEmail) -> EmailStatus {
    EmailStatus::of(email.deliveries.iter().map(|delivery| delivery.status))
}

/// All of an e-mail but the bytes of its message.
#[derive(Serialize)]
struct Canonical<'e> {
    id: ObjectId,
    created_at: Timestamp,
    updated_at: Timestamp,
    direction: Direction,
    envelope: &'e Envelope,
    instructions: &'e Instructions,
    authentication: &'e [AuthenticationResult],
    size: usize,
    return_path_bytes: u32,
    message_id: Option<&'e str>,
    subject: Option<&'e str>,
    attachments: &'e [Attachment],
    is_8bit: bool,
    kept: &'e [Recipient],
    source_ip: Option<IpAddr>,
    deliveries: Vec<CanonicalDelivery<'e>>,
    hold: (bool, bool),
    digest: Option<&'e [u8]>,
}

#[derive(Serialize)]
struct CanonicalDelivery<'e> {
    recipient: &'e Recipient,
    status: &'static str,
    due_at: Timestamp,
    queued_at: Option<Timestamp>,
    delay_notified: bool,
    attempts: &'e [Attempt],
    feedback: &'e [Feedback],
}

fn hash(email: &StoredEmail) -> Hash {
    // Whole, so that a field to come is not forgotten here.
    let StoredEmail {
        id,
        created_at,
        updated_at,
        direction,
        envelope,
        instructions,
        authentication,
        message,
        kept,
        source_ip,
        deliveries,
        hold,
        digest,
    } = email;
    let summary = &message.summary;
    let canonical = Canonical {
        id: *id,
        created_at: *created_at,
        updated_at: *updated_at,
        direction: *direction,
        envelope,
        instructions,
        authentication,
        size: message.raw.len(),
        return_path_bytes: message.return_path_bytes,
        message_id: summary.message_id.as_deref(),
        subject: summary.subject.as_deref(),
        attachments: &summary.attachments,
        is_8bit: summary.is_8bit,
        kept,
        source_ip: *source_ip,
        deliveries: deliveries.iter().map(canonical_delivery).collect(),
        hold: (hold.is_listed, hold.stays_on_record),
        digest: digest.as_deref(),
    };
    let mut hasher = Hasher(Context::new(&SHA256));
    // Writing into a hash cannot fail, and nothing here has keys that JSON does not know.
    let _ = serde_json::to_writer(&mut hasher, &canonical);
    hasher.0.update(&message.raw);
    let mut hash = Hash::default();
    hash.copy_from_slice(hasher.0.finish().as_ref());
    hash
}

fn canonical_delivery(delivery: &StoredDelivery) -> CanonicalDelivery<'_> {
    let StoredDelivery { recipient, status, due_at, queued_at, delay_notified, attempts, feedback } = delivery;
    CanonicalDelivery {
        recipient,
        status: status.as_str(),
        due_at: *due_at,
        queued_at: *queued_at,
        delay_notified: *delay_notified,
        attempts,
        feedback,
    }
}

struct Hasher(Context);

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postrider_core::{Address, AuthenticationResult, DeliveryStatus, Message, Outcome, Reply, ReversePath};

    use super::*;

    fn email() -> StoredEmail {
        let at = Timestamp::from_millis(1_800_000_000_000);
        let attempt = Attempt {
            number: 1,
            started_at: at,
            duration: Duration::from_millis(250),
            mx: None,
            mx_ip: None,
            source_ip: None,
            ip_selection: None,
            tls: None,
            exchanges: Vec::new(),
            outcome: Outcome::Delivered { reply: Reply { code: 250, enhanced_code: None, text: "ok".into() } },
        };
        let delivery = StoredDelivery {
            recipient: Recipient::new(Address::parse("b@example.org").unwrap()),
            status: DeliveryStatus::Sent,
            due_at: at,
            queued_at: None,
            delay_notified: false,
            attempts: vec![attempt],
            feedback: Vec::new(),
        };
        StoredEmail {
            hold: postrider_store::EmailHold::RECORD,
            digest: None,
            id: ObjectId::from_bytes([7; 12]),
            created_at: at,
            updated_at: at,
            direction: Direction::Outbound,
            envelope: Envelope { reverse_path: ReversePath::NULL, ..Envelope::default() },
            instructions: Default::default(),
            authentication: Vec::new(),
            message: Message::parse("Subject: x\r\n\r\ntext".into(), 0),
            kept: Vec::new(),
            source_ip: None,
            deliveries: vec![delivery],
        }
    }

    #[test]
    fn any_change_changes_the_hash() {
        let later = Timestamp::from_millis(1_800_000_000_001);
        let changes: [fn(&mut StoredEmail, Timestamp); 22] = [
            |email, _| email.id = ObjectId::from_bytes([8; 12]),
            |email, later| email.created_at = later,
            |email, later| email.updated_at = later,
            |email, _| email.direction = Direction::Inbound,
            |email, _| email.envelope.smtputf8 = true,
            |email, _| email.instructions.tags.push("news".into()),
            |email, _| {
                let result = AuthenticationResult {
                    method: "spf".into(),
                    result: "pass".into(),
                    properties: Default::default(),
                    reason: None,
                };
                email.authentication.push(result);
            },
            |email, _| email.message.raw = "Subject: x\r\n\r\nTEXT".into(),
            |email, _| email.message.return_path_bytes = 3,
            |email, _| email.message.summary.subject = None,
            |email, _| email.message.summary.message_id = Some("x".into()),
            |email, _| email.message.summary.is_8bit = true,
            |email, _| email.kept.push(Recipient::new(Address::parse("k@example.org").unwrap())),
            |email, _| email.source_ip = Some("192.0.2.1".parse().unwrap()),
            |email, _| email.deliveries[0].status = DeliveryStatus::Failed,
            |email, later| email.deliveries[0].due_at = later,
            |email, later| email.deliveries[0].queued_at = Some(later),
            |email, _| email.deliveries[0].delay_notified = true,
            |email, _| email.deliveries[0].attempts.clear(),
            |email, _| email.hold.is_listed = false,
            |email, _| email.hold.stays_on_record = false,
            |email, _| email.digest = Some("digest".into()),
        ];
        assert_eq!(hash(&email()), hash(&email()));
        let mut hashes = vec![hash(&email())];
        for change in changes {
            let mut changed = email();
            change(&mut changed, later);
            hashes.push(hash(&changed));
        }
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), changes.len() + 1);
    }

    #[test]
    fn what_is_not_found_is_missing() {
        let numbered = |n: u8| StoredEmail { id: ObjectId::from_bytes([n; 12]), ..email() };
        let mut inventory = Inventory::default();
        [3, 1, 2].iter().for_each(|&n| inventory.add(&numbered(n)));
        assert_eq!(inventory.find(&numbered(2)), Found::Same);
        assert_eq!(inventory.find(&StoredEmail { kept: email().kept, source_ip: None, ..numbered(4) }), Found::Unknown);
        assert_eq!(inventory.find(&StoredEmail { direction: Direction::Inbound, ..numbered(3) }), Found::Changed);
        assert_eq!(inventory.missing().collect::<Vec<_>>(), [ObjectId::from_bytes([1; 12])]);
        assert_eq!(inventory.statuses(), Statuses::from([("sent", 3)]));
    }
}
