//! Who makes a request, and in which tenant.

pub(crate) mod bearer;
pub(crate) mod caller;
pub(crate) mod cookie;
pub(crate) mod login_throttle;
pub(crate) mod passwords;
pub(crate) mod tenancy;
pub(crate) mod token_uses;
