//! What a webhook gets, and how.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    Description,
    outbound::WebhookUrl,
    published::{EventFilter, EventType},
    sealed::Sealed,
};

/// A webhook has at most this many filters for types of events.
pub const MAX_EVENT_FILTERS: usize = 100;
/// A webhook sends at most this many headers of its own, its authentication included.
pub const MAX_HEADERS: usize = 20;
/// The most requests to a webhook at once.
pub const MAX_CONCURRENCY: u32 = 32;
/// The highest rate limit, in requests a second.
pub const MAX_RATE: u32 = 1_000;
/// Longest name and value of a header, in bytes.
const MAX_HEADER_NAME: usize = 100;
const MAX_HEADER_VALUE: usize = 4_096;

/// Names of headers that belong to us or to HTTP itself.
const RESERVED_HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];
/// The beginnings of further names that belong to us or to proxies.
const RESERVED_PREFIXES: &[&str] = &["webhook-", "proxy-", "sec-", "x-forwarded-"];

/// What a webhook gets, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Settings {
    pub url: WebhookUrl,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// The events that it gets.
    pub event_types: BTreeSet<EventFilter>,
    pub ordering: Ordering,
    pub payload: Payload,
    pub content_type: ContentType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// Requests a second; 0 for no limit.
    pub rate_limit: u32,
    /// Requests at once, 1 to 32.
    pub concurrency: u32,
}

/// Settings to change. An absent one keeps its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Changes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<WebhookUrl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_types: Option<BTreeSet<EventFilter>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordering: Option<Ordering>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<ContentType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

impl Settings {
    /// Returns the settings after these changes.
    #[must_use]
    pub fn changed(&self, changes: &Changes) -> Self {
        let changes = changes.clone();
        Self {
            url: changes.url.unwrap_or_else(|| self.url.clone()),
            description: changes.description.or_else(|| self.description.clone()),
            event_types: changes
                .event_types
                .unwrap_or_else(|| self.event_types.clone()),
            ordering: changes.ordering.unwrap_or(self.ordering),
            payload: changes.payload.unwrap_or(self.payload),
            content_type: changes.content_type.unwrap_or(self.content_type),
            credentials: changes.credentials.or_else(|| self.credentials.clone()),
            rate_limit: changes.rate_limit.unwrap_or(self.rate_limit),
            concurrency: changes.concurrency.unwrap_or(self.concurrency),
        }
    }

    /// Whether events of this type are sent.
    pub fn wants(&self, event_type: EventType) -> bool {
        self.event_types
            .iter()
            .any(|filter| filter.matches(event_type))
    }
}

/// What must not overtake each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Ordering {
    /// The events of one object. One that fails holds up no other object.
    Aggregate,
    /// All events. One that fails holds up all that follow.
    Endpoint,
}

/// What the body says about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Payload {
    /// Which object has changed.
    Thin,
    /// The object as it was after the event, too.
    Full,
}

/// The header `content-type`. The body is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ContentType {
    Json,
    CloudEvents,
}

impl ContentType {
    /// Returns the media type.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::CloudEvents => "application/cloudevents+json",
        }
    }
}

/// How requests are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Algorithm {
    /// HMAC with SHA-256: both sides have the secret.
    Hmac,
    /// Ed25519: the customer has the public key only.
    Ed25519,
}

/// A new signing key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NewKey {
    pub algorithm: Algorithm,
    pub secret: Sealed,
    /// The public key of an ed25519 key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<String>,
}

/// How a webhook authenticates at the customer's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum AuthKind {
    None,
    Basic,
    Bearer,
    ApiKey,
    #[serde(rename = "oauth2")]
    OAuth2,
}

/// The headers of a webhook. Their values are sealed, since they may be passwords.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Credentials {
    pub auth: AuthKind,
    /// The names of the headers that are not for authentication.
    pub header_names: Vec<String>,
    /// [`SecretHeaders`] in JSON.
    pub sealed: Sealed,
}

impl Credentials {
    /// Whether there is something to keep secret.
    pub fn is_empty(&self) -> bool {
        self.auth == AuthKind::None && self.header_names.is_empty()
    }
}

/// What a webhook sends beside the message. It has no `Debug`, since it may hold passwords.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretHeaders {
    /// All headers, as they are sent.
    pub headers: Vec<(String, String)>,
    /// Where to get the access token that is sent, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
}

/// How to get an access token: the client credentials of OAuth 2.0 (RFC 6749, section 4.4).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuth2 {
    pub token_url: WebhookUrl,
    pub client_id: String,
    pub client_secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// Whether a customer may choose this header: one that has a legal name and value, and belongs
/// neither to us nor to HTTP itself. The name is in lower case.
pub fn is_allowed_header(name: &str, value: &str) -> bool {
    let is_token = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_".contains(&c);
    let is_printable = |c: u8| (b' '..=b'~').contains(&c);
    let is_legal = (1..=MAX_HEADER_NAME).contains(&name.len())
        && name.bytes().all(is_token)
        && value.len() <= MAX_HEADER_VALUE
        && value.bytes().all(is_printable)
        && value.trim() == value;
    let mut prefixes = RESERVED_PREFIXES.iter();
    is_legal
        && !RESERVED_HEADERS.contains(&name)
        && !prefixes.any(|prefix| name.starts_with(prefix))
}
