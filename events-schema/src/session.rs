//! Sessions: where people are signed in. Belongs to the platform. A session's id is the head of its
//! token's hash, so that the token itself is stored nowhere.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Access, AccountId, AreaName, Commit, Device, Home, Index, Name, Permission, Proof, ProofKind,
    TenantKey, Time, area::FOR_INVESTIGATIONS, id::typed_id, published::Private, support,
};

typed_id! {
    /// Identifies a session: the first half of the SHA-256 of its token.
    SessionId
}

/// A session expires after this long without use.
pub const IDLE: Duration = Duration::from_secs(12 * 60 * 60);
/// A session expires this long after its start, however much it is used.
pub const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A gateway records a session's use at most this often, so that reading costs no write. The
/// recorded time of the last use may lag by as much.
pub const USE_RECORDED_EVERY: Duration = Duration::from_secs(10 * 60);

/// The area of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::Session;
    const ACCESS: &'static [Access] = &[Access::signed_in("read")];
    const FEED: Option<Permission> = None;
    const RETENTION: Option<Duration> = Some(FOR_INVESTIGATIONS);
    type Id = SessionId;
    type Command = Command;
    type Event = Event;
    type Public = Private<View>;
}

/// A request to change a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Start a session. The gateway has checked the proofs.
    Start {
        account: AccountId,
        /// The account's epoch when the proofs were checked.
        epoch: i64,
        device: Device,
        /// What the person has proved; `None` from a gateway of an earlier release, which has
        /// checked the password.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proofs: Option<Vec<Proof>>,
        /// The name that the person has given to the session that this one replaces.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
    },
    /// Start a session in which an administrator of the platform acts as the person. It proves
    /// nothing. A variant of its own: a worker of an earlier release would ignore a new field, and
    /// start a session of the person.
    Impersonate {
        account: AccountId,
        /// The epoch of the person's account.
        epoch: i64,
        device: Device,
        impersonator: Impersonator,
    },
    /// Name the session, so that the person knows it again.
    Rename {
        /// The account that the session must belong to.
        account: AccountId,
        name: Name,
    },
    /// Record that the session is in use. Gateways of earlier releases send it; now uses are in a
    /// bucket.
    Touch,
    /// Revoke the session.
    End {
        /// The account that the session must belong to.
        account: AccountId,
    },
}

/// A change to a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// The session was started.
    Started {
        account: AccountId,
        epoch: i64,
        device: Device,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proofs: Option<Vec<Proof>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
    },
    /// An administrator of the platform began to act as the person.
    Impersonated {
        account: AccountId,
        epoch: i64,
        device: Device,
        impersonator: Impersonator,
    },
    /// The session was named.
    Renamed { name: Name },
    /// The session was used. Only earlier releases have recorded it here.
    Used,
    /// The session was revoked.
    Ended,
}

/// Who acts as a person, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Impersonator {
    /// The account of an administrator of the platform.
    pub account: AccountId,
    /// The epoch of that account, with which the session ends.
    pub epoch: i64,
    /// The tenant that has let them in. The session is valid in no other.
    pub tenant: TenantKey,
}

/// Returns what stands for an epoch of a person's account in the sessions in which somebody acts as
/// them. No account has such an epoch. So gateways of earlier releases, which do not know
/// impersonators, refuse these sessions.
pub const fn epoch_of_impersonator(epoch: i64) -> i64 {
    -1 - epoch
}

/// The view of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    pub account: AccountId,
    /// The account's epoch when the session was started; [`epoch_of_impersonator`] if somebody acts as
    /// the person.
    pub epoch: i64,
    pub device: Device,
    pub started_at: Time,
    /// The last use that is in the log: the start, unless an earlier release has recorded a later
    /// one.
    pub last_used_at: Time,
    /// What the person has proved; `None` for a session of an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proofs: Option<Vec<Proof>>,
    /// How the person calls the session; `None` until they name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Who acts as the person in the session; `None` if they do so themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impersonator: Option<Impersonator>,
}

impl View {
    /// Returns what the person has proved. A session of an earlier release began with a password.
    pub fn proofs(&self) -> Cow<'_, [Proof]> {
        match &self.proofs {
            Some(proofs) => Cow::Borrowed(proofs),
            None => Cow::Owned(vec![Proof::new(ProofKind::Password, self.started_at)]),
        }
    }

    /// Whether the session is younger than [`LIFETIME`] at `now` and of the account's current
    /// `epoch`. The gateway checks [`IDLE`], since it knows the last use. One in which somebody acts
    /// as the person lives for [`support::IMPERSONATION`] only.
    pub fn is_valid(&self, now: Time, epoch: i64) -> bool {
        let (epoch, lifetime) = match self.impersonator {
            Some(_) => (epoch_of_impersonator(epoch), support::IMPERSONATION),
            None => (epoch, LIFETIME),
        };
        self.epoch == epoch && now.since(self.started_at) < lifetime
    }
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "session";
    const HOME: Home = Home::Platform;
    const INDEXES: &'static [Index] = &[Index::on(&["account", "epoch", "started_at"])];

    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        let at = commit.time;
        commit.events.iter().fold(view, |view, event| match event {
            Event::Started {
                account,
                epoch,
                device,
                proofs,
                name,
            } => Some(Self {
                account: *account,
                epoch: *epoch,
                device: device.clone(),
                started_at: at,
                last_used_at: at,
                proofs: proofs.clone(),
                name: name.clone(),
                impersonator: None,
            }),
            Event::Impersonated {
                account,
                epoch,
                device,
                impersonator,
            } => Some(Self {
                account: *account,
                epoch: epoch_of_impersonator(*epoch),
                device: device.clone(),
                started_at: at,
                last_used_at: at,
                proofs: Some(Vec::new()),
                name: None,
                impersonator: Some(*impersonator),
            }),
            Event::Renamed { name } => view.map(|view| Self {
                name: Some(name.clone()),
                ..view
            }),
            Event::Used => view.map(|view| Self {
                last_used_at: at,
                ..view
            }),
            Event::Ended => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Id, view::testing::fold};

    const HOUR: i64 = 60 * 60 * 1000;
    const ADA: AccountId = AccountId(Id::from_bytes([1; 16]));

    fn session() -> View {
        View {
            account: ADA,
            epoch: 3,
            device: Device::from_user_agent("curl"),
            started_at: Time(0),
            last_used_at: Time(0),
            proofs: None,
            name: None,
            impersonator: None,
        }
    }
    /// Somebody acts as Ada in her third epoch.
    fn impersonated() -> View {
        let impersonated = Event::Impersonated {
            account: ADA,
            epoch: 3,
            device: Device::from_user_agent("curl"),
            impersonator: Impersonator {
                account: AccountId(Id::from_bytes([2; 16])),
                epoch: 1,
                tenant: TenantKey(Id::from_bytes([4; 16])),
            },
        };
        fold([(0, impersonated)]).unwrap()
    }

    #[test]
    fn a_session_expires_after_30_days() {
        let end = 30 * 24 * HOUR;
        assert!(session().is_valid(Time(end - 1), 3));
        assert!(!session().is_valid(Time(end), 3));
    }

    #[test]
    fn a_session_in_which_somebody_acts_as_the_person_proves_nothing_and_lasts_30_minutes() {
        let session = impersonated();
        assert_eq!(session.proofs().into_owned(), []);
        assert!(session.is_valid(Time(HOUR / 2 - 1), 3));
        assert!(!session.is_valid(Time(HOUR / 2), 3));
        assert!(!session.is_valid(Time(0), 4));
    }

    #[test]
    fn a_gateway_of_an_earlier_release_refuses_a_session_in_which_somebody_acts_as_the_person() {
        /// What that release reads and compares.
        #[derive(Deserialize)]
        struct Earlier {
            epoch: i64,
        }
        let in_epoch = |view: &View, epoch| {
            let stored = serde_json::to_value(view).unwrap();
            serde_json::from_value::<Earlier>(stored).unwrap().epoch == epoch
        };
        assert!(in_epoch(&session(), 3));
        for epoch in 0..10 {
            assert!(!in_epoch(&impersonated(), epoch));
        }
    }

    #[test]
    fn a_session_of_another_epoch_is_not_valid() {
        assert!(!session().is_valid(Time(0), 4));
    }

    #[test]
    fn a_session_shows_its_last_use_until_it_is_revoked() {
        let started = Event::Started {
            account: ADA,
            epoch: 2,
            device: Device::from_user_agent("curl"),
            proofs: None,
            name: None,
        };
        let shown: View = fold([(10, started.clone()), (20, Event::Used)]).unwrap();
        assert_eq!(shown.epoch, 2);
        assert_eq!((shown.started_at, shown.last_used_at), (Time(10), Time(20)));
        let name = Name::parse("Phone").unwrap();
        let renamed = [(10, started.clone()), (20, Event::Renamed { name })];
        let shown: View = fold(renamed).unwrap();
        assert_eq!(shown.name.unwrap().as_str(), "Phone");
        let revoked = [(10, started), (20, Event::Ended), (30, Event::Used)];
        assert_eq!(fold::<View>(revoked), None);
    }

    #[test]
    fn a_session_of_an_earlier_release_began_with_a_password() {
        let started = |proofs| Event::Started {
            account: ADA,
            epoch: 2,
            device: Device::from_user_agent("curl"),
            proofs,
            name: None,
        };
        let proofs = |event| fold::<View>([(10, event)]).unwrap().proofs().into_owned();
        let password = Proof::new(ProofKind::Password, Time(10));
        assert_eq!(proofs(started(None)), [password]);
        assert_eq!(proofs(started(Some(Vec::new()))), []);
        let totp = Proof::new(ProofKind::Totp, Time(9));
        assert_eq!(proofs(started(Some(vec![totp.clone()]))), [totp]);
    }
}
