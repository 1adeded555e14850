//! Finds the caller of a request.
//!
//! Session, account, tenant, member and roles are looked up with each request, in memory or in
//! MongoDB, so that a revocation takes effect at once at every gateway.

mod machine;
mod sso;

pub(crate) use self::sso::{start_url, vouches, vouches_still};

use std::{net::IpAddr, sync::Arc};

use axum::http::{HeaderMap, HeaderName, Uri, header::USER_AGENT};
use bytes::Bytes;
use event_store::Trace;
use events_schema::{
    AccountId, Address, Device, Origin, Permissions, Proof, SessionId, access_token, account,
    connection, member, role, secret::ServerKey, service, session, support, tenant,
};
use futures_util::{
    StreamExt,
    stream::{BoxStream, select_all},
};
use tokio::sync::OnceCell;

use crate::{
    access::{PermissionCache, RolePermissions},
    backend::{
        filter::Filter,
        plans::Plans,
        views::{TenantViews, ViewDocument, Views},
    },
    clock::now,
    config::Config,
    error::Error,
    identity::{
        Caller, Identity, Membership, Person, Uses,
        bearer::{Bearer, bearer},
        caller::{Idempotency, Kept, NoTenant},
        cookie::{Cookies, Kind},
        identities::{Machine, TokenOwner},
        impersonation::may_impersonate,
        tenancy::{NamedTenant, TenantResolvers},
    },
    security::SecurityEvents,
};

/// The header that identifies a repeated request.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// A request without its body.
#[derive(Clone, Debug)]
pub(crate) struct RequestHead {
    pub(crate) headers: HeaderMap,
    pub(crate) uri: Uri,
    /// The address of the connection.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) trace: Trace,
}

/// Finds the callers of requests.
#[derive(Clone, Debug)]
pub(crate) struct Callers {
    views: Views,
    permissions: PermissionCache,
    plans: Plans,
    uses: Uses,
    security: SecurityEvents,
    cookies: Cookies,
    resolvers: TenantResolvers,
    client_address_header: Option<HeaderName>,
    secret: ServerKey,
    public_url: Arc<str>,
    /// The sentence that tells a client how to name a tenant.
    advice: Arc<str>,
}

/// A caller's identity and membership, as far as the credentials are valid.
type Found = (Option<Identity>, Result<Option<Membership>, NoTenant>);

impl Callers {
    /// Finds callers in these views, as the configuration says.
    pub(crate) fn new(
        config: &Config,
        views: Views,
        permissions: PermissionCache,
        uses: Uses,
        security: SecurityEvents,
    ) -> Self {
        let resolvers = TenantResolvers::new(&config.tenant_resolvers, &config.posture.public_url);
        Self {
            plans: Plans::new(&views),
            views,
            permissions,
            uses,
            security,
            cookies: Cookies::new(config.posture.is_https()),
            advice: resolvers.advice().into(),
            resolvers,
            client_address_header: config.client_address_header.clone(),
            secret: config.secrets.key(),
            public_url: config.posture.public_url.as_str().into(),
        }
    }

    /// Finds the caller of a request and records the use of the session or access token.
    ///
    /// Credentials that are malformed, unknown, expired or revoked count as none. A tenant that
    /// does not exist, or that the caller is not a member of, counts as not found.
    ///
    /// # Errors
    /// If the `Idempotency-Key` is malformed, or a view cannot be read.
    pub(crate) async fn identify(&self, head: &RequestHead, body: Bytes) -> Result<Caller, Error> {
        let caller = self.find(head, body).await?;
        self.uses.record(&caller);
        Ok(caller)
    }

    /// Returns a stream with an item whenever something has changed that decides what this caller
    /// may do, or may have changed. Time alone also ends a session or an access token.
    pub(crate) fn changes(&self, caller: &Caller) -> BoxStream<'static, ()> {
        let platform = self.views.platform();
        let mut changes = Vec::new();
        if let Some(identity) = &caller.identity {
            changes.push(platform.changes_of::<account::View>(identity.account_id()));
            let session = identity.session();
            changes.extend(session.map(|id| platform.changes_of::<session::View>(id)));
        }
        let person = caller.person().ok();
        if let Some(by) = person.and_then(|person| person.impersonator) {
            changes.push(platform.changes_of::<account::View>(by.account));
        }
        if let Some(scope) = person.and_then(|person| person.proofs.iter().find_map(Proof::scope)) {
            changes.push(platform.changes_of::<connection::View>(scope.tenant));
        }
        if let Ok(Membership {
            tenant,
            member,
            views,
            ..
        }) = &caller.membership
        {
            changes.push(platform.changes_of::<tenant::View>(tenant.id));
            changes.push(platform.changes_of::<connection::View>(tenant.id));
            let member = member.as_ref();
            changes.extend(member.map(|member| views.changes_of::<member::View>(member.id)));
            changes.push(views.changes_of::<role::View>(tenant.id));
            let is_impersonated = person.is_some_and(|person| person.impersonator.is_some());
            let support = is_impersonated.then(|| views.changes_of::<support::View>(tenant.id));
            changes.extend(support);
            if let Some(Identity::Machine(Machine { token, owner })) = &caller.identity {
                changes.push(views.changes_of::<access_token::View>(*token));
                if let TokenOwner::Service(_) = owner {
                    changes.push(views.changes_of::<service::View>(tenant.id));
                }
            }
        }
        select_all(changes).boxed()
    }

    async fn find(&self, head: &RequestHead, body: Bytes) -> Result<Caller, Error> {
        let idempotency = self.idempotency(&head.headers, body)?;
        let named = self.resolvers.named(&head.headers, &head.uri);
        let credentials = bearer(&head.headers);
        let origin = self.origin(head);
        let (identity, membership) = match &credentials {
            Bearer::Absent => self.by_cookie(&head.headers, &named).await?,
            Bearer::Malformed => self.refuse_token(&origin, None),
            Bearer::Token(token) => self.by_token(token, &named, &origin).await?,
        };
        let missing = || match named {
            NamedTenant::None => NoTenant::Unnamed(self.advice.clone()),
            NamedTenant::Slug(_) | NamedTenant::Id(_) | NamedTenant::Malformed => {
                NoTenant::NotFound
            }
        };
        let membership = membership.and_then(|found| found.ok_or_else(missing));
        Ok(Caller {
            identity,
            membership,
            origin,
            kept: Kept {
                device: self.cookies.value(&head.headers, Kind::Device),
                registration: self.cookies.value(&head.headers, Kind::Registration),
                login_code: self.cookies.value(&head.headers, Kind::LoginCode),
                email_change: self.cookies.value(&head.headers, Kind::EmailChange),
                challenge: self.cookies.value(&head.headers, Kind::Challenge),
                passkey: self.cookies.value(&head.headers, Kind::Passkey),
                flow: self.cookies.value(&head.headers, Kind::Flow),
                waiting: self.cookies.value(&head.headers, Kind::Waiting),
            },
            subdomain: self.resolvers.subdomain(&head.headers),
            trace: head.trace,
            idempotency,
        })
    }

    async fn by_cookie(&self, headers: &HeaderMap, named: &NamedTenant) -> Result<Found, Error> {
        let Some(id) = self.cookies.session_id(headers) else {
            return Ok((None, Ok(None)));
        };
        let Some(person) = self.session(id).await? else {
            return Ok((None, Ok(None)));
        };
        let tenant = self.tenant(named).await?;
        let membership = match tenant.filter(|tenant| person.acts_in(tenant.id)) {
            Some(tenant) => self.membership(tenant, person.account_id()).await?,
            None => None,
        };
        let membership = match membership {
            Some(found) => self.demanded(&person, found).await?.map(Some),
            None => Ok(None),
        };
        Ok((Some(Identity::Person(Box::new(person))), membership))
    }

    /// Returns the person of a session, if it is valid now.
    ///
    /// # Errors
    /// If a view cannot be read.
    pub(crate) async fn session(&self, id: SessionId) -> Result<Option<Person>, Error> {
        let views = self.views.platform();
        let Some(session) = views.get::<session::View>(id).await? else {
            return Ok(None);
        };
        let account = views.get::<account::View>(session.view.account).await?;
        let Some(account) = account.filter(|account| {
            let epoch = account.view.epoch;
            session.view.is_valid(now(), epoch) && !account.view.is_disabled
        }) else {
            return Ok(None);
        };
        let is_live = vouches_still(&self.views, &session.view).await?;
        let Some(proofs) = account.view.proved_in(&session.view, is_live) else {
            return Ok(None);
        };
        if !self.uses.is_in_use(&session).await? {
            return Ok(None);
        }
        let impersonator = session.view.impersonator;
        if let Some(by) = &impersonator
            && !may_impersonate(&self.views, id, by).await?
        {
            return Ok(None);
        }
        Ok(Some(Person {
            session: id,
            started_at: session.view.started_at,
            scope: account.view.scope_of(&proofs),
            proofs,
            account,
            impersonator,
        }))
    }

    async fn tenant(
        &self,
        named: &NamedTenant,
    ) -> Result<Option<ViewDocument<tenant::View>>, Error> {
        let views = self.views.platform();
        match named {
            NamedTenant::None | NamedTenant::Malformed => Ok(None),
            NamedTenant::Slug(slug) => {
                let filter = Filter::default().is("slug", slug)?;
                let is_named = |tenant: &tenant::View| tenant.slug == *slug;
                views.named(slug.as_str(), is_named, filter).await
            }
            NamedTenant::Id(id) => views.get(*id).await,
        }
    }

    async fn membership(
        &self,
        tenant: ViewDocument<tenant::View>,
        account: AccountId,
    ) -> Result<Option<Membership>, Error> {
        let views = self.views.of(&tenant)?;
        let accepted = Filter::default()
            .is("account", account)?
            .is("status", member::Status::Accepted)?;
        let is_accepted = |member: &member::View| {
            member.account == Some(account) && member.status == member::Status::Accepted
        };
        let name = account.to_string();
        let (member, roles) = tokio::try_join!(
            views.named(&name, is_accepted, accepted),
            self.permissions.of(&views, tenant.id)
        )?;
        Ok(member.map(|member| {
            let permissions = roles.of_member(&member.view);
            self.join(tenant, views, Some(member), roles, permissions)
        }))
    }

    fn join(
        &self,
        tenant: ViewDocument<tenant::View>,
        views: TenantViews,
        member: Option<ViewDocument<member::View>>,
        roles: Arc<RolePermissions>,
        permissions: Permissions,
    ) -> Membership {
        Membership {
            tenant,
            member,
            permissions,
            roles,
            views,
            plan: OnceCell::new(),
            plans: self.plans.clone(),
        }
    }

    /// Returns what a caller may do in a tenant, whichever tenant the request names.
    ///
    /// # Errors
    /// If a view cannot be read.
    pub(crate) async fn permissions_in(
        &self,
        tenant: &ViewDocument<tenant::View>,
        caller: &Caller,
    ) -> Result<Permissions, Error> {
        if let Ok(named) = &caller.membership
            && named.tenant.id == tenant.id
        {
            return Ok(named.permissions.clone());
        }
        // An access token is valid in its own tenant only, and so is a session of somebody who acts
        // as a person, or for whom only a tenant's connection vouches.
        let person = caller.person().ok();
        let Some(person) = person.filter(|person| person.acts_in(tenant.id)) else {
            return Ok(Permissions::new());
        };
        let membership = self.membership(tenant.clone(), person.account_id()).await?;
        let Some(membership) = membership else {
            return Ok(Permissions::new());
        };
        let demanded = self.demanded(person, membership).await?;
        Ok(demanded.map_or_else(|_| Permissions::new(), |membership| membership.permissions))
    }

    fn idempotency(&self, headers: &HeaderMap, body: Bytes) -> Result<Option<Idempotency>, Error> {
        let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
            return Ok(None);
        };
        Ok(Some(Idempotency {
            secret: self.secret.clone(),
            key: idempotency_key(value.as_bytes())?,
            body,
        }))
    }

    /// Returns where a request came from. Behind a proxy, that is the last address in the header
    /// that the operator has named: the client itself may have written the ones before it.
    pub(crate) fn origin(&self, head: &RequestHead) -> Origin {
        let agent = head.headers.get(USER_AGENT);
        let agent = agent.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let address = match &self.client_address_header {
            Some(name) => last_address(&head.headers, name),
            None => head.peer.map(|peer| peer.to_string()),
        };
        Origin {
            address: address.and_then(|text| Address::parse(&text).ok()),
            device: Device::from_user_agent(&agent.unwrap_or_default()),
        }
    }
}

fn last_address(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let last = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    Some(last.rsplit(',').next()?.trim().to_owned())
}

fn idempotency_key(bytes: &[u8]) -> Result<String, Error> {
    let is_printable = |key: &&str| key.bytes().all(|c| (b' '..=b'~').contains(&c));
    let key = str::from_utf8(bytes).ok().filter(is_printable);
    let key = key.filter(|key| (1..=128).contains(&key.len()));
    key.map(str::to_owned).ok_or_else(|| {
        let message = "Idempotency-Key must have 1 to 128 printable ASCII characters.";
        Error::input(IDEMPOTENCY_KEY, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idempotency_key_is_printable_and_bounded() {
        assert_eq!(idempotency_key(b"a key ~1").unwrap(), "a key ~1");
        for wrong in ["", "a\tb", "ä", "a\u{7f}", &"x".repeat(129)] {
            assert!(idempotency_key(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn behind_a_proxy_the_last_address_counts() {
        let name = HeaderName::from_static("x-forwarded-for");
        let mut headers = HeaderMap::new();
        assert_eq!(last_address(&headers, &name), None);
        headers.append(&name, "6.6.6.6".parse().unwrap());
        headers.append(&name, "7.7.7.7, 10.0.0.1".parse().unwrap());
        assert_eq!(last_address(&headers, &name).unwrap(), "10.0.0.1");
    }
}
