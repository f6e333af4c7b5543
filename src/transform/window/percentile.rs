//! Percentiles within 1/128: a DDSketch (Masson et al. 2019) whose buckets are cut by the bits of a float.
//!
//! A bucket is the doubles of one sign that share exponent and first six bits of the fraction: a 64th of a power of two. So
//! no logarithm is asked, whose last bit differs between machines. The state is a count per bucket, and the same after the
//! same values in any order. Of each sign it keeps the [`MOST_BUCKETS`] with the largest magnitudes, 64 powers of two;
//! values nearer to zero are counted in the smallest of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::Float64Type;
use datafusion_common::Result;

use super::sketch::{Sketch, take};

/// Bits of a double's fraction that are not part of its bucket.
const REST_BITS: u32 = 46;
const MOST_BUCKETS: u32 = 64 * 64;
/// That of infinity, which has none.
const BUCKETS_END: u32 = 2047 << 6;

const MILLION: u128 = 1_000_000;

/// The share of values that are not above the result, in millionths.
pub(super) struct Percentile {
    pub(super) millionths: u32,
}

/// How values are spread.
#[derive(Default)]
pub(super) struct Spread {
    below: u64,
    negative: Buckets,
    zeros: u64,
    positive: Buckets,
    above: u64,
    nans: u64,
    /// The least and the largest finite value.
    ends: Option<(f64, f64)>,
}

/// By magnitude.
#[derive(Default)]
struct Buckets(BTreeMap<u32, u64>);

impl Buckets {
    fn add(&mut self, bucket: u32, count: u64) {
        let last = self.0.last_key_value().map_or(0, |(last, _)| *last).max(bucket);
        let first = last.saturating_sub(MOST_BUCKETS - 1);
        *self.0.entry(bucket.max(first)).or_default() += count;
        if last == bucket && self.0.first_key_value().is_some_and(|(lowest, _)| *lowest < first) {
            let kept = self.0.split_off(&first);
            let lower = std::mem::replace(&mut self.0, kept);
            *self.0.entry(first).or_default() += lower.values().sum::<u64>();
        }
    }

    fn count(&self) -> u64 {
        self.0.values().sum()
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_number(self.0.len() as u64, out);
        let mut before = 0;
        for (bucket, count) in &self.0 {
            write_number(u64::from(bucket - before), out);
            write_number(*count, out);
            before = *bucket;
        }
    }

    fn merge(&mut self, state: &mut &[u8]) -> Option<()> {
        let mut bucket = 0_u32;
        for _ in 0..read_number(state)? {
            bucket = bucket.checked_add(read_number(state)?.try_into().ok()?)?;
            if bucket >= BUCKETS_END {
                return None;
            }
            self.add(bucket, read_count(state)?);
        }
        Some(())
    }
}

impl Spread {
    fn add(&mut self, value: f64) {
        if value.is_nan() {
            self.nans += 1;
        } else if value == f64::NEG_INFINITY {
            self.below += 1;
        } else if value == f64::INFINITY {
            self.above += 1;
        } else {
            // −0 is 0.
            let value = value + 0.0;
            self.reach(value, value);
            let bucket = (value.abs().to_bits() >> REST_BITS) as u32;
            match value.total_cmp(&0.0) {
                std::cmp::Ordering::Less => self.negative.add(bucket, 1),
                std::cmp::Ordering::Equal => self.zeros += 1,
                std::cmp::Ordering::Greater => self.positive.add(bucket, 1),
            }
        }
    }

    fn reach(&mut self, least: f64, most: f64) {
        let (low, high) = self.ends.unwrap_or((least, most));
        self.ends = Some((low.min(least), high.max(most)));
    }

    fn finite(&self) -> u64 {
        self.negative.count() + self.zeros + self.positive.count()
    }

    /// The value of which `millionths` of all are not larger: the nearest rank, as in PERCENTILE_DISC.
    fn percentile(&self, millionths: u32) -> Option<f64> {
        let finite = self.finite();
        let all = self.below + finite + self.above + self.nans;
        if all == 0 {
            return None;
        }
        let rank = (u128::from(all) * u128::from(millionths)).div_ceil(MILLION).max(1) as u64;
        let Some(rank) = rank.checked_sub(self.below).filter(|rank| *rank > 0) else {
            return Some(f64::NEG_INFINITY);
        };
        match self.ends {
            Some((least, _)) if rank == 1 => Some(least),
            Some((_, most)) if rank == finite => Some(most),
            Some((least, most)) if rank < finite => Some(self.value(rank).clamp(least, most)),
            _ if rank <= finite + self.above => Some(f64::INFINITY),
            _ => Some(f64::NAN),
        }
    }

    /// The middle of the bucket with the finite value of that rank.
    fn value(&self, rank: u64) -> f64 {
        let negative =
            self.negative.0.iter().rev().map(|(bucket, count)| (-middle(*bucket), *count));
        let positive = self.positive.0.iter().map(|(bucket, count)| (middle(*bucket), *count));
        let mut upto = 0;
        let mut all = negative.chain([(0.0, self.zeros)]).chain(positive);
        let found = all.find(|(_, count)| {
            upto += count;
            upto >= rank
        });
        found.expect("the rank is one of the values'").0
    }
}

fn middle(bucket: u32) -> f64 {
    f64::from_bits(u64::from(bucket) << REST_BITS | 1 << (REST_BITS - 1))
}

impl Sketch for Percentile {
    type Group = Spread;
    type Rows = Float64Array;

    fn rows(&self, values: &[ArrayRef]) -> Float64Array {
        values[0].as_primitive::<Float64Type>().clone()
    }

    fn add(&self, spread: &mut Spread, values: &Float64Array, row: usize) {
        if values.is_valid(row) {
            spread.add(values.value(row));
        }
    }

    fn merge(&self, spread: &mut Spread, mut state: &[u8]) -> Option<()> {
        let state = &mut state;
        for count in [&mut spread.below, &mut spread.zeros, &mut spread.above, &mut spread.nans] {
            *count += read_count(state)?;
        }
        spread.negative.merge(state)?;
        spread.positive.merge(state)?;
        if !state.is_empty() {
            let [least, most] = [take(state)?, take(state)?].map(f64::from_le_bytes);
            spread.reach(least, most);
        }
        (state.is_empty() && spread.ends.is_some() == (spread.finite() > 0)).then_some(())
    }

    fn write(&self, spread: Spread, out: &mut Vec<u8>) {
        for count in [spread.below, spread.zeros, spread.above, spread.nans] {
            write_number(count, out);
        }
        spread.negative.write(out);
        spread.positive.write(out);
        if let Some((least, most)) = spread.ends {
            out.extend_from_slice(&least.to_le_bytes());
            out.extend_from_slice(&most.to_le_bytes());
        }
    }

    fn results(&self, groups: Vec<Spread>) -> Result<ArrayRef> {
        let results = groups.iter().map(|spread| spread.percentile(self.millionths));
        Ok(Arc::new(results.collect::<Float64Array>()))
    }

    fn size(spread: &Spread) -> usize {
        // Nodes of the trees are half full at worst.
        2 * (spread.negative.0.len() + spread.positive.0.len()) * size_of::<(u32, u64)>()
    }
}

/// LEB128: seven bits a byte, the lowest first.
fn write_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn read_number(state: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let [byte] = take(state)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// No window has so many rows: sums of counts don't overflow, whatever the state says.
fn read_count(state: &mut &[u8]) -> Option<u64> {
    read_number(state).filter(|count| *count < 1 << 44)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spread(values: &[f64]) -> Spread {
        let mut spread = Spread::default();
        values.iter().for_each(|value| spread.add(*value));
        spread
    }

    fn state(spread: Spread) -> Vec<u8> {
        let mut out = Vec::new();
        Percentile { millionths: 0 }.write(spread, &mut out);
        out
    }

    fn merged(states: &[Vec<u8>]) -> Spread {
        let mut spread = Spread::default();
        for state in states {
            Percentile { millionths: 0 }.merge(&mut spread, state).expect("a whole state");
        }
        spread
    }

    fn check(values: &[f64], millionths: u32, expected: Option<f64>) {
        let found = spread(values).percentile(millionths);
        assert_eq!(found.map(f64::to_bits), expected.map(f64::to_bits), "{values:?} {millionths}");
    }

    #[test]
    fn ends_single_values_and_what_is_no_number() {
        check(&[], 500_000, None);
        check(&[7.3], 500_000, Some(7.3));
        check(&[7.3, 7.3, 7.3], 500_000, Some(7.3));
        check(&[1.1, 5.0, 9.9], 0, Some(1.1));
        check(&[1.1, 5.0, 9.9], 1_000_000, Some(9.9));
        check(&[1.1, 5.0, 9.9], 333_333, Some(1.1));
        check(&[-0.0, 0.0], 500_000, Some(0.0));
        check(&[-0.0, -0.0], 1_000_000, Some(0.0));
        let odd = [f64::NAN, f64::INFINITY, 2.0, f64::NEG_INFINITY];
        check(&odd, 250_000, Some(f64::NEG_INFINITY));
        check(&odd, 500_000, Some(2.0));
        check(&odd, 750_000, Some(f64::INFINITY));
        check(&odd, 1_000_000, Some(f64::NAN));
        check(&[f64::INFINITY, f64::NAN], 500_000, Some(f64::INFINITY));
        check(&[f64::MAX, -f64::MAX, f64::MAX], 900_000, Some(f64::MAX));
        // 64 powers of two apart, and more.
        check(&[1e-200, 1e-190, 1.0, 1e30], 0, Some(1e-200));
    }

    #[test]
    fn what_is_too_small_is_counted_in_the_smallest_bucket_in_any_order() {
        let values = [1e-3, 5e15, 2.0, 1e-30, 7e18, 1e25, 3.0, -1e-9, -4e40];
        let whole = state(spread(&values));
        for cut in 0..values.len() {
            let (left, right) = values.split_at(cut);
            let parts = [state(spread(right)), state(spread(left))];
            assert_eq!(state(merged(&parts)), whole, "cut at {cut}");
        }
        assert_eq!(spread(&values).positive.count(), 7);
        let many: Vec<f64> = (-1000..1000).map(|power| 2_f64.powi(power)).collect();
        // 64 powers of two, and the bucket with all below them.
        assert_eq!(spread(&many).positive.0.len(), 65);
    }

    #[test]
    fn damaged_states_are_told() {
        let whole = state(spread(&[1.0, -2.0, 0.0]));
        for cut in 0..whole.len() {
            let merged = Percentile { millionths: 0 }.merge(&mut Spread::default(), &whole[..cut]);
            assert!(merged.is_none(), "cut at {cut}");
        }
        let longer = [whole.as_slice(), &[0]].concat();
        assert!(Percentile { millionths: 0 }.merge(&mut Spread::default(), &longer).is_none());
    }

    proptest! {
        #[test]
        fn percentiles_are_within_their_bound_whatever_the_cuts(
            values in prop::collection::vec(
                prop_oneof![-1e9..1e9, -1.0..1.0, Just(0.0), 1e-5..1e-4], 1..200),
            cut in any::<prop::sample::Index>(),
            millionths in 0..=1_000_000_u32,
        ) {
            let whole = spread(&values);
            let found = whole.percentile(millionths).expect("values");
            let (left, right) = values.split_at(cut.index(values.len()));
            let parts = [right, left].map(|part| state(spread(part)));
            prop_assert_eq!(state(merged(&parts)), state(whole));
            let mut sorted = values;
            sorted.sort_by(f64::total_cmp);
            let share = f64::from(millionths) / 1e6;
            let rank = (share * sorted.len() as f64 - 1e-9).ceil().max(1.0) as usize;
            let exact = sorted[rank - 1];
            prop_assert!((found - exact).abs() <= exact.abs() / 128.0, "{} {}", found, exact);
        }
    }
}
