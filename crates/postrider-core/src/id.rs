//! Ids of stored records: MongoDB ObjectIds in every engine, so that records keep their ids when they move between them.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::Timestamp;

/// A 12-byte id: seconds since 1970 (4 bytes), a random number of this process (5), a counter (3), all big-endian.
///
/// Ids made by one process sort by the second of their making, and within a second by the order of it (but for the
/// counter's turn-over every 16,777,216 ids). Shown as 24 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ObjectId([u8; 12]);

impl ObjectId {
    /// A new id, unique among all processes, for something made at `now`.
    pub fn new(now: Timestamp) -> Self {
        static PROCESS: OnceLock<([u8; 5], AtomicU32)> = OnceLock::new();
        let (random, counter) = PROCESS.get_or_init(|| {
            let mut bytes = [0u8; 8];
            // Without randomness two nodes could make the same id; there is no safe way to go on.
            getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
            let random = [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4]];
            // The counter starts low enough not to turn over soon, so that order by id is order of arrival.
            let start = u32::from_be_bytes([0, bytes[5] & 0x0f, bytes[6], bytes[7]]);
            (random, AtomicU32::new(start))
        });
        let seconds = (now.as_millis() / 1000) as u32;
        let count = counter.fetch_add(1, Ordering::Relaxed);
        let mut id = [0u8; 12];
        id[..4].copy_from_slice(&seconds.to_be_bytes());
        id[4..9].copy_from_slice(random);
        id[9..].copy_from_slice(&count.to_be_bytes()[1..]);
        Self(id)
    }

    /// The smallest id that something made at `at` can have: a bound for searches by time.
    pub fn lower_bound(at: Timestamp) -> Self {
        let mut id = [0u8; 12];
        id[..4].copy_from_slice(&((at.as_millis() / 1000) as u32).to_be_bytes());
        Self(id)
    }

    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }

    /// When the id was made, to the second.
    pub fn created_at(&self) -> Timestamp {
        let seconds = u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]]);
        Timestamp::from_millis(i64::from(seconds) * 1000)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0u8; 24];
        for (i, byte) in self.0.iter().enumerate() {
            text[2 * i] = HEX[usize::from(byte >> 4)];
            text[2 * i + 1] = HEX[usize::from(byte & 15)];
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 24 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id is 24 hex digits")]
pub struct IdError;

impl FromStr for ObjectId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let text = text.as_bytes();
        if text.len() != 24 {
            return Err(IdError);
        }
        let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8).ok_or(IdError);
        let mut id = [0u8; 12];
        for (byte, pair) in id.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(id))
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_the_same_id() {
        let id = ObjectId::new(Timestamp::from_millis(1_700_000_000_000));
        let text = id.to_string();
        assert_eq!(text.len(), 24);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        assert_eq!(id.created_at(), Timestamp::from_millis(1_700_000_000_000));
        assert_eq!("65".parse::<ObjectId>(), Err(IdError));
        assert_eq!("zz53f100aabbccddeeff0011".parse::<ObjectId>(), Err(IdError));
    }

    #[test]
    fn ids_of_one_second_sort_by_making() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let ids: Vec<_> = (0..1000).map(|_| ObjectId::new(now)).collect();
        assert!(ids.is_sorted());
        assert!(ObjectId::lower_bound(now) <= ids[0]);
    }
}
