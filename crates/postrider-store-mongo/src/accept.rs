//! Accepting e-mails, and deleting them.

use std::sync::Arc;

use mongodb::ClientSession;
use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{Document, doc, oid};
use postrider_core::{EmailStatus, ObjectId};
use postrider_store::{Accepted, Change, StoreError};

use crate::codes::{self, key_range};
use crate::counters::{Additions, Stripe, number};
use crate::email::PreparedEmail;
use crate::engine::{Engine, Work};
use crate::failure::{Failure, corrupt};
use crate::guard::Guarded;
use crate::mailboxes::{self, Ledger, Written, filing};
use crate::outbox::Told;
use crate::record::listed;
use crate::requests;
use crate::schema::{ATTEMPTS, DELIVERIES, DIGESTS, EMAILS};
use crate::words;
use crate::writer::Batch;

impl Batch for PreparedEmail {
    type Answer = Guarded<Accepted>;

    fn bytes(&self) -> usize {
        PreparedEmail::bytes(self)
    }

    async fn write(engine: &Arc<Engine>, batch: &[Self]) -> Result<Vec<Guarded<Accepted>>, Failure> {
        let _turn = engine.courtesy.turn(filing::concerned(engine, batch)).await;
        let written = engine.transaction_of(batch.len(), &mut Accept { emails: batch }).await;
        let (accepted, written) = written.map_err(|failure| match failure {
            Failure::Refused(StoreError::Exists(_)) if let [email] = batch => {
                Failure::Refused(StoreError::Exists(format!("e-mail {}", email.id)))
            }
            failure => failure,
        })?;
        written.finish(engine).await;
        if batch.iter().any(PreparedEmail::has_unclaimed) {
            engine.notices.tell(Change::Queue);
        }
        let answers = batch.iter().zip(accepted);
        Ok(answers.map(|(email, accepted)| Guarded::new(accepted, email.claim(), engine)).collect())
    }

    fn doubt(engine: &Arc<Engine>, batch: &[Self]) {
        batch.iter().filter_map(PreparedEmail::claim).for_each(|claim| engine.doubt(claim));
    }
}

struct Accept<'a> {
    emails: &'a [PreparedEmail],
}

impl Work for Accept<'_> {
    type Output = (Vec<Accepted>, Written);

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> Result<Self::Output, Failure> {
        let mut additions = Additions::default();
        let emails: Vec<&PreparedEmail> = self.emails.iter().collect();
        let output = insert_filed(engine, session, &emails, &mut additions).await?;
        additions.write(engine, session, stripe).await?;
        Ok(output)
    }
}

/// Writes e-mails and their entries in mailboxes. What nothing keeps because its filings are refused is left out.
pub(crate) async fn insert_filed(
    engine: &Engine,
    session: &mut ClientSession,
    emails: &[&PreparedEmail],
    additions: &mut Additions,
) -> Result<(Vec<Accepted>, Written), Failure> {
    let mut ledger = Ledger::default();
    let accepted = filing::file(engine, session, emails, &mut ledger).await?;
    let is_kept = |email: &PreparedEmail, accepted: &Accepted| {
        email.hold.stays_on_record || accepted.refused.len() < email.filings.len()
    };
    let pairs = emails.iter().zip(&accepted);
    let (kept, left_out): (Vec<_>, Vec<_>) = pairs.partition(|(email, accepted)| is_kept(email, accepted));
    let kept: Vec<&PreparedEmail> = kept.into_iter().map(|(email, _)| *email).collect();
    insert(engine, session, &kept, &mut ledger, additions).await?;
    let mut written = ledger.write(engine, session, additions).await?;
    written.files.extend(left_out.into_iter().flat_map(|(email, _)| email.files.iter().map(|file| file.id)));
    Ok((accepted, written))
}

/// Writes the documents of e-mails, with the references that the ledger has for them. An id that is taken refuses all of
/// them.
pub(crate) async fn insert(
    engine: &Engine,
    session: &mut ClientSession,
    emails: &[&PreparedEmail],
    ledger: &mut Ledger,
    additions: &mut Additions,
) -> Result<(), Failure> {
    let documents: Vec<&RawDocumentBuf> = emails.iter().map(|email| &email.document).collect();
    if documents.is_empty() {
        return Ok(());
    }
    engine.collection::<RawDocumentBuf>(EMAILS).insert_many(documents).session(&mut *session).await?;
    let listed = emails.iter().filter(|email| email.hold.is_listed).map(|email| codes::oid(email.id));
    words::note(engine, session, listed.collect()).await?;
    let digests = emails.iter().filter_map(|email| email.digest(ledger.take_references(codes::oid(email.id))));
    mailboxes::insert_digests(engine, session, digests.collect()).await?;
    let deliveries: Vec<_> = emails.iter().flat_map(|email| &email.deliveries).collect();
    if !deliveries.is_empty() {
        engine.deliveries().insert_many(deliveries).session(&mut *session).await?;
    }
    let attempts: Vec<_> = emails.iter().flat_map(|email| &email.attempts).collect();
    if !attempts.is_empty() {
        engine.attempts().insert_many(attempts).session(&mut *session).await?;
    }
    Told::write(emails.iter().map(|email| &email.told), engine, session).await?;
    requests::add(engine, session, emails.iter().filter_map(|email| email.request.as_ref()).collect()).await?;
    emails.iter().filter(|email| email.hold.is_listed).for_each(|email| additions.came(email.status));
    Ok(())
}

/// Deletes an e-mail and all that belongs to it, but what mailboxes have.
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
    /// Its files, if they are to go; `None` if there is no such e-mail.
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
        let found = emails.find_one(listed(self.id)).projection(wanted).session(&mut *session).await?;
        let Some(email) = found else { return Ok(None) };
        let status: EmailStatus = email
            .get_str("status")
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Failure::Refused(corrupt(format!("e-mail {} has no status", self.id))))?;
        let files = email.get_array("files").map(|files| files.iter().filter_map(|file| file.as_object_id()).collect());
        let digests = engine.collection::<Document>(DIGESTS);
        let found =
            digests.find_one(filter.clone()).projection(doc! { "references": 1 }).session(&mut *session).await?;
        let is_in_mailboxes = found.is_some_and(|digest| number(&digest, "references") > 0);
        if is_in_mailboxes {
            let unset = doc! { "status": "", "search": "", "tags": "", "instructions": "", "deliveryCounts": "", "sourceIp": "" };
            let update = doc! { "$set": { "isListed": false }, "$unset": unset };
            emails.update_one(filter.clone(), update).session(&mut *session).await?;
            let unlisted = doc! { "$set": { "isListed": false, "staysOnRecord": false } };
            digests.update_one(filter, unlisted).session(&mut *session).await?;
        } else {
            emails.delete_one(filter.clone()).session(&mut *session).await?;
            digests.delete_one(filter).session(&mut *session).await?;
        }
        words::forget(engine, session, &[codes::oid(self.id)]).await?;
        for collection in [DELIVERIES, ATTEMPTS] {
            let filter = doc! { "_id": key_range(self.id) };
            engine.collection::<Document>(collection).delete_many(filter).session(&mut *session).await?;
        }
        let mut additions = Additions::default();
        additions.went(status);
        additions.write(engine, session, stripe).await?;
        Ok(Some(if is_in_mailboxes { Vec::new() } else { files.unwrap_or_default() }))
    }
}
