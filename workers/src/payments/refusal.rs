//! Why a question has no answer.

use std::time::Duration;

use events_schema::{Reject, Rejection, RejectionKind, billing::ask::Reply};
use serde::Serialize;

use crate::stripe::{ADDRESS_MISSING, PROMOTION_CODE_UNKNOWN, StripeError};

/// When the log is worth another attempt: a server restarts within seconds.
const AFTER_OUTAGE: Duration = Duration::from_secs(2);

/// Why a question has no answer.
pub(super) enum Refusal {
    Rejected(Rejection),
    Stripe(StripeError),
    Failed(anyhow::Error),
}

/// What is wrong with a question.
#[derive(Debug, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    /// Stripe has no such object, or it is another tenant's.
    #[error("Not found.")]
    NotFound,
    /// The browser has not saved the card.
    #[error("The card is not saved yet. Complete that in the browser first.")]
    CardNotSaved,
    /// Stripe has no such code, or it can be used no more.
    #[error("{PROMOTION_CODE_UNKNOWN}")]
    PromotionCodeUnknown,
    /// Stripe does not know where the tenant is.
    #[error("{ADDRESS_MISSING}")]
    AddressMissing,
    /// Stripe refuses the request.
    #[error("Stripe refuses this. Ask who runs this service.")]
    RefusedByStripe,
}

impl Reject for Reason {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::PromotionCodeUnknown => RejectionKind::invalid("promotion_code"),
            Self::CardNotSaved | Self::AddressMissing | Self::RefusedByStripe => {
                RejectionKind::Conflict
            }
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::Rejected(reason.to_rejection())
    }
}

impl From<StripeError> for Refusal {
    fn from(error: StripeError) -> Self {
        Self::Stripe(error)
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl Refusal {
    /// Returns the reply for the gateway. What only operators can repair is logged.
    pub(super) fn reply<A>(self) -> Reply<A> {
        match self {
            Self::Rejected(rejection) => Reply::Rejected(rejection),
            Self::Stripe(error) => of_stripe(error),
            Self::Failed(error) => {
                tracing::error!("a question about payments failed: {error:#}");
                unavailable(AFTER_OUTAGE)
            }
        }
    }
}

fn of_stripe<A>(error: StripeError) -> Reply<A> {
    if error.is_missing() {
        return Reply::Rejected(Reason::NotFound.to_rejection());
    }
    if error.needs_address() {
        return Reply::Rejected(Reason::AddressMissing.to_rejection());
    }
    if let Some(pause) = error.retry_after() {
        tracing::warn!("{error}");
        return unavailable(pause);
    }
    Reply::Rejected(match error {
        StripeError::Declined { code, message } => Rejection {
            kind: RejectionKind::Conflict,
            code,
            message,
            used: None,
        },
        StripeError::Refused { .. }
        | StripeError::Key(_)
        | StripeError::RateLimited(_)
        | StripeError::Unavailable(_)
        | StripeError::Repeated(_) => {
            tracing::error!("a question about payments failed: {error}");
            Reason::RefusedByStripe.to_rejection()
        }
    })
}

fn unavailable<A>(pause: Duration) -> Reply<A> {
    let retry_after_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    Reply::Unavailable { retry_after_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(error: StripeError) -> Reply<()> {
        Refusal::from(error).reply()
    }

    fn refused(code: &str) -> StripeError {
        StripeError::Refused {
            code: code.to_owned(),
            message: "No such card: pm_1".to_owned(),
        }
    }

    #[test]
    fn a_declined_card_is_a_conflict_with_the_code_of_stripe() {
        let Reply::Rejected(rejection) = reply(StripeError::Declined {
            code: "insufficient_funds".to_owned(),
            message: "Your card has insufficient funds.".to_owned(),
        }) else {
            panic!("no rejection");
        };
        assert_eq!(rejection.kind, RejectionKind::Conflict);
        assert_eq!(rejection.code, "insufficient_funds");
    }

    #[test]
    fn what_stripe_refuses_has_a_reason_of_ours_and_no_text_of_stripe() {
        for (code, expected) in [
            ("resource_missing", Reason::NotFound),
            ("customer_tax_location_invalid", Reason::AddressMissing),
            ("parameter_unknown", Reason::RefusedByStripe),
        ] {
            let expected = Reply::Rejected(expected.to_rejection());
            assert_eq!(reply(refused(code)), expected);
        }
    }

    #[test]
    fn an_outage_says_when_it_is_worth_another_attempt() {
        let pause = Duration::from_secs(3);
        let expected = Reply::Unavailable {
            retry_after_ms: 3_000,
        };
        assert_eq!(reply(StripeError::RateLimited(pause)), expected);
        let away = reply(StripeError::Unavailable("cut".to_owned()));
        assert!(matches!(away, Reply::Unavailable { .. }));
    }
}
