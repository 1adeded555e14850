//! Accounts: a person's address, password and profile. Belongs to the tenant `platform`.

use serde::{Deserialize, Serialize};

use crate::{Area, Challenge, ChallengeId, EmailAddress, Home, Id, PasswordHash, PersonName, Time};

/// What may be asked of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Open an account. The aggregate's id is the command's.
    Register {
        /// Becomes the account's address, if nobody holds it.
        email: EmailAddress,
        /// First name.
        firstname: PersonName,
        /// Last name.
        lastname: PersonName,
        /// Hash of the password.
        password_hash: PasswordHash,
    },
    /// Send a new verification mail.
    RequestVerification,
    /// Answer the verification mail, by code or link.
    AnswerVerification {
        /// Which mail is answered.
        challenge: ChallengeId,
        /// Whether the answer was right: compared at the gateway, so that no code travels, and
        /// counted here.
        correct: bool,
    },
    /// Send a mail that allows to set a new password.
    RequestPasswordReset,
    /// Set a new password by that mail.
    ResetPassword {
        /// Which mail is answered; the gateway has checked its proof.
        challenge: ChallengeId,
        /// Hash of the new password.
        password_hash: PasswordHash,
    },
    /// Set a new password, the old one having been checked.
    ChangePassword {
        /// The hash that the old password was checked against: if it is no longer the account's,
        /// somebody was first.
        old_hash: PasswordHash,
        /// Hash of the new password.
        password_hash: PasswordHash,
    },
    /// End every session.
    RevokeSessions,
    /// Change the profile; what is absent stays.
    UpdateProfile {
        /// New first name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        firstname: Option<PersonName>,
        /// New last name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lastname: Option<PersonName>,
    },
}

/// What happened to an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// It was opened.
    Registered {
        /// Its address, not verified yet.
        email: EmailAddress,
        /// First name.
        firstname: PersonName,
        /// Last name.
        lastname: PersonName,
        /// Hash of the password.
        password_hash: PasswordHash,
    },
    /// It was not opened: another account holds the address. Its owner is told, the asker is not.
    RegistrationRefused {
        /// The address.
        email: EmailAddress,
        /// The account that holds it.
        holder: Id,
    },
    /// A verification mail was asked for; it replaces the one before.
    VerificationRequested {
        /// Names the mail's code and link.
        challenge: ChallengeId,
        /// Where it goes.
        email: EmailAddress,
        /// Whom it greets.
        firstname: PersonName,
    },
    /// A wrong code was given.
    VerificationFailed {
        /// For which mail.
        challenge: ChallengeId,
    },
    /// The address was proved to be the owner's.
    Verified,
    /// A mail to set a new password was asked for; it replaces the one before.
    PasswordResetRequested {
        /// Names the mail's link.
        challenge: ChallengeId,
        /// Where it goes.
        email: EmailAddress,
        /// Whom it greets.
        firstname: PersonName,
    },
    /// The password was replaced, by mail or by its owner; every session so far ended with it.
    PasswordChanged {
        /// Hash of the new password.
        password_hash: PasswordHash,
        /// Where the owner is told.
        email: EmailAddress,
        /// Whom the mail greets.
        firstname: PersonName,
    },
    /// Every session so far was ended.
    SessionsRevoked,
    /// The profile was changed.
    ProfileUpdated {
        /// First name, changed or not.
        firstname: PersonName,
        /// Last name, changed or not.
        lastname: PersonName,
    },
}

/// An account as it is read. The gateway shows no more of it than `graphql/account.rs` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    /// The address.
    pub email: EmailAddress,
    /// First name.
    pub firstname: PersonName,
    /// Last name.
    pub lastname: PersonName,
    /// Whether the address was proved.
    pub verified: bool,
    /// What a login is checked against.
    pub password_hash: PasswordHash,
    /// Counts what ended all sessions; a session of another epoch is over.
    pub epoch: i64,
    /// The verification mail that may be answered, or was.
    pub verification: Option<Challenge>,
    /// When it was opened.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
}

impl crate::View for View {
    const NAME: &'static str = "account";
    const AREA: Area = Area::Account;
    const HOME: Home = Home::Platform;
}
