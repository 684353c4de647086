//! The `postrider` program. What it does is in `cli`; this file only turns the outcome into an exit code.

mod cli;
mod logging;
mod traces;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
