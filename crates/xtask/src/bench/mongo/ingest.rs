//! Durable ingest by SMTP into the store on MongoDB, beside a plain loop that inserts the same documents one by one.

use std::fmt;
use std::path::PathBuf;

use super::inserts::{self, Inserts};
use super::mx::Mx;
use super::{Bench, Database, waiting};
use crate::bench::ingest::WARM_UP_MESSAGES;
use crate::bench::load::{self, KEPT_DOMAIN, RELAYED_DOMAIN};
use crate::bench::postrider::Postrider;
use crate::bench::process::cpu_microseconds;
use crate::bench::report::Sample;

/// Documents that the loop goes through again and again.
const DOCUMENTS: u64 = 500;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mail {
    /// It stays here: one document each.
    Kept,
    /// It waits to go on: a delivery each as well, while the loop inserts the e-mails alone.
    Outbound,
}

impl Mail {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept here",
            Self::Outbound => "to be sent on",
        }
    }
}

/// One round of one side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    pub(super) sample: Sample,
    /// What the database server used for each message.
    pub(super) database_microseconds_per_message: f64,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, database {:>5.0} us", self.sample, self.database_microseconds_per_message)
    }
}

/// All rounds of one kind of mail.
#[derive(Debug)]
pub(super) struct Ingest {
    pub(super) mail: Mail,
    pub(super) postrider: Vec<Figure>,
    pub(super) plain: Vec<Figure>,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Ingest>, String> {
    [Mail::Kept, Mail::Outbound].into_iter().map(|mail| rounds(bench, mail)).collect()
}

fn rounds(bench: &Bench, mail: Mail) -> Result<Ingest, String> {
    let mut ingest = Ingest { mail, postrider: Vec::new(), plain: Vec::new() };
    for round in 1..=bench.options.rounds {
        let ours = postrider(bench, mail, round)?;
        println!("{}, round {round}: Postrider {ours}", mail.name());
        ingest.postrider.push(ours);
        let theirs = plain(bench, mail)?;
        println!("{}, round {round}: the loop  {theirs}", mail.name());
        ingest.plain.push(theirs);
    }
    Ok(ingest)
}

fn postrider(bench: &Bench, mail: Mail, round: u64) -> Result<Figure, String> {
    let database = bench.databases.fresh()?;
    // It never opens: nothing is delivered.
    let mx = Mx::start()?;
    let name = format!("ingest-{mail:?}-{round}");
    let node = bench.node(&name, &database, &mx, &[("QUEUE_CONCURRENCY", "1")])?;
    let options = &bench.options;
    let domain = match mail {
        Mail::Kept => KEPT_DOMAIN,
        Mail::Outbound => RELAYED_DOMAIN,
    };
    load::send(node.port, domain, WARM_UP_MESSAGES, options.sessions)?;
    let before = (cpu_microseconds(node.id()), database.cpu_microseconds());
    let took = load::send(node.port, domain, options.messages, options.sessions)?;
    let sample = Sample::new(options.messages, took, cpu_microseconds(node.id()) - before.0);
    let figure = figure(options.messages, sample, &database, before.1);
    check(&node, mail, options.messages + WARM_UP_MESSAGES)?;
    let documents = documents(bench, mail);
    if !documents.exists() {
        inserts::sample(&bench.inserts, &database, &documents, DOCUMENTS)?;
    }
    node.stop()?;
    Ok(figure)
}

fn check(node: &Postrider, mail: Mail, expected: u64) -> Result<(), String> {
    let stored = match mail {
        Mail::Kept => node.count("received")?,
        Mail::Outbound => waiting(node)?,
    };
    if stored == expected { Ok(()) } else { Err(format!("Postrider keeps {stored} messages, not {expected}")) }
}

fn plain(bench: &Bench, mail: Mail) -> Result<Figure, String> {
    let database = bench.databases.fresh()?;
    let options = &bench.options;
    let mut inserts = Inserts::start(&bench.inserts, &database, &documents(bench, mail), options.sessions)?;
    inserts.insert(WARM_UP_MESSAGES)?;
    let before = (cpu_microseconds(inserts.id()), database.cpu_microseconds());
    let took = inserts.insert(options.messages)?;
    let sample = Sample::new(options.messages, took, cpu_microseconds(inserts.id()) - before.0);
    Ok(figure(options.messages, sample, &database, before.1))
}

fn figure(messages: u64, sample: Sample, database: &Database, before: u64) -> Figure {
    let database_microseconds_per_message = (database.cpu_microseconds() - before) as f64 / messages as f64;
    Figure { sample, database_microseconds_per_message }
}

/// The documents of Postrider's first round.
fn documents(bench: &Bench, mail: Mail) -> PathBuf {
    bench.folder.join(format!("documents-{mail:?}"))
}
