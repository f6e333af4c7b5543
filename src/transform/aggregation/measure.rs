//! A measure: its call of an aggregate function, planned.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use arrow::record_batch::RecordBatch;
use datafusion_sql::sqlparser::ast::{Expr, Spanned};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::Sight;
use super::call::Call;
use crate::config::MeasureSpec;
use crate::transform::error::{RESULT_TYPE, TYPE};
use crate::transform::expression::{Expression, refused, type_name};
use crate::transform::resolve::Scope;
use crate::transform::window::{Argument, Function, Measure, WindowError};
use crate::transform::{Clause, Refusal, TransformError, condition, kept, parse};

pub(super) struct Planned {
    pub(super) measure: Measure,
    /// `None`: `count(*)`.
    argument: Option<Expression>,
    /// What values are ranked by.
    rank: Option<Expression>,
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
        let Call { function, name, argument, rank, filter, .. } = call;
        let at = argument.as_ref().map_or_else(Span::empty, Spanned::span);
        let argument = argument.map(|expr| typed(sight, scope, expr)).transpose()?;
        let rank = rank.map(|expr| typed(sight, scope, expr)).transpose()?;
        let types = [&argument, &rank].map(|part| part.as_ref().map(|(_, of)| of.clone()));
        let input = match &types {
            [Some(value), Some(rank)] => Some(DataType::Struct(pair(value, rank))),
            [value, _] => value.clone(),
        };
        let measure = Measure::new(&spec.name, function, input.as_ref());
        let measure = measure.map_err(|error| match error {
            WindowError::Refused(_) if input.is_some() => {
                let of: Vec<_> = types.iter().flatten().map(type_name).collect();
                let distinct = function == Function::CountDistinct;
                let name = if distinct { "count(DISTINCT)" } else { name };
                let message = format!("there is no `{name}` of {}; CAST it", of.join(" by "));
                scope.refuse(TYPE, at, message)
            }
            other => refused(clause, other.code(), other.to_string()),
        })?;
        let [argument, rank] = [argument, rank].map(|part| part.map(|(planned, _)| planned));
        let filter = filter.map(|expr| condition(sight.planner, sight.rows, scope, expr));
        Ok(Self { measure, argument, rank, filter: filter.transpose()?, text })
    }

    /// Of rows that count.
    pub(super) fn argument(&self, counted: &RecordBatch) -> Result<Argument, TransformError> {
        let filter: Option<BooleanArray> = match &self.filter {
            Some(filter) => kept(filter, counted)?,
            None => None,
        };
        let evaluate = |part: &Expression| match &filter {
            None => part.evaluate(counted),
            Some(kept) => part.evaluate_where(counted, kept),
        };
        let values = self.argument.as_ref().map(evaluate).transpose()?;
        let ranks = self.rank.as_ref().map(evaluate).transpose()?;
        let values = match (values, ranks) {
            (Some(values), Some(ranks)) => {
                let fields = pair(values.data_type(), ranks.data_type());
                Some(Arc::new(StructArray::new(fields, vec![values, ranks], None)) as ArrayRef)
            }
            (values, _) => values,
        };
        Ok(Argument { values, filter })
    }
}

/// An expression over a record, and its type.
fn typed(
    sight: &Sight<'_>,
    scope: Scope<'_>,
    expr: Expr,
) -> Result<(Expression, DataType), Refusal> {
    let (span, text) = (Spanned::span(&expr), expr.to_string());
    let planned = Expression::planned(sight.planner, sight.rows, scope, expr, text.clone())?;
    let found = planned.result().map(|field| field.data_type().clone());
    match found {
        Ok(data_type) => Ok((planned, data_type)),
        Err(why) => Err(scope.refuse(RESULT_TYPE, span, format!("`{text}` {why}"))),
    }
}

/// A value and what it is ranked by, as one argument.
fn pair(value: &DataType, rank: &DataType) -> Fields {
    let field = |name, data_type: &DataType| Field::new(name, data_type.clone(), true);
    Fields::from(vec![field("x", value), field("y", rank)])
}
