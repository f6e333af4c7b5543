//! The same protocol on a real S3 endpoint. Ignored unless asked for: `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY`, `AWS_ALLOW_HTTP` say where it is, `SLUICE_TEST_BUCKET` names a bucket that is there.

use std::collections::BTreeSet;

use super::*;
use crate::sink::commit::commit;
use crate::sink::error::CommitError;
use crate::sink::log::TableLog;
use crate::sink::maintenance::{self, Cleaning};
use crate::sink::testing::{NOW, batch, metadata, protocol, put_entry};

const P0: &str = "sluice/shop/orders/orders@AbC/0";

fn store() -> TableStore {
    let bucket = std::env::var("SLUICE_TEST_BUCKET").expect("SLUICE_TEST_BUCKET names a bucket");
    let url = format!("s3://{bucket}/a%20table/{}/", Uuid::new_v4());
    let location = TableLocation { url: Url::parse(&url).expect("a URL"), as_written: url };
    TableStore::open(&location, &Storage::default()).expect("the environment says how")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 endpoint"]
async fn two_instances_on_s3_write_each_range_once() {
    let store = store();
    store.prove_conditional_puts().await.expect("it honours If-None-Match");
    assert!(TableLog::open(&store).await.expect("readable").is_none());
    put_entry(&**store.objects(), 0, &[protocol(), metadata("table-1", &[])]).await;
    let goal = 200;
    let racers = [(); 2].map(|()| tokio::spawn(instance(store.clone(), goal)));
    let mut won = 0;
    for racer in racers {
        won += racer.await.expect("no panic");
    }
    let log = TableLog::open(&store).await.expect("readable").expect("a table");
    assert_eq!((won, log.version()), (200, 200));
    assert_eq!(log.txn(P0).map(|txn| txn.version), Some(goal));
    maintenance::checkpoint(&store).await.expect("checkpointed");
    let all = Cleaning { older_than_ms: i64::MAX };
    assert_eq!(maintenance::clean_up(&store, all).await.expect("cleaned"), 200);
    let log = TableLog::open(&store).await.expect("readable").expect("a table");
    assert_eq!(log.txn(P0).map(|txn| txn.version), Some(goal), "after a clean-up too");
}

async fn instance(store: TableStore, goal: i64) -> u64 {
    let mut log = TableLog::open(&store).await.expect("readable").expect("a table");
    let mut attempts = BTreeSet::new();
    while let Some(at) = Some(log.txn(P0).map_or(0, |txn| txn.version)).filter(|at| *at < goal) {
        let tx = batch(&log, P0, at + 1);
        match commit(&mut log, &store, &tx, || NOW).await {
            Ok(committed) => assert!(attempts.insert(committed.version), "a version is won once"),
            Err(CommitError::Fenced { .. }) => {
                log.refresh(&store).await.expect("readable");
            }
            Err(error) => panic!("{error}"),
        }
    }
    attempts.len() as u64
}
