//! The scenario `growth`: what a longer log and a longer history cost a request.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Options,
    chosen::Scenario,
    fill::{Filled, Filler},
    http::{Connection, count, post},
    percentiles::Latencies,
    report::milliseconds,
    results::{Results, Row},
    script::{READ, UPDATE},
    stage::Stage,
    world::{CREATE, STATES, World, project_input},
};

/// Lengths of the log that are measured, up to `--events`.
const LOGS: [usize; 3] = [10_000, 100_000, 1_000_000];
/// Commits of the aggregates that are changed, and how many there are of each. The longest ones
/// would fill the log.
const HISTORIES: [(u64, usize); 3] = [(10, 20), (1_000, 5), (100_000, 3)];
/// Changes of each aggregate after the first one.
const MORE_CHANGES: usize = 10;
/// Creates of each measurement.
const CREATES: usize = 300;
/// Projects that are read, twice each.
const READS: usize = 1_000;

/// The latency of one operation with one log.
#[derive(Clone, Serialize)]
pub(super) struct Cost {
    pub(super) events: usize,
    pub(super) operation: &'static str,
    /// Commits of the aggregate; `None` if it has no history to speak of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) history: Option<u64>,
    samples: usize,
    pub(super) p50_ms: Option<f64>,
    max_ms: Option<f64>,
}

impl Row for Cost {
    const SCENARIO: Scenario = Scenario::Growth;
    const TITLE: &'static str = "Latencies while the log grows, one request at a time";
    const COLUMNS: &'static [&'static str] = &[
        "operation",
        "commits of the aggregate",
        "events in the log",
        "samples",
        "p50 ms",
        "max ms",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.operation.to_owned(),
            self.history
                .map_or_else(|| "–".to_owned(), |commits| commits.to_string()),
            self.events.to_string(),
            self.samples.to_string(),
            milliseconds(self.p50_ms),
            milliseconds(self.max_ms),
        ]
    }
}

/// Measures with ever longer logs. Returns all latencies.
///
/// # Errors
/// If an answer is wrong.
pub(super) async fn measure(options: &Options, results: &mut Results) -> anyhow::Result<Vec<Cost>> {
    let (mut stage, world) = Stage::with_world(options.tenants()).await?;
    let tenants = world.tenants.iter().map(|tenant| tenant.key).collect();
    let mut filler = Filler::new(&stage.jetstream().await?, tenants);
    let mut costs = Vec::new();
    for events in logs(options.events()) {
        stage.stop_workers().await?;
        let mut deep = Vec::new();
        for (commits, aggregates) in histories(events) {
            for _ in 0..aggregates {
                deep.push(filler.deep(commits).await?);
            }
        }
        filler.fill(events).await?;
        stage.build_view().await?;
        stage.start_workers().await?;
        let samples = Client::open(&world, events).await?;
        for cost in samples.measure(&filler.projects, &deep).await? {
            results.add(&cost)?;
            costs.push(cost);
        }
    }
    stage.stop().await?;
    Ok(costs)
}

/// Returns the lengths of the log to measure.
fn logs(events: usize) -> Vec<usize> {
    let mut logs = Vec::from(LOGS);
    logs.retain(|log| *log <= events);
    if logs.is_empty() {
        logs.push(events);
    }
    logs
}

/// Returns the lengths of histories, and how many of each, that take up at most half of a log.
fn histories(events: usize) -> impl Iterator<Item = (u64, usize)> {
    let fits = move |(commits, aggregates): &(u64, usize)| {
        usize::try_from(*commits).is_ok_and(|commits| commits * aggregates <= events / 2)
    };
    HISTORIES.into_iter().filter(fits)
}

/// A client that sends one request at a time.
struct Client<'a> {
    world: &'a World,
    /// The length of the log.
    events: usize,
    connection: Connection,
}

impl<'a> Client<'a> {
    async fn open(world: &'a World, events: usize) -> anyhow::Result<Self> {
        let connection = Connection::open(world.address).await?;
        Ok(Self {
            world,
            events,
            connection,
        })
    }

    async fn measure(mut self, spread: &[Filled], deep: &[Filled]) -> anyhow::Result<Vec<Cost>> {
        let mut costs = vec![self.create().await?];
        costs.extend(self.read(spread).await?);
        for (commits, _) in HISTORIES {
            let of_length = deep.iter().filter(|project| project.revision == commits);
            let of_length: Vec<&Filled> = of_length.collect();
            if !of_length.is_empty() {
                costs.extend(self.change(commits, &of_length).await?);
            }
        }
        Ok(costs)
    }

    async fn create(&mut self) -> anyhow::Result<Cost> {
        let mut latencies = Vec::new();
        for index in 0..CREATES {
            let name = format!("grown {} {index}", self.events);
            let input = project_input(&name, STATES[0]);
            let tenant = index % self.world.tenants.len();
            latencies.push(self.ask(tenant, CREATE, &input, &name).await?);
        }
        Ok(self.cost("create", None, latencies))
    }

    /// Reads projects from all parts of the log: from MongoDB, then from the gateway's memory.
    async fn read(&mut self, projects: &[Filled]) -> anyhow::Result<[Cost; 2]> {
        let (mut first, mut again) = (Vec::new(), Vec::new());
        let step = (projects.len() / READS).max(1);
        for project in projects.iter().step_by(step).take(READS) {
            let id = project.id.to_string();
            let input = json!({ "id": id });
            first.push(self.ask(project.tenant, READ, &input, &id).await?);
            again.push(self.ask(project.tenant, READ, &input, &id).await?);
        }
        Ok([
            self.cost("first read", None, first),
            self.cost("second read", None, again),
        ])
    }

    /// Changes aggregates that no worker has loaded yet, and then again.
    async fn change(&mut self, commits: u64, of: &[&Filled]) -> anyhow::Result<[Cost; 2]> {
        let (mut first, mut again) = (Vec::new(), Vec::new());
        for project in of {
            for change in 0..=MORE_CHANGES {
                let name = format!("changed {change}");
                let input = json!({ "input": { "id": project.id.to_string(), "name": name } });
                let latency = self.ask(project.tenant, UPDATE, &input, &name).await?;
                if change == 0 {
                    first.push(latency);
                } else {
                    again.push(latency);
                }
            }
        }
        Ok([
            self.cost("first change", Some(commits), first),
            self.cost("next change", Some(commits), again),
        ])
    }

    /// Sends a request whose answer must have this text. Returns its latency in microseconds.
    async fn ask(
        &mut self,
        tenant: usize,
        query: &str,
        input: &Value,
        expected: &str,
    ) -> anyhow::Result<u32> {
        let tenant = self.world.tenants.get(tenant).context("no such tenant")?;
        let request = post(self.world.address, &tenant.by_session, query, input);
        let asked = Instant::now();
        let answer = self.connection.send(&request).await?;
        let latency = asked.elapsed();
        answer.ensure_success()?;
        ensure!(
            count(answer.body, &format!("\"{expected}\"")) == 1,
            "expected {expected}: {}",
            answer.excerpt()
        );
        Ok(u32::try_from(latency.as_micros())?)
    }

    fn cost(&self, operation: &'static str, history: Option<u64>, latencies: Vec<u32>) -> Cost {
        let latencies = Latencies::of(latencies);
        Cost {
            events: self.events,
            operation,
            history,
            samples: latencies.count(),
            p50_ms: latencies.at(50.0),
            max_ms: latencies.at(100.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_log_is_measured_once_and_a_long_one_on_its_way() {
        assert_eq!(logs(2_000), [2_000]);
        assert_eq!(logs(200_000), [10_000, 100_000]);
    }

    #[test]
    fn long_histories_take_up_at_most_half_of_a_log() {
        assert_eq!(Vec::from_iter(histories(2_000)), [(10, 20)]);
        assert_eq!(Vec::from_iter(histories(10_000)), [(10, 20), (1_000, 5)]);
        assert_eq!(Vec::from_iter(histories(1_000_000)), HISTORIES);
    }
}
