//! The handling of one request or message: its lines in the log, and its span.

use std::fmt::Display;

use opentelemetry::{
    Context, Value,
    trace::{SpanContext, Status, TraceContextExt as _},
};
use tracing::{Instrument as _, Metadata, Span, debug_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{Trace, telemetry::lines::TRACE};

/// Characters of a reason that are exported.
const MAX_REASON: usize = 1_000;
/// The target of the first span of a sampled request or message in this process.
const FIRST: &str = "first_span";

/// The handling of one request or message. Its lines in the log have the id of its trace. If the
/// trace is sampled, it has a span, which ends when this is dropped.
#[derive(Clone, Debug)]
pub struct Handling {
    /// The trace of the lines.
    lines: Trace,
    span: Span,
}

impl Handling {
    /// Begins to serve a request. Returns the place in the trace from which to go on.
    pub fn serve(trace: Trace, name: impl Display) -> (Self, Trace) {
        Self::begin(trace, name, "server", false)
    }

    /// Begins to process a message. Returns the place in the trace from which to go on: for a
    /// message that is delivered again or replayed it is in a new trace, which links to the first.
    pub fn process(trace: Trace, name: impl Display, is_repeated: bool) -> (Self, Trace) {
        Self::begin(trace, name, "consumer", is_repeated)
    }

    fn begin(trace: Trace, name: impl Display, kind: &str, is_repeated: bool) -> (Self, Trace) {
        let (mut span, given, mut trace) = (Span::none(), trace, trace);
        if trace.is_sampled() {
            span = debug_span!(
                target: FIRST, parent: None, "work", otel.name = %name, otel.kind = kind
            );
            let before = trace.context();
            if is_repeated {
                span.add_link(before);
            } else if before.is_valid() {
                // It has just begun. Without an exporter there is nothing to set.
                _ = span.set_parent(Context::new().with_remote_span_context(before));
            }
            trace = trace.after(span.context().span().span_context());
        }
        // The lines of a repetition have the id of the request, too.
        let lines = if is_repeated { given } else { trace };
        (Self { lines, span }, trace)
    }

    /// Runs a part of the work within its span.
    pub async fn run<T>(&self, part: impl Future<Output = T>) -> T {
        let part = part.instrument(self.span.clone());
        TRACE.scope(self.lines, part).await
    }

    /// Whether the work has a span that is exported, so that details are of use.
    pub fn is_exported(&self) -> bool {
        !self.span.is_disabled()
    }

    /// Adds an attribute to the span.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        self.span.set_attribute(key, value);
    }

    /// Marks the span as failed.
    pub fn fail(&self, reason: &str) {
        if self.is_exported() {
            let reason: String = reason.chars().take(MAX_REASON).collect();
            self.span.set_status(Status::error(reason));
        }
    }
}

/// Runs work that outlives its request, such as a socket. Its lines in the log have the id of the
/// trace.
pub async fn in_trace<T>(trace: Trace, work: impl Future<Output = T>) -> T {
    TRACE.scope(trace, work).await
}

/// Whether this is the first span of a sampled request or message.
pub(super) fn is_first(metadata: &Metadata<'_>) -> bool {
    metadata.target() == FIRST
}

/// Returns the current span if it is exported; otherwise one that is not valid.
pub(crate) fn current_span() -> SpanContext {
    Span::current().context().span().span_context().clone()
}
