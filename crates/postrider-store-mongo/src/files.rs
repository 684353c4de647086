//! Contents that do not fit into a document: in GridFS, from before their e-mail is written until after it is deleted.
//!
//! A crash between leaves files that no e-mail names. [`sweep`] finds and removes them.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{AsyncReadExt as _, AsyncWriteExt as _, TryStreamExt as _};
use mongodb::bson::{Document, doc, oid};
use mongodb::error::{Error, ErrorKind};
use mongodb::gridfs::GridFsBucket;
use mongodb::{Collection, Database};
use postrider_store::StoreError;

use crate::email::File;
use crate::failure::{corrupt, store_error, timed_out};
use crate::schema::EMAILS;

/// Files that one look of a sweep takes up.
const SWEEP_PART: i64 = 200;

/// A file may take as long as so many commands, and a sweep as many.
const TRANSFER_COMMANDS: u32 = 12;
const SWEEP_COMMANDS: u32 = 120;

/// Files and their chunks younger than this are left alone by a sweep: their e-mail may be about to be written. In seconds; long
/// beside what the clocks of nodes, which make the ids, may differ from the server's.
const YOUNG_SECONDS: i64 = 24 * 3600;

/// The files of e-mails.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    bucket: GridFsBucket,
    database: Database,
    answer_timeout: Duration,
}

impl Files {
    pub(crate) fn new(database: Database, answer_timeout: Duration) -> Self {
        Self { bucket: database.gridfs_bucket(None), database, answer_timeout }
    }

    /// Ends what takes as long as so many commands that are not answered.
    async fn within<T>(
        &self,
        commands: u32,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(self.answer_timeout * commands, work).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Stores contents for an e-mail that is to be written next.
    pub(crate) async fn put(&self, email: oid::ObjectId, files: &[File]) -> Result<(), StoreError> {
        for file in files {
            let put = async { self.put_one(email, file).await.map_err(|error| store_error(&error)) };
            self.within(TRANSFER_COMMANDS, put).await?;
        }
        Ok(())
    }

    async fn put_one(&self, email: oid::ObjectId, file: &File) -> Result<(), Error> {
        let name = format!("{email}/{}", file.name);
        let upload = self.bucket.open_upload_stream(name).id(file.id.into()).metadata(doc! { "email": email });
        let mut stream = upload.await?;
        stream.write_all(&file.content).await?;
        stream.close().await?;
        Ok(())
    }

    pub(crate) async fn get(&self, id: oid::ObjectId) -> Result<Bytes, StoreError> {
        let get = async {
            let mut stream = self.bucket.open_download_stream(id.into()).await.map_err(|error| store_error(&error))?;
            let mut content = Vec::new();
            stream.read_to_end(&mut content).await.map_err(|error| read_error(id, &error))?;
            Ok(content.into())
        };
        self.within(TRANSFER_COMMANDS, get).await
    }

    /// Removes files whose e-mail is gone, or was never written. What cannot be removed now the next sweep finds.
    pub(crate) async fn remove(&self, ids: &[oid::ObjectId]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        // First the file, so that nobody finds one with some of its chunks gone.
        let remove = async {
            self.files().delete_many(doc! { "_id": { "$in": ids } }).await?;
            self.chunks().delete_many(doc! { "files_id": { "$in": ids } }).await
        };
        let remove = async { remove.await.map(drop).map_err(|error: Error| store_error(&error)) };
        self.within(2, remove).await
    }

    /// Removes what no e-mail names: files, and chunks of files that were never finished. Returns how many.
    pub(crate) async fn sweep(&self) -> Result<u64, StoreError> {
        self.within(SWEEP_COMMANDS, self.sweep_all()).await
    }

    async fn sweep_all(&self) -> Result<u64, StoreError> {
        let server_time = self.server_seconds().await?;
        let oldest_kept = u32::try_from(server_time - YOUNG_SECONDS).unwrap_or(0);
        // Ids carry the time of their making.
        let mut bound = [0; 12];
        bound[..4].copy_from_slice(&oldest_kept.to_be_bytes());
        let bound = oid::ObjectId::from_bytes(bound);
        let files = self.sweep_files(bound).await?;
        let chunks = self.sweep_chunks(bound).await?;
        if files + chunks > 0 {
            tracing::info!(store.files = files + chunks, "files without an e-mail were removed");
        }
        Ok(files + chunks)
    }

    async fn sweep_files(&self, bound: oid::ObjectId) -> Result<u64, StoreError> {
        let (mut removed, mut after) = (0, oid::ObjectId::from_bytes([0; 12]));
        loop {
            let files = self.files();
            let found = files
                .find(doc! { "_id": { "$gt": after, "$lt": bound } })
                .sort(doc! { "_id": 1 })
                .limit(SWEEP_PART)
                .projection(doc! { "metadata.email": 1 });
            let found: Vec<Document> = collect(found).await?;
            let Some(last) = found.last().and_then(|file| file.get_object_id("_id").ok()) else { return Ok(removed) };
            after = last;
            let email = |file: &Document| file.get_document("metadata").ok()?.get_object_id("email").ok();
            let named: Vec<oid::ObjectId> = found.iter().filter_map(email).collect();
            let emails = self.database.collection::<Document>(EMAILS);
            let alive = emails.find(doc! { "_id": { "$in": &named } }).projection(doc! { "files": 1 });
            let alive: Vec<Document> = collect(alive).await?;
            // An e-mail keeps the files that it names: one that was tried to be accepted twice may have others.
            let kept: Vec<oid::ObjectId> = alive
                .iter()
                .filter_map(|email| email.get_array("files").ok())
                .flatten()
                .filter_map(mongodb::bson::Bson::as_object_id)
                .collect();
            // A file of another program's has no e-mail in its metadata, and is none of ours.
            let ours = found.iter().filter(|file| email(file).is_some());
            let orphans: Vec<_> = ours.filter_map(|file| file.get_object_id("_id").ok()).collect();
            let orphans: Vec<_> = orphans.into_iter().filter(|id| !kept.contains(id)).collect();
            self.remove(&orphans).await?;
            removed += orphans.len() as u64;
        }
    }

    /// An upload writes chunks first: one that was cut off has chunks only.
    async fn sweep_chunks(&self, bound: oid::ObjectId) -> Result<u64, StoreError> {
        let (mut removed, mut after) = (0, oid::ObjectId::from_bytes([0; 12]));
        loop {
            let chunks = self.chunks();
            let next = chunks
                .find_one(doc! { "files_id": { "$gt": after, "$lt": bound } })
                .sort(doc! { "files_id": 1 })
                .projection(doc! { "files_id": 1 });
            let next = next.await.map_err(|error| store_error(&error))?;
            let Some(id) = next.and_then(|chunk| chunk.get_object_id("files_id").ok()) else { return Ok(removed) };
            after = id;
            let files = self.files();
            let file = files.find_one(doc! { "_id": id }).projection(doc! { "_id": 1 });
            if file.await.map_err(|error| store_error(&error))?.is_none() {
                self.remove(&[id]).await?;
                removed += 1;
            }
        }
    }

    async fn server_seconds(&self) -> Result<i64, StoreError> {
        let hello = self.database.run_command(doc! { "hello": 1 }).await.map_err(|error| store_error(&error))?;
        let time = hello.get_datetime("localTime").map_err(corrupt)?;
        Ok(time.timestamp_millis() / 1000)
    }

    fn files(&self) -> Collection<Document> {
        self.database.collection("fs.files")
    }

    fn chunks(&self) -> Collection<Document> {
        self.database.collection("fs.chunks")
    }
}

/// What the driver tells of a file that cannot be read: the connection failed, or what is there makes no sense.
fn read_error(id: oid::ObjectId, error: &std::io::Error) -> StoreError {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) {
        Some(cause) if !matches!(*cause.kind, ErrorKind::GridFs(_)) => store_error(cause),
        _ => corrupt(format!("file {id}: {error}")),
    }
}

/// All that a query finds.
pub(crate) async fn collect<T: serde::de::DeserializeOwned + Unpin + Send + Sync>(
    find: impl IntoFuture<Output = Result<mongodb::Cursor<T>, Error>>,
) -> Result<Vec<T>, StoreError> {
    let collected = async { find.await?.try_collect().await };
    collected.await.map_err(|error: Error| store_error(&error))
}
