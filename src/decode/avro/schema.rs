//! A schema with every name resolved: a tree of types, as deep as the data can nest.

use std::sync::Arc;

use super::names::Name;

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

#[derive(Debug, Clone, PartialEq)]
pub(super) struct RecordField {
    pub(super) name: Arc<str>,
    pub(super) aliases: Vec<Arc<str>>,
    /// What a reader takes where a writer has no such field.
    pub(super) default: Option<serde_json::Value>,
    pub(super) of: Type,
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

/// How a type lies on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
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

impl Record {
    pub(super) fn field(&self, name: &str) -> Option<&RecordField> {
        self.fields.iter().find(|field| *field.name == *name)
    }
}

impl Items {
    pub(super) fn new(of: Type) -> Self {
        let (smallest, text_units) = (of.smallest(), of.text_units());
        Self { of: Box::new(of), smallest, text_units }
    }
}

impl Type {
    pub(super) fn encoding(&self) -> Encoding {
        match self {
            Self::Null => Encoding::Null,
            Self::Boolean => Encoding::Boolean,
            Self::Int | Self::Date | Self::TimeMillis => Encoding::Int,
            Self::Long | Self::TimeMicros | Self::Timestamp { .. } => Encoding::Long,
            Self::Float => Encoding::Float,
            Self::Double => Encoding::Double,
            Self::Bytes | Self::Decimal { fixed: None, .. } => Encoding::Bytes,
            Self::String | Self::Uuid(None) => Encoding::String,
            Self::Fixed(_)
            | Self::Decimal { fixed: Some(_), .. }
            | Self::Uuid(Some(_))
            | Self::Duration(_) => Encoding::Fixed,
            Self::Enum(_) => Encoding::Enum,
            Self::Array(_) => Encoding::Array,
            Self::Map(_) => Encoding::Map,
            Self::Union(_) => Encoding::Union,
            Self::Record(_) => Encoding::Record,
        }
    }

    /// Of an array or a map.
    pub(super) fn items(&self) -> Option<&Items> {
        match self {
            Self::Array(items) | Self::Map(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn record(&self) -> Option<&Record> {
        match self {
            Self::Record(record) => Some(record),
            _ => None,
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

    /// Whether values of both take the same bytes, names and meanings aside.
    pub(super) fn lies_like(&self, other: &Self) -> bool {
        let size = |of: &Self| of.fixed().map(|fixed| fixed.size);
        self.encoding() == other.encoding() && size(self) == size(other)
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
}
