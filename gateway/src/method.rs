//! The ways in which a person proves who they are.

use events_schema::{Proof, account, proof};

/// A way to prove who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Password,
    EmailCode,
    Passkey,
    Totp,
    RecoveryCode,
}

/// The ways to prove a second factor.
pub(crate) const SECOND: &[Method] = &[Method::Totp, Method::RecoveryCode];

impl Method {
    /// Returns the name that clients know.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Password => "Password",
            Self::EmailCode => "EmailCode",
            Self::Passkey => "Passkey",
            Self::Totp => "Totp",
            Self::RecoveryCode => "RecoveryCode",
        }
    }

    /// Returns the ways that make a session of this account fresh, in which these proofs count. A
    /// second factor needs a first one beside it.
    pub(crate) fn of_step_up(account: &account::View, proofs: &[Proof]) -> &'static [Self] {
        let has_password = account.password_hash.is_some();
        match (account.has_passkey(), account.second_factor.is_some()) {
            (has_passkey, true) if !proof::has_first(proofs) => both(has_passkey, has_password),
            (true, true) => &[Self::Passkey, Self::Totp, Self::RecoveryCode],
            (true, false) => &[Self::Passkey],
            (false, true) => SECOND,
            (false, false) if has_password => &[Self::Password, Self::EmailCode],
            (false, false) => &[Self::EmailCode],
        }
    }
}

/// Returns the ways to prove a first and a second factor.
const fn both(has_passkey: bool, has_password: bool) -> &'static [Method] {
    use Method::{EmailCode, Passkey, Password, RecoveryCode, Totp};
    match (has_passkey, has_password) {
        (true, true) => &[Passkey, Totp, RecoveryCode, Password, EmailCode],
        (true, false) => &[Passkey, Totp, RecoveryCode, EmailCode],
        (false, true) => &[Totp, RecoveryCode, Password, EmailCode],
        (false, false) => &[Totp, RecoveryCode, EmailCode],
    }
}
