//! The options of `bench`.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use anyhow::ensure;
use clap::{Args, ValueEnum as _, value_parser};

use super::{
    chosen::{Chosen, Scenario},
    listeners,
    works::{MAX_LOGINS, Work},
    world::Size,
};

/// Most connections of a client. The gateway has room for 900.
const MAX_CONCURRENCY: u64 = 512;

/// Measures the whole backend on this machine: rates, latencies, CPU time and memory.
///
/// Starts a backend of its own with empty servers, signs up a person, makes tenants and projects,
/// and does each work at each concurrency: first as fast as answers come, then at 70 % of that
/// rate. `feed`, `rebuild`, `start`, `growth`, `webhooks` and `payments` measure the backend in other
/// ways.
/// docs/benchmarks.md explains the columns. Needs a release build for figures that mean something.
/// Exits with an error if any answer was wrong.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// Works to measure, separated by commas. All of them by default.
    #[arg(long, value_delimiter = ',', value_enum, hide_default_value = true)]
    #[arg(default_values_t = Chosen::value_variants().to_vec())]
    work: Vec<Chosen>,
    /// Numbers of connections, separated by commas, 1 to 512 each. A connection has one request in
    /// flight.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    #[arg(value_parser = value_parser!(u64).range(1..=MAX_CONCURRENCY))]
    concurrency: Vec<u64>,
    /// Seconds that each loop is counted, 1 to 600. One second before is not counted.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Tenants that the requests are spread over, 1 to 1000.
    #[arg(long, default_value_t = 50, value_parser = value_parser!(u64).range(1..=1_000))]
    tenants: u64,
    /// Projects that are made for reads and renames; no fewer than the highest concurrency, at most
    /// 1000000.
    #[arg(long, default_value_t = 5_000, value_parser = value_parser!(u64).range(1..=1_000_000))]
    seed: u64,
    /// Projects of the tenant whose projects are listed, 4 to 1000000.
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u64).range(4..=1_000_000))]
    list_seed: u64,
    /// Events in the log of `rebuild`, `start` and `growth`, and events that wait for a webhook in
    /// `webhooks`. 1000 to 10000000.
    #[arg(long, default_value_t = 100_000)]
    #[arg(value_parser = value_parser!(u64).range(1_000..=10_000_000))]
    events: u64,
    /// Listeners of `feed`: as many are idle, and at most as many hear of changes. 1 to 6000.
    #[arg(long, default_value_t = 5_000)]
    #[arg(value_parser = value_parser!(u64).range(1..=listeners::MOST))]
    listeners: u64,
    /// Measure only the backend, and not what the servers alone could do.
    #[arg(long)]
    pub(super) no_limits: bool,
    /// Print a line of JSON for each point instead of tables.
    #[arg(long)]
    pub(super) json: bool,
    /// Draw rate.svg, p99.svg and growth.svg in this folder.
    #[arg(long, value_name = "DIR")]
    pub(super) charts: Option<PathBuf>,
}

impl Options {
    /// Checks what single options cannot.
    ///
    /// # Errors
    /// If connections would have to share a project.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let highest = self.concurrency.iter().max().copied().unwrap_or(1);
        ensure!(
            self.seed >= highest,
            "--seed must be at least the highest --concurrency, {highest}: each connection renames \
             projects of its own"
        );
        Ok(())
    }

    /// Returns the chosen works that are requests.
    pub(super) fn works(&self) -> Vec<Work> {
        let works = self.work.iter().filter_map(|chosen| match chosen {
            Chosen::Requests(work) => Some(*work),
            Chosen::Scenario(_) => None,
        });
        works.collect()
    }

    /// Returns the chosen scenarios.
    pub(super) fn scenarios(&self) -> Vec<Scenario> {
        let scenarios = self.work.iter().filter_map(|chosen| match chosen {
            Chosen::Requests(_) => None,
            Chosen::Scenario(scenario) => Some(*scenario),
        });
        scenarios.collect()
    }

    /// Returns the number of events in a long log.
    pub(super) fn events(&self) -> usize {
        self.events as usize
    }

    /// Returns the number of idle listeners.
    pub(super) fn listeners(&self) -> usize {
        self.listeners as usize
    }

    /// Returns the number of tenants.
    pub(super) fn tenants(&self) -> usize {
        self.tenants as usize
    }

    /// Returns the concurrencies in ascending order.
    pub(super) fn concurrencies(&self) -> Vec<usize> {
        let all: BTreeSet<usize> = self.concurrency.iter().map(|n| *n as usize).collect();
        all.into_iter().collect()
    }

    /// Returns the concurrencies of a work.
    pub(super) fn concurrencies_of(&self, work: Work) -> Vec<usize> {
        let most = match work {
            Work::Login => MAX_LOGINS,
            Work::Create
            | Work::Rename
            | Work::Read
            | Work::ReadToken
            | Work::List
            | Work::Mixed => usize::MAX,
        };
        let all = self.concurrencies().into_iter().map(|n| n.min(most));
        BTreeSet::from_iter(all).into_iter().collect()
    }

    /// Returns how long each loop is counted.
    pub(super) fn counted(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Returns how much to make.
    pub(super) fn size(&self) -> Size {
        Size {
            tenants: self.tenants(),
            projects: self.seed as usize,
            listed: if self.work.contains(&Chosen::Requests(Work::List)) {
                self.list_seed as usize
            } else {
                0
            },
        }
    }
}
