//! The scenario `start`: how long it takes until the backend answers, with an empty and with a long
//! log.

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::time::sleep;

use super::{
    Options,
    chosen::Scenario,
    fill::Filler,
    report::{BAR, number},
    results::{Results, Row},
    stage::{Parts, Stage},
};

/// Time after a start until the processes are at rest.
const SETTLE: Duration = Duration::from_secs(1);

/// What is started.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Started {
    /// Gateway and workers, beside running servers.
    Programs,
    /// nats-server and mongod as well, after a clean stop.
    Servers,
}

impl Started {
    const ALL: [Self; 2] = [Self::Programs, Self::Servers];

    const fn name(self) -> &'static str {
        match self {
            Self::Programs => "gateway and workers",
            Self::Servers => "servers, gateway and workers",
        }
    }
}

/// Starts of one kind.
#[derive(Serialize)]
struct Start {
    started: Started,
    events: usize,
    /// How often it was started.
    starts: usize,
    /// From the start of the first process until `/readyz` answers 200: the median.
    ready_ms: f64,
    longest_ms: f64,
    /// At rest after the last start.
    memory_mib: Parts<Option<f64>>,
}

impl Row for Start {
    const SCENARIO: Scenario = Scenario::Start;
    const TITLE: &'static str = "From a start to the first answer | memory at rest";
    const COLUMNS: &'static [&'static str] = &[
        "started",
        "events in the log",
        "starts",
        "ready ms",
        "longest ms",
        BAR,
        "MiB: gateway",
        "workers",
        "nats",
        "mongod",
    ];

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            self.started.name().to_owned(),
            self.events.to_string(),
            self.starts.to_string(),
            number(Some(self.ready_ms), 0),
            number(Some(self.longest_ms), 0),
            BAR.to_owned(),
        ];
        let memory = self.memory_mib.columns();
        cells.extend(memory.map(|value| number(value, 0)));
        cells
    }
}

/// Starts a backend with an empty log, then with a long one.
///
/// # Errors
/// If a process does not start or stop.
pub(super) async fn measure(options: &Options, results: &mut Results) -> anyhow::Result<()> {
    let mut empty = Stage::servers().await?;
    // The first start of all creates the streams.
    empty.start().await?;
    starts(&mut empty, 0, options.counted(), results).await?;
    empty.stop().await?;

    let (mut stage, world) = Stage::with_world(options.tenants()).await?;
    stage.stop_workers().await?;
    let tenants = world.tenants.iter().map(|tenant| tenant.key).collect();
    let mut filler = Filler::new(&stage.jetstream().await?, tenants);
    filler.fill(options.events()).await?;
    stage.build_view().await?;
    starts(&mut stage, options.events(), options.counted(), results).await?;
    stage.stop().await
}

/// Starts and stops the backend for some time, at least once.
async fn starts(
    stage: &mut Stage,
    events: usize,
    counted: Duration,
    results: &mut Results,
) -> anyhow::Result<()> {
    for started in Started::ALL {
        let (begun, mut times) = (Instant::now(), Vec::new());
        while times.is_empty() || begun.elapsed() < counted {
            stage.stop_programs().await?;
            times.push(start(stage, started).await?);
        }
        sleep(SETTLE).await;
        times.sort_unstable();
        let milliseconds = |time: &Duration| time.as_secs_f64() * 1_000.0;
        results.add(&Start {
            started,
            events,
            starts: times.len(),
            ready_ms: times.get(times.len() / 2).map_or(0.0, milliseconds),
            longest_ms: times.last().map_or(0.0, milliseconds),
            memory_mib: stage.used().map(|used| used.map(|used| used.memory_mib)),
        })?;
    }
    Ok(())
}

/// Starts all processes of a backend again, and waits until they are at rest.
///
/// # Errors
/// If a process does not stop or start.
pub(super) async fn again(stage: &mut Stage) -> anyhow::Result<()> {
    stage.stop_programs().await?;
    start(stage, Started::Servers).await?;
    sleep(SETTLE).await;
    Ok(())
}

async fn start(stage: &mut Stage, started: Started) -> anyhow::Result<Duration> {
    match started {
        Started::Programs => stage.start().await,
        Started::Servers => {
            let servers = &mut stage.servers;
            tokio::try_join!(servers.nats[0].stop(), servers.mongods[0].stop())?;
            let begun = Instant::now();
            tokio::try_join!(servers.nats[0].restart(), servers.mongods[0].restart())?;
            stage.start().await?;
            Ok(begun.elapsed())
        }
    }
}
