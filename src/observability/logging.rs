//! Logs: structured lines on stderr. stdout belongs to results.
//!
//! A line never goes through a progress bar: while one is drawn it is taken away, and drawn again below.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;

use super::progress;

/// Replaces the level: `SLUICE_LOG=debug`, `SLUICE_LOG=sluice::sink=trace,warn`.
const FILTER_VARIABLE: &str = "SLUICE_LOG";

/// Other crates: warnings only. The kernel logs as errors what it returns to us, a table that isn't there yet
/// included; sluice says those things itself, in its own words.
const OTHERS: &str = "warn,buoyant_kernel=off";

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line, for log collectors.
    Json,
}

impl LogFormat {
    /// Text on a terminal, JSON where a collector reads.
    pub fn suited_to_stderr() -> Self {
        if io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Starts logging, once per process: `level` is for sluice itself, other crates log warnings only.
///
/// # Errors
/// When `SLUICE_LOG` or `level` is no filter.
pub fn init_logging(format: LogFormat, level: &str) -> Result<(), ParseError> {
    let filter = filter(std::env::var(FILTER_VARIABLE).ok().as_deref(), level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Stderr);
    let started = match format {
        LogFormat::Text => builder.with_target(false).with_ansi(colours()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_ansi(false).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
    Ok(())
}

fn filter(variable: Option<&str>, level: &str) -> Result<EnvFilter, ParseError> {
    match variable.filter(|text| !text.trim().is_empty()) {
        Some(text) => EnvFilter::try_new(text),
        None => EnvFilter::try_new(format!("{OTHERS},sluice={level}")),
    }
}

/// <https://no-color.org>: set and not empty means no colour.
fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Stderr, around progress bars.
struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line
    }
}

/// One log line: tracing-subscriber writes each in one call.
struct Line;

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::suspended(|| io::stderr().lock().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variable: Option<&str>, level: &str, expected: &[&str]) {
        let filter = filter(variable, level).expect("a filter").to_string();
        let mut directives: Vec<_> = filter.split(',').collect();
        directives.sort_unstable();
        assert_eq!(directives, expected);
    }

    #[test]
    fn the_variable_replaces_the_level() {
        check(None, "info", &["buoyant_kernel=off", "sluice=info", "warn"]);
        check(Some(" "), "debug", &["buoyant_kernel=off", "sluice=debug", "warn"]);
        check(Some("sluice::sink=trace"), "info", &["sluice::sink=trace"]);
    }

    #[test]
    fn a_filter_that_is_none_is_refused() {
        assert!(filter(Some("sluice=loud"), "info").is_err());
    }
}
