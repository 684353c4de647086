//! What a client asked to be told of with NOTIFY (RFC 5465): its wishes, and what it knows. Telling is `notify.rs`'s.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;

use postrider_core::mailbox::MailboxName;
use postrider_store::{MailboxChange, MailboxId, MailboxRecord, UserId};
use postrider_wire::imap::command::{EventGroup, FetchItem, MailboxFilter, NotifyEvent, StatusItem};
use postrider_wire::imap::response::{Code, Status};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::hierarchy::Names;

/// What NOTIFY knows (RFC 5465 section 8). Annotations of messages are not kept here.
const EVENTS: &[&str] = &[
    "MessageNew",
    "MessageExpunge",
    "FlagChange",
    "MailboxName",
    "SubscriptionChange",
    "MailboxMetadataChange",
    "ServerMetadataChange",
];

/// What a client is told of without asking, and what it was told already.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) wishes: Wishes,
    pub(super) known: Known,
    pub(super) heard: Heard,
    user: UserId,
    changes: broadcast::Receiver<MailboxChange>,
}

/// What a client asked for.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) selected: Option<SelectedWish>,
    /// Of mailboxes that are not selected. The first that a mailbox falls under decides.
    groups: Vec<(Filter, Events)>,
}

/// In the selected mailbox: new messages and expunges.
#[derive(Debug)]
pub(super) struct SelectedWish {
    /// SELECTED-DELAYED: sequence numbers hold from one command to the next (section 6.1.2).
    pub(super) is_delayed: bool,
    pub(super) flags: bool,
    /// Of each new message.
    pub(super) fetch: Vec<FetchItem>,
}

#[derive(Debug)]
enum Filter {
    Inbox,
    All,
    Subscribed,
    Subtree(Vec<MailboxName>),
    These(Vec<MailboxName>),
}

/// Which events are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Events {
    /// MessageNew and MessageExpunge, which come together.
    pub(super) messages: bool,
    pub(super) flags: bool,
    pub(super) names: bool,
    pub(super) subscriptions: bool,
    pub(super) metadata: bool,
    pub(super) server_metadata: bool,
}

/// What the client was told last.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) names: Names,
    /// Annotations by mailbox, or of all mail: their names, and a digest of the value.
    pub(super) metadata: HashMap<Option<MailboxId>, BTreeMap<String, u64>>,
}

/// Where something happened since.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Everywhere.
    pub(super) all: bool,
    pub(super) mailboxes: Vec<MailboxId>,
}

impl Watch {
    pub(super) fn new(wishes: Wishes, user: UserId, changes: broadcast::Receiver<MailboxChange>) -> Self {
        Self { wishes, known: Known::default(), heard: Heard::default(), user, changes }
    }

    /// Waits until there may be something to tell: there, or as `selected` says.
    pub(super) async fn changed(&mut self, selected: impl Future<Output = ()>) {
        if self.heard.all || !self.heard.mailboxes.is_empty() {
            return;
        }
        tokio::select! {
            () = selected => {}
            () = self.hear() => {}
        }
    }

    async fn hear(&mut self) {
        if self.wishes.groups.is_empty() {
            std::future::pending::<()>().await;
        }
        loop {
            let change = match self.changes.recv().await {
                Ok(change) => change,
                Err(RecvError::Lagged(_)) => MailboxChange::Anything,
                Err(RecvError::Closed) => return std::future::pending().await,
            };
            if self.note(change) {
                return;
            }
        }
    }

    /// What was heard up to now.
    pub(super) fn take_heard(&mut self) -> Heard {
        loop {
            let change = match self.changes.try_recv() {
                Ok(change) => change,
                Err(TryRecvError::Lagged(_)) => MailboxChange::Anything,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return std::mem::take(&mut self.heard),
            };
            self.note(change);
        }
    }

    /// Whether it concerns this user.
    fn note(&mut self, change: MailboxChange) -> bool {
        match change {
            MailboxChange::Messages { user, mailbox } if user == self.user => {
                if !self.heard.mailboxes.contains(&mailbox) {
                    self.heard.mailboxes.push(mailbox);
                }
                true
            }
            MailboxChange::Mailboxes { user } if user == self.user => {
                self.heard.all = true;
                true
            }
            MailboxChange::Anything => {
                self.heard.all = true;
                true
            }
            MailboxChange::Messages { .. } | MailboxChange::Mailboxes { .. } => false,
        }
    }
}

impl Wishes {
    /// NO or BAD where it cannot be.
    pub(super) fn of(groups: Vec<EventGroup>) -> Result<Self, Status> {
        let mut wishes = Self::default();
        let mut has_selected = false;
        for group in groups {
            if group.events.iter().any(|event| !EVENTS.contains(&event.name())) {
                return Err(Status::refusal(Code::BadEvent(EVENTS), "Some of these events are not known here"));
            }
            let is_delayed = group.filter == MailboxFilter::SelectedDelayed;
            if is_delayed || group.filter == MailboxFilter::Selected {
                // RFC 5465 section 6.1.
                if std::mem::replace(&mut has_selected, true) {
                    return Err(Status::bad("SELECTED and SELECTED-DELAYED once only"));
                }
                wishes.selected = selected_wish(group.events, is_delayed)?;
            } else {
                wishes.groups.push((Filter::of(group.filter), Events::of(&group.events)));
            }
        }
        Ok(wishes)
    }

    /// The events that are wanted of a mailbox of this name where it is not selected.
    pub(super) fn events(&self, name: &str, names: &Names) -> Events {
        let group = self.groups.iter().find(|(filter, _)| filter.covers(name, names));
        group.map_or(Events::default(), |(_, events)| *events)
    }

    pub(super) fn has(&self, event: impl Fn(&Events) -> bool) -> bool {
        self.groups.iter().any(|(_, events)| event(events))
    }
}

fn selected_wish(events: Vec<NotifyEvent>, is_delayed: bool) -> Result<Option<SelectedWish>, Status> {
    let mut wish = SelectedWish { is_delayed, flags: false, fetch: Vec::new() };
    let is_none = events.is_empty();
    for event in events {
        match event {
            NotifyEvent::MessageNew { fetch } => wish.fetch = fetch,
            NotifyEvent::MessageExpunge => {}
            NotifyEvent::FlagChange => wish.flags = true,
            _ => return Err(Status::bad("Of the selected mailbox only messages and flags can be watched")),
        }
    }
    Ok((!is_none).then_some(wish))
}

impl Filter {
    fn of(filter: MailboxFilter) -> Self {
        // What can be no name of a mailbox is passed over (RFC 5465 section 6.6).
        let names = |names: Vec<String>| names.iter().filter_map(|name| MailboxName::parse(name).ok()).collect();
        match filter {
            // Mail is delivered to INBOX alone (section 6.3).
            MailboxFilter::Inboxes => Self::Inbox,
            MailboxFilter::Subscribed => Self::Subscribed,
            MailboxFilter::Subtree(roots) => Self::Subtree(names(roots)),
            MailboxFilter::Mailboxes(these) => Self::These(names(these)),
            MailboxFilter::Personal | MailboxFilter::Selected | MailboxFilter::SelectedDelayed => Self::All,
        }
    }

    fn covers(&self, name: &str, names: &Names) -> bool {
        match self {
            Self::Inbox => name == MailboxName::INBOX,
            Self::All => true,
            Self::Subscribed => names.is_subscribed(name),
            Self::Subtree(roots) => {
                roots.iter().any(|root| root.as_str() == name || super::names::is_below(name, root.as_str()))
            }
            Self::These(these) => these.iter().any(|this| this.as_str() == name),
        }
    }
}

impl Events {
    fn of(events: &[NotifyEvent]) -> Self {
        let mut wanted = Self::default();
        for event in events {
            match event {
                NotifyEvent::MessageNew { .. } | NotifyEvent::MessageExpunge => wanted.messages = true,
                NotifyEvent::FlagChange => wanted.flags = true,
                NotifyEvent::MailboxName => wanted.names = true,
                NotifyEvent::SubscriptionChange => wanted.subscriptions = true,
                NotifyEvent::MailboxMetadataChange => wanted.metadata = true,
                NotifyEvent::ServerMetadataChange => wanted.server_metadata = true,
                NotifyEvent::AnnotationChange | NotifyEvent::Other(_) => {}
            }
        }
        wanted
    }

    /// What STATUS tells at once (RFC 5465 section 3.1).
    pub(super) fn first_status(self, condstore: bool) -> Vec<StatusItem> {
        if !self.messages {
            return Vec::new();
        }
        let mut items = vec![StatusItem::Messages, StatusItem::UidNext, StatusItem::UidValidity];
        items.extend(self.flags.then_some(StatusItem::Unseen));
        items.extend(condstore.then_some(StatusItem::HighestModSeq));
        items
    }

    /// What STATUS tells of a change (sections 5.1 to 5.3); nothing if it is of no interest.
    pub(super) fn status(self, before: &MailboxRecord, after: &MailboxRecord, condstore: bool) -> Vec<StatusItem> {
        let has_others = before.uid_next != after.uid_next || before.counts.messages != after.counts.messages;
        let mut items = match (has_others, before.highest_modseq != after.highest_modseq) {
            (true, _) if self.messages => vec![StatusItem::UidNext, StatusItem::Messages],
            (false, true) if self.flags => vec![StatusItem::UidValidity],
            _ => return Vec::new(),
        };
        items.extend(self.flags.then_some(StatusItem::Unseen));
        items.extend(condstore.then_some(StatusItem::HighestModSeq));
        items
    }
}
