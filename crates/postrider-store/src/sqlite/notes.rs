//! Notes.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::checkpoint::ROWS_BYTES;
use super::{Result, SqliteStore};
use crate::error::StoreError;
use crate::records::Note;
use crate::traits::{NOTE_BYTES_MAX, Notes};

#[async_trait]
impl Notes for SqliteStore {
    async fn note(&self, key: &str) -> Result<Option<Note>> {
        let key = key.to_owned();
        self.read_small(move |connection| find(connection, &key)).await
    }

    async fn notes(&self, prefix: &str) -> Result<Vec<Note>> {
        let prefix = prefix.to_owned();
        self.read(move |connection| all(connection, &prefix)).await
    }

    async fn put_note(&self, key: &str, value: String, version: u64) -> Result<bool> {
        if value.len() > NOTE_BYTES_MAX {
            return Err(StoreError::Limit(format!("a note has at most {NOTE_BYTES_MAX} bytes")));
        }
        let key = key.to_owned();
        let bytes = ROWS_BYTES + value.len();
        let put = self.writer.write(bytes, move |batch| {
            let written = if version == 0 {
                let sql = "INSERT INTO notes (key, value, version) VALUES (?1, ?2, 1) ON CONFLICT DO NOTHING";
                batch.connection.prepare_cached(sql)?.execute(params![key, value])?
            } else {
                let sql = "UPDATE notes SET value = ?2, version = version + 1 WHERE key = ?1 AND version = ?3";
                batch.connection.prepare_cached(sql)?.execute(params![key, value, version as i64])?
            };
            Ok(written > 0)
        });
        put.await
    }

    async fn remove_note(&self, key: &str) -> Result<bool> {
        let key = key.to_owned();
        let removed = self.writer.write(ROWS_BYTES, move |batch| {
            Ok(batch.connection.prepare_cached("DELETE FROM notes WHERE key = ?1")?.execute([&key])? > 0)
        });
        removed.await
    }
}

fn find(connection: &Connection, key: &str) -> Result<Option<Note>> {
    let mut statement = connection.prepare_cached("SELECT key, value, version FROM notes WHERE key = ?1")?;
    Ok(statement.query_row([key], note).optional()?)
}

fn all(connection: &Connection, prefix: &str) -> Result<Vec<Note>> {
    let mut statement = connection.prepare_cached(
        "SELECT key, value, version FROM notes WHERE key >= ?1 AND substr(key, 1, length(?1)) = ?1 ORDER BY key",
    )?;
    let notes = statement.query_map([prefix], note)?;
    Ok(notes.collect::<rusqlite::Result<_>>()?)
}

fn note(row: &Row<'_>) -> rusqlite::Result<Note> {
    Ok(Note { key: row.get(0)?, value: row.get(1)?, version: row.get::<_, i64>(2)? as u64 })
}
