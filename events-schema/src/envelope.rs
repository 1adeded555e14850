//! The envelopes that commands, commits, outcomes and views travel in. JSON, `snake_case`.

use serde::{Deserialize, Serialize};

use crate::{
    AccessTokenId, AccountId, Address, Area, AreaName, CommandId, Device, Id, Permissions,
    Rejection, ServiceId, Subject, TenantId, Time, View,
};

/// The message header that carries the W3C trace context, from the request to the last effect.
pub const TRACEPARENT: &str = "traceparent";

/// Who sends a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Actor {
    /// A client without a session.
    Anonymous,
    /// A person with a session.
    Account(AccountId),
    /// A machine with an access token.
    AccessToken(AccessTokenId),
    /// A worker, as the consequence of a commit.
    System,
    /// A service with one of its access tokens.
    Service {
        service: ServiceId,
        token: AccessTokenId,
    },
    /// An administrator of the platform, who acts as a person.
    Impersonated { account: AccountId, by: AccountId },
}

impl Actor {
    /// Returns the person who acts, or as whom somebody acts; `None` for machines, strangers and
    /// the system.
    pub const fn person(self) -> Option<AccountId> {
        match self {
            Self::Account(account) | Self::Impersonated { account, .. } => Some(account),
            Self::Anonymous | Self::AccessToken(_) | Self::System | Self::Service { .. } => None,
        }
    }
}

/// Where a request came from. A tenant's commits keep it for the tenant's audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Origin {
    /// The client's network address, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// The client's description of itself.
    pub device: Device,
}

/// A request to change one aggregate of area `A`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound(serialize = "", deserialize = ""))]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(
    test,
    schemars(bound = "A::Id: schemars::JsonSchema, A::Command: schemars::JsonSchema")
)]
pub struct Command<A: Area> {
    /// Identifies the command. A repeated command is answered from the history.
    pub id: CommandId,
    /// The tenant whose data the command would change.
    pub tenant: TenantId,
    /// Always `A::NAME`.
    #[cfg_attr(test, schemars(schema_with = "crate::golden::area_schema::<A>"))]
    pub area: AreaName,
    /// The aggregate to change.
    pub aggregate: A::Id,
    /// Who sends the command.
    pub actor: Actor,
    /// The permissions that the actor holds in the tenant. The domain grants nothing beyond them.
    #[serde(default, skip_serializing_if = "Permissions::is_empty")]
    pub held: Permissions,
    /// When the command was sent, by the sender's clock. Decisions use no other time.
    pub time: Time,
    /// The revision that the sender has seen. At any other revision the command is rejected with
    /// the code `revision_conflict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    /// How many live aggregates the area may have in the tenant, or how many objects if all of them
    /// are one aggregate. A command that would make one more is rejected with the code
    /// `limit_reached`. No limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Where the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The subject to send the outcome to, if the sender awaits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// The requested change.
    pub payload: A::Command,
}

impl<A: Area> Command<A> {
    /// Returns a command that a worker sends as the consequence of something else. It holds no
    /// permissions and awaits no outcome.
    pub fn by_system(
        id: CommandId,
        tenant: TenantId,
        aggregate: A::Id,
        time: Time,
        payload: A::Command,
    ) -> Self {
        Self {
            id,
            tenant,
            area: A::NAME,
            aggregate,
            actor: Actor::System,
            held: Permissions::new(),
            time,
            expected: None,
            limit: None,
            origin: None,
            reply: None,
            payload,
        }
    }

    /// Returns the subject to publish the command on.
    ///
    /// # Errors
    /// If the payload cannot be serialized.
    pub fn subject(&self) -> Result<Subject, serde_json::Error> {
        let verb = variant_name(&self.payload)?;
        Ok(Subject::Command {
            tenant: self.tenant,
            area: self.area,
            internal: A::INTERNAL.contains(&verb.as_str()),
            verb,
        })
    }
}

/// Returns the name of a payload's variant: the value of its `type` field.
///
/// # Errors
/// If the payload cannot be serialized.
pub fn variant_name(payload: &impl Serialize) -> Result<String, serde_json::Error> {
    let value = serde_json::to_value(payload)?;
    let name = value.get("type").and_then(|name| name.as_str());
    Ok(name.unwrap_or_default().to_owned())
}

/// The events of one decision of area `A`, stored as one message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound(serialize = "", deserialize = ""))]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(
    test,
    schemars(bound = "A::Id: schemars::JsonSchema, A::Event: schemars::JsonSchema")
)]
pub struct Commit<A: Area> {
    /// The tenant whose data has changed.
    pub tenant: TenantId,
    /// Always `A::NAME`.
    #[cfg_attr(test, schemars(schema_with = "crate::golden::area_schema::<A>"))]
    pub area: AreaName,
    /// The changed aggregate.
    pub id: A::Id,
    /// Counts the aggregate's commits: 1, 2, 3 … without a gap.
    pub revision: u64,
    /// The command that was decided.
    pub command: CommandId,
    /// Who sent the command.
    pub actor: Actor,
    /// The command's time.
    pub time: Time,
    /// Where the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The changes; never empty.
    pub events: Vec<A::Event>,
}

impl<A: Area> Commit<A> {
    /// Returns the subject that holds the aggregate's commits.
    pub fn subject(&self) -> Subject {
        Subject::Event {
            tenant: self.tenant,
            area: self.area,
            id: self.id.into(),
        }
    }
}

/// A commit for readers that need not know every area, such as the feed. The names of areas and
/// events are plain text, so that an older reader can read the commits of a newer writer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CommitSummary {
    /// The tenant whose data has changed.
    pub tenant: TenantId,
    /// The area's name.
    pub area: String,
    /// The changed aggregate.
    pub id: Id,
    /// Counts the aggregate's commits.
    pub revision: u64,
    /// The command that was decided.
    pub command: CommandId,
    /// Who sent the command.
    pub actor: Actor,
    /// The command's time.
    pub time: Time,
    /// Where the request came from.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// The names of the events.
    pub events: Vec<EventName>,
}

/// The name of an event.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct EventName {
    /// The variant's name in snake case.
    #[serde(rename = "type")]
    pub name: String,
    /// When the aggregate ends by itself unless another commit follows, if the event says so.
    #[serde(default)]
    pub lapses_at: Option<Time>,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Outcome {
    /// The command was decided now, and its commit is stored.
    Committed {
        /// The revision that the aggregate reached.
        revision: u64,
        /// The commit's sequence in EVENTS.
        sequence: u64,
    },
    /// The command was decided before. Nothing was done this time.
    DoneBefore {
        /// The revision that the command led to.
        revision: u64,
        /// The commit's sequence in EVENTS.
        sequence: u64,
    },
    /// There was nothing to change.
    Unchanged {
        /// The aggregate's revision; 0 if it does not exist.
        revision: u64,
    },
    /// The domain refused the command.
    Rejected(Rejection),
}

impl Outcome {
    /// Returns the revision that a view must reach to show the outcome.
    ///
    /// # Errors
    /// If the command was rejected.
    pub fn revision(&self) -> Result<u64, &Rejection> {
        match self {
            Self::Committed { revision, .. }
            | Self::DoneBefore { revision, .. }
            | Self::Unchanged { revision } => Ok(*revision),
            Self::Rejected(rejection) => Err(rejection),
        }
    }
}

/// A view as it is stored. `view` is null for a tombstone, which keeps a replay from restoring a
/// deleted object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound(serialize = "", deserialize = ""))]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(
    test,
    schemars(bound = "V: schemars::JsonSchema, <V::Area as Area>::Id: schemars::JsonSchema")
)]
pub struct Document<V: View> {
    /// The aggregate.
    #[serde(rename = "_id")]
    pub id: <V::Area as Area>::Id,
    /// The tenant that the document belongs to.
    pub tenant: TenantId,
    /// The revision of the last commit in the document.
    pub revision: i64,
    /// The sequence of that commit in the log; 0 if an earlier release wrote the document.
    #[serde(default)]
    pub sequence: i64,
    /// The fields; null where there is nothing to show.
    pub view: Option<V>,
}
