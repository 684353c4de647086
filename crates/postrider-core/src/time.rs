//! Points in time as the records keep them.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

/// Milliseconds since 1970-01-01T00:00:00Z. In JSON an RFC 3339 string in UTC with milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// What the machine's clock says. Only the system's implementation of [`crate::Clock`] calls this.
    pub fn system() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(since.as_millis() as i64)
    }

    /// How long it is from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    /// The date-time of header fields (RFC 5322 section 3.3), in UTC: `Sun, 22 Nov 2026 13:39:40 +0000`.
    pub fn to_rfc5322(self) -> String {
        self.utc().format(&Rfc2822).unwrap_or_default()
    }

    /// RFC 3339 in UTC with milliseconds: `2026-11-22T13:39:40.123Z`.
    pub fn to_rfc3339(self) -> String {
        const FORMAT: &[time::format_description::BorrowedFormatItem<'_>] =
            time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        self.utc().format(FORMAT).unwrap_or_default()
    }

    /// Reads RFC 3339, with any offset, or a date alone (its first moment in UTC).
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let date_time = OffsetDateTime::parse(text, &Rfc3339)
            .or_else(|_| OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339))
            .ok()?;
        Some(Self((date_time.unix_timestamp_nanos() / 1_000_000) as i64))
    }

    fn utc(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_rfc3339())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("a time is RFC 3339"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let at = Timestamp::from_millis(1_795_354_780_123);
        assert_eq!(at.to_rfc3339(), "2026-11-22T13:39:40.123Z");
        assert_eq!(at.to_rfc5322(), "Sun, 22 Nov 2026 13:39:40 +0000");
        assert_eq!(Timestamp::parse_rfc3339("2026-11-22T14:39:40.123+01:00"), Some(at));
        assert_eq!(Timestamp::parse_rfc3339("2026-11-22"), Some(Timestamp::from_millis(1_795_305_600_000)));
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
        assert_eq!(at.since(at + Duration::from_secs(1)), Duration::ZERO);
    }
}
