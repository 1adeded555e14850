//! Rebuilds views from the log while everything runs: `workers rebuild-views`.

use anyhow::ensure;
use event_store::{MongoOptions, NatsOptions, Role};
use events_schema::AreaName;
use futures_util::future::BoxFuture;

use crate::{
    operate::any_view,
    placements::Placements,
    views::{Rebuilt, Scope},
};

/// The memory for documents that are not compared yet, in MiB, unless the operator says otherwise:
/// for all documents of a log of two million commits.
pub const REBUILD_MEMORY_MIB: u32 = 1_024;

/// Brings the documents of these areas to what the log says. Holds documents of up to `memory_mib` in
/// memory, measured by their commits, before it compares them with the stored ones. `progress` is
/// called with the view's name and a step.
///
/// # Errors
/// If a server does not answer; a further run goes on from there. At the end, if the log has
/// commits that cannot be decoded.
pub fn rebuild_views<'a>(
    nats: &'a NatsOptions,
    mongo: &'a MongoOptions,
    areas: &'a [AreaName],
    memory_mib: u32,
    progress: &'a (dyn Fn(&str, &str) + Send + Sync),
) -> BoxFuture<'a, anyhow::Result<()>> {
    Box::pin(rebuild_all(nats, mongo, areas, memory_mib, progress))
}

async fn rebuild_all(
    nats: &NatsOptions,
    mongo: &MongoOptions,
    areas: &[AreaName],
    memory_mib: u32,
    progress: &(dyn Fn(&str, &str) + Send + Sync),
) -> anyhow::Result<()> {
    let client = event_store::connect(nats, Role::Workers).await?;
    let placements = Placements::connect(mongo).await?;
    let max_held_bytes = usize::try_from(memory_mib)? * 1024 * 1024;
    // Tenants first: their view has the placements of all others.
    let (tenants, others): (Vec<AreaName>, Vec<AreaName>) =
        areas.iter().partition(|area| **area == AreaName::Tenant);
    let mut left = 0;
    for view in any_view::of(tenants.into_iter().chain(others), &client, &placements) {
        let name = view.name();
        let of_view = |read: u64, next: u64| {
            progress(name, &format!("{read} commits read, up to sequence {next}"));
        };
        let rebuilt = view.rebuild(Scope::All, max_held_bytes, &of_view);
        let Rebuilt {
            commits,
            written,
            removed,
            unreadable,
        } = rebuilt.await?;
        let done =
            format!("done: {commits} commits read, {written} documents written, {removed} removed");
        progress(name, &done);
        left += unreadable;
    }
    ensure!(
        left == 0,
        "documents that were left as they are, since this release cannot decode a commit of theirs: \
         {left}; see the errors above"
    );
    Ok(())
}
