//! Points in time. The crate has no clock: the sender of a command supplies the time.

use std::{ops::Add, time::Duration};

use serde::{Deserialize, Serialize};

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
}
