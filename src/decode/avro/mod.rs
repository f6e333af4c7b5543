//! Avro's binary encoding into Arrow columns.
//!
//! Owns what is accepted (docs/reference/avro.md): the framing before a datum, which schema it was written with, and
//! what of that goes into which column. A schema is compiled once into steps that append straight to the columns'
//! buffers (docs/adr/0005); a flaw rolls its row back and leaves the others. Allocates nothing per value, but for a bad
//! one.
//!
//! Parsing schemas is `apache_avro`'s. A registry is asked, by way of [`Known`], only for ids that no record had before.

mod bounds;
mod canonical;
mod changes;
mod column;
mod columns;
mod compile;
mod default;
mod flaws;
mod followed;
mod json_text;
mod known;
mod logical;
mod merge;
mod names;
mod parse;
mod resolution;
mod scalars;
mod schema;
mod step;
mod unions;
mod wire;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef, Fields as Columns};

use super::error::DecodeError;
use super::flaw::{self, Reject, Scan, Step as Place};
use super::nested::Growing;
use crate::config::{Avro, Framing, OnIncompatibleSchema, RESCUE_COLUMN, UnknownFields};
use crate::schema::ddl::format_type;
use column::Column;
use compile::{Refusal, Unknown};
pub(super) use flaws::Flaw;
pub(super) use known::Known;
use known::{FIXED, Lookup};
use names::Name;
use schema::{Record, RecordField, Row, Type};
use step::Fields;
use wire::Wire;

/// Memory at which a chunk is full, in units of eight bytes, beside the bytes that its records had: schemas can make
/// much of little.
const MAX_CHUNK_UNITS: u64 = 1 << 23;

/// Bytes of a schema registry's prefix: a zero and the schema's id.
const CONFLUENT_PREFIX: usize = 5;

/// What a single object begins with; a fingerprint of eight bytes follows.
const MAGIC: [u8; 2] = [0xC3, 0x01];

/// The columns of a chunk while it grows.
pub(super) struct Reader {
    known: Known,
    framing: Framing,
    unknown: Unknown,
    fields: Columns,
    columns: Vec<Column>,
    rows: usize,
    /// Memory of the rows so far beside their bytes.
    units: u64,
    /// The columns as schemas gave them; `None`: they are declared.
    followed: Option<Vec<Field>>,
    /// All that was followed when the programs were compiled.
    merged: Option<Row>,
    /// Whether a datum is a record; otherwise its column is `value`.
    is_record: bool,
    /// By schema id.
    programs: Vec<(u32, Program)>,
    /// The program of the last payload.
    current: usize,
}

/// What is done with the data of a schema.
enum Program {
    Read {
        fields: Fields,
        units: u64,
    },
    /// They are bad records, for this reason.
    Refuse(Reason),
}

enum Reason {
    Incompatible(Arc<str>),
    UnknownField(String),
}

impl Reader {
    /// Rows, one column for each that is declared or that the schemas have, and [`RESCUE_COLUMN`] if unknown fields
    /// are rescued.
    pub(super) fn new(spec: &Avro, known: Known) -> Result<Self, DecodeError> {
        let row = Rows::of(spec, &known);
        let fields = row.fields.clone();
        Self::with_columns(spec, known, row, fields, false)
    }

    /// Change events: the row twice, as the STRUCTs `before` (every column of it nullable) and `after`, then these
    /// columns. All else that an envelope holds is left out.
    pub(super) fn of_changes(
        spec: &Avro,
        others: &[FieldRef],
        known: Known,
    ) -> Result<Self, DecodeError> {
        let row = Rows::of(spec, &known);
        let nullable = |field: &FieldRef| Arc::new(field.as_ref().clone().with_nullable(true));
        let before: Columns = row.fields.iter().map(nullable).collect();
        let part = |name: &str, fields: &Columns| {
            Arc::new(Field::new(name, DataType::Struct(fields.clone()), true))
        };
        let parts = [part("before", &before), part("after", &row.fields)];
        let fields = parts.into_iter().chain(others.iter().cloned()).collect();
        Self::with_columns(spec, known, row, fields, true)
    }

    fn with_columns(
        spec: &Avro,
        known: Known,
        row: Rows,
        fields: Columns,
        envelope: bool,
    ) -> Result<Self, DecodeError> {
        let mut columns = Vec::with_capacity(fields.len());
        for field in &fields {
            columns.push(Column::new(field).ok_or_else(|| DecodeError::AvroType {
                part: known.part(),
                column: field.name().clone(),
                data_type: format_type(field.data_type()),
            })?);
        }
        let unknown = Unknown { rule: spec.unknown_fields, envelope };
        let mut reader = Self {
            known,
            framing: spec.framing,
            unknown,
            fields,
            columns,
            rows: 0,
            units: 0,
            followed: row.followed,
            merged: None,
            is_record: row.is_record,
            programs: Vec::new(),
            current: 0,
        };
        if spec.framing != Framing::Confluent {
            reader.select(FIXED)?;
        }
        Ok(reader)
    }

    /// The columns that `finish` gives.
    pub(super) fn fields(&self) -> &Columns {
        &self.fields
    }

    /// Whether a payload is a record of fields; otherwise its one column is the payload.
    pub(super) fn is_record(&self) -> bool {
        self.is_record
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the rows take as much memory as a chunk may.
    pub(super) fn is_full(&self) -> bool {
        self.units >= MAX_CHUNK_UNITS
    }

    pub(super) fn last_is_null(&self, column: usize) -> bool {
        self.columns[column].last_is_null()
    }

    pub(super) fn last_text(&self, column: usize) -> Option<&[u8]> {
        self.columns[column].last_text()
    }

    pub(super) fn last_long(&self, column: usize) -> Option<i64> {
        self.columns[column].last_long()
    }

    /// Sees to it that the payload's schema is known, before `read`.
    ///
    /// # Errors
    /// What no policy for bad records covers: the registry doesn't answer, the columns don't fit the schema, or they
    /// have to become others first.
    #[inline]
    pub(super) fn prepare(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        match (self.framing, payload) {
            (Framing::Confluent, [0, a, b, c, d, ..]) => {
                let id = u32::from_be_bytes([*a, *b, *c, *d]);
                if self.programs.get(self.current).is_some_and(|(current, _)| *current == id) {
                    return Ok(());
                }
                self.select(id)
            }
            _ => Ok(()),
        }
    }

    /// Appends one row, or none when the payload is flawed. `prepare` comes first.
    #[inline]
    pub(super) fn read(&mut self, payload: &[u8]) -> Scan<()> {
        let prefix = self.prefix(payload)?;
        let (_, program) = &self.programs[self.current];
        let (fields, units) = match program {
            Program::Read { fields, units } => (fields, *units),
            Program::Refuse(reason) => return Err(reason.reject()),
        };
        let mut wire = Wire::new(payload, prefix);
        let read = fields.run(&mut self.columns, &mut wire).and_then(|()| wire.end());
        match read {
            Ok(()) => {
                self.rows += 1;
                self.units += units + wire.units();
            }
            Err(_) => self.truncate(),
        }
        read
    }

    /// Takes the last row back.
    pub(super) fn undo_last(&mut self) {
        self.rows -= 1;
        self.truncate();
    }

    /// Appends a row of nulls.
    pub(super) fn push_null(&mut self) {
        self.columns.iter_mut().for_each(Column::append_null);
        self.rows += 1;
    }

    /// The columns so far, in the order of `fields`; leaves them empty.
    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        (self.rows, self.units) = (0, 0);
        self.columns.iter_mut().map(Column::finish).collect()
    }

    fn truncate(&mut self) {
        let rows = self.rows;
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
    }

    /// Bytes before the datum.
    #[inline]
    fn prefix(&self, payload: &[u8]) -> Scan<usize> {
        match self.framing {
            Framing::Plain => Ok(0),
            Framing::Confluent => match payload {
                [0, a, b, c, d, ..] => {
                    let id = u32::from_be_bytes([*a, *b, *c, *d]);
                    match self.programs.get(self.current) {
                        Some((current, _)) if *current == id => Ok(CONFLUENT_PREFIX),
                        _ => Err(Reject::outside_value(flaw::Flaw::Avro(Flaw::UnknownId(id)))),
                    }
                }
                [] => Err(Reject::new(flaw::Flaw::Empty, 0)),
                [0, ..] => Err(Reject::new(flaw::Flaw::EndsEarly, payload.len())),
                [byte, ..] => Err(Reject::new(flaw::Flaw::Avro(Flaw::NoPrefix(*byte)), 0)),
            },
            Framing::SingleObject => self.single_object(payload),
        }
    }

    fn single_object(&self, payload: &[u8]) -> Scan<usize> {
        const PREFIX: usize = MAGIC.len() + 8;
        let Some((prefix, _)) = payload.split_first_chunk::<PREFIX>() else {
            let starts = payload.len() >= MAGIC.len() && payload.starts_with(&MAGIC);
            return Err(match payload {
                [] => Reject::new(flaw::Flaw::Empty, 0),
                _ if starts => Reject::new(flaw::Flaw::EndsEarly, payload.len()),
                _ => Reject::new(flaw::Flaw::Avro(Flaw::NoMagic), 0),
            });
        };
        if !prefix.starts_with(&MAGIC) {
            return Err(Reject::new(flaw::Flaw::Avro(Flaw::NoMagic), 0));
        }
        let fingerprint = self.known.fingerprint().map(u64::to_le_bytes);
        if fingerprint.is_none_or(|known| known != prefix[MAGIC.len()..]) {
            return Err(Reject::new(flaw::Flaw::Avro(Flaw::Fingerprint), MAGIC.len()));
        }
        Ok(PREFIX)
    }

    /// Makes the program of a schema the current one. An id that the registry denies has none: `read` refuses it.
    #[cold]
    fn select(&mut self, id: u32) -> Result<(), DecodeError> {
        if let Some(place) = self.programs.iter().position(|(known, _)| *known == id) {
            self.current = place;
            return Ok(());
        }
        let program = match self.known.writer(id)? {
            Lookup::Unknown => return Ok(()),
            Lookup::Found(Err(reason)) => self.refuse(id, reason.to_string())?,
            Lookup::Found(Ok(writer)) => self.compile(id, &writer)?,
        };
        self.current = self.programs.len();
        self.programs.push((id, program));
        Ok(())
    }

    fn compile(&mut self, id: u32, writer: &Row) -> Result<Program, DecodeError> {
        let reader = match &self.followed {
            None => None,
            Some(fields) => match self.known.follow(id, writer, &origin(id)) {
                Err(reason) => return self.refuse(id, reason),
                Ok(merged) => {
                    if let Some(changes) = known::news(fields, &merged) {
                        return Err(DecodeError::SchemaChanged { origin: origin(id), changes });
                    }
                    Some(self.keep_up(merged))
                }
            },
        };
        match compile::compile(writer, reader.as_ref(), &self.fields, self.unknown) {
            Ok(fields) => {
                let units = fields.units(&self.fields);
                Ok(Program::Read { fields, units })
            }
            Err(Refusal::Unknown { path }) => Ok(Program::Refuse(Reason::UnknownField(path))),
            Err(refusal) => self.refuse(id, refusal.to_string()),
        }
    }

    /// Takes up what the columns follow now. Programs made by less are made again: they may lack a default.
    fn keep_up(&mut self, merged: Row) -> Record {
        if self.merged.as_ref() != Some(&merged) {
            self.programs.clear();
            self.merged = Some(merged.clone());
        }
        self.as_read(merged)
    }

    /// The reader's schema: the row itself, or the envelope around it.
    fn as_read(&self, row: Row) -> Record {
        if !self.unknown.envelope {
            return row.record;
        }
        let part = |name: &str| RecordField {
            name: name.into(),
            aliases: Vec::new(),
            default: None,
            of: Type::Record(row.record.clone()).or_null(),
        };
        let name = Name { full: "envelope".into(), aliases: Vec::new() };
        Record { name, fields: vec![part("before"), part("after")] }
    }

    fn refuse(&self, id: u32, reason: String) -> Result<Program, DecodeError> {
        if id == FIXED && self.framing != Framing::Confluent {
            return Err(DecodeError::AvroSchema { part: self.known.part(), reason });
        }
        match self.known.policy() {
            OnIncompatibleSchema::Fail => {
                Err(DecodeError::IncompatibleSchema { origin: origin(id), reason })
            }
            OnIncompatibleSchema::DeadLetter => {
                let text = format!("{}: {reason}", origin(id)).into();
                Ok(Program::Refuse(Reason::Incompatible(text)))
            }
        }
    }
}

/// The columns of a row.
struct Rows {
    fields: Columns,
    followed: Option<Vec<Field>>,
    is_record: bool,
}

impl Rows {
    fn of(spec: &Avro, known: &Known) -> Self {
        if let Some(declared) = &spec.columns {
            let rescued = (spec.unknown_fields == UnknownFields::Rescue)
                .then(|| Arc::new(Field::new(RESCUE_COLUMN, DataType::Utf8, true)));
            let fields = declared.arrow().fields().iter().cloned().chain(rescued).collect();
            return Self { fields, followed: None, is_record: true };
        }
        let merged = known.merged();
        let is_record = merged.as_ref().is_none_or(|merged| merged.is_record);
        let fields = merged.map(|merged| columns::columns(&merged.record));
        let fields = fields.map(|fields| fields.expect("they were made when it was followed"));
        let fields = fields.unwrap_or_default();
        Self { fields: fields.iter().cloned().collect(), followed: Some(fields), is_record }
    }
}

impl Reason {
    #[cold]
    fn reject(&self) -> Box<Reject> {
        match self {
            Self::Incompatible(text) => {
                Reject::outside_value(flaw::Flaw::Avro(Flaw::Schema(Arc::clone(text))))
            }
            Self::UnknownField(path) => {
                Reject::outside_value(flaw::Flaw::Unknown).inside(Place::Field(path.clone()))
            }
        }
    }
}

fn origin(id: u32) -> String {
    format!("schema id {id}")
}

#[cfg(test)]
mod tests;
