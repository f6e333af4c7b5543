//! One table: whether it is there, or could be, and takes what the output gives.

use std::collections::BTreeMap;

use arrow::datatypes::Schema;

use super::finding::Findings;
use super::progress;
use crate::cli::find::DEAD_LETTERS;
use crate::cli::kafka::View;
use crate::config::{
    Connector, CreateTable, Mode, Output, SchemaEvolution, Storage, TableLocation,
};
use crate::decode::dead_letter_schema;
use crate::engine::decoders::Group;
use crate::engine::shape::Shape;
use crate::engine::{EngineError, now_ms};
use crate::schema::Origins;
use crate::sink::Protocol;
use crate::sink::create::NewTable;
use crate::sink::error::SinkError;
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
    location: &'a TableLocation,
    storage: &'a Storage,
    schema: Schema,
    partition_by: &'a [String],
    mode: &'a Mode,
    evolution: SchemaEvolution,
    create: CreateTable,
    properties: BTreeMap<String, String>,
}

impl<'a> Target<'a> {
    /// Every table that a run opens, as far as its columns can be told.
    pub fn all(spec: &'a Connector, groups: &[Group], findings: &mut Findings) -> Vec<Self> {
        let mut targets = Vec::new();
        for (label, output) in &spec.outputs {
            let subject = format!("output {label}");
            let Some(group) = groups.iter().find(|group| group.serves(output)) else { continue };
            let rows = match group.row_schema() {
                Ok(rows) => rows,
                // Told of the group already.
                Err(_) => continue,
            };
            match Shape::new(output, &rows) {
                Ok(shape) => targets.push(Self::output(spec, subject, output, &shape)),
                Err(error) => findings.error(&subject, &error),
            }
        }
        targets.extend(Self::letters(spec));
        targets
    }

    fn output(spec: &Connector, subject: String, output: &'a Output, shape: &Shape) -> Self {
        Self {
            subject,
            owner: Owner::output(&spec.name, &output.name),
            output: Some(output),
            location: &output.table,
            storage: &output.storage,
            schema: shape.schema().as_ref().clone(),
            partition_by: &output.partition_by,
            mode: &output.mode,
            evolution: output.schema_evolution,
            create: output.create,
            properties: output.table_properties.clone(),
        }
    }

    fn letters(spec: &'a Connector) -> Option<Self> {
        let letters = spec.dead_letters.as_ref().filter(|_| spec.keeps_dead_letters());
        letters.map(|letters| Self {
            subject: DEAD_LETTERS.to_owned(),
            owner: Owner::dead_letters(&spec.name),
            output: None,
            location: &letters.table,
            storage: &letters.storage,
            schema: dead_letter_schema().as_ref().clone(),
            partition_by: &[],
            mode: &Mode::Append,
            evolution: SchemaEvolution::Fail,
            create: CreateTable::IfMissing,
            properties: BTreeMap::new(),
        })
    }

    /// Whether a table like this can be created at all.
    pub fn check_new(&self, findings: &mut Findings) {
        match NewTable::new(&self.expectation(), &self.properties, now_ms()) {
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
            Some(log) => self.fits(&store, log, findings)?,
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

    fn fits(
        &self,
        store: &TableStore,
        log: &TableLog,
        findings: &mut Findings,
    ) -> Result<(), SinkError> {
        match features::check(log.protocol(), log.metadata(), &self.expectation()) {
            Ok(plan) => {
                let change = plan.change.map(|change| format!("; the first rows would {change}"));
                let (table, version) = (self.location, log.version());
                let change = change.unwrap_or_default();
                findings.ok(&self.subject, format!("{table} fits, version {version}{change}"));
            }
            Err(problems) => findings.problems(&self.subject, &problems),
        }
        txn_retention(log, store.table()).map(drop)
    }

    fn expectation(&self) -> TableExpectation<'_> {
        TableExpectation {
            schema: &self.schema,
            partition_by: self.partition_by,
            mode: self.mode,
            evolution: self.evolution,
            origins: Origins::NONE,
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
