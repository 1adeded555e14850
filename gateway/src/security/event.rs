//! The security events: their names, and who may read them.

use events_schema::{Access, AreaName, Permission};

/// What happened. No variant contains a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecurityEvent {
    /// Somebody logged in.
    LoginSucceeded,
    /// The password was wrong, or the account does not accept logins.
    LoginFailed,
    /// A login was refused without a check, since too many have failed.
    LoginLimited,
    /// The code of a registration was wrong or no longer valid.
    CodeWrong,
    /// Somebody asked for a link to set a new password.
    ResetRequested,
    /// A new password was set by the link in a mail.
    PasswordReset,
    /// A new password was set by somebody who knew the old one.
    PasswordChanged,
    /// Somebody proved again who they are, in their session.
    SteppedUp,
    /// A code of the second factor was wrong, after the first factor was right.
    SecondFactorWrong,
    /// An authenticator app was added.
    SecondFactorEnrolled,
    /// The authenticator app and the recovery codes were removed.
    SecondFactorRemoved,
    /// The recovery codes were replaced.
    RecoveryCodesRenewed,
    /// A passkey was added.
    PasskeyAdded,
    /// A passkey was removed.
    PasskeyRemoved,
    /// A passkey was suspended: its counter did not rise.
    PasskeySuspended,
    /// An identity of another party was linked.
    IdentityLinked,
    /// An identity of another party was unlinked.
    IdentityUnlinked,
    /// An account without a password got one.
    PasswordSet,
    /// The password was removed.
    PasswordRemoved,
    /// Somebody asked for a code to log in with.
    LoginCodeRequested,
    /// The owner of an account asked for another address.
    EmailChangeRequested,
    /// The address of an account was changed.
    EmailChanged,
    /// The owner of the present address refused a change.
    EmailChangeRefused,
    /// The owner of a former address restored it.
    EmailRestored,
    /// The owner of an account wants it deleted.
    DeletionRequested,
    /// The owner of an account keeps it.
    DeletionCancelled,
    /// One session was revoked.
    SessionRevoked,
    /// All sessions of the account were revoked.
    SessionsRevoked,
    /// An administrator of the platform began to act as the person.
    ImpersonationBegun,
    /// An access token was created.
    AccessTokenCreated,
    /// An access token was deleted.
    AccessTokenDeleted,
    /// Somebody tried to register with the address of an account.
    RegistrationRefused,
    /// The caller may not use an operation or read a field, which has this row in an access table.
    AccessRefused(AreaName, &'static Access),
    /// An access token is malformed, unknown, expired or revoked, or not valid in the network of
    /// the client.
    TokenRefused,
    /// A client without an account has too many operations.
    StrangerLimited,
}

/// Who may read an event, beside the operator, who reads all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Nobody else: it concerns no account, or the account is not known.
    Operator,
    /// The owner of the account, proved by a password, a session or a link.
    OwnerWhoDidIt,
    /// The owner of the account. Anybody may have done it.
    Owner,
    /// The administrators of the tenant.
    Administrators,
}

impl SecurityEvent {
    /// Returns the name, which never changes.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::LoginSucceeded => "login_succeeded",
            Self::LoginFailed => "login_failed",
            Self::LoginLimited => "login_limited",
            Self::CodeWrong => "code_wrong",
            Self::ResetRequested => "reset_requested",
            Self::PasswordReset => "password_reset",
            Self::PasswordChanged => "password_changed",
            Self::SteppedUp => "stepped_up",
            Self::SecondFactorWrong => "second_factor_wrong",
            Self::SecondFactorEnrolled => "second_factor_enrolled",
            Self::SecondFactorRemoved => "second_factor_removed",
            Self::RecoveryCodesRenewed => "recovery_codes_renewed",
            Self::PasskeyAdded => "passkey_added",
            Self::PasskeyRemoved => "passkey_removed",
            Self::PasskeySuspended => "passkey_suspended",
            Self::IdentityLinked => "identity_linked",
            Self::IdentityUnlinked => "identity_unlinked",
            Self::PasswordSet => "password_set",
            Self::PasswordRemoved => "password_removed",
            Self::LoginCodeRequested => "login_code_requested",
            Self::EmailChangeRequested => "email_change_requested",
            Self::EmailChanged => "email_changed",
            Self::EmailChangeRefused => "email_change_refused",
            Self::EmailRestored => "email_restored",
            Self::DeletionRequested => "deletion_requested",
            Self::DeletionCancelled => "deletion_cancelled",
            Self::SessionRevoked => "session_revoked",
            Self::SessionsRevoked => "sessions_revoked",
            Self::ImpersonationBegun => "impersonation_begun",
            Self::AccessTokenCreated => "access_token_created",
            Self::AccessTokenDeleted => "access_token_deleted",
            Self::RegistrationRefused => "registration_refused",
            Self::AccessRefused(..) => "access_refused",
            Self::TokenRefused => "token_refused",
            Self::StrangerLimited => "stranger_limited",
        }
    }

    /// Returns who may read the event.
    pub(super) const fn readers(self) -> Readers {
        match self {
            Self::LoginSucceeded
            | Self::PasswordReset
            | Self::PasswordChanged
            | Self::SteppedUp
            | Self::SecondFactorEnrolled
            | Self::SecondFactorRemoved
            | Self::RecoveryCodesRenewed
            | Self::PasskeyAdded
            | Self::PasskeyRemoved
            | Self::IdentityLinked
            | Self::IdentityUnlinked
            | Self::PasswordSet
            | Self::PasswordRemoved
            | Self::EmailChangeRequested
            | Self::EmailChanged
            | Self::EmailChangeRefused
            | Self::EmailRestored
            | Self::DeletionRequested
            | Self::DeletionCancelled
            | Self::SessionRevoked
            | Self::SessionsRevoked
            | Self::AccessTokenCreated
            | Self::AccessTokenDeleted => Readers::OwnerWhoDidIt,
            Self::LoginFailed
            | Self::LoginLimited
            | Self::ResetRequested
            | Self::SecondFactorWrong
            | Self::PasskeySuspended
            | Self::ImpersonationBegun
            | Self::LoginCodeRequested
            | Self::RegistrationRefused
            | Self::TokenRefused => Readers::Owner,
            Self::AccessRefused(..) => Readers::Administrators,
            Self::CodeWrong | Self::StrangerLimited => Readers::Operator,
        }
    }

    /// Returns the operation or field that was refused, such as `project.create`.
    pub(super) fn operation(self) -> Option<String> {
        let (area, access) = self.refused()?;
        Some(format!("{area}.{}", access.verb))
    }

    /// Returns the permission that was missing, if a certain one was.
    pub(super) fn permission(self) -> Option<Permission> {
        self.refused()?.1.who.permission()
    }

    const fn refused(self) -> Option<(AreaName, &'static Access)> {
        match self {
            Self::AccessRefused(area, access) => Some((area, access)),
            Self::LoginSucceeded
            | Self::LoginFailed
            | Self::LoginLimited
            | Self::CodeWrong
            | Self::ResetRequested
            | Self::PasswordReset
            | Self::PasswordChanged
            | Self::SteppedUp
            | Self::SecondFactorWrong
            | Self::SecondFactorEnrolled
            | Self::SecondFactorRemoved
            | Self::RecoveryCodesRenewed
            | Self::PasskeyAdded
            | Self::PasskeyRemoved
            | Self::PasskeySuspended
            | Self::ImpersonationBegun
            | Self::IdentityLinked
            | Self::IdentityUnlinked
            | Self::PasswordSet
            | Self::PasswordRemoved
            | Self::LoginCodeRequested
            | Self::EmailChangeRequested
            | Self::EmailChanged
            | Self::EmailChangeRefused
            | Self::EmailRestored
            | Self::DeletionRequested
            | Self::DeletionCancelled
            | Self::SessionRevoked
            | Self::SessionsRevoked
            | Self::AccessTokenCreated
            | Self::AccessTokenDeleted
            | Self::RegistrationRefused
            | Self::TokenRefused
            | Self::StrangerLimited => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{Access, project};

    use super::*;

    #[test]
    fn only_a_refusal_names_its_operation_and_permission() {
        const CREATE: Access = Access::permission("create", project::CREATE);
        let refusal = SecurityEvent::AccessRefused(AreaName::Project, &CREATE);
        assert_eq!(refusal.operation().as_deref(), Some("project.create"));
        assert_eq!(refusal.permission(), Some(project::CREATE));
        assert_eq!(SecurityEvent::LoginFailed.operation(), None);
        assert_eq!(SecurityEvent::LoginFailed.permission(), None);
    }

    #[test]
    fn an_attempt_of_others_is_kept_apart_from_what_the_owner_did() {
        assert_eq!(SecurityEvent::LoginFailed.readers(), Readers::Owner);
        assert_eq!(SecurityEvent::TokenRefused.readers(), Readers::Owner);
        let proved = SecurityEvent::LoginSucceeded.readers();
        assert_eq!(proved, Readers::OwnerWhoDidIt);
    }
}
