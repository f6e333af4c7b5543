//! The declared schema of a topic's values: SQL column definitions, as plain data.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

pub mod ddl;
mod origins;

pub use self::origins::Origins;

/// The columns of a decoded value, as Arrow types that Delta Lake can store.
///
/// Timestamps with a zone are `Timestamp(Microsecond, Some("UTC"))`, without one `Timestamp(Microsecond,
/// None)`; decimals `Decimal128`; strings `Utf8`; binaries `Binary`; list items are named
/// `element`, map entries `key_value` with the fields `key` and `value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    arrow: SchemaRef,
}

impl TableSchema {
    pub fn new(fields: Vec<Field>) -> Self {
        Self { arrow: Schema::new(fields).into() }
    }

    pub fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// A column by its name, without regard to case (as Spark resolves it).
    pub fn column(&self, name: &str) -> Option<&Field> {
        self.arrow.fields().iter().map(AsRef::as_ref).find(|f| f.name().eq_ignore_ascii_case(name))
    }
}

/// The first character of a column's name that Parquet readers or Hive-style paths stumble over.
pub fn unfit_in_name(name: &str) -> Option<char> {
    name.chars().find(|c| " ,;{}()=".contains(*c) || c.is_control())
}

/// An array of nullable elements.
pub fn list_type(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", element, true)))
}

/// A map to nullable values.
pub fn map_type(key: DataType, value: DataType) -> DataType {
    let pair = [Field::new("key", key, false), Field::new("value", value, true)];
    let entries = Field::new("key_value", DataType::Struct(Fields::from_iter(pair)), false);
    DataType::Map(Arc::new(entries), false)
}

/// An instant: microseconds, UTC.
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Whether Delta Lake can partition by a column of this type: any primitive one.
pub fn can_partition_by(data_type: &DataType) -> bool {
    !data_type.is_nested()
}
