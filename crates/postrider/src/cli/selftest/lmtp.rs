//! `postrider selftest lmtp`: delivers a mail to a user as another mail server would, and looks for it in the mailbox.

use std::net::SocketAddr;

use clap::Args;
use postrider::Engine;
use postrider_config::{Profile, Settings};
use postrider_core::mailbox::MailboxName;
use postrider_core::{Address, ObjectId, Timestamp};
use postrider_store::directory::{self, Reached};
use postrider_store::{Store, StoreError};
use serde_json::json;

use super::email::{compose, default_sender};
use super::ports::connect;
use super::smtp::{Dialogue, Reply};
use super::steps::Steps;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::{context, demo};

const ADVICE: &str = "is the server running with these settings? This host's address must be in TRUSTED_NETWORKS; \
                      `postrider user show` says whether a user gets mail";

#[derive(Debug, Default, Args)]
pub(super) struct LmtpArgs {
    /// Whom to deliver the test mail; with --dev by default the demo user
    #[arg(long, value_name = "ADDRESS")]
    to: Option<Address>,
}

pub(super) async fn run(
    settings: &Settings,
    profile: Profile,
    args: LmtpArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let lmtp = context::address_of(settings, "lmtp")
        .ok_or_else(|| Failure::Usage("LMTP_PORT is 0: the test needs that listener".to_owned()))?;
    let recipient = match args.to {
        Some(to) => to,
        None if profile == Profile::Dev => demo_user()?,
        None => return Err(Failure::Usage("say with --to to which user the mail may go".to_owned())),
    };
    let sender = default_sender(settings)?;
    let message_id = format!("selftest.{}@{}", ObjectId::new(Timestamp::system()), settings.mail_hostname);
    let message = compose("lmtp", &sender, &recipient, &message_id);
    let mut steps = Steps::new(output);
    steps.done(format!("delivering to {recipient} through {lmtp}"))?;
    let reply = match deliver(lmtp, &settings.mail_hostname, &sender, &recipient, &message).await {
        Ok(reply) => reply,
        Err(error) => return steps.failed(error, ADVICE),
    };
    steps.done(format!("accepted: {reply}"))?;
    let Some(id) = reply.words().find_map(|word| word.parse::<ObjectId>().ok()) else {
        return steps.failed("the reply names no id".to_owned(), "another program may listen there");
    };
    let found =
        context::with_store_of(Engine::of(settings), async |store| Ok(in_mailboxes(store, &recipient, id).await?));
    match found.await? {
        0 => steps.failed(
            format!("no INBOX of {recipient} has the mail {id}"),
            "run this where the server runs, with the same DATA_DIR or MONGODB_URL",
        ),
        count => {
            let whose = if count == 1 { "the INBOX".to_owned() } else { format!("{count} INBOXes") };
            steps.done(format!("e-mail {id} is in {whose} of {recipient}"))?;
            steps.succeeded(&json!({ "id": id, "mailboxes": count }))
        }
    }
}

fn demo_user() -> Result<Address, Failure> {
    Address::parse(demo::ADDRESS).map_err(|error| Failure::Failed(error.to_string()))
}

async fn deliver(
    lmtp: SocketAddr,
    hostname: &str,
    sender: &Address,
    recipient: &Address,
    message: &str,
) -> Result<Reply, String> {
    let mut dialogue = Dialogue::new(connect(lmtp).await?);
    dialogue.greeting().await?;
    dialogue.command(&format!("LHLO {hostname}"), 250).await?;
    let smtputf8 = if sender.as_str().is_ascii() && recipient.as_str().is_ascii() { "" } else { " SMTPUTF8" };
    dialogue.command(&format!("MAIL FROM:<{sender}>{smtputf8}"), 250).await?;
    dialogue.command(&format!("RCPT TO:<{recipient}>"), 250).await?;
    dialogue.command("DATA", 354).await?;
    let reply = dialogue.message(message, 250).await?;
    let _ = dialogue.command("QUIT", 221).await;
    Ok(reply)
}

/// In how many INBOXes the e-mail is, of those that the address reaches.
async fn in_mailboxes(store: &dyn Store, recipient: &Address, id: ObjectId) -> Result<usize, StoreError> {
    let mut count = 0;
    for Reached { user, .. } in directory::resolve(store, recipient).await? {
        let Some(inbox) = store.mailbox(user, &MailboxName::inbox()).await? else { continue };
        let opened = store.open_mailbox(inbox.id).await?;
        let is_there = opened.is_some_and(|opened| opened.entries.iter().any(|entry| entry.email == id));
        count += usize::from(is_there);
    }
    Ok(count)
}
