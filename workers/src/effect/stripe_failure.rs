//! What a failure of Stripe means for an effect.

use crate::{
    effect::Failure,
    stripe::{Stripe, StripeError},
};

/// The last attempt of an effect at Stripe: none is. What Stripe refuses is recorded or repaired,
/// and an outage has an end.
pub(super) const ATTEMPTS: i64 = i64::MAX;

/// Returns the client for another round if Stripe only repeats a failure that it has kept.
pub(super) fn next_round<T>(stripe: &Stripe, done: &Result<T, Failure>) -> Option<Stripe> {
    match done {
        Err(Failure::Outage(error, _)) => match error.downcast_ref() {
            Some(StripeError::Repeated(_)) => stripe.with_further_keys(),
            Some(_) | None => None,
        },
        Ok(_) | Err(Failure::Temporary(_) | Failure::Permanent(_) | Failure::NotYet(_)) => None,
    }
}

impl From<StripeError> for Failure {
    fn from(error: StripeError) -> Self {
        if let StripeError::Key(_) = error {
            tracing::error!("{error}");
        }
        match error.retry_after() {
            Some(pause) => Self::Outage(error.into(), pause),
            None => Self::Temporary(error.into()),
        }
    }
}
