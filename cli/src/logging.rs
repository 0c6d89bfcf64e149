//! Log lines on stderr: JSON objects, or text where people read them.
//!
//! A JSON line has `time`, `level`, `message`, `target` and, where there are any, the fields of the
//! event and of its spans under `context`. A line of text has the same, and what others have put
//! into it can neither end it nor drive a terminal.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt,
    io::{self, IsTerminal, Write},
    panic::{self, PanicHookInfo},
    thread,
};

use serde::Serialize;
use serde_json::{Map, Value, json};
use tracing::{Event, Subscriber, field, span};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{format::Writer, time::FormatTime, time::SystemTime},
    layer::{Context, SubscriberExt},
    registry::{LookupSpan, Scope},
    util::SubscriberInitExt,
};

use crate::{
    args::{Global, LogFormat},
    error::{Error, Result, printable},
};

/// Starts logging for the process; `level` is what is logged where nobody says otherwise.
///
/// # Errors
/// Where the filter can't be read.
pub(crate) fn start(global: &Global, level: &str) -> Result<()> {
    let level = match (&global.log_level, global.quiet, global.verbose) {
        (_, true, _) => "error",
        (_, _, 1) => "info",
        (_, _, 2) => "debug",
        (_, _, 3..) => "trace",
        (Some(asked), ..) if !asked.is_empty() => asked,
        _ => level,
    };
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Error::usage(format!("`{level}` is no log filter: {error}"))
            .help("use error, warn, info, debug or trace, or target=level pairs")
    })?;
    let is_json = match global.log_format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let is_coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let look = if is_json { Look::Json } else { Look::Text { is_coloured } };
    let started = Registry::default().with(filter).with(Lines(look)).try_init();
    started.map_err(|error| Error::usage(format!("logging is already started: {error}")))?;
    panic::set_hook(Box::new(panicked));
    Ok(())
}

/// A panic as a line of the log. What it says may show a row, so its place is told and its text
/// is for those who debug.
fn panicked(panic: &PanicHookInfo<'_>) {
    let current = thread::current();
    let name = current.name().unwrap_or("unnamed");
    let at = panic.location().map(ToString::to_string);
    tracing::error!(thread = name, at, "a thread panicked");
    tracing::debug!(thread = name, reason = panic.payload_as_str(), "why it panicked");
    // Only where RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(thread = name, %backtrace, "where it panicked");
    }
}

/// How lines look.
enum Look {
    Json,
    Text { is_coloured: bool },
}

/// Writes each event as one line.
struct Lines(Look);

/// A span's fields, kept with it.
struct SpanFields(Map<String, Value>);

impl<S> Layer<S> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = ctx.span(id) {
            span.extensions_mut().insert(SpanFields(fields.0));
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(kept) = span.extensions_mut().get_mut::<SpanFields>() {
            kept.0.extend(fields.0);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut context = Map::new();
        for span in ctx.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(kept) = span.extensions().get::<SpanFields>() {
                context.extend(kept.0.clone());
            }
        }
        let message = fields.0.remove("message").unwrap_or_default();
        context.extend(fields.0);
        let mut time = String::new();
        if SystemTime.format_time(&mut Writer::new(&mut time)).is_err() {
            time.clear();
        }
        let metadata = event.metadata();
        let level = metadata.level().as_str();
        let line = Line { time, level, message, target: metadata.target(), context };
        let text = match self.0 {
            Look::Json => serde_json::to_string(&line),
            Look::Text { is_coloured } => Ok(line.text(is_coloured)),
        };
        let Ok(mut text) = text else { return };
        text.push('\n');
        // There is nobody left to tell when stderr itself is gone.
        drop(io::stderr().lock().write_all(text.as_bytes()));
    }
}

/// A log line, its keys in the order in which people look for them.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: &'static str,
    message: Value,
    target: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    context: Map<String, Value>,
}

impl Line<'_> {
    /// As people read it.
    fn text(&self, is_coloured: bool) -> String {
        let (colour, plain) = match self.level {
            _ if !is_coloured => ("", ""),
            "ERROR" => ("\u{1b}[31m", "\u{1b}[0m"),
            "WARN" => ("\u{1b}[33m", "\u{1b}[0m"),
            "INFO" => ("\u{1b}[32m", "\u{1b}[0m"),
            _ => ("\u{1b}[2m", "\u{1b}[0m"),
        };
        let shown = |value: &Value| match value {
            Value::String(text) => printable(text),
            other => other.to_string(),
        };
        let mut text = format!(
            "{} {colour}{:5}{plain} {} [{}]",
            self.time,
            self.level,
            shown(&self.message),
            self.target
        );
        for (name, value) in &self.context {
            text.push(' ');
            text.push_str(name);
            text.push('=');
            let value = shown(value);
            let is_word = !value.is_empty() && !value.contains([' ', '"', '=']);
            let value = if is_word { value } else { format!("{value:?}") };
            text.push_str(&value);
        }
        text
    }
}

/// Collects fields as JSON values.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, field: &field::Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl field::Visit for Fields {
    fn record_f64(&mut self, field: &field::Field, value: f64) {
        self.set(field, json!(value));
    }

    fn record_i64(&mut self, field: &field::Field, value: i64) {
        self.set(field, json!(value));
    }

    fn record_u64(&mut self, field: &field::Field, value: u64) {
        self.set(field, json!(value));
    }

    fn record_bool(&mut self, field: &field::Field, value: bool) {
        self.set(field, json!(value));
    }

    fn record_str(&mut self, field: &field::Field, value: &str) {
        self.set(field, json!(value));
    }

    fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
        self.set(field, json!(format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::Line;

    fn line(name: &str) -> Line<'static> {
        Line {
            time: String::from("2026-11-25T08:00:00Z"),
            level: "INFO",
            message: json!("job accepted"),
            target: "minispark_api",
            context: Map::from_iter([
                (String::from("name"), json!(name)),
                (String::from("stage"), json!(3)),
            ]),
        }
    }

    #[test]
    fn a_line_of_text_has_message_target_and_fields() {
        assert_eq!(
            line("wordcount").text(false),
            "2026-11-25T08:00:00Z INFO  job accepted [minispark_api] name=wordcount stage=3"
        );
        assert!(line("two words").text(false).contains(" name=\"two words\" "));
        assert!(line("x").text(true).contains(" \u{1b}[32mINFO \u{1b}[0m "));
    }

    #[test]
    fn what_others_have_put_into_a_line_cannot_end_it_or_drive_a_terminal() {
        let text = line("a\u{1b}[2J\nERROR forged").text(false);
        assert!(!text.contains('\u{1b}') && !text.contains('\n'), "{text}");
        assert!(text.contains("u{1b}[2J"), "{text}");
    }
}
