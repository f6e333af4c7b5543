//! Where the bytes of one data file go: a local file that is synced, or an object that is uploaded in parts.
//!
//! Guarantees: after [`Upload::finish`] the object is whole and, on a local disk, on the disk (its directory
//! entries are the caller's, see [`Finished::directories`]). A dropped upload leaves at most an orphan.
//! Does not: name files, or overwrite one: names hold an attempt and a number, and are new.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;

use super::FilesError;

/// Bytes of a part: S3's smallest, so that an open file holds as little memory as it can.
const PART_BYTES: usize = 5 * 1024 * 1024;

/// Parts on their way at once: one on the wire while the next one fills.
const PARTS_IN_FLIGHT: usize = 2;

/// Where data files are put.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) store: Arc<dyn ObjectStore>,
    /// The table's folder, when it is on a local disk: object_store does not sync files, so they are
    /// written here.
    pub(super) local_root: Option<PathBuf>,
    pub(super) runtime: Handle,
}

/// One data file while it is written. Blocks; must not be used on a runtime's own threads.
pub(super) struct Upload {
    /// Relative to the table's root, as it is stored (not percent-encoded for the log).
    path: String,
    written: u64,
    to: Destination,
}

enum Destination {
    Local { file: File, path: PathBuf, new_entries: Vec<PathBuf>, done: bool },
    // Boxed: a `BufWriter` is ten times a `File`.
    Store { writer: Box<Option<BufWriter>>, runtime: Handle },
}

/// A file that is whole.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) size_bytes: u64,
    /// Directories that got an entry and must be synced before the file may be named in the log.
    pub(super) directories: Vec<PathBuf>,
}

impl Upload {
    /// Begins a file at `path`, which is raw: its segments are stored as they are.
    pub(super) fn create(target: &Target, path: &str) -> Result<Self, FilesError> {
        let to = match &target.local_root {
            Some(root) => open_local(root, path),
            None => open_store(target, path),
        };
        to.map(|to| Self { path: path.to_owned(), written: 0, to })
            .map_err(|source| FilesError::store(path, source))
    }

    /// Bytes that wait in memory for their part to fill or to be sent.
    pub(super) fn buffered_bytes(&self) -> usize {
        match &self.to {
            Destination::Local { .. } => 0,
            Destination::Store { .. } => {
                (self.written as usize).min(PART_BYTES * (PARTS_IN_FLIGHT + 1))
            }
        }
    }

    /// Makes the file whole and durable.
    pub(super) fn finish(mut self) -> Result<Finished, FilesError> {
        let directories =
            self.complete().map_err(|source| FilesError::store(&self.path, source))?;
        Ok(Finished { size_bytes: self.written, directories })
    }

    fn complete(&mut self) -> io::Result<Vec<PathBuf>> {
        match &mut self.to {
            Destination::Local { file, new_entries, done, .. } => {
                file.sync_all()?;
                *done = true;
                Ok(std::mem::take(new_entries))
            }
            Destination::Store { writer, runtime } => {
                let mut writer = writer.take().expect("an upload is finished once");
                runtime.block_on(writer.shutdown())?;
                Ok(Vec::new())
            }
        }
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = match &mut self.to {
            Destination::Local { file, .. } => file.write(bytes)?,
            Destination::Store { writer, runtime } => {
                let writer = writer.as_mut().as_mut().expect("bytes come before the finish");
                runtime.block_on(writer.write(bytes))?
            }
        };
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload {
    /// Takes back what was not finished, as far as that is possible without waiting: nothing names it yet.
    fn drop(&mut self) {
        match &mut self.to {
            Destination::Local { path, done: false, .. } => {
                // An orphan that stays is VACUUM's.
                let _ = fs::remove_file(path);
            }
            Destination::Local { .. } => {}
            Destination::Store { writer, runtime } => {
                if let Some(mut writer) = writer.take() {
                    runtime.spawn(async move { writer.abort().await });
                }
            }
        }
    }
}

fn open_store(target: &Target, path: &str) -> io::Result<Destination> {
    let location = Path::parse(path).map_err(io::Error::other)?;
    let writer = BufWriter::with_capacity(Arc::clone(&target.store), location, PART_BYTES)
        .with_max_concurrency(PARTS_IN_FLIGHT);
    Ok(Destination::Store { writer: Box::new(Some(writer)), runtime: target.runtime.clone() })
}

fn open_local(root: &FsPath, path: &str) -> io::Result<Destination> {
    let path = root.join(path);
    let folder = path.parent().expect("a file in the table's folder has a parent").to_path_buf();
    let mut new_entries = missing_parents(&folder);
    fs::create_dir_all(&folder)?;
    new_entries.push(folder);
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    Ok(Destination::Local { file, path, new_entries, done: false })
}

/// The directories that get a new entry when `folder` is created with all its parents.
fn missing_parents(folder: &FsPath) -> Vec<PathBuf> {
    folder
        .ancestors()
        .take_while(|dir| !dir.exists())
        .filter_map(|dir| dir.parent().map(FsPath::to_path_buf))
        .collect()
}

/// Syncs directories, so that the files just made in them are found after a crash.
pub(super) fn sync_directories<'a>(
    directories: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<(), FilesError> {
    for dir in directories {
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|source| FilesError::store(&dir.display().to_string(), source))?;
    }
    Ok(())
}
