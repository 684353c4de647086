//! `postrider queue retry|hold|release|cancel`: one order to many deliveries.

use clap::Args;
use postrider_core::{DeliveryStatus, Domain, ObjectId, Timestamp};
use postrider_store::{Order, Ordered, Selection, Store};

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
    /// In this state
    #[arg(long)]
    status: Option<DeliveryStatus>,
    /// All there are
    #[arg(long, conflicts_with_all = ["ids", "domain", "sender", "status"])]
    all: bool,
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
    let selection =
        Selection { emails: args.ids, recipient_domain: args.domain, sender: args.sender, status: args.status };
    let ordered = store.order(selection, order, Timestamp::system()).await?;
    if output.is_json() {
        output.json(&ordered)?;
    } else {
        report(ordered, output)?;
    }
    // Who names an e-mail means it; a filter may well find nothing to do.
    match ordered {
        Ordered { changed: 0, sending } if sending > 0 => {
            Err(Failure::Conflict("nothing was changed: what was meant is being sent at this moment".to_owned()))
        }
        Ordered { changed: 0, .. } if names_emails => {
            Err(Failure::Conflict("nothing was changed: no delivery is in a state that the order is for".to_owned()))
        }
        _ => Ok(()),
    }
}

fn report(ordered: Ordered, output: &mut Output) -> Result<(), Failure> {
    output.line(format!("{} changed.", counted(ordered.changed, "delivery", "deliveries")))?;
    if ordered.sending > 0 {
        output.line(format!(
            "{} being sent at this moment and left alone; try again shortly.",
            counted(ordered.sending, "is", "are")
        ))?;
    }
    Ok(())
}
