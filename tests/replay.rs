//! Dead letters replayed: what was refused by a schema that was wrong becomes rows once, whatever crashes or races.

use std::process::Command;

use sluice::config::Connector;
use sluice::disposition::{Disposition, Exit};
use sluice::engine::EngineError;
use sluice::engine::decoders::KnownSchemas;
use sluice::engine::replay::{Moved, Replay, Scope, Step};

use super::engine::{Bench, block_on};

const OUTPUT: &str = "outputs: {orders: {table: ./orders}}";
const GOOD: &str = r#"{"id": 1}"#;
/// Bad where unknown fields are refused.
const EXTRA: &str = r#"{"id": 2, "new": 1}"#;
/// Bad by every schema here.
const BROKEN: &str = r#"{"id": "#;

/// The configuration; `unknown` is what becomes of unknown fields, `more` is YAML at the top level.
fn yaml(unknown: &str, more: &str) -> String {
    format!(
        "decode: {{value: {{format: json, schema: 'id BIGINT NOT NULL', unknown_fields: {unknown}}}, \
         on_bad_record: dead_letter, bad_record_limit: 100%}}\n\
         dead_letters: {{table: ./dead}}\n{more}"
    )
}

fn strict(more: &str) -> String {
    yaml("fail", more)
}

fn repaired(more: &str) -> String {
    yaml("ignore", more)
}

/// Rows of both partitions, with dead letters at offsets 100 to 102 of each.
fn with_dead_letters(more: &str) -> Bench {
    let bench = Bench::new();
    bench.produce_good(200);
    bench.produce([Some(EXTRA); 6]);
    bench.produce_good(20);
    bench.run(bench.spec(&strict(more))).expect("a run by the wrong schema");
    bench
}

fn open(spec: &Connector, scope: &Scope, writing: bool) -> Result<Replay, EngineError> {
    block_on(Replay::open(spec, "orders", scope, &KnownSchemas::default(), writing))
}

fn steps(replay: &mut Replay) -> Result<Vec<Step>, EngineError> {
    block_on(async {
        let mut steps = Vec::new();
        while let Some(step) = replay.step().await? {
            steps.push(step);
        }
        Ok(steps)
    })
}

fn replay(spec: &Connector, scope: &Scope, writing: bool) -> Result<Vec<Step>, EngineError> {
    steps(&mut open(spec, scope, writing)?)
}

fn replay_all(spec: &Connector) -> Vec<Step> {
    replay(spec, &Scope::default(), true).expect("a replay")
}

fn moved(steps: &[Step]) -> impl Iterator<Item = &Moved> {
    steps.iter().flat_map(|step| &step.moved)
}

fn rows(steps: &[Step]) -> u64 {
    moved(steps).map(|moved| moved.fates.rows).sum()
}

/// What `verify --deep` proves of the output: rows by its own commits, and by replays.
fn assert_proven(bench: &Bench, own: u64, replayed: u64) {
    let report = bench.report("orders", "orders");
    assert!(report.is_clean(), "{:?}", report.findings);
    let replay = bench.report("orders", "orders.replay");
    assert!(replay.is_clean(), "{:?}", replay.findings);
    assert_eq!((report.fates.rows, replay.fates.rows), (own, replayed));
    assert!(bench.report("dead", ".dead").is_clean());
    let (code, out) = command(bench, &["verify", "--deep", "--output", "orders", "--json"]);
    assert_eq!(code, 0, "{out}");
    let proof: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let deep = &proof["deep"];
    assert_eq!(
        (deep["rows"].as_u64(), deep["duplicates"].as_u64()),
        (Some(own + replayed), Some(0))
    );
}

/// The binary, in the bench's folder, with the repaired configuration.
fn command(bench: &Bench, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    let output =
        command.args(words).current_dir(bench.folder.path()).env_remove("SLUICE_LOG").output();
    let output = output.expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().expect("it exits"), text)
}

/// Puts the configuration where commands look for it.
fn write_config(bench: &Bench, more: &str) {
    let brokers = bench.brokers();
    let text =
        format!("name: test\nsource: {{brokers: ['{brokers}'], topics: [orders]}}\n{more}\n");
    std::fs::write(bench.folder.path().join("connector.yaml"), text).expect("written");
}

#[test]
fn each_dead_letter_becomes_a_row_once() {
    let bench = with_dead_letters(OUTPUT);
    write_config(&bench, &repaired(OUTPUT));
    let spec = bench.spec(&repaired(OUTPUT));

    let plan = replay(&spec, &Scope::default(), false).expect("a plan");
    assert_eq!((plan.len(), plan[0].version, rows(&plan)), (1, None, 6));
    assert_proven(&bench, 220, 0);

    let done = replay_all(&spec);
    assert_eq!(done.iter().filter_map(|step| step.version).count(), 1, "one transaction");
    assert_eq!(done[0].moved, plan[0].moved, "the plan is what was done");
    let ranges: Vec<_> = moved(&done).map(|m| (m.range.start, m.range.end, m.letters)).collect();
    assert_eq!(ranges, [(0, 103, 3), (0, 103, 3)]);
    assert_proven(&bench, 220, 6);

    assert_eq!(replay_all(&spec), [], "again: nothing to do, and no commit");
    assert_proven(&bench, 220, 6);
}

#[test]
fn a_connector_runs_on_after_a_replay_and_new_dead_letters_are_replayed_too() {
    let bench = with_dead_letters(OUTPUT);
    write_config(&bench, &repaired(OUTPUT));
    assert_eq!(rows(&replay_all(&bench.spec(&repaired(OUTPUT)))), 6);
    bench.produce([Some(GOOD), Some(EXTRA)]);
    bench.run(bench.spec(&strict(OUTPUT))).expect("still by the wrong schema");
    assert_proven(&bench, 221, 6);
    let more = replay_all(&bench.spec(&repaired(OUTPUT)));
    let ranges: Vec<_> = moved(&more).map(|m| (m.range.start, m.range.end)).collect();
    assert_eq!(ranges, [(103, 114)], "from where the last replay ended");
    assert_proven(&bench, 221, 7);
}

#[test]
fn a_replay_that_is_cut_off_goes_on_where_its_last_commit_stands() {
    let bench = with_dead_letters(OUTPUT);
    write_config(&bench, &repaired(OUTPUT));
    let spec = bench.spec(&repaired(&format!("limits: {{max_records: 2}}\n{OUTPUT}")));
    let mut versions = Vec::new();
    loop {
        // A process that dies after each step. What it had found and decoded is gone with it.
        let mut replay = open(&spec, &Scope::default(), true).expect("opened");
        let Some(step) = block_on(replay.step()).expect("a step") else { break };
        versions.extend(step.version);
        assert_proven(&bench, 220, 2 * versions.len() as u64);
    }
    assert_eq!(versions.len(), 3);
}

#[test]
fn files_without_a_commit_are_no_rows() {
    let bench = with_dead_letters(OUTPUT);
    write_config(&bench, &repaired(OUTPUT));
    let spec = bench.spec(&repaired(OUTPUT));
    let version = replay_all(&spec)[0].version.expect("committed");
    // The crash between the files and the commit: the entry never was.
    std::fs::remove_file(bench.log("orders").join(format!("{version:020}.json"))).expect("there");
    assert_proven(&bench, 220, 0);
    assert_eq!(rows(&replay_all(&spec)), 6);
    assert_proven(&bench, 220, 6);
}

#[test]
fn of_two_replays_at_once_one_is_fenced_and_finds_nothing_left() {
    let bench = with_dead_letters(OUTPUT);
    write_config(&bench, &repaired(OUTPUT));
    let spec = bench.spec(&repaired(OUTPUT));
    let mut first = open(&spec, &Scope::default(), true).expect("opened");
    let mut second = open(&spec, &Scope::default(), true).expect("opened");
    assert_eq!(rows(&steps(&mut first).expect("the first commits")), 6);
    let error = steps(&mut second).expect_err("the second is fenced");
    assert_eq!(error.disposition(), Disposition::StandDown, "{error}");
    assert_proven(&bench, 220, 6);
    assert_eq!(replay_all(&spec), []);
}

#[test]
fn many_replays_at_once_make_each_dead_letter_a_row_once() {
    let bench = with_dead_letters(OUTPUT);
    write_config(&bench, &repaired(&format!("limits: {{max_records: 1}}\n{OUTPUT}")));
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.args(["dead-letters", "replay", "--yes"]).current_dir(bench.folder.path());
        command.output().expect("the binary starts")
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(answers.iter().any(|answer| answer.status.success()), "{answers:?}");
    assert_proven(&bench, 220, 6);
}

#[test]
fn a_partition_stops_before_what_is_still_bad_unless_told_to_pass_over_it() {
    let bench = Bench::new();
    bench.produce_good(200);
    bench.produce([EXTRA, EXTRA, BROKEN, EXTRA, EXTRA, EXTRA].map(Some));
    bench.run(bench.spec(&strict(OUTPUT))).expect("a run by the wrong schema");
    write_config(&bench, &repaired(OUTPUT));
    let spec = bench.spec(&repaired(OUTPUT));

    let done = replay_all(&spec);
    assert_eq!(rows(&done), 4, "one before the bad one, three of the other partition");
    let bad: Vec<_> =
        done[0].still_bad.iter().map(|bad| (bad.partition.partition, bad.offset)).collect();
    assert_eq!((bad, done[0].waiting), (vec![(0, 101)], 1));
    assert_proven(&bench, 200, 4);

    // Again: it is told again, and nothing is committed.
    let again = replay_all(&spec);
    assert_eq!((again.len(), again[0].version, &again[0].moved), (1, None, &Vec::new()));
    assert_eq!((again[0].still_bad.len(), again[0].waiting), (1, 1));

    let scope = Scope { skip_bad: true, ..Scope::default() };
    let passed = replay(&spec, &scope, true).expect("a replay");
    let fates = passed[0].moved[0].fates;
    assert_eq!((fates.rows, fates.dead_letters, passed[0].still_bad.len()), (1, 1, 1));
    assert_proven(&bench, 200, 5);
    assert_eq!(replay(&spec, &scope, true).expect("a replay"), []);
}

#[test]
fn what_is_a_row_already_stays_one() {
    let both = "outputs: {orders: {table: ./orders}, late: {table: ./late}}";
    let bench = Bench::new();
    bench.produce_good(200);
    bench.produce([Some(EXTRA); 4]);
    // Rows of `orders`; then a stricter schema makes dead letters of them for an output that comes later.
    bench.run(bench.spec(&repaired(OUTPUT))).expect("a run");
    bench.run(bench.spec(&strict(both))).expect("a run with another output");
    assert_eq!(
        bench.report("dead", ".dead").fates.rows,
        bench.report("late", "late").fates.dead_letters
    );
    write_config(&bench, &repaired(both));
    let spec = bench.spec(&repaired(both));
    let done = replay_all(&spec);
    let counts: Vec<_> = moved(&done).map(|m| (m.letters, m.already, m.fates.rows)).collect();
    assert_eq!(counts, [(2, 2, 0), (2, 2, 0)]);
    assert_proven(&bench, 204, 0);
    let late = block_on(async {
        let mut replay =
            Replay::open(&spec, "late", &Scope::default(), &KnownSchemas::default(), true).await?;
        replay.step().await
    });
    assert_eq!(rows(&[late.expect("a replay").expect("a step")]), 4);
}

#[test]
fn rows_without_coordinates_are_told_from_dead_letters_by_the_counts_or_not_at_all() {
    let plain = "outputs: {orders: {table: ./orders, metadata_columns: []}}";
    let bench = with_dead_letters(plain);
    write_config(&bench, &repaired(plain));
    assert_eq!(rows(&replay_all(&bench.spec(&repaired(plain)))), 6);
    assert_eq!(replay_all(&bench.spec(&repaired(plain))), []);

    // Here the dead letters are another output's: `orders` has rows of them.
    let both = "outputs: {orders: {table: ./orders, metadata_columns: []}, late: {table: ./late}}";
    let bench = Bench::new();
    bench.produce_good(200);
    bench.produce([Some(EXTRA); 4]);
    bench.run(bench.spec(&repaired(plain))).expect("a run");
    bench.run(bench.spec(&strict(both))).expect("a run with another output");
    let error = replay(&bench.spec(&repaired(both)), &Scope::default(), true).expect_err("doubt");
    assert_eq!(
        (error.code(), error.disposition()),
        ("SL5012", Disposition::Stop(Exit::DataRefused))
    );
    assert!(error.to_string().contains("whether 2 dead letters of orders/0"), "{error}");
    assert_eq!(bench.report("orders", "orders.replay").commits, 0);
}

#[test]
fn dead_letters_that_the_output_has_not_judged_are_left() {
    let bench = with_dead_letters(OUTPUT);
    write_config(&bench, &repaired(OUTPUT));
    let (code, out) =
        command(&bench, &["rewind", "--to-offsets", "orders:0=101,orders:1=103", "--yes"]);
    assert_eq!(code, 0, "{out}");
    let spec = bench.spec(&repaired(OUTPUT));
    let ends: Vec<_> =
        replay_all(&spec).iter().flat_map(|s| &s.moved).map(|m| (m.range.end, m.letters)).collect();
    assert_eq!(ends, [(101, 1), (103, 3)]);
    // What is read again stays a dead letter, and can be replayed then.
    bench.run(spec.clone()).expect("a run");
    assert_eq!(bench.report("orders", "orders").fates.dead_letters, 6 + 2);
    let ends: Vec<_> =
        replay_all(&spec).iter().flat_map(|s| &s.moved).map(|m| (m.range.end, m.letters)).collect();
    assert_eq!(ends, [(103, 2)]);
    assert_eq!(bench.report("orders", "orders.replay").fates.rows, 6);
}

#[test]
fn dead_letters_from_before_an_output_began_are_not_its_own() {
    let both = "outputs: {old: {table: ./old}, orders: {table: ./orders}}";
    let bench = Bench::new();
    bench.produce_good(200);
    bench.produce([Some(EXTRA); 4]);
    bench.run(bench.spec(&strict("outputs: {old: {table: ./old}}"))).expect("a run");
    let latest = |more: &str| {
        let mut spec = bench.spec(more);
        spec.source.start = sluice::config::Start::Latest;
        spec
    };
    bench.run(latest(&strict(both))).expect("a run with an output that begins at the end");
    bench.produce([Some(GOOD), Some(EXTRA)]);
    bench.run(latest(&strict(both))).expect("a run");
    let done = replay_all(&bench.spec(&repaired(both)));
    let letters: Vec<_> = moved(&done).map(|m| (m.range.start, m.range.end, m.letters)).collect();
    assert_eq!(letters, [(102, 103, 1)]);
}

#[test]
fn replays_into_tables_with_keys_are_refused() {
    let keyed = "outputs: {orders: {table: ./orders, mode: upsert, merge_key: [id]}}";
    let bench = Bench::new();
    let error =
        open(&bench.spec(&repaired(keyed)), &Scope::default(), false).err().expect("refused");
    assert_eq!(error.code(), "SL5010");
    let error =
        open(&bench.spec(&repaired(OUTPUT)), &Scope::default(), false).err().expect("no table");
    assert_eq!(
        (error.code(), error.disposition()),
        ("SL5011", Disposition::Stop(Exit::NegativeFinding))
    );
}

#[test]
fn the_command_prints_a_plan_asks_and_tells_what_it_did() {
    let bench = with_dead_letters(OUTPUT);
    write_config(&bench, &repaired(OUTPUT));
    let (code, plan) = command(&bench, &["dead-letters", "replay", "--dry-run"]);
    let lines: Vec<&str> = plan.lines().collect();
    assert_eq!((code, lines.len()), (0, 5), "{plan}");
    assert_eq!(
        lines[1].split_whitespace().collect::<Vec<_>>(),
        ["partition", "from", "to", "letters", "rows", "left", "out", "already", "bad"]
    );
    assert_eq!(
        lines[2].split_whitespace().collect::<Vec<_>>(),
        ["orders/0", "0", "103", "3", "3", "0", "0", "0"]
    );
    assert_eq!(lines[4], "6 dead letters will become 6 rows.");
    let (code, _) = command(&bench, &["dead-letters", "replay"]);
    assert_eq!(code, 2, "without a terminal it needs --yes");
    assert_proven(&bench, 220, 0);

    let (code, none) = command(&bench, &["dead-letters", "replay", "--topic", "other", "--yes"]);
    assert_eq!((code, none.contains("There is no dead letter to replay.")), (0, true), "{none}");

    let (code, done) =
        command(&bench, &["dead-letters", "replay", "--yes", "--json", "--topic", "orders"]);
    let done: serde_json::Value = serde_json::from_str(&done).expect("one document");
    assert_eq!((code, &done["dry_run"]), (0, &false.into()));
    assert_eq!(done["partitions"][1]["rows"], 3);
    assert_eq!(done["committed_versions"].as_array().map(Vec::len), Some(1));
    let (_, proof) = command(&bench, &["verify"]);
    assert!(proof.contains("orders: 6 rows more of dead letters, by 1 replay"), "{proof}");
    assert_proven(&bench, 220, 6);
}

#[test]
fn replayed_records_go_through_where_and_select_like_any_others() {
    let shaped = "outputs: {orders: {table: ./orders, where: 'id > 1', \
                  select: 'id * 10 AS tenfold, kafka_partition, kafka_offset'}}";
    let bench = Bench::new();
    bench.produce([Some(r#"{"id": 5}"#); 200]);
    bench.produce([Some(EXTRA), Some(r#"{"id": 1, "new": 1}"#)]);
    bench.run(bench.spec(&strict(shaped))).expect("a run by the wrong schema");
    write_config(&bench, &repaired(shaped));
    let done = replay_all(&bench.spec(&repaired(shaped)));
    let fates: Vec<_> = moved(&done).map(|m| (m.fates.rows, m.fates.filtered)).collect();
    assert_eq!(fates, [(1, 0), (0, 1)]);
    assert_proven(&bench, 200, 1);
}
