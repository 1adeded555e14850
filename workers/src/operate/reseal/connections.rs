//! Seals the client secrets of connections again.

use std::collections::BTreeMap;

use anyhow::Context as _;
use event_store::{CommandSender, EventLog};
use events_schema::{
    AreaName, Commit, TenantId, TenantKey, View as _,
    connection::{Area, Command, Connection, SEALED_FOR, View},
    secret::ServerKey,
    subject::events_of_tenant_in,
};

use super::{sealed_again, send};

/// Seals every client secret again that another secret than the current one has sealed. Returns how
/// many connections have changed.
///
/// # Errors
/// If a client secret opens with none of the secrets, or a server or worker does not answer.
pub(super) async fn reseal_connections(
    log: &EventLog,
    sender: &CommandSender,
    key: &ServerKey,
) -> anyhow::Result<u64> {
    let mut changed = 0;
    for (tenant, view) in all(log).await? {
        for connection in &view.connections {
            let Some(reseal) = resealed(key, tenant, connection)? else {
                continue;
            };
            send::<Area>(sender, TenantId::Platform, tenant, reseal).await?;
            tracing::info!(%tenant, connection = %connection.id, "sealed again");
            changed += 1;
        }
    }
    Ok(changed)
}

/// Returns the connections of all tenants.
async fn all(log: &EventLog) -> anyhow::Result<BTreeMap<TenantKey, View>> {
    let filter = events_of_tenant_in(TenantId::Platform, AreaName::Connection);
    let mut views: BTreeMap<TenantKey, Option<View>> = BTreeMap::new();
    for stored in log.read(&filter, 0).await? {
        let commit = serde_json::from_slice::<Commit<Area>>(&stored.payload);
        let commit = commit.context("a commit of a newer release: use its `workers reseal`")?;
        let view = views.entry(commit.id).or_default();
        *view = View::fold(view.take(), &commit);
    }
    let shown = views.into_iter();
    Ok(shown
        .filter_map(|(tenant, view)| Some((tenant, view?)))
        .collect())
}

fn resealed(
    key: &ServerKey,
    tenant: TenantKey,
    connection: &Connection,
) -> anyhow::Result<Option<Command>> {
    let bound_to = [tenant.0.bytes().as_slice(), connection.id.0.bytes()];
    let former = &connection.settings.client_secret;
    if key.is_current(SEALED_FOR, &bound_to, former) {
        return Ok(None);
    }
    let current = sealed_again(key, SEALED_FOR, &bound_to, former);
    let place = || format!("connection {} of tenant {tenant}", connection.id);
    Ok(Some(Command::Reseal {
        connection: connection.id,
        former: former.clone(),
        current: current.with_context(place)?,
    }))
}
