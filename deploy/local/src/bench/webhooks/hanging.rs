//! How soon events come at servers that work, while others accept requests and never answer.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::ensure;
use event_store::random_id;
use events_schema::{TenantKey, WebhookId, webhook::MAX_WEBHOOKS};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    Bench, CONCURRENCY, WARM_UP,
    customer::Customer,
    endpoint::{Arrival, Endpoint},
};
use crate::bench::{
    chosen::Scenario,
    percentiles::Latencies,
    report::{BAR, milliseconds},
    results::Row,
};

/// The most webhooks that are made.
pub(super) const MOST: usize = 1_000;
/// One of so many has a server that hangs.
const ONE_HANGS_OF: usize = 10;
/// Commits in a second. Each is sent to all webhooks of its tenant.
const COMMITS: u32 = 10;
/// Tenants that create their webhooks at once.
const TENANTS_AT_ONCE: usize = 32;

/// How soon events come at the servers that work.
#[derive(Serialize)]
pub(super) struct BesideHanging {
    webhooks: usize,
    /// Those whose servers hang, which are not measured.
    hanging: usize,
    arrivals: usize,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
}

impl Row for BesideHanging {
    const SCENARIO: Scenario = Scenario::Webhooks;
    const TITLE: &'static str = "From a commit to its event at servers that work";
    const COLUMNS: &'static [&'static str] = &[
        "webhooks", "hanging", "arrivals", BAR, "p50 ms", "p99 ms", "max ms",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.webhooks.to_string(),
            self.hanging.to_string(),
            self.arrivals.to_string(),
            BAR.to_owned(),
            milliseconds(self.p50_ms),
            milliseconds(self.p99_ms),
            milliseconds(self.max_ms),
        ]
    }
}

impl BesideHanging {
    fn of(webhooks: usize, hanging: usize, delays: &Latencies) -> Self {
        Self {
            webhooks,
            hanging,
            arrivals: delays.count(),
            p50_ms: delays.at(50.0),
            p99_ms: delays.at(99.0),
            max_ms: delays.at(100.0),
        }
    }
}

/// A tenant with its webhooks.
struct Tenant {
    key: TenantKey,
    webhooks: Vec<WebhookId>,
    /// How many of them have a server that works.
    working: usize,
}

/// Makes webhooks of some tenants. Measures while all of their servers work, and again while one of
/// ten hangs.
///
/// # Errors
/// If a webhook cannot be created, or an event does not come in time.
pub(super) async fn measure(
    bench: &mut Bench,
    webhooks: usize,
) -> anyhow::Result<[BesideHanging; 2]> {
    let working = Endpoint::start(bench.sender.clone()).await?;
    // Nobody listens: only the others are measured.
    let (unheard, _) = mpsc::unbounded_channel::<Arrival>();
    let hanging = Endpoint::start(unheard).await?;
    let created = stream::iter((0..webhooks).step_by(MAX_WEBHOOKS)).map(|first| {
        let of_tenant = webhooks.min(first + MAX_WEBHOOKS) - first;
        create(&bench.customer, of_tenant, &working, &hanging)
    });
    let created = created.buffer_unordered(TENANTS_AT_ONCE);
    let tenants: Vec<Tenant> = created.try_collect().await?;
    let all_work = delays(bench, &tenants).await?;
    hanging.hang();
    // From the warm-up on, all of them have a request that hangs.
    let some_hang = delays(bench, &tenants).await?;
    for tenant in &tenants {
        for webhook in &tenant.webhooks {
            bench.customer.delete(tenant.key, *webhook).await?;
        }
    }
    let working: usize = tenants.iter().map(|tenant| tenant.working).sum();
    Ok([
        BesideHanging::of(webhooks, 0, &all_work),
        BesideHanging::of(webhooks, webhooks - working, &some_hang),
    ])
}

/// Creates webhooks of a new tenant.
async fn create(
    customer: &Customer,
    webhooks: usize,
    working: &Endpoint,
    hanging: &Endpoint,
) -> anyhow::Result<Tenant> {
    let mut tenant = Tenant {
        key: TenantKey(random_id()?),
        webhooks: Vec::new(),
        working: (0..webhooks).filter(|number| !hangs(*number)).count(),
    };
    for number in 0..webhooks {
        let endpoint = if hangs(number) { hanging } else { working };
        let created = customer.create(tenant.key, endpoint.address, CONCURRENCY);
        tenant.webhooks.push(created.await?);
    }
    Ok(tenant)
}

const fn hangs(number: usize) -> bool {
    number.is_multiple_of(ONE_HANGS_OF)
}

/// Publishes a commit of each tenant at once, and then one after the other at a steady rate.
async fn delays(bench: &mut Bench, tenants: &[Tenant]) -> anyhow::Result<Latencies> {
    ensure!(!tenants.is_empty(), "there is no webhook");
    let (mut sent, mut arrivals) = (HashMap::new(), 0);
    for tenant in tenants {
        let (project, at) = bench.customer.project(tenant.key).await?;
        sent.insert(project, at);
        arrivals += tenant.working;
    }
    bench.arrive(arrivals, &sent, Instant::now()).await?;
    sent.clear();
    arrivals = 0;
    let mut ticks = interval(Duration::from_secs(1) / COMMITS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let begin = Instant::now();
    for tenant in tenants.iter().cycle() {
        if begin.elapsed() >= WARM_UP + bench.counted {
            break;
        }
        ticks.tick().await;
        let (project, at) = bench.customer.project(tenant.key).await?;
        sent.insert(project, at);
        arrivals += tenant.working;
    }
    bench.arrive(arrivals, &sent, begin + WARM_UP).await
}
