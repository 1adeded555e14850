//! `payments`: how soon it is known what Stripe tells, and what a limit costs.

mod account;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use events_schema::subject::STRIPE;
use futures_util::future::try_join_all;
use mongodb::bson::doc;
use serde::Serialize;
use serde_json::json;
use tokio::time::sleep;

use self::account::{Account, Payer};
use super::{
    Options,
    chosen::Scenario,
    http::Connection,
    load::Client as _,
    percentiles::Latencies,
    report::{BAR, milliseconds, number},
    results::{Results, Row},
    stage::Stage,
    works::{Work, Worker},
    world::World,
};

/// Changes at Stripe whose delay is measured. One follows the other.
const CHANGES: usize = 300;
/// Events of each customer that come at once.
const EVENTS_OF_EACH: usize = 10;
/// Deliveries to the gateway at once.
const AT_ONCE: usize = 16;
/// Projects that are created with a limit, and as many without one.
const CREATED: usize = 500;
/// Time limit of a change, and of all events at once.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);
const ALL_WITHIN: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(5);

/// From a change at Stripe to the view of billing.
#[derive(Serialize)]
struct Known {
    changes: usize,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
}

impl Row for Known {
    const SCENARIO: Scenario = Scenario::Payments;
    const TITLE: &'static str = "From a change at Stripe to the view of billing";
    const COLUMNS: &'static [&'static str] = &["changes", BAR, "p50 ms", "p99 ms", "max ms"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.changes.to_string(),
            BAR.to_owned(),
            milliseconds(self.p50_ms),
            milliseconds(self.p99_ms),
            milliseconds(self.max_ms),
        ]
    }
}

/// Events in any order that come at once.
#[derive(Serialize)]
struct Burst {
    customers: usize,
    events: usize,
    /// Until the gateway has stored all of them.
    stored_s: f64,
    /// Until all of them are handled.
    handled_s: f64,
}

impl Row for Burst {
    const SCENARIO: Scenario = Scenario::Payments;
    const TITLE: &'static str = "Events of Stripe in any order that come at once";
    const COLUMNS: &'static [&'static str] = &["customers", "events", BAR, "stored s", "handled s"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.customers.to_string(),
            self.events.to_string(),
            BAR.to_owned(),
            number(Some(self.stored_s), 1),
            number(Some(self.handled_s), 1),
        ]
    }
}

/// What it costs to create a project, one after the other.
#[derive(Serialize)]
struct Created {
    limit: &'static str,
    projects: usize,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl Row for Created {
    const SCENARIO: Scenario = Scenario::Payments;
    const TITLE: &'static str = "Create a project with and without a limit";
    const COLUMNS: &'static [&'static str] = &["limit", "projects", BAR, "p50 ms", "p99 ms"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.limit.to_owned(),
            self.projects.to_string(),
            BAR.to_owned(),
            milliseconds(self.p50_ms),
            milliseconds(self.p99_ms),
        ]
    }
}

/// Measures payments. Each tenant of the benchmark is a customer.
///
/// # Errors
/// If something does not come in time.
pub(super) async fn measure(options: &Options, results: &mut Results) -> anyhow::Result<()> {
    let (stage, world, stripe) = Stage::with_payments(options.tenants()).await?;
    let mut account = Account::open(&stage, stripe).await?;
    account
        .control("delivery", &json!({ "mode": "hold" }))
        .await?;
    let mut payers = Vec::new();
    for tenant in &world.tenants {
        payers.push(account.pay(tenant.key).await?);
    }
    results.add(&burst(&stage, &mut account, stripe, &payers).await?)?;
    results.add(&known(&stage, &mut account, &payers).await?)?;
    results.add(&create("none", &world).await?)?;
    account.limit_projects().await?;
    results.add(&create("1000000", &world).await?)?;
    stage.stop().await
}

/// Delivers events of all customers, and waits until each tenant pays.
async fn burst(
    stage: &Stage,
    account: &mut Account,
    stripe: SocketAddr,
    payers: &[Payer],
) -> anyhow::Result<Burst> {
    let wanted = payers.len() * EVENTS_OF_EACH;
    let mut round = 0;
    while account.events().await?.len() < wanted {
        for payer in payers {
            account.end(payer, round % 2 == 0).await?;
        }
        round += 1;
    }
    let mut events = account.events().await?;
    events.truncate(wanted);
    let begin = Instant::now();
    let parts = events.chunks(wanted.div_ceil(AT_ONCE));
    try_join_all(parts.map(|part| deliver(stripe, part))).await?;
    let stored_s = begin.elapsed().as_secs_f64();
    all_are_handled(stage, begin).await?;
    Ok(Burst {
        customers: payers.len(),
        events: wanted,
        stored_s,
        handled_s: begin.elapsed().as_secs_f64(),
    })
}

/// Lets the development Stripe deliver events in another order, over a connection of its own for
/// each.
async fn deliver(stripe: SocketAddr, events: &[String]) -> anyhow::Result<()> {
    for some in events.chunks(100) {
        let body = json!({ "events": some, "shuffle": 7 }).to_string();
        let request = format!(
            "POST /_test/deliver HTTP/1.1\r\nhost: {stripe}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut connection = Connection::open(stripe).await?;
        let answer = connection.send(request.as_bytes()).await?;
        ensure!(answer.status == 200, "deliver: {}", answer.excerpt());
    }
    Ok(())
}

/// Waits until no event of Stripe is left.
async fn all_are_handled(stage: &Stage, begin: Instant) -> anyhow::Result<()> {
    let stream = stage.jetstream().await?.get_stream_no_info(STRIPE).await?;
    let consumer = stream.get_consumer("stripe_hooks").await;
    let mut consumer: async_nats::jetstream::consumer::PullConsumer =
        consumer.map_err(anyhow::Error::from_boxed)?;
    loop {
        let info = consumer.info().await?;
        if info.num_pending == 0 && info.num_ack_pending == 0 {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < ALL_WITHIN,
            "not handled in {ALL_WITHIN:?}"
        );
        sleep(POLL).await;
    }
}

/// Changes one subscription after the other, and waits until the view shows each change.
async fn known(stage: &Stage, account: &mut Account, payers: &[Payer]) -> anyhow::Result<Known> {
    account
        .control("delivery", &json!({ "mode": "send" }))
        .await?;
    let billings = stage.collection("billing").await?;
    let mut delays = Vec::new();
    for change in 0..CHANGES {
        let payer = &payers[change % payers.len()];
        let which = doc! { "_id": payer.tenant.to_string() };
        let before = billings.find_one(which.clone()).await?;
        let before = before.context("a tenant does not pay")?;
        let ended = |billing: &mongodb::bson::Document| {
            let paid = billing
                .get_document("view")
                .and_then(|view| view.get_document("payment"))
                .and_then(|payment| payment.get_document("subscription"));
            paid.is_ok_and(|paid| paid.contains_key("cancel_at"))
        };
        let ends = !ended(&before);
        let begin = Instant::now();
        account.end(payer, ends).await?;
        loop {
            let billing = billings.find_one(which.clone()).await?;
            if billing.is_some_and(|billing| ended(&billing) == ends) {
                break;
            }
            ensure!(begin.elapsed() < KNOWN_WITHIN, "a change is not known");
            sleep(POLL).await;
        }
        delays.push(u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    let delays = Latencies::of(delays);
    Ok(Known {
        changes: delays.count(),
        p50_ms: delays.at(50.0),
        p99_ms: delays.at(99.0),
        max_ms: delays.at(100.0),
    })
}

/// Creates projects, one after the other.
async fn create(limit: &'static str, world: &World) -> anyhow::Result<Created> {
    let mut workers = Worker::all(Work::Create, 1, &Arc::new(world.clone()), world.address);
    let worker = workers.first_mut().context("no client")?;
    let mut latencies = Vec::new();
    for _ in 0..CREATED {
        let begin = Instant::now();
        worker.request().await?;
        latencies.push(u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    let latencies = Latencies::of(latencies);
    Ok(Created {
        limit,
        projects: latencies.count(),
        p50_ms: latencies.at(50.0),
        p99_ms: latencies.at(99.0),
    })
}
