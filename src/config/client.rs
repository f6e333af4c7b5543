//! Properties that go on to other libraries: librdkafka's for the client, object_store's for the tables.
//!
//! Only what sluice sets itself is refused here, and store keys that no store knows; whether librdkafka knows a name is
//! found out when a client is made.

use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;

/// librdkafka properties that sluice owns, each with what to do.
pub const OWNED: [(&str, &str); 36] = [
    ("allow.auto.create.topics", "a topic that isn't there is an error"),
    ("auto.commit.enable", "progress is in the table"),
    ("auto.commit.interval.ms", "progress is in the table"),
    ("auto.offset.reset", "set `source.start` and `source.on_data_loss`"),
    ("bootstrap.servers", "set `source.brokers`"),
    ("builtin.features", "it can't be set"),
    ("enable.auto.commit", "progress is in the table"),
    ("enable.auto.offset.store", "progress is in the table"),
    ("enable.partition.eof", "sluice ends a batch by offsets"),
    ("enabled_events", "it can't be set"),
    ("fetch.message.max.bytes", "set `limits.max_bytes`"),
    ("fetch.queue.backoff.ms", "set `limits.max_bytes`"),
    ("fetch.wait.max.ms", "set `trigger.interval`"),
    ("group.id", "set `source.group_id`"),
    ("group.instance.id", "partitions are assigned by sluice"),
    ("group.protocol", "partitions are assigned by sluice"),
    ("group.protocol.type", "partitions are assigned by sluice"),
    ("group.remote.assignor", "partitions are assigned by sluice"),
    ("log.queue", "it can't be set"),
    ("max.partition.fetch.bytes", "set `limits.max_bytes`"),
    ("max.poll.interval.ms", "partitions are assigned by sluice"),
    ("metadata.broker.list", "set `source.brokers`"),
    ("offset.store.method", "progress is in the table"),
    ("offset.store.path", "progress is in the table"),
    ("offset.store.sync.interval.ms", "progress is in the table"),
    ("opaque", "it can't be set"),
    ("partition.assignment.strategy", "partitions are assigned by sluice"),
    ("plugin.library.paths", "sluice loads no foreign code"),
    ("queued.max.messages.kbytes", "set `limits.max_bytes`"),
    ("queued.min.messages", "set `limits.max_records`"),
    ("statistics.interval.ms", "sluice has metrics of its own"),
    ("test.mock.broker.rtt", "it can't be set"),
    ("test.mock.num.brokers", "it can't be set"),
    ("topic.blacklist", "set `source.topics` or `source.topic_pattern`"),
    ("topic.metadata.refresh.interval.ms", "sluice looks for new partitions itself"),
    ("transactional.id", "sluice produces nothing"),
];

/// What to do instead of setting a librdkafka property; `None`: it is the user's.
pub(super) fn owned(name: &str) -> Option<&'static str> {
    if name.ends_with("_cb") {
        return Some("it can't be set");
    }
    OWNED.iter().find(|(owned, _)| *owned == name).map(|(_, hint)| *hint)
}

/// Whether any of the stores knows this option.
pub(super) fn is_store_option(name: &str) -> bool {
    name.parse::<AmazonS3ConfigKey>().is_ok()
        || name.parse::<AzureConfigKey>().is_ok()
        || name.parse::<GoogleConfigKey>().is_ok()
}

/// Store options that take away what commits rest on.
pub(super) fn owned_store_option(name: &str) -> Option<&'static str> {
    match name {
        "aws_conditional_put" | "conditional_put" => Some("sluice commits by conditional puts"),
        "aws_bucket"
        | "aws_bucket_name"
        | "bucket"
        | "bucket_name"
        | "google_bucket"
        | "google_bucket_name"
        | "azure_container_name"
        | "container_name" => Some("the bucket is part of `table`"),
        _ => None,
    }
}

/// Properties of clients and stores whose values may be shown: everything else is taken for a secret.
const SHOWN: [&str; 30] = [
    "allow_http",
    "api.version.request",
    "aws_allow_http",
    "aws_default_region",
    "aws_endpoint",
    "aws_endpoint_url",
    "aws_region",
    "aws_skip_signature",
    "aws_virtual_hosted_style_request",
    "azure_storage_account_name",
    "broker.address.family",
    "client.id",
    "client.rack",
    "connect_timeout",
    "debug",
    "fetch.max.bytes",
    "fetch.min.bytes",
    "google_service_account",
    "google_service_account_path",
    "isolation.level",
    "sasl.kerberos.principal",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.endpoint.identification.algorithm",
    "timeout",
];

/// Whether a property's value is kept out of every output.
pub(super) fn is_hidden(name: &str) -> bool {
    !SHOWN.contains(&name)
}

/// Whether a property certainly holds a secret, so that plain text in a file deserves a warning.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase().replace('.', "_");
    let ends = [
        "password",
        "secret",
        "secret_access_key",
        "account_key",
        "access_key",
        "token",
        "sas_key",
    ];
    let holds = ["password", "client_secret", "key_pem", "oauthbearer_config"];
    ends.iter().any(|end| name.ends_with(end)) || holds.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_that_hold_progress_or_assignment_are_owned() {
        for name in ["bootstrap.servers", "group.id", "enable.auto.commit", "rebalance_cb"] {
            assert!(owned(name).is_some(), "{name}");
        }
        for name in ["client.id", "isolation.level", "sasl.password", "fetch.max.bytes"] {
            assert!(owned(name).is_none(), "{name}");
        }
    }

    #[test]
    fn what_may_be_shown_is_never_a_secret() {
        for name in SHOWN {
            assert!(!is_secret(name), "{name}");
        }
        for name in [
            "sasl.password",
            "ssl.key.password",
            "ssl.key.pem",
            "sasl.oauthbearer.client.secret",
            "aws_secret_access_key",
            "aws_session_token",
            "azure_storage_account_key",
        ] {
            assert!(is_secret(name) && is_hidden(name), "{name}");
        }
    }

    #[test]
    fn store_options_are_those_of_the_three_clouds() {
        for name in
            ["aws_region", "azure_storage_account_name", "google_service_account", "allow_http"]
        {
            assert!(is_store_option(name), "{name}");
        }
        assert!(!is_store_option("aws_regoin"));
    }
}
