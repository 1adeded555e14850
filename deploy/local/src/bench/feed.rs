//! The scenario `feed`: how soon listeners hear of a change, and what listeners cost that hear
//! nothing.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{
    Options,
    chosen::Scenario,
    http::{Connection, post},
    listeners::Listeners,
    percentiles::Latencies,
    processes::UsedByOne,
    report::{BAR, milliseconds, number},
    results::{Results, Row},
    stage::{Parts, Stage},
    world::{CREATE, STATES, Tenant, World, project_id, project_input},
};

/// Numbers of listeners that are measured, if `--listeners` allows as many.
const LISTENERS: [usize; 3] = [1, 100, 1_000];
/// The cursor of the last change in a tenant.
const LAST_CHANGE: &str = "{ auditLog(first: 1) { pageInfo { endCursor } } }";
/// Time limit until all listeners have heard of a change. Opening thousands of subscriptions takes
/// seconds.
const HEARD_WITHIN: Duration = Duration::from_secs(60);
/// Time after which opened listeners do nothing but wait: each has read the log once more.
const SETTLE: Duration = Duration::from_secs(2);

/// How soon listeners hear of a change.
#[derive(Serialize)]
struct Heard {
    listeners: usize,
    sockets: usize,
    /// Changes that were made, one after the other.
    changes: usize,
    /// From the request of a change to its answer.
    answer_p50_ms: Option<f64>,
    /// From the request of a change to its event at a listener.
    event_p50_ms: Option<f64>,
    /// From the answer to the event at a listener; 0 if the event came first.
    after_p50_ms: Option<f64>,
    after_p99_ms: Option<f64>,
    after_max_ms: Option<f64>,
}

impl Row for Heard {
    const SCENARIO: Scenario = Scenario::Feed;
    const TITLE: &'static str = "From a change to its event at listeners";
    const COLUMNS: &'static [&'static str] = &[
        "listeners",
        "sockets",
        "changes",
        "answer p50 ms",
        "event p50 ms",
        BAR,
        "after the answer: p50 ms",
        "p99 ms",
        "max ms",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.listeners.to_string(),
            self.sockets.to_string(),
            self.changes.to_string(),
            milliseconds(self.answer_p50_ms),
            milliseconds(self.event_p50_ms),
            BAR.to_owned(),
            milliseconds(self.after_p50_ms),
            milliseconds(self.after_p99_ms),
            milliseconds(self.after_max_ms),
        ]
    }
}

/// What listeners cost while nothing changes.
#[derive(Serialize)]
struct Idle {
    listeners: usize,
    sockets: usize,
    /// CPU time per second.
    cpu_ms_per_second: Parts<Option<f64>>,
    memory_mib: Parts<Option<f64>>,
}

impl Row for Idle {
    const SCENARIO: Scenario = Scenario::Feed;
    const TITLE: &'static str = "Idle listeners";
    const COLUMNS: &'static [&'static str] = &[
        "listeners",
        "sockets",
        "CPU ms/s: gateway",
        "workers",
        "nats",
        "mongod",
        BAR,
        "MiB: gateway",
        "workers",
        "nats",
        "mongod",
    ];

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.listeners.to_string(), self.sockets.to_string()];
        let cpu = self.cpu_ms_per_second.columns();
        cells.extend(cpu.map(|value| number(value, 1)));
        cells.push(BAR.to_owned());
        let memory = self.memory_mib.columns();
        cells.extend(memory.map(|value| number(value, 0)));
        cells
    }
}

/// Measures listeners of one tenant.
///
/// # Errors
/// If a listener misses an event, or hears one twice.
pub(super) async fn measure(options: &Options, results: &mut Results) -> anyhow::Result<()> {
    let (stage, world) = Stage::with_world(1).await?;
    let counted = options.counted();
    results.add(&idle(&stage, 0, 0, counted).await?)?;
    let most = options.listeners();
    let counts = LISTENERS.map(|count| count.min(most));
    for count in BTreeSet::from(counts) {
        let listeners = open(&world, count).await?;
        results.add(&changes(&world, listeners, counted).await?)?;
    }
    let listeners = open(&world, most).await?;
    let mut rounds = Rounds::new(&world, listeners).await?;
    // All of them have heard this, so all of them are open.
    rounds.change().await?;
    let sockets = rounds.listeners.sockets;
    results.add(&idle(&stage, most, sockets, counted).await?)?;
    // None of them has ended meanwhile.
    rounds.change().await?;
    stage.stop().await
}

/// Opens listeners that hear everything from now on.
async fn open(world: &World, count: usize) -> anyhow::Result<Listeners> {
    let Tenant {
        by_session,
        by_token,
        ..
    } = tenant(world)?;
    let last = post(world.address, by_session, LAST_CHANGE, &json!({}));
    let mut connection = Connection::open(world.address).await?;
    let last: Value = serde_json::from_slice(connection.send(&last).await?.body)?;
    let after = last["data"]["auditLog"]["pageInfo"]["endCursor"].as_str();
    let after = after.context("the tenant has no change")?;
    let opened = Listeners::open(world.address, by_token, count, Some(after)).await;
    opened.with_context(|| format!("could not open {count} listeners"))
}

async fn changes(world: &World, listeners: Listeners, counted: Duration) -> anyhow::Result<Heard> {
    let mut rounds = Rounds::new(world, listeners).await?;
    // Not counted: the subscriptions may still be opening.
    rounds.change().await?;
    let started = Instant::now();
    let (mut answers, mut events, mut after) = (Vec::new(), Vec::new(), Vec::new());
    while started.elapsed() < counted {
        let change = rounds.change().await?;
        answers.push(microseconds(change.asked, change.answered));
        for at in change.heard {
            events.push(microseconds(change.asked, at));
            after.push(microseconds(change.answered, at));
        }
    }
    let changes = answers.len();
    let (answers, events) = (Latencies::of(answers), Latencies::of(events));
    let after = Latencies::of(after);
    Ok(Heard {
        listeners: rounds.listeners.count,
        sockets: rounds.listeners.sockets,
        changes,
        answer_p50_ms: answers.at(50.0),
        event_p50_ms: events.at(50.0),
        after_p50_ms: after.at(50.0),
        after_p99_ms: after.at(99.0),
        after_max_ms: after.at(100.0),
    })
}

/// Changes that are made one after the other, each as soon as all have heard of the one before.
struct Rounds<'a> {
    world: &'a World,
    connection: Connection,
    listeners: Listeners,
    made: usize,
}

/// One change.
struct Change {
    asked: Instant,
    answered: Instant,
    /// When each listener heard of it.
    heard: Vec<Instant>,
}

impl<'a> Rounds<'a> {
    async fn new(world: &'a World, listeners: Listeners) -> anyhow::Result<Self> {
        let connection = Connection::open(world.address).await?;
        Ok(Self {
            world,
            connection,
            listeners,
            made: 0,
        })
    }

    /// Creates a project, and waits until each listener has heard of it exactly once.
    async fn change(&mut self) -> anyhow::Result<Change> {
        self.made += 1;
        let headers = &tenant(self.world)?.by_session;
        let input = project_input(&format!("heard {}", self.made), STATES[0]);
        let request = post(self.world.address, headers, CREATE, &input);
        let asked = Instant::now();
        let answer = self.connection.send(&request).await?;
        let answered = Instant::now();
        answer.ensure_success()?;
        let id = project_id(answer.body)?;
        let heard = timeout(HEARD_WITHIN, heard(&mut self.listeners, &id)).await;
        let heard = heard.context("not all listeners have heard of a change")??;
        Ok(Change {
            asked,
            answered,
            heard,
        })
    }
}

async fn heard(listeners: &mut Listeners, id: &str) -> anyhow::Result<Vec<Instant>> {
    let (mut by, mut at) = (BTreeSet::new(), Vec::new());
    while at.len() < listeners.count {
        let heard = listeners.next().await?;
        ensure!(heard.id == id, "heard of {} instead of {id}", heard.id);
        ensure!(by.insert(heard.listener), "a listener heard of {id} twice");
        at.push(heard.at);
    }
    Ok(at)
}

async fn idle(
    stage: &Stage,
    listeners: usize,
    sockets: usize,
    counted: Duration,
) -> anyhow::Result<Idle> {
    sleep(SETTLE).await;
    let before = stage.used();
    sleep(counted).await;
    let after = stage.used();
    let memory_mib = after.map(|used| used.map(|used| used.memory_mib));
    Ok(Idle {
        listeners,
        sockets,
        cpu_ms_per_second: before.zip(after).map(|pair| per_second(pair, counted)),
        memory_mib,
    })
}

fn per_second(
    (before, after): (Option<UsedByOne>, Option<UsedByOne>),
    counted: Duration,
) -> Option<f64> {
    let cpu = after?.cpu.checked_sub(before?.cpu)?;
    Some(cpu.as_secs_f64() * 1_000.0 / counted.as_secs_f64())
}

fn tenant(world: &World) -> anyhow::Result<&Tenant> {
    world.tenants.first().context("the world has no tenant")
}

/// Returns the time between two moments; 0 if the second was first.
fn microseconds(from: Instant, to: Instant) -> u32 {
    let elapsed = to.saturating_duration_since(from);
    u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX)
}
