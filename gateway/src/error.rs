//! The errors of requests. Each transport maps them to its own codes.

use std::time::Duration;

use events_schema::{
    CommandId, Feature, Invalid, Limit, Name, Rejection, RejectionKind, TenantKey,
};

use crate::method::Method;

/// Why a request, or one of its fields, fails.
#[derive(Debug)]
pub(crate) enum Error {
    /// The caller has no session, or the credentials are wrong. The text says which.
    Unauthenticated(&'static str),
    /// The caller lacks a permission.
    Forbidden,
    /// The caller must prove again who they are, in one of these ways.
    StepUpRequired { methods: &'static [Method] },
    /// The caller must add a second factor to their account first.
    SecondFactorRequired,
    /// The caller must log in by the tenant's own issuer, which begins there.
    SsoRequired { start_url: String },
    /// The object does not exist, or the caller must not learn that it does.
    NotFound,
    /// The request must be changed before it can succeed.
    BadUserInput {
        /// The input that is wrong, if it is a single one.
        field: Option<&'static str>,
        message: String,
    },
    /// The caller must wait this long before the next attempt.
    RateLimited { retry_after: Duration },
    /// The command was published, but its outcome or its view is not known yet.
    Pending(CommandId),
    /// A server of ours does not answer now, so this operation has changed nothing. The cause is
    /// logged, never answered.
    Unavailable(anyhow::Error),
    /// No secret of the deployment opens the client secret of a tenant's connection. It works again
    /// once an administrator of the tenant enters the client secret again. The cause is logged.
    ClientSecretLost(anyhow::Error),
    /// Stripe, or the worker that asks it, does not answer now. Nothing has changed.
    PaymentsAway { retry_after: Duration },
    /// The plan of the tenant lacks a feature, which these plans have.
    FeatureNotInPlan { feature: Feature, plans: Vec<Name> },
    /// The tenant has as many objects as its plan allows.
    LimitReached {
        limit: Limit,
        allowed: u64,
        /// How many it has; more than allowed after a change to a smaller plan.
        used: u64,
        /// Plans that allow more.
        plans: Vec<Name>,
    },
    /// Nothing may be created: a payment of the tenant has been missing for too long, or its plan
    /// has ended and there is no other.
    PaymentRequired,
    /// The account cannot be deleted: these tenants would lose their only owner.
    SoleOwner { tenants: Vec<OwnedTenant> },
    /// The domain refused the command.
    Rejected(Rejection),
    /// Something failed on our side. The cause is logged, never answered.
    Internal(anyhow::Error),
}

/// A tenant with one owner.
#[derive(Debug)]
pub(crate) struct OwnedTenant {
    pub(crate) id: TenantKey,
    pub(crate) name: Name,
}

impl Error {
    /// Returns a function that turns the reason why an input is invalid into an error. The message
    /// is the name of the field, followed by the reason.
    pub(crate) fn invalid(field: &'static str) -> impl FnOnce(Invalid) -> Self {
        move |reason| Self::input(field, format!("{field} {reason}."))
    }

    /// Returns the error of one invalid input. The message is a whole sentence.
    pub(crate) fn input(field: &'static str, message: impl Into<String>) -> Self {
        Self::BadUserInput {
            field: Some(field),
            message: message.into(),
        }
    }

    /// Returns the error of an invalid request whose fault is not a single input. The message is a
    /// whole sentence.
    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self::BadUserInput {
            field: None,
            message: message.into(),
        }
    }

    /// Returns the error of a caller without valid credentials.
    pub(crate) const fn not_logged_in() -> Self {
        Self::Unauthenticated("You are not logged in.")
    }

    /// Replaces a rejection of any kind by what it means to the caller.
    pub(crate) fn if_rejected(self, meaning: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Rejected(_) => meaning(),
            other @ (Self::Unauthenticated(_)
            | Self::Forbidden
            | Self::StepUpRequired { .. }
            | Self::SecondFactorRequired
            | Self::SsoRequired { .. }
            | Self::NotFound
            | Self::BadUserInput { .. }
            | Self::RateLimited { .. }
            | Self::Pending(_)
            | Self::Unavailable(_)
            | Self::ClientSecretLost(_)
            | Self::PaymentsAway { .. }
            | Self::FeatureNotInPlan { .. }
            | Self::LimitReached { .. }
            | Self::PaymentRequired
            | Self::SoleOwner { .. }
            | Self::Internal(_)) => other,
        }
    }

    /// Replaces a rejection of the kind `NotFound` or `Invalid` by what it means to the caller.
    pub(crate) fn if_missing(self, meaning: impl FnOnce() -> Self) -> Self {
        let Self::Rejected(rejection) = &self else {
            return self;
        };
        match rejection.kind {
            RejectionKind::NotFound | RejectionKind::Invalid { .. } => meaning(),
            RejectionKind::Conflict | RejectionKind::Limit | RejectionKind::Forbidden => self,
        }
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self::Internal(error)
    }
}
