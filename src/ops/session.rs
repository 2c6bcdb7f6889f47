//! What every verb is given: where the project is, the store, the client, the sources.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::base;
use super::error::OpsError;
use crate::base::environment::Environment;
use crate::base::fs::{
    FileLock, FsError, ensure_directory, read_text, read_text_if_present, remove_file, sorted_entries,
};
use crate::base::http::{HttpClient, HttpOptions};
use crate::base::memory;
use crate::base::progress::Progress;
use crate::engine;
use crate::lock::{Lockfile, parse_lockfile};
use crate::manifest::{Manifest, ManifestFile};
use crate::model::Platform;
use crate::source::{self, Sources};
use crate::store::Store;
use crate::template::{self, Rendered, TEMPLATE_FILE};

/// Where a project's files are.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The project's directory.
    pub directory: PathBuf,
    /// oclock.toml.
    pub manifest: PathBuf,
    /// lockfile.toml.
    pub lockfile: PathBuf,
}

impl Paths {
    /// Joins the names of manifest and lockfile to the directory.
    pub fn new(directory: &Path, manifest: &Path, lockfile: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            manifest: below(directory, manifest),
            lockfile: below(directory, lockfile),
        }
    }

    /// Containerfile.in.
    pub fn template(&self) -> PathBuf {
        below(&self.directory, Path::new(TEMPLATE_FILE))
    }

    /// The project's own files for the image.
    pub fn context(&self) -> PathBuf {
        below(&self.directory, Path::new("context"))
    }

    /// Downloads that were not what the lock says.
    pub fn quarantine(&self) -> PathBuf {
        below(&self.directory, Path::new(".oclock/quarantine"))
    }

    /// Scratch of this project.
    pub fn scratch(&self) -> PathBuf {
        self.directory.join(".oclock")
    }
}

/// How a session is opened.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Where the project is.
    pub paths: Paths,
    /// Where the store is; the user's cache directory when not given.
    pub store: Option<PathBuf>,
    /// The first-seen ledger; `ledger` in the user's data directory when not given.
    pub ledger: Option<PathBuf>,
    /// How the network is used.
    pub http: HttpOptions,
}

/// Everything a verb needs.
#[derive(Debug)]
pub struct Session {
    /// What the process was told.
    pub environment: Environment,
    /// Where the project is.
    pub paths: Paths,
    /// The store.
    pub store: Store,
    /// The first-seen ledger; none where there is no place for one.
    pub ledger: Option<PathBuf>,
    /// The pooled client.
    pub http: HttpClient,
    /// Progress for people.
    pub progress: Progress,
    runtime: tokio::runtime::Runtime,
    /// Keeps others from removing blobs.
    in_use: Mutex<Option<FileLock>>,
}

impl Session {
    /// Opens the store and prepares the client.
    ///
    /// # Errors
    /// When there is no place for the store, or it cannot be opened.
    pub fn open(options: SessionOptions, environment: Environment, progress: Progress) -> Result<Self, OpsError> {
        let root = options.store.or_else(|| environment.cache_directory()).ok_or(OpsError::NoStore)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let store = Store::open(&root)?;
        Ok(Self {
            in_use: Mutex::new(store.use_lock()),
            store,
            runtime: runtime.map_err(FsError::new("start the runtime for", &root))?,
            ledger: options.ledger.or_else(|| Some(environment.data_directory()?.join("ledger"))),
            http: HttpClient::new(options.http),
            paths: options.paths,
            environment,
            progress,
        })
    }

    /// Reads oclock.toml.
    ///
    /// # Errors
    /// When it is missing or wrong.
    pub fn manifest(&self) -> Result<ManifestFile, OpsError> {
        let path = &self.paths.manifest;
        match read_text_if_present(path)? {
            Some(text) => Ok(ManifestFile::parse(&text, &path.display().to_string())?),
            None => Err(OpsError::NoManifest { path: path.clone() }),
        }
    }

    /// Reads lockfile.toml.
    ///
    /// # Errors
    /// When it is missing or wrong.
    pub fn lock(&self) -> Result<Lockfile, OpsError> {
        self.lock_if_present()?.ok_or_else(|| OpsError::NoLock { path: self.paths.lockfile.clone() })
    }

    /// Reads lockfile.toml where there is one.
    ///
    /// # Errors
    /// When it is there and wrong.
    pub fn lock_if_present(&self) -> Result<Option<Lockfile>, OpsError> {
        let path = &self.paths.lockfile;
        let Some(text) = read_text_if_present(path)? else { return Ok(None) };
        Ok(Some(parse_lockfile(&text, &path.display().to_string())?))
    }

    /// Finds the user's sources and the project's own.
    ///
    /// # Errors
    /// When a client's configuration cannot be read.
    pub fn sources(&self, manifest: &Manifest) -> Result<Sources, OpsError> {
        let sources = source::discover(&self.environment, &self.paths.directory, &manifest.sources)?;
        Ok(sources.with_wheels(&manifest.pip).with_store(&self.store))
    }

    /// Renders Containerfile.in. The config of a base image is fetched when the store lacks it.
    ///
    /// # Errors
    /// When it is missing or says what it may not.
    pub fn rendered(&self, manifest: &Manifest, lock: &Lockfile, platform: Platform) -> Result<Rendered, OpsError> {
        let path = self.paths.template();
        let text = read_text(&path).map_err(|source| OpsError::NoTemplate { source })?;
        let base = base::base_config(self, manifest, lock, platform)?;
        Ok(template::render_on(&text, manifest, lock, platform, &base::inherited(base.as_ref()))?)
    }

    /// Runs a future to its end on the session's runtime.
    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Gives up the use of the store and takes it alone; nothing when someone else uses it.
    ///
    /// # Errors
    /// When the file system has no locks.
    pub(super) fn store_alone(&self) -> Result<Option<StoreAlone<'_>>, OpsError> {
        self.set_in_use(None);
        match self.store.exclusively() {
            Ok(Some(held)) => Ok(Some(StoreAlone { session: self, held: Some(held) })),
            other => {
                self.set_in_use(self.store.use_lock());
                Ok(other.map(|_| None)?)
            }
        }
    }

    fn set_in_use(&self, lock: Option<FileLock>) {
        *self.in_use.lock().unwrap_or_else(PoisonError::into_inner) = lock;
    }

    /// A fresh scratch directory of the project that goes away when dropped. Those of runs that were killed go away now, and
    /// those that they had in memory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch(&self, prefix: &str) -> Result<Scratch, OpsError> {
        let root = self.paths.scratch();
        ensure_directory(&root)?;
        if let Some(memory) = memory::directory(&self.environment)
            && let Ok(_guard) = FileLock::exclusive(&memory.join(SCRATCH_LOCK))
        {
            self.sweep(&memory)?;
        }
        self.scratch_in(&root, prefix)
    }

    /// The same in memory, where so many bytes leave the machine plenty.
    pub fn memory_scratch(&self, prefix: &str, bytes: u64) -> Option<Scratch> {
        let root = memory::directory(&self.environment)?;
        let needed = bytes.saturating_mul(MEMORY_TIMES).saturating_add(MEMORY_SPARE);
        let is_plenty = needed <= memory::available() && needed <= memory::free(&root);
        is_plenty.then(|| self.scratch_in(&root, prefix).ok()).flatten()
    }

    fn scratch_in(&self, root: &Path, prefix: &str) -> Result<Scratch, OpsError> {
        let _guard = FileLock::exclusive(&root.join(SCRATCH_LOCK))?;
        self.sweep(root)?;
        let directory =
            tempfile::Builder::new().prefix(prefix).tempdir_in(root).map_err(FsError::new("create", root))?;
        let lock = directory.path().with_extension(LOCK);
        Ok(Scratch {
            _held: FileLock::exclusive(&lock)?,
            lock,
            path: directory.path().to_owned(),
            directory: Some(directory),
        })
    }

    /// Removes scratch directories whose lock nobody holds any more. They are the ones with a dash in their name.
    fn sweep(&self, root: &Path) -> Result<(), OpsError> {
        for entry in sorted_entries(root)? {
            let path = entry.path();
            let is_scratch = entry.file_name().as_encoded_bytes().contains(&b'-');
            if !is_scratch || path.extension().is_some_and(|extension| extension != LOCK) {
                continue;
            }
            let (directory, lock) = (path.with_extension(""), path.with_extension(LOCK));
            if let Some(_stale) = FileLock::try_exclusive(&lock)? {
                engine::remove_leftover(&directory, &self.environment)?;
                remove_file(&lock)?;
            }
        }
        Ok(())
    }
}

/// The store is in nobody else's use until this is dropped.
pub(super) struct StoreAlone<'a> {
    session: &'a Session,
    held: Option<FileLock>,
}

impl Drop for StoreAlone<'_> {
    fn drop(&mut self) {
        drop(self.held.take());
        self.session.set_in_use(self.session.store.use_lock());
    }
}

const LOCK: &str = "lock";
const SCRATCH_LOCK: &str = "scratch.lock";
/// How many times its size a root filesystem may take in memory: as it is laid out, what steps change, and that as archives.
const MEMORY_TIMES: u64 = 3;
const MEMORY_SPARE: u64 = 2 * 1024 * 1024 * 1024;

/// A scratch directory and the lock that says that it is in use.
#[derive(Debug)]
pub struct Scratch {
    directory: Option<tempfile::TempDir>,
    path: PathBuf,
    lock: PathBuf,
    _held: FileLock,
}

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The lock goes last: what is left when this is cut short is found by it.
        drop(self.directory.take());
        remove_file(&self.lock).ok();
    }
}

/// A path as a person would say it: without a leading `./`.
pub(super) fn below(directory: &Path, name: &Path) -> PathBuf {
    if directory == Path::new(".") { name.to_owned() } else { directory.join(name) }
}

/// The platform asked for, or the lock's first.
///
/// # Errors
/// When the lock has no pins for it.
pub(super) fn platform_of(asked: Option<Platform>, lock: &Lockfile) -> Result<Platform, OpsError> {
    match asked {
        None => lock.platforms.first().copied().ok_or(OpsError::NoPlatform),
        Some(platform) if lock.platforms.contains(&platform) => Ok(platform),
        Some(platform) => Err(OpsError::PlatformNotLocked { platform }),
    }
}
