//! Rebuilds views from the log while everything runs: `workers rebuild-views`.

use anyhow::ensure;
use event_store::{MongoOptions, NatsOptions};
use events_schema::AreaName;
use futures_util::future::BoxFuture;

use crate::{operate::all_views, placements::Placements, views::Scope};

/// The default of `--memory-mib`: enough for all documents of a log of two million commits.
pub const REBUILD_MEMORY_MIB: u32 = 1_024;

/// Rebuilds the views of these areas. Holds documents of up to `memory_mib` in memory, measured by
/// their commits. `progress` is called with the view's name and a step.
///
/// # Errors
/// If a server does not answer; another run goes on from there. If documents were left as they are,
/// because one of their commits cannot be decoded. The other views are rebuilt all the same.
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
    let client = event_store::connect(nats, "workers").await?;
    let placements = Placements::connect(mongo).await?;
    let max_held_bytes = usize::try_from(memory_mib)? * 1024 * 1024;
    // Tenants first: their view has the placements of all others.
    let (tenants, others): (Vec<AreaName>, Vec<AreaName>) =
        areas.iter().partition(|area| **area == AreaName::Tenant);
    let (mut unreadable, mut failures) = (0, Vec::new());
    for view in all_views::of(tenants.into_iter().chain(others), &client, &placements) {
        let name = view.name();
        let of_view = |read: u64, next: u64| {
            progress(name, &format!("{read} commits read, up to sequence {next}"));
        };
        match view.rebuild(Scope::All, max_held_bytes, &of_view).await {
            Ok(rebuilt) => {
                unreadable += rebuilt.unreadable;
                if rebuilt.newer > 0 {
                    let newer = rebuilt.newer;
                    progress(
                        name,
                        &format!("{newer} documents are left to a newer release"),
                    );
                }
                progress(name, &format!("done: {rebuilt}"));
            }
            Err(error) => {
                progress(name, "not done");
                failures.push(format!("{name}: {error:#}"));
            }
        }
    }
    ensure!(
        failures.is_empty(),
        "run the command again, these views are not complete:\n{}",
        failures.join("\n")
    );
    ensure!(
        unreadable == 0,
        "{unreadable} documents were left as they are, since this release cannot decode one of \
         their commits; see the errors above"
    );
    Ok(())
}
