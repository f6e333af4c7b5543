//! Whether sluice may write to a table: its protocol, features, columns and partitions, checked before
//! anything is read.
//!
//! Guarantees: every problem is reported at once, by name, with what to do; what passes is written exactly
//! as the Delta protocol asks of a writer that appends. The list of features with the reason for each is
//! [`FEATURES`]; docs/reference/table-features.md is held equal to it by a test.

mod columns;
mod list;

use std::fmt;
use std::path::PathBuf;

use arrow::datatypes::{Schema, SchemaRef};

pub(super) use self::list::is_on;
pub use self::list::{FEATURES, Feature, Treatment};
use super::delta_schema::{self, SchemaProblem};
use super::files::{Bounds, FilesSpec};
use super::stats::IndexedColumns;
use super::{Metadata, Protocol};
use crate::config::Files;

/// The highest protocol versions there are; both mean "see the feature lists".
const READER_VERSION: i32 = 3;
const WRITER_VERSION: i32 = 7;

/// What an output wants to write.
#[derive(Debug, Clone, Copy)]
pub struct TableExpectation<'a> {
    /// The columns of a chunk's rows, in order.
    pub schema: &'a Schema,
    /// Columns of `schema`, in order.
    pub partition_by: &'a [String],
}

/// How an output's rows go into a table that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritePlan {
    /// The output's columns in its order, with the names and types that the table gives them.
    pub schema: SchemaRef,
    /// In the table's order and spelling.
    pub partition_columns: Vec<String>,
    pub indexed: IndexedColumns,
}

impl WritePlan {
    /// What data files are made by; `local_root` is [`super::files::local_root`]'s.
    pub fn files(&self, files: &Files, local_root: Option<PathBuf>) -> FilesSpec {
        FilesSpec {
            schema: self.schema.clone(),
            partition_columns: self.partition_columns.clone(),
            indexed: self.indexed.clone(),
            target_size: files.target_size,
            compression: files.compression,
            local_root,
            bounds: Bounds::default(),
        }
    }
}

/// One reason why an output can't write to a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableProblem {
    #[error("there is no table and `create: never` is set: create it, or set `create: if_missing`")]
    NoTable,
    #[error(
        "`{column}`: the table has no such column: add it to the table or take it out of the schema"
    )]
    NoColumn { column: String },
    #[error("`{column}`: table {table}, output {output}: change the schema or the table")]
    Type { column: String, table: String, output: String },
    #[error(
        "`{column}`: NOT NULL in the table, but the output may have none: declare it NOT NULL in the schema, or \
         drop NOT NULL in the table"
    )]
    Nullable { column: String },
    #[error(
        "`{column}`: NOT NULL in the table, but the output has no such column: add it to the schema, or drop \
         NOT NULL in the table"
    )]
    Required { column: String },
    #[error(
        "`{column}`: the table has it {times} times, told apart by case only: rename them in the table"
    )]
    Ambiguous { column: String, times: usize },
    #[error(
        "partitions: table by {table}, output by {output}: set `partition_by` to the table's columns, in its order"
    )]
    Partitions { table: Columns, output: Columns },
    #[error("partition column `{column}`: {reason}: partition by another column")]
    PartitionColumn { column: String, reason: &'static str },
    #[error("table feature {feature}: {reason}: {next}")]
    Feature { feature: String, reason: String, next: &'static str },
    #[error(
        "the table's protocol is reader {reader}, writer {writer}; sluice knows up to reader {READER_VERSION}, \
         writer {WRITER_VERSION}: upgrade sluice"
    )]
    Protocol { reader: i32, writer: i32 },
    #[error("{0}: change the schema or the table")]
    Schema(SchemaProblem),
    #[error("key column `{column}`: {reason}: choose another `key`")]
    KeyColumn { column: String, reason: &'static str },
}

impl TableProblem {
    /// The stable code of the message.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoTable => "SL4201",
            Self::NoColumn { .. } => "SL4202",
            Self::Type { .. } => "SL4203",
            Self::Nullable { .. } => "SL4204",
            Self::Required { .. } => "SL4205",
            Self::Ambiguous { .. } => "SL4206",
            Self::Partitions { .. } => "SL4207",
            Self::PartitionColumn { .. } => "SL4208",
            Self::Feature { .. } => "SL4209",
            Self::Protocol { .. } => "SL4210",
            Self::Schema(_) => "SL4211",
            Self::KeyColumn { .. } => "SL4220",
        }
    }
}

/// Column names for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns(pub Vec<String>);

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        let quoted: Vec<String> = self.0.iter().map(|name| format!("`{name}`")).collect();
        f.write_str(&quoted.join(", "))
    }
}

/// Checks a table against what an output wants to write.
///
/// # Errors
/// With every problem there is.
pub fn check(
    protocol: &Protocol,
    metadata: &Metadata,
    expected: &TableExpectation<'_>,
) -> Result<WritePlan, Vec<TableProblem>> {
    let mut problems = Vec::new();
    if !(1..=READER_VERSION).contains(&protocol.min_reader_version)
        || !(1..=WRITER_VERSION).contains(&protocol.min_writer_version)
    {
        problems.push(TableProblem::Protocol {
            reader: protocol.min_reader_version,
            writer: protocol.min_writer_version,
        });
    }
    problems.extend(list::check(protocol, metadata, expected));
    let plan = match delta_schema::from_json(&metadata.schema_string) {
        Ok(table) => plan(&table, metadata, expected, &mut problems),
        Err(problem) => {
            problems.push(TableProblem::Schema(problem));
            None
        }
    };
    match plan {
        Some(plan) if problems.is_empty() => Ok(plan),
        _ => Err(problems),
    }
}

fn plan(
    table: &Schema,
    metadata: &Metadata,
    expected: &TableExpectation<'_>,
    problems: &mut Vec<TableProblem>,
) -> Option<WritePlan> {
    let schema = columns::written(table, expected.schema, problems);
    columns::check_partitions(table, &metadata.partition_columns, expected, problems);
    Some(WritePlan {
        schema: schema?.into(),
        partition_columns: metadata.partition_columns.clone(),
        indexed: IndexedColumns::of(table, &metadata.partition_columns, &metadata.configuration),
    })
}

/// What a table must not have when rows are replaced, besides what [`check`] refuses.
pub(super) fn check_rewrites(metadata: &Metadata) -> Vec<TableProblem> {
    let refused = [
        (
            "appendOnly (delta.appendOnly)",
            "delta.appendOnly",
            "rows may only be added, and `mode: upsert` replaces rows",
            "unset the property, or use `mode: append` or `insert_new`",
        ),
        (
            "changeDataFeed (delta.enableChangeDataFeed)",
            "delta.enableChangeDataFeed",
            "commits that replace rows must come with change files, which sluice does not write",
            "unset the property, or use `mode: append` or `insert_new`",
        ),
    ];
    let on = refused.into_iter().filter(|(_, property, ..)| is_on(metadata, property));
    on.map(|(feature, _, reason, next)| TableProblem::Feature {
        feature: feature.to_owned(),
        reason: reason.to_owned(),
        next,
    })
    .collect()
}

/// Whether a feature concerns readers too, and so belongs in both lists of the protocol.
pub fn is_for_readers(feature: &str) -> bool {
    FEATURES.iter().any(|f| f.name == feature && f.for_readers)
}

#[cfg(test)]
mod tests;
