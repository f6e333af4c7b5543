use futures::TryStreamExt;
use object_store::ObjectStoreExt;

use super::*;
use crate::sink::commit::commit;
use crate::sink::testing::{Fixture, NOW, batch, commit_info};

const P0: &str = "sluice/shop/orders/orders@AbC/0";

/// A cleaning for which every entry is old enough.
const ALL: Cleaning = Cleaning { older_than_ms: i64::MAX };

async fn with_commits(properties: &[(&str, &str)], commits: i64) -> (Fixture, TableLog) {
    let fixture = Fixture::with_properties(properties).await;
    let mut log = fixture.log().await;
    for next in 1..=commits {
        let tx = batch(&log, P0, next);
        commit(&mut log, &fixture.store, &tx, || NOW).await.expect("it lands");
    }
    (fixture, log)
}

async fn log_files(fixture: &Fixture) -> Vec<String> {
    let listing = fixture.store.objects().list(Some(&Path::from(LOG_DIR)));
    let names = listing.map_ok(|meta| meta.location.filename().unwrap_or_default().to_owned());
    let mut names: Vec<_> = names.try_collect().await.expect("listed");
    names.sort();
    names
}

fn entries(files: &[String]) -> Vec<u64> {
    files.iter().filter_map(|name| entry::version_of(name)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_written_every_so_many_versions_beside_the_commits() {
    let (fixture, mut log) = with_commits(&[("delta.checkpointInterval", "10")], 0).await;
    let mut upkeep = Maintenance::new(&log);
    for next in 1..=25 {
        let tx = batch(&log, P0, next);
        commit(&mut log, &fixture.store, &tx, || NOW).await.expect("it lands");
        upkeep.after_commit(&log, &fixture.store, NOW);
        if next % 10 == 0 {
            std::mem::take(&mut upkeep.job).expect("one is running").await.expect("no panic");
        }
    }
    assert!(upkeep.job.is_none());
    upkeep.finish().await;
    let files = log_files(&fixture).await;
    let checkpoints: Vec<_> =
        files.iter().filter(|name| name.contains("checkpoint.parquet")).collect();
    assert_eq!(
        checkpoints,
        ["00000000000000000010.checkpoint.parquet", "00000000000000000020.checkpoint.parquet"]
    );
    assert_eq!(entries(&files).len(), 26, "young entries stay");
    let fresh = fixture.log().await;
    assert_eq!((fresh.checkpoint, fresh.txn(P0).map(|txn| txn.version)), (Some(20), Some(25)));
    assert_eq!(Maintenance::new(&fresh).last_try, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_clean_up_the_log_resumes_at_the_right_offset() {
    let (fixture, _) = with_commits(&[], 12).await;
    checkpoint(&fixture.store).await.expect("checkpointed");
    let deleted = clean_up(&fixture.store, ALL).await.expect("cleaned");
    assert_eq!(deleted, 12);
    assert_eq!(entries(&log_files(&fixture).await), [12], "strictly below the checkpoint");
    let mut fresh = fixture.log().await;
    assert_eq!((fresh.version(), fresh.txn(P0).map(|txn| txn.version)), (12, Some(12)));
    let tx = batch(&fresh, P0, 13);
    assert_eq!(
        commit(&mut fresh, &fixture.store, &tx, || NOW).await.expect("it lands").version,
        13
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_cleaned_that_is_young_or_has_no_checkpoint_above() {
    let (fixture, _) = with_commits(&[], 3).await;
    assert_eq!(clean_up(&fixture.store, ALL).await.expect("no checkpoint"), 0);
    checkpoint(&fixture.store).await.expect("checkpointed");
    assert_eq!(
        clean_up(&fixture.store, Cleaning { older_than_ms: 0 }).await.expect("all young"),
        0
    );
    assert_eq!(entries(&log_files(&fixture).await), [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_or_broken_checkpoint_protects_nothing() {
    for (name, bytes) in [
        ("00000000000000000003.checkpoint.0000000001.0000000002.parquet", "half of it"),
        ("00000000000000000003.checkpoint.parquet", "not Parquet"),
    ] {
        let (fixture, _) = with_commits(&[], 3).await;
        let path = Path::from(format!("{LOG_DIR}/{name}"));
        fixture.store.objects().put(&path, bytes.into()).await.expect("put");
        let outcome = clean_up(&fixture.store, ALL).await;
        assert!(!matches!(outcome, Ok(1..)), "{name}: {outcome:?}");
        assert_eq!(entries(&log_files(&fixture).await), [0, 1, 2, 3], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn below_an_incomplete_checkpoint_the_last_complete_one_counts() {
    let (fixture, mut log) = with_commits(&[], 3).await;
    checkpoint(&fixture.store).await.expect("checkpointed");
    for next in 4..=6 {
        let tx = batch(&log, P0, next);
        commit(&mut log, &fixture.store, &tx, || NOW).await.expect("it lands");
    }
    let half = Path::from(format!("{LOG_DIR}/{:020}.checkpoint.0000000001.0000000002.parquet", 5));
    fixture.store.objects().put(&half, "half of it".into()).await.expect("put");
    assert_eq!(clean_up(&fixture.store, ALL).await.expect("cleaned"), 3);
    assert_eq!(entries(&log_files(&fixture).await), [3, 4, 5, 6]);
    assert_eq!(fixture.log().await.txn(P0).map(|txn| txn.version), Some(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_up_never_touches_data_or_what_it_does_not_know() {
    let (fixture, _) = with_commits(&[], 3).await;
    let kept = [
        "part-1.parquet",
        "_delta_log/_sidecars/a.parquet",
        "_delta_log/notes.txt",
        "_delta_log/7.json",
    ];
    for name in kept {
        fixture.store.objects().put(&Path::from(name), "x".into()).await.expect("put");
    }
    for name in
        ["00000000000000000001.crc", "00000000000000000000.00000000000000000002.compacted.json"]
    {
        fixture
            .store
            .objects()
            .put(&Path::from(format!("{LOG_DIR}/{name}")), "x".into())
            .await
            .expect("put");
    }
    let (_, crossing) = ("", "00000000000000000002.00000000000000000004.compacted.json");
    checkpoint(&fixture.store).await.expect("checkpointed");
    fixture
        .store
        .objects()
        .put(&Path::from(format!("{LOG_DIR}/{crossing}")), "x".into())
        .await
        .expect("put");
    assert_eq!(
        clean_up(&fixture.store, ALL).await.expect("cleaned"),
        5,
        "three entries, a checksum, a compaction"
    );
    for name in
        kept.into_iter().map(Path::from).chain([Path::from(format!("{LOG_DIR}/{crossing}"))])
    {
        assert!(fixture.store.identity(&name).await.expect("readable").is_some(), "{name}");
    }
}

#[tokio::test]
async fn clean_up_follows_the_tables_properties() {
    let day = 24 * 60 * 60 * 1000;
    for (properties, expected) in [
        (vec![], Some(NOW - 30 * day)),
        (vec![("delta.logRetentionDuration", "interval 2 days")], Some(NOW - 2 * day)),
        (vec![("delta.enableExpiredLogCleanup", "false")], None),
        (vec![("delta.enableExpiredLogCleanup", "true")], Some(NOW - 30 * day)),
        // What can't be understood is left alone.
        (vec![("delta.logRetentionDuration", "a fortnight")], None),
    ] {
        let fixture = Fixture::with_properties(&properties).await;
        let cleaning = Cleaning::of(&fixture.log().await, NOW);
        assert_eq!(cleaning.map(|cleaning| cleaning.older_than_ms), expected, "{properties:?}");
    }
}

#[tokio::test]
async fn a_checkpoint_interval_that_makes_no_sense_is_not_followed() {
    for (value, expected) in
        [("10", 10), ("0", CHECKPOINT_INTERVAL), ("often", CHECKPOINT_INTERVAL)]
    {
        let fixture = Fixture::with_properties(&[("delta.checkpointInterval", value)]).await;
        assert_eq!(checkpoint_interval(&fixture.log().await), expected, "{value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_upkeep_costs_nothing() {
    let (fixture, log) = with_commits(&[("delta.checkpointInterval", "1")], 2).await;
    fixture.faults.fail_reads(1000);
    let mut upkeep = Maintenance::new(&log);
    upkeep.after_commit(&log, &fixture.store, NOW);
    upkeep.finish().await;
    fixture.faults.fail_reads(0);
    fixture.entry(3, &[commit_info("WRITE")]).await;
    assert_eq!(fixture.log().await.version(), 3);
}
