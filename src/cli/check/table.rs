//! One table: whether it is there, or could be, and takes what the output gives.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;

use super::finding::Findings;
use super::progress;
use crate::cli::find::DEAD_LETTERS;
use crate::config::{
    Connector, CreateTable, Mode, Output, SchemaEvolution, Storage, TableLocation,
};
use crate::decode::dead_letter_schema;
use crate::engine::decoders::Group;
use crate::engine::shape;
use crate::engine::view::View;
use crate::engine::{EngineError, now_ms};
use crate::schema::Origins;
use crate::sink::Protocol;
use crate::sink::create::NewTable;
use crate::sink::features::{self, TableExpectation, TableProblem};
use crate::sink::log::TableLog;
use crate::sink::progress::{Owner, txn_retention};
use crate::sink::store::TableStore;

/// A table as the configuration wants it.
pub struct Target<'a> {
    /// `output orders`
    pub subject: String,
    pub owner: Owner,
    /// `None`: the dead letters.
    pub output: Option<&'a Output>,
    /// What an output's rows come from.
    group: Option<&'a Group>,
    location: &'a TableLocation,
    storage: &'a Storage,
    partition_by: &'a [String],
    mode: &'a Mode,
    evolution: SchemaEvolution,
    create: CreateTable,
    properties: BTreeMap<String, String>,
}

/// What a run would write, and where those columns come from that follow schemas.
struct Columns {
    schema: SchemaRef,
    origins: Origins,
}

impl<'a> Target<'a> {
    /// Every table that a run opens, as far as its columns can be told.
    pub fn all(spec: &'a Connector, groups: &'a [Group]) -> Vec<Self> {
        let outputs = spec.outputs.iter().filter_map(|(label, output)| {
            let group = groups.iter().find(|group| group.serves(output))?;
            Some(Self::output(spec, label, output, group))
        });
        outputs.chain(Self::letters(spec)).collect()
    }

    fn output(spec: &Connector, label: &str, output: &'a Output, group: &'a Group) -> Self {
        Self {
            subject: format!("output {label}"),
            owner: Owner::output(&spec.name, &output.name),
            output: Some(output),
            group: Some(group),
            location: &output.table,
            storage: &output.storage,
            partition_by: &output.partition_by,
            mode: &output.mode,
            evolution: output.schema_evolution,
            create: output.create,
            properties: output.table_properties.clone(),
        }
    }

    fn letters(spec: &'a Connector) -> Option<Self> {
        let letters = spec.dead_letters.as_ref().filter(|_| spec.uses_dead_letters());
        letters.map(|letters| Self {
            subject: DEAD_LETTERS.to_owned(),
            owner: Owner::dead_letters(&spec.name),
            output: None,
            group: None,
            location: &letters.table,
            storage: &letters.storage,
            partition_by: &[],
            mode: &Mode::Append,
            evolution: SchemaEvolution::AddColumns,
            create: CreateTable::IfMissing,
            properties: BTreeMap::new(),
        })
    }

    /// Whether a table like this can be created at all.
    pub fn check_new(&self, findings: &mut Findings) {
        let columns = match self.columns() {
            Ok(columns) => columns,
            Err(error) => return findings.error(&self.subject, &error),
        };
        match NewTable::new(&self.expectation(&columns), &self.properties, now_ms()) {
            Ok(new) => findings.ok(&self.subject, protocol_needed(&new.protocol)),
            Err(problems) => findings.problems(&self.subject, &problems),
        }
    }

    /// The store, the table in it and the progress in that.
    pub async fn check(
        &self,
        spec: &Connector,
        view: Option<&View>,
        probe: bool,
        findings: &mut Findings,
    ) {
        if let Err(error) = self.try_check(spec, view, probe, findings).await {
            findings.error(&self.subject, &error);
        }
    }

    async fn try_check(
        &self,
        spec: &Connector,
        view: Option<&View>,
        probe: bool,
        findings: &mut Findings,
    ) -> Result<(), EngineError> {
        let store = TableStore::open(self.location, self.storage)?;
        let log = TableLog::open(&store).await?;
        if probe {
            store.prove_conditional_puts().await?;
            findings.ok(&self.subject, "the store refuses to put an object twice");
        }
        match &log {
            Some(log) => {
                self.fits(log, findings).await?;
                txn_retention(log, store.table())?;
            }
            None if self.create == CreateTable::Never => {
                findings.problems(&self.subject, &[TableProblem::NoTable]);
                return Ok(());
            }
            None => {
                findings.ok(
                    &self.subject,
                    format!("there is no table at {} yet; a run creates it", self.location),
                );
                self.check_new(findings);
            }
        }
        progress::check(self, spec, &store, log.as_ref(), view, findings).await
    }

    /// Whether the table takes the columns. A schema that it can't take gives way as it would in a run.
    async fn fits(&self, log: &TableLog, findings: &mut Findings) -> Result<(), EngineError> {
        loop {
            let columns = self.columns()?;
            let expected = self.expectation(&columns);
            let problems = match features::check(log.protocol(), log.metadata(), &expected) {
                Ok(plan) => {
                    let change =
                        plan.change.map(|change| format!("; the first rows would {change}"));
                    let (table, version) = (self.location, log.version());
                    let change = change.unwrap_or_default();
                    findings.ok(&self.subject, format!("{table} fits, version {version}{change}"));
                    return Ok(());
                }
                Err(problems) => problems,
            };
            let change = match self.group {
                Some(group) => group.give_way(&problems).await?,
                None => None,
            };
            let Some(change) = change else {
                findings.problems(&self.subject, &problems);
                return Ok(());
            };
            findings.warn(change.code(), &self.subject, change.to_string());
        }
    }

    fn columns(&self) -> Result<Columns, EngineError> {
        let (Some(output), Some(group)) = (self.output, self.group) else {
            return Ok(Columns { schema: dead_letter_schema(), origins: Origins::default() });
        };
        let rows = group.row_schema()?;
        let schema = shape::columns(output, &rows)?;
        Ok(Columns { schema, origins: group.origins(&rows) })
    }

    fn expectation<'b>(&'b self, columns: &'b Columns) -> TableExpectation<'b> {
        TableExpectation {
            schema: &columns.schema,
            partition_by: self.partition_by,
            mode: self.mode,
            evolution: self.evolution,
            origins: &columns.origins,
        }
    }
}

/// What a reader and a writer must know of a new table, and who of those that sluice is tried with doesn't.
fn protocol_needed(protocol: &Protocol) -> String {
    let Protocol { min_reader_version: reader, min_writer_version: writer, .. } = protocol;
    let features = protocol.reader_features.as_deref().unwrap_or_default();
    let mut text =
        format!("a new table would need reader version {reader}, writer version {writer}");
    if !features.is_empty() {
        text.push_str(&format!(" ({})", features.join(", ")));
    }
    if features.iter().any(|name| name == "typeWidening") {
        text.push_str("; delta-rs and Polars can't read it");
    }
    text
}
