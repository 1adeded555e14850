//! Access tokens for webhooks whose server wants one: the client credentials of OAuth 2.0.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use data_encoding::BASE64;
use events_schema::{WebhookId, webhook::OAuth2};
use hyper::{
    HeaderMap, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use lru::LruCache;
use serde::Deserialize;
use tokio::time::Instant;
use url::form_urlencoded::{self, byte_serialize};

use crate::effect::outbound::{Failure, Outbound, Request};

/// Webhooks whose tokens are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
/// How long the token endpoint may take. The rest of an exchange is left for the message.
const ASKED_WITHIN: Duration = Duration::from_secs(5);
/// A token is not used any more so shortly before its end.
const BEFORE_ITS_END: u64 = 30;
/// How long a token is used whose end is not known, and how long at most, in seconds.
const USUAL: u64 = 5 * 60;
const LONGEST: u64 = 60 * 60;

/// Gets access tokens and remembers them.
#[derive(Clone)]
pub struct Tokens {
    outbound: Outbound,
    remembered: Arc<Mutex<LruCache<WebhookId, Token>>>,
}

struct Token {
    /// For what it was given. Changed credentials need another one.
    oauth2: OAuth2,
    header: HeaderValue,
    until: Instant,
}

/// The answer of a token endpoint. A token of more than about 4,000 characters does not fit into
/// what is read of an answer.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Tokens {
    /// Gets tokens with this client.
    pub fn new(outbound: Outbound) -> Self {
        Self {
            outbound,
            remembered: Arc::new(Mutex::new(LruCache::new(REMEMBERED))),
        }
    }

    /// Returns the header with an access token.
    ///
    /// # Errors
    /// If the token endpoint gives none.
    pub async fn header(
        &self,
        webhook: WebhookId,
        oauth2: &OAuth2,
    ) -> Result<HeaderValue, Failure> {
        if let Some(header) = self.remembered(webhook, oauth2) {
            return Ok(header);
        }
        let granted = self.ask(oauth2).await?;
        let header = HeaderValue::from_str(&format!("Bearer {}", granted.access_token));
        let mut header = header.map_err(|_| no_token("the token has illegal characters"))?;
        header.set_sensitive(true);
        let token = Token {
            oauth2: oauth2.clone(),
            header: header.clone(),
            until: Instant::now() + used_for(granted.expires_in),
        };
        self.lock().put(webhook, token);
        Ok(header)
    }

    fn remembered(&self, webhook: WebhookId, oauth2: &OAuth2) -> Option<HeaderValue> {
        let mut remembered = self.lock();
        let token = remembered.get(&webhook)?;
        let is_valid = token.oauth2 == *oauth2 && Instant::now() < token.until;
        is_valid.then(|| token.header.clone())
    }

    /// Forgets the token of a webhook, since its server refuses it.
    pub fn forget(&self, webhook: WebhookId) {
        self.lock().pop(&webhook);
    }

    async fn ask(&self, oauth2: &OAuth2) -> Result<Granted, Failure> {
        let mut headers = HeaderMap::new();
        let is_form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, is_form);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(AUTHORIZATION, client(oauth2)?);
        let reply = self.outbound.post(Request {
            url: oauth2.token_url.clone(),
            headers,
            body: Bytes::from(form(oauth2)),
            until: Instant::now() + ASKED_WITHIN,
        });
        let answer = reply.await.outcome.map_err(no_token)?;
        if answer.status != StatusCode::OK {
            return Err(no_token(format!("the endpoint answered {}", answer.status)));
        }
        // The answer may hold a token, so no error shows it.
        serde_json::from_str(&answer.text).map_err(|_| no_token("the answer has no access_token"))
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<WebhookId, Token>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns how long a token is used that ends after so many seconds.
fn used_for(expires_in: Option<u64>) -> Duration {
    let lasts = expires_in.unwrap_or(USUAL).min(LONGEST);
    Duration::from_secs(lasts.saturating_sub(BEFORE_ITS_END))
}

fn form(oauth2: &OAuth2) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if let Some(scope) = &oauth2.scope {
        form.append_pair("scope", scope);
    }
    form.finish()
}

/// Both parts are encoded as in a form (RFC 6749, section 2.3.1).
fn client(oauth2: &OAuth2) -> Result<HeaderValue, Failure> {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!(
        "{}:{}",
        encoded(&oauth2.client_id),
        encoded(&oauth2.client_secret)
    );
    let header = HeaderValue::from_str(&format!("Basic {}", BASE64.encode(pair.as_bytes())));
    let mut header = header.map_err(|_| no_token("the credentials have illegal characters"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// Says why there is no token.
fn no_token(reason: impl ToString) -> Failure {
    Failure::Token(reason.to_string())
}

#[cfg(test)]
mod tests;
