//! When an account is deleted.

use super::Event;
use crate::{Time, email_change::UNDO_LIFETIME};

/// Returns when the account is deleted after one of its events; `None` if it stays. A former owner
/// can undo a change of the address before that. `present` is the time before the event.
pub fn after(present: Option<Time>, event: &Event, at: Time) -> Option<Time> {
    match event {
        Event::DeletionRequested { at, .. } => Some(*at),
        Event::EmailChanged { .. } => present.map(|time| time.max(at + UNDO_LIFETIME)),
        // Whoever is kept out cannot ask for it, nor keep the account.
        Event::Disabled
        | Event::DeletionCancelled { .. }
        | Event::DeletionStopped { .. }
        | Event::Registered { .. }
        | Event::Opened { .. }
        | Event::RegistrationRefused { .. }
        | Event::Closed { .. } => None,
        Event::IdentityLinked { .. }
        | Event::IdentityUnlinked { .. }
        | Event::PasswordSet { .. }
        | Event::PasswordRemoved { .. }
        | Event::VerificationRequested { .. }
        | Event::VerificationFailed { .. }
        | Event::Verified
        | Event::PasswordResetRequested { .. }
        | Event::PasswordChanged { .. }
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
        | Event::SessionsRevoked
        | Event::PlatformAdminGranted
        | Event::PlatformAdminRevoked
        | Event::Enabled
        | Event::ProfileUpdated { .. }
        | Event::EmailChangeRequested { .. }
        | Event::NewEmailProved { .. }
        | Event::EmailChangeConfirmed { .. }
        | Event::EmailChangeEnded { .. }
        | Event::EmailRestored { .. } => present,
    }
}
