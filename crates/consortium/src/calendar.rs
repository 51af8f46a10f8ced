//! Days, months and fiscal years as they are in Korea, nine hours ahead of UTC; a fiscal year is the calendar's.
//!
//! ```
//! use consortium::{Day, Month, Time};
//! let new_year: Day = "2022-01-01".parse().unwrap();
//! assert_eq!(Month::of(Time(new_year.begins().0 - 1)).to_string(), "2021-12");
//! ```

use crate::Time;
use crate::id::{as_text, month_pattern};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const DAY_MILLIS: u64 = 86_400_000;
const AHEAD_MILLIS: u64 = 9 * 3_600_000;

/// A day of the calendar in Korea.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    month: Month,
    day: u8,
}

/// A month of the calendar in Korea.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = concat!("^", month_pattern!(), "$"), "examples" = ["2021-09"]))]
pub struct Month {
    year: u16,
    month: u8,
}

impl Day {
    /// The day that `at` is in.
    pub fn of(at: Time) -> Self {
        // Days since 0000-03-01, in eras of 400 years (Howard Hinnant, "chrono-compatible low-level date
        // algorithms", civil_from_days).
        let z = at.0.saturating_add(AHEAD_MILLIS) / DAY_MILLIS + 719_468;
        let (era, day) = (z / 146_097, z % 146_097);
        let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        Self {
            month: Month {
                year: u16::try_from(year).unwrap_or(u16::MAX),
                month: u8::try_from(month).unwrap_or(1),
            },
            day: u8::try_from(day_of_year - (153 * shifted + 2) / 5 + 1).unwrap_or(1),
        }
    }

    /// Its first millisecond.
    pub fn begins(self) -> Time {
        // days_from_civil of the same source.
        let Month { year, month } = self.month;
        let year = u64::from(year) - u64::from(month <= 2);
        let shifted = u64::from(if month > 2 { month - 3 } else { month + 9 });
        let (era, year_of_era) = (year / 400, year % 400);
        let day_of_year = (153 * shifted + 2) / 5 + u64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        Time((days * DAY_MILLIS).saturating_sub(AHEAD_MILLIS))
    }

    /// Its last millisecond.
    pub fn ends(self) -> Time {
        let next = Self::of(self.begins().plus(DAY_MILLIS));
        Time(next.begins().0.saturating_sub(1))
    }
}

impl Month {
    /// The month that `at` is in.
    pub fn of(at: Time) -> Self {
        Day::of(at).month
    }

    /// The fiscal year that it is in.
    pub fn year(self) -> u16 {
        self.year
    }

    /// The one after it.
    #[must_use]
    pub fn next(self) -> Self {
        match self.month {
            12 => Self {
                year: self.year + 1,
                month: 1,
            },
            month => Self {
                year: self.year,
                month: month + 1,
            },
        }
    }

    /// The one before it.
    #[must_use]
    pub fn before(self) -> Self {
        match self.month {
            1 => Self {
                year: self.year - 1,
                month: 12,
            },
            month => Self {
                year: self.year,
                month: month - 1,
            },
        }
    }

    /// Its first millisecond.
    pub fn begins(self) -> Time {
        Day { month: self, day: 1 }.begins()
    }

    /// How many days it has.
    pub fn days(self) -> u8 {
        let leap =
            self.year.is_multiple_of(4) && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        match self.month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{:02}", self.month, self.day))
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:04}-{:02}", self.year, self.month))
    }
}

as_text!(Month, month => month.to_string());

impl FromStr for Month {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('-');
        let read = parts.and_then(|(year, month)| match (number(year)?, number(month)?) {
            (year @ 1970..=9999, month @ 1..=12) => Some(Self {
                year,
                month: u8::try_from(month).ok()?,
            }),
            _ => None,
        });
        // One text for each month.
        read.filter(|month| month.to_string() == text)
            .ok_or_else(|| format!("{text:?} is no month; write it as 2021-07"))
    }
}

impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once('-');
        let read = parts.and_then(|(month, day)| Some((month.parse::<Month>().ok()?, number(day)?)));
        match read {
            Some((month, day)) if (1..=u16::from(month.days())).contains(&day) => Ok(Self {
                month,
                day: u8::try_from(day).unwrap_or(1),
            }),
            _ => Err(format!("{text:?} is no day; write it as 2021-07-01")),
        }
    }
}

fn number(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_are_koreas() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_750_000, "2000-02-29"),   // 2000-02-28 15:00 UTC
            (951_836_400, "2000-03-01"),   // a day later
            (1_640_962_799, "2021-12-31"), // the last second of 2021
            (1_640_962_800, "2022-01-01"),
            (4_107_510_000, "2100-03-01"), // no leap year
        ] {
            let at = Time(seconds * 1_000);
            assert_eq!(Day::of(at).to_string(), day, "{seconds}");
            assert_eq!(Month::of(at).to_string(), day[..7]);
            let begins = Day::of(at).begins();
            assert!(begins <= at && at.since(begins) < DAY_MILLIS);
        }
        let december = Month::of(Time(1_640_962_799_000));
        assert_eq!(december.next().begins(), Time(1_640_962_800_000));
        assert_eq!(december.next().to_string(), "2022-01");
        assert_eq!(december.next().before(), december);
        assert_eq!(december.before().next(), december);
        assert!(Day::of(Time(u64::MAX)).begins() > Time(0));
    }

    #[test]
    fn every_day_is_read_as_it_is_written() {
        for n in 0..40_000 {
            let at = Time(n * DAY_MILLIS);
            let day = Day::of(at);
            assert_eq!(day.to_string().parse::<Day>().unwrap(), day);
            assert_eq!(Day::of(day.begins()), day);
            assert_eq!(Day::of(day.ends()), day);
            assert_ne!(Day::of(day.ends().plus(1)), day);
        }
        for bad in [
            "2021-02-29",
            "2021-13-01",
            "2021-00-01",
            "2021-1",
            "21-07-01",
            "2021-07-00",
            "+2021-07-01",
            "",
            "x",
        ] {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
        for month in ["2021-07", "1970-01", "9999-12"] {
            assert_eq!(month.parse::<Month>().unwrap().to_string(), month);
        }
        for bad in [
            "2021", "2021-13", "2021-0", "2021-7", "2021-007", "07-2021", "x-1", "", "2021-+7",
        ] {
            assert!(bad.parse::<Month>().is_err(), "{bad}");
        }
    }
}
