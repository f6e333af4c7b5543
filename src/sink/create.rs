//! Creating a table: the first commit, version 0.
//!
//! Guarantees: the protocol is the lowest that the columns and the properties need (reader 1, writer 2 for
//! most), so that any reader reads the table; nothing is created that [`super::features`] would refuse; of
//! several creators one wins, and the others find its table.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Schema};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use serde_json::json;
use uuid::Uuid;

use super::definition::{Format, Metadata, Protocol};
use super::delta_schema;
use super::features::{self, TableExpectation, TableProblem};

/// Where version 0 is, below the table's root.
pub const FIRST_COMMIT: &str = "_delta_log/00000000000000000000.json";

/// Spark's way of asking for a feature at creation; the feature is kept, the property is not.
const FEATURE_REQUEST: &str = "delta.feature.";

/// A table that does not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTable {
    pub protocol: Protocol,
    pub metadata: Metadata,
}

impl NewTable {
    /// A table for an output. `now` is in milliseconds since the Unix epoch.
    pub fn new(
        expected: &TableExpectation<'_>,
        properties: &BTreeMap<String, String>,
        now: i64,
    ) -> Result<Self, Vec<TableProblem>> {
        let schema_string = delta_schema::to_json(expected.schema)
            .map_err(|problem| vec![TableProblem::Schema(problem)])?;
        let (requests, configuration) =
            properties.clone().into_iter().partition(|(key, _)| key.starts_with(FEATURE_REQUEST));
        let metadata = Metadata {
            id: Uuid::new_v4().to_string(),
            name: None,
            description: None,
            format: Format::default(),
            schema_string,
            partition_columns: spelled(expected),
            configuration,
            created_time: Some(now),
        };
        let protocol = lowest_protocol(expected.schema, &metadata, &requests);
        features::check(&protocol, &metadata, expected)?;
        Ok(Self { protocol, metadata })
    }

    /// The lines of version 0. `now` is in milliseconds since the Unix epoch.
    pub fn first_commit(&self, now: i64) -> String {
        let info = json!({"commitInfo": {
            "timestamp": now,
            "operation": "CREATE TABLE",
            "operationParameters": {},
            "engineInfo": concat!("sluice/", env!("CARGO_PKG_VERSION")),
        }});
        let protocol = json!({"protocol": self.protocol});
        let metadata = json!({"metaData": self.metadata});
        format!("{info}\n{protocol}\n{metadata}\n")
    }
}

/// What became of an attempt to create a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    Created,
    /// Somebody was first (or an earlier try of ours landed without an answer): check that table.
    Exists,
}

/// Puts version 0 where nothing is; `store` is rooted at the table. After an error the outcome is open:
/// look whether the table is there now, and try again if it isn't.
pub async fn create(
    store: &dyn ObjectStore,
    table: &NewTable,
    now: i64,
) -> Result<Creation, StoreError> {
    let lines = PutPayload::from(table.first_commit(now));
    match store.put_opts(&Path::from(FIRST_COMMIT), lines, PutMode::Create.into()).await {
        Ok(_) => Ok(Creation::Created),
        Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
            Ok(Creation::Exists)
        }
        // Some stores answer a lost race with 409, which object_store passes on as it is.
        Err(error) => match store.head(&Path::from(FIRST_COMMIT)).await {
            Ok(_) => Ok(Creation::Exists),
            Err(_) => Err(error),
        },
    }
}

/// The partition columns as the schema spells them; unknown ones as they are, for `check` to refuse.
fn spelled(expected: &TableExpectation<'_>) -> Vec<String> {
    let spell = |name: &String| {
        let mut fields = expected.schema.fields().iter();
        let field = fields.find(|f| f.name().eq_ignore_ascii_case(name));
        field.map_or_else(|| name.clone(), |f| f.name().clone())
    };
    expected.partition_by.iter().map(spell).collect()
}

/// Features that need reader version 3, by what turns them on.
fn reader_features(schema: &Schema, metadata: &Metadata) -> Vec<&'static str> {
    let v2 = metadata.configuration.get("delta.checkpointPolicy").is_some_and(|v| v == "v2");
    [
        ("timestampNtz", schema.fields().iter().any(|f| has_local_time(f.data_type()))),
        ("deletionVectors", metadata.is_on("delta.enableDeletionVectors")),
        ("typeWidening", metadata.is_on("delta.enableTypeWidening")),
        ("v2Checkpoint", v2),
    ]
    .into_iter()
    .filter_map(|(name, on)| on.then_some(name))
    .collect()
}

fn lowest_protocol(
    schema: &Schema,
    metadata: &Metadata,
    requests: &BTreeMap<String, String>,
) -> Protocol {
    let mut reader: Vec<String> =
        reader_features(schema, metadata).into_iter().map(str::to_owned).collect();
    let change_feed = metadata.is_on("delta.enableChangeDataFeed");
    if reader.is_empty() && requests.is_empty() {
        let min_writer_version = if change_feed { 4 } else { 2 };
        return Protocol {
            min_reader_version: 1,
            min_writer_version,
            reader_features: None,
            writer_features: None,
        };
    }
    let mut writer = reader.clone();
    if change_feed {
        writer.push("changeDataFeed".to_owned());
    }
    if metadata.is_on("delta.appendOnly") {
        writer.push("appendOnly".to_owned());
    }
    for name in requests.keys().filter_map(|key| key.strip_prefix(FEATURE_REQUEST)) {
        if features::is_for_readers(name) && !reader.iter().any(|r| r == name) {
            reader.push(name.to_owned());
        }
        if !writer.iter().any(|w| w == name) {
            writer.push(name.to_owned());
        }
    }
    Protocol {
        min_reader_version: if reader.is_empty() { 1 } else { 3 },
        min_writer_version: 7,
        reader_features: (!reader.is_empty()).then_some(reader),
        writer_features: Some(writer),
    }
}

fn has_local_time(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, None) => true,
        DataType::Struct(fields) => fields.iter().any(|f| has_local_time(f.data_type())),
        DataType::List(field) | DataType::Map(field, _) => has_local_time(field.data_type()),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
