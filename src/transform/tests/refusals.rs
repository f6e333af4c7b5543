//! What is refused, and with which words.

use super::*;

const COLUMNS: &str = "orderId STRING, amount DECIMAL(18,4), event_time TIMESTAMP, day DATE, tags ARRAY<STRING>, address STRUCT<street: STRING, City: STRING>, m MAP<STRING, INT>, kafka_offset BIGINT NOT NULL";

fn refused(select: Option<&str>, filter: Option<&str>) -> (&'static str, String) {
    let schema = Arc::clone(ddl::parse(COLUMNS).expect("columns").arrow());
    match Plan::new(&schema, select, filter) {
        Ok(plan) => panic!("accepted {select:?} {filter:?}: {}", plan.schema()),
        Err(error) => {
            assert!(matches!(error, TransformError::Refused(_)));
            assert_eq!(error.row(), None);
            (error.code(), error.to_string())
        }
    }
}

fn check_select(select: &str, code: &str, message: &str) {
    let (found, text) = refused(Some(select), None);
    assert_eq!((found, text.as_str()), (code, message), "{select}");
}

fn check_where(filter: &str, code: &str, message: &str) {
    let (found, text) = refused(Some("amount, orderId AS id"), Some(filter));
    assert_eq!((found, text.as_str()), (code, message), "{filter}");
}

#[test]
fn syntax() {
    check_select("", "SL6001", "`select`: expected an expression, found the end");
    check_select(
        "a b c",
        "SL6001",
        "`select` (line 1, column 5): expected a comma or the end, found `c`",
    );
    check_select("orderId,", "SL6001", "`select`: expected an expression, found the end");
    check_select(
        "orderId,\n  amount +",
        "SL6001",
        "`select`: expected an expression, found the end",
    );
    check_select(
        "orderId FROM t",
        "SL6001",
        "`select` (line 1, column 9): expected a comma or the end, found `FROM`",
    );
    check_select(
        "orderId; DROP",
        "SL6001",
        "`select` (line 1, column 8): expected a comma or the end, found `;`",
    );
    check_select("'open", "SL6001", "`select` (line 1, column 1): Unterminated string literal");
    check_where(
        "amount > 0 amount",
        "SL6001",
        "`where` (line 1, column 12): expected the end, found `amount`",
    );
    check_where("SELECT 1", "SL6001", "`where` (line 1, column 8): expected the end, found `1`");
}

#[test]
fn names_of_columns_and_functions() {
    check_select(
        "amout",
        "SL6002",
        "`select` (line 1, column 1): no column `amout`; did you mean `amount`?",
    );
    check_select(
        "orderId,\n  upper(\"hello\") AS x",
        "SL6002",
        "`select` (line 2, column 9): no column `hello`; a text stands in single quotes",
    );
    check_select(
        "* EXCEPT (order_id)",
        "SL6002",
        "`select` (line 1, column 11): no column `order_id`; did you mean `orderId`?",
    );
    check_select(
        "address.streat AS s",
        "SL6005",
        "`select` (line 1, column 1): `address` has no field `streat`; did you mean `street`?",
    );
    check_select(
        "tags.x AS s",
        "SL6005",
        "`select` (line 1, column 1): `tags` is an ARRAY, which has no field `x`: take an element, `[1]`, first",
    );
    check_select(
        "amount.x AS s",
        "SL6005",
        "`select` (line 1, column 1): `amount` is DECIMAL(18,4), which has no fields and no elements",
    );
    check_select(
        "address[1] AS s",
        "SL6005",
        "`select` (line 1, column 1): `address` is a STRUCT: take a field, `.name`",
    );
    check_select(
        "uper(orderId) AS x",
        "SL6003",
        "`select` (line 1, column 1): no function `uper`; did you mean `upper`?",
    );
    check_select(
        "frobnicate(orderId) AS x",
        "SL6003",
        "`select` (line 1, column 1): no function `frobnicate`",
    );
    check_where(
        "id = 'a'",
        "SL6002",
        "`where` (line 1, column 1): no column `id` in the record: it is a result of `select`; repeat its expression",
    );
    check_where(
        "array_transform(tags, t -> z) IS NULL",
        "SL6002",
        "`where` (line 1, column 28): no column `z`",
    );
}

#[test]
fn what_is_not_for_one_record() {
    check_select(
        "now() AS t",
        "SL6004",
        "`select` (line 1, column 1): `now` would make the table depend on when it was read; a record's time is `kafka_timestamp`",
    );
    check_select(
        "current_date AS t",
        "SL6004",
        "`select` (line 1, column 1): `current_date` would make the table depend on when it was read; a record's time is `kafka_timestamp`",
    );
    check_select(
        "CURRENT_TIMESTAMP AS t",
        "SL6004",
        "`select` (line 1, column 1): `CURRENT_TIMESTAMP` would make the table depend on when it was read; a record's time is `kafka_timestamp`",
    );
    check_select(
        "random() AS r",
        "SL6004",
        "`select` (line 1, column 1): `random` would make the table depend on when it was read",
    );
    check_select(
        "uuid() AS r",
        "SL6004",
        "`select` (line 1, column 1): `uuid` would make the table depend on when it was read",
    );
    check_select(
        "orderId, sum(amount) AS s",
        "SL6004",
        "`select` (line 1, column 10): `sum` is an aggregate: an expression sees one record",
    );
    check_select(
        "max(amount) AS s",
        "SL6004",
        "`select` (line 1, column 1): `max` is an aggregate: an expression sees one record; the greatest of several columns is `greatest(a, b)`",
    );
    check_select(
        "count(*) AS s",
        "SL6004",
        "`select` (line 1, column 1): `count` is an aggregate: an expression sees one record",
    );
    check_select(
        "row_number() OVER (ORDER BY day) AS s",
        "SL6004",
        "`select` (line 1, column 1): `row_number` OVER …: an expression sees one record, not a window of them",
    );
    check_select(
        "(SELECT 1) AS s",
        "SL6004",
        "`select` (line 1, column 2): a subquery: an expression sees one record and no tables",
    );
    check_select(
        "EXISTS (SELECT 1) AS s",
        "SL6004",
        "`select` (line 1, column 9): a subquery: an expression sees one record and no tables",
    );
    check_select(
        "orderId IN (SELECT x FROM t) AS s",
        "SL6004",
        "`select` (line 1, column 13): a subquery: an expression sees one record and no tables",
    );
    check_select(
        "unnest(tags) AS t",
        "SL6004",
        "`select` (line 1, column 1): `unnest` makes several rows of one: a record is one row",
    );
    check_select("$1 AS t", "SL6004", "`select` (line 1, column 1): `$1`: there are no parameters");
    check_select(
        "t.*",
        "SL6004",
        "`select` (line 1, column 1): `t.*`: there are no tables to name, and a STRUCT's fields are named one by one; all columns are `*`",
    );
}

#[test]
fn types_that_do_not_fit() {
    check_select(
        "orderId + day AS x",
        "SL6005",
        "`select` (line 1, column 1): Cannot coerce arithmetic expression STRING + DATE to valid types",
    );
    check_select(
        "abs(orderId, day) AS x",
        "SL6005",
        "`select` (line 1, column 1): Function 'abs' expects 1 arguments but received 2",
    );
    check_select(
        "upper(tags) AS x",
        "SL6005",
        "`select` (line 1, column 1): Function 'upper' requires String, but received List(String)",
    );
    check_select(
        "CAST(orderId AS VARCHAR) AS x",
        "SL6005",
        "`select` (line 1, column 6): `VARCHAR` is not a type; use STRING",
    );
    check_select(
        "CAST(orderId AS STRNG) AS x",
        "SL6005",
        "`select` (line 1, column 6): `STRNG` is not a type; did you mean STRING?",
    );
    check_select(
        "CAST(orderId AS TIMESTAMP(3)) AS x",
        "SL6005",
        "`select` (line 1, column 6): `TIMESTAMP(3)` is not a type; types are those of schemas: TIMESTAMP, DECIMAL(18,4), ARRAY<STRING>",
    );
    check_select(
        "CAST(orderId AS TIMESTAMP WITH TIME ZONE) AS x",
        "SL6005",
        "`select` (line 1, column 6): `TIMESTAMP WITH TIME ZONE` is not a type; types are those of schemas: TIMESTAMP, DECIMAL(18,4), ARRAY<STRING>",
    );
    check_select(
        "CAST(orderId AS BIGINT UNSIGNED) AS x",
        "SL6005",
        "`select` (line 1, column 6): `BIGINT UNSIGNED` is not a type; types are those of schemas: TIMESTAMP, DECIMAL(18,4), ARRAY<STRING>",
    );
    check_select(
        "CAST(orderId AS DECIMAL(40,2)) AS x",
        "SL6005",
        "`select` (line 1, column 6): DECIMAL(40,2): the precision must be 1 to 38",
    );
    check_select(
        "CAST(kafka_offset AS TIMESTAMP) AS x",
        "SL6005",
        "`select` (line 1, column 6): a number is cast to a time, and nothing says what it counts; use to_timestamp_seconds(…), to_timestamp_millis(…) or to_timestamp_micros(…)",
    );
    check_select(
        "CAST(event_time AS BIGINT) AS x",
        "SL6005",
        "`select` (line 1, column 6): a time is cast to a number, and nothing says what to count; use to_unixtime(…) for seconds, date_part('epoch', …) for fractions of them",
    );
    check_select(
        "CAST(5 AS DATE) AS x",
        "SL6005",
        "`select` (line 1, column 6): a number is cast to a time, and nothing says what it counts; use to_timestamp_seconds(…), to_timestamp_millis(…) or to_timestamp_micros(…)",
    );
    check_select(
        "CAST('abc' AS INT) AS x",
        "SL6005",
        "`select` (line 1, column 6): Cannot cast string 'abc' to value of INT type",
    );
    check_select(
        "event_time AT TIME ZONE 'Europe/Berln' AS x",
        "SL6005",
        "`select` (line 1, column 1): no time zone `Europe/Berln`",
    );
    check_select(
        "event_time AT TIME ZONE orderId AS x",
        "SL6005",
        "`select` (line 1, column 1): AT TIME ZONE takes a text: 'Europe/Berlin'",
    );
}

#[test]
fn results_need_names() {
    check_select(
        "amount + 1",
        "SL6006",
        "`select` (line 1, column 1): `amount + 1` needs a name: `amount + 1 AS name`",
    );
    check_select(
        "CAST(event_time AS DATE)",
        "SL6006",
        "`select` (line 1, column 6): `CAST(event_time AS DATE)` needs a name: `CAST(event_time AS DATE) AS event_time`",
    );
    check_select(
        "address.street",
        "SL6006",
        "`select` (line 1, column 1): `address.street` needs a name: `address.street AS street`",
    );
    check_select(
        "amount AS \"a b\"",
        "SL6006",
        "`select` (line 1, column 11): the name `a b` holds ' ', which readers refuse; use another `AS name`",
    );
    check_select(
        "amount AS \"\"",
        "SL6006",
        "`select` (line 1, column 11): a column's name can't be empty; use another `AS name`",
    );
    check_select(
        "amount, day AS Amount",
        "SL6006",
        "`select` (line 1, column 16): `amount` and `Amount` are the same name to Delta Lake, which ignores case; use another `AS name`",
    );
    check_select(
        "*, amount AS amount",
        "SL6006",
        "`select` (line 1, column 14): `amount` comes twice; use another `AS name`, or `* EXCEPT (amount)`",
    );
    check_select(
        "* EXCEPT (amount) RENAME (amount AS b)",
        "SL6006",
        "`select` (line 1, column 27): `amount` comes twice",
    );
    check_select(
        "amount AS kafka_key",
        "SL6006",
        "`select` (line 1, column 11): `kafka_key` is the name of a metadata column; use another `AS name`",
    );
    check_select(
        "amount AS _commit_version",
        "SL6006",
        "`select` (line 1, column 11): `_commit_version` is a name that Spark and Delta use themselves; use another `AS name`",
    );
    check_select(
        "amount AS (a, b)",
        "SL6001",
        "`select` (line 1, column 11): expected an identifier after AS, found (",
    );
}

#[test]
fn results_that_delta_lake_has_no_type_for() {
    check_select(
        "NULL AS x",
        "SL6007",
        "`select` (line 1, column 1): `x` is NULL of no type; use CAST(NULL AS STRING) or another type",
    );
    check_select(
        "[NULL] AS x",
        "SL6007",
        "`select` (line 1, column 2): `x` is NULL of no type; use CAST(NULL AS STRING) or another type",
    );
    check_select(
        "INTERVAL '1' DAY AS x",
        "SL6007",
        "`select` (line 1, column 10): `x` is an interval, which Delta Lake doesn't have; add it to a timestamp, or CAST it AS STRING",
    );
    check_select(
        "event_time - event_time AS x",
        "SL6007",
        "`select` (line 1, column 1): `x` is a duration, which Delta Lake doesn't have; date_part('epoch', …) of it gives seconds",
    );
    check_select(
        "to_time('10:00:00') AS x",
        "SL6007",
        "`select` (line 1, column 1): `x` is a time of day, which Delta Lake doesn't have; CAST it AS STRING",
    );
    check_select(
        "arrow_cast(amount, 'Decimal256(40, 2)') AS x",
        "SL6007",
        "`select` (line 1, column 1): `x` has more than the 38 digits that a DECIMAL has; use CAST(… AS DECIMAL(38, s))",
    );
}

#[test]
fn lengths_that_a_record_would_decide() {
    let message = |function: &str| {
        format!(
            "`select` (line 1, column 1): `{function}`: the length must be a number in the expression, of 10000 at most; else a record could ask for any amount of memory"
        )
    };
    check_select("repeat(orderId, m['n']) AS x", "SL6005", &message("repeat"));
    check_select("lpad(orderId, 10001, ' ') AS x", "SL6005", &message("lpad"));
    check_select("range(kafka_offset) AS x", "SL6005", &message("range"));
    check_select("array_repeat(orderId, 100 * 101) AS x", "SL6005", &message("array_repeat"));
}

#[test]
fn conditions() {
    check_where(
        "amount",
        "SL6008",
        "`where`: expected a condition, a BOOLEAN; this is DECIMAL(18,4)",
    );
    check_where("'true'", "SL6008", "`where`: expected a condition, a BOOLEAN; this is STRING");
    check_where(
        "NULL",
        "SL6008",
        "`where`: expected a condition, a BOOLEAN; this is NULL of no type; use CAST(NULL AS STRING) or another type",
    );
}
