//! What clients choose for a webhook.

use std::collections::BTreeSet;

use async_graphql::{Enum, ID, InputObject, OneofObject};
use events_schema::{
    Description,
    outbound::WebhookUrl,
    published::EventFilter,
    webhook::{Changes, ContentType, OAuth2, Ordering, Payload, Settings, Start},
};

use super::object::{WebhookAlgorithm, WebhookContentType, WebhookOrdering, WebhookPayload};
use crate::{
    error::Error,
    graphql::scalars::{optional, parsed},
    use_cases::webhook::{Auth, Headers},
};

/// Requests at once if the client says nothing.
const DEFAULT_CONCURRENCY: u32 = 8;

/// User and password for the scheme `Basic`.
#[derive(InputObject)]
struct WebhookBasicAuthInput {
    /// The user, without a colon.
    username: String,
    /// The password.
    #[graphql(secret)]
    password: String,
}

/// A token for the scheme `Bearer`.
#[derive(InputObject)]
struct WebhookBearerAuthInput {
    /// The token.
    #[graphql(secret)]
    token: String,
}

/// A header of its own.
#[derive(InputObject)]
struct WebhookApiKeyInput {
    /// Name of the header, such as `x-api-key`.
    header: String,
    /// Value of the header.
    #[graphql(secret)]
    value: String,
}

/// The client credentials of OAuth 2.0. The token is asked for with them, used until shortly before
/// its end, and asked for again if the receiver answers 401.
#[derive(InputObject)]
struct WebhookOAuth2Input {
    /// The token endpoint: a URL under the same rules as that of the webhook.
    token_url: String,
    /// The client's id, sent with the scheme `Basic`.
    client_id: String,
    /// The client's secret.
    #[graphql(secret)]
    client_secret: String,
    /// The scope to ask for. None by default.
    scope: Option<String>,
}

/// How a webhook authenticates at the receiver, besides its signature. The values are stored
/// encrypted and never shown.
#[derive(OneofObject)]
enum WebhookAuthInput {
    /// Sends `Authorization: Basic …`.
    Basic(WebhookBasicAuthInput),
    /// Sends `Authorization: Bearer …`.
    Bearer(WebhookBearerAuthInput),
    /// Sends a header with a key.
    ApiKey(WebhookApiKeyInput),
    /// Sends `Authorization: Bearer …` with an access token that it gets by these credentials.
    #[graphql(name = "oauth2")]
    OAuth2(WebhookOAuth2Input),
}

impl WebhookAuthInput {
    fn parse(self) -> Result<Auth, Error> {
        Ok(match self {
            Self::Basic(WebhookBasicAuthInput { username, password }) => {
                Auth::Basic { username, password }
            }
            Self::Bearer(WebhookBearerAuthInput { token }) => Auth::Bearer { token },
            Self::ApiKey(WebhookApiKeyInput { header, value }) => Auth::ApiKey { header, value },
            Self::OAuth2(input) => Auth::OAuth2(OAuth2 {
                token_url: parsed("tokenUrl", &input.token_url, WebhookUrl::parse)?,
                client_id: input.client_id,
                client_secret: input.client_secret,
                scope: input.scope,
            }),
        })
    }
}

/// A header that a webhook sends. Its value is stored encrypted and never shown.
#[derive(InputObject)]
struct WebhookHeaderInput {
    /// Name of the header: up to 100 letters, digits, hyphens and underscores. Names of HTTP, such
    /// as `host`, and of this system, such as `webhook-id`, are not allowed.
    name: String,
    /// Value of the header: up to 4,096 printable ASCII characters.
    #[graphql(secret)]
    value: String,
}

/// The data of a new webhook.
#[derive(InputObject)]
pub(super) struct CreateWebhookInput {
    /// Where to send the events: a URL that begins with `https://` and leads to public addresses,
    /// without user, password and fragment. At most 2,048 characters.
    url: String,
    /// Description of the webhook, up to 10,000 characters. Empty by default.
    description: Option<String>,
    /// The events to send, 1 to 100 filters: types such as `project.created`, all of an area such as
    /// `project.*`, or `*` for all. `webhookEventTypes` lists the types.
    event_types: Vec<String>,
    /// What must not overtake each other. `AGGREGATE` by default.
    ordering: Option<WebhookOrdering>,
    /// What the body says about an event. `THIN` by default.
    payload: Option<WebhookPayload>,
    /// The header `content-type` of requests. `JSON` by default.
    content_type: Option<WebhookContentType>,
    /// How to sign requests. `HMAC` by default.
    pub(super) algorithm: Option<WebhookAlgorithm>,
    /// A secret of your own: `whsec_` and the Base64 of 24 to 64 bytes for `HMAC`, or `whsk_` and the
    /// Base64 of an ed25519 key for `ED25519`. A random one by default, which is safer.
    #[graphql(secret)]
    pub(super) secret: Option<String>,
    /// Headers to send with each request, at most 20 with the one of `auth`. None by default.
    headers: Option<Vec<WebhookHeaderInput>>,
    /// How to authenticate at the receiver, besides the signature. Not at all by default.
    #[graphql(secret)]
    auth: Option<WebhookAuthInput>,
    /// The most requests a second, up to 1,000. By default 0, which means no limit.
    rate_limit: Option<i64>,
    /// The most requests at once, 1 to 32. 8 by default.
    concurrency: Option<i64>,
}

impl CreateWebhookInput {
    /// Parses the settings and the headers.
    ///
    /// # Errors
    /// `BadUserInput` if one is invalid.
    pub(super) fn parse(self) -> Result<(Settings, Option<Headers>), Error> {
        let settings = Settings {
            url: parsed("url", &self.url, WebhookUrl::parse)?,
            description: optional("description", self.description, Description::parse)?,
            event_types: parse_event_types(self.event_types)?,
            ordering: self.ordering.map_or(Ordering::Aggregate, Into::into),
            payload: self.payload.map_or(Payload::Thin, Into::into),
            content_type: self.content_type.map_or(ContentType::Json, Into::into),
            credentials: None,
            rate_limit: self.rate_limit.map_or(0, number),
            concurrency: self.concurrency.map_or(DEFAULT_CONCURRENCY, number),
        };
        Ok((settings, parse_headers(self.auth, self.headers)?))
    }
}

/// The change of a webhook. An absent field keeps its value.
#[derive(InputObject)]
pub(super) struct UpdateWebhookInput {
    /// Id of the webhook.
    pub(super) id: ID,
    /// New URL: it begins with `https://` and leads to public addresses, without user, password and
    /// fragment. At most 2,048 characters. If it leads to another server (scheme, host or port) while
    /// the webhook has `auth` or headers, these must be given, too: `BAD_USER_INPUT` otherwise.
    url: Option<String>,
    /// New description, up to 10,000 characters.
    description: Option<String>,
    /// Replaces all filters: 1 to 100 types such as `project.created`, all of an area such as
    /// `project.*`, or `*` for all.
    event_types: Option<Vec<String>>,
    /// What must not overtake each other.
    ordering: Option<WebhookOrdering>,
    /// What the body says about an event.
    payload: Option<WebhookPayload>,
    /// The header `content-type` of requests.
    content_type: Option<WebhookContentType>,
    /// Replaces all headers and `auth` together, at most 20. An empty list without `auth` removes
    /// all.
    headers: Option<Vec<WebhookHeaderInput>>,
    /// Replaces `auth` and all headers together.
    #[graphql(secret)]
    auth: Option<WebhookAuthInput>,
    /// The most requests a second, up to 1,000. 0 means no limit.
    rate_limit: Option<i64>,
    /// The most requests at once, 1 to 32.
    concurrency: Option<i64>,
}

impl UpdateWebhookInput {
    /// Parses the changes and the headers.
    ///
    /// # Errors
    /// `BadUserInput` if one is invalid.
    pub(super) fn parse(self) -> Result<(Changes, Option<Headers>), Error> {
        let changes = Changes {
            url: optional("url", self.url, WebhookUrl::parse)?,
            description: optional("description", self.description, Description::parse)?,
            event_types: self.event_types.map(parse_event_types).transpose()?,
            ordering: self.ordering.map(Into::into),
            payload: self.payload.map(Into::into),
            content_type: self.content_type.map(Into::into),
            credentials: None,
            rate_limit: self.rate_limit.map(number),
            concurrency: self.concurrency.map(number),
        };
        Ok((changes, parse_headers(self.auth, self.headers)?))
    }
}

/// The replacement of a webhook's secret.
#[derive(InputObject)]
pub(super) struct RotateWebhookSecretInput {
    /// Id of the webhook.
    pub(super) id: ID,
    /// How long the former secrets stay valid, in hours: 0 to 168. 24 by default. A secret that
    /// somebody else may know needs 0.
    pub(super) overlap_hours: Option<i64>,
    /// How to sign requests. As before by default.
    pub(super) algorithm: Option<WebhookAlgorithm>,
    /// A secret of your own: `whsec_` and the Base64 of 24 to 64 bytes for `HMAC`, or `whsk_` and the
    /// Base64 of an ed25519 key for `ED25519`. A random one by default, which is safer.
    #[graphql(secret)]
    pub(super) secret: Option<String>,
}

/// Where a webhook that is enabled again goes on.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "Start")]
pub(super) enum WebhookStart {
    /// With the first event that it has not got.
    Resume,
    /// With the next event. Those that it has missed are not sent.
    Now,
}

/// Turns an input into a number. One that is negative or too large becomes the largest one, which
/// every bound refuses.
pub(super) fn number(input: i64) -> u32 {
    u32::try_from(input).unwrap_or(u32::MAX)
}

fn parse_event_types(texts: Vec<String>) -> Result<BTreeSet<EventFilter>, Error> {
    let filters = texts.iter();
    filters
        .map(|text| parsed("eventTypes", text, EventFilter::parse))
        .collect()
}

/// Parses all headers of a webhook; `None` if the client gives neither of the inputs.
fn parse_headers(
    auth: Option<WebhookAuthInput>,
    headers: Option<Vec<WebhookHeaderInput>>,
) -> Result<Option<Headers>, Error> {
    if auth.is_none() && headers.is_none() {
        return Ok(None);
    }
    let headers = headers.unwrap_or_default().into_iter();
    let headers = headers.map(|header| (header.name, header.value)).collect();
    let auth = auth.map(WebhookAuthInput::parse).transpose()?;
    Headers::new(auth, headers).map(Some)
}
