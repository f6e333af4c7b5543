//! Broken configurations, each with the whole message it gives.

use super::*;

/// A valid file; every case changes some text of it.
const BASE: &str = "\
name: shop
source:
  brokers: [kafka-0:9092]
  topics: [orders, payments]
decode:
  value:
    format: json
    schema: \"id BIGINT NOT NULL, country STRING, at TIMESTAMP, tags ARRAY<STRING>\"
outputs:
  orders:
    table: s3://lake/orders
";

fn told(edits: &[(&str, &str)]) -> String {
    told_of(BASE, edits)
}

/// Replaces texts in a file, loads it as `connector.yaml`, and returns everything that is told.
pub(super) fn told_of(base: &str, edits: &[(&str, &str)]) -> String {
    let mut text = base.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "the base file holds no {from:?}");
        text = text.replacen(from, to, 1);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("connector.yaml"), text).expect("a file");
    let sources = Sources {
        files: vec![PathBuf::from("connector.yaml")],
        current_dir: folder.path().to_path_buf(),
        ..Sources::default()
    };
    match load(&sources) {
        Ok(loaded) => panic!("valid, with the warnings {:?}", loaded.warnings),
        Err(errors) => errors.to_string(),
    }
}

fn check(cases: &[(&str, &str, &str)]) {
    let mut wrong = String::new();
    for (from, to, expected) in cases {
        let told = told(&[(from, to)]);
        if told != *expected {
            wrong.push_str(&format!("\n{to:?}\n  told: {told}\n  not:  {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_base_is_valid() {
    assert!(load(&sources(BASE)).is_ok());
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    check(&[
        (
            "    table:",
            "    partiton_by: [country]\n    table:",
            "connector.yaml:11: SL1001 outputs.orders.partiton_by: unknown key; did you mean `partition_by`?",
        ),
        (
            "name: shop",
            "name: shop\nouputs: {}",
            "connector.yaml:2: SL1001 ouputs: unknown key; did you mean `outputs`?",
        ),
        (
            "  topics:",
            "  Topics: [x]\n  topics:",
            "connector.yaml:4: SL1001 source.Topics: unknown key; did you mean `topics`?",
        ),
        (
            "    format: json",
            "    format: json\n    frobnicate: 1",
            "connector.yaml:8: SL1001 decode.value.frobnicate: unknown key; the keys here are `avro_schema`, `change_columns`, `encoding`, `format`, `framing`, `registry`, `schema`, `timestamps`, `timezone`, `unknown_fields`",
        ),
    ]);
}

#[test]
fn what_a_later_version_will_have_is_not_taken_for_an_error_of_typing() {
    check(&[
        (
            "outputs:",
            "trigger: {max_latency: 5s}\noutputs:",
            "connector.yaml:9: SL1002 trigger.max_latency: is not available yet; set `interval`",
        ),
        (
            "outputs:",
            "trigger: {mode: adaptive, max_latency: 5s}\noutputs:",
            "connector.yaml:9: SL1002 trigger.max_latency: is not available yet; set `interval`\n\
             connector.yaml:9: SL1002 trigger.mode: `adaptive` is not available yet; use `processing_time`",
        ),
    ]);
}

#[test]
fn a_format_has_what_it_needs_and_nothing_else() {
    let value = "    format: json\n    schema: \"id BIGINT NOT NULL, country STRING, at TIMESTAMP, tags ARRAY<STRING>\"";
    check(&[
        (
            value,
            "    format: json",
            "connector.yaml:6: SL1004 decode.value.schema: must be set; for example `schema: \"id BIGINT NOT NULL, name STRING\"`",
        ),
        (
            value,
            "    format: avro",
            "connector.yaml:6: SL1004 decode.value.registry: must be set for `avro`; or `avro_schema: ${file:order.avsc}` if there is no registry",
        ),
        (
            value,
            "    format: avro\n    avro_schema: '\"int\"'\n    registry: {url: http://r}",
            "connector.yaml:8: SL1008 decode.value.avro_schema: and `registry` exclude each other; remove one of them",
        ),
        (
            value,
            "    format: avro\n    avro_schema: '\"int\"'\n    timezone: UTC",
            "connector.yaml:9: SL1008 decode.value.timezone: has no effect with `avro`; remove it",
        ),
        (
            value,
            "    format: avro\n    avro_schema: '\"int\"'\n    framing: confluent",
            "connector.yaml:9: SL1008 decode.value.framing: `confluent` needs a registry, for the ids are its own; set `registry` instead of `avro_schema`",
        ),
        (
            value,
            "    format: avro\n    registry: {url: http://r}\n    framing: plain",
            "connector.yaml:9: SL1008 decode.value.framing: must be `confluent` with a registry: only that names a registry's schema; remove it",
        ),
        (
            value,
            "    format: avro\n    registry: {url: http://r}\n    unknown_fields: fail",
            "connector.yaml:9: SL1008 decode.value.unknown_fields: has no effect without `schema`: the columns are those of the Avro schema; remove it",
        ),
        (
            value,
            "    format: avro\n    registry: {url: 'http://u:p@r'}",
            "connector.yaml:8: SL1007 decode.value.registry.url: holds credentials; put them under `auth`, as `${env:..}` or `${file:..}`",
        ),
        (
            value,
            "    format: avro\n    registry: {url: r, auth: {username: u}}",
            "connector.yaml:8: SL1007 decode.value.registry.url: is not an http or https URL; for example `https://registry:8081`\n\
             connector.yaml:8: SL1008 decode.value.registry.auth: must hold `username` and `password`, or `token`",
        ),
        (
            value,
            "    format: avro\n    registry: {url: http://r, subject: s, subject_names: topic_name}",
            "connector.yaml:8: SL1008 decode.value.registry.subject: and `subject_names` exclude each other; remove one of them",
        ),
        (
            "format: json",
            "format: json\n    framing: single_object",
            "connector.yaml:8: SL1008 decode.value.framing: `single_object` is Avro's; use `plain` or `confluent`",
        ),
        (
            value,
            "    format: string\n    schema: id INT",
            "connector.yaml:8: SL1008 decode.value.schema: has no effect with `string`; remove it",
        ),
        (
            "format: json",
            "format: debezium",
            "connector.yaml:6: SL1004 decode.value.encoding: must be set for `debezium`; `json` or `avro`, as the events are written",
        ),
        (
            "format: json",
            "format: json\n    change_columns: [op]",
            "connector.yaml:8: SL1008 decode.value.change_columns: is only for `format: debezium`; remove it",
        ),
        (
            "  value:",
            "  key: {column: id}\n  value:",
            "connector.yaml:6: SL1008 decode.key.column: has no effect without a `format`; remove it",
        ),
        (
            "  value:",
            "  on_incompatible_schema: dead_letter\n  value:",
            "connector.yaml:6: SL1008 decode.on_incompatible_schema: needs `on_bad_record: dead_letter`; set it, with `dead_letters.table`",
        ),
    ]);
}

#[test]
fn a_mode_has_its_key() {
    check(&[
        (
            "    table:",
            "    mode: upsert\n    table:",
            "connector.yaml:10: SL1004 outputs.orders.merge_key: must be set for this `mode`; the columns that identify a row: `merge_key: [id]`",
        ),
        (
            "    table:",
            "    merge_key: [id]\n    table:",
            "connector.yaml:11: SL1008 outputs.orders.merge_key: has no effect with `mode: append`; set `mode: upsert`, or remove it",
        ),
        (
            "    table:",
            "    mode: upsert\n    merge_key: [ID, cuntry]\n    table:",
            "connector.yaml:12: SL1013 outputs.orders.merge_key[1]: there is no column `cuntry` in the table; did you mean `country`?",
        ),
        (
            "    table:",
            "    where: \" \"\n    table:",
            "connector.yaml:11: SL1007 outputs.orders.where: is empty; remove it, or write an SQL expression",
        ),
    ]);
}

#[test]
fn a_topic_is_decoded_in_one_way() {
    check(&[
        (
            "    table: s3://lake/orders",
            "    table: s3://lake/orders\n  raw:\n    topics: [orders]\n    table: s3://lake/raw\n    decode: {value: {format: bytes}}",
            "connector.yaml:15: SL1008 outputs.raw.decode: topic `orders` is read by output `orders` too, with another `decode`; a record is decoded once: give the outputs other `topics`, keep the bytes with `metadata_columns: [value]`, or run a second connector",
        ),
        (
            "    table: s3://lake/orders",
            "    table: s3://lake/{topic}\n  one:\n    table: s3://lake/payments",
            "connector.yaml:11: SL1008 outputs.orders.table: is the table of output `one` too; give each a table of its own",
        ),
        (
            "    table: s3://lake/orders",
            "    table: s3://{topic}/orders",
            "connector.yaml:11: SL1015 outputs.orders.table: holds `{topic}` where no topic can stand; put it into the path: `s3://lake/{topic}`",
        ),
    ]);
}

#[test]
fn quantities_need_a_unit() {
    check(&[
        (
            "outputs:",
            "trigger: {interval: 10}\noutputs:",
            "connector.yaml:9: SL1005 trigger.interval: `10` needs a unit; write `10s` or `10ms`",
        ),
        (
            "outputs:",
            "trigger:\n  interval: 5 min\noutputs:",
            "connector.yaml:10: SL1005 trigger.interval: `5 min`: `min` is not a unit of time; use ms, s, m, h or d",
        ),
        (
            "outputs:",
            "limits: {max_bytes: 256M}\noutputs:",
            "connector.yaml:9: SL1005 limits.max_bytes: `256M`: `M` could be 1000s or 1024s; write `256MB` or `256MiB`",
        ),
        (
            "  value:",
            "  bad_record_limit: 5\n  value:",
            "connector.yaml:6: SL1005 decode.bad_record_limit: `5` needs a unit; write `5%`",
        ),
        (
            "  value:",
            "  bad_record_limit: 120%\n  value:",
            "connector.yaml:6: SL1005 decode.bad_record_limit: `120%` is not between 0% and 100%",
        ),
        (
            "outputs:",
            "shutdown_timeout: 0s\noutputs:",
            "connector.yaml:9: SL1007 shutdown_timeout: must be more than 0",
        ),
        (
            "outputs:",
            "retry: {give_up_after: soon}\noutputs:",
            "connector.yaml:9: SL1005 retry.give_up_after: `soon` is not a duration; write a whole number and a unit: `10s`",
        ),
    ]);
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    check(&[
        (
            "topics: [orders, payments]",
            "topics: orders",
            "connector.yaml:4: SL1003 source.topics: must be a list, not text; write `[orders]`",
        ),
        (
            "[orders, payments]",
            "[orders, 5]",
            "connector.yaml:4: SL1003 source.topics[1]: must be text, not a number; write `\"5\"`",
        ),
        (
            "name: shop",
            "name: true",
            "connector.yaml:1: SL1003 name: must be text, not true or false; write `\"true\"`",
        ),
        (
            "outputs:",
            "limits: {max_records: many}\noutputs:",
            "connector.yaml:9: SL1003 limits.max_records: must be a whole number, not text",
        ),
        (
            "outputs:",
            "limits: {max_records: -1}\noutputs:",
            "connector.yaml:9: SL1003 limits.max_records: must be a whole number, not a number",
        ),
        (
            "outputs:",
            "trigger: once\noutputs:",
            "connector.yaml:9: SL1003 trigger: must be a map, not text; its keys are `interval`, `mode`",
        ),
        (
            "  topics:",
            "  start: [earliest]\n  topics:",
            "connector.yaml:4: SL1003 source.start: must be `earliest` or `latest`, or a map, not a list",
        ),
    ]);
}

#[test]
fn what_must_be_set_is_asked_for() {
    check(&[
        (
            "name: shop\n",
            "",
            "connector.yaml: SL1004 name: must be set; for example `name: orders`",
        ),
        (
            "  brokers: [kafka-0:9092]\n",
            "",
            "connector.yaml:2: SL1004 source.brokers: must be set; for example `brokers: [kafka-0:9092]`",
        ),
        (
            "  topics: [orders, payments]\n",
            "",
            "connector.yaml:2: SL1004 source.topics: must be set; for example `topics: [orders]`, or `topic_pattern`",
        ),
        (
            "[kafka-0:9092]",
            "[]",
            "connector.yaml:3: SL1004 source.brokers: must name at least one broker",
        ),
        (
            "    format: json\n",
            "",
            "connector.yaml:6: SL1004 decode.value.format: must be set; write `format: json`",
        ),
        (
            "    table: s3://lake/orders\n",
            "",
            "connector.yaml:10: SL1004 outputs.orders.table: must be set; for example `table: s3://lake/orders`",
        ),
        (
            "  orders:\n    table: s3://lake/orders\n",
            "  {}\n",
            "connector.yaml:9: SL1004 outputs: must name at least one table; for example `outputs: {orders: {table: ./lake/orders}}`",
        ),
        (
            "  value:",
            "  on_bad_record: dead_letter\n  value:",
            "connector.yaml:6: SL1004 decode.on_bad_record: needs `dead_letters.table`; for example `dead_letters: {table: s3://lake/dead_letters}`",
        ),
        (
            "  topics:",
            "  start: {}\n  topics:",
            "connector.yaml:4: SL1004 source.start: needs `timestamp` or `offsets`; or write `earliest` or `latest`",
        ),
    ]);
}

#[test]
fn words_are_those_of_the_list() {
    check(&[
        (
            "  topics:",
            "  on_data_loss: contiue\n  topics:",
            "connector.yaml:4: SL1006 source.on_data_loss: `contiue` is not `fail` or `continue`; did you mean `continue`?",
        ),
        (
            "format: json",
            "format: xml",
            "connector.yaml:7: SL1006 decode.value.format: `xml` is not `json`, `avro`, `string`, `bytes` or `debezium`",
        ),
        (
            "    table:",
            "    metadata_columns: [offset, header]\n    table:",
            "connector.yaml:11: SL1006 outputs.orders.metadata_columns[1]: `header` is not `topic`, `partition`, `offset`, `timestamp`, `key`, `headers` or `value`; did you mean `headers`?",
        ),
    ]);
}

#[test]
fn names_and_addresses_keep_their_rules() {
    check(&[
        (
            "name: shop",
            "name: my shop",
            "connector.yaml:1: SL1007 name: a name can't hold ' '; use letters, digits, `_` and `-`",
        ),
        (
            "  orders:",
            "  eu.orders:",
            "connector.yaml:10: SL1007 outputs.eu.orders: a name can't hold '.'; use letters, digits, `_` and `-`",
        ),
        (
            "kafka-0:9092",
            "kafka-0",
            "connector.yaml:3: SL1007 source.brokers[0]: `kafka-0` has no port; write `kafka-0:9092`",
        ),
        (
            "kafka-0:9092",
            "\"SSL://kafka-0:9093\"",
            "connector.yaml:3: SL1007 source.brokers[0]: `SSL://kafka-0:9093` is a URL; write `kafka-0:9093`; TLS is `client.security.protocol`",
        ),
        (
            "payments]",
            "\"orders.*\"]",
            "connector.yaml:4: SL1007 source.topics[1]: a topic's name can't hold '*'; Kafka takes letters, digits, `.`, `_` and `-`; for a pattern use `topic_pattern`",
        ),
        (
            "topics: [orders, payments]",
            "topic_pattern: \"orders(\"",
            "connector.yaml:4: SL1007 source.topic_pattern: is not a regular expression: unclosed group; for example `orders\\..*`",
        ),
        (
            "  topics:",
            "  start: {timestamp: 2026-11-01}\n  topics:",
            "connector.yaml:4: SL1007 source.start.timestamp: `2026-11-01` is not a time with a zone; write `2026-11-01T00:00:00Z`",
        ),
        (
            "  topics:",
            "  start: {offsets: {orders: {zero: 1}}}\n  topics:",
            "connector.yaml:4: SL1007 source.start.offsets.orders.zero: `zero` is not a partition's number; write `{0: 42}` for offset 42 of partition 0",
        ),
        (
            "    format: json",
            "    format: json\n    timezone: Berlin",
            "connector.yaml:8: SL1007 decode.value.timezone: `Berlin` is not a time zone; use an IANA name: `UTC`, `Europe/Berlin`",
        ),
        (
            "outputs:",
            "http: {listen: \":9480\"}\noutputs:",
            "connector.yaml:9: SL1007 http.listen: `:9480` is not an address and a port; write `0.0.0.0:9480`",
        ),
        (
            "    table:",
            "    files: {zstd_level: 30}\n    table:",
            "connector.yaml:11: SL1007 outputs.orders.files.zstd_level: must be from 1 to 22",
        ),
        (
            "  value:",
            "  max_message_size: 2GB\n  value:",
            "connector.yaml:6: SL1007 decode.max_message_size: is more than Kafka clients can receive; write `1GB` or less",
        ),
    ]);
}

#[test]
fn settings_that_exclude_each_other_are_refused() {
    check(&[
        (
            "  topics:",
            "  topic_pattern: o.*\n  topics:",
            "connector.yaml:4: SL1008 source.topic_pattern: stands beside `topics`; keep one of them (`null` takes one of another file back)",
        ),
        (
            "payments]",
            "orders]",
            "connector.yaml:4: SL1008 source.topics[1]: `orders` stands twice in the list; remove one of them",
        ),
        (
            "    table:",
            "    topics: [order]\n    table:",
            "connector.yaml:11: SL1008 outputs.orders.topics[0]: topic `order` is not one of `source.topics`; did you mean `orders`?",
        ),
        (
            "  topics:",
            "  start: {offsets: {refunds: {0: 1}}}\n  topics:",
            "connector.yaml:4: SL1008 source.start.offsets.refunds: topic `refunds` is not one of `source.topics`; add it there",
        ),
        (
            "outputs:",
            "dead_letters: {table: s3://lake/bad}\noutputs:",
            "connector.yaml:9: SL1008 dead_letters: has no effect, since neither `decode.on_bad_record` nor `late_rows` is `dead_letter`; set that, or remove this",
        ),
        (
            "outputs:\n",
            "outputs:\n  copy: {table: s3a://lake/orders/}\n",
            "connector.yaml:12: SL1008 outputs.orders.table: is the table of output `copy` too; give each a table of its own",
        ),
        (
            "outputs:\n",
            "outputs:\n  eu: {table: s3://lake/orders/eu}\n",
            "connector.yaml:12: SL1008 outputs.orders.table: one of this table and the table of output `eu` is inside the other; vacuuming the outer one would delete the inner one's files",
        ),
        (
            "  value:",
            "  on_bad_record: dead_letter\ndead_letters: {table: s3://lake/orders}\ndecode:\n  value:",
            "connector.yaml:8: SL1010 decode: stands here and in line 5; remove one of them",
        ),
        (
            "outputs:",
            "limits: {min_records: 10, max_records: 5}\noutputs:",
            "connector.yaml:9: SL1008 limits.min_records: is more than `limits.max_records` (5)",
        ),
        (
            "outputs:",
            "retry: {initial_backoff: 1m}\noutputs:",
            "connector.yaml:9: SL1008 retry.initial_backoff: is longer than `retry.max_backoff`",
        ),
    ]);
}

#[test]
fn the_dead_letter_table_is_no_outputs_table() {
    let told = told(&[
        ("  value:", "  on_bad_record: dead_letter\n  value:"),
        ("outputs:", "dead_letters: {table: s3a://lake/orders}\noutputs:"),
    ]);
    let expected = "connector.yaml:13: SL1008 outputs.orders.table: is the table of `dead_letters` too; give each a table of its own";
    assert_eq!(told, expected);
}

#[test]
fn references_must_resolve() {
    check(&[
        (
            "kafka-0:9092",
            "\"${env:BROKER}\"",
            "connector.yaml:3: SL1009 source.brokers[0]: `${env:BROKER}` is not set; set the variable, or give a default: `${env:NAME:-default}`",
        ),
        (
            "  topics:",
            "  client: {sasl.password: \"${file:/nowhere/secret}\"}\n  topics:",
            "connector.yaml:4: SL1009 source.client.sasl.password: `${file:/nowhere/secret}` can't be read: no such file or directory; check the path and its permissions",
        ),
        (
            "s3://lake/orders",
            "\"s3://${BUCKET}/orders\"",
            "connector.yaml:11: SL1009 outputs.orders.table: `${BUCKET}` is not a reference; write `${env:NAME}` or `${file:/path}`; `$${` is a dollar sign and a brace",
        ),
        (
            "s3://lake/orders",
            "\"s3://lake/${env:NAME\"",
            "connector.yaml:11: SL1009 outputs.orders.table: `${` is never closed; add the `}`; `$${` is a dollar sign and a brace",
        ),
    ]);
}

#[test]
fn properties_that_sluice_owns_are_refused_by_name() {
    check(&[
        (
            "  topics:",
            "  client:\n    group.id: mine\n  topics:",
            "connector.yaml:5: SL1012 source.client.group.id: sluice sets this property itself; set `source.group_id`",
        ),
        (
            "  topics:",
            "  client:\n    enable.auto.commit: true\n  topics:",
            "connector.yaml:5: SL1012 source.client.enable.auto.commit: sluice sets this property itself; progress is in the table",
        ),
        (
            "  topics:",
            "  client:\n    isolation.level: dirty\n  topics:",
            "connector.yaml:5: SL1006 source.client.isolation.level: is neither `read_committed` nor `read_uncommitted`",
        ),
        (
            "outputs:",
            "storage: {aws_regoin: eu-west-1}\noutputs:",
            "connector.yaml:9: SL1012 storage.aws_regoin: no object store knows this option; store options are named as in object_store: `aws_region`, `azure_storage_account_name`, ...",
        ),
        (
            "outputs:",
            "storage: {aws_conditional_put: disabled}\noutputs:",
            "connector.yaml:9: SL1012 storage.aws_conditional_put: is not for you to set; sluice commits by conditional puts",
        ),
    ]);
}

#[test]
fn the_schema_and_the_columns_named_beside_it_must_fit() {
    check(&[
        (
            "country STRING",
            "country STRNG",
            "connector.yaml:8: SL1013 decode.value.schema: column 29: `STRNG` is not a type; did you mean STRING?",
        ),
        (
            "country STRING",
            "kafka_offset BIGINT",
            "connector.yaml:8: SL1013 decode.value.schema: column `kafka_offset` is the name of a metadata column; rename it, or use the metadata column `offset`",
        ),
        (
            "country STRING",
            "_change_type STRING",
            "connector.yaml:8: SL1013 decode.value.schema: column `_change_type` is a name that Spark and Delta use themselves; rename it",
        ),
        (
            "country STRING",
            "ID STRING",
            "connector.yaml:8: SL1013 decode.value.schema: column 21: `id` and `ID` are the same name to Delta Lake, which ignores case; rename one",
        ),
        (
            "country STRING",
            "`a b` STRING",
            "connector.yaml:8: SL1013 decode.value.schema: column 21: the name `a b` holds ' ', which Parquet readers refuse; rename the column",
        ),
        (
            "    format: json",
            "    format: json\n    timestamps: {when: epoch_millis}",
            "connector.yaml:8: SL1013 decode.value.timestamps.when: there is no column `when` in `decode.value.schema`",
        ),
        (
            "    format: json",
            "    format: json\n    timestamps: {country: epoch_millis}",
            "connector.yaml:8: SL1013 decode.value.timestamps.country: column `country` is STRING; only DATE, TIMESTAMP and TIMESTAMP_NTZ columns have a format",
        ),
        (
            "    table:",
            "    partition_by: [contry]\n    table:",
            "connector.yaml:11: SL1013 outputs.orders.partition_by[0]: there is no column `contry` in the table; did you mean `country`?",
        ),
        (
            "    table:",
            "    partition_by: [kafka_topic]\n    table:",
            "connector.yaml:11: SL1013 outputs.orders.partition_by[0]: there is no column `kafka_topic` in the table; add `topic` to `metadata_columns`",
        ),
        (
            "    table:",
            "    partition_by: [tags]\n    table:",
            "connector.yaml:11: SL1013 outputs.orders.partition_by[0]: `tags` is a nested column; use a column of a primitive type",
        ),
        (
            "    table:",
            "    partition_by: [country, COUNTRY]\n    table:",
            "connector.yaml:11: SL1008 outputs.orders.partition_by[1]: `COUNTRY` stands twice in the list; remove one of them",
        ),
    ]);
}

#[test]
fn a_table_keeps_a_column_that_it_is_not_partitioned_by() {
    let told = told(&[
        ("id BIGINT NOT NULL, country STRING, at TIMESTAMP, tags ARRAY<STRING>", "id BIGINT"),
        ("    table:", "    metadata_columns: []\n    partition_by: [id]\n    table:"),
    ]);
    let expected = "connector.yaml:12: SL1013 outputs.orders.partition_by: names all columns of the table; leave a column to be written into the files";
    assert_eq!(told, expected);
}

#[test]
fn table_properties_are_those_that_sluice_can_write() {
    check(&[
        (
            "    table:",
            "    table_properties:\n      delta.enableInCommitTimestamps: true\n    table:",
            "connector.yaml:12: SL1014 outputs.orders.table_properties.delta.enableInCommitTimestamps: is refused: sluice can't write in-commit timestamps; set delta.enableInCommitTimestamps to false, or remove it",
        ),
        (
            "    table:",
            "    table_properties:\n      delta.logRetentionDuration: 30d\n    table:",
            "connector.yaml:12: SL1014 outputs.orders.table_properties.delta.logRetentionDuration: is not an interval of Delta's; write `interval 30 days`",
        ),
        (
            "    table:",
            "    table_properties:\n      delta.setTransactionRetentionDuration: interval 1 hour\n    table:",
            "connector.yaml:12: SL1014 outputs.orders.table_properties.delta.setTransactionRetentionDuration: is too short: progress would expire between two commits; write `interval 1 day` or more",
        ),
        (
            "    table:",
            "    table_properties:\n      sluice.shop.orders: x\n    table:",
            "connector.yaml:12: SL1014 outputs.orders.table_properties.sluice.shop.orders: is refused: these properties are sluice's own; remove it",
        ),
    ]);
}

#[test]
fn tables_are_where_sluice_can_reach_them() {
    check(&[
        (
            "s3://lake/orders",
            "hdfs://namenode/orders",
            "connector.yaml:11: SL1015 outputs.orders.table: `hdfs://` is not a store that sluice knows; use a path, s3://, s3a://, az://, abfss:// or gs://",
        ),
        (
            "s3://lake/orders",
            "s3://key:secret@lake/orders",
            "connector.yaml:11: SL1015 outputs.orders.table: holds credentials; put them under `storage`, as `${env:..}` or `${file:..}`",
        ),
    ]);
}

#[test]
fn files_that_are_no_configuration_are_refused() {
    check(&[
        (
            "name: shop",
            "name: [shop",
            "connector.yaml:2: SL1010 not YAML: illegal placement of ':' indicator",
        ),
        (
            "name: shop\n",
            "name: shop\nname: store\n",
            "connector.yaml:2: SL1010 name: stands here and in line 1; remove one of them",
        ),
    ]);
    let nowhere = Sources {
        files: vec![PathBuf::from("nowhere.yaml")],
        current_dir: PathBuf::from("/nowhere"),
        ..Sources::default()
    };
    let errors = load(&nowhere).expect_err("the file isn't there");
    let expected = "nowhere.yaml: SL1010 can't be read: no such file or directory; give the path of a configuration file; sluice reads connector.yaml by default";
    assert_eq!(errors.to_string(), expected);
    let list = load(&sources("- a\n")).expect_err("a list is no connector");
    assert_eq!(list.to_string(), "stdin:1: SL1010 must be a map of keys and values");
}

#[test]
fn every_problem_is_told_at_once_in_the_order_of_the_file() {
    let told = told(&[
        ("name: shop", "name: my shop"),
        ("kafka-0:9092", "kafka-0"),
        ("country STRING", "country STRNG"),
        ("s3://lake/orders", "hdfs://lake"),
        ("    table:", "    tabel: x\n    partition_by: [contry]\n    table:"),
    ]);
    let codes: Vec<&str> = told.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    let expected = [
        "SL1007 name",
        "SL1007 source.brokers[0]",
        "SL1013 decode.value.schema",
        "SL1001 outputs.orders.tabel",
        "SL1015 outputs.orders.table",
    ];
    assert_eq!(codes, expected, "{told}");
}
