//! The documents of the collections that are ours alone, as they are written and read.

use mongodb::bson::{DateTime, oid};
use postrider_core::bounce::Feedback;
use postrider_core::{
    Attachment, Attempt, AuthenticationResult, Category, DeliveryStatus, Direction, EmailStatus, Envelope,
    Instructions, Recipient,
};
use serde::{Deserialize, Serialize};

/// One delivery. It carries what sending takes, so that a claim reads nothing else.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryDocument {
    #[serde(rename = "_id")]
    pub(crate) key: String,
    pub(crate) email: oid::ObjectId,
    pub(crate) number: u32,
    /// How many deliveries the e-mail has.
    pub(crate) of: u32,
    pub(crate) status: DeliveryStatus,
    /// When it is to be tried, also while a node holds it: that is where a lapsed claim goes on from.
    pub(crate) due_at: DateTime,
    /// The same, while it waits and nobody holds it: the index of what can be claimed has just these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ready_at: Option<DateTime>,
    /// The node that sends it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<oid::ObjectId>,
    /// The claim by which that node has it: each has a name of its own, so that one can be given back without touching
    /// another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claim: Option<oid::ObjectId>,
    /// `true` while it is held, failed or cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resting: Option<bool>,
    pub(crate) queued_at: DateTime,
    pub(crate) attempts: u32,
    pub(crate) delay_notified: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_category: Option<Category>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_error: Option<String>,
    /// When its last attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tried_at: Option<DateTime>,
    pub(crate) domain: String,
    pub(crate) recipient: String,
    /// What RCPT said, where it said more than the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parameters: Option<Recipient>,
    pub(crate) sender: String,
    /// What MAIL said, where it said more than the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) envelope: Option<Envelope>,
    /// What the sender asks, where it asks anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) instructions: Option<Instructions>,
    /// Its place in line, the lower the sooner; `None` for 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rank: Option<i32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    /// Of the message as it is sent, in bytes.
    pub(crate) size: i64,
    #[serde(rename = "is8bit")]
    pub(crate) is_8bit: bool,
    pub(crate) created_at: DateTime,
    /// What came back after it was sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) feedback: Vec<Feedback>,
}

/// What changes and lists read of a delivery.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryState {
    #[serde(rename = "_id")]
    pub(crate) key: String,
    pub(crate) email: oid::ObjectId,
    pub(crate) number: u32,
    pub(crate) of: u32,
    pub(crate) status: DeliveryStatus,
    pub(crate) due_at: DateTime,
    pub(crate) queued_at: DateTime,
    pub(crate) owner: Option<oid::ObjectId>,
    pub(crate) attempts: u32,
    pub(crate) domain: String,
    pub(crate) recipient: String,
    pub(crate) tried_at: Option<DateTime>,
    pub(crate) last_error: Option<String>,
    #[serde(default)]
    pub(crate) feedback: Vec<Feedback>,
}

/// One attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttemptDocument {
    #[serde(rename = "_id")]
    pub(crate) key: String,
    pub(crate) email: oid::ObjectId,
    pub(crate) number: u32,
    pub(crate) attempt: u32,
    pub(crate) record: Attempt,
}

/// What Postrider reads of an e-mail's document: all but the contents.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EmailDocument {
    #[serde(rename = "_id")]
    pub(crate) id: oid::ObjectId,
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) subject: Option<String>,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) created_at: DateTime,
    pub(crate) updated_at: DateTime,
    pub(crate) message_id: Option<String>,
    pub(crate) direction: Direction,
    /// `None` for one that is not listed.
    pub(crate) status: Option<EmailStatus>,
    pub(crate) size: i64,
    pub(crate) return_path_bytes: u32,
    pub(crate) envelope: Option<Envelope>,
    pub(crate) instructions: Option<Instructions>,
    #[serde(default)]
    pub(crate) authentication: Vec<AuthenticationResult>,
    #[serde(default)]
    pub(crate) kept: Vec<Recipient>,
    pub(crate) source_ip: Option<String>,
}
