//! From the schema that a record was written with to the columns that take it: Avro's rules of schema resolution,
//! worked out once per schema.
//!
//! What a value is, the writer's schema says; where it goes, the column. The reader's schema (where the columns follow
//! schemas) adds aliases, defaults, the places of a union's types, and the logical types of plain numbers.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields as Columns, TimeUnit};

use super::super::nested::map_value;
use super::super::payload::JSON_TEXT;
use super::column::Column;
use super::columns::duration_type;
use super::default;
use super::json_text;
use super::schema::{self, Encoding, Record, RecordField, Row, Type, VALUE};
use super::step::{FieldStep, Fields, Fill, Items, Step};
use super::unions::{Shape, has_members, member_name};
use super::wire;
use crate::config::{RESCUE_COLUMN, UnknownFields};
use crate::schema::ddl::format_type;

/// Why the columns can't take a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A field that the columns don't have, under `unknown_fields: fail`.
    Unknown { path: String },
    /// `what` says the two types, or what is missing.
    Column { path: String, what: String },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { path } => write!(f, "`{path}` is not declared"),
            Self::Column { path, what } => write!(f, "`{path}`: {what}"),
        }
    }
}

/// What to do with a writer's fields that no column takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) rule: UnknownFields,
    /// At the top is an envelope, of which only some fields are wanted; rows are in it.
    pub(super) envelope: bool,
}

impl Unknown {
    /// What holds at a depth of fields. A row's own fields can be rescued, and none inside of them.
    fn at(self, depth: usize) -> UnknownFields {
        match (depth.cmp(&usize::from(self.envelope)), self.rule) {
            (Ordering::Less, _) | (Ordering::Greater, UnknownFields::Rescue) => {
                UnknownFields::Ignore
            }
            (_, rule) => rule,
        }
    }
}

/// Compiles a writer's schema. `reader`: the merged schema that the columns come from; `None`: they are declared.
pub(super) fn plan(
    writer: &Row,
    reader: Option<&Record>,
    columns: &Columns,
    unknown: Unknown,
) -> Result<Fields, Refusal> {
    if !writer.is_record && !columns.iter().any(|column| column.name() == VALUE) {
        let what = format!(
            "{}, and no record: declare the one column `{VALUE}`",
            writer.record.fields[0].of
        );
        return Err(Refusal::Column { path: VALUE.into(), what });
    }
    let mut planner = Planner { unknown, path: Vec::new() };
    planner.fields(&writer.record, reader, columns)
}

struct Planner {
    unknown: Unknown,
    path: Vec<String>,
}

impl Planner {
    fn fields(
        &mut self,
        writer: &Record,
        reader: Option<&Record>,
        columns: &Columns,
    ) -> Result<Fields, Refusal> {
        let sources = sources(writer, reader, columns);
        let unknown = self.unknown.at(self.path.len());
        let rescue = match unknown {
            UnknownFields::Rescue => columns.iter().position(|c| c.name() == RESCUE_COLUMN),
            _ => None,
        };
        let mut steps = Vec::with_capacity(writer.fields.len());
        for (index, field) in writer.fields.iter().enumerate() {
            let column = sources.iter().position(|source| *source == Some(index));
            steps.push(match column {
                Some(place) => {
                    let column = &columns[place];
                    let reader = reader.and_then(|reader| reader.field(column.name()));
                    let step = self.named(column.name(), |planner| {
                        planner.step(&field.of, reader.map(|reader| &reader.of), column)
                    })?;
                    FieldStep::Column(place, step)
                }
                None => self.unknown_field(field, reader.is_some(), unknown, rescue)?,
            });
        }
        let mut fills = Vec::new();
        for (place, column) in columns.iter().enumerate() {
            if sources[place].is_none() && rescue != Some(place) {
                let reader = reader.and_then(|reader| reader.field(column.name()));
                let fill = self.named(column.name(), |planner| planner.fill(reader, column))?;
                fills.push((place, fill));
            }
        }
        Ok(Fields { steps: steps.into(), fills: fills.into(), rescue })
    }

    fn unknown_field(
        &self,
        field: &RecordField,
        followed: bool,
        unknown: UnknownFields,
        rescue: Option<usize>,
    ) -> Result<FieldStep, Refusal> {
        let (name, of) = (Arc::clone(&field.name), field.of.clone());
        match unknown {
            // Columns that follow the schema leave out only fields that hold nothing.
            _ if followed => Ok(FieldStep::Skip { name, of }),
            UnknownFields::Fail => {
                let path = self.path.iter().map(String::as_str).chain([&*name]);
                Err(Refusal::Unknown { path: path.collect::<Vec<_>>().join(".") })
            }
            UnknownFields::Rescue if rescue.is_some() => {
                let token = json_text::name_token(&name);
                Ok(FieldStep::Rescue { name, token, of })
            }
            UnknownFields::Ignore | UnknownFields::Rescue => Ok(FieldStep::Skip { name, of }),
        }
    }

    /// What a column gets from a writer that has no field for it.
    fn fill(&mut self, reader: Option<&RecordField>, column: &Field) -> Result<Fill, Refusal> {
        if let Some(fill) = reader.and_then(|reader| self.default(reader, column)) {
            return Ok(fill);
        }
        if column.is_nullable() {
            return Ok(Fill::Null);
        }
        Err(self.refuse("the schema has no such field, and the column is NOT NULL".into()))
    }

    fn default(&mut self, reader: &RecordField, column: &Field) -> Option<Fill> {
        let datum = default::encode(&reader.of, reader.default.as_ref()?)?;
        let step = self.step(&reader.of, Some(&reader.of), column).ok()?;
        // What is read here can't fail in a record.
        let mut trial = Column::new(&Arc::new(column.clone()))?;
        let mut wire = wire::Wire::new(&datum, 0);
        step.run(&mut trial, &mut wire).and_then(|()| wire.end()).ok()?;
        Some(Fill::Default { datum: datum.into(), step })
    }

    fn step(
        &mut self,
        writer: &Type,
        reader: Option<&Type>,
        column: &Field,
    ) -> Result<Step, Refusal> {
        if column.metadata().contains_key(JSON_TEXT) {
            return Ok(json_text(writer, column));
        }
        match (writer, reader.map(Type::shape)) {
            (Type::Union(branches), _) => self.union(branches, reader, column),
            (Type::Null, _) => Ok(null(column)),
            (_, Some(Shape::Members(members))) => self.member(writer, &members, column),
            (_, Some(Shape::One(reader))) => self.one(writer, Some(reader), column),
            (_, Some(Shape::Nothing) | None) => self.one(writer, None, column),
        }
    }

    /// A union can be read if one of its types can; a value of another is a bad record.
    fn union(
        &mut self,
        branches: &[Type],
        reader: Option<&Type>,
        column: &Field,
    ) -> Result<Step, Refusal> {
        let as_members = reader.is_none() && has_members(column.data_type());
        let others = branches.iter().filter(|b| **b != Type::Null).count();
        let mut steps = Vec::with_capacity(branches.len());
        let mut refused = Vec::new();
        let mut member = 0;
        for branch in branches {
            let step = if *branch == Type::Null {
                Ok(null(column))
            } else if as_members && others > 1 {
                member += 1;
                self.declared_member(branch, member - 1, column)
            } else {
                self.step(branch, reader, column)
            };
            steps.push(step.unwrap_or_else(|refusal| {
                let reason = self.told_here(&refusal);
                refused.push(refusal);
                Step::Refuse(reason.into())
            }));
        }
        if others > 0 && refused.len() == others {
            return Err(if others == 1 {
                refused.remove(0)
            } else {
                let writer = Type::Union(branches.to_vec());
                self.mismatch(&writer, column)
            });
        }
        let null = branches.iter().position(|branch| *branch == Type::Null);
        Ok(match (null, steps.len()) {
            (Some(null), 2) if column.is_nullable() && refused.is_empty() => {
                Step::Optional { null: null == 1, step: Box::new(steps.remove(1 - null)) }
            }
            _ => Step::Union(steps.into()),
        })
    }

    /// Into the field of a STRUCT that stands for the type, as the reader numbers them.
    fn member(
        &mut self,
        writer: &Type,
        members: &[&Type],
        column: &Field,
    ) -> Result<Step, Refusal> {
        let DataType::Struct(fields) = column.data_type() else {
            return Err(self.mismatch(writer, column));
        };
        let Some(index) = branch_for(writer, members) else {
            return Err(self.mismatch(writer, column));
        };
        let name = member_name(index);
        let step =
            self.named(&name, |planner| planner.one(writer, Some(members[index]), &fields[index]))?;
        Ok(Step::Member { index, step: Box::new(step) })
    }

    /// The same for a STRUCT that is declared with a union's fields.
    fn declared_member(
        &mut self,
        writer: &Type,
        member: usize,
        column: &Field,
    ) -> Result<Step, Refusal> {
        let DataType::Struct(fields) = column.data_type() else { unreachable!("it has members") };
        let name = member_name(member);
        let Some((index, field)) = fields.find(&name) else {
            let what = format!("{writer}, for which `{name}` is not declared");
            return Err(self.refuse(what));
        };
        let step = self.named(&name, |planner| planner.step(writer, None, field))?;
        Ok(Step::Member { index, step: Box::new(step) })
    }

    /// A type that is no union into a column that stands for no union.
    fn one(
        &mut self,
        writer: &Type,
        reader: Option<&Type>,
        column: &Field,
    ) -> Result<Step, Refusal> {
        if column.metadata().contains_key(JSON_TEXT) {
            return Ok(json_text(writer, column));
        }
        let writer = reader.and_then(|reader| with_meaning(writer, reader)).unwrap_or(writer);
        match (writer, column.data_type()) {
            (Type::Array(items), DataType::List(element)) => {
                let reader = match reader {
                    Some(Type::Array(reader)) => Some(&*reader.of),
                    _ => None,
                };
                Ok(Step::List(Box::new(self.items(items, reader, element)?)))
            }
            (Type::Map(items), DataType::Map(entries, _)) => {
                let Some(value) = map_value(entries) else {
                    return Err(self.mismatch(writer, column));
                };
                let reader = match reader {
                    Some(Type::Map(reader)) => Some(&*reader.of),
                    _ => None,
                };
                Ok(Step::Map(Box::new(self.items(items, reader, value)?)))
            }
            (Type::Record(record), DataType::Struct(fields)) => {
                let reader = match reader {
                    Some(Type::Record(reader)) => Some(reader),
                    _ => None,
                };
                let fields = self.fields(record, reader, fields)?;
                Ok(Step::Struct(Box::new(fields)))
            }
            (Type::Duration(_), data_type) if is_duration(data_type) => Ok(Step::Duration),
            (writer, data_type) => {
                scalar(writer, data_type).ok_or_else(|| self.mismatch(writer, column))
            }
        }
    }

    fn items(
        &mut self,
        writer: &schema::Items,
        reader: Option<&Type>,
        column: &Field,
    ) -> Result<Items, Refusal> {
        let step = self.named(column.name(), |planner| planner.step(&writer.of, reader, column))?;
        let units = step.units(column);
        Ok(Items { step, smallest: writer.smallest, units })
    }

    fn named<T>(&mut self, name: &str, plan: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(name.to_owned());
        let planned = plan(self);
        self.path.pop();
        planned
    }

    /// A refusal in a message that names this place already.
    fn told_here(&self, refusal: &Refusal) -> String {
        match refusal {
            Refusal::Column { path, what } if *path == self.path.join(".") => what.clone(),
            refusal => refusal.to_string(),
        }
    }

    fn mismatch(&self, writer: &Type, column: &Field) -> Refusal {
        self.refuse(format!("{writer} can't be read as {}", format_type(column.data_type())))
    }

    fn refuse(&self, what: String) -> Refusal {
        Refusal::Column { path: self.path.join("."), what }
    }
}

fn null(column: &Field) -> Step {
    if column.is_nullable() { Step::Null } else { Step::RefuseNull }
}

/// A null stays one.
fn json_text(writer: &Type, column: &Field) -> Step {
    let text = |of: &Type| Step::JsonText(Box::new(of.clone()));
    match writer {
        Type::Null => null(column),
        Type::Union(branches) => {
            let branches = branches.iter().map(|branch| match branch {
                Type::Null => null(column),
                other => text(other),
            });
            Step::Union(branches.collect())
        }
        other => text(other),
    }
}

/// For each column, the writer's field that goes there: of the column's name; else of one that the reader's schema
/// gives as an alias; else one that has the column's name as an alias itself.
fn sources(writer: &Record, reader: Option<&Record>, columns: &Columns) -> Vec<Option<usize>> {
    let by_name = |name: &str| writer.fields.iter().position(|field| *field.name == *name);
    let mut sources: Vec<Option<usize>> = columns.iter().map(|c| by_name(c.name())).collect();
    for (place, column) in columns.iter().enumerate() {
        if sources[place].is_some() {
            continue;
        }
        let aliases = reader.and_then(|reader| reader.field(column.name()));
        let aliases = aliases.map_or(&[][..], |field| &field.aliases);
        let found = aliases.iter().find_map(|alias| by_name(alias)).or_else(|| {
            let is_alias = |alias: &Arc<str>| **alias == **column.name();
            writer.fields.iter().position(|field| field.aliases.iter().any(is_alias))
        });
        sources[place] = found.filter(|found| !sources.contains(&Some(*found)));
    }
    sources
}

fn is_duration(data_type: &DataType) -> bool {
    let shape = |data_type: &DataType| match data_type {
        DataType::Struct(fields) => {
            fields.iter().map(|f| (f.name().clone(), f.data_type().clone())).collect()
        }
        _ => Vec::new(),
    };
    shape(data_type) == shape(&duration_type())
}

/// The type of a reader's union that a writer's type is read as: of its own kind and name, of its own kind and the
/// name without namespace or an alias, or the first that it can be promoted to.
pub(super) fn branch_for(writer: &Type, reader: &[&Type]) -> Option<usize> {
    let same = |reader: &&&Type| same_type(writer, reader);
    let full = |reader: &&Type| writer.name().map(|n| &n.full) == reader.name().map(|n| &n.full);
    let matching = || reader.iter().enumerate().filter(|(_, reader)| same(reader));
    matching()
        .find(|(_, reader)| full(reader))
        .or_else(|| matching().next())
        .map(|(index, _)| index)
        .or_else(|| reader.iter().position(|reader| promotes(writer.encoding(), reader.encoding())))
}

/// Whether two types are of one kind, and of names that match.
pub(super) fn same_type(writer: &Type, reader: &Type) -> bool {
    let names = match (writer.name(), reader.name()) {
        (Some(writer), Some(reader)) => reader.reads(writer),
        _ => true,
    };
    writer.encoding() == reader.encoding() && names
}

fn promotes(writer: Encoding, reader: Encoding) -> bool {
    matches!(
        (writer, reader),
        (Encoding::Int, Encoding::Long | Encoding::Float | Encoding::Double)
            | (Encoding::Long, Encoding::Float | Encoding::Double)
            | (Encoding::Float, Encoding::Double)
            | (Encoding::String, Encoding::Bytes)
            | (Encoding::Bytes, Encoding::String)
    )
}

/// A plain number or plain bytes are what the reader's logical type makes of them.
fn with_meaning<'a>(writer: &Type, reader: &'a Type) -> Option<&'a Type> {
    let plain = !writer.has_meaning() && reader.has_meaning();
    let size = |of: &Type| of.fixed().map(|fixed| fixed.size);
    let beneath = writer.encoding() == reader.encoding() && size(writer) == size(reader);
    // An int that became a long; it lies on the wire as one.
    let promoted = writer.encoding() == Encoding::Int && reader.encoding() == Encoding::Long;
    (plain && (beneath || promoted)).then_some(reader)
}

/// What no other type is inside of.
fn scalar(writer: &Type, column: &DataType) -> Option<Step> {
    if let Some(step) = logical(writer, column) {
        return Some(step);
    }
    Some(match (writer.encoding(), column) {
        (Encoding::Boolean, DataType::Boolean) => Step::Boolean,
        (Encoding::Int, DataType::Int8) => Step::IntToTiny,
        (Encoding::Int, DataType::Int16) => Step::IntToSmall,
        (Encoding::Int, DataType::Int32) => Step::Int,
        (Encoding::Int, DataType::Int64) => Step::IntToLong,
        (Encoding::Int, DataType::Float32) => Step::IntToFloat,
        (Encoding::Int, DataType::Float64) => Step::IntToDouble,
        (Encoding::Long, DataType::Int64) => Step::Long,
        (Encoding::Long, DataType::Float32) => Step::LongToFloat,
        (Encoding::Long, DataType::Float64) => Step::LongToDouble,
        (Encoding::Float, DataType::Float32) => Step::Float,
        (Encoding::Float, DataType::Float64) => Step::FloatToDouble,
        (Encoding::Double, DataType::Float64) => Step::Double,
        (Encoding::String, DataType::Utf8) => Step::Text,
        (Encoding::String, DataType::Binary) => Step::TextToBytes,
        (Encoding::Bytes, DataType::Binary) => Step::Bytes,
        (Encoding::Bytes, DataType::Utf8) if !writer.has_meaning() => Step::BytesToText,
        (Encoding::Fixed, DataType::Binary) => Step::Fixed(writer.fixed()?.size),
        _ => return None,
    })
}

fn logical(writer: &Type, column: &DataType) -> Option<Step> {
    match (writer, column) {
        (Type::Date, DataType::Date32) => Some(Step::Date),
        (Type::Timestamp { unit, local }, DataType::Timestamp(TimeUnit::Microsecond, zone))
            if zone.is_none() == *local =>
        {
            Some(Step::Timestamp(*unit))
        }
        (Type::Decimal { scale, fixed, .. }, DataType::Decimal128(precision, to_scale))
            if i8::try_from(*scale).is_ok_and(|scale| scale == *to_scale) =>
        {
            let limit = 10i128.checked_pow((*precision).into())?;
            Some(Step::Decimal { limit, size: fixed.as_ref().map(|fixed| fixed.size) })
        }
        (Type::Uuid(Some(_)), DataType::Utf8) => Some(Step::Uuid),
        (Type::Enum(of), DataType::Utf8) => Some(Step::Symbol(Arc::clone(&of.symbols))),
        _ => None,
    }
}
