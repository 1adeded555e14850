//! Security events that people read: the owner of an account, or the administrators of a tenant.

use serde::{Deserialize, Serialize};

use crate::{Actor, Origin, Time};

/// A security event, as the stream SECURITY keeps it. No field may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SecurityEntry {
    /// When it happened, by the clock of the gateway.
    pub time: Time,
    /// What happened, such as `login_failed`. It is plain text, as are the names below, so that a
    /// gateway can show the events of a newer one.
    pub event: String,
    /// Who did it.
    pub actor: Actor,
    /// Where the request came from.
    pub origin: Origin,
    /// The operation or field that was refused, such as `project.create`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The permission that the operation or field needs, if it needs a certain one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
}
