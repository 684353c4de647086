//! How types that are one string in JSON describe themselves in the API's document (JSON Schema within OpenAPI).
//!
//! Types with fields derive their description beside `Serialize`. These have theirs here, for their `Serialize` is written
//! by hand too.

use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::address::{Address, Domain};
use crate::id::ObjectId;
use crate::mailbox::MailboxName;
use crate::time::Timestamp;

fn string(description: &str, example: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description)).examples([example])
}

impl PartialSchema for ObjectId {
    fn schema() -> RefOr<Schema> {
        string("An id: 24 hex digits.", "65f0c1d2a3b4c5d6e7f80912").pattern(Some("^[0-9A-Fa-f]{24}$")).into()
    }
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        string("A time (RFC 3339); in answers in UTC, with milliseconds.", "2026-11-22T13:39:40.123Z")
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl PartialSchema for Address {
    fn schema() -> RefOr<Schema> {
        string("An address as envelopes have it (RFC 5321 section 4.1.2).", "anna@example.org").into()
    }
}

impl PartialSchema for Domain {
    fn schema() -> RefOr<Schema> {
        string("A domain, or an address literal.", "example.org").into()
    }
}

impl PartialSchema for MailboxName {
    fn schema() -> RefOr<Schema> {
        string("The name of a mailbox; `/` is between its levels.", "INBOX").into()
    }
}

impl ToSchema for ObjectId {}
impl ToSchema for Timestamp {}
impl ToSchema for Address {}
impl ToSchema for Domain {}
impl ToSchema for MailboxName {}
