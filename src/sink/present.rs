//! Which of some offsets are rows of a table already, by the coordinates that rows keep.

use std::collections::{BTreeMap, BTreeSet};

use delta_kernel::Expression;
use delta_kernel::expressions::Predicate;

use super::deep::{Columns, Coordinates, OFFSET, PARTITION, TOPIC};
use super::error::SinkError;
use super::maintenance::in_kernel;
use super::scan::{self, TableScan};
use super::store::TableStore;
use crate::offsets::TopicPartition;

/// Offsets by partition.
pub type Offsets = BTreeMap<TopicPartition, BTreeSet<i64>>;

/// Of the offsets in `sought`, those that rows of this version have. `None`: the table doesn't keep the columns that
/// would tell; `kafka_topic` is needed where rows can be of several topics.
///
/// # Errors
/// When the store can't be reached.
pub async fn among(
    store: &TableStore,
    version: u64,
    sought: Offsets,
    one_topic: bool,
) -> Result<Option<Offsets>, SinkError> {
    in_kernel(store, move |engine| {
        let schema = scan::schema(&*engine, version)?;
        let has = |name: &str| schema.field(name).is_some();
        if !(has(PARTITION) && has(OFFSET) && (has(TOPIC) || one_topic)) {
            return Ok(None);
        }
        let columns = Columns { topic: has(TOPIC) };
        let mut found = Offsets::new();
        let Some(limits) = limits(&sought) else { return Ok(Some(found)) };
        let only = sought.keys().next().map(|id| id.topic.clone()).filter(|_| !columns.topic);
        let scan = TableScan::new(engine, version, &columns.names(), Some(limits))?;
        for file in scan.files()? {
            let mut taken = Ok(());
            scan.read(&file?, |rows| {
                let coordinates = match Coordinates::of(rows, columns) {
                    Ok(coordinates) => coordinates,
                    Err(error) => {
                        taken = Err(error);
                        return;
                    }
                };
                for row in 0..rows.num_rows() {
                    let (topic, partition, offset) = coordinates.row(row);
                    let Ok(partition) = i32::try_from(partition) else { continue };
                    let topic = only.as_deref().unwrap_or(topic);
                    let id = TopicPartition::new(topic, partition);
                    if sought.get(&id).is_some_and(|offsets| offsets.contains(&offset)) {
                        found.entry(id).or_default().insert(offset);
                    }
                }
            })?;
            taken?;
        }
        Ok(Some(found))
    })
    .await
}

/// Files without any of the offsets are skipped. `None`: no offset is sought.
fn limits(sought: &Offsets) -> Option<Predicate> {
    let first = sought.values().filter_map(BTreeSet::first).min()?;
    let last = sought.values().filter_map(BTreeSet::last).max()?;
    let offset = || Expression::column([OFFSET]);
    Some(Predicate::and_from([
        Predicate::ge(offset(), Expression::literal(*first)),
        Predicate::le(offset(), Expression::literal(*last)),
    ]))
}
