//! The layers of a configuration: defaults, files, environment, `--set`; merged by figment, the later over the earlier.
//!
//! Maps are merged key by key; anything else, lists included, is replaced. [`Sites`] is filled on the way.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path as FilePath;

use figment::value::{Dict, Map as FigmentMap, Value as FigmentValue};
use figment::{Figment, Metadata, Profile, Provider};
use serde_json::{Map, Value};

use super::address;
use super::interpolate::plain;
use super::path::Path;
use super::problem::{Code, Problem};
use super::shape::{Shape, collection};
use super::site::{Layer, Place, Site, Sites};
use super::{Sources, defaults, yaml};

/// Environment variables with this prefix set values; two underscores, since Kubernetes itself injects `SLUICE_PORT`
/// and the like for a Service named sluice.
const PREFIX: &str = "SLUICE__";

/// The file name that stands for standard input.
const STDIN: &str = "-";

/// What a layer sets, and where it was written.
struct Settings {
    value: Value,
    layer: Layer,
}

impl Provider for Settings {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.layer.site.to_string())
    }

    fn data(&self) -> Result<FigmentMap<Profile, Dict>, figment::Error> {
        let value = FigmentValue::serialize(&self.value)?;
        Ok(Profile::Default.collect(value.into_dict().unwrap_or_default()))
    }
}

/// Merges all layers but the defaults.
pub(super) fn merge(sources: &Sources, shape: &Shape) -> Result<(Value, Sites), Vec<Problem>> {
    let mut problems = Vec::new();
    let mut sites = Sites::default();
    let mut figment = Figment::new();
    for file in &sources.files {
        if let Some(settings) = read_file(file, sources, &mut problems) {
            figment = add(figment, settings, &mut sites);
        }
    }
    let known = extract(&figment);
    let overrides = environment(sources, &known, shape).into_iter().chain(sets(sources, shape));
    for settings in overrides {
        match settings {
            Ok(settings) => figment = add(figment, settings, &mut sites),
            Err(problem) => problems.push(*problem),
        }
    }
    if problems.is_empty() { Ok((extract(&figment), sites)) } else { Err(problems) }
}

/// Puts the defaults under what is set.
pub(super) fn with_defaults(mut explicit: Value, sites: &mut Sites) -> Value {
    let defaults = defaults::layer(&explicit);
    forget_nulls(&Path::root(), &mut explicit, &defaults);
    let marks = all_paths(&defaults);
    let mut figment = Figment::new();
    let layer = Layer { site: Site::Default, marks };
    figment = figment.merge(Settings { value: defaults, layer: layer.clone() });
    figment = figment.merge(Settings { value: explicit, layer: layer.clone() });
    sites.layers.insert(0, layer);
    extract(&figment)
}

fn add(figment: Figment, settings: Settings, sites: &mut Sites) -> Figment {
    sites.layers.push(settings.layer.clone());
    figment.merge(settings)
}

fn extract(figment: &Figment) -> Value {
    figment.extract().expect("every layer is a map of plain values")
}

/// A null asks for the default where there is one; only an absent consumer group is a choice of its own.
fn forget_nulls(path: &Path, explicit: &mut Value, defaults: &Value) {
    let (Value::Object(map), Value::Object(defaults)) = (explicit, defaults) else {
        return;
    };
    for (key, default) in defaults {
        let path = path.key(key);
        match map.get_mut(key) {
            Some(Value::Null) if !path.matches("source.group_id") => {
                map.remove(key);
            }
            Some(value) => forget_nulls(&path, value, default),
            None => {}
        }
    }
}

fn all_paths(value: &Value) -> BTreeMap<Path, Option<Place>> {
    fn walk(path: &Path, value: &Value, marks: &mut BTreeMap<Path, Option<Place>>) {
        marks.insert(path.clone(), None);
        match value {
            Value::Object(map) => map.iter().for_each(|(k, v)| walk(&path.key(k), v, marks)),
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(i, v)| walk(&path.index(i), v, marks));
            }
            _ => {}
        }
    }
    let mut marks = BTreeMap::new();
    walk(&Path::root(), value, &mut marks);
    marks.remove(&Path::root());
    marks
}

fn read_file(path: &FilePath, sources: &Sources, problems: &mut Vec<Problem>) -> Option<Settings> {
    let is_stdin = path.as_os_str() == STDIN;
    let file = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
    let mut refuse = |line: Option<u64>, path: Path, what: String, hint: &str| {
        let site = Site::File { file: file.clone(), line };
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        problems.push(Problem { code: Code::Unreadable, site, path, what, hint });
    };
    let text = match &sources.stdin {
        Some(text) if is_stdin => Ok(text.clone()),
        _ => fs::read_to_string(sources.current_dir.join(path)).map_err(|error| plain(&error)),
    };
    let document = match text.map(|text| yaml::parse(&text)) {
        Ok(Ok(document)) => document,
        Ok(Err(error)) => {
            refuse(error.line, Path::root(), format!("not YAML: {}", error.message), "");
            return None;
        }
        Err(reason) => {
            let hint =
                "give the path of a configuration file; sluice reads connector.yaml by default";
            refuse(None, Path::root(), format!("can't be read: {reason}"), hint);
            return None;
        }
    };
    for (path, first) in &document.duplicates {
        let line = document.places.get(path).map(|place| place.line);
        refuse(
            line,
            path.clone(),
            format!("stands here and in line {first}"),
            "remove one of them",
        );
    }
    if !document.value.is_object() {
        refuse(Some(1), Path::root(), "must be a map of keys and values".to_owned(), "");
        return None;
    }
    let marks = document.places.into_iter().map(|(path, place)| (path, Some(place))).collect();
    let layer = Layer { site: Site::File { file: file.clone(), line: None }, marks };
    Some(Settings { value: document.value, layer })
}

type Override = Result<Settings, Box<Problem>>;

fn environment(sources: &Sources, known: &Value, shape: &Shape) -> Vec<Override> {
    let mut variables: Vec<&(String, String)> =
        sources.env.iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    let read = |(name, text): &(String, String)| {
        let site = Site::Environment(name.clone());
        let keys = address::of_variable(&name[PREFIX.len()..], known, shape);
        override_at(site, keys, text, shape)
    };
    variables.into_iter().map(read).collect()
}

fn sets(sources: &Sources, shape: &Shape) -> Vec<Override> {
    let read = |set: &String| {
        let (path, text) = address::split_set(set);
        let site = Site::Set(path.to_owned());
        let Some(text) = text else {
            let refusal = ("has no value".to_owned(), format!("write `--set {path}=value`"));
            return Err(problem(site, refusal));
        };
        override_at(site, address::of_set(path, shape), text, shape)
    };
    sources.sets.iter().map(read).collect()
}

fn override_at(
    site: Site,
    keys: Result<Vec<String>, address::Refusal>,
    text: &str,
    shape: &Shape,
) -> Override {
    let keys = keys.map_err(|refusal| problem(site.clone(), refusal))?;
    let target = keys.iter().try_fold(shape, |shape, key| shape.child(key));
    let value = typed(text, target).map_err(|refusal| problem(site.clone(), refusal))?;
    let marks = BTreeMap::from([(Path::of(&keys), None)]);
    let nested = keys
        .into_iter()
        .rev()
        .fold(value, |value, key| Value::Object(Map::from_iter([(key, value)])));
    Ok(Settings { value: nested, layer: Layer { site, marks } })
}

/// Text stays text where text belongs (a password may look like a list); elsewhere `[a, b]`, `{a: 1}` and `null` are
/// YAML, and what else it is (a number) is settled when its place is known.
fn typed(text: &str, target: Option<&Shape>) -> Result<Value, address::Refusal> {
    if matches!(target, Some(Shape::Property)) {
        return Ok(text.into());
    }
    if matches!(text, "null" | "~") {
        return Ok(Value::Null);
    }
    let is_text = matches!(target, Some(Shape::Text | Shape::Quantity | Shape::Choice(_)));
    if is_text || !text.trim_start().starts_with(['[', '{']) {
        return Ok(text.into());
    }
    let refusal = || ("is not YAML".to_owned(), "write `[a, b]` or `{a: 1, b: 2}`".to_owned());
    collection(text).ok_or_else(refusal)
}

fn problem(site: Site, (what, hint): address::Refusal) -> Box<Problem> {
    let hint = (!hint.is_empty()).then_some(hint);
    Box::new(Problem { code: Code::Override, site, path: Path::root(), what, hint })
}
