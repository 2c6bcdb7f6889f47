//! A step that does the same to each part of a directory, whatever the others are: one room for the parts that changed, the
//! kept results for the rest.
//!
//! That the parts do not depend on each other is not believed but enforced: what runs sees the files that the split names
//! and the changed parts, and nothing else of the root.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::archive::Archive;
use super::state::State;
use crate::base::tree::{Entry, Tree};
use crate::base::untar::{TarEntry, TarKind};
use crate::engine::Split;
use crate::model::{Hasher, Sha256};

/// Where byte code lies, beside its source.
const CACHE: &str = "__pycache__";

/// The parts as a state has them.
#[derive(Debug)]
pub(super) struct Parts {
    directory: PathBuf,
    /// What all of them see.
    common: State,
    /// Files by part. The part without a name is that of the loose files.
    parts: BTreeMap<PathBuf, Vec<PathBuf>>,
}

impl Parts {
    pub(super) fn of(split: &Split, state: &State) -> Self {
        let directory = PathBuf::from(split.directory.trim_matches('/'));
        let mut parts: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        let mut common = State::default();
        for (path, entry) in state.tree.iter() {
            let bytes = path.as_os_str().as_encoded_bytes();
            if let Ok(below) = path.strip_prefix(&directory) {
                if !entry.is_directory() && bytes.ends_with(split.suffix.as_bytes()) {
                    parts.entry(part_of(below).to_owned()).or_default().push(path.to_owned());
                }
            } else if split.sees.iter().any(|start| bytes.starts_with(start.trim_start_matches('/').as_bytes()))
                && path.iter().all(|name| name != CACHE)
            {
                put_with_parents(&mut common, state, path, entry);
            }
        }
        Self { directory, common, parts }
    }

    /// The parts with the digest of all that decides their results, apart from the step itself.
    pub(super) fn digests(&self, state: &State) -> Vec<(PathBuf, Sha256)> {
        let common = self.common.digest();
        let digest = |(part, files): (&PathBuf, &Vec<PathBuf>)| {
            let mut hasher = Hasher::default();
            hasher.field(common.as_bytes());
            hasher.field(self.directory.as_os_str().as_encoded_bytes());
            for path in files {
                hasher.field(path.as_os_str().as_encoded_bytes());
                if let Some(entry) = state.tree.get(path) {
                    entry.describe(|field| hasher.field(field));
                }
            }
            (part.clone(), hasher.finish())
        };
        self.parts.iter().map(digest).collect()
    }

    /// The root that these parts are worked out on.
    pub(super) fn root_for(&self, parts: &[PathBuf], state: &State) -> State {
        let mut root = self.common.clone();
        for path in parts.iter().filter_map(|part| self.parts.get(part)).flatten() {
            if let Some(entry) = state.tree.get(path) {
                put_with_parents(&mut root, state, path, entry);
            }
        }
        root
    }

    /// Puts the results of some parts into a state. A directory that is there stays as it is: in the archive it is as it was
    /// then.
    pub(super) fn take(&self, parts: &BTreeSet<PathBuf>, archive: &Archive, state: &mut State) -> std::io::Result<()> {
        let is_result = |entry: &&TarEntry| {
            let Ok(below) = entry.path.strip_prefix(&self.directory) else { return false };
            let is_directory = entry.kind == TarKind::Directory;
            // Its own directory is the part, not a loose file.
            let is_part = is_directory && below.iter().count() < 2 && below != Path::new(CACHE);
            let is_there = is_directory && state.tree.get(&entry.path).is_some_and(Entry::is_directory);
            !is_part && !is_there && parts.contains(part_of(below))
        };
        let entries: Vec<TarEntry> = archive.entries.iter().filter(is_result).cloned().collect();
        archive.lay_entries_over(entries, state)
    }
}

/// The directory below the common one that a path lies in; loose files and their results have no name.
fn part_of(below: &Path) -> &Path {
    let mut names = below.iter();
    let first = names.next().unwrap_or_default();
    Path::new(if first == CACHE || names.next().is_none() { OsStr::new("") } else { first })
}

fn put_with_parents(to: &mut State, from: &State, path: &Path, entry: &Entry) {
    let put = |to: &mut Tree, path: &Path, entry: &Entry| to.insert(path.to_owned(), entry.clone());
    for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
        if to.tree.get(parent).is_some() {
            break;
        }
        if let Some(entry) = from.tree.get(parent) {
            put(&mut to.tree, parent, entry);
        }
    }
    put(&mut to.tree, path, entry);
    if let Some(time) = from.times.get(path) {
        to.times.insert(path.to_owned(), *time);
    }
}
