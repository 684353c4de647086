//! Taking a message that an application hands in by a request: what a session of SMTP does on the applications' port for a
//! trusted peer, without the session.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::BytesMut;
use postrider_config::Settings;
use postrider_core::submission::{RecipientStatus, SubmittedRecipient};
use postrider_core::trace::{HeaderScan, Received};
use postrider_core::{
    Address, BodyType, Domain, Envelope, Recipient, Reply as CoreReply, ReversePath, Submission, SubmissionError,
    SubmissionLimits, Submitted, dkim,
};
use postrider_wire::smtp::reply::Reply;
use postrider_wire::smtp::text::{TextChecker, TextFault, TextRules};

use super::Context;
use super::accept::{self, Client, Refusal, Told, Transaction};
use super::instructions::Wishes;
use super::policy::{Destination, Listener, Policies, Policy};
use crate::limits::Limits;
use crate::verify::Findings;

/// Of the trace fields, in bytes: for the memory that a message takes.
const TRACE_BYTES: usize = 1 << 10;

/// Whoever submits is served as a trusted peer of the applications' port.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How submissions are taken.
#[derive(Debug)]
pub(crate) struct Submissions {
    policy: Policy,
    rules: TextRules,
    pub(crate) limits: SubmissionLimits,
}

impl Submissions {
    pub(crate) fn new(settings: &Settings, limits: &Limits, scram_decoy_key: [u8; 32]) -> Self {
        let policies = Policies::new(Listener::Applications, settings, limits, scram_decoy_key);
        Self {
            policy: policies.of_peer(PEER, true),
            rules: TextRules {
                line_bytes_max: limits.text_line_bytes_max,
                message_bytes_max: settings.max_email_size_bytes,
                repair_line_ends: true,
            },
            limits: SubmissionLimits {
                message_bytes_max: settings.max_email_size_bytes,
                recipients_max: limits.recipients_max,
            },
        }
    }

    /// Takes a message, and returns when it is durable.
    pub(crate) async fn take(
        &self,
        context: &Arc<Context>,
        submission: Submission,
    ) -> Result<Submitted, SubmissionError> {
        let taken = self.try_to_take(context, submission).await;
        context.stats.message_ended(taken.is_ok(), context.clock.now());
        taken
    }

    async fn try_to_take(&self, context: &Arc<Context>, submission: Submission) -> Result<Submitted, SubmissionError> {
        if *context.draining.borrow() {
            return Err(not_taken(Reply::SHUTTING_DOWN));
        }
        if submission.message.len() > self.limits.message_bytes_max {
            return Err(SubmissionError::TooLarge { bytes_max: self.limits.message_bytes_max });
        }
        if submission.recipients.len() > self.limits.recipients_max {
            let max = self.limits.recipients_max;
            return Err(not_taken(Reply::new(
                552,
                (5, 5, 3),
                format!("Too many recipients for one message: it has {max} at most"),
            )));
        }
        if let Some(ip) = submission.instructions.source_ip
            && !context.sources.can_leave_from(ip)
        {
            return Err(SubmissionError::SourceIp(ip));
        }
        let now = context.clock.now();
        if submission.not_before.is_some_and(|at| at > now + context.limits.hold_max) {
            let days = context.limits.hold_max.as_secs() / 86_400;
            return Err(not_taken(Reply::new(
                501,
                (5, 5, 4),
                format!("Messages are not held for so long: {days} days at most"),
            )));
        }
        let is_sent = submission.instructions.check_times(submission.not_before, now);
        is_sent.map_err(|error| not_taken(Reply::bad_instruction("expiresAt", &error.to_string())))?;
        let mut share = context.memory.share();
        if !share.resize(submission.message.len() + TRACE_BYTES) {
            return Err(not_taken(Reply::OVERLOADED));
        }
        let (message, sender_domains) = (submission.message.clone(), submission.sender_domains.clone());
        let mut transaction = self.begin(context, submission).await?;
        let top = transaction.begin(now, |transaction| received(context, transaction));
        let trace_bytes = top.len();
        let raw = self.checked(top, &message)?;
        drop(message);
        // As it is sent, not as it came: what ends a line may have changed.
        check_sender(&sender_domains, &transaction.envelope.reverse_path, &raw[trace_bytes..])?;
        let client = Client { peer: PEER, helo: "", user: None, findings: &Findings::default() };
        let accepting = accept::accept(context, transaction, client, raw, share, &self.policy);
        let taken = accepting.await.map_err(|refusal| match refusal {
            Refusal::Reply(reply) => not_taken(reply),
            Refusal::Known => SubmissionError::Known,
        })?;
        // Whom it was for has gone meanwhile: asked again, that says what now becomes of such mail.
        taken.submitted.ok_or_else(|| not_taken(Reply::STORE_UNAVAILABLE))
    }

    /// The transaction of a submission, with the recipients that are accepted.
    async fn begin(&self, context: &Context, submission: Submission) -> Result<Transaction, SubmissionError> {
        let Submission {
            reverse_path,
            recipients,
            message,
            instructions,
            not_before,
            require_tls,
            is_resent,
            request,
            ..
        } = submission;
        let is_held = not_before.is_some_and(|at| at > context.clock.now());
        let needs_smtputf8 = |address: &Address| address.needs_smtputf8();
        let envelope = Envelope {
            smtputf8: reverse_path.0.iter().chain(&recipients).any(needs_smtputf8) || has_8bit_header(&message),
            body: if message.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime },
            reverse_path,
            require_tls,
            ..Envelope::default()
        };
        let wishes = Wishes { instructions, not_before };
        let mut transaction = Transaction::new(envelope, wishes, message.len() as u64);
        let mut told: Vec<SubmittedRecipient> = Vec::with_capacity(recipients.len());
        for address in recipients {
            if told.iter().any(|known| known.address == address) {
                continue;
            }
            let destination = self.policy.destination(context, &address, message.len() as u64, false).await;
            let destination = match destination {
                Ok(destination) if is_held && destination.is_here() => Err(Reply::NOT_HELD_HERE),
                // It may be accepted later: then it is to come whole, not but for this one.
                Err(reply) if !reply.is_permanent() => return Err(not_taken(reply)),
                destination => destination,
            };
            let (status, error) = match &destination {
                Ok(Destination::Elsewhere) => (RecipientStatus::Queued, None),
                Ok(Destination::Kept(_)) => (RecipientStatus::Received, None),
                Err(reply) => {
                    context.stats.recipients_refused.inc();
                    (RecipientStatus::Refused, Some(core_reply(reply)))
                }
            };
            told.push(SubmittedRecipient { address: address.clone(), status, error });
            if let Ok(destination) = destination {
                transaction.add(Recipient::new(address), destination);
            }
        }
        if transaction.recipients.is_empty() {
            return Err(SubmissionError::NoRecipients(told));
        }
        transaction.told = Some(Told { recipients: told, is_resent, request });
        Ok(transaction)
    }

    /// The message behind its trace fields, its line ends mended.
    fn checked(&self, mut raw: BytesMut, message: &[u8]) -> Result<BytesMut, SubmissionError> {
        raw.reserve(message.len());
        let mut checker = TextChecker::new(self.rules);
        checker.push(message, &mut raw);
        checker.finish(&mut raw);
        if !raw.ends_with(b"\r\n") {
            raw.extend_from_slice(b"\r\n");
        }
        match checker.fault() {
            None => Ok(raw),
            Some(TextFault::TooLarge) => Err(SubmissionError::TooLarge { bytes_max: self.limits.message_bytes_max }),
            Some(TextFault::Nul) => Err(not_taken(Reply::NUL_IN_MESSAGE)),
            Some(TextFault::BareLineEnd) => Err(not_taken(Reply::BARE_LINE_END)),
            Some(TextFault::LineTooLong) => Err(not_taken(Reply::TEXT_LINE_TOO_LONG)),
        }
    }
}

/// Whether a message, and its envelope, are in the name of the domains that are allowed.
fn check_sender(domains: &[Domain], reverse_path: &ReversePath, message: &[u8]) -> Result<(), SubmissionError> {
    if domains.is_empty() {
        return Ok(());
    }
    let named = dkim::senders(message, HeaderScan::of(message)).ok_or(SubmissionError::Sender)?;
    let is_allowed = |address: &Address| domains.contains(&address.domain());
    if named.iter().chain(&reverse_path.0).all(is_allowed) { Ok(()) } else { Err(SubmissionError::Sender) }
}

/// The Received field. Who asked is not named in it: that is nothing of the mail's recipients.
fn received(context: &Context, transaction: &Transaction) -> Vec<u8> {
    let mut field = Vec::with_capacity(256);
    let only_recipient = match &transaction.recipients[..] {
        [(recipient, _)] => Some(&recipient.address),
        _ => None,
    };
    Received {
        client: None,
        hostname: &context.hostname,
        protocol: "HTTP",
        tls: None,
        id: transaction.id,
        recipient: only_recipient,
        at: transaction.started_at,
    }
    .write(&mut field);
    field
}

/// Whether the header section needs SMTPUTF8 (RFC 6531 section 1.2).
fn has_8bit_header(message: &[u8]) -> bool {
    let end = postrider_core::trace::header_end(message);
    !message[..end].is_ascii()
}

fn not_taken(reply: Reply) -> SubmissionError {
    let said = core_reply(&reply);
    if reply.is_permanent() { SubmissionError::Refused(said) } else { SubmissionError::NotNow(said) }
}

pub(super) fn core_reply(reply: &Reply) -> CoreReply {
    let enhanced_code = reply.enhanced.map(|(class, subject, detail)| format!("{class}.{subject}.{detail}"));
    CoreReply { code: reply.code, enhanced_code, text: reply.text.clone().into_owned() }
}
