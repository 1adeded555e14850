//! What a tenant's own issuers mean for a session: one ends with the connection that vouches for it,
//! and a tenant may demand one.

use events_schema::{BuiltInRole, ConnectionId, Proof, Scope, connection, session};

use super::Callers;
use crate::{
    error::Error,
    identity::{Membership, Person, caller::NoTenant},
};

impl Callers {
    /// Whether the connection by which a session has begun exists still. A session that has begun in
    /// another way needs none.
    pub(super) async fn vouches_still(&self, session: &session::View) -> Result<bool, Error> {
        let Some(Scope { tenant, connection }) = session.proofs().iter().find_map(Proof::scope)
        else {
            return Ok(true);
        };
        let platform = self.views.platform();
        let found = platform.shared::<connection::View>(tenant).await?;
        let view = found.as_ref().and_then(|found| found.view.as_ref());
        Ok(view.is_some_and(|view| view.find(connection).is_some()))
    }

    /// Returns the membership of a person if their session has what the tenant demands: the proof of
    /// an enforced connection, or that of a passkey for an owner. Who acts as a person needs neither,
    /// since the tenant has let them in.
    pub(super) async fn demanded(
        &self,
        person: &Person,
        membership: Membership,
    ) -> Result<Result<Membership, NoTenant>, Error> {
        let tenant = membership.tenant.id;
        let platform = self.views.platform();
        let found = platform.shared::<connection::View>(tenant).await?;
        let view = found.as_ref().and_then(|found| found.view.as_ref());
        let enforced = || view.iter().flat_map(|view| view.enforced());
        let Some(first) = enforced().next() else {
            return Ok(Ok(membership));
        };
        let came_by = |connection| person.came_by(Scope { tenant, connection });
        let role = membership.member.as_ref().map(|member| member.view.role);
        let is_owner = role == Some(BuiltInRole::Owner);
        let is_met = person.impersonator.is_some()
            || (is_owner && person.has_used_passkey())
            || enforced().any(|connection| came_by(connection.id));
        Ok(if is_met {
            Ok(membership)
        } else {
            let start_url = start_url(&self.public_url, first.id);
            Err(NoTenant::SsoRequired(start_url))
        })
    }
}

/// Returns where a browser begins to log in by a connection.
pub(crate) fn start_url(public_url: &str, connection: ConnectionId) -> String {
    format!("{public_url}/oauth/{connection}/start")
}
