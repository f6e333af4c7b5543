//! Sums and averages of whole numbers and decimals, exact in any order of rows and cuts.
//!
//! DataFusion's wrap around silently. Here sums are 256 bits wide, which no number of rows fills, so that only the result of
//! a window is judged: `max + 1 - 1` fits, in whatever order it comes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal256Array, Int64Array};
use arrow::array::{BooleanArray, Decimal128Array, Float64Array};
use arrow::datatypes::{DECIMAL256_MAX_PRECISION, DataType, Decimal128Type, DecimalType};
use arrow::datatypes::{Decimal256Type, Int64Type, i256};
use arrow::error::ArrowError;
use datafusion_common::{Result, internal_err};
use datafusion_expr::{EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::accumulate::accumulate;

/// What becomes of a sum and a count of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// BIGINT.
    Sum,
    DecimalSum {
        precision: u8,
        scale: i8,
    },
    /// DOUBLE.
    Average,
    /// `digits`: how many more the result has behind the point than the values.
    DecimalAverage {
        precision: u8,
        scale: i8,
        digits: u8,
    },
}

pub(super) struct Exact {
    sums: Vec<i256>,
    counts: Vec<i64>,
    outcome: Outcome,
}

impl Exact {
    pub(super) fn new(outcome: Outcome) -> Self {
        Self { sums: Vec::new(), counts: Vec::new(), outcome }
    }

    /// Sums and counts, as they are kept.
    pub(super) fn state_types() -> Vec<DataType> {
        vec![DataType::Decimal256(DECIMAL256_MAX_PRECISION, 0), DataType::Int64]
    }

    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups, i256::ZERO);
        self.counts.resize(groups, 0);
    }

    fn add(&mut self, group: usize, value: i256, count: i64) {
        self.sums[group] = self.sums[group].wrapping_add(value);
        self.counts[group] += count;
    }
}

impl GroupsAccumulator for Exact {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.resize(total);
        match values[0].data_type() {
            DataType::Int64 => {
                let values = values[0].as_primitive::<Int64Type>();
                accumulate(groups, values, filter, |group, value| {
                    self.add(group, i256::from(value), 1);
                });
            }
            DataType::Decimal128(..) => {
                let values = values[0].as_primitive::<Decimal128Type>();
                accumulate(groups, values, filter, |group, value| {
                    self.add(group, i256::from_i128(value), 1);
                });
            }
            other => return internal_err!("{other} has no exact sum"),
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.resize(total);
        let sums = states[0].as_primitive::<Decimal256Type>();
        let counts = states[1].as_primitive::<Int64Type>();
        for (row, group) in groups.iter().enumerate() {
            self.add(*group, sums.value(row), counts.value(row));
        }
        Ok(())
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = Decimal256Array::from(emit_to.take_needed(&mut self.sums))
            .with_precision_and_scale(DECIMAL256_MAX_PRECISION, 0)?;
        let counts = Int64Array::from(emit_to.take_needed(&mut self.counts));
        Ok(vec![Arc::new(sums), Arc::new(counts)])
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = emit_to.take_needed(&mut self.sums);
        let counts = emit_to.take_needed(&mut self.counts);
        let groups = sums.into_iter().zip(counts);
        Ok(match self.outcome {
            Outcome::Sum => Arc::new(each::<Int64Array, _>(groups, |sum, _| {
                sum.to_i128().and_then(|sum| i64::try_from(sum).ok())
            })?),
            Outcome::DecimalSum { precision, scale } => {
                let sums: Decimal128Array = each(groups, |sum, _| decimal(sum, precision, scale))?;
                Arc::new(sums.with_precision_and_scale(precision, scale)?)
            }
            // 2⁶⁴ numbers of 64 bits fit 128.
            Outcome::Average => Arc::new(each::<Float64Array, _>(groups, |sum, count| {
                sum.to_i128().map(|sum| sum as f64 / count as f64)
            })?),
            Outcome::DecimalAverage { precision, scale, digits } => {
                let averages: Decimal128Array = each(groups, |sum, count| {
                    decimal(quotient(sum, count, digits)?, precision, scale)
                })?;
                Arc::new(averages.with_precision_and_scale(precision, scale)?)
            }
        })
    }

    fn convert_to_state(
        &self,
        _values: &[ArrayRef],
        _filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        internal_err!("rows are always grouped before they are kept")
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i256>() + self.counts.capacity() * size_of::<i64>()
    }
}

/// The result of each group; NULL where there was no value. `None` from `result` is an overflow.
fn each<A: FromIterator<Option<T>>, T>(
    groups: impl Iterator<Item = (i256, i64)>,
    result: impl Fn(i256, i64) -> Option<T>,
) -> Result<A> {
    let overflow = || ArrowError::ArithmeticOverflow("of a result".to_owned());
    let results = groups.map(|(sum, count)| match count {
        0 => Ok(None),
        count => result(sum, count).map(Some).ok_or_else(overflow),
    });
    Ok(results.collect::<std::result::Result<A, _>>()?)
}

fn decimal(unscaled: i256, precision: u8, scale: i8) -> Option<i128> {
    let value = unscaled.to_i128()?;
    Decimal128Type::validate_decimal_precision(value, precision, scale).ok()?;
    Some(value)
}

/// `sum · 10^digits ÷ count`, rounded half away from zero.
fn quotient(sum: i256, count: i64, digits: u8) -> Option<i256> {
    let (count, sign) = (i256::from(count), sum.signum());
    let scaled = sum.checked_mul(i256::from(10).checked_pow(u32::from(digits))?)?;
    let (quotient, rest) = (scaled.checked_div(count)?, scaled.checked_rem(count)?);
    let half = rest.checked_abs()?.checked_mul(i256::from(2))? >= count;
    if half { quotient.checked_add(sign) } else { Some(quotient) }
}
