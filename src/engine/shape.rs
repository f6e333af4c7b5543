//! What an output makes of a chunk's rows: which columns it sees, which records it takes, what it computes of them.

use arrow::array::BooleanArray;
use arrow::compute::{and, filter_record_batch, not, or};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::EngineError;
use super::windows::WindowShape;
use crate::chunk::Chunk;
use crate::config::{MetadataColumn, Mode, Output};
use crate::sink::files::FilesError;
use crate::transform::{Plan, TransformError};

/// The columns of an output's table, and the way to them from a chunk's.
pub struct Shape {
    /// The columns that it sees, among a chunk's.
    visible: Vec<usize>,
    /// `None`: neither `select` nor `where`.
    plan: Option<Plan>,
    schema: SchemaRef,
    kind: Kind,
}

/// What becomes of records that delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Rows, if they have a value.
    Append,
    /// No rows.
    Insert,
    /// Rows that say which key is gone; so are records that `where` leaves out, for a row that no longer fits must go.
    Upsert,
}

/// An output's share of a chunk.
#[derive(Debug)]
pub struct Shaped {
    /// The table's columns.
    pub rows: RecordBatch,
    /// Per row, for outputs that upsert: it deletes its key's row. `None`: none does.
    pub deletes: Option<BooleanArray>,
    /// Records that are no rows because `where` left them out, or because they delete and nothing can be deleted.
    pub filtered: u64,
}

impl Shape {
    /// `rows`: a chunk's columns.
    ///
    /// # Errors
    /// Columns named in `partition_by` or `merge_key` that the table wouldn't have.
    pub fn new(output: &Output, rows: &SchemaRef) -> Result<Self, EngineError> {
        let visible = visible(output, rows);
        let seen = SchemaRef::from(rows.project(&visible).map_err(FilesError::Rows)?);
        let (select, filter) = (output.select.as_deref(), output.filter.as_deref());
        let plan = match (select, filter) {
            (None, None) => None,
            _ => Some(Plan::new(&seen, select, filter)?),
        };
        let schema = plan.as_ref().map_or(seen, |plan| plan.schema().clone());
        refuse_unknown(output, &schema)?;
        let kind = match output.mode {
            Mode::Append | Mode::OpenWindows => Kind::Append,
            Mode::InsertNew { .. } => Kind::Insert,
            Mode::Upsert { .. } => Kind::Upsert,
        };
        Ok(Self { visible, plan, schema, kind })
    }

    /// The table's columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn apply(&self, chunk: &Chunk) -> Result<Shaped, EngineError> {
        let seen = chunk.rows.project(&self.visible).map_err(FilesError::Rows)?;
        let wanted = match &self.plan {
            Some(plan) => plan.filter(&seen).map_err(|error| failed_on(error, chunk, None))?,
            None => None,
        };
        let shaped = match self.kind {
            Kind::Upsert => changes(seen, wanted, chunk),
            Kind::Append | Kind::Insert => self.kept(seen, wanted, chunk),
        };
        let (mut shaped, mask) = shaped.map_err(FilesError::Rows)?;
        if let Some(plan) = &self.plan {
            let selected = plan.select(&shaped.rows);
            shaped.rows = selected.map_err(|error| failed_on(error, chunk, mask.as_ref()))?;
        }
        Ok(shaped)
    }

    /// The rows that stay.
    fn kept(
        &self,
        rows: RecordBatch,
        wanted: Option<BooleanArray>,
        chunk: &Chunk,
    ) -> Result<(Shaped, Option<BooleanArray>), ArrowError> {
        let none = chunk.deletions.as_ref().map(|deletions| match self.kind {
            Kind::Append => &deletions.tombstones,
            _ => &deletions.deletes,
        });
        let mask = match (none, wanted) {
            (None, wanted) => wanted,
            (Some(none), None) => Some(not(none)?),
            (Some(none), Some(wanted)) => Some(and(&not(none)?, &wanted)?),
        };
        let rows = match &mask {
            Some(mask) => filter_record_batch(&rows, mask)?,
            None => rows,
        };
        let filtered = chunk.fates.rows - rows.num_rows() as u64;
        Ok((Shaped { rows, deletes: None, filtered }, mask))
    }
}

/// The columns of an output's table, of rows that have a chunk's columns.
pub fn columns(output: &Output, rows: &SchemaRef) -> Result<SchemaRef, EngineError> {
    Ok(match WindowShape::new(output, rows)? {
        None => Shape::new(output, rows)?.schema,
        Some(shape) => shape.schema().clone(),
    })
}

/// An expression failed on a row: which record that is. `kept`: the rows of the chunk that it was given.
pub(super) fn failed_on(
    error: TransformError,
    chunk: &Chunk,
    kept: Option<&BooleanArray>,
) -> EngineError {
    let row = error.row().and_then(|row| match kept {
        Some(kept) => kept.values().set_indices().nth(row),
        None => Some(row),
    });
    let offset = row.map(|row| chunk.row_offsets.value(row));
    EngineError::Expression {
        partition: chunk.partition.id.clone(),
        offset,
        source: Box::new(error),
    }
}

/// All rows, those marked that delete.
fn changes(
    rows: RecordBatch,
    wanted: Option<BooleanArray>,
    chunk: &Chunk,
) -> Result<(Shaped, Option<BooleanArray>), ArrowError> {
    let deletes = chunk.deletions.as_ref().map(|deletions| &deletions.deletes);
    let Some(wanted) = wanted else {
        return Ok((Shaped { rows, deletes: deletes.cloned(), filtered: 0 }, None));
    };
    let left_out = not(&wanted)?;
    let deletes_or_left_out = match deletes {
        Some(deletes) => or(deletes, &left_out)?,
        None => left_out,
    };
    let before = deletes.map_or(0, BooleanArray::true_count);
    let filtered = (deletes_or_left_out.true_count() - before) as u64;
    Ok((Shaped { rows, deletes: Some(deletes_or_left_out), filtered }, None))
}

/// A chunk's columns but for the metadata columns that only other outputs ask for.
pub(super) fn visible(output: &Output, rows: &SchemaRef) -> Vec<usize> {
    let is_others = |name: &str| {
        let column = MetadataColumn::ALL.into_iter().find(|column| column.column() == name);
        column.is_some_and(|column| !output.metadata_columns.contains(&column))
    };
    let (mut metadata, mut values) = (Vec::new(), Vec::new());
    for (at, field) in rows.fields().iter().enumerate().filter(|(_, f)| !is_others(f.name())) {
        let asked = output.metadata_columns.iter().position(|c| c.column() == field.name());
        match asked {
            Some(order) => metadata.push((order, at)),
            None => values.push(at),
        }
    }
    metadata.sort_unstable();
    values.into_iter().chain(metadata.into_iter().map(|(_, at)| at)).collect()
}

pub(super) fn refuse_unknown(output: &Output, schema: &SchemaRef) -> Result<(), EngineError> {
    let named =
        [("partition_by", output.partition_by.as_slice()), ("merge_key", output.mode.key())];
    for (key, columns) in named {
        for column in columns {
            if schema.fields().iter().all(|field| !field.name().eq_ignore_ascii_case(column)) {
                let names = schema.fields().iter().map(|field| field.name().as_str());
                return Err(EngineError::NoColumn {
                    output: output.name.clone(),
                    key,
                    column: column.clone(),
                    columns: names.collect::<Vec<_>>().join(", "),
                });
            }
        }
    }
    Ok(())
}
