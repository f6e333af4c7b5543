//! Aggregations as they are planned: columns, what windows are given of rows, and what is refused with which words.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, BooleanArray};
use arrow::datatypes::{Int32Type, SchemaRef};

use super::*;
use crate::config::{self, Emit, Gap, LateRows, MeasureSpec, Watermark, Window};
use crate::transform::aggregation::{AGGREGATES, Aggregation};
use crate::transform::window::{Argument, First};

const COLUMNS: &str = "event_time TIMESTAMP NOT NULL, country STRING, amount INT, price DECIMAL(9,2), paid BOOLEAN, tags ARRAY<STRING>, day DATE, local TIMESTAMP_NTZ, window_end INT";

const MINUTE: Duration = Duration::from_secs(60);

fn tumbling() -> Window {
    Window::Tumbling { size: MINUTE, offset: Duration::ZERO, timezone: None }
}

fn aggregate(group_by: &[&str], measures: &[(&str, &str)]) -> config::Aggregate {
    let measure = |(name, text): &(&str, &str)| {
        let (name, text) = ((*name).to_owned(), (*text).to_owned());
        MeasureSpec { name, text }
    };
    config::Aggregate {
        watermark: Watermark {
            column: "event_time".into(),
            delay: MINUTE,
            idle_timeout: None,
            max_future: None,
            max_ahead: None,
        },
        window: tumbling(),
        group_by: group_by.iter().map(|text| (*text).to_owned()).collect(),
        measures: measures.iter().map(measure).collect(),
        emit: Emit::Final,
        epoch_column: None,
        late_rows: LateRows::Drop,
    }
}

fn schema() -> SchemaRef {
    Arc::clone(ddl::parse(COLUMNS).expect("columns").arrow())
}

fn planned(aggregate: &config::Aggregate, select: Option<&str>) -> Aggregation {
    Aggregation::new(&schema(), aggregate, None, None, select)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The columns of the table, without the bounds of windows.
fn check_columns(group_by: &[&str], measures: &[(&str, &str)], expected: &str) {
    let aggregation = planned(&aggregate(group_by, measures), None);
    let bounds = "window_start TIMESTAMP NOT NULL, window_end TIMESTAMP NOT NULL, ";
    let found = ddl_of(aggregation.schema());
    assert_eq!(found.strip_prefix(bounds), Some(expected), "{group_by:?} {measures:?}");
}

fn ddl_of(schema: &SchemaRef) -> String {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    ddl::format(&TableSchema::new(fields))
}

fn refused(aggregate: &config::Aggregate, filter: Option<&str>, select: Option<&str>) -> String {
    match Aggregation::new(&schema(), aggregate, None, filter, select) {
        Ok(aggregation) => panic!("accepted {aggregate:?}: {}", aggregation.schema()),
        Err(error) => {
            assert!(matches!(error, TransformError::Refused(_)));
            format!("{} {error}", error.code())
        }
    }
}

fn check_measure(text: &str, message: &str) {
    let found = refused(&aggregate(&[], &[("m", text)]), None, None);
    assert_eq!(found, message, "{text}");
}

fn check_key(text: &str, message: &str) {
    let found = refused(&aggregate(&[text], &[("orders", "count(*)")]), None, None);
    assert_eq!(found, message, "{text}");
}

fn check_time(column: &str, message: &str) {
    let mut aggregate = aggregate(&[], &[("orders", "count(*)")]);
    aggregate.watermark.column = column.into();
    assert_eq!(refused(&aggregate, None, None), message, "{column}");
}

#[test]
fn an_aggregation_can_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Aggregation>();
}

#[test]
fn columns_are_bounds_keys_and_measures() {
    check_columns(
        &["COUNTRY", "upper(country) AS land", "day AS on_day"],
        &[("orders", "count(*)"), ("revenue", "sum(price)"), ("most", "MAX(amount)")],
        "country STRING, land STRING, on_day DATE, orders BIGINT, revenue DECIMAL(19,2), most INT",
    );
    check_columns(
        &[],
        &[
            ("a", "count(tags)"),
            ("b", "mean(amount + 1)"),
            ("c", "every(paid)"),
            ("d", "some(amount > 1)"),
            ("e", "first_value(country) FILTER (WHERE paid AND country IS NOT NULL)"),
            ("f", "last(event_time)"),
            ("g", "variance(amount)"),
            ("h", "stddev(cast(price AS DOUBLE))"),
            ("i", "(min(country))"),
            ("j", "count(ALL 1)"),
            ("k", "approx_distinct(country)"),
            ("l", "percentile_approx(price, .95) filter (where paid)"),
            ("m", "array_agg(upper(country), 10)"),
        ],
        "a BIGINT, b DOUBLE, c BOOLEAN, d BOOLEAN, e STRING, f TIMESTAMP, g DOUBLE, h DOUBLE, i STRING, j BIGINT, k BIGINT, l DOUBLE, m ARRAY<STRING>",
    );
    let mut endless = aggregate(&["country"], &[("orders", "count(*)")]);
    endless.window = Window::None;
    assert_eq!(ddl_of(planned(&endless, None).schema()), "country STRING, orders BIGINT");
}

#[test]
fn windows_are_given_times_keys_and_arguments() {
    let rows = rows(
        "event_time TIMESTAMP, country STRING, amount INT, paid BOOLEAN",
        &[
            "2026-03-01T10:00:00Z|de|1|true",
            "NULL|FR|2|NULL",
            "2026-03-01T10:00:01Z|NULL|NULL|false",
        ],
    );
    let aggregate = aggregate(
        &["lower(country) AS land", "paid"],
        &[("n", "count(*)"), ("s", "sum(amount * 2) FILTER (WHERE paid)"), ("m", "max(amount)")],
    );
    let aggregation = Aggregation::new(&rows.schema(), &aggregate, None, Some("amount < 2"), None);
    let aggregation = aggregation.unwrap_or_else(|error| panic!("{error}"));

    let kept = aggregation.kept(&rows).expect("a condition").expect("some are left out");
    assert_eq!(kept, BooleanArray::from(vec![true, false, false]));
    assert_eq!(aggregation.kept(&rows.slice(0, 1)).expect("a condition"), None);

    let start = 1_772_359_200_000_000;
    let times = aggregation.event_times(&rows).expect("times");
    assert_eq!(times, [Some(start), None, Some(start + 1_000_000)].into_iter().collect());

    let keys = aggregation.keys(&rows).expect("keys");
    assert_eq!(keys.iter().map(lines).collect::<Vec<_>>(), ["de fr NULL", "true NULL false"]);

    let arguments = aggregation.arguments(&rows).expect("arguments");
    let shown: Vec<_> = arguments
        .iter()
        .map(|argument| {
            let filter =
                argument.filter.clone().map(|filter| lines(&(Arc::new(filter) as ArrayRef)));
            (argument.values.as_ref().map(lines), filter)
        })
        .collect();
    let some = |text: &str| Some(text.to_owned());
    // By name.
    assert_eq!(shown[0], (some("1 2 NULL"), None));
    assert_eq!(shown[1], (None, None));
    assert_eq!(shown[2], (some("2 4 NULL"), some("true false false")));
}

fn lines(column: &ArrayRef) -> String {
    let batch = RecordBatch::try_from_iter_with_nullable([("x", Arc::clone(column), true)]);
    text(&batch.expect("one column")).join(" ")
}

#[test]
fn a_filter_keeps_rows_from_failing() {
    let rows = rows(
        "event_time TIMESTAMP, a INT, b INT",
        &["NULL|1|0", "NULL|8|2", "NULL|6|0", "NULL|6|3"],
    );
    let argument = |text: &str| -> Result<Argument, TransformError> {
        let aggregate = aggregate(&[], &[("m", text)]);
        let aggregation = Aggregation::new(&rows.schema(), &aggregate, None, None, None)?;
        Ok(aggregation.arguments(&rows)?.swap_remove(0))
    };
    let kept = argument("sum(a / b) FILTER (WHERE b <> 0)").expect("nothing is divided by zero");
    let filter = kept.filter.expect("a filter");
    assert_eq!(filter, BooleanArray::from(vec![false, true, false, true]));
    let values = kept.values.expect("values");
    assert_eq!([1, 3].map(|row| values.as_primitive::<Int32Type>().value(row)), [4, 2]);

    let fails = |text: &str, row: usize, message: &str| {
        let error = argument(text).expect_err(text);
        assert_eq!((error.code(), error.row()), ("SL6101", Some(row)), "{text}");
        assert_eq!(error.to_string(), message, "{text}");
    };
    fails("sum(a / b)", 0, "`measures.m`, `a / b`: division by zero");
    fails("sum(a / b) FILTER (WHERE a > 1)", 2, "`measures.m`, `a / b`: division by zero");
    fails("count(*) FILTER (WHERE 6 / b > 0)", 0, "`measures.m`, `6 / b > 0`: division by zero");
}

#[test]
fn select_is_over_the_results() {
    let aggregate = aggregate(&["country"], &[("orders", "count(*)"), ("revenue", "sum(amount)")]);
    let select = "window_start, country, revenue / orders AS mean";
    let aggregation = planned(&aggregate, Some(select));
    let expected = "window_start TIMESTAMP NOT NULL, country STRING, mean BIGINT";
    assert_eq!(ddl_of(aggregation.schema()), expected);
    let results = rows(
        &ddl_of(aggregation.windows().schema()).replace(" NOT NULL", ""),
        &["2026-03-01T10:00:00Z|2026-03-01T10:01:00Z|de|2|7"],
    );
    let selected = aggregation.select(&results, 1).expect("a mean");
    assert_eq!(text(&selected), ["2026-03-01T10:00:00Z|de|3"]);
    assert_eq!(
        refused(&aggregate, None, Some("amount")),
        "SL6002 `select` (line 1, column 1): no column `amount` in the results: add it to `group_by`, or make a measure of it",
    );
    assert_eq!(
        refused(&aggregate, Some("revenue > 1"), None),
        "SL6002 `where` (line 1, column 1): no column `revenue` in the record: it is a result of the aggregation, which comes later",
    );
}

#[test]
fn the_epoch_is_a_column_if_it_is_wanted() {
    let mut aggregate = aggregate(&["country"], &[("orders", "count(*)")]);
    aggregate.epoch_column = Some("batch".into());
    let aggregation = planned(&aggregate, None);
    assert!(ddl_of(aggregation.schema()).ends_with("orders BIGINT, batch BIGINT NOT NULL"));
    let aggregation = planned(&aggregate, Some("orders + batch AS sum"));
    let results = rows(
        &ddl_of(aggregation.windows().schema()).replace(" NOT NULL", ""),
        &["2026-03-01T10:00:00Z|2026-03-01T10:01:00Z|de|2"],
    );
    assert_eq!(text(&aggregation.select(&results, 7).expect("a sum")), ["9"]);
    assert_eq!(
        refused(&aggregate, Some("batch > 1"), None),
        "SL6002 `where` (line 1, column 1): no column `batch` in the record: it is a result of the aggregation, which comes later",
    );
    for (name, why) in [
        (
            "Orders",
            "`orders` and `Orders` are the same name to Delta Lake, which ignores case; use another name",
        ),
        ("window_end", "windows have a column `window_end`; use another name"),
    ] {
        aggregate.epoch_column = Some(name.into());
        assert_eq!(refused(&aggregate, None, None), format!("SL6006 `epoch_column`: {why}"));
    }
}

#[test]
fn the_ends_of_windows_stay_where_rows_are_replaced() {
    let mut aggregate = aggregate(&["country"], &[("orders", "count(*)")]);
    planned(&aggregate, Some("country, orders"));
    aggregate.emit = Emit::Changes { every: MINUTE };
    let message = "SL6006 `select`: with `emit: changes` the table needs the column `window_end` as it is: rows of open windows are found by it; add it to the list";
    for select in [
        "country, orders",
        "* EXCEPT (window_end)",
        "* RENAME (window_end AS until)",
        "country, window_end AS Window_End",
        "country, window_start AS window_end",
        "* REPLACE (window_start AS window_end)",
    ] {
        assert_eq!(refused(&aggregate, None, Some(select)), message, "{select}");
    }
    for select in ["orders, window_end", "*, orders + 1 AS more", "WINDOW_END, country"] {
        planned(&aggregate, Some(select));
    }
    aggregate.window = Window::None;
    planned(&aggregate, Some("country, orders"));
}

#[test]
fn an_event_time_is_an_instant() {
    check_time(
        "event_tim",
        "SL6002 `watermark.column`: no column `event_tim`; did you mean `event_time`?",
    );
    check_time(
        "kafka_timestamp",
        "SL6002 `watermark.column`: no column `kafka_timestamp`; add `timestamp` to `metadata_columns`",
    );
    let message = |column: &str, found: &str| {
        format!(
            "SL6005 `watermark.column`: `{column}` is {found}, and an event time is an instant; declare the column as TIMESTAMP, with its format in `timestamps`"
        )
    };
    check_time("day", &message("day", "DATE"));
    check_time("local", &message("local", "TIMESTAMP_NTZ"));
    check_time("amount", &message("amount", "INT"));
    let mut other_case = aggregate(&[], &[("orders", "count(*)")]);
    other_case.watermark.column = "Event_Time".into();
    planned(&other_case, None);
}

#[test]
fn keys_that_can_not_be() {
    check_key(
        "*",
        "SL6001 `group_by[0]` (line 1, column 1): `*`: name each column that rows are grouped by",
    );
    check_key(
        "country, day",
        "SL6001 `group_by[0]` (line 1, column 8): expected the end, found `,`",
    );
    check_key(
        "contry",
        "SL6002 `group_by[0]` (line 1, column 1): no column `contry`; did you mean `country`?",
    );
    check_key(
        "orders",
        "SL6002 `group_by[0]` (line 1, column 1): no column `orders` in the record: it is a result of the aggregation, which comes later",
    );
    check_key(
        "upper(country)",
        "SL6006 `group_by[0]` (line 1, column 1): `upper(country)` needs a name: `upper(country) AS name`",
    );
    check_key(
        "tags",
        "SL6005 `group_by[0]` (line 1, column 1): `tags` is ARRAY<STRING>, and rows can't be grouped by nested columns; take a field or an element of it",
    );
    check_key(
        "window_end",
        "SL6006 `group_by[0]`: windows have a column `window_end`; use another `AS name`",
    );
    check_key(
        "country AS Orders",
        "SL6006 `measures.orders`: `Orders` and `orders` are the same name to Delta Lake, which ignores case; use another name",
    );
    check_key(
        "count(*) AS n",
        "SL6004 `group_by[0]` (line 1, column 1): `count` is an aggregate: an expression sees one record",
    );
    let twice = aggregate(&["country", "day AS country"], &[("n", "count(*)")]);
    assert_eq!(
        refused(&twice, None, None),
        "SL6006 `group_by[1]`: `country` comes twice; use another `AS name`"
    );
    let name = aggregate(&[], &[("a b", "count(*)")]);
    assert_eq!(
        refused(&name, None, None),
        "SL6006 `measures.a b`: the name `a b` holds ' ', which readers refuse; use another name"
    );
}

#[test]
fn a_measure_is_one_call_of_an_aggregate_function() {
    let several = "SL6009 `measures.m` (line 1, column 1): a measure is one call of an aggregate function: make each call a measure, and compute with them in `select`";
    check_measure("sum(amount) / count(*)", several);
    check_measure("round(avg(amount), 2)", several);
    check_measure("sum(amount) FILTER (WHERE paid) + 1", several);
    let none = "SL6009 `measures.m` (line 1, column 1): a measure is a call of an aggregate function: `sum(…)`, `max(…)`, `last(…)`";
    check_measure("amount", none);
    check_measure("upper(country)", none);
    check_measure("now()", none);
    check_measure("", "SL6001 `measures.m`: expected an expression, found the end");
    check_measure(
        "sum(amount) AS s",
        "SL6001 `measures.m` (line 1, column 13): expected the end, found `AS`",
    );
    check_measure("sum(amount", "SL6001 `measures.m`: expected ), found the end");
    check_measure(
        "smu(amount)",
        "SL6003 `measures.m` (line 1, column 1): no aggregate function `smu`; did you mean `sum`?",
    );
    check_measure(
        "first_valu(amount)",
        "SL6003 `measures.m` (line 1, column 1): no aggregate function `first_valu`; did you mean `first_value`?",
    );
    check_measure(
        "sum(avg(amount))",
        "SL6004 `measures.m` (line 1, column 5): `avg` is an aggregate: an expression sees one record",
    );
    check_measure(
        "sum(amount) OVER (ORDER BY day)",
        "SL6004 `measures.m` (line 1, column 1): `sum` OVER …: leave it out; the windows are those of `window`",
    );
    check_measure(
        "sum((SELECT 1))",
        "SL6004 `measures.m` (line 1, column 6): a subquery: an expression sees one record and no tables",
    );
}

#[test]
fn aggregates_that_there_are_not() {
    check_measure(
        "count(DISTINCT *)",
        "SL6005 `measures.m` (line 1, column 1): `count` takes one value, or `*`; `count(DISTINCT …)` takes one value",
    );
    check_measure(
        "count(DISTINCT tags)",
        "SL6005 `measures.m` (line 1, column 16): there is no `count(DISTINCT)` of ARRAY<STRING>; CAST it",
    );
    check_measure(
        "sum(DISTINCT amount)",
        "SL6009 `measures.m` (line 1, column 1): `sum(DISTINCT …)`: leave DISTINCT out",
    );
    check_measure(
        "collect_set(country)",
        "SL6009 `measures.m` (line 1, column 1): `collect_set`: it comes with a later version",
    );
    check_measure(
        "Any_Value(country)",
        "SL6009 `measures.m` (line 1, column 1): `any_value`: its result would depend on how batches were cut; use `first`, `last`, `min` or `max`",
    );
    check_measure(
        "count_if(paid)",
        "SL6009 `measures.m` (line 1, column 1): `count_if`: use `count(*) FILTER (WHERE …)`",
    );
    check_measure(
        "corr(amount, price)",
        "SL6009 `measures.m` (line 1, column 1): there is no measure `corr`; there are count, sum, avg, min, max, bool_and, bool_or, first, last, var_pop, var_samp, stddev_pop, stddev_samp, approx_count_distinct, approx_percentile, array_agg, min_by, max_by",
    );
    let order = "SL6009 `measures.m` (line 1, column 1): ORDER BY: leave it out; rows are in the order of event time, topic, partition and offset";
    check_measure("first(amount ORDER BY day)", order);
    check_measure("first(amount) WITHIN GROUP (ORDER BY day)", order);
    check_measure(
        "last(amount) IGNORE NULLS",
        "SL6009 `measures.m` (line 1, column 1): IGNORE NULLS: use `FILTER (WHERE … IS NOT NULL)`; only `first` and `last` take NULL for a value",
    );
    check_measure(
        "max(amount LIMIT 2)",
        "SL6009 `measures.m` (line 1, column 1): `max`: leave `LIMIT 2` out",
    );
}

#[test]
fn arguments_that_an_aggregate_does_not_take() {
    check_measure(
        "count()",
        "SL6005 `measures.m` (line 1, column 1): `count` takes one value, or `*`; `count(DISTINCT …)` takes one value",
    );
    check_measure(
        "sum(amount, price)",
        "SL6005 `measures.m` (line 1, column 1): `sum` takes one value",
    );
    check_measure("sum(*)", "SL6005 `measures.m` (line 1, column 1): `sum` takes one value");
    check_measure(
        "sum(country)",
        "SL6005 `measures.m` (line 1, column 5): there is no `sum` of STRING; CAST it",
    );
    check_measure(
        "mean(paid)",
        "SL6005 `measures.m` (line 1, column 6): there is no `avg` of BOOLEAN; CAST it",
    );
    check_measure(
        "max(tags)",
        "SL6005 `measures.m` (line 1, column 5): there is no `max` of ARRAY<STRING>; CAST it",
    );
    check_measure(
        "sum(NULL)",
        "SL6007 `measures.m` (line 1, column 5): `NULL` is NULL of no type; use CAST(NULL AS STRING) or another type",
    );
    check_measure(
        "sum(country + day)",
        "SL6005 `measures.m` (line 1, column 5): Cannot coerce arithmetic expression STRING + DATE to valid types",
    );
    check_measure(
        "sum(amout)",
        "SL6002 `measures.m` (line 1, column 5): no column `amout`; did you mean `amount`?",
    );
    check_measure(
        "sum(amount) FILTER (WHERE amount)",
        "SL6008 `measures.m`: expected a condition, a BOOLEAN; this is INT",
    );
    check_measure(
        "sum(amount) FILTER (WHERE m > 1)",
        "SL6002 `measures.m` (line 1, column 27): no column `m` in the record: it is a result of the aggregation, which comes later",
    );
}

#[test]
fn distinct_values_are_counted_with_a_filter() {
    let measure = "count(DISTINCT country) FILTER (WHERE paid)";
    let aggregation = planned(&aggregate(&[], &[("m", measure)]), None);
    let meaning = format!("{measure} BIGINT, states [BINARY of STRING]");
    assert_eq!(aggregation.meaning()["measures.m"], meaning);
}

#[test]
fn values_are_ranked_by_others() {
    check_columns(
        &[],
        &[("a", "max_by(country, amount)"), ("b", "min_by(price, day, 3) FILTER (WHERE paid)")],
        "a STRING, b ARRAY<DECIMAL(9,2)>",
    );
    let measure = "min_by(price, day, 3) FILTER (WHERE paid)";
    let aggregation = planned(&aggregate(&[], &[("m", measure)]), None);
    let meaning = format!(
        "{measure} ARRAY<DECIMAL(9,2)>, states [BINARY of STRUCT<x: DECIMAL(9,2), y: DATE>]"
    );
    assert_eq!(aggregation.meaning()["measures.m"], meaning);

    let takes = "SL6005 `measures.m` (line 1, column 1): `max_by` takes a value and what it is ranked by: `max_by(x, y)`; for an array, also how many it keeps, 1 to 1000: `max_by(x, y, 10)`";
    for wrong in ["max_by(amount)", "max_by(*, amount)", "arg_max(amount, day, 2, 3)"] {
        check_measure(wrong, takes);
    }
    for wrong in ["0", "1001", "-1", "2.5", "amount"] {
        let message = format!("{takes}; here is `{wrong}`");
        check_measure(&format!("max_by(country, amount, {wrong})"), &message);
    }
    check_measure(
        "max_by(country, tags)",
        "SL6005 `measures.m` (line 1, column 8): there is no `max_by` of STRING by ARRAY<STRING>; CAST it",
    );
    check_measure(
        "min_by(tags, day)",
        "SL6005 `measures.m` (line 1, column 8): there is no `min_by` of ARRAY<STRING> by DATE; CAST it",
    );
    check_measure(
        "min_by(DISTINCT country, day)",
        "SL6009 `measures.m` (line 1, column 1): `min_by(DISTINCT …)`: leave DISTINCT out",
    );
}

#[test]
fn numbers_behind_an_argument() {
    for share in ["0", "1", "0.5", ".5", "1.0", "0.000001", "1.000000"] {
        let measure = format!("approx_percentile(amount, {share})");
        let aggregation = planned(&aggregate(&[], &[("m", &measure)]), None);
        let meaning = format!("{measure} DOUBLE, states [BINARY]");
        assert_eq!(aggregation.meaning()["measures.m"], meaning);
    }
    let share = "SL6005 `measures.m` (line 1, column 1): `approx_percentile` takes a value and a share of 0 to 1, with at most six digits behind the point: `approx_percentile(…, 0.95)`";
    check_measure("approx_percentile(amount)", share);
    for wrong in ["1.1", "95", "-0.5", "0.1234567", "1e-3", "amount", "'0.5'", "99999999999"] {
        let message = format!("{share}; here is `{wrong}`");
        check_measure(&format!("approx_percentile(amount, {wrong})"), &message);
    }
    let most = "SL6005 `measures.m` (line 1, column 1): `array_agg` takes a value and how many it keeps, 1 to 1000: `array_agg(…, 100)`";
    check_measure("array_agg(amount)", most);
    for wrong in ["0", "1001", "2.5", "-1", "amount"] {
        check_measure(
            &format!("array_agg(amount, {wrong})"),
            &format!("{most}; here is `{wrong}`"),
        );
    }
}

#[test]
fn windows_that_can_not_be() {
    let mut endless = aggregate(&[], &[("orders", "count(*)")]);
    endless.window = Window::Session { gap: Gap::Fixed(Duration::from_secs(u64::MAX)) };
    assert_eq!(
        refused(&endless, None, None),
        "SL6201 `window`: a session's gap is longer than nothing and at most 100 years long",
    );
    let mut zoned = aggregate(&[], &[("orders", "count(*)")]);
    let window = |timezone| Window::Tumbling {
        size: MINUTE,
        offset: Duration::ZERO,
        timezone: Some(timezone),
    };
    zoned.window = window(chrono_tz::Europe::Berlin);
    let message = "SL6201 `window`: in a time zone, window and slide are whole days";
    assert_eq!(refused(&zoned, None, None), message);
    zoned.window = window(chrono_tz::UTC);
    planned(&zoned, None);
}

fn of_record(seconds: &str) -> config::Aggregate {
    let gap = Gap::OfRecord { seconds: seconds.to_owned() };
    let window = Window::Session { gap };
    config::Aggregate { window, ..aggregate(&["country"], &[("orders", "count(*)")]) }
}

#[test]
fn a_records_own_gap_is_a_number_of_seconds() {
    let check = |text, kept: Option<[bool; 2]>, expected: [Option<i64>; 2]| {
        const COLUMNS: &str =
            "event_time TIMESTAMP NOT NULL, country STRING, amount INT, price DECIMAL(9,2)";
        let rows = rows(
            COLUMNS,
            &["2026-11-01T10:00:00Z | de | 2 | 1.25", "2026-11-01T10:00:00Z | de | 0 | NULL"],
        );
        let kept = kept.map(|kept| BooleanArray::from(kept.to_vec()));
        let planned = Aggregation::new(&rows.schema(), &of_record(text), None, None, None);
        let gaps = planned.expect("it is planned").gaps(&rows, kept.as_ref());
        let gaps = gaps.expect("numbers").expect("it has gaps");
        assert_eq!(gaps.iter().collect::<Vec<_>>(), expected, "{text}");
    };
    check("amount", None, [Some(2_000_000), Some(0)]);
    check("price", None, [Some(1_250_000), None]);
    check("amount / 20.0", None, [Some(100_000), Some(0)]);
    check("amount * CAST('1e300' AS DOUBLE)", None, [Some(i64::MAX), Some(0)]);
    check("10 / amount", Some([true, false]), [Some(5_000_000), None]);
}

#[test]
fn gaps_that_can_not_be() {
    let check = |text, message| assert_eq!(refused(&of_record(text), None, None), message);
    check(
        "country",
        "SL6005 `window.gap_seconds` (line 1, column 1): `country` is STRING, and a gap is a number of seconds",
    );
    check(
        "window_start",
        "SL6002 `window.gap_seconds` (line 1, column 1): no column `window_start` in the record: it is a result of the aggregation, which comes later",
    );
}

#[test]
fn duplicates_are_told_by_the_record_before_windows() {
    let aggregate = aggregate(&["country"], &[("orders", "count(*)")]);
    let step = |keys: &[&str]| config::Deduplicate {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        within: Duration::from_secs(60),
        order: config::DuplicateOrder::EventTime,
        keeps_late_rows: false,
        watermark: aggregate.watermark.clone(),
    };
    let record =
        rows("event_time TIMESTAMP, country STRING, amount INT", &["2026-11-01T10:00:00Z|de|7"]);
    let plan = |keys: &[&str]| {
        Aggregation::new(&record.schema(), &aggregate, Some(&step(keys)), Some("amount > 0"), None)
    };
    let planned = plan(&["upper(country)", "amount"]).unwrap_or_else(|error| panic!("{error}"));
    let keys = planned.distinct(&record).expect("keys");
    assert_eq!(keys[0].as_string::<i32>().value(0), "DE");
    assert_eq!(planned.windows().first(), Some(First::ByEventTime));
    assert!(planned.windows().aggregates());
    let meaning = planned.meaning();
    let told = |part: &str| meaning[part].as_str();
    assert_eq!(told("deduplicate.keys"), "upper(country) STRING, amount INT");
    assert_eq!(told("deduplicate.within"), "60 s");
    assert_eq!(told("group_by"), "country");
    let refused = plan(&["orders"]).err().expect("it is refused").to_string();
    assert!(refused.contains("it is a result of the aggregation, which comes later"), "{refused}");
}

#[test]
fn the_meaning_of_state_is_told_part_by_part() {
    let mut aggregate = aggregate(
        &["country", "lower(country) AS land"],
        &[("orders", "COUNT(*) filter (where paid)"), ("mean", "mean( amount )")],
    );
    let meaning = |aggregate: &config::Aggregate| {
        let meaning = planned(aggregate, None).meaning();
        meaning.into_iter().map(|(part, text)| format!("{part}: {text}")).collect::<Vec<_>>()
    };
    let found = meaning(&aggregate);
    assert_eq!(
        found,
        [
            "group_by: country, land",
            "group_by.country: country STRING",
            "group_by.land: lower(country) STRING",
            "measures: mean, orders",
            "measures.mean: avg(amount) DOUBLE, states [Decimal256(76, 0), BIGINT]",
            "measures.orders: count(*) FILTER (WHERE paid) BIGINT, states [BIGINT]",
            "state: 2",
            "watermark.column: event_time",
            "window: tumbling 60 s, offset 0 s",
        ]
    );
    aggregate.measures.reverse();
    assert_eq!(meaning(&aggregate), found, "whatever the order that they are written in");
    aggregate.watermark.delay = Duration::ZERO;
    aggregate.watermark.column = "EVENT_TIME".into();
    assert_eq!(meaning(&aggregate), found);
    aggregate.window = Window::Sliding {
        size: Duration::from_secs(86_400),
        slide: Duration::from_secs(86_400),
        offset: Duration::from_micros(1_500_000),
        timezone: Some(chrono_tz::Europe::Berlin),
    };
    let found = meaning(&aggregate);
    let window = "window: sliding 86400 s, slide 86400 s, offset 1500000 µs".to_owned();
    assert!(found.contains(&window), "{found:?}");
    assert!(found.iter().any(|part| part.starts_with("timezone: Europe/Berlin, tz data 20")));
}

/// The aggregates that measures may call, as the documentation lists them.
#[test]
fn the_documented_aggregates_are_those_that_can_be_called() {
    let page = include_str!("../../../docs/reference/expressions.md");
    let table = page.split("<!-- aggregates -->").nth(1).expect("a table between two marks");
    let names = table.lines().filter_map(|row| row.strip_prefix("| ")?.split('|').next());
    let listed: Vec<_> = names.flat_map(|names| names.split('`').skip(1).step_by(2)).collect();
    assert_eq!(
        listed,
        AGGREGATES.iter().flat_map(|(_, names)| names.iter().copied()).collect::<Vec<_>>()
    );
}
