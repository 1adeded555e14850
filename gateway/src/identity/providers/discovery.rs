//! The documents of OpenID Connect that describe a provider: where it answers, and its keys.

use std::{future::Future, sync::Arc, time::Duration};

use event_store::outbound::Failure;
use events_schema::{connection::Issuer, outbound::WebhookUrl};
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};

use super::{
    Refusal,
    jws::{KeySet, Keys, Token},
    requests::{Requests, in_time},
};

/// How long a document is used before it is read again.
const KEPT_FOR: Duration = Duration::from_secs(60 * 60);
/// How long it is used if it cannot be read again. A key that the provider has withdrawn meanwhile
/// counts no longer than that.
const KEPT_AT_MOST: Duration = Duration::from_secs(24 * 60 * 60);
/// How long it stays unread after a failure, and how often keys are read again for a token that none
/// of the known ones has signed. So nobody makes us flood a provider.
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
    /// Whether this is what the issuer publishes.
    pub(super) fn is_of(&self, issuer: &Issuer) -> bool {
        self.issuer == issuer.as_str()
    }

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
    /// If it says nothing before the deadline, or is another issuer.
    pub(super) async fn metadata(
        &self,
        requests: &Requests,
        deadline: Instant,
    ) -> Result<Arc<Metadata>, Refusal> {
        let read = || async {
            let metadata: Metadata = requests.get(&self.url, None, deadline).await?;
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
        in_time(deadline, self.metadata.get(Instant::now(), read)).await?
    }

    /// Returns what a token says, if a key of the provider has signed it.
    ///
    /// # Errors
    /// If no key has signed it, or the keys cannot be read before the deadline.
    pub(super) async fn verified(
        &self,
        requests: &Requests,
        metadata: &Metadata,
        token: &Token<'_>,
        deadline: Instant,
    ) -> Result<Vec<u8>, Refusal> {
        let read = || async {
            let set: KeySet = requests.get(&metadata.jwks_uri, None, deadline).await?;
            Ok(Keys::of(set))
        };
        in_time(deadline, self.keys.verified(Instant::now(), token, read)).await?
    }
}

/// A document that is read at most once at a time.
struct Cached<T>(Mutex<Reads<T>>);

/// What has become of the attempts to read a document.
struct Reads<T> {
    latest: Option<(Instant, Arc<T>)>,
    failed_at: Option<Instant>,
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self(Mutex::new(Reads {
            latest: None,
            failed_at: None,
        }))
    }
}

impl<T> Cached<T> {
    /// Returns the document. An old one is read again, and serves for a day if that fails.
    async fn get<R: Future<Output = Result<T, Refusal>>>(
        &self,
        now: Instant,
        read: impl FnOnce() -> R,
    ) -> Result<Arc<T>, Refusal> {
        let mut reads = self.0.lock().await;
        if let Some(document) = reads.since(now, KEPT_FOR) {
            return Ok(document);
        }
        let result = reads.again(now, read).await;
        result.or_else(|refusal| reads.since(now, KEPT_AT_MOST).ok_or(refusal))
    }

    /// Returns the document as it is now: it was read a moment ago, or is read again.
    async fn renewed<R: Future<Output = Result<T, Refusal>>>(
        &self,
        now: Instant,
        read: impl FnOnce() -> R,
    ) -> Result<Arc<T>, Refusal> {
        let mut reads = self.0.lock().await;
        match reads.since(now, PAUSE) {
            Some(document) => Ok(document),
            None => reads.again(now, read).await,
        }
    }
}

impl Cached<Keys> {
    /// Returns what a token says, if one of the keys has signed it. If none has, the keys are read
    /// again: the provider may have a new one, also under the id of a former one.
    async fn verified<R: Future<Output = Result<Keys, Refusal>>>(
        &self,
        now: Instant,
        token: &Token<'_>,
        read: impl Fn() -> R,
    ) -> Result<Vec<u8>, Refusal> {
        let known = self.get(now, &read).await?;
        if let Some(payload) = token.verify(&known) {
            return Ok(payload.to_vec());
        }
        let renewed = self.renewed(now, &read).await?;
        let payload = token.verify(&renewed);
        payload.map(<[u8]>::to_vec).ok_or(Refusal::Untrusted(
            "no key of the issuer has signed the ID token",
        ))
    }
}

impl<T> Reads<T> {
    /// Returns the document, if it was read within this time.
    fn since(&self, now: Instant, longest: Duration) -> Option<Arc<T>> {
        let (read_at, document) = self.latest.as_ref()?;
        (now.duration_since(*read_at) < longest).then(|| Arc::clone(document))
    }

    /// Reads the document, unless that has failed a moment ago. A failure keeps the former one.
    async fn again<R: Future<Output = Result<T, Refusal>>>(
        &mut self,
        now: Instant,
        read: impl FnOnce() -> R,
    ) -> Result<Arc<T>, Refusal> {
        let failed_at = self.failed_at;
        if failed_at.is_some_and(|at| now.duration_since(at) < PAUSE) {
            return Err(Refusal::Away(Failure::Broken("a moment ago".to_owned())));
        }
        let document = read().await.map(Arc::new);
        match &document {
            Ok(document) => self.latest = Some((now, Arc::clone(document))),
            Err(_refusal) => self.failed_at = Some(now),
        }
        document
    }
}

#[cfg(test)]
mod tests;
