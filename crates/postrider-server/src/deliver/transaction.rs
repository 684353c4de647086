//! One mail transaction: what of a message this peer can take, the transaction itself, and each recipient's outcome.

use bytes::Bytes;
use postrider_core::delivery::Exchange;
use postrider_core::envelope::{BodyType, DsnReturn};
use postrider_core::{Attempt, Category, Envelope, Outcome, Recipient, Reply, Timestamp, convert, trace};
use postrider_store::{ClaimedDelivery, ClaimedEmail};
use postrider_wire::smtp::client::{
    self, Capabilities, DsnNotify, Event, RecipientResult, TransactError, Transaction, TransactionRecipient,
    TransactionResult,
};
use tracing::debug;

use super::Delivery;
use super::connect::{Connection, Peer, reply_record};

/// What came of a transaction.
#[derive(Debug)]
pub(crate) struct Sent {
    /// By index into the e-mail's deliveries.
    pub(crate) attempts: Vec<(usize, Attempt)>,
    /// The peer knows DSN: telling of successes is its duty now (RFC 3461 section 5.2.2).
    pub(crate) peer_reports: bool,
    /// Whether the peer answered anything at all in this transaction.
    pub(crate) began: bool,
}

/// Sends an e-mail to some of its recipients. The connection comes back if it can carry another.
pub(crate) async fn send(
    delivery: &Delivery,
    mut connection: Box<Connection>,
    email: &ClaimedEmail,
    indexes: &[usize],
    raw: Bytes,
) -> (Sent, Option<Box<Connection>>) {
    let started_at = delivery.clock.now();
    let capabilities = *connection.client.capabilities();
    let peer_reports = capabilities.dsn;
    let mut attempts = Attempts { email, started_at, peer: connection.peer.clone(), list: Vec::new() };

    let (possible, refused) = split_by_capability(email, indexes, &raw, &capabilities);
    for (index, reply) in refused {
        attempts.push(index, failed(reply), Vec::new(), started_at);
    }
    if possible.is_empty() {
        return (Sent { attempts: attempts.list, peer_reports, began: true }, Some(connection));
    }
    let message = fitting(raw, email, &capabilities);
    if let Err(error) = connection.client.transact(transaction(email, &possible, message, &capabilities)) {
        for index in possible {
            attempts.push(index, unfit(error), Vec::new(), started_at);
        }
        return (Sent { attempts: attempts.list, peer_reports, began: true }, None);
    }
    connection.messages += 1;
    let event = connection.next_event(delivery.clock.as_ref()).await;
    let now = delivery.clock.now();
    match event {
        Ok(Event::Finished(result)) => {
            // 421 in answer to MAIL: said before we came, to a connection that had been idle for too long.
            let began = result.exchanges.first().is_none_or(|first| first.command != "MAIL" || first.reply.code != 421);
            attempts.finish(&possible, &result, now);
            let reusable = result.usable && connection.messages < delivery.limits.messages_per_connection_max;
            let kept = if reusable {
                Some(connection)
            } else {
                tokio::spawn(connection.quit(delivery.clock.clone()));
                None
            };
            (Sent { attempts: attempts.list, peer_reports, began }, kept)
        }
        other => {
            let (category, reason) = match other {
                Ok(Event::Failed(failure)) => (Category::Protocol, format!("broke off: {:?}", failure.cause)),
                Ok(event) => {
                    debug!(?event, "the conversation went out of step");
                    (Category::Protocol, "the conversation went out of step".to_owned())
                }
                Err(broken) => (broken.category(), broken.reason()),
            };
            let began = attempts.lost(connection, &possible, category, &reason, now);
            (Sent { attempts: attempts.list, peer_reports, began }, None)
        }
    }
}

/// Divides recipients into those that this peer can be given and those that it cannot, ever, with the reason.
fn split_by_capability(
    email: &ClaimedEmail,
    indexes: &[usize],
    raw: &[u8],
    capabilities: &Capabilities,
) -> (Vec<usize>, Vec<(usize, Reply)>) {
    let reply = |code, enhanced: &str, text: &str| Reply {
        code,
        enhanced_code: Some(enhanced.to_owned()),
        text: text.to_owned(),
    };
    if capabilities.size_bytes_max.is_some_and(|max| max > 0 && raw.len() as u64 > max) {
        let too_large = reply(552, "5.3.4", "the message is larger than the other side takes");
        return (Vec::new(), indexes.iter().map(|&index| (index, too_large.clone())).collect());
    }
    if capabilities.smtputf8 {
        return (indexes.to_vec(), Vec::new());
    }
    // RFC 6531 section 3.6: what needs SMTPUTF8 is not sent to a host without it.
    let needs_utf8 = reply(550, "5.6.7", "the message needs SMTPUTF8, which the other side does not know");
    let envelope = &email.envelope;
    let all_need_it = envelope.reverse_path.0.as_ref().is_some_and(|address| address.needs_smtputf8())
        || (envelope.smtputf8 && !raw[..trace::header_end(raw)].is_ascii());
    let (impossible, possible): (Vec<usize>, Vec<usize>) =
        indexes.iter().partition(|&&index| all_need_it || email.deliveries[index].recipient.address.needs_smtputf8());
    (possible, impossible.into_iter().map(|index| (index, needs_utf8.clone())).collect())
}

/// The message in a form that the peer takes: in 7 bits where it does not know 8BITMIME (RFC 6152 section 3).
fn fitting(raw: Bytes, email: &ClaimedEmail, capabilities: &Capabilities) -> Bytes {
    if !email.is_8bit || capabilities.eight_bit_mime {
        return raw;
    }
    convert::to_7bit(&raw).map_or(raw, Bytes::from)
}

fn transaction(email: &ClaimedEmail, indexes: &[usize], message: Bytes, capabilities: &Capabilities) -> Transaction {
    let Envelope { reverse_path, body, smtputf8, dsn_return, envelope_id } = &email.envelope;
    let address = |address: &postrider_core::Address| {
        if capabilities.smtputf8 { address.as_str().to_owned() } else { address.to_ascii_domain() }
    };
    let needs_smtputf8 = *smtputf8
        || reverse_path.0.as_ref().is_some_and(|a| !a.as_str().is_ascii())
        || indexes.iter().any(|&index| !email.deliveries[index].recipient.address.as_str().is_ascii());
    Transaction {
        reverse_path: reverse_path.0.as_ref().map(address).unwrap_or_default(),
        size: Some(message.len() as u64),
        body_8bitmime: *body == BodyType::EightBitMime || (email.is_8bit && capabilities.eight_bit_mime),
        smtputf8: needs_smtputf8 && capabilities.smtputf8,
        dsn_return: dsn_return.map(|dsn_return| match dsn_return {
            DsnReturn::Full => client::DsnReturn::Full,
            DsnReturn::Headers => client::DsnReturn::Headers,
        }),
        envelope_id: envelope_id.clone(),
        recipients: indexes
            .iter()
            .map(|&index| {
                let Recipient { address: to, notify, original_recipient } = &email.deliveries[index].recipient;
                TransactionRecipient {
                    address: address(to),
                    notify: notify.map(|notify| DsnNotify {
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
    failed(Reply { code: 550, enhanced_code: Some("5.6.0".to_owned()), text: error.to_string() })
}

fn failed(reply: Reply) -> Outcome {
    Outcome::Failed { category: Category::of_reply(&reply), reason: reply.text.clone(), reply: Some(reply) }
}

fn outcome_of(result: &RecipientResult) -> Outcome {
    match result {
        RecipientResult::Accepted(reply) => Outcome::Delivered { reply: reply_record(reply) },
        RecipientResult::Rejected(reply) => {
            let reply = reply_record(reply);
            if reply.is_permanent() {
                return failed(reply);
            }
            let category = Category::of_reply(&reply);
            Outcome::Deferred { category, reason: reply.text.clone(), reply: Some(reply) }
        }
    }
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
            tls: None,
            exchanges,
            outcome,
        };
        self.peer.describe(&mut attempt);
        self.list.push((index, attempt));
    }

    fn finish(&mut self, indexes: &[usize], result: &TransactionResult, now: Timestamp) {
        for (nth, (&index, recipient)) in indexes.iter().zip(&result.recipients).enumerate() {
            self.push(index, outcome_of(recipient), exchanges_of(nth, &result.exchanges), now);
        }
    }

    /// The connection was lost. What a recipient was refused before stands; the rest is tried again, also where the
    /// answer to the end of data is missing: twice is better than never (RFC 1047). Returns whether the peer had
    /// answered anything.
    fn lost(
        &mut self,
        connection: Box<Connection>,
        indexes: &[usize],
        category: Category,
        reason: &str,
        now: Timestamp,
    ) -> bool {
        let lost = connection.client.connection_lost();
        let host = self.peer.mx.clone().unwrap_or_default();
        let stage = if lost.end_of_data_sent { "after the message was sent, before it was acknowledged" } else { "" };
        for (nth, (&index, known)) in indexes.iter().zip(&lost.recipients).enumerate() {
            let outcome = match known {
                Some(result) => outcome_of(result),
                None => {
                    let reason = format!("{host} {reason} {stage}").trim_end().to_owned();
                    Outcome::Deferred { category, reply: None, reason }
                }
            };
            self.push(index, outcome, exchanges_of(nth, &lost.exchanges), now);
        }
        !lost.exchanges.is_empty()
    }
}

/// What was said about one recipient: what concerns all, and its own RCPT.
fn exchanges_of(recipient: usize, exchanges: &[client::Exchange]) -> Vec<Exchange> {
    exchanges
        .iter()
        .filter(|exchange| exchange.recipient.is_none_or(|other| other == recipient))
        .map(|exchange| Exchange { command: exchange.command.to_string(), reply: reply_record(&exchange.reply) })
        .collect()
}
