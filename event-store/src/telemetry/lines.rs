//! Log lines, each with the trace that it belongs to.

use std::{fmt, io::IsTerminal as _};

use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt as _, filter_fn},
    fmt::{
        FmtContext, FormatEvent, FormatFields, Layer as Formatted,
        format::{self, Writer},
    },
    registry::LookupSpan,
};

use crate::Trace;

tokio::task_local! {
    /// What the current task works on.
    pub(super) static TRACE: Trace;
}

/// Returns the layer that writes lines to standard error, as text or as JSON. `default_filter`
/// says what is logged, unless `RUST_LOG` does.
pub(super) fn lines<S>(json: bool, default_filter: &str) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let filter = EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(default_filter));
    let filter = filter.and(filter_fn(shows_no_password));
    let lines = Formatted::default().with_writer(std::io::stderr);
    if json {
        let format = format::json().flatten_event(true).with_span_list(false);
        let lines = lines.fmt_fields(format::JsonFields::new());
        let lines = lines.event_format(Traced {
            format,
            add: as_first_field,
        });
        lines.with_filter(filter).boxed()
    } else {
        let format = format::format().with_ansi(std::io::stderr().is_terminal());
        let lines = lines.event_format(Traced {
            format,
            add: at_the_end,
        });
        lines.with_filter(filter).boxed()
    }
}

/// The debug lines of the NATS client show the password that it connects with.
fn shows_no_password(line: &Metadata<'_>) -> bool {
    let is_detailed = *line.level() > Level::INFO;
    !(is_detailed && line.target().starts_with("async_nats"))
}

/// Lines in a format, with their trace added.
struct Traced<F> {
    format: F,
    /// Writes a line with its trace.
    add: fn(&mut Writer<'_>, line: &str, trace: Trace) -> fmt::Result,
}

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Ok(trace) = TRACE.try_get() else {
            return self.format.format_event(context, writer, event);
        };
        let mut line = String::new();
        let line_writer = Writer::new(&mut line);
        self.format.format_event(context, line_writer, event)?;
        (self.add)(&mut writer, &line, trace)
    }
}

/// Writes a line of text with the trace at its end.
fn at_the_end(writer: &mut Writer<'_>, line: &str, trace: Trace) -> fmt::Result {
    writeln!(writer, "{} trace_id={trace}", line.trim_end())
}

/// Writes a line of JSON with the trace as its first field.
fn as_first_field(writer: &mut Writer<'_>, line: &str, trace: Trace) -> fmt::Result {
    let fields = line.strip_prefix('{').unwrap_or(line);
    write!(writer, "{{\"trace_id\":\"{trace}\",{fields}")
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{Registry, fmt::MakeWriter, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Written {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// Returns two lines as they are written: one within a trace, one outside.
    fn written<F>(
        fields: F,
        format: impl FormatEvent<Registry, F> + Send + Sync + 'static,
    ) -> String
    where
        F: for<'writer> FormatFields<'writer> + Send + Sync + 'static,
    {
        let written = Written::default();
        let lines = Formatted::default().with_writer(written.clone());
        let lines = lines.fmt_fields(fields).event_format(format);
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            let id = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
            TRACE.sync_scope(Trace::of(Some(id)), || tracing::info!(rows = 2, "inside"));
            tracing::info!("outside");
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_of_text_end_with_their_trace() {
        let format = Traced {
            format: format::format().with_ansi(false),
            add: at_the_end,
        };
        let text = written(format::DefaultFields::new(), format);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("inside rows=2 trace_id=4bf92f3577b34da6a3ce929d0e0e4736"));
        assert!(lines[1].ends_with("outside"));
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn lines_of_json_have_their_trace_as_a_field() {
        let format = Traced {
            format: format::json().flatten_event(true),
            add: as_first_field,
        };
        let text = written(format::JsonFields::new(), format);
        let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let lines: Vec<_> = text.lines().map(line).collect();
        assert_eq!(lines[0]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(
            (&lines[0]["message"], &lines[0]["rows"]),
            (&"inside".into(), &2.into())
        );
        assert_eq!(lines[1].get("trace_id"), None);
        assert_eq!(lines.len(), 2);
    }
}
