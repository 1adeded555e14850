//! An inbound source and its hooks as clients see them.

use async_graphql::{Enum, ID, Object, SimpleObject};
use events_schema::inbound_source::{Encoding, HeaderName, HmacScheme, Provider, Verdict};

use crate::{
    backend::inbox::KeptHook,
    graphql::scalars::{DateTime, to_id},
    use_cases::inbound_source::{Kind, StoredSource},
};

/// Who sends the hooks of an inbound source. The kind decides how they are verified and what
/// follows from them.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "Kind")]
pub(super) enum InboundKind {
    /// A service that signs as Standard Webhooks define it. Nothing follows from its hooks yet.
    StandardWebhooks,
    /// Stripe. Nothing follows from its hooks yet.
    Stripe,
    /// A service that signs with HMAC and SHA-256 in a way of its own. Nothing follows from its
    /// hooks yet.
    Hmac,
    /// GitHub. Issues become tasks of a project, which follow the titles and states of the issues.
    Github,
}

/// How a signature is written.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "Encoding")]
pub(super) enum InboundEncoding {
    /// Hexadecimal.
    Hex,
    /// Base64 with padding.
    Base64,
}

pub(super) struct InboundSource(pub(super) StoredSource);

/// Another service that sends hooks to the tenant. Its secret is never shown.
#[Object]
impl InboundSource {
    /// Id of the source: 32 lower-case hex digits.
    async fn id(&self) -> ID {
        to_id(self.0.id)
    }

    /// Name of the source, 1 to 100 characters.
    async fn name(&self) -> &str {
        self.0.source.name.as_str()
    }

    /// Who sends the hooks.
    async fn kind(&self) -> InboundKind {
        Kind::of(&self.0.source.provider).into()
    }

    /// The URL to which the provider sends hooks. Nobody can guess it.
    async fn address(&self) -> &str {
        &self.0.address
    }

    /// Id of the project whose tasks follow the issues. Null unless the kind is `GITHUB`.
    async fn project(&self) -> Option<ID> {
        match &self.0.source.provider {
            Provider::Github { project } => Some(to_id(project)),
            Provider::StandardWebhooks | Provider::Stripe | Provider::Hmac(_) => None,
        }
    }

    /// The header with the signature. Null unless the kind is `HMAC`.
    async fn signature_header(&self) -> Option<&str> {
        Some(self.scheme()?.signature_header.as_str())
    }

    /// How the signature is written. Null unless the kind is `HMAC`.
    async fn encoding(&self) -> Option<InboundEncoding> {
        Some(self.scheme()?.encoding.into())
    }

    /// The header with the time in Unix seconds. Null if there is none.
    async fn timestamp_header(&self) -> Option<&str> {
        self.scheme()?
            .timestamp_header
            .as_ref()
            .map(HeaderName::as_str)
    }

    /// The header with the id of the hook. Null if there is none.
    async fn id_header(&self) -> Option<&str> {
        self.scheme()?.id_header.as_ref().map(HeaderName::as_str)
    }

    /// When the former secret ends or has ended. Null if the secret was never replaced.
    async fn former_secret_expires_at(&self) -> Option<DateTime> {
        let former = self.0.source.former.as_ref();
        former.map(|former| DateTime(former.expires_at))
    }

    /// When the source was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.source.created_at)
    }

    /// When the source was last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.source.updated_at)
    }
}

impl InboundSource {
    const fn scheme(&self) -> Option<&HmacScheme> {
        match &self.0.source.provider {
            Provider::Hmac(scheme) => Some(scheme),
            Provider::StandardWebhooks | Provider::Stripe | Provider::Github { .. } => None,
        }
    }
}

/// What became of a hook.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
enum InboundHookStatus {
    /// It waits to be handled.
    Pending,
    /// What follows from it was done.
    Handled,
    /// Nothing follows from it. `reason` says why.
    Ignored,
    /// It cannot be read, or what follows from it was refused. `reason` says why.
    Failed,
}

/// A hook that another service has sent.
#[derive(SimpleObject)]
pub(super) struct InboundHook {
    /// Id of the hook: 32 lower-case hex digits.
    id: ID,
    /// The provider's own id of the hook.
    key: String,
    /// The type of the event, such as `issues`. Null if no header names it.
    event: Option<String>,
    /// When the hook was received.
    received_at: DateTime,
    /// What became of it, the last time that it was handled.
    status: InboundHookStatus,
    /// Why it was ignored or has failed.
    reason: Option<String>,
    /// When it was last handled. Null if it was not handled yet.
    handled_at: Option<DateTime>,
}

impl InboundHook {
    pub(super) fn of(hook: KeptHook) -> Self {
        let status = match hook.handling.as_ref().map(|handling| handling.verdict) {
            None => InboundHookStatus::Pending,
            Some(Verdict::Handled) => InboundHookStatus::Handled,
            Some(Verdict::Ignored) => InboundHookStatus::Ignored,
            Some(Verdict::Failed) => InboundHookStatus::Failed,
        };
        let handled_at = hook.handling.as_ref().map(|handling| DateTime(handling.at));
        Self {
            id: to_id(hook.id),
            key: hook.receipt.key,
            event: hook.receipt.event,
            received_at: DateTime(hook.receipt.received_at),
            status,
            reason: hook.handling.and_then(|handling| handling.reason),
            handled_at,
        }
    }
}
