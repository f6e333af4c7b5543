//! Whether sluice may write to a table: its protocol, features, columns and partitions, checked before
//! anything is read. What may be changed about it is [`super::evolution`]'s.
//!
//! Guarantees: every problem is reported at once, by name, with what to do; what passes is written exactly
//! as the Delta protocol asks of a writer that appends. The list of features with the reason for each is
//! [`FEATURES`]; docs/reference/table-features.md is held equal to it by a test.

mod columns;
mod list;

use std::fmt;
use std::path::PathBuf;

use arrow::datatypes::{Schema, SchemaRef};

pub use self::list::{FEATURES, Feature, Treatment};
pub(super) use self::list::{is_on, listed};
use super::delta_schema::{self, SchemaProblem};
use super::evolution::{self, SchemaChange, Widening};
use super::files::{Bounds, FilesSpec};
use super::keyed::KeyColumns;
use super::stats::IndexedColumns;
use super::{Metadata, Protocol};
use crate::config::{Files, Mode, SchemaEvolution};
use crate::schema::Origins;

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
    /// What rows do to the table.
    pub mode: &'a Mode,
    /// What may be changed in the table so that the rows fit.
    pub evolution: SchemaEvolution,
    /// Where the columns' types come from, for messages.
    pub origins: &'a Origins,
}

impl<'a> TableExpectation<'a> {
    /// A table that rows are appended to, and that must be as these columns want it.
    pub fn fixed(schema: &'a Schema, partition_by: &'a [String]) -> Self {
        Self {
            schema,
            partition_by,
            mode: &Mode::Append,
            evolution: SchemaEvolution::Fail,
            origins: Origins::NONE,
        }
    }
}

/// How an output's rows go into a table that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritePlan {
    /// The output's columns in its order, with the names and types that the table gives them.
    pub schema: SchemaRef,
    /// In the table's order and spelling.
    pub partition_columns: Vec<String>,
    pub indexed: IndexedColumns,
    /// To be committed together with the first of these rows; `None`: they fit as the table is.
    pub change: Option<SchemaChange>,
}

impl WritePlan {
    fn new(
        schema: Schema,
        table: &Schema,
        metadata: &Metadata,
        change: Option<SchemaChange>,
    ) -> Self {
        let partition_columns = metadata.partition_columns.clone();
        let indexed = IndexedColumns::of(table, &partition_columns, &metadata.configuration);
        Self { schema: schema.into(), partition_columns, indexed, change }
    }

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
    #[error("`{column}`: the table has no such column, output {output}: {next}")]
    NoColumn { column: String, output: TypeOf, next: &'static str },
    #[error("`{column}`: table {table}, output {output}: {next}")]
    Type { column: String, table: String, output: TypeOf, next: &'static str },
    #[error(
        "`{column}`: NOT NULL in the table, but the output, {output}, may have none: declare it NOT NULL in the \
         schema, or drop NOT NULL in the table"
    )]
    Nullable { column: String, output: TypeOf },
    #[error(
        "`{column}`: NOT NULL in the table, but the output has no such column: add it to the schema, or drop \
         NOT NULL in the table"
    )]
    Required { column: String },
    #[error(
        "`{column}`: the table has it {times} times, told apart by case only: rename them in the table"
    )]
    Ambiguous { column: String, times: usize },
    #[error("`{column}`: the output has it twice, told apart by case only: rename one of them")]
    Twice { column: String },
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
    /// Where the column comes from that doesn't fit, if that is known.
    pub fn origin(&self) -> Option<&str> {
        match self {
            Self::NoColumn { output, .. }
            | Self::Type { output, .. }
            | Self::Nullable { output, .. } => output.origin.as_deref(),
            _ => None,
        }
    }

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
            Self::Twice { .. } => "SL4212",
            Self::KeyColumn { .. } => "SL4220",
        }
    }
}

/// The type of an output's column for a message, with its origin where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeOf {
    pub data_type: String,
    /// `schema id 7`
    pub origin: Option<String>,
}

impl fmt::Display for TypeOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.data_type)?;
        match &self.origin {
            Some(origin) => write!(f, " ({origin})"),
            None => Ok(()),
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
    let table = evolved(protocol, metadata, expected);
    let change = table.as_ref().ok().and_then(|(_, change)| change.as_ref());
    // The table is looked at as it will be when the rows are in it.
    let after = change.map(|change| change.applied_to(metadata));
    let metadata = after.as_ref().unwrap_or(metadata);
    problems.extend(list::check(protocol, metadata, expected));
    let plan = match table {
        Ok((table, change)) => {
            let widening = Widening::of(protocol, metadata);
            let schema = columns::written(&table, metadata, expected, widening, &mut problems);
            columns::check_partitions(&table, &metadata.partition_columns, expected, &mut problems);
            problems.extend(check_key(&table, metadata, expected.mode));
            schema.map(|schema| WritePlan::new(schema, &table, metadata, change))
        }
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

/// The table's columns as they will be, and what has to change for that.
fn evolved(
    protocol: &Protocol,
    metadata: &Metadata,
    expected: &TableExpectation<'_>,
) -> Result<(Schema, Option<SchemaChange>), SchemaProblem> {
    let table = delta_schema::from_json(&metadata.schema_string)?;
    match evolution::change(protocol, metadata, &table, expected)? {
        Some(change) => Ok((delta_schema::from_json(&change.after)?, Some(change))),
        None => Ok((table, None)),
    }
}

/// What speaks against a mode with a key, or one that replaces rows.
fn check_key(table: &Schema, metadata: &Metadata, mode: &Mode) -> Vec<TableProblem> {
    let columns = KeyColumns::new(table, &metadata.partition_columns, mode.key());
    let mut problems = columns.err().unwrap_or_default();
    if matches!(mode, Mode::Upsert { .. } | Mode::OpenWindows) {
        problems.extend(list::check_rewrites(metadata));
    }
    problems
}

/// Whether a feature concerns readers too, and so belongs in both lists of the protocol.
pub fn is_for_readers(feature: &str) -> bool {
    FEATURES.iter().any(|f| f.name == feature && f.for_readers)
}

#[cfg(test)]
mod tests;
