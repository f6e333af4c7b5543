//! The set of keys against a naive one.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;

use super::*;

type Key = (Option<String>, Option<i64>);

fn columns() -> KeyColumns {
    let fields = [("t", DataType::Utf8), ("n", DataType::Int64)];
    let fields = fields.map(|(name, data_type)| Field::new(name, data_type, true));
    let key = ["t".to_owned(), "n".to_owned()];
    KeyColumns::new(&Schema::new(fields.to_vec()), &[], &key).expect("a key")
}

fn batch(keys: &[Key]) -> RecordBatch {
    let texts: StringArray = keys.iter().map(|key| key.0.clone()).collect();
    let numbers: Int64Array = keys.iter().map(|key| key.1).collect();
    let columns: [(&str, ArrayRef); 2] = [("t", Arc::new(texts)), ("n", Arc::new(numbers))];
    RecordBatch::try_from_iter(columns).expect("equal lengths")
}

fn set_of(batches: &[Vec<Key>], wins: Wins) -> (KeySet, u64) {
    let mut changes = Changes::default();
    batches.iter().for_each(|keys| changes.push(batch(keys), None));
    KeySet::reduce(&columns(), &changes, wins, |rows| rows.columns().to_vec()).expect("comparable")
}

fn bytes(columns: &KeyColumns, key: &Key) -> Vec<u8> {
    let encoded = columns.encode(batch(std::slice::from_ref(key)).columns()).expect("comparable");
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    encoded.write(0, &mut bytes, &mut ends);
    bytes
}

/// A column's part of a key.
fn part(columns: &KeyColumns, key: &Key, at: usize) -> Vec<u8> {
    let encoded = columns.encode(batch(std::slice::from_ref(key)).columns()).expect("comparable");
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    encoded.write(0, &mut bytes, &mut ends);
    let end = ends[0] as usize;
    if at == 0 { bytes[..end].to_vec() } else { bytes[end..].to_vec() }
}

fn any_key() -> impl Strategy<Value = Key> {
    (proptest::option::of("[ab]{0,2}"), proptest::option::of(-3i64..4))
}

/// The domains of a file with these rows, exact or wider.
fn domains(columns: &KeyColumns, rows: &[Key], vague: [bool; 2]) -> Vec<Domain> {
    let one = |at: usize| {
        if vague[at] {
            return Domain { nulls: true, values: Values::Any };
        }
        let is_null = |key: &&Key| if at == 0 { key.0.is_none() } else { key.1.is_none() };
        let mut parts: Vec<Vec<u8>> =
            rows.iter().filter(|key| !is_null(key)).map(|key| part(columns, key, at)).collect();
        parts.sort();
        let values = match (parts.first(), parts.last()) {
            (Some(min), Some(max)) => Values::Between(min.clone().into(), max.clone().into()),
            _ => Values::None,
        };
        Domain { nulls: rows.iter().any(|key| is_null(&key)), values }
    };
    vec![one(0), one(1)]
}

proptest! {
    #[test]
    fn each_key_is_there_once_with_the_change_that_counts(
        batches in proptest::collection::vec(proptest::collection::vec(any_key(), 0..40), 0..5),
        asked in proptest::collection::vec(any_key(), 20),
        last in any::<bool>(),
    ) {
        let (set, lost) = set_of(&batches, if last { Wins::Last } else { Wins::First });
        let mut model: BTreeMap<&Key, (u32, u32)> = BTreeMap::new();
        for (at, keys) in (0u32..).zip(&batches) {
            for (row, key) in (0u32..).zip(keys) {
                let entry = model.entry(key).or_insert((at, row));
                *entry = if last { (at, row) } else { *entry };
            }
        }
        let all: usize = batches.iter().map(Vec::len).sum();
        prop_assert_eq!((set.len(), lost), (model.len(), (all - model.len()) as u64));
        let columns = columns();
        for key in &asked {
            let found = set.find(&bytes(&columns, key)).map(|found| set.winner(found));
            prop_assert_eq!(found.map(|winner| (winner.batch, winner.row)), model.get(key).copied());
        }
        // Sorted as the model is: NULLs first, then by value.
        let sorted: Vec<(u32, u32)> =
            set.sorted().iter().map(|key| set.winner(*key)).map(|w| (w.batch, w.row)).collect();
        prop_assert_eq!(sorted, model.into_values().collect::<Vec<_>>());
    }

    #[test]
    fn no_file_that_holds_a_key_is_passed_over(
        keys in proptest::collection::vec(any_key(), 0..12),
        rows in proptest::collection::vec(any_key(), 1..6),
        vague in any::<[bool; 2]>(),
    ) {
        let (set, _) = set_of(std::slice::from_ref(&keys), Wins::Last);
        let columns = columns();
        let domains = domains(&columns, &rows, vague);
        let naive = keys.iter().any(|key| (0..2).all(|at| domains[at].holds(&part(&columns, key, at))));
        prop_assert_eq!(set.may_be_in(&domains), naive);
        if keys.iter().any(|key| rows.contains(key)) {
            prop_assert!(set.may_be_in(&domains));
        }
    }
}

#[test]
fn many_keys_are_found_after_the_table_has_grown() {
    let keys: Vec<Key> = (0..20_000).map(|n| (None, Some(n))).collect();
    let (set, lost) = set_of(std::slice::from_ref(&keys), Wins::Last);
    assert_eq!((set.len(), lost), (20_000, 0));
    let columns = columns();
    assert!(keys.iter().step_by(997).all(|key| set.find(&bytes(&columns, key)).is_some()));
    assert_eq!(set.find(&bytes(&columns, &(None, Some(20_000)))), None);
}
