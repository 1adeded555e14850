//! The caller behind an access token.

use events_schema::{
    AccountId, Address, Origin, ServiceId, access_token, account, role::Parent, service, tenant,
};

use super::{Callers, Found};
use crate::{
    backend::views::ViewDocument,
    clock::now,
    error::Error,
    identity::{
        Membership,
        bearer::AccessToken,
        identities::{Identity, Machine, TokenOwner},
        tenancy::NamedTenant,
    },
    security::SecurityEvent,
};

impl Callers {
    /// Finds the caller behind an access token. It works in its own tenant only, and holds those of
    /// its scopes that its creator, or its service, holds there now. If they are no longer a
    /// member, or the request comes from a network that the token does not name, the token is not
    /// valid.
    pub(super) async fn by_token(
        &self,
        token: &AccessToken,
        named: &NamedTenant,
        origin: &Origin,
    ) -> Result<Found, Error> {
        let own = NamedTenant::Id(token.tenant());
        let Some(tenant) = self.tenant(&own).await? else {
            return Ok(self.refuse_token(origin, None));
        };
        let views = self.views.of(&tenant)?;
        let Some(found) = views.get::<access_token::View>(token.id()).await? else {
            return Ok(self.refuse_token(origin, None));
        };
        let creator = found.view.creator;
        // The creator of a service's token may have left, and has nothing to do with it any more.
        let concerned = found.view.service.is_none().then_some(creator);
        if !is_allowed_from(&found.view, origin) {
            return Ok(self.refuse_token(origin, concerned));
        }
        let is_own = named.is_none_or(&tenant);
        let (owner, membership) = match found.view.service {
            Some(service) => {
                let membership = self.of_service(&found.view, service, tenant);
                (TokenOwner::Service(service), membership.await?)
            }
            None => {
                let membership = self.of_creator(&found.view, tenant);
                (TokenOwner::Creator(creator), membership.await?)
            }
        };
        let Some(mut membership) = membership else {
            return Ok(self.refuse_token(origin, concerned));
        };
        membership.permissions.keep_only(&found.view.scopes);
        let machine = Machine {
            token: token.id(),
            owner,
        };
        let identity = Identity::Machine(machine);
        Ok((Some(identity), Ok(is_own.then_some(membership))))
    }

    /// Returns the membership of a token's creator; `None` if the token has ended.
    async fn of_creator(
        &self,
        token: &access_token::View,
        tenant: ViewDocument<tenant::View>,
    ) -> Result<Option<Membership>, Error> {
        let creator = token.creator;
        let account = self.views.platform().get::<account::View>(creator).await?;
        let membership = self.membership(tenant, creator).await?;
        let (Some(account), Some(membership)) = (account, membership) else {
            return Ok(None);
        };
        let member = membership.member.as_ref();
        let is_valid =
            member.is_some_and(|member| token.is_valid(now(), &account.view, &member.view));
        Ok(is_valid.then_some(membership))
    }

    /// Returns the membership of a token's service; `None` if the token has ended, or the service
    /// was deleted.
    async fn of_service(
        &self,
        token: &access_token::View,
        service: ServiceId,
        tenant: ViewDocument<tenant::View>,
    ) -> Result<Option<Membership>, Error> {
        if now() >= token.expires_at {
            return Ok(None);
        }
        let views = self.views.of(&tenant)?;
        let (services, roles) = tokio::try_join!(
            views.get::<service::View>(tenant.id),
            self.permissions.of(&views, tenant.id)
        )?;
        let services = services.map(|found| found.view.services);
        let found = services.and_then(|mut services| services.remove(&service));
        Ok(found.map(|found| {
            let permissions = roles.of(Parent::BuiltIn(found.role));
            self.join(tenant, views, None, roles, permissions)
        }))
    }

    /// Records that a token is not valid. Its creator is known if the token exists and acts for
    /// them.
    pub(super) fn refuse_token(&self, origin: &Origin, creator: Option<AccountId>) -> Found {
        let refused = SecurityEvent::TokenRefused;
        self.security.record_origin(refused, origin, creator);
        (None, Ok(None))
    }
}

/// Whether the token is valid at the place that a request comes from. An unknown place is in no
/// network.
fn is_allowed_from(token: &access_token::View, origin: &Origin) -> bool {
    let address = origin.address.as_ref().and_then(Address::ip);
    token.networks.as_ref().is_none_or(|networks| {
        address.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
    })
}
