//! Dates and times as IMAP writes them (RFC 9051 section 9: `date`, `date-time`). It knows no clock and no zone's rules.

/// A day of the calendar, as SEARCH has it. It exists: no 30th of February comes in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// 0 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

/// An instant and the zone that it was written in, as INTERNALDATE has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DateTime {
    /// Since 1970-01-01T00:00:00Z; may be negative.
    pub unix_seconds: i64,
    /// East of UTC; from -5,999 minutes to 5,999, as four digits can say.
    pub zone_minutes: i16,
}

/// Names of months as IMAP writes them.
pub(crate) const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const SECONDS_PER_DAY: i64 = 86_400;

impl Date {
    /// `None`: there is no such day.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if is_leap => 29,
            2 => 28,
            _ => return None,
        };
        (year <= 9999 && day >= 1 && day <= days).then_some(Self { year, month, day })
    }

    /// Days since 1970-01-01; may be negative.
    pub fn days_since_epoch(self) -> i64 {
        // The year begins in March, so that the leap day is its last.
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = i64::from(self.year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    /// The day that holds the instant, in UTC. What lies outside of the years 0 to 9999 becomes the nearest day within.
    pub fn of_unix_seconds(unix_seconds: i64) -> Self {
        let days = unix_seconds.div_euclid(SECONDS_PER_DAY).clamp(-719_528, 2_932_896) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        let small = |number: i64| u8::try_from(number).unwrap_or(1);
        Self { year: u16::try_from(year).unwrap_or(0), month: small(month), day: small(day) }
    }

    /// `Jan` to `Dec`.
    pub fn month_name(self) -> &'static str {
        MONTHS.get(usize::from(self.month).wrapping_sub(1)).copied().unwrap_or("Jan")
    }
}

impl DateTime {
    pub fn utc(unix_seconds: i64) -> Self {
        Self { unix_seconds, zone_minutes: 0 }
    }

    /// Seconds of the clock on the wall where the zone is, counted as if it were UTC.
    pub(crate) fn local_seconds(self) -> i64 {
        self.unix_seconds.saturating_add(i64::from(self.zone_minutes) * 60)
    }

    /// The day in its own zone: RFC 9051 section 6.4.4 compares days "disregarding time and timezone".
    pub fn local_date(self) -> Date {
        Date::of_unix_seconds(self.local_seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_go_both_ways() {
        for (year, month, day, days) in [
            (1970, 1, 1, 0),
            (2000, 2, 29, 11_016),
            (1969, 12, 31, -1),
            (2026, 11, 26, 20_783),
            (9999, 12, 31, 2_932_896),
        ] {
            let date = Date::new(year, month, day).expect("the day exists");
            assert_eq!(date.days_since_epoch(), days);
            assert_eq!(Date::of_unix_seconds(days * SECONDS_PER_DAY + 86_399), date);
        }
        assert_eq!(Date::of_unix_seconds(i64::MAX).year, 9999);
        assert_eq!(Date::of_unix_seconds(i64::MIN), Date { year: 0, month: 1, day: 1 });
    }

    #[test]
    fn days_that_do_not_exist() {
        assert_eq!(Date::new(2023, 2, 29), None);
        assert_eq!(Date::new(1900, 2, 29), None);
        assert_eq!(Date::new(2024, 13, 1), None);
        assert_eq!(Date::new(2024, 4, 31), None);
        assert_eq!(Date::new(2024, 4, 0), None);
    }
}
