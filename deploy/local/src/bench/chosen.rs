//! What `--work` can name: works that are requests, and scenarios.

use std::sync::LazyLock;

use clap::{ValueEnum, builder::PossibleValue};
use serde::Serialize;

use super::works::Work;

/// What is measured other than by requests at several concurrencies. Each scenario starts a backend
/// of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(super) enum Scenario {
    /// Time until listeners on WebSockets hear of a change, and what idle listeners cost.
    Feed,
    /// Rebuild the view of projects from a log of `--events` events.
    Rebuild,
    /// Start the backend with an empty log and with `--events` events.
    Start,
    /// Latencies while the log grows to `--events` events.
    Growth,
    /// Time until endpoints of webhooks get an event, and how many they get.
    Webhooks,
    /// Time until it is known what Stripe tells, and what a limit costs.
    Payments,
}

impl Scenario {
    /// Returns the name on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Feed => "feed",
            Self::Rebuild => "rebuild",
            Self::Start => "start",
            Self::Growth => "growth",
            Self::Webhooks => "webhooks",
            Self::Payments => "payments",
        }
    }
}

/// A value of `--work`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Chosen {
    Requests(Work),
    Scenario(Scenario),
}

static ALL: LazyLock<Vec<Chosen>> = LazyLock::new(|| {
    let works = Work::value_variants().iter().copied();
    let scenarios = Scenario::value_variants().iter().copied();
    let scenarios = scenarios.map(Chosen::Scenario);
    works.map(Chosen::Requests).chain(scenarios).collect()
});

impl ValueEnum for Chosen {
    fn value_variants<'a>() -> &'a [Self] {
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Requests(work) => work.to_possible_value(),
            Self::Scenario(scenario) => scenario.to_possible_value(),
        }
    }
}
