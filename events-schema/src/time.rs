//! Points in time. The crate has no clock: the sender of a command supplies the time.

use std::{ops::Add, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Invalid;

/// Milliseconds since 1970-01-01 UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Time(pub i64);

impl Time {
    /// Returns the time since `earlier`; zero if `earlier` is later, since clocks may disagree.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).try_into().unwrap_or(0))
    }

    /// Reads a time such as `2023-11-14T22:13:20Z`, with any offset from UTC.
    ///
    /// # Errors
    /// If it is no time in the form of RFC 3339.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let time: Result<Timestamp, _> = text.parse();
        let time = time.map_err(|_| Invalid("must be a time such as 2023-11-14T22:13:20Z"))?;
        Ok(Self(time.as_millisecond()))
    }

    /// Returns the time as clients read it: RFC 3339 in UTC, such as `2023-11-14T22:13:20.123Z`.
    /// `None` for a year of more than four digits, which RFC 3339 cannot write.
    pub fn to_rfc3339(self) -> Option<String> {
        let time = Timestamp::from_millisecond(self.0).ok()?;
        Some(time.to_string())
    }
}

/// A time that does not fit becomes the last one.
impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(ms))
    }
}

impl From<std::time::SystemTime> for Time {
    fn from(time: std::time::SystemTime) -> Self {
        let since_epoch = time
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_beyond_the_last_one_is_the_last_one() {
        assert_eq!(Time(400) + Duration::from_secs(1), Time(1_400));
        assert_eq!(Time(400) + Duration::MAX, Time(i64::MAX));
    }

    #[test]
    fn a_clock_that_lags_gives_no_negative_age() {
        assert_eq!(Time(1_000).since(Time(400)), Duration::from_millis(600));
        assert_eq!(Time(400).since(Time(1_000)), Duration::ZERO);
    }

    #[test]
    fn a_time_is_written_in_utc_with_milliseconds() {
        let written = |time| Time(time).to_rfc3339();
        for (time, text) in [
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (0, "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(written(time).as_deref(), Some(text));
        }
        assert_eq!(written(i64::MAX), None);
    }
}
