//! Why commands to accounts are rejected.

use events_schema::{Reject, RejectionKind};
use serde::Serialize;

/// Why a command to an account is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The account does not exist.
    #[error("There is no such account.")]
    NotFound,
    /// The id is in use.
    #[error("This account already exists.")]
    AlreadyExists,
    /// Another account has the address.
    #[error("This e-mail address has an account already.")]
    EmailTaken,
    /// The address of the account is not verified.
    #[error("The e-mail address of this account is not verified.")]
    NotVerified,
    /// The link was used before, is replaced by a newer one or has expired.
    #[error("The link is no longer valid. Request a new mail.")]
    ChallengeEnded,
    /// The password was changed after the old one was checked.
    #[error("The password has been changed in the meantime. Log in again.")]
    PasswordChangedMeanwhile,
    /// The session that the command comes from has ended.
    #[error("The session has ended in the meantime. Log in again.")]
    SessionEnded,
    /// Another account has the identity.
    #[error("Another account logs in by this identity.")]
    IdentityTaken,
    /// The account has as many identities as it may have.
    #[error("The account has 20 identities already. Remove one first.")]
    TooManyIdentities,
    /// An account has the passkey.
    #[error("This passkey is known already.")]
    PasskeyTaken,
    /// The account has as many passkeys as it may have.
    #[error("The account has 20 passkeys already. Remove one first.")]
    TooManyPasskeys,
    /// The account does not have the passkey.
    #[error("There is no such passkey.")]
    NoSuchPasskey,
    /// The passkey was used after it was asked for.
    #[error("The passkey was used again in the meantime. Begin again.")]
    PasskeyUsedMeanwhile,
    /// Somebody may have copied the passkey.
    #[error("The passkey is suspended. Remove it, and add another one.")]
    PasskeyIsSuspended,
    /// Nothing else would be left to log in by.
    #[error("This is the last way to log in to the account. Add another one first.")]
    LastLogIn,
    /// The account has a password.
    #[error("The account has a password already. Change it instead.")]
    PasswordSetAlready,
    /// The account has an authenticator app.
    #[error("The account has an authenticator app already. Remove it first.")]
    TotpEnrolledAlready,
    /// The account has no authenticator app, or another one.
    #[error("The account has no such second factor.")]
    NoSecondFactor,
    /// The account has this address.
    #[error("The account has this e-mail address already.")]
    EmailUnchanged,
    /// The time of the deletion has come.
    #[error("The account is being deleted. It is too late to keep it.")]
    ClosesNow,
    /// The code, or one of a later time, was used before.
    #[error("The code was used before. Wait for the next one.")]
    CodeUsed,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound | Self::NoSuchPasskey => RejectionKind::NotFound,
            Self::AlreadyExists
            | Self::EmailTaken
            | Self::NotVerified
            | Self::PasswordChangedMeanwhile
            | Self::SessionEnded
            | Self::IdentityTaken
            | Self::PasskeyTaken
            | Self::PasskeyUsedMeanwhile
            | Self::PasskeyIsSuspended
            | Self::LastLogIn
            | Self::PasswordSetAlready
            | Self::TotpEnrolledAlready
            | Self::NoSecondFactor
            | Self::ClosesNow => RejectionKind::Conflict,
            Self::TooManyIdentities | Self::TooManyPasskeys => RejectionKind::Limit,
            Self::CodeUsed => RejectionKind::invalid("code"),
            Self::EmailUnchanged => RejectionKind::invalid("email"),
            Self::ChallengeEnded => RejectionKind::invalid("challenge"),
        }
    }
}
