//! Bodies that may be as large as messages: read piece by piece, each piece taken from the memory that the server has for
//! messages, so that many that come together do not fill the machine.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use postrider_core::Control;
use postrider_core::ports::MemoryLease;

use crate::problem::Problem;

/// A body is held about so many times while a message is made of it: as it came, decoded, and as the message.
const COPIES: usize = 3;

/// At the beginning, whatever a request says of its length.
const CAPACITY_BYTES_MAX: usize = 64 << 10;

/// A body, and the memory that it takes.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) bytes: Bytes,
    lease: Box<dyn MemoryLease>,
}

impl Upload {
    /// Reads a body of up to `bytes_max` bytes.
    pub(super) async fn read(
        control: &dyn Control,
        headers: &HeaderMap,
        body: Body,
        bytes_max: usize,
    ) -> Result<Self, Problem> {
        let said = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let too_large = || {
            Problem::body_too_large(format!(
                "The body is longer than {bytes_max} bytes; MAX_EMAIL_SIZE says how large a message may be."
            ))
        };
        if said.is_some_and(|bytes| bytes > bytes_max as u64) {
            return Err(too_large());
        }
        let capacity = said.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(bytes_max)).min(CAPACITY_BYTES_MAX);
        let mut bytes = BytesMut::with_capacity(capacity);
        let mut lease = control.lease_memory();
        let mut stream = body.into_data_stream();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| Problem::bad_body(format!("The body did not come whole: {error}.")))?;
            if bytes.len() + piece.len() > bytes_max {
                return Err(too_large());
            }
            if !lease.resize((bytes.len() + piece.len()).saturating_mul(COPIES)) {
                return Err(Problem::unavailable("No memory is left for messages now. Try again soon.", 1));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Self { bytes: bytes.freeze(), lease })
    }

    /// The body, where all that is left of it is this.
    pub(super) fn into_bytes(self) -> (Bytes, Box<dyn MemoryLease>) {
        (self.bytes, self.lease)
    }
}
