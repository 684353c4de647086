//! The domain's words and ports: what every other room means by an e-mail, a delivery or an outcome.
//!
//! Nothing here knows a socket, a database, a setting or a thread. What the domain needs from outside (the time, name
//! resolution, a running server) is a trait in [`ports`].

pub mod address;
pub mod authentication;
pub mod bounce;
pub mod convert;
pub mod delivery;
pub mod dkim;
pub mod dsn;
pub mod envelope;
pub mod history;
pub mod id;
pub mod instructions;
pub mod log;
pub mod mailbox;
pub mod message;
pub mod metrics;
pub mod mime;
pub mod ports;
pub mod query;
pub mod queue;
pub mod retry;
mod schema;
pub mod simulation;
pub mod source;
pub mod spf;
pub mod submission;
pub mod time;
pub mod trace;

pub use address::{Address, AddressError, Domain, ReversePath};
pub use authentication::AuthenticationResult;
pub use delivery::{
    Attempt, Category, DeliveryStatus, EmailStatus, Outcome, Reply, SuppressionReason, TlsAuthentication, TlsInfo,
};
pub use envelope::{BodyType, Direction, DsnReturn, Envelope, Notify, Recipient};
pub use id::ObjectId;
pub use instructions::{Instructions, Priority};
pub use log::{LogFilter, LogLevel, LogPage, LogRecord};
pub use message::{Attachment, Bodies, Content, Message, Summary, searched_text};
pub use ports::{Clock, Control, ControlError, LogTail, ResolveError, Resolver};
pub use retry::RetrySchedule;
pub use source::{SourceDecision, SourceOrigin, SourceQuestion};
pub use submission::{Submission, SubmissionError, SubmissionLimits, Submitted};
pub use time::Timestamp;
