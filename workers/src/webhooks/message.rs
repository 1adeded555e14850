//! Builds the message of an event, signs it and sends it.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use event_store::EventLog;
use events_schema::{
    TenantKey, Time, WebhookId,
    outbound::WebhookUrl,
    published::{Content, PublicEvent, source},
    secret::ServerKey,
    webhook::{OAuth2, Payload, SEALED_FOR, SecretHeaders, Webhook},
    webhook_signature::{Message, SigningKey, signature_header},
};
use hyper::{
    HeaderMap, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    histories::{Histories, hide},
    oauth2::Tokens,
};
use crate::effect::outbound::{Outbound, Reply, Request};

/// How long the reading of a history may take, so that the server still has time to answer.
const HISTORY_WITHIN: Duration = Duration::from_secs(10);

/// Sends messages.
#[derive(Clone)]
pub struct Messages {
    histories: Histories,
    tokens: Tokens,
    outbound: Outbound,
    key: ServerKey,
    public_url: String,
}

/// What every message of a webhook has, with its secrets opened.
pub struct Envelope {
    url: WebhookUrl,
    webhook: WebhookId,
    headers: HeaderMap,
    oauth2: Option<OAuth2>,
    keys: Vec<(SigningKey, Option<Time>)>,
    payload: Payload,
    /// Where the events come from: the tenant below the public URL of the API.
    source: String,
}

/// An event to send, and what its message shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    pub event: PublicEvent,
    pub shown: Shown,
}

/// What a full message shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// The object as the log has it up to the event.
    Stored {
        /// The sequence of the event's commit.
        sequence: u64,
        /// The commit, if it is known.
        commit: Option<Bytes>,
    },
    /// An example object.
    Example(Value),
}

impl Messages {
    /// Sends messages in this way. `public_url` names the source of the events.
    pub fn new(log: EventLog, outbound: Outbound, key: ServerKey, public_url: &str) -> Self {
        Self {
            histories: Histories::new(log),
            tokens: Tokens::new(outbound.clone()),
            outbound,
            key,
            public_url: public_url.to_owned(),
        }
    }

    /// Opens the secrets of a webhook.
    ///
    /// # Errors
    /// If a secret does not open, since its key was removed.
    pub fn envelope(
        &self,
        tenant: TenantKey,
        id: WebhookId,
        webhook: &Webhook,
    ) -> anyhow::Result<Envelope> {
        const LOST: &str = "a secret of the webhook does not open; keep former secrets in \
                            UB_ACCEPTED_SECRETS, or rotate the webhook's secret";
        let bound_to = [tenant.0.bytes().as_slice(), id.0.bytes()];
        let mut keys = Vec::new();
        for key in &webhook.keys {
            let opened = self.key.open_sealed(SEALED_FOR, &bound_to, &key.secret);
            let text = String::from_utf8(opened.context(LOST)?).context(LOST)?;
            keys.push((SigningKey::parse(&text).context(LOST)?, key.expires_at));
        }
        let mut headers = HeaderMap::new();
        let content_type = HeaderValue::from_static(webhook.settings.content_type.as_str());
        headers.insert(CONTENT_TYPE, content_type);
        let mut oauth2 = None;
        if let Some(credentials) = &webhook.settings.credentials {
            let opened = self
                .key
                .open_sealed(SEALED_FOR, &bound_to, &credentials.sealed);
            let opened: SecretHeaders = serde_json::from_slice(&opened.context(LOST)?)?;
            oauth2 = opened.oauth2;
            for (name, value) in opened.headers {
                let mut value = HeaderValue::from_str(&value)?;
                value.set_sensitive(true);
                headers.insert(HeaderName::from_bytes(name.as_bytes())?, value);
            }
        }
        Ok(Envelope {
            url: webhook.settings.url.clone(),
            webhook: id,
            headers,
            oauth2,
            keys,
            payload: webhook.settings.payload,
            source: source(&self.public_url, tenant),
        })
    }

    /// Sends a message. All of it ends by `until`, also the reading of the log.
    ///
    /// # Errors
    /// If the log does not answer in time, or has no such event.
    pub async fn send(
        &self,
        envelope: &Envelope,
        outgoing: &Outgoing,
        until: Instant,
    ) -> anyhow::Result<Reply> {
        let (begun, event) = (Instant::now(), &outgoing.event);
        let body = match envelope.payload {
            Payload::Thin => event.body(&envelope.source, Content::Thin)?,
            Payload::Full => {
                let until = until.min(begun + HISTORY_WITHIN);
                // On the heap, so that each request of a thin message is small.
                Box::pin(self.full(&envelope.source, outgoing, until)).await?
            }
        };
        let mut headers = envelope.signed(&event.id, &body, Time::from(SystemTime::now()))?;
        if let Some(oauth2) = &envelope.oauth2 {
            match Box::pin(self.tokens.header(envelope.webhook, oauth2)).await {
                Ok(token) => headers.insert(AUTHORIZATION, token),
                Err(failure) => {
                    return Ok(Reply {
                        outcome: Err(failure),
                        latency: begun.elapsed(),
                    });
                }
            };
        }
        // A process that was stopped meanwhile may have lost its lease.
        let is_in_time = Instant::now() < until;
        ensure!(is_in_time, "there is no time left for the request");
        let request = Request {
            url: envelope.url.clone(),
            headers,
            body: Bytes::from(body),
            until,
        };
        let reply = self.outbound.post(request).await;
        let status = reply.outcome.as_ref().map(|answer| answer.status);
        if status == Ok(StatusCode::UNAUTHORIZED) {
            self.tokens.forget(envelope.webhook);
        }
        Ok(reply)
    }

    /// Returns the body that shows the object.
    async fn full(
        &self,
        source: &str,
        outgoing: &Outgoing,
        until: Instant,
    ) -> anyhow::Result<Vec<u8>> {
        let event = &outgoing.event;
        let (sequence, commit) = match &outgoing.shown {
            Shown::Example(object) => return Ok(event.body(source, Content::Full(Some(object)))?),
            Shown::Stored { sequence, commit } => (*sequence, commit.as_ref()),
        };
        let folded = self.histories.fold(event, sequence, commit, until);
        let object = match folded.await? {
            Some(folded) => event.object(folded),
            None => return Ok(event.body(source, Content::Truncated)?),
        };
        match object {
            Ok(object) => Ok(event.body(source, Content::Full(object.as_ref()))?),
            Err(error) => {
                hide(event, error)?;
                Ok(event.body(source, Content::Truncated)?)
            }
        }
    }
}

impl Envelope {
    /// Returns the headers of a message, signed with each key that is valid now.
    fn signed(&self, id: &str, body: &[u8], now: Time) -> anyhow::Result<HeaderMap> {
        let valid = self
            .keys
            .iter()
            .filter(|(_, end)| end.is_none_or(|end| now < end));
        let keys = valid.map(|(key, _)| key);
        let timestamp = now.0.div_euclid(1000);
        let message = Message {
            id,
            timestamp,
            body,
        };
        let mut headers = self.headers.clone();
        let own = [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signature_header(keys, &message)),
        ];
        for (name, value) in own {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_str(&value)?,
            );
        }
        Ok(headers)
    }
}
