//! Which key an environment variable or a `--set` means.
//!
//! Shells and Kubernetes like upper case and underscores, so a variable finds its key without regard to case, with
//! `_` for `-` and `.` too; `--set` is exact.

use serde_json::Value;

use super::properties;
use super::shape::Shape;

/// What is wrong, and what to do.
pub(super) type Refusal = (String, String);

/// The keys of a variable's name without its prefix: `OUTPUTS__ORDERS_EU__TABLE` is `outputs.orders-eu.table` where
/// an output `orders-eu` exists.
pub(super) fn of_variable(
    name: &str,
    known: &Value,
    shape: &Shape,
) -> Result<Vec<String>, Refusal> {
    let segments: Vec<&str> = name.split("__").collect();
    if segments.iter().any(|segment| segment.is_empty()) {
        let what = "has an empty part between its underscores".to_owned();
        return Err((what, "write `SLUICE__SOURCE__BROKERS` for `source.brokers`".to_owned()));
    }
    let mut keys: Vec<String> = Vec::new();
    let (mut known, mut shape) = (Some(known), Some(shape));
    for (position, segment) in segments.iter().enumerate() {
        // Properties have dots in their names: all that is left is one key.
        let is_flat = shape.is_some_and(Shape::is_flat_map);
        let segment = if is_flat { segments[position..].join(".") } else { (*segment).to_owned() };
        let key = match find(&segment, known, shape)? {
            Some(key) => key,
            None => spell(&keys, &segment),
        };
        shape = shape.and_then(|shape| shape.child(&key));
        known = known.and_then(|known| known.get(&key));
        keys.push(key);
        if is_flat {
            break;
        }
    }
    Ok(keys)
}

/// The key that a segment means among those that exist.
fn find(
    segment: &str,
    known: Option<&Value>,
    shape: Option<&Shape>,
) -> Result<Option<String>, Refusal> {
    let set = known.and_then(Value::as_object).into_iter().flat_map(|map| map.keys());
    let possible = match shape {
        Some(Shape::Object(fields)) => Some(fields.keys()),
        _ => None,
    };
    let all = set.chain(possible.into_iter().flatten());
    let mut found: Vec<&String> = all.filter(|key| fold(key) == fold(segment)).collect();
    found.sort();
    found.dedup();
    match found.as_slice() {
        [] => Ok(None),
        [key] => Ok(Some((*key).clone())),
        [first, second, ..] => Err((
            format!("could mean `{first}` or `{second}`"),
            "use `--set`, or change the file".to_owned(),
        )),
    }
}

/// The spelling of a key that no file mentions.
fn spell(parents: &[String], segment: &str) -> String {
    let lower = segment.to_lowercase();
    match parents.last().map(String::as_str) {
        Some("client") => lower.replace('_', "."),
        Some("table_properties") => {
            let known = properties::known_names().find(|name| fold(name) == fold(segment));
            known.map_or_else(|| lower.replace('_', "."), str::to_owned)
        }
        _ => lower,
    }
}

fn fold(key: &str) -> String {
    key.to_lowercase().replace(['-', '.'], "_")
}

/// Splits `path=value` at the first `=` outside quotes.
pub(super) fn split_set(set: &str) -> (&str, Option<&str>) {
    let mut in_quotes = false;
    for (at, character) in set.char_indices() {
        match character {
            '"' => in_quotes = !in_quotes,
            '=' if !in_quotes => return (&set[..at], Some(&set[at + 1..])),
            _ => {}
        }
    }
    (set, None)
}

/// The keys of a path: split at dots, but for parts in double quotes and for the names of properties.
pub(super) fn of_set(path: &str, shape: &Shape) -> Result<Vec<String>, Refusal> {
    let mut keys = Vec::new();
    let mut shape = Some(shape);
    let mut rest = path.trim();
    loop {
        let is_flat = shape.is_some_and(Shape::is_flat_map);
        let (key, tail) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').map(|(key, tail)| {
                (key, if tail.is_empty() { None } else { Some(tail.trim_start_matches('.')) })
            }),
            None if is_flat => Some((rest, None)),
            None => Some(match rest.split_once('.') {
                Some((key, tail)) => (key, Some(tail)),
                None => (rest, None),
            }),
        }
        .unwrap_or(("", None));
        if key.is_empty() {
            let what = "is not a path".to_owned();
            return Err((what, "write `--set source.brokers=[kafka-0:9092]`".to_owned()));
        }
        shape = shape.and_then(|shape| shape.child(key));
        keys.push(key.to_owned());
        match tail {
            Some(tail) => rest = tail,
            None => return Ok(keys),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn variable(name: &str) -> String {
        let known = json!({
            "outputs": {"orders-EU": {}, "a-b": {}, "a.b": {}},
            "source": {"client": {"sasl.password": "x"}},
        });
        match of_variable(name, &known, &Shape::of_connector()) {
            Ok(keys) => keys.join("|"),
            Err((what, _)) => what,
        }
    }

    #[test]
    fn a_variable_finds_its_key_without_regard_to_case_dots_and_dashes() {
        assert_eq!(variable("SOURCE__BROKERS"), "source|brokers");
        assert_eq!(variable("OUTPUTS__ORDERS_EU__TABLE"), "outputs|orders-EU|table");
        assert_eq!(variable("OUTPUTS__NEW__TABLE"), "outputs|new|table");
        assert_eq!(variable("SOURCE__CLIENT__SASL_PASSWORD"), "source|client|sasl.password");
        assert_eq!(variable("SOURCE__CLIENT__SSL__CA__LOCATION"), "source|client|ssl.ca.location");
        assert_eq!(
            variable("OUTPUTS__X__TABLE_PROPERTIES__DELTA_LOGRETENTIONDURATION"),
            "outputs|x|table_properties|delta.logRetentionDuration"
        );
        assert_eq!(variable("STORAGE__AWS_REGION"), "storage|aws_region");
        assert_eq!(variable("OUTPUTS__A_B__TABLE"), "could mean `a-b` or `a.b`");
        assert_eq!(variable("A____B"), "has an empty part between its underscores");
    }

    fn set(text: &str) -> String {
        let (path, value) = split_set(text);
        match of_set(path, &Shape::of_connector()) {
            Ok(keys) => format!("{} = {}", keys.join("|"), value.unwrap_or("nothing")),
            Err((what, _)) => what,
        }
    }

    #[test]
    fn a_set_names_its_key_exactly() {
        assert_eq!(set("trigger.mode=once"), "trigger|mode = once");
        assert_eq!(set("source.client.sasl.password=a=b"), "source|client|sasl.password = a=b");
        assert_eq!(
            set("source.start.offsets.\"my.topic\".0=5"),
            "source|start|offsets|my.topic|0 = 5"
        );
        assert_eq!(set("name"), "name = nothing");
        assert_eq!(set("a..b=1"), "is not a path");
        assert_eq!(set("=1"), "is not a path");
    }
}
