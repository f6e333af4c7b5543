use std::sync::Arc;

use arrow::datatypes::DataType;
use delta_kernel::Snapshot;
use object_store::memory::InMemory;
use serde_json::Value;

use super::*;
use crate::schema::ddl;
use crate::sink::store::kernel_root;

const NOW: i64 = 1_700_000_000_000;

const EVERY_TYPE: &str = "flag BOOLEAN, tiny TINYINT, small SMALLINT, int INT NOT NULL, long BIGINT, float FLOAT, \
    double DOUBLE, text STRING COMMENT 'free text', bytes BINARY, day DATE, at TIMESTAMP, amount DECIMAL(38,18), \
    list ARRAY<BIGINT>, map MAP<STRING, DOUBLE>, nested STRUCT<inner: STRING, deep: STRUCT<x: INT>>";

fn new_table(
    columns: &str,
    partition_by: &[&str],
    properties: &[(&str, &str)],
) -> Result<NewTable, Vec<TableProblem>> {
    let schema = ddl::parse(columns).expect("valid");
    let partition_by: Vec<String> = partition_by.iter().map(|c| (*c).to_owned()).collect();
    let properties = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let expected = TableExpectation::fixed(schema.arrow(), &partition_by);
    NewTable::new(&expected, &properties, NOW)
}

fn check_protocol(columns: &str, properties: &[(&str, &str)], expected: &str) {
    let table = new_table(columns, &[], properties).expect("can be created");
    let Protocol { min_reader_version, min_writer_version, reader_features, writer_features } =
        table.protocol;
    let list = |features: Option<Vec<String>>| features.map_or("-".into(), |f| f.join("+"));
    let protocol = format!(
        "{min_reader_version}/{min_writer_version} {} {}",
        list(reader_features),
        list(writer_features)
    );
    assert_eq!(protocol, expected);
}

#[test]
fn the_protocol_is_the_lowest_that_does() {
    check_protocol(EVERY_TYPE, &[], "1/2 - -");
    check_protocol("a INT", &[("delta.appendOnly", "true")], "1/2 - -");
    check_protocol("a INT", &[("delta.enableChangeDataFeed", "true")], "1/4 - -");
    check_protocol("a TIMESTAMP_NTZ", &[], "3/7 timestampNtz appendOnly+invariants+timestampNtz");
    check_protocol(
        "s STRUCT<l: ARRAY<TIMESTAMP_NTZ>>",
        &[],
        "3/7 timestampNtz appendOnly+invariants+timestampNtz",
    );
    check_protocol(
        "a TIMESTAMP_NTZ",
        &[("delta.enableChangeDataFeed", "true"), ("delta.appendOnly", "true")],
        "3/7 timestampNtz appendOnly+invariants+timestampNtz+changeDataFeed",
    );
    check_protocol(
        "a INT",
        &[("delta.enableDeletionVectors", "true")],
        "3/7 deletionVectors appendOnly+invariants+deletionVectors",
    );
    check_protocol(
        "a INT NOT NULL",
        &[("delta.enableTypeWidening", "true")],
        "3/7 typeWidening appendOnly+invariants+typeWidening",
    );
    check_protocol(
        "a INT",
        &[("delta.checkpointPolicy", "v2")],
        "3/7 v2Checkpoint appendOnly+invariants+v2Checkpoint",
    );
    check_protocol(
        "a INT",
        &[("delta.feature.domainMetadata", "supported")],
        "1/7 - appendOnly+invariants+domainMetadata",
    );
}

#[test]
fn properties_that_sluice_cannot_honour_are_refused_before_anything_is_created() {
    let refused = |property| {
        let problems = new_table("a INT", &[], &[property]).expect_err("refused");
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(
        refused(("delta.columnMapping.mode", "name")).starts_with("table feature columnMapping (")
    );
    assert!(
        refused(("delta.constraints.c", "a > 0")).starts_with("table feature checkConstraints (")
    );
    assert!(
        refused(("delta.feature.rowTracking", "supported"))
            .starts_with("table feature rowTracking: ")
    );
    assert!(
        refused(("delta.feature.nonsense", "supported")).starts_with("table feature nonsense: ")
    );
}

#[test]
fn the_first_commit_holds_protocol_and_metadata() {
    let properties = [
        ("delta.logRetentionDuration", "interval 30 days"),
        ("delta.feature.appendOnly", "supported"),
    ];
    let table = new_table("Id BIGINT NOT NULL, day DATE", &["DAY"], &properties).expect("valid");
    let commit = table.first_commit(NOW);
    let actions: Vec<Value> =
        commit.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let kinds: Vec<_> =
        actions.iter().flat_map(|a| a.as_object().expect("an object").keys().cloned()).collect();
    assert_eq!(kinds, ["commitInfo", "protocol", "metaData"]);
    let metadata = &actions[2]["metaData"];
    assert_eq!(metadata["partitionColumns"], serde_json::json!(["day"]));
    assert_eq!(
        metadata["configuration"],
        serde_json::json!({"delta.logRetentionDuration": "interval 30 days"})
    );
    assert_eq!(metadata["createdTime"], NOW);
    let read: Metadata = serde_json::from_value(metadata.clone()).expect("its own text");
    assert_eq!(read, table.metadata);
    let read: Protocol =
        serde_json::from_value(actions[1]["protocol"].clone()).expect("its own text");
    assert_eq!(read, table.protocol);
}

/// A store in memory, and a table with these columns opened there under a policy.
async fn open(
    store: &TableStore,
    columns: &str,
    policy: CreateTable,
) -> Result<(TableLog, WritePlan), TableError> {
    let schema = ddl::parse(columns).expect("valid");
    let expected = TableExpectation::fixed(schema.arrow(), &[]);
    open_or_create(store, &expected, policy, &BTreeMap::new(), NOW).await
}

fn empty_store() -> TableStore {
    TableStore::over(Arc::new(InMemory::new()), "lake/orders")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table_is_created_once_and_found_after_that() {
    let store = empty_store();
    let (created, plan) = open(&store, "a INT", CreateTable::IfMissing).await.expect("created");
    let (found, same_plan) = open(&store, "a INT", CreateTable::Never).await.expect("there");
    assert_eq!((created.version(), found.version()), (0, 0));
    assert_eq!(created.metadata(), found.metadata());
    assert_eq!(plan, same_plan);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_creators_one_wins_and_the_others_table_is_checked() {
    let store = empty_store();
    let (one, two) = (new_table("a INT", &[], &[]), new_table("b INT", &[], &[]));
    create(&store, &one.expect("valid"), NOW).await.expect("created");
    create(&store, &two.expect("valid"), NOW).await.expect("lost, and no error");
    let error =
        open(&store, "b INT", CreateTable::IfMissing).await.expect_err("the first one's columns");
    assert_eq!(
        error.to_string(),
        "lake/orders: `b`: the table has no such column, output INT: set `schema_evolution: add_columns`, \
         take it out of the schema, or write to another table"
    );
    assert_eq!(
        (error.code(), error.disposition()),
        ("SL4202", Disposition::Stop(Exit::DataRefused))
    );
}

/// Between the look that finds no log and the look for a reason, the other one's table can appear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_start_together_all_find_the_table() {
    for _ in 0..200 {
        let store = empty_store();
        let starting = [(); 3].map(|()| {
            let store = store.clone();
            tokio::spawn(
                async move { open(&store, "a INT", CreateTable::IfMissing).await.map(drop) },
            )
        });
        for instance in starting {
            instance.await.expect("no panic").expect("the table, whoever made it");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn create_never_creates_nothing() {
    let store = empty_store();
    let error = open(&store, "a INT", CreateTable::Never).await.expect_err("no table");
    assert_eq!(error.code(), "SL4201");
    assert!(store.identity(&Path::from(FIRST_COMMIT)).await.expect("a store that works").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_reads_a_created_table_and_it_fits_the_output() {
    let columns = format!("{EVERY_TYPE}, local TIMESTAMP_NTZ");
    let table = new_table(&columns, &["day", "text"], &[]).expect("valid");
    let store = empty_store();
    create(&store, &table, NOW).await.expect("a store that works");
    let snapshot =
        Snapshot::builder_for(kernel_root()).build(store.engine().as_ref()).expect("a table");
    assert_eq!(snapshot.version(), 0);
    let metadata = snapshot.table_configuration().metadata();
    assert_eq!(metadata.partition_columns(), &["day", "text"]);
    let arrow: Schema = {
        use delta_kernel::engine::arrow_conversion::TryIntoArrow;
        snapshot.schema().as_ref().try_into_arrow().expect("Arrow's types")
    };
    let ours = delta_schema::from_json(&table.metadata.schema_string).expect("its own text");
    let types = |schema: &Schema| -> Vec<(String, DataType, bool)> {
        schema
            .fields()
            .iter()
            .map(|f| (f.name().clone(), plain(f.data_type()), f.is_nullable()))
            .collect()
    };
    assert_eq!(types(&arrow), types(&ours));
}

/// Without the metadata of nested fields, which the kernel adds to.
fn plain(data_type: &DataType) -> DataType {
    let field = |f: &arrow::datatypes::Field| {
        arrow::datatypes::Field::new(f.name(), plain(f.data_type()), f.is_nullable())
    };
    match data_type {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|f| field(f)).collect()),
        DataType::List(item) => DataType::List(Arc::new(field(item))),
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(field(entries)), *sorted),
        other => other.clone(),
    }
}
