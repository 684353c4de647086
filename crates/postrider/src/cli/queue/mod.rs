//! `postrider queue`: what waits, and orders to it.

mod list;
mod order;

use clap::Subcommand;
use postrider_store::Order;
use serde_json::json;

use crate::cli::audit::record;
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// List the e-mails that wait, and count the queue
    List(list::ListArgs),
    /// Try again now: queued and deferred ones; failed and cancelled ones, from the start, where ids or --status name them
    Retry(order::SelectionArgs),
    /// Let queued and deferred ones wait until released
    Hold(order::SelectionArgs),
    /// Queue held ones
    Release(order::SelectionArgs),
    /// Give queued, deferred and held ones up, without telling the sender
    #[command(visible_alias = "purge")]
    Cancel(order::SelectionArgs),
}

pub(super) fn run(command: QueueCommand, output: &mut Output) -> Result<(), Failure> {
    let (args, order) = match command {
        QueueCommand::List(args) => {
            return context::with_store(async |store| list::run(store, args, output).await);
        }
        QueueCommand::Retry(args) => (args, Order::Retry),
        QueueCommand::Hold(args) => (args, Order::Hold),
        QueueCommand::Release(args) => (args, Order::Release),
        QueueCommand::Cancel(args) => (args, Order::Cancel),
    };
    context::with_store(async |store| {
        let action = match order {
            Order::Retry => "deliveries.retry",
            Order::Hold => "deliveries.hold",
            Order::Release => "deliveries.release",
            Order::Cancel => "deliveries.cancel",
        };
        let (target, details) = (args.emails(), json!({ "selection": args.filter() }));
        record(store, action, target, details, order::run(store, args, order, output)).await
    })
}
