//! What clients choose for an inbound source.

use async_graphql::{ID, InputObject};
use events_schema::{
    InboundSourceId, Name,
    inbound_source::{HeaderName, Provider},
};

use super::object::{InboundEncoding, InboundKind};
use crate::{
    error::Error,
    graphql::scalars::{id_of, optional},
    use_cases::inbound_source::ProviderSettings,
};

/// The data of a new inbound source.
#[derive(InputObject)]
pub(super) struct CreateInboundSourceInput {
    /// Name of the source, 1 to 100 characters.
    pub(super) name: String,
    /// Who sends the hooks. It cannot be changed later.
    kind: InboundKind,
    /// Id of the project whose tasks follow the issues. Needed for `GITHUB`. `NOT_FOUND` if the
    /// tenant has no such project.
    project: Option<ID>,
    /// The header with the signature, such as `x-signature`. Needed for `HMAC`.
    signature_header: Option<String>,
    /// How the signature is written. `HEX` by default, for `HMAC` only.
    encoding: Option<InboundEncoding>,
    /// The header with the time in Unix seconds, for `HMAC` only. With it, the provider signs the
    /// time, a dot and the body, and older hooks than five minutes are refused. None by default:
    /// then it signs the body.
    timestamp_header: Option<String>,
    /// The header with the id of the hook, for `HMAC` only. None by default: then two hooks with
    /// the same body are the same.
    id_header: Option<String>,
    /// The secret that the provider has made or accepts, 16 to 256 printable ASCII characters
    /// without spaces; for `STANDARD_WEBHOOKS`, `whsec_` or `whpk_` and Base64. A random one by
    /// default.
    #[graphql(secret)]
    secret: Option<String>,
}

impl CreateInboundSourceInput {
    /// Parses the provider and the secret.
    ///
    /// # Errors
    /// `BadUserInput` if a setting is invalid, missing, or not one of the kind.
    pub(super) fn parse(self) -> Result<(Provider, Option<String>), Error> {
        let settings = ProviderSettings {
            project: self.project.map(|id| id_of(&id)).transpose()?,
            signature_header: header("signatureHeader", self.signature_header)?,
            encoding: self.encoding.map(Into::into),
            timestamp_header: header("timestampHeader", self.timestamp_header)?,
            id_header: header("idHeader", self.id_header)?,
        };
        Ok((settings.provider(self.kind.into())?, self.secret))
    }
}

/// The change of an inbound source. An absent field keeps its value.
#[derive(InputObject)]
pub(super) struct UpdateInboundSourceInput {
    /// Id of the source.
    id: ID,
    /// New name, 1 to 100 characters.
    name: Option<String>,
    /// Id of the project whose tasks follow the issues, for `GITHUB` only. Tasks that exist stay in
    /// their project.
    project: Option<ID>,
    /// The header with the signature, for `HMAC` only.
    signature_header: Option<String>,
    /// How the signature is written, for `HMAC` only.
    encoding: Option<InboundEncoding>,
    /// The header with the time in Unix seconds, for `HMAC` only.
    timestamp_header: Option<String>,
    /// The header with the id of the hook, for `HMAC` only.
    id_header: Option<String>,
}

impl UpdateInboundSourceInput {
    /// Parses the change.
    ///
    /// # Errors
    /// `BadUserInput` if a setting is invalid; `NotFound` if an id is malformed.
    pub(super) fn parse(self) -> Result<(InboundSourceId, Option<Name>, ProviderSettings), Error> {
        let settings = ProviderSettings {
            project: self.project.map(|id| id_of(&id)).transpose()?,
            signature_header: header("signatureHeader", self.signature_header)?,
            encoding: self.encoding.map(Into::into),
            timestamp_header: header("timestampHeader", self.timestamp_header)?,
            id_header: header("idHeader", self.id_header)?,
        };
        let name = optional("name", self.name, Name::parse)?;
        Ok((id_of(&self.id)?, name, settings))
    }
}

/// The replacement of an inbound source's secret.
#[derive(InputObject)]
pub(super) struct RotateInboundSourceSecretInput {
    /// Id of the source.
    pub(super) id: ID,
    /// The secret that the provider has made or accepts. A random one by default.
    #[graphql(secret)]
    pub(super) secret: Option<String>,
    /// How long the former secret stays valid, in hours: 0 to 168. 24 by default.
    pub(super) overlap_hours: Option<i64>,
}

fn header(field: &'static str, name: Option<String>) -> Result<Option<HeaderName>, Error> {
    optional(field, name, HeaderName::parse)
}
