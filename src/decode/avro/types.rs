//! Avro types with every name resolved: a tree, as deep as the data can nest.

use std::fmt;
use std::sync::Arc;

/// What a value on the wire is. A logical type that Avro doesn't know is the type beneath it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(Fixed),
    Enum(Enum),
    Array(Items),
    Map(Items),
    Union(Vec<Type>),
    Record(Record),
    /// On an int.
    Date,
    /// On an int.
    TimeMillis,
    /// On a long.
    TimeMicros,
    /// On a long. `local`: a wall clock's time, not an instant.
    Timestamp {
        unit: Unit,
        local: bool,
    },
    /// On bytes, or on a fixed.
    Decimal {
        precision: usize,
        /// Not above the precision.
        scale: usize,
        fixed: Option<Fixed>,
    },
    /// On a string, or on a fixed of 16 bytes.
    Uuid(Option<Fixed>),
    /// On a fixed of 12 bytes.
    Duration(Fixed),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// A type's full name and those it also goes by, full too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) full: Arc<str>,
    pub(super) aliases: Vec<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) name: Name,
    pub(super) size: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Enum {
    pub(super) name: Name,
    pub(super) symbols: Arc<[Box<str>]>,
}

/// The items of an array, or the values of a map.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Items {
    pub(super) of: Box<Type>,
    /// Bytes of the smallest one.
    pub(super) smallest: usize,
    /// What the JSON text of one may take, in units of eight bytes; longer strings, arrays and maps in it aside.
    pub(super) text_units: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) name: Name,
    pub(super) fields: Vec<RecordField>,
}

/// A whole datum as a row of columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// The schema's record; for any other type one of our own, whose only field is [`VALUE`].
    pub(super) record: Record,
    pub(super) is_record: bool,
}

/// The column of a datum that is no record.
pub(super) const VALUE: &str = "value";

impl From<Type> for Row {
    fn from(of: Type) -> Self {
        match of {
            Type::Record(record) => Self { record, is_record: true },
            other => {
                let name = Name { full: VALUE.into(), aliases: Vec::new() };
                let aliases = Vec::new();
                let field = RecordField { name: VALUE.into(), aliases, default: None, of: other };
                Self { record: Record { name, fields: vec![field] }, is_record: false }
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct RecordField {
    pub(super) name: Arc<str>,
    pub(super) aliases: Vec<Arc<str>>,
    /// What a reader takes where a writer has no such field.
    pub(super) default: Option<serde_json::Value>,
    pub(super) of: Type,
}

/// How a type lies on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed,
    Enum,
    Array,
    Map,
    Union,
    Record,
}

/// What the column of a type holds, null aside.
pub(super) enum Shape<'a> {
    /// There is only null.
    Nothing,
    One(&'a Type),
    /// One of several: a STRUCT with a field for each.
    Members(Vec<&'a Type>),
}

impl Items {
    pub(super) fn new(of: Type) -> Self {
        let (smallest, text_units) = (of.smallest(), of.text_units());
        Self { of: Box::new(of), smallest, text_units }
    }
}

impl Name {
    pub(super) fn simple(&self) -> &str {
        simple(&self.full)
    }

    /// Whether a reader's name, or an alias of it, is this writer's, namespaces aside.
    pub(super) fn reads(&self, writer: &Name) -> bool {
        let wanted = writer.simple();
        self.simple() == wanted || self.aliases.iter().any(|alias| simple(alias) == wanted)
    }

    /// Goes by another's names, too.
    pub(super) fn absorb(&mut self, other: &Name) {
        for name in std::iter::once(&other.full).chain(&other.aliases) {
            if *name != self.full && !self.aliases.contains(name) {
                self.aliases.push(Arc::clone(name));
            }
        }
    }
}

fn simple(full: &str) -> &str {
    full.rsplit('.').next().unwrap_or(full)
}

impl Type {
    pub(super) fn wire(&self) -> Wire {
        match self {
            Self::Null => Wire::Null,
            Self::Boolean => Wire::Boolean,
            Self::Int | Self::Date | Self::TimeMillis => Wire::Int,
            Self::Long | Self::TimeMicros | Self::Timestamp { .. } => Wire::Long,
            Self::Float => Wire::Float,
            Self::Double => Wire::Double,
            Self::Bytes | Self::Decimal { fixed: None, .. } => Wire::Bytes,
            Self::String | Self::Uuid(None) => Wire::String,
            Self::Fixed(_)
            | Self::Decimal { fixed: Some(_), .. }
            | Self::Uuid(Some(_))
            | Self::Duration(_) => Wire::Fixed,
            Self::Enum(_) => Wire::Enum,
            Self::Array(_) => Wire::Array,
            Self::Map(_) => Wire::Map,
            Self::Union(_) => Wire::Union,
            Self::Record(_) => Wire::Record,
        }
    }

    /// The name of a named type.
    pub(super) fn name(&self) -> Option<&Name> {
        match self {
            Self::Enum(Enum { name, .. }) | Self::Record(Record { name, .. }) => Some(name),
            _ => self.fixed().map(|fixed| &fixed.name),
        }
    }

    /// The fixed type that it is, or lies on.
    pub(super) fn fixed(&self) -> Option<&Fixed> {
        match self {
            Self::Fixed(fixed)
            | Self::Decimal { fixed: Some(fixed), .. }
            | Self::Uuid(Some(fixed))
            | Self::Duration(fixed) => Some(fixed),
            _ => None,
        }
    }

    /// Whether it is more than the type on the wire.
    pub(super) fn has_meaning(&self) -> bool {
        matches!(
            self,
            Self::Date
                | Self::TimeMillis
                | Self::TimeMicros
                | Self::Timestamp { .. }
                | Self::Decimal { .. }
                | Self::Uuid(_)
                | Self::Duration(_)
        )
    }

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

    fn text_units(&self) -> u64 {
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

    pub(super) fn is_nullable(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Union(branches) => branches.contains(&Self::Null),
            _ => false,
        }
    }

    /// The same, or null.
    pub(super) fn or_null(self) -> Self {
        match self {
            nullable if nullable.is_nullable() => nullable,
            Self::Union(mut branches) => {
                branches.insert(0, Self::Null);
                Self::Union(branches)
            }
            other => Self::Union(vec![Self::Null, other]),
        }
    }

    /// As Spark has it: a union of one type, of int and long, or of float and double is that type, or the wider one.
    pub(super) fn shape(&self) -> Shape<'_> {
        let Self::Union(branches) = self else {
            return if *self == Self::Null { Shape::Nothing } else { Shape::One(self) };
        };
        let others: Vec<&Type> = branches.iter().filter(|b| **b != Self::Null).collect();
        match others.as_slice() {
            [] => Shape::Nothing,
            [one] => Shape::One(one),
            [Self::Int, Self::Long] | [Self::Long, Self::Int] => Shape::One(&Self::Long),
            [Self::Float, Self::Double] | [Self::Double, Self::Float] => Shape::One(&Self::Double),
            _ => Shape::Members(others),
        }
    }
}

/// The field of a union's STRUCT that holds its `index`-th type, null not counted.
pub(super) fn member_name(index: usize) -> String {
    format!("member{index}")
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Millis => "millis",
            Self::Micros => "micros",
            Self::Nanos => "nanos",
        })
    }
}

/// As a message names it: `long (timestamp-millis)`, `record shop.Order`.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean => f.write_str("boolean"),
            Self::Int => f.write_str("int"),
            Self::Long => f.write_str("long"),
            Self::Float => f.write_str("float"),
            Self::Double => f.write_str("double"),
            Self::Bytes => f.write_str("bytes"),
            Self::String => f.write_str("string"),
            Self::Fixed(fixed) => write!(f, "fixed {}", fixed.name.full),
            Self::Enum(of) => write!(f, "enum {}", of.name.full),
            Self::Array(items) => write!(f, "array of {}", items.of),
            Self::Map(items) => write!(f, "map of {}", items.of),
            Self::Record(record) => write!(f, "record {}", record.name.full),
            Self::Union(branches) => {
                let names: Vec<String> = branches.iter().map(Self::to_string).collect();
                write!(f, "union of {}", names.join(", "))
            }
            Self::Date => f.write_str("int (date)"),
            Self::TimeMillis => f.write_str("int (time-millis)"),
            Self::TimeMicros => f.write_str("long (time-micros)"),
            Self::Timestamp { unit, local } => {
                write!(f, "long ({}timestamp-{unit})", if *local { "local-" } else { "" })
            }
            Self::Decimal { precision, scale, fixed } => {
                let beneath = if fixed.is_some() { "fixed" } else { "bytes" };
                write!(f, "{beneath} (decimal({precision},{scale}))")
            }
            Self::Uuid(fixed) => {
                write!(f, "{} (uuid)", fixed.as_ref().map_or("string", |_| "fixed"))
            }
            Self::Duration(_) => f.write_str("fixed (duration)"),
        }
    }
}
