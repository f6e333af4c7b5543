//! Where to rewind to, as it is given on the command line.

use chrono::{DateTime, SecondsFormat};

use crate::offsets::TopicPartition;

/// One `TOPIC:PARTITION=OFFSET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offset {
    pub partition: TopicPartition,
    pub offset: i64,
}

/// What an output's progress is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    Offsets(Vec<Offset>),
    Earliest,
    /// Milliseconds since the Unix epoch.
    Time(i64),
    Version(u64),
    /// What it is now, though another writer's RESTORE took rows out.
    Here,
    /// What it is now; only the state of windows is given up.
    Same,
}

impl To {
    /// For the commit, and for whoever reads it later.
    pub fn reason(&self) -> String {
        match self {
            Self::Offsets(_) => "rewind to offsets".to_owned(),
            Self::Earliest => "rewind to the earliest offsets".to_owned(),
            Self::Time(ms) => {
                let at = DateTime::from_timestamp_millis(*ms);
                let at = at.map(|at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true));
                format!("rewind to {}", at.unwrap_or_else(|| ms.to_string()))
            }
            Self::Version(version) => format!("rewind to version {version}"),
            Self::Here => "a restore was accepted".to_owned(),
            Self::Same => "the state of windows was given up".to_owned(),
        }
    }
}

/// `orders:0=42`, or as messages print partitions, `orders/0=42`.
pub fn offset(text: &str) -> Result<Offset, String> {
    let wrong = || format!("`{text}` is not TOPIC:PARTITION=OFFSET, such as `orders:0=42`");
    let (partition, offset) = text.split_once('=').ok_or_else(wrong)?;
    let (topic, number) = partition.rsplit_once([':', '/']).ok_or_else(wrong)?;
    let number: i32 = number.trim().parse().map_err(|_| wrong())?;
    let offset: i64 = offset.trim().parse().map_err(|_| wrong())?;
    if topic.trim().is_empty() || number < 0 || offset < 0 {
        return Err(wrong());
    }
    Ok(Offset { partition: TopicPartition::new(topic.trim(), number), offset })
}

/// `2026-11-24T12:00:00Z` in milliseconds since the Unix epoch.
pub fn time_ms(text: &str) -> Result<i64, String> {
    let time = DateTime::parse_from_rfc3339(text);
    time.map(|time| time.timestamp_millis())
        .map_err(|error| format!("not a time such as `2026-11-24T12:00:00Z`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_topic_partition_and_number() {
        let check = |text, expected: Option<(&str, i32, i64)>| {
            let expected = expected.map(|(topic, number, offset)| Offset {
                partition: TopicPartition::new(topic, number),
                offset,
            });
            assert_eq!(offset(text).ok(), expected, "{text}");
        };
        check("orders:0=40", Some(("orders", 0, 40)));
        check("orders/12=0", Some(("orders", 12, 0)));
        check("a.b_c-d:1=2", Some(("a.b_c-d", 1, 2)));
        check("orders=40", None);
        check("orders:0", None);
        check(":0=1", None);
        check("orders:-1=1", None);
        check("orders:0=-1", None);
        check("orders:0=x", None);
    }

    #[test]
    fn times_need_a_zone() {
        assert_eq!(time_ms("1970-01-01T00:00:01.5Z"), Ok(1_500));
        assert_eq!(time_ms("1970-01-01T01:00:00+01:00"), Ok(0));
        assert!(time_ms("1970-01-01T00:00:00").is_err());
    }
}
