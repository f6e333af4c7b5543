//! An output's columns against a table's: names, types, NULL, partitions.
//!
//! Names are compared without regard to case, as Spark resolves them; the table's spelling is used. Columns
//! and nested fields of the table that the output doesn't have become NULL. A type of the table that is wider than
//! the output's takes its values as they are.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};

use super::{Columns, TableExpectation, TableProblem, TypeOf};
use crate::config::SchemaEvolution;
use crate::schema::{Origins, can_partition_by, ddl};
use crate::sink::Metadata;
use crate::sink::delta_schema::{child_path, map_fields};
use crate::sink::evolution::{Widening, common, widens};

/// The output's columns as the table has them; `None` when one doesn't fit (and `problems` says why).
pub(super) fn written(
    table: &Schema,
    metadata: &Metadata,
    expected: &TableExpectation<'_>,
    widening: Widening,
    problems: &mut Vec<TableProblem>,
) -> Option<Schema> {
    let before = problems.len();
    let mut fit = Fit {
        evolution: expected.evolution,
        widening,
        partition_columns: &metadata.partition_columns,
        origins: expected.origins,
        problems,
    };
    let columns = fit.fields(table.fields(), expected.schema.fields(), "");
    (problems.len() == before).then(|| Schema::new(columns))
}

/// A comparison under way.
struct Fit<'a> {
    evolution: SchemaEvolution,
    widening: Widening,
    partition_columns: &'a [String],
    origins: &'a Origins,
    problems: &'a mut Vec<TableProblem>,
}

impl Fit<'_> {
    /// The table's field for each of the output's fields, in the output's order.
    fn fields(&mut self, table: &Fields, output: &Fields, parent: &str) -> Vec<FieldRef> {
        let mut fitted = Vec::with_capacity(output.len());
        for field in output {
            let column = child_path(parent, field.name());
            if let [first, _, ..] = same_name(output, field.name()).as_slice() {
                if Arc::ptr_eq(first, field) {
                    self.problems.push(TableProblem::Twice { column });
                }
                continue;
            }
            match same_name(table, field.name()).as_slice() {
                [] => {
                    let output = self.type_of(field.data_type(), &column);
                    let next = self.for_a_missing_column();
                    self.problems.push(TableProblem::NoColumn { column, output, next });
                }
                [only] => {
                    self.field(only, field, &column);
                    fitted.push(Arc::clone(only));
                }
                more => self.problems.push(TableProblem::Ambiguous { column, times: more.len() }),
            }
        }
        for field in table.iter().filter(|f| same_name(output, f.name()).is_empty()) {
            if !field.is_nullable() {
                let column = child_path(parent, field.name());
                self.problems.push(TableProblem::Required { column });
            }
        }
        fitted
    }

    fn field(&mut self, table: &Field, output: &Field, column: &str) {
        if output.is_nullable() && !table.is_nullable() {
            let output = self.type_of(output.data_type(), column);
            self.problems.push(TableProblem::Nullable { column: column.to_owned(), output });
        }
        match (table.data_type(), output.data_type()) {
            (DataType::Struct(theirs), DataType::Struct(ours)) => {
                self.fields(theirs, ours, column);
            }
            (DataType::List(theirs), DataType::List(ours)) => {
                self.field(theirs, ours, &child_path(column, "element"));
            }
            (DataType::Map(theirs, _), DataType::Map(ours, _)) => {
                let (Some(theirs), Some(ours)) = (map_fields(theirs), map_fields(ours)) else {
                    return;
                };
                self.field(theirs.0, ours.0, &child_path(column, "key"));
                self.field(theirs.1, ours.1, &child_path(column, "value"));
            }
            (theirs, ours) if theirs == ours || widens(ours, theirs) => {}
            (theirs, ours) => {
                let problem = TableProblem::Type {
                    column: column.to_owned(),
                    table: ddl::format_type(theirs),
                    output: self.type_of(ours, column),
                    next: self.for_another_type(theirs, ours, column),
                };
                self.problems.push(problem);
            }
        }
    }

    fn type_of(&self, data_type: &DataType, column: &str) -> TypeOf {
        let origin = self.origins.of(column).map(str::to_owned);
        TypeOf { data_type: ddl::format_type(data_type), origin }
    }

    fn for_a_missing_column(&self) -> &'static str {
        match self.evolution {
            SchemaEvolution::Fail => {
                "set `schema_evolution: add_columns`, take it out of the schema, or write to another table"
            }
            // Only the keys of maps stay as they are.
            SchemaEvolution::AddColumns | SchemaEvolution::Widen => {
                "the keys of a map get no more fields: change the schema, or write to another table"
            }
        }
    }

    fn for_another_type(&self, table: &DataType, output: &DataType, column: &str) -> &'static str {
        if common(table, output).is_none() {
            return "change the schema, or write to another table";
        }
        if self.partition_columns.iter().any(|name| name.eq_ignore_ascii_case(column)) {
            return "the type of a partition column stays: change the schema, or write to another table";
        }
        match self.widening {
            Widening::On => {
                "set `schema_evolution: widen`, change the schema, or write to another table"
            }
            Widening::Off if self.evolution == SchemaEvolution::Widen => {
                "change the schema, write to another table, or let the table be widened: ALTER TABLE ... SET \
                 TBLPROPERTIES ('delta.enableTypeWidening' = 'true'), after which delta-rs and Polars can't read it"
            }
            Widening::Off => {
                "change the schema, write to another table, or let the table be widened: \
                 `schema_evolution: widen` here and ALTER TABLE ... SET TBLPROPERTIES \
                 ('delta.enableTypeWidening' = 'true') there, after which delta-rs and Polars can't read it"
            }
            Widening::Preview => {
                "the table has type widening as a preview, in which sluice does not widen: change the schema, or \
                 write to another table"
            }
            Widening::Iceberg => {
                "the table lists Iceberg's compatibility, whose readers know few widened types: change the schema, or \
                 write to another table"
            }
        }
    }
}

fn same_name<'a>(fields: &'a Fields, name: &str) -> Vec<&'a FieldRef> {
    fields.iter().filter(|f| f.name().eq_ignore_ascii_case(name)).collect()
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
