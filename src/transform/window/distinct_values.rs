//! How many distinct values there are, exactly: the values are kept.
//!
//! A state is the values' bytes in order, so that what a batch brings is merged in one pass. It is written again by each
//! epoch that a window gets a row in, which is why it has a limit.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array};
use datafusion_common::{DataFusionError, Result};

use super::codec::Encoder;
use super::sketch::{Sketch, read_count, write_count};

/// Of one group: half a million numbers, written by each epoch.
const MOST_BYTES: usize = 4 << 20;

pub(super) struct DistinctValues;

#[derive(Default)]
pub(super) struct Values {
    /// Each in order, behind their lengths.
    runs: Vec<Vec<u8>>,
    new: HashSet<Box<[u8]>>,
}

/// Values as keys are encoded.
pub(super) struct Encoded {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    values: ArrayRef,
}

impl Values {
    /// Makes one run of all.
    fn merge_runs(&mut self) {
        if !self.new.is_empty() {
            let mut new: Vec<_> = self.new.drain().collect();
            new.sort_unstable();
            let mut run = Vec::new();
            new.iter().for_each(|value| push(value, &mut run));
            self.runs.push(run);
        }
        while self.runs.len() > 1 {
            let pairs = self.runs.chunks(2).map(|pair| match pair {
                [one, other] => merged(one, other),
                _ => pair.concat(),
            });
            self.runs = pairs.collect();
        }
    }

    fn bytes(&self) -> usize {
        self.runs.iter().map(Vec::len).sum()
    }
}

fn push(value: &[u8], run: &mut Vec<u8>) {
    write_count(value.len() as u64, run);
    run.extend_from_slice(value);
}

/// Takes a value off the front of a run.
fn next<'a>(run: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(read_count(run)?).ok()?;
    let (value, rest) = run.split_at_checked(length)?;
    *run = rest;
    Some(value)
}

fn merged(mut left: &[u8], mut right: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut a, mut b) = (next(&mut left), next(&mut right));
    loop {
        let value = match (a, b) {
            (Some(one), Some(other)) => one.min(other),
            (one, other) => match one.or(other) {
                Some(value) => value,
                None => return out,
            },
        };
        push(value, &mut out);
        if a == Some(value) {
            a = next(&mut left);
        }
        if b == Some(value) {
            b = next(&mut right);
        }
    }
}

impl Sketch for DistinctValues {
    type Group = Values;
    type Rows = Encoded;

    fn rows(&self, values: &[ArrayRef]) -> Encoded {
        let encoder = Encoder::of_keys(&values[..1]);
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        for row in 0..values[0].len() {
            encoder.append(row, &mut bytes);
            ends.push(bytes.len());
        }
        Encoded { bytes, ends, values: Arc::clone(&values[0]) }
    }

    fn add(&self, group: &mut Values, rows: &Encoded, row: usize) {
        let value = &rows.bytes[rows.ends[row]..rows.ends[row + 1]];
        if rows.values.is_valid(row) && !group.new.contains(value) {
            group.new.insert(value.into());
        }
    }

    fn merge(&self, group: &mut Values, state: &[u8]) -> Option<()> {
        let (mut rest, mut before) = (state, None);
        while !rest.is_empty() {
            let value = next(&mut rest)?;
            if before.is_some_and(|before| before >= value) {
                return None;
            }
            before = Some(value);
        }
        group.runs.push(state.to_vec());
        Some(())
    }

    fn finish(&self, group: &mut Values) -> Result<()> {
        group.merge_runs();
        if group.bytes() > MOST_BYTES {
            let message = format!("distinct values of more than {} MiB", MOST_BYTES >> 20);
            return Err(DataFusionError::ResourcesExhausted(message));
        }
        Ok(())
    }

    fn write(&self, group: Values, out: &mut Vec<u8>) {
        group.runs.iter().for_each(|run| out.extend_from_slice(run));
    }

    fn results(&self, groups: Vec<Values>) -> Result<ArrayRef> {
        let count = |group: Values| {
            let mut run = group.runs.first().map_or(&[][..], Vec::as_slice);
            std::iter::from_fn(|| next(&mut run)).count() as i64
        };
        Ok(Arc::new(groups.into_iter().map(|group| Some(count(group))).collect::<Int64Array>()))
    }

    fn size(group: &Values) -> usize {
        let new: usize = group.new.iter().map(|value| value.len()).sum();
        group.bytes() + new + group.new.capacity() * size_of::<Box<[u8]>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(values: impl Iterator<Item = i64>) -> Values {
        let mut group = Values::default();
        let values: ArrayRef = Arc::new(values.map(Some).collect::<Int64Array>());
        let rows = DistinctValues.rows(&[Arc::clone(&values)]);
        (0..values.len()).for_each(|row| DistinctValues.add(&mut group, &rows, row));
        group
    }

    fn state(mut group: Values) -> Vec<u8> {
        DistinctValues.finish(&mut group).expect("not too many");
        let mut out = Vec::new();
        DistinctValues.write(group, &mut out);
        out
    }

    #[test]
    fn states_are_the_same_whatever_the_cuts() {
        let parts = [0..100, 50..180, 300..301, 0..300].map(|part| state(seen(part)));
        let mut merged = seen(200..260);
        for part in &parts {
            DistinctValues.merge(&mut merged, part).expect("a whole state");
        }
        assert_eq!(state(merged), state(seen((0..301).rev())));
    }

    #[test]
    fn more_than_the_limit_is_an_error() {
        let mut most = seen(0..MOST_BYTES as i64 / 10);
        assert!(DistinctValues.finish(&mut most).is_ok());
        let mut more = seen(0..MOST_BYTES as i64 / 10 + 1);
        assert!(DistinctValues.finish(&mut more).is_err());
    }

    #[test]
    fn damaged_states_are_told() {
        for damaged in [&[2, 1][..], &[1, 5, 1, 4], &[1, 5, 1, 5], &[0x80]] {
            assert!(DistinctValues.merge(&mut Values::default(), damaged).is_none(), "{damaged:?}");
        }
    }
}
