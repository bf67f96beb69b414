//! Formats an event as a line of text, like `tracing-subscriber` without colours. There is an event for each request,
//! and the library spends time on styles even if they are empty.

use std::fmt;

use jiff::Timestamp;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::VisitOutput,
    fmt::{
        FmtContext, FormattedFields,
        format::{DefaultVisitor, FormatEvent, FormatFields, Writer},
    },
    registry::{LookupSpan, Scope},
};

/// `2026-11-30T14:37:00.779496Z  INFO request{id=…}: keyproof_http::access_log: answered method="GET" status=200`
#[derive(Clone, Copy, Debug)]
pub(super) struct TextLine;

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // RFC 3339, in UTC, in microseconds.
        write!(line, "{:.6}", Timestamp::now())?;
        let head = event.metadata();
        line.write_str(match *head.level() {
            Level::ERROR => " ERROR ",
            Level::WARN => "  WARN ",
            Level::INFO => "  INFO ",
            Level::DEBUG => " DEBUG ",
            Level::TRACE => " TRACE ",
        })?;
        let mut spans = context
            .event_scope()
            .into_iter()
            .flat_map(Scope::from_root)
            .peekable();
        let has_spans = spans.peek().is_some();
        for span in spans {
            line.write_str(span.name())?;
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                line.write_char('{')?;
                line.write_str(fields)?;
                line.write_char('}')?;
            }
            line.write_char(':')?;
        }
        if has_spans {
            line.write_char(' ')?;
        }
        line.write_str(head.target())?;
        line.write_str(": ")?;
        let mut fields = Fields {
            line: &mut line,
            is_first: true,
            written: Ok(()),
        };
        event.record(&mut fields);
        fields.written?;
        line.write_char('\n')
    }
}

/// Writes an event's fields, separated by spaces. Values that may need escaping are formatted by the library.
struct Fields<'f, 'w> {
    line: &'f mut Writer<'w>,
    is_first: bool,
    written: fmt::Result,
}

impl Fields<'_, '_> {
    fn plain(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.written = self.written.and_then(|()| {
            if !std::mem::take(&mut self.is_first) {
                self.line.write_char(' ')?;
            }
            self.line.write_str(field.name())?;
            self.line.write_char('=')?;
            self.line.write_fmt(value)
        });
    }

    fn any(&mut self, record: impl FnOnce(&mut DefaultVisitor<'_>)) {
        if self.written.is_ok() {
            let is_first = std::mem::take(&mut self.is_first);
            let mut visitor = DefaultVisitor::new(self.line.by_ref(), is_first);
            record(&mut visitor);
            self.written = visitor.finish();
        }
    }
}

/// Returns whether the library writes the name unchanged.
fn is_plain(field: &Field) -> bool {
    field.name() != "message" && !field.name().starts_with("r#")
}

impl Visit for Fields<'_, '_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if is_plain(field) {
            self.plain(field, format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let is_itself = |byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if is_plain(field) && value.bytes().all(is_itself) {
            self.plain(field, format_args!("\"{value}\""));
        } else {
            self.any(|library| library.record_str(field, value));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.any(|library| library.record_error(field, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.any(|library| library.record_debug(field, value));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use tracing::{error, info, info_span, subscriber::with_default};
    use tracing_subscriber::{fmt, layer::SubscriberExt, registry};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn log() {
        let span = info_span!("request", id = %"4711", other = 1);
        let _entered = span.enter();
        info!(
            method = "GET",
            escaped = "a\"b\\c\u{e9}\n",
            status = Some(200_u16),
            none = None::<u16>,
            duration_us = 12_u64,
            client = %"::1",
            r#type = true,
            "{}",
            "answered"
        );
        info!("no fields");
        info!("a client's \u{1b}[31m {}", "\u{1b}]0;title\u{7}");
        info!(who = "\u{1b}[31m", r#in = 7_u64, message = "told");
        info!(only = -1);
        error!(
            error = &io::Error::other("a \"b\"") as &(dyn std::error::Error + 'static),
            "failed"
        );
        info_span!("empty").in_scope(|| info!(text = "", "within"));
    }

    /// Without the time, which differs.
    fn lines(text: &str) -> Vec<&str> {
        text.lines()
            .map(|line| line.split_once('Z').unwrap().1)
            .collect()
    }

    #[test]
    fn a_line_is_as_the_library_writes_it() {
        let (ours, theirs) = (Written::default(), Written::default());
        let layer = |written: &Written| {
            let written = written.clone();
            fmt::layer()
                .with_ansi(false)
                .with_writer(move || written.clone())
        };
        with_default(registry().with(layer(&theirs)), log);
        with_default(registry().with(layer(&ours).event_format(TextLine)), log);
        let (ours, theirs) = (ours.text(), theirs.text());
        assert_eq!(lines(&ours), lines(&theirs));
        assert_eq!(ours.lines().count(), 7);
        let moment = ours.split(' ').next().unwrap();
        assert_eq!(moment.len(), "2026-11-30T14:37:00.779496Z".len());
        assert!(moment.parse::<Timestamp>().is_ok(), "{moment}");
    }
}
