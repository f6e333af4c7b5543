//! Where each value of the merged configuration was written, and how.
//!
//! A side index beside figment's merge: every layer says which paths it sets and on which line; the last layer that
//! sets a path is the one whose value survived.

use std::collections::BTreeMap;
use std::fmt;

use super::path::Path;

/// The place of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Site {
    File {
        file: String,
        /// From 1; `None`: the file as a whole.
        line: Option<u64>,
    },
    Environment(String),
    /// The path as it was written after `--set`.
    Set(String),
    Default,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line: Some(line) } => write!(f, "{file}:{line}"),
            Self::File { file, line: None } => f.write_str(file),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Set(path) => write!(f, "--set {path}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Where a file has a key or a list item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// From 1.
    pub(super) line: u64,
    /// Among all keys and items of the file: several stand on one line.
    pub(super) position: usize,
}

/// One source of values: a file, an environment variable, a `--set`, or the defaults.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// Of the layer as a whole.
    pub(super) site: Site,
    /// The paths it sets; a file's with their places.
    pub(super) marks: BTreeMap<Path, Option<Place>>,
}

impl Layer {
    fn site_at(&self, place: Option<Place>) -> Site {
        match &self.site {
            Site::File { file, .. } => {
                Site::File { file: file.clone(), line: place.map(|place| place.line) }
            }
            whole => whole.clone(),
        }
    }

    /// Whether its values are text whose type the place decides (`SLUICE__LIMITS__MAX_RECORDS=10`).
    fn is_untyped(&self) -> bool {
        matches!(self.site, Site::Environment(_) | Site::Set(_))
    }
}

/// A value that holds a reference.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    /// With its `${..}`.
    pub(super) written: String,
    /// What it stands for: perhaps a secret.
    pub(super) resolved: String,
}

/// Shorter texts are no secrets, and replacing them would garble a message.
const SHORTEST_SECRET: usize = 4;

/// All layers, the strongest last.
#[derive(Debug, Clone, Default)]
pub(super) struct Sites {
    pub(super) layers: Vec<Layer>,
    /// Values that came from `${..}` references.
    pub(super) references: BTreeMap<Path, Reference>,
}

impl Sites {
    /// Where the value at `path` was set; for one that isn't there, where what should hold it begins.
    pub(super) fn find(&self, path: &Path) -> Site {
        let mut at = path.clone();
        loop {
            if let Some(site) = self.setter(&at).map(|(_, site)| site) {
                return site;
            }
            match at.parent() {
                Some(parent) => at = parent,
                None => return self.first_file(),
            }
        }
    }

    /// The position of the layer that set the value at `path`; larger is stronger.
    pub(super) fn strength(&self, path: &Path) -> Option<usize> {
        self.setter(path).map(|(position, _)| position)
    }

    /// Orders keys of one map as they are written: by the first file that has them, and their places in it. Those that
    /// no file has come last.
    pub(super) fn rank(&self, path: &Path) -> (usize, usize) {
        let mut layers = self.layers.iter().enumerate();
        let first = layers.find_map(|(layer, Layer { marks, .. })| {
            marks.get(path).copied().flatten().map(|place| (layer, place.position))
        });
        first.unwrap_or((usize::MAX, 0))
    }

    /// Whether the value at `path` is text whose type its place decides: it came from the environment, `--set`, or
    /// a reference.
    pub(super) fn is_untyped(&self, path: &Path) -> bool {
        self.references.contains_key(path)
            || self.strength(path).is_some_and(|position| self.layers[position].is_untyped())
    }

    /// The text of a value for a message: a reference as written, never what it stands for.
    pub(super) fn quote(&self, path: &Path, value: &str) -> String {
        let text = self.references.get(path).map_or(value, |reference| &reference.written);
        format!("`{text}`")
    }

    /// A message about the value at `path`, with what references stand for taken out.
    pub(super) fn without_secrets(&self, path: &Path, message: String) -> String {
        let near = |at: &Path| at.starts_with(path) || path.starts_with(at);
        let references = self.references.iter().filter(|(at, _)| near(at));
        references.fold(message, |message, (_, Reference { written, resolved })| {
            match resolved.len() >= SHORTEST_SECRET {
                true => message.replace(resolved.as_str(), written),
                false => message,
            }
        })
    }

    /// Files in their order, then the rest; within a file by line.
    pub(super) fn order(&self, site: &Site) -> (usize, u64) {
        let same = |layer: &&Layer| match (&layer.site, site) {
            (Site::File { file: a, .. }, Site::File { file: b, .. }) => a == b,
            (a, b) => a == b,
        };
        let position = self.layers.iter().position(|layer| same(&layer)).unwrap_or(usize::MAX);
        match site {
            Site::File { line, .. } => (position, line.unwrap_or(0)),
            _ => (position, 0),
        }
    }

    fn setter(&self, path: &Path) -> Option<(usize, Site)> {
        self.layers.iter().enumerate().rev().find_map(|(position, layer)| {
            if let Some(place) = layer.marks.get(path) {
                return Some((position, layer.site_at(*place)));
            }
            // A list from the environment is marked as a whole: its items were set there too.
            let holds = layer.is_untyped() && layer.marks.keys().any(|mark| path.starts_with(mark));
            holds.then(|| (position, layer.site.clone()))
        })
    }

    fn first_file(&self) -> Site {
        let mut sites = self.layers.iter().map(|layer| layer.site_at(None));
        sites.find(|site| matches!(site, Site::File { .. })).unwrap_or(Site::Default)
    }
}
