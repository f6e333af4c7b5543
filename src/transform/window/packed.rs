//! What rows bring to windows, as columns of one batch: for rows of which it isn't known yet whether they are duplicates.
//!
//! The keys that they are grouped by; of each measure the values, if it takes any, and whether its filter keeps the row; and
//! where rows have gaps of their own, when a session of the row alone ends. The state may hold them like that.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};

use super::aggregate::Argument;
use super::error::WindowError;
use super::watermark::Micros;
use super::{BOUNDS, Gap, Kind, WindowPlan};

/// The columns, under the names of what they are for.
pub(super) fn columns(plan: &WindowPlan) -> Vec<FieldRef> {
    let column = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
    let mut columns = plan.keys.clone();
    for measure in &*plan.measures {
        columns.extend(measure.takes().map(|values| column(measure.name(), values.clone())));
        columns.push(column(measure.name(), DataType::Boolean));
    }
    columns.extend(has_ends(plan).then(|| column(BOUNDS[1], DataType::Int64)));
    columns
}

fn has_ends(plan: &WindowPlan) -> bool {
    plan.kind == Kind::Session(Gap::OfRow)
}

/// `ends`: where rows have gaps of their own.
pub(super) fn pack(
    plan: &WindowPlan,
    keys: &[ArrayRef],
    arguments: &[Argument],
    ends: Vec<Micros>,
    rows: usize,
) -> Result<Vec<ArrayRef>, WindowError> {
    let mut columns = keys.to_vec();
    for (measure, Argument { values, filter }) in plan.measures.iter().zip(arguments) {
        if let Some(values) = values {
            columns.push(measure.input(values)?);
        }
        let all = || BooleanArray::from(vec![true; rows]);
        columns.push(Arc::new(filter.clone().unwrap_or_else(all)));
    }
    if has_ends(plan) {
        columns.push(Arc::new(Int64Array::from(ends)));
    }
    Ok(columns)
}

/// The keys, the arguments and the ends.
pub(super) fn unpack(
    plan: &WindowPlan,
    columns: Vec<ArrayRef>,
) -> (Vec<ArrayRef>, Vec<Argument>, Vec<Micros>) {
    let mut columns = columns.into_iter();
    let mut next = || columns.next().expect("as they were packed");
    let keys = plan.keys.iter().map(|_| next()).collect();
    let mut arguments = Vec::with_capacity(plan.measures.len());
    for measure in &*plan.measures {
        let values = measure.takes().map(|_| next());
        arguments.push(Argument { values, filter: Some(next().as_boolean().clone()) });
    }
    let ends = has_ends(plan).then(|| next().as_primitive::<Int64Type>().values().to_vec());
    (keys, arguments, ends.unwrap_or_default())
}
