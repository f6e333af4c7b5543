use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use object_store::memory::InMemory;
use serde_json::{Value, json};

use super::*;
use crate::config::{Storage, TableLocation};
use crate::disposition::{Disposition, Exit};
use crate::sink::maintenance;
use crate::sink::testing::{
    self, Fault, Fixture, NOW, add, batch, commit_info, data_file, metadata, protocol, remove, txn,
};

const P0: &str = "sluice/orders/orders/orders@AbC/0";
const P1: &str = "sluice/orders/orders/orders@AbC/1";

fn now() -> i64 {
    NOW
}

/// What a reader finds: how many rows, and the `txn` of P0.
async fn table(fixture: &Fixture) -> (u64, Option<i64>) {
    let log = fixture.log().await;
    let mut rows = 0;
    for version in 0..=log.version() {
        for line in fixture.lines(version).await {
            if let Some(stats) = line["add"]["stats"].as_str() {
                let stats: Value = serde_json::from_str(stats).expect("stats are JSON");
                rows += stats["numRecords"].as_u64().expect("a count");
            }
        }
    }
    (rows, log.txn(P0).map(|txn| txn.version))
}

#[tokio::test]
async fn a_commit_holds_info_then_txns_then_adds() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let tx = batch(&log, P0, 5);
    let committed = commit(&mut log, &fixture.store, &tx, now).await.expect("it lands");
    assert_eq!((committed.version, log.version()), (1, 1));
    let lines = fixture.lines(1).await;
    let kinds: Vec<_> = lines
        .iter()
        .map(|line| line.as_object().expect("an action").keys().next().cloned())
        .collect();
    assert_eq!(kinds, ["commitInfo", "txn", "add"].map(|kind| Some(kind.to_owned())));
    let info = &lines[0]["commitInfo"];
    assert_eq!(info["isBlindAppend"], true);
    assert_eq!(
        info["operationMetrics"]["numOutputRows"], "5",
        "metrics are text, as Spark writes them"
    );
    assert_eq!(info["sluice"]["attempt"], tx.attempt.to_string());
    assert_eq!(info["txnId"], tx.attempt.to_string());
    assert_eq!(info["engineInfo"], format!("sluice/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(lines[1], txn(P0, 5));
    assert_eq!(lines[2], add(&tx.adds[0].path, 5, true).tap("size", json!(50)));
}

trait Tap {
    fn tap(self, key: &str, value: Value) -> Self;
}

impl Tap for Value {
    fn tap(mut self, key: &str, value: Value) -> Self {
        self["add"][key] = value;
        self
    }
}

#[tokio::test]
async fn what_is_held_after_a_commit_is_what_a_replay_finds() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    for next in [3, 7] {
        let mut tx = batch(&log, P0, next);
        tx.properties = BTreeMap::from([("sluice.orders.orders".to_owned(), next.to_string())]);
        commit(&mut log, &fixture.store, &tx, now).await.expect("it lands");
    }
    let fresh = fixture.log().await;
    assert_eq!(log.txns(), fresh.txns());
    assert_eq!(log.metadata(), fresh.metadata());
    assert_eq!(log.property("sluice.orders.orders"), Some("7"));
    assert!(log.newest.as_ref().zip(fresh.newest.as_ref()).is_some_and(|(a, b)| a.matches(b)));
}

/// The next batch of 5 meets `faults`; whatever is answered, recovery must end with each row in the table once.
async fn exact_despite(faults: &[Fault]) -> Result<Committed, CommitError> {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    fixture.faults.fail_puts(faults.iter().cloned());
    let tx = batch(&log, P0, 5);
    let outcome = commit(&mut log, &fixture.store, &tx, now).await;
    if outcome.is_ok() {
        assert_eq!(table(&fixture).await, (5, Some(5)), "it said that it landed: {faults:?}");
        assert_eq!(log.version(), 1);
    }
    // As the engine does: recover from the table, read what is missing, commit it.
    let mut recovered = fixture.log().await;
    if recovered.txn(P0).is_none() {
        let again = batch(&recovered, P0, 5);
        commit(&mut recovered, &fixture.store, &again, now).await.expect("the store works again");
    }
    assert_eq!(table(&fixture).await, (5, Some(5)), "{faults:?}");
    outcome
}

#[tokio::test]
async fn any_answer_to_a_put_is_settled_by_the_attempt() {
    for fault in [
        Fault::None,
        Fault::Refused,
        Fault::TimeoutBefore,
        Fault::TimeoutAfter,
        Fault::Conflict,
        Fault::PreconditionAfter,
        Fault::ServerError,
        Fault::CutThenLands,
    ] {
        exact_despite(std::slice::from_ref(&fault))
            .await
            .unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        exact_despite(&[Fault::ServerError, Fault::Conflict, fault.clone()])
            .await
            .unwrap_or_else(|e| panic!("{fault:?} at last: {e}"));
        exact_despite(&[fault.clone(), Fault::CutThenLands, Fault::ServerError])
            .await
            .unwrap_or_else(|e| panic!("{fault:?} at first: {e}"));
    }
}

#[tokio::test]
async fn a_put_that_never_gets_an_answer_is_left_to_recovery() {
    for fault in [Fault::Refused, Fault::TimeoutBefore, Fault::Conflict, Fault::ServerError] {
        let error =
            exact_despite(&vec![fault; PUT_TRIES as usize]).await.expect_err("nothing was written");
        assert!(
            matches!(error, CommitError::Unsettled { version: 1, tries: PUT_TRIES, .. }),
            "{error}"
        );
        assert_eq!(error.disposition(), Disposition::Retry);
    }
}

#[tokio::test]
async fn a_landed_put_that_cannot_be_looked_up_is_left_to_recovery() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    fixture.faults.fail_puts([Fault::TimeoutAfter]);
    fixture.store.failpoint.stop_at(Step::Settle);
    let tx = batch(&log, P0, 5);
    commit(&mut log, &fixture.store, &tx, now).await.expect_err("stopped before it knows");
    fixture.faults.fail_reads(1);
    commit(&mut log, &fixture.store, &tx, now).await.expect_err("the store can't be read");
    assert_eq!(fixture.log().await.txn(P0).map(|txn| txn.version), Some(5), "the table tells");
}

#[tokio::test]
async fn a_put_that_lands_after_it_was_given_up_fences_the_next_attempt() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let mut faults = vec![Fault::ServerError; PUT_TRIES as usize - 1];
    faults.push(Fault::CutThenLands);
    fixture.faults.fail_puts(faults);
    let first = batch(&log, P0, 5);
    commit(&mut log, &fixture.store, &first, now).await.expect_err("given up");
    let mut recovered = fixture.log().await;
    let second = batch(&recovered, P0, 5);
    let error = commit(&mut recovered, &fixture.store, &second, now)
        .await
        .expect_err("the first one landed late");
    assert!(matches!(error, CommitError::Fenced { version: 1, .. }), "{error}");
    assert_eq!(table(&fixture).await, (5, Some(5)));
}

#[tokio::test]
async fn a_crash_at_any_step_leaves_all_or_nothing() {
    for (step, rows) in [(Step::Check, 0), (Step::Put, 0), (Step::Settle, 0), (Step::Landed, 5)] {
        let fixture = Fixture::new().await;
        let mut log = fixture.log().await;
        fixture
            .faults
            .fail_puts([Fault::ServerError].into_iter().take(usize::from(step == Step::Settle)));
        fixture.store.failpoint.stop_at(step);
        let tx = batch(&log, P0, 5);
        let error = commit(&mut log, &fixture.store, &tx, now).await.expect_err("stopped");
        assert!(matches!(error, CommitError::Failpoint(at) if at == step), "{error}");
        assert_eq!(table(&fixture).await, (rows, (rows > 0).then_some(5)), "{step:?}");
    }
}

/// What a commit answers that loses the race for version 1 to another writer's entry.
async fn loses_to(lines: &[Value]) -> (Fixture, Result<Committed, CommitError>) {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    fixture.faults.fail_puts([Fault::Meanwhile(vec![(1, lines.to_vec())])]);
    let tx = batch(&log, P0, 5);
    let outcome = commit(&mut log, &fixture.store, &tx, now).await;
    (fixture, outcome)
}

#[tokio::test]
async fn a_race_lost_to_an_append_goes_on_at_the_next_version_with_the_same_files() {
    let others = [commit_info("WRITE"), add("foreign.parquet", 2, true), txn("spark", 9)];
    let (fixture, outcome) = loses_to(&others).await;
    assert_eq!(outcome.expect("appends don't conflict").version, 2);
    assert_eq!(table(&fixture).await, (7, Some(5)));
}

#[tokio::test]
async fn a_race_lost_to_an_optimize_goes_on_at_the_next_version() {
    let others = [commit_info("OPTIMIZE"), remove("a.parquet", false), add("b.parquet", 0, false)];
    assert_eq!(loses_to(&others).await.1.expect("no data changed").version, 2);
}

#[tokio::test]
async fn a_race_lost_to_a_delete_goes_on_at_the_next_version() {
    let others = [commit_info("DELETE"), remove("a.parquet", true)];
    assert_eq!(loses_to(&others).await.1.expect("an append reads nothing").version, 2);
}

#[tokio::test]
async fn a_race_lost_to_our_own_txn_is_fenced() {
    let (fixture, outcome) =
        loses_to(&[commit_info("WRITE"), txn(P0, 3), add("theirs.parquet", 3, true)]).await;
    let error = outcome.expect_err("another instance has the range");
    assert!(matches!(error, CommitError::Fenced { version: 1, .. }), "{error}");
    assert_eq!(error.disposition(), Disposition::StandDown);
    assert_eq!(table(&fixture).await, (3, Some(3)), "nothing of ours");
}

#[tokio::test]
async fn a_race_lost_to_another_partition_of_ours_goes_on() {
    let (fixture, outcome) = loses_to(&[commit_info("WRITE"), txn(P1, 3)]).await;
    assert_eq!(outcome.expect("each replica fences its own partitions").version, 2);
    assert_eq!(fixture.log().await.txns().len(), 2);
}

#[tokio::test]
async fn a_race_lost_to_a_change_of_metadata_or_protocol_is_planned_again() {
    for change in [metadata("table-1", &[("delta.appendOnly", "true")]), protocol()] {
        let (fixture, outcome) = loses_to(&[commit_info("ADD COLUMNS"), change]).await;
        let error = outcome.expect_err("the batch was made for another schema");
        assert!(matches!(error, CommitError::Replan { version: 1, .. }), "{error}");
        assert_eq!(error.disposition(), Disposition::Retry);
        assert_eq!(table(&fixture).await, (0, None));
    }
}

#[tokio::test]
async fn a_race_lost_to_a_restore_stops_for_the_operator() {
    // Even when it brings our `txn`s along.
    let (fixture, outcome) =
        loses_to(&[commit_info("RESTORE"), remove("a.parquet", true), txn(P0, 1)]).await;
    let error = outcome.expect_err("who restored must say what is to be read again");
    assert!(matches!(error, CommitError::Restored { version: 1, .. }), "{error}");
    assert_eq!(error.disposition(), Disposition::Stop(Exit::DataRefused));
    assert!(error.to_string().contains("sluice rewind"), "{error}");
    assert_eq!(table(&fixture).await, (0, Some(1)));
}

#[tokio::test]
async fn races_lost_for_ever_are_given_back() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let won = |version| Fault::Meanwhile(vec![(version, vec![commit_info("WRITE")])]);
    fixture.faults.fail_puts((1..=u64::from(MAX_RACES)).map(won));
    let tx = batch(&log, P0, 5);
    let error = commit(&mut log, &fixture.store, &tx, now).await.expect_err("bounded");
    assert!(matches!(error, CommitError::Contended { races: MAX_RACES, .. }), "{error}");
    commit(&mut log, &fixture.store, &tx, now).await.expect("then it goes on from there");
}

#[tokio::test]
async fn txns_that_differ_from_what_the_batch_rests_on_fence_before_anything_is_put() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let stale = batch(&log, P0, 4);
    let tx = batch(&log, P0, 5);
    commit(&mut log, &fixture.store, &tx, now).await.expect("it lands");
    let mut touched = batch(&log, P0, 6);
    touched.expected.insert(P0.to_owned(), Some(Txn { version: 5, last_updated: Some(NOW - 1) }));
    let mut phantom = batch(&log, P0, 6);
    phantom.expected.insert(P1.to_owned(), Some(Txn { version: 5, last_updated: None }));
    let puts = fixture.faults.counts().puts;
    for tx in [stale, touched, phantom] {
        let error =
            commit(&mut log, &fixture.store, &tx, now).await.expect_err("not what was planned on");
        assert!(matches!(error, CommitError::Fenced { version: 1, .. }), "{error}");
    }
    assert_eq!(fixture.faults.counts().puts, puts);
}

#[tokio::test]
async fn files_older_than_a_day_are_written_again_not_committed() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let tx = batch(&log, P0, 5);
    let day = 24 * 60 * 60 * 1000;
    let error = commit(&mut log, &fixture.store, &tx, || NOW + day + 1)
        .await
        .expect_err("a vacuum may have them");
    assert!(matches!(error, CommitError::Stale { .. }), "{error}");
    assert_eq!(error.disposition(), Disposition::Retry);
    commit(&mut log, &fixture.store, &tx, || NOW + day).await.expect("a day is young enough");
}

#[tokio::test]
async fn a_range_without_rows_commits_without_adds() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let mut tx = batch(&log, P0, 5);
    tx.adds.clear();
    commit(&mut log, &fixture.store, &tx, now).await.expect("gaps and tombstones count too");
    assert_eq!(table(&fixture).await, (0, Some(5)));
}

#[tokio::test]
async fn the_first_commit_sets_the_marker_and_keeps_the_rest_of_the_metadata() {
    let fixture = Fixture::with_properties(&[("delta.appendOnly", "true")]).await;
    let mut log = fixture.log().await;
    let mut tx = batch(&log, P0, 0);
    tx.properties = BTreeMap::from([("sluice.orders.orders".to_owned(), "{}".to_owned())]);
    commit(&mut log, &fixture.store, &tx, now).await.expect("it lands");
    let expected =
        metadata("table-1", &[("delta.appendOnly", "true"), ("sluice.orders.orders", "{}")]);
    assert_eq!(fixture.lines(1).await[1], expected);
    let tx = batch(&log, P0, 5);
    commit(&mut log, &fixture.store, &tx, now).await.expect("it lands");
    assert!(fixture.lines(2).await.iter().all(|line| line.get("metaData").is_none()), "only once");
}

#[tokio::test]
async fn a_table_made_anew_under_a_running_process_is_refused() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    fixture.remove(&entry::path_of(0)).await;
    fixture.entry(0, &[protocol(), metadata("table-2", &[])]).await;
    let tx = batch(&log, P0, 5);
    let error = commit(&mut log, &fixture.store, &tx, now)
        .await
        .expect_err("not the table that was planned for");
    assert!(matches!(error, CommitError::Sink(SinkError::Recreated { .. })), "{error}");
    assert_eq!(error.disposition(), Disposition::Stop(Exit::DataRefused));
    assert_eq!(table(&fixture).await, (0, None));
}

#[tokio::test]
async fn a_table_made_anew_between_the_look_and_the_put_is_told_at_the_next_commit() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let faults = fixture.faults.clone();
    let anew =
        Fault::Suspended { remove: vec![entry::path_of(0)], then: testing::Step(Arc::new(|| {})) };
    faults.fail_puts([anew]);
    let tx = batch(&log, P0, 5);
    commit(&mut log, &fixture.store, &tx, now).await.expect("nothing tells yet");
    fixture.entry(0, &[protocol(), metadata("table-2", &[])]).await;
    let tx = batch(&log, P0, 8);
    let error = commit(&mut log, &fixture.store, &tx, now)
        .await
        .expect_err("it lies alone in another table");
    assert!(matches!(error, CommitError::Sink(SinkError::Recreated { .. })), "{error}");
}

#[tokio::test]
async fn a_table_deleted_under_a_running_process_is_refused() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    fixture.remove(&entry::path_of(0)).await;
    let tx = batch(&log, P0, 5);
    let error = commit(&mut log, &fixture.store, &tx, now).await.expect_err("no table");
    assert!(matches!(error, CommitError::Sink(SinkError::Gone { .. })), "{error}");
    assert_eq!(fixture.faults.counts().puts, 0, "an entry 1 without an entry 0 would be no table");
}

#[tokio::test]
async fn a_commit_overwritten_by_an_unconditional_writer_is_told() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let tx = batch(&log, P0, 5);
    commit(&mut log, &fixture.store, &tx, now).await.expect("it lands");
    fixture.remove(&entry::path_of(1)).await;
    fixture.entry(1, &[commit_info("OPTIMIZE")]).await;
    let tx = batch(&log, P0, 8);
    let error = commit(&mut log, &fixture.store, &tx, now).await.expect_err("our rows are gone");
    assert!(matches!(error, CommitError::Overwritten { version: 1, .. }), "{error}");
    assert_eq!(
        error.disposition(),
        Disposition::Retry,
        "the table's `txn`s say what to read again"
    );
    assert_eq!(table(&fixture).await, (0, None));
}

/// A clock that stands still until it is moved.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicI64>);

impl Clock {
    fn now(&self) -> i64 {
        NOW + self.0.load(Ordering::SeqCst)
    }

    fn pass_two_minutes(&self) -> testing::Step {
        let clock = self.clone();
        testing::Step(Arc::new(move || clock.0.store(120_000, Ordering::SeqCst)))
    }
}

#[tokio::test]
async fn a_late_answer_is_checked_against_the_log_and_believed_when_it_is_there() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let clock = Clock::default();
    fixture.faults.fail_puts([Fault::Then(clock.pass_two_minutes())]);
    let tx = batch(&log, P0, 5);
    let lists = fixture.faults.counts().lists;
    commit(&mut log, &fixture.store, &tx, || clock.now()).await.expect("it is in the log");
    assert!(fixture.faults.counts().lists > lists, "the log was replayed");
    assert_eq!(log.txn(P0).map(|txn| txn.version), Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_below_a_newer_checkpoint_is_a_ghost_and_did_not_happen() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let mut other = log.clone();
    let tx = batch(&log, P0, 5);
    for next in 1..=3 {
        let theirs = batch(&other, P0, next);
        commit(&mut other, &fixture.store, &theirs, now).await.expect("the other instance goes on");
    }
    maintenance::checkpoint(&fixture.store).await.expect("it checkpoints");
    let clock = Clock::default();
    // We looked at version 0, were suspended, and the log was cleaned up before our put of version 1.
    fixture.faults.fail_puts([Fault::Suspended {
        remove: (0..=2).map(entry::path_of).collect(),
        then: clock.pass_two_minutes(),
    }]);
    let error = commit(&mut log, &fixture.store, &tx, || clock.now())
        .await
        .expect_err("nobody will ever read it");
    assert!(matches!(error, CommitError::Ghost { version: 1, .. }), "{error}");
    assert_eq!(error.disposition(), Disposition::Retry);
    assert_eq!(fixture.log().await.txn(P0).map(|txn| txn.version), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_cleaned_past_us_is_replayed_before_the_commit() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let mut other = log.clone();
    for next in 1..=3 {
        let theirs = batch(&other, P1, next);
        commit(&mut other, &fixture.store, &theirs, now).await.expect("it lands");
    }
    maintenance::checkpoint(&fixture.store).await.expect("it checkpoints");
    for version in 0..=2 {
        fixture.remove(&entry::path_of(version)).await;
    }
    let tx = batch(&log, P0, 5);
    assert_eq!(commit(&mut log, &fixture.store, &tx, now).await.expect("it lands").version, 4);
    assert_eq!(log.txns().len(), 2);
}

#[tokio::test]
async fn a_commit_costs_two_looks_and_a_put_at_any_version() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let first = batch(&log, P0, 1);
    commit(&mut log, &fixture.store, &first, now).await.expect("it lands");
    for next in 2..=500 {
        let before = fixture.faults.counts();
        let tx = batch(&log, P0, next);
        commit(&mut log, &fixture.store, &tx, now).await.expect("it lands");
        let after = fixture.faults.counts();
        assert_eq!(
            (after.puts - before.puts, after.gets - before.gets),
            (1, 2),
            "two looks at once and a put"
        );
        assert_eq!(after.lists, before.lists, "no listing");
    }
}

#[tokio::test]
async fn five_hundred_commits_to_a_local_directory_cost_the_same_at_the_end_as_at_the_beginning() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let url = url::Url::from_directory_path(directory.path()).expect("an absolute path");
    let location = TableLocation { url, as_written: "orders".to_owned() };
    let store = TableStore::open(&location, &Storage::default()).expect("a directory");
    testing::put_entry(&**store.objects(), 0, &[protocol(), metadata("table-1", &[])]).await;
    let mut log = TableLog::open(&store).await.expect("readable").expect("a table");
    let mut times = Vec::new();
    for next in 1..=500 {
        let tx = batch(&log, P0, next);
        let begun = Instant::now();
        commit(&mut log, &store, &tx, now).await.expect("it lands");
        times.push(begun.elapsed());
    }
    let median = |times: &[Duration]| {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    };
    let (first, last) = (median(&times[..100]), median(&times[400..]));
    // The bound is loose for a busy machine's sake: a cost that grew with versions would be at 5.
    assert!(last < first * 3, "first {first:?}, last {last:?}");
    let hidden =
        std::fs::read_dir(directory.path().join("_delta_log")).expect("a log").filter(|file| {
            file.as_ref().is_ok_and(|file| file.file_name().to_string_lossy().starts_with('.'))
        });
    assert_eq!(hidden.count(), 0, "no staged file stays");
}

/// One of two instances: goes on from where it believes the table is, as often as it is fenced.
async fn instance(store: TableStore, goal: i64) -> u64 {
    let mut log = TableLog::open(&store).await.expect("readable").expect("a table");
    let mut won = 0;
    loop {
        let at = log.txn(P0).map_or(0, |txn| txn.version);
        if at >= goal {
            return won;
        }
        let tx = batch(&log, P0, at + 1);
        match commit(&mut log, &store, &tx, now).await {
            Ok(_) => won += 1,
            Err(CommitError::Fenced { .. }) => {
                log.refresh(&store).await.expect("readable");
            }
            Err(error) => {
                assert_eq!(error.disposition(), Disposition::Retry, "{error}");
                log = TableLog::open(&store).await.expect("readable").expect("a table");
            }
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_racing_a_thousand_times_write_each_range_once() {
    let fixture = Fixture::without_table(Arc::new(InMemory::new()));
    fixture.entry(0, &[protocol(), metadata("table-1", &[])]).await;
    let mut random = fastrand::Rng::with_seed(4);
    let mut fault = || match random.u8(..12) {
        0 => Fault::TimeoutAfter,
        1 => Fault::PreconditionAfter,
        2 => Fault::ServerError,
        3 => Fault::CutThenLands,
        _ => Fault::None,
    };
    fixture.faults.fail_puts((0..2500).map(|_| fault()));
    let goal = 1000;
    let racers = [(); 2].map(|()| tokio::spawn(instance(fixture.store.clone(), goal)));
    let mut won = 0;
    for racer in racers {
        won += racer.await.expect("no panic");
    }
    let goal = goal.unsigned_abs();
    assert!(won <= goal, "{won} commits were claimed");
    let log = fixture.log().await;
    assert_eq!(log.version(), goal, "one version a range");
    let mut attempts = BTreeSet::new();
    for version in 1..=goal {
        let lines = fixture.lines(version).await;
        let at = lines.iter().find_map(|line| line["txn"]["version"].as_u64());
        assert_eq!(at, Some(version), "txns only grow, one by one");
        assert!(
            attempts.insert(lines[0]["commitInfo"]["txnId"].to_string()),
            "no attempt landed twice"
        );
    }
    assert_eq!(table(&fixture).await, (goal, Some(1000)));
}

#[cfg(debug_assertions)]
#[tokio::test]
#[should_panic(expected = "a transaction moves something")]
async fn a_transaction_that_moves_nothing_is_a_bug() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let mut tx = batch(&log, P0, 0);
    tx.set.clear();
    let _ = commit(&mut log, &fixture.store, &tx, now).await;
}

#[tokio::test]
async fn the_order_of_adds_is_kept() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let mut tx = batch(&log, P0, 3);
    tx.adds = vec![data_file("b.parquet", 1), data_file("a.parquet", 2)];
    commit(&mut log, &fixture.store, &tx, now).await.expect("it lands");
    let lines = fixture.lines(1).await;
    let paths: Vec<_> = lines.iter().filter_map(|line| line["add"]["path"].as_str()).collect();
    assert_eq!(paths, ["b.parquet", "a.parquet"]);
}
