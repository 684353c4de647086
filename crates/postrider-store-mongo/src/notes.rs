//! Notes.

use async_trait::async_trait;
use mongodb::bson::{Document, doc};
use postrider_store::{NOTE_BYTES_MAX, Note, Notes, StoreError};
use serde::{Deserialize, Serialize};

use crate::MongoStore;
use crate::failure::{is_duplicate, store_error};
use crate::files::collect;
use crate::schema::NOTES;

type Result<T> = std::result::Result<T, StoreError>;

#[derive(Debug, Serialize, Deserialize)]
struct NoteDocument {
    #[serde(rename = "_id")]
    key: String,
    value: String,
    version: i64,
}

impl From<NoteDocument> for Note {
    fn from(document: NoteDocument) -> Self {
        Self { key: document.key, value: document.value, version: document.version as u64 }
    }
}

#[async_trait]
impl Notes for MongoStore {
    async fn note(&self, key: &str) -> Result<Option<Note>> {
        let notes = self.engine.collection::<NoteDocument>(NOTES);
        Ok(self.engine.command(notes.find_one(doc! { "_id": key })).await?.map(Note::from))
    }

    async fn notes(&self, prefix: &str) -> Result<Vec<Note>> {
        let notes = self.engine.collection::<NoteDocument>(NOTES);
        // No key has a character behind the last one of Unicode.
        let range = doc! { "_id": { "$gte": prefix, "$lte": format!("{prefix}\u{10ffff}") } };
        let found = self.engine.call(collect(notes.find(range).sort(doc! { "_id": 1 }))).await?;
        Ok(found.into_iter().map(Note::from).collect())
    }

    async fn put_note(&self, key: &str, value: String, version: u64) -> Result<bool> {
        if value.len() > NOTE_BYTES_MAX {
            return Err(StoreError::Limit(format!("a note has at most {NOTE_BYTES_MAX} bytes")));
        }
        if version == 0 {
            let notes = self.engine.collection::<NoteDocument>(NOTES);
            let document = NoteDocument { key: key.to_owned(), value, version: 1 };
            let added = self.engine.call(async {
                match notes.insert_one(document).await {
                    Ok(_) => Ok(true),
                    Err(error) if is_duplicate(&error) => Ok(false),
                    Err(error) => Err(store_error(&error)),
                }
            });
            return added.await;
        }
        let notes = self.engine.collection::<Document>(NOTES);
        let update = doc! { "$set": { "value": value }, "$inc": { "version": 1_i64 } };
        let written = notes.update_one(doc! { "_id": key, "version": version as i64 }, update);
        Ok(self.engine.command(written).await?.matched_count > 0)
    }

    async fn remove_note(&self, key: &str) -> Result<bool> {
        let notes = self.engine.collection::<Document>(NOTES);
        Ok(self.engine.command(notes.delete_one(doc! { "_id": key })).await?.deleted_count > 0)
    }
}
