//! Rows written as text in, rows written as text out.

mod aggregation;
mod deduplication;
mod failures;
mod model;
mod refusals;
mod values;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::compute::{cast, filter_record_batch};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::{Plan, TransformError};
use crate::schema::{TableSchema, ddl};

/// A batch of `columns`; each row is its values between `|`, and `NULL` is null.
fn rows(columns: &str, rows: &[&str]) -> RecordBatch {
    let schema = Arc::clone(ddl::parse(columns).expect("columns").arrow());
    let cells: Vec<Vec<&str>> =
        rows.iter().map(|row| row.split('|').map(str::trim).collect()).collect();
    let column = |index: usize| -> ArrayRef {
        let texts = cells.iter().map(|row| (row[index] != "NULL").then_some(row[index]));
        let texts: StringArray = texts.collect();
        let values = cast(&texts, schema.field(index).data_type()).expect("castable");
        assert_eq!(values.null_count(), texts.null_count(), "unreadable cell in {rows:?}");
        values
    };
    let columns = (0..schema.fields().len()).map(column).collect();
    RecordBatch::try_new(schema, columns).expect("rows of the schema")
}

fn plan(
    rows: &RecordBatch,
    select: Option<&str>,
    filter: Option<&str>,
) -> Result<Plan, TransformError> {
    Plan::new(&rows.schema(), select, filter)
}

/// What the engine does: filter, then select what is kept.
fn apply(plan: &Plan, rows: &RecordBatch) -> Result<RecordBatch, TransformError> {
    let selected = match plan.filter(rows)? {
        Some(kept) => {
            plan.select(&filter_record_batch(rows, &kept).expect("a mask of the rows"))?
        }
        None => plan.select(rows)?,
    };
    assert_eq!(selected.schema(), *plan.schema());
    Ok(selected)
}

/// The rows of a batch as [`rows`] reads them.
fn text(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).expect("printable"))
        .collect();
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"))
        .collect()
}

fn columns(batch: &RecordBatch) -> String {
    let fields = batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    ddl::format(&TableSchema::new(fields))
}

/// `select` over `input` gives columns and rows; the second is one text for each row.
fn check(input: &RecordBatch, select: &str, schema: &str, expected: &[&str]) {
    let plan = plan(input, Some(select), None).unwrap_or_else(|error| panic!("{select}: {error}"));
    let result = apply(&plan, input).unwrap_or_else(|error| panic!("{select}: {error}"));
    assert_eq!(columns(&result), schema, "{select}");
    assert_eq!(text(&result), expected, "{select}");
}

/// An expression over one row.
fn check_one(input: &RecordBatch, expression: &str, data_type: &str, expected: &str) {
    check(input, &format!("{expression} AS x"), &format!("x {data_type}"), &[expected]);
}
