//! Reading and writing a batch, on two threads: one fetches and decodes, one encodes and uploads.
//!
//! A bounded channel of chunks lies between them, so the slower one sets the pace and memory stays bounded. The
//! threads live as long as a session; their names (`sluice-read`, `sluice-write`) let `top -H` tell the stages apart.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::EngineError;
use super::batch::{BatchWriter, OutputWritten, Writing, Written};
use super::decoders::Decoders;
use crate::chunk::{Chunk, SourcePartition};
use crate::offsets::OffsetRange;
use crate::source::{Event, ReadError, Reader, Target};

/// Chunks on their way from the decoders to the encoder.
const CHUNKS_IN_FLIGHT: usize = 4;

/// Offsets of a partition that are dead letters already.
pub type Held = BTreeMap<Arc<SourcePartition>, Arc<BTreeSet<i64>>>;

/// What to read.
pub struct ReadJob {
    pub targets: Vec<Target>,
    pub max_bytes: u64,
    pub held: Held,
}

/// A batch that was read and written, but not yet committed.
pub struct Batch {
    /// What the batch covers; shorter than planned where the byte limit cut it.
    pub ranges: Vec<(Arc<SourcePartition>, OffsetRange)>,
    pub written: Written,
    pub seen: Seen,
    pub read_took: Duration,
    pub write_took: Duration,
}

/// What the reader noticed in passing.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The oldest record's timestamp, in milliseconds since the Unix epoch.
    pub oldest_ms: Option<i64>,
    /// Each partition's last record's timestamp.
    pub newest_ms: BTreeMap<Arc<SourcePartition>, i64>,
    /// The first bad record, as the decoder describes it.
    pub first_bad: Option<String>,
}

struct ReadDone {
    ranges: Vec<(Arc<SourcePartition>, OffsetRange)>,
    seen: Seen,
    took: Duration,
}

struct WriteDone {
    written: Written,
    outputs: Vec<OutputWritten>,
    took: Duration,
}

type Reply<T> = oneshot::Sender<Result<T, EngineError>>;
type ReadOrder = (ReadJob, SyncSender<Chunk>, Reply<ReadDone>);
type WriteOrder = (BatchWriter, Receiver<Chunk>, Reply<WriteDone>);

/// The two threads.
pub struct Pipeline {
    reads: mpsc::Sender<ReadOrder>,
    writes: mpsc::Sender<WriteOrder>,
    stop: Arc<AtomicBool>,
}

impl Pipeline {
    pub fn start(reader: Reader, decoders: Decoders) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (reads, read_jobs) = channel();
        let (writes, write_jobs) = channel();
        let stopped = stop.clone();
        thread::Builder::new()
            .name("sluice-read".into())
            .spawn(move || read_loop(reader, decoders, &read_jobs, &stopped))?;
        thread::Builder::new()
            .name("sluice-write".into())
            .spawn(move || write_loop(&write_jobs))?;
        Ok(Self { reads, writes, stop })
    }

    /// Starts to read and write a batch, for each output in the order of the writer's; it goes on while the future is not polled. One at a time.
    pub fn start_batch(
        &self,
        job: ReadJob,
        writer: BatchWriter,
    ) -> impl Future<Output = Result<(Batch, Vec<OutputWritten>), EngineError>> + use<> {
        let (chunks, received) = sync_channel(CHUNKS_IN_FLIGHT);
        let (read_reply, read) = oneshot::channel();
        let (write_reply, write) = oneshot::channel();
        // A thread that is gone drops the reply, which the receivers below report.
        let _ = self.reads.send((job, chunks, read_reply));
        let _ = self.writes.send((writer, received, write_reply));
        async move {
            let (read, write) = tokio::join!(read, write);
            // A writer that failed makes the reader fail too, with less to say.
            let write = write.map_err(|_| EngineError::ThreadGone("sluice-write"))??;
            let read = read.map_err(|_| EngineError::ThreadGone("sluice-read"))??;
            let batch = Batch {
                ranges: read.ranges,
                written: write.written,
                seen: read.seen,
                read_took: read.took,
                write_took: write.took,
            };
            Ok((batch, write.outputs))
        }
    }
}

impl Drop for Pipeline {
    /// The threads end by themselves, within one wait of the reader.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn read_loop(
    mut reader: Reader,
    mut decoders: Decoders,
    jobs: &Receiver<ReadOrder>,
    stop: &AtomicBool,
) {
    while let Ok((job, chunks, reply)) = jobs.recv() {
        let result = read(&mut reader, &mut decoders, &job, &chunks, stop);
        drop(chunks);
        let failed = result.is_err();
        let _ = reply.send(result);
        if failed {
            return;
        }
    }
}

fn read(
    reader: &mut Reader,
    decoders: &mut Decoders,
    job: &ReadJob,
    chunks: &SyncSender<Chunk>,
    stop: &AtomicBool,
) -> Result<ReadDone, EngineError> {
    let began = Instant::now();
    // Of a batch before that failed.
    drop(decoders.take_first_bad());
    let mut seen = Seen::default();
    let mut run: Option<(Arc<SourcePartition>, Option<i64>)> = None;
    let ranges = reader
        .read(&job.targets, job.max_bytes, stop, |event| match event {
            Event::Begin(partition, start) => {
                decoders.begin(partition.clone(), start, job.held.get(partition).cloned());
                run = Some((partition.clone(), None));
                Ok(())
            }
            Event::Record(message) => {
                if let (Some((_, newest)), Some(ms)) = (&mut run, message.timestamp_ms) {
                    seen.oldest_ms = Some(seen.oldest_ms.map_or(ms, |oldest| oldest.min(ms)));
                    *newest = Some(ms);
                }
                decoders.push(&message)?;
                if !decoders.is_full() {
                    return Ok(());
                }
                let chunk = decoders.finish(message.offset + 1);
                chunks.send(chunk).map_err(|_| EngineError::ThreadGone("sluice-write"))
            }
            Event::End(end) => {
                if let Some((partition, Some(newest))) = run.take() {
                    seen.newest_ms.insert(partition, newest);
                }
                let chunk = decoders.finish(end);
                if chunk.range.is_empty() {
                    // The last record filled the chunk before.
                    return Ok(());
                }
                chunks.send(chunk).map_err(|_| EngineError::ThreadGone("sluice-write"))
            }
        })
        .map_err(|error| match error {
            ReadError::Source(error) => EngineError::from(error),
            ReadError::Receiver(error) => error,
            ReadError::Stopped => EngineError::Stopped,
        })?;
    seen.first_bad = decoders.take_first_bad().map(|bad| bad.to_string());
    Ok(ReadDone { ranges, seen, took: began.elapsed() })
}

fn write_loop(jobs: &Receiver<WriteOrder>) {
    while let Ok((writer, chunks, reply)) = jobs.recv() {
        let _ = reply.send(write(writer, &chunks));
    }
}

/// The batch's files; the time is that of encoding and uploading, without the waits for chunks.
fn write(writer: BatchWriter, chunks: &Receiver<Chunk>) -> Result<WriteDone, EngineError> {
    let (mut writing, mut busy) = (Writing::new(writer), Duration::ZERO);
    while let Ok(chunk) = chunks.recv() {
        let began = Instant::now();
        writing.chunk(&chunk)?;
        busy += began.elapsed();
    }
    let began = Instant::now();
    let (written, outputs) = writing.finish()?;
    Ok(WriteDone { written, outputs, took: busy + began.elapsed() })
}
