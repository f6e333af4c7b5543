//! Opening an output's table: creating it where it is missing, checking it where it is there.
//!
//! Guarantees: the protocol of a new table is the lowest that its columns and properties need (reader 1,
//! writer 2 for most), so that any reader reads it; nothing is created that [`super::features`] would
//! refuse; of several creators one wins, and the others find its table.

use std::collections::BTreeMap;

use arrow::datatypes::Schema;
use bytes::Bytes;
use object_store::Error as StoreError;
use object_store::path::Path;
use serde_json::json;
use uuid::Uuid;

use super::error::SinkError;
use super::features::{self, TableExpectation, TableProblem, WritePlan};
use super::log::TableLog;
use super::store::TableStore;
use super::{Format, Metadata, Protocol, delta_schema};
use crate::config::{CreateTable, Mode};
use crate::disposition::{Disposition, Exit};

/// Where version 0 is, below the table's root.
const FIRST_COMMIT: &str = "_delta_log/00000000000000000000.json";

/// Spark's way of asking for a feature at creation; the feature is kept, the property is not.
const FEATURE_REQUEST: &str = "delta.feature.";

/// For how long files are remembered that were taken out. Where each commit takes some out, checkpoints would grow by
/// those of a week, which is Delta's default.
const REMOVED_FILES_KEPT: &str = "delta.deletedFileRetentionDuration";

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
        let (requests, mut configuration): (_, BTreeMap<_, _>) =
            properties.clone().into_iter().partition(|(key, _)| key.starts_with(FEATURE_REQUEST));
        if *expected.mode == Mode::OpenWindows {
            let kept = configuration.entry(REMOVED_FILES_KEPT.to_owned());
            kept.or_insert_with(|| "interval 1 hours".to_owned());
        }
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

/// Why an output's table can't be written to.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Every problem, one a line.
    #[error("{table}: {}", lines(.problems))]
    Unfit { table: String, problems: Vec<TableProblem> },
    #[error(transparent)]
    Sink(#[from] SinkError),
}

fn lines(problems: &[TableProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl TableError {
    /// What the engine should do.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unfit { .. } => Disposition::Stop(Exit::DataRefused),
            Self::Sink(error) => error.disposition(),
        }
    }

    /// The stable code of the message: the first problem's.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unfit { problems, .. } => problems.first().map_or("SL4200", TableProblem::code),
            Self::Sink(error) => error.code(),
        }
    }
}

/// Opens the table of an output, creates it where it is missing and may be, and checks it. `now` is in
/// milliseconds since the Unix epoch.
pub async fn open_or_create(
    store: &TableStore,
    expected: &TableExpectation<'_>,
    create: CreateTable,
    properties: &BTreeMap<String, String>,
    now: i64,
) -> Result<(TableLog, WritePlan), TableError> {
    let unfit = |problems| TableError::Unfit { table: store.table().to_owned(), problems };
    let found = match TableLog::open(store).await? {
        Some(log) => Some(log),
        None if create == CreateTable::Never => return Err(unfit(vec![TableProblem::NoTable])),
        None => {
            let table = NewTable::new(expected, properties, now).map_err(unfit)?;
            self::create(store, &table, now).await?;
            TableLog::open(store).await?
        }
    };
    let log = found.ok_or_else(|| SinkError::Gone { table: store.table().to_owned() })?;
    let plan = features::check(log.protocol(), log.metadata(), expected).map_err(unfit)?;
    Ok((log, plan))
}

/// Puts version 0 where nothing is. When somebody was first (or an earlier try of ours landed without an
/// answer), that table stands, and this is no error.
async fn create(store: &TableStore, table: &NewTable, now: i64) -> Result<(), SinkError> {
    store.prove_conditional_puts().await?;
    let lines = Bytes::from(table.first_commit(now));
    let path = Path::from(FIRST_COMMIT);
    match store.put_new(&path, lines).await {
        Ok(_) => Ok(()),
        Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Ok(()),
        // The outcome is open, and some stores answer a lost race with 409.
        Err(error) => match store.identity(&path).await {
            Ok(Some(_)) => Ok(()),
            _ => Err(store.failed("the table cannot be created", error)),
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
        (
            "timestampNtz",
            schema.fields().iter().any(|f| delta_schema::has_local_time(f.data_type())),
        ),
        ("deletionVectors", features::is_on(metadata, "delta.enableDeletionVectors")),
        ("typeWidening", features::is_on(metadata, "delta.enableTypeWidening")),
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
    let change_feed = features::is_on(metadata, "delta.enableChangeDataFeed");
    if reader.is_empty() && requests.is_empty() {
        let min_writer_version = if change_feed { 4 } else { 2 };
        return Protocol {
            min_reader_version: 1,
            min_writer_version,
            reader_features: None,
            writer_features: None,
        };
    }
    // What writer version 2 stands for: to Spark a NOT NULL column is an invariant, and it refuses a table that has one
    // and doesn't list them.
    let mut writer: Vec<String> = ["appendOnly", "invariants"].map(str::to_owned).to_vec();
    writer.extend(reader.iter().cloned());
    if change_feed {
        writer.push("changeDataFeed".to_owned());
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

#[cfg(test)]
mod tests;
