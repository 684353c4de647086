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
    Ok(statement.query_row([seq], |row| indexed(row, seq)).optional()?)
}

fn indexed(row: &Row<'_>, seq: i64) -> rusqlite::Result<Indexed> {
    let column = |column: usize| -> rusqlite::Result<&str> { Ok(row.get_ref(column)?.as_str_or_null()?.unwrap_or("")) };
    let recipients: Vec<String> = column(1)?.lines().map(words).collect();
    Ok(Indexed {
        sender: words(column(0)?),
        recipients: recipients.join(&format!(" {GAP} ")),
        subject: words(column(2)?),
        message_id: words(column(3)?),
        text: body(row, seq)?,
    })
}

/// The words of the message's text. One that cannot be read is found by all else.
fn body(row: &Row<'_>, seq: i64) -> rusqlite::Result<String> {
    let Some(content) = row.get_ref(6)?.as_blob_or_null()? else { return Ok(String::new()) };
    let size = usize::try_from(row.get::<_, i64>(5)?).unwrap_or(0);
    let raw = match codes::decode_blob(row.get(4)?, content, size) {
        Ok(raw) => raw,
        Err(error) => {
            tracing::warn!(error = %error, seq, "the text of a message cannot be indexed");
            return Ok(String::new());
        }
    };
    let text = catch_unwind(AssertUnwindSafe(|| searched_text(&raw).map(|text| words(&text))));
    Ok(text.ok().flatten().unwrap_or_default())
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
