//! What of an e-mail is indexed: its words, as they are looked for.

use std::panic::{AssertUnwindSafe, catch_unwind};

use postrider_core::query::WordsOf;
use postrider_core::searched_text;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::super::codes;
use crate::error::StoreError;

/// Stands between two addresses: no words go over it.
pub(super) const GAP: &str = "\u{e000}";

/// The columns of the index, each as words with blanks between them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Indexed {
    pub(super) sender: String,
    pub(super) recipients: String,
    pub(super) subject: String,
    pub(super) message_id: String,
    pub(super) text: String,
}

/// What there is to index of a row, as it is now; `None` if it is in no list.
pub(super) fn read(connection: &Connection, seq: i64) -> Result<Option<Indexed>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT e.sender, e.recipients, e.subject, e.message_id, b.encoding, b.size, b.content
         FROM emails AS e LEFT JOIN blobs AS b ON b.seq = e.seq WHERE e.seq = ?1 AND e.hold & 1",
    )?;
    let found = statement.query_row([seq], found).optional()?;
    // Words are taken out of it when it is read: as long as somebody reads, the write-ahead log cannot start over.
    Ok(found.map(|found| indexed(&found, seq)))
}

/// What is stored of an e-mail that may be found.
struct Found {
    sender: String,
    recipients: String,
    subject: String,
    message_id: String,
    encoding: u8,
    size: i64,
    /// As it is kept.
    content: Option<Vec<u8>>,
}

fn found(row: &Row<'_>) -> rusqlite::Result<Found> {
    let column = |column: usize| -> rusqlite::Result<String> {
        Ok(row.get_ref(column)?.as_str_or_null()?.unwrap_or("").to_owned())
    };
    let content = row.get_ref(6)?.as_blob_or_null()?.map(<[u8]>::to_vec);
    let (encoding, size) = if content.is_some() { (row.get(4)?, row.get(5)?) } else { (0, 0) };
    Ok(Found {
        sender: column(0)?,
        recipients: column(1)?,
        subject: column(2)?,
        message_id: column(3)?,
        encoding,
        size,
        content,
    })
}

fn indexed(found: &Found, seq: i64) -> Indexed {
    let recipients: Vec<String> = found.recipients.lines().map(words).collect();
    Indexed {
        sender: words(&found.sender),
        recipients: recipients.join(&format!(" {GAP} ")),
        subject: words(&found.subject),
        message_id: words(&found.message_id),
        text: body(found, seq),
    }
}

/// The words of the message's text. One that cannot be read is found by all else.
fn body(found: &Found, seq: i64) -> String {
    let Some(content) = &found.content else { return String::new() };
    let size = usize::try_from(found.size).unwrap_or(0);
    let raw = match codes::decode_blob(found.encoding, content, size) {
        Ok(raw) => raw,
        Err(error) => {
            tracing::warn!(error = %error, seq, "the text of a message cannot be indexed");
            return String::new();
        }
    };
    let text = catch_unwind(AssertUnwindSafe(|| searched_text(&raw).map(|text| words(&text))));
    text.ok().flatten().unwrap_or_default()
}

fn words(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    for word in WordsOf::new(text) {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(&word);
    }
    words
}
