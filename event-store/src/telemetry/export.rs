//! The exporters of spans and metrics, as the standard variables of OpenTelemetry configure them.

use std::env;

use anyhow::{Context as _, bail};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{
    MetricExporter, SpanExporter, WithTonicConfig as _, tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    Resource,
    metrics::{Instrument, SdkMeterProvider, Stream},
    trace::{Sampler, SdkTracerProvider},
};
use prometheus::Registry;

use crate::random_id;

/// Series of one instrument, one for each combination of its labels. The most are of consumers,
/// three for each.
const MAX_SERIES: usize = 200;
/// Variables that name a collector for one kind of data, or for both.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The version of this program, for collectors.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A kind of data that a collector takes.
#[derive(Clone, Copy)]
enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    const fn name(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }

    /// Returns the URL of the collector; `None` if nothing is to be sent.
    ///
    /// # Errors
    /// If the collector would need another protocol.
    fn endpoint(self) -> anyhow::Result<Option<String>> {
        let name = self.name();
        let is_off =
            is("OTEL_SDK_DISABLED", "true") || is(&format!("OTEL_{name}_EXPORTER"), "none");
        let own = var(&format!("OTEL_EXPORTER_OTLP_{name}_ENDPOINT"));
        let Some(endpoint) = own.or_else(|| var(ENDPOINT)).filter(|_| !is_off) else {
            return Ok(None);
        };
        let protocol = var(&format!("OTEL_EXPORTER_OTLP_{name}_PROTOCOL"));
        let protocol = protocol.or_else(|| var("OTEL_EXPORTER_OTLP_PROTOCOL"));
        match protocol.as_deref() {
            None | Some("grpc") => Ok(Some(endpoint)),
            Some(other) => bail!(
                "the OTLP protocol for {name} is {other}; only grpc is supported, usually on port \
                 4317"
            ),
        }
    }
}

fn var(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn is(name: &str, value: &str) -> bool {
    var(name).is_some_and(|set| set.eq_ignore_ascii_case(value))
}

/// Describes this process to collectors.
pub(super) fn resource(service: &'static str) -> Resource {
    let builder = Resource::builder().with_attribute(KeyValue::new("service.version", VERSION));
    let builder = match random_id() {
        Ok(id) => builder.with_attribute(KeyValue::new("service.instance.id", id.to_string())),
        Err(_) => builder,
    };
    let attributes = var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    if var("OTEL_SERVICE_NAME").is_some() || attributes.contains("service.name=") {
        builder.build()
    } else {
        builder.with_service_name(service).build()
    }
}

/// Returns the TLS of connections to `https://` collectors, with the public root certificates.
fn tls(endpoint: &str) -> Option<ClientTlsConfig> {
    let is_https = endpoint.starts_with("https://");
    is_https.then(|| ClientTlsConfig::new().with_enabled_roots())
}

/// Returns what exports spans, if a collector is named.
///
/// # Errors
/// If the variables are malformed.
pub(super) fn tracer(resource: Resource) -> anyhow::Result<Option<SdkTracerProvider>> {
    let Some(endpoint) = Signal::Traces.endpoint()? else {
        return Ok(None);
    };
    let mut exporter = SpanExporter::builder().with_tonic();
    if let Some(tls) = tls(&endpoint) {
        exporter = exporter.with_tls_config(tls);
    }
    let exporter = exporter
        .build()
        .with_context(|| format!("exporting spans to {endpoint}"))?;
    // A span is made only if its request is sampled.
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource)
        .with_batch_exporter(exporter);
    Ok(Some(provider.build()))
}

/// Bounds the series of an instrument: the library takes memory for all of them in advance.
fn bounded(_: &Instrument) -> Option<Stream> {
    Stream::builder()
        .with_cardinality_limit(MAX_SERIES)
        .build()
        .ok()
}

/// Returns what exports metrics: to a registry of Prometheus, and to a collector if one is named.
///
/// # Errors
/// If the variables are malformed.
pub(super) fn meter(resource: Resource, registry: &Registry) -> anyhow::Result<SdkMeterProvider> {
    let reader = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .build()?;
    let mut provider = SdkMeterProvider::builder()
        .with_resource(resource)
        .with_view(bounded)
        .with_reader(reader);
    if let Some(endpoint) = Signal::Metrics.endpoint()? {
        let mut exporter = MetricExporter::builder().with_tonic();
        if let Some(tls) = tls(&endpoint) {
            exporter = exporter.with_tls_config(tls);
        }
        let exporter = exporter.build();
        let exporter = exporter.with_context(|| format!("exporting metrics to {endpoint}"))?;
        provider = provider.with_periodic_exporter(exporter);
    }
    Ok(provider.build())
}
