//! Plain integers as time: their unit, and the check that they were not meant in another one.
//!
//! Without a unit, integers are microseconds since 1970. Seconds or milliseconds read so fall into January 1970, which
//! nobody means: if the first 1,000 plain integers of a column all fall before 1980, the file is refused with the unit
//! that makes sense of them. A unit given by the user is believed.

use std::fmt;
use std::str::FromStr;

use crate::error::ConnectError;

/// 1980-01-01T00:00:00Z in microseconds: ten years of which two were leap years.
const YEAR_1980_US: i128 = 3_652 * 86_400 * 1_000_000;
/// 2100-01-01T00:00:00Z in microseconds: 130 years of which 32 were leap years.
const YEAR_2100_US: i128 = (130 * 365 + 32) * 86_400 * 1_000_000;
/// How many plain integers the check looks at.
const CHECKED_MAX: usize = 1_000;

/// The unit of plain integers in a TIMESTAMP column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeUnit {
    /// `s`
    Second,
    /// `ms`
    Millisecond,
    /// `us`
    Microsecond,
    /// `ns`
    Nanosecond,
}

impl TimeUnit {
    /// That many units since 1970 as microseconds, floored; `None` outside a 64-bit integer.
    pub fn microseconds(self, count: i64) -> Option<i64> {
        match self {
            TimeUnit::Second => count.checked_mul(1_000_000),
            TimeUnit::Millisecond => count.checked_mul(1_000),
            TimeUnit::Microsecond => Some(count),
            TimeUnit::Nanosecond => Some(count.div_euclid(1_000)),
        }
    }

    /// `seconds`, `milliseconds`, …
    pub fn plural(self) -> &'static str {
        match self {
            TimeUnit::Second => "seconds",
            TimeUnit::Millisecond => "milliseconds",
            TimeUnit::Microsecond => "microseconds",
            TimeUnit::Nanosecond => "nanoseconds",
        }
    }

    /// The unit that puts `count` between 1980 and 2100. The units' ranges do not overlap: each is 1000 times the next,
    /// and 2100 is only 13 times as far from 1970 as 1980.
    fn that_fits(count: i64) -> Option<TimeUnit> {
        let in_range = |us: i128| (YEAR_1980_US..YEAR_2100_US).contains(&us);
        let count = i128::from(count);
        [
            (TimeUnit::Second, count * 1_000_000),
            (TimeUnit::Millisecond, count * 1_000),
            (TimeUnit::Microsecond, count),
            (TimeUnit::Nanosecond, count / 1_000),
        ]
        .into_iter()
        .find_map(|(unit, us)| in_range(us).then_some(unit))
    }
}

impl FromStr for TimeUnit {
    type Err = ConnectError;

    fn from_str(name: &str) -> Result<TimeUnit, ConnectError> {
        match name {
            "s" => Ok(TimeUnit::Second),
            "ms" => Ok(TimeUnit::Millisecond),
            "us" => Ok(TimeUnit::Microsecond),
            "ns" => Ok(TimeUnit::Nanosecond),
            _ => Err(ConnectError::UnknownTimeUnit { name: name.to_owned() }),
        }
    }
}

impl fmt::Display for TimeUnit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            TimeUnit::Second => "s",
            TimeUnit::Millisecond => "ms",
            TimeUnit::Microsecond => "us",
            TimeUnit::Nanosecond => "ns",
        })
    }
}

/// What the first plain integers of a time column say about their unit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UnitCheck {
    /// There are none, or one of them is a moment from 1980 on.
    Plausible,
    /// All of them are before 1980 as microseconds.
    Before1980 {
        /// The first of them.
        example: i64,
        /// The unit that fits it.
        suggested: Option<TimeUnit>,
    },
}

/// The plain integers of a time column, looked at while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct UnitWitness {
    /// At most [`CHECKED_MAX`].
    looked_at: usize,
    /// The first of them.
    example: Option<i64>,
    /// Whether one of them is a moment from 1980 on.
    is_plausible: bool,
}

impl UnitWitness {
    /// Looks at one more integer, which was read as microseconds.
    #[inline]
    pub(crate) fn look_at(&mut self, count: i64) {
        if self.looked_at < CHECKED_MAX {
            self.looked_at += 1;
            self.example.get_or_insert(count);
            self.is_plausible |= i128::from(count) >= YEAR_1980_US;
        }
    }

    /// What was seen here and then by `later`: the first batch with 1,000 integers decides.
    pub(crate) fn join(self, later: UnitWitness) -> UnitWitness {
        if self.looked_at >= CHECKED_MAX {
            return self;
        }
        UnitWitness {
            looked_at: self.looked_at + later.looked_at,
            example: self.example.or(later.example),
            is_plausible: self.is_plausible || later.is_plausible,
        }
    }

    /// The verdict on all of them.
    pub(crate) fn check(self) -> UnitCheck {
        match self.example {
            Some(example) if !self.is_plausible => {
                UnitCheck::Before1980 { example, suggested: TimeUnit::that_fits(example) }
            }
            _ => UnitCheck::Plausible,
        }
    }
}

/// Looks at the first 1,000 of `counts`, which were read as microseconds.
pub(crate) fn check_unit(counts: impl Iterator<Item = i64>) -> UnitCheck {
    let mut witness = UnitWitness::default();
    counts.take(CHECKED_MAX).for_each(|count| witness.look_at(count));
    witness.check()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_that_fits_is_suggested() {
        let cases = [
            (1_700_000_000, Some(TimeUnit::Second)),
            (1_700_000_000_000, Some(TimeUnit::Millisecond)),
            (12, None),
            (0, None),
            (-5, None),
            (i64::MIN, None),
        ];
        for (count, suggested) in cases {
            let expected = UnitCheck::Before1980 { example: count, suggested };
            assert_eq!(check_unit([count].into_iter()), expected, "{count}");
        }
        assert_eq!(check_unit(std::iter::empty()), UnitCheck::Plausible);
        assert_eq!(check_unit([1, 1_700_000_000_000_000].into_iter()), UnitCheck::Plausible);
        let late_witness = std::iter::repeat_n(1, CHECKED_MAX).chain([1_700_000_000_000_000]);
        assert_ne!(check_unit(late_witness), UnitCheck::Plausible, "only the first 1,000 count");
    }

    #[test]
    fn units_floor_and_refuse_what_does_not_fit() {
        assert_eq!(TimeUnit::Nanosecond.microseconds(-1), Some(-1));
        assert_eq!(TimeUnit::Nanosecond.microseconds(1_999), Some(1));
        assert_eq!(TimeUnit::Second.microseconds(i64::MAX), None);
        assert_eq!(TimeUnit::Millisecond.microseconds(i64::MIN), None);
        assert_eq!(TimeUnit::Microsecond.microseconds(i64::MIN), Some(i64::MIN));
    }
}
