//! Events that an operator watches to notice attacks. They have fixed names, in the log under the
//! target `security` and in the metric `ub.security.events`. docs/security.md explains them.

use std::sync::LazyLock;

use event_store::telemetry::{self, KeyValue};
use events_schema::{AccountId, AreaName, Origin};

use crate::identity::Caller;

static EVENTS: LazyLock<telemetry::Counter<u64>> = LazyLock::new(|| {
    telemetry::counter("ub.security.events", "Events that may belong to an attack.")
});

/// What happened. No variant contains a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecurityEvent {
    /// The password was wrong, or the account does not accept logins.
    LoginFailed,
    /// A login was refused without a check, since too many have failed.
    LoginLimited,
    /// The code of a registration was wrong or no longer valid.
    CodeWrong,
    /// Somebody asked for a link to set a new password.
    ResetRequested,
    /// Somebody tried to register with the address of an account.
    RegistrationRefused,
    /// The caller lacks a permission.
    AccessRefused(AreaName, &'static str),
    /// An access token is malformed, unknown, expired or revoked, or not valid in the network of the client.
    TokenRefused,
    /// A client without an account has too many operations.
    StrangerLimited,
}

impl SecurityEvent {
    const fn name(self) -> &'static str {
        match self {
            Self::LoginFailed => "login_failed",
            Self::LoginLimited => "login_limited",
            Self::CodeWrong => "code_wrong",
            Self::ResetRequested => "reset_requested",
            Self::RegistrationRefused => "registration_refused",
            Self::AccessRefused(..) => "access_refused",
            Self::TokenRefused => "token_refused",
            Self::StrangerLimited => "stranger_limited",
        }
    }

    fn operation(self) -> Option<String> {
        match self {
            Self::AccessRefused(area, verb) => Some(format!("{area}.{verb}")),
            Self::LoginFailed
            | Self::LoginLimited
            | Self::CodeWrong
            | Self::ResetRequested
            | Self::RegistrationRefused
            | Self::TokenRefused
            | Self::StrangerLimited => None,
        }
    }

    /// Records the event about a caller, and about an account if it is known.
    pub(crate) fn record(self, caller: &Caller, about: Option<AccountId>) {
        // A login at an unknown address is not about the account of the session beside it.
        let is_own = matches!(self, Self::AccessRefused(..));
        let identity = caller.identity.as_ref().filter(|_| is_own);
        let own = identity.map(|identity| identity.account_id());
        let tenant = caller.membership.as_ref().ok();
        let tenant = tenant.map(|membership| membership.tenant.id.to_string());
        self.write(&caller.origin, about.or(own), tenant);
    }

    /// Records the event about a client that is not identified.
    pub(crate) fn record_origin(self, origin: &Origin) {
        self.write(origin, None, None);
    }

    fn write(self, origin: &Origin, account: Option<AccountId>, tenant: Option<String>) {
        let event = self.name();
        EVENTS.add(1, &[KeyValue::new("event", event)]);
        let account = account.map(|account| account.to_string());
        let address = origin.address.as_ref().map(|address| address.as_str());
        let operation = self.operation();
        tracing::info!(target: "security", event, operation, account, tenant, address);
    }
}
