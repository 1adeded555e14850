//! What a tenant means for a session: one ends with the connection that vouches for it, and a
//! tenant may demand its own issuer, and two factors.

use events_schema::{BuiltInRole, ConnectionId, Proof, Scope, TenantKey, connection, session};

use super::Callers;
use crate::{
    backend::views::Views,
    error::Error,
    identity::{Membership, Person, caller::NoTenant},
};

/// Whether the connection by which a session has begun vouches for it still. A session that has
/// begun in another way needs none.
///
/// # Errors
/// If the view cannot be read.
pub(crate) async fn vouches_still(views: &Views, session: &session::View) -> Result<bool, Error> {
    match session.proofs().iter().find_map(Proof::vouched) {
        Some((scope, epoch)) => vouches(views, scope, epoch).await,
        None => Ok(true),
    }
}

/// Whether the word still counts that the issuer of a connection has given in this epoch of it. One
/// of an epoch that is not known here yet does.
///
/// # Errors
/// If the view cannot be read.
pub(crate) async fn vouches(views: &Views, scope: Scope, epoch: i64) -> Result<bool, Error> {
    let platform = views.platform();
    let found = platform.shared::<connection::View>(scope.tenant).await?;
    let view = found.as_ref().and_then(|found| found.view.as_ref());
    let connection = view.and_then(|view| view.find(scope.connection));
    Ok(connection.is_some_and(|connection| connection.stands_by(epoch)))
}

impl Callers {
    /// Returns the membership of a person if their session has what the tenant demands: the word of
    /// an enforced connection about one of its own people, or the proof of a passkey for an owner;
    /// and two factors. Who acts as a person needs neither, since the tenant has let them in.
    pub(super) async fn demanded(
        &self,
        person: &Person,
        membership: Membership,
    ) -> Result<Result<Membership, NoTenant>, Error> {
        let tenant = membership.tenant.id;
        let platform = self.views.platform();
        let found = platform.shared::<connection::View>(tenant).await?;
        let connections = found.as_ref().and_then(|found| found.view.as_ref());
        let role = membership.member.as_ref().map(|member| member.view.role);
        let needed = connections.and_then(|all| needed(person, tenant, role, all));
        if let Some(connection) = needed {
            let start_url = start_url(&self.public_url, connection);
            return Ok(Err(NoTenant::SsoRequired(start_url)));
        }
        Ok(person.satisfies(&membership.tenant).map(|()| membership))
    }
}

/// Returns the connection by which a person with this role must log in first; `None` if they need
/// none, or have what the tenant demands.
fn needed(
    person: &Person,
    tenant: TenantKey,
    role: Option<BuiltInRole>,
    connections: &connection::View,
) -> Option<ConnectionId> {
    let first = connections.enforced().next()?;
    let came_by = |connection| person.came_by(tenant, connection).is_some();
    let is_met = person.impersonator.is_some()
        || (role == Some(BuiltInRole::Owner) && person.has_used_passkey())
        || connections.enforced().any(came_by);
    (!is_met).then_some(first.id)
}

/// Returns where a browser begins to log in by a connection.
pub(crate) fn start_url(public_url: &str, connection: ConnectionId) -> String {
    format!("{public_url}/oauth/{connection}/start")
}

#[cfg(test)]
mod tests;
