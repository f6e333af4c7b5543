//! `sluice verify`: proves from the tables' logs, and with `--deep` from their rows, that each offset is accounted
//! for once. Reads tables only; Kafka isn't asked.

use clap::Args;
use futures::TryStreamExt;
use serde::Serialize;

use super::find::{self, FoundTable};
use super::text::{count, number};
use super::{ConfigSource, print};
use crate::config::Connector;
use crate::disposition::Exit;
use crate::sink::deep::{self, Coverage, DeepReport};
use crate::sink::error::SinkError;
use crate::sink::history;
use crate::sink::keyed::KeyedCounts;
use crate::sink::log::TableLog;
use crate::sink::progress::Owner;
use crate::sink::verify::{Report, Verifier};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    source: ConfigSource,
    /// Only this output; `dead_letters` is the dead-letter table.
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// Also read the coordinates of all rows back and look for offsets that are there twice.
    #[arg(long)]
    deep: bool,
    /// One JSON document a table.
    #[arg(long)]
    json: bool,
}

pub(super) async fn verify(args: VerifyArgs) -> Exit {
    let loaded = match print::load(&args.source, false) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let spec = match find::tables_known(&loaded.connector).await {
        Ok(spec) => spec,
        Err(exit) => return exit,
    };
    match tables(&spec, &args).await {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::NegativeFinding,
        Err(exit) => exit,
    }
}

/// Whether all tables are clean; each is printed as soon as it is known.
async fn tables(spec: &Connector, args: &VerifyArgs) -> Result<bool, Exit> {
    let mut clean = true;
    let wanted = args.output.as_deref();
    for table in find::tables(spec, wanted)?.into_iter().chain(find::late_rows(spec, wanted)?) {
        // Rows of a dead-letter table are looked at once.
        let deep = args.deep && !table.is_late_rows();
        let proof = prove(&table, deep).await.map_err(find::failure)?;
        let Some(proof) = proof else {
            // A run makes every table before it reads anything: without one there is nothing to prove.
            clean = false;
            absent(&table, args.json);
            continue;
        };
        clean &= proof.is_clean();
        if args.json {
            print::json(&proof);
        } else {
            proof.lines().into_iter().for_each(print::line);
        }
    }
    Ok(clean)
}

fn absent(table: &FoundTable, json: bool) {
    let (name, place) = (&table.name, table.store.table());
    if json {
        print::json(&serde_json::json!({"output": name, "table": place, "exists": false}));
    } else {
        print::line(format!("{name}: there is no table at {place}"));
    }
}

/// What one table proves.
#[derive(Debug, Serialize)]
pub(super) struct Proof {
    pub output: String,
    pub table: String,
    /// The kept versions that were walked.
    pub first_version: u64,
    pub last_version: u64,
    clean: bool,
    #[serde(flatten)]
    pub report: Report,
    /// Dead letters that became rows after all; `None`: none did.
    pub replay: Option<Report>,
    pub deep: Option<DeepReport>,
    /// A stream of what is no row of an output.
    #[serde(skip)]
    is_side: bool,
}

/// Walks a table's kept log; `None`: there is no table.
pub(super) async fn prove(table: &FoundTable, deep: bool) -> Result<Option<Proof>, SinkError> {
    let Some(log) = TableLog::open(&table.store).await? else {
        return Ok(None);
    };
    let kept = history::kept_versions(&table.store).await?;
    let (first, last) = kept.map_or((1, 0), |kept| (*kept.start(), log.version()));
    let mut verifier = Verifier::new(table.owner.clone());
    let owner = Owner::replay(table.owner.connector(), table.owner.stream());
    let mut replays = Verifier::new(owner);
    let mut coverage = Coverage::new(&table.owner, first == 0);
    let commits = history::commits(&table.store, first..=last);
    let mut commits = std::pin::pin!(commits);
    while let Some(commit) = commits.try_next().await? {
        verifier.take(&commit);
        replays.take(&commit);
        coverage.take(&commit);
    }
    let report = verifier.finish(log.txns());
    let deep =
        if deep { Some(deep::look(&table.store, &log, coverage.finish()).await?) } else { None };
    let replay = Some(replays.finish(log.txns())).filter(|report| report.commits > 0);
    let clean = report.is_clean()
        && replay.as_ref().is_none_or(Report::is_clean)
        && deep.as_ref().is_none_or(DeepReport::is_clean);
    Ok(Some(Proof {
        output: table.name.clone(),
        table: table.store.table().to_owned(),
        first_version: first,
        last_version: last,
        clean,
        report,
        replay,
        deep,
        is_side: table.is_dead_letters() || table.is_late_rows(),
    }))
}

impl Proof {
    pub(super) fn is_clean(&self) -> bool {
        self.clean
    }

    /// The sum, then what else there is to tell, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let Self { output, report, .. } = self;
        let mut lines = vec![self.sum()];
        let findings = report.findings.iter().map(ToString::to_string);
        lines.extend(findings.map(|finding| format!("{output}: wrong: {finding}")));
        lines.extend(report.keyed.as_ref().map(|counts| format!("{output}: {}", changes(counts))));
        if let Some(replay) = &self.replay {
            let rows = count(replay.fates.rows, "row");
            let commits = count(replay.commits, "replay");
            lines.push(format!("{output}: {rows} more of dead letters, by {commits}"));
            let findings = replay.findings.iter();
            lines.extend(findings.map(|finding| format!("{output}: replay: wrong: {finding}")));
        }
        for removal in &report.removals {
            let (version, files) = (removal.version, count(removal.files, "file"));
            let operation = removal.operation.as_deref().unwrap_or("an unnamed commit");
            lines.push(format!(
                "{output}: version {version}: another writer's {operation} removed {files}"
            ));
        }
        if let Some(deep) = &self.deep {
            lines.extend(deep_lines(output, deep));
        }
        lines
    }

    /// `orders: 100,000 = 99,997 rows + 3 dead letters; 0 gaps, 0 duplicates (versions 0–812)`
    fn sum(&self) -> String {
        let Self { output, report, .. } = self;
        let versions = format!("(versions {}–{})", self.first_version, self.last_version);
        let duplicates = count(report.duplicates, "duplicate");
        if self.is_side {
            // What isn't a dead letter, or late, is a gap to this stream.
            let (rows, of) =
                (count(report.fates.rows, "row"), count(report.fates.total(), "offset"));
            return format!("{output}: {rows} of {of} judged; {duplicates} {versions}");
        }
        let gaps = count(report.fates.gaps, "gap");
        let reread = match report.reread {
            0 => String::new(),
            again => format!(", {} read again after a rewind", number(again)),
        };
        let records = number(report.records);
        let terms = terms(report);
        format!("{output}: {records} = {terms}; {gaps}, {duplicates}{reread} {versions}")
    }
}

/// The fates that add up to the records; those that are always there, and those that are not zero.
fn terms(report: &Report) -> String {
    let fates = &report.fates;
    let mut terms = vec![count(fates.rows, "row"), count(fates.dead_letters, "dead letter")];
    if fates.skipped > 0 {
        terms.push(format!("{} skipped", number(fates.skipped)));
    }
    if fates.tombstones > 0 {
        terms.push(count(fates.tombstones, "tombstone"));
    }
    if fates.filtered > 0 {
        terms.push(format!("{} filtered", crate::offsets::grouped(fates.filtered)));
    }
    let others = [
        (fates.existing, "with an existing key"),
        (fates.duplicates, "duplicate"),
        (fates.held, "held back"),
        (fates.aggregated, "aggregated"),
        (fates.late, "late"),
        (fates.future, "too far in the future"),
        (fates.timeless, "without an event time"),
    ];
    let others = others.iter().filter(|(count, _)| *count > 0);
    terms.extend(others.map(|(count, what)| format!("{} {what}", number(*count))));
    terms.join(" + ")
}

/// `12 changes by key = 4 inserted + 3 updated + 5 superseded; 20 rows copied`
fn changes(counts: &KeyedCounts) -> String {
    let fates = [
        (counts.inserted, "inserted"),
        (counts.updated, "updated"),
        (counts.deleted, "deleted"),
        (counts.superseded, "superseded"),
        (counts.absent, "deleted without a row"),
        (counts.existing, "with an existing key"),
    ];
    let terms = fates.iter().filter(|(count, _)| *count > 0);
    let terms: Vec<String> =
        terms.map(|(count, what)| format!("{} {what}", number(*count))).collect();
    let sum = if terms.is_empty() { "0".to_owned() } else { terms.join(" + ") };
    let (changes, copied) = (count(counts.changes, "change"), count(counts.copied, "row"));
    format!("{changes} by key = {sum}; {copied} copied")
}

fn deep_lines(output: &str, deep: &DeepReport) -> Vec<String> {
    let (rows, files) = (count(deep.rows, "row"), count(deep.files, "file"));
    let (twice, outside) = (number(deep.duplicates), number(deep.outside));
    let mut lines = vec![format!(
        "{output}: deep: {rows} in {files}; {twice} there twice, {outside} in no commit"
    )];
    let wrong = deep.findings.iter();
    lines.extend(wrong.map(|finding| format!("{output}: deep: wrong: {finding}")));
    if let Some(repeated) = deep.repeated_keys {
        lines.push(format!("{output}: deep: {} there twice", count(repeated, "key")));
    }
    lines.extend(deep.notes.iter().map(|note| format!("{output}: deep: {note}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offsets::Fates;

    fn proof(fates: Fates, reread: u64) -> Proof {
        Proof {
            output: "orders".to_owned(),
            table: "/lake/orders".to_owned(),
            first_version: 0,
            last_version: 812,
            clean: true,
            report: Report { records: fates.records(), fates, reread, ..Report::default() },
            replay: None,
            deep: None,
            is_side: false,
        }
    }

    #[test]
    fn changes_by_key_are_told_with_what_they_cost() {
        let counts = KeyedCounts {
            changes: 12,
            inserted: 4,
            updated: 3,
            superseded: 5,
            ..Default::default()
        };
        let counts = KeyedCounts { copied: 20, ..counts };
        assert_eq!(
            changes(&counts),
            "12 changes by key = 4 inserted + 3 updated + 5 superseded; 20 rows copied"
        );
        assert_eq!(changes(&KeyedCounts::default()), "0 changes by key = 0; 0 rows copied");
    }

    #[test]
    fn the_sum_says_what_became_of_every_record() {
        let check = |fates, reread, expected| assert_eq!(proof(fates, reread).lines(), [expected]);
        let fates = Fates { rows: 99_997, dead_letters: 3, ..Fates::default() };
        check(
            fates,
            0,
            "orders: 100,000 = 99,997 rows + 3 dead letters; 0 gaps, 0 duplicates (versions 0–812)",
        );
        let fates = Fates { rows: 1, skipped: 2, tombstones: 300, gaps: 1, ..Fates::default() };
        check(
            fates,
            60,
            "orders: 303 = 1 row + 0 dead letters + 2 skipped + 300 tombstones; 1 gap, 0 duplicates, 60 read again \
             after a rewind (versions 0–812)",
        );
    }
}
