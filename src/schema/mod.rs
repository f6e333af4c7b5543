//! The declared schema of a topic's values: SQL column definitions, as plain data.

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

/// The columns of a decoded value, as Arrow types that Delta Lake can store.
///
/// Timestamps with a zone are `Timestamp(Microsecond, Some("UTC"))`, without one `Timestamp(Microsecond,
/// None)`; decimals `Decimal128`; strings `Utf8`; binaries `Binary`; maps have the entry fields `key` and
/// `value`; list items are named `element`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    arrow: SchemaRef,
}

impl TableSchema {
    pub fn new(fields: Vec<Field>) -> Self {
        Self {
            arrow: Schema::new(fields).into(),
        }
    }

    pub fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// A column by its name, without regard to case (as Spark resolves it).
    pub fn column(&self, name: &str) -> Option<&Field> {
        self.arrow
            .fields()
            .iter()
            .map(AsRef::as_ref)
            .find(|f| f.name().eq_ignore_ascii_case(name))
    }
}

/// Whether Delta Lake can partition by a column of this type: any primitive one.
pub fn can_partition_by(data_type: &DataType) -> bool {
    !data_type.is_nested()
}
