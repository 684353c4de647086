//! Prints the API's document: `cargo xtask docs` keeps it as docs/openapi.json.

use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    io::stdout().write_all(postrider_web::openapi().as_bytes())
}
