//! Where the files of wheels are in the last environment. A wheel that is in it is copied from there and not unpacked again:
//! each file is held against its digest first, and one that is amiss has the whole wheel unpacked.

use std::collections::BTreeMap;
use std::fs::File;

use serde::{Deserialize, Serialize};

use super::environment::Layout;
use super::tree::Executable;
use crate::assemble::parts::ASSEMBLY_VERSION;
use crate::base::untar::{FileRange, TarKind, read_tar};
use crate::lock::PipPin;
use crate::model::{Hasher, Sha256};
use crate::store::{Store, StoreError};

/// The last environment's tar, by what decides the places of files.
const LAST_MEMO: &str = "pip-last";
/// The files of its wheels, by the tar.
const FILES_MEMO: &str = "pip-files";

/// A file of a wheel, by its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LaidFile {
    pub(super) place: String,
    pub(super) digest: Sha256,
    pub(super) executable: Executable,
}

/// The files of wheels that an environment has, in the order in which they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaidWheels {
    question: Sha256,
    files: BTreeMap<Sha256, Vec<LaidFile>>,
}

impl LaidWheels {
    /// For a layout: all else that decides where the files of a wheel go, and their bytes, is in [`wheel_key`].
    pub(super) fn new(layout: &Layout) -> Self {
        let mut question = Hasher::default();
        question.field(ASSEMBLY_VERSION);
        question.field(format!("{layout:?}"));
        Self { question: question.finish(), files: BTreeMap::new() }
    }

    pub(super) fn insert(&mut self, wheel: Sha256, files: Vec<LaidFile>) {
        self.files.insert(wheel, files);
    }

    /// Remembers them as those of a tar in the store.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn keep(&self, tar: &Sha256, store: &Store) -> Result<(), StoreError> {
        store.set_memo(FILES_MEMO, tar, &serde_json::to_vec(&self.files).unwrap_or_default())?;
        store.set_memo(LAST_MEMO, &self.question, tar.to_string().as_bytes())
    }

    /// The last environment of the same layout, if it is still in the store.
    pub(super) fn last(&self, store: &Store) -> Option<LastEnvironment> {
        let digest = Sha256::parse(std::str::from_utf8(&store.memo(LAST_MEMO, &self.question)?).ok()?).ok()?;
        let files = serde_json::from_slice(&store.memo(FILES_MEMO, &digest)?).ok()?;
        let tar = File::open(store.blob_path(&digest)).ok()?;
        let mut contents = BTreeMap::new();
        read_tar(&tar, 0, |entry| {
            if let TarKind::File { offset, size } = entry.kind {
                contents.insert(format!("/{}", entry.path.display()), (offset, size));
            }
            Ok(())
        })
        .ok()?;
        Some(LastEnvironment { tar, contents, files })
    }
}

/// A wheel as it is asked for.
pub(super) fn wheel_key(pin: &PipPin, asked: bool) -> Sha256 {
    let mut key = Hasher::default();
    key.field(pin.wheel_sha256().as_bytes());
    key.field(pin.name.as_str());
    key.field(pin.version.as_str());
    key.field(if asked { "asked" } else { "" });
    key.finish()
}

/// An environment in the store. Nothing that its tar says is believed before it was held against a digest.
pub(super) struct LastEnvironment {
    tar: File,
    contents: BTreeMap<String, (u64, u64)>,
    files: BTreeMap<Sha256, Vec<LaidFile>>,
}

/// A file of it that was found whole.
pub(super) struct FoundFile<'l> {
    pub(super) file: &'l LaidFile,
    pub(super) size: u64,
    pub(super) content: FileRange<'l>,
}

impl LastEnvironment {
    /// The files of a wheel, when it is there and all of them have the bytes that were written.
    pub(super) fn wheel(&self, key: &Sha256) -> Option<Vec<FoundFile<'_>>> {
        self.files.get(key)?.iter().map(|file| self.found(file)).collect()
    }

    fn found<'l>(&'l self, file: &'l LaidFile) -> Option<FoundFile<'l>> {
        let (offset, size) = self.contents.get(&file.place).copied()?;
        let content = || FileRange::new(&self.tar, offset, size);
        let (digest, _) = Sha256::of_reader(&mut content()).ok()?;
        (digest == file.digest).then(|| FoundFile { file, size, content: content() })
    }
}
