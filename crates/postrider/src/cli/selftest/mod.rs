//! `postrider selftest`: tries a running server from outside, as its clients do.

mod email;
pub(super) mod http;
mod ip;
mod lmtp;
mod ports;
pub(super) mod smtp;
mod steps;

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::{ProfileArgs, context};

/// One step (a connection, a reply, an answer) must not take longer.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct SelftestArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    /// Without one, ports and then email
    #[command(subcommand)]
    test: Option<Test>,
}

#[derive(Debug, Subcommand)]
enum Test {
    /// Send a test mail and follow it to its end
    Email(email::EmailArgs),
    /// Ask the service that picks source addresses, and show its answer
    Ip(ip::IpArgs),
    /// Deliver a test mail to a user by LMTP and find it in the mailbox
    Lmtp(lmtp::LmtpArgs),
    /// Connect to every listener
    Ports,
}

pub(super) fn run(args: SelftestArgs, output: &mut Output) -> Result<(), Failure> {
    let profile = args.profile.profile();
    let settings = context::load(profile)?.settings;
    context::block_on(async {
        match args.test {
            Some(Test::Email(args)) => email::run(&settings, args, output).await,
            Some(Test::Ip(args)) => ip::run(&settings, args, output).await,
            Some(Test::Lmtp(args)) => lmtp::run(&settings, profile, args, output).await,
            Some(Test::Ports) => ports::run(&settings, output).await,
            None if output.is_json() => {
                Err(Failure::Usage("with --json name one test: selftest ports, email, ip or lmtp".to_owned()))
            }
            None => {
                // One broken port is no reason not to try the mail.
                let ports = ports::run(&settings, output).await;
                let email = email::run(&settings, email::EmailArgs::default(), output).await;
                ports.and(email)
            }
        }
    })
}

/// Bounds a step in time. The error says in words what went wrong.
async fn step<T, E: Display>(what: &str, future: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    step_within(STEP_TIMEOUT, what, future).await
}

/// As [`step`], with a bound of its own.
async fn step_within<T, E: Display>(
    bound: Duration,
    what: &str,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match tokio::time::timeout(bound, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: nothing came within {} s", bound.as_secs())),
    }
}
