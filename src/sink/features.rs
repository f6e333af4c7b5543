use arrow::datatypes::Schema;
use super::definition::*;
use super::delta_schema::SchemaProblem;
#[derive(Debug, Clone, Copy)]
pub struct TableExpectation<'a> { pub schema: &'a Schema, pub partition_by: &'a [String] }
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableProblem {
    #[error("{0}")]
    Schema(SchemaProblem),
}
pub fn check(_: &Protocol, _: &Metadata, _: &TableExpectation<'_>) -> Result<(), Vec<TableProblem>> { Ok(()) }
pub fn is_for_readers(_: &str) -> bool { false }
