//! The content-addressed store: bytes by sha256, verified when they come in and again whenever they are read.
//!
//! Shared by projects and processes. A blob appears by one rename after it was verified and synced, so it is whole or not
//! there. Beside the blobs are memos: small answers that can be worked out again, kept by the digest of their question.
//! It knows nothing of packages.

mod documents;

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::base::explain::{Explain, Kind};
use crate::base::fs::{self as base_fs, FileLock, FsError};
use crate::model::{Hasher, Sha256};

pub use documents::fetch_document;

/// What the store cannot do or will not give.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The blob is not in the store.
    #[error("`sha256:{digest}` is not in the store")]
    Missing {
        /// The blob.
        digest: Sha256,
    },
    /// The blob's bytes are not those of its name.
    #[error("the store is damaged: a blob holds other bytes than its name says")]
    Damaged {
        /// Its name.
        digest: Sha256,
        /// What its bytes hash to.
        found: Sha256,
        /// Where it is.
        path: PathBuf,
    },
    /// What came in is not what was promised.
    #[error("bytes arrived that are not those expected")]
    Unexpected {
        /// The promise.
        expected: Sha256,
        /// What came.
        found: Sha256,
        /// How much came, in bytes.
        size: u64,
    },
    /// The file system said no.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Explain for StoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::Missing { .. } => Kind::Unable,
            Self::Damaged { .. } | Self::Unexpected { .. } => Kind::Distrust,
            Self::Fs(error) => error.kind(),
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::Damaged { digest, found, path } => {
                vec![
                    format!("   named  sha256:{digest}"),
                    format!("   holds  sha256:{found}"),
                    format!("      at  {}", path.display()),
                ]
            }
            Self::Unexpected { expected, found, size } => {
                vec![format!("expected  sha256:{expected}"), format!("received  sha256:{found}  {size} bytes")]
            }
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Missing { .. } => vec!["run `oclock fetch` while the sources can be reached".into()],
            Self::Damaged { .. } => vec!["run `oclock store verify --repair` and then `oclock fetch`".into()],
            Self::Fs(error) => {
                let elsewhere = "or name another place for the store: `--store DIR` or OCLOCK_STORE".to_owned();
                error.hints().into_iter().chain([elsewhere]).collect()
            }
            Self::Unexpected { .. } => Vec::new(),
        }
    }
}

/// A directory of blobs and memos.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// A blob, and when it was last of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobUse {
    /// Which.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub used: i64,
    /// And the rest of the time.
    pub used_nanoseconds: i64,
}

const USE_LOCK: &str = "use.lock";

/// A blob that is coming in. Dropped without [`commit`](BlobWriter::commit), nothing stays.
#[derive(Debug)]
pub struct BlobWriter {
    file: NamedTempFile,
    hasher: Hasher,
    size: u64,
    store: Store,
}

impl Store {
    /// Opens the store at `root`, making it when it is missing.
    ///
    /// # Errors
    /// When its directories cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        for part in ["blobs/sha256", "memo", "tmp"] {
            base_fs::ensure_directory(&root.join(part))?;
        }
        Ok(Self { root })
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a blob is or would be. Its bytes are not verified by asking; read it with [`open_blob`](Self::open_blob).
    pub fn blob_path(&self, digest: &Sha256) -> PathBuf {
        let name = digest.to_string();
        self.root.join("blobs/sha256").join(&name[..2]).join(name)
    }

    /// Whether a blob is there, by name alone.
    pub fn contains(&self, digest: &Sha256) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Opens a blob after hashing all of it; the file is rewound to its start.
    ///
    /// # Errors
    /// When it is missing, unreadable or damaged.
    pub fn open_blob(&self, digest: &Sha256) -> Result<File, StoreError> {
        self.open_blob_with(digest, |_| {})
    }

    /// The same, calling `each` with every piece of the bytes on the way, before it is known whether they are the right ones.
    ///
    /// # Errors
    /// When it is missing, unreadable or damaged.
    pub fn open_blob_with(&self, digest: &Sha256, mut each: impl FnMut(&[u8])) -> Result<File, StoreError> {
        let path = self.blob_path(digest);
        let fail = || FsError::new("read", &path);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing { digest: *digest });
            }
            other => other.map_err(fail())?,
        };
        let mut hasher = Hasher::default();
        base_fs::copy_with(&mut file, &mut io::sink(), |piece| {
            hasher.update(piece);
            each(piece);
        })
        .map_err(fail())?;
        let found = hasher.finish();
        if found != *digest {
            return Err(StoreError::Damaged { digest: *digest, found, path });
        }
        file.seek(SeekFrom::Start(0)).map_err(fail())?;
        Ok(file)
    }

    /// Reads a whole blob, verified.
    ///
    /// # Errors
    /// When it is missing, unreadable or damaged.
    pub fn read_blob(&self, digest: &Sha256) -> Result<Vec<u8>, StoreError> {
        let path = self.blob_path(digest);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing { digest: *digest });
            }
            other => other.map_err(FsError::new("read", &path))?,
        };
        match Sha256::of(&bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(StoreError::Damaged { digest: *digest, found, path }),
        }
    }

    /// Starts a blob that is written piece by piece.
    ///
    /// # Errors
    /// When no file can be made in the store.
    pub fn create_blob(&self) -> Result<BlobWriter, StoreError> {
        let directory = self.root.join("tmp");
        let file = NamedTempFile::new_in(&directory).map_err(FsError::new("create a file in", directory))?;
        Ok(BlobWriter { file, hasher: Hasher::default(), size: 0, store: self.clone() })
    }

    /// Adds bytes that are at hand.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn add_blob(&self, bytes: &[u8]) -> Result<Sha256, StoreError> {
        let mut writer = self.create_blob()?;
        writer.write_all(bytes).map_err(FsError::new("write to", &self.root))?;
        Ok(writer.commit(None)?.0)
    }

    /// Takes a blob out; a missing one is fine.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove_blob(&self, digest: &Sha256) -> Result<(), StoreError> {
        let path = self.blob_path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FsError::new("remove", path)(error).into()),
            _ => Ok(()),
        }
    }

    /// All blobs with their sizes in bytes, sorted.
    ///
    /// # Errors
    /// When a directory cannot be listed.
    pub fn blobs(&self) -> Result<Vec<(Sha256, u64)>, StoreError> {
        let mut blobs = Vec::new();
        for part in base_fs::sorted_entries(&self.root.join("blobs/sha256"))? {
            for entry in base_fs::sorted_entries(&part.path())? {
                let digest = entry.file_name().to_str().and_then(|name| Sha256::parse(name).ok());
                let size = entry.metadata().map_err(FsError::new("look at", entry.path()))?.len();
                blobs.extend(digest.map(|digest| (digest, size)));
            }
        }
        Ok(blobs)
    }

    /// The answer kept for a question, if any. `kind` names the sort of question, such as `wheel-metadata`.
    ///
    /// A memo carries a hash of its question and itself; one that is damaged, or stands where another should, counts as absent.
    pub fn memo(&self, kind: &'static str, question: &Sha256) -> Option<Vec<u8>> {
        let bytes = fs::read(self.memo_path(kind, question)).ok()?;
        let (digest, answer) = bytes.split_at_checked(32)?;
        (memo_digest(kind, question, answer).as_bytes() == digest).then(|| answer.to_vec())
    }

    /// Keeps the answer to a question.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_memo(&self, kind: &'static str, question: &Sha256, answer: &[u8]) -> Result<(), StoreError> {
        let path = self.memo_path(kind, question);
        base_fs::ensure_directory(path.parent().unwrap_or(&self.root))?;
        let bytes = [&memo_digest(kind, question, answer).as_bytes()[..], answer].concat();
        Ok(base_fs::write_atomically(&path, &bytes)?)
    }

    /// Holds off [`exclusively`](Self::exclusively) until the lock is dropped: whoever reads or writes blobs takes it. Nothing
    /// where the store cannot be written, because nobody removes anything there.
    pub fn use_lock(&self) -> Option<FileLock> {
        FileLock::shared(&self.root.join(USE_LOCK)).ok()
    }

    /// The lock that nobody else has while blobs are removed; nothing when someone uses the store.
    ///
    /// # Errors
    /// When the file system has no locks.
    pub fn exclusively(&self) -> Result<Option<FileLock>, StoreError> {
        Ok(FileLock::try_exclusive(&self.root.join(USE_LOCK))?)
    }

    /// Says that blobs are of use now; those that are missing are passed over.
    pub fn mark_used<'a>(&self, digests: impl IntoIterator<Item = &'a Sha256>) {
        for digest in digests {
            base_fs::touch(&self.blob_path(digest)).ok();
        }
    }

    /// All blobs with size and when they were last of use, in seconds since 1970.
    ///
    /// # Errors
    /// When a directory cannot be listed.
    pub fn blob_uses(&self) -> Result<Vec<BlobUse>, StoreError> {
        use std::os::unix::fs::MetadataExt as _;
        let found = |(digest, size): (Sha256, u64)| -> Option<BlobUse> {
            let metadata = fs::metadata(self.blob_path(&digest)).ok()?;
            Some(BlobUse { digest, size, used: metadata.mtime(), used_nanoseconds: metadata.mtime_nsec() })
        };
        Ok(self.blobs()?.into_iter().filter_map(found).collect())
    }

    /// All memos of a kind, by the name of their question, with their answers; damaged ones are passed over.
    ///
    /// # Errors
    /// When a directory cannot be listed.
    pub fn memos(&self, kind: &'static str) -> Result<Vec<(Sha256, Vec<u8>)>, StoreError> {
        let directory = self.root.join("memo").join(kind);
        if !directory.is_dir() {
            return Ok(Vec::new());
        }
        let questions = base_fs::sorted_entries(&directory)?;
        let questions = questions.iter().filter_map(|entry| Sha256::parse(entry.file_name().to_str()?).ok());
        Ok(questions.filter_map(|question| Some((question, self.memo(kind, &question)?))).collect())
    }

    /// Forgets the answer to a question.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove_memo(&self, kind: &'static str, question: &Sha256) -> Result<(), StoreError> {
        Ok(base_fs::remove_file(&self.memo_path(kind, question))?)
    }

    /// Removes what writers left that were ended; nobody may be writing. Returns how many files and bytes there were.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn sweep(&self) -> Result<(usize, u64), StoreError> {
        let (mut count, mut bytes) = (0, 0);
        for entry in base_fs::sorted_entries(&self.root.join("tmp"))? {
            bytes += entry.metadata().map_err(FsError::new("look at", entry.path()))?.len();
            base_fs::remove_file(&entry.path())?;
            count += 1;
        }
        Ok((count, bytes))
    }

    fn memo_path(&self, kind: &str, question: &Sha256) -> PathBuf {
        self.root.join("memo").join(kind).join(question.to_string())
    }
}

fn memo_digest(kind: &str, question: &Sha256, answer: &[u8]) -> Sha256 {
    let mut hasher = Hasher::default();
    hasher.field("oclock memo 2");
    hasher.field(kind);
    hasher.field(question.as_bytes());
    hasher.field(answer);
    hasher.finish()
}

impl BlobWriter {
    /// How many bytes came so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the bytes that came so far hash to.
    pub fn digest(&self) -> Sha256 {
        self.hasher.clone().finish()
    }

    /// Ends the blob: synced, verified against `expected` when given, renamed into place. Returns its digest and size.
    ///
    /// # Errors
    /// When the bytes are not those expected, or cannot be kept.
    pub fn commit(self, expected: Option<&Sha256>) -> Result<(Sha256, u64), StoreError> {
        let digest = self.hasher.finish();
        if let Some(expected) = expected
            && digest != *expected
        {
            return Err(StoreError::Unexpected { expected: *expected, found: digest, size: self.size });
        }
        let path = self.store.blob_path(&digest);
        let directory = path.parent().unwrap_or(&self.store.root);
        base_fs::ensure_directory(directory)?;
        base_fs::set_mode(self.file.path(), 0o644)?;
        self.file.as_file().sync_data().map_err(FsError::new("sync", &path))?;
        self.file.persist(&path).map_err(|error| FsError::new("write", &path)(error.error))?;
        Ok((digest, self.size))
    }
}

impl BlobWriter {
    /// Ends the blob outside the store: its bytes are kept in `directory` under their own digest, for people to look at.
    /// Returns the digest, the size and the file.
    ///
    /// # Errors
    /// When it cannot be written there.
    pub fn quarantine(self, directory: &Path) -> Result<(Sha256, u64, PathBuf), StoreError> {
        let digest = self.hasher.finish();
        let path = directory.join(digest.to_string());
        base_fs::ensure_directory(directory)?;
        fs::copy(self.file.path(), &path).map_err(FsError::new("write", &path))?;
        base_fs::set_mode(&path, 0o600)?;
        Ok((digest, self.size, path))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        self.size += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Reads a verified blob as text.
///
/// # Errors
/// As [`Store::read_blob`]; bytes that are no UTF-8 count as unreadable.
pub fn read_blob_text(store: &Store, digest: &Sha256) -> Result<String, StoreError> {
    let mut text = String::new();
    store.open_blob(digest)?.read_to_string(&mut text).map_err(FsError::new("read", store.blob_path(digest)))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        (directory, store)
    }

    #[test]
    fn a_damaged_blob_is_never_given_out() {
        let (_directory, store) = store();
        let digest = store.add_blob(b"bytes").unwrap();
        assert_eq!(store.read_blob(&digest).unwrap(), b"bytes");
        fs::write(store.blob_path(&digest), b"bytez").unwrap();
        assert!(matches!(store.read_blob(&digest), Err(StoreError::Damaged { .. })));
        assert!(matches!(store.open_blob(&digest), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn unexpected_bytes_leave_nothing_behind() {
        let (_directory, store) = store();
        let mut writer = store.create_blob().unwrap();
        writer.write_all(b"other").unwrap();
        assert!(matches!(writer.commit(Some(&Sha256::of(b"bytes"))), Err(StoreError::Unexpected { .. })));
        assert_eq!(store.blobs().unwrap(), []);
        assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn quarantined_bytes_are_kept_outside() {
        let (directory, store) = store();
        let mut writer = store.create_blob().unwrap();
        writer.write_all(b"strange").unwrap();
        let (digest, size, path) = writer.quarantine(&directory.path().join("quarantine")).unwrap();
        assert_eq!((digest, size), (Sha256::of(b"strange"), 7));
        assert_eq!(fs::read(path).unwrap(), b"strange");
        assert_eq!(store.blobs().unwrap(), []);
        assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_memo_counts_as_absent() {
        let (_directory, store) = store();
        let question = Sha256::of(b"q");
        store.set_memo("test", &question, b"answer").unwrap();
        assert_eq!(store.memo("test", &question).unwrap(), b"answer");
        let path = store.memo_path("test", &question);
        let mut bytes = fs::read(&path).unwrap();
        bytes[35] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(store.memo("test", &question), None);
        let other = Sha256::of(b"other");
        store.set_memo("test", &other, b"another answer").unwrap();
        fs::copy(store.memo_path("test", &other), path).unwrap();
        assert_eq!(store.memo("test", &question), None, "an answer to another question");
    }
}
