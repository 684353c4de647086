//! The table of commands: who carries each out, and what may be told of the selected mailbox with its answer.

use postrider_wire::imap::command::{Command, CommandBody};
use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    /// Carries a command out. Its answer, after what is to be told with it.
    pub(super) async fn execute(&mut self, command: Command) -> Result<Status, End> {
        let tells = Tells::of(&command.body);
        if !matches!(command.body, CommandBody::Fetch(_)) {
            self.close_message();
        }
        let status = self.carry_out(&command.tag, command.body).await?;
        match tells {
            Tells::Nothing => {}
            Tells::AllButExpunges => self.tell(false).await?,
            Tells::All => self.tell(true).await?,
        }
        Ok(status)
    }

    async fn carry_out(&mut self, tag: &str, body: CommandBody) -> Result<Status, End> {
        match body {
            CommandBody::Noop | CommandBody::Check => Ok(self.noop().await),
            CommandBody::Id(fields) => self.id(fields).await,
            CommandBody::Enable(extensions) => self.enable(extensions).await,
            CommandBody::Select(select) => Ok(self.select(select).await),
            CommandBody::Create(create) => self.create(create).await,
            CommandBody::Delete { mailbox } => self.delete(&mailbox).await,
            CommandBody::Rename { from, to } => self.rename(&from, &to).await,
            CommandBody::Subscribe { mailbox } => self.subscribe(&mailbox, true).await,
            CommandBody::Unsubscribe { mailbox } => self.subscribe(&mailbox, false).await,
            CommandBody::List(list) => self.list(list).await,
            CommandBody::Lsub(lsub) => self.lsub(lsub).await,
            CommandBody::Namespace => self.namespace().await,
            CommandBody::Status { mailbox, items } => self.status(&mailbox, &items).await,
            CommandBody::Append(append) => self.append(append).await,
            CommandBody::Replace(replace) => self.replace(replace).await,
            CommandBody::GetQuota { root } => self.get_quota(&root).await,
            CommandBody::GetQuotaRoot { mailbox } => self.get_quota_root(&mailbox).await,
            CommandBody::SetQuota { root, .. } => self.set_quota(&root).await,
            CommandBody::Close => Ok(self.close().await),
            CommandBody::Unselect => {
                self.unselect().await;
                Ok(Status::ok("Closed"))
            }
            CommandBody::Expunge { uids } => Ok(self.expunge(uids.as_ref()).await),
            CommandBody::Search(search) => self.search(tag, search).await,
            CommandBody::Sort(sort) => self.sort(tag, sort).await,
            CommandBody::Thread(thread) => self.thread(tag, thread).await,
            CommandBody::Fetch(fetch) => self.fetch(fetch).await,
            CommandBody::Store(store) => self.store_flags(store).await,
            CommandBody::Copy { uid, set, mailbox } => self.copy(uid, &set, &mailbox, false).await,
            CommandBody::Move { uid, set, mailbox } => self.copy(uid, &set, &mailbox, true).await,
            CommandBody::GetMetadata(get) => self.get_metadata(get).await,
            CommandBody::SetMetadata(set) => self.set_metadata(set).await,
            CommandBody::Notify(notify) => self.notify(notify).await,
        }
    }
}

/// What a command may tell of the selected mailbox with its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tells {
    /// The mailbox is another, or none.
    Nothing,
    /// Sequence numbers must hold until the answer (RFC 3501 section 7.4.1).
    AllButExpunges,
    All,
}

impl Tells {
    fn of(body: &CommandBody) -> Self {
        match body {
            CommandBody::Select(_) | CommandBody::Close | CommandBody::Unselect => Self::Nothing,
            CommandBody::Fetch(fetch) if !fetch.uid => Self::AllButExpunges,
            CommandBody::Store(store) if !store.uid => Self::AllButExpunges,
            CommandBody::Search(search) if !search.uid => Self::AllButExpunges,
            CommandBody::Sort(sort) if !sort.uid => Self::AllButExpunges,
            CommandBody::Thread(thread) if !thread.uid => Self::AllButExpunges,
            _ => Self::All,
        }
    }
}
