//! A local directory as an object store whose puts survive a power cut.
//!
//! object_store's own local store does not sync to disk. This one does: file first, then its name (the directory),
//! and the names of directories that had to be made. `PutMode::Create` is a hard link to the final name, which
//! fails when the name is taken. Everything but writing is left to `LocalFileSystem`.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path as FsPath, PathBuf};

use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, UploadPart,
};
use uuid::Uuid;

const STORE: &str = "local directory";

/// The local file system, rooted at `/`.
#[derive(Debug, Default)]
pub(super) struct DurableLocal {
    inner: LocalFileSystem,
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

#[async_trait::async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let target = self.inner.path_to_filesystem(location)?;
        let create = match opts.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return self.inner.put_opts(location, payload, opts).await,
        };
        tokio::task::spawn_blocking(move || write_durably(&target, &payload, create)).await??;
        let meta = self.inner.head(location).await?;
        Ok(PutResult { e_tag: meta.e_tag, version: meta.version })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let target = self.inner.path_to_filesystem(location)?;
        let parent = parent_of(&target).to_owned();
        tokio::task::spawn_blocking(move || {
            make_directories(&parent).map_err(|e| failed(&parent, e))
        })
        .await??;
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(DurableUpload { inner, target }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// An upload whose file is on disk, under its name, when `complete` answers.
#[derive(Debug)]
struct DurableUpload {
    inner: Box<dyn MultipartUpload>,
    target: PathBuf,
}

#[async_trait::async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.inner.complete().await?;
        let target = self.target.clone();
        tokio::task::spawn_blocking(move || {
            sync(&target).and_then(|()| sync(parent_of(&target))).map_err(|e| failed(&target, e))
        })
        .await??;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

fn write_durably(target: &FsPath, payload: &PutPayload, create: bool) -> Result<()> {
    make_directories(parent_of(target)).map_err(|e| failed(target, e))?;
    let staged = staged_name(target);
    let written = write_staged(&staged, payload).and_then(|()| {
        if create { fs::hard_link(&staged, target) } else { fs::rename(&staged, target) }
    });
    if create || written.is_err() {
        // Left behind it would only take space: its name begins with a dot, so nobody reads it.
        let _ = fs::remove_file(&staged);
    }
    written.and_then(|()| sync(parent_of(target))).map_err(|e| failed(target, e))
}

fn write_staged(staged: &FsPath, payload: &PutPayload) -> io::Result<()> {
    let mut file = File::create_new(staged)?;
    payload.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()
}

/// Beside the target, so that linking stays on one file system; hidden, as Hadoop names its own.
fn staged_name(target: &FsPath) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{}.tmp", Uuid::new_v4()))
}

/// Makes a directory and the missing ones above it, each synced into its parent.
fn make_directories(directory: &FsPath) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    make_directories(parent_of(directory))?;
    match fs::create_dir(directory) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => sync(parent_of(directory)),
    }
}

fn parent_of(path: &FsPath) -> &FsPath {
    path.parent().unwrap_or_else(|| FsPath::new("/"))
}

/// Works for directories too: then it is the names in them that are synced.
fn sync(path: &FsPath) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn failed(path: &FsPath, error: io::Error) -> Error {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: error.into() },
        io::ErrorKind::NotFound => Error::NotFound { path, source: error.into() },
        io::ErrorKind::PermissionDenied => Error::PermissionDenied { path, source: error.into() },
        _ => Error::Generic { store: STORE, source: error.into() },
    }
}
