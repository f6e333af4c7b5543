use super::*;
use crate::offsets::{TopicId, TopicPartition};
use crate::sink::history::Reset;

fn owner() -> Owner {
    Owner::output("shop", "orders")
}

fn partition(number: i32) -> SourcePartition {
    SourcePartition { id: TopicPartition::new("orders", number), topic_id: TopicId::new("AbC") }
}

fn rows(rows: u64) -> Fates {
    Fates { rows, ..Fates::default() }
}

/// A commit of ours that holds what it says.
fn ours(version: u64, partitions: &[PartitionInfo]) -> PastCommit {
    let txn = |p: &PartitionInfo| {
        (owner().app_id(&p.source_partition()), Txn { version: p.end, last_updated: None })
    };
    PastCommit {
        version,
        timestamp: None,
        operation: Some("WRITE".to_owned()),
        info: Some(SluiceInfo::new(&owner(), "f00", partitions.to_vec())),
        unreadable: None,
        txns: partitions.iter().map(txn).collect(),
        files: crate::sink::entry::FileCounts {
            added_rows: Some(partitions.iter().map(|p| p.fates.rows).sum()),
            removed_rows: Some(0),
            ..Default::default()
        },
        is_restore: false,
    }
}

fn foreign(version: u64) -> PastCommit {
    PastCommit {
        info: None,
        operation: Some("OPTIMIZE".to_owned()),
        txns: BTreeMap::new(),
        ..ours(version, &[])
    }
}

fn txns(ends: &[(i32, i64)]) -> BTreeMap<String, Txn> {
    let txn = |(number, end): &(i32, i64)| {
        (owner().app_id(&partition(*number)), Txn { version: *end, last_updated: None })
    };
    ends.iter().map(txn).collect()
}

/// Three commits: the start, 10 rows in two partitions, and 5 offsets of mixed fates.
fn clean() -> Vec<PastCommit> {
    let (a, b) =
        (PartitionInfo::at(&partition(0), 100, None), PartitionInfo::at(&partition(1), 0, None));
    let (a1, b1) = (a.next(106, rows(6)), b.next(4, rows(4)));
    let mixed =
        Fates { rows: 1, dead_letters: 1, skipped: 1, tombstones: 1, gaps: 1, ..Fates::default() };
    vec![ours(1, &[a, b]), ours(2, &[a1.clone(), b1]), ours(3, &[a1.next(111, mixed)])]
}

fn check(history: &[PastCommit], ends: &[(i32, i64)], finding: &str) {
    let report = verify(&owner(), history, &txns(ends));
    let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    match finding {
        "" => assert!(report.is_clean(), "{found:?}"),
        _ => assert!(
            found.iter().any(|text| text.contains(finding)),
            "wanted {finding:?}, found {found:?}"
        ),
    }
}

const ENDS: [(i32, i64); 2] = [(0, 111), (1, 4)];

#[test]
fn contiguous_ranges_whose_fates_add_up_are_proven() {
    let report = verify(&owner(), &clean(), &txns(&ENDS));
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(
        (report.commits, report.records, report.fates.total(), report.duplicates),
        (3, 14, 15, 0)
    );
    assert_eq!(
        report.fates,
        Fates { rows: 11, dead_letters: 1, skipped: 1, tombstones: 1, gaps: 1, ..Fates::default() }
    );
    assert_eq!((report.partitions[0].start, report.partitions[0].end), (100, 111));
    let json = serde_json::to_value(&report).expect("plain data");
    assert_eq!(
        (&json["rows"], &json["gaps"], &json["duplicates"]),
        (&11.into(), &1.into(), &0.into())
    );
}

#[test]
fn counts_continue_over_a_log_that_was_cleaned() {
    let report = verify(&owner(), &clean()[2..], &txns(&ENDS));
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(
        (report.partitions[0].start, report.fates.rows),
        (100, 7),
        "partition 1 is in no kept commit"
    );
}

#[test]
fn every_kind_of_damage_is_found() {
    let mut history = clean();
    history.remove(1);
    check(&history, &ENDS, "offsets from 100 are in no commit");

    let mut history = clean();
    history.push(ours(4, &[clean_info(2, 0)]));
    check(&history, &ENDS, "begins at 106, but 111 was reached before");

    let mut history = clean();
    change(&mut history[2], |p| p.fates.gaps = 0);
    check(&history, &ENDS, "its fates sum to 4");

    let mut history = clean();
    change(&mut history[2], |p| p.cumulative.rows += 1);
    check(&history, &ENDS, "running counts sum to");

    let mut history = clean();
    change(&mut history[2], |p| {
        p.cumulative.rows -= 1;
        p.cumulative.gaps += 1;
    });
    check(&history, &ENDS, "don't continue those before");

    let mut history = clean();
    history[1].files.added_rows = Some(9);
    check(&history, &ENDS, "its files hold 9 rows");
    history[1].files.added_rows = None;
    check(&history, &ENDS, "an unknown number of rows");

    let mut history = clean();
    history[2].txns = txns(&[(0, 112)]);
    check(&history, &ENDS, "ends at 111, but its `txn` doesn't");

    let mut history = clean();
    history[2].txns.extend(txns(&[(1, 7)]));
    check(&history, &ENDS, "its `txn` moved, but no range tells how");

    check(&clean(), &[(0, 110), (1, 4)], "the last commit ended at 111, the table's `txn` is 110");
    check(&clean(), &[(0, 111)], "the table's `txn` is none");

    let mut history = clean();
    history.push(PastCommit { txns: txns(&[(1, 4)]), ..foreign(4) });
    check(&history, &ENDS, "sets our `txn`, but isn't a commit of ours");

    let mut history = clean();
    history.push(PastCommit { unreadable: Some("no `output`".to_owned()), ..foreign(4) });
    check(&history, &ENDS, "cannot be read: no `output`");
}

fn clean_info(commit: usize, partition: usize) -> PartitionInfo {
    clean()[commit].info.clone().expect("ours").partitions[partition].clone()
}

fn change(commit: &mut PastCommit, how: impl Fn(&mut PartitionInfo)) {
    how(&mut commit.info.as_mut().expect("ours").partitions[0]);
}

#[test]
fn offsets_committed_twice_are_counted_as_duplicates() {
    let mut history = clean();
    history.push(ours(4, &[clean_info(2, 0)]));
    assert_eq!(verify(&owner(), &history, &txns(&ENDS)).duplicates, 5);
}

#[test]
fn a_recorded_rewind_is_accepted_and_told() {
    let mut history = clean();
    let reset = Reset { from: Some(111), to: 101, reason: "rewind".to_owned() };
    let rewound = PartitionInfo::at(&partition(0), 101, Some(reset));
    history
        .extend([ours(4, std::slice::from_ref(&rewound)), ours(5, &[rewound.next(103, rows(2))])]);
    let report = verify(&owner(), &history, &txns(&[(0, 103), (1, 4)]));
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!((report.reread, report.duplicates, report.fates.rows), (10, 0, 13));

    let wrong = Reset { from: Some(90), to: 101, reason: "rewind".to_owned() };
    history[3] = ours(4, &[PartitionInfo::at(&partition(0), 101, Some(wrong))]);
    check(&history, &[(0, 103), (1, 4)], "doesn't fit the ranges around it");
}

#[test]
fn txns_written_again_before_they_expire_are_no_finding() {
    let mut history = clean();
    history[2].txns.extend(txns(&[(1, 4)]));
    check(&history, &ENDS, "");
}

#[test]
fn foreign_commits_that_remove_data_are_reported() {
    let mut history = clean();
    let counts = |data_removed| crate::sink::entry::FileCounts {
        removed: 3,
        data_removed,
        ..Default::default()
    };
    history.push(PastCommit { files: counts(0), ..foreign(4) });
    history.push(PastCommit {
        files: counts(2),
        operation: Some("DELETE".to_owned()),
        ..foreign(5)
    });
    history.push(PastCommit {
        is_restore: true,
        operation: Some("RESTORE".to_owned()),
        ..foreign(6)
    });
    let report = verify(&owner(), &history, &txns(&ENDS));
    assert!(report.is_clean(), "whoever did it may do so");
    let told: Vec<_> =
        report.removals.iter().map(|removal| (removal.version, removal.files)).collect();
    assert_eq!(told, [(5, 2), (6, 0)]);
}

#[test]
fn other_outputs_commits_are_passed_over() {
    let mut history = clean();
    let mut other = clean();
    for commit in &mut other {
        let info = commit.info.as_mut().expect("ours");
        info.output = ".dead".to_owned();
        commit.txns.clear();
    }
    history.extend(other);
    check(&history, &ENDS, "");
}

/// The clean history with its second commit merged by key: 12 changes, of which 10 were given by records with a value.
fn merged(mode: KeyedMode, change: impl Fn(&mut KeyedCounts, &mut PastCommit)) -> Vec<PastCommit> {
    let mut history = clean();
    let commit = &mut history[1];
    let mut counts = match mode {
        KeyedMode::InsertNew => {
            KeyedCounts { changes: 10, inserted: 7, existing: 3, ..KeyedCounts::default() }
        }
        KeyedMode::Upsert => KeyedCounts {
            changes: 12,
            inserted: 4,
            updated: 3,
            deleted: 2,
            superseded: 2,
            absent: 1,
            replaced: 6,
            copied: 20,
            ..KeyedCounts::default()
        },
    };
    let info = commit.info.as_mut().expect("ours");
    let first = &mut info.partitions[0].fates;
    match mode {
        KeyedMode::InsertNew => (first.rows, first.existing) = (3, 3),
        KeyedMode::Upsert => first.tombstones = 2,
    }
    commit.files.added_rows = Some(counts.copied + counts.inserted + counts.updated);
    commit.files.removed_rows = Some(counts.copied + counts.replaced);
    commit.files.removed = u64::from(mode == KeyedMode::Upsert);
    change(&mut counts, commit);
    let info = commit.info.as_mut().expect("ours");
    info.keyed = Some(KeyedInfo { mode, key: vec!["id".to_owned()], counts });
    // Only this commit's own sums are looked at here.
    history.drain(1..).take(1).collect()
}

#[test]
fn the_changes_of_a_commit_by_key_add_up_with_its_records_and_its_files() {
    let found = |mode, change: &dyn Fn(&mut KeyedCounts, &mut PastCommit)| {
        let report = verify(&owner(), &merged(mode, change), &BTreeMap::new());
        let of_changes =
            |finding: &Finding| finding.partition.is_none().then(|| finding.what.clone());
        report.findings.iter().filter_map(of_changes).collect::<Vec<_>>()
    };
    use KeyedMode::{InsertNew, Upsert};
    for mode in [InsertNew, Upsert] {
        assert_eq!(found(mode, &|_, _| {}), Vec::<String>::new());
        let lost = found(mode, &|_, commit| {
            commit.files.added_rows = commit.files.added_rows.map(|n| n - 1)
        });
        assert!(lost[0].starts_with("holds "), "{lost:?}");
        let twice = found(mode, &|counts, _| counts.inserted += 1);
        assert!(twice[0].contains("don't add up"), "{twice:?}");
        let missing = found(mode, &|_, commit| {
            commit.info.as_mut().expect("ours").partitions[1].fates.rows += 3;
        });
        assert!(missing[0].contains("records were counted"), "{missing:?}");
    }
    let stays = found(Upsert, &|_, commit| commit.files.removed_rows = Some(25));
    assert_eq!(stays, ["takes out 25 rows, but 26 were counted"]);
    let unknown = found(Upsert, &|_, commit| commit.files.removed_rows = None);
    assert_eq!(unknown, ["takes out an unknown number of rows, but 26 were counted"]);
    let removes = found(InsertNew, &|_, commit| commit.files.removed_rows = Some(1));
    assert_eq!(removes, ["takes out 1 rows, but 0 were counted"]);
}
