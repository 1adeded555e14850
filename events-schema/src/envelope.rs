//! The envelopes that commands, commits, outcomes and views travel in. JSON, `snake_case`.

use serde::{Deserialize, Serialize};

use crate::{
    AccessTokenId, AccountId, Address, Area, CommandId, Device, Id, Subject, TenantId, Time,
};

/// The message header that carries the W3C trace context, from the request to the last effect.
pub const TRACEPARENT: &str = "traceparent";

/// Who wants something, or did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Actor {
    /// Somebody who is not logged in.
    Anonymous,
    /// A person who is.
    Account(AccountId),
    /// A machine, by its key.
    AccessToken(AccessTokenId),
    /// A worker, in consequence of something else.
    System,
}

/// Where a request came from: kept with what it led to in a tenant, for that tenant's audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Origin {
    /// The network address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// What the client said that it is.
    pub device: Device,
}

/// A wish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Command<C> {
    /// Names this command; said again, it is answered and not done again.
    pub id: CommandId,
    /// Whose data it would change.
    pub tenant: TenantId,
    /// Who decides it.
    pub area: Area,
    /// The aggregate it is for.
    pub aggregate: Id,
    /// Who wants it.
    pub actor: Actor,
    /// When it was said, by the sayer's clock; decisions know no other time.
    pub time: Time,
    /// The revision that the sayer has seen: at any other, the command is rejected as
    /// `revision_conflict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    /// Where it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Where the outcome is awaited, if anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// What is wanted.
    pub payload: C,
}

impl<C: Serialize> Command<C> {
    /// The subject to say it on.
    pub fn subject(&self) -> Result<Subject, serde_json::Error> {
        Ok(Subject::Command {
            tenant: self.tenant,
            area: self.area,
            verb: verb(&self.payload)?,
        })
    }
}

/// The name of a payload's variant, as it stands in its `type` field: the enum is the only list of
/// names.
pub fn verb<C: Serialize>(payload: &C) -> Result<String, serde_json::Error> {
    let value = serde_json::to_value(payload)?;
    Ok(value
        .get("type")
        .and_then(|name| name.as_str())
        .unwrap_or_default()
        .to_owned())
}

/// The events of one decision: all of them are there, or none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Commit<E> {
    /// Whose data changed.
    pub tenant: TenantId,
    /// Which area decided.
    pub area: Area,
    /// The aggregate.
    pub id: Id,
    /// 1, 2, 3 … per aggregate, without a gap.
    pub revision: u64,
    /// The command that was decided.
    pub command: CommandId,
    /// Who wanted it.
    pub actor: Actor,
    /// The command's time.
    pub time: Time,
    /// Where the command was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// What happened; never empty.
    pub events: Vec<E>,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Outcome {
    /// Decided now, and stored.
    Committed {
        /// The revision that the aggregate reached.
        revision: u64,
        /// The commit's sequence in EVENTS.
        sequence: u64,
    },
    /// This command was decided earlier; nothing was done again.
    DoneBefore {
        /// The revision that it led to then.
        revision: u64,
        /// The commit's sequence in EVENTS.
        sequence: u64,
    },
    /// There was nothing to change.
    Unchanged {
        /// The revision of the aggregate; 0 if it does not exist.
        revision: u64,
    },
    /// The domain said no.
    Rejected(Rejected),
}

impl Outcome {
    /// The revision that a view must have reached to show this, unless the command was rejected.
    pub fn revision(&self) -> Result<u64, &Rejected> {
        match self {
            Self::Committed { revision, .. }
            | Self::DoneBefore { revision, .. }
            | Self::Unchanged { revision } => Ok(*revision),
            Self::Rejected(rejected) => Err(rejected),
        }
    }
}

/// Why a command was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rejected {
    /// The rejection's name, such as `challenge_ended`.
    pub code: String,
    /// A sentence that a user may read.
    pub message: String,
}

/// A view as it is stored: a tombstone once `view` is null, so that a replay cannot raise what was
/// deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Document<V> {
    /// The aggregate.
    #[serde(rename = "_id")]
    pub id: Id,
    /// Whose data it is.
    pub tenant: TenantId,
    /// The last commit that is folded in.
    pub revision: i64,
    /// The fields; null where there is nothing to show.
    pub view: Option<V>,
}
