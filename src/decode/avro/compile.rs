//! From the schema that a record was written with to steps into the columns that take it, once per schema.
//!
//! What a value is, the writer's schema says; where it goes, the column. The reader's schema (where the columns follow
//! schemas) adds aliases, defaults, the places of a union's types, and the logical types of plain numbers.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields as Columns};

use super::super::nested::map_value;
use super::super::payload::JSON_TEXT;
use super::column::Column;
use super::default;
use super::json_text;
use super::resolution::{branch_for, counterparts, with_meaning};
use super::scalars::scalar;
use super::schema::{self, Record, RecordField, Row, Type, VALUE};
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
pub(super) fn compile(
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
    let mut compiler = Compiler { unknown, path: Vec::new() };
    compiler.fields(&writer.record, reader, columns)
}

struct Compiler {
    unknown: Unknown,
    path: Vec<String>,
}

impl Compiler {
    fn fields(
        &mut self,
        writer: &Record,
        reader: Option<&Record>,
        columns: &Columns,
    ) -> Result<Fields, Refusal> {
        let sources = sources(writer, reader, columns);
        let followed = |column: &Field| reader.and_then(|reader| reader.field(column.name()));
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
                    let reader = followed(column).map(|field| &field.of);
                    let step = self.inside(column.name(), |compiler| {
                        compiler.step(&field.of, reader, column)
                    })?;
                    FieldStep::Column(place, step)
                }
                None => self.unknown_field(field, reader.is_some(), unknown, rescue)?,
            });
        }
        let mut fills = Vec::new();
        for (place, column) in columns.iter().enumerate() {
            if sources[place].is_none() && rescue != Some(place) {
                let fill =
                    self.inside(column.name(), |compiler| compiler.fill(followed(column), column))?;
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
        match (branch_for(writer, members), column.data_type()) {
            (Some(index), DataType::Struct(fields)) => {
                self.member_at(writer, Some(members[index]), index, &fields[index])
            }
            _ => Err(self.mismatch(writer, column)),
        }
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
        match fields.find(&name) {
            Some((index, field)) => self.member_at(writer, None, index, field),
            None => Err(self.refuse(format!("{writer}, for which `{name}` is not declared"))),
        }
    }

    fn member_at(
        &mut self,
        writer: &Type,
        reader: Option<&Type>,
        index: usize,
        field: &Field,
    ) -> Result<Step, Refusal> {
        let step = self.inside(field.name(), |compiler| compiler.step(writer, reader, field))?;
        Ok(Step::Member { index, step: Box::new(step) })
    }

    /// A type that is no union into a column that stands for no union.
    fn one(
        &mut self,
        writer: &Type,
        reader: Option<&Type>,
        column: &Field,
    ) -> Result<Step, Refusal> {
        let writer = reader.and_then(|reader| with_meaning(writer, reader)).unwrap_or(writer);
        match (writer, column.data_type()) {
            (Type::Array(items), DataType::List(element)) => {
                Ok(Step::List(Box::new(self.items(items, reader, element)?)))
            }
            (Type::Map(items), DataType::Map(entries, _)) => {
                let value = map_value(entries).ok_or_else(|| self.mismatch(writer, column))?;
                Ok(Step::Map(Box::new(self.items(items, reader, value)?)))
            }
            (Type::Record(record), DataType::Struct(fields)) => {
                let reader = reader.and_then(Type::record);
                Ok(Step::Struct(Box::new(self.fields(record, reader, fields)?)))
            }
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
        let reader = reader.and_then(Type::items).map(|items| &*items.of);
        let step =
            self.inside(column.name(), |compiler| compiler.step(&writer.of, reader, column))?;
        let units = step.units(column);
        Ok(Items { step, smallest: writer.smallest, units })
    }

    fn inside<T>(&mut self, name: &str, compile: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(name.to_owned());
        let compiled = compile(self);
        self.path.pop();
        compiled
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

/// For each column, the writer's field that goes there. The reader's schema may give the column aliases.
fn sources(writer: &Record, reader: Option<&Record>, columns: &Columns) -> Vec<Option<usize>> {
    let names = columns.iter().map(|column| {
        let field = reader.and_then(|reader| reader.field(column.name()));
        (column.name().as_str(), field.map_or(&[][..], |field| &field.aliases))
    });
    counterparts(names, &writer.fields)
}
