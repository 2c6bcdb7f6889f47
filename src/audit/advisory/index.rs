//! Advisories by package: made once of a whole data set and kept in the store under the data's digest.
//!
//! The index is one blob of lines `scope/name TAB json`, gathered in buckets by a hash of the package, so that neither
//! making nor asking it holds more than one bucket. Where the buckets start, and what the data set holds, is in a memo.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};

use serde::{Deserialize, Serialize};

use super::record::{Entry, Package, Record, RecordError};
use crate::base::fs::{FsError, scratch_file};
use crate::base::untar::FileRange;
use crate::model::{Hasher, Sha256};
use crate::store::{Store, StoreError};

/// What an index is made of raises it, so that older ones are made anew.
const FORMAT: &str = "1";
const MEMO: &str = "advisory-index";
const BUCKETS: usize = 4096;

/// A data set, ready to be asked.
#[derive(Clone, Debug)]
pub struct Index {
    store: Store,
    content: Content,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Content {
    blob: Sha256,
    /// Where each bucket ends.
    ends: Vec<u64>,
    /// What it holds, by scope: `npm`, `Debian:13`.
    scopes: BTreeMap<String, Holding>,
}

/// How much a data set holds of a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holding {
    /// Advisories, also those withdrawn.
    pub advisories: u64,
    /// When the newest was modified, in seconds since 1970.
    pub newest: i64,
}

impl Index {
    /// The index that was made of the data set earlier, if it is kept.
    pub(super) fn kept(store: &Store, data: &Sha256) -> Option<Self> {
        let content: Content = serde_json::from_slice(&store.memo(MEMO, &question(data))?).ok()?;
        let is_whole = content.ends.len() == BUCKETS && store.contains(&content.blob);
        is_whole.then(|| Self { store: store.clone(), content })
    }

    /// What it holds, by scope.
    pub(super) fn scopes(&self) -> &BTreeMap<String, Holding> {
        &self.content.scopes
    }

    /// All that it says of some packages.
    ///
    /// # Errors
    /// When the store cannot be read or is damaged.
    pub(super) fn entries(&self, packages: &BTreeSet<Package>) -> Result<BTreeMap<Package, Vec<Entry>>, StoreError> {
        let file = self.store.open_blob(&self.content.blob)?;
        let fail = || FsError::new("read", self.store.blob_path(&self.content.blob));
        let mut by_bucket: BTreeMap<usize, BTreeMap<String, &Package>> = BTreeMap::new();
        for package in packages {
            by_bucket.entry(bucket(&package.key())).or_default().insert(package.key(), package);
        }
        let mut found: BTreeMap<Package, Vec<Entry>> = BTreeMap::new();
        for (number, wanted) in by_bucket {
            let start = number.checked_sub(1).map_or(0, |before| self.content.ends[before]);
            let size = self.content.ends[number].saturating_sub(start);
            let mut bytes = Vec::new();
            FileRange::new(&file, start, size).read_to_end(&mut bytes).map_err(fail())?;
            let mut start = 0;
            for end in memchr::memchr_iter(b'\n', &bytes) {
                let line = &bytes[start..end];
                start = end + 1;
                let Some(tab) = memchr::memchr(b'\t', line) else { continue };
                let key = std::str::from_utf8(&line[..tab]).unwrap_or_default();
                let Some(package) = wanted.get(key) else { continue };
                let entry = serde_json::from_slice(&line[tab + 1..]).map_err(|error| fail()(error.into()))?;
                found.entry((*package).clone()).or_default().push(entry);
            }
        }
        Ok(found)
    }
}

fn question(data: &Sha256) -> Sha256 {
    let mut hasher = Hasher::default();
    hasher.field(FORMAT);
    hasher.field(data.as_bytes());
    hasher.finish()
}

fn bucket(key: &str) -> usize {
    let digest = Sha256::of(key);
    let [first, second, ..] = digest.as_bytes();
    (usize::from(*first) << 8 | usize::from(*second)) % BUCKETS
}

/// An index in the making: lines go to a scratch file, and only their places are held.
pub(super) struct IndexBuilder {
    store: Store,
    scratch: BufWriter<File>,
    at: u64,
    lines: Vec<Line>,
    scopes: BTreeMap<String, Holding>,
    advisories: u64,
}

#[derive(Clone, Copy)]
struct Line {
    bucket: u16,
    offset: u64,
    length: u32,
}

/// Why an index could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl IndexBuilder {
    pub(super) fn new(store: &Store) -> Result<Self, StoreError> {
        Ok(Self {
            scratch: BufWriter::new(scratch_file(store.root())?),
            store: store.clone(),
            at: 0,
            lines: Vec::new(),
            scopes: BTreeMap::new(),
            advisories: 0,
        })
    }

    /// How many advisories came so far.
    pub(super) fn advisories(&self) -> u64 {
        self.advisories
    }

    /// Takes one advisory.
    pub(super) fn add(&mut self, text: &[u8]) -> Result<(), IndexError> {
        let record = Record::parse(text)?;
        self.advisories += 1;
        for scope in record.scopes {
            let holding = self.scopes.entry(scope).or_insert(Holding { advisories: 0, newest: i64::MIN });
            holding.advisories += 1;
            holding.newest = holding.newest.max(record.modified);
        }
        for (package, entry) in record.entries {
            let key = package.key();
            if key.contains(['\t', '\n']) {
                continue;
            }
            let line = format!("{key}\t{}\n", serde_json::to_string(&entry).map_err(RecordError::Shape)?);
            self.scratch.write_all(line.as_bytes()).map_err(self.fail())?;
            let length = u32::try_from(line.len()).unwrap_or(u32::MAX);
            self.lines.push(Line { bucket: bucket(&key) as u16, offset: self.at, length });
            self.at += line.len() as u64;
        }
        Ok(())
    }

    /// Writes the index into the store and keeps it under the data's digest.
    pub(super) fn finish(mut self, data: &Sha256) -> Result<Index, StoreError> {
        self.scratch.flush().map_err(self.fail())?;
        self.lines.sort_by_key(|line| (line.bucket, line.offset));
        let mut blob = self.store.create_blob()?;
        let mut ends = Vec::with_capacity(BUCKETS);
        let mut lines = self.lines.iter().peekable();
        for number in 0..BUCKETS {
            let mut texts = Vec::new();
            while let Some(line) = lines.next_if(|line| usize::from(line.bucket) == number) {
                let mut text = vec![0; line.length as usize];
                let file = self.scratch.get_mut();
                file.seek(SeekFrom::Start(line.offset)).map_err(FsError::new("read", self.store.root()))?;
                file.read_exact(&mut text).map_err(FsError::new("read", self.store.root()))?;
                texts.push(text);
            }
            // The order of files in the data set plays no part.
            texts.sort();
            for text in &texts {
                blob.write_all(text).map_err(FsError::new("write to", self.store.root()))?;
            }
            ends.push(blob.size());
        }
        let (blob, _) = blob.commit(None)?;
        let content = Content { blob, ends, scopes: self.scopes };
        let answer = serde_json::to_vec(&content).unwrap_or_default();
        self.store.set_memo(MEMO, &question(data), &answer)?;
        Ok(Index { store: self.store, content })
    }

    fn fail(&self) -> impl FnOnce(std::io::Error) -> StoreError + use<> {
        let root = self.store.root().to_owned();
        move |error| FsError::new("write to", root)(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, name: &str, modified: &str) -> String {
        format!(
            r#"{{"id":"{id}","modified":"{modified}T00:00:00Z","affected":[{{"package":{{"ecosystem":"npm","name":"{name}"}},"versions":["1.0.0"]}}]}}"#
        )
    }

    fn index(store: &Store, records: &[String]) -> Index {
        let mut builder = IndexBuilder::new(store).unwrap();
        records.iter().for_each(|text| builder.add(text.as_bytes()).unwrap());
        builder.finish(&Sha256::of("data")).unwrap()
    }

    #[test]
    fn an_index_gives_all_of_a_package_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let records: Vec<String> =
            (0..600).map(|n| record(&format!("A-{n}"), &format!("p{}", n % 300), "2026-01-02")).collect();
        let made = index(&store, &records);
        let again = Index::kept(&store, &Sha256::of("data")).unwrap();
        assert_eq!(made.content.blob, again.content.blob);
        assert_eq!(again.scopes()["npm"].advisories, 600);
        let wanted = BTreeSet::from([Package::new("npm", "p7").unwrap(), Package::new("npm", "q").unwrap()]);
        let found = again.entries(&wanted).unwrap();
        let ids: Vec<&str> = found.values().flatten().map(|entry| entry.id.as_str()).collect();
        assert_eq!(ids, ["A-307", "A-7"]);
        assert!(Index::kept(&store, &Sha256::of("other")).is_none());
    }

    #[test]
    fn the_order_of_files_plays_no_part() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mut records: Vec<String> = (0..50).map(|n| record(&format!("A-{n}"), "p", "2026-01-02")).collect();
        let one = index(&store, &records).content.blob;
        records.reverse();
        assert_eq!(index(&store, &records).content.blob, one);
    }

    #[test]
    fn a_damaged_index_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let index = index(&store, &[record("A", "p", "2026-01-02")]);
        std::fs::write(store.blob_path(&index.content.blob), "npm/p\t{}\n").unwrap();
        assert!(index.entries(&BTreeSet::from([Package::new("npm", "p").unwrap()])).is_err());
    }
}
