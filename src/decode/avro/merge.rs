//! Two schemas into one whose columns take the records of both: what following schemas as they evolve comes down to.
//!
//! The first one keeps its place: its columns stay where they are, those of the second come behind. Nothing is lost in
//! a merged column, so an int and a float become a double, and types that have no common one are refused.

use std::sync::Arc;

use super::names::Name;
use super::resolution::{counterparts, same_type};
use super::schema::{Encoding, Enum, Items, Record, RecordField, Type};
use super::unions::Shape;

/// Two types of a field that no column can hold both of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conflict {
    /// With dots.
    pub(super) path: String,
    pub(super) first: String,
    pub(super) second: String,
}

pub(super) fn merge(first: &Record, second: &Record) -> Result<Record, Conflict> {
    Merger { path: Vec::new() }.record(first, second)
}

struct Merger {
    path: Vec<String>,
}

impl Merger {
    fn record(&mut self, first: &Record, second: &Record) -> Result<Record, Conflict> {
        let mut fields: Vec<RecordField> = Vec::with_capacity(first.fields.len());
        let names = first.fields.iter().map(|field| (&*field.name, field.aliases.as_slice()));
        let pairs = counterparts(names, &second.fields);
        for (field, partner) in first.fields.iter().zip(&pairs) {
            fields.push(match partner {
                Some(partner) => self.field(field, &second.fields[*partner])?,
                // A default stands in for it.
                None if field.default.is_some() => field.clone(),
                None => or_null(field),
            });
        }
        let new = second.fields.iter().enumerate().filter(|(i, _)| !pairs.contains(&Some(*i)));
        fields.extend(new.map(|(_, field)| or_null(field)));
        let mut name = first.name.clone();
        name.absorb(&second.name);
        Ok(Record { name, fields })
    }

    fn field(
        &mut self,
        first: &RecordField,
        second: &RecordField,
    ) -> Result<RecordField, Conflict> {
        self.path.push(second.name.to_string());
        let of = self.types(&first.of, &second.of)?;
        self.path.pop();
        // The second has the first's name as an alias: it was renamed.
        let renamed = first.name != second.name && second.aliases.contains(&first.name);
        let (name, other) = match renamed {
            true => (&second.name, &first.name),
            false => (&first.name, &second.name),
        };
        let mut aliases: Vec<Arc<str>> = first.aliases.clone();
        for alias in second.aliases.iter().chain([other]) {
            if alias != name && !aliases.contains(alias) {
                aliases.push(Arc::clone(alias));
            }
        }
        aliases.retain(|alias| alias != name);
        let default = first.default.clone().or_else(|| second.default.clone());
        Ok(RecordField { name: Arc::clone(name), aliases, default, of })
    }

    fn types(&mut self, first: &Type, second: &Type) -> Result<Type, Conflict> {
        let nullable = first.is_nullable() || second.is_nullable();
        let merged = match (first.shape(), second.shape()) {
            (Shape::Nothing, _) => second.clone(),
            (_, Shape::Nothing) => first.clone(),
            (Shape::One(first), Shape::One(second)) => self.one(first, second)?,
            (Shape::Members(_), _) => self.union(first, second)?,
            (Shape::One(_), Shape::Members(_)) => return Err(self.conflict(first, second)),
        };
        Ok(if nullable { merged.or_null() } else { merged })
    }

    /// A union of several with one more: its types keep their places.
    fn union(&mut self, first: &Type, second: &Type) -> Result<Type, Conflict> {
        let branches = |of: &Type| match of {
            Type::Union(branches) => branches.clone(),
            other => vec![other.clone()],
        };
        let mut merged = branches(first);
        for branch in branches(second).into_iter().filter(|branch| *branch != Type::Null) {
            match merged.iter_mut().find(|known| same_type(&branch, known)) {
                Some(known) => *known = self.one(known, &branch)?,
                None => merged.push(branch),
            }
        }
        Ok(Type::Union(merged))
    }

    fn one(&mut self, first: &Type, second: &Type) -> Result<Type, Conflict> {
        Ok(match (first, second) {
            (Type::Array(a), Type::Array(b)) => Type::Array(self.items("element", a, b)?),
            (Type::Map(a), Type::Map(b)) => Type::Map(self.items("value", a, b)?),
            (Type::Record(a), Type::Record(b)) => Type::Record(self.record(a, b)?),
            (Type::Enum(a), Type::Enum(b)) => Type::Enum(enumeration(a, b)),
            (Type::Fixed(a), Type::Fixed(b)) if a.size == b.size => first.clone(),
            (Type::Decimal { .. }, Type::Decimal { .. }) => {
                decimal(first, second).ok_or_else(|| self.conflict(first, second))?
            }
            // Spark's column for these; `shape` gives the wider type.
            (Type::Int | Type::Long | Type::Float | Type::Double, _)
                if !second.has_meaning()
                    && number(first.encoding(), second.encoding()).is_some() =>
            {
                number(first.encoding(), second.encoding()).unwrap_or(Type::Double)
            }
            _ => alike(first, second).ok_or_else(|| self.conflict(first, second))?,
        })
    }

    fn items(&mut self, name: &str, first: &Items, second: &Items) -> Result<Items, Conflict> {
        self.path.push(name.to_owned());
        let of = self.types(&first.of, &second.of)?;
        self.path.pop();
        Ok(Items::new(of))
    }

    fn conflict(&self, first: &Type, second: &Type) -> Conflict {
        let path = self.path.join(".");
        Conflict { path, first: first.to_string(), second: second.to_string() }
    }
}

fn or_null(field: &RecordField) -> RecordField {
    RecordField { of: field.of.clone().or_null(), ..field.clone() }
}

/// The symbols of both: a column holds what was written.
fn enumeration(first: &Enum, second: &Enum) -> Enum {
    let more = second.symbols.iter().filter(|symbol| !first.symbols.contains(symbol));
    let symbols = first.symbols.iter().chain(more).cloned().collect();
    let mut name: Name = first.name.clone();
    name.absorb(&second.name);
    Enum { name, symbols }
}

/// Of one scale, and as many digits as the longer one has.
fn decimal(first: &Type, second: &Type) -> Option<Type> {
    match (first, second) {
        (
            Type::Decimal { precision: a, scale, fixed },
            Type::Decimal { precision: b, scale: other, .. },
        ) if scale == other => {
            Some(Type::Decimal { precision: *a.max(b), scale: *scale, fixed: fixed.clone() })
        }
        _ => None,
    }
}

/// The number type that holds both without loss.
fn number(first: Encoding, second: Encoding) -> Option<Type> {
    Some(match (first, second) {
        (Encoding::Int, Encoding::Int) => Type::Int,
        (Encoding::Int | Encoding::Long, Encoding::Int | Encoding::Long) => Type::Long,
        (Encoding::Float, Encoding::Float) => Type::Float,
        (
            Encoding::Int | Encoding::Long | Encoding::Float | Encoding::Double,
            Encoding::Int | Encoding::Long | Encoding::Float | Encoding::Double,
        ) => Type::Double,
        _ => return None,
    })
}

/// Types that are written differently and go into one column.
fn alike(first: &Type, second: &Type) -> Option<Type> {
    let text = |of: &Type| matches!(of, Type::String | Type::Uuid(_) | Type::Enum(_));
    match (first, second) {
        // Names may differ, and fixed types of one size.
        (a, b) if std::mem::discriminant(a) == std::mem::discriminant(b) => match (a, b) {
            (Type::Timestamp { local: a, .. }, Type::Timestamp { local: b, .. }) if a != b => None,
            (Type::Fixed(_), Type::Fixed(_)) => None,
            _ => Some(first.clone()),
        },
        (a, b) if text(a) && text(b) => Some(Type::String),
        // Of a number or bytes with a meaning and without one, the first one's column takes both.
        (a, b) if a.has_meaning() != b.has_meaning() => {
            let promoted = a.has_meaning() && a.encoding() == Encoding::Long && *b == Type::Int;
            (a.lies_like(b) || promoted).then(|| first.clone())
        }
        (Type::String, Type::Bytes) | (Type::Bytes, Type::String) => Some(first.clone()),
        _ => None,
    }
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, first, second } = self;
        write!(f, "`{path}` is {second}, and the schemas before it have {first}")
    }
}
