//! A hook as it is stored, and what became of it. Gateways store hooks, and workers handle them.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::InboundSourceId;
use crate::{Invalid, TenantKey, Time, id::typed_id, secret::derived_id};

typed_id! {
    /// Identifies a hook: derived from the source and from the provider's own id of the hook. So a
    /// hook that is sent again has the same one.
    HookId
}

impl HookId {
    /// Returns the id of the hook that the provider calls `key`.
    pub fn of(source: InboundSourceId, key: &str) -> Self {
        Self(derived_id(&[
            b"inbound-hook",
            source.0.bytes(),
            key.as_bytes(),
        ]))
    }
}

/// A hook whose sender was verified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Hook {
    pub tenant: TenantKey,
    pub source: InboundSourceId,
    /// The provider's own id of the hook.
    pub key: String,
    /// The type of the event, if a header names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    pub received_at: Time,
    /// The body in Base64.
    body: String,
}

impl Hook {
    /// Makes a hook with this body.
    pub fn new(
        (tenant, source): (TenantKey, InboundSourceId),
        receipt: Receipt,
        body: &[u8],
    ) -> Self {
        Self {
            tenant,
            source,
            key: receipt.key,
            event: receipt.event,
            received_at: receipt.received_at,
            body: BASE64.encode(body),
        }
    }

    /// Returns the id of the hook.
    pub fn id(&self) -> HookId {
        HookId::of(self.source, &self.key)
    }

    /// Returns the body, byte for byte.
    ///
    /// # Errors
    /// If it is not stored as Base64.
    pub fn body(&self) -> Result<Vec<u8>, Invalid> {
        let body = BASE64.decode(self.body.as_bytes());
        body.map_err(|_| Invalid("must be Base64"))
    }
}

/// Records that a hook was received. It is stored together with the hook, and only if it is the
/// first with its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Receipt {
    /// The provider's own id of the hook.
    pub key: String,
    /// The type of the event, if a header names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    pub received_at: Time,
}

/// What became of a hook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Handling {
    pub at: Time,
    pub verdict: Verdict,
    /// Why it was ignored or has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How the handling of a hook ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Verdict {
    /// Its commands were decided.
    Handled,
    /// Nothing follows from it.
    Ignored,
    /// It cannot be read, or a command was rejected.
    Failed,
}
