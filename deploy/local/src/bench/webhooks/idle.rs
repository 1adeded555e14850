//! What webhooks cost to which nothing is sent.

use anyhow::Context as _;
use event_store::random_id;
use events_schema::{
    TenantKey,
    subject::{EVENTS, WEBHOOKS},
    webhook::MAX_WEBHOOKS,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::{CONCURRENCY, customer::Customer, endpoint::Endpoint, is_idle};
use crate::bench::{
    chosen::Scenario,
    report::{BAR, number},
    results::Row,
    stage::{Parts, Stage},
    start,
};

/// The most webhooks that are made.
pub(super) const MOST: usize = 20_000;
/// Tenants that create their webhooks at once.
const TENANTS_AT_ONCE: usize = 32;

/// Memory that webhooks take to which nothing is sent.
#[derive(Serialize)]
pub(super) struct Idle {
    webhooks: usize,
    /// What each process has more than before, in MiB.
    more_mib: Parts<Option<f64>>,
}

impl Row for Idle {
    const SCENARIO: Scenario = Scenario::Webhooks;
    const TITLE: &'static str = "Memory that idle webhooks take";
    const COLUMNS: &'static [&'static str] = &[
        "webhooks",
        BAR,
        "gateway MiB",
        "workers MiB",
        "nats-server MiB",
        "mongod MiB",
    ];

    fn cells(&self) -> Vec<String> {
        let more = self.more_mib.columns().map(|mib| number(mib, 1));
        let first = [self.webhooks.to_string(), BAR.to_owned()];
        first.into_iter().chain(more).collect()
    }
}

/// Makes webhooks of many tenants, and measures the memory before and after, each time after a start:
/// what creating them has taken is given back late.
///
/// # Errors
/// If a webhook cannot be created, or a process does not start.
pub(super) async fn measure(
    stage: &mut Stage,
    customer: &Customer,
    webhooks: usize,
) -> anyhow::Result<Idle> {
    let (sender, _) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Endpoint::start(sender).await?;
    start::again(stage).await?;
    let before = stage.used();
    let tenants = webhooks.div_ceil(MAX_WEBHOOKS);
    let created = stream::iter(0..tenants).map(async |number| {
        let tenant = TenantKey(random_id()?);
        let first = number * MAX_WEBHOOKS;
        for _ in first..webhooks.min(first + MAX_WEBHOOKS) {
            let created = customer.create(tenant, endpoint.address, CONCURRENCY);
            created.await?;
        }
        anyhow::Ok(())
    });
    let created = created.buffer_unordered(TENANTS_AT_ONCE);
    created.try_collect::<()>().await?;
    for (stream, consumer) in [(EVENTS, "webhooks_wake"), (WEBHOOKS, "webhooks_deliver")] {
        let stream = stage.jetstream().await?.get_stream_no_info(stream).await?;
        let consumer = stream.get_consumer(consumer).await;
        let consumer = consumer.map_err(anyhow::Error::from_boxed);
        is_idle(consumer.context("a consumer of webhooks")?).await?;
    }
    start::again(stage).await?;
    let more_mib = stage.used().zip(before).map(|(now, before)| {
        let (now, before) = (now?.memory_mib, before?.memory_mib);
        Some(now - before)
    });
    Ok(Idle { webhooks, more_mib })
}
