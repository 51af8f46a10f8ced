//! Money, compute and time, each an integer of its own type.
//!
//! ```
//! use consortium::{FlopSeconds, Price, Won};
//! let an_hour = FlopSeconds::from_pflop_hours(1);
//! assert_eq!(Price(17_123).of(an_hour), Won(17_123));
//! ```

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub};

/// Korean won. The ledger knows no smaller unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Won(pub i64);

/// Compute: one FLOP-second is a rated speed of one FLOP/s held for one second. A PFLOP-hour is 3.6e18 of
/// them, so 64 bits would hold five; as JSON it is a decimal string, because readers lose digits after 2^53.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^(0|-?[1-9][0-9]{0,37})$"))]
pub struct FlopSeconds(pub i128);

/// So much money and compute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Amount {
    /// Money.
    pub won: Won,
    /// Compute.
    pub compute: FlopSeconds,
}

/// Money and compute by fiscal year.
pub type Budget = BTreeMap<u16, Amount>;

/// The schema of money alone by fiscal year.
pub(crate) fn won_by_year(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "patternProperties": {"^[0-9]{1,5}$": generator.subschema_for::<Won>()},
        "additionalProperties": false,
    })
}

/// The schema of a [`Budget`]; the rules take years of this century.
pub(crate) fn by_year(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "patternProperties": {"^20[0-9]{2}$": generator.subschema_for::<Amount>()},
        "additionalProperties": false,
    })
}

/// The rated speed of a site, FLOP/s: what its owner offers and is paid for, not what a job reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct FlopsPerSecond(pub u64);

/// Won per PFLOP-hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Price(pub i64);

/// Milliseconds since 1970-01-01 UTC, told by whoever calls the rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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
        let hour = PFLOP_HOUR.unsigned_abs();
        let (hours, rest) = (self.0.unsigned_abs() / hour, self.0.unsigned_abs() % hour);
        let nano = rest * 1_000_000_000 / hour;
        let sign = if self.0 < 0 && (hours, nano) != (0, 0) {
            "-"
        } else {
            ""
        };
        format!("{sign}{hours}.{nano:09}")
    }
}

impl FlopsPerSecond {
    /// What the site gives in `millis` milliseconds, rounded down to a whole FLOP-second.
    pub fn during(self, millis: u64) -> FlopSeconds {
        let all = u128::from(self.0) * u128::from(millis) / 1_000;
        FlopSeconds(i128::try_from(all).expect("two factors of 64 bits, over a thousand, take 119 bits"))
    }
}

impl Price {
    /// The price of `compute`, rounded down. Charge the difference of two totals, never a sum of parts:
    /// so a thousand small readings cost what one large reading does.
    pub fn of(self, compute: FlopSeconds) -> Won {
        Won(clamp(self.times(compute) / PFLOP_HOUR))
    }

    /// The price of `compute`, rounded up: what must be reserved.
    pub fn reserve(self, compute: FlopSeconds) -> Won {
        Won(clamp(
            self.times(compute).saturating_add(PFLOP_HOUR - 1) / PFLOP_HOUR,
        ))
    }

    /// A product that doesn't fit stays far beyond all money, see [`clamp`].
    fn times(self, compute: FlopSeconds) -> i128 {
        i128::from(self.0).saturating_mul(compute.0)
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

/// An amount of won, or the nearest there is: [`Won::MAX`] stands for all that is more than can be counted,
/// and placement takes it for more than any award holds.
fn clamp(won: i128) -> i64 {
    let nearest = if won < 0 { i64::MIN } else { i64::MAX };
    i64::try_from(won).unwrap_or(nearest)
}

impl Won {
    /// More than any account can hold and still pay.
    pub(crate) const MAX: Self = Self(i64::MAX);

    /// The sum, or [`Won::MAX`] if it is more than that.
    pub(crate) fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

macro_rules! sums {
    ($name:ident) => {
        impl $name {
            /// The sum, if it can be counted: in an account, and with the other sign in the source.
            pub(crate) fn checked_add(self, other: Self) -> Option<Self> {
                let sum = self.0.checked_add(other.0)?;
                sum.checked_neg().map(|_| Self(sum))
            }
        }
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

impl Amount {
    /// Whether there is none of either.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether neither is less than nothing.
    pub(crate) fn is_sound(&self) -> bool {
        self.won >= Won(0) && self.compute >= FlopSeconds(0)
    }

    /// Of each, what both have.
    pub(crate) fn at_most(self, other: Self) -> Self {
        Self {
            won: self.won.min(other.won),
            compute: self.compute.min(other.compute),
        }
    }

    /// The sum, or as much as can be counted.
    pub(crate) fn saturating_add(self, other: Self) -> Self {
        Self {
            won: self.won.saturating_add(other.won),
            compute: FlopSeconds(self.compute.0.saturating_add(other.compute.0)),
        }
    }

    /// Without what is taken away; never less than nothing.
    pub(crate) fn without(self, taken: Self) -> Self {
        Self {
            won: Won(self.won.0.saturating_sub(taken.won.0).max(0)),
            compute: FlopSeconds(self.compute.0.saturating_sub(taken.compute.0).max(0)),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.won, self.compute)
    }
}

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
        let compute = text.parse().map(Self).map_err(|_| wanted())?;
        // One text for each number: no plus, no zero in front.
        (String::from(compute) == text)
            .then_some(compute)
            .ok_or_else(wanted)
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
    fn prices_are_charged_rounded_down_and_reserved_rounded_up() {
        let (hour, a_bit) = (FlopSeconds::from_pflop_hours(1), FlopSeconds(1));
        for (compute, charged, reserved) in [(hour, 7, 7), (hour + a_bit, 7, 8), (hour - a_bit, 6, 7)] {
            assert_eq!(Price(7).of(compute), Won(charged), "{}", compute.0);
            assert_eq!(Price(7).reserve(compute), Won(reserved), "{}", compute.0);
        }
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
        for bad in ["\"1.5\"", "\"+1\"", "\"01\"", "\"-0\"", "1"] {
            assert!(serde_json::from_str::<FlopSeconds>(bad).is_err(), "{bad}");
        }
    }
}
