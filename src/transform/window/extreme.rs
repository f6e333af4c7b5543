//! The smallest and the largest of floats, the same in any order.
//!
//! DataFusion's depend on where a NaN stands. Here NaN is the largest number, as in Spark, and −0 is smaller than 0.

use arrow::datatypes::{DataType, Float64Type};
use datafusion_expr::GroupsAccumulator;
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

/// Of DOUBLEs; others are cast before and after, which loses nothing.
pub(super) fn smallest() -> Box<dyn GroupsAccumulator> {
    extreme(f64::NAN, |new, old| new.total_cmp(&old).is_lt())
}

pub(super) fn largest() -> Box<dyn GroupsAccumulator> {
    extreme(f64::NEG_INFINITY, |new, old| new.total_cmp(&old).is_gt())
}

fn extreme(start: f64, better: fn(f64, f64) -> bool) -> Box<dyn GroupsAccumulator> {
    let keep = move |old: &mut f64, new: f64| {
        // A NaN's sign would make it the smallest.
        let new = if new.is_nan() { f64::NAN } else { new };
        if better(new, *old) {
            *old = new;
        }
    };
    let accumulator = PrimitiveGroupsAccumulator::<Float64Type, _>::new(&DataType::Float64, keep);
    Box::new(accumulator.with_starting_value(start))
}
