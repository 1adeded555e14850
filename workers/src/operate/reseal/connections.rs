//! Seals the client secrets of connections again.

use std::collections::BTreeMap;

use anyhow::Context as _;
use events_schema::{
    AreaName, Commit, TenantId, TenantKey, View as _,
    connection::{Area, Command, SEALED_FOR, View},
    sealed::Resealed,
    subject::events_of_tenant_in,
};

use super::Resealer;

impl Resealer {
    pub(super) async fn connections(&self) -> anyhow::Result<u64> {
        let mut changed = 0;
        for (tenant, view) in self.all_connections().await? {
            for connection in &view.connections {
                let (id, secret) = (connection.id, &connection.settings.client_secret);
                let values = self.resealed(SEALED_FOR, tenant, id.0, [secret].into_iter());
                let values = values.with_context(|| format!("connection {id}"))?;
                for Resealed { former, current } in values {
                    let command = Command::Reseal {
                        connection: id,
                        former,
                        current,
                    };
                    let owner = TenantId::Platform;
                    self.send::<Area>(owner, tenant, command).await?;
                    tracing::info!(%tenant, connection = %id, "sealed again");
                    changed += 1;
                }
            }
        }
        Ok(changed)
    }

    /// Returns the connections of all tenants.
    async fn all_connections(&self) -> anyhow::Result<BTreeMap<TenantKey, View>> {
        let filter = events_of_tenant_in(TenantId::Platform, AreaName::Connection);
        let mut views: BTreeMap<TenantKey, Option<View>> = BTreeMap::new();
        for stored in self.log.read(&filter, 0).await? {
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
}
