//! What a root filesystem is between two steps: a value, of which nothing need be on the disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::path_map::PathMap;
use crate::base::tree::{Entry, Node, Tree};
use crate::model::{Hasher, Sha256};

/// Every path with what is there. All contents are known by their digests.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub tree: Tree,
    /// Seconds since 1970, for steps that look; they are no part of what the state is.
    pub times: PathMap<i64>,
}

impl State {
    /// One digest over all paths, kinds, owners, modes and contents.
    pub(super) fn digest(&self) -> Sha256 {
        let mut hasher = Hasher::default();
        hasher.field("oclock root 1");
        for (path, entry) in self.tree.iter() {
            hasher.field(path.as_os_str().as_encoded_bytes());
            entry.describe(|field| hasher.field(field));
        }
        hasher.finish()
    }

    pub(super) fn put(&mut self, path: PathBuf, entry: Entry, time: Option<i64>) {
        match time {
            Some(time) => drop(self.times.insert(path.clone(), time)),
            None => drop(self.times.remove(&path)),
        }
        self.tree.insert(path, entry);
    }

    /// What lies in this state otherwise than in `before`.
    pub(super) fn changes(&self, before: &Tree) -> Changes {
        let mut changes = Changes::default();
        for (path, entry) in self.tree.iter() {
            if before.get(path).is_some_and(|known| is_same(known, entry)) {
                continue;
            }
            for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
                if let Some(entry) = self.tree.get(parent) {
                    changes.put.entry(parent.to_owned()).or_insert_with(|| entry.clone());
                }
            }
            changes.put.insert(path.to_owned(), entry.clone());
        }
        for (path, _) in before.iter().filter(|(path, _)| self.tree.get(path).is_none()) {
            let parent = path.parent().unwrap_or(Path::new(""));
            let is_highest = parent.as_os_str().is_empty() || self.tree.get(parent).is_some_and(Entry::is_directory);
            if is_highest {
                changes.gone.push(path.to_owned());
            }
        }
        changes
    }
}

/// A difference of two states: with the parents of what changed, and of what is gone only the highest path.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub put: BTreeMap<PathBuf, Entry>,
    pub gone: Vec<PathBuf>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.put.is_empty() && self.gone.is_empty()
    }
}

fn is_same(one: &Entry, other: &Entry) -> bool {
    let is_same_node = match (&one.node, &other.node) {
        (Node::Directory, Node::Directory) => true,
        (Node::Symlink(one), Node::Symlink(other)) => one == other,
        (Node::Special(one), Node::Special(other)) => one == other,
        (Node::File { size, content }, Node::File { size: of_other, content: other }) => {
            size == of_other && content.is_same_place(other)
        }
        _ => false,
    };
    let is_link = matches!(one.node, Node::Symlink(_));
    let is_same_meta =
        if is_link { (one.meta.uid, one.meta.gid) == (other.meta.uid, other.meta.gid) } else { one.meta == other.meta };
    is_same_node && is_same_meta
}
