//! The rules of names: connectors, outputs, topics, brokers, columns.

/// Why a name can't be used: what is wrong, and what to do.
pub(crate) type Refusal = (String, String);

/// Kafka's limit.
const LONGEST_TOPIC: usize = 249;
/// A name becomes part of file names and of `txn` ids.
const LONGEST_NAME: usize = 100;

fn refuse<T>(what: impl Into<String>, hint: impl Into<String>) -> Result<T, Refusal> {
    Err((what.into(), hint.into()))
}

/// Names of connectors and outputs: `[A-Za-z0-9_-]+`.
pub(super) fn identity(name: &str) -> Result<(), Refusal> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() {
        return refuse("a name can't be empty", "use letters, digits, `_` and `-`");
    }
    if name.len() > LONGEST_NAME {
        return refuse(format!("the name is longer than {LONGEST_NAME} characters"), "");
    }
    match name.chars().find(|c| !fits(*c)) {
        Some(bad) => {
            refuse(format!("a name can't hold {bad:?}"), "use letters, digits, `_` and `-`")
        }
        None => Ok(()),
    }
}

/// Kafka's rules for topic names.
pub(super) fn topic(name: &str) -> Result<(), Refusal> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        return refuse("a topic's name can't be empty", "");
    }
    if matches!(name, "." | "..") {
        return refuse(format!("`{name}` is not a topic's name"), "");
    }
    if name.len() > LONGEST_TOPIC {
        return refuse(format!("a topic's name has {LONGEST_TOPIC} characters at most"), "");
    }
    match name.chars().find(|c| !fits(*c)) {
        Some(bad) => refuse(
            format!("a topic's name can't hold {bad:?}"),
            "Kafka takes letters, digits, `.`, `_` and `-`; for a pattern use `topic_pattern`",
        ),
        None => Ok(()),
    }
}

/// `host:port`; an IPv6 address stands in brackets.
pub(super) fn broker(text: &str) -> Result<(), Refusal> {
    if text.contains("://") {
        let (_, address) = text.split_once("://").unwrap_or_default();
        return refuse("is a URL", format!("write `{address}`; TLS is `client.security.protocol`"));
    }
    if text.contains(',') {
        return refuse("holds a comma", "write a list: `[kafka-0:9092, kafka-1:9092]`");
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.starts_with('[') => (host, port),
        None => return refuse("has no port", format!("write `{text}:9092`")),
        Some(_) => {
            return refuse("is not `host:port`", "write an IPv6 address in brackets: `[::1]:9092`");
        }
    };
    let fits =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if host.is_empty() || !host.chars().all(fits) {
        return refuse("is not `host:port`", "for example `kafka-0:9092`");
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        _ => refuse(format!("`{port}` is not a port"), "use a number from 1 to 65535"),
    }
}

/// A column's own name, wherever it stands.
pub(super) fn column(name: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        return refuse("a column's name can't be empty", "");
    }
    match crate::schema::unfit_in_name(name) {
        Some(bad) => refuse(format!("column `{}` holds {bad:?}", name.escape_debug()), "rename it"),
        None => Ok(()),
    }
}

/// Columns at the top of a table: some names are taken.
pub(crate) fn top_level_column(name: &str) -> Result<(), Refusal> {
    column(name)?;
    let lower = name.to_lowercase();
    if let Some(taken) = super::MetadataColumn::ALL.iter().find(|taken| taken.column() == lower) {
        let what = format!("column `{name}` is the name of a metadata column");
        return refuse(what, format!("rename it, or use the metadata column `{}`", taken.word()));
    }
    if matches!(lower.as_str(), "_metadata" | "_change_type") || lower.starts_with("_commit_") {
        return refuse(
            format!("column `{name}` is a name that Spark and Delta use themselves"),
            "rename it",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_host_and_port() {
        for text in ["kafka-0:9092", "10.0.0.1:9093", "[::1]:9092", "kafka_0.svc.local:1"] {
            assert_eq!(broker(text), Ok(()), "{text}");
        }
        for text in [
            "kafka",
            "kafka:",
            ":9092",
            "kafka:0",
            "kafka:65536",
            "::1:9092",
            "SSL://kafka:9092",
            "a:1,b:2",
            "a b:1",
        ] {
            assert!(broker(text).is_err(), "{text}");
        }
    }

    #[test]
    fn topics_follow_kafkas_rules() {
        for text in ["orders", "a.b_c-D1", &"x".repeat(249)] {
            assert_eq!(topic(text), Ok(()), "{text}");
        }
        for text in ["", ".", "..", "a b", "ä", "orders*", &"x".repeat(250)] {
            assert!(topic(text).is_err(), "{text}");
        }
    }

    #[test]
    fn some_column_names_are_taken() {
        for name in
            ["Kafka_Offset", "_metadata", "_change_type", "_commit_version", "a b", "a=b", "a\u{7}"]
        {
            assert!(top_level_column(name).is_err(), "{name}");
        }
        for name in ["kafka_lag", "metadata", "größe", "a.b"] {
            assert_eq!(top_level_column(name), Ok(()), "{name}");
        }
    }
}
