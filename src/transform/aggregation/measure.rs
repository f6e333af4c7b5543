//! A measure: its call of an aggregate function, planned.

use arrow::array::BooleanArray;
use arrow::record_batch::RecordBatch;
use datafusion_sql::sqlparser::ast::Spanned;

use super::Sight;
use super::call::Call;
use crate::config::MeasureSpec;
use crate::transform::error::{RESULT_TYPE, TYPE};
use crate::transform::expression::{Expression, refused, type_name};
use crate::transform::window::{Argument, Function, Measure, WindowError};
use crate::transform::{Clause, Refusal, TransformError, condition, kept, parse};

pub(super) struct Planned {
    pub(super) measure: Measure,
    /// `None`: `count(*)`.
    argument: Option<Expression>,
    /// `FILTER (WHERE …)`.
    filter: Option<Expression>,
    /// The call in one spelling.
    pub(super) text: String,
}

impl Planned {
    pub(super) fn new(sight: &Sight<'_>, spec: &MeasureSpec) -> Result<Self, Refusal> {
        let clause = &Clause::Measure(spec.name.as_str().into());
        let scope = sight.scope(clause);
        let call = Call::read(scope, parse::expression(clause, &spec.text)?)?;
        let text = call.to_string();
        let Call { function, name, argument, filter, .. } = call;
        let (argument, measure) = match argument {
            Some(expr) => {
                let (span, text) = (Spanned::span(&expr), expr.to_string());
                let argument =
                    Expression::planned(sight.planner, sight.rows, scope, expr, text.clone())?;
                let data_type = match argument.result() {
                    Ok(field) => field.data_type().clone(),
                    Err(why) => {
                        let message = format!("`{text}` {why}");
                        return Err(scope.refuse(RESULT_TYPE, span, message));
                    }
                };
                let measure = Measure::new(&spec.name, function, Some(&data_type));
                let measure = measure.map_err(|error| match error {
                    WindowError::Refused(_) => {
                        let of = type_name(&data_type);
                        let distinct = function == Function::CountDistinct;
                        let name = if distinct { "count(DISTINCT)" } else { name };
                        scope.refuse(TYPE, span, format!("there is no `{name}` of {of}; CAST it"))
                    }
                    other => refused(clause, other.code(), other.to_string()),
                })?;
                (Some(argument), measure)
            }
            None => {
                let measure = Measure::new(&spec.name, function, None);
                let refuse = |error: WindowError| refused(clause, error.code(), error.to_string());
                (None, measure.map_err(refuse)?)
            }
        };
        let filter = filter.map(|expr| condition(sight.planner, sight.rows, scope, expr));
        Ok(Self { measure, argument, filter: filter.transpose()?, text })
    }

    /// Of rows that count.
    pub(super) fn argument(&self, counted: &RecordBatch) -> Result<Argument, TransformError> {
        let filter: Option<BooleanArray> = match &self.filter {
            Some(filter) => kept(filter, counted)?,
            None => None,
        };
        let values = match (&self.argument, &filter) {
            (None, _) => None,
            (Some(argument), None) => Some(argument.evaluate(counted)?),
            (Some(argument), Some(kept)) => Some(argument.evaluate_where(counted, kept)?),
        };
        Ok(Argument { values, filter })
    }
}
