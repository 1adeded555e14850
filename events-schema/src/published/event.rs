//! One event as webhooks send it.

use serde_json::Value;

use super::{EventType, Folded, Unreadable, read};
use crate::{Actor, AreaName, Id, Subject, TenantId, TenantKey, Time, secret::derived_id};

/// An event of a tenant that webhooks send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicEvent {
    /// Identifies the message: the same for each retry, replay and endpoint.
    pub id: String,
    /// What happened.
    pub event_type: EventType,
    /// The tenant whose data has changed.
    pub tenant: TenantKey,
    /// The area of the object.
    pub area: AreaName,
    /// The aggregate that the object belongs to: the object itself, but for roles.
    pub aggregate: Id,
    /// The changed object.
    pub object: Id,
    /// The revision of the aggregate after the change.
    pub revision: u64,
    /// Counts the events of the commit from 0, unsent ones included.
    pub position: u64,
    /// Who made the change.
    pub actor: Actor,
    /// When the change was made.
    pub time: Time,
    /// Whether it has not happened: somebody tries an endpoint.
    pub is_test: bool,
}

impl PublicEvent {
    /// Returns the id of the message for an event.
    pub(super) fn id_of(subject: &Subject, revision: u64, position: u64) -> String {
        let id = derived_id(&[
            b"public event",
            subject.to_string().as_bytes(),
            &revision.to_be_bytes(),
            &position.to_be_bytes(),
        ]);
        format!("msg_{id}")
    }

    /// Returns an event of this type to try an endpoint, with the object of the catalogue's
    /// example. The id must be unique. `None` until the catalogue is generated.
    pub fn example(
        event_type: EventType,
        tenant: TenantKey,
        id: Id,
        time: Time,
    ) -> Option<(Self, Value)> {
        let areas = AreaName::ALL.iter().copied();
        let mut areas = areas.filter(|area| area.event_types().contains(&event_type));
        let body = &event_type.catalogue_entry()?.example;
        let data = &body["data"];
        let object = Id::parse(data["id"].as_str()?).ok()?;
        let event = Self {
            id: format!("msg_{id}"),
            event_type,
            tenant,
            area: areas.next()?,
            aggregate: object,
            object,
            revision: data["revision"].as_u64()?,
            position: 0,
            actor: Actor::System,
            time,
            is_test: true,
        };
        Some((event, data["object"].clone()))
    }

    /// Returns the subject that holds the commits of the object.
    pub const fn subject(&self) -> Subject {
        Subject::Event {
            tenant: TenantId::Tenant(self.tenant),
            area: self.area,
            id: self.aggregate,
        }
    }

    /// Folds further commits on [`Self::subject`], in order from the first one. Later ones than that
    /// of the event are not read, so the object is always the same.
    ///
    /// # Errors
    /// If a commit is not readable or of another object.
    pub fn fold<P: AsRef<[u8]>>(
        &self,
        folded: Folded,
        payloads: impl IntoIterator<Item = P>,
    ) -> Result<Folded, Unreadable> {
        read::fold(self, folded, payloads)
    }

    /// Returns the object as it was after the change; `None` if it was deleted by then.
    ///
    /// # Errors
    /// If the commit of the event is missing.
    pub fn object(&self, folded: Folded) -> Result<Option<Value>, Unreadable> {
        read::object(self, folded)
    }
}

/// Returns the source of a tenant's events: the tenant below the public URL of the API.
pub fn source(public_url: &str, tenant: TenantKey) -> String {
    let url = public_url.trim_end_matches('/');
    format!("{url}/tenants/{tenant}")
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// Returns the object of an event after these commits.
    pub(in crate::published) fn object_of<P: AsRef<[u8]>>(
        event: &PublicEvent,
        commits: impl IntoIterator<Item = P>,
    ) -> Result<Option<Value>, Unreadable> {
        // In two parts, as workers read them.
        let mut commits = commits.into_iter();
        let folded = event.fold(Folded::default(), commits.by_ref().take(1))?;
        event.object(event.fold(folded, commits)?)
    }
}
