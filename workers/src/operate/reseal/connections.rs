//! Seals the client secrets of connections again.

use std::collections::BTreeSet;

use anyhow::Context as _;
use events_schema::{
    AreaName, Commit, ConnectionId, Subject, TenantId, TenantKey, View as _,
    connection::{Area, Command, Connection, SEALED_FOR, View},
    sealed::Resealed,
    subject::events_of_tenant_in,
};

use super::Resealer;

impl Resealer {
    pub(super) async fn connections(&self) -> anyhow::Result<u64> {
        let mut changed = 0;
        for tenant in self.tenants_with_connections().await? {
            for connection in self.connections_of(tenant).await? {
                let (id, secret) = (connection.id, &connection.settings.client_secret);
                let values = self.resealed(SEALED_FOR, tenant, id.0, [secret].into_iter())?;
                changed += self.send_secret(tenant, id, values).await?;
            }
        }
        Ok(changed)
    }

    /// Returns how many values there were.
    async fn send_secret(
        &self,
        tenant: TenantKey,
        connection: ConnectionId,
        values: Vec<Resealed>,
    ) -> anyhow::Result<u64> {
        let mut changed = 0;
        for Resealed { former, current } in values {
            let command = Command::Reseal {
                connection,
                former,
                current,
            };
            let owner = TenantId::Platform;
            self.send::<Area>(owner, tenant, command).await?;
            tracing::info!(%tenant, %connection, "sealed again");
            changed += 1;
        }
        Ok(changed)
    }

    /// Returns the tenants that have or had connections. The log is read by pages.
    async fn tenants_with_connections(&self) -> anyhow::Result<BTreeSet<TenantKey>> {
        let filter = events_of_tenant_in(TenantId::Platform, AreaName::Connection);
        let (mut found, mut next) = (BTreeSet::new(), 1);
        loop {
            let page = self.log.page(&filter, next).await?;
            for stored in &page.messages {
                if let Ok(Subject::Event { id, .. }) = Subject::parse(&stored.subject) {
                    found.insert(TenantKey(id));
                }
            }
            match page.messages.last() {
                Some(last) if !page.is_last() => next = last.sequence + 1,
                Some(_) | None => return Ok(found),
            }
        }
    }

    async fn connections_of(&self, tenant: TenantKey) -> anyhow::Result<Vec<Connection>> {
        let subject = Subject::Event {
            tenant: TenantId::Platform,
            area: AreaName::Connection,
            id: tenant.0,
        };
        let mut view: Option<View> = None;
        for stored in self.log.read_all(&subject.to_string(), 1).await? {
            let commit = serde_json::from_slice::<Commit<Area>>(&stored.payload);
            let commit = commit.context("a commit of a newer release: use its `workers reseal`")?;
            view = View::fold(view, &commit);
        }
        Ok(view.map_or_else(Vec::new, |view| view.connections))
    }
}
