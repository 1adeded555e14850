//! What a failure of Stripe means for an effect.

use crate::{effect::Failure, stripe::StripeError};

/// The last attempt of an effect at Stripe: none is. What Stripe refuses is recorded or repaired, and
/// an outage has an end.
pub(super) const ATTEMPTS: i64 = i64::MAX;

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
