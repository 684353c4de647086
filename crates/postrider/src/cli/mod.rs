//! The command line: what can be asked, and how an answer becomes an exit code.

mod alias;
mod audit;
mod check;
mod config;
mod context;
mod demo;
mod dev;
mod directory;
mod dns;
mod domain;
mod email;
mod failure;
mod migrate;
mod output;
mod queue;
mod selftest;
mod serve;
mod suppression;
mod table;
mod token;
mod user;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use postrider_config::Profile;

use crate::cli::failure::Failure;
use crate::cli::output::Output;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed; standard error says why
  2  wrong usage, or wrong settings
  3  there is no such e-mail, user, domain, alias, suppression or token
  4  the state does not allow it: the user exists already, the e-mail is being sent

Settings come from the environment and from .env in the current directory; `postrider config` shows them.";

#[derive(Debug, Parser)]
#[command(name = "postrider", version, about = "A programmable mail server", after_help = EXIT_CODES)]
#[command(disable_help_subcommand = true)]
struct Cli {
    /// Print JSON for programs instead of text for people
    #[arg(long, global = true)]
    json: bool,
    /// Without one, serve
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run on loopback with unprivileged ports; mail for the world is captured instead of sent
    Dev,
    /// Run in production
    Serve,
    /// Look for mistakes in settings, store, certificates, ports, DNS and relay, and say how to mend them
    Check(check::CheckArgs),
    /// Show the effective settings and where each came from
    Config(ProfileArgs),
    /// Try a running server
    Selftest(selftest::SelftestArgs),
    /// Users who may log in and have mailboxes
    #[command(subcommand)]
    User(user::UserCommand),
    /// Domains whose mail is kept here
    #[command(subcommand)]
    Domain(domain::DomainCommand),
    /// Show every DNS record that a domain needs, and whether DNS has it; exit code 1 where something is wrong or missing
    Dns(dns::DnsArgs),
    /// Addresses whose mail goes to users of other addresses
    #[command(subcommand)]
    Alias(alias::AliasCommand),
    /// Addresses that nothing is sent to
    #[command(subcommand)]
    Suppression(suppression::SuppressionCommand),
    /// Who may ask the API, and for what
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Who changed what, by API or command line
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// The queue of deliveries
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Stored e-mails
    #[command(subcommand)]
    Email(email::EmailCommand),
    /// Move all users and e-mails between the embedded database and MongoDB, while no server runs
    Migrate(migrate::MigrateArgs),
}

/// Which of the two sets of defaults a command looks at.
#[derive(Debug, Clone, Copy, Args)]
struct ProfileArgs {
    /// With the defaults of `postrider dev`
    #[arg(long, global = true)]
    dev: bool,
}

impl ProfileArgs {
    fn profile(self) -> Profile {
        if self.dev { Profile::Dev } else { Profile::Serve }
    }
}

/// Runs the command of this process.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output::new(cli.json);
    let result = dispatch(cli.command.unwrap_or(Command::Serve), &mut output).and_then(|()| output.finish());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                // Several wrong settings are several lines, and each is found by the program's name in a log.
                for line in message.lines() {
                    // Where standard error is closed, the exit code has to do.
                    let _ = writeln!(anstream::stderr(), "postrider: {line}");
                }
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Dev => serve::run(Profile::Dev, output),
        Command::Serve => serve::run(Profile::Serve, output),
        Command::Check(args) => check::run(args, output),
        Command::Config(args) => config::run(args.profile(), output),
        Command::Selftest(args) => selftest::run(args, output),
        Command::User(command) => user::run(command, output),
        Command::Domain(command) => domain::run(command, output),
        Command::Dns(args) => dns::run(&args, output),
        Command::Alias(command) => alias::run(command, output),
        Command::Suppression(command) => suppression::run(command, output),
        Command::Token(command) => token::run(command, output),
        Command::Audit(command) => audit::run(command, output),
        Command::Queue(command) => queue::run(command, output),
        Command::Email(command) => email::run(command, output),
        Command::Migrate(args) => migrate::run(args, output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn orders_need_a_selection() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("postrider queue retry").is_err());
        assert!(parse("postrider queue retry --all --domain example.org").is_err());
        assert!(parse("postrider queue retry nonsense").is_err());
        assert!(parse("postrider queue retry 0123456789abcdef01234567").is_ok());
        assert!(parse("postrider queue hold --domain example.org --status deferred").is_ok());
        assert!(parse("postrider queue cancel --all --json").is_ok());
    }

    #[test]
    fn options_of_a_command_stand_anywhere_behind_it() {
        for line in ["selftest --dev ports", "selftest ports --dev", "check --json --dev", "--json config --dev"] {
            assert!(Cli::try_parse_from(["postrider"].into_iter().chain(line.split(' '))).is_ok(), "{line}");
        }
    }

    #[test]
    fn bare_is_serve() {
        assert!(Cli::try_parse_from(["postrider"]).unwrap().command.is_none());
    }
}
