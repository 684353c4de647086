//! `postrider queue retry|hold|release|cancel`: one order to many deliveries.

use clap::Args;
use postrider_core::{DeliveryStatus, Domain, ObjectId, Timestamp};
use postrider_store::{Order, Ordered, Selection, Store};
use serde_json::{Value, json};

use crate::cli::email::no_such_email;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, counted};

/// Which deliveries. What is given must hold together; something must be given.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(in crate::cli) struct SelectionArgs {
    /// Ids of e-mails
    #[arg(value_name = "ID")]
    ids: Vec<ObjectId>,
    /// To recipients at this domain
    #[arg(long)]
    domain: Option<Domain>,
    /// From this address
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// With this tag
    #[arg(long)]
    tag: Option<String>,
    /// In this state
    #[arg(long)]
    status: Option<DeliveryStatus>,
    /// All there are; of `retry`, all that wait: for what failed or was cancelled name ids or --status
    #[arg(long, conflicts_with_all = ["ids", "domain", "sender", "tag", "status"])]
    all: bool,
}

impl SelectionArgs {
    /// The e-mails that are named.
    pub(super) fn emails(&self) -> String {
        self.ids.iter().map(ObjectId::to_string).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn filter(&self) -> Value {
        let Self { ids: _, domain, sender, tag, status, all } = self;
        json!({ "domain": domain, "sender": sender, "tag": tag, "status": status, "all": all })
    }
}

pub(super) async fn run(
    store: &dyn Store,
    args: SelectionArgs,
    order: Order,
    output: &mut Output,
) -> Result<(), Failure> {
    // A mistyped id must not pass for one that had nothing to change.
    for &id in &args.ids {
        store.email(id).await?.ok_or_else(|| no_such_email(id))?;
    }
    let names_emails = !args.ids.is_empty();
    let mut ordered = Ordered::default();
    for status in statuses(&args, order) {
        let selection = Selection {
            emails: args.ids.clone(),
            recipient_domain: args.domain.clone(),
            sender: args.sender.clone(),
            tag: args.tag.clone(),
            status,
        };
        ordered.add(store.order(selection, order, Timestamp::system()).await?);
    }
    if output.is_json() {
        output.json(&ordered)?;
    } else {
        report(ordered, output)?;
    }
    // Who names an e-mail means it; a filter may well find nothing to do.
    match ordered {
        Ordered { changed: 0, recalled: 0, sending, .. } if sending > 0 => {
            Err(Failure::Conflict("nothing was changed: what was meant is being tried at this moment".to_owned()))
        }
        Ordered { changed: 0, recalled: 0, scheduled, .. } if scheduled > 0 && names_emails => Err(Failure::Conflict(
            "nothing was changed: what was meant is scheduled, and not sent before its time".to_owned(),
        )),
        Ordered { changed: 0, recalled: 0, .. } if names_emails => {
            Err(Failure::Conflict("nothing was changed: no delivery is in a state that the order is for".to_owned()))
        }
        _ => Ok(()),
    }
}

/// The statuses that a selection means, each to be ordered on its own; `None` for every one.
///
/// A filter that names no status does not mean what failed or was cancelled: to send all of that again, years of it
/// perhaps, is hardly ever meant.
fn statuses(args: &SelectionArgs, order: Order) -> Vec<Option<DeliveryStatus>> {
    match (order, args.status) {
        (Order::Retry, None) if args.ids.is_empty() => {
            vec![Some(DeliveryStatus::Queued), Some(DeliveryStatus::Deferred)]
        }
        (_, status) => vec![status],
    }
}

fn report(ordered: Ordered, output: &mut Output) -> Result<(), Failure> {
    output.line(format!("{} changed.", counted(ordered.changed, "delivery", "deliveries")))?;
    if ordered.recalled > 0 {
        output.line(format!(
            "{} taken on by a server, which lets go within a second; what is in a transaction by now may be sent.",
            counted(ordered.recalled, "is", "are")
        ))?;
    }
    if ordered.sending > 0 {
        output.line(format!("{} being tried at this moment and left alone.", counted(ordered.sending, "is", "are")))?;
    }
    if ordered.scheduled > 0 {
        let count = counted(ordered.scheduled, "is", "are");
        output.line(format!("{count} scheduled and left alone: not to be sent before a time."))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(status: Option<DeliveryStatus>, ids: Vec<ObjectId>) -> SelectionArgs {
        SelectionArgs { all: status.is_none() && ids.is_empty(), ids, domain: None, sender: None, tag: None, status }
    }

    #[test]
    fn what_is_given_up_is_tried_again_only_by_name() {
        use DeliveryStatus::{Deferred, Failed, Queued};
        assert_eq!(statuses(&args(None, Vec::new()), Order::Retry), [Some(Queued), Some(Deferred)]);
        assert_eq!(statuses(&args(Some(Failed), Vec::new()), Order::Retry), [Some(Failed)]);
        let id = "0123456789abcdef01234567".parse().unwrap();
        assert_eq!(statuses(&args(None, vec![id]), Order::Retry), [None]);
        assert_eq!(statuses(&args(None, Vec::new()), Order::Cancel), [None]);
    }
}
