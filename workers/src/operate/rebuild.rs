//! Rebuilds views from the log while everything runs: `workers rebuild-views`.

use event_store::{MongoOptions, NatsOptions, Role};
use events_schema::AreaName;

use crate::{operate::any_view, placements::Placements};

/// Rebuilds the views of these areas. `progress` is called with the view's name, the number of
/// commits read and the sequence to continue from.
///
/// # Errors
/// If a server does not answer. The command can be repeated; until then a view may lag.
pub async fn rebuild_views(
    nats: &NatsOptions,
    mongo: &MongoOptions,
    areas: &[AreaName],
    progress: impl Fn(&str, u64, u64) + Send + Sync,
) -> anyhow::Result<()> {
    let client = event_store::connect(nats, Role::Workers).await?;
    let placements = Placements::connect(mongo).await?;
    // Tenants first: their view has the placements of all others.
    let (tenants, others): (Vec<AreaName>, Vec<AreaName>) =
        areas.iter().partition(|area| **area == AreaName::Tenant);
    for view in any_view::of(tenants.into_iter().chain(others), &client, &placements) {
        let of_view = |read, next| progress(view.name(), read, next);
        view.rebuild(&of_view).await?;
    }
    Ok(())
}
