//! How a run would begin: where it goes on, what it would refuse, and how much it would write in a day.

use std::time::Duration;

use futures::TryStreamExt;

use super::finding::Findings;
use super::table::Target;
use crate::cli::text::{count, number};
use crate::config::{Connector, OnDataLoss, Start, Trigger, files_per_day};
use crate::engine::EngineError;
use crate::engine::recovery::{self, Rules};
use crate::engine::view::View;
use crate::sink::error::{CommitError, SinkError};
use crate::sink::history::{self, PastCommit};
use crate::sink::log::TableLog;
use crate::sink::progress::{Position, Standing};
use crate::sink::store::TableStore;

/// `source.start` has no say once there is progress.
const START_IGNORED: &str = "SL5101";
const MANY_FILES: &str = "SL5102";

/// More data files in a day than this make a table slow to read and to plan within weeks.
const MANY_FILES_A_DAY: u64 = 10_000;
/// A batch that finds little to do takes about this long.
const QUICK_BATCH: Duration = Duration::from_millis(150);
/// Versions that are looked at for how many files a batch writes.
const RECENT: u64 = 32;

pub async fn check(
    target: &Target<'_>,
    spec: &Connector,
    store: &TableStore,
    log: Option<&TableLog>,
    view: Option<&View>,
    findings: &mut Findings,
) -> Result<(), EngineError> {
    if let Some(log) = log {
        if let Some(version) = history::unanswered_restore(store, log, &target.owner).await? {
            let table = store.table().to_owned();
            findings.error(&target.subject, &CommitError::Restored { table, version }.into());
        }
        if let Some(view) = view {
            standing(target, spec, store, log, view, findings)?;
        }
    } else if let Some(view) = view {
        first_run(target, spec, view, findings)?;
    }
    if target.output.is_some() {
        let batch = match log {
            Some(log) => files_of_a_batch(store, log).await?,
            None => None,
        };
        pace(&target.subject, spec.trigger, batch, findings);
    }
    Ok(())
}

fn standing(
    target: &Target<'_>,
    spec: &Connector,
    store: &TableStore,
    log: &TableLog,
    view: &View,
    findings: &mut Findings,
) -> Result<(), EngineError> {
    let topics = view.topics(target.output.and_then(|output| output.topics.as_deref()));
    let standing = Standing::of(log, store.table(), &target.owner, &topics)?;
    if target.output.is_none() {
        return Ok(());
    }
    if standing.first_run {
        return begins(target, spec, &standing, view, findings);
    }
    if spec.source.start != Start::Earliest {
        findings.warn(
            START_IGNORED,
            &target.subject,
            format!(
                "`start` is ignored: progress exists (table version {}); use `sluice rewind`",
                log.version()
            ),
        );
    }
    begins(target, spec, &standing, view, findings)
}

/// Without a table, every partition is new.
fn first_run(
    target: &Target<'_>,
    spec: &Connector,
    view: &View,
    findings: &mut Findings,
) -> Result<(), EngineError> {
    let topics = target.output.and_then(|output| output.topics.as_deref());
    let partitions = view.catalog.partitions();
    let wanted = partitions.filter(|p| topics.is_none_or(|t| t.iter().any(|t| **t == *p.id.topic)));
    let standing = Standing {
        positions: wanted.map(|partition| (partition, Position::New)).collect(),
        vanished: Vec::new(),
        first_run: true,
    };
    if target.output.is_none() {
        return Ok(());
    }
    begins(target, spec, &standing, view, findings)
}

/// Tells where a run would go on, or why it wouldn't.
fn begins(
    target: &Target<'_>,
    spec: &Connector,
    standing: &Standing,
    view: &View,
    findings: &mut Findings,
) -> Result<(), EngineError> {
    let rules = Rules { start: &spec.source.start, on_data_loss: OnDataLoss::Fail };
    let opening = match recovery::opening(rules, &target.subject, standing, &view.extent, |_| None)
    {
        Err(
            error @ (EngineError::DataLoss { .. }
            | EngineError::Sink(SinkError::TopicRecreated { .. })),
        ) if spec.source.on_data_loss == OnDataLoss::Continue => {
            findings.warn(
                error.code(),
                &target.subject,
                format!("{error}; `source.on_data_loss` is `continue`: it will be recorded"),
            );
            return Ok(());
        }
        opening => opening?,
    };
    let mut next: std::collections::BTreeMap<_, i64> = standing
        .positions
        .iter()
        .filter_map(|(partition, position)| match position {
            Position::At(txn) => Some((&partition.id, txn.version)),
            _ => None,
        })
        .collect();
    let opened: Vec<_> =
        opening.iter().map(|info| (info.source_partition().id, info.end)).collect();
    next.extend(opened.iter().map(|(id, end)| (id, *end)));
    let waiting: u64 = next
        .iter()
        .filter_map(|(id, next)| Some(view.bounds(id)?.1.saturating_sub(*next).max(0)))
        .map(i64::unsigned_abs)
        .sum();
    let (partitions, waiting) = (count(next.len() as u64, "partition"), count(waiting, "record"));
    let how = if standing.first_run { "a first run" } else { "goes on where it is" };
    findings.ok(&target.subject, format!("{how}: {partitions}, {waiting} to read"));
    Ok(())
}

/// How many files the newest batches wrote each, on average; `None`: there is none.
async fn files_of_a_batch(store: &TableStore, log: &TableLog) -> Result<Option<f64>, SinkError> {
    let Some(kept) = history::kept_versions(store).await? else {
        return Ok(None);
    };
    let oldest = log.version().saturating_sub(RECENT).max(*kept.start());
    let commits: Vec<PastCommit> =
        history::commits(store, oldest..=log.version()).try_collect().await?;
    let batches = commits.iter().filter(|commit| commit.info.is_some() && commit.files.added > 0);
    let files: Vec<u64> = batches.map(|commit| commit.files.added).collect();
    let sum: u64 = files.iter().sum();
    Ok((!files.is_empty()).then(|| sum as f64 / files.len() as f64))
}

/// Warns of a table that gets too many files a day.
fn pace(subject: &str, trigger: Trigger, files_of_a_batch: Option<f64>, findings: &mut Findings) {
    let Trigger::ProcessingTime { interval } = trigger else {
        return;
    };
    if interval.is_zero() {
        let commits = files_per_day(1, QUICK_BATCH).unwrap_or(0);
        findings.warn(
            MANY_FILES,
            subject,
            format!(
                "`trigger.interval: 0s` commits as fast as it can: at 150 ms a batch {} commits a day; the default is \
                 10s",
                number(commits)
            ),
        );
        return;
    }
    let batches = files_per_day(1, interval).unwrap_or(0);
    let per_batch = files_of_a_batch.unwrap_or(1.0).max(1.0);
    let files = (batches as f64 * per_batch).round();
    if files < MANY_FILES_A_DAY as f64 {
        return;
    }
    findings.warn(
        MANY_FILES,
        subject,
        format!(
            "{} batches a day × {per_batch:.1} files each = {} files a day; raise `trigger.interval`, or partition by \
             less",
            number(batches),
            number(files as i64)
        ),
    );
}
