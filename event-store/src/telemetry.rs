//! Log lines, traces and metrics of both programs.
//!
//! Log lines go to standard error. Spans and metrics go to an OpenTelemetry collector if the
//! standard variables name one (`OTEL_EXPORTER_OTLP_ENDPOINT` …). Metrics can also be read as
//! Prometheus text ([`Monitor`](crate::Monitor)).

mod export;
mod instruments;
mod lines;
mod sampling;
mod work;

use std::{sync::OnceLock, thread, time::Duration};

use anyhow::Context as _;
use opentelemetry::global;
use opentelemetry_sdk::{metrics::SdkMeterProvider, trace::SdkTracerProvider};
use prometheus::{Registry, TextEncoder};
use tokio::{sync::oneshot, time::timeout};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::dynamic_filter_fn,
    layer::{self, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

pub use instruments::{
    Counter, Gauge, Histogram, KeyValue, counter, gauge, observed_counter, observed_gauge, seconds,
    sizes,
};
pub(crate) use work::current_span;
pub use work::{Handling, in_trace};

/// The name of this product among the libraries that a collector hears of.
const SCOPE: &str = "ultimate-backend";

/// How long the last export may take. Supervisors kill a program that stops too slowly.
const LAST_EXPORT: Duration = Duration::from_secs(2);

/// The metrics of this process, for Prometheus.
static REGISTRY: OnceLock<Registry> = OnceLock::new();

/// What sends spans and metrics.
#[derive(Debug)]
#[must_use]
pub struct Telemetry {
    tracer: Option<SdkTracerProvider>,
    meter: SdkMeterProvider,
}

impl Telemetry {
    /// Starts log lines, as text or as JSON. `default_filter` says what is logged, unless
    /// `RUST_LOG` does. Starts spans and metrics as the `OTEL_` variables say; `service` is their
    /// `service.name` unless these set another.
    ///
    /// # Errors
    /// If one of the variables is malformed, or telemetry was started before.
    pub fn start(service: &'static str, json: bool, default_filter: &str) -> anyhow::Result<Self> {
        let resource = export::resource(service);
        let sampling = sampling::sampling()?;
        let tracer = export::tracer(resource.clone())?;
        let metrics = Registry::new();
        let meter = export::meter(resource, &metrics)?;
        global::set_meter_provider(meter.clone());
        // A second start would fail below.
        _ = REGISTRY.set(metrics);
        let registry = tracing_subscriber::registry().with(lines::lines(json, default_filter));
        let registry = registry.with(tracer.as_ref().map(spans));
        registry.try_init().context("starting log lines")?;
        if tracer.is_some() {
            sampling::start(sampling);
        }
        instruments::observe_process();
        Ok(Self { tracer, meter })
    }

    /// Sends what was not sent yet. A collector that does not answer delays this by two seconds.
    pub async fn stop(self) {
        let (stopped, all_stopped) = oneshot::channel();
        // A thread of its own: at its end, the runtime would wait for one that it owns.
        thread::spawn(move || {
            let traced = self.tracer.map_or(Ok(()), |tracer| tracer.shutdown());
            _ = stopped.send(traced.and(self.meter.shutdown()));
        });
        if !matches!(timeout(LAST_EXPORT, all_stopped).await, Ok(Ok(Ok(())))) {
            tracing::warn!("the last spans or metrics may be lost; does the collector answer?");
        }
    }
}

/// Returns the metrics of this process as Prometheus text.
///
/// # Errors
/// If a metric cannot be written as text.
pub fn prometheus_text() -> anyhow::Result<String> {
    let families = REGISTRY.get().map(Registry::gather).unwrap_or_default();
    let text = TextEncoder::new().encode_to_string(&families);
    text.context("writing metrics")
}

/// The layer that exports spans.
fn spans<S>(tracer: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    use opentelemetry::trace::TracerProvider as _;
    tracing_opentelemetry::layer()
        .with_tracer(tracer.tracer(SCOPE))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(dynamic_filter_fn(is_exported))
}

/// Whether a span is exported, or an event as a part of its span: spans of sampled requests and
/// messages, all that is within them, and warnings.
fn is_exported<S>(metadata: &Metadata<'_>, context: &layer::Context<'_, S>) -> bool
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let detail = if metadata.is_span() {
        Level::DEBUG
    } else {
        Level::WARN
    };
    work::is_first(metadata) || (*metadata.level() <= detail && context.lookup_current().is_some())
}
