//! Accepting e-mails, and deleting them.

use std::sync::Arc;

use mongodb::ClientSession;
use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{Document, doc, oid};
use postrider_core::{EmailStatus, ObjectId};
use postrider_store::{Change, StoreError};

use crate::codes::{self, key_range};
use crate::counters::{Additions, Stripe};
use crate::email::PreparedEmail;
use crate::engine::{Engine, Work};
use crate::failure::{Failure, corrupt};
use crate::guard::Guarded;
use crate::schema::{ATTEMPTS, DELIVERIES, EMAILS};
use crate::writer::Batch;

impl Batch for PreparedEmail {
    type Answer = Guarded<()>;

    fn bytes(&self) -> usize {
        PreparedEmail::bytes(self)
    }

    async fn write(engine: &Arc<Engine>, batch: &[Self]) -> Result<Vec<Guarded<()>>, Failure> {
        let written = engine.transaction_of(batch.len(), &mut Accept { emails: batch }).await;
        written.map_err(|failure| match failure {
            Failure::Refused(StoreError::Exists(_)) if let [email] = batch => {
                Failure::Refused(StoreError::Exists(format!("e-mail {}", email.id)))
            }
            failure => failure,
        })?;
        if batch.iter().any(PreparedEmail::has_unclaimed) {
            engine.notices.tell(Change::Queue);
        }
        Ok(batch.iter().map(|email| Guarded::new((), email.claim(), engine)).collect())
    }

    fn doubt(engine: &Arc<Engine>, batch: &[Self]) {
        batch.iter().filter_map(PreparedEmail::claim).for_each(|claim| engine.doubt(claim));
    }
}

struct Accept<'a> {
    emails: &'a [PreparedEmail],
}

impl Work for Accept<'_> {
    type Output = ();

    async fn run(&mut self, engine: &Engine, session: &mut ClientSession, stripe: Stripe) -> Result<(), Failure> {
        let mut additions = Additions::default();
        insert(engine, session, self.emails, &mut additions).await?;
        additions.write(engine, session, stripe).await
    }
}

/// Writes the documents of e-mails. An id that is taken refuses all of them.
pub(crate) async fn insert(
    engine: &Engine,
    session: &mut ClientSession,
    emails: impl IntoIterator<Item = &PreparedEmail> + Clone,
    additions: &mut Additions,
) -> Result<(), Failure> {
    let documents: Vec<&RawDocumentBuf> = emails.clone().into_iter().map(|email| &email.document).collect();
    if documents.is_empty() {
        return Ok(());
    }
    engine.collection::<RawDocumentBuf>(EMAILS).insert_many(documents).session(&mut *session).await?;
    let deliveries: Vec<_> = emails.clone().into_iter().flat_map(|email| &email.deliveries).collect();
    if !deliveries.is_empty() {
        engine.deliveries().insert_many(deliveries).session(&mut *session).await?;
    }
    let attempts: Vec<_> = emails.clone().into_iter().flat_map(|email| &email.attempts).collect();
    if !attempts.is_empty() {
        engine.attempts().insert_many(attempts).session(&mut *session).await?;
    }
    emails.into_iter().for_each(|email| additions.came(email.status));
    Ok(())
}

/// Deletes an e-mail and all that belongs to it.
pub(crate) async fn delete(engine: &Engine, id: ObjectId) -> Result<bool, StoreError> {
    let deleted = engine.transaction(&mut Delete { id }).await.map_err(Failure::into_error)?;
    let Some(files) = deleted else { return Ok(false) };
    if let Err(error) = engine.files.remove(&files).await {
        tracing::warn!(%error, "the files of a deleted e-mail are left to the next sweep");
    }
    Ok(true)
}

struct Delete {
    id: ObjectId,
}

impl Work for Delete {
    /// Its files; `None` if there is no such e-mail.
    type Output = Option<Vec<oid::ObjectId>>;

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> Result<Self::Output, Failure> {
        let emails = engine.collection::<Document>(EMAILS);
        let filter = doc! { "_id": codes::oid(self.id) };
        let wanted = doc! { "status": 1, "files": 1 };
        let found = emails.find_one(filter.clone()).projection(wanted).session(&mut *session).await?;
        let Some(email) = found else { return Ok(None) };
        let status: EmailStatus = email
            .get_str("status")
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Failure::Refused(corrupt(format!("e-mail {} has no status", self.id))))?;
        let files = email.get_array("files").map(|files| files.iter().filter_map(|file| file.as_object_id()).collect());
        emails.delete_one(filter).session(&mut *session).await?;
        for collection in [DELIVERIES, ATTEMPTS] {
            let filter = doc! { "_id": key_range(self.id) };
            engine.collection::<Document>(collection).delete_many(filter).session(&mut *session).await?;
        }
        let mut additions = Additions::default();
        additions.went(status);
        additions.write(engine, session, stripe).await?;
        Ok(Some(files.unwrap_or_default()))
    }
}
