//! The kinds of metrics. Each metric is declared beside the code that records it.

use opentelemetry::global;

pub use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram},
};

use super::SCOPE;

/// The bounds of durations, from a cached read to the time limit of a request, in seconds.
const SECONDS: [f64; 15] = [
    0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0,
];
/// The bounds of the sizes of groups.
const SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Makes a histogram of durations in seconds.
pub fn seconds(name: &'static str, description: &'static str) -> Histogram<f64> {
    let meter = global::meter(SCOPE);
    meter
        .f64_histogram(name)
        .with_unit("s")
        .with_description(description)
        .with_boundaries(SECONDS.to_vec())
        .build()
}

/// Makes a histogram of the sizes of groups.
pub fn sizes(name: &'static str, description: &'static str) -> Histogram<u64> {
    let meter = global::meter(SCOPE);
    meter
        .u64_histogram(name)
        .with_description(description)
        .with_boundaries(SIZES.to_vec())
        .build()
}

/// Makes a counter.
pub fn counter(name: &'static str, description: &'static str) -> Counter<u64> {
    let meter = global::meter(SCOPE);
    let counter = meter.u64_counter(name);
    counter.with_description(description).build()
}

/// Makes a gauge.
pub fn gauge(name: &'static str, description: &'static str) -> Gauge<u64> {
    let meter = global::meter(SCOPE);
    let gauge = meter.u64_gauge(name);
    gauge.with_description(description).build()
}

/// Makes a counter that is read whenever metrics are collected.
pub fn observed_counter(
    name: &'static str,
    description: &'static str,
    attributes: Vec<KeyValue>,
    read: impl Fn() -> u64 + Send + Sync + 'static,
) {
    let meter = global::meter(SCOPE);
    meter
        .u64_observable_counter(name)
        .with_description(description)
        .with_callback(move |counter| counter.observe(read(), &attributes))
        .build();
}

/// Makes a gauge that is read whenever metrics are collected. `unit` is `By` for bytes.
pub fn observed_gauge(
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    read: impl Fn() -> u64 + Send + Sync + 'static,
) {
    let meter = global::meter(SCOPE);
    meter
        .u64_observable_gauge(name)
        .with_unit(unit)
        .with_description(description)
        .with_callback(move |gauge| gauge.observe(read(), &[]))
        .build();
}

/// Makes the metrics of the process itself.
pub(super) fn observe_process() {
    observed_gauge(
        "process.memory.usage",
        "By",
        "Physical memory of the process.",
        || resident_bytes().unwrap_or_default(),
    );
}

/// Reads the resident memory; `None` where there is no `/proc`.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mut lines = status.lines();
    let resident = lines.find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1_024)
}
