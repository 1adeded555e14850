//! Epochs of an account: sessions and access tokens of an earlier one are not valid.

use super::Event;

/// Returns the epoch after an event of the account. `present` is the epoch before; `None` if there
/// was no account.
pub fn after(present: Option<i64>, event: &Event) -> i64 {
    match event {
        // The sessions of an account that it replaces are of an earlier epoch.
        Event::Opened { .. }
        | Event::PasswordChanged { .. }
        | Event::SessionsRevoked
        | Event::Disabled
        | Event::Enabled => present.map_or(0, |epoch| epoch + 1),
        Event::Registered { .. } => 0,
        Event::IdentityLinked { .. }
        | Event::IdentityUnlinked { .. }
        | Event::PasswordSet { .. }
        | Event::PasswordRemoved { .. }
        | Event::RegistrationRefused { .. }
        | Event::VerificationRequested { .. }
        | Event::VerificationFailed { .. }
        | Event::Verified
        | Event::PasswordResetRequested { .. }
        | Event::PasswordHashRenewed { .. }
        | Event::TotpEnrolled { .. }
        | Event::TotpUsed { .. }
        | Event::RecoveryCodeUsed { .. }
        | Event::TotpRemoved { .. }
        | Event::RecoveryCodesRenewed { .. }
        | Event::PasskeyAdded { .. }
        | Event::PasskeyUsed { .. }
        | Event::PasskeyRenamed { .. }
        | Event::PasskeySuspended { .. }
        | Event::PasskeyRemoved { .. }
        | Event::PlatformAdminGranted
        | Event::PlatformAdminRevoked
        | Event::ProfileUpdated { .. }
        | Event::EmailChangeRequested { .. }
        | Event::NewEmailProved { .. }
        | Event::EmailChangeConfirmed { .. }
        | Event::EmailChangeEnded { .. }
        | Event::EmailChanged { .. }
        | Event::EmailRestored { .. }
        | Event::DeletionRequested { .. }
        | Event::DeletionCancelled { .. }
        | Event::DeletionStopped { .. }
        | Event::Closed { .. } => present.unwrap_or_default(),
    }
}
