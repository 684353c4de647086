//! NOTIFY (RFC 5465): what a client wants to hear without asking.

use super::FetchItem;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notify {
    None,
    Set {
        /// STATUS of the mailboxes that are watched is wanted at once (section 3.1).
        status: bool,
        /// At least one. Where a mailbox falls under several, the first decides (section 3.1).
        groups: Vec<EventGroup>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventGroup {
    pub filter: MailboxFilter,
    /// Empty: NONE.
    pub events: Vec<NotifyEvent>,
}

/// Section 6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailboxFilter {
    Selected,
    SelectedDelayed,
    Inboxes,
    Personal,
    Subscribed,
    /// These and all below.
    Subtree(Vec<String>),
    Mailboxes(Vec<String>),
}

/// Section 5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifyEvent {
    MessageNew {
        /// Of each new message, with the selected mailbox only.
        fetch: Vec<FetchItem>,
    },
    MessageExpunge,
    FlagChange,
    AnnotationChange,
    MailboxName,
    SubscriptionChange,
    MailboxMetadataChange,
    ServerMetadataChange,
    /// Unknown here: NO with BADEVENT (section 8).
    Other(String),
}

impl NotifyEvent {
    /// As it stands on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::MessageNew { .. } => "MessageNew",
            Self::MessageExpunge => "MessageExpunge",
            Self::FlagChange => "FlagChange",
            Self::AnnotationChange => "AnnotationChange",
            Self::MailboxName => "MailboxName",
            Self::SubscriptionChange => "SubscriptionChange",
            Self::MailboxMetadataChange => "MailboxMetadataChange",
            Self::ServerMetadataChange => "ServerMetadataChange",
            Self::Other(name) => name,
        }
    }
}
