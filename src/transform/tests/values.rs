//! What expressions give.

use std::collections::HashMap;

use arrow::array::{
    Array, BooleanArray, Int32Array, Int64Array, ListArray, MapArray, StringArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Schema};

use super::*;

fn orders() -> RecordBatch {
    rows(
        "orderId STRING NOT NULL, Amount DECIMAL(18,4), quantity INT NOT NULL, event_time TIMESTAMP",
        &["a1|10.5000|2|2026-11-01T23:30:00.5Z", "b2|NULL|0|1969-12-31T23:59:59.999999Z"],
    )
}

#[test]
fn every_column_as_it_is() {
    let input = orders();
    for select in [None, Some("*"), Some("orderid, AMOUNT, Quantity, `event_time`")] {
        let plan = plan(&input, select, None).expect("a plan");
        assert_eq!(apply(&plan, &input).expect("rows"), input, "{select:?}");
    }
}

#[test]
fn columns_keep_their_spelling_their_comment_and_not_null() {
    let comment = HashMap::from([("comment".to_owned(), "euros".to_owned())]);
    let field = Field::new("orderAmount", DataType::Int64, false).with_metadata(comment);
    let input = RecordBatch::try_new(
        Arc::new(Schema::new(vec![field.clone()])),
        vec![Arc::new(Int64Array::from(vec![1]))],
    )
    .expect("a batch");
    let of = |select| plan(&input, Some(select), None).expect("a plan").schema().field(0).clone();
    assert_eq!(of("ORDERAMOUNT"), field);
    assert_eq!(of("orderamount AS total"), field.clone().with_name("total"));
    assert_eq!(of("orderamount AS OrderAmount"), field.with_name("OrderAmount"));
}

#[test]
fn the_star_leaves_out_replaces_and_renames() {
    let input = rows("a INT NOT NULL, b STRING, c DATE", &["1|x|2026-01-31"]);
    check(&input, "* EXCEPT (B)", "a INT NOT NULL, c DATE", &["1|2026-01-31"]);
    check(&input, "* EXCLUDE a", "b STRING, c DATE", &["x|2026-01-31"]);
    check(&input, "* EXCLUDE (a, c), a AS d", "b STRING, d INT NOT NULL", &["x|1"]);
    check(
        &input,
        "* REPLACE (upper(b) AS B), a + 1 AS next",
        "a INT NOT NULL, b STRING, c DATE, next BIGINT NOT NULL",
        &["1|X|2026-01-31|2"],
    );
    check(&input, "* RENAME (a AS id)", "id INT NOT NULL, b STRING, c DATE", &["1|x|2026-01-31"]);
}

#[test]
fn the_example_of_the_documentation() {
    check(
        &orders(),
        "orderId, CAST(event_time AS DATE) AS event_date",
        "orderId STRING NOT NULL, event_date DATE",
        &["a1|2026-11-01", "b2|1969-12-31"],
    );
}

#[test]
fn types_have_the_names_of_schemas() {
    let input = rows("s STRING", &["7"]);
    for (sql, data_type, expected) in [
        ("CAST(s AS STRING)", "STRING", "7"),
        ("CAST(s AS BYTE)", "TINYINT", "7"),
        ("CAST(s AS TINYINT)", "TINYINT", "7"),
        ("CAST(s AS SHORT)", "SMALLINT", "7"),
        ("CAST(s AS INT)", "INT", "7"),
        ("CAST(s AS INTEGER)", "INT", "7"),
        ("CAST(s AS LONG)", "BIGINT", "7"),
        ("CAST(s AS BIGINT)", "BIGINT", "7"),
        ("CAST(s AS FLOAT)", "FLOAT", "7.0"),
        ("CAST(s AS DOUBLE)", "DOUBLE", "7.0"),
        ("s::DOUBLE", "DOUBLE", "7.0"),
        ("CAST(s AS BINARY)", "BINARY", "37"),
        ("CAST(s AS DECIMAL(10,2))", "DECIMAL(10,2)", "7.00"),
        ("CAST(s AS DECIMAL)", "DECIMAL(10,0)", "7"),
        ("CAST('2026-11-01' AS DATE)", "DATE NOT NULL", "2026-11-01"),
        ("DATE '2026-11-01'", "DATE NOT NULL", "2026-11-01"),
        ("CAST('true' AS BOOLEAN)", "BOOLEAN NOT NULL", "true"),
        ("CAST(NULL AS ARRAY<INT>)", "ARRAY<INT>", "NULL"),
        ("CAST(NULL AS STRUCT<a INT, b STRING>)", "STRUCT<a: INT, b: STRING>", "NULL"),
    ] {
        check_one(&input, sql, data_type, expected);
    }
}

#[test]
fn a_bare_timestamp_is_an_instant() {
    let input = rows(
        "s STRING, t TIMESTAMP, n TIMESTAMP_NTZ",
        &["2026-11-01 12:00:00|2026-11-01T12:00:00Z|2026-11-01T12:00:00"],
    );
    for (sql, data_type, expected) in [
        ("CAST(s AS TIMESTAMP)", "TIMESTAMP", "2026-11-01T12:00:00Z"),
        ("TIMESTAMP '2026-11-01T12:00:00+02:00'", "TIMESTAMP NOT NULL", "2026-11-01T10:00:00Z"),
        ("CAST(s AS TIMESTAMP_NTZ)", "TIMESTAMP_NTZ", "2026-11-01T12:00:00"),
        ("to_timestamp(s)", "TIMESTAMP", "2026-11-01T12:00:00Z"),
        ("to_timestamp_millis(1)", "TIMESTAMP NOT NULL", "1970-01-01T00:00:00.001Z"),
        ("to_timestamp_seconds(CAST('7' AS INT))", "TIMESTAMP NOT NULL", "1970-01-01T00:00:07Z"),
        ("from_unixtime(7)", "TIMESTAMP NOT NULL", "1970-01-01T00:00:07Z"),
        ("date_trunc('hour', t)", "TIMESTAMP", "2026-11-01T12:00:00Z"),
        ("date_bin(INTERVAL '5' MINUTE, t)", "TIMESTAMP", "2026-11-01T12:00:00Z"),
        ("t + INTERVAL '1' DAY", "TIMESTAMP", "2026-11-02T12:00:00Z"),
        ("n + INTERVAL '1 month'", "TIMESTAMP_NTZ", "2026-12-01T12:00:00"),
        ("t AT TIME ZONE 'America/New_York'", "TIMESTAMP", "2026-11-01T12:00:00Z"),
        ("n AT TIME ZONE 'America/New_York'", "TIMESTAMP", "2026-11-01T17:00:00Z"),
        ("CAST(t AT TIME ZONE 'Asia/Tokyo' AS DATE)", "DATE", "2026-11-01"),
        (
            "CAST(TIMESTAMP '2026-11-01T23:00:00Z' AT TIME ZONE 'Asia/Tokyo' AS DATE)",
            "DATE NOT NULL",
            "2026-11-02",
        ),
        ("to_unixtime(t)", "BIGINT", "1793534400"),
        ("date_part('epoch', t)", "DOUBLE", "1793534400.0"),
        ("extract(HOUR FROM t)", "INT", "12"),
        ("t > '2026-11-01'", "BOOLEAN", "true"),
        ("date_part('epoch', t - CAST(s AS TIMESTAMP))", "DOUBLE", "0.0"),
    ] {
        check_one(&input, sql, data_type, expected);
    }
}

#[test]
fn results_become_types_of_delta_lake() {
    let input = rows("s STRING, t TIMESTAMP", &["abc|2026-11-01T12:00:00.123456Z"]);
    for (sql, data_type, expected) in [
        ("arrow_cast(7, 'UInt8')", "SMALLINT NOT NULL", "7"),
        ("arrow_cast(7, 'UInt16')", "INT NOT NULL", "7"),
        ("arrow_cast(7, 'UInt32')", "BIGINT NOT NULL", "7"),
        ("arrow_cast(7, 'UInt64')", "BIGINT NOT NULL", "7"),
        ("arrow_cast(s, 'LargeUtf8')", "STRING", "abc"),
        ("arrow_cast(s, 'Utf8View')", "STRING", "abc"),
        ("arrow_cast(s, 'BinaryView')", "BINARY", "616263"),
        ("arrow_cast(s, 'Dictionary(Int32, Utf8)')", "STRING", "abc"),
        ("arrow_cast(1.5, 'Decimal64(5, 2)')", "DECIMAL(5,2) NOT NULL", "1.50"),
        (
            "arrow_cast(t, 'Timestamp(Nanosecond, Some(\"+05:00\"))')",
            "TIMESTAMP",
            "2026-11-01T12:00:00.123456Z",
        ),
        ("arrow_cast(t, 'Timestamp(Second, None)')", "TIMESTAMP_NTZ", "2026-11-01T12:00:00"),
        ("to_timestamp_nanos(-1)", "TIMESTAMP NOT NULL", "1969-12-31T23:59:59.999999Z"),
        ("character_length(s)", "INT", "3"),
        ("[1, 2]", "ARRAY<BIGINT> NOT NULL", "[1, 2]"),
        ("MAP {'a': 1}", "MAP<STRING, BIGINT> NOT NULL", "{a: 1}"),
        ("named_struct('A', 1, 'b', s)", "STRUCT<A: BIGINT, b: STRING>", "{A: 1, b: abc}"),
        ("arrow_cast([1, 2], 'LargeList(Int64)')", "ARRAY<BIGINT> NOT NULL", "[1, 2]"),
    ] {
        check_one(&input, sql, data_type, expected);
    }
}

#[test]
fn numbers_are_exact() {
    let input = rows("d DECIMAL(18,4), i INT, x DOUBLE", &["10.5000|7|0.1"]);
    for (sql, data_type, expected) in [
        ("d * 1.19", "DECIMAL(22,6)", "12.495000"),
        ("d + 1", "DECIMAL(25,4)", "11.5000"),
        ("i + 1", "BIGINT", "8"),
        ("i / 2", "BIGINT", "3"),
        ("i / 2.0", "DECIMAL(15,4)", "3.5000"),
        ("x + 0.2", "DOUBLE", "0.30000000000000004"),
        ("1e3", "DOUBLE NOT NULL", "1000.0"),
        ("-1.5e-3", "DOUBLE NOT NULL", "-0.0015"),
        ("-i", "INT", "-7"),
        ("i % 4", "BIGINT", "3"),
        ("CAST(d AS STRING)", "STRING", "10.5000"),
        ("round(d, 1)", "DECIMAL(18,1)", "10.5"),
    ] {
        check_one(&input, sql, data_type, expected);
    }
}

#[test]
fn null_is_neither_true_nor_false() {
    let input = rows("a INT, b BOOLEAN", &["1|NULL"]);
    for (sql, data_type, expected) in [
        ("a > 0 AND b", "BOOLEAN", "NULL"),
        ("a > 0 OR b", "BOOLEAN", "true"),
        ("b AND a < 0", "BOOLEAN", "false"),
        ("b AND CAST('0' AS INT) * a = 1", "BOOLEAN", "false"),
        ("b IS NULL", "BOOLEAN NOT NULL", "true"),
        ("coalesce(b, false)", "BOOLEAN", "false"),
        ("coalesce(nullif(a, 1), 7)", "BIGINT NOT NULL", "7"),
        ("CASE WHEN b THEN 1 ELSE 2 END", "BIGINT NOT NULL", "2"),
        ("nullif(a, 1)", "BIGINT", "NULL"),
        ("TRY_CAST('x' AS INT)", "INT", "NULL"),
    ] {
        check_one(&input, sql, data_type, expected);
    }
}

/// STRUCT<Street: STRING, geo: STRUCT<lat: INT NOT NULL>>, ARRAY<STRING>, MAP<STRING, INT>; the second row is null.
fn nested() -> RecordBatch {
    let lat = Fields::from(vec![Field::new("Lat", DataType::Int32, false)]);
    let geo = StructArray::new(
        lat.clone(),
        // Under the null struct stands a value, as a NOT NULL field must have one.
        vec![Arc::new(Int32Array::from(vec![52, 99])) as ArrayRef],
        Some(NullBuffer::from(vec![true, false])),
    );
    let address = Fields::from(vec![
        Field::new("Street", DataType::Utf8, true),
        Field::new("geo", DataType::Struct(lat), true),
    ]);
    let address = StructArray::new(
        address,
        vec![Arc::new(StringArray::from(vec!["Main St", "under null"])) as ArrayRef, Arc::new(geo)],
        Some(NullBuffer::from(vec![true, false])),
    );
    let tags = ListArray::new(
        Arc::new(Field::new("element", DataType::Utf8, true)),
        OffsetBuffer::from_lengths([2, 0]),
        Arc::new(StringArray::from(vec!["x", "y"])),
        Some(NullBuffer::from(vec![true, false])),
    );
    let pair = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Int32, true),
    ]);
    let entries = StructArray::new(
        pair.clone(),
        vec![
            Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef,
            Arc::new(Int32Array::from(vec![Some(1), None])),
        ],
        None,
    );
    let numbers = MapArray::new(
        Arc::new(Field::new("key_value", DataType::Struct(pair), false)),
        OffsetBuffer::from_lengths([2, 0]),
        entries,
        Some(NullBuffer::from(vec![true, false])),
        false,
    );
    let key = StringArray::from(vec!["a", "b"]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("address", Arc::new(address)),
        ("tags", Arc::new(tags)),
        ("numbers", Arc::new(numbers)),
        ("k", Arc::new(key)),
    ];
    let fields: Vec<_> =
        columns.iter().map(|(name, c)| Field::new(*name, c.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch")
}

#[test]
fn fields_elements_and_map_values() {
    let input = nested();
    for (sql, data_type, expected) in [
        ("ADDRESS.street", "STRING", ["Main St", "NULL"]),
        ("address['STREET']", "STRING", ["Main St", "NULL"]),
        ("address.geo.lat", "INT", ["52", "NULL"]),
        ("get_field(address, 'geo', 'Lat') + 1", "BIGINT", ["53", "NULL"]),
        ("address.geo", "STRUCT<Lat: INT NOT NULL>", ["{Lat: 52}", "NULL"]),
        ("tags[1]", "STRING", ["x", "NULL"]),
        ("tags[-1]", "STRING", ["y", "NULL"]),
        ("tags[3]", "STRING", ["NULL", "NULL"]),
        ("tags[2:2]", "ARRAY<STRING>", ["[y]", "NULL"]),
        ("numbers['a']", "INT", ["1", "NULL"]),
        ("numbers['b']", "INT", ["NULL", "NULL"]),
        ("numbers['A']", "INT", ["NULL", "NULL"]),
        ("numbers.a", "INT", ["1", "NULL"]),
        ("numbers[k]", "INT", ["1", "NULL"]),
        ("map_keys(numbers)", "ARRAY<STRING>", ["[a, b]", "NULL"]),
        ("array_length(tags)", "BIGINT", ["2", "NULL"]),
        ("array_has(tags, 'y')", "BOOLEAN", ["true", "NULL"]),
        ("array_transform(tags, T -> upper(t))", "ARRAY<STRING>", ["[X, Y]", "NULL"]),
        ("array_filter(tags, t -> t > 'x')", "ARRAY<STRING>", ["[y]", "NULL"]),
        ("array_transform(tags, t -> concat(t, K))", "ARRAY<STRING>", ["[xa, ya]", "NULL"]),
    ] {
        check(&input, &format!("{sql} AS r"), &format!("r {data_type}"), &expected);
    }
    check(
        &input,
        "address AS a",
        &format!("a {}", "STRUCT<Street: STRING, geo: STRUCT<Lat: INT NOT NULL>>"),
        &["{Street: Main St, geo: {Lat: 52}}", "NULL"],
    );
}

#[test]
fn a_filter_keeps_what_is_true() {
    let input = rows("a INT, b STRING", &["1|x", "2|NULL", "NULL|x", "3|y"]);
    let kept = |filter: &str| {
        plan(&input, None, Some(filter)).expect(filter).filter(&input).expect(filter)
    };
    assert_eq!(kept("a > 1"), Some(BooleanArray::from(vec![false, true, false, true])));
    assert_eq!(
        kept("B = 'x' AND A IS NOT NULL"),
        Some(BooleanArray::from(vec![true, false, false, false]))
    );
    assert_eq!(kept("a >= 0 OR a IS NULL"), None);
    assert_eq!(kept("1 = 1"), None);
    assert_eq!(kept("NULL::BOOLEAN"), Some(BooleanArray::from(vec![false; 4])));
    assert_eq!(plan(&input, None, None).expect("a plan").filter(&input).expect("rows"), None);
    let none = input.slice(0, 0);
    assert_eq!(
        plan(&input, None, Some("1 / 0 = 1")).expect("a plan").filter(&none).expect("no rows"),
        None
    );
}

/// The engine's writer has it on a thread of its own.
#[test]
fn a_plan_can_be_sent() {
    fn sent<T: Send>() {}
    sent::<Plan>();
}

#[test]
fn a_filter_sees_the_record_and_select_what_is_kept() {
    let input = rows("a INT, b INT", &["6|2", "1|0"]);
    let plan = plan(&input, Some("a / b AS a"), Some("b <> 0 AND A = 6")).expect("a plan");
    assert_eq!(text(&apply(&plan, &input).expect("rows")), ["3"]);
}

#[test]
fn batches_without_rows_and_lists_of_constants() {
    let input = rows("a INT", &["1", "2"]);
    check(
        &input,
        "'orders' AS source, 1 / 1 AS one",
        "source STRING NOT NULL, one BIGINT NOT NULL",
        &["orders|1", "orders|1"],
    );
    let plan = plan(&input, Some("1 / 0 AS x, a"), None).expect("a plan");
    assert_eq!(plan.select(&input.slice(0, 0)).expect("no rows").num_rows(), 0);
}

/// Columns of the common types with values at their ends, and nulls.
pub(super) fn extremes() -> RecordBatch {
    let flat = rows(
        "n LONG, i INT, s STRING, d DECIMAL(38,10), f DOUBLE, t TIMESTAMP, day DATE, b BOOLEAN",
        &[
            "0|0||0|0|1970-01-01T00:00:00Z|1970-01-01|true",
            "1|7|abc, def|1.5|1.5|2026-11-01T12:30:00.5Z|2026-11-01|false",
            "9223372036854775807|2147483647|ÄÖ😀|9999999999999999999999999999.9999999999|inf|9999-12-31T23:59:59.999999Z|9999-12-31|NULL",
            "-9223372036854775808|-2147483648|%[(|-9999999999999999999999999999.9999999999|NaN|0001-01-01T00:00:00Z|0001-01-01|true",
            "-1|-1|-12.5|-0.0000000001|-1e308|1900-02-28T00:00:00Z|2024-02-29|false",
            "NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL",
            "65536|32|2026-11-01T00:00:00Z|100|1e-308|2262-04-12T00:00:00Z|0004-02-29|true",
        ],
    );
    let count = flat.num_rows();
    let lists = OffsetBuffer::from_lengths([2, 1, 0, 0, 1, 0, 1]);
    let present = NullBuffer::from((0..count).map(|row| row != 5).collect::<Vec<_>>());
    let numbers: ArrayRef =
        Arc::new(Int64Array::from(vec![Some(i64::MAX), None, Some(1), Some(2), Some(i64::MIN)]));
    let element = Arc::new(Field::new("element", DataType::Int64, true));
    let list = ListArray::new(element, lists.clone(), Arc::clone(&numbers), Some(present.clone()));
    let pair = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Int64, true),
    ]);
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "", "ü", "a"]));
    let entries = StructArray::new(pair.clone(), vec![keys, numbers], None);
    let entry = Arc::new(Field::new("key_value", DataType::Struct(pair), false));
    let map = MapArray::new(entry, lists, entries, Some(present), false);
    let binary = arrow::array::BinaryArray::from_iter(
        (0..count).map(|row| (row != 5).then(|| vec![255_u8; row])),
    );
    let mut columns: Vec<(String, ArrayRef)> = flat
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .zip(flat.columns().iter().cloned())
        .collect();
    columns.push(("a".into(), Arc::new(list)));
    columns.push(("m".into(), Arc::new(map)));
    columns.push(("bin".into(), Arc::new(binary)));
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .expect("a batch")
}

/// The functions that may be called, as the documentation lists them.
#[test]
fn the_documented_functions_are_those_that_can_be_called() {
    let page = include_str!("../../../docs/reference/expressions.md");
    let list = page.split("<!-- functions -->").nth(1).expect("a list between two marks");
    let listed: std::collections::BTreeSet<_> = list.split('`').skip(1).step_by(2).collect();
    assert_eq!(listed, super::super::functions::FUNCTIONS.usable());
}
