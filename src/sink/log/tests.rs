use std::sync::Arc;

use object_store::memory::InMemory;
use serde_json::{Value, json};

use super::*;
use crate::disposition::{Disposition, Exit};
use crate::sink::maintenance;
use crate::sink::testing::{Fixture, NOW, add, commit_info, metadata, protocol, remove, txn};

#[tokio::test]
async fn no_log_is_no_table() {
    let fixture = Fixture::without_table(Arc::new(InMemory::new()));
    assert!(TableLog::open(&fixture.store).await.expect("readable").is_none());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let url =
        url::Url::from_directory_path(directory.path().join("orders")).expect("an absolute path");
    let location = crate::config::TableLocation { url, as_written: "orders".to_owned() };
    let store =
        TableStore::open(&location, &crate::config::Storage::default()).expect("a directory");
    assert!(TableLog::open(&store).await.expect("readable").is_none());
    assert!(!directory.path().join("orders").exists(), "looking creates nothing");
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_no_missing_table() {
    let fixture = Fixture::without_table(Arc::new(InMemory::new()));
    fixture.entry(0, &[commit_info("WRITE")]).await;
    let error = TableLog::open(&fixture.store).await.expect_err("neither protocol nor metadata");
    assert!(matches!(error, SinkError::Replay { .. }), "{error}");
    assert_eq!(error.disposition(), Disposition::Stop(Exit::DataRefused), "no retry mends it");
}

#[tokio::test]
async fn a_store_that_fails_while_a_table_is_opened_is_tried_again_later() {
    let fixture = Fixture::new().await;
    fixture.faults.fail_reads(100);
    let error = TableLog::open(&fixture.store).await.expect_err("503");
    assert_eq!(error.disposition(), Disposition::Retry, "{error}");
}

/// What is held after folding must be what a replay finds, in whatever order things happened.
#[tokio::test(flavor = "multi_thread")]
async fn folding_entry_by_entry_finds_what_a_replay_finds() {
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..10 {
        let fixture = Fixture::new().await;
        let mut folded = fixture.log().await;
        for version in 1..=20 {
            fixture.entry(version, &any_entry(&mut random, version)).await;
            if random.u8(..6) == 0 {
                maintenance::checkpoint(&fixture.store).await.expect("checkpointed");
            }
            if random.bool() {
                folded.refresh(&fixture.store).await.expect("readable");
            }
        }
        folded.refresh(&fixture.store).await.expect("readable");
        let fresh = fixture.log().await;
        assert_eq!(folded.version(), 20);
        assert_eq!(fresh.version(), 20);
        assert_eq!(folded.txns(), fresh.txns(), "round {round}");
        assert_eq!(folded.metadata(), fresh.metadata(), "round {round}");
        assert_eq!(folded.protocol(), fresh.protocol(), "round {round}");
    }
}

fn any_entry(random: &mut fastrand::Rng, version: u64) -> Vec<Value> {
    let mut lines = vec![commit_info("WRITE")];
    for _ in 0..random.u8(..4) {
        lines.push(match random.u8(..6) {
            0 => metadata("table-1", &[("sluice.shop.orders", &version.to_string())]),
            1 => json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7,
                "readerFeatures": ["timestampNtz"], "writerFeatures": ["timestampNtz", "appendOnly"]}}),
            2 => add(&format!("{version}.parquet"), 1, true),
            3 => txn("spark", 7),
            // Duplicates of one application in one entry are possible, if not allowed.
            _ => txn(&format!("sluice/shop/orders/orders@AbC/{}", random.u8(..3)), random.i64(0..100)),
        });
    }
    let kinds = |line: &Value| line.get("metaData").is_some() || line.get("protocol").is_some();
    lines.dedup_by(|a, b| kinds(a) && kinds(b));
    lines
}

#[tokio::test]
async fn refresh_tells_what_each_new_version_touched() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    fixture
        .entry(
            1,
            &[commit_info("WRITE"), txn("sluice/shop/orders/orders@AbC/0", 5), add("a", 3, true)],
        )
        .await;
    fixture.entry(2, &[commit_info("ADD COLUMNS"), metadata("table-1", &[("a", "b")])]).await;
    fixture.entry(3, &[commit_info("RESTORE"), remove("a", true), remove("b", false)]).await;
    let refreshed = log.refresh(&fixture.store).await.expect("readable");
    assert!(!refreshed.reloaded);
    let [(1, write), (2, columns), (3, restore)] = &refreshed.entries[..] else {
        panic!("{refreshed:?}")
    };
    assert_eq!(
        (write.operation(), write.txns.len(), write.files.added_rows),
        (Some("WRITE"), 1, Some(3))
    );
    assert!(columns.metadata.is_some() && columns.protocol.is_none() && !columns.is_restore());
    assert!(restore.is_restore());
    assert_eq!((restore.files.removed, restore.files.data_removed), (2, 1));
    assert_eq!((log.version(), log.property("a")), (3, Some("b")));
    assert_eq!(
        log.refresh(&fixture.store).await.expect("readable"),
        Refreshed::default(),
        "nothing new"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_cleaned_past_us_is_replayed() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    fixture.entry(1, &[txn("sluice/shop/orders/orders@AbC/0", 5)]).await;
    fixture.entry(2, &[txn("sluice/shop/orders/orders@AbC/0", 8)]).await;
    maintenance::checkpoint(&fixture.store).await.expect("checkpointed");
    for version in 0..=1 {
        fixture.remove(&entry::path_of(version)).await;
    }
    let refreshed = log.refresh(&fixture.store).await.expect("readable");
    assert!(refreshed.reloaded);
    assert_eq!((log.version(), log.checkpoint), (2, Some(2)));
    assert_eq!(
        log.txn("sluice/shop/orders/orders@AbC/0").map(|txn| txn.version),
        Some(8),
        "txns survive checkpoints"
    );
}

#[tokio::test]
async fn a_table_made_anew_is_told_even_when_its_log_has_grown_as_long() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    fixture.remove(&entry::path_of(0)).await;
    fixture.entry(0, &[protocol(), metadata("table-2", &[])]).await;
    fixture.entry(1, &[commit_info("WRITE")]).await;
    let error = log.refresh(&fixture.store).await.expect_err("another table");
    assert!(
        matches!(&error, SinkError::Recreated { was, now, .. } if was == "table-1" && now == "table-2"),
        "{error}"
    );
    // A writer that replaces a table through its log says so by a new id too.
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    fixture.entry(1, &[commit_info("CREATE OR REPLACE TABLE"), metadata("table-2", &[])]).await;
    let error = log.refresh(&fixture.store).await.expect_err("another table");
    assert!(matches!(error, SinkError::Recreated { .. }), "{error}");
}

#[tokio::test]
async fn an_expired_txn_that_is_still_in_the_log_is_seen() {
    let fixture =
        Fixture::with_properties(&[("delta.setTransactionRetentionDuration", "interval 1 hours")])
            .await;
    let id = "sluice/shop/orders/orders@AbC/0";
    let expired =
        json!({"txn": {"appId": id, "version": 5, "lastUpdated": NOW - 1_000_000_000_000_i64}});
    fixture.entry(1, &[expired]).await;
    assert_eq!(
        fixture.log().await.txn(id).map(|txn| txn.version),
        Some(5),
        "better than to read it all again"
    );
}

#[tokio::test]
async fn a_malformed_entry_is_refused_with_its_line() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    fixture.entry(1, &[commit_info("WRITE"), json!({"txn": {"appId": 3}})]).await;
    let error = log.refresh(&fixture.store).await.expect_err("no Delta action");
    assert!(
        error.to_string().contains("version 1") && error.to_string().contains("line 2"),
        "{error}"
    );
    assert_eq!(log.version(), 0);
}

#[tokio::test]
async fn properties_without_a_value_are_as_good_as_unset() {
    let fixture = Fixture::new().await;
    let mut log = fixture.log().await;
    let mut null = metadata("table-1", &[]);
    null["metaData"]["configuration"] = json!({"a": null, "b": "c"});
    fixture.entry(1, &[null]).await;
    log.refresh(&fixture.store).await.expect("readable");
    assert_eq!((log.property("a"), log.property("b")), (None, Some("c")));
}
