//! `postrider domain`: whose mail is kept here, beside `ALLOWED_DOMAINS`.

mod add;
mod catch_all;
pub(in crate::cli) mod dkim;
mod list;
mod remove;
mod show;

use clap::Subcommand;
use postrider_config::Profile;
use postrider_core::Domain;
use serde_json::{Value, json};

use crate::cli::audit::record;
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Subcommand)]
pub(super) enum DomainCommand {
    /// Keep a domain's mail here
    Add(add::AddArgs),
    /// List all domains whose mail is kept here, those of ALLOWED_DOMAINS included
    List,
    /// Show a domain with its users and aliases
    Show {
        /// The domain
        name: Domain,
    },
    /// Show the keys that sign the domain's mail, and the DNS records that publish them
    Dkim(dkim::DkimArgs),
    /// Decide who gets what is for nobody else at a domain
    CatchAll(catch_all::CatchAllArgs),
    /// Remove a domain; its users and aliases stay, and get no mail
    Remove {
        /// The domain
        name: Domain,
    },
}

pub(super) fn run(command: DomainCommand, output: &mut Output) -> Result<(), Failure> {
    let settings = context::load(Profile::Serve)?.settings;
    let configured = settings.allowed_domains.clone();
    match command {
        // Domains may be added before the server has ever run.
        DomainCommand::Add(args) => context::with_new_store(async |store| {
            let details = json!({ "after": { "catchAll": args.catch_all } });
            record(store, "domain.add", &args.name, details, add::run(store, &configured, &args, output)).await
        }),
        DomainCommand::List => context::with_store(async |store| list::run(store, &configured, output).await),
        DomainCommand::Show { name } => {
            context::with_store(async |store| show::run(store, &configured, &name, output).await)
        }
        DomainCommand::Dkim(args) => {
            context::with_new_store(async |store| dkim::run(store, &settings, &args, output).await)
        }
        DomainCommand::CatchAll(args) => context::with_store(async |store| {
            let details = json!({ "after": { "catchAll": args.address } });
            let changed = catch_all::run(store, &configured, &args, output);
            record(store, "domain.change", &args.name, details, changed).await
        }),
        DomainCommand::Remove { name } => context::with_store(async |store| {
            let removed = remove::run(store, &configured, &name, output);
            record(store, "domain.remove", &name, Value::Null, removed).await
        }),
    }
}

fn no_such_domain(name: &Domain) -> Failure {
    Failure::NotFound(format!("there is no domain {name}"))
}
