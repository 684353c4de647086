//! Prints the list of metrics: `cargo xtask docs` keeps it as docs/metrics.md.

use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    io::stdout().write_all(postrider_core::metrics::documentation().as_bytes())
}
