//! Who makes a request: the only source of tenant ids and actors.
//!
//! Read anew for each request from the session's and the account's views, so that a revocation counts at once at every
//! gateway. What the caller may do is decided elsewhere.

use async_graphql::Context;
use axum::{body::Bytes, http::HeaderMap, http::header::USER_AGENT};
use events_schema::{AccountId, Actor, Area, CommandId, Device, Id, SessionId, TenantId, account, secret::ServerKey, session};

use crate::{
    State,
    cookie::{self, random},
    error::Error,
    now,
    trace::Trace,
    views::Found,
};

/// The header by which a client names a request, so that saying it again does nothing twice.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// Who makes a request, and how commands that follow from it are named.
pub(crate) struct Caller {
    /// Who it is; none for somebody who is not logged in.
    pub(crate) identity: Option<Identity>,
    /// What the client says that it is.
    pub(crate) device: Device,
    /// The request's trace.
    pub(crate) trace: Trace,
    idempotency: Option<Idempotency>,
}

/// Somebody who is logged in.
pub(crate) struct Identity {
    /// By which session.
    pub(crate) session: SessionId,
    /// Their account.
    pub(crate) account: Found<account::View>,
}

impl Identity {
    /// The account's id.
    pub(crate) fn account_id(&self) -> AccountId {
        AccountId(self.account.id)
    }
}

/// A request that its client has named.
struct Idempotency {
    key: String,
    body: Bytes,
}

impl Caller {
    /// Reads who makes a request. A cookie that is malformed, foreign or of a session that ended makes nobody of them.
    pub(crate) async fn of(state: &State, headers: &HeaderMap, trace: Trace, body: Bytes) -> Result<Self, Error> {
        let key = headers.get(IDEMPOTENCY_KEY).map(|value| idempotency_key(value.as_bytes())).transpose()?;
        let agent = headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default();
        let mut caller =
            Self { device: Device::from_user_agent(&agent), idempotency: key.map(|key| Idempotency { key, body }), ..Self::nobody(trace) };
        if let Some(session) = cookie::session_id(headers, state.config.is_https()) {
            caller.identity = caller.identify(state, session).await?;
        }
        Ok(caller)
    }

    /// Somebody who is not logged in and says nothing about themselves.
    pub(crate) fn nobody(trace: Trace) -> Self {
        Self { identity: None, device: Device::from_user_agent(""), trace, idempotency: None }
    }

    async fn identify(&self, state: &State, id: SessionId) -> Result<Option<Identity>, Error> {
        let views = state.views.scoped(self.tenant());
        let Some(session) = views.get::<session::View>(Area::Session, id.0).await? else { return Ok(None) };
        let Some(account) = views.get::<account::View>(Area::Account, session.view.account.0).await? else { return Ok(None) };
        let now = now();
        if !session.view.is_live(now, account.view.epoch) {
            return Ok(None);
        }
        if now.since(session.view.last_used_at) > session::USE_NOTED_EVERY {
            // Requests that come at once name the same command, so the use is noted once.
            let last_use = session.view.last_used_at.0.to_be_bytes();
            let command = CommandId(state.config.secret.id(&[b"touch", id.0.bytes(), &last_use]));
            let actor = Actor::Account(AccountId(account.id));
            state.commands.send_in_background(self, actor, Area::Session, id.0, command, session::Command::Touch);
        }
        Ok(Some(Identity { session: id, account }))
    }

    /// Whose data this request is about. Accounts and sessions belong to no tenant.
    pub(crate) const fn tenant(&self) -> TenantId {
        TenantId::Platform
    }

    /// Who wants what this request asks for.
    pub(crate) fn actor(&self) -> Actor {
        self.identity.as_ref().map_or(Actor::Anonymous, |identity| Actor::Account(identity.account_id()))
    }

    /// Who it is, where that is required.
    pub(crate) fn identity(&self) -> Result<&Identity, Error> {
        self.identity.as_ref().ok_or_else(Error::not_logged_in)
    }

    /// Names the command of the field being resolved: as a new one, or, where the client named the request, so that
    /// the same field of the same request by the same actor is the same command.
    pub(crate) fn command_id(&self, key: &ServerKey, field: &Context<'_>) -> Result<CommandId, Error> {
        let Some(request) = &self.idempotency else { return new_command_id() };
        let path = field.path_node.map(|node| node.to_string()).unwrap_or_default();
        Ok(self.command_id_at(key, request, &path))
    }

    fn command_id_at(&self, key: &ServerKey, request: &Idempotency, path: &str) -> CommandId {
        let actor = self.identity.as_ref().map(|identity| identity.account.id);
        let actor: &[u8] = actor.as_ref().map_or(b"anonymous", |id| id.bytes());
        CommandId(key.id(&[b"command", actor, request.key.as_bytes(), &request.body, path.as_bytes()]))
    }
}

/// Names a command that no retry need find again.
pub(crate) fn new_command_id() -> Result<CommandId, Error> {
    random().map(|bytes| CommandId(Id::from_bytes(bytes)))
}

fn idempotency_key(bytes: &[u8]) -> Result<String, Error> {
    let key = str::from_utf8(bytes).ok().filter(|key| (1..=128).contains(&key.len()) && key.bytes().all(|c| (b' '..=b'~').contains(&c)));
    key.map(str::to_owned).ok_or_else(|| Error::input(IDEMPOTENCY_KEY, "Idempotency-Key must have 1 to 128 printable ASCII characters."))
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
            caller.command_id_at(&secret, &Idempotency { key: key.to_owned(), body: Bytes::from(body) }, path)
        };
        let first = id("k", "body", "account.register");
        assert_eq!(first, id("k", "body", "account.register"));
        for other in [id("k2", "body", "account.register"), id("k", "body2", "account.register"), id("k", "body", "account.second")] {
            assert_ne!(first, other);
        }
    }
}
