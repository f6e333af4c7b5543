//! The examples of docs/WINDOWS.md.

use std::collections::BTreeSet;

use super::case::{Case, Record, Step, Windowing};
use super::{model, run};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;

/// Partition, time as minutes and seconds after 10:00, country, amount.
const RECORDS: [(usize, i64, i64, u8, i64); 9] = [
    (0, 0, 10, DE, 5),
    (0, 0, 50, FR, 3),
    (1, 0, 20, DE, 7),
    (0, 1, 30, DE, 2),
    (1, 3, 20, DE, 4),
    (0, 3, 5, FR, 1),
    (0, 0, 59, DE, 9),
    (1, 4, 10, DE, 8),
    (0, 4, 30, FR, 6),
];
const DE: u8 = 0;
const FR: u8 = 1;

/// Start and end of windows in seconds after 10:00, country, orders, revenue; those that close now, and later; and how
/// many rows are late, or partly.
type Row = (i64, i64, u8, i64, i64);

fn check(windowing: Windowing, now: &[Row], later: &[Row], late: u64, late_partial: u64) {
    let closed = |records: &[(usize, i64, i64, u8, i64)]| {
        let mut partitions = vec![Vec::new(); 2];
        for (partition, minutes, seconds, country, amount) in records {
            partitions[*partition].push(Record {
                time: Some(minutes * MINUTE + seconds * SECOND),
                behind: None,
                key: Some(*country),
                amount: Some(*amount),
                flag: None,
                kept: true,
            });
        }
        let case = Case {
            windowing,
            delay: 2 * MINUTE,
            max_future: None,
            partitions,
            steps: vec![Step::Read { partition: 0, rows: 3 }, Step::Commit { toggled: [].into() }],
            strangers: BTreeSet::new(),
        };
        run::run(&case).0
    };
    let rows = |results: &[model::Result]| {
        let row = |result: &model::Result| {
            let (start, end) = result.bounds.unwrap_or_default();
            let country = if result.key.as_deref() == Some("key 0") { DE } else { FR };
            let revenue = result.sum.expect("amounts");
            (start / SECOND, end / SECOND, country, result.rows, revenue)
        };
        results.iter().map(row).collect::<Vec<_>>()
    };
    let (first, both) = (closed(&RECORDS[..8]), closed(&RECORDS));
    if matches!(windowing, Windowing::Unbounded) {
        assert_eq!(rows(&first.open), now);
        assert_eq!(rows(&both.open), later);
    } else {
        assert_eq!(rows(&first.closed), now, "{windowing:?}");
        let all: Vec<_> = now.iter().chain(later).copied().collect();
        assert_eq!(rows(&both.closed), all, "{windowing:?}");
    }
    assert_eq!((both.late, both.late_partial), (late, late_partial), "{windowing:?}");
    assert_eq!(first.watermark, Some(MINUTE + 5 * SECOND));
    assert_eq!(both.watermark, Some(2 * MINUTE + 10 * SECOND));
}

#[test]
fn the_examples_of_the_page() {
    let tumbling = Windowing::Sliding { size: MINUTE, slide: MINUTE, offset: 0 };
    let now = [(0, 60, DE, 2, 12), (0, 60, FR, 1, 3)];
    check(tumbling, &now, &[(60, 120, DE, 1, 2)], 1, 0);

    let sliding = Windowing::Sliding { size: 2 * MINUTE, slide: MINUTE, offset: 0 };
    let now = [(-60, 60, DE, 2, 12), (-60, 60, FR, 1, 3)];
    check(sliding, &now, &[(0, 120, DE, 4, 23), (0, 120, FR, 1, 3)], 0, 1);

    let session = Windowing::Session { gap: MINUTE };
    check(session, &[], &[(10, 80, DE, 2, 12), (50, 110, FR, 1, 3)], 1, 0);

    let now = [(0, 0, DE, 6, 35), (0, 0, FR, 2, 4)];
    check(Windowing::Unbounded, &now, &[(0, 0, DE, 6, 35), (0, 0, FR, 3, 10)], 0, 0);
}
