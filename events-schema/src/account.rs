//! Accounts: a person's address, password and profile. Belongs to the platform.

use serde::{Deserialize, Serialize};

use crate::{
    Access, AreaName, ChallengeId, Commit, CredentialId, EmailAddress, Home, Index, PasswordHash,
    Permission, PersonName, SecondFactor, Time,
    id::typed_id,
    proof::{self, ONE_FACTOR, Proof, TWO_FACTORS},
    published::Private,
    second_factor,
};

typed_id! {
    /// Identifies an account: the id of the registration that it came from.
    AccountId
}

/// The area of accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::Account;
    const ACCESS: &'static [Access] = &[
        Access::anyone("register"),
        Access::anyone("verify_account"),
        Access::anyone("verify_activation_link"),
        Access::anyone("send_verification_email"),
        Access::anyone("send_reset_password_email"),
        Access::anyone("reset_password"),
        Access::signed_in("change_password").fresh(),
        Access::anyone("login"),
        Access::anyone("send_login_code"),
        Access::signed_in("step_up"),
        Access::anyone("logout"),
        Access::signed_in("rename_session"),
        Access::signed_in("revoke_session"),
        Access::signed_in("revoke_all_sessions"),
        Access::signed_in("profile"),
        Access::signed_in("profile_update"),
        Access::signed_in("account_activity"),
        Access::signed_in("credentials"),
        Access::signed_in("credential_start_totp").fresh(),
        Access::signed_in("credential_confirm_totp").fresh(),
        Access::signed_in("credential_remove_totp").fresh(),
        Access::signed_in("credential_new_recovery_codes").fresh(),
        Access::platform("platform_accounts"),
        Access::platform("platform_disable_account"),
        Access::platform("platform_enable_account"),
        Access::platform("platform_end_sessions"),
        Access::platform("platform_remove_second_factor").fresh(),
    ];
    const INTERNAL: &'static [&'static str] = &["grant_platform_admin", "revoke_platform_admin"];
    const FEED: Option<Permission> = None;
    type Id = AccountId;
    type Command = Command;
    type Event = Event;
    type Public = Private<View>;
}

/// A request to change an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Register an account whose owner has proved that the address is theirs. Until then, the
    /// gateways keep the registration outside the log. An account of an earlier release that never
    /// proved its address is replaced.
    CompleteRegistration {
        email: EmailAddress,
        firstname: PersonName,
        lastname: PersonName,
        password_hash: PasswordHash,
    },
    /// Send a mail with a link to set a new password.
    RequestPasswordReset,
    /// Set a new password. The gateway has checked the link.
    ResetPassword {
        challenge: ChallengeId,
        password_hash: PasswordHash,
    },
    /// Set a new password. The gateway has checked the old one.
    ChangePassword {
        /// The hash that the old password was checked against. If the account has another one now,
        /// the command is rejected.
        old_hash: PasswordHash,
        password_hash: PasswordHash,
    },
    /// Replace the hash of the same password by one with present parameters. The gateway has checked
    /// the password.
    RenewPasswordHash {
        /// The hash that the password was checked against. If the account has another one now, the
        /// command changes nothing.
        old_hash: PasswordHash,
        password_hash: PasswordHash,
    },
    /// Add an authenticator app and a set of recovery codes. The gateway has checked a code of the
    /// app.
    EnrolTotp {
        credential: CredentialId,
        /// The id of the secret that the seed and the recovery codes derive from.
        secret_id: String,
        /// The step of the code.
        step: i64,
        recovery_codes: CredentialId,
    },
    /// Use the code of a step. The gateway has compared it.
    UseTotp { credential: CredentialId, step: i64 },
    /// Use a recovery code of index 0 to 9. The gateway has compared it.
    UseRecoveryCode { credential: CredentialId, index: u8 },
    /// Remove the authenticator app and the recovery codes.
    RemoveTotp,
    /// Replace the recovery codes.
    RenewRecoveryCodes {
        credential: CredentialId,
        secret_id: String,
    },
    /// Revoke all sessions.
    RevokeSessions,
    /// Make the account one of the platform's administrators. Only an operator sends this.
    GrantPlatformAdmin,
    /// Make the account an ordinary one again. Only an operator sends this.
    RevokePlatformAdmin,
    /// Refuse the account's logins, and revoke its sessions and access tokens until it is enabled.
    Disable,
    /// Accept the account again.
    Enable,
    /// Change the given names. An absent name keeps its value.
    UpdateProfile {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        firstname: Option<PersonName>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lastname: Option<PersonName>,
    },
}

/// A change to an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// The account was registered. Its address is verified by the next event.
    Registered {
        email: EmailAddress,
        firstname: PersonName,
        lastname: PersonName,
        password_hash: PasswordHash,
    },
    /// The registration was refused, since another account has the address. Only an earlier release
    /// has stored this.
    RegistrationRefused {
        email: EmailAddress,
        /// The account that has the address.
        holder: AccountId,
    },
    /// A verification mail was requested. Only an earlier release has stored this.
    VerificationRequested {
        challenge: ChallengeId,
        email: EmailAddress,
        firstname: PersonName,
    },
    /// A wrong code was given. Only an earlier release has stored this.
    VerificationFailed { challenge: ChallengeId },
    /// The address was verified.
    Verified,
    /// A mail to set a new password was requested. It replaces the one before.
    PasswordResetRequested {
        challenge: ChallengeId,
        email: EmailAddress,
        firstname: PersonName,
    },
    /// The password was changed. All sessions so far are revoked.
    PasswordChanged {
        password_hash: PasswordHash,
        email: EmailAddress,
        firstname: PersonName,
    },
    /// The hash of the password was replaced; the password is the same, and no session ends.
    PasswordHashRenewed { password_hash: PasswordHash },
    /// An authenticator app and recovery codes were added.
    TotpEnrolled {
        credential: CredentialId,
        secret_id: String,
        step: i64,
        recovery_codes: CredentialId,
        email: EmailAddress,
    },
    /// The code of a step was used.
    TotpUsed { credential: CredentialId, step: i64 },
    /// A recovery code was used.
    RecoveryCodeUsed {
        credential: CredentialId,
        index: u8,
        email: EmailAddress,
    },
    /// The authenticator app and the recovery codes were removed.
    TotpRemoved {
        credential: CredentialId,
        email: EmailAddress,
    },
    /// The recovery codes were replaced.
    RecoveryCodesRenewed {
        credential: CredentialId,
        secret_id: String,
        email: EmailAddress,
    },
    /// All sessions so far were revoked.
    SessionsRevoked,
    /// The account became one of the platform's administrators.
    PlatformAdminGranted,
    /// The account is no longer one of the platform's administrators.
    PlatformAdminRevoked,
    /// The account was disabled. All sessions so far were revoked.
    Disabled,
    /// The account was enabled again. All sessions so far were revoked once more.
    Enabled,
    /// The profile was changed. Both names are given, changed or not.
    ProfileUpdated {
        firstname: PersonName,
        lastname: PersonName,
    },
}

/// The view of an account. The gateway never shows all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    pub email: EmailAddress,
    pub firstname: PersonName,
    pub lastname: PersonName,
    /// Whether the address is verified.
    pub verified: bool,
    pub password_hash: PasswordHash,
    /// Counts the events that revoke all sessions. A session of an older epoch is not valid.
    pub epoch: i64,
    /// When the epoch last began. Access tokens that were created before are not valid.
    #[serde(default)]
    pub epoch_began_at: Time,
    /// Whether the account is one of the platform's administrators.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_platform_admin: bool,
    /// Whether the account is disabled: it has no session and no access token, and gets none.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_disabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_factor: Option<SecondFactor>,
    pub created_at: Time,
    pub updated_at: Time,
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "account";
    const HOME: Home = Home::Platform;
    const INDEXES: &'static [Index] = &[
        Index::on(&["email"]),
        Index::on(&["created_at"]),
        Index::on(&["email", "created_at"]),
    ];

    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        let events = commit.events.iter();
        let folded = events.fold(view, |view, event| step(view, event, commit.time));
        folded.map(|view| Self {
            updated_at: commit.time,
            ..view
        })
    }
}

impl View {
    /// Returns the highest level that a session of the account can reach.
    pub const fn best_aal(&self) -> u8 {
        if self.second_factor.is_some() {
            TWO_FACTORS
        } else {
            ONE_FACTOR
        }
    }

    /// Returns those of these proofs that still count. None does of a second factor that was removed
    /// or replaced.
    pub fn counting(&self, proofs: Vec<Proof>) -> Vec<Proof> {
        let factor = self.second_factor.as_ref();
        proof::counting(proofs, factor.map(|factor| factor.totp.enrolled_at))
    }

    fn begin_epoch(&mut self, at: Time) {
        self.epoch += 1;
        self.epoch_began_at = at;
    }
}

const fn is_false(value: &bool) -> bool {
    !*value
}

fn step(view: Option<View>, event: &Event, at: Time) -> Option<View> {
    if let Event::Registered {
        email,
        firstname,
        lastname,
        password_hash,
    } = event
    {
        return Some(View {
            email: email.clone(),
            firstname: firstname.clone(),
            lastname: lastname.clone(),
            verified: false,
            password_hash: password_hash.clone(),
            epoch: 0,
            epoch_began_at: at,
            is_platform_admin: false,
            is_disabled: false,
            second_factor: None,
            created_at: at,
            updated_at: at,
        });
    }
    let mut view = view?;
    view.second_factor = second_factor::step(view.second_factor, event, at);
    match event {
        Event::Registered { .. }
        | Event::VerificationRequested { .. }
        | Event::VerificationFailed { .. }
        | Event::PasswordResetRequested { .. }
        | Event::TotpEnrolled { .. }
        | Event::TotpUsed { .. }
        | Event::RecoveryCodeUsed { .. }
        | Event::TotpRemoved { .. }
        | Event::RecoveryCodesRenewed { .. } => {}
        Event::RegistrationRefused { .. } => return None,
        Event::Verified => view.verified = true,
        Event::PasswordChanged { password_hash, .. } => {
            view.password_hash = password_hash.clone();
            view.begin_epoch(at);
        }
        Event::PasswordHashRenewed { password_hash } => {
            view.password_hash = password_hash.clone();
        }
        Event::SessionsRevoked => view.begin_epoch(at),
        Event::PlatformAdminGranted => view.is_platform_admin = true,
        Event::PlatformAdminRevoked => view.is_platform_admin = false,
        Event::Disabled => {
            view.is_disabled = true;
            view.begin_epoch(at);
        }
        Event::Enabled => {
            view.is_disabled = false;
            view.begin_epoch(at);
        }
        Event::ProfileUpdated {
            firstname,
            lastname,
        } => {
            view.firstname = firstname.clone();
            view.lastname = lastname.clone();
        }
    }
    Some(view)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Id, view::testing::fold};

    const CHALLENGE: ChallengeId = ChallengeId(Id::from_bytes([1; 16]));

    fn email() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }
    fn name(text: &str) -> PersonName {
        PersonName::parse(text).unwrap()
    }
    fn registered() -> (i64, Event) {
        let event = Event::Registered {
            email: email(),
            firstname: name("Ada"),
            lastname: name("Lovelace"),
            password_hash: PasswordHash::parse("$old").unwrap(),
        };
        (10, event)
    }
    fn mailed() -> (i64, Event) {
        let event = Event::VerificationRequested {
            challenge: CHALLENGE,
            email: email(),
            firstname: name("Ada"),
        };
        (10, event)
    }

    #[test]
    fn a_refused_registration_shows_nothing() {
        let refused = Event::RegistrationRefused {
            email: email(),
            holder: AccountId(CHALLENGE.0),
        };
        assert_eq!(fold::<View>([(10, refused)]), None);
    }

    #[test]
    fn an_account_is_verified_by_an_event_of_its_own() {
        let shown: View = fold([registered(), mailed()]).unwrap();
        assert!(!shown.verified);
        let shown: View = fold([registered(), mailed(), (30, Event::Verified)]).unwrap();
        assert!(shown.verified);
        assert_eq!((shown.created_at, shown.updated_at), (Time(10), Time(30)));
    }

    #[test]
    fn an_account_shows_whether_it_is_disabled_and_an_administrator() {
        let granted = [registered(), (20, Event::PlatformAdminGranted)];
        let disabled = granted.clone().into_iter().chain([(30, Event::Disabled)]);
        let shown: View = fold(disabled.clone()).unwrap();
        assert!(shown.is_platform_admin && shown.is_disabled);
        assert_eq!((shown.epoch, shown.epoch_began_at), (1, Time(30)));
        let later = [(40, Event::Enabled), (50, Event::PlatformAdminRevoked)];
        let shown: View = fold(disabled.chain(later)).unwrap();
        assert!(!shown.is_platform_admin && !shown.is_disabled);
        assert_eq!((shown.epoch, shown.epoch_began_at), (2, Time(40)));
    }

    #[test]
    fn events_that_revoke_all_sessions_raise_the_epoch() {
        let password_hash = PasswordHash::parse("$new").unwrap();
        let changed = Event::PasswordChanged {
            password_hash: password_hash.clone(),
            email: email(),
            firstname: name("Ada"),
        };
        let events = [
            registered(),
            mailed(),
            (20, changed),
            (30, Event::SessionsRevoked),
        ];
        let shown: View = fold(events).unwrap();
        assert_eq!((shown.epoch, shown.epoch_began_at), (2, Time(30)));
        assert_eq!(shown.password_hash, password_hash);
    }

    #[test]
    fn an_account_shows_its_updated_profile() {
        let updated = Event::ProfileUpdated {
            firstname: name("Augusta"),
            lastname: name("Byron"),
        };
        let shown: View = fold([registered(), (20, updated)]).unwrap();
        assert_eq!(shown.firstname, name("Augusta"));
        assert_eq!(shown.lastname, name("Byron"));
        assert_eq!(shown.email, email());
    }
}
