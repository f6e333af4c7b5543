//! Printing: results to stdout, failures to stderr.

use std::io::{self, BufRead, IsTerminal, Write};

use serde::Serialize;
use serde_json::{Value, json};

use super::ConfigSource;
use crate::config::{self, Loaded, Sources};
use crate::disposition::{Disposition, Exit};
use crate::engine::EngineError;

/// Of every JSON document that is printed.
pub const FORMAT_VERSION: u32 = 1;

/// A line of results. A reader that went away (`| head`) is no failure.
pub fn line(text: impl AsRef<str>) {
    let _ = writeln!(io::stdout().lock(), "{}", text.as_ref());
}

/// One JSON document on one line, with its format's version.
pub fn json(document: &impl Serialize) {
    let mut value = serde_json::to_value(document).expect("plain data serialises");
    if let Value::Object(fields) = &mut value {
        fields.insert("format_version".to_owned(), json!(FORMAT_VERSION));
    }
    line(value.to_string());
}

/// Something to know that stops nothing.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Prints what failed, and gives the exit code.
pub fn failure(error: &EngineError) -> Exit {
    note(format!("{}: {error}", error.code()));
    match error.disposition() {
        Disposition::Stop(exit) => exit,
        Disposition::StandDown => Exit::Fenced,
        Disposition::Retry => Exit::Unreachable,
    }
}

/// Asks before something is changed, unless `yes` says it already.
pub fn confirm(question: &str, yes: bool) -> Result<(), Exit> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        note("nothing was changed: without a terminal, `--yes` confirms");
        return Err(Exit::Usage);
    }
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    note("nothing was changed");
    Err(Exit::Usage)
}

/// Loads the configuration, or prints everything that is wrong with it. Warnings are printed.
pub fn load(source: &ConfigSource, without_secrets: bool) -> Result<Loaded, Exit> {
    let sources = Sources::of_process(vec![source.file.clone()], source.sets.clone());
    let mut sources = sources.map_err(|error| {
        note(format!("the configuration can't be read: {error}"));
        Exit::Configuration
    })?;
    sources.without_secrets = without_secrets;
    match config::load(&sources) {
        Ok(loaded) => {
            loaded.warnings.iter().for_each(|warning| note(warning.to_string()));
            Ok(loaded)
        }
        Err(errors) => {
            errors.problems.iter().for_each(|problem| note(problem.to_string()));
            Err(Exit::Configuration)
        }
    }
}
