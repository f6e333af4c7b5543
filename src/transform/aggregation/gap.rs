//! `window.gap_seconds`: how long a session goes on after a row, as the row says it.

use arrow::array::{AsArray, BooleanArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::record_batch::RecordBatch;
use datafusion_sql::sqlparser::ast::Spanned;

use super::Sight;
use crate::transform::error::TYPE;
use crate::transform::expression::{Expression, type_name};
use crate::transform::{Clause, Refusal, TransformError, parse};

pub(super) struct Gap {
    seconds: Expression,
    /// The expression in one spelling.
    pub(super) text: String,
}

impl Gap {
    pub(super) fn new(sight: &Sight<'_>, text: &str) -> Result<Self, Refusal> {
        let clause = &Clause::Gap;
        let scope = sight.scope(clause);
        let expr = parse::expression(clause, text)?;
        let (span, text) = (Spanned::span(&expr), expr.to_string());
        let seconds = Expression::planned(sight.planner, sight.rows, scope, expr, text.clone())?;
        match seconds.result() {
            Ok(field) if field.data_type().is_numeric() => Ok(Self { seconds, text }),
            Ok(field) => {
                let is = type_name(field.data_type());
                let message = format!("`{text}` is {is}, and a gap is a number of seconds");
                Err(scope.refuse(TYPE, span, message))
            }
            Err(why) => Err(scope.refuse(TYPE, span, format!("`{text}` {why}"))),
        }
    }

    /// In microseconds, of the rows that are kept; null where there is no such number.
    pub(super) fn micros(
        &self,
        rows: &RecordBatch,
        kept: Option<&BooleanArray>,
    ) -> Result<Int64Array, TransformError> {
        let seconds = match kept {
            Some(kept) => self.seconds.evaluate_where(rows, kept)?,
            None => self.seconds.evaluate(rows)?,
        };
        let seconds = cast(&seconds, &DataType::Float64).expect("numbers become doubles");
        let seconds = seconds.as_primitive::<Float64Type>();
        // What is too large becomes the largest, which no session can have; NaN becomes 0, as little.
        let micros = |seconds: Option<f64>| Some((seconds? * 1e6).round() as i64);
        Ok(seconds.iter().map(micros).collect())
    }
}
