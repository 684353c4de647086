//! Standard output: text for people or JSON for programs. Colours are for terminals; `NO_COLOR` is respected.

use std::io::{self, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use postrider_core::EmailStatus;
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::table::Table;

#[derive(Debug)]
pub(super) struct Output {
    text: AutoStream<io::Stdout>,
    is_json: bool,
}

impl Output {
    pub(super) fn new(is_json: bool) -> Self {
        Self { text: AutoStream::auto(io::stdout()), is_json }
    }

    pub(super) fn is_json(&self) -> bool {
        self.is_json
    }

    pub(super) fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        Ok(writeln!(self.text, "{}", text.as_ref())?)
    }

    /// One thing that is known of what is shown.
    pub(super) fn field(&mut self, name: &str, value: impl AsRef<str>) -> Result<(), Failure> {
        self.line(format!("{name:<12} {}", printable(value.as_ref())))
    }

    pub(super) fn table(&mut self, table: &Table) -> Result<(), Failure> {
        Ok(write!(self.text, "{table}")?)
    }

    /// Bytes as they are, colours or not.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(io::stdout().write_all(bytes)?)
    }

    pub(super) fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer_pretty(&mut stdout, value).map_err(io::Error::from)?;
        Ok(stdout.write_all(b"\n")?)
    }

    /// Writes what is still held back; a closed pipe shows here at the latest.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.text.flush()?)
    }
}

/// Text from outside, fit for a terminal: what could move the cursor or change colours is replaced. Line feeds and tabs
/// stay.
pub(super) fn printable(text: &str) -> String {
    let replace = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    text.chars().filter(|&c| c != '\r').map(replace).collect()
}

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default();
pub(super) const WAITING: Style = AnsiColor::Yellow.on_default();

pub(super) fn style_of(status: EmailStatus) -> Style {
    match status {
        EmailStatus::Received | EmailStatus::Sent => GOOD,
        EmailStatus::Failed | EmailStatus::Cancelled => BAD,
        EmailStatus::Queued | EmailStatus::Sending | EmailStatus::Deferred | EmailStatus::Held => WAITING,
    }
}

/// `1 delivery`, `2 deliveries`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// What a list says, behind its total, of the page that was asked for.
pub(super) fn which_page(page: u64, pages: u64) -> String {
    match pages {
        // An empty list still has its first page.
        0 | 1 if page == 1 => String::new(),
        pages if page > pages => format!(" There is no page {page}; the last is {}.", pages.max(1)),
        pages => format!(" Page {page} of {pages}; more with --page."),
    }
}

/// Bytes in the largest binary unit that they reach: `1.5 GiB`.
pub(super) fn sized(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut sized = format!("{bytes} bytes");
    let mut value = bytes as f64;
    for unit in UNITS {
        value /= 1024.0;
        if value < 1.0 {
            break;
        }
        sized = format!("{value:.1} {unit}");
    }
    sized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_their_unit() {
        for (bytes, text) in
            [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (10 << 20, "10.0 MiB"), (5 << 42, "20.0 TiB")]
        {
            assert_eq!(sized(bytes), text);
        }
    }

    #[test]
    fn a_message_does_not_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc\td\u{9b}"), "a\u{fffd}[2Jb\nc\td\u{fffd}");
    }

    #[test]
    fn a_page_behind_the_last_is_told() {
        assert_eq!(which_page(1, 0), "");
        assert_eq!(which_page(1, 1), "");
        assert_eq!(which_page(2, 3), " Page 2 of 3; more with --page.");
        assert_eq!(which_page(100_000, 24), " There is no page 100000; the last is 24.");
        assert_eq!(which_page(2, 0), " There is no page 2; the last is 1.");
    }
}
