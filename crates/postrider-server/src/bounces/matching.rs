//! From a report to the e-mail that it speaks of, and what that means: noted on the e-mail's deliveries, and for hard bounces and
//! complaints on the suppression list.
//!
//! A report is somebody's word. It counts where it came to a return path of ours, or shows of the original what only its readers
//! know; and it says nothing of addresses that the e-mail was never sent to. Nothing is ever sent because of one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postrider_core::bounce::report::{IncomingKind, IncomingRecipient, IncomingReport};
use postrider_core::bounce::{Feedback, FeedbackKind};
use postrider_core::mime::{Fields, header_end};
use postrider_core::{Address, Clock, Direction, EmailStatus, ObjectId, Recipient, SuppressionReason, Timestamp};
use postrider_store::directory::lookup_key;
use postrider_store::{DeliveryRecord, EmailDetail, Store, StoreError, Suppression};
use tracing::{debug, info};

use super::return_path::{ReturnPath, ReturnPaths};
use crate::outage::in_time;
use crate::parse::parse;

/// What the sessions need to know of mail that comes back.
#[derive(Debug)]
pub(crate) struct Bounces {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    /// How long the store may take for one answer.
    pub(crate) store_timeout: Duration,
    /// Where return paths name the e-mail.
    pub(crate) return_paths: Option<Arc<ReturnPaths>>,
    /// Whether addresses enter the suppression list.
    pub(crate) suppresses: bool,
}

/// A message that may be a report.
#[derive(Debug)]
pub(crate) struct Suspect {
    /// As an e-mail.
    id: ObjectId,
    raw: Bytes,
    at: Timestamp,
    /// The e-mail whose return path it came to.
    returned: Option<ObjectId>,
    /// From the null reverse-path, as notifications are (RFC 3464 section 2).
    is_from_nobody: bool,
}

/// An e-mail that a report may speak of, and whether that is sure by the address alone.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    email: ObjectId,
    is_proven: bool,
}

/// What follows from a report.
#[derive(Debug, Default)]
struct Findings {
    feedback: Vec<(u32, Feedback)>,
    suppressions: Vec<Suppression>,
}

impl Bounces {
    /// Whether an address is a return path of ours, or is made up as one.
    pub(crate) fn return_path(&self, address: &Address) -> Option<ReturnPath> {
        self.return_paths.as_ref()?.read(address)
    }

    /// Looks at a message that is kept here; `None` where it is plain that it is no report.
    pub(crate) fn suspect(
        &self,
        id: ObjectId,
        raw: &Bytes,
        is_from_nobody: bool,
        kept: &[Recipient],
        at: Timestamp,
    ) -> Option<Suspect> {
        let returned = kept.iter().find_map(|recipient| match self.return_path(&recipient.address) {
            Some(ReturnPath::Of(email)) => Some(email),
            _ => None,
        });
        let is_suspect = !kept.is_empty() && (returned.is_some() || has_marks(&raw[..header_end(raw)]));
        is_suspect.then(|| Suspect { id, raw: raw.clone(), at, returned, is_from_nobody })
    }

    /// Reads a report and notes what it says. It is kept as an e-mail already.
    pub(crate) async fn take_in(&self, suspect: Suspect) -> Result<(), StoreError> {
        let (raw, is_bounce) = (suspect.raw.clone(), suspect.returned.is_some());
        let Some(Some(report)) = parse(raw.len(), move || IncomingReport::parse(&raw, is_bounce)).await else {
            return Ok(());
        };
        for candidate in self.candidates(&suspect, &report) {
            let Some(email) = self.in_time(self.store.email(candidate.email)).await? else { continue };
            if !is_about(&report, &email, candidate) {
                debug!(email = %candidate.email, report = %suspect.id, "a report does not fit the e-mail that it names");
                continue;
            }
            let findings = findings(&report, &email, &suspect);
            info!(
                email = %candidate.email,
                report = %suspect.id,
                deliveries = findings.feedback.len(),
                suppressed = findings.suppressions.len(),
                "a report came back"
            );
            if self.suppresses && !findings.suppressions.is_empty() {
                self.in_time(self.store.suppress(findings.suppressions)).await?;
            }
            if !findings.feedback.is_empty() {
                self.in_time(self.store.note_feedback(candidate.email, findings.feedback)).await?;
            }
            break;
        }
        Ok(())
    }

    /// Which e-mails a report may speak of. Where return paths name the e-mail, a notification counts at these alone.
    fn candidates(&self, suspect: &Suspect, report: &IncomingReport) -> Vec<Candidate> {
        if let Some(email) = suspect.returned {
            return vec![Candidate { email, is_proven: true }];
        }
        let named = report.original.return_paths.iter().filter_map(|address| match self.return_path(address) {
            Some(ReturnPath::Of(email)) => Some(Candidate { email, is_proven: true }),
            _ => None,
        });
        let shown = report.original.candidates.iter().map(|&email| Candidate { email, is_proven: false });
        match report.kind {
            IncomingKind::Complaint => named.chain(shown).collect(),
            IncomingKind::Delivery if self.return_paths.is_some() || !suspect.is_from_nobody => Vec::new(),
            IncomingKind::Delivery => shown.collect(),
        }
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        in_time(self.clock.as_ref(), self.store_timeout, call).await
    }
}

/// Whether a header is that of a report for programs.
fn has_marks(header: &[u8]) -> bool {
    Fields::new(header).any(|field| {
        field.is("X-Failed-Recipients")
            || (field.is("Content-Type") && field.value.to_ascii_lowercase().windows(7).any(|part| part == b"/report"))
    })
}

/// Whether a report is about this e-mail: an id can be guessed, but not together with the Message-ID.
fn is_about(report: &IncomingReport, email: &EmailDetail, candidate: Candidate) -> bool {
    let shown = &report.original.message_id;
    email.email.direction == Direction::Outbound
        && (candidate.is_proven || (shown.is_some() && *shown == email.email.message_id))
}

fn findings(report: &IncomingReport, email: &EmailDetail, suspect: &Suspect) -> Findings {
    let mut findings = Findings::default();
    for said in &report.recipients {
        for delivery in meant(said, &email.deliveries) {
            // What was not handed over cannot come back.
            let Ok(address) = delivery.recipient.parse::<Address>() else { continue };
            if delivery.status != EmailStatus::Sent
                || findings.feedback.iter().any(|(known, _)| *known == delivery.number)
            {
                continue;
            }
            let kind = match report.kind {
                IncomingKind::Complaint => FeedbackKind::Complaint,
                IncomingKind::Delivery if said.is_failed => FeedbackKind::Bounce,
                IncomingKind::Delivery => FeedbackKind::Delay,
            };
            let reason = match kind {
                FeedbackKind::Complaint => Some(SuppressionReason::Complaint),
                // Behind a forwarding it is another mailbox that is not there.
                FeedbackKind::Bounce if said.classification.is_hard_bounce && !is_forwarded(said, delivery) => {
                    Some(SuppressionReason::HardBounce)
                }
                FeedbackKind::Bounce | FeedbackKind::Delay => None,
            };
            let suppression =
                |reason| Suppression::new(address, reason, Some(email.email.id), Some(&said.text), suspect.at);
            findings.suppressions.extend(reason.map(suppression));
            let category = (kind != FeedbackKind::Complaint).then_some(said.classification.category);
            let feedback = Feedback {
                kind,
                received_at: suspect.at,
                report: suspect.id,
                category,
                status: said.status.clone(),
                text: said.text.clone(),
            };
            findings.feedback.push((delivery.number, feedback));
        }
    }
    findings
}

/// The deliveries of the e-mail that are spoken of: those to an address that is named, or the only one there is.
fn meant<'a>(said: &IncomingRecipient, deliveries: &'a [DeliveryRecord]) -> Vec<&'a DeliveryRecord> {
    let named: Vec<_> = deliveries.iter().filter(|delivery| is_named(said, delivery)).collect();
    match (named.is_empty(), deliveries) {
        (true, [only]) => vec![only],
        _ => named,
    }
}

fn is_forwarded(said: &IncomingRecipient, delivery: &DeliveryRecord) -> bool {
    !said.addresses.is_empty() && !is_named(said, delivery)
}

fn is_named(said: &IncomingRecipient, delivery: &DeliveryRecord) -> bool {
    let Ok(recipient) = delivery.recipient.parse::<Address>() else { return false };
    said.addresses.iter().any(|address| lookup_key(address) == lookup_key(&recipient))
}
