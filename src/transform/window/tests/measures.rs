//! Each function by hand-made values, in one batch, and cut in two with the states stored in between.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    Float32Array, Float64Array, Int8Array, Int32Array, Int64Array, ListArray, StringArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Int64Type};

use super::run::partition;
use crate::schema::list_type;
use crate::transform::window::aggregate::{Aggregates, Argument, Rows, Sources, state_types};
use crate::transform::window::{Function, Measure, WindowError, codec};

use Function::{
    ApproxCountDistinct, ApproxPercentile, ArrayAgg, Avg, BoolAnd, BoolOr, Count, CountDistinct,
    First, Last, Max, Min, StddevPop, StddevSamp, Sum, VarPop, VarSamp,
};

/// The results of as many groups as `total`.
pub(super) fn compute(
    measure: &Measure,
    parts: &[(Argument, Vec<usize>)],
    total: usize,
) -> Result<ArrayRef, WindowError> {
    let measures = &Arc::from([measure.clone()]);
    let mut whole = Aggregates::new(measures)?;
    for (number, (argument, groups)) in parts.iter().enumerate() {
        if groups.is_empty() {
            continue;
        }
        let length = groups.len() as i64;
        let mut part = Aggregates::new(measures)?;
        let rows = Rows {
            sources: Sources::One(&partition(number)),
            // All at one time: the order is that of partition and offset.
            times: &Int64Array::from(vec![0; groups.len()]),
            offsets: &(0..length).collect(),
            arguments: std::slice::from_ref(argument),
        };
        part.add(&rows, groups, total)?;
        let states = stored(&part.drain()?, measures, total);
        whole.merge(&states, &(0..total).collect::<Vec<_>>(), total)?;
    }
    Ok(whole.results()?.swap_remove(0))
}

/// States as they come back from where they are kept.
fn stored(states: &[ArrayRef], measures: &[Measure], total: usize) -> Vec<ArrayRef> {
    let types: Vec<_> = states.iter().map(|state| state.data_type().clone()).collect();
    assert_eq!(types, state_types(measures), "{measures:?}");
    let encoder = codec::Encoder::new(states);
    let rows: Vec<_> = (0..total)
        .map(|row| {
            let mut bytes = Vec::new();
            encoder.append(row, &mut bytes);
            bytes
        })
        .collect();
    let rows: Vec<_> = rows.iter().map(Vec::as_slice).collect();
    codec::decode(&rows, &types).expect("whole rows")
}

pub(super) fn argument(values: &ArrayRef) -> Argument {
    Argument { values: Some(Arc::clone(values)), filter: None }
}

/// The result of one group, in two parts that are cut everywhere and merged both ways around.
pub(super) fn check(
    function: Function,
    values: impl Array + 'static,
    expected: impl Array + 'static,
) {
    let (values, expected): (ArrayRef, ArrayRef) = (Arc::new(values), Arc::new(expected));
    let measure = Measure::new("m", function, Some(values.data_type())).expect("a measure");
    assert_eq!(measure.result(), expected.data_type(), "{function:?}");
    for cut in 0..=values.len() {
        let (left, right) = (values.slice(0, cut), values.slice(cut, values.len() - cut));
        let parts = [left, right].map(|part| (argument(&part), vec![0; part.len()]));
        let found = compute(&measure, &parts, 1).expect("no overflow");
        assert_eq!(&found, &expected, "{function:?} cut at {cut}");
        if !matches!(function, First | Last | ArrayAgg(_)) {
            let [left, right] = parts;
            let found = compute(&measure, &[right, left], 1).expect("no overflow");
            assert_eq!(&found, &expected, "{function:?} the other way around, cut at {cut}");
        }
    }
}

fn decimals(values: Vec<Option<i128>>, precision: u8, scale: i8) -> Decimal128Array {
    Decimal128Array::from(values).with_precision_and_scale(precision, scale).expect("a valid type")
}

fn ints(values: &[Option<i64>]) -> Int64Array {
    values.iter().copied().collect()
}

#[test]
fn nulls_and_empty_groups_are_sqls() {
    let values = || ints(&[None, Some(3), None, Some(4)]);
    let nothing = || ints(&[None, None]);
    check(Count, values(), ints(&[Some(2)]));
    check(Count, nothing(), ints(&[Some(0)]));
    check(Sum, values(), ints(&[Some(7)]));
    check(Sum, nothing(), ints(&[None]));
    check(Avg, values(), Float64Array::from(vec![3.5]));
    check(Avg, nothing(), Float64Array::from(vec![None]));
    check(Avg, Float64Array::from(vec![None, Some(3.0), Some(4.0)]), Float64Array::from(vec![3.5]));
    check(Avg, Float64Array::from(vec![None]), Float64Array::from(vec![None]));
    check(Sum, Float32Array::from(vec![None, Some(0.5)]), Float64Array::from(vec![0.5]));
    check(Sum, Float64Array::from(vec![None]), Float64Array::from(vec![None]));
    check(Min, values(), ints(&[Some(3)]));
    check(Max, nothing(), ints(&[None]));
    check(Min, StringArray::from(vec![Some("b"), None, Some("a")]), StringArray::from(vec!["a"]));
    check(Max, BinaryArray::from(vec![None, Some(&b"a"[..])]), BinaryArray::from(vec![&b"a"[..]]));
    check(Max, StringArray::from(vec![None::<&str>]), StringArray::from(vec![None::<&str>]));
    check(Max, Date32Array::from(vec![1, 5, 3]), Date32Array::from(vec![5]));
    check(Min, decimals(vec![Some(5), Some(-5)], 9, 2), decimals(vec![Some(-5)], 9, 2));
    let truths = || BooleanArray::from(vec![Some(true), None, Some(false)]);
    for (function, expected) in [(BoolAnd, false), (Min, false), (BoolOr, true), (Max, true)] {
        check(function, truths(), BooleanArray::from(vec![expected]));
        check(function, BooleanArray::from(vec![None]), BooleanArray::from(vec![None]));
    }
    // NULL is a value of `first` and `last`.
    check(First, ints(&[None, Some(1)]), ints(&[None]));
    check(Last, ints(&[None, Some(1)]), ints(&[Some(1)]));
    check(Last, BooleanArray::from(vec![true, false]), BooleanArray::from(vec![false]));
    check(VarPop, values(), Float64Array::from(vec![0.25]));
    check(VarSamp, values(), Float64Array::from(vec![0.5]));
    check(StddevPop, values(), Float64Array::from(vec![0.5]));
    check(StddevSamp, values(), Float64Array::from(vec![0.5_f64.sqrt()]));
    check(VarPop, ints(&[Some(9)]), Float64Array::from(vec![0.0]));
    check(VarSamp, ints(&[Some(9)]), Float64Array::from(vec![None]));
    check(VarSamp, nothing(), Float64Array::from(vec![None]));
    for function in [ApproxCountDistinct, CountDistinct] {
        check(function, values(), ints(&[Some(2)]));
        check(function, nothing(), ints(&[Some(0)]));
    }
    check(ApproxPercentile(500_000), values(), Float64Array::from(vec![3.0]));
    check(ApproxPercentile(500_000), nothing(), Float64Array::from(vec![None]));
    // NULL is an element, too.
    check(ArrayAgg(2), values(), list(vec![vec![None, Some(3)]]));
    check(ArrayAgg(9), values(), list(vec![vec![None, Some(3), None, Some(4)]]));
}

fn list(rows: Vec<Vec<Option<i64>>>) -> ListArray {
    let lengths = OffsetBuffer::from_lengths(rows.iter().map(Vec::len));
    let DataType::List(element) = list_type(DataType::Int64) else { unreachable!("a list") };
    ListArray::new(
        element,
        lengths,
        Arc::new(rows.concat().into_iter().collect::<Int64Array>()),
        None,
    )
}

#[test]
fn distinct_values_are_those_of_group_by() {
    let zeros = || Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN, 1.5, 1.5]);
    for function in [ApproxCountDistinct, CountDistinct] {
        check(function, zeros(), ints(&[Some(3)]));
        check(function, StringArray::from(vec!["a", "", "b", "a"]), ints(&[Some(3)]));
        check(function, BooleanArray::from(vec![true, false, true]), ints(&[Some(2)]));
        check(function, decimals(vec![Some(5), None, Some(5)], 9, 2), ints(&[Some(1)]));
    }
    check(CountDistinct, Int32Array::from_iter_values((0..70).map(|i| i % 30)), ints(&[Some(30)]));
    let many: Int32Array = (0..700).map(|value| Some(value % 300)).collect();
    let wide: Int64Array = (0..700).map(|value| Some(value % 300)).collect();
    let groups = vec![0; 700];
    let counts = [Arc::new(many) as ArrayRef, Arc::new(wide)].map(|values| {
        let measure = Measure::new("m", ApproxCountDistinct, Some(values.data_type()));
        let measure = measure.expect("a measure");
        assert_eq!(measure.stored(), "BINARY of BIGINT");
        let found = compute(&measure, &[(argument(&values), groups.clone())], 1);
        found.expect("a count").as_primitive::<Int64Type>().value(0)
    });
    assert_eq!(counts[0], counts[1], "of other widths");
    assert!((290..311).contains(&counts[0]), "{}", counts[0]);
}

#[test]
fn percentiles_are_of_numbers_of_any_type() {
    let percentile = ApproxPercentile(900_000);
    check(percentile, Int8Array::from(vec![1, -7, 3]), Float64Array::from(vec![3.0]));
    check(percentile, decimals(vec![Some(250), Some(-5)], 9, 2), Float64Array::from(vec![2.5]));
    let nan = || Float64Array::from(vec![1.0, f64::NAN]);
    check(percentile, nan(), Float64Array::from(vec![f64::NAN]));
    // 90 of 100: the middle of 90 to 91.
    let hundred: Int64Array = (1..=100).map(Some).collect();
    check(percentile, hundred, Float64Array::from(vec![90.5]));
}

#[test]
fn arrays_go_by_the_one_order() {
    // Of one time, so that partitions and offsets decide.
    let part = |values: &[Option<i64>], groups: Vec<usize>| {
        let values: ArrayRef = Arc::new(ints(values));
        (argument(&values), groups)
    };
    let parts =
        [part(&[Some(1), Some(2), None], vec![0, 1, 0]), part(&[Some(4), Some(5)], vec![1, 0])];
    let measure = Measure::new("m", ArrayAgg(2), Some(&DataType::Int64)).expect("a measure");
    let expected = list(vec![vec![Some(1), None], vec![Some(2), Some(4)]]);
    let found = compute(&measure, &parts, 2).expect("arrays");
    assert_eq!(found.as_list(), &expected);
    // Without rows it is NULL, not empty.
    let filter = Some(BooleanArray::from(vec![false]));
    let values = Some(Arc::new(ints(&[Some(1)])) as ArrayRef);
    let found = compute(&measure, &[(Argument { values, filter }, vec![0])], 1).expect("arrays");
    assert!(found.is_null(0));
}

#[test]
fn a_filter_leaves_rows_out_and_a_group_without_rows_is_null() {
    let values: ArrayRef = Arc::new(ints(&[Some(1), Some(2), Some(4), Some(8)]));
    let filter = BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]);
    let argument = Argument { values: Some(values), filter: Some(filter) };
    let check = |function, expected: &[Option<i64>]| {
        let measure = Measure::new("m", function, Some(&DataType::Int64)).expect("a measure");
        let parts = [(argument.clone(), vec![0, 1, 1, 2])];
        let found = compute(&measure, &parts, 3).expect("no overflow");
        assert_eq!(found.as_primitive(), &ints(expected), "{function:?}");
    };
    check(Count, &[Some(1), Some(0), Some(1)]);
    for function in [Sum, Min, Max, First, Last] {
        check(function, &[Some(1), None, Some(8)]);
    }
}

#[test]
fn first_and_last_go_by_the_one_order() {
    // Of one time, so that partitions and offsets decide.
    let part = |values: &[&str], groups: Vec<usize>| {
        let values: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
        (argument(&values), groups)
    };
    let parts = [part(&["a", "b", "c"], vec![0, 1, 0]), part(&["d", "e"], vec![1, 0])];
    for (function, expected) in [(First, ["a", "b"]), (Last, ["e", "d"])] {
        let measure = Measure::new("m", function, Some(&DataType::Utf8)).expect("a measure");
        let found = compute(&measure, &parts, 2).expect("no overflow");
        assert_eq!(found.as_string(), &StringArray::from(expected.to_vec()), "{function:?}");
    }
}

#[test]
fn first_and_last_of_many_rows_let_go_of_those_passed_over() {
    const ROWS: usize = 3_000;
    let measures = [First, Last]
        .map(|function| Measure::new("m", function, Some(&DataType::Int64)).expect("a measure"));
    let mut random = fastrand::Rng::with_seed(7);
    let mut found = Aggregates::new(&Arc::from(measures)).expect("accumulators");
    let mut expected = [(i64::MAX, 0, 0), (i64::MIN, 0, 0)].map(|none| [none; 10]);
    for batch in 0..40 {
        let times: Vec<_> = (0..ROWS).map(|_| random.i64(0..100_000)).collect();
        let groups: Vec<_> = (0..ROWS).map(|row| (row + random.usize(0..2)) % 10).collect();
        let offsets: Vec<_> = (0..ROWS as i64).map(|row| batch * ROWS as i64 + row).collect();
        for ((time, group), offset) in times.iter().zip(&groups).zip(&offsets) {
            let row = (*time, *offset, offset * 3);
            expected[0][*group] = row.min(expected[0][*group]);
            expected[1][*group] = row.max(expected[1][*group]);
        }
        let values: ArrayRef =
            Arc::new(offsets.iter().map(|offset| offset * 3).collect::<Int64Array>());
        let rows = Rows {
            sources: Sources::One(&partition(0)),
            times: &Int64Array::from(times),
            offsets: &Int64Array::from(offsets),
            arguments: &[argument(&values), argument(&values)],
        };
        found.add(&rows, &groups, 10).expect("accumulators");
    }
    let found = found.results().expect("no overflow");
    for (found, expected) in found.iter().zip(expected) {
        let expected: Int64Array = expected.iter().map(|(.., value)| Some(*value)).collect();
        assert_eq!(found.as_primitive(), &expected);
    }
}

#[test]
fn a_sum_is_judged_by_its_result_in_any_order() {
    let (most, least) = (Some(i64::MAX), Some(i64::MIN));
    check(Sum, ints(&[most, Some(1), Some(-1), least, most]), ints(&[Some(i64::MAX - 1)]));
    check(Sum, Int8Array::from(vec![127, 127]), ints(&[Some(254)]));
    let nines = 10_i128.pow(38) - 1;
    let half = Some(nines / 2 + 1);
    check(Sum, decimals(vec![Some(5), Some(7)], 4, 2), decimals(vec![Some(12)], 14, 2));
    let wide = decimals(vec![half, half, Some(-2), Some(-9), Some(9)], 38, 0);
    check(Sum, wide, decimals(vec![Some(nines - 1)], 38, 0));

    let overflows = |values: ArrayRef| {
        let measure = Measure::new("total", Sum, Some(values.data_type())).expect("a measure");
        let groups = vec![0; values.len()];
        let error = compute(&measure, &[(argument(&values), groups)], 1).expect_err("no fit");
        error.to_string()
    };
    let message = overflows(Arc::new(ints(&[most, Some(1)])));
    assert_eq!(message, "`total`: the result of a window is too large for BIGINT");
    let message = overflows(Arc::new(decimals(vec![half, half, half], 38, 0)));
    assert_eq!(message, "`total`: the result of a window is too large for DECIMAL(38,0)");
}

#[test]
fn averages_come_from_exact_sums() {
    let far = 1_i64 << 60;
    let close = ints(&[Some(far), Some(1), Some(-far), Some(2)]);
    check(Avg, close, Float64Array::from(vec![0.75]));
    check(Avg, Int32Array::from(vec![1, 2]), Float64Array::from(vec![1.5]));
    let average = |values, expected| {
        check(Avg, decimals(values, 9, 2), decimals(vec![expected], 13, 6));
    };
    average(vec![Some(100), Some(100), Some(101)], Some(1_003_333));
    average(vec![Some(1), Some(0), Some(0)], Some(3_333));
    average(vec![Some(2), Some(0), Some(0)], Some(6_667));
    average(vec![Some(-2), Some(0), Some(0)], Some(-6_667));
    average(vec![None], None);
    // 312.5 behind the point.
    let half = |one| std::iter::once(Some(one)).chain([Some(0); 31]).collect::<Vec<_>>();
    average(half(1), Some(313));
    average(half(-1), Some(-313));
    let nines = Some(10_i128.pow(38) - 1);
    check(Avg, decimals(vec![nines, nines], 38, 38), decimals(vec![nines], 38, 38));
}

#[test]
fn nan_is_the_largest_in_any_order() {
    let negative_nan = f64::from_bits(f64::NAN.to_bits() | 1 << 63);
    for nan in [f64::NAN, negative_nan] {
        let values = || Float64Array::from(vec![Some(1.0), Some(nan), None, Some(-1.0)]);
        check(Min, values(), Float64Array::from(vec![-1.0]));
        check(Max, values(), Float64Array::from(vec![f64::NAN]));
        check(Min, Float64Array::from(vec![nan]), Float64Array::from(vec![f64::NAN]));
    }
    check(Min, Float64Array::from(vec![0.0, -0.0]), Float64Array::from(vec![-0.0]));
    check(Max, Float32Array::from(vec![-0.0, 0.0]), Float32Array::from(vec![0.0]));
    let ends = || Float64Array::from(vec![f64::INFINITY, f64::NEG_INFINITY]);
    check(Max, ends(), Float64Array::from(vec![f64::INFINITY]));
    check(Min, ends(), Float64Array::from(vec![f64::NEG_INFINITY]));
}

#[test]
fn what_no_function_takes_is_refused() {
    let refused = |function, argument: Option<DataType>| {
        let error = Measure::new("m", function, argument.as_ref()).expect_err("refused");
        assert_eq!(error.code(), "SL6201");
        error.to_string()
    };
    assert_eq!(refused(Sum, None), "`m`: there is no Sum of *");
    assert_eq!(refused(Sum, Some(DataType::Utf8)), "`m`: there is no Sum of STRING");
    refused(BoolAnd, Some(DataType::Int64));
    refused(VarPop, Some(DataType::Boolean));
    let list = DataType::new_list(DataType::Int64, true);
    for function in [Min, Max, First, Last, ApproxCountDistinct, CountDistinct, ArrayAgg(1)] {
        refused(function, Some(list.clone()));
    }
    refused(ApproxPercentile(1), Some(DataType::Utf8));
}
