//! Events that show attacks and changes of credentials. They have fixed names, in the log under the
//! target `security` and in the metric `ub.security.events`. The owner of the account, or the
//! administrators of the tenant, can read those that concern them. docs/security.md explains them.

mod bounds;
mod event;

use std::sync::LazyLock;

use event_store::telemetry::{self, KeyValue};
use events_schema::{
    Access, AccountId, Actor, AreaName, Origin, SecurityEntry, TenantKey,
    subject::{security_of_others, security_of_owner, security_of_tenant},
};

pub(crate) use self::event::SecurityEvent;
use self::{bounds::Bounds, event::Readers};
use crate::{
    backend::security_log::SecurityLog,
    clock::now,
    identity::{Caller, network::Network},
};

static EVENTS: LazyLock<telemetry::Counter<u64>> = LazyLock::new(|| {
    let description = "Events that show attacks and changes of credentials.";
    telemetry::counter("ub.security.events", description)
});

/// Records security events: for the operator all of them, for others those that they may read.
#[derive(Clone, Debug)]
pub(crate) struct SecurityEvents {
    log: SecurityLog,
    bounds: Bounds,
}

/// Whom an event concerns, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
struct Concerned {
    account: Option<AccountId>,
    tenant: Option<TenantKey>,
}

impl SecurityEvents {
    /// Keeps events for their readers in this log.
    pub(crate) fn new(log: SecurityLog) -> Self {
        Self {
            log,
            bounds: Bounds::new(),
        }
    }

    /// Records an event of this caller, and about an account if it is known.
    pub(crate) fn record(&self, event: SecurityEvent, caller: &Caller, about: Option<AccountId>) {
        let concerned = Concerned {
            account: about,
            tenant: named_tenant(caller),
        };
        tell_operator(event, &caller.origin, concerned);
        self.keep(event, caller.actor(), &caller.origin, concerned);
    }

    /// Records an event of a client that is not identified, and about an account if it is known.
    pub(crate) fn record_origin(
        &self,
        event: SecurityEvent,
        origin: &Origin,
        about: Option<AccountId>,
    ) {
        let concerned = Concerned {
            account: about,
            tenant: None,
        };
        tell_operator(event, origin, concerned);
        self.keep(event, Actor::Anonymous, origin, concerned);
    }

    /// Records that the caller may not use an operation, or not read a field. `tenant` is the one
    /// that has refused it, if it is the one that the request names.
    pub(crate) fn record_refusal(
        &self,
        area: AreaName,
        access: &'static Access,
        caller: &Caller,
        tenant: Option<TenantKey>,
    ) {
        let event = SecurityEvent::AccessRefused(area, access);
        let account = caller.identity.as_ref();
        let account = account.map(|identity| identity.account_id());
        let named = Concerned {
            account,
            tenant: named_tenant(caller),
        };
        tell_operator(event, &caller.origin, named);
        let refused_by = Concerned { account, tenant };
        self.keep(event, caller.actor(), &caller.origin, refused_by);
    }

    /// Keeps an event for those who may read it, unless there are too many.
    fn keep(&self, event: SecurityEvent, actor: Actor, origin: &Origin, concerned: Concerned) {
        let Some(subject) = self.subject(event.readers(), origin, concerned) else {
            return;
        };
        let entry = SecurityEntry {
            time: now(),
            event: event.name().to_owned(),
            actor,
            origin: origin.clone(),
            operation: event.operation(),
            permission: event.permission().map(|permission| permission.to_string()),
        };
        self.log.add(subject, &entry);
    }

    /// Returns the subject of an event; `None` if nobody may read it, or if there are too many.
    fn subject(&self, readers: Readers, origin: &Origin, concerned: Concerned) -> Option<String> {
        let Concerned { account, tenant } = concerned;
        let bounds = &self.bounds;
        match readers {
            Readers::Operator => None,
            Readers::OwnerWhoDidIt => {
                let account = account.filter(|account| bounds.admit_of_owner(*account))?;
                Some(security_of_owner(account))
            }
            Readers::Owner => {
                let network = Network::of(origin);
                let account =
                    account.filter(|account| bounds.admit_of_others(network, *account))?;
                Some(security_of_others(account))
            }
            Readers::Administrators => {
                let (tenant, member) = (tenant?, account?);
                let is_admitted = bounds.admit_of_member(tenant, member);
                is_admitted.then(|| security_of_tenant(tenant))
            }
        }
    }
}

fn named_tenant(caller: &Caller) -> Option<TenantKey> {
    let membership = caller.membership.as_ref().ok();
    membership.map(|membership| membership.tenant.id)
}

fn tell_operator(event: SecurityEvent, origin: &Origin, concerned: Concerned) {
    let (name, operation) = (event.name(), event.operation());
    EVENTS.add(1, &[KeyValue::new("event", name)]);
    let account = concerned.account.map(|account| account.to_string());
    let tenant = concerned.tenant.map(|tenant| tenant.to_string());
    let address = origin.address.as_ref().map(|address| address.as_str());
    tracing::info!(target: "security", event = name, operation, account, tenant, address);
}
