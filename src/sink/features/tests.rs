use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::schema::ddl;

/// A table with `id BIGINT NOT NULL, amount DOUBLE`, and what a test changes in it.
fn table(change: impl FnOnce(&mut Protocol, &mut Metadata)) -> (Protocol, Metadata) {
    let schema = ddl::parse("id BIGINT NOT NULL, amount DOUBLE").expect("valid");
    let mut protocol = Protocol {
        min_reader_version: 1,
        min_writer_version: 2,
        reader_features: None,
        writer_features: None,
    };
    let mut metadata = Metadata {
        id: "5f0c7d0e-0000-4000-8000-000000000000".into(),
        name: None,
        description: None,
        format: Default::default(),
        schema_string: delta_schema::to_json(schema.arrow()).expect("valid"),
        partition_columns: Vec::new(),
        configuration: BTreeMap::new(),
        created_time: None,
    };
    change(&mut protocol, &mut metadata);
    (protocol, metadata)
}

fn problems_of(table: &(Protocol, Metadata), columns: &str, partition_by: &[&str]) -> Vec<String> {
    let schema = ddl::parse(columns).expect("valid");
    let partition_by: Vec<String> = partition_by.iter().map(|c| (*c).to_owned()).collect();
    let expected = TableExpectation::fixed(schema.arrow(), &partition_by);
    match check(&table.0, &table.1, &expected) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|p| format!("{} {p}", p.code())).collect(),
    }
}

/// Checks the output `id, amount` against a table.
fn check_table(change: impl FnOnce(&mut Protocol, &mut Metadata), expected: &[&str]) {
    assert_eq!(problems_of(&table(change), "id BIGINT NOT NULL, amount DOUBLE", &[]), expected);
}

fn columns(text: &str) -> String {
    delta_schema::to_json(ddl::parse(text).expect("valid").arrow()).expect("valid")
}

/// Checks an output's columns against a table's.
fn check_columns(table_columns: &str, output: &str, expected: &[&str]) {
    let table = table(|_, metadata| metadata.schema_string = columns(table_columns));
    assert_eq!(
        problems_of(&table, output, &[]),
        expected,
        "table {table_columns}, output {output}"
    );
}

/// Adds a key to the metadata of the column `amount`.
fn with_column_metadata(metadata: &mut Metadata, key: &str, value: Value) {
    let mut schema: Value = serde_json::from_str(&metadata.schema_string).expect("JSON");
    schema["fields"][1]["metadata"][key] = value;
    metadata.schema_string = schema.to_string();
}

fn with_feature(name: &str) -> impl FnOnce(&mut Protocol, &mut Metadata) {
    let name = name.to_owned();
    move |protocol, _| {
        protocol.min_reader_version = 3;
        protocol.min_writer_version = 7;
        protocol.reader_features =
            Some(if is_for_readers(&name) { vec![name.clone()] } else { vec![] });
        protocol.writer_features = Some(vec![name]);
    }
}

#[test]
fn a_table_that_fits_is_planned_in_its_own_spelling() {
    let (protocol, metadata) = table(|_, m| {
        m.schema_string = columns("OrderId BIGINT NOT NULL, extra STRING, Amount DOUBLE, Day DATE");
        m.partition_columns = vec!["Day".into()];
        m.configuration.insert("delta.dataSkippingNumIndexedCols".into(), "2".into());
    });
    let schema = ddl::parse("amount DOUBLE, day DATE, orderid BIGINT NOT NULL").expect("valid");
    let partition_by = ["day".into()];
    let expected = TableExpectation::fixed(schema.arrow(), &partition_by);
    let plan = check(&protocol, &metadata, &expected).expect("fits");
    let names: Vec<_> = plan.schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["Amount", "Day", "OrderId"]);
    assert_eq!(plan.partition_columns, ["Day"]);
    assert!(
        plan.indexed.contains(&["OrderId".into()]) && !plan.indexed.contains(&["Amount".into()])
    );
}

#[test]
fn columns_are_compared_by_name_type_and_null() {
    check_columns("a INT, b STRING", "a INT", &[]);
    check_columns("a INT", "a INT NOT NULL", &[]);
    check_columns("a BIGINT", "a INT", &[]);
    check_columns(
        "a INT",
        "a INT, b STRING",
        &[
            "SL4202 `b`: the table has no such column, output STRING: set `schema_evolution: add_columns`, take it out of the \
             schema, or write to another table",
        ],
    );
    check_columns(
        "amount DOUBLE",
        "amount DECIMAL(18,4)",
        &[
            "SL4203 `amount`: table DOUBLE, output DECIMAL(18,4): change the schema, or write to another table",
        ],
    );
    check_columns(
        "a INT NOT NULL",
        "a INT",
        &[
            "SL4204 `a`: NOT NULL in the table, but the output, INT, may have none: declare it NOT NULL in the schema, or \
         drop NOT NULL in the table",
        ],
    );
    check_columns(
        "a INT, b INT NOT NULL",
        "a INT",
        &[
            "SL4205 `b`: NOT NULL in the table, but the output has no such column: add it to the schema, or drop \
         NOT NULL in the table",
        ],
    );
    check_columns(
        "at TIMESTAMP",
        "at TIMESTAMP_NTZ",
        &[
            "SL4203 `at`: table TIMESTAMP, output TIMESTAMP_NTZ: change the schema, or write to another table",
        ],
    );
}

#[test]
fn nested_columns_are_compared_field_by_field() {
    check_columns("s STRUCT<A: INT, more: STRING>", "s STRUCT<a: INT>", &[]);
    check_columns("m MAP<BIGINT, ARRAY<DOUBLE>>", "m MAP<TINYINT, ARRAY<FLOAT>>", &[]);
    check_columns(
        "l ARRAY<STRUCT<a: INT>>",
        "l ARRAY<STRUCT<a: DOUBLE>>",
        &[
            "SL4203 `l.element.a`: table INT, output DOUBLE: change the schema, write to another table, or let the table \
         be widened: `schema_evolution: widen` here and ALTER TABLE ... SET TBLPROPERTIES \
         ('delta.enableTypeWidening' = 'true') there, after which delta-rs and Polars can't read it",
        ],
    );
    check_columns(
        "m MAP<STRING, INT>",
        "m MAP<STRING, STRING>",
        &[
            "SL4203 `m.value`: table INT, output STRING: change the schema, or write to another table",
        ],
    );
    check_columns(
        "s STRUCT<a: INT>",
        "s STRUCT<a: INT, b: INT>",
        &[
            "SL4202 `s.b`: the table has no such column, output INT: set `schema_evolution: add_columns`, take it out of the \
             schema, or write to another table",
        ],
    );
    check_columns(
        "s STRUCT<a: INT>",
        "s STRING",
        &[
            "SL4203 `s`: table STRUCT<a: INT>, output STRING: change the schema, or write to another table",
        ],
    );
}

#[test]
fn every_problem_is_reported_at_once() {
    let table = table(|protocol, metadata| {
        with_feature("rowTracking")(protocol, metadata);
        metadata.schema_string = columns("a INT NOT NULL, b DOUBLE");
        metadata.partition_columns = vec!["b".into()];
    });
    let codes: Vec<String> = problems_of(&table, "a INT, b STRING, c DATE", &["c"])
        .iter()
        .map(|problem| problem[..6].to_owned())
        .collect();
    assert_eq!(codes, ["SL4209", "SL4204", "SL4203", "SL4202", "SL4207"]);
}

fn check_partitions(table_partitions: &[&str], output: &[&str], expected: &[&str]) {
    let table = table(|_, metadata| {
        metadata.schema_string = columns("a INT, b DATE, s STRUCT<x: INT>");
        metadata.partition_columns = table_partitions.iter().map(|c| (*c).to_owned()).collect();
    });
    assert_eq!(problems_of(&table, "a INT, b DATE, s STRUCT<x: INT>", output), expected);
}

#[test]
fn partitions_must_be_the_tables_in_its_order() {
    check_partitions(&["a", "b"], &["A", "b"], &[]);
    check_partitions(
        &["a"],
        &[],
        &[
            "SL4207 partitions: table by `a`, output by nothing: set `partition_by` to the table's columns, in its order",
        ],
    );
    check_partitions(
        &["a", "b"],
        &["b", "a"],
        &[
            "SL4207 partitions: table by `a`, `b`, output by `b`, `a`: set `partition_by` to the table's columns, in \
         its order",
        ],
    );
    check_partitions(
        &["s"],
        &["s"],
        &[
            "SL4208 partition column `s`: Delta Lake cannot partition by a nested type: partition by another column",
        ],
    );
    check_partitions(
        &["zz"],
        &["zz"],
        &[
            "SL4208 partition column `zz`: the output has no such column: partition by another column",
        ],
    );
}

#[test]
fn a_table_of_partition_columns_only_is_refused() {
    let table = table(|_, metadata| {
        metadata.schema_string = columns("a INT");
        metadata.partition_columns = vec!["a".into()];
    });
    assert_eq!(
        problems_of(&table, "a INT", &["a"]),
        [
            "SL4208 partition column `a`: no column would be left for the data files: partition by another column",
        ]
    );
}

#[test]
fn protocol_versions_from_the_future_are_refused() {
    check_table(
        |protocol, _| protocol.min_writer_version = 8,
        &[
            "SL4210 the table's protocol is reader 1, writer 8; sluice knows up to reader 3, writer 7: upgrade sluice",
        ],
    );
    check_table(|protocol, _| protocol.min_writer_version = 6, &[]);
}

#[test]
fn a_feature_nobody_knows_is_refused_by_name() {
    check_table(
        with_feature("tomorrow"),
        &[
            "SL4209 table feature tomorrow: sluice does not know it, so it can't write to the table safely: drop the \
         feature (ALTER TABLE ... DROP FEATURE) or upgrade sluice",
        ],
    );
    check_table(with_feature("timestampWithoutTimezone"), &[]);
}

#[test]
fn features_that_are_listed_and_not_used_are_fine_unless_they_bind_every_commit() {
    let refused: Vec<&str> = FEATURES
        .iter()
        .filter(|f| {
            !problems_of(&table(with_feature(f.name)), "id BIGINT NOT NULL, amount DOUBLE", &[])
                .is_empty()
        })
        .map(|f| f.name)
        .collect();
    assert_eq!(
        refused,
        [
            "rowTracking",
            "catalogManaged",
            "checkpointProtection",
            "materializePartitionColumns",
            "coordinatedCommits-preview",
            "catalogOwned-preview",
        ]
    );
}

/// Checks that a table with this change is refused for the feature, and names the place.
fn check_used(feature: &str, place: &str, change: impl FnOnce(&mut Metadata)) {
    let table = table(|protocol, metadata| {
        with_feature(feature)(protocol, metadata);
        change(metadata);
    });
    let problems = problems_of(&table, "id BIGINT NOT NULL, amount DOUBLE", &[]);
    let beginning = format!("SL4209 table feature {feature} ({place}): ");
    assert!(problems.iter().any(|p| p.starts_with(&beginning)), "{beginning} not in {problems:?}");
}

fn set(property: &'static str, value: &'static str) -> impl FnOnce(&mut Metadata) {
    move |metadata| {
        metadata.configuration.insert(property.into(), value.into());
    }
}

fn mark(key: &'static str, value: Value) -> impl FnOnce(&mut Metadata) {
    move |metadata| with_column_metadata(metadata, key, value)
}

#[test]
fn features_in_use_are_refused_with_the_place() {
    check_used("invariants", "amount", mark("delta.invariants", json!("{}")));
    check_used(
        "checkConstraints",
        "delta.constraints.positive",
        set("delta.constraints.positive", "amount > 0"),
    );
    check_used("generatedColumns", "amount", mark("delta.generationExpression", json!("id * 2")));
    check_used("identityColumns", "amount", mark("delta.identity.start", json!(1)));
    check_used(
        "columnMapping",
        "delta.columnMapping.mode = name",
        set("delta.columnMapping.mode", "name"),
    );
    for version in ["1", "2", "3"] {
        let (feature, property) = match version {
            "1" => ("icebergCompatV1", "delta.enableIcebergCompatV1"),
            "2" => ("icebergCompatV2", "delta.enableIcebergCompatV2"),
            _ => ("icebergCompatV3", "delta.enableIcebergCompatV3"),
        };
        check_used(feature, property, set(property, "true"));
    }
    check_used(
        "inCommitTimestamp",
        "delta.enableInCommitTimestamps",
        set("delta.enableInCommitTimestamps", "true"),
    );
    check_used("clustering", "id", set("delta.dataSkippingNumIndexedCols", "0"));
    check_used("variantType", "v", |metadata| {
        let mut schema: Value = serde_json::from_str(&metadata.schema_string).expect("JSON");
        let column = json!({"name": "v", "type": "variant", "nullable": true, "metadata": {}});
        schema["fields"].as_array_mut().expect("fields").push(column);
        metadata.schema_string = schema.to_string();
    });
}

#[test]
fn a_use_counts_even_where_the_protocol_does_not_list_the_feature() {
    check_table(
        |_, metadata| set("delta.constraints.c", "id > 0")(metadata),
        &[
            "SL4209 table feature checkConstraints (delta.constraints.c): each row must satisfy an SQL expression, \
         which sluice does not evaluate: drop the constraint (ALTER TABLE ... DROP CONSTRAINT)",
        ],
    );
}

#[test]
fn marks_on_nested_fields_are_found() {
    let table = table(|_, metadata| {
        let mut schema: Value =
            serde_json::from_str(&columns("l ARRAY<STRUCT<a: INT>>")).expect("JSON");
        schema["fields"][0]["type"]["elementType"]["fields"][0]["metadata"] =
            json!({"delta.invariants": "{}"});
        metadata.schema_string = schema.to_string();
    });
    let problems = problems_of(&table, "l ARRAY<STRUCT<a: INT>>", &[]);
    assert!(problems[0].starts_with("SL4209 table feature invariants (l.a): "), "{problems:?}");
}

#[test]
fn a_default_matters_only_for_a_column_that_is_left_out() {
    let with_default = |columns: &str| {
        let table = table(|protocol, metadata| {
            with_feature("allowColumnDefaults")(protocol, metadata);
            with_column_metadata(metadata, "CURRENT_DEFAULT", json!("0.0"));
        });
        problems_of(&table, columns, &[])
    };
    assert_eq!(with_default("id BIGINT NOT NULL, amount DOUBLE"), [""; 0]);
    let problems = with_default("id BIGINT NOT NULL");
    assert!(
        problems[0].starts_with("SL4209 table feature allowColumnDefaults (amount): "),
        "{problems:?}"
    );
}

#[test]
fn an_unreadable_schema_is_a_problem_beside_the_others() {
    let table = table(|protocol, metadata| {
        with_feature("rowTracking")(protocol, metadata);
        metadata.schema_string = "no JSON".into();
    });
    let problems = problems_of(&table, "id BIGINT", &[]);
    assert_eq!(problems.len(), 2);
    assert!(problems[1].starts_with("SL4211 the table's schema is not what"), "{problems:?}");
}

#[test]
fn the_reference_page_is_the_codes_list() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/table-features.md");
    let page = fs::read_to_string(page).expect("docs/reference/table-features.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = FEATURES
        .iter()
        .map(|f| format!("| `{}` | {} | {} |", f.name, f.treatment.word(), f.reason))
        .collect();
    assert_eq!(
        rows,
        expected,
        "the table in docs/reference/table-features.md should be:\n{}",
        expected.join("\n")
    );
}
