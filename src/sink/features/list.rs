//! Delta's table features, one by one: what sluice does about each, and why.
//!
//! By the Delta protocol, "Table Features" and the section of each feature, for a writer that only appends.

use serde_json::Value;

use super::{TableExpectation, TableProblem};
use crate::sink::delta_schema::{self, child_path};
use crate::sink::stats::IndexedColumns;
use crate::sink::{Metadata, Protocol};

/// A table feature by its name in the protocol.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    pub name: &'static str,
    /// Listed for readers as well as for writers.
    pub for_readers: bool,
    pub treatment: Treatment,
    /// What it asks of a writer that appends, and what follows for sluice.
    pub reason: &'static str,
}

/// What sluice does about a table with a feature.
#[derive(Debug, Clone, Copy)]
pub enum Treatment {
    /// Writes to it, correctly.
    Supported,
    /// Writes to it unless the feature is in use, which this tells (where); then refuses it.
    UnlessUsed { used: fn(&Table<'_>) -> Option<String>, next: &'static str },
    /// Refuses it.
    Refused { next: &'static str },
}

impl Treatment {
    /// As the reference page says it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::UnlessUsed { .. } => "refused where it is in use",
            Self::Refused { .. } => "refused",
        }
    }
}

/// What a feature's use is told from.
pub struct Table<'a> {
    metadata: &'a Metadata,
    expected: &'a TableExpectation<'a>,
    /// The columns as JSON, nested ones with their dotted path.
    columns: Vec<(String, Value)>,
    listed: &'a [String],
}

const DROP_FEATURE: &str =
    "drop the feature (ALTER TABLE ... DROP FEATURE) or write to another table";
const NEW_TABLE: &str = "write to a table without it";

/// Every feature known, in the order of the protocol's appendix, previews and others after.
pub const FEATURES: &[Feature] = &[
    Feature {
        name: "appendOnly",
        for_readers: false,
        treatment: Treatment::Supported,
        reason: "rows may only be added: `mode: append` and `insert_new` only add; `upsert` refuses the table when delta.appendOnly is set",
    },
    Feature {
        name: "invariants",
        for_readers: false,
        treatment: Treatment::UnlessUsed {
            used: |t| t.column_with("delta.invariants"),
            next: "remove the invariant from the column",
        },
        reason: "each row must satisfy an SQL expression, which sluice does not evaluate",
    },
    Feature {
        name: "checkConstraints",
        for_readers: false,
        treatment: Treatment::UnlessUsed {
            used: |t| t.property_under("delta.constraints."),
            next: "drop the constraint (ALTER TABLE ... DROP CONSTRAINT)",
        },
        reason: "each row must satisfy an SQL expression, which sluice does not evaluate",
    },
    Feature {
        name: "generatedColumns",
        for_readers: false,
        treatment: Treatment::UnlessUsed {
            used: |t| t.column_with("delta.generationExpression"),
            next: "use a plain column",
        },
        reason: "values must equal an SQL expression, which sluice does not evaluate",
    },
    Feature {
        name: "allowColumnDefaults",
        for_readers: false,
        treatment: Treatment::UnlessUsed {
            used: |t| t.default_of_a_column_left_out(),
            next: "add the column to the schema, or drop its default",
        },
        reason: "a column that is left out must get its default, an SQL expression, which sluice does not evaluate",
    },
    Feature {
        name: "changeDataFeed",
        for_readers: false,
        treatment: Treatment::Supported,
        reason: "commits that only add files need no change files; `mode: upsert` refuses the table when delta.enableChangeDataFeed is set",
    },
    Feature {
        name: "columnMapping",
        for_readers: true,
        treatment: Treatment::UnlessUsed {
            used: |t| t.property_other_than("delta.columnMapping.mode", "none"),
            next: "rewrite the table without it",
        },
        reason: "files must use physical names and field ids, which sluice does not write yet",
    },
    Feature {
        name: "identityColumns",
        for_readers: false,
        treatment: Treatment::UnlessUsed {
            used: |t| t.column_with("delta.identity."),
            next: "use a plain column",
        },
        reason: "values must be drawn from a counter in the table, which sluice does not keep",
    },
    Feature {
        name: "deletionVectors",
        for_readers: true,
        treatment: Treatment::Supported,
        reason: "new files have none; where `mode: upsert` writes a file again, the rows that its vector hides stay out",
    },
    Feature {
        name: "rowTracking",
        for_readers: false,
        treatment: Treatment::Refused { next: DROP_FEATURE },
        reason: "each file must be given row ids from a counter in the table, which sluice does not keep",
    },
    Feature {
        name: "timestampNtz",
        for_readers: true,
        treatment: Treatment::Supported,
        reason: "TIMESTAMP_NTZ columns are written as such",
    },
    Feature {
        name: "domainMetadata",
        for_readers: false,
        treatment: Treatment::Supported,
        reason: "sluice changes no domain's metadata",
    },
    Feature {
        name: "v2Checkpoint",
        for_readers: true,
        treatment: Treatment::Supported,
        reason: "checkpoints of both kinds are read and written",
    },
    Feature {
        name: "catalogManaged",
        for_readers: true,
        treatment: Treatment::Refused { next: NEW_TABLE },
        reason: "commits must go through a catalog, and sluice commits to the store",
    },
    Feature {
        name: "icebergCompatV1",
        for_readers: false,
        treatment: Treatment::UnlessUsed {
            used: |t| t.property_on("delta.enableIcebergCompatV1"),
            next: "switch it off",
        },
        reason: "it needs column mapping and partition values in the files",
    },
    Feature {
        name: "icebergCompatV2",
        for_readers: false,
        treatment: Treatment::UnlessUsed {
            used: |t| t.property_on("delta.enableIcebergCompatV2"),
            next: "switch it off",
        },
        reason: "it needs column mapping and partition values in the files",
    },
    Feature {
        name: "icebergCompatV3",
        for_readers: false,
        treatment: Treatment::UnlessUsed {
            used: |t| t.property_on("delta.enableIcebergCompatV3"),
            next: "switch it off",
        },
        reason: "it needs column mapping, row tracking and partition values in the files",
    },
    Feature {
        name: "clustering",
        for_readers: false,
        treatment: Treatment::UnlessUsed {
            used: |t| t.column_without_statistics(),
            next: "give the output all of the table's columns, and set delta.dataSkippingNumIndexedCols to -1",
        },
        reason: "clustering columns must have statistics; sluice is sure of that only when every column has",
    },
    Feature {
        name: "vacuumProtocolCheck",
        for_readers: true,
        treatment: Treatment::Supported,
        reason: "it concerns VACUUM, which sluice does not run",
    },
    Feature {
        name: "inCommitTimestamp",
        for_readers: false,
        treatment: Treatment::UnlessUsed {
            used: |t| t.property_on("delta.enableInCommitTimestamps"),
            next: "switch it off",
        },
        reason: "commits must carry ever growing timestamps, which sluice does not write yet",
    },
    Feature {
        name: "typeWidening",
        for_readers: true,
        treatment: Treatment::Supported,
        reason: "`schema_evolution: widen` widens and records each change in the column's metadata; rows of narrower types are cast",
    },
    Feature {
        name: "variantType",
        for_readers: true,
        treatment: Treatment::UnlessUsed { used: |t| t.column_of_type("variant"), next: NEW_TABLE },
        reason: "VARIANT columns can't be written yet",
    },
    Feature {
        name: "variantShredding",
        for_readers: true,
        treatment: Treatment::UnlessUsed { used: |t| t.column_of_type("variant"), next: NEW_TABLE },
        reason: "VARIANT columns can't be written yet",
    },
    Feature {
        name: "checkpointProtection",
        for_readers: false,
        treatment: Treatment::Refused { next: DROP_FEATURE },
        reason: "the log must not be cleaned below a version, and sluice cleans by age",
    },
    Feature {
        name: "materializePartitionColumns",
        for_readers: false,
        treatment: Treatment::Refused { next: DROP_FEATURE },
        reason: "files must hold the partition columns too, and sluice leaves them out",
    },
    Feature {
        name: "coordinatedCommits-preview",
        for_readers: true,
        treatment: Treatment::Refused { next: DROP_FEATURE },
        reason: "commits must go through a coordinator, and sluice commits to the store",
    },
    Feature {
        name: "catalogOwned-preview",
        for_readers: true,
        treatment: Treatment::Refused { next: NEW_TABLE },
        reason: "commits must go through a catalog, and sluice commits to the store",
    },
    Feature {
        name: "inCommitTimestamp-preview",
        for_readers: false,
        treatment: Treatment::UnlessUsed {
            used: |t| t.property_on("delta.enableInCommitTimestamps-preview"),
            next: "switch it off",
        },
        reason: "commits must carry ever growing timestamps, which sluice does not write yet",
    },
    Feature {
        name: "typeWidening-preview",
        for_readers: true,
        treatment: Treatment::Supported,
        reason: "rows of narrower types are cast; sluice widens nothing, for the preview wants the version of each change",
    },
    Feature {
        name: "variantType-preview",
        for_readers: true,
        treatment: Treatment::UnlessUsed { used: |t| t.column_of_type("variant"), next: NEW_TABLE },
        reason: "VARIANT columns can't be written yet",
    },
    Feature {
        name: "variantShredding-preview",
        for_readers: true,
        treatment: Treatment::UnlessUsed { used: |t| t.column_of_type("variant"), next: NEW_TABLE },
        reason: "VARIANT columns can't be written yet",
    },
];

/// Writer versions before the feature lists, with what each one added.
const LEGACY_WRITER: &[(i32, &[&str])] = &[
    (2, &["appendOnly", "invariants"]),
    (3, &["checkConstraints"]),
    (4, &["changeDataFeed", "generatedColumns"]),
    (5, &["columnMapping"]),
    (6, &["identityColumns"]),
];

/// The problems that a table's features make.
pub(super) fn check(
    protocol: &Protocol,
    metadata: &Metadata,
    expected: &TableExpectation<'_>,
) -> Vec<TableProblem> {
    let listed = listed(protocol);
    let table = Table { metadata, expected, columns: json_columns(metadata), listed: &listed };
    let mut problems: Vec<TableProblem> =
        FEATURES.iter().filter_map(|feature| feature.problem(&table)).collect();
    for name in listed.iter().filter(|name| !is_known(name)) {
        problems.push(TableProblem::Feature {
            feature: name.clone(),
            reason: "sluice does not know it, so it can't write to the table safely".to_owned(),
            next: "drop the feature (ALTER TABLE ... DROP FEATURE) or upgrade sluice",
        });
    }
    problems
}

/// What a table must not have when rows are replaced: features that ask nothing of who only adds.
pub(super) fn check_rewrites(metadata: &Metadata) -> Vec<TableProblem> {
    let refused = [
        (
            "appendOnly",
            "delta.appendOnly",
            "rows may only be added, and `mode: upsert` and `emit: changes` replace rows",
        ),
        (
            "changeDataFeed",
            "delta.enableChangeDataFeed",
            "commits that replace rows must come with change files, which sluice does not write",
        ),
    ];
    let on = refused.into_iter().filter(|(_, property, _)| is_on(metadata, property));
    let problem = |(feature, property, reason): (&str, &str, &str)| TableProblem::Feature {
        feature: format!("{feature} ({property})"),
        reason: reason.to_owned(),
        next: "unset the property, or use `mode: append`, `insert_new` or `emit: final`",
    };
    on.map(problem).collect()
}

fn is_known(name: &str) -> bool {
    // An old spelling of timestampNtz that some writers left behind.
    name == "timestampWithoutTimezone" || FEATURES.iter().any(|f| f.name == name)
}

/// Whether a boolean property is set to true.
pub(in crate::sink) fn is_on(metadata: &Metadata, property: &str) -> bool {
    metadata.configuration.get(property).is_some_and(|v| v.trim().eq_ignore_ascii_case("true"))
}

/// The features that a protocol brings, by its lists or by its versions.
pub(in crate::sink) fn listed(protocol: &Protocol) -> Vec<String> {
    let mut names: Vec<String> = match &protocol.writer_features {
        Some(features) => features.clone(),
        None => LEGACY_WRITER
            .iter()
            .filter(|(version, _)| *version <= protocol.min_writer_version)
            .flat_map(|(_, features)| features.iter().map(|f| (*f).to_owned()))
            .collect(),
    };
    for name in protocol.reader_features.iter().flatten() {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

impl Feature {
    /// Use counts whether or not the protocol lists the feature: a table that says it has, say, constraints
    /// is taken at its word. A feature that is only clustering's own is told by the list alone.
    fn problem(&self, table: &Table<'_>) -> Option<TableProblem> {
        let is_listed = table.listed.iter().any(|name| name == self.name);
        let (place, next) = match self.treatment {
            Treatment::Supported => return None,
            Treatment::Refused { next } => (is_listed.then(String::new)?, next),
            Treatment::UnlessUsed { used, next } => {
                let told_by_list = self.name == "clustering" || self.name.starts_with("variant");
                (if told_by_list && !is_listed { None } else { used(table) }?, next)
            }
        };
        let place = if place.is_empty() { place } else { format!(" ({place})") };
        Some(TableProblem::Feature {
            feature: format!("{}{place}", self.name),
            reason: self.reason.to_owned(),
            next,
        })
    }
}

impl Table<'_> {
    /// The first column that has this metadata key, or keys below it when it ends in a dot.
    fn column_with(&self, key: &str) -> Option<String> {
        self.columns.iter().find(|(_, f)| has_metadata(f, key)).map(|(path, _)| path.clone())
    }

    fn default_of_a_column_left_out(&self) -> Option<String> {
        let left_out = |(path, f): &&(String, Value)| {
            has_metadata(f, "CURRENT_DEFAULT") && !self.is_written(path)
        };
        self.columns.iter().find(left_out).map(|(path, _)| path.clone())
    }

    fn column_of_type(&self, name: &str) -> Option<String> {
        let is = |field: &Value| mentions_type(&field["type"], name);
        self.columns.iter().find(|(_, field)| is(field)).map(|(path, _)| path.clone())
    }

    fn property_under(&self, prefix: &str) -> Option<String> {
        let mut keys = self.metadata.configuration.keys();
        keys.find(|key| key.to_ascii_lowercase().starts_with(prefix)).cloned()
    }

    fn property_on(&self, property: &str) -> Option<String> {
        is_on(self.metadata, property).then(|| property.to_owned())
    }

    fn property_other_than(&self, property: &str, unused: &str) -> Option<String> {
        let value = self.metadata.configuration.get(property)?;
        (!value.eq_ignore_ascii_case(unused)).then(|| format!("{property} = {value}"))
    }

    /// Whether the output has this top-level column of the table.
    fn is_written(&self, column: &str) -> bool {
        self.expected.schema.fields().iter().any(|f| f.name().eq_ignore_ascii_case(column))
    }

    fn column_without_statistics(&self) -> Option<String> {
        let table = delta_schema::from_json(&self.metadata.schema_string).ok()?;
        let partitions = &self.metadata.partition_columns;
        let indexed = IndexedColumns::of(&table, partitions, &self.metadata.configuration);
        let leaves = IndexedColumns::leaves(&table, partitions);
        let without = |leaf: &&Vec<String>| !indexed.contains(leaf) || !self.is_written(&leaf[0]);
        leaves.iter().find(without).map(|leaf| leaf.join("."))
    }
}

fn has_metadata(field: &Value, key: &str) -> bool {
    let mut keys = field["metadata"].as_object().into_iter().flat_map(|m| m.keys());
    keys.any(|k| k == key || (key.ends_with('.') && k.starts_with(key)))
}

/// All fields of a `schemaString`, nested ones included; none when it isn't one.
fn json_columns(metadata: &Metadata) -> Vec<(String, Value)> {
    let mut columns = Vec::new();
    let schema: Value = serde_json::from_str(&metadata.schema_string).unwrap_or_default();
    collect_columns(&schema, "", &mut columns);
    columns
}

fn collect_columns(data_type: &Value, parent: &str, out: &mut Vec<(String, Value)>) {
    for field in data_type["fields"].as_array().into_iter().flatten() {
        let path = child_path(parent, field["name"].as_str().unwrap_or_default());
        out.push((path.clone(), field.clone()));
        collect_columns(&field["type"], &path, out);
    }
    for part in ["elementType", "keyType", "valueType"] {
        if data_type[part].is_object() {
            collect_columns(&data_type[part], parent, out);
        }
    }
}

fn mentions_type(data_type: &Value, name: &str) -> bool {
    let part = |part: &&str| data_type.get(*part).is_some_and(|inner| mentions_type(inner, name));
    data_type.as_str() == Some(name) || ["elementType", "keyType", "valueType"].iter().any(part)
}
