//! Avro through the decoder: a registry that answers, one that doesn't, schemas that change in mid-stream.

use serde_json::json;
use url::Url;

use super::*;
use crate::config::{
    Avro, AvroSchemas, DecodeKey, Framing, OnIncompatibleSchema, Registry, RegistryAuth,
    SubjectNames,
};
use crate::decode::registry::tests::server::{self, Reply, Server};

const ONE: &str = r#"{"type": "record", "name": "r", "fields": [{"name": "id", "type": "int"}]}"#;
const TWO: &str = r#"{"type": "record", "name": "r", "fields": [
    {"name": "id", "type": "long"}, {"name": "name", "type": ["null", "string"], "default": null}]}"#;
const OTHER: &str =
    r#"{"type": "record", "name": "r", "fields": [{"name": "id", "type": "string"}]}"#;

/// Answers by id, and says that the newest of every subject is the first.
fn registry_of(schemas: &'static [&'static str]) -> impl Fn(&str, usize) -> Reply + Clone {
    move |path, _| {
        let by_id = path.strip_prefix("/schemas/ids/").and_then(|id| id.parse::<usize>().ok());
        let schema = by_id.and_then(|id| schemas.get(id.checked_sub(1)?));
        match schema {
            Some(text) => server::ok(json!({"schema": text})),
            None if path.ends_with("/versions/latest") => {
                server::ok(json!({"id": 1, "version": 1, "subject": "s", "schema": schemas[0]}))
            }
            None => server::missing(40_403),
        }
    }
}

fn avro(url: &Url, columns: Option<&str>) -> Avro {
    let registry = Registry {
        urls: vec![url.clone()],
        auth: RegistryAuth::None,
        ca_file: None,
        subjects: SubjectNames::TopicName,
    };
    Avro {
        schemas: AvroSchemas::Registry(Arc::new(registry)),
        framing: Framing::Confluent,
        columns: columns.map(|columns| Arc::new(ddl::parse(columns).expect("columns"))),
        unknown_fields: UnknownFields::Ignore,
    }
}

fn values(url: &Url, columns: Option<&str>) -> Decode {
    Decode {
        on_bad_record: OnBadRecord::DeadLetter,
        ..Decode::new(Payload::Avro(avro(url, columns)))
    }
}

fn topics() -> BTreeSet<String> {
    BTreeSet::from(["orders".to_owned()])
}

/// What happens on the thread that decodes, which may wait for the registry.
fn on_its_thread<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(run).join().expect("no panic"))
}

fn ready(spec: &Decode, schemas: &Schemas) -> Decoder {
    let mut decoder = Decoder::new(spec, schemas, &BTreeSet::new(), false).expect("a valid spec");
    decoder.begin(partition(), 0, None);
    decoder
}

fn columns_of(decoder: &Decoder) -> String {
    let fields = decoder.row_schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    ddl::format(&crate::schema::TableSchema::new(fields))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_met_in_mid_stream_gives_the_next_decoder_its_columns() {
    let server = Server::start(registry_of(&[ONE, TWO])).await;
    let spec = values(&server.url, None);
    let schemas = Schemas::open(&spec, &topics()).await.expect("the registry answers");
    on_its_thread(|| {
        let mut decoder = ready(&spec, &schemas);
        assert_eq!(columns_of(&decoder), "id INT");
        decoder.push(&message(0, &[0, 0, 0, 0, 1, 14])).expect("a good record");
        let error = decoder.push(&message(1, &[0, 0, 0, 0, 2, 16, 0])).expect_err("new columns");
        let changes =
            "schema id 2 changes the columns: `id` INT becomes BIGINT, `name` STRING is new";
        assert_eq!(error.to_string(), changes);
        // The next session reads the batch again, with the columns.
        let mut decoder = ready(&spec, &schemas);
        assert_eq!(columns_of(&decoder), "id BIGINT, name STRING");
        decoder.push(&message(0, &[0, 0, 0, 0, 1, 14])).expect("a good record");
        decoder.push(&message(1, &[0, 0, 0, 0, 2, 16, 0])).expect("a good record");
        let chunk = decoder.finish(2);
        assert_eq!(chunk.rows["id"].as_primitive::<Int64Type>().values(), &[7, 8]);
        assert_eq!(chunk.rows["name"].null_count(), 2);
    });
    assert_eq!(schemas.row_origin("name").as_deref(), Some("schema id 2"));
    assert_eq!(server.paths(), ["/subjects/orders-value/versions/latest", "/schemas/ids/2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_makes_no_bad_record() {
    let server = Server::start(registry_of(&[ONE, TWO])).await;
    // With declared columns nothing is asked before a record comes.
    let spec = values(&server.url, Some("id BIGINT, name STRING"));
    let schemas = Schemas::open(&spec, &topics()).await.expect("nobody is asked");
    assert_eq!(server.paths(), [""; 0]);
    on_its_thread(|| {
        let mut decoder = ready(&spec, &schemas);
        decoder.push(&message(0, &[0, 0, 0, 0, 1, 14])).expect("a good record");
    });
    drop(server);
    on_its_thread(|| {
        let mut decoder = ready(&spec, &schemas);
        decoder.push(&message(0, &[0, 0, 0, 0, 1, 14])).expect("its schema is known");
        let error = decoder.push(&message(1, &[0, 0, 0, 0, 2, 16, 0])).expect_err("nobody answers");
        assert_eq!(error.disposition(), Disposition::Retry, "{error}");
        assert_eq!(error.code(), "SL3205");
        assert!(decoder.take_first_bad().is_none());
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_the_registry_denies_is_a_bad_record() {
    let server = Server::start(registry_of(&[ONE])).await;
    let spec = values(&server.url, None);
    let schemas = Schemas::open(&spec, &topics()).await.expect("the registry answers");
    on_its_thread(|| {
        let mut decoder = ready(&spec, &schemas);
        decoder.push(&message(0, &[0, 0, 0, 0, 7, 14])).expect("a dead letter");
        let bad = decoder.take_first_bad().expect("a bad record");
        assert_eq!((bad.code, &*bad.reason), ("SL3053", "schema id 7 is not in the registry"));
        decoder.push(&message(1, &[0, 0, 0, 0, 1, 14])).expect("a good record");
        let chunk = decoder.finish(2);
        assert_eq!((chunk.fates.rows, chunk.fates.dead_letters), (1, 1));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_does_not_fit_stops_or_its_records_are_dead_letters() {
    let server = Server::start(registry_of(&[ONE, OTHER])).await;
    let mut spec = values(&server.url, None);
    let schemas = Schemas::open(&spec, &topics()).await.expect("the registry answers");
    on_its_thread(|| {
        let mut decoder = ready(&spec, &schemas);
        let error =
            decoder.push(&message(0, &[0, 0, 0, 0, 2, 0])).expect_err("an int is no string");
        assert_eq!(error.disposition(), Disposition::Stop(Exit::DataRefused));
        assert!(error.to_string().starts_with(
            "schema id 2 can't be read into the columns: `id` is string, and the schemas before it have int"
        ), "{error}");
    });
    spec.on_incompatible_schema = OnIncompatibleSchema::DeadLetter;
    let schemas = Schemas::open(&spec, &topics()).await.expect("the registry answers");
    on_its_thread(|| {
        let mut decoder = ready(&spec, &schemas);
        decoder.push(&message(0, &[0, 0, 0, 0, 2, 0])).expect("a dead letter");
        let bad = decoder.take_first_bad().expect("a bad record");
        assert_eq!(bad.code, "SL3054");
        assert_eq!(bad.reason, "schema id 2: `id` is string, and the schemas before it have int");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_have_schemas_of_their_own() {
    let server = Server::start(registry_of(&[ONE, TWO])).await;
    let mut spec = values(&server.url, Some("name STRING"));
    let payload = Payload::Avro(avro(&server.url, None));
    spec.key = Some(DecodeKey { column: "key".to_owned(), payload });
    let schemas = Schemas::open(&spec, &topics()).await.expect("the registry answers");
    assert_eq!(server.paths(), ["/subjects/orders-key/versions/latest"]);
    on_its_thread(|| {
        let mut decoder = ready(&spec, &schemas);
        assert_eq!(columns_of(&decoder), "name STRING, `key` STRUCT<id: INT>".replace('`', ""));
        let value = [0, 0, 0, 0, 2, 16, 2, 2, b'x'];
        let with_key = |offset, key| Message { key, ..message(offset, &value) };
        decoder.push(&with_key(0, Some(&[0, 0, 0, 0, 1, 14]))).expect("a good record");
        decoder.push(&with_key(1, Some(&[0, 0, 0, 0, 1]))).expect("a dead letter");
        let bad = decoder.take_first_bad().expect("a bad record");
        assert_eq!(bad.reason, "key: `id`, byte 5: the key ends too early");
        let chunk = decoder.finish(2);
        assert_eq!(chunk.rows.num_rows(), 1);
        let keys = chunk.rows["key"].as_struct();
        assert_eq!(keys.column(0).as_primitive::<Int32Type>().values(), &[7]);
    });
}

/// A registry whose one subject has these versions; ids are their numbers.
fn versions_of(schemas: &'static [&'static str]) -> impl Fn(&str, usize) -> Reply + Clone {
    move |path, _| {
        let Some(version) = path.strip_prefix("/subjects/orders-value/versions") else {
            return registry_of(schemas)(path, 0);
        };
        if version.is_empty() {
            return server::ok(json!((1..=schemas.len()).collect::<Vec<_>>()));
        }
        let number = version[1..].parse().unwrap_or(schemas.len());
        server::ok(json!({"id": number, "version": number, "schema": schemas[number - 1]}))
    }
}

const PLAIN: &str =
    r#"{"type": "record", "name": "r", "fields": [{"name": "id", "type": "long"}]}"#;
const LOGICAL: &str = r#"{"type": "record", "name": "r", "fields": [
    {"name": "id", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_a_table_can_not_take_begin_with_an_older_schema() {
    let server = Server::start(versions_of(&[OTHER, PLAIN, LOGICAL])).await;
    let spec = values(&server.url, None);
    let schemas = Schemas::open(&spec, &topics()).await.expect("the registry answers");
    on_its_thread(|| assert_eq!(columns_of(&ready(&spec, &schemas)), "id TIMESTAMP"));
    let origin = schemas.row_origin("id").expect("a schema brought it");
    assert_eq!(origin, "schema id 3 (`orders-value`)");
    assert_eq!(schemas.give_way(&origin, "the table has a BIGINT").await, Ok(true));
    on_its_thread(|| {
        // The newer one is read into the older one's column, as by a decoder that met it later.
        let mut decoder = ready(&spec, &schemas);
        assert_eq!(columns_of(&decoder), "id BIGINT");
        decoder.push(&message(0, &[0, 0, 0, 0, 3, 14])).expect("a good record");
        assert_eq!(decoder.finish(1).rows["id"].as_primitive::<Int64Type>().values(), &[7]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_no_table_can_take_is_refused_as_the_policy_says() {
    for (policy, gives_way) in
        [(OnIncompatibleSchema::Fail, false), (OnIncompatibleSchema::DeadLetter, true)]
    {
        let server = Server::start(versions_of(&[ONE, OTHER])).await;
        let spec = Decode { on_incompatible_schema: policy, ..values(&server.url, None) };
        let schemas = Schemas::open(&spec, &topics()).await.expect("the registry answers");
        let origin = schemas.row_origin("id").expect("a schema brought it");
        assert_eq!(schemas.give_way(&origin, "the table has an INT").await, Ok(gives_way));
        if !gives_way {
            continue;
        }
        on_its_thread(|| {
            let mut decoder = ready(&spec, &schemas);
            assert_eq!(columns_of(&decoder), "id INT");
            decoder.push(&message(0, &[0, 0, 0, 0, 1, 14])).expect("a good record");
            decoder.push(&message(1, &[0, 0, 0, 0, 2, 2, 65])).expect("a dead letter");
            let bad = decoder.take_first_bad().expect("a bad record");
            let reason = "schema id 2: `id` is string, and the schemas before it have int";
            assert_eq!((bad.code, &*bad.reason), ("SL3054", reason));
        });
        // Met while running, there is nothing older to begin with.
        let origin = schemas.row_origin("id").expect("a schema brought it");
        assert_eq!(origin, "schema id 1 (`orders-value`)");
        assert_eq!(schemas.give_way(&origin, "the table has a DATE").await, Ok(true));
        on_its_thread(|| {
            let mut decoder = ready(&spec, &schemas);
            assert_eq!(columns_of(&decoder), "");
            decoder.push(&message(0, &[0, 0, 0, 0, 1, 14])).expect("a dead letter");
            let bad = decoder.take_first_bad().expect("a bad record");
            assert_eq!(&*bad.reason, "schema id 1: the table has a DATE");
        });
        assert_eq!(schemas.give_way("schema id 9", "nobody knows it").await, Ok(false));
    }
}
