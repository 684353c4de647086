//! Notifications (DSNs) as e-mails of their own, to be accepted with the outcomes that they tell of.

use bytes::Bytes;
use postrider_core::dsn::{self, Report, ReportKind, ReportedRecipient};
use postrider_core::mailbox::Digest;
use postrider_core::{
    Attempt, Direction, Envelope, Instructions, Message, ObjectId, Recipient, ReversePath, Timestamp,
};
use postrider_core::{envelope::BodyType, trace};
use postrider_store::{ClaimedDelivery, ClaimedEmail, Filed, Filing, NewDelivery, NewEmail};

use crate::directory::Home;
use crate::dkim::Signer;

/// One delivery that the sender is told of.
#[derive(Debug)]
pub(crate) struct Reported<'a> {
    pub(crate) delivery: &'a ClaimedDelivery,
    pub(crate) attempt: Attempt,
    /// Until when it is tried, for a delay.
    pub(crate) retry_until: Option<Timestamp>,
}

/// From whom a notification is, and where it goes.
#[derive(Debug)]
pub(crate) struct Addressing<'a> {
    /// This host's name.
    pub(crate) hostname: &'a str,
    /// Of the sender who is told.
    pub(crate) home: &'a Home,
    /// Who signs what this host writes.
    pub(crate) signer: Option<&'a Signer>,
}

/// Composes the notification to the e-mail's sender. `None` for the null reverse-path: nobody is told (RFC 5321 section
/// 4.5.5).
pub(crate) fn compose(
    kind: ReportKind,
    email: &ClaimedEmail,
    reported: &[&Reported<'_>],
    original: &[u8],
    addressing: &Addressing<'_>,
    now: Timestamp,
) -> Option<NewEmail> {
    let sender = email.envelope.reverse_path.0.clone()?;
    let id = ObjectId::new(now);
    let errors: Vec<Option<String>> = reported.iter().map(|reported| reported.attempt.outcome.error()).collect();
    let recipients: Vec<ReportedRecipient<'_>> = reported
        .iter()
        .zip(&errors)
        .map(|(reported, error)| {
            // RFC 3464 sections 2.3.5 and 2.3.6: only who said something about the message is named and repeated.
            let diagnostic = reported.attempt.outcome.reply().filter(|_| reported.attempt.mx_ip.is_some());
            ReportedRecipient {
                recipient: &reported.delivery.recipient,
                status: dsn::status_of(&reported.attempt.outcome),
                remote_mta: reported.attempt.mx.as_deref().filter(|_| diagnostic.is_some()),
                diagnostic,
                reason: error.as_deref(),
                last_attempt_at: reported.attempt.started_at,
                will_retry_until: reported.retry_until,
            }
        })
        .collect();
    let report = Report {
        kind,
        reporting_mta: addressing.hostname,
        envelope: &email.envelope,
        arrived_at: email.created_at,
        now,
        id,
        recipients: &recipients,
        original,
    };
    Some(addressed(&report, Recipient::new(sender), addressing))
}

/// The notification as an e-mail.
fn addressed(report: &Report<'_>, recipient: Recipient, addressing: &Addressing<'_>) -> NewEmail {
    let mail = OwnMail {
        text: dsn::compose(report),
        id: report.id,
        now: report.now,
        smtputf8: report.needs_smtputf8() || recipient.address.needs_smtputf8(),
        // RFC 8689 section 5: the report is protected as the message is.
        require_tls: report.envelope.require_tls,
        waives_tls: false,
    };
    own_mail(mail, recipient, addressing)
}

/// What this host writes itself.
#[derive(Debug)]
pub(crate) struct OwnMail {
    pub(crate) text: Vec<u8>,
    pub(crate) id: ObjectId,
    pub(crate) now: Timestamp,
    pub(crate) smtputf8: bool,
    pub(crate) require_tls: bool,
    pub(crate) waives_tls: bool,
}

/// An e-mail from the null reverse-path: kept here if its recipient is at home here, and in the mailboxes of the users there;
/// signed if it goes elsewhere.
pub(crate) fn own_mail(mail: OwnMail, recipient: Recipient, addressing: &Addressing<'_>) -> NewEmail {
    let OwnMail { text, id, now, smtputf8, require_tls, waives_tls } = mail;
    let Addressing { home, signer, .. } = addressing;
    let stays = matches!(home, Home::Here(_));
    let mut raw = Vec::with_capacity(text.len() + 32);
    if stays {
        trace::write_return_path(&ReversePath::NULL, &mut raw);
    }
    let return_path_bytes = raw.len() as u32;
    if let Some(signer) = signer.filter(|_| !stays) {
        raw.extend_from_slice(&signer.sign(&[], &text, now));
    }
    raw.extend_from_slice(&text);
    let filed = match *home {
        Home::Here(users) if !users.is_empty() => Some(Filed {
            digest: Digest::of(&raw).as_bytes().clone(),
            // News of the user's own mail comes through however full the mailbox is.
            filings: users
                .iter()
                .map(|user| Filing { user: user.user, special_use: None, enforces_quota: false })
                .collect(),
            stays_on_record: false,
        }),
        _ => None,
    };
    let message = Message::parse(Bytes::from(raw), return_path_bytes);
    let body = if message.summary.is_8bit { BodyType::EightBitMime } else { BodyType::SevenBit };
    let envelope = Envelope { reverse_path: ReversePath::NULL, body, smtputf8, require_tls, ..Envelope::default() };
    let (direction, kept, deliveries) = if stays {
        (Direction::Inbound, vec![recipient], Vec::new())
    } else {
        (Direction::Outbound, Vec::new(), vec![NewDelivery { recipient, claimed_by: None, due_at: now }])
    };
    NewEmail {
        id,
        created_at: now,
        direction,
        envelope,
        instructions: Instructions { waives_tls, ..Instructions::default() },
        authentication: Vec::new(),
        events: Vec::new(),
        request: None,
        message,
        kept,
        deliveries,
        filed,
    }
}

/// Tells the sender that recipients who asked for it have their mail: it is kept here (RFC 3461 section 5.2.4).
pub(crate) fn delivered_here(
    email: &NewEmail,
    recipients: &[&Recipient],
    addressing: &Addressing<'_>,
) -> Option<NewEmail> {
    let sender = email.envelope.reverse_path.0.clone()?;
    let now = email.created_at;
    let id = ObjectId::new(now);
    let reported: Vec<ReportedRecipient<'_>> = recipients
        .iter()
        .map(|recipient| ReportedRecipient {
            recipient,
            status: "2.0.0".to_owned(),
            remote_mta: None,
            diagnostic: None,
            reason: None,
            last_attempt_at: now,
            will_retry_until: None,
        })
        .collect();
    let report = Report {
        kind: ReportKind::Delivered,
        reporting_mta: addressing.hostname,
        envelope: &email.envelope,
        arrived_at: now,
        now,
        id,
        recipients: &reported,
        original: &email.message.raw[email.message.return_path_bytes as usize..],
    };
    Some(addressed(&report, Recipient::new(sender), addressing))
}
