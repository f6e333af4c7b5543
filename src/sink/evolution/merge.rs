//! The rows' columns merged into a table's: found in Arrow's schemas, made in the table's JSON.
//!
//! The JSON is edited in place, so that whatever else a table says of its columns stays as it is.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use serde_json::{Value, json};

use super::{ColumnChange, common};
use crate::schema::ddl;
use crate::sink::delta_schema::{self, SchemaProblem, child_path, has_local_time, map_fields};

/// The key of a field's metadata that holds the history of its types.
const TYPE_CHANGES: &str = "delta.typeChanges";

/// Changes of a table's columns, in the order in which they are made.
#[derive(Debug, Default)]
pub(super) struct Merge {
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    /// Dotted, as messages name it.
    column: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Add {
        /// Where the struct's type is in the JSON.
        to: String,
        field: Field,
    },
    Widen {
        at: Place,
        from: DataType,
        to: DataType,
    },
}

/// Where a type is in the JSON.
#[derive(Debug, Clone)]
struct Place {
    /// The nearest struct field around it.
    field: String,
    /// From that field's type down through arrays and maps.
    inner: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Element,
    Key,
    Value,
}

impl Part {
    /// In the path of a type change.
    fn word(self) -> &'static str {
        match self {
            Self::Element => "element",
            Self::Key => "key",
            Self::Value => "value",
        }
    }

    /// In an array's or a map's JSON.
    fn member(self) -> &'static str {
        match self {
            Self::Element => "elementType",
            Self::Key => "keyType",
            Self::Value => "valueType",
        }
    }
}

impl Place {
    fn of(field: String) -> Self {
        Self { field, inner: Vec::new() }
    }

    fn inside(&self, part: Part) -> Self {
        let mut place = self.clone();
        place.inner.push(part);
        place
    }

    /// A JSON pointer to the type.
    fn pointer(&self) -> String {
        let mut pointer = format!("{}/type", self.field);
        self.inner.iter().for_each(|part| {
            pointer.push('/');
            pointer.push_str(part.member());
        });
        pointer
    }
}

impl Merge {
    /// What the rows' columns ask of the table's. Columns in `fixed` stay as they are.
    pub(super) fn of(table: &Schema, rows: &Schema, fixed: &[String], widens: bool) -> Self {
        let mut merge = Self::default();
        let walk = Walk { fixed, widens };
        walk.fields(table.fields(), rows.fields(), "", "", true, &mut merge.changes);
        merge
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether a type that comes to be is a TIMESTAMP_NTZ, which is a feature.
    pub(super) fn has_local_time(&self) -> bool {
        self.changes.iter().any(|change| match &change.kind {
            Kind::Add { field, .. } => has_local_time(field.data_type()),
            Kind::Widen { to, .. } => has_local_time(to),
        })
    }

    /// Makes the changes in a schema's JSON.
    pub(super) fn apply(&self, schema: &mut Value) -> Result<(), SchemaProblem> {
        self.changes.iter().try_for_each(|change| change.apply(schema))
    }

    pub(super) fn into_columns(self) -> Vec<ColumnChange> {
        let told = |Change { column, kind }| match kind {
            Kind::Add { field, .. } => {
                ColumnChange::Added { column, data_type: ddl::format_type(field.data_type()) }
            }
            Kind::Widen { from, to, .. } => ColumnChange::Widened {
                column,
                from: ddl::format_type(&from),
                to: ddl::format_type(&to),
            },
        };
        self.changes.into_iter().map(told).collect()
    }
}

struct Walk<'a> {
    /// Top-level columns whose types stay.
    fixed: &'a [String],
    widens: bool,
}

impl Walk<'_> {
    /// `at`: where the struct's type is in the JSON; `parent`: its dotted path; `adds`: whether it may get fields.
    fn fields(
        &self,
        table: &Fields,
        rows: &Fields,
        parent: &str,
        at: &str,
        adds: bool,
        changes: &mut Vec<Change>,
    ) {
        let mut added: Vec<&FieldRef> = Vec::new();
        for field in rows {
            let same = |other: &&FieldRef| other.name().eq_ignore_ascii_case(field.name());
            match table.iter().position(|other| same(&other)) {
                Some(position) => {
                    let theirs = &table[position];
                    if parent.is_empty() && self.fixed.contains(theirs.name()) {
                        continue;
                    }
                    let column = child_path(parent, theirs.name());
                    let place = Place::of(format!("{at}/fields/{position}"));
                    let (theirs, ours) = (theirs.data_type(), field.data_type());
                    self.types(theirs, ours, &column, &place, adds, changes);
                }
                None if !adds || added.iter().any(same) => {}
                None => added.push(field),
            }
        }
        changes.extend(added.into_iter().map(|field| Change {
            column: child_path(parent, field.name()),
            kind: Kind::Add { to: at.to_owned(), field: all_nullable(field) },
        }));
    }

    fn types(
        &self,
        table: &DataType,
        rows: &DataType,
        column: &str,
        at: &Place,
        adds: bool,
        changes: &mut Vec<Change>,
    ) {
        match (table, rows) {
            (DataType::Struct(theirs), DataType::Struct(ours)) => {
                // A map's keys are what they are: another field would make other keys of them.
                let adds = adds && !at.inner.contains(&Part::Key);
                self.fields(theirs, ours, column, &at.pointer(), adds, changes);
            }
            (DataType::List(theirs), DataType::List(ours)) => {
                let (theirs, ours) = (theirs.data_type(), ours.data_type());
                let column = child_path(column, "element");
                self.types(theirs, ours, &column, &at.inside(Part::Element), adds, changes);
            }
            (DataType::Map(theirs, _), DataType::Map(ours, _)) => {
                let (Some(theirs), Some(ours)) = (map_fields(theirs), map_fields(ours)) else {
                    return;
                };
                for (part, theirs, ours) in
                    [(Part::Key, theirs.0, ours.0), (Part::Value, theirs.1, ours.1)]
                {
                    let (theirs, ours) = (theirs.data_type(), ours.data_type());
                    let column = child_path(column, part.word());
                    self.types(theirs, ours, &column, &at.inside(part), adds, changes);
                }
            }
            (theirs, ours) if self.widens => {
                if let Some(to) = common(theirs, ours).filter(|to| to != theirs) {
                    let kind = Kind::Widen { at: at.clone(), from: theirs.clone(), to };
                    changes.push(Change { column: column.to_owned(), kind });
                }
            }
            _ => {}
        }
    }
}

/// The rows that are there have no value for it, and those to come may lose it again.
fn all_nullable(field: &Field) -> Field {
    field.clone().with_nullable(true).with_data_type(nullable_inside(field.data_type()))
}

fn nullable_inside(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| all_nullable(field)).collect())
        }
        DataType::List(element) => DataType::List(Arc::new(all_nullable(element))),
        DataType::Map(entries, sorted) => match map_fields(entries) {
            Some((key, value)) => {
                let pair = Fields::from(vec![key.clone(), all_nullable(value)]);
                let entries = entries.as_ref().clone().with_data_type(DataType::Struct(pair));
                DataType::Map(Arc::new(entries), *sorted)
            }
            None => data_type.clone(),
        },
        primitive => primitive.clone(),
    }
}

impl Change {
    fn apply(&self, schema: &mut Value) -> Result<(), SchemaProblem> {
        match &self.kind {
            Kind::Add { to, field } => {
                let fields = schema.pointer_mut(to).and_then(|s| s["fields"].as_array_mut());
                let parent = self.column.rsplit_once('.').map_or("", |(parent, _)| parent);
                let json = delta_schema::field_json(field, parent)?;
                fields.ok_or_else(|| self.malformed("fields"))?.push(json);
            }
            Kind::Widen { at, from, to } => {
                let [old, new] = [from, to].map(|t| delta_schema::type_json(t, &self.column));
                let (old, new) = (old?, new?);
                let data_type = schema.pointer_mut(&at.pointer());
                *data_type.ok_or_else(|| self.malformed("type"))? = new.clone();
                let field = schema.pointer_mut(&at.field).and_then(Value::as_object_mut);
                let metadata = field.map(|f| f.entry("metadata").or_insert_with(|| json!({})));
                let metadata = metadata.and_then(Value::as_object_mut);
                let history = metadata.map(|m| m.entry(TYPE_CHANGES).or_insert_with(|| json!([])));
                let history = history.and_then(Value::as_array_mut);
                let history = history.ok_or_else(|| self.malformed(TYPE_CHANGES))?;
                history.push(type_change(&old, &new, &at.inner));
            }
        }
        Ok(())
    }

    fn malformed(&self, missing: &str) -> SchemaProblem {
        delta_schema::malformed(&self.column, missing)
    }
}

fn type_change(from: &Value, to: &Value, path: &[Part]) -> Value {
    let mut change = json!({ "fromType": from, "toType": to });
    if !path.is_empty() {
        let words: Vec<&str> = path.iter().map(|part| part.word()).collect();
        change["fieldPath"] = words.join(".").into();
    }
    change
}
