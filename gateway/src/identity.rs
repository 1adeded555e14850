//! Who sends a request, and for which tenant.

pub(crate) mod admission;
pub(crate) mod bearer;
pub(crate) mod caller;
pub(crate) mod code_throttle;
pub mod compromised;
pub(crate) mod cookie;
pub(crate) mod find;
pub(crate) mod identities;
pub(crate) mod impersonation;
mod last_uses;
pub mod limits;
pub(crate) mod login_throttle;
pub(crate) mod mail_quota;
pub(crate) mod network;
pub(crate) mod passwords;
pub(crate) mod providers;
pub(crate) mod tenancy;
mod uses;
pub(crate) mod webauthn;

pub(crate) use caller::{Caller, Membership};
pub(crate) use find::{Callers, RequestHead};
pub(crate) use identities::{Identity, Person};
pub(crate) use uses::Uses;
