//! The stage between decoding and the table: `select` and `where`, SQL expressions over the rows of a chunk, and
//! aggregations and deduplication of them over event time.
//!
//! Owns the SQL: its syntax, names, types and functions (docs/reference/expressions.md), planned once per session and
//! output with DataFusion's parts. Guarantees: the same row gives the same result, whatever rows stand beside it and
//! whenever it is read; results are of Delta Lake's types; whole numbers never wrap; nothing that the SQL or a record
//! holds makes it panic. It deliberately knows neither tables nor partitions: a failure names the row of the batch, and
//! the engine says which record that is.

pub mod aggregation;
mod arithmetic;
mod bounded;
mod context;
pub mod deduplication;
mod delta_type;
mod error;
mod expression;
mod fields;
mod functions;
mod guard;
mod names;
mod parse;
mod projection;
mod resolve;
pub mod window;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_sql::sqlparser::ast::Expr;

pub use error::{Clause, Failure, Place, Refusal, TransformError};
use error::{NO_CONDITION, TYPE};
use expression::{Expression, Planner};
use projection::Projection;
use resolve::{Scope, Unseen};

/// What an output makes of rows of one schema.
pub struct Plan {
    /// `None`: every column as it is.
    projection: Option<Projection>,
    schema: SchemaRef,
    /// `None`: every row.
    filter: Option<Expression>,
}

impl Plan {
    /// Plans `select` and `filter`, the text of `where`, over rows of the schema `rows`.
    pub fn new(
        rows: &SchemaRef,
        select: Option<&str>,
        filter: Option<&str>,
    ) -> Result<Self, TransformError> {
        Self::refusing(rows, select, filter)
            .map_err(|refusal| TransformError::Refused(Box::new(refusal)))
    }

    fn refusing(
        rows: &SchemaRef,
        select: Option<&str>,
        filter: Option<&str>,
    ) -> Result<Self, Refusal> {
        let projection = select.map(|text| projection(rows, Unseen::NONE, text)).transpose()?;
        let schema = match &projection {
            Some(projection) => Arc::clone(projection.schema()),
            None => Arc::clone(rows),
        };
        let filter = match filter {
            Some(text) => {
                let results: Vec<_> = schema.fields().iter().map(|f| f.name().clone()).collect();
                let why = " in the record: it is a result of `select`; repeat its expression";
                let unseen = Unseen { names: &results, why };
                let planner = planner(&Clause::Where, rows)?;
                Some(filter_of(&planner, rows, unseen, text)?)
            }
            None => None,
        };
        Ok(Self { projection, schema, filter })
    }

    /// The columns that [`select`](Self::select) gives: the table's, of types that Delta Lake has.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Which rows the output keeps, without nulls; `None`: all. NULL counts as false.
    pub fn filter(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>, TransformError> {
        self.filter.as_ref().map_or(Ok(None), |filter| kept(filter, rows))
    }

    /// The rows as the table has them. Give it the rows that [`filter`](Self::filter) keeps: an expression may have no
    /// value for others.
    pub fn select(&self, rows: &RecordBatch) -> Result<RecordBatch, TransformError> {
        self.projection.as_ref().map_or_else(|| Ok(rows.clone()), |list| list.select(rows))
    }
}

fn planner(clause: &Clause, rows: &SchemaRef) -> Result<Planner, Refusal> {
    Planner::new(rows).map_err(|error| expression::refused(clause, TYPE, error.to_string()))
}

/// Plans the text of `select`.
fn projection(rows: &SchemaRef, unseen: Unseen<'_>, text: &str) -> Result<Projection, Refusal> {
    let clause = &Clause::Select;
    let scope = Scope { clause, columns: rows.fields(), unseen };
    let planner = planner(clause, rows)?;
    Projection::new(&planner, rows, scope, &parse::select_items(clause, text)?)
}

/// Plans the text of `where`.
fn filter_of(
    planner: &Planner,
    rows: &SchemaRef,
    unseen: Unseen<'_>,
    text: &str,
) -> Result<Expression, Refusal> {
    let clause = &Clause::Where;
    let scope = Scope { clause, columns: rows.fields(), unseen };
    condition(planner, rows, scope, parse::expression(clause, text)?)
}

/// Plans an expression that says yes or no.
fn condition(
    planner: &Planner,
    rows: &SchemaRef,
    scope: Scope<'_>,
    expr: Expr,
) -> Result<Expression, Refusal> {
    let clause = scope.clause;
    let text = expr.to_string();
    let filter = Expression::planned(planner, rows, scope, expr, text)?;
    match filter.result() {
        Ok(field) if field.data_type() == &DataType::Boolean => Ok(filter),
        Ok(field) => {
            let found = expression::type_name(field.data_type());
            let message = format!("expected a condition, a BOOLEAN; this is {found}");
            Err(expression::refused(clause, NO_CONDITION, message))
        }
        Err(why) => Err(expression::refused(
            clause,
            NO_CONDITION,
            format!("expected a condition, a BOOLEAN; this {why}"),
        )),
    }
}

/// Which rows a condition keeps, without nulls; `None`: all. NULL counts as false.
fn kept(
    condition: &Expression,
    rows: &RecordBatch,
) -> Result<Option<BooleanArray>, TransformError> {
    let answers = condition.evaluate(rows)?;
    let answers = answers.as_boolean();
    let kept = match answers.null_count() {
        0 => answers.clone(),
        _ => prep_null_mask_filter(answers),
    };
    Ok((kept.true_count() < kept.len()).then_some(kept))
}
