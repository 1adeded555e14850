//! `webhooks`: how soon and how fast customers' servers get the events of a tenant.

pub(crate) mod bare;
mod customer;
mod endpoint;
mod hanging;
mod idle;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use events_schema::{
    TenantKey,
    subject::EVENTS,
    webhook::{MAX_CONCURRENCY, Payload},
};
use futures_util::TryStreamExt as _;
use serde::Serialize;
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use self::{
    bare::Bare,
    customer::Customer,
    endpoint::{Arrival, Endpoint},
};
use super::{
    Options,
    chosen::Scenario,
    fill::Filler,
    percentiles::Latencies,
    report::{BAR, milliseconds, number, per_second},
    results::{Results, Row},
    stage::Stage,
};

/// Events in a second whose delays are measured, and the webhooks that get each of them.
const STEADY: u32 = 500;
const ENDPOINTS: usize = 3;
/// The concurrency of those webhooks, which is the one that a new webhook has.
const CONCURRENCY: u32 = 8;
/// Time at the start that is not counted.
const WARM_UP: Duration = Duration::from_secs(1);
/// Time limit of the next arrival.
const ARRIVES_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two looks at whether the views are up to date.
const POLL: Duration = Duration::from_millis(50);

/// How soon events come at a steady rate.
#[derive(Serialize)]
struct Delays {
    events_per_second: u32,
    webhooks: usize,
    sent: usize,
    /// From the publication of a commit to its event at an endpoint.
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
}

impl Row for Delays {
    const SCENARIO: Scenario = Scenario::Webhooks;
    const TITLE: &'static str = "From a commit to its event at the endpoints of webhooks";
    const COLUMNS: &'static [&'static str] = &[
        "events/s", "webhooks", "sent", BAR, "p50 ms", "p99 ms", "max ms",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.events_per_second.to_string(),
            self.webhooks.to_string(),
            self.sent.to_string(),
            BAR.to_owned(),
            milliseconds(self.p50_ms),
            milliseconds(self.p99_ms),
            milliseconds(self.max_ms),
        ]
    }
}

/// How fast one webhook gets events that wait.
#[derive(Serialize)]
struct Busy {
    payload: Payload,
    concurrency: u32,
    events_per_second: f64,
    /// The same requests of an HTTP client that has nothing else to do, with as many at once.
    bare_per_second: f64,
    of_bare: f64,
}

impl Row for Busy {
    const SCENARIO: Scenario = Scenario::Webhooks;
    const TITLE: &'static str = "A webhook for which many events wait";
    const COLUMNS: &'static [&'static str] = &[
        "payload",
        "at once",
        "events/s",
        BAR,
        "bare client/s",
        "of bare",
    ];

    fn cells(&self) -> Vec<String> {
        let payload = match self.payload {
            Payload::Thin => "thin",
            Payload::Full => "full",
        };
        vec![
            payload.to_owned(),
            self.concurrency.to_string(),
            per_second(Some(self.events_per_second)),
            BAR.to_owned(),
            per_second(Some(self.bare_per_second)),
            format!("{} %", number(Some(self.of_bare * 100.0), 0)),
        ]
    }
}

/// How fast webhooks of many tenants get events that come alone.
#[derive(Serialize)]
struct Lone {
    webhooks: usize,
    events_per_second: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl Row for Lone {
    const SCENARIO: Scenario = Scenario::Webhooks;
    const TITLE: &'static str = "A webhook in each tenant: the next event follows the one before";
    const COLUMNS: &'static [&'static str] = &["webhooks", "events/s", BAR, "p50 ms", "p99 ms"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.webhooks.to_string(),
            per_second(Some(self.events_per_second)),
            BAR.to_owned(),
            milliseconds(self.p50_ms),
            milliseconds(self.p99_ms),
        ]
    }
}

/// Measures webhooks.
///
/// # Errors
/// If an event does not come in time.
pub(super) async fn measure(options: &Options, results: &mut Results) -> anyhow::Result<()> {
    let (stage, world) = Stage::with_world(options.tenants()).await?;
    let tenants: Vec<TenantKey> = world.tenants.iter().map(|tenant| tenant.key).collect();
    let first = *tenants.first().context("the world has no tenant")?;
    let mut bench = Bench::new(&stage, options.counted()).await?;
    results.add(&bench.delays(first).await?)?;
    results.add(&bench.lone(&tenants).await?)?;
    for (payload, concurrency) in [
        (Payload::Thin, CONCURRENCY),
        (Payload::Thin, MAX_CONCURRENCY),
        (Payload::Full, MAX_CONCURRENCY),
    ] {
        let busy = bench.busy(&stage, first, payload, concurrency, options.events());
        results.add(&busy.await?)?;
    }
    let many = options.events().min(hanging::MOST);
    for delays in hanging::measure(&mut bench, many).await? {
        results.add(&delays)?;
    }
    stage.stop().await?;
    // On servers of their own, since only the log has these tenants: their views are retried for ever.
    let (mut stage, _) = Stage::with_world(1).await?;
    let customer = Customer::new(&stage).await?;
    let idle = options.events().min(idle::MOST);
    results.add(&idle::measure(&mut stage, &customer, idle).await?)?;
    stage.stop().await
}

struct Bench {
    customer: Customer,
    counted: Duration,
    arrivals: UnboundedReceiver<Arrival>,
    sender: UnboundedSender<Arrival>,
}

impl Bench {
    async fn new(stage: &Stage, counted: Duration) -> anyhow::Result<Self> {
        let (sender, arrivals) = mpsc::unbounded_channel();
        Ok(Self {
            customer: Customer::new(stage).await?,
            counted,
            arrivals,
            sender,
        })
    }

    async fn next(&mut self) -> anyhow::Result<Arrival> {
        let next = timeout(ARRIVES_WITHIN, self.arrivals.recv()).await;
        next.context("an event has not come")?.context("closed")
    }

    async fn delays(&mut self, tenant: TenantKey) -> anyhow::Result<Delays> {
        let (mut endpoints, mut webhooks) = (Vec::new(), Vec::new());
        for _ in 0..ENDPOINTS {
            let endpoint = Endpoint::start(self.sender.clone()).await?;
            let created = self.customer.create(tenant, endpoint.address, CONCURRENCY);
            webhooks.push(created.await?);
            endpoints.push(endpoint);
        }
        let mut ticks = interval(Duration::from_secs(1) / STEADY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (begin, mut sent) = (Instant::now(), HashMap::new());
        while begin.elapsed() < WARM_UP + self.counted {
            ticks.tick().await;
            let (project, at) = self.customer.project(tenant).await?;
            sent.insert(project, at);
        }
        let arrivals = sent.len() * ENDPOINTS;
        let delays = self.arrive(arrivals, &sent, begin + WARM_UP).await?;
        for webhook in webhooks {
            self.customer.delete(tenant, webhook).await?;
        }
        Ok(Delays {
            events_per_second: STEADY,
            webhooks: ENDPOINTS,
            sent: delays.count(),
            p50_ms: delays.at(50.0),
            p99_ms: delays.at(99.0),
            max_ms: delays.at(100.0),
        })
    }

    /// Waits for so many arrivals of these events. Returns the delays of those that were sent after
    /// the warm-up.
    async fn arrive(
        &mut self,
        arrivals: usize,
        sent: &HashMap<String, Instant>,
        warm: Instant,
    ) -> anyhow::Result<Latencies> {
        let mut delays = Vec::new();
        for _ in 0..arrivals {
            let arrival = self.next().await?;
            let sent = sent.get(&arrival.object).context("an unknown event")?;
            if *sent > warm {
                delays.push(microseconds(*sent, arrival.at));
            }
        }
        Ok(Latencies::of(delays))
    }

    async fn lone(&mut self, tenants: &[TenantKey]) -> anyhow::Result<Lone> {
        let endpoint = Endpoint::start(self.sender.clone()).await?;
        let (mut webhooks, mut waiting) = (Vec::new(), HashMap::new());
        for tenant in tenants {
            let created = self.customer.create(*tenant, endpoint.address, CONCURRENCY);
            webhooks.push((*tenant, created.await?));
        }
        for tenant in tenants {
            let (project, at) = self.customer.project(*tenant).await?;
            waiting.insert(project, (*tenant, at));
        }
        let (begin, mut delays) = (Instant::now() + WARM_UP, Vec::new());
        while !waiting.is_empty() {
            let arrival = self.next().await?;
            let (tenant, at) = waiting
                .remove(&arrival.object)
                .context("an unknown event")?;
            if arrival.at >= begin + self.counted {
                continue;
            }
            if arrival.at >= begin {
                delays.push(microseconds(at, arrival.at));
            }
            let (project, at) = self.customer.project(tenant).await?;
            waiting.insert(project, (tenant, at));
        }
        for (tenant, webhook) in webhooks {
            self.customer.delete(tenant, webhook).await?;
        }
        let delays = Latencies::of(delays);
        Ok(Lone {
            webhooks: tenants.len(),
            events_per_second: delays.count() as f64 / self.counted.as_secs_f64(),
            p50_ms: delays.at(50.0),
            p99_ms: delays.at(99.0),
        })
    }

    async fn busy(
        &mut self,
        stage: &Stage,
        tenant: TenantKey,
        payload: Payload,
        concurrency: u32,
        events: usize,
    ) -> anyhow::Result<Busy> {
        let endpoint = Endpoint::start(self.sender.clone()).await?;
        let bare = Bare::new(endpoint.address, concurrency, events, payload);
        let bare = bare.start().await?;
        let bare_per_second = self.rate(events).await?;
        bare.stop().await?;
        let (customer, address) = (&self.customer, endpoint.address);
        let created = customer.create_with(tenant, address, concurrency, payload);
        let webhook = created.await?;
        self.customer.pause(tenant, webhook).await?;
        let mut filler = Filler::new(&stage.jetstream().await?, vec![tenant]);
        filler.fill(events).await?;
        all_is_seen(stage).await?;
        while self.arrivals.try_recv().is_ok() {}
        self.customer.resume(tenant, webhook).await?;
        let events_per_second = self.rate(events).await?;
        self.customer.delete(tenant, webhook).await?;
        // What is on its way would be taken for events of the next measurement.
        while timeout(WARM_UP, self.arrivals.recv()).await.is_ok() {}
        Ok(Busy {
            payload,
            concurrency,
            events_per_second,
            bare_per_second,
            of_bare: events_per_second / bare_per_second,
        })
    }

    /// Returns how many of so many events come in a second. What comes within the warm-up does not
    /// count, unless all of them do.
    async fn rate(&mut self, events: usize) -> anyhow::Result<f64> {
        let first = self.next().await?.at;
        let (mut begin, mut end, mut counted) = (first, first, 0);
        for _ in 1..events {
            let arrival = self.next().await?;
            if arrival.at >= first + WARM_UP + self.counted {
                break;
            }
            if begin == first && arrival.at >= first + WARM_UP {
                (begin, counted) = (arrival.at, 0);
            }
            counted += 1;
            end = arrival.at;
        }
        Ok(counted as f64 / (end - begin).as_secs_f64().max(f64::EPSILON))
    }
}

/// Waits until the workers have seen all events. Some are seen again for ever: views of tenants that
/// only the log has are retried.
async fn all_is_seen(stage: &Stage) -> anyhow::Result<()> {
    let stream = stage.jetstream().await?.get_stream(EVENTS).await?;
    let mut names = stream.consumer_names();
    while let Some(name) = names.try_next().await? {
        // The consumers of gateways, which are of another kind, may end meanwhile.
        while let Ok(mut consumer) = stream.get_consumer::<pull::Config>(&name).await
            && consumer.info().await.is_ok_and(|info| info.num_pending > 0)
        {
            sleep(POLL).await;
        }
    }
    Ok(())
}

/// Waits until a consumer has delivered everything, and all of it is done.
async fn is_idle(mut consumer: PullConsumer) -> anyhow::Result<()> {
    loop {
        let info = consumer.info().await?;
        if info.num_pending == 0 && info.num_ack_pending == 0 {
            return Ok(());
        }
        sleep(POLL).await;
    }
}

fn microseconds(from: Instant, to: Instant) -> u32 {
    let elapsed = to.saturating_duration_since(from);
    u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX)
}
