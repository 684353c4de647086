//! Days, for searches that disregard time and zone (RFC 3501 section 6.4.4).

use crate::Timestamp;

/// A calendar day: days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CalendarDay(i32);

impl CalendarDay {
    pub const fn from_days(days: i32) -> Self {
        Self(days)
    }

    pub const fn as_days(self) -> i32 {
        self.0
    }

    /// A day of the proleptic Gregorian calendar; `None` if there is no such day, or beyond the year 9999.
    pub fn from_date(year: u16, month: u8, day: u8) -> Option<Self> {
        let month = time::Month::try_from(month).ok()?;
        let date = time::Date::from_calendar_date(i32::from(year), month, day).ok()?;
        const EPOCH_JULIAN_DAY: i32 = 2_440_588;
        Some(Self(date.to_julian_day() - EPOCH_JULIAN_DAY))
    }

    /// The day in UTC.
    pub fn of(at: Timestamp) -> Self {
        const DAY_MILLISECONDS: i64 = 86_400_000;
        Self(i32::try_from(at.as_millis().div_euclid(DAY_MILLISECONDS)).unwrap_or(i32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        assert_eq!(CalendarDay::from_date(1970, 1, 1), Some(CalendarDay(0)));
        assert_eq!(
            CalendarDay::from_date(2026, 11, 26),
            Some(CalendarDay::of(Timestamp::from_millis(1_795_700_000_000)))
        );
        assert_eq!(CalendarDay::from_date(2025, 2, 29), None);
        assert_eq!(CalendarDay::from_date(2025, 13, 1), None);
        assert_eq!(CalendarDay::of(Timestamp::from_millis(-1)), CalendarDay(-1));
    }
}
