//! `postrider check`: looks for mistakes before they cost mail, and says how to mend them. Changes nothing.

mod acme;
mod certificates;
mod dns;
mod ports;
mod relay;
mod settings;
mod shaping;
mod source;
mod store;

use clap::Args;
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::output::{BAD, GOOD, Output, WAITING, counted};
use crate::cli::{ProfileArgs, context, output};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    /// Read the database from end to end for damage however large it is
    #[arg(long)]
    full: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// It will run, but perhaps not as meant.
    Warn,
    /// It will not run, or lose mail.
    Fail,
}

/// What one check found.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    /// `settings`, `store`, `certificates`, `acme`, `ports`, `dns`, `source-ips`, `shaping`, `relay`.
    area: &'static str,
    message: String,
    /// How to mend it.
    advice: Option<String>,
}

/// Fails if any finding does. Wrong settings are a finding here and not wrong usage: nothing behind them can be checked.
pub(super) fn run(args: CheckArgs, output: &mut Output) -> Result<(), Failure> {
    let mut findings = Vec::new();
    if let Some(settings) = settings::check(args.profile.profile(), &mut findings) {
        context::block_on(async {
            store::check(&settings, args.full, &mut findings).await;
            certificates::check(&settings, &mut findings);
            if settings.acme.enabled {
                acme::check(&settings, &mut findings).await;
            }
            ports::check(&settings, &mut findings).await;
            dns::check(&settings, &mut findings).await;
            source::check(&settings, &mut findings);
            shaping::check(&settings, &mut findings);
            relay::check(&settings, &mut findings).await;
            Ok(())
        })?;
    }
    report(&findings, output)?;
    if findings.iter().any(|finding| finding.level == Level::Fail) { Err(Failure::Reported) } else { Ok(()) }
}

fn report(findings: &[Finding], output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(findings);
    }
    for Finding { level, area, message, advice } in findings {
        let (style, word) = match level {
            Level::Ok => (GOOD, "ok"),
            Level::Warn => (WAITING, "warn"),
            Level::Fail => (BAD, "FAIL"),
        };
        output.line(format!("{style}{word:<4}{style:#}  {area:<12}  {}", output::printable(message)))?;
        if let Some(advice) = advice {
            output.line(format!("{:<20}{}", "", output::printable(advice)))?;
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count() as u64;
    let (failures, warnings) = (count(Level::Fail), count(Level::Warn));
    output.line(format!(
        "\n{}, {}.",
        counted(failures, "failure", "failures"),
        counted(warnings, "warning", "warnings")
    ))
}

impl Finding {
    fn ok(area: &'static str, message: impl Into<String>) -> Self {
        Self { level: Level::Ok, area, message: message.into(), advice: None }
    }

    fn warn(area: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Warn, area, message: message.into(), advice: Some(advice.into()) }
    }

    fn fail(area: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Fail, area, message: message.into(), advice: Some(advice.into()) }
    }
}
