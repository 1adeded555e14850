//! What a resolver needs: the caller, the use cases, the ids of commands.

use std::sync::Arc;

use async_graphql::Context;
use axum::http::header::SET_COOKIE;
use events_schema::{Access, AreaName, CommandId, Permissions, TenantKey};

use super::{cursor::Cursors, extension::Notes, loaders::Loaders};
use crate::{
    access::{Rights, shows},
    error::Error,
    identity::{
        Caller, Membership,
        cookie::{Cookies, Kind, SessionToken},
    },
    security::SecurityEvents,
    use_cases::{UseCases, list::Wanted, session::Started},
};

/// A field that is being resolved.
pub(super) struct FieldContext<'a> {
    ctx: &'a Context<'a>,
    pub(super) use_cases: &'a UseCases,
    pub(super) caller: &'a Caller,
}

impl<'a> FieldContext<'a> {
    pub(super) fn of(ctx: &'a Context<'a>) -> Self {
        Self {
            ctx,
            use_cases: ctx.data_unchecked::<Arc<UseCases>>(),
            caller: ctx.data_unchecked::<Caller>(),
        }
    }

    /// Returns the caller's membership of the tenant that the request is for.
    ///
    /// # Errors
    /// `Unauthenticated`, `BadUserInput` or `NotFound` if there is none.
    pub(super) fn membership(&self) -> Result<&'a Membership, Error> {
        self.caller.membership()
    }

    /// Returns the loaders, which read related objects once for all fields of the request.
    pub(super) fn loaders(&self) -> &'a Loaders {
        self.ctx.data_unchecked::<Loaders>()
    }

    /// Returns what writes and reads the cursors of timelines.
    pub(super) fn cursors(&self) -> &'a Cursors {
        self.ctx.data_unchecked::<Cursors>()
    }

    /// Checks that the caller may read a field that the area lists in `FIELDS`. `held` is what they
    /// may do in the object's `tenant`, and `is_own` whether the object is their own.
    ///
    /// # Errors
    /// `Forbidden` if they may not.
    pub(super) fn ensure_shown(
        &self,
        area: AreaName,
        name: &'static str,
        tenant: TenantKey,
        held: &Permissions,
        is_own: bool,
    ) -> Result<(), Error> {
        let row = area.field(name).ok_or(Error::Forbidden)?;
        let rights = Rights {
            held: Ok(held),
            ..self.caller.rights()
        };
        let shown = shows(row, is_own, rights);
        let notes = self.ctx.data_unchecked::<Arc<Notes>>();
        if matches!(shown, Err(Error::Forbidden)) && notes.is_first_refusal(area, name) {
            self.record_refusal(area, row, tenant);
        }
        shown
    }

    /// Records a refused field. The tenant of the object learns of it only if the request names it:
    /// a list may show other tenants, which nobody tries to enter.
    fn record_refusal(&self, area: AreaName, row: &'static Access, tenant: TenantKey) {
        let membership = self.caller.membership.as_ref().ok();
        let named = membership.map(|membership| membership.tenant.id);
        let security = self.ctx.data_unchecked::<SecurityEvents>();
        let tenant = named.filter(|named| *named == tenant);
        security.record_refusal(area, row, self.caller, tenant);
    }

    /// Returns the id of the command that the field sends: a new one with each call, or the same
    /// one for a request that is repeated with its `Idempotency-Key`.
    ///
    /// # Errors
    /// If the operating system has no random bytes.
    pub(super) fn command_id(&self) -> Result<CommandId, Error> {
        let path = self.ctx.path_node.map(|node| node.to_string());
        self.caller.command_id(&path.unwrap_or_default())
    }

    /// Returns what the client asks for of a connection, besides its nodes.
    pub(super) fn wanted(&self) -> Wanted {
        let asks_for = |path: &[&str]| {
            let fields = path
                .iter()
                .fold(self.ctx.look_ahead(), |at, name| at.field(name));
            fields.exists()
        };
        Wanted {
            total: asks_for(&["totalCount"]),
            cursors: asks_for(&["edges", "cursor"])
                || asks_for(&["pageInfo", "startCursor"])
                || asks_for(&["pageInfo", "endCursor"]),
        }
    }

    /// Hands a new session to the client, with the proof that this device has one.
    pub(super) fn start_session(&self, started: &Started) {
        self.hand_over_session(&started.token);
        if let Some(device) = &started.device {
            self.hand_over(Kind::Device, device);
        }
    }

    /// Hands a new session to the client. The device does not count as one of the person.
    pub(super) fn hand_over_session(&self, token: &SessionToken) {
        let cookies = self.ctx.data_unchecked::<Cookies>();
        self.ctx.append_http_header(SET_COOKIE, cookies.set(token));
    }

    /// Hands a cookie of this kind to the client.
    pub(super) fn hand_over(&self, kind: Kind, value: &str) {
        let cookies = self.ctx.data_unchecked::<Cookies>();
        self.ctx
            .append_http_header(SET_COOKIE, cookies.hand_over(kind, value));
    }

    /// Deletes the client's cookie of this kind.
    pub(super) fn clear_cookie(&self, kind: Kind) {
        let cookies = self.ctx.data_unchecked::<Cookies>();
        self.ctx.append_http_header(SET_COOKIE, cookies.clear(kind));
    }
}
