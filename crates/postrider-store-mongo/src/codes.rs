//! Between the words of the domain and BSON.

use mongodb::bson::{Bson, DateTime, Document, oid};
use postrider_core::{Address, DeliveryStatus, Domain, EmailStatus, ObjectId, Timestamp};
use postrider_store::{DeliveryId, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::corrupt;

pub(crate) fn date(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millis())
}

pub(crate) fn timestamp(at: DateTime) -> Timestamp {
    Timestamp::from_millis(at.timestamp_millis())
}

pub(crate) fn oid(id: ObjectId) -> oid::ObjectId {
    oid::ObjectId::from_bytes(*id.as_bytes())
}

pub(crate) fn id(oid: oid::ObjectId) -> ObjectId {
    ObjectId::from_bytes(oid.bytes())
}

/// A delivery's key: the e-mail's id and the delivery's number, so that all of an e-mail stand together.
pub(crate) fn delivery_key(id: DeliveryId) -> String {
    format!("{}:{}", id.email, id.number)
}

/// The keys of all deliveries or attempts of an e-mail: from the first, up to and without the second.
pub(crate) fn key_range(email: ObjectId) -> Document {
    // A semicolon follows the colon in ASCII.
    mongodb::bson::doc! { "$gte": format!("{email}:"), "$lt": format!("{email};") }
}

/// An attempt's key, counted from 1.
pub(crate) fn attempt_key(id: DeliveryId, attempt: u32) -> String {
    format!("{}:{}:{attempt}", id.email, id.number)
}

pub(crate) fn address(text: &str) -> Result<Address, StoreError> {
    Address::parse(text).map_err(|error| corrupt(format!("address {text:?}: {error}")))
}

pub(crate) fn domain(text: &str) -> Result<Domain, StoreError> {
    Domain::parse(text).map_err(|error| corrupt(format!("domain {text:?}: {error}")))
}

pub(crate) fn to_bson<T: Serialize>(value: &T) -> Result<Bson, StoreError> {
    mongodb::bson::serialize_to_bson(value).map_err(|error| corrupt(format!("a record cannot be written: {error}")))
}

pub(crate) fn to_document<T: Serialize>(value: &T) -> Result<Document, StoreError> {
    mongodb::bson::serialize_to_document(value).map_err(|error| corrupt(format!("a record cannot be written: {error}")))
}

pub(crate) fn from_document<T: DeserializeOwned>(document: Document) -> Result<T, StoreError> {
    mongodb::bson::deserialize_from_document(document)
        .map_err(|error| corrupt(format!("a document is not what it should be: {error}")))
}

/// The statuses that are stored, in the order of [`slot`].
pub(crate) const STATUSES: [EmailStatus; 7] = [
    EmailStatus::Queued,
    EmailStatus::Deferred,
    EmailStatus::Held,
    EmailStatus::Failed,
    EmailStatus::Cancelled,
    EmailStatus::Sent,
    EmailStatus::Received,
];

/// The place of a status in arrays that count them. `sending` is never stored: it is seen from the claims.
pub(crate) fn slot(status: EmailStatus) -> usize {
    match status {
        EmailStatus::Queued | EmailStatus::Sending => 0,
        EmailStatus::Deferred => 1,
        EmailStatus::Held => 2,
        EmailStatus::Failed => 3,
        EmailStatus::Cancelled => 4,
        EmailStatus::Sent => 5,
        EmailStatus::Received => 6,
    }
}

pub(crate) fn delivery_slot(status: DeliveryStatus) -> usize {
    slot(EmailStatus::of([status]))
}

/// Whether a delivery rests until somebody gives an order.
pub(crate) fn rests(status: DeliveryStatus) -> bool {
    matches!(status, DeliveryStatus::Held | DeliveryStatus::Failed | DeliveryStatus::Cancelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_slot() {
        for (place, &status) in STATUSES.iter().enumerate() {
            assert_eq!(slot(status), place);
        }
        for &status in DeliveryStatus::ALL {
            assert_eq!(STATUSES[delivery_slot(status)].as_str(), status.as_str());
        }
    }

    #[test]
    fn keys_of_an_email_are_a_range() {
        let email = ObjectId::from_bytes([7; 12]);
        let range = key_range(email);
        let (from, to) = (range.get_str("$gte").unwrap(), range.get_str("$lt").unwrap());
        let next = ObjectId::from_bytes([7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8]);
        for number in [0, 9, 10, u32::MAX] {
            let key = delivery_key(DeliveryId { email, number });
            assert!((from..to).contains(&key.as_str()));
            assert!((from..to).contains(&attempt_key(DeliveryId { email, number }, 3).as_str()));
            assert!(!(from..to).contains(&delivery_key(DeliveryId { email: next, number }).as_str()));
        }
    }
}
