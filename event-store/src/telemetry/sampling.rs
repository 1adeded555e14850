//! Which requests are sampled: decided once, where a request enters, before a span is made. So a
//! request that is not sampled costs next to nothing. Messages follow their request.

use std::{env, sync::OnceLock};

use anyhow::{Context as _, bail};
use opentelemetry::{
    Context,
    trace::{SpanKind, TraceContextExt as _},
};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample as _};

use crate::Trace;

const NAME: &str = "OTEL_TRACES_SAMPLER";
const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

static SAMPLER: OnceLock<Sampling> = OnceLock::new();

/// How requests are sampled.
#[derive(Debug)]
pub(super) struct Sampling {
    sampler: Sampler,
    /// Whether what the client sends counts.
    is_parent_based: bool,
}

/// Reads the sampler from the standard variables. By default a request is sampled, unless its
/// client says otherwise.
///
/// # Errors
/// If the variables are malformed.
pub(super) fn sampling() -> anyhow::Result<Sampling> {
    parse(
        env::var(NAME).ok().as_deref(),
        env::var(ARGUMENT).ok().as_deref(),
    )
}

fn parse(name: Option<&str>, argument: Option<&str>) -> anyhow::Result<Sampling> {
    let name = name.unwrap_or("parentbased_always_on");
    let (base, is_parent_based) = match name.strip_prefix("parentbased_") {
        Some(base) => (base, true),
        None => (name, false),
    };
    let base = match base {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(ratio(argument)?),
        _ => bail!(
            "{NAME} is {name}; it must be always_on, always_off or traceidratio, or one of them \
             after parentbased_"
        ),
    };
    let sampler = if is_parent_based {
        Sampler::ParentBased(Box::new(base))
    } else {
        base
    };
    Ok(Sampling {
        sampler,
        is_parent_based,
    })
}

fn ratio(argument: Option<&str>) -> anyhow::Result<f64> {
    let ratio: f64 = argument
        .unwrap_or("1")
        .parse()
        .with_context(|| format!("reading {ARGUMENT}"))?;
    if !(0.0..=1.0).contains(&ratio) {
        bail!("{ARGUMENT} is {ratio}; it must be a number from 0 to 1");
    }
    Ok(ratio)
}

/// Samples requests from now on.
pub(super) fn start(sampling: Sampling) {
    // A process starts once.
    _ = SAMPLER.set(sampling);
}

impl Trace {
    /// Continues the trace of the `traceparent` header of a request, or begins a new one, and
    /// decides whether it is sampled. A process that exports no spans leaves that to the client.
    pub fn of_request(traceparent: Option<&str>) -> Self {
        let trace = Self::of(traceparent);
        match SAMPLER.get() {
            Some(sampling) => trace.sampled(is_sampled(sampling, &trace)),
            None => trace,
        }
    }
}

fn is_sampled(sampling: &Sampling, trace: &Trace) -> bool {
    let before = if sampling.is_parent_based {
        trace.context()
    } else {
        // A client could choose an id that the ratio samples.
        Trace::begin().context()
    };
    let parent = before
        .is_valid()
        .then(|| Context::new().with_remote_span_context(before.clone()));
    let (id, kind) = (before.trace_id(), SpanKind::Server);
    let result = sampling
        .sampler
        .should_sample(parent.as_ref(), id, "", &kind, &[], &[]);
    result.decision == SamplingDecision::RecordAndSample
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(name: Option<&str>, argument: Option<&str>, traceparent: Option<&str>) -> bool {
        is_sampled(&parse(name, argument).unwrap(), &Trace::of(traceparent))
    }

    #[test]
    fn a_parent_counts_only_for_samplers_that_look_at_it() {
        let (yes, no) = (
            Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"),
        );
        assert!(decided(None, None, None));
        assert!(decided(None, None, yes));
        assert!(!decided(None, None, no));
        assert!(decided(Some("always_on"), None, no));
        assert!(!decided(Some("always_off"), None, yes));
        assert!(!decided(Some("traceidratio"), Some("0"), yes));
        assert!(decided(Some("parentbased_traceidratio"), Some("0"), yes));
    }

    #[test]
    fn a_ratio_samples_that_share_of_requests_whatever_ids_they_have() {
        let sampling = parse(Some("traceidratio"), Some("0.25")).unwrap();
        let chosen = Trace::of(Some(
            "00-00000000000000000000000000000001-00f067aa0ba902b7-01",
        ));
        let begun = Trace::begin();
        for trace in [chosen, begun] {
            let sampled = (0..4_000).filter(|_| is_sampled(&sampling, &trace));
            let sampled = sampled.count();
            assert!((800..1_200).contains(&sampled), "{sampled}");
        }
    }

    #[test]
    fn malformed_samplers_are_refused() {
        for (name, argument) in [
            ("sometimes", None),
            ("traceidratio", Some("1.5")),
            ("traceidratio", Some("half")),
        ] {
            assert!(parse(Some(name), argument).is_err(), "{name} {argument:?}");
        }
    }
}
