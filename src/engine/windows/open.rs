//! `emit: changes`: the files that hold the current values of open windows, and when they are written anew.
//!
//! Key groups next to each other share files, a bucket of them. A commit replaces the files of buckets in which windows were
//! closed, and, as often as is asked for, of those in which anything has changed; others stay as they are. What a commit
//! leaves is kept in its state object, so nothing is read back.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::EngineError;
use crate::engine::table::{Table, WindowFiles};
use crate::sink::files::FilesWriter;
use crate::sink::history::WindowsInfo;
use crate::sink::keyed::open_windows::{self, EndsAfter, OpenFile, TakenOut};
use crate::transform::aggregation::Aggregation;
use crate::transform::window::{Closed, KEY_GROUPS, Next, Windows};

/// Rows of state for one bucket: some MiB of a table's file, which is what a commit rewrites for one changed row.
const ROWS_OF_BUCKET: usize = 1 << 16;
const MOST_BUCKETS: usize = 64;

/// The files of open windows, as a commit leaves them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OpenWindows {
    /// By bucket, of which the number is a power of two.
    files: Vec<Vec<OpenFile>>,
    /// Key groups in which windows have changed since their files were written.
    changed: BTreeSet<u8>,
}

impl Default for OpenWindows {
    fn default() -> Self {
        Self { files: vec![Vec::new()], changed: BTreeSet::new() }
    }
}

impl OpenWindows {
    /// As a state object keeps them; `None`: these aren't any.
    pub(super) fn read(kept: &Value) -> Option<Self> {
        let read: Self = serde_json::from_value(kept.clone()).ok()?;
        let count = read.files.len();
        (count.is_power_of_two() && count <= MOST_BUCKETS).then_some(read)
    }

    /// Of whose windows nothing is in the table.
    pub(super) fn all_changed() -> Self {
        Self { changed: (0..=u8::MAX).collect(), ..Self::default() }
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &OpenFile> {
        self.files.iter().flatten()
    }

    fn groups(&self, bucket: usize) -> Range<usize> {
        let size = KEY_GROUPS / self.files.len();
        bucket * size..(bucket + 1) * size
    }

    fn buckets_of(&self, groups: &BTreeSet<u8>) -> BTreeSet<usize> {
        let size = KEY_GROUPS / self.files.len();
        groups.iter().map(|group| usize::from(*group) / size).collect()
    }
}

/// When values of open windows are written.
#[derive(Debug)]
pub(super) struct Pace {
    every: Duration,
    /// In this session.
    last: Option<Instant>,
    /// An epoch was asked for, for their sake.
    asked: bool,
}

impl Pace {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, last: None, asked: false }
    }

    /// Whether an epoch is to be made to write them. `ends`: there won't be another one.
    pub(super) fn asks(&mut self, open: &Emission, ends: bool) -> bool {
        let waits = open.scattered || !open.windows.changed.is_empty();
        self.asked = waits && (ends || self.is_time());
        self.asked
    }

    /// Whether an epoch was asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.asked
    }

    /// Whether they are to be written by an epoch that is made anyway.
    pub(super) fn is_due(&self) -> bool {
        self.asked || self.is_time()
    }

    pub(super) fn written(&mut self) {
        self.last = Some(Instant::now());
        self.asked = false;
    }

    /// A little early rather than a whole trigger late.
    fn is_time(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= self.every - self.every / 10)
    }
}

/// The files of open windows, and what became of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Emission {
    pub(super) windows: OpenWindows,
    /// Another writer has put their rows into other files.
    pub(super) scattered: bool,
}

impl Emission {
    /// What a commit left of open windows, or what became of it.
    pub(super) async fn found(
        kept: Option<OpenWindows>,
        table: &Table,
    ) -> Result<Self, EngineError> {
        // State of an output that wrote closed windows only, until now.
        let windows = kept.unwrap_or_else(OpenWindows::all_changed);
        let files: Vec<_> = windows.files().cloned().collect();
        if files.is_empty() {
            return Ok(Self { windows, scattered: false });
        }
        let untouched = open_windows::are_untouched(&table.store, table.log(), files).await?;
        Ok(Self { windows, scattered: !untouched })
    }
}

/// The current values of open windows, in the table.
pub(super) struct Changes {
    pub(super) pace: Pace,
    pub(super) open: Emission,
}

impl Changes {
    /// What an epoch is to do. `ends_after`: which rows of the table are of windows that the last commit left open.
    pub(super) async fn emitting(
        &self,
        table: &Table,
        ends_after: Option<EndsAfter>,
    ) -> Result<Emitting, EngineError> {
        let (open, due) = (self.open.clone(), self.pace.is_due());
        let taken = match open.scattered {
            false => None,
            true => Some(table.take_out(ends_after).await?),
        };
        Ok(Emitting { open, due, taken })
    }
}

/// What one epoch does about open windows.
pub(super) struct Emitting {
    pub(super) open: Emission,
    /// They are to be written, not only where windows were closed.
    pub(super) due: bool,
    /// If they were scattered: the table without them.
    pub(super) taken: Option<TakenOut>,
}

impl Emitting {
    /// Writes files anew, as the epoch asks for; adds what becomes of files to `files`, and counts it.
    pub(super) fn run(
        self,
        (windows, next): (&Windows, &mut Next),
        closed: &Closed,
        aggregation: &Aggregation,
        writer: impl Fn() -> FilesWriter,
        (files, info): (&mut WindowFiles, &mut WindowsInfo),
    ) -> Result<Emission, EngineError> {
        let Self { open: Emission { windows: mut open, .. }, due, taken } = self;
        open.changed.extend(next.changes.groups());
        open.changed.extend(&closed.groups);
        let wanted = buckets(windows.state().len(), open.files.len());
        let anew = taken.is_some() || wanted != open.files.len();
        if let Some(taken) = taken {
            info.copied = taken.copied;
            files.adds.extend(taken.adds);
            files.removes.extend(taken.removes);
        } else if anew {
            files.removes.extend(open.files().map(OpenFile::remove));
        }
        if anew {
            open.files = vec![Vec::new(); wanted];
        }
        let rewritten = match (anew, due) {
            (true, _) => (0..wanted).collect(),
            (false, true) => open.buckets_of(&open.changed),
            (false, false) => open.buckets_of(&closed.groups),
        };
        for bucket in rewritten {
            files.removes.extend(open.files[bucket].iter().map(OpenFile::remove));
            let groups = open.groups(bucket);
            let mut writer = writer();
            for rows in windows.open_after(next, groups.clone())? {
                info.opened += rows.num_rows() as u64;
                writer.write(&aggregation.select(&rows, info.epoch)?)?;
            }
            let written = writer.finish()?;
            open.files[bucket] = written.iter().map(OpenFile::from).collect();
            files.adds.extend(written);
            open.changed.retain(|group| !groups.contains(&usize::from(*group)));
        }
        info.replaced = files.removes.iter().map(crate::sink::Remove::rows).sum();
        Ok(Emission { windows: open, scattered: false })
    }
}

/// How many buckets so many rows are divided into; `now` if that is about right.
fn buckets(rows: usize, now: usize) -> usize {
    let wanted = rows.div_ceil(ROWS_OF_BUCKET).next_power_of_two().min(MOST_BUCKETS);
    if (wanted / 2..=wanted * 4).contains(&now) { now } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_the_rows_without_haste() {
        let check = |rows, now, expected| assert_eq!(buckets(rows, now), expected, "{rows}, {now}");
        check(0, 1, 1);
        check(ROWS_OF_BUCKET + 1, 1, 1);
        check(3 * ROWS_OF_BUCKET, 1, 4);
        check(3 * ROWS_OF_BUCKET, 16, 16);
        check(ROWS_OF_BUCKET, 8, 1);
        check(usize::MAX / 2, 64, 64);
    }

    #[test]
    fn groups_are_divided_among_buckets() {
        let open = OpenWindows { files: vec![Vec::new(); 4], changed: BTreeSet::new() };
        assert_eq!(open.groups(3), 192..256);
        assert_eq!(open.buckets_of(&[0, 63, 64, 255].into()), [0, 1, 3].into());
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let open = OpenWindows { changed: [7].into(), ..OpenWindows::default() };
        let kept = serde_json::to_value(&open).expect("plain data");
        assert_eq!(OpenWindows::read(&kept).expect("it is one").changed, [7].into());
        assert!(OpenWindows::read(&Value::Null).is_none());
    }
}
