use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field};
use serde_json::json;

use super::*;
use crate::schema::{Origins, ddl};
use crate::sink::delta_schema;
use crate::sink::features::{WritePlan, check};

/// A table as its log tells it.
struct Table {
    protocol: Protocol,
    metadata: Metadata,
}

impl Table {
    fn new(columns: &str) -> Self {
        let schema = ddl::parse(columns).expect("valid");
        Self {
            protocol: Protocol {
                min_reader_version: 1,
                min_writer_version: 2,
                reader_features: None,
                writer_features: None,
            },
            metadata: Metadata {
                id: "table-1".into(),
                name: None,
                description: None,
                format: Default::default(),
                schema_string: delta_schema::to_json(schema.arrow()).expect("valid"),
                partition_columns: Vec::new(),
                configuration: BTreeMap::new(),
                created_time: None,
            },
        }
    }

    fn lists(mut self, features: &[&str]) -> Self {
        let features: Vec<String> = features.iter().map(|name| (*name).to_owned()).collect();
        self.protocol = Protocol {
            min_reader_version: 3,
            min_writer_version: 7,
            reader_features: Some(features.clone()),
            writer_features: Some(features),
        };
        self
    }

    fn with(mut self, property: &str) -> Self {
        self.metadata.configuration.insert(property.into(), "true".into());
        self
    }

    fn widening(columns: &str) -> Self {
        Self::new(columns).lists(&["typeWidening"]).with("delta.enableTypeWidening")
    }

    fn partitioned(mut self, column: &str) -> Self {
        self.metadata.partition_columns.push(column.into());
        self
    }

    fn takes(&self, rows: &str, evolution: SchemaEvolution) -> Result<WritePlan, Vec<String>> {
        let rows = ddl::parse(rows).expect("valid");
        let origins = Origins::of_all("schema id 7");
        let expected = TableExpectation {
            schema: rows.arrow(),
            partition_by: &self.metadata.partition_columns,
            evolution,
            origins: &origins,
            ..TableExpectation::fixed(rows.arrow(), &[])
        };
        check(&self.protocol, &self.metadata, &expected)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    /// The table after rows with these columns were committed.
    fn after(mut self, rows: &str, evolution: SchemaEvolution) -> Self {
        if let Some(change) = self.takes(rows, evolution).expect("it fits").change {
            self.metadata = change.applied_to(&self.metadata);
            self.protocol = change.protocol.unwrap_or(self.protocol);
        }
        self
    }

    fn columns(&self) -> String {
        let schema = delta_schema::from_json(&self.metadata.schema_string).expect("a schema");
        let fields = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        ddl::format(&crate::schema::TableSchema::new(fields))
    }
}

use SchemaEvolution::{AddColumns, Fail, Widen};

/// What rows make of a table's columns, and in words.
fn check_added(table: &str, rows: &str, after: &str, words: &str) {
    let plan = Table::new(table).takes(rows, AddColumns).expect("it fits");
    let change = plan.change.expect("a change");
    assert_eq!(change.to_string(), words);
    assert_eq!(change.protocol, None);
    assert_eq!(Table::new(table).after(rows, AddColumns).columns(), after);
    // What the writer goes by is the table as it will be, in the rows' order.
    let rows = ddl::parse(rows).expect("valid");
    assert_eq!(plan.schema.fields().len(), rows.arrow().fields().len());
    for (planned, row) in plan.schema.fields().iter().zip(rows.arrow().fields()) {
        assert!(planned.name().eq_ignore_ascii_case(row.name()));
    }
    let done = Table::new(table).after(&ddl::format(&rows), AddColumns);
    assert_eq!(done.takes(&ddl::format(&rows), Fail).expect("it fits now").change, None);
}

#[test]
fn columns_are_added_at_the_end_of_their_struct_in_the_rows_order() {
    check_added(
        "a INT",
        "b STRING, a INT, c DATE",
        "a INT, b STRING, c DATE",
        "add columns `b` STRING, `c` DATE",
    );
    check_added("a INT, z INT", "b STRING", "a INT, z INT, b STRING", "add columns `b` STRING");
    check_added(
        "s STRUCT<a: INT>, t INT",
        "t INT, s STRUCT<b: STRING, a: INT, c: INT>, u INT",
        "s STRUCT<a: INT, b: STRING, c: INT>, t INT, u INT",
        "add columns `s.b` STRING, `s.c` INT, `u` INT",
    );
    check_added(
        "l ARRAY<STRUCT<a: INT>>, m MAP<STRING, STRUCT<a: INT>>, d STRUCT<l: ARRAY<ARRAY<STRUCT<a: INT>>>>",
        "l ARRAY<STRUCT<a: INT, b: INT>>, m MAP<STRING, STRUCT<a: INT, b: INT>>, \
         d STRUCT<l: ARRAY<ARRAY<STRUCT<a: INT, b: INT>>>>",
        "l ARRAY<STRUCT<a: INT, b: INT>>, m MAP<STRING, STRUCT<a: INT, b: INT>>, \
         d STRUCT<l: ARRAY<ARRAY<STRUCT<a: INT, b: INT>>>>",
        "add columns `l.element.b` INT, `m.value.b` INT, `d.l.element.element.b` INT",
    );
}

#[test]
fn names_match_without_regard_to_case_and_the_tables_spelling_stays() {
    check_added(
        "OrderId INT, Place STRUCT<City: STRING>",
        "orderid INT, place STRUCT<CITY: STRING, Zip: STRING>",
        "OrderId INT, Place STRUCT<City: STRING, Zip: STRING>",
        "add columns `Place.Zip` STRING",
    );
}

#[test]
fn added_columns_are_nullable_throughout_and_keep_their_comment() {
    check_added(
        "a INT NOT NULL",
        "a INT NOT NULL, b INT NOT NULL COMMENT 'why', s STRUCT<x: INT NOT NULL, l: ARRAY<STRUCT<y: INT NOT NULL>>, \
         m: MAP<STRING, STRUCT<z: INT NOT NULL>>> NOT NULL",
        "a INT NOT NULL, b INT COMMENT 'why', s STRUCT<x: INT, l: ARRAY<STRUCT<y: INT>>, \
         m: MAP<STRING, STRUCT<z: INT>>>",
        "add columns `b` INT, `s` STRUCT<x: INT, l: ARRAY<STRUCT<y: INT>>, m: MAP<STRING, STRUCT<z: INT>>>",
    );
}

#[test]
fn what_a_table_says_of_its_columns_stays() {
    let mut table = Table::new("a INT, s STRUCT<b: INT>");
    let mut schema: Value = serde_json::from_str(&table.metadata.schema_string).expect("JSON");
    let marks = json!({"comment": "c", "someone.else": "7", "nested": {"x": [1, 2.5, null]}});
    schema["fields"][0]["metadata"] = marks.clone();
    schema["fields"][1]["type"]["fields"][0]["metadata"] = marks.clone();
    schema["unknown"] = json!("kept");
    table.metadata.schema_string = schema.to_string();
    let table = table.after("a INT, s STRUCT<b: INT, c: INT>, d INT", AddColumns);
    let mut after: Value = serde_json::from_str(&table.metadata.schema_string).expect("JSON");
    assert_eq!(
        after["fields"].as_array_mut().expect("columns").pop(),
        Some(json!({"name": "d", "type": "integer", "nullable": true, "metadata": {}}))
    );
    after["fields"][1]["type"]["fields"].as_array_mut().expect("fields").pop();
    assert_eq!(after, schema);
}

#[test]
fn rows_that_fit_change_nothing() {
    let fits = |table: &str, rows: &str| {
        for policy in [Fail, AddColumns, Widen] {
            let plan = Table::widening(table).takes(rows, policy).expect("it fits");
            assert_eq!(plan.change, None, "{table}; {rows}");
        }
    };
    fits("a INT, b INT", "a INT");
    fits("a BIGINT, b DECIMAL(12,4), c DOUBLE", "a INT, b DECIMAL(5,2), c FLOAT");
    fits("s STRUCT<a: INT, b: BIGINT>", "S STRUCT<B: TINYINT>");
}

/// The refusal of rows with these columns, whole.
fn check_refused(table: &Table, rows: &str, policy: SchemaEvolution, expected: &[&str]) {
    assert_eq!(table.takes(rows, policy).expect_err("refused"), expected, "{rows}");
}

#[test]
fn what_the_policy_does_not_allow_is_refused_with_its_origin_and_the_next_step() {
    check_refused(
        &Table::new("a INT"),
        "a INT, b STRUCT<c: INT>",
        Fail,
        &[
            "`b`: the table has no such column, output STRUCT<c: INT> (schema id 7): set `schema_evolution: \
           add_columns`, take it out of the schema, or write to another table",
        ],
    );
    check_refused(
        &Table::widening("a INT"),
        "a BIGINT",
        AddColumns,
        &[
            "`a`: table INT, output BIGINT (schema id 7): set `schema_evolution: widen`, change the schema, or write to \
           another table",
        ],
    );
    check_refused(
        &Table::new("a INT"),
        "a BIGINT",
        Fail,
        &[
            "`a`: table INT, output BIGINT (schema id 7): change the schema, write to another table, or let the table \
           be widened: `schema_evolution: widen` here and ALTER TABLE ... SET TBLPROPERTIES \
           ('delta.enableTypeWidening' = 'true') there, after which delta-rs and Polars can't read it",
        ],
    );
    check_refused(
        &Table::new("a INT"),
        "a BIGINT",
        Widen,
        &[
            "`a`: table INT, output BIGINT (schema id 7): change the schema, write to another table, or let the table \
           be widened: ALTER TABLE ... SET TBLPROPERTIES ('delta.enableTypeWidening' = 'true'), after which \
           delta-rs and Polars can't read it",
        ],
    );
    check_refused(
        &Table::widening("a DOUBLE"),
        "a STRING",
        Widen,
        &[
            "`a`: table DOUBLE, output STRING (schema id 7): change the schema, or write to another table",
        ],
    );
    check_refused(
        &Table::new("a INT NOT NULL"),
        "a INT",
        Widen,
        &[
            "`a`: NOT NULL in the table, but the output, INT (schema id 7), may have none: declare it NOT NULL in the \
           schema, or drop NOT NULL in the table",
        ],
    );
    check_refused(
        &Table::new("a INT, b INT NOT NULL"),
        "a INT",
        Widen,
        &[
            "`b`: NOT NULL in the table, but the output has no such column: add it to the schema, or drop NOT NULL in \
           the table",
        ],
    );
}

#[test]
fn one_refusal_leaves_all_as_it_is_and_tells_every_reason() {
    check_refused(
        &Table::widening("a INT, b DOUBLE, s STRUCT<x: INT>"),
        "a BIGINT, b STRING, s STRUCT<x: BOOLEAN, y: INT>, c INT",
        Widen,
        &[
            "`b`: table DOUBLE, output STRING (schema id 7): change the schema, or write to another table",
            "`s.x`: table INT, output BOOLEAN (schema id 7): change the schema, or write to another table",
        ],
    );
}

#[test]
fn names_told_apart_by_case_only_are_refused() {
    let twice = |names: [&str; 2]| names.map(|name| Field::new(name, DataType::Int32, true));
    let nested = DataType::Struct(twice(["c", "C"]).to_vec().into());
    let columns = [Field::new("b", nested, true)].into_iter().chain(twice(["d", "D"]));
    let rows = Schema::new(columns.collect::<Vec<_>>());
    let table = Table::new("a INT");
    let expected =
        TableExpectation { evolution: AddColumns, ..TableExpectation::fixed(&rows, &[]) };
    let problems = check(&table.protocol, &table.metadata, &expected).expect_err("refused");
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let words = "the output has it twice, told apart by case only: rename one of them";
    assert_eq!(problems, [format!("`b.c`: {words}"), format!("`d`: {words}")]);
}

#[test]
fn the_keys_of_a_map_get_no_fields() {
    check_refused(
        &Table::new("m MAP<STRUCT<a: INT>, INT>"),
        "m MAP<STRUCT<a: INT, b: INT>, INT>",
        AddColumns,
        &[
            "`m.key.b`: the table has no such column, output INT (schema id 7): the keys of a map get no more fields: \
           change the schema, or write to another table",
        ],
    );
}

#[test]
fn types_in_the_keys_of_a_map_are_widened() {
    let table = Table::widening("m MAP<STRUCT<a: INT>, INT>");
    let change = table.takes("m MAP<STRUCT<a: BIGINT>, INT>", Widen).expect("it fits").change;
    assert_eq!(change.expect("a change").to_string(), "widen `m.key.a` from INT to BIGINT");
}

#[test]
fn partition_columns_are_neither_added_nor_widened() {
    let table = Table::widening("a INT, P INT").partitioned("P");
    check_refused(
        &table,
        "a BIGINT, p BIGINT",
        Widen,
        &[
            "`p`: table INT, output BIGINT (schema id 7): the type of a partition column stays: change the schema, or \
           write to another table",
        ],
    );
    assert_eq!(
        table.takes("a INT, p INT, q INT", AddColumns).expect("it fits").partition_columns,
        ["P"]
    );
    let rows = ddl::parse("a INT, day DATE").expect("valid");
    let table = Table::new("a INT");
    let expected = TableExpectation {
        schema: rows.arrow(),
        partition_by: &["day".to_owned()],
        evolution: AddColumns,
        ..TableExpectation::fixed(rows.arrow(), &[])
    };
    let problems = check(&table.protocol, &table.metadata, &expected).expect_err("refused");
    assert_eq!(problems[0].code(), "SL4207");
}

/// The metadata of the column `a` after its type was widened.
fn history(table: &Table) -> Value {
    let schema: Value = serde_json::from_str(&table.metadata.schema_string).expect("JSON");
    schema["fields"][0]["metadata"]["delta.typeChanges"].clone()
}

#[test]
fn types_are_widened_and_each_change_is_recorded() {
    let table = Table::widening("a TINYINT").after("a INT", Widen).after("a BIGINT", Widen);
    assert_eq!(table.columns(), "a BIGINT");
    assert_eq!(
        history(&table),
        json!([{"fromType": "byte", "toType": "integer"}, {"fromType": "integer", "toType": "long"}])
    );
    let table = table.after("a DECIMAL(22,2), b INT", Widen);
    assert_eq!(table.columns(), "a DECIMAL(22,2), b INT");
    assert_eq!(history(&table)[2], json!({"fromType": "long", "toType": "decimal(22,2)"}));
}

#[test]
fn changes_inside_arrays_and_maps_are_recorded_at_the_nearest_field() {
    let table = Table::widening("a MAP<FLOAT, ARRAY<DECIMAL(6,2)>>")
        .after("a MAP<DOUBLE, ARRAY<DECIMAL(10,4)>>", Widen);
    assert_eq!(table.columns(), "a MAP<DOUBLE, ARRAY<DECIMAL(10,4)>>");
    assert_eq!(
        history(&table),
        json!([
            {"fromType": "float", "toType": "double", "fieldPath": "key"},
            {"fromType": "decimal(6,2)", "toType": "decimal(10,4)", "fieldPath": "value.element"},
        ])
    );
    let table =
        Table::widening("a ARRAY<STRUCT<x: INT>>").after("a ARRAY<STRUCT<x: BIGINT>>", Widen);
    assert_eq!(history(&table), Value::Null);
    let schema: Value = serde_json::from_str(&table.metadata.schema_string).expect("JSON");
    let field = &schema["fields"][0]["type"]["elementType"]["fields"][0];
    assert_eq!(
        field["metadata"],
        json!({"delta.typeChanges": [{"fromType": "integer", "toType": "long"}]})
    );
}

#[test]
fn a_third_type_is_found_that_holds_both() {
    let change = Table::widening("a INT").takes("a DECIMAL(5,2)", Widen).expect("it fits").change;
    assert_eq!(change.expect("a change").to_string(), "widen `a` from INT to DECIMAL(12,2)");
}

#[test]
fn nothing_is_widened_where_the_table_does_not_allow_it() {
    let refused = |table: Table| {
        let problems = table.takes("a BIGINT", Widen).expect_err("refused");
        problems[0].rsplit(": ").take(2).collect::<Vec<_>>().join(" < ")
    };
    let property = "delta.enableTypeWidening";
    assert!(refused(Table::new("a INT").lists(&["typeWidening"])).contains("ALTER TABLE"));
    assert!(refused(Table::new("a INT").with(property)).contains("ALTER TABLE"));
    let preview = Table::new("a INT").lists(&["typeWidening-preview"]).with(property);
    assert!(refused(preview).contains("preview"));
    let iceberg = Table::new("a INT").lists(&["typeWidening", "icebergCompatV2"]).with(property);
    assert!(refused(iceberg).contains("Iceberg"));
}

#[test]
fn a_local_time_raises_the_protocol_and_names_what_its_versions_stood_for() {
    let change = |table: &Table| {
        let plan = table.takes("a INT, t STRUCT<x: ARRAY<TIMESTAMP_NTZ>>", AddColumns);
        plan.expect("it fits").change.expect("a change")
    };
    let mut table = Table::new("a INT");
    let raised = change(&table);
    assert_eq!(
        raised.to_string(),
        "add columns `t` STRUCT<x: ARRAY<TIMESTAMP_NTZ>>; raise the protocol to reader version 3, writer version 7 \
         (timestampNtz)"
    );
    let raised = raised.protocol.expect("raised");
    assert_eq!(raised.reader_features, Some(vec!["timestampNtz".into()]));
    let words = |features: &str| Some(features.split('+').map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(raised.writer_features, words("appendOnly+invariants+timestampNtz"));
    table.protocol.min_reader_version = 2;
    table.protocol.min_writer_version = 5;
    let raised = change(&table).protocol.expect("raised");
    assert_eq!(raised.reader_features, words("columnMapping+timestampNtz"));
    assert_eq!(
        raised.writer_features,
        words(
            "appendOnly+invariants+checkConstraints+changeDataFeed+generatedColumns+columnMapping+timestampNtz"
        )
    );
    let raised = change(&Table::new("a INT").lists(&["deletionVectors"])).protocol.expect("raised");
    assert_eq!(raised.reader_features, words("deletionVectors+timestampNtz"));
    assert_eq!(raised.writer_features, words("deletionVectors+timestampNtz"));
    assert_eq!(change(&Table::new("a INT").lists(&["timestampNtz"])).protocol, None);
}

#[test]
fn a_date_becomes_a_local_time_with_the_feature_for_it() {
    let change = Table::widening("a DATE").takes("a TIMESTAMP_NTZ", Widen).expect("it fits").change;
    let change = change.expect("a change");
    let protocol = change.protocol.expect("raised");
    assert_eq!(protocol.reader_features, Some(vec!["typeWidening".into(), "timestampNtz".into()]));
}

/// Every pair of types: what a table of the one makes of rows of the other, under each policy.
#[test]
fn every_pair_of_types_is_taken_widened_or_refused() {
    let types = [
        "BOOLEAN",
        "TINYINT",
        "SMALLINT",
        "INT",
        "BIGINT",
        "FLOAT",
        "DOUBLE",
        "STRING",
        "BINARY",
        "DATE",
        "TIMESTAMP",
        "TIMESTAMP_NTZ",
        "DECIMAL(5,2)",
        "DECIMAL(12,4)",
        "DECIMAL(20,0)",
        "ARRAY<INT>",
        "MAP<STRING, INT>",
        "STRUCT<x: INT>",
    ];
    for theirs in types {
        for ours in types {
            let parsed = |name: &str| {
                let schema = ddl::parse(&format!("a {name}")).expect("valid");
                schema.arrow().field(0).data_type().clone()
            };
            let (from, to) = (parsed(theirs), parsed(ours));
            let table =
                Table::widening(&format!("a {theirs}")).lists(&["typeWidening", "timestampNtz"]);
            let rows = format!("a {ours}");
            let taken = from == to || widens(&to, &from);
            for policy in [Fail, AddColumns] {
                assert_eq!(table.takes(&rows, policy).is_ok(), taken, "{theirs} takes {ours}");
            }
            let widened = table.takes(&rows, Widen).map(|plan| plan.change);
            match common(&from, &to) {
                Some(wide) if wide == from => {
                    assert_eq!(widened, Ok(None), "{theirs} takes {ours}")
                }
                Some(wide) => {
                    let change = widened.expect("it fits").expect("a change").to_string();
                    let expected =
                        format!("widen `a` from {theirs} to {}", ddl::format_type(&wide));
                    assert_eq!(change, expected);
                }
                None => assert!(widened.is_err(), "{theirs} is not {ours}"),
            }
        }
    }
}

#[test]
fn a_history_that_is_none_is_told() {
    let mut table = Table::widening("a INT");
    let mut schema: Value = serde_json::from_str(&table.metadata.schema_string).expect("JSON");
    schema["fields"][0]["metadata"]["delta.typeChanges"] = json!("no list");
    table.metadata.schema_string = schema.to_string();
    let problems = table.takes("a BIGINT", Widen).expect_err("refused");
    assert!(problems[0].contains("no `delta.typeChanges` at a"), "{problems:?}");
}
