//! The W3C trace context of a request or a message. It identifies the request in answers, in logs,
//! and in all messages that follow from it.
//!
//! Only `traceparent` is read.

use std::fmt;

use async_nats::HeaderMap;
use data_encoding::HEXLOWER;
use events_schema::TRACEPARENT;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::{random_bytes, telemetry};

/// A place in a trace: what is done next belongs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    id: [u8; 16],
    /// The span that the next one follows; `None` at the beginning.
    span: Option<[u8; 8]>,
    is_sampled: bool,
}

impl Trace {
    /// Continues the trace of a `traceparent` header. Without a valid one, begins a new trace.
    pub fn of(traceparent: Option<&str>) -> Self {
        traceparent
            .and_then(Self::parse)
            .unwrap_or_else(Self::begin)
    }

    /// Continues the trace of a message. Without one, begins a new trace.
    pub fn of_message(headers: Option<&HeaderMap>) -> Self {
        let traceparent = headers.and_then(|headers| headers.get(TRACEPARENT));
        Self::of(traceparent.map(|value| value.as_str()))
    }

    /// Begins a trace that is not sampled.
    pub fn begin() -> Self {
        // If the system has no random bytes, nobody can log in anyway, so all requests may share an
        // id.
        Self {
            id: random_bytes().unwrap_or([1; 16]),
            span: None,
            is_sampled: false,
        }
    }

    /// Parses `<version>-<trace id>-<span id>-<flags>`. Later versions may append more.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let [version] = hex::<1>(parts.next()?)?;
        let (id, span) = (hex::<16>(parts.next()?)?, hex::<8>(parts.next()?)?);
        let [flags] = hex::<1>(parts.next()?)?;
        let is_known = version != 0xff && (version != 0 || parts.next().is_none());
        (is_known && id != [0; 16] && span != [0; 8]).then_some(Self {
            id,
            span: Some(span),
            is_sampled: flags & 1 == 1,
        })
    }

    /// Whether spans of the trace are exported.
    pub const fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    pub(crate) const fn sampled(self, is_sampled: bool) -> Self {
        Self { is_sampled, ..self }
    }

    /// Returns the place as OpenTelemetry has it; it is not valid at the beginning of a trace.
    pub(crate) fn context(&self) -> SpanContext {
        SpanContext::new(
            TraceId::from_bytes(self.id),
            SpanId::from_bytes(self.span.unwrap_or_default()),
            TraceFlags::NOT_SAMPLED.with_sampled(self.is_sampled),
            true,
            TraceState::NONE,
        )
    }

    /// Returns the place after this span, or this place if the span is not exported.
    pub(crate) fn after(self, span: &SpanContext) -> Self {
        if !span.is_valid() {
            return self;
        }
        Self {
            id: span.trace_id().to_bytes(),
            span: Some(span.span_id().to_bytes()),
            is_sampled: span.is_sampled(),
        }
    }

    /// Returns the `traceparent` header of a message that is sent now. In a sampled trace it names
    /// the last exported span, otherwise a span that nobody exports.
    pub fn traceparent(&self) -> String {
        let at = if self.is_sampled {
            self.after(&telemetry::current_span())
        } else {
            *self
        };
        let span = at.span.filter(|_| at.is_sampled);
        let span = span.unwrap_or_else(|| random_bytes().unwrap_or([1; 8]));
        let flags = u8::from(at.is_sampled);
        format!("00-{at}-{}-{flags:02x}", HEXLOWER.encode(&span))
    }

    /// Returns the headers of a message that is sent now.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, self.traceparent());
        headers
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.id))
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let is_whole = text.len() == 2 * N;
    let decoded = is_whole.then(|| HEXLOWER.decode_mut(text.as_bytes(), &mut bytes))?;
    decoded.is_ok().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_valid_header_continues_the_trace() {
        let sampled = format!("00-{ID}-00f067aa0ba902b7-01");
        assert!(Trace::of(Some(&sampled)).is_sampled());
        // Nothing exports a span here, so the next one follows the given one.
        assert_eq!(Trace::of(Some(&sampled)).traceparent(), sampled);

        let given = format!("00-{ID}-00f067aa0ba902b7-00");
        let trace = Trace::of(Some(&given));
        assert_eq!(
            (trace.to_string().as_str(), trace.is_sampled()),
            (ID, false)
        );
        let passed_on = trace.traceparent();
        assert_ne!(passed_on, given);
        assert_eq!(Trace::parse(&passed_on).unwrap().id, trace.id);
        assert_eq!(
            Trace::of(Some(&format!("01-{ID}-00f067aa0ba902b7-01-later"))).to_string(),
            ID
        );
    }

    #[test]
    fn a_malformed_header_begins_a_new_trace() {
        for wrong in [
            "",
            "00",
            "x",
            &format!("ff-{ID}-00f067aa0ba902b7-01"),
            &format!("00-{ID}-0000000000000000-01"),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{}-00f067aa0ba902b7-01", ID.to_uppercase()),
            &format!("00-{ID}-00f067aa0ba902b7-01-more"),
            &format!("00-{ID}-00f067aa0ba902b7"),
            &format!("00-{ID}\n-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(Trace::parse(wrong), None, "{wrong:?}");
        }
        assert_ne!(Trace::of(None), Trace::of(None));
        assert!(!Trace::of(None).is_sampled());
    }
}
