//! The connections of a deleted tenant end, and their domains become free.

use events_schema::{
    Commit, TenantId, connection,
    tenant::{Area, Event},
};

use super::{Consequence, Reaction};

/// Ends the connections of deleted tenants.
#[derive(Debug)]
pub struct DeletedTenantConnections;

impl Reaction for DeletedTenantConnections {
    type Source = Area;
    type Target = connection::Area;
    const NAME: &'static str = "deleted_tenant_connections";

    fn react(commit: &Commit<Area>) -> Vec<Consequence<connection::Area>> {
        let is_deleted = commit.events.contains(&Event::Deleted);
        let end = Consequence {
            tenant: TenantId::Platform,
            aggregate: commit.id,
            command: connection::Command::End,
        };
        is_deleted.then_some(end).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use events_schema::TenantKey;

    use super::*;
    use crate::reaction::testing::{ID, when};

    #[test]
    fn only_a_deleted_tenant_loses_its_connections() {
        let end = Consequence {
            tenant: TenantId::Platform,
            aggregate: TenantKey(ID),
            command: connection::Command::End,
        };
        when::<DeletedTenantConnections>([Event::Deleted]).then([end]);
        when::<DeletedTenantConnections>([Event::MoveSwitched]).then([]);
    }
}
