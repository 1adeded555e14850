//! The issuers of tenants. Any number of connections may have the same one, and share what it
//! publishes.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use events_schema::{
    Invalid, ProviderName,
    connection::{Connection, Issuer},
    outbound::WebhookUrl,
};
use lru::LruCache;

use super::{
    ClientSecret, Endpoints, Kind, Provider, Providers, discovery::Discovery, profile::GOOGLE,
    requests::Requests,
};

/// Issuers whose documents are kept: some 20 KiB each.
const MAX_KEPT: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();
const SCOPE: &str = "openid email profile";

/// The issuers of tenants.
pub(super) struct Issuers {
    requests: Requests,
    known: Mutex<LruCache<Issuer, Arc<Discovery>>>,
}

impl Issuers {
    /// Asks issuers this way.
    pub(super) fn new(requests: Requests) -> Self {
        Self {
            requests,
            known: Mutex::new(LruCache::new(MAX_KEPT)),
        }
    }

    fn discovery(&self, issuer: &Issuer) -> Result<Arc<Discovery>, Invalid> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.try_get_or_insert(issuer.clone(), || {
            Discovery::of(issuer.as_str()).map(Arc::new)
        });
        found.cloned()
    }
}

impl Providers {
    /// Checks that requests may go to an issuer, as far as its URL tells. The addresses behind a
    /// host name are checked for each connection.
    ///
    /// # Errors
    /// If they may not.
    pub(crate) fn check_issuer(&self, issuer: &Issuer) -> Result<(), Invalid> {
        let url = WebhookUrl::parse(issuer.as_str())?;
        let checked = self.issuers.requests.check(&url);
        checked.map_err(|_| Invalid("must begin with https:// and lead to public addresses only"))
    }

    /// Whether an issuer is Google, or what the operator has named in its place.
    pub(crate) fn is_google(&self, issuer: &Issuer) -> bool {
        let mut named = self.iter().filter(|provider| provider.kind == Kind::Google);
        let is_named = named.any(|provider| match &provider.endpoints {
            Endpoints::Discovered(discovery) => discovery.is_of(issuer),
            Endpoints::Fixed(_) => false,
        });
        is_named || issuer.as_str() == GOOGLE
    }

    /// Returns the issuer of a connection as a provider whose word proves addresses. Whether it may
    /// name an address is another question.
    ///
    /// # Errors
    /// If the issuer is no URL.
    pub(crate) fn of_connection(
        &self,
        connection: &Connection,
        client_secret: String,
    ) -> Result<Arc<Provider>, Invalid> {
        let settings = &connection.settings;
        Ok(Arc::new(Provider {
            name: ProviderName::parse(&connection.id.to_string())?,
            title: settings.name.as_str().to_owned(),
            kind: Kind::Oidc,
            client_id: settings.client_id.as_str().to_owned(),
            client_secret: Some(ClientSecret(client_secret)),
            scope: SCOPE.to_owned(),
            is_authoritative: true,
            endpoints: Endpoints::Discovered(self.issuers.discovery(&settings.issuer)?),
            requests: self.issuers.requests.clone(),
        }))
    }
}
