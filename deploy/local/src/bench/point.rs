//! What is measured of a work or a limit at one concurrency.

use std::time::Duration;

use serde::Serialize;

use super::{
    limits::Limit,
    load::Answers,
    percentiles::Latencies,
    processes::{PerProcess, Used},
    works::Work,
};

/// What was measured for one work or limit at one concurrency.
#[derive(Serialize)]
pub(super) struct Point {
    #[serde(flatten)]
    pub(super) subject: Subject,
    pub(super) concurrency: usize,
    pub(super) closed: Closed,
    /// `None` for limits, which have no open loop.
    pub(super) open: Option<Open>,
    /// Wrong answers of both loops.
    pub(super) wrong: usize,
    /// The rate as a share of the limit's at the same concurrency.
    pub(super) of_limit: Option<f64>,
}

/// What a point is about.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Subject {
    Work(Work),
    Limit(Limit),
}

impl Subject {
    /// Returns the name in the tables.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Work(work) => work.name(),
            Self::Limit(limit) => limit.name(),
        }
    }
}

/// The closed loop: as fast as answers come.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Closed {
    /// Answers per second.
    pub(super) rate: f64,
    pub(super) p50_ms: Option<f64>,
    pub(super) cpu_us_per_request: PerProcess<Option<f64>>,
    pub(super) memory_mib: PerProcess<Option<f64>>,
}

impl Closed {
    /// Sums up a loop.
    pub(super) fn of(answers: &mut Answers, counted: Duration, used: &Used) -> Self {
        let latencies = Latencies::of(std::mem::take(&mut answers.latencies_us));
        let count = latencies.count() as f64;
        let per_request = |cpu: Option<Duration>| {
            let cpu = cpu.filter(|_| count > 0.0)?;
            Some(cpu.as_secs_f64() * 1e6 / count)
        };
        Self {
            rate: count / counted.as_secs_f64(),
            p50_ms: latencies.at(50.0),
            cpu_us_per_request: used.cpu.map(per_request),
            memory_mib: used.memory_mib,
        }
    }
}

/// The open loop: a steady rate below the highest. Latencies count from when a request was due.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Open {
    /// Requests per second that were due.
    pub(super) rate: f64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p95_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) max_ms: Option<f64>,
}

impl Open {
    /// Sums up a loop.
    pub(super) fn of(answers: &mut Answers, rate: f64) -> Self {
        let latencies = Latencies::of(std::mem::take(&mut answers.latencies_us));
        Self {
            rate,
            p50_ms: latencies.at(50.0),
            p95_ms: latencies.at(95.0),
            p99_ms: latencies.at(99.0),
            max_ms: latencies.at(100.0),
        }
    }
}
