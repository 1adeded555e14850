//! Who makes a request: the only source of tenant ids and actors.
//!
//! Read anew for each request from the session's and the account's views, so that a revocation
//! counts at once at every gateway. What the caller may do is decided elsewhere.

use std::{net::IpAddr, sync::Arc};

use async_graphql::Context;
use axum::{
    body::Bytes,
    http::{HeaderMap, Uri, header::USER_AGENT},
};
use events_schema::{
    AccessTokenId, AccountId, Actor, Address, Area, CommandId, Device, Id, Origin, Permissions,
    SessionId, TenantId, access_token, account, member, secret::ServerKey, session, tenant,
};
use mongodb::bson::doc;

use crate::{
    State,
    access::rights::RoleRights,
    backend::commands::Wish,
    backend::views::{Found, Scoped},
    error::Error,
    identity::bearer::{Bearer, Token, bearer},
    identity::cookie::{self, random},
    identity::tenancy::{Named, named},
    now,
    trace::Trace,
};

/// The header by which a client names a request, so that saying it again does nothing twice.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// Who makes a request, in which tenant, and how commands that follow from it are named.
pub(crate) struct Caller {
    /// Who it is; none for somebody who is not logged in.
    pub(crate) identity: Option<Identity>,
    /// The tenant that the request names, if they belong to it.
    pub(crate) membership: Option<Membership>,
    /// Where the request came from.
    pub(crate) origin: Origin,
    /// The request's trace.
    pub(crate) trace: Trace,
    idempotency: Option<Idempotency>,
}

/// Somebody who has proved who they are.
pub(crate) struct Identity {
    /// How.
    pub(crate) by: By,
    /// Their account; of whoever made it, for an access token.
    pub(crate) account: Found<account::View>,
    /// Whether the configuration names them as such.
    pub(crate) is_platform_admin: bool,
}

/// How somebody has proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// By a session: a person.
    Session(SessionId),
    /// By an access token: a machine.
    AccessToken(AccessTokenId),
}

/// A tenant that the caller belongs to.
pub(crate) struct Membership {
    /// Which.
    pub(crate) tenant: Found<tenant::View>,
    /// As which member.
    pub(crate) member: Found<member::View>,
    /// What they may do there.
    pub(crate) rights: Permissions,
    /// What each role there holds.
    pub(crate) roles: Arc<RoleRights>,
    /// The tenant's views.
    pub(crate) views: Scoped,
}

impl Identity {
    /// The account's id.
    pub(crate) fn account_id(&self) -> AccountId {
        AccountId(self.account.id)
    }

    /// The session that the request came by; none for a machine.
    pub(crate) fn session(&self) -> Option<SessionId> {
        match self.by {
            By::Session(session) => Some(session),
            By::AccessToken(_) => None,
        }
    }
}

/// A request that its client has named.
struct Idempotency {
    key: String,
    body: Bytes,
}

/// What a request says, beside its body.
pub(crate) struct Asked<'a> {
    /// Its headers.
    pub(crate) headers: &'a HeaderMap,
    /// Its target.
    pub(crate) uri: &'a Uri,
    /// Who sent it, as the network knows them.
    pub(crate) peer: Option<IpAddr>,
    /// Its trace.
    pub(crate) trace: Trace,
}

impl Caller {
    /// Reads who makes a request, and in which tenant. A cookie or token that is malformed, foreign
    /// or over makes nobody of them; a tenant that there is not, or that they do not belong to, is
    /// none.
    pub(crate) async fn of(state: &State, asked: &Asked<'_>, body: Bytes) -> Result<Self, Error> {
        let headers = asked.headers;
        let key = headers
            .get(IDEMPOTENCY_KEY)
            .map(|value| idempotency_key(value.as_bytes()))
            .transpose()?;
        let idempotency = key.map(|key| Idempotency { key, body });
        let mut caller = Self {
            origin: origin(state, asked),
            idempotency,
            ..Self::nobody(asked.trace)
        };
        let named = named(
            &state.config.tenant_resolvers,
            &state.config.public_url,
            headers,
            asked.uri,
        );
        match bearer(headers) {
            Bearer::Absent => {
                if let Some(session) = cookie::session_id(headers, state.config.is_https()) {
                    caller.identity = caller.identify(state, session).await?;
                }
                if let Some(identity) = &caller.identity
                    && let Some(tenant) = find_tenant(state, &named).await?
                {
                    caller.membership =
                        Membership::of(state, tenant, identity.account_id()).await?;
                }
            }
            Bearer::Nonsense => {}
            Bearer::Token(token) => caller.take_token(state, &token, &named).await?,
        }
        Ok(caller)
    }

    /// Somebody who is not logged in and says nothing about themselves.
    pub(crate) fn nobody(trace: Trace) -> Self {
        let origin = Origin {
            address: None,
            device: Device::from_user_agent(""),
        };
        Self {
            identity: None,
            membership: None,
            origin,
            trace,
            idempotency: None,
        }
    }

    async fn identify(&self, state: &State, id: SessionId) -> Result<Option<Identity>, Error> {
        let views = state.views.platform();
        let Some(session) = views.get::<session::View>(id.0).await? else {
            return Ok(None);
        };
        let Some(account) = views.get::<account::View>(session.view.account.0).await? else {
            return Ok(None);
        };
        let now = now();
        if !session.view.is_live(now, account.view.epoch) {
            return Ok(None);
        }
        if now.since(session.view.last_used_at) > session::USE_NOTED_EVERY {
            // Requests that come at once name the same command, so the use is noted once.
            let last_use = session.view.last_used_at.0.to_be_bytes();
            let command = CommandId(state.config.secret.id(&[b"touch", id.0.bytes(), &last_use]));
            let actor = Actor::Account(AccountId(account.id));
            state.commands.send_in_background(
                self,
                actor,
                Area::Session,
                Wish::new(id.0, command, session::Command::Touch),
            );
        }
        Ok(Some(Identity::new(state, By::Session(id), account)))
    }

    /// A token acts in its own tenant, within its scopes and what its creator may do there now.
    /// Where the creator is no longer a member it is worth nothing.
    async fn take_token(
        &mut self,
        state: &State,
        token: &Token,
        named: &Named,
    ) -> Result<(), Error> {
        let Some(tenant) = find_tenant(state, &Named::Id(token.tenant())).await? else {
            return Ok(());
        };
        let id = token.id();
        let Some(found) = state
            .views
            .of(&tenant)?
            .get::<access_token::View>(id.0)
            .await?
        else {
            return Ok(());
        };
        let account = state
            .views
            .platform()
            .get::<account::View>(found.view.creator.0)
            .await?;
        let own = match named {
            Named::None => true,
            Named::Id(id) => *id == tenant.id,
            Named::Slug(slug) => *slug == tenant.view.slug,
            Named::Nonsense => false,
        };
        let membership = Membership::of(state, tenant, found.view.creator).await?;
        let (Some(account), Some(mut membership)) = (account, membership) else {
            return Ok(());
        };
        if now() >= found.view.expires_at {
            return Ok(());
        }
        state.token_uses.note(id);
        membership.rights = membership
            .rights
            .intersection(&found.view.scopes)
            .copied()
            .collect();
        self.identity = Some(Identity::new(state, By::AccessToken(id), account));
        self.membership = own.then_some(membership);
        Ok(())
    }

    /// Who wants what this request asks for.
    pub(crate) fn actor(&self) -> Actor {
        self.identity
            .as_ref()
            .map_or(Actor::Anonymous, |identity| match identity.by {
                By::Session(_) => Actor::Account(identity.account_id()),
                By::AccessToken(id) => Actor::AccessToken(id),
            })
    }

    /// Who it is, person or machine, where that is required.
    pub(crate) fn identity(&self) -> Result<&Identity, Error> {
        self.identity.as_ref().ok_or_else(Error::not_logged_in)
    }

    /// Who it is, where it must be a person.
    pub(crate) fn person(&self) -> Result<&Identity, Error> {
        let identity = self.identity()?;
        if identity.session().is_some() {
            Ok(identity)
        } else {
            Err(Error::Forbidden)
        }
    }

    /// The tenant that the request is about. A foreign one answers as a missing one.
    pub(crate) fn membership(&self) -> Result<&Membership, Error> {
        self.identity()?;
        self.membership.as_ref().ok_or(Error::NotFound)
    }

    /// Names the command of the field being resolved: as a new one, or, where the client named the
    /// request, so that the same field of the same request by the same actor is the same command.
    pub(crate) fn command_id(
        &self,
        key: &ServerKey,
        field: &Context<'_>,
    ) -> Result<CommandId, Error> {
        let Some(request) = &self.idempotency else {
            return new_command_id();
        };
        let path = field
            .path_node
            .map(|node| node.to_string())
            .unwrap_or_default();
        Ok(self.command_id_at(key, request, &path))
    }

    fn command_id_at(&self, key: &ServerKey, request: &Idempotency, path: &str) -> CommandId {
        let actor = self.identity.as_ref().map(|identity| identity.account.id);
        let actor: &[u8] = actor.as_ref().map_or(b"anonymous", |id| id.bytes());
        // The body alone does not tell in which tenant.
        let tenant = self
            .membership
            .as_ref()
            .map(|membership| membership.tenant.id);
        let tenant: &[u8] = tenant.as_ref().map_or(b"platform", |id| id.bytes());
        CommandId(key.id(&[
            b"command",
            actor,
            tenant,
            request.key.as_bytes(),
            &request.body,
            path.as_bytes(),
        ]))
    }
}

impl Identity {
    fn new(state: &State, by: By, account: Found<account::View>) -> Self {
        let is_platform_admin =
            account.view.verified && state.config.platform_admins.contains(&account.view.email);
        Self {
            by,
            account,
            is_platform_admin,
        }
    }
}

impl Membership {
    async fn of(
        state: &State,
        tenant: Found<tenant::View>,
        account: AccountId,
    ) -> Result<Option<Self>, Error> {
        let views = state.views.of(&tenant)?;
        let accepted = doc! { "view.account": account.to_string(), "view.status": "accepted" };
        let (member, roles) = tokio::try_join!(
            views.find_one::<member::View>(accepted),
            state.rights.of(&views, tenant.id)
        )?;
        Ok(member.map(|member| Self {
            rights: roles.of_member(&member.view),
            tenant,
            member,
            roles,
            views,
        }))
    }

    /// Which tenant.
    pub(crate) fn tenant_id(&self) -> TenantId {
        TenantId::Tenant(self.tenant.id)
    }
}

async fn find_tenant(state: &State, named: &Named) -> Result<Option<Found<tenant::View>>, Error> {
    match named {
        Named::None | Named::Nonsense => Ok(None),
        Named::Slug(slug) => {
            state
                .views
                .platform()
                .find_one(doc! { "view.slug": slug.as_str() })
                .await
        }
        Named::Id(id) => state.views.platform().get(*id).await,
    }
}

/// Where a request came from. Behind a proxy, the last address in the header that the operator has
/// named: what stands before it is the client's own saying.
fn origin(state: &State, asked: &Asked<'_>) -> Origin {
    let agent = asked
        .headers
        .get(USER_AGENT)
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .unwrap_or_default();
    let said = state.config.client_address_header.as_ref().map(|name| {
        let last = asked
            .headers
            .get_all(name)
            .iter()
            .next_back()
            .and_then(|value| value.to_str().ok()?.rsplit(',').next());
        last.unwrap_or_default().trim().to_owned()
    });
    let address = said.or_else(|| asked.peer.map(|peer| peer.to_string()));
    Origin {
        address: address.and_then(|text| Address::parse(&text).ok()),
        device: Device::from_user_agent(&agent),
    }
}

/// Names a command that no retry need find again.
pub(crate) fn new_command_id() -> Result<CommandId, Error> {
    random().map(|bytes| CommandId(Id::from_bytes(bytes)))
}

fn idempotency_key(bytes: &[u8]) -> Result<String, Error> {
    let key = str::from_utf8(bytes).ok().filter(|key| {
        (1..=128).contains(&key.len()) && key.bytes().all(|c| (b' '..=b'~').contains(&c))
    });
    key.map(str::to_owned).ok_or_else(|| {
        Error::input(
            IDEMPOTENCY_KEY,
            "Idempotency-Key must have 1 to 128 printable ASCII characters.",
        )
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
    fn only_the_same_field_of_the_same_request_is_the_same_command() {
        let secret = ServerKey::parse(&"k".repeat(32)).unwrap();
        let caller = Caller::nobody(Trace::of(None));
        let id = |key: &str, body: &'static str, path| {
            caller.command_id_at(
                &secret,
                &Idempotency {
                    key: key.to_owned(),
                    body: Bytes::from(body),
                },
                path,
            )
        };
        let first = id("k", "body", "account.register");
        assert_eq!(first, id("k", "body", "account.register"));
        for other in [
            id("k2", "body", "account.register"),
            id("k", "body2", "account.register"),
            id("k", "body", "account.second"),
        ] {
            assert_ne!(first, other);
        }
    }
}
