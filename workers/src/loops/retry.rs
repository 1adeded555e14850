//! When a message that failed is delivered again.

use std::time::Duration;

use event_store::{NoOutcome, Unavailable};

use crate::{decode::Newer, loops::consumers::Consumer};

/// Deliveries of a message of a newer release before it goes to DEAD. With the waits between, they
/// leave about an hour for a worker of that release to take it, also when it is replayed.
const NEWER_DELIVERIES: i64 = 24;
/// The least age of such a message: other failures may have used up its deliveries.
const NEWER_AGE: Duration = Duration::from_secs(60 * 60);
/// The longest wait between two deliveries of such a message.
const NEWER_LONGEST: Duration = Duration::from_secs(5 * 60);

/// How a message has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    /// Counts its deliveries.
    pub(super) delivery: i64,
    /// The time since it was stored.
    pub(super) age: Duration,
}

/// Returns the wait before the next delivery of a message that failed with this error; `None` if
/// there is none.
pub(super) fn wait(consumer: &Consumer, error: &anyhow::Error, came: Came) -> Option<Duration> {
    let longest = if error.is::<Newer>() {
        NEWER_LONGEST
    } else {
        consumer.longest_retry
    };
    let wait = retry_after(consumer.first_retry, longest, came.delivery);
    (!is_last(consumer, error, came)).then_some(wait)
}

/// Whether a message failed since a server was away. That is no attempt: time helps.
pub fn is_outage(error: &anyhow::Error) -> bool {
    error.is::<Unavailable>() || error.is::<NoOutcome>()
}

/// Whether a message that failed is not delivered again.
fn is_last(consumer: &Consumer, error: &anyhow::Error, came: Came) -> bool {
    if is_outage(error) {
        return false;
    }
    if error.is::<Newer>() {
        return came.delivery >= NEWER_DELIVERIES && came.age >= NEWER_AGE;
    }
    came.delivery >= consumer.deliveries
}

/// Returns the wait after an attempt. It doubles with each one, from `first` to `longest`.
pub(super) fn retry_after(first: Duration, longest: Duration, attempt: i64) -> Duration {
    let doublings = u32::try_from(attempt - 1).unwrap_or(0).min(16);
    first.saturating_mul(1 << doublings).min(longest)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use events_schema::{Area as _, project};

    use super::*;
    use crate::decode;

    #[test]
    fn a_message_of_a_newer_release_waits_an_hour_for_a_worker_that_knows_it() {
        let newer = decode::commit::<project::Area>(
            "evt.platform.project.00112233445566778899aabbccddeeff",
            br#"{
                "tenant": "platform", "area": "project", "revision": 1, "time": 0,
                "id": "00112233445566778899aabbccddeeff",
                "command": "00112233445566778899aabbccddeeff",
                "actor": { "kind": "system" }, "events": [{ "type": "flown" }]
            }"#,
        );
        let newer = newer.unwrap_err().context("reading the history");
        for consumer in [
            Consumer::commands(project::Area::NAME),
            Consumer::views("project", project::Area::NAME),
            Consumer::effects("send_mail", project::Area::NAME),
        ] {
            // It is replayed, and so as old as it can be.
            let came = |delivery| Came {
                delivery,
                age: Duration::MAX,
            };
            let waits = (1..).map_while(|delivery| wait(&consumer, &newer, came(delivery)));
            let waited: Duration = waits.sum();
            let (least, most) = (Duration::from_secs(50 * 60), Duration::from_secs(90 * 60));
            let soon = Came {
                delivery: 1_000,
                age: least,
            };
            assert!(wait(&consumer, &newer, soon).is_some());
            assert!(
                (least..most).contains(&waited),
                "{} {waited:?}",
                consumer.name
            );
        }
    }

    #[test]
    fn an_outage_is_no_attempt() {
        let outage = anyhow!("no leader")
            .context(Unavailable)
            .context("deciding");
        let views = Consumer::views("project", project::Area::NAME);
        let came = Came {
            delivery: views.deliveries,
            age: Duration::MAX,
        };
        assert!(!is_last(&views, &outage, came));
        assert!(is_last(&views, &anyhow!("a fault"), came));
    }

    #[test]
    fn the_wait_between_retries_doubles_up_to_the_longest() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        let wait = |delivery| retry_after(first, longest, delivery).as_secs();
        let waits: Vec<u64> = (1..=7).map(wait).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60]);
        assert_eq!(wait(10_000), 60);
        assert_eq!(wait(0), 1);
    }
}
