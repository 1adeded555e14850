//! Rebuilds views from the log while everything runs: `workers rebuild-views`.

use event_store::{MongoOptions, NatsOptions, Role};
use events_schema::AreaName;

use crate::{operate::any_view, placements::Placements};

/// The memory for documents that are not written yet, in MiB, unless the operator says otherwise:
/// for all documents of a log of two million commits.
pub const REBUILD_MEMORY_MIB: u32 = 1_024;

/// Rebuilds the views of these areas. Holds documents of up to `memory_mib` in memory, measured by
/// their commits, before it writes them. `progress` is called with the view's name, the number of
/// commits read and the sequence to continue from.
///
/// # Errors
/// If a server does not answer. The command can be repeated; until then a view may lag.
pub async fn rebuild_views(
    nats: &NatsOptions,
    mongo: &MongoOptions,
    areas: &[AreaName],
    memory_mib: u32,
    progress: impl Fn(&str, u64, u64) + Send + Sync,
) -> anyhow::Result<()> {
    let client = event_store::connect(nats, Role::Workers).await?;
    let placements = Placements::connect(mongo).await?;
    let max_held_bytes = usize::try_from(memory_mib)? * 1024 * 1024;
    // Tenants first: their view has the placements of all others.
    let (tenants, others): (Vec<AreaName>, Vec<AreaName>) =
        areas.iter().partition(|area| **area == AreaName::Tenant);
    for view in any_view::of(tenants.into_iter().chain(others), &client, &placements) {
        let of_view = |read, next| progress(view.name(), read, next);
        view.rebuild(max_held_bytes, &of_view).await?;
    }
    Ok(())
}
