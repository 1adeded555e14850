//! The documents of OpenID Connect that describe a provider: where it answers, and its keys.

use std::{future::Future, sync::Arc, time::Duration};

use events_schema::outbound::WebhookUrl;
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};

use super::{
    Refusal,
    jws::{KeySet, Keys, Token},
    requests::Requests,
};

/// How long a document is used.
const KEPT_FOR: Duration = Duration::from_secs(60 * 60);
/// How long it stays unread after a failure, and how often keys are read again for a token that
/// names an unknown one. So nobody makes us flood a provider.
const PAUSE: Duration = Duration::from_secs(10);

/// What a provider says about itself.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: WebhookUrl,
    pub(super) token_endpoint: WebhookUrl,
    pub(super) userinfo_endpoint: Option<WebhookUrl>,
    jwks_uri: WebhookUrl,
    /// Whether it says in each answer who it is (RFC 9207).
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Metadata {
    /// Whether the client secret goes into the header, which is the default of the standard.
    pub(super) fn takes_basic(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_ref();
        methods.is_none_or(|methods| methods.iter().any(|it| it == "client_secret_basic"))
    }
}

/// The documents of one provider.
pub(super) struct Discovery {
    issuer: String,
    url: WebhookUrl,
    metadata: Cached<Metadata>,
    keys: Cached<Keys>,
}

impl Discovery {
    /// Prepares to read what this issuer publishes. Nothing is read yet.
    ///
    /// # Errors
    /// If the issuer is no URL.
    pub(super) fn of(issuer: &str) -> Result<Self, events_schema::Invalid> {
        let base = issuer.trim_end_matches('/');
        let url = WebhookUrl::parse(&format!("{base}/.well-known/openid-configuration"))?;
        Ok(Self {
            issuer: issuer.to_owned(),
            url,
            metadata: Cached::default(),
            keys: Cached::default(),
        })
    }

    /// Returns what the provider says about itself.
    ///
    /// # Errors
    /// If it says nothing, or is another issuer.
    pub(super) async fn metadata(&self, requests: &Requests) -> Result<Arc<Metadata>, Refusal> {
        let read = || async {
            let metadata: Metadata = requests.get(&self.url, None).await?;
            if metadata.issuer != self.issuer {
                return Err(Refusal::Untrusted("its document is of another issuer"));
            }
            let urls = [
                &metadata.authorization_endpoint,
                &metadata.token_endpoint,
                &metadata.jwks_uri,
            ];
            let urls = urls.into_iter().chain(&metadata.userinfo_endpoint);
            urls.into_iter().try_for_each(|url| requests.check(url))?;
            Ok(metadata)
        };
        self.metadata.get(KEPT_FOR, read).await
    }

    /// Returns what a token says, if a key of the provider has signed it. A provider may have a new
    /// key, so the keys are read again if the token names an unknown one.
    ///
    /// # Errors
    /// If no key has signed it, or the keys cannot be read.
    pub(super) async fn verified(
        &self,
        requests: &Requests,
        metadata: &Metadata,
        token: &Token<'_>,
    ) -> Result<Vec<u8>, Refusal> {
        let read = || async {
            let set: KeySet = requests.get(&metadata.jwks_uri, None).await?;
            Ok(Keys::of(set))
        };
        for longest in [KEPT_FOR, PAUSE] {
            let keys = self.keys.get(longest, read).await?;
            if let Some(payload) = token.verify(&keys)? {
                return Ok(payload.to_vec());
            }
        }
        Err(Refusal::Untrusted(
            "the ID token names no key of the issuer",
        ))
    }
}

/// A document that is read at most once at a time.
struct Cached<T>(Mutex<Option<Read<T>>>);

struct Read<T> {
    at: Instant,
    /// `None` after a failure.
    value: Option<Arc<T>>,
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Cached<T> {
    /// Returns the document if it was read within this time; reads it otherwise.
    async fn get<R: Future<Output = Result<T, Refusal>>>(
        &self,
        longest: Duration,
        read: impl FnOnce() -> R,
    ) -> Result<Arc<T>, Refusal> {
        let mut cached = self.0.lock().await;
        if let Some(Read { at, value }) = &*cached {
            match value {
                Some(value) if at.elapsed() < longest => return Ok(Arc::clone(value)),
                None if at.elapsed() < PAUSE => {
                    let reason = "a moment ago".to_owned();
                    return Err(Refusal::Away(event_store::outbound::Failure::Broken(
                        reason,
                    )));
                }
                Some(_) | None => {}
            }
        }
        let result = read().await.map(Arc::new);
        *cached = Some(Read {
            at: Instant::now(),
            value: result.as_ref().ok().cloned(),
        });
        result
    }
}
