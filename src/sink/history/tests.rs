use futures::TryStreamExt;
use serde_json::json;

use super::*;
use crate::sink::commit::commit;
use crate::sink::rewind::rewind;
use crate::sink::testing::{Fixture, NOW, add, batch, commit_info, remove};
use crate::sink::verify::verify;

fn owner() -> Owner {
    Owner::output("shop", "orders")
}

fn partition(number: i32) -> SourcePartition {
    SourcePartition { id: TopicPartition::new("orders", number), topic_id: TopicId::new("AbC") }
}

/// Commits the next offsets of one partition, with rows for all of them.
async fn advance(
    fixture: &Fixture,
    log: &mut TableLog,
    before: &PartitionInfo,
    end: i64,
) -> PartitionInfo {
    let fates = Fates { rows: (end - before.end).unsigned_abs(), ..Fates::default() };
    let now = before.next(end, fates);
    let mut tx = batch(log, &owner().app_id(&before.source_partition()), end);
    tx.info = serde_json::to_value(SluiceInfo::new(&owner(), "f00", vec![now.clone()]))
        .expect("plain data");
    commit(log, &fixture.store, &tx, || NOW).await.expect("it lands");
    now
}

async fn kept(fixture: &Fixture) -> Vec<PastCommit> {
    let versions = kept_versions(&fixture.store).await.expect("listed").expect("a log");
    commits(&fixture.store, versions).try_collect().await.expect("read")
}

#[tokio::test]
async fn a_log_written_by_commits_proves_itself_rewinds_and_foreign_commits_included() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let start = PartitionInfo::at(&partition(0), 0, None);
    let first = advance(&fixture, &mut log, &start, 0).await;
    let second = advance(&fixture, &mut log, &first, 6).await;
    fixture
        .entry(3, &[commit_info("DELETE"), remove("a.parquet", true), add("b.parquet", 1, true)])
        .await;
    advance(&fixture, &mut log, &second, 9).await;
    let targets = BTreeMap::from([(partition(0), 2)]);
    let tx = rewind(&log, "orders", &owner(), "f00", &targets, false, "a wrong schema")
        .expect("no marker in the way");
    commit(&mut log, &fixture.store, &tx, || NOW).await.expect("Delta allows lower txns");
    let PastCommit { operation, info, .. } =
        PastCommit::of(5, &read_entry(&fixture.store, 5).await.expect("read").expect("there").0);
    assert_eq!(operation.as_deref(), Some("SLUICE REWIND"));
    let rewound = info.expect("ours").partitions.remove(0);
    assert_eq!(
        rewound.reset,
        Some(Reset { from: Some(9), to: 2, reason: "a wrong schema".to_owned() })
    );
    assert_eq!(log.property("sluice.shop.orders"), Some(r#"{"orders@AbC":"0"}"#));
    advance(&fixture, &mut log, &rewound, 4).await;

    let history = kept(&fixture).await;
    assert_eq!(
        history.iter().map(|commit| commit.version).collect::<Vec<_>>(),
        (0..=6).collect::<Vec<_>>()
    );
    let report = verify(&owner(), &history, log.txns());
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(
        (report.commits, report.fates.rows, report.reread, report.removals.len()),
        (5, 11, 7, 1)
    );
}

#[tokio::test]
async fn what_a_commit_says_of_itself_is_read_back() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let said = advance(&fixture, &mut log, &PartitionInfo::at(&partition(0), 3, None), 5).await;
    let commit = kept(&fixture).await.remove(1);
    let info = commit.info.expect("ours");
    assert_eq!(info.partitions, [said]);
    assert_ne!(info.attempt, Uuid::nil());
    assert_eq!(
        (info.config.as_str(), commit.timestamp, commit.unreadable),
        ("f00", Some(NOW), None)
    );
    assert_eq!(last_commit_ms(&log, &owner()), Some(NOW));
    assert_eq!(last_commit_ms(&log, &Owner::output("shop", "order")), None);
}

#[tokio::test]
async fn running_counts_are_recalled_behind_other_writers_commits() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let (a, b) =
        (PartitionInfo::at(&partition(0), 0, None), PartitionInfo::at(&partition(1), 0, None));
    let a = advance(&fixture, &mut log, &a, 5).await;
    let b = advance(&fixture, &mut log, &b, 7).await;
    fixture.entry(3, &[commit_info("OPTIMIZE")]).await;
    log.refresh(&fixture.store).await.expect("read");
    let partitions = [partition(0), partition(1), partition(2)];
    let found = recall(&fixture.store, &log, &owner(), &partitions).await.expect("read");
    assert_eq!(found, BTreeMap::from([(partition(0), a), (partition(1), b)]));
    // A readable copy that doesn't say what the `txn` says is not believed.
    let other = batch(&log, &owner().app_id(&partition(1)), 9);
    commit(&mut log, &fixture.store, &other, || NOW).await.expect("it lands");
    let found = recall(&fixture.store, &log, &owner(), &partitions).await.expect("read");
    assert!(!found.contains_key(&partition(1)));
}

#[test]
fn the_kept_log_is_the_newest_run_of_versions() {
    assert_eq!(newest_run(vec![]), None);
    assert_eq!(newest_run(vec![2, 0, 1]), Some(0..=2));
    assert_eq!(
        newest_run(vec![7, 9, 8, 3]),
        Some(7..=9),
        "a ghost below a clean-up is no part of it"
    );
}

#[test]
fn an_info_of_another_shape_is_told_not_believed() {
    let entry = Entry {
        commit_info: json!({"operation": "WRITE", "sluice": {"partitions": 3}})
            .as_object()
            .expect("a map")
            .clone(),
        ..Entry::default()
    };
    let commit = PastCommit::of(4, &entry);
    assert!(commit.info.is_none() && commit.unreadable.is_some());
}

#[tokio::test]
async fn a_restore_stands_until_the_operator_answers_it() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    fixture.entry(1, &[commit_info("RESTORE")]).await;
    log.refresh(&fixture.store).await.expect("read");
    let unanswered = async |log: &TableLog| {
        unanswered_restore(&fixture.store, log, &owner()).await.expect("read")
    };
    assert_eq!(unanswered(&log).await, None, "from before our time");
    let first = advance(&fixture, &mut log, &PartitionInfo::at(&partition(0), 0, None), 5).await;
    assert_eq!(unanswered(&log).await, None);
    fixture.entry(3, &[commit_info("RESTORE"), remove("a.parquet", true)]).await;
    fixture.entry(4, &[commit_info("OPTIMIZE")]).await;
    let mut log = fixture.log().await;
    assert_eq!(unanswered(&log).await, Some(3), "also when the process was started anew");
    let accepted = BTreeMap::from([(partition(0), first.end)]);
    let tx = rewind(&log, "orders", &owner(), "f00", &accepted, false, "--accept")
        .expect("no marker in the way");
    commit(&mut log, &fixture.store, &tx, || NOW).await.expect("it lands");
    assert_eq!(unanswered(&log).await, None);
}
