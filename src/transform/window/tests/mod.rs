//! Windows against a naive model: random rows over partitions, random cuts into epochs and chunks, failed attempts.
//!
//! `SLUICE_WINDOW_CASES=25000 cargo test …` runs more cases. A failure is shrunk and printed.

pub(crate) mod case;
pub(crate) mod dedup;
mod examples;
mod floats;
mod measures;
pub(crate) mod model;
mod ranked;
mod restarts;
pub(crate) mod run;

use std::cell::Cell;
use std::fmt::Debug;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};

use self::case::{
    Case, Record, Step, Windowing, cases, days, own_gaps, session, sliding, tumbling, unbounded,
};
use self::model::Recorded;
#[cfg(feature = "rocksdb")]
use super::State;

fn for_all<T: Debug>(cases: impl Strategy<Value = T>, check: impl Fn(T) -> TestCaseResult) {
    for_some(wanted(), cases, check);
}

/// A case on disk opens and removes databases: a tenth of the cases, and not more than are done in minutes.
#[cfg(feature = "rocksdb")]
fn for_a_tenth<T: Debug>(cases: impl Strategy<Value = T>, check: impl Fn(T) -> TestCaseResult) {
    for_some(wanted().div_ceil(10).min(1_000), cases, check);
}

fn wanted() -> u32 {
    let wanted = std::env::var("SLUICE_WINDOW_CASES");
    wanted.map_or(200, |text| text.parse().expect("a number of cases"))
}

fn for_some<T: Debug>(
    count: u32,
    cases: impl Strategy<Value = T>,
    check: impl Fn(T) -> TestCaseResult,
) {
    let config = Config { cases: count, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&cases, check).unwrap_or_else(|error| panic!("{error}"));
}

/// Without idle partitions the model need not know of epochs: it reads all rows in one.
fn check(windowing: impl Strategy<Value = Windowing>, closes: bool) {
    let (closed, late, cases_seen) = (Cell::new(0), Cell::new(0), Cell::new(0));
    for_all(cases(windowing, false), |case| {
        let (found, ..) = run::run(&case);
        let count = case.partitions.len();
        let joined = (0..count).collect();
        let first = Recorded { ends: vec![0; count], joined, ..Recorded::default() };
        let ends = case.partitions.iter().map(Vec::len).collect();
        let rest = Recorded { ends, ..Recorded::default() };
        let expected = model::run(&case, &[first, rest]);
        closed.set(closed.get() + u64::from(!expected.closed.is_empty()));
        late.set(late.get() + u64::from(expected.late > 0));
        cases_seen.set(cases_seen.get() + 1);
        prop_assert_eq!(found, expected, "found (left), the model's (right)");
        Ok(())
    });
    let enough = cases_seen.get() / 4;
    assert!(!closes || closed.get() > enough, "windows close in {} cases", closed.get());
    assert!(!closes || late.get() > enough, "rows are late in {} cases", late.get());
}

#[test]
fn windows_are_the_models_whatever_the_cuts() {
    check(tumbling(), true);
    check(sliding(), true);
    check(session(), true);
    check(unbounded(), false);
    check(days(), true);
}

#[test]
fn recorded_decisions_give_the_models_windows() {
    let kinds = prop_oneof![tumbling(), sliding(), session(), own_gaps(), unbounded(), days()];
    for_all(cases(kinds, true), |case| {
        let (found, commits, _) = run::run(&case);
        prop_assert_eq!(found, model::run(&case, &commits), "found (left), the model's (right)");
        Ok(())
    });
}

#[test]
fn a_failed_attempt_leaves_no_trace() {
    let kinds = prop_oneof![sliding(), session(), own_gaps(), unbounded()];
    for_all(cases(kinds, true), |case| {
        let without = Case { steps: after_failures(&case.steps), ..case.clone() };
        prop_assert_eq!(run::run(&case).0, run::run(&without).0);
        Ok(())
    });
}

#[cfg(feature = "rocksdb")]
#[test]
fn state_on_disk_is_as_in_memory() {
    let kinds = prop_oneof![tumbling(), sliding(), session(), own_gaps(), unbounded(), days()];
    let folder = tempfile::tempdir().expect("a folder");
    for_a_tenth(cases(kinds, true), |case| {
        let (found, _, on_disk) =
            run::run_in(&case, State::on_disk(folder.path()).expect("it opens"));
        let (expected, _, in_memory) = run::run(&case);
        prop_assert_eq!(found, expected, "on disk (left), in memory (right)");
        prop_assert_eq!(on_disk.state().dump(), in_memory.state().dump());
        for windows in [&on_disk, &in_memory] {
            let (state, entries) = (windows.state(), windows.state().dump());
            let bytes: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
            prop_assert_eq!((state.len(), state.bytes()), (entries.len(), bytes));
        }
        Ok(())
    });
    let left = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 0, "a state's files are gone with it");
}

#[test]
fn closed_windows_leave_no_state_behind() {
    /// In 2096, in the first minute of a day of UTC.
    const LATER: i64 = 3_999_974_400_000_000;
    let kinds = prop_oneof![tumbling(), sliding(), session(), days()];
    for_all(cases(kinds, false), |mut case| {
        let (time, kept) = (Some(LATER), true);
        let last = Record { time, behind: None, key: None, amount: None, flag: None, kept };
        case.partitions.iter_mut().for_each(|records| records.push(last.clone()));
        let (outcome, _, windows) = run::run(&case);
        let entries = match case.windowing {
            Windowing::Session { .. } => 2,
            _ => 1,
        };
        prop_assert!(outcome.open.iter().all(|window| window.rows == case.partitions.len() as i64));
        prop_assert_eq!(windows.state().len(), entries, "entries for the last rows");
        Ok(())
    });
}

/// The steps without those that failed.
fn after_failures(steps: &[Step]) -> Vec<Step> {
    let mut kept = Vec::new();
    let mut epoch = Vec::new();
    for step in steps {
        match step {
            Step::Fail => epoch.clear(),
            Step::Read { .. } => epoch.push(step.clone()),
            Step::Commit { .. } => {
                kept.append(&mut epoch);
                kept.push(step.clone());
            }
        }
    }
    kept.append(&mut epoch);
    kept
}
