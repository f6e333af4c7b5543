//! Sums, averages, variances and deviations of floats: exact until they are rounded once, so the same in any order.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::Float64Type;
use datafusion_common::Result;

use super::sketch::{Sketch, read_count, take, write_count};
use super::wide::Wide;

/// A double is a whole number of these, its square of those.
const UNIT: i64 = -1074;
const SQUARE_UNIT: i64 = 2 * UNIT;

const NAN: u8 = 1;
const INFINITE: u8 = 2;
const NEGATIVE_INFINITE: u8 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moments {
    Sum,
    Average,
    Variance(Over),
    Deviation(Over),
}

/// What squares are averaged over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// All values.
    Population,
    /// One less.
    Sample,
}

/// Of values that are no numbers, only that there are some.
#[derive(Default)]
pub(super) struct Group {
    count: u64,
    special: u8,
    sum: Wide,
    /// Where they are asked for.
    squares: Wide,
}

impl Moments {
    fn squares(self) -> bool {
        matches!(self, Self::Variance(_) | Self::Deviation(_))
    }

    /// `None`: too few values.
    fn result(self, group: Group) -> Option<f64> {
        let count = group.count;
        let over = match self {
            Self::Variance(Over::Sample) | Self::Deviation(Over::Sample) => count.checked_sub(1)?,
            _ => count,
        };
        if over == 0 {
            return None;
        }
        if let Some(special) = group.special(self.squares()) {
            return Some(special);
        }
        Some(match self {
            Self::Sum => group.sum.magnitude().rounded(UNIT, &[]),
            Self::Average => group.sum.magnitude().rounded(UNIT, &[count]),
            Self::Variance(_) => group.variance(over),
            Self::Deviation(_) => group.variance(over).sqrt(),
        })
    }
}

impl Group {
    /// What infinities and NaN make of the result; `None`: there are none.
    fn special(&self, squares: bool) -> Option<f64> {
        match self.special {
            0 => None,
            _ if squares => Some(f64::NAN),
            INFINITE => Some(f64::INFINITY),
            NEGATIVE_INFINITE => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        }
    }

    /// (n·Σx² − (Σx)²) ÷ n ÷ `over`.
    fn variance(self, over: u64) -> f64 {
        let mut spread = self.squares.magnitude().times(self.count);
        spread.subtract(self.sum.magnitude().squared());
        spread.magnitude().rounded(SQUARE_UNIT, &[self.count, over])
    }
}

impl Sketch for Moments {
    type Group = Group;
    type Rows = Float64Array;

    fn rows(&self, values: &[ArrayRef]) -> Float64Array {
        values[0].as_primitive::<Float64Type>().clone()
    }

    #[inline]
    fn add(&self, group: &mut Group, rows: &Float64Array, row: usize) {
        if rows.is_null(row) {
            return;
        }
        let value = rows.value(row);
        group.count += 1;
        if !value.is_finite() {
            group.special |= match value {
                f64::INFINITY => INFINITE,
                f64::NEG_INFINITY => NEGATIVE_INFINITE,
                _ => NAN,
            };
            return;
        }
        let (digits, bit) = parts(value);
        if digits != 0 {
            group.sum.add(digits, bit);
            if self.squares() {
                group.squares.add_square(digits, 2 * bit);
            }
        }
    }

    fn merge(&self, group: &mut Group, mut state: &[u8]) -> Option<()> {
        if state.is_empty() {
            return Some(());
        }
        let [special] = take(&mut state)?;
        group.special |= special;
        group.count = group.count.checked_add(read_count(&mut state)?)?;
        group.sum.add_wide(&Wide::read(&mut state)?);
        if self.squares() {
            group.squares.add_wide(&Wide::read(&mut state)?);
        }
        state.is_empty().then_some(())
    }

    fn write(&self, group: Group, out: &mut Vec<u8>) {
        if group.count == 0 {
            return;
        }
        out.push(group.special);
        write_count(group.count, out);
        group.sum.write(out);
        if self.squares() {
            group.squares.write(out);
        }
    }

    fn results(&self, groups: Vec<Group>) -> Result<ArrayRef> {
        let results = groups.into_iter().map(|group| self.result(group));
        Ok(Arc::new(results.collect::<Float64Array>()))
    }

    fn size(group: &Group) -> usize {
        group.sum.size() + group.squares.size()
    }
}

/// A finite value as digits · 2^(bit − 1074).
#[inline]
fn parts(value: f64) -> (i64, u32) {
    const FRACTION: u32 = f64::MANTISSA_DIGITS - 1;
    let bits = value.to_bits();
    let exponent = (bits >> FRACTION) as u32 & 0x7ff;
    let fraction = (bits & ((1 << FRACTION) - 1)) as i64;
    let digits = if exponent == 0 { fraction } else { fraction | 1 << FRACTION };
    (if value.is_sign_negative() { -digits } else { digits }, exponent.saturating_sub(1))
}
