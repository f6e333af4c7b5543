//! Expressions without a value for a record.

use arrow::array::BinaryArray;

use super::*;
use crate::disposition::{Disposition, Exit};

fn fails(input: &RecordBatch, select: &str) -> (usize, String) {
    let plan = plan(input, Some(select), None).unwrap_or_else(|error| panic!("{select}: {error}"));
    let error = plan.select(input).expect_err(select);
    assert_eq!(error.code(), "SL6101");
    assert_eq!(error.disposition(), Disposition::Stop(Exit::DataRefused));
    (error.row().expect("a row"), error.to_string())
}

#[test]
fn the_first_row_that_fails_is_named_and_its_value_is_not() {
    let input = rows("s STRING", &["1", "NULL", "2", "secret", "4", "hidden"]);
    let (row, text) = fails(&input, "CAST(s AS INT) AS n");
    assert_eq!(row, 3);
    assert_eq!(
        text,
        "`select`, `CAST(s AS INT) AS n`: a value can't be read as, or doesn't fit, the type it is cast to; TRY_CAST gives NULL instead"
    );
}

#[test]
fn whole_numbers_never_wrap() {
    let input = rows(
        "b BYTE, s SHORT, i INT, l LONG, one LONG",
        &["0|0|0|0|1", "-128|-32768|-2147483648|-9223372036854775808|-1"],
    );
    for select in [
        "l - 1",
        "l + one",
        "l * one",
        "-l",
        "-b",
        "-s",
        "-i",
        "abs(l)",
        "l / one",
        "i * i * i * i",
        "b - arrow_cast(1, 'Int8')",
        "s + arrow_cast(-1, 'Int16')",
    ] {
        let (row, text) = fails(&input, &format!("{select} AS x"));
        assert_eq!(row, 1, "{select}: {text}");
    }
    // Folded before there is a record.
    for select in
        ["9223372036854775807 + 1", "-(-9223372036854775807 - 1)", "9223372036854775807 * 2"]
    {
        let (row, text) = fails(&input, &format!("{select} AS x"));
        assert_eq!((row, text.contains("too large")), (0, true), "{select}: {text}");
    }
}

/// With a column `bin` that is no text.
fn with_binary(rows: &RecordBatch) -> RecordBatch {
    let binary: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"\xff"; rows.num_rows()]));
    let mut columns: Vec<_> = rows
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .zip(rows.columns().to_vec())
        .collect();
    columns.push(("bin".into(), binary));
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

#[test]
fn values_that_do_not_fit_fail() {
    let input = rows(
        "n LONG, d DECIMAL(38,0), f DOUBLE, s STRING, t TIMESTAMP",
        &["300|90000000000000000000000000000000000000|1e300|x|2026-01-01T00:00:00Z"],
    );
    let input = with_binary(&input);
    for (select, reason) in [
        ("CAST(n AS BYTE)", "TRY_CAST"),
        ("CAST(f AS LONG)", "TRY_CAST"),
        ("CAST(s AS DATE)", "TRY_CAST"),
        ("CAST(s AS TIMESTAMP)", "TRY_CAST"),
        ("CAST(s AS BOOLEAN)", "TRY_CAST"),
        ("CAST(bin AS STRING)", "UTF-8"),
        ("n / 0", "division by zero"),
        ("n % 0", "division by zero"),
        ("d + d", "too large"),
        ("d - CAST('-60000000000000000000000000000000000000' AS DECIMAL(38,0))", "digits"),
        ("18446744073709551615", "cast"),
        ("to_timestamp(s)", ""),
        ("t + INTERVAL '400000' YEAR", ""),
        ("to_timestamp_seconds(9223372036854775807)", ""),
        ("factorial(30)", ""),
        ("chr(-1)", ""),
    ] {
        let (row, text) = fails(&input, &format!("{select} AS x"));
        assert_eq!(row, 0, "{select}");
        assert!(text.contains(reason), "{select}: {text}");
        assert!(!text.contains("1e300") && !text.contains("900000"), "{text}");
    }
}

#[test]
fn a_guard_protects_whatever_stands_beside_a_record() {
    // One bad row among many good ones, among many bad ones, alone: the answer is the same.
    let good = ["1|2"; 20];
    let bad = ["0|2"; 20];
    let mixes = [
        [&good[..], &bad[..1]].concat(),
        [&bad[..], &good[..1]].concat(),
        bad[..1].to_vec(),
        [&good[..10], &bad[..10], &["NULL|4"]].concat(),
    ];
    for mix in mixes {
        let input = rows("b INT, a INT", &mix);
        for filter in [
            "b <> 0 AND a / b > 1",
            "b = 0 OR a / b > 1",
            "CASE WHEN b <> 0 THEN a / b > 1 ELSE false END",
        ] {
            let plan = plan(&input, None, Some(filter)).expect("a plan");
            plan.filter(&input).unwrap_or_else(|error| panic!("{filter}: {error}"));
        }
    }
    let input = rows("b INT, a INT", &["1|2", "0|2"]);
    let unguarded = plan(&input, None, Some("a / b > 1 AND b <> 0")).expect("a plan");
    assert_eq!(unguarded.filter(&input).expect_err("no guard").row(), Some(1));
    // NULL leaves the answer open, so the right side is asked.
    let input = rows("b INT, a INT, c BOOLEAN", &["0|2|false", "0|2|NULL"]);
    let open = plan(&input, None, Some("c AND a / b > 1")).expect("a plan");
    assert_eq!(open.filter(&input).expect_err("open").row(), Some(1));
}

/// Every function with every few columns of extreme values: whatever it does, it does to each row by itself, and
/// nothing ends the process.
#[test]
fn functions_take_anything_and_depend_on_nothing_else() {
    let input = super::values::extremes();
    let names: Vec<String> =
        input.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut ran = std::collections::BTreeSet::new();
    let mut arguments: Vec<String> = vec![String::new()];
    arguments.extend(names.iter().cloned());
    arguments.extend(names.iter().flat_map(|a| names.iter().map(move |b| format!("{a}, {b}"))));
    arguments.extend(names.iter().map(|a| format!("{a}, 2")));
    arguments.extend(names.iter().map(|a| format!("'day', {a}")));
    arguments.extend(
        [
            "s, n, n",
            "s, s, s",
            "s, s, n",
            "a, n, n",
            "'%Y', t",
            "n, n, n",
            "s, 'hex'",
            "bin, 'hex'",
        ]
        .map(String::from),
    );
    for function in crate::transform::functions::FUNCTIONS.usable() {
        for arguments in &arguments {
            let select = format!("{function}({arguments}) AS x");
            let Ok(plan) = plan(&input, Some(&select), None) else { continue };
            let together = plan.select(&input);
            ran.insert(function);
            let alone = |row: usize| plan.select(&input.slice(row, 1));
            match together {
                Ok(together) => {
                    for row in 0..input.num_rows() {
                        let alone =
                            alone(row).unwrap_or_else(|e| panic!("{select}, row {row}: {e}"));
                        assert_eq!(
                            text(&together.slice(row, 1)),
                            text(&alone),
                            "{select}, row {row}"
                        );
                    }
                }
                Err(error) => {
                    let row = error.row().expect("a row");
                    assert!(alone(row).is_err(), "{select}, row {row}: {error}");
                }
            }
        }
    }
    assert!(ran.len() > 150, "{}", ran.len());
}
