//! State of ten million open windows, in memory and on disk: the time and memory of epochs, of closing all windows at once,
//! and of restoring the state from what was committed.
//!
//! `cargo bench --bench state`; with a number, so many million windows. Each part runs in a process of its own, whose largest
//! resident memory is its own. State objects are files here: what an object store would add is not in the figures.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use serde_json::Value;
use sluice::chunk::{MAX_CHUNK_ROWS, SourcePartition};
use sluice::offsets::{TopicId, TopicPartition};
use sluice::transform::window::{
    Aligned, Argument, CHAIN, CountedRows, Decisions, Epoch, Function, Kind, Lateness, Measure,
    Restoring, State, Stored, Times, ToStore, Watermarks, WindowError, WindowPlan, Windows,
};

/// As in the program: RocksDB allocates by it, too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
/// The beginning of an hour.
const START: i64 = 1_790_000_400 / 3_600 * 3_600 * SECOND;
/// Rows of an epoch are some 200,000.
const CHUNKS: usize = 25;
const ROWS: usize = CHUNKS * MAX_CHUNK_ROWS;
/// Epochs over windows that are there already.
const UPDATES: usize = 30;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["run", kind, folder, millions] => run(kind, Path::new(folder), number(millions)),
        ["restore", kind, folder] => restore(kind, Path::new(folder)),
        [] => all("10"),
        [millions] => all(millions),
        _ => panic!("a number of millions"),
    }
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

/// Each part in a process.
fn all(millions: &str) {
    let scratch = std::env::temp_dir().join(format!("sluice-state-{}", std::process::id()));
    for kind in ["memory", "disk"] {
        let folder = scratch.join(kind);
        fs::create_dir_all(&folder).expect("a folder");
        let folder = folder.to_str().expect("a name in UTF-8");
        for arguments in [&["run", kind, folder, millions][..], &["restore", kind, folder]] {
            let own = std::env::current_exe().expect("its own name");
            let status = Command::new(own).args(arguments).status().expect("it starts");
            assert!(status.success(), "{arguments:?}");
        }
    }
    fs::remove_dir_all(scratch).expect("it was made here");
}

fn empty(kind: &str, folder: &Path) -> State {
    match kind {
        "memory" => State::default(),
        _ => State::on_disk(&folder.join("cache")).expect("it opens"),
    }
}

fn plan() -> Arc<WindowPlan> {
    let measures = vec![
        Measure::new("orders", Function::Count, None).expect("a measure"),
        Measure::new("revenue", Function::Sum, Some(&DataType::Int64)).expect("a measure"),
    ];
    let keys = vec![Arc::new(Field::new("customer", DataType::Utf8, true))];
    let kind = Kind::Aligned(Aligned::new(HOUR, HOUR, 0, None).expect("valid"));
    let lateness = Lateness { delay: 60 * SECOND, max_future: None };
    Arc::new(WindowPlan::new(kind, lateness, keys, measures).expect("a plan"))
}

fn partition() -> SourcePartition {
    SourcePartition { id: TopicPartition::new("orders", 0), topic_id: TopicId::unknown() }
}

fn run(kind: &str, folder: &Path, millions: usize) {
    let epochs = (millions * 1_000_000).div_ceil(ROWS);
    let keys = (epochs * ROWS) as u64;
    let mut windows = Windows::restored(plan(), Watermarks::default(), empty(kind, folder));
    let mut objects = Objects { folder: folder.join("objects"), versions: Vec::new() };
    fs::create_dir_all(&objects.folder).expect("a folder");
    let mut random = fastrand::Rng::with_seed(7);

    let began = Instant::now();
    for number in 0..epochs {
        let first = (number * ROWS) as u64;
        epoch(&mut windows, &mut objects, START, (first..).take(ROWS));
    }
    tell(kind, "new keys", began, epochs, &windows);

    for part in 0..3 {
        let began = Instant::now();
        for _ in 0..UPDATES {
            let any: Vec<_> = (0..ROWS).map(|_| random.u64(0..keys)).collect();
            epoch(&mut windows, &mut objects, START, any.into_iter());
        }
        tell(kind, ["known keys", "again", "and again"][part], began, UPDATES, &windows);
    }
    objects.copy_newest();

    let began = Instant::now();
    let later = START + 2 * HOUR;
    let closed = epoch(&mut windows, &mut objects, later, std::iter::once(0));
    assert_eq!(closed, keys as usize);
    tell(kind, "all close", began, 1, &windows);
    let began = Instant::now();
    for number in 0..5_u64 {
        epoch(&mut windows, &mut objects, later, (number * ROWS as u64..).take(ROWS));
    }
    tell(kind, "after that", began, 5, &windows);
}

/// One epoch with a row per key, and its commit; how many windows it closed.
fn epoch(
    windows: &mut Windows,
    objects: &mut Objects,
    time: i64,
    keys: impl Iterator<Item = u64>,
) -> usize {
    let mut epoch = windows.begin().expect("accumulators");
    let keys: Vec<_> = keys.collect();
    keys.chunks(MAX_CHUNK_ROWS).for_each(|keys| add(&mut epoch, time, keys));
    let written = |_| Ok::<_, WindowError>(());
    let finished = windows.finish(epoch, &Decisions::default(), written).expect("no overflow");
    let number = objects.versions.len() as u64 + 1;
    let to_store = ToStore {
        epoch: number,
        begun: 1,
        meaning: &BTreeMap::new(),
        decisions: &Decisions::default(),
        before: &objects.versions,
        rest: &Value::Null,
    };
    let object = windows.object(&finished.next, to_store).expect("it is encoded");
    objects.put(&object);
    windows.commit(finished.next).expect("a disk with room");
    finished.closed.count
}

fn add(epoch: &mut Epoch, time: i64, keys: &[u64]) {
    let column = |value: &dyn Fn(u64) -> i64| -> Int64Array {
        keys.iter().map(|key| Some(value(*key))).collect()
    };
    let times = column(&|key| time + (key % 3_000) as i64 * SECOND);
    let amounts: ArrayRef = Arc::new(column(&|key| (key % 1_000) as i64));
    // Twelve digits, each number its own, in no order.
    let name =
        |key: &u64| format!("{:012x}", key.wrapping_mul(0x9e37_79b9_7f4b) & 0xffff_ffff_ffff);
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(keys.iter().map(name)));
    let partition = partition();
    let judged = epoch.judge(
        &partition,
        Times { event: &times, record: &times, kept: None, late: None, gaps: None },
    );
    assert!(judged.counted().is_none(), "no row is late");
    let rows = CountedRows {
        partition: &partition,
        offsets: &column(&|key| key as i64),
        distinct: &[],
        keys: &[names],
        arguments: &[
            Argument { values: None, filter: None },
            Argument { values: Some(amounts), filter: None },
        ],
    };
    epoch.add(judged, rows).expect("accumulators");
}

fn restore(kind: &str, folder: &Path) {
    let newest = fs::read(folder.join("newest")).expect("it was kept");
    let stored = Stored::decode(&newest).expect("whole");
    let began = Instant::now();
    let mut restoring = Restoring::new(empty(kind, folder));
    for version in &stored.before {
        let object = fs::read(path(&folder.join("objects"), *version)).expect("it was put");
        restoring.add(&object).expect("the next");
    }
    restoring.add(&newest).expect("the next");
    let state = restoring.finish().expect("a whole chain");
    let windows = Windows::restored(plan(), stored.watermarks, state);
    tell(kind, "restored", began, CHAIN.min(stored.before.len() + 1), &windows);
}

/// State objects, as files.
struct Objects {
    folder: PathBuf,
    versions: Vec<i64>,
}

impl Objects {
    fn put(&mut self, object: &[u8]) {
        let version = self.versions.len() as i64 + 1;
        fs::write(path(&self.folder, version), object).expect("a disk with room");
        self.versions.push(version);
        // One more than are needed.
        let _ = fs::remove_file(path(&self.folder, version - CHAIN as i64 - 8));
    }

    /// For `restore`: those after it are to be forgotten.
    fn copy_newest(&self) {
        let newest = self.versions[self.versions.len() - 1];
        let kept = self.folder.with_file_name("newest");
        fs::copy(path(&self.folder, newest), kept).expect("a disk with room");
    }
}

fn path(folder: &Path, version: i64) -> PathBuf {
    folder.join(version.to_string())
}

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
fn tell(kind: &str, what: &str, began: Instant, epochs: usize, windows: &Windows) {
    let each = began.elapsed().as_secs_f64() / epochs as f64;
    let (windows, bytes) = (windows.state().len(), windows.state().bytes() >> 20);
    let [now, peak] = ["VmRSS:", "VmHWM:"].map(resident_mib);
    println!(
        "{kind:<7} {what:<11} {epochs:>4} epochs of {each:>6.2} s, {windows:>9} windows, {bytes:>5} MiB of state, \
         memory {now:>5} MiB, at most {peak:>5} MiB"
    );
}

fn resident_mib(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|text| text.strip_prefix(line)).unwrap_or_default();
    line.split_whitespace().next().map_or(0, |kib| kib.parse().unwrap_or(0)) >> 10
}
