//! Periods of subscriptions, and shares of them.

use jiff::{Span, Timestamp, tz::TimeZone};
use serde::Serialize;

/// Seconds of a day.
pub(super) const DAY: i64 = 24 * 60 * 60;

/// The length of a period.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Interval {
    /// `day`, `week`, `month` or `year`.
    pub(super) interval: &'static str,
    pub(super) interval_count: i64,
}

/// From a second until before another.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Period {
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Interval {
    /// Returns the period that begins at this time, with ends that are counted from `anchor`: so
    /// a period that begins on 31 January ends on 28 February, and the next on 31 March.
    pub(super) fn period_from(self, anchor: i64, start: i64) -> Period {
        let mut number = 1;
        while self.end(anchor, number) <= start {
            number += 1;
        }
        let end = self.end(anchor, number);
        Period { start, end }
    }

    /// Returns when the period of this number ends.
    fn end(self, anchor: i64, number: i64) -> i64 {
        let count = number.saturating_mul(self.interval_count);
        let days = |days: i64| anchor.saturating_add(days.saturating_mul(DAY));
        let months = |count| later(anchor, count).unwrap_or(i64::MAX);
        match self.interval {
            "day" => days(count),
            "week" => days(count.saturating_mul(7)),
            "month" => months(count),
            _ => months(count.saturating_mul(12)),
        }
    }
}

/// Returns the time that many months later, on the last day of a month that is too short. `None`
/// after the year 9999.
fn later(at: i64, months: i64) -> Option<i64> {
    let at = Timestamp::from_second(at).ok()?.to_zoned(TimeZone::UTC);
    let later = at.checked_add(Span::new().try_months(months).ok()?).ok()?;
    Some(later.timestamp().as_second())
}

impl Period {
    /// Returns the part of an amount that falls to the rest of the period, rounded to the nearest
    /// minor unit.
    pub(super) fn rest_of(self, amount: i64, from: i64) -> i64 {
        let length = i128::from(self.end - self.start).max(1);
        let rest = i128::from(self.end - from.clamp(self.start, self.end));
        share(amount, rest, length)
    }
}

/// Returns `amount` × `part` / `whole`, rounded to the nearest; halves away from zero.
pub(super) fn share(amount: i64, part: i128, whole: i128) -> i64 {
    let product = i128::from(amount) * part;
    let half = if product < 0 { -whole / 2 } else { whole / 2 };
    i64::try_from((product + half) / whole).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONTH: Interval = Interval {
        interval: "month",
        interval_count: 1,
    };

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn months_end_on_the_day_of_the_anchor_or_the_last_one() {
        let anchor = at("2026-01-31T10:00:00Z");
        let first = MONTH.period_from(anchor, anchor);
        assert_eq!(first.end, at("2026-02-28T10:00:00Z"));
        let second = MONTH.period_from(anchor, first.end);
        assert_eq!(second.end, at("2026-03-31T10:00:00Z"));
    }

    #[test]
    fn a_year_after_29_february_ends_on_the_28th() {
        let anchor = at("2028-02-29T00:00:00Z");
        let year = Interval {
            interval: "year",
            interval_count: 1,
        };
        assert_eq!(
            year.period_from(anchor, anchor).end,
            at("2029-02-28T00:00:00Z")
        );
    }

    #[test]
    fn a_share_is_exact_up_to_the_largest_amount() {
        let period = Period { start: 0, end: 3 };
        assert_eq!(period.rest_of(100, 1), 67);
        assert_eq!(period.rest_of(-100, 1), -67);
        assert_eq!(period.rest_of((1 << 53) - 1, 0), (1 << 53) - 1);
        assert_eq!(period.rest_of(100, 3), 0);
        assert_eq!(period.rest_of(100, -5), 100);
    }
}
