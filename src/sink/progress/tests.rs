use proptest::prelude::*;

use super::*;
use crate::disposition::{Disposition, Exit};
use crate::sink::testing::{Fixture, NOW, txn};

const TABLE: &str = "memory:///orders";

fn owner() -> Owner {
    Owner::output("shop", "orders")
}

fn topics(topics: &[(&str, &str, i32)]) -> BTreeMap<String, Topic> {
    let topic = |(name, id, partitions): &(&str, &str, i32)| {
        ((*name).to_owned(), Topic { id: TopicId::new(id), partitions: *partitions })
    };
    topics.iter().map(topic).collect()
}

fn partition(topic: &str, id: &str, number: i32) -> SourcePartition {
    SourcePartition { id: TopicPartition::new(topic, number), topic_id: TopicId::new(id) }
}

/// A table with these `txn`s (`appId`, version), and the marker when there is one.
async fn log(txns: &[(&str, i64)], marker: Option<&str>) -> TableLog {
    let properties: Vec<_> = marker.map(|text| ("sluice.shop.orders", text)).into_iter().collect();
    let fixture = Fixture::with_properties(&properties).await;
    let lines: Vec<_> = txns.iter().map(|(id, version)| txn(id, *version)).collect();
    fixture.entry(1, &lines).await;
    fixture.log().await
}

async fn standing(
    txns: &[(&str, i64)],
    marker: Option<&str>,
    now: &[(&str, &str, i32)],
) -> Result<Standing, SinkError> {
    Standing::of(&log(txns, marker).await, TABLE, &owner(), &topics(now))
}

fn at(version: i64) -> Txn {
    Txn { version, last_updated: Some(NOW) }
}

fn check_id(owner: &Owner, partition: &SourcePartition, text: &str) {
    assert_eq!(owner.app_id(partition), text);
    let id = AppId::parse(text).expect("our own id");
    assert!(owner.owns(&id));
    assert_eq!(id.source_partition(), *partition);
}

#[test]
fn app_ids_name_connector_stream_topic_id_and_partition() {
    let partition = partition("orders.v1", "AbC+/d=e", 12);
    check_id(&owner(), &partition, "sluice/shop/orders/orders.v1@AbC+/d=e/12");
    check_id(
        &Owner::late_rows("shop", "orders"),
        &partition,
        "sluice/shop/orders.late/orders.v1@AbC+/d=e/12",
    );
    check_id(&Owner::dead_letters("shop"), &partition, "sluice/shop/.dead/orders.v1@AbC+/d=e/12");
    assert_eq!(owner().marker(), "sluice.shop.orders");
}

#[test]
fn other_applications_ids_are_no_progress() {
    for text in [
        "spark-query-1",
        "sluice/shop/orders/state/0",
        "sluice/shop/orders/orders/0",
        "sluice/shop/orders/orders@/0",
        "sluice/shop/orders/orders@AbC/x",
        "sluice/shop/orders/orders@AbC/-1",
        "sluice/shop/orders/@AbC/0",
        "sluice//orders/orders@AbC/0",
        "sluice/shop",
    ] {
        assert_eq!(AppId::parse(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn app_ids_are_read_as_they_are_written(
        topic in "[a-zA-Z0-9._-]{1,20}", id in "[A-Za-z0-9+/=_-]{1,22}", number in 0..i32::MAX,
        connector in "[A-Za-z0-9_-]{1,8}", output in "[A-Za-z0-9_-]{1,8}",
    ) {
        let (owner, partition) = (Owner::output(&connector, &output), partition(&topic, &id, number));
        let text = owner.app_id(&partition);
        let parsed = AppId::parse(&text).expect("our own id");
        prop_assert!(owner.owns(&parsed));
        prop_assert_eq!(parsed.source_partition(), partition);
    }

    #[test]
    fn markers_are_read_as_they_are_written(begun in prop::collection::btree_set((0..3_i32, 0..40_i32), 0..60)) {
        let partitions: Vec<_> = begun.iter().map(|(t, p)| partition(&format!("t{t}"), "A/b", *p)).collect();
        let marker = Marker::default().with(&partitions).unwrap_or_default();
        prop_assert_eq!(Marker::parse(&marker.to_text()).expect("our own text"), marker);
    }
}

#[test]
fn a_marker_is_short_text() {
    let begun: Vec<_> = [0, 1, 2, 5].map(|number| partition("orders", "AbC", number)).into();
    let marker = Marker::default().with(&begun).expect("new partitions");
    assert_eq!(marker.to_text(), r#"{"orders@AbC":"0-2,5"}"#);
    assert_eq!(marker.with(&begun), None, "nothing new");
}

#[tokio::test]
async fn an_empty_table_is_a_first_run() {
    let standing =
        standing(&[("spark", 7)], None, &[("orders", "AbC", 2)]).await.expect("nothing in the way");
    assert!(standing.first_run);
    assert_eq!(standing.positions.values().collect::<Vec<_>>(), [&Position::New; 2]);
    let expected = standing.expected(&owner());
    assert_eq!(
        expected,
        BTreeMap::from([
            ("sluice/shop/orders/orders@AbC/0".to_owned(), None),
            ("sluice/shop/orders/orders@AbC/1".to_owned(), None),
        ])
    );
}

#[tokio::test]
async fn progress_is_where_the_txns_say_and_later_partitions_are_new() {
    let txns = [("sluice/shop/orders/orders@AbC/0", 5), ("sluice/shop/orders/orders@AbC/1", 0)];
    let marker = Some(r#"{"orders@AbC":"0-1"}"#);
    let standing = standing(&txns, marker, &[("new", "XyZ", 1), ("orders", "AbC", 3)])
        .await
        .expect("it stands");
    assert!(!standing.first_run, "what comes now begins at its beginning");
    assert_eq!(standing.positions[&partition("orders", "AbC", 0)], Position::At(at(5)));
    assert_eq!(standing.positions[&partition("orders", "AbC", 1)], Position::At(at(0)));
    assert_eq!(standing.positions[&partition("orders", "AbC", 2)], Position::New);
    assert_eq!(standing.positions[&partition("new", "XyZ", 0)], Position::New);
}

#[tokio::test]
async fn a_property_without_its_txn_is_refused_naming_rewind() {
    for (txns, marker) in [
        (vec![], r#"{"orders@AbC":"0-1"}"#),
        (vec![("sluice/shop/orders/orders@AbC/0", 5)], r#"{"orders@AbC":"0-1"}"#),
        (vec![("sluice/shop/orders/orders@0/0", 5)], r#"{"orders@0":"0-1"}"#),
    ] {
        let error = standing(&txns, Some(marker), &[("orders", "AbC", 2)])
            .await
            .expect_err("it would be read twice");
        assert!(matches!(error, SinkError::ProgressLost { .. }), "{error}");
        assert!(error.to_string().contains("sluice rewind"), "{error}");
        assert_eq!(error.disposition(), Disposition::Stop(Exit::DataRefused));
    }
}

#[tokio::test]
async fn a_property_that_is_not_ours_is_refused() {
    for text in ["true", r#"{"orders":"0"}"#, r#"{"orders@AbC":"x"}"#, r#"{"orders@AbC":""}"#] {
        let error =
            standing(&[], Some(text), &[("orders", "AbC", 1)]).await.expect_err("not a marker");
        assert!(matches!(error, SinkError::BadMarker { .. }), "{text}: {error}");
    }
}

#[tokio::test]
async fn progress_without_ids_is_adopted_once_when_ids_appear() {
    let before = [("sluice/shop/orders/orders@0/0", 5)];
    let marker = Some(r#"{"orders@0":"0"}"#);
    let appeared = standing(&before, marker, &[("orders", "AbC", 1)]).await.expect("it stands");
    assert_eq!(appeared.positions[&partition("orders", "AbC", 0)], Position::Adopt(at(5)));
    assert_eq!(
        appeared.expected(&owner()),
        BTreeMap::from([
            ("sluice/shop/orders/orders@0/0".to_owned(), Some(at(5))),
            ("sluice/shop/orders/orders@AbC/0".to_owned(), None),
        ])
    );
    let after = [before[0], ("sluice/shop/orders/orders@AbC/0", 9)];
    let marker = Some(r#"{"orders@0":"0","orders@AbC":"0"}"#);
    let adopted = standing(&after, marker, &[("orders", "AbC", 1)]).await.expect("it stands");
    assert_eq!(adopted.positions[&partition("orders", "AbC", 0)], Position::At(at(9)));
    let recreated =
        standing(&after, marker, &[("orders", "XyZ", 1)]).await.expect("the caller decides");
    let was = Position::Recreated { was: TopicId::new("AbC"), next: Some(9) };
    assert_eq!(
        recreated.positions[&partition("orders", "XyZ", 0)],
        was,
        "not adopted a second time"
    );
}

#[tokio::test]
async fn a_broker_that_gives_no_ids_any_more_goes_on_under_the_one_known() {
    let txns = [("sluice/shop/orders/orders@AbC/0", 5)];
    let known = standing(&txns, None, &[("orders", "0", 1)]).await.expect("one id");
    assert_eq!(known.positions[&partition("orders", "AbC", 0)], Position::At(at(5)));
    let txns = [txns[0], ("sluice/shop/orders/orders@XyZ/0", 2)];
    let error = standing(&txns, None, &[("orders", "0", 1)]).await.expect_err("which one?");
    assert!(matches!(error, SinkError::TopicAmbiguous { .. }), "{error}");
}

#[tokio::test]
async fn a_topic_under_another_id_was_recreated() {
    let txns = [("sluice/shop/orders/orders@AbC/0", 5)];
    let found = standing(&txns, None, &[("orders", "XyZ", 2)]).await.expect("the caller decides");
    let was = |next| Position::Recreated { was: TopicId::new("AbC"), next };
    assert_eq!(found.positions[&partition("orders", "XyZ", 0)], was(Some(5)));
    assert_eq!(found.positions[&partition("orders", "XyZ", 1)], was(None));
    // The marker remembers, even when the old `txn`s have expired.
    let found = standing(&[], Some(r#"{"orders@AbC":"0"}"#), &[("orders", "XyZ", 1)])
        .await
        .expect("it decides");
    assert_eq!(found.positions[&partition("orders", "XyZ", 0)], was(None));
}

#[tokio::test]
async fn partitions_that_the_topic_no_longer_has_are_told() {
    let txns = [("sluice/shop/orders/orders@0/0", 5), ("sluice/shop/orders/orders@0/3", 5)];
    let found = standing(&txns, None, &[("orders", "0", 1)]).await.expect("it stands");
    assert_eq!(found.vanished, [partition("orders", "0", 3)]);
}

#[tokio::test]
async fn progress_under_another_name_is_refused_until_adopted() {
    let now = [("orders", "AbC", 1)];
    for (id, refused) in [
        ("sluice/old-name/orders/orders@AbC/0", true),
        ("sluice/shop/old-output/orders@XyZ/0", true),
        ("sluice/shop/.dead/orders@AbC/0", true),
        ("sluice/shop/old-output/payments@AbC/0", false),
    ] {
        let outcome = standing(&[(id, 5)], None, &now).await;
        match outcome {
            Err(SinkError::OwnedByOther { topic, .. }) if refused => assert_eq!(topic, "orders"),
            Ok(found) if !refused => assert!(found.first_run),
            outcome => panic!("{id}: {outcome:?}"),
        }
    }
    let given_away = standing(&[("sluice/old-name/orders/orders@AbC/0", -1)], None, &now).await;
    assert!(given_away.is_ok_and(|found| found.first_run));
}

#[tokio::test]
async fn an_output_shares_its_table_with_its_own_replays_only() {
    let topics = topics(&[("orders", "AbC", 1)]);
    let check = async |owner: &Owner, id: &str, shared: bool| {
        let log = log(&[(id, 5)], None).await;
        let found = Standing::of(&log, TABLE, owner, &topics);
        assert_eq!(found.is_ok_and(|found| found.first_run), shared, "{owner:?} {id}");
    };
    let orders = Owner::output("shop", "orders");
    check(&orders, "sluice/shop/orders.replay/orders@AbC/0", true).await;
    check(&orders, "sluice/shop/other.replay/orders@AbC/0", false).await;
    check(&orders, "sluice/bank/orders.replay/orders@AbC/0", false).await;
    let replays = Owner::replay("shop", "orders");
    check(&replays, "sluice/shop/orders/orders@AbC/0", true).await;
    check(&replays, "sluice/shop/other/orders@AbC/0", false).await;
}

#[tokio::test]
async fn side_streams_of_one_connector_may_share_a_table() {
    let log = log(&[("sluice/shop/orders.late/orders@AbC/0", 5)], None).await;
    let found =
        Standing::of(&log, TABLE, &Owner::dead_letters("shop"), &topics(&[("orders", "AbC", 1)]));
    assert!(found.is_ok_and(|found| found.first_run));
    let other =
        Standing::of(&log, TABLE, &Owner::dead_letters("bank"), &topics(&[("orders", "AbC", 1)]));
    assert!(matches!(other, Err(SinkError::OwnedByOther { .. })));
}

#[tokio::test]
async fn txns_are_written_again_before_a_quarter_of_their_life_has_passed() {
    let hour = 60 * 60 * 1000;
    let log = log(&[("sluice/shop/orders/orders@AbC/0", 5)], None).await;
    let ids = ["sluice/shop/orders/orders@AbC/0", "sluice/shop/orders/orders@AbC/1"];
    let at = |now_ms| due(&log, ids, Duration::from_secs(4 * 60 * 60), now_ms);
    assert_eq!(at(NOW + hour - 1), BTreeMap::new());
    assert_eq!(at(NOW + hour), BTreeMap::from([(ids[0].to_owned(), 5)]), "as it was");
}

#[tokio::test]
async fn a_txn_retention_too_short_to_live_with_is_refused() {
    for (value, expected) in [
        ("interval 7 days", Some(Duration::from_secs(7 * 86_400))),
        ("interval 1 hours", Some(Duration::from_secs(3_600))),
        ("interval 59 minutes", None),
        ("a week", None),
    ] {
        let fixture = Fixture::with_properties(&[(TXN_RETENTION, value)]).await;
        match (txn_retention(&fixture.log().await, TABLE), expected) {
            (Ok(found), Some(_)) => assert_eq!(found, expected, "{value}"),
            (Err(SinkError::TxnRetention { .. }), None) => {}
            (outcome, _) => panic!("{value}: {outcome:?}"),
        }
    }
    let fixture = Fixture::new().await;
    assert!(txn_retention(&fixture.log().await, TABLE).is_ok_and(|found| found.is_none()));
}
