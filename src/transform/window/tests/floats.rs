//! Sums, averages, variances and deviations of floats, against other ways to compute them exactly.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use proptest::prelude::*;

use super::measures::{argument, check, compute};
use crate::transform::window::{Function, Measure};

use Function::{Avg, StddevPop, StddevSamp, Sum, VarPop, VarSamp};

const MOST: f64 = f64::MAX;
const LEAST: f64 = f64::from_bits(1);

/// The sum, correctly rounded, as CPython's `math.fsum` computes it (Shewchuk 1997). No sum in between may overflow.
pub(super) fn fsum(values: &[f64]) -> f64 {
    let mut partials: Vec<f64> = Vec::new();
    for value in values {
        let mut x = *value;
        let mut kept = Vec::new();
        for partial in partials {
            let (large, small) = if x.abs() < partial.abs() { (partial, x) } else { (x, partial) };
            let high = large + small;
            let low = small - (high - large);
            if low != 0.0 {
                kept.push(low);
            }
            x = high;
        }
        kept.push(x);
        partials = kept;
    }
    let Some(mut high) = partials.pop() else { return 0.0 };
    let mut low = 0.0;
    while let Some(partial) = partials.pop() {
        let before = high;
        high = before + partial;
        low = partial - (high - before);
        if low != 0.0 {
            break;
        }
    }
    // Half to even looks at what is below the half.
    if partials.last().is_some_and(|below| (low < 0.0) == (*below < 0.0) && low != 0.0) {
        let twice = low * 2.0;
        let up = high + twice;
        if twice == up - high {
            high = up;
        }
    }
    high
}

/// Of values in an order, cut into three parts.
fn result(function: Function, values: &[f64], cuts: (usize, usize)) -> Option<f64> {
    let array: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    let (first, second) =
        (cuts.0.min(cuts.1).min(values.len()), cuts.0.max(cuts.1).min(values.len()));
    let parts = [(0, first), (first, second), (second, values.len())];
    let parts =
        parts.map(|(from, to)| (argument(&array.slice(from, to - from)), vec![0; to - from]));
    let measure = Measure::new("m", function, Some(&DataType::Float64)).expect("a measure");
    let found = compute(&measure, &parts, 1).expect("no overflow");
    let found = found.as_primitive::<Float64Type>();
    found.is_valid(0).then(|| found.value(0))
}

/// Values of all magnitudes that don't overflow together, some of them each other's opposites.
fn values() -> impl Strategy<Value = Vec<f64>> {
    use prop::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    let any = (POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO).prop_map(|value| value / 1024.0);
    let near = (-1e6..1e6).prop_map(|value: f64| value);
    let cents = (-100_000..100_000_i32).prop_map(|cents| f64::from(cents) / 100.0);
    let value = prop_oneof![any, near, cents, Just(1e16), Just(-1e16), Just(LEAST)];
    prop::collection::vec(value, 1..40).prop_flat_map(|mut values| {
        let half = values.len() / 2;
        values.extend(values.clone().iter().take(half).map(|value| -value));
        Just(values).prop_shuffle()
    })
}

#[test]
fn sums_of_floats_are_exact_in_any_order() {
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() },
    |(values in values(), cuts in (0..80_usize, 0..80_usize))| {
        let expected = Some(fsum(&values) + 0.0);
        prop_assert_eq!(result(Sum, &values, cuts), expected);
        let mut other = values.clone();
        other.sort_by(f64::total_cmp);
        prop_assert_eq!(result(Sum, &other, (1, 2)), expected);
        for function in [Avg, VarPop, VarSamp, StddevPop, StddevSamp] {
            let bits = |values, cuts| result(function, values, cuts).map(f64::to_bits);
            prop_assert_eq!(bits(&values, cuts), bits(&other, (1, 2)), "{:?}", function);
        }
    });
}

#[test]
fn a_sum_of_floats_is_rounded_once_and_too_large_only_at_the_end() {
    let sum = |values: &[f64], expected| {
        check(Sum, Float64Array::from(values.to_vec()), Float64Array::from(vec![expected]))
    };
    sum(&[0.1; 10], 1.0);
    sum(&[1e16, 1.0, -1e16], 1.0);
    sum(&[MOST, MOST, -MOST], MOST);
    sum(&[MOST, MOST], f64::INFINITY);
    sum(&[-MOST, -MOST, 1.0], f64::NEG_INFINITY);
    sum(&[MOST, LEAST, -MOST], LEAST);
    sum(&[LEAST, LEAST, -0.0], 2.0 * LEAST);
    // A half more than MOST is the first that is not rounded to it.
    let half = 2_f64.powi(969);
    sum(&[MOST, half], MOST);
    sum(&[MOST, half, half], f64::INFINITY);
    sum(&[MOST, half, half, -LEAST], MOST);
    // Half to even.
    let one_more = 1.0 + f64::EPSILON;
    sum(&[1.0, f64::EPSILON / 2.0], 1.0);
    sum(&[1.0, f64::EPSILON / 2.0, LEAST], one_more);
    sum(&[one_more, f64::EPSILON / 2.0], 1.0 + 2.0 * f64::EPSILON);
    sum(&[-0.0, -0.0], 0.0);
    sum(&[f64::INFINITY, -1.0], f64::INFINITY);
    sum(&[f64::NEG_INFINITY, MOST], f64::NEG_INFINITY);
    sum(&[f64::NEG_INFINITY, f64::INFINITY], f64::NAN);
    sum(&[f64::INFINITY, f64::NAN, 1.0], f64::NAN);
}

#[test]
fn averages_of_floats_are_rounded_once() {
    let average = |values: &[f64], expected| {
        check(Avg, Float64Array::from(values.to_vec()), Float64Array::from(vec![expected]))
    };
    average(&[MOST, MOST, MOST], MOST);
    average(&[1.0, 1.0, 0.0], 2.0 / 3.0);
    average(&[-1.0, 0.0, 0.0], -1.0 / 3.0);
    average(&[LEAST, 0.0, LEAST], LEAST);
    average(&[f64::INFINITY, 1.0], f64::INFINITY);
    average(&[f64::INFINITY, f64::NEG_INFINITY], f64::NAN);
}

#[test]
fn variances_lose_nothing_to_cancellation() {
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() },
    |(spread in prop::collection::vec(-100_000..100_000_i64, 1..30), unit in -400..400_i32, far in 0..2_i64)| {
        // Moved to where one digit in 2³⁵ differs, and in units of 2^`unit`: all of this is exact.
        let values: Vec<_> = spread.iter().map(|value| (value + (far << 52)) as f64 * 2_f64.powi(unit)).collect();
        let (count, sum) = (spread.len() as i64, spread.iter().sum::<i64>());
        let squares: i64 = spread.iter().map(|value| value * value).sum();
        let numerator = (count * squares - sum * sum) as f64;
        let scaled = |by: i64| numerator / (count * by) as f64 * 2_f64.powi(unit) * 2_f64.powi(unit);
        prop_assert_eq!(result(VarPop, &values, (3, 7)), Some(scaled(count)));
        prop_assert_eq!(result(StddevPop, &values, (3, 7)), Some(scaled(count).sqrt()));
        let sample = (count > 1).then(|| scaled(count - 1));
        prop_assert_eq!(result(VarSamp, &values, (7, 1)), sample);
        prop_assert_eq!(result(StddevSamp, &values, (7, 1)), sample.map(f64::sqrt));
    });
    let variance = |values: &[f64], expected| {
        check(VarPop, Float64Array::from(values.to_vec()), Float64Array::from(vec![expected]))
    };
    variance(&[MOST, MOST], 0.0);
    variance(&[MOST, -MOST], f64::INFINITY);
    variance(&[LEAST, 0.0], 0.0);
    variance(&[1e200, 1e200 + 1e184], ((1e200_f64 + 1e184 - 1e200) / 2.0).powi(2));
    variance(&[f64::INFINITY, 1.0], f64::NAN);
    variance(&[f64::NAN, 1.0], f64::NAN);
}
