//! An output's columns against a table's: names, types, NULL, partitions.
//!
//! Names are compared without regard to case, as Spark resolves them; the table's spelling is used. Columns
//! and nested fields of the table that the output doesn't have become NULL.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};

use super::{Columns, TableExpectation, TableProblem};
use crate::schema::{can_partition_by, ddl};
use crate::sink::delta_schema::{child_path, map_fields};

/// The output's columns as the table has them; `None` when one doesn't fit (and `problems` says why).
pub(super) fn written(
    table: &Schema,
    output: &Schema,
    problems: &mut Vec<TableProblem>,
) -> Option<Schema> {
    let before = problems.len();
    let columns = fit_fields(table.fields(), output.fields(), "", problems);
    (problems.len() == before).then(|| Schema::new(columns))
}

/// The table's field for each of the output's fields, in the output's order.
fn fit_fields(
    table: &Fields,
    output: &Fields,
    parent: &str,
    problems: &mut Vec<TableProblem>,
) -> Vec<FieldRef> {
    let mut fitted = Vec::with_capacity(output.len());
    for field in output {
        let column = child_path(parent, field.name());
        match same_name(table, field.name()).as_slice() {
            [] => problems.push(TableProblem::NoColumn { column }),
            [only] => {
                fit_field(only, field, &column, problems);
                fitted.push(Arc::clone(only));
            }
            more => problems.push(TableProblem::Ambiguous { column, times: more.len() }),
        }
    }
    for field in table.iter().filter(|f| same_name(output, f.name()).is_empty()) {
        if !field.is_nullable() {
            let column = child_path(parent, field.name());
            problems.push(TableProblem::Required { column });
        }
    }
    fitted
}

fn same_name<'a>(fields: &'a Fields, name: &str) -> Vec<&'a FieldRef> {
    fields.iter().filter(|f| f.name().eq_ignore_ascii_case(name)).collect()
}

fn fit_field(table: &Field, output: &Field, column: &str, problems: &mut Vec<TableProblem>) {
    if output.is_nullable() && !table.is_nullable() {
        problems.push(TableProblem::Nullable { column: column.to_owned() });
    }
    match (table.data_type(), output.data_type()) {
        (DataType::Struct(theirs), DataType::Struct(ours)) => {
            fit_fields(theirs, ours, column, problems);
        }
        (DataType::List(theirs), DataType::List(ours)) => {
            fit_field(theirs, ours, &child_path(column, "element"), problems);
        }
        (DataType::Map(theirs, _), DataType::Map(ours, _)) => {
            let (Some(theirs), Some(ours)) = (map_fields(theirs), map_fields(ours)) else {
                return;
            };
            fit_field(theirs.0, ours.0, &child_path(column, "key"), problems);
            fit_field(theirs.1, ours.1, &child_path(column, "value"), problems);
        }
        (theirs, ours) if theirs == ours => {}
        (theirs, ours) => problems.push(TableProblem::Type {
            column: column.to_owned(),
            table: ddl::format_type(theirs),
            output: ddl::format_type(ours),
        }),
    }
}

/// The table must be partitioned by the output's partition columns, in the same order, and every one of
/// them must be a column that the output has.
pub(super) fn check_partitions(
    table: &Schema,
    partition_columns: &[String],
    expected: &TableExpectation<'_>,
    problems: &mut Vec<TableProblem>,
) {
    let equal = partition_columns.len() == expected.partition_by.len()
        && partition_columns
            .iter()
            .zip(expected.partition_by)
            .all(|(a, b)| a.eq_ignore_ascii_case(b));
    if !equal {
        problems.push(TableProblem::Partitions {
            table: Columns(partition_columns.to_vec()),
            output: Columns(expected.partition_by.to_vec()),
        });
        return;
    }
    for name in partition_columns {
        let refuse = |reason| TableProblem::PartitionColumn { column: name.clone(), reason };
        match same_name(expected.schema.fields(), name).first() {
            None => problems.push(refuse("the output has no such column")),
            Some(field) if !can_partition_by(field.data_type()) => {
                problems.push(refuse("Delta Lake cannot partition by a nested type"));
            }
            Some(_) if table.field_with_name(name).is_err() => {
                problems.push(refuse("the table has no such column"));
            }
            Some(_) => {}
        }
    }
    if !partition_columns.is_empty() && partition_columns.len() == expected.schema.fields().len() {
        let column = partition_columns[partition_columns.len() - 1].clone();
        let reason = "no column would be left for the data files";
        problems.push(TableProblem::PartitionColumn { column, reason });
    }
}
