//! Configuration: raw YAML → validate → types that can't be wrong.
//!
//! Owns the layers (defaults, files, environment, `--set`), `${..}` references, every rule of every key, and what is
//! told about them: messages with file and line, the effective configuration, the JSON Schema, the reference page.
//! Guarantees that a [`Connector`] keeps its rules, that all problems are told at once, and that no output shows a
//! secret. Reads files, and nothing else: whether brokers or tables are there is for `check` and the stages.
//!
//! The way of a value: `yaml` (text → tree with lines) → `layers` (merge) → `interpolate` → defaults → `shape` (unknown
//! keys, kinds of values) → `raw` (serde) → `validate` → `spec`.

mod address;
mod aggregate;
mod client;
mod defaults;
mod document;
mod fingerprint;
mod interpolate;
mod later;
mod layers;
mod location;
mod names;
mod path;
mod problem;
mod properties;
mod raw;
mod shape;
mod show;
mod site;
mod spec;
mod units;
mod validate;
mod yaml;

#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::PathBuf;

use serde_json::Value;

pub use self::aggregate::*;
pub use self::client::OWNED as OWNED_CLIENT_PROPERTIES;
pub use self::document::{json_schema, reference_markdown};
pub(crate) use self::names::top_level_column;
pub use self::path::Path;
pub use self::problem::{Code, ConfigErrors, Problem};
pub use self::site::Site;
pub use self::validate::files_per_day;
pub use spec::*;

use self::interpolate::Broken;
use self::problem::Report;
use self::shape::Shape;
use self::show::Effective;
use self::site::{Reference, Sites};

/// Where a configuration comes from. Everything that belongs to the process is given, so that tests don't touch it.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// In order, the later over the earlier; `-` is `stdin`.
    pub files: Vec<PathBuf>,
    /// The text of standard input, when a file is `-`.
    pub stdin: Option<String>,
    /// `path=value`, in order.
    pub sets: Vec<String>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// What relative paths are relative to.
    pub current_dir: PathBuf,
    /// Secrets needn't be there (`check --offline`): a client or storage property whose reference can't be resolved is
    /// left out, with a warning.
    pub without_secrets: bool,
}

impl Sources {
    /// These files and `--set`s with the process's environment, current directory and, for `-`, standard input.
    pub fn of_process(files: Vec<PathBuf>, sets: Vec<String>) -> std::io::Result<Self> {
        let mut stdin = None;
        if files.iter().any(|file| file.as_os_str() == "-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            stdin = Some(text);
        }
        let env = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Ok(Self {
            files,
            stdin,
            sets,
            env: env.collect(),
            current_dir: std::env::current_dir()?,
            without_secrets: false,
        })
    }
}

/// A valid configuration, what deserves a look in it, and how it came about.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub connector: Connector,
    pub warnings: Vec<Problem>,
    effective: Effective,
}

/// Reads, merges and validates a configuration. All problems are told at once.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let shape = Shape::of_connector();
    let (mut explicit, mut sites) =
        layers::merge(sources, &shape).map_err(|problems| ConfigErrors { problems })?;
    let broken = resolve_references(&mut explicit, &mut sites, sources);
    let value = layers::with_defaults(explicit, &mut sites);

    let mut report = Report::new(&sites);
    for (path, broken) in broken {
        tell_broken(&path, &broken, sources.without_secrets, &mut report);
    }
    let fitting = shape.check(&Path::root(), value.clone(), &mut report).unwrap_or_default();
    let raw = serde_json::from_value::<raw::Connector>(fitting);
    let raw = raw.expect("the shape is that of the raw structs");
    let connector = validate::connector(&raw, &sources.current_dir, &mut report);
    let warnings = report.finish()?;
    let connector = connector.expect("what isn't valid has been reported");
    Ok(Loaded { connector, warnings, effective: Effective { value, sites } })
}

/// The effective configuration as YAML, each value with its origin; secrets are hidden.
pub fn show(loaded: &Loaded) -> String {
    loaded.effective.yaml()
}

/// The same as JSON: `config`, and `origins` by path.
pub fn show_json(loaded: &Loaded) -> Value {
    loaded.effective.json()
}

/// Why a column at the top of a table can't have this name; `None`: it can.
pub fn column_refusal(name: &str) -> Option<String> {
    names::top_level_column(name).err().map(|(what, _)| what)
}

fn resolve_references(
    explicit: &mut Value,
    sites: &mut Sites,
    sources: &Sources,
) -> Vec<(Path, Broken)> {
    let mut broken = Vec::new();
    interpolate::tree(
        explicit,
        &Path::root(),
        sources,
        &mut |path, written, result| match result {
            Ok(resolved) => {
                let (written, resolved) = (written.to_owned(), resolved.to_owned());
                sites.references.insert(path.clone(), Reference { written, resolved });
            }
            Err(problem) => broken.push((path.clone(), problem)),
        },
    );
    broken
}

fn tell_broken(path: &Path, broken: &Broken, without_secrets: bool, report: &mut Report<'_>) {
    if without_secrets && broken.is_absent() && show::is_property(path) {
        return report.warn(Code::Reference, path, broken.to_string(), "it is left out here");
    }
    report.refuse(Code::Reference, path, broken.to_string(), broken.hint());
}
