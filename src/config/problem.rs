//! What is wrong with a configuration: stable codes, where it was written, and what to do.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Value, json};
use thiserror::Error;

use super::path::Path;
use super::site::{Site, Sites};
use crate::disposition::{Disposition, Exit};

/// The kinds of problem. The numbers are part of the product: they don't change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    UnknownKey,
    NotAvailableYet,
    WrongType,
    Missing,
    Unit,
    NotAChoice,
    Malformed,
    Contradiction,
    Reference,
    Unreadable,
    Override,
    OwnedProperty,
    Schema,
    TableProperty,
    Location,
    PlainSecret,
    Unused,
}

impl Code {
    pub const ALL: [Self; 17] = [
        Self::UnknownKey,
        Self::NotAvailableYet,
        Self::WrongType,
        Self::Missing,
        Self::Unit,
        Self::NotAChoice,
        Self::Malformed,
        Self::Contradiction,
        Self::Reference,
        Self::Unreadable,
        Self::Override,
        Self::OwnedProperty,
        Self::Schema,
        Self::TableProperty,
        Self::Location,
        Self::PlainSecret,
        Self::Unused,
    ];

    pub fn as_str(self) -> &'static str {
        self.text().0
    }

    /// One line for the reference page.
    pub fn meaning(self) -> &'static str {
        self.text().1
    }

    fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::UnknownKey => {
                ("SL1001", "a key that sluice doesn't know; the nearest known one is named")
            }
            Self::NotAvailableYet => ("SL1002", "a key or value that a later version will have"),
            Self::WrongType => {
                ("SL1003", "a list where text belongs, text where a number belongs, and the like")
            }
            Self::Missing => ("SL1004", "a key that must be set"),
            Self::Unit => {
                ("SL1005", "a duration, size or share without a unit, or with one that isn't known")
            }
            Self::NotAChoice => ("SL1006", "a word that isn't one of the allowed ones"),
            Self::Malformed => ("SL1007", "a name, address, time or number outside its rules"),
            Self::Contradiction => {
                ("SL1008", "two settings that can't both hold, or one given twice")
            }
            Self::Reference => ("SL1009", "`${env:..}` or `${file:..}` that can't be resolved"),
            Self::Unreadable => ("SL1010", "a file that can't be read, or isn't YAML"),
            Self::Override => {
                ("SL1011", "an environment variable or `--set` that can't be understood")
            }
            Self::OwnedProperty => {
                ("SL1012", "a client or storage property that sluice sets itself or doesn't know")
            }
            Self::Schema => {
                ("SL1013", "the declared schema, or a column named elsewhere that it doesn't have")
            }
            Self::TableProperty => {
                ("SL1014", "a table property that sluice doesn't support or can't read")
            }
            Self::Location => {
                ("SL1015", "a table location that sluice can't use, or that readers can't")
            }
            Self::PlainSecret => {
                ("SL1016", "warning: a secret stands in the configuration as plain text")
            }
            Self::Unused => ("SL1017", "warning: a setting that has no effect beside the others"),
        }
    }
}

/// One thing that is wrong, or (in [`super::Loaded::warnings`]) that deserves a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub code: Code,
    pub site: Site,
    pub path: Path,
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// For `--json`.
    pub fn to_json(&self) -> Value {
        json!({
            "code": self.code.as_str(),
            "where": self.site.to_string(),
            "path": self.path.to_string(),
            "what": self.what,
            "hint": self.hint,
        })
    }
}

/// `connector.yaml:12: SL1001 outputs.orders.partiton_by: unknown key; did you mean `partition_by`?`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ", self.site, self.code.as_str())?;
        if !self.path.is_root() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a configuration, in the order of its files. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", lines(.problems))]
pub struct ConfigErrors {
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    pub fn disposition(&self) -> Disposition {
        Disposition::Stop(Exit::Configuration)
    }

    /// The first problem's code.
    pub fn code(&self) -> &'static str {
        self.problems.first().map_or(Code::Unreadable.as_str(), |problem| problem.code.as_str())
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Collects problems while the configuration is walked, so that all are told at once.
pub(super) struct Report<'a> {
    sites: &'a Sites,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// Values already refused: what they would have been is not reported as missing.
    refused: BTreeSet<Path>,
}

impl<'a> Report<'a> {
    pub(super) fn new(sites: &'a Sites) -> Self {
        Self { sites, problems: Vec::new(), warnings: Vec::new(), refused: BTreeSet::new() }
    }

    pub(super) fn sites(&self) -> &'a Sites {
        self.sites
    }

    /// Notes a problem of the value at `path`. An empty hint is none.
    pub(super) fn refuse(
        &mut self,
        code: Code,
        path: &Path,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.refused.insert(path.clone());
        let problem = self.problem(code, path, what.into(), hint.into());
        self.problems.push(problem);
    }

    pub(super) fn warn(
        &mut self,
        code: Code,
        path: &Path,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let problem = self.problem(code, path, what.into(), hint.into());
        self.warnings.push(problem);
    }

    /// Whether the value at `path`, or one that holds it, has been refused.
    pub(super) fn is_refused(&self, path: &Path) -> bool {
        let mut at = Some(path.clone());
        while let Some(path) = at {
            if self.refused.contains(&path) {
                return true;
            }
            at = path.parent();
        }
        false
    }

    /// Whether anything at `path`, around it or under it has been refused.
    pub(super) fn touches(&self, path: &Path) -> bool {
        self.is_refused(path) || self.refused.iter().any(|refused| refused.starts_with(path))
    }

    /// Whether anything under `path` was warned of.
    pub(super) fn has_warned(&self, path: &Path) -> bool {
        self.warnings.iter().any(|warning| warning.path.starts_with(path))
    }

    pub(super) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// The warnings, or all problems in the order in which a reader meets them.
    pub(super) fn finish(mut self) -> Result<Vec<Problem>, ConfigErrors> {
        self.warnings.sort_by_key(|warning| self.sites.order(&warning.site));
        if self.problems.is_empty() {
            return Ok(self.warnings);
        }
        self.problems.sort_by_key(|problem| self.sites.order(&problem.site));
        self.problems.dedup();
        Err(ConfigErrors { problems: self.problems })
    }

    fn problem(&self, code: Code, path: &Path, what: String, hint: String) -> Problem {
        let [what, hint] = [what, hint].map(|text| self.sites.without_secrets(path, text));
        let hint = (!hint.is_empty()).then_some(hint);
        Problem { code, site: self.sites.find(path), path: path.clone(), what, hint }
    }
}
