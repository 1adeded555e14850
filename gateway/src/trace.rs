//! The W3C trace context of a request. It identifies the request in answers, in logs and in all
//! messages that follow from it.
//!
//! Only `traceparent` is read. Spans are not exported from here.

use std::fmt;

use data_encoding::HEXLOWER;
use event_store::random_bytes;

/// Identifies a request: the trace id, and whether the trace is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    id: [u8; 16],
    flags: u8,
}

impl Trace {
    /// Continues the trace of a `traceparent` header. Without a valid one, begins a new trace.
    pub(crate) fn of(traceparent: Option<&str>) -> Self {
        traceparent
            .and_then(Self::parse)
            .unwrap_or_else(Self::begin)
    }

    fn begin() -> Self {
        // If the system has no random bytes, nobody can log in anyway, so all requests may share an
        // id.
        let id = random_bytes().unwrap_or_default();
        Self { id, flags: 0 }
    }

    /// Parses `<version>-<trace id>-<span id>-<flags>`. Later versions may append more.
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let [version, id, span, flags, ref more @ ..] = parts[..] else {
            return None;
        };
        let version = hex::<1>(version)?;
        let (id, span, [flags]) = (hex::<16>(id)?, hex::<8>(span)?, hex::<1>(flags)?);
        let known = version != [0xff] && (version != [0] || more.is_empty());
        (known && id != [0; 16] && span != [0; 8]).then_some(Self { id, flags })
    }

    /// Returns the `traceparent` header of a message that follows from the request: the same
    /// trace, a new span.
    pub(crate) fn traceparent(&self) -> String {
        let span = HEXLOWER.encode(&random_bytes().unwrap_or([1; 8]));
        format!("00-{self}-{span}-{:02x}", self.flags & 1)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.id))
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_valid_header_continues_the_trace_in_a_new_span() {
        let given = format!("00-{ID}-00f067aa0ba902b7-01");
        let trace = Trace::of(Some(&given));
        assert_eq!(trace.to_string(), ID);
        let passed_on = trace.traceparent();
        assert_eq!(Trace::parse(&passed_on), Some(trace));
        assert_ne!(passed_on, given);
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
    }
}
