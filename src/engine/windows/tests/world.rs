//! A store, two instances at most, another writer, and everything that goes wrong.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use object_store::memory::InMemory;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::case::{Event, Mishap, Rewrite, Story};
use super::instance::{Instance, Plan};
use super::ledger::{Ledger, Live};
use crate::disposition::Disposition;
use crate::engine::EngineError;
use crate::sink::DataFile;
use crate::sink::commit::PUT_TRIES;
use crate::sink::files::{FilesSpec, FilesWriter, Naming};
use crate::sink::testing::{Fault, Fixture, commit_info};

/// How often what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) landed: u64,
    /// By somebody else's commit.
    pub(super) fenced: u64,
    pub(super) replanned: u64,
    /// Of other reasons.
    pub(super) failed: u64,
    /// Commits that landed although they had failed.
    pub(super) late: u64,
    /// By another writer.
    pub(super) rewritten: u64,
}

impl Tally {
    fn zip(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            landed: of(self.landed, other.landed),
            fenced: of(self.fenced, other.fenced),
            replanned: of(self.replanned, other.replanned),
            failed: of(self.failed, other.failed),
            late: of(self.late, other.late),
            rewritten: of(self.rewritten, other.rewritten),
        }
    }

    pub(super) fn with(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    pub(super) fn times(self, count: u64) -> Self {
        self.zip(self, |a, _| a * count)
    }

    /// Nothing is less than there.
    pub(super) fn covers(self, other: Self) -> bool {
        self.zip(other, u64::max) == self
    }
}

pub(super) struct World<'a> {
    plan: Plan,
    story: &'a Story,
    fixture: Fixture,
    instances: [Option<Instance>; 2],
    ledger: Ledger<'a>,
    tally: Tally,
}

impl<'a> World<'a> {
    /// From the first event to the end of the topic.
    pub(super) async fn run(story: &'a Story, plan: Plan) -> Tally {
        let fixture = Fixture::without_table(Arc::new(InMemory::new()));
        let ledger = Ledger::new(story, fixture.store.clone());
        let (instances, tally) = ([None, None], Tally::default());
        let mut world = Self { plan, story, fixture, instances, ledger, tally };
        for event in &story.events {
            world.take(event).await;
        }
        world.end().await;
        world.tally
    }

    async fn take(&mut self, event: &Event) {
        match event {
            Event::Read { by, partition, rows } => {
                let number = partition % self.story.case.partitions.len();
                let case = &self.story.case;
                self.instance(*by).await.read(case, number, *rows).await.expect("plain rows");
            }
            Event::Finish { by, toggled } => {
                if self.instance(*by).await.waiting().is_some() {
                    self.commit(*by, &Mishap::None).await;
                }
                self.finish(*by, toggled, false).await;
            }
            Event::Commit { by, mishap } => {
                if self.instance(*by).await.waiting().is_none() {
                    self.finish(*by, &BTreeSet::new(), false).await;
                }
                self.commit(*by, mishap).await;
            }
            Event::Crash { by } => self.instances[*by] = None,
            Event::Optimize(rewrite) => {
                if let Some(lines) = self.rewrite(rewrite).await {
                    self.fixture.entry(self.ledger.next, &lines).await;
                    self.ledger.look().await;
                }
            }
        }
    }

    async fn instance(&mut self, by: usize) -> &mut Instance {
        if self.instances[by].is_none() {
            let started = Instance::start(&self.plan, self.fixture.store.clone()).await;
            self.instances[by] = Some(started.expect("it starts from what is committed"));
            self.ledger.look().await;
        }
        self.instances[by].as_mut().expect("just started")
    }

    async fn finish(&mut self, by: usize, toggled: &BTreeSet<usize>, ends: bool) {
        let case = &self.story.case;
        let instance = self.instance(by).await;
        instance.finish(case, toggled, ends).await.expect("nothing is in its way");
        let Some(done) = instance.waiting().map(|waiting| &waiting.done) else { return };
        let due = done.open.as_ref().is_some_and(|(_, due)| *due);
        let version = done.version;
        self.ledger.due.insert(version, due);
    }

    async fn commit(&mut self, by: usize, mishap: &Mishap) {
        let Some(version) = self.instance(by).await.waiting().map(|waiting| waiting.done.version)
        else {
            return;
        };
        let must_land = matches!(mishap, Mishap::None) && self.stands(by);
        self.arrange(mishap).await;
        let result = self.instance(by).await.commit().await;
        self.fixture.faults.heal();
        let before = self.ledger.state;
        self.ledger.look().await;
        if self.ledger.state != before && result.is_err() {
            self.tally.late += 1;
        }
        match result {
            Ok(_) => {
                assert_eq!(self.ledger.state, Some(version), "what landed is in the log");
                self.tally.landed += 1;
            }
            Err(error) => {
                assert!(!must_land, "nothing was in its way: {error}");
                self.failed(by, &error);
            }
        }
    }

    /// Whether nobody has changed anything since the instance looked.
    fn stands(&self, by: usize) -> bool {
        let table = &self.instances[by].as_ref().expect("it has something to commit").table;
        let minds_files = self.story.becomes.shows_open();
        let files_stand = !minds_files || table.version() + 1 == self.ledger.next;
        let late = self.fixture.faults.has_late_puts();
        !late && table.state() == self.ledger.state && files_stand
    }

    fn failed(&mut self, by: usize, error: &EngineError) {
        match error.code() {
            "SL4020" => self.tally.fenced += 1,
            "SL4021" => self.tally.replanned += 1,
            _ => self.tally.failed += 1,
        }
        let wrong = error.disposition() == Disposition::Stop(crate::disposition::Exit::DataRefused);
        assert!(!wrong, "{error}");
        self.instances[by] = None;
    }

    async fn arrange(&mut self, mishap: &Mishap) {
        let faults = &self.fixture.faults;
        match mishap {
            Mishap::None => {}
            Mishap::State(fault) => faults.fail_states([fault.clone()]),
            Mishap::Entry(all) => faults.fail_puts(all.iter().cloned()),
            Mishap::Late => {
                let lost = std::iter::repeat_n(Fault::TimeoutBefore, PUT_TRIES as usize - 1);
                faults.fail_puts(lost.chain([Fault::CutThenLands]));
            }
            Mishap::Reads(count) => faults.fail_reads(*count),
            Mishap::Raced(rewrite) => {
                // Whatever is late takes the version first.
                if faults.has_late_puts() {
                    return;
                }
                if let Some(lines) = self.rewrite(rewrite).await {
                    let entry = (self.ledger.next, lines);
                    self.fixture.faults.fail_puts([Fault::Meanwhile(vec![entry])]);
                }
            }
        }
    }

    /// The entry of another writer that puts the rows of some files into one; `None`: there are no files.
    async fn rewrite(&mut self, rewrite: &Rewrite) -> Option<Vec<Value>> {
        let picked = self.pick(rewrite);
        let partition = picked.first()?.partition_values.clone();
        let mut lines = vec![commit_info("OPTIMIZE")];
        let mut batches = Vec::new();
        for Live { path, .. } in picked {
            batches.extend(self.ledger.read(path).await);
            lines.push(json!({
                "remove": {"path": path, "deletionTimestamp": 1, "dataChange": false},
            }));
        }
        for file in self.write(batches).await {
            let stats = match rewrite.without_stats {
                true => json!({"numRecords": file.rows}).to_string(),
                false => file.stats,
            };
            lines.push(json!({"add": {
                "path": file.path, "partitionValues": partition, "size": file.size_bytes,
                "modificationTime": file.modification_time, "dataChange": false, "stats": stats,
            }}));
        }
        self.tally.rewritten += 1;
        Some(lines)
    }

    /// All of one partition.
    fn pick(&self, rewrite: &Rewrite) -> Vec<&Live> {
        let live = &self.ledger.live;
        let is_picked = |number: usize| (rewrite.files >> (number % 16)) & 1 == 1;
        let picked = live.iter().enumerate().filter(|(number, _)| is_picked(*number));
        let mut picked: Vec<_> = picked.map(|(_, live)| live).collect();
        if picked.is_empty() {
            picked.extend(live);
        }
        let first = picked.first().map(|live| live.partition_values.clone());
        picked.retain(|live| Some(&live.partition_values) == first.as_ref());
        picked
    }

    async fn write(&self, batches: Vec<RecordBatch>) -> Vec<DataFile> {
        let schema = batches.first().expect("a file has rows").schema();
        let spec = FilesSpec::plain(schema, &self.plan.output.files);
        let naming = Naming { output: "other".to_owned(), epoch: 0, attempt: Uuid::new_v4() };
        let objects = self.fixture.store.objects().clone();
        let mut writer = FilesWriter::new(&spec, objects, naming, Handle::current());
        let written = tokio::task::spawn_blocking(move || {
            batches.iter().try_for_each(|batch| writer.write(batch))?;
            writer.finish()
        });
        written.await.expect("no panic").expect("room in memory")
    }

    /// A last instance reads what is left; nothing more goes wrong.
    async fn end(&mut self) {
        self.instances = [None, None];
        let case = &self.story.case;
        loop {
            let may_fail = self.fixture.faults.has_late_puts();
            for number in (0..case.partitions.len()).rev() {
                let instance = self.instance(0).await;
                instance.read(case, number, usize::MAX).await.expect("plain rows");
            }
            self.finish(0, &BTreeSet::new(), false).await;
            self.commit(0, &Mishap::None).await;
            if self.instances[0].is_some() {
                break;
            }
            assert!(may_fail, "who is alone succeeds");
        }
        self.finish(0, &BTreeSet::new(), true).await;
        self.commit(0, &Mishap::None).await;
        self.ledger.close();
        self.instances[0].take().expect("it succeeded").close().await;
    }
}
