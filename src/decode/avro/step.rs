//! A schema compiled for columns: what is done with the bytes of a datum, in the order in which they come.
//!
//! Each step moves over exactly one value and appends exactly one to its column, or answers with a flaw, after which
//! the caller truncates: columns can be left uneven in between.

use std::sync::Arc;

use super::super::flaw::{self, END_MICROS, FIRST_MICROS, Reject, Scan, Step as Place, bounded};
use super::super::nested::{Growing, List, Map};
use super::column::{Column, Values};
use super::flaws::Flaw;
use super::json_text;
use super::logical::{duration_parts, unscaled, uuid_text};
use super::schema::{Type, Unit};
use super::wire::Wire;
use crate::schema::ddl::format_type;

/// From one type on the wire into a column of one type.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing on the wire.
    Null,
    /// A null for a column that allows none.
    RefuseNull,
    /// A value of a type that the column can't take.
    Refuse(Arc<str>),
    Boolean,
    IntToTiny,
    IntToSmall,
    Int,
    IntToLong,
    IntToFloat,
    IntToDouble,
    Date,
    Long,
    LongToFloat,
    LongToDouble,
    Timestamp(Unit),
    Float,
    FloatToDouble,
    Double,
    Text,
    TextToBytes,
    Bytes,
    BytesToText,
    Fixed(usize),
    Uuid,
    Decimal {
        /// The power of ten that it must stay below.
        limit: i128,
        /// Of a fixed; `None`: a length stands before it.
        size: Option<usize>,
    },
    Duration,
    Symbol(Arc<[Box<str>]>),
    List(Box<Items>),
    Map(Box<Items>),
    Struct(Box<Fields>),
    /// A union of null and one more.
    Optional {
        /// Null is the second.
        null: bool,
        step: Box<Step>,
    },
    /// A union into a column of one type.
    Union(Box<[Step]>),
    /// One type of several into its field of a STRUCT.
    Member {
        index: usize,
        step: Box<Step>,
    },
    JsonText(Box<Type>),
}

#[derive(Debug)]
pub(super) struct Items {
    pub(super) step: Step,
    /// Bytes of the smallest item on the wire.
    pub(super) smallest: usize,
    /// Memory of an item, in units of eight bytes.
    pub(super) units: u64,
}

/// A record into columns.
#[derive(Debug)]
pub(super) struct Fields {
    /// In the record's order.
    pub(super) steps: Box<[FieldStep]>,
    /// The columns that no field goes to.
    pub(super) fills: Box<[(usize, Fill)]>,
    /// The column of the fields that have none of their own.
    pub(super) rescue: Option<usize>,
}

#[derive(Debug)]
pub(super) enum FieldStep {
    Column(usize, Step),
    Skip {
        name: Arc<str>,
        of: Type,
    },
    /// `token`: the name in quotes, and a colon.
    Rescue {
        name: Arc<str>,
        token: Box<[u8]>,
        of: Type,
    },
}

#[derive(Debug)]
pub(super) enum Fill {
    Null,
    /// A datum of the reader's, and how it is read.
    Default {
        datum: Box<[u8]>,
        step: Step,
    },
}

impl Fields {
    pub(super) fn run(&self, columns: &mut [Column], wire: &mut Wire<'_>) -> Scan<()> {
        for step in &self.steps {
            match step {
                FieldStep::Column(index, step) => {
                    let column = &mut columns[*index];
                    if let Err(reject) = step.run(column, wire) {
                        return Err(inside(reject, column.field().name()));
                    }
                }
                FieldStep::Skip { name, of } => {
                    wire.skip(of).map_err(|reject| inside(reject, name))?;
                }
                FieldStep::Rescue { name, token, of } => {
                    let index = self.rescue.expect("a field is rescued into a column");
                    rescue(&mut columns[index], token, of, wire)
                        .map_err(|reject| inside(reject, name))?;
                }
            }
        }
        for (index, fill) in &self.fills {
            fill.run(&mut columns[*index], wire);
        }
        if let Some(index) = self.rescue {
            end_rescue(&mut columns[index]);
        }
        Ok(())
    }
}

#[cold]
fn inside(reject: Box<Reject>, name: &str) -> Box<Reject> {
    reject.inside(Place::Field(name.to_owned()))
}

/// One more field of the object that is being written.
fn rescue(column: &mut Column, token: &[u8], of: &Type, wire: &mut Wire<'_>) -> Scan<()> {
    let Values::String(texts) = &mut column.values else { unreachable!("made for its column") };
    let separator = if texts.tail().is_empty() { b'{' } else { b',' };
    texts.writer().push(separator);
    texts.writer().extend_from_slice(token);
    json_text::write(of, wire, texts.writer())
}

fn end_rescue(column: &mut Column) {
    let Values::String(texts) = &mut column.values else { unreachable!("made for its column") };
    if texts.tail().is_empty() {
        column.append_null();
    } else {
        texts.writer().push(b'}');
        texts.close();
        column.filled();
    }
}

impl Fill {
    fn run(&self, column: &mut Column, wire: &mut Wire<'_>) {
        match self {
            Self::Null => column.append_null(),
            Self::Default { datum, step } => {
                let mut default = Wire::new(datum, 0);
                let read = step.run(column, &mut default);
                read.expect("it was read when the schema was compiled");
                wire.add_units(default.units());
            }
        }
    }
}

impl Step {
    /// Reads the value at hand.
    #[inline]
    pub(super) fn run(&self, column: &mut Column, wire: &mut Wire<'_>) -> Scan<()> {
        let mut step = self;
        // Most fields are of this kind; its other type is no union.
        if let Self::Optional { null, step: inner } = self {
            if wire.either()? == *null {
                column.append_null();
                return Ok(());
            }
            step = inner;
        }
        match step.append(column, wire) {
            Ok(true) => {
                column.filled();
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(reject) => Err(reject.declared(|| format_type(column.field().data_type()))),
        }
    }

    /// Appends to the column's values; `false`: to its nulls too.
    #[inline]
    fn append(&self, column: &mut Column, wire: &mut Wire<'_>) -> Scan<bool> {
        match (self, &mut column.values) {
            (Self::Text, Values::String(to)) => to.push(wire.string()?),
            (Self::Long, Values::Int64(to)) => to.push(wire.long()?),
            (Self::Int, Values::Int32(to)) => to.push(wire.int()?),
            (Self::Double, Values::Float64(to)) => to.push(wire.double()?),
            (Self::Timestamp(unit), Values::Int64(to)) => {
                let at = wire.at();
                let micros = micros(wire.long()?, *unit);
                to.push(micros.map_err(|flaw| Reject::new(flaw, at))?);
            }
            (Self::Symbol(symbols), Values::String(to)) => {
                to.push(symbols[wire.index(symbols.len(), Flaw::Symbol)?].as_bytes());
            }
            (Self::Decimal { limit, size }, Values::Decimal(to)) => {
                to.push(decimal(wire, *limit, *size)?);
            }
            (Self::Boolean, Values::Boolean(to)) => to.append(wire.boolean()?),
            (Self::List(items), Values::List(to)) => items.list(to, wire)?,
            (Self::Struct(fields), Values::Struct(to)) => fields.run(to, wire)?,
            _ => return self.append_rarer(column, wire),
        }
        Ok(true)
    }

    fn append_rarer(&self, column: &mut Column, wire: &mut Wire<'_>) -> Scan<bool> {
        match (self, &mut column.values) {
            (Self::IntToTiny, Values::Int8(to)) => to.push(narrow(wire)?),
            (Self::IntToSmall, Values::Int16(to)) => to.push(narrow(wire)?),
            (Self::IntToLong, Values::Int64(to)) => to.push(wire.int()?.into()),
            (Self::IntToFloat, Values::Float32(to)) => to.push(wire.int()? as f32),
            (Self::IntToDouble, Values::Float64(to)) => to.push(wire.int()?.into()),
            (Self::LongToFloat, Values::Float32(to)) => to.push(wire.long()? as f32),
            (Self::LongToDouble, Values::Float64(to)) => to.push(wire.long()? as f64),
            (Self::Float, Values::Float32(to)) => to.push(wire.float()?),
            (Self::FloatToDouble, Values::Float64(to)) => to.push(wire.float()?.into()),
            (Self::Date, Values::Int32(to)) => to.push(date(wire)?),
            (Self::TextToBytes, Values::Binary(to)) => to.push(wire.string()?),
            (Self::Bytes, Values::Binary(to)) => to.push(wire.bytes()?),
            (Self::BytesToText, Values::String(to)) => to.push(wire.string()?),
            (Self::Fixed(size), Values::Binary(to)) => to.push(wire.slice(*size)?),
            (Self::Uuid, Values::String(to)) => to.push(&uuid_text(wire.take()?)),
            (Self::Duration, Values::Struct(to)) => {
                for (column, part) in to.iter_mut().zip(duration_parts(wire.take()?)) {
                    let Values::Int64(values) = &mut column.values else { unreachable!("BIGINT") };
                    values.push(part.into());
                    column.filled();
                }
            }
            (Self::Map(items), Values::Map(to)) => items.map(to, wire)?,
            (Self::Member { index, step }, Values::Struct(to)) => {
                for (other, column) in to.iter_mut().enumerate() {
                    if other == *index {
                        let read = step.run(column, wire);
                        read.map_err(|reject| inside(reject, column.field().name()))?;
                    } else {
                        column.append_null();
                    }
                }
            }
            (Self::JsonText(of), Values::String(to)) => {
                to.push_with(|out| json_text::write(of, wire, out))?;
            }
            (Self::Union(branches), _) => {
                let index = wire.index(branches.len(), Flaw::Branch)?;
                branches[index].run(column, wire)?;
                return Ok(false);
            }
            (Self::Null, _) => {
                column.append_null();
                return Ok(false);
            }
            (Self::RefuseNull, _) => return Err(Reject::new(flaw::Flaw::Null, wire.at())),
            (Self::Refuse(reason), _) => return wire.fail(Flaw::Refused(Arc::clone(reason))),
            (step, _) => unreachable!("{step:?} is not for {}", column.field()),
        }
        Ok(true)
    }
}

impl Items {
    fn list(&self, to: &mut List<Column>, wire: &mut Wire<'_>) -> Scan<()> {
        wire.items(self.smallest, self.units, |wire| {
            let read = self.step.run(&mut to.elements, wire);
            read.map_err(|reject| reject.inside(Place::Item(to.open())))
        })?;
        to.close();
        Ok(())
    }

    fn map(&self, to: &mut Map<Column>, wire: &mut Wire<'_>) -> Scan<()> {
        let opening = wire.at();
        wire.items(self.smallest + 1, self.units + 1, |wire| {
            let read = wire.string().and_then(|key| {
                to.keys.push(key);
                self.step.run(&mut to.values, wire)
            });
            read.map_err(|reject| reject.inside(Place::Item(to.open())))
        })?;
        if to.has_twins() {
            return Err(Reject::new(flaw::Flaw::KeyTwice, opening));
        }
        to.close();
        Ok(())
    }
}

#[inline]
fn micros(value: i64, unit: Unit) -> Result<i64, flaw::Flaw> {
    let micros = match unit {
        Unit::Millis => value.checked_mul(1000).ok_or(flaw::Flaw::Years)?,
        Unit::Micros => value,
        Unit::Nanos => value.div_euclid(1000),
    };
    bounded(micros)
}

fn date(wire: &mut Wire<'_>) -> Scan<i32> {
    const MICROS_PER_DAY: i64 = 86_400_000_000;
    const YEARS: std::ops::Range<i64> = FIRST_MICROS / MICROS_PER_DAY..END_MICROS / MICROS_PER_DAY;
    let at = wire.at();
    let days = wire.int()?;
    if YEARS.contains(&days.into()) {
        return Ok(days);
    }
    Err(Reject::new(flaw::Flaw::Years, at))
}

fn narrow<T: TryFrom<i32>>(wire: &mut Wire<'_>) -> Scan<T> {
    let at = wire.at();
    T::try_from(wire.int()?).map_err(|_| Reject::new(flaw::Flaw::IntegerRange, at))
}

#[inline]
fn decimal(wire: &mut Wire<'_>, limit: i128, size: Option<usize>) -> Scan<i128> {
    let at = wire.at();
    match unscaled(wire.digits(size)?) {
        Some(value) if -limit < value && value < limit => Ok(value),
        _ => Err(Reject::new(flaw::Flaw::DecimalRange, at)),
    }
}
