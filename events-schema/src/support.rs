//! Support: a tenant lets administrators of the platform act as its people, for some hours. The
//! tenant sees who has acted as whom, when and why.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Access, AccountId, AreaName, BuiltInRole, Commit, EmailAddress, Home, Index, Name, Permission,
    Permissions, Reason, SessionId, TenantKey, Time, published::Private,
};

/// The longest time for which a tenant may grant access: long enough for a weekend.
pub const LONGEST_GRANT: Duration = Duration::from_secs(72 * 60 * 60);
/// An administrator acts as a person for at most this long at a time.
pub const IMPERSONATION: Duration = Duration::from_secs(30 * 60);
/// A view shows at most this many impersonations, the latest ones. The audit log has all of them.
pub const SHOWN: usize = 50;

/// The permission to see who has acted as whom.
pub const READ: Permission = Permission::new("read_support", BuiltInRole::Admin);
/// The permission to grant access to administrators of the platform, and to revoke it.
pub const GRANT: Permission = Permission::new("grant_support", BuiltInRole::Admin);

/// The area of support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::Support;
    const ACCESS: &'static [Access] = &[
        Access::permission("read", READ),
        // An administrator who acts as a person must not prolong their own access.
        Access::permission("grant", GRANT).fresh(),
        Access::permission("revoke", GRANT),
        Access::platform("platform_impersonate").fresh(),
    ];
    const INTERNAL: &'static [&'static str] = &["expire"];
    const FEED: Option<Permission> = Some(READ);
    type Id = TenantKey;
    type Command = Command;
    type Event = Event;
    type Public = Private<View>;
}

/// A request to change who may act as a person of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Let administrators of the platform act as people of the tenant until this time.
    Grant { until: Time },
    /// Let nobody do so any more. Those who do so now are stopped.
    Revoke,
    /// Begin to act as a person. The gateway has checked that the sender is an administrator of the
    /// platform, and that the person is a member of the tenant.
    Begin {
        /// The session that is about to start.
        session: SessionId,
        /// The person.
        account: AccountId,
        /// The person's address, which gets a mail.
        email: EmailAddress,
        /// The tenant's name in the mail.
        tenant_name: Name,
        reason: Reason,
        /// What the person holds in the tenant. Gateways of earlier releases do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        person_holds: Option<Permissions>,
    },
    /// Stop to act as a person.
    End { session: SessionId },
    /// Record that the time of a session has passed.
    Expire { session: SessionId },
}

/// A change to who may act as a person of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// Administrators of the platform may act as people of the tenant until this time.
    Granted {
        until: Time,
        /// Who has granted it. Earlier releases did not record it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Grantor>,
    },
    /// Nobody may do so any more.
    Revoked,
    /// An administrator began to act as a person.
    Begun {
        session: SessionId,
        /// The person.
        account: AccountId,
        /// The person's address, which gets a mail.
        email: EmailAddress,
        /// The administrator.
        administrator: AccountId,
        /// The tenant's name in the mail.
        tenant_name: Name,
        reason: Reason,
        /// When it ends at the latest.
        ends_at: Time,
    },
    /// An administrator no longer acts as a person.
    Ended { session: SessionId },
}

/// Who has granted access, for people who hold no more than they did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Grantor {
    pub account: AccountId,
    /// What they held in the tenant.
    pub held: Permissions,
}

/// An administrator of the platform who acts as a person, or has done so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Impersonation {
    pub session: SessionId,
    /// The person.
    pub account: AccountId,
    pub administrator: AccountId,
    pub reason: Reason,
    pub began_at: Time,
    /// When it ends at the latest.
    pub ends_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
}

/// The view of a tenant's support.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    /// Until when administrators of the platform may act as people of the tenant. `None` if the
    /// tenant has never granted it, or has revoked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_until: Option<Time>,
    /// The latest impersonations, in the order in which they began.
    pub impersonations: Vec<Impersonation>,
}

impl View {
    /// Whether an administrator may act as a person in this session at `now`.
    pub fn allows(&self, session: SessionId, now: Time) -> bool {
        let mut all = self.impersonations.iter();
        all.any(|one| one.session == session && one.ended_at.is_none() && now < one.ends_at)
    }
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "support";
    const HOME: Home = Home::Tenant;
    const INDEXES: &'static [Index] = &[];

    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        let mut view = view.unwrap_or_default();
        for event in &commit.events {
            step(&mut view, event, commit.time);
        }
        Some(view)
    }
}

fn step(view: &mut View, event: &Event, at: Time) {
    match event {
        Event::Granted { until, by: _ } => view.granted_until = Some(*until),
        Event::Revoked => view.granted_until = None,
        Event::Begun {
            session,
            account,
            administrator,
            reason,
            ends_at,
            email: _,
            tenant_name: _,
        } => {
            view.impersonations.push(Impersonation {
                session: *session,
                account: *account,
                administrator: *administrator,
                reason: reason.clone(),
                began_at: at,
                ends_at: *ends_at,
                ended_at: None,
            });
            // One that is not shown any more is not valid any more, so forgetting is safe.
            let forgotten = view.impersonations.len().saturating_sub(SHOWN);
            view.impersonations.drain(..forgotten);
        }
        Event::Ended { session } => {
            let mut all = view.impersonations.iter_mut();
            if let Some(ended) = all.find(|one| one.session == *session) {
                ended.ended_at = Some(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Id, view::testing::fold};

    fn session(number: u8) -> SessionId {
        SessionId(Id::from_bytes([number; 16]))
    }
    fn begun(number: u8) -> (i64, Event) {
        let event = Event::Begun {
            session: session(number),
            account: AccountId(Id::from_bytes([1; 16])),
            email: EmailAddress::parse("ada@example.com").unwrap(),
            administrator: AccountId(Id::from_bytes([2; 16])),
            tenant_name: Name::parse("Acme").unwrap(),
            reason: Reason::parse("Ticket 7").unwrap(),
            ends_at: Time(50),
        };
        (10, event)
    }
    fn ended(number: u8) -> (i64, Event) {
        let session = session(number);
        (20, Event::Ended { session })
    }

    #[test]
    fn an_administrator_acts_as_a_person_until_the_end() {
        let shown: View = fold([begun(7), begun(8), ended(8)]).unwrap();
        assert!(shown.allows(session(7), Time(49)));
        assert!(!shown.allows(session(7), Time(50)));
        assert!(!shown.allows(session(8), Time(20)), "it was ended");
        assert!(!shown.allows(session(9), Time(20)), "it never began");
        assert_eq!(shown.impersonations[1].ended_at, Some(Time(20)));
    }

    #[test]
    fn a_grant_is_shown_until_it_is_revoked() {
        let granted = Event::Granted {
            until: Time(99),
            by: None,
        };
        let granted = (5, granted);
        let shown: View = fold([granted.clone()]).unwrap();
        assert_eq!(shown.granted_until, Some(Time(99)));
        let shown: View = fold([granted, (6, Event::Revoked)]).unwrap();
        assert_eq!(shown.granted_until, None);
    }

    #[test]
    fn the_latest_impersonations_are_shown() {
        let shown: View = fold((0..60).map(begun)).unwrap();
        assert_eq!(shown.impersonations.len(), SHOWN);
        assert!(!shown.allows(session(9), Time(20)));
        assert!(shown.allows(session(10), Time(20)));
    }
}
