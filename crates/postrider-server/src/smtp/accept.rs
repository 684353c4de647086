//! Taking a message: the trace fields on top, what is missing added, kept for good, handed to the queue.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use postrider_core::mailbox::{Digest, SpecialUse};
use postrider_core::submission::{RecipientStatus, RequestPart, SubmittedRecipient};
use postrider_core::trace::{self, HeaderScan, RECEIVED_FIELDS_MAX};
use postrider_core::{
    Address, AuthenticationResult, DeliveryStatus, Direction, EmailStatus, Envelope, Instructions, Message, ObjectId,
    Recipient, Submitted, Timestamp,
};
use postrider_store::{Accepted, ClaimedDelivery, ClaimedEmail, Filed, NewDelivery, NewEmail, NewRequest, StoreError};
use postrider_wire::smtp::reply::Reply;
use tracing::{Instrument as _, debug_span, error, info, warn};

use super::Context;
use super::filings::Filings;
use super::instructions::Wishes;
use super::policy::{Destination, Policy, store_failed, store_reply};
use super::taken_out::Unwanted;
use super::verified::{self, Verified};
use super::{sender, submit};
use crate::clock::timeout;
use crate::deliver::report::{self, Addressing};
use crate::dkim::Signer;
use crate::memory::MemoryShare;
use crate::outage;
use crate::parse::parse;
use crate::queue::{HeldMessage, Reservation, count_domains};
use crate::verify::{Disposition, Findings};

/// A mail transaction as it comes together.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) envelope: Envelope,
    pub(super) wishes: Wishes,
    /// As announced; 0 where it was not.
    pub(super) message_bytes: u64,
    pub(super) recipients: Vec<(Recipient, Destination)>,
    /// For each RCPT that was accepted, which of the recipients it named.
    pub(super) named: Vec<usize>,
    pub(super) id: ObjectId,
    pub(super) started_at: Timestamp,
    /// Bytes at the start of the message buffer that are ours: Return-Path alone, and all trace fields.
    pub(super) return_path_bytes: usize,
    pub(super) trace_bytes: usize,
    /// Of a submission, what is told of it.
    pub(super) told: Option<Told>,
}

/// What whoever submits a message is told, as far as it is known before the message is read.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) recipients: Vec<SubmittedRecipient>,
    /// See [`postrider_core::Submission::is_resent`].
    pub(super) is_resent: bool,
    /// The request that it comes with.
    pub(super) request: Option<RequestPart>,
}

impl Transaction {
    pub(super) fn new(envelope: Envelope, wishes: Wishes, message_bytes: u64) -> Self {
        Self {
            envelope,
            wishes,
            message_bytes,
            recipients: Vec::new(),
            named: Vec::new(),
            id: ObjectId::default(),
            started_at: Timestamp::default(),
            return_path_bytes: 0,
            trace_bytes: 0,
            told: None,
        }
    }

    fn is_resent(&self) -> bool {
        self.told.as_ref().is_some_and(|told| told.is_resent)
    }

    /// Adds a recipient. One that is named twice gets one copy.
    pub(super) fn add(&mut self, recipient: Recipient, destination: Destination) {
        let known = self.recipients.iter().position(|(known, _)| known.address == recipient.address);
        self.named.push(known.unwrap_or(self.recipients.len()));
        if known.is_none() {
            self.recipients.push((recipient, destination));
        }
    }

    /// Begins the message: its id, and the trace fields that stand on top of it.
    pub(super) fn begin(&mut self, now: Timestamp, received: impl FnOnce(&Self) -> Vec<u8>) -> BytesMut {
        self.id = ObjectId::new(now);
        self.started_at = now;
        let mut top = Vec::with_capacity(512);
        if self.recipients.iter().any(|(_, destination)| destination.is_here()) {
            trace::write_return_path(&self.envelope.reverse_path, &mut top);
        }
        self.return_path_bytes = top.len();
        top.extend_from_slice(&received(self));
        self.trace_bytes = top.len();
        BytesMut::from(&top[..])
    }
}

/// What became of a message.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) id: ObjectId,
    /// For each RCPT that was accepted, in their order. Where all are refused, the message is not kept at all.
    pub(super) outcomes: Vec<Result<(), Reply>>,
    /// Of a submission.
    pub(super) submitted: Option<Submitted>,
}

/// Why a message is not taken.
#[derive(Debug)]
pub(super) enum Refusal {
    Reply(Reply),
    /// The request that brings it was carried out before.
    Known,
}

impl From<Reply> for Refusal {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// Who hands a message in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client<'a> {
    pub(super) peer: IpAddr,
    /// What it called itself in EHLO.
    pub(super) helo: &'a str,
    /// Who logged in.
    pub(super) user: Option<&'a str>,
    pub(super) findings: &'a Findings,
}

/// Keeps a whole message and hands it to the queue. Returns once it is durable; otherwise with the reply that says why not.
pub(super) async fn accept(
    context: &Arc<Context>,
    mut transaction: Transaction,
    client: Client<'_>,
    mut raw: BytesMut,
    share: MemoryShare,
    policy: &Policy,
) -> Result<Taken, Refusal> {
    let mut scan = HeaderScan::of(&raw[transaction.trace_bytes..]);
    let has_header = trace::has_header(&raw[transaction.trace_bytes..]);
    if scan.has_instructions && policy.takes_instructions() && !transaction.is_resent() {
        raw = take_instructions(context, &mut transaction, raw)?;
        scan = HeaderScan::of(&raw[transaction.trace_bytes..]);
    }
    // RFC 8689 section 4.1: where both are asked for, REQUIRETLS counts.
    transaction.wishes.instructions.waives_tls = scan.waives_tls && !transaction.envelope.require_tls;
    if scan.received_fields > RECEIVED_FIELDS_MAX {
        warn!(received_fields = scan.received_fields, "refused: the message goes in circles");
        return Err(Reply::MAIL_LOOP.into());
    }
    if let Some(user) = client.user {
        sender::check_authors(context, user, &raw[transaction.trace_bytes..], scan).await?;
    }
    let Verified { mut raw, field: results, authentication, disposition } =
        verified::verify(context, &transaction, client, raw, policy).await?;
    // Only now: what was verified is what its author signed.
    if !transaction.is_resent()
        && let Some(unwanted) = Unwanted::of(scan, policy, &context.hostname)
    {
        raw = unwanted.take_out(raw, transaction.trace_bytes);
        scan = HeaderScan::of(&raw[transaction.trace_bytes..]);
    }
    let mut fields = if policy.completes_messages() && !transaction.is_resent() {
        missing_fields(context, &transaction, scan)
    } else {
        String::new()
    };
    fields.push_str(&results);
    if !has_header {
        // Its first line would go on with the last of our own fields, and put into it what we did not say.
        fields.push_str("\r\n");
    }
    let signer = signer(context, &transaction, &raw, scan).await?;
    let (trace_bytes, now) = (transaction.trace_bytes, transaction.started_at);
    let return_path_bytes = transaction.return_path_bytes as u32;
    let junk = (disposition == Disposition::Quarantine).then_some(SpecialUse::Junk);
    let filings = Filings::of(&transaction.recipients, junk, policy.enforces_quota());
    let (bytes, is_filed) = (raw.len(), !filings.all().is_empty());
    let parsed = parse(bytes, move || {
        // The signatures cover all that stands below them.
        let signatures =
            signer.map(|signer| signer.sign(fields.as_bytes(), &raw[trace_bytes..], now)).unwrap_or_default();
        let raw = with_fields(raw, trace_bytes, &[&signatures, fields.as_bytes()]);
        let digest = is_filed.then(|| Digest::of(&raw).as_bytes().clone());
        (Message::parse(raw, return_path_bytes), digest)
    });
    let (message, digest) = parsed.await.ok_or(Reply::STORE_UNAVAILABLE)?;
    store(context, transaction, (message, authentication), digest, &filings, share).await
}

async fn store(
    context: &Arc<Context>,
    transaction: Transaction,
    (message, authentication): (Message, Vec<AuthenticationResult>),
    digest: Option<Bytes>,
    filings: &Filings,
    share: MemoryShare,
) -> Result<Taken, Refusal> {
    let Transaction { envelope, wishes, recipients, named, id, started_at, told, .. } = transaction;
    let now = started_at;
    let Wishes { instructions, not_before } = wishes;
    let due_at = not_before.map_or(now, |at| at.max(now));
    let stays_on_record = recipients.iter().any(|(_, destination)| !destination.is_in_mailboxes());
    let filed = digest.map(|digest| Filed { digest, filings: filings.all().to_vec(), stays_on_record });
    let (kept, elsewhere): (Vec<_>, Vec<_>) =
        recipients.into_iter().partition(|(_, destination)| destination.is_here());
    let kept: Vec<Recipient> = kept.into_iter().map(|(recipient, _)| recipient).collect();
    let elsewhere: Vec<Recipient> = elsewhere.into_iter().map(|(recipient, _)| recipient).collect();

    let domains = count_domains(elsewhere.iter().map(|recipient| recipient.address.domain()));
    let reservation = if domains.is_empty() || due_at > now {
        None
    } else {
        context.queue.reserve(domains.clone(), instructions.priority)
    };
    let claimed_by = reservation.as_ref().map(Reservation::node);
    let size = message.raw.len();
    // The store holds the message too until it has answered: the bytes count until then, whoever else holds them.
    let share = Arc::new(share);
    let handed_on = reservation.map(|reservation| {
        Handed::new(reservation, (id, now), (&envelope, &instructions), &elsewhere, &message, &share)
    });
    let email = NewEmail {
        id,
        created_at: now,
        direction: if elsewhere.is_empty() { Direction::Inbound } else { Direction::Outbound },
        envelope,
        instructions,
        authentication,
        events: Vec::new(),
        request: None,
        message,
        deliveries: elsewhere.into_iter().map(|recipient| NewDelivery { recipient, claimed_by, due_at }).collect(),
        kept,
        filed,
    };
    let mut email = email;
    let mut submitted = told.map(|told| tell(told, &mut email));
    email.events = context.webhooks.accepted(&email);
    let is_told = email.events.iter().any(|event| !event.calls.is_empty());
    let success_notice = success_notice(context, &email).await.map(|mut notice| {
        notice.events = context.webhooks.accepted(&notice);
        notice
    });
    let (sender, recipients) =
        (email.envelope.reverse_path.as_str().to_owned(), email.kept.len() + email.deliveries.len());
    let is_claimed = handed_on.is_some();

    let suspect =
        context.bounces.suspect(id, &email.message.raw, email.envelope.reverse_path.is_null(), &email.kept, now);
    // Whether it may be sent is found out while it is written, and costs the client nothing.
    let addresses: Vec<Address> =
        email.deliveries.iter().filter(|_| is_claimed).map(|delivery| delivery.recipient.address.clone()).collect();
    let addresses: Vec<&Address> = addresses.iter().collect();
    let (kept, ()) = tokio::join!(keep(context, email), context.queue.suppressions().look_up(&addresses));
    let accepted = kept?;
    if is_told {
        context.webhooks.kick();
    }
    drop(share);
    let outcomes: Vec<_> = named.iter().map(|&recipient| filings.outcome(recipient, &accepted)).collect();
    let refused = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    if refused == outcomes.len() {
        info!(email = %id, sender, recipients, size, "refused for every recipient");
        return Ok(Taken { id, outcomes, submitted: None });
    }
    info!(email = %id, sender, recipients, refused, size, "accepted");
    if let Some(handed) = handed_on {
        handed.submit(context);
    }
    if !is_claimed && !domains.is_empty() && due_at <= now {
        context.queue.left_in_store(domains.into_iter().map(|(domain, _)| domain));
    }
    // Before the client reads 250: after a crash between the two it sends the report again.
    if let Some(suspect) = suspect
        && let Err(error) = context.bounces.take_in(suspect).await
    {
        context.queue.store_failed("what a report says could not be noted", &error);
    }
    // A commit of its own, and after the message's: a crash between the two loses the notice, which is better than to tell
    // of a message that is not here.
    if let Some(notice) = success_notice {
        match keep(context, notice).await {
            Ok(_) => context.queue.kick(),
            Err(_) => warn!(email = %id, "the sender could not be told of the delivery here"),
        }
    }
    if let Some(submitted) = &mut submitted {
        correct(submitted, &outcomes);
    }
    Ok(Taken { id, outcomes, submitted })
}

/// What whoever submits an e-mail is told; written with it where the request has a key.
fn tell(told: Told, email: &mut NewEmail) -> Submitted {
    let submitted = Submitted {
        id: email.id,
        message_id: email.message.summary.message_id.clone(),
        status: EmailStatus::of(email.deliveries.iter().map(|_| DeliveryStatus::Queued)),
        recipients: told.recipients,
    };
    email.request = told.request.map(|part| NewRequest {
        part,
        // Texts and numbers are always JSON.
        answer: serde_json::to_string(&submitted).unwrap_or_default(),
    });
    submitted
}

/// Says of recipients who have gone since they were accepted that they did not get it.
fn correct(submitted: &mut Submitted, outcomes: &[Result<(), Reply>]) {
    let accepted = submitted.recipients.iter_mut().filter(|recipient| recipient.status != RecipientStatus::Refused);
    for (recipient, outcome) in accepted.zip(outcomes) {
        if let Err(reply) = outcome {
            recipient.status = RecipientStatus::Refused;
            recipient.error = Some(submit::core_reply(reply));
        }
    }
}

/// Hands an e-mail to the store and waits until it is durable, but not for ever: a call that is dropped is done wholly or
/// not at all, and what it would have claimed is given back.
async fn keep(context: &Context, email: NewEmail) -> Result<Accepted, Refusal> {
    let (id, has_request) = (email.id, email.request.is_some());
    let began_at = context.clock.now();
    let accepting = context.store.accept(email).instrument(debug_span!("store", email = %id));
    match timeout(context.clock.as_ref(), context.limits.store_timeout, accepting).await {
        Ok(Ok(accepted)) => {
            context.stats.kept(context.clock.now().since(began_at));
            Ok(accepted)
        }
        Ok(Err(StoreError::Exists(_))) if has_request => Err(Refusal::Known),
        Ok(Err(error)) => {
            let reply = store_reply(&error);
            info!(email = %id, %reply, "a message could not be kept");
            context.queue.store_failed("a message could not be kept", &error);
            Err(reply.into())
        }
        Err(_) => {
            error!(email = %id, "the store did not answer in time; whether it has kept the message is not known");
            context.queue.store_failed("a message could not be kept", &outage::too_slow());
            Err(Reply::STORE_UNAVAILABLE.into())
        }
    }
}

/// What the queue gets of a message that it may send at once.
struct Handed {
    reservation: Reservation,
    email: ClaimedEmail,
    message: Option<HeldMessage>,
}

impl Handed {
    fn new(
        reservation: Reservation,
        (id, now): (ObjectId, Timestamp),
        (envelope, instructions): (&Envelope, &Instructions),
        recipients: &[Recipient],
        message: &Message,
        share: &Arc<MemoryShare>,
    ) -> Self {
        let relayed = message.raw.slice(message.return_path_bytes as usize..);
        let deliveries = recipients.iter().enumerate().map(|(number, recipient)| ClaimedDelivery {
            number: number as u32,
            recipient: recipient.clone(),
            queued_at: now,
            attempts: 0,
            last_category: None,
            delay_notified: false,
        });
        let email = ClaimedEmail {
            id,
            created_at: now,
            envelope: envelope.clone(),
            instructions: instructions.clone(),
            message_id: message.summary.message_id.clone(),
            subject: message.summary.subject.clone(),
            size: relayed.len() as u64,
            is_8bit: message.summary.is_8bit,
            deliveries: deliveries.collect(),
        };
        // Where memory is scarce the worker reads the message from the store when its turn comes.
        let held = (!share.is_scarce()).then(|| HeldMessage { raw: relayed, _share: share.clone() });
        Self { reservation, email, message: held }
    }

    fn submit(self, context: &Arc<Context>) {
        context.queue.submit(self.reservation, self.email, self.message);
    }
}

/// The notification for kept recipients who were sent with NOTIFY=SUCCESS.
async fn success_notice(context: &Context, email: &NewEmail) -> Option<NewEmail> {
    let asked: Vec<&Recipient> = email.kept.iter().filter(|recipient| recipient.notifies_of_success()).collect();
    if asked.is_empty() {
        return None;
    }
    match context.recipients.home(email.envelope.reverse_path.0.as_ref()?).await {
        Ok(home) => {
            let signer = context.signers.of_host(&context.hostname).await;
            let hostname = &context.hostname;
            report::delivered_here(email, &asked, &Addressing { hostname, home: &home, signer: signer.as_deref() })
        }
        Err(error) => {
            context.queue.store_failed("a sender who is to be told of a delivery could not be looked up", &error);
            None
        }
    }
}

/// Who signs a message: only what goes elsewhere, which by policy only those whom this server trusts may send.
async fn signer(
    context: &Context,
    transaction: &Transaction,
    raw: &[u8],
    scan: HeaderScan,
) -> Result<Option<Arc<Signer>>, Reply> {
    let is_signed = || trace::has_field(&raw[transaction.trace_bytes..], b"DKIM-Signature");
    if transaction.recipients.iter().all(|(_, destination)| destination.is_here())
        || (transaction.is_resent() && is_signed())
    {
        return Ok(None);
    }
    let signer = context.signers.of_message(&raw[transaction.trace_bytes..], scan).await;
    signer.map_err(|error| store_failed(context, "the keys that sign a message could not be looked up", &error))
}

/// Takes the fields that are for this server out of a message.
fn take_instructions(context: &Context, transaction: &mut Transaction, raw: BytesMut) -> Result<BytesMut, Reply> {
    let Transaction { wishes, trace_bytes, started_at, .. } = transaction;
    let raw = wishes.take_fields(raw, *trace_bytes, context.limits.hold_max, *started_at)?;
    let is_held = wishes.not_before.is_some_and(|at| at > *started_at);
    if is_held && transaction.recipients.iter().any(|(_, destination)| destination.is_here()) {
        return Err(Reply::NOT_HELD_HERE);
    }
    Ok(raw)
}

/// The Date and Message-ID that a message lacks (RFC 6409 section 8).
fn missing_fields(context: &Context, transaction: &Transaction, scan: HeaderScan) -> String {
    let mut fields = String::new();
    if !scan.has_date {
        fields.push_str(&format!("Date: {}\r\n", transaction.started_at.to_rfc5322()));
    }
    if !scan.has_message_id {
        fields.push_str(&format!("Message-ID: <{}@{}>\r\n", transaction.id, context.hostname));
    }
    fields
}

/// The message with more fields behind its trace fields.
fn with_fields(raw: BytesMut, trace_bytes: usize, fields: &[&[u8]]) -> Bytes {
    let fields_bytes = fields.iter().map(|fields| fields.len()).sum::<usize>();
    if fields_bytes == 0 {
        return raw.freeze();
    }
    let (trace, rest) = raw.split_at(trace_bytes);
    let mut whole = BytesMut::with_capacity(raw.len() + fields_bytes);
    whole.extend_from_slice(trace);
    fields.iter().for_each(|fields| whole.extend_from_slice(fields));
    whole.extend_from_slice(rest);
    whole.freeze()
}
