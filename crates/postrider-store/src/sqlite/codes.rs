//! How values of the domain stand in columns.

use std::cell::RefCell;
use std::io;

use bytes::Bytes;
use postrider_core::{Address, DeliveryStatus, Direction, Domain, EmailStatus, ObjectId, Recipient, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::corrupt;
use crate::error::StoreError;

/// How many codes there are, from 0.
pub(super) const STATUS_CODES: usize = 7;

/// A status as it stands in columns.
pub(super) type StatusCode = u8;

/// The code of a status. The schema's partial indexes rest on this order: 0 and 1 wait, 2 to 4 rest until somebody gives
/// an order, 5 and 6 are done.
pub(super) fn email_status_code(status: EmailStatus) -> StatusCode {
    match status {
        // `sending` is never stored: it is seen from the claims. As a bound it stands with what still moves.
        EmailStatus::Queued | EmailStatus::Sending => 0,
        EmailStatus::Deferred => 1,
        EmailStatus::Held => 2,
        EmailStatus::Failed => 3,
        EmailStatus::Cancelled => 4,
        EmailStatus::Sent => 5,
        EmailStatus::Received => 6,
    }
}

pub(super) fn email_status(code: StatusCode) -> Result<EmailStatus, StoreError> {
    Ok(match code {
        0 => EmailStatus::Queued,
        1 => EmailStatus::Deferred,
        2 => EmailStatus::Held,
        3 => EmailStatus::Failed,
        4 => EmailStatus::Cancelled,
        5 => EmailStatus::Sent,
        6 => EmailStatus::Received,
        _ => return Err(corrupt(format!("{code} is no status"))),
    })
}

pub(super) fn delivery_status_code(status: DeliveryStatus) -> StatusCode {
    email_status_code(EmailStatus::of([status]))
}

pub(super) fn delivery_status(code: StatusCode) -> Result<DeliveryStatus, StoreError> {
    Ok(match code {
        0 => DeliveryStatus::Queued,
        1 => DeliveryStatus::Deferred,
        2 => DeliveryStatus::Held,
        3 => DeliveryStatus::Failed,
        4 => DeliveryStatus::Cancelled,
        5 => DeliveryStatus::Sent,
        _ => return Err(corrupt(format!("{code} is no status of a delivery"))),
    })
}

pub(super) fn direction_code(direction: Direction) -> u8 {
    match direction {
        Direction::Inbound => 0,
        Direction::Outbound => 1,
    }
}

pub(super) fn direction(code: u8) -> Direction {
    if code == 0 { Direction::Inbound } else { Direction::Outbound }
}

pub(super) fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(super) fn id(bytes: [u8; 12]) -> ObjectId {
    ObjectId::from_bytes(bytes)
}

pub(super) fn address(text: &str) -> Result<Address, StoreError> {
    Address::parse(text).map_err(|error| corrupt(format!("address {text:?}: {error}")))
}

/// The recipient of a delivery's row.
pub(super) fn recipient(address_text: &str, parameters: Option<&str>) -> Result<Recipient, StoreError> {
    match parameters {
        Some(json) => from_json(json),
        None => address(address_text).map(Recipient::new),
    }
}

pub(super) fn domain(text: &str) -> Result<Domain, StoreError> {
    Domain::parse(text).map_err(|error| corrupt(format!("domain {text:?}: {error}")))
}

pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| corrupt(format!("a record cannot be written as JSON: {error}")))
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| corrupt(format!("a record is not the JSON it should be: {error}")))
}

/// What a column says that is empty where there is nothing to say.
pub(super) fn from_optional_json<T: DeserializeOwned + Default>(text: Option<&str>) -> Result<T, StoreError> {
    text.map_or_else(|| Ok(T::default()), from_json)
}

/// A message as the blobs table keeps it.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) encoding: u8,
    pub(super) content: Bytes,
}

const ENCODING_PLAIN: u8 = 0;
const ENCODING_ZSTD: u8 = 1;

/// The fastest level that still halves text: a message is written once and mostly read once.
const ZSTD_LEVEL: i32 = 1;

/// Shorter repetitions are left as they stand: mail hardly grows by it, and is read a third faster.
const ZSTD_MATCH_BYTES_MIN: u32 = 7;

thread_local! {
    // A context is a megabyte of tables: made once for each thread that needs one.
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses a message where that makes it smaller.
pub(super) fn encode_blob(raw: &Bytes) -> Blob {
    let compressed = COMPRESSOR.with_borrow_mut(|slot| -> io::Result<Vec<u8>> {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => {
                let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
                compressor.set_parameter(zstd::zstd_safe::CParameter::MinMatch(ZSTD_MATCH_BYTES_MIN))?;
                slot.insert(compressor)
            }
        };
        compressor.compress(raw)
    });
    match compressed {
        Ok(mut content) if content.len() < raw.len() => {
            // The buffer was made for the worst case, and may wait in a queue.
            content.shrink_to_fit();
            Blob { encoding: ENCODING_ZSTD, content: content.into() }
        }
        _ => Blob { encoding: ENCODING_PLAIN, content: raw.clone() },
    }
}

/// The message in a blob of `size` decoded bytes.
pub(super) fn decode_blob(encoding: u8, content: &[u8], size: usize) -> Result<Bytes, StoreError> {
    let raw = match encoding {
        ENCODING_PLAIN => content.to_vec(),
        ENCODING_ZSTD => decompress(content, size).map_err(|error| corrupt(format!("a message: {error}")))?,
        _ => return Err(corrupt(format!("{encoding} is no encoding of a message"))),
    };
    if raw.len() != size {
        return Err(corrupt(format!("a message has {} bytes instead of {size}", raw.len())));
    }
    Ok(raw.into())
}

fn decompress(content: &[u8], size: usize) -> io::Result<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(zstd::bulk::Decompressor::new()?),
        };
        decompressor.decompress(content, size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_come_back_as_they_went() {
        for &status in DeliveryStatus::ALL {
            assert_eq!(delivery_status(delivery_status_code(status)), Ok(status));
            assert_eq!(delivery_status_code(status) <= 1, status.is_waiting());
        }
        for &status in EmailStatus::ALL.iter().filter(|&&status| status != EmailStatus::Sending) {
            assert_eq!(email_status(email_status_code(status)), Ok(status));
            assert!(usize::from(email_status_code(status)) < STATUS_CODES);
        }
        assert!(email_status(STATUS_CODES as StatusCode).is_err());
    }

    #[test]
    fn blobs_are_never_larger_than_the_message() {
        let text = Bytes::from("Subject: a\r\n\r\n".repeat(100));
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let noise: Bytes = (0..2000).map(|_| noise()).collect();
        for (raw, encoding) in [(text, ENCODING_ZSTD), (noise, ENCODING_PLAIN), (Bytes::new(), ENCODING_PLAIN)] {
            let blob = encode_blob(&raw);
            assert_eq!(blob.encoding, encoding);
            assert!(blob.content.len() <= raw.len());
            assert_eq!(decode_blob(blob.encoding, &blob.content, raw.len()), Ok(raw));
        }
    }

    #[test]
    fn a_damaged_blob_is_an_error() {
        let raw = Bytes::from("text ".repeat(100));
        let blob = encode_blob(&raw);
        assert!(matches!(decode_blob(blob.encoding, &blob.content[1..], raw.len()), Err(StoreError::Corrupt(_))));
        assert!(matches!(decode_blob(blob.encoding, &blob.content, raw.len() - 1), Err(StoreError::Corrupt(_))));
        assert!(matches!(decode_blob(ENCODING_PLAIN, &raw, raw.len() + 1), Err(StoreError::Corrupt(_))));
        assert!(matches!(decode_blob(9, &raw, raw.len()), Err(StoreError::Corrupt(_))));
    }
}
