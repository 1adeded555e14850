//! The message that webhooks send: a CloudEvents 1.0 event in structured mode, which also has the
//! shape that Standard Webhooks recommends.

use std::ops::Not;

use serde::Serialize;
use serde_json::Value;

use super::{DateTime, EnumName, PublicEvent};
use crate::{Actor, AreaName, Id};

/// The most bytes of a body, as Standard Webhooks advises: 20 KiB. A larger one does not show its
/// object.
pub const MAX_BODY: usize = 20 * 1024;

/// How much a message tells about its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Its name only.
    Thin,
    /// The object after the change; `None` if it was deleted.
    Full(Option<&'a Value>),
    /// Its name only, although the receiver wants the object, which is too large.
    Truncated,
}

/// A webhook's message.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Body<'a, T> {
    /// The version of CloudEvents.
    specversion: &'static str,
    /// Identifies the message. Retries and replays have the same id, so use it to skip repetitions.
    id: &'a str,
    /// The tenant that the event belongs to: a URL that ends with its id.
    source: &'a str,
    /// The type of the event.
    #[serde(rename = "type")]
    event_type: &'static str,
    /// Id of the changed object.
    subject: Id,
    /// When the change was made.
    time: DateTime,
    /// The same as `time`.
    timestamp: DateTime,
    /// Orders the messages about one object: the revision, with zeros before it to 20 digits. A
    /// text that is greater belongs to a later change.
    sequence: String,
    /// True if nothing has changed: somebody tries the endpoint. Absent otherwise.
    #[serde(skip_serializing_if = "Not::not")]
    test: bool,
    /// What has changed.
    data: Data<'a, T>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Data<'a, T> {
    /// The area of the object, as in the API.
    area: EnumName<AreaName>,
    /// Id of the changed object.
    id: Id,
    /// Counts the changes of the object; for roles, the changes of all roles of the tenant.
    revision: u64,
    /// Who made the change.
    actor: PublicActor,
    /// The object after the change; null if it was deleted. Absent from messages that only name
    /// their object.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Option<&'a T>>,
    /// True if the object was left out: the message would be larger than 20 KiB, or the object has
    /// too many changes, or one that is damaged.
    #[serde(skip_serializing_if = "Not::not")]
    truncated: bool,
}

/// Who made a change.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PublicActor {
    /// The kind of caller.
    kind: ActorKind,
    /// Id of the person's account, of the access token or of the service. Null for the system.
    id: Option<Id>,
    /// Id of the account of the administrator who acts as the person. Absent for other callers.
    #[serde(rename = "impersonatedBy", skip_serializing_if = "Option::is_none")]
    impersonated_by: Option<Id>,
}

#[derive(Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum ActorKind {
    /// A person with a session.
    Person,
    /// A machine with an access token.
    AccessToken,
    /// A service with one of its access tokens.
    Service,
    /// An administrator of the platform, who acts as a person.
    Impersonator,
    /// The system, in consequence of another change.
    System,
}

impl From<Actor> for PublicActor {
    fn from(actor: Actor) -> Self {
        let (kind, id) = match actor {
            Actor::Account(account) => (ActorKind::Person, Some(account.0)),
            Actor::AccessToken(token) => (ActorKind::AccessToken, Some(token.0)),
            Actor::Service { service, .. } => (ActorKind::Service, Some(service.0)),
            Actor::Impersonated { account, .. } => (ActorKind::Impersonator, Some(account.0)),
            Actor::System | Actor::Anonymous => (ActorKind::System, None),
        };
        let impersonated_by = match actor {
            Actor::Impersonated { by, .. } => Some(by.0),
            Actor::Account(_)
            | Actor::AccessToken(_)
            | Actor::Service { .. }
            | Actor::System
            | Actor::Anonymous => None,
        };
        Self {
            kind,
            id,
            impersonated_by,
        }
    }
}

impl PublicEvent {
    /// Returns the message, without the object if it would be larger than [`MAX_BODY`] with it.
    /// `source` is [`source`](super::source). The same arguments give the same bytes.
    ///
    /// # Errors
    /// If the message cannot be serialized.
    pub fn body(&self, source: &str, content: Content<'_>) -> Result<Vec<u8>, serde_json::Error> {
        let object = match content {
            Content::Thin => None,
            Content::Full(object) => Some(object),
            Content::Truncated => {
                return serde_json::to_vec(&self.message(source, None, true));
            }
        };
        let body = serde_json::to_vec(&self.message(source, object, false))?;
        if object.is_some() && body.len() > MAX_BODY {
            return serde_json::to_vec(&self.message(source, None, true));
        }
        Ok(body)
    }

    fn message<'a>(
        &'a self,
        source: &'a str,
        object: Option<Option<&'a Value>>,
        truncated: bool,
    ) -> Body<'a, Value> {
        Body {
            specversion: "1.0",
            id: &self.id,
            source,
            event_type: self.event_type.as_str(),
            subject: self.object,
            time: DateTime(self.time),
            timestamp: DateTime(self.time),
            sequence: format!("{:020}", self.revision),
            test: self.is_test,
            data: Data {
                area: EnumName(self.area),
                id: self.object,
                revision: self.revision,
                actor: self.actor.into(),
                object,
                truncated,
            },
        }
    }
}
