use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::*;
use crate::disposition::Disposition;
use crate::sink::testing::{
    Fault, Fixture, NOW, add, batch, commit_info, data_file, metadata, protocol, remove, txn,
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
    let committed = commit(&mut log, &fixture.store, &tx, now)
        .await
        .expect("it lands");
    assert_eq!((committed.version, log.version()), (1, 1));
    let lines = fixture.lines(1).await;
    let kinds: Vec<_> = lines
        .iter()
        .map(|line| line.as_object().expect("an action").keys().next().cloned())
        .collect();
    assert_eq!(
        kinds,
        ["commitInfo", "txn", "add"].map(|kind| Some(kind.to_owned()))
    );
    let info = &lines[0]["commitInfo"];
    assert_eq!(info["isBlindAppend"], true);
    assert_eq!(
        info["operationMetrics"]["numOutputRows"], "5",
        "metrics are text, as Spark writes them"
    );
    assert_eq!(info["sluice"]["attempt"], tx.attempt.to_string());
    assert_eq!(info["txnId"], tx.attempt.to_string());
    assert_eq!(
        info["engineInfo"],
        format!("sluice/{}", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(lines[1], txn(P0, 5));
    assert_eq!(
        lines[2],
        add(&tx.adds[0].path, 5, true).tap("size", json!(50))
    );
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
        commit(&mut log, &fixture.store, &tx, now)
            .await
            .expect("it lands");
    }
    let fresh = fixture.log().await;
    assert_eq!(log.txns(), fresh.txns());
    assert_eq!(log.metadata(), fresh.metadata());
    assert_eq!(log.property("sluice.orders.orders"), Some("7"));
    assert!(
        log.newest
            .as_ref()
            .zip(fresh.newest.as_ref())
            .is_some_and(|(a, b)| a.matches(b))
    );
}
