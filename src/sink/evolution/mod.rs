//! Schema evolution: what has to change in a table so that an output's rows fit.
//!
//! Owns which columns a policy adds and which types it widens, and the schema and protocol that come of it.
//! Guarantees: the table's columns keep their order, spelling and metadata; what is added is nullable and stands at
//! the end of its struct; no partition column changes and no new column becomes one; files that are there stay
//! readable. Does not: judge (what evolution leaves as it is, [`super::features`] refuses) or write anything.

mod merge;
mod protocol;
mod widening;

use std::fmt;

use arrow::datatypes::Schema;
use serde_json::Value;

use self::merge::Merge;
pub(super) use self::widening::{common, widens};
use super::delta_schema::SchemaProblem;
use super::features::{TableExpectation, is_on, listed};
use super::{Metadata, Protocol};
use crate::config::SchemaEvolution;

/// A table's new columns and types, to be committed together with the first rows that need them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaChange {
    /// The schema that the change was worked out from: on any other it is void.
    pub(super) before: String,
    /// The new `schemaString`.
    pub(super) after: String,
    /// `None`: it stays as it is.
    pub(super) protocol: Option<Protocol>,
    /// In the table's order, the added ones of a struct in the rows'.
    pub columns: Vec<ColumnChange>,
}

/// What changes about one column, nested ones by their dotted path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnChange {
    Added { column: String, data_type: String },
    Widened { column: String, from: String, to: String },
}

impl fmt::Display for ColumnChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { column, data_type } => write!(f, "`{column}` {data_type}"),
            Self::Widened { column, from, to } => write!(f, "`{column}` from {from} to {to}"),
        }
    }
}

impl SchemaChange {
    /// A table's metadata with the change in it.
    pub fn applied_to(&self, metadata: &Metadata) -> Metadata {
        Metadata { schema_string: self.after.clone(), ..metadata.clone() }
    }

    pub(super) fn added(&self) -> impl Iterator<Item = &ColumnChange> {
        self.columns.iter().filter(|change| matches!(change, ColumnChange::Added { .. }))
    }

    pub(super) fn widened(&self) -> impl Iterator<Item = &ColumnChange> {
        self.columns.iter().filter(|change| matches!(change, ColumnChange::Widened { .. }))
    }
}

/// In the infinitive: ``add columns `x` INT, `a.b` STRING; widen `n` from INT to BIGINT``.
impl fmt::Display for SchemaChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |changes: Vec<String>| changes.join(", ");
        let added = list(self.added().map(ToString::to_string).collect());
        let widened = list(self.widened().map(ToString::to_string).collect());
        let mut parts = Vec::new();
        if !added.is_empty() {
            parts.push(format!("add columns {added}"));
        }
        if !widened.is_empty() {
            parts.push(format!("widen {widened}"));
        }
        if let Some(protocol) = &self.protocol {
            let Protocol { min_reader_version, min_writer_version, .. } = protocol;
            parts.push(format!(
                "raise the protocol to reader version {min_reader_version}, writer version {min_writer_version} (timestampNtz)"
            ));
        }
        f.write_str(&parts.join("; "))
    }
}

/// Whether types may be widened in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Widening {
    On,
    /// `delta.enableTypeWidening` isn't set, or the protocol doesn't list the feature.
    Off,
    /// The preview wants the version of each change, which a commit doesn't know before it lands.
    Preview,
    /// Iceberg's readers know fewer changes.
    Iceberg,
}

impl Widening {
    pub(super) fn of(protocol: &Protocol, metadata: &Metadata) -> Self {
        let listed = listed(protocol);
        let lists = |name: &str| listed.iter().any(|listed| listed == name);
        if !is_on(metadata, "delta.enableTypeWidening") {
            Self::Off
        } else if lists("typeWidening-preview") {
            Self::Preview
        } else if !lists("typeWidening") {
            Self::Off
        } else if lists("icebergCompatV1") || lists("icebergCompatV2") {
            Self::Iceberg
        } else {
            Self::On
        }
    }
}

/// What would have to change in a table; `None`: nothing that the policy allows. `table`: its columns.
///
/// # Errors
/// When its `schemaString` is not what the protocol says.
pub(super) fn change(
    protocol: &Protocol,
    metadata: &Metadata,
    table: &Schema,
    expected: &TableExpectation<'_>,
) -> Result<Option<SchemaChange>, SchemaProblem> {
    if expected.evolution == SchemaEvolution::Fail {
        return Ok(None);
    }
    let widens = expected.evolution == SchemaEvolution::Widen
        && Widening::of(protocol, metadata) == Widening::On;
    let merge = Merge::of(table, expected.schema, &metadata.partition_columns, widens);
    if merge.is_empty() {
        return Ok(None);
    }
    let mut schema: Value = serde_json::from_str(&metadata.schema_string)
        .map_err(|e| SchemaProblem::Malformed(e.to_string()))?;
    merge.apply(&mut schema)?;
    Ok(Some(SchemaChange {
        before: metadata.schema_string.clone(),
        after: schema.to_string(),
        protocol: merge.has_local_time().then(|| protocol::with_local_time(protocol)).flatten(),
        columns: merge.into_columns(),
    }))
}

#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;
