//! What types are called: by other types, by readers that know them under another name, and in messages.

use std::fmt;
use std::sync::Arc;

use super::schema::{Enum, Record, Type, Unit};

/// A type's full name and those it also goes by, full too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) full: Arc<str>,
    pub(super) aliases: Vec<Arc<str>>,
}

impl Name {
    /// Whether a reader's name, or an alias of it, is this writer's, namespaces aside.
    pub(super) fn reads(&self, writer: &Name) -> bool {
        let wanted = simple(&writer.full);
        simple(&self.full) == wanted || self.aliases.iter().any(|alias| simple(alias) == wanted)
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

/// Without its namespace.
fn simple(full: &str) -> &str {
    full.rsplit('.').next().unwrap_or(full)
}

impl Type {
    /// The name of a named type.
    pub(super) fn name(&self) -> Option<&Name> {
        match self {
            Self::Enum(Enum { name, .. }) | Self::Record(Record { name, .. }) => Some(name),
            _ => self.fixed().map(|fixed| &fixed.name),
        }
    }
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
