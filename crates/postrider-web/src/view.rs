//! The JSON shapes of an e-mail: short in lists, whole when asked for alone. The API and the command line's `--json` show
//! the same.

mod audit;
mod cursor;
pub mod directory;
mod dns;
pub mod history;
mod page;
mod queue;
mod settings;
mod submission;
mod suppression;
mod timeline;
mod token;
mod webhook;
mod why;

use std::collections::BTreeMap;
use std::net::IpAddr;

use postrider_core::bounce::Feedback;
use postrider_core::{
    Attachment, Attempt, AuthenticationResult, Category, Content, DeliveryStatus, Direction, EmailStatus, ObjectId,
    Priority, Reply, Timestamp, TlsInfo,
};
use postrider_store::{DeliveryRecord, EmailDetail, EmailRecord};
use serde::Serialize;

pub use audit::{AuditEntryView, AuditPageView};
pub use cursor::{Cursor, FilterMark};
pub use dns::{DkimKeyView, DkimView, DnsRecordView, DnsState, DnsView, TxtRecordView};
pub use page::EmailPageView;
pub use queue::QueueDomainPageView;
pub use settings::{SettingView, SettingsView};
pub use submission::{RecipientView, SubmittedView};
pub use suppression::SuppressionPageView;
pub(crate) use timeline::{Happening, TimelineEntry};
pub use timeline::{TimelineSources, TimelineView};
pub use token::TokenView;
pub use webhook::{CallPageView, CallView, EndpointView};
pub(crate) use why::DeliveryWhyView;
pub use why::{Running, WhyView, waiting_domains};

/// Where a page stands in its list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Pagination {
    page: u64,
    limit: u64,
    total: u64,
    pages: u64,
}

/// An e-mail as lists show it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmailView {
    id: ObjectId,
    message_id: Option<String>,
    direction: Direction,
    sender: String,
    recipients: Vec<String>,
    subject: Option<String>,
    status: EmailStatus,
    size: u64,
    attempts: u32,
    next_attempt_at: Option<Timestamp>,
    last_error: Option<String>,
    #[schema(value_type = Option<String>)]
    source_ip: Option<IpAddr>,
    created_at: Timestamp,
    updated_at: Timestamp,
    tags: Vec<String>,
}

/// One e-mail with all that is known of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmailDetailView {
    #[serde(flatten)]
    email: EmailView,
    priority: Priority,
    metadata: BTreeMap<String, String>,
    /// When it is given up, where the sender said so.
    expires_at: Option<Timestamp>,
    /// It goes over verified TLS only (RFC 8689).
    require_tls: bool,
    waives_tls: bool,
    /// The address that its sender wants it to leave from.
    #[schema(value_type = Option<String>)]
    requested_source_ip: Option<IpAddr>,
    /// Told of it besides all endpoints.
    webhook_url: Option<String>,
    /// What was found out about who it is from.
    authentication: Vec<AuthenticationResult>,
    text: Option<String>,
    html: Option<String>,
    headers: Vec<HeaderView>,
    attachments: Vec<Attachment>,
    deliveries: Vec<DeliveryView>,
}

/// A field of the header section, in the message's order: names may repeat.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct HeaderView {
    name: String,
    value: String,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct DeliveryView {
    recipient: String,
    status: EmailStatus,
    /// While it is sending: what an order makes of it afterwards, unless it is sent or fails for good.
    ordered: Option<DeliveryStatus>,
    attempts: u32,
    next_attempt_at: Option<Timestamp>,
    last_response: Option<ReplyView>,
    last_error: Option<String>,
    category: Option<Category>,
    mx: Option<String>,
    #[schema(value_type = Option<String>)]
    mx_ip: Option<IpAddr>,
    #[schema(value_type = Option<String>)]
    source_ip: Option<IpAddr>,
    tls: Option<TlsInfo>,
    /// Every attempt, the first one first.
    history: Vec<Attempt>,
    /// What came back after it was sent.
    feedback: Vec<Feedback>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReplyView {
    code: u16,
    enhanced_code: Option<String>,
    text: String,
}

impl Pagination {
    fn new(page: u64, limit: u64, total: u64) -> Self {
        Self { page, limit, total, pages: total.div_ceil(limit.max(1)) }
    }

    /// One page of a whole list.
    fn cut<T>(all: Vec<T>, page: u64, limit: u64) -> (Vec<T>, Self) {
        let pagination = Self::new(page, limit, all.len() as u64);
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let skipped = count(page.saturating_sub(1).saturating_mul(limit));
        (all.into_iter().skip(skipped).take(count(limit)).collect(), pagination)
    }
}

impl EmailDetailView {
    /// `content` is the e-mail's message, opened.
    pub fn new(detail: EmailDetail, content: Content) -> Self {
        let EmailDetail { email, envelope, instructions, authentication, deliveries, attempts } = detail;
        let mut deliveries: Vec<(u32, DeliveryView)> =
            deliveries.into_iter().map(|delivery| (delivery.number, DeliveryView::from(delivery))).collect();
        for (number, attempt) in attempts {
            if let Some((_, delivery)) = deliveries.iter_mut().find(|(of, _)| *of == number) {
                delivery.history.push(attempt);
            }
        }
        Self {
            email: EmailView::from(email),
            priority: instructions.priority,
            metadata: instructions.metadata,
            expires_at: instructions.expires_at,
            require_tls: envelope.require_tls,
            waives_tls: instructions.waives_tls,
            requested_source_ip: instructions.source_ip,
            webhook_url: instructions.webhook_url,
            authentication,
            text: content.text,
            html: content.html,
            headers: content.headers.into_iter().map(|(name, value)| HeaderView { name, value }).collect(),
            attachments: content.attachments,
            deliveries: deliveries.into_iter().map(|(_, delivery)| delivery).collect(),
        }
    }
}

impl From<EmailRecord> for EmailView {
    fn from(email: EmailRecord) -> Self {
        Self {
            id: email.id,
            message_id: email.message_id,
            direction: email.direction,
            sender: email.sender,
            recipients: email.recipients,
            subject: email.subject,
            status: email.status,
            size: email.size,
            attempts: email.attempts,
            next_attempt_at: email.next_attempt_at,
            last_error: email.last_error,
            source_ip: email.source_ip,
            created_at: email.created_at,
            updated_at: email.updated_at,
            tags: email.tags,
        }
    }
}

impl From<DeliveryRecord> for DeliveryView {
    fn from(delivery: DeliveryRecord) -> Self {
        Self {
            recipient: delivery.recipient,
            status: delivery.status,
            ordered: delivery.ordered,
            attempts: delivery.attempts,
            next_attempt_at: delivery.next_attempt_at,
            last_response: delivery.last_response.map(ReplyView::from),
            last_error: delivery.last_error,
            category: delivery.category,
            mx: delivery.mx,
            mx_ip: delivery.mx_ip,
            source_ip: delivery.source_ip,
            tls: delivery.tls,
            history: Vec::new(),
            feedback: delivery.feedback,
        }
    }
}

impl From<Reply> for ReplyView {
    fn from(reply: Reply) -> Self {
        Self { code: reply.code, enhanced_code: reply.enhanced_code, text: reply.text }
    }
}
