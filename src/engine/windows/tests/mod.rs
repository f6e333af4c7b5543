//! Windows with their real commits, against the naive model: random rows, cuts and clock decisions; store failures in the
//! middle of a commit, crashes, a second instance that commits from what has become stale, and another writer's OPTIMIZE.
//!
//! No Kafka and no decoder: chunks are made by hand. The table, its log, its files and the state objects are real, in a store
//! in memory. After every commit that landed, whoever made it, the table's rows are the model's for the recorded commits.
//!
//! `SLUICE_WINDOW_CASES=25000 cargo test …` runs more cases. A failure is shrunk and printed.

mod case;
mod instance;
mod ledger;
mod world;

use std::cell::Cell;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Builder;

use self::case::{Becomes, stories};
use self::instance::{Plan, columns};
use self::world::{Tally, World};
use super::WindowShape;
use crate::config::{DuplicateOrder, StateBackend};
use crate::observability::{LagDetail, Metrics};
use crate::transform::window::tests::case::{
    Windowing, days, own_gaps, session, sliding, tumbling, unbounded,
};

/// What a hundred cases must have met, far less than they do: a test of nothing finds nothing.
const MET: Tally =
    Tally { landed: 100, fenced: 10, replanned: 0, failed: 10, late: 1, rewritten: 5 };

fn cases() -> u32 {
    let cases = std::env::var("SLUICE_WINDOW_CASES");
    cases.map_or(100, |text| text.parse().expect("a number of cases"))
}

fn check(
    windowing: impl Strategy<Value = Windowing>,
    becomes: impl Strategy<Value = Becomes>,
    backend: &StateBackend,
    cases: u32,
) -> Tally {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let metrics = Metrics::new("shop", LagDetail::PerTopic).windows("story");
    let sum = Cell::new(Tally::default());
    let ran = TestRunner::new(config).run(&stories(windowing, becomes), |story| {
        let output = story.output(backend);
        let shape = WindowShape::new(&output, &columns()).expect("valid").expect("windows");
        let (shape, metrics) = (Arc::new(shape), metrics.clone());
        let plan = Plan { case: story.case.clone(), output, shape, metrics };
        let tally = runtime.block_on(World::run(&story, plan));
        sum.set(sum.get().with(tally));
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
    let met = sum.get();
    let enough = cases < 100 || met.times(100).covers(MET.times(cases.into()));
    assert!(enough, "{met:?} in {cases} cases");
    met
}

#[test]
fn closed_windows_are_in_the_table_once_whatever_fails() {
    let kinds = prop_oneof![tumbling(), sliding(), session(), own_gaps(), days()];
    check(kinds, Just(Becomes::Closed), &StateBackend::Memory, cases());
}

#[test]
fn open_windows_are_in_the_table_as_they_are_whatever_fails() {
    let kinds = prop_oneof![tumbling(), sliding(), session(), own_gaps(), unbounded(), days()];
    let becomes = any::<bool>().prop_map(|slow| Becomes::Changes { slow });
    let met = check(kinds, becomes, &StateBackend::Memory, cases());
    assert!(met.replanned > 0, "another writer is never in the way: {met:?}");
}

#[test]
fn distinct_rows_are_in_the_table_once_whatever_fails() {
    let orders = [DuplicateOrder::Arrival, DuplicateOrder::EventTime];
    let becomes = prop::sample::select(orders.to_vec()).prop_map(Becomes::Distinct);
    check(session(), becomes, &StateBackend::Memory, cases());
}

fn windows_of_distinct_rows() -> impl Strategy<Value = Becomes> {
    let orders = prop::sample::select(vec![DuplicateOrder::Arrival, DuplicateOrder::EventTime]);
    (orders, any::<bool>()).prop_map(|(order, changes)| Becomes::DistinctWindows { order, changes })
}

#[test]
fn windows_of_distinct_rows_are_in_the_table_once_whatever_fails() {
    let kinds = prop_oneof![tumbling(), sliding(), session(), own_gaps(), days()];
    check(kinds, windows_of_distinct_rows(), &StateBackend::Memory, cases());
}

#[cfg(feature = "rocksdb")]
#[test]
fn with_state_on_disk_the_table_is_the_models_whatever_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = StateBackend::RocksDb { directory: Some(folder.path().to_owned()) };
    let kinds = prop_oneof![tumbling(), sliding(), session(), own_gaps(), unbounded(), days()];
    let becomes = prop_oneof![
        Just(Becomes::Closed),
        Just(Becomes::Changes { slow: false }),
        windows_of_distinct_rows(),
    ];
    check(kinds, becomes, &backend, cases().div_ceil(10).min(1_000));
}
