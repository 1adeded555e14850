//! The W3C trace context of a request, which names it in answers, logs and everything that it
//! causes.
//!
//! Only `traceparent` is read; spans are not exported from here.

use data_encoding::HEXLOWER;
use std::fmt;

/// Names a request: its trace id, and whether the trace is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    id: [u8; 16],
    flags: u8,
}

impl Trace {
    /// Continues the trace of a `traceparent` header, or begins one where there is none that is
    /// valid.
    pub(crate) fn of(traceparent: Option<&str>) -> Self {
        traceparent
            .and_then(Self::parse)
            .unwrap_or_else(Self::begin)
    }

    fn begin() -> Self {
        let mut id = [0; 16];
        // A machine without randomness cannot log anybody in either; the name of a request may then
        // be a plain zero.
        getrandom::fill(&mut id).unwrap_or_default();
        Self { id, flags: 0 }
    }

    /// `<version>-<trace id>-<span id>-<flags>`; later versions may append more.
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

    /// The header that makes what follows part of this trace, as a span of its own.
    pub(crate) fn traceparent(&self) -> String {
        let mut span = [1; 8];
        getrandom::fill(&mut span).unwrap_or_default();
        format!(
            "00-{self}-{}-{:02x}",
            HEXLOWER.encode(&span),
            self.flags & 1
        )
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
    fn a_valid_header_is_continued_in_a_new_span() {
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
    fn what_is_no_trace_begins_a_new_one() {
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
