//! Accounts: a person's address, credentials and profile. Belongs to the platform.

use serde::{Deserialize, Serialize};

use crate::{
    Access, AreaName, ChallengeId, CredentialId, EmailAddress, IdentityId, Name, PasskeyId,
    PasswordHash, Permission, PersonName, ProvedIdentity, ProviderName, Time,
    email_change::FormerAddress, id::typed_id, passkey::NewPasskey, published::Private,
};

pub mod deletion;
pub mod epoch;
mod view;
pub use view::View;

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
        Access::anyone("start_passkey"),
        Access::signed_in("step_up").by_connection(),
        Access::anyone("logout"),
        Access::signed_in("rename_session"),
        Access::signed_in("revoke_session"),
        Access::signed_in("revoke_all_sessions"),
        Access::signed_in("profile"),
        Access::signed_in("profile_update"),
        Access::signed_in("profile_request_email_change").fresh(),
        Access::anyone("profile_confirm_email_change"),
        Access::anyone("profile_undo_email_change"),
        Access::signed_in("profile_delete").fresh(),
        Access::signed_in("profile_cancel_deletion"),
        Access::signed_in("account_activity"),
        Access::signed_in("credentials"),
        Access::anyone("login_methods"),
        Access::anyone("login_challenge"),
        Access::signed_in("credential_start_link").fresh(),
        Access::signed_in("credential_confirm_link").fresh(),
        Access::signed_in("credential_unlink").fresh(),
        Access::signed_in("credential_set_password").fresh(),
        Access::signed_in("credential_remove_password").fresh(),
        Access::signed_in("credential_start_totp").fresh(),
        Access::signed_in("credential_confirm_totp").fresh(),
        Access::signed_in("credential_remove_totp").fresh(),
        Access::signed_in("credential_new_recovery_codes").fresh(),
        Access::signed_in("credential_start_passkey").fresh(),
        Access::signed_in("credential_add_passkey").fresh(),
        Access::signed_in("credential_rename_passkey"),
        Access::signed_in("credential_remove_passkey").fresh(),
        Access::platform("platform_accounts"),
        Access::platform("platform_disable_account"),
        Access::platform("platform_enable_account"),
        Access::platform("platform_end_sessions"),
        Access::platform("platform_remove_second_factor").fresh(),
        Access::platform("platform_remove_passkeys").fresh(),
    ];
    const INTERNAL: &'static [&'static str] = &[
        "grant_platform_admin",
        "revoke_platform_admin",
        "complete_email_change",
        "close",
        "stop_deletion",
    ];
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
    /// Open an account without a password for a person whom a provider has identified, and whose
    /// address is proved. An account whose owner never proved the address is replaced.
    OpenByIdentity {
        email: EmailAddress,
        firstname: PersonName,
        lastname: PersonName,
        identity: ProvedIdentity,
    },
    /// Log in by this identity from now on. The gateway has checked that it belongs to the owner.
    LinkIdentity {
        identity: ProvedIdentity,
        /// The account's epoch when the gateway checked the session; `None` from a gateway of an
        /// earlier release.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<i64>,
    },
    /// Log in by this identity no more.
    UnlinkIdentity { identity: IdentityId },
    /// Set a password in an account that has none.
    SetPassword { password_hash: PasswordHash },
    /// Log in by a password no more.
    RemovePassword,
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
    /// Replace the hash of the same password by one with present parameters. The gateway has
    /// checked the password.
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
    /// Add a passkey. The gateway has checked the answer of the browser.
    AddPasskey { name: Name, passkey: NewPasskey },
    /// Note a use of a passkey. The gateway has checked the signature. A counter that does not rise
    /// suspends the passkey, unless it was used after it was asked for: then two answers may have
    /// come in the other order.
    NotePasskeyUse {
        passkey: PasskeyId,
        counter: u32,
        is_backed_up: bool,
        /// When the passkey was asked for; `None` from a gateway of an earlier release.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked_at: Option<Time>,
    },
    /// Change the name of a passkey.
    RenamePasskey { passkey: PasskeyId, name: Name },
    /// Remove a passkey.
    RemovePasskey { passkey: PasskeyId },
    /// Remove all passkeys, for a person who has lost them.
    RemovePasskeys,
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
    /// Ask the owners of both addresses whether the account gets the new one. Replaces an earlier
    /// request.
    RequestEmailChange {
        to: EmailAddress,
        /// Whether another account has the address. Its owner is told and gets no code.
        is_held: bool,
        /// When silence of the present address suffices. Absent if it must confirm.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        silent_until: Option<Time>,
    },
    /// Note that the owner has the new address. The gateway has checked the mailed code.
    ProveNewEmail { challenge: ChallengeId },
    /// Confirm the change for the present address. The gateway has checked the link.
    ConfirmEmailChange { challenge: ChallengeId },
    /// Refuse the change for the present address. The gateway has checked the link.
    RefuseEmailChange { challenge: ChallengeId },
    /// Change the address, since the present one was silent for long enough.
    CompleteEmailChange { challenge: ChallengeId },
    /// Restore the address that the account had before this change, and end all that the owner of
    /// the later address could have done. The gateway has checked the link.
    UndoEmailChange { challenge: ChallengeId },
    /// Delete the account at this time, or as soon as no change of its address can be undone.
    RequestDeletion { at: Time },
    /// Keep the account.
    CancelDeletion,
    /// Keep the account although its owner wants it deleted: it is the only owner of a tenant.
    StopDeletion,
    /// Delete the account, whose time has come.
    Close,
    /// Delete an account of an earlier release whose owner has never proved the address. The
    /// gateway has checked that somebody else has it.
    CloseUnproved,
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
    /// The account was opened without a password. A provider or a code by mail has proved that the
    /// address belongs to its owner.
    Opened {
        email: EmailAddress,
        firstname: PersonName,
        lastname: PersonName,
    },
    /// An identity was linked.
    IdentityLinked {
        identity: IdentityId,
        provider: ProviderName,
        email: EmailAddress,
    },
    /// An identity was unlinked.
    IdentityUnlinked {
        identity: IdentityId,
        provider: ProviderName,
        email: EmailAddress,
    },
    /// The account got a password. No session ends.
    PasswordSet {
        password_hash: PasswordHash,
        email: EmailAddress,
    },
    /// The password was removed. No session ends.
    PasswordRemoved { email: EmailAddress },
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
    /// A passkey was added.
    PasskeyAdded {
        name: Name,
        passkey: NewPasskey,
        email: EmailAddress,
    },
    /// A passkey was used.
    PasskeyUsed {
        passkey: PasskeyId,
        counter: u32,
        is_backed_up: bool,
    },
    /// A passkey has got another name.
    PasskeyRenamed { passkey: PasskeyId, name: Name },
    /// A passkey was suspended: it was used, and its counter did not rise. Somebody may have copied
    /// it.
    PasskeySuspended {
        passkey: PasskeyId,
        name: Name,
        email: EmailAddress,
    },
    /// A passkey was removed.
    PasskeyRemoved {
        passkey: PasskeyId,
        name: Name,
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
    /// A change of the address was requested. It replaces the one before.
    EmailChangeRequested {
        challenge: ChallengeId,
        /// The present address.
        email: EmailAddress,
        to: EmailAddress,
        /// Whether another account had the new address.
        is_held: bool,
        /// When silence of the present address suffices.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        silent_until: Option<Time>,
    },
    /// The owner has proved that the new address is theirs. The present one has not confirmed yet.
    NewEmailProved { challenge: ChallengeId },
    /// The present address has confirmed the change. The new one is not proved yet.
    EmailChangeConfirmed { challenge: ChallengeId },
    /// The address stays as it is: it has refused the change, or another account has got the new
    /// one meanwhile.
    EmailChangeEnded {
        challenge: ChallengeId,
        /// The present address.
        email: EmailAddress,
    },
    /// The address was changed.
    EmailChanged {
        challenge: ChallengeId,
        from: EmailAddress,
        to: EmailAddress,
    },
    /// The owner of a former address has restored it. Further events of the same commit end what
    /// the owner of the later address could have done.
    EmailRestored {
        /// The change that was undone.
        challenge: ChallengeId,
        from: EmailAddress,
        to: EmailAddress,
    },
    /// The owner wants the account deleted at this time.
    DeletionRequested {
        at: Time,
        email: EmailAddress,
        /// Former addresses whose owners may still get the account back.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        former: Vec<FormerAddress>,
    },
    /// The owner keeps the account.
    DeletionCancelled { email: EmailAddress },
    /// The account is kept: it is the only owner of a tenant.
    DeletionStopped { email: EmailAddress },
    /// The account was deleted.
    Closed {
        /// The address to tell. Absent if nobody has proved it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        email: Option<EmailAddress>,
    },
}

#[cfg(test)]
mod tests;
