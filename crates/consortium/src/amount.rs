//! Money, compute and time, each an integer of its own type.
//!
//! ```
//! use consortium::{FlopSeconds, Price, Won};
//! let an_hour = FlopSeconds::from_pflop_hours(1);
//! assert_eq!(Price(17_123).of(an_hour), Won(17_123));
//! ```

use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub};

/// Korean won. The ledger knows no smaller unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Won(pub i64);

/// Compute: one FLOP-second is a rated speed of one FLOP/s held for one second. A PFLOP-hour is 3.6e18 of
/// them, so 64 bits would hold five; as JSON it is a decimal string, because readers lose digits after 2^53.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FlopSeconds(pub i128);

/// The rated speed of a site, FLOP/s: what its owner offers and is paid for, not what a job reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlopsPerSecond(pub u64);

/// Won per PFLOP-hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Price(pub i64);

/// Milliseconds since 1970-01-01 UTC, told by whoever calls the rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time(pub u64);

/// 10^15 FLOP/s for 3,600 s.
const PFLOP_HOUR: i128 = 3_600 * 1_000_000_000_000_000;

impl FlopSeconds {
    /// Whole PFLOP-hours as FLOP-seconds.
    pub fn from_pflop_hours(hours: i64) -> Self {
        Self(i128::from(hours) * PFLOP_HOUR)
    }

    /// As PFLOP-hours with nine decimals, for people: `0.000005833`.
    pub fn pflop_hours(self) -> String {
        let nano = self.0 * 1_000_000_000 / PFLOP_HOUR;
        let sign = if nano < 0 { "-" } else { "" };
        format!(
            "{sign}{}.{:09}",
            nano.abs() / 1_000_000_000,
            nano.abs() % 1_000_000_000
        )
    }
}

impl FlopsPerSecond {
    /// What the site gives in `millis` milliseconds, rounded down to a whole FLOP-second.
    pub fn during(self, millis: u64) -> FlopSeconds {
        FlopSeconds(i128::from(self.0) * i128::from(millis) / 1_000)
    }
}

impl Price {
    /// The price of `compute`, rounded down. Charge the difference of two totals, never a sum of parts:
    /// so a thousand small readings cost what one large reading does.
    pub fn of(self, compute: FlopSeconds) -> Won {
        Won(clamp(i128::from(self.0) * compute.0 / PFLOP_HOUR))
    }

    /// The price of `compute`, rounded up: what must be reserved.
    pub fn reserve(self, compute: FlopSeconds) -> Won {
        Won(clamp(
            (i128::from(self.0) * compute.0 + PFLOP_HOUR - 1) / PFLOP_HOUR,
        ))
    }
}

impl Time {
    /// This time and `millis` milliseconds.
    pub fn plus(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds since `earlier`; 0 if that is in the future.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Limits on what a member may be entitled to keep every product within 128 bits; see `decide`.
fn clamp(won: i128) -> i64 {
    i64::try_from(won).unwrap_or(i64::MAX)
}

macro_rules! sums {
    ($name:ident) => {
        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }
        impl Neg for $name {
            type Output = Self;
            fn neg(self) -> Self {
                Self(-self.0)
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
                amounts.fold(Self::default(), Add::add)
            }
        }
    };
}
sums!(Won);
sums!(FlopSeconds);

impl fmt::Display for Won {
    /// With thousands separated: `KRW 44,500,000,000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.unsigned_abs().to_string();
        let mut grouped = String::new();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        f.pad(&format!("KRW {}{grouped}", if self.0 < 0 { "-" } else { "" }))
    }
}

impl fmt::Display for FlopSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} PFLOP-h", self.pflop_hours()))
    }
}

impl From<FlopSeconds> for String {
    fn from(compute: FlopSeconds) -> String {
        compute.0.to_string()
    }
}

impl TryFrom<String> for FlopSeconds {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wanted = || format!("{text:?} is no number of FLOP-seconds: a whole decimal number is wanted");
        text.parse().map(Self).map_err(|_| wanted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cost_what_the_whole_costs() {
        let (price, speed) = (Price(9_000_000), FlopsPerSecond(100_000_000_000));
        let mut charged = Won(0);
        for millis in (0..=100_000).step_by(7) {
            charged += price.of(speed.during(millis)) - charged;
        }
        assert_eq!(charged, price.of(speed.during(99_995)));
        assert!(price.reserve(speed.during(100_000)) >= charged);
    }

    #[test]
    fn amounts_read_well() {
        assert_eq!(Won(44_500_000_000).to_string(), "KRW 44,500,000,000");
        assert_eq!(Won(-1_234).to_string(), "KRW -1,234");
        assert_eq!(Won(999).to_string(), "KRW 999");
        assert_eq!(
            FlopSeconds::from_pflop_hours(2).to_string(),
            "2.000000000 PFLOP-h"
        );
        assert_eq!(
            FlopsPerSecond(100_000_000_000).during(60_000).pflop_hours(),
            "0.000001666"
        );
    }

    #[test]
    fn compute_keeps_every_digit_in_json() {
        let compute = FlopSeconds(123_456_789_012_345_678_901_234_567);
        let json = serde_json::to_string(&compute).unwrap();
        assert_eq!(json, "\"123456789012345678901234567\"");
        assert_eq!(serde_json::from_str::<FlopSeconds>(&json).unwrap(), compute);
        assert!(serde_json::from_str::<FlopSeconds>("\"1.5\"").is_err());
    }
}
