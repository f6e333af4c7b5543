//! `min_by` and `max_by` by hand-made values.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int8Array, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Fields};

use super::measures::{argument, compute};
use crate::transform::window::{Argument, Function, Measure};

use Function::{MaxBy, MinBy};

/// The letters a, b, c, … ranked by values; `-` is NULL.
fn pairs(values: &str, ranks: ArrayRef) -> ArrayRef {
    let values: StringArray = values.chars().map(|x| (x != '-').then(|| x.to_string())).collect();
    let fields = Fields::from(vec![
        Field::new("x", DataType::Utf8, true),
        Field::new("y", ranks.data_type().clone(), true),
    ]);
    Arc::new(StructArray::new(fields, vec![Arc::new(values), ranks], None))
}

/// The letters of one group, in parts that are cut everywhere.
fn check(function: Function, values: &str, ranks: impl Array + 'static, expected: &str) {
    let pairs = pairs(values, Arc::new(ranks));
    let measure = Measure::new("m", function, Some(pairs.data_type())).expect("a measure");
    for cut in 0..=pairs.len() {
        let parts = [pairs.slice(0, cut), pairs.slice(cut, pairs.len() - cut)];
        let parts = parts.map(|part| (argument(&part), vec![0; part.len()]));
        let found = compute(&measure, &parts, 1).expect("values");
        assert_eq!(found.data_type(), measure.result());
        let found = match found.as_list_opt::<i32>() {
            Some(lists) if lists.is_null(0) => "none".to_owned(),
            Some(lists) => letters(&lists.value(0)),
            None => letters(&found),
        };
        assert_eq!(found, expected, "{function:?} of {values} cut at {cut}");
    }
}

fn letters(values: &ArrayRef) -> String {
    values.as_string::<i32>().iter().map(|x| x.unwrap_or("-")).collect()
}

#[test]
fn ranked_values_are_those_of_the_smallest_and_largest() {
    let ranks = || Int8Array::from(vec![Some(3), Some(-1), None, Some(3), Some(-1)]);
    check(MaxBy(None), "abcde", ranks(), "a");
    check(MinBy(None), "abcde", ranks(), "b");
    // NULL is a value, but no rank.
    check(MinBy(None), "a-cde", ranks(), "-");
    check(MaxBy(None), "ab", Int8Array::from(vec![None, None]), "-");
    check(MaxBy(Some(1)), "abcde", ranks(), "a");
    check(MaxBy(Some(3)), "abcde", ranks(), "adb");
    check(MinBy(Some(3)), "a-cde", ranks(), "-ea");
    check(MinBy(Some(1000)), "abcde", ranks(), "bead");
    check(MaxBy(Some(2)), "ab", Int8Array::from(vec![None, None]), "none");
}

#[test]
fn ranks_are_of_any_type_that_has_an_order() {
    let negative_nan = f64::from_bits(f64::NAN.to_bits() | 1 << 63);
    let floats =
        || Float64Array::from(vec![0.0, negative_nan, -0.0, f64::INFINITY, -1e300, -1e-300]);
    check(MaxBy(Some(9)), "abcdef", floats(), "bdacfe");
    check(MinBy(Some(9)), "abcdef", floats(), "efcadb");
    check(MaxBy(None), "ab", Float32Array::from(vec![-1.5, 1.5]), "b");
    check(MinBy(Some(9)), "abcd", StringArray::from(vec!["b", "", "ba", "a"]), "bdac");
    check(MaxBy(Some(9)), "abcd", StringArray::from(vec!["b", "", "ba", "a"]), "cadb");
    check(MaxBy(Some(9)), "abc", BooleanArray::from(vec![false, true, false]), "bac");
    check(MinBy(Some(9)), "abc", Date32Array::from(vec![5, -5, 0]), "bca");
    let times = TimestampMicrosecondArray::from(vec![5, i64::MIN, i64::MAX]).with_timezone("UTC");
    check(MinBy(Some(9)), "abc", times, "bac");
    let decimals = Decimal128Array::from(vec![5, -7, 1 << 100, -(1 << 100)]);
    let decimals = decimals.with_precision_and_scale(38, 2).expect("a valid type");
    check(MinBy(Some(9)), "abcd", decimals, "dbac");
}

#[test]
fn ranked_rows_can_be_left_out_and_other_types_are_refused() {
    let values = Some(pairs("ab", Arc::new(Int8Array::from(vec![1, 2]))));
    let measure = Measure::new("m", MaxBy(None), values.as_ref().map(|x| x.data_type()));
    let measure = measure.expect("a measure");
    assert_eq!(measure.stored(), "BINARY of STRUCT<x: STRING, y: BIGINT>");
    let filter = Some(BooleanArray::from(vec![true, false]));
    let found = compute(&measure, &[(Argument { values, filter }, vec![0, 0])], 1);
    assert_eq!(letters(&found.expect("a value")), "a");

    let list = DataType::new_list(DataType::Int64, true);
    for [value, rank] in [[&list, &DataType::Int64], [&DataType::Int64, &list]] {
        let fields = [("x", value), ("y", rank)];
        let fields = fields.map(|(name, of)| Field::new(name, of.clone(), true));
        let pair = DataType::Struct(fields.into_iter().collect());
        assert!(Measure::new("m", MinBy(None), Some(&pair)).is_err());
    }
    assert!(Measure::new("m", MinBy(None), Some(&DataType::Int64)).is_err());
}
