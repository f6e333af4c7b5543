//! What can go wrong with Kafka.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use thiserror::Error;

use crate::disposition::{Disposition, Exit};
use crate::offsets::TopicPartition;

#[derive(Debug, Error)]
pub enum SourceError {
    #[error("no Kafka client for {brokers}: {reason}; correct `source.client`")]
    Client { brokers: String, reason: String },
    #[error("{brokers} can't be reached to {action}: {reason}{}", hint(reason))]
    Unreachable { brokers: String, action: &'static str, reason: String },
    #[error("topic `{topic}` does not exist on {brokers}; create it or correct `source.topics`")]
    UnknownTopic { brokers: String, topic: String },
    #[error(
        "no topic on {brokers} matches `{pattern}`; create one or correct `source.topic_pattern`"
    )]
    NoTopicMatches { brokers: String, pattern: String },
    #[error("topic `{topic}`: {code}; grant the user READ and DESCRIBE on it")]
    NotAuthorized { topic: String, code: RDKafkaErrorCode },
    #[error("topic `{topic}` can't be looked up: {code}")]
    Topic { topic: String, code: RDKafkaErrorCode },
    #[error("the offsets of {partition} can't be looked up: {code}")]
    Offsets { partition: TopicPartition, code: RDKafkaErrorCode },
    #[error("the broker no longer has offset {position} of {partition}")]
    OffsetOutOfRange { partition: TopicPartition, position: i64 },
    #[error("reading {partition} at offset {position}: {code}")]
    Partition { partition: TopicPartition, position: i64, code: RDKafkaErrorCode },
    #[error(
        "nothing came from {partition} for {} s at offset {position} of [.., {end}){}",
        waited.as_secs(),
        last_error.as_deref().map(|e| format!(": {e}{}", hint(e))).unwrap_or_default()
    )]
    Stalled {
        partition: TopicPartition,
        position: i64,
        end: i64,
        waited: Duration,
        last_error: Option<String>,
    },
}

impl SourceError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Client { .. } => "SL2001",
            Self::Unreachable { .. } => "SL2002",
            Self::UnknownTopic { .. } => "SL2003",
            Self::NoTopicMatches { .. } => "SL2004",
            Self::NotAuthorized { .. } => "SL2005",
            Self::Topic { .. } => "SL2006",
            Self::Offsets { .. } => "SL2007",
            Self::OffsetOutOfRange { .. } => "SL2008",
            Self::Partition { .. } => "SL2009",
            Self::Stalled { .. } => "SL2010",
        }
    }

    /// Only a client that can't be made is beyond waiting: brokers, topics and rights come and go. An offset out of
    /// range goes through recovery too, which looks up what the log holds and applies `on_data_loss`.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Client { .. } => Disposition::Stop(Exit::Configuration),
            _ => Disposition::Retry,
        }
    }
}

/// What to do about librdkafka's words, where they are known to mean something else.
fn hint(reason: &str) -> &'static str {
    const HINTS: [(&str, &str); 5] = [
        (
            "Disconnected while requesting ApiVersion",
            "; a TLS listener? set `client.security.protocol`",
        ),
        ("SSL handshake failed", "; check `client.security.protocol` and `client.ssl.ca.location`"),
        (
            "Failed to resolve",
            "; a broker answered with a name that does not resolve here: correct its `advertised.listeners` or \
             this machine's name service",
        ),
        ("Connection refused", "; is the broker running, and is this its port?"),
        ("SASL authentication error", "; check `client.sasl.username` and `client.sasl.password`"),
    ];
    HINTS.iter().find(|(words, _)| reason.contains(words)).map_or("", |(_, hint)| hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_broker_says_what_to_try() {
        let error = SourceError::Unreachable {
            brokers: "kafka-0:9093".into(),
            action: "list topics",
            reason: "Disconnected while requesting ApiVersion: might be caused by ...".into(),
        };
        assert!(error.to_string().ends_with("a TLS listener? set `client.security.protocol`"));
        assert_eq!(error.disposition(), Disposition::Retry);
    }
}
