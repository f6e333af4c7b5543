//! What one value takes: at least on the wire, and at most in memory. Nothing else bounds what few bytes can become.

use arrow::datatypes::{DataType, Field, Fields as Columns};

use super::schema::Type;
use super::step::{FieldStep, Fields, Fill, Step};

impl Type {
    /// Bytes of the smallest value. 0 only where every value has none.
    pub(super) fn smallest(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Float => 4,
            Self::Double => 8,
            Self::Record(record) => {
                record.fields.iter().map(|f| f.of.smallest()).fold(0, usize::saturating_add)
            }
            Self::Union(branches) => {
                branches.iter().map(Self::smallest).min().unwrap_or(0).saturating_add(1)
            }
            _ => self.fixed().map_or(1, |fixed| fixed.size),
        }
    }

    /// What the JSON text of a value may take, in units of eight bytes; longer strings, arrays and maps in it aside.
    pub(super) fn text_units(&self) -> u64 {
        let text = |text: &str| 1 + text.len() as u64 / 8;
        match self {
            Self::Enum(of) => of.symbols.iter().map(|symbol| text(symbol)).max().unwrap_or(1),
            Self::Record(record) => {
                let fields = record.fields.iter();
                1 + fields.map(|field| text(&field.name) + field.of.text_units()).sum::<u64>()
            }
            Self::Union(branches) => branches.iter().map(Self::text_units).max().unwrap_or(1),
            Self::Decimal { .. } | Self::Uuid(_) | Self::Duration(_) | Self::Float => 9,
            Self::Long | Self::Timestamp { .. } | Self::Double => 4,
            _ => 2,
        }
    }
}

impl Step {
    /// Memory of one value beside that of its bytes, at most, in units of eight bytes. Arrays and maps are counted as
    /// they are read.
    pub(super) fn units(&self, column: &Field) -> u64 {
        let null = || null_units(column);
        match self {
            Self::Symbol(symbols) => {
                let longest = symbols.iter().map(|symbol| symbol.len()).max();
                1 + longest.unwrap_or(0) as u64 / 8
            }
            Self::Decimal { .. } | Self::Uuid => 5,
            Self::Optional { step, .. } => step.units(column).max(null()),
            Self::Union(branches) => branches.iter().map(|s| s.units(column)).max().unwrap_or(1),
            Self::Struct(fields) => fields.units(children(column)),
            Self::Member { index, step } => null() + step.units(&children(column)[*index]),
            _ => null(),
        }
    }
}

impl Fields {
    pub(super) fn units(&self, columns: &Columns) -> u64 {
        let steps = self.steps.iter().map(|step| match step {
            FieldStep::Column(index, step) => step.units(&columns[*index]),
            FieldStep::Skip { .. } => 0,
            FieldStep::Rescue { token, of, .. } => of.text_units() + token.len() as u64 / 8,
        });
        let fills = self.fills.iter().map(|(index, fill)| match fill {
            Fill::Null => null_units(&columns[*index]),
            Fill::Default { datum, step } => step.units(&columns[*index]) + datum.len() as u64 / 8,
        });
        1 + steps.chain(fills).sum::<u64>()
    }
}

fn children(column: &Field) -> &Columns {
    match column.data_type() {
        DataType::Struct(fields) => fields,
        other => unreachable!("made for a struct, not {other}"),
    }
}

/// Memory of a null.
fn null_units(column: &Field) -> u64 {
    match column.data_type() {
        DataType::Struct(fields) => 1 + fields.iter().map(|field| null_units(field)).sum::<u64>(),
        DataType::Decimal128(..) => 2,
        _ => 1,
    }
}
