//! The ways in which a person proves who they are.

use events_schema::proof::TWO_FACTORS;

/// A way to prove who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Password,
    EmailCode,
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
            Self::Totp => "Totp",
            Self::RecoveryCode => "RecoveryCode",
        }
    }

    /// Returns the ways that make a session fresh, in an account that can reach this level.
    pub(crate) const fn of_step_up(best_aal: u8) -> &'static [Self] {
        if best_aal < TWO_FACTORS {
            &[Self::Password, Self::EmailCode]
        } else {
            SECOND
        }
    }
}
