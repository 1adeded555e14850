//! The ways in which a person proves who they are.

use events_schema::account;

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

    /// Returns the ways that make a session of this account fresh.
    pub(crate) fn of_step_up(account: &account::View) -> &'static [Self] {
        match (account.has_passkey(), account.second_factor.is_some()) {
            (true, true) => &[Self::Passkey, Self::Totp, Self::RecoveryCode],
            (true, false) => &[Self::Passkey],
            (false, true) => SECOND,
            (false, false) if account.password_hash.is_none() => &[Self::EmailCode],
            (false, false) => &[Self::Password, Self::EmailCode],
        }
    }
}
