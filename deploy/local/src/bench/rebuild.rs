//! The scenario `rebuild`: the view of projects from the log alone, beside what the two servers
//! could do.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_nats::jetstream::{
    self,
    consumer::{DeliverPolicy, PullConsumer, pull::OrderedConfig},
};
use events_schema::{
    Area as _, View as _, project,
    subject::{EVENTS, events_of},
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use mongodb::{
    Collection,
    bson::{Document, doc},
};
use serde::Serialize;
use tokio::time::sleep;

use super::{
    Options,
    chosen::Scenario,
    fill::Filler,
    limits,
    processes::of_one,
    report::{BAR, number, per_second, say},
    results::{Results, Row},
    stage::Stage,
};

/// Documents in one insertion.
const INSERTED_AT_ONCE: usize = 1_000;
/// How often the place of running workers in the log is looked at.
const CATCH_UP_POLL: Duration = Duration::from_millis(20);
/// The collection of the insertions.
const INSERTED: &str = "bench_inserted";

/// A rebuild and its two limits.
#[derive(Serialize)]
struct Rebuilt {
    events: usize,
    documents: usize,
    seconds: f64,
    events_per_second: f64,
    /// Events per second of a rebuild that finds every document right.
    checked_per_second: f64,
    /// CPU time of the rebuilding process for an event, in microseconds.
    cpu_us_per_event: Option<f64>,
    peak_mib: Option<f64>,
    /// What running workers apply that are behind.
    live_per_second: f64,
    read_per_second: f64,
    inserted_per_second: f64,
}

impl Row for Rebuilt {
    const SCENARIO: Scenario = Scenario::Rebuild;
    const TITLE: &'static str =
        "Rebuild of the view of projects | running workers | raw limits of the servers";
    const COLUMNS: &'static [&'static str] = &[
        "events",
        "documents",
        "seconds",
        "events/s",
        "events checked/s",
        "CPU µs/event",
        "peak MiB",
        BAR,
        "events applied/s",
        BAR,
        "events read/s",
        "documents inserted/s",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.events.to_string(),
            self.documents.to_string(),
            number(Some(self.seconds), 1),
            per_second(Some(self.events_per_second)),
            per_second(Some(self.checked_per_second)),
            number(self.cpu_us_per_event, 1),
            number(self.peak_mib, 0),
            BAR.to_owned(),
            per_second(Some(self.live_per_second)),
            BAR.to_owned(),
            per_second(Some(self.read_per_second)),
            per_second(Some(self.inserted_per_second)),
        ]
    }
}

/// Rebuilds a view while the gateway runs and no workers.
///
/// # Errors
/// If a document is missing afterwards or lacks a commit.
pub(super) async fn measure(options: &Options, results: &mut Results) -> anyhow::Result<()> {
    let (mut stage, world) = Stage::with_world(options.tenants()).await?;
    stage.stop_workers().await?;
    let jetstream = stage.jetstream().await?;
    let tenants = world.tenants.iter().map(|tenant| tenant.key).collect();
    let mut filler = Filler::new(&jetstream, tenants);
    let (events, started) = (options.events(), Instant::now());
    filler.fill(events).await?;
    let rate = per_second(Some(events as f64 / started.elapsed().as_secs_f64()));
    say(&format!("filled the log with {events} events, {rate}/s"));
    let read = read(&jetstream, events).await?;
    let documents = filler.projects.len();
    let inserted = insert(&stage.collection(INSERTED).await?, documents).await?;
    let live_per_second = catch_up(&mut stage, options.counted()).await?;

    let started = Instant::now();
    let rebuild = stage.rebuild().await?;
    let seconds = started.elapsed().as_secs_f64();
    let used = of_one(rebuild.id()?);
    rebuild.stop().await?;
    check(&stage.collection(project::View::NAME).await?, &filler).await?;
    let started = Instant::now();
    stage.rebuild().await?.stop().await?;
    let checked = started.elapsed().as_secs_f64();
    let cpu_us = used.map(|used| used.cpu.as_secs_f64() * 1e6);
    results.add(&Rebuilt {
        events,
        documents,
        seconds,
        events_per_second: events as f64 / seconds,
        checked_per_second: events as f64 / checked,
        cpu_us_per_event: cpu_us.map(|cpu_us| cpu_us / events as f64),
        peak_mib: used.map(|used| used.peak_mib),
        live_per_second,
        read_per_second: events as f64 / read.as_secs_f64(),
        inserted_per_second: documents as f64 / inserted.as_secs_f64(),
    })?;
    stage.stop().await
}

/// Lets workers apply the log for some time. Returns how many commits they did in a second.
async fn catch_up(stage: &mut Stage, counted: Duration) -> anyhow::Result<f64> {
    let mut consumer = stage.view_consumer().await?;
    let before = behind(&mut consumer).await?;
    let started = Instant::now();
    stage.start_workers().await?;
    let mut left = before;
    while left > 0 && started.elapsed() < counted {
        sleep(CATCH_UP_POLL).await;
        left = behind(&mut consumer).await?;
    }
    let seconds = started.elapsed().as_secs_f64();
    stage.stop_workers().await?;
    Ok(before.saturating_sub(left) as f64 / seconds)
}

/// Returns how many commits are not applied yet.
async fn behind(consumer: &mut PullConsumer) -> anyhow::Result<u64> {
    let info = consumer.info().await?;
    Ok(info.num_pending + info.num_ack_pending as u64)
}

/// Reads all commits of projects in their order, and does nothing with them.
async fn read(jetstream: &jetstream::Context, events: usize) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let log = jetstream.get_stream_no_info(EVENTS).await?;
    let consumer = log.create_consumer(OrderedConfig {
        filter_subject: events_of(project::Area::NAME),
        deliver_policy: DeliverPolicy::All,
        ..OrderedConfig::default()
    });
    let mut messages = consumer.await?.messages().await?.take(events);
    let mut read = 0;
    while let Some(message) = messages.try_next().await? {
        ensure!(!message.payload.is_empty(), "a commit without a body");
        read += 1;
    }
    ensure!(read == events, "{read} events instead of {events}");
    Ok(started.elapsed())
}

/// Inserts documents like projects in bulks, with no index beside that of the id.
async fn insert(into: &Collection<Document>, documents: usize) -> anyhow::Result<Duration> {
    let all: Vec<Document> = (0..documents).map(limits::document).collect();
    let started = Instant::now();
    for some in all.chunks(INSERTED_AT_ONCE) {
        into.insert_many(some).ordered(false).await?;
    }
    let elapsed = started.elapsed();
    into.drop().await?;
    Ok(elapsed)
}

/// Checks that each project has its document, and that all commits are in the documents.
async fn check(projects: &Collection<Document>, filler: &Filler) -> anyhow::Result<()> {
    let sum = doc! { "$group": {
        "_id": null, "documents": { "$sum": 1 }, "commits": { "$sum": "$revision" }
    } };
    let sums: Vec<Document> = projects.aggregate([sum]).await?.try_collect().await?;
    let sum = sums.first().context("no document was rebuilt")?;
    let (documents, commits) = (sum.get_i32("documents")?, sum.get_i64("commits")?);
    let expected = (filler.projects.len(), filler.commits);
    let found = (usize::try_from(documents)?, usize::try_from(commits)?);
    ensure!(
        found == expected,
        "{found:?} documents and commits instead of {expected:?}"
    );
    Ok(())
}
