//! The party at which somebody logs in: a provider of the deployment, or the issuer of a tenant.

use std::sync::Arc;

use events_schema::{
    ConnectionId, DomainName, EmailAddress, ProvedIdentity, Scope, TenantKey,
    connection::{self, Connection, SEALED_FOR},
};

use super::ProviderLogins;
use crate::{
    backend::filter::Filter,
    error::Error,
    identity::providers::{Identified, Profile, Provider},
    use_cases::opening::Word,
};

/// The party at which somebody logs in.
pub(crate) struct Party {
    pub(crate) provider: Arc<Provider>,
    /// The connection whose issuer it is.
    connection: Option<(TenantKey, Connection)>,
    /// Whether accounts there may be anybody's. Any other issuer of a tenant is asked for its own
    /// people only.
    is_google: bool,
}

impl Party {
    /// Returns what the party's word is worth about somebody, if it is a tenant's issuer.
    pub(super) fn word(&self, identified: &Identified, identity: &ProvedIdentity) -> Option<Word> {
        let (_, connection) = self.connection.as_ref()?;
        let trusts = connection.settings.trusts_two_factors;
        Some(Word {
            scope: self.scope()?,
            epoch: connection.epoch,
            is_two_factors: trusts && identified.has_two_factors,
            is_insider: !self.is_google || identified.is_of(|name| connection.has_verified(name)),
            identities: identity.ids().collect(),
        })
    }

    /// Whether the party's word about somebody proves that the address is theirs. There, an account
    /// that is none of the organization may have any address.
    pub(super) fn proves(&self, profile: &Profile, word: Option<&Word>) -> bool {
        let is_insider = word.is_none_or(|word| word.is_insider);
        let email = profile.email.as_ref();
        profile.is_proved && is_insider && email.is_some_and(|email| self.may_prove(email))
    }

    /// Whether the party may say to whom an address belongs. A tenant's issuer may for the domains
    /// of its connection.
    fn may_prove(&self, email: &EmailAddress) -> bool {
        let Some((_, connection)) = &self.connection else {
            return true;
        };
        let domain = DomainName::of(email);
        domain.is_some_and(|domain| connection.has_verified(&domain))
    }

    /// Returns where the party's word counts, if it is a tenant's issuer.
    pub(super) fn scope(&self) -> Option<Scope> {
        self.connection.as_ref().map(|(tenant, connection)| Scope {
            tenant: *tenant,
            connection: connection.id,
        })
    }
}

impl ProviderLogins {
    /// Finds a party by its name: that of a provider, or the id of a connection.
    ///
    /// # Errors
    /// `NotFound` if there is none; `ClientSecretLost` if the secret of the connection cannot be
    /// opened.
    pub(super) async fn party(&self, name: &str) -> Result<Party, Error> {
        if let Some(provider) = self.providers.named(name) {
            return Ok(Party {
                provider: Arc::clone(provider),
                connection: None,
                is_google: false,
            });
        }
        let id = ConnectionId::parse(name).map_err(|_| Error::NotFound)?;
        let (tenant, connection) = self.found(id).await?.ok_or(Error::NotFound)?;
        self.party_of(tenant, connection)
    }

    /// Finds a connection. Its secret stays sealed, so one that cannot be opened is no obstacle.
    ///
    /// # Errors
    /// If the view cannot be read.
    pub(crate) async fn connection(&self, id: ConnectionId) -> Result<Option<Connection>, Error> {
        let found = self.found(id).await?;
        Ok(found.map(|(_, connection)| connection))
    }

    async fn found(&self, id: ConnectionId) -> Result<Option<(TenantKey, Connection)>, Error> {
        let filter = Filter::default().is("connections.id", id)?;
        let platform = self.views.platform();
        let found = platform.find::<connection::View>(filter).await?;
        Ok(found.and_then(|found| Some((found.id, found.view.find(id)?.clone()))))
    }

    /// Finds the connection of the people with addresses of this domain. Its secret stays sealed.
    ///
    /// # Errors
    /// If the view cannot be read.
    pub(crate) async fn connection_of_domain(
        &self,
        email: &EmailAddress,
    ) -> Result<Option<Connection>, Error> {
        let Some(domain) = DomainName::of(email) else {
            return Ok(None);
        };
        let filter = Filter::default().is("verified_domains", &domain)?;
        let platform = self.views.platform();
        let found = platform.find::<connection::View>(filter).await?;
        Ok(found.and_then(|found| found.view.of_domain(&domain).cloned()))
    }

    fn party_of(&self, tenant: TenantKey, connection: Connection) -> Result<Party, Error> {
        let bound_to = [tenant.0.bytes().as_slice(), connection.id.0.bytes()];
        let sealed = &connection.settings.client_secret;
        let opened = self.secret.open_sealed(SEALED_FOR, &bound_to, sealed);
        let secret = opened.and_then(|plain| String::from_utf8(plain).ok());
        let lost = || anyhow::anyhow!("no secret opens that of connection {}", connection.id);
        let secret = secret.ok_or_else(|| Error::ClientSecretLost(lost()))?;
        let provider = self.providers.of_connection(&connection, secret);
        Ok(Party {
            provider: provider.map_err(anyhow::Error::from)?,
            is_google: self.providers.is_google(&connection.settings.issuer),
            connection: Some((tenant, connection)),
        })
    }
}

#[cfg(test)]
mod tests;
