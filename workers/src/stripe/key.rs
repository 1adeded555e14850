//! What makes a repeated request recognizable, and times as Stripe writes them.

use events_schema::{Id, Meter, Time, secret::derived_id};
use serde::{Deserialize, Serialize};

/// By this key, Stripe recognizes the repetition of a request for a day, and answers as before. It
/// derives from the commit that asks for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(Id);

impl IdempotencyKey {
    /// Derives the key of one step, such as `customer`, of what a commit asks for.
    pub fn new(request: Id, step: &str) -> Self {
        Self(derived_id(&[b"stripe", request.bytes(), step.as_bytes()]))
    }

    /// Derives the key of one step about a meter, whichever commit asks for it.
    pub fn of_meter(meter: Meter, step: &str) -> Self {
        Self::new(derived_id(&[b"meter", meter.as_str().as_bytes()]), step)
    }

    /// Returns the key of the same step in a further round; round 0 has the key itself.
    pub(super) fn in_round(self, round: u8) -> Self {
        match round {
            0 => self,
            1.. => Self(derived_id(&[b"round", self.0.bytes(), &[round]])),
        }
    }
}

impl std::fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Seconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self(time.0.saturating_mul(1000))
    }
}

/// Rounds down.
impl From<Time> for Timestamp {
    fn from(time: Time) -> Self {
        Self(time.0.div_euclid(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_of_each_request_has_a_key_of_its_own() {
        let (first, second) = (Id::from_bytes([1; 16]), Id::from_bytes([2; 16]));
        let key = IdempotencyKey::new(first, "customer");
        assert_eq!(key, IdempotencyKey::new(first, "customer"));
        assert_ne!(key, IdempotencyKey::new(first, "subscription"));
        assert_ne!(key, IdempotencyKey::new(second, "customer"));
        assert_eq!(key.to_string().len(), 32);
        assert_eq!(key, key.in_round(0));
        assert_ne!(key, key.in_round(1));
        assert_ne!(key.in_round(1), key.in_round(2));
    }

    #[test]
    fn times_are_rounded_down_to_seconds() {
        assert_eq!(Timestamp::from(Time(1_999)), Timestamp(1));
        assert_eq!(Timestamp::from(Time(-1)), Timestamp(-1));
        assert_eq!(Time::from(Timestamp(2)), Time(2_000));
    }
}
