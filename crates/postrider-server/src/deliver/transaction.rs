//! One mail transaction: what of a message this peer can take, the transaction itself, and each recipient's outcome.

use bytes::Bytes;
use postrider_core::delivery::Exchange;
use postrider_core::envelope::{BodyType, DsnReturn};
use postrider_core::{Attempt, Category, Envelope, Outcome, Recipient, Timestamp, convert, dsn, trace};
use postrider_store::{ClaimedDelivery, ClaimedEmail};
use postrider_wire::smtp::client::{
    self, Capabilities, Event, RecipientResult, TransactError, Transaction, TransactionRecipient, TransactionResult,
};
use tracing::debug;

use super::Delivery;
use super::conversation::{Broken, Connection, MaySend, Peer, exchange_record, explain, reply_record};

/// RCPTs that every server takes (RFC 5321 section 4.5.3.1.8).
const RECIPIENTS_SURE: usize = 100;

/// What came of a transaction.
#[derive(Debug)]
pub(crate) struct Sent {
    /// By index into the e-mail's deliveries.
    pub(crate) attempts: Vec<(usize, Attempt)>,
    /// The peer knows DSN: telling of successes is its duty now (RFC 3461 section 5.2.2).
    pub(crate) peer_reports: bool,
    /// Whether the peer said anything about this message. If not, on a connection that was kept, it had only gone.
    pub(crate) began: bool,
}

/// The message was not this node's to send any more before its end was sent: the other side has not got it from here.
#[derive(Debug)]
pub(crate) struct Revoked;

/// Sends an e-mail to some of its recipients. The connection comes back if it can carry another.
///
/// `may_send`: whether the message still is ours to send; asked before anything is written.
pub(crate) async fn send(
    delivery: &Delivery,
    mut connection: Box<Connection>,
    email: &ClaimedEmail,
    indexes: &[usize],
    raw: Bytes,
    may_send: &MaySend<'_>,
) -> Result<(Sent, Option<Box<Connection>>), Revoked> {
    let now = delivery.clock.now();
    let started_at = connection.begin_attempt(now);
    let capabilities = *connection.client.capabilities();
    let peer_reports = capabilities.dsn;
    let mut attempts = Attempts { email, started_at, peer: connection.peer.clone(), list: Vec::new() };

    let (mut possible, refused) = split_by_capability(email, indexes, &raw, &capabilities);
    for (index, outcome) in refused {
        attempts.push(index, outcome, Vec::new(), now);
    }
    let fitting = fitting(delivery, raw, email, &capabilities).await;
    let message = fitting.unwrap_or_else(|outcome| {
        possible.drain(..).for_each(|index| attempts.push(index, outcome.clone(), Vec::new(), now));
        Bytes::new()
    });
    if possible.is_empty() {
        return Ok((Sent { attempts: attempts.list, peer_reports, began: true }, Some(connection)));
    }
    if let Err(error) = connection.client.transact(transaction(delivery, email, &possible, message, &capabilities)) {
        for index in possible {
            attempts.push(index, unfit(error), Vec::new(), now);
        }
        let is_ready = error != TransactError::NotReady;
        return Ok((Sent { attempts: attempts.list, peer_reports, began: is_ready }, is_ready.then_some(connection)));
    }
    connection.messages += 1;
    let event = connection.next_event_while(delivery.clock.as_ref(), may_send).await;
    let now = delivery.clock.now();
    match event {
        Ok(Event::Finished(result)) => {
            let began = has_begun(&result.exchanges);
            attempts.finish(&possible, &result, now);
            let reusable = result.usable && connection.messages < connection.messages_max;
            let kept = if reusable {
                Some(connection)
            } else {
                tokio::spawn(connection.quit(delivery.clock.clone()));
                None
            };
            Ok((Sent { attempts: attempts.list, peer_reports, began }, kept))
        }
        Err(Broken::Revoked) => Err(Revoked),
        other => {
            let host = connection.peer.mx.clone().unwrap_or_default();
            let (category, reply, reason) = match other {
                Ok(Event::Failed(failure)) => explain(&failure, &host),
                Ok(event) => {
                    debug!(?event, "the conversation went out of step");
                    (Category::Protocol, None, format!("the conversation with {host} went out of step"))
                }
                Err(broken) => (broken.category(), None, format!("{host} {}", broken.reason())),
            };
            let began = attempts.lost(connection, &possible, Outcome::Deferred { category, reply, reason }, now);
            Ok((Sent { attempts: attempts.list, peer_reports, began }, None))
        }
    }
}

/// Whether an answer to MAIL is among these that is about the message. 421 is not: it was decided before we came, on a
/// connection that had been idle for too long.
fn has_begun(exchanges: &[client::Exchange]) -> bool {
    exchanges.iter().any(|exchange| exchange.command == "MAIL" && exchange.reply.code != 421)
}

/// Divides recipients into those that this peer can be given and those that it cannot, ever, with the outcome.
fn split_by_capability(
    email: &ClaimedEmail,
    indexes: &[usize],
    raw: &[u8],
    capabilities: &Capabilities,
) -> (Vec<usize>, Vec<(usize, Outcome)>) {
    if capabilities.size_bytes_max.is_some_and(|max| max > 0 && raw.len() as u64 > max) {
        let reason = "the message is larger than the other side takes";
        let too_large = dsn::refused_here(Category::Quota, "5.3.4", reason);
        return (Vec::new(), indexes.iter().map(|&index| (index, too_large.clone())).collect());
    }
    if capabilities.smtputf8 {
        return (indexes.to_vec(), Vec::new());
    }
    // RFC 6531 section 3.6: what needs SMTPUTF8 is not sent to a host without it.
    let reason = "the message needs SMTPUTF8, which the other side does not know";
    let needs_utf8 = dsn::refused_here(Category::Content, "5.6.7", reason);
    let envelope = &email.envelope;
    let all_need_it = envelope.reverse_path.0.as_ref().is_some_and(|address| address.needs_smtputf8())
        || (envelope.smtputf8 && !raw[..trace::header_end(raw)].is_ascii());
    let (impossible, possible): (Vec<usize>, Vec<usize>) =
        indexes.iter().partition(|&&index| all_need_it || email.deliveries[index].recipient.address.needs_smtputf8());
    (possible, impossible.into_iter().map(|index| (index, needs_utf8.clone())).collect())
}

/// The message in a form that the peer takes: in 7 bits where it does not know 8BITMIME, or not at all (RFC 6152 section
/// 3). A message whose header alone has 8 bits goes as it is: no conversion is there to help it, and most servers take it.
async fn fitting(
    delivery: &Delivery,
    raw: Bytes,
    email: &ClaimedEmail,
    capabilities: &Capabilities,
) -> Result<Bytes, Outcome> {
    if !email.is_8bit || capabilities.eight_bit_mime || raw[trace::header_end(&raw)..].is_ascii() {
        return Ok(raw);
    }
    let converted = convert::to_7bit(&raw).ok_or_else(|| {
        let reason = "the message has 8-bit text, which the other side does not take, and cannot be converted";
        dsn::refused_here(Category::Content, "5.6.3", reason)
    })?;
    // What was signed had 8 bits.
    match &delivery.signers {
        Some(signers) => Ok(signers.sign_anew(converted, delivery.clock.now()).await.into()),
        None => Ok(converted.into()),
    }
}

fn transaction(
    delivery: &Delivery,
    email: &ClaimedEmail,
    indexes: &[usize],
    message: Bytes,
    capabilities: &Capabilities,
) -> Transaction {
    let Envelope { reverse_path, body, smtputf8, dsn_return, envelope_id, require_tls } = &email.envelope;
    // RFC 8689 section 5: of what is to be protected no more is to come back than has to.
    let dsn_return = if *require_tls { Some(DsnReturn::Headers) } else { *dsn_return };
    let address = |address: &postrider_core::Address| {
        if capabilities.smtputf8 { address.as_str().to_owned() } else { address.to_ascii_domain() }
    };
    let needs_smtputf8 = *smtputf8
        || reverse_path.0.as_ref().is_some_and(|a| !a.as_str().is_ascii())
        || indexes.iter().any(|&index| !email.deliveries[index].recipient.address.as_str().is_ascii());
    Transaction {
        reverse_path: match (&reverse_path.0, &delivery.return_paths) {
            (None, _) => String::new(),
            (Some(_), Some(return_paths)) => return_paths.of(email.id),
            (Some(sender), None) => address(sender),
        },
        size: Some(message.len() as u64),
        body_8bitmime: *body == BodyType::EightBitMime || (email.is_8bit && capabilities.eight_bit_mime),
        smtputf8: needs_smtputf8 && capabilities.smtputf8,
        dsn_return: dsn_return.map(|dsn_return| match dsn_return {
            DsnReturn::Full => client::DsnReturn::Full,
            DsnReturn::Headers => client::DsnReturn::Headers,
        }),
        envelope_id: envelope_id.clone(),
        require_tls: *require_tls,
        priority: Some(email.instructions.priority.get()).filter(|&priority| priority != 0),
        recipients: indexes
            .iter()
            .map(|&index| {
                let Recipient { address: to, notify, original_recipient } = &email.deliveries[index].recipient;
                TransactionRecipient {
                    address: address(to),
                    notify: notify.map(|notify| client::Notify {
                        success: notify.success,
                        failure: notify.failure,
                        delay: notify.delay,
                    }),
                    original_recipient: original_recipient.clone(),
                }
            })
            .collect(),
        message,
    }
}

/// A transaction that could not be begun: the message or its envelope is such that no server could be told it.
fn unfit(error: TransactError) -> Outcome {
    if error == TransactError::NotReady {
        let reason = "the connection was not ready for a transaction".to_owned();
        return Outcome::Deferred { category: Category::Connection, reply: None, reason };
    }
    dsn::refused_here(Category::Content, "5.6.0", &error.to_string())
}

/// The outcome of the recipient that was named as number `nth`.
fn outcome_of(nth: usize, result: &RecipientResult, exchanges: &[client::Exchange]) -> Outcome {
    let reply = match result {
        RecipientResult::Accepted(reply) => return Outcome::Delivered { reply: reply_record(reply) },
        RecipientResult::Rejected(reply) => reply_record(reply),
    };
    let is_too_many = is_one_too_many(nth, exchanges);
    let (category, reason, is_permanent) = (Category::of_reply(&reply), reply.text.clone(), reply.is_permanent());
    if is_permanent && !is_too_many {
        return Outcome::Failed { category, reply: Some(reply), reason };
    }
    Outcome::Deferred { category, reply: Some(reply), reason }
}

/// Whether the server only had enough of recipients. Old ones say 552 to that, where they should say 452 (RFC 5321 section
/// 4.5.3.1.10).
fn is_one_too_many(nth: usize, exchanges: &[client::Exchange]) -> bool {
    nth >= RECIPIENTS_SURE
        && exchanges.iter().any(|exchange| exchange.recipient == Some(nth) && exchange.reply.code == 552)
}

/// The attempts of one transaction as they come together.
struct Attempts<'a> {
    email: &'a ClaimedEmail,
    started_at: Timestamp,
    peer: Peer,
    list: Vec<(usize, Attempt)>,
}

impl Attempts<'_> {
    fn push(&mut self, index: usize, outcome: Outcome, exchanges: Vec<Exchange>, now: Timestamp) {
        let delivery: &ClaimedDelivery = &self.email.deliveries[index];
        let mut attempt = Attempt {
            number: delivery.attempts + 1,
            started_at: self.started_at,
            duration: now.since(self.started_at),
            mx: None,
            mx_ip: None,
            source_ip: None,
            ip_selection: None,
            tls: None,
            exchanges,
            outcome,
        };
        self.peer.describe(&mut attempt);
        self.list.push((index, attempt));
    }

    fn finish(&mut self, indexes: &[usize], result: &TransactionResult, now: Timestamp) {
        for (nth, (&index, recipient)) in indexes.iter().zip(&result.recipients).enumerate() {
            self.push(index, outcome_of(nth, recipient, &result.exchanges), exchanges_of(nth, &result.exchanges), now);
        }
    }

    /// The connection was lost, with `outcome`. What a recipient was refused before stands; the rest is tried again, also
    /// where the answer to the end of data is missing: twice is better than never (RFC 1047). Returns whether the peer had
    /// said anything about the message.
    fn lost(&mut self, connection: Box<Connection>, indexes: &[usize], mut outcome: Outcome, now: Timestamp) -> bool {
        let lost = connection.client.connection_lost();
        if let Outcome::Deferred { reason, .. } = &mut outcome
            && lost.end_of_data_sent
        {
            reason.push_str(" after the message was sent, before it was acknowledged");
        }
        for (nth, (&index, known)) in indexes.iter().zip(&lost.recipients).enumerate() {
            let outcome = match known {
                Some(result) => outcome_of(nth, result, &lost.exchanges),
                None => outcome.clone(),
            };
            self.push(index, outcome, exchanges_of(nth, &lost.exchanges), now);
        }
        has_begun(&lost.exchanges)
    }
}

/// What was said about one recipient: what concerns all, and its own RCPT.
fn exchanges_of(recipient: usize, exchanges: &[client::Exchange]) -> Vec<Exchange> {
    exchanges
        .iter()
        .filter(|exchange| exchange.recipient.is_none_or(|other| other == recipient))
        .map(exchange_record)
        .collect()
}
