//! When a failed event is sent again.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// The waits after the first to the seventh failed attempt, as Standard Webhooks advises: 27.6
/// hours in all.
const WAITS: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * MINUTE),
    Duration::from_secs(30 * MINUTE),
    Duration::from_secs(2 * HOUR),
    Duration::from_secs(5 * HOUR),
    Duration::from_secs(10 * HOUR),
    Duration::from_secs(10 * HOUR),
];
/// How much the waits vary, so that events that failed together do not come again together.
const JITTER: f64 = 0.2;
/// The least wait after an answer of an overloaded server, or after none.
const OVERLOADED: Duration = Duration::from_secs(MINUTE);

/// Why an attempt has failed, as far as it matters for the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The server is overloaded: it answered 429, or nothing in time.
    pub is_overloaded: bool,
    /// The server asks for a wait.
    pub retry_after: Option<Duration>,
}

/// Returns the wait after the `attempt`th failed attempt; `None` after the last one. `random` is
/// from -1 to 1.
pub fn wait(attempt: u32, failure: Failure, random: f64) -> Option<Duration> {
    let index = usize::try_from(attempt).ok()?.checked_sub(1)?;
    let wait = *WAITS.get(index)?;
    let asked = failure.retry_after.unwrap_or_default().min(2 * wait);
    let least = if failure.is_overloaded {
        OVERLOADED
    } else {
        Duration::ZERO
    };
    let varied = wait.mul_f64(1.0 + JITTER * random.clamp(-1.0, 1.0));
    Some(varied.max(asked).max(least))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Failure = Failure {
        is_overloaded: false,
        retry_after: None,
    };

    fn secs(attempt: u32, failure: Failure, random: f64) -> Option<u64> {
        wait(attempt, failure, random).map(|wait| wait.as_secs())
    }

    fn asking(secs: u64) -> Failure {
        Failure {
            retry_after: Some(Duration::from_secs(secs)),
            ..PLAIN
        }
    }

    #[test]
    fn seven_waits_grow_and_the_eighth_attempt_is_the_last() {
        let waits = (1..=8).map(|attempt| secs(attempt, PLAIN, 0.0));
        let expected = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];
        let expected = expected.into_iter().map(Some).chain([None]);
        assert!(waits.eq(expected));
    }

    #[test]
    fn waits_vary_by_a_fifth() {
        assert_eq!(secs(2, PLAIN, -1.0), Some(240));
        assert_eq!(secs(2, PLAIN, 1.0), Some(360));
    }

    #[test]
    fn a_server_may_ask_for_twice_the_wait() {
        assert_eq!(secs(2, asking(400), 0.0), Some(400));
        assert_eq!(secs(2, asking(100_000), 0.0), Some(600));
        assert_eq!(secs(2, asking(1), 0.0), Some(300));
    }

    #[test]
    fn an_overloaded_server_has_a_minute() {
        let overloaded = Failure {
            is_overloaded: true,
            retry_after: None,
        };
        assert_eq!(secs(1, overloaded, 0.0), Some(60));
    }
}
