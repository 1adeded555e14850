//! Sessions: start, use and revocation. `events_schema::session` has the rule for when a session
//! expires, since the gateway checks it at each request.

use events_schema::{
    AccountId, Name, Reject, RejectionKind, Time,
    session::{Area, Command, Event, USE_RECORDED_EVERY},
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

/// One session.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Session {
    /// Not started yet.
    #[default]
    Absent,
    /// Started and not revoked. It may have expired; readers check that by the clock.
    Live {
        /// Whose session it is.
        account: AccountId,
        /// The last use that was recorded.
        last_used_at: Time,
        name: Option<Name>,
    },
    /// Revoked for ever.
    Revoked {
        /// Whose session it was.
        account: AccountId,
    },
}

/// Why a command to a session is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The session does not exist, is revoked or belongs to another account. The sender must not
    /// learn which.
    #[error("There is no such session.")]
    NotFound,
    /// The id is in use.
    #[error("This session has already started.")]
    AlreadyExists,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::AlreadyExists => RejectionKind::Conflict,
        }
    }
}

impl Aggregate for Session {
    type Area = Area;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        let events = match command {
            Command::Start {
                account,
                epoch,
                device,
                proofs,
                name,
            } => {
                self.must_be_absent()?;
                vec![Event::Started {
                    account: *account,
                    epoch: *epoch,
                    device: device.clone(),
                    proofs: proofs.clone(),
                    name: name.clone(),
                }]
            }
            Command::Impersonate {
                account,
                epoch,
                device,
                impersonator,
            } => {
                self.must_be_absent()?;
                vec![Event::Impersonated {
                    account: *account,
                    epoch: *epoch,
                    device: device.clone(),
                    impersonator: *impersonator,
                }]
            }
            Command::Rename { account, name } => self.rename(*account, name)?,
            Command::Touch => self.touch(facts.now)?,
            Command::End { account } => self.revoke(*account)?,
        };
        Ok(Decision::events(events))
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        match (&mut *self, event) {
            (_, Event::Started { account, name, .. }) => {
                *self = Self::Live {
                    account: *account,
                    last_used_at: at,
                    name: name.clone(),
                };
            }
            (_, Event::Impersonated { account, .. }) => {
                *self = Self::Live {
                    account: *account,
                    last_used_at: at,
                    name: None,
                };
            }
            (Self::Live { name, .. }, Event::Renamed { name: new }) => *name = Some(new.clone()),
            (Self::Live { last_used_at, .. }, Event::Used) => *last_used_at = at,
            (Self::Live { account, .. }, Event::Ended) => {
                *self = Self::Revoked { account: *account };
            }
            (
                Self::Absent | Self::Revoked { .. },
                Event::Renamed { .. } | Event::Used | Event::Ended,
            ) => {}
        }
    }
}

impl Session {
    fn must_be_absent(&self) -> Result<(), Rejection> {
        match self {
            Self::Absent => Ok(()),
            Self::Live { .. } | Self::Revoked { .. } => Err(Rejection::AlreadyExists),
        }
    }

    fn touch(&self, now: Time) -> Result<Vec<Event>, Rejection> {
        match self {
            Self::Live { last_used_at, .. } if now.since(*last_used_at) < USE_RECORDED_EVERY => {
                Ok(Vec::new())
            }
            Self::Live { .. } => Ok(vec![Event::Used]),
            Self::Absent | Self::Revoked { .. } => Err(Rejection::NotFound),
        }
    }

    fn rename(&self, by: AccountId, new: &Name) -> Result<Vec<Event>, Rejection> {
        match self {
            Self::Live { account, name, .. } if *account == by => {
                let is_new = name.as_ref() != Some(new);
                let renamed = || Event::Renamed { name: new.clone() };
                Ok(is_new.then(renamed).into_iter().collect())
            }
            Self::Absent | Self::Live { .. } | Self::Revoked { .. } => Err(Rejection::NotFound),
        }
    }

    fn revoke(&self, by: AccountId) -> Result<Vec<Event>, Rejection> {
        match self {
            Self::Live { account, .. } if *account == by => Ok(vec![Event::Ended]),
            Self::Revoked { account } if *account == by => Ok(Vec::new()),
            Self::Absent | Self::Live { .. } | Self::Revoked { .. } => Err(Rejection::NotFound),
        }
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{Device, Id, Proof, ProofKind, TenantKey, session::Impersonator};

    use super::*;
    use crate::domain::testing::{Given, given};

    const ADA: AccountId = AccountId(Id::from_bytes([1; 16]));
    const EVE: AccountId = AccountId(Id::from_bytes([2; 16]));
    const TEN_MINUTES: i64 = 10 * 60 * 1000;

    fn start() -> Command {
        Command::Start {
            account: ADA,
            epoch: 0,
            device: Device::from_user_agent("curl"),
            proofs: Some(proofs()),
            name: None,
        }
    }
    fn started() -> Event {
        Event::Started {
            account: ADA,
            epoch: 0,
            device: Device::from_user_agent("curl"),
            proofs: Some(proofs()),
            name: None,
        }
    }
    fn proofs() -> Vec<Proof> {
        vec![Proof::new(ProofKind::Password, Time(1))]
    }
    fn end_by(account: AccountId) -> Command {
        Command::End { account }
    }
    fn impersonator() -> Impersonator {
        Impersonator {
            account: EVE,
            epoch: 1,
            tenant: TenantKey(Id::from_bytes([3; 16])),
        }
    }
    fn impersonate() -> Command {
        Command::Impersonate {
            account: ADA,
            epoch: 0,
            device: Device::from_user_agent("curl"),
            impersonator: impersonator(),
        }
    }
    fn impersonated() -> Event {
        Event::Impersonated {
            account: ADA,
            epoch: 0,
            device: Device::from_user_agent("curl"),
            impersonator: impersonator(),
        }
    }
    fn absent() -> Given<Session> {
        given([])
    }
    fn live() -> Given<Session> {
        given([started()])
    }
    fn revoked() -> Given<Session> {
        given([started(), Event::Ended])
    }

    #[test]
    fn a_session_starts() {
        absent().when(start()).then([started()]);
    }

    #[test]
    fn a_session_starts_only_once() {
        for session in [live(), revoked()] {
            session.when(start()).rejects(Rejection::AlreadyExists);
            let when = session.when(impersonate());
            when.rejects(Rejection::AlreadyExists);
        }
    }

    #[test]
    fn a_session_in_which_somebody_acts_as_the_person_is_the_persons() {
        absent().when(impersonate()).then([impersonated()]);
        let live = absent().and([impersonated()]);
        live.when(end_by(ADA)).then([Event::Ended]);
        live.when(end_by(EVE)).rejects(Rejection::NotFound);
    }

    #[test]
    fn a_person_names_their_session() {
        let name = |text| Name::parse(text).unwrap();
        let rename = |account, text| Command::Rename {
            account,
            name: name(text),
        };
        let renamed = |text| Event::Renamed { name: name(text) };
        live().when(rename(ADA, "Phone")).then([renamed("Phone")]);
        let phone = live().and([renamed("Phone")]);
        phone.when(rename(ADA, "Phone")).changes_nothing();
        phone.when(rename(ADA, "Work")).then([renamed("Work")]);
        live()
            .when(rename(EVE, "Mine"))
            .rejects(Rejection::NotFound);
        for session in [absent(), revoked()] {
            let when = session.when(rename(ADA, "Phone"));
            when.rejects(Rejection::NotFound);
        }
    }

    #[test]
    fn a_use_is_recorded_at_most_every_ten_minutes() {
        let touch = |now| live().when(Command::Touch).at(now);
        touch(TEN_MINUTES - 1).changes_nothing();
        touch(TEN_MINUTES).then([Event::Used]);
        let used = live().and_at(TEN_MINUTES, Event::Used);
        let next = |now| used.when(Command::Touch).at(now);
        next(2 * TEN_MINUTES - 1).changes_nothing();
        next(2 * TEN_MINUTES).then([Event::Used]);
    }

    #[test]
    fn only_a_live_session_is_used() {
        for session in [absent(), revoked()] {
            let when = session.when(Command::Touch).at(TEN_MINUTES);
            when.rejects(Rejection::NotFound);
        }
    }

    #[test]
    fn an_account_revokes_its_own_session() {
        live().when(end_by(ADA)).then([Event::Ended]);
    }

    #[test]
    fn revoking_a_session_again_changes_nothing() {
        revoked().when(end_by(ADA)).changes_nothing();
    }

    #[test]
    fn nobody_revokes_the_session_of_another_account() {
        for session in [absent(), live(), revoked()] {
            session.when(end_by(EVE)).rejects(Rejection::NotFound);
        }
    }

    #[test]
    fn a_session_that_did_not_start_is_neither_used_nor_named_nor_revoked() {
        let name = Name::parse("Phone").unwrap();
        absent()
            .and([Event::Used, Event::Renamed { name }, Event::Ended])
            .is(&Session::Absent);
    }
}
