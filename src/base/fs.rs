//! Files replaced atomically, directories walked in order, locks between processes.
//!
//! A reader sees the old file or the new one, never half of either, also after a power cut.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::explain::{Explain, Kind};

/// What went wrong with which path.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} `{}`", path.display())]
pub struct FsError {
    /// The verb: `read`, `write`, `create`.
    pub action: &'static str,
    /// The path as it was given.
    pub path: PathBuf,
    /// The system's answer.
    #[source]
    pub source: io::Error,
}

impl FsError {
    /// Attaches the verb and the path to the system's answer.
    pub fn new(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self { action, path, source }
    }

    /// Whether the file was not there.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

impl Explain for FsError {
    fn kind(&self) -> Kind {
        Kind::Unable
    }

    fn hints(&self) -> Vec<String> {
        match self.source.kind() {
            io::ErrorKind::StorageFull => vec!["free some room on that disk".into()],
            io::ErrorKind::PermissionDenied => vec!["run as a user who may, or change the owner of that path".into()],
            _ => Vec::new(),
        }
    }
}

/// Reads a whole file.
///
/// # Errors
/// When it is missing or cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, FsError> {
    fs::read(path).map_err(FsError::new("read", path))
}

/// Reads a whole file as UTF-8.
///
/// # Errors
/// When it is missing, cannot be read or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, FsError> {
    fs::read_to_string(path).map_err(FsError::new("read", path))
}

/// Reads a file that may be missing.
///
/// # Errors
/// When it is there and cannot be read.
pub fn read_text_if_present(path: &Path) -> Result<Option<String>, FsError> {
    match read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a scratch file in a directory for reading and writing; it has no name and is gone when it is closed.
///
/// # Errors
/// When the directory cannot be written.
pub fn scratch_file(directory: &Path) -> Result<File, FsError> {
    tempfile::tempfile_in(directory).map_err(FsError::new("create a file in", directory))
}

/// Replaces a file's contents in one step: written beside it, synced, renamed over it. Mode 0644.
///
/// # Errors
/// When the directory cannot be written; the old file is then as it was.
pub fn write_atomically(path: &Path, contents: &[u8]) -> Result<(), FsError> {
    let directory = parent_of(path);
    let fail = || FsError::new("write", path);
    let mut file = tempfile::Builder::new().prefix(".oclock-").tempfile_in(directory).map_err(fail())?;
    file.write_all(contents).map_err(fail())?;
    set_mode(file.path(), 0o644)?;
    file.as_file().sync_all().map_err(fail())?;
    file.persist(path).map_err(|error| fail()(error.error))?;
    sync_directory(directory)
}

/// Adds to the end of a file in one write, and syncs it; a missing one is made.
///
/// # Errors
/// When it cannot be opened or written; a part of `contents` may then be there.
pub fn append(path: &Path, contents: &[u8]) -> Result<(), FsError> {
    let fail = || FsError::new("write", path);
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(fail())?;
    file.write_all(contents).map_err(fail())?;
    file.sync_data().map_err(fail())
}

/// A file that appears whole or not at all: written beside its place, synced and renamed by [`commit`](Self::commit).
#[derive(Debug)]
pub struct NewFile {
    file: tempfile::NamedTempFile,
    path: PathBuf,
}

impl NewFile {
    /// Starts a file that will be at `path`.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn create(path: &Path) -> Result<Self, FsError> {
        let file = tempfile::Builder::new().prefix(".oclock-").tempfile_in(parent_of(path));
        Ok(Self { file: file.map_err(FsError::new("write", path))?, path: path.to_owned() })
    }

    /// Puts it in its place with mode 0644; what was there before is gone.
    ///
    /// # Errors
    /// When it cannot be synced or renamed.
    pub fn commit(self) -> Result<(), FsError> {
        let fail = || FsError::new("write", &self.path);
        set_mode(self.file.path(), 0o644)?;
        self.file.as_file().sync_all().map_err(fail())?;
        self.file.persist(&self.path).map_err(|error| FsError::new("write", &self.path)(error.error))?;
        sync_directory(parent_of(&self.path))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A directory that appears whole or not at all: filled beside its place and renamed by [`commit`](Self::commit).
#[derive(Debug)]
pub struct NewDirectory {
    directory: tempfile::TempDir,
    path: PathBuf,
}

impl NewDirectory {
    /// Starts a directory that will be at `path`.
    ///
    /// # Errors
    /// When the directory above it cannot be written.
    pub fn create(path: &Path) -> Result<Self, FsError> {
        let directory = tempfile::Builder::new().prefix(".oclock-").tempdir_in(parent_of(path));
        Ok(Self { directory: directory.map_err(FsError::new("create", path))?, path: path.to_owned() })
    }

    /// Where it is filled.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts it in its place with mode 0755; a directory that was there before is removed.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn commit(self) -> Result<(), FsError> {
        let fail = || FsError::new("write", &self.path);
        set_mode(self.directory.path(), 0o755)?;
        if self.path.symlink_metadata().is_ok() {
            let old = tempfile::Builder::new().prefix(".oclock-").tempdir_in(parent_of(&self.path)).map_err(fail())?;
            fs::rename(&self.path, old.path().join("old")).map_err(fail())?;
        }
        fs::rename(self.directory.keep(), &self.path).map_err(fail())?;
        sync_directory(parent_of(&self.path))
    }
}

/// Makes the directory and its parents where they are missing.
///
/// # Errors
/// When one cannot be made.
pub fn ensure_directory(path: &Path) -> Result<(), FsError> {
    fs::create_dir_all(path).map_err(FsError::new("create", path))
}

/// In which order a tree is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By name.
    Forwards,
    /// By name, the last one first.
    Backwards,
}

/// Copies a tree of directories, files with their modes, and links; `to` is made.
///
/// # Errors
/// When something cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path, order: Order) -> Result<(), FsError> {
    ensure_directory(to)?;
    let mut entries = sorted_entries(from)?;
    if order == Order::Backwards {
        entries.reverse();
    }
    for entry in entries {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(FsError::new("look at", &path))?;
        if kind.is_dir() {
            copy_tree(&path, &target, order)?;
        } else if kind.is_symlink() {
            link_to(&fs::read_link(&path).map_err(FsError::new("read", &path))?, &target)?;
        } else {
            fs::copy(&path, &target).map_err(FsError::new("copy", &path))?;
        }
    }
    Ok(())
}

/// Gives a file a second name; where the file system cannot, its bytes are copied.
///
/// # Errors
/// When neither can be done.
pub fn link_or_copy(from: &Path, to: &Path) -> Result<(), FsError> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(_) => fs::copy(from, to).map(|_| ()).map_err(FsError::new("copy", from)),
    }
}

/// Removes a directory and what is below it; a missing one is fine.
///
/// # Errors
/// When something in it cannot be removed.
pub fn remove_directory(path: &Path) -> Result<(), FsError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FsError::new("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a file; a missing one is fine.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove_file(path: &Path) -> Result<(), FsError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FsError::new("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Makes a symbolic link at `path` that points to `target`.
///
/// # Errors
/// When something is there already or the directory cannot be written.
pub fn link_to(target: &Path, path: &Path) -> Result<(), FsError> {
    std::os::unix::fs::symlink(target, path).map_err(FsError::new("link", path))
}

/// Writes all that a reader yields into a new or emptied file; for scratch files, neither synced nor atomic.
///
/// # Errors
/// The reader's or the disk's.
pub fn write_stream(path: &Path, reader: &mut impl Read) -> Result<u64, FsError> {
    let mut file = File::create(path).map_err(FsError::new("write", path))?;
    copy_with(reader, &mut file, |_| {}).map_err(FsError::new("write", path))
}

/// Sets the permission bits.
///
/// # Errors
/// When the file is missing or belongs to someone else.
pub fn set_mode(path: &Path, mode: u32) -> Result<(), FsError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(FsError::new("set the mode of", path))
}

/// Gives a file the time that it is now.
///
/// # Errors
/// When it is missing or belongs to another user.
pub fn touch(path: &Path) -> Result<(), FsError> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| FsError::new("touch", path)(error.into()))
}

/// Makes a rename or a new file in this directory last through a power cut.
///
/// # Errors
/// When the directory cannot be opened or synced.
pub fn sync_directory(path: &Path) -> Result<(), FsError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(FsError::new("sync", path))
}

/// The names in a directory, sorted by their bytes.
///
/// # Errors
/// When it is missing or cannot be read.
pub fn sorted_entries(path: &Path) -> Result<Vec<fs::DirEntry>, FsError> {
    let mut entries =
        fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(FsError::new("list", path))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

/// An advisory lock that is held until dropped, also against other processes.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits for the exclusive lock on `path`, which is made when missing.
    ///
    /// # Errors
    /// When the file cannot be made or the file system has no locks.
    pub fn exclusive(path: &Path) -> Result<Self, FsError> {
        Self::acquire(path, FlockOperation::LockExclusive)
    }

    /// Waits for a shared lock on `path`, which is made when missing.
    ///
    /// # Errors
    /// When the file cannot be made or the file system has no locks.
    pub fn shared(path: &Path) -> Result<Self, FsError> {
        Self::acquire(path, FlockOperation::LockShared)
    }

    /// Takes the exclusive lock on `path`, which is made when missing; nothing when someone else holds it.
    ///
    /// # Errors
    /// When the file cannot be made or the file system has no locks.
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>, FsError> {
        match Self::acquire(path, FlockOperation::NonBlockingLockExclusive) {
            Err(error) if error.source.kind() == io::ErrorKind::WouldBlock => Ok(None),
            other => other.map(Some),
        }
    }

    fn acquire(path: &Path, operation: FlockOperation) -> Result<Self, FsError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(FsError::new("open", path))?;
        flock(&file, operation).map_err(|error| FsError::new("lock", path)(error.into()))?;
        Ok(Self { _file: file })
    }
}

/// Copies a reader to a writer through a buffer of 256 KiB, calling `each` on every piece.
///
/// # Errors
/// The reader's or the writer's.
pub fn copy_with(reader: &mut impl Read, writer: &mut impl Write, mut each: impl FnMut(&[u8])) -> io::Result<u64> {
    thread_local! {
        // Most files are small: a buffer of its own for each would cost more than the copy.
        static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut buffer = BUFFER.take();
    buffer.resize(256 * 1024, 0);
    let mut total = 0;
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => {
                BUFFER.set(buffer);
                return Ok(total);
            }
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        each(&buffer[..length]);
        writer.write_all(&buffer[..length])?;
        total += length as u64;
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_replacement_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        write_atomically(&path, b"old").unwrap();
        let error = write_atomically(&directory.path().join("missing/lock"), b"new").unwrap_err();
        assert!(error.is_not_found());
        assert_eq!(read(&path).unwrap(), b"old");
        assert_eq!(sorted_entries(directory.path()).unwrap().len(), 1);
    }
}
