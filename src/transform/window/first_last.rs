//! `first` and `last` by the one order: event time, topic, partition, offset.
//!
//! DataFusion's keep a vector of scalars per group for the order, and know no booleans. Here a group keeps where its row
//! stands among the columns seen; columns are copied together before those that nobody points to outgrow the groups.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, new_null_array,
};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Int64Type};
use datafusion_common::{Result, internal_err};
use datafusion_expr::{EmitTo, GroupsAccumulator};

use super::aggregate::Sources;
use crate::chunk::SourcePartition;

/// What rows are ordered by: columns of one length, as long as the values.
pub(super) struct Order {
    times: ArrayRef,
    sources: ArrayRef,
    offsets: ArrayRef,
}

impl Order {
    pub(super) fn new(sources: Sources<'_>, times: &Int64Array, offsets: &Int64Array) -> Self {
        let sources = match sources {
            Sources::One(partition) => {
                let source = source(partition);
                BinaryArray::from_iter_values(std::iter::repeat_n(source, times.len()))
            }
            Sources::Each(sources) => sources.clone(),
        };
        Self {
            times: Arc::new(times.clone()),
            sources: Arc::new(sources),
            offsets: Arc::new(offsets.clone()),
        }
    }

    /// The columns that [`FirstLast`] takes.
    pub(super) fn with(&self, values: ArrayRef) -> Vec<ArrayRef> {
        let [times, sources, offsets] = [&self.times, &self.sources, &self.offsets].map(Arc::clone);
        vec![values, times, sources, offsets]
    }
}

/// A partition as bytes in the order of topic and partition; the id tells a topic from one that was there before it.
pub(super) fn source(SourcePartition { id, topic_id }: &SourcePartition) -> Vec<u8> {
    let partition = (id.partition as u32).to_be_bytes();
    [id.topic.as_bytes(), &[0], &partition, topic_id.as_str().as_bytes()].concat()
}

pub(super) struct FirstLast {
    /// The order in which a row has to stand to the one kept.
    wanted: Ordering,
    best: Vec<Option<Best>>,
    seen: Vec<Columns>,
    rows_seen: usize,
    value_type: DataType,
}

#[derive(Clone, Copy)]
struct Best {
    time: i64,
    seen: usize,
    row: usize,
}

struct Columns {
    all: Vec<ArrayRef>,
    times: Int64Array,
    sources: BinaryArray,
    offsets: Int64Array,
}

impl FirstLast {
    pub(super) fn first(value_type: DataType) -> Self {
        Self::new(Ordering::Less, value_type)
    }

    pub(super) fn last(value_type: DataType) -> Self {
        Self::new(Ordering::Greater, value_type)
    }

    /// The value, and what its row is ordered by; all null where there was no row.
    pub(super) fn state_types(value_type: &DataType) -> Vec<DataType> {
        vec![value_type.clone(), DataType::Int64, DataType::Binary, DataType::Int64]
    }

    fn new(wanted: Ordering, value_type: DataType) -> Self {
        Self { wanted, best: Vec::new(), seen: Vec::new(), rows_seen: 0, value_type }
    }

    fn compare(&self, columns: &Columns, row: usize, best: Best) -> Ordering {
        let kept = &self.seen[best.seen];
        let by_source = || columns.sources.value(row).cmp(kept.sources.value(best.row));
        let by_offset = || columns.offsets.value(row).cmp(&kept.offsets.value(best.row));
        columns.times.value(row).cmp(&best.time).then_with(by_source).then_with(by_offset)
    }

    /// The kept rows of the first `groups` groups, as one set of columns.
    fn gather(&self, groups: usize) -> Result<Vec<ArrayRef>> {
        let types = Self::state_types(&self.value_type);
        let gathered = types.iter().enumerate().map(|(column, data_type)| {
            // The last one is for groups without a row.
            let none = new_null_array(data_type, 1);
            let seen = self.seen.iter().map(|columns| &columns.all[column]);
            let arrays: Vec<&dyn Array> = seen.chain([&none]).map(AsRef::as_ref).collect();
            let best = self.best[..groups].iter();
            let places: Vec<_> = best
                .map(|best| best.map_or((arrays.len() - 1, 0), |best| (best.seen, best.row)))
                .collect();
            Ok(interleave(&arrays, &places)?)
        });
        gathered.collect()
    }

    /// Lets go of the columns seen, but for the kept rows.
    fn compact(&mut self) -> Result<()> {
        let columns = Columns::new(self.gather(self.best.len())?);
        for (row, best) in self.best.iter_mut().enumerate() {
            if let Some(best) = best {
                (best.seen, best.row) = (0, row);
            }
        }
        self.rows_seen = columns.times.len();
        self.seen = vec![columns];
        Ok(())
    }
}

impl Columns {
    fn new(all: Vec<ArrayRef>) -> Self {
        Self {
            times: all[1].as_primitive::<Int64Type>().clone(),
            sources: all[2].as_binary::<i32>().clone(),
            offsets: all[3].as_primitive::<Int64Type>().clone(),
            all,
        }
    }
}

impl GroupsAccumulator for FirstLast {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.best.resize(total, None);
        let columns = Columns::new(values.to_vec());
        let wanted = |row| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        self.rows_seen += groups.len();
        self.seen.push(columns);
        let seen = self.seen.len() - 1;
        for (row, group) in groups.iter().enumerate() {
            let columns = &self.seen[seen];
            if !wanted(row) || columns.times.is_null(row) {
                continue;
            }
            let better = self.best[*group]
                .is_none_or(|best| self.compare(columns, row, best) == self.wanted);
            if better {
                self.best[*group] = Some(Best { time: columns.times.value(row), seen, row });
            }
        }
        // Copying costs as much as there are groups, so it waits for several times as many rows.
        if self.rows_seen > 4 * total.max(crate::chunk::MAX_CHUNK_ROWS) {
            self.compact()
        } else {
            Ok(())
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.update_batch(states, groups, None, total)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = match emit_to {
            EmitTo::All => self.best.len(),
            EmitTo::First(groups) => groups,
        };
        let state = self.gather(groups)?;
        self.best.drain(..groups);
        Ok(state)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(self.state(emit_to)?.swap_remove(0))
    }

    fn convert_to_state(
        &self,
        _values: &[ArrayRef],
        _filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        internal_err!("rows are always grouped before they are kept")
    }

    fn size(&self) -> usize {
        let seen = self.seen.iter().flat_map(|columns| &columns.all);
        let columns: usize = seen.map(|column| column.get_array_memory_size()).sum();
        columns + self.best.capacity() * size_of::<Option<Best>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offsets::{TopicId, TopicPartition};

    #[test]
    fn sources_are_in_the_order_of_topic_and_partition() {
        let source = |topic: &str, partition| {
            let id = TopicPartition::new(topic, partition);
            source(&SourcePartition { id, topic_id: TopicId::new("x") })
        };
        let ordered =
            [source("a", 2), source("a", 10), source("a", 256), source("ab", 0), source("b", 0)];
        assert!(ordered.is_sorted());
    }
}
