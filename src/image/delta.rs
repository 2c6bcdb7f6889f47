//! What a root filesystem has otherwise than the base image below it: the only things that layers on top of it may hold.
//!
//! Compared are kind, content, link target, mode, owner and the attribute that belongs to an image. Times are not: each
//! engine leaves its own, so a file of the base that was only touched is the base's file still.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::SealError;
use super::tree::{Content, Entry, Node, Tree};

const BUFFER: usize = 128 * 1024;
/// The mode of a whiteout, which no unpacker keeps.
const WHITEOUT_MODE: u32 = 0o600;

/// The paths of a tree that its base does not have like that, and whiteouts for what only the base has.
#[derive(Debug, Default)]
pub(super) struct Delta {
    /// By path of the tree: other in the base, or not there.
    changed: BTreeSet<PathBuf>,
    /// By the path that is gone: the whiteout's own path and entry. Only the highest of a tree that is gone has one.
    pub(super) whiteouts: BTreeMap<PathBuf, (PathBuf, Entry)>,
}

impl Delta {
    /// Compares a tree with its base.
    pub(super) fn between(base: &Tree, tree: &Tree) -> Result<Self, SealError> {
        let mut delta = Self::default();
        for (path, entry) in tree.iter() {
            let fail = |source| SealError::Root { path: path.to_owned(), source };
            let is_same = base.get(path).map(|known| is_same(known, entry)).transpose().map_err(fail)?;
            if is_same != Some(true) {
                delta.changed.insert(path.to_owned());
            }
        }
        for (path, _) in base.iter().filter(|(path, _)| tree.get(path).is_none()) {
            let parent = path.parent().unwrap_or(Path::new(""));
            let is_highest = parent.as_os_str().is_empty() || tree.get(parent).is_some_and(Entry::is_directory);
            if let (true, Some(name)) = (is_highest, path.file_name()) {
                let mut marked = OsString::from(".wh.");
                marked.push(name);
                let whiteout = (parent.join(marked), Entry::file(WHITEOUT_MODE, Vec::new()));
                delta.whiteouts.insert(path.to_owned(), whiteout);
            }
        }
        Ok(delta)
    }

    /// Whether the base does not have the path like that.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.changed.contains(path)
    }
}

fn is_same(one: &Entry, other: &Entry) -> io::Result<bool> {
    if one.meta != other.meta && !is_link_of_same_owner(one, other) {
        return Ok(false);
    }
    match (&one.node, &other.node) {
        (Node::Directory, Node::Directory) => Ok(true),
        (Node::Symlink(one), Node::Symlink(other)) => Ok(one == other),
        (Node::Special(one), Node::Special(other)) => Ok(one == other),
        (Node::File { size, content: one }, Node::File { size: other_size, content: other }) => {
            if size != other_size {
                Ok(false)
            } else {
                is_same_content(one, other, *size)
            }
        }
        _ => Ok(false),
    }
}

/// The mode of a symbolic link means nothing, and archives write any.
fn is_link_of_same_owner(one: &Entry, other: &Entry) -> bool {
    let both_links = matches!((&one.node, &other.node), (Node::Symlink(_), Node::Symlink(_)));
    both_links && (one.meta.uid, one.meta.gid) == (other.meta.uid, other.meta.gid)
}

fn is_same_content(one: &Content, other: &Content, size: u64) -> io::Result<bool> {
    if size == 0 || one.is_same_place(other) {
        return Ok(true);
    }
    one.with_reader(size, |left| other.with_reader(size, |right| is_same_stream(left, right)))
}

fn is_same_stream(left: &mut dyn Read, right: &mut dyn Read) -> io::Result<bool> {
    let (mut these, mut those) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        let (length, other) = (fill(left, &mut these)?, fill(right, &mut those)?);
        if these[..length] != those[..other] {
            return Ok(false);
        }
        if length < BUFFER {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or there is no more.
fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match reader.read(&mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::tar::TarMeta;

    fn tree(entries: &[(&str, Entry)]) -> Tree {
        let mut tree = Tree::default();
        entries.iter().for_each(|(path, entry)| tree.insert_with_parents(Path::new(path), entry.clone()));
        tree
    }

    fn file(bytes: &str) -> Entry {
        Entry::file(0o644, bytes.into())
    }

    fn link(target: &str, mode: u32) -> Entry {
        Entry { node: Node::Symlink(target.into()), meta: TarMeta::root(mode) }
    }

    fn told(delta: &Delta) -> (Vec<&str>, Vec<&str>) {
        (
            delta.changed.iter().filter_map(|path| path.to_str()).collect(),
            delta.whiteouts.values().filter_map(|(path, _)| path.to_str()).collect(),
        )
    }

    #[test]
    fn only_what_differs_is_told() {
        let large = "x".repeat(BUFFER + 5);
        let base = tree(&[
            ("same", file("same")),
            ("large", file(&large)),
            ("content", file("old")),
            ("longer", file(&large)),
            ("mode", file("m")),
            ("owner", file("o")),
            ("link", link("a", 0o777)),
            ("other-link", link("a", 0o777)),
            ("gone/below/a", file("a")),
            ("kept/gone", file("g")),
            ("was-directory/x", file("x")),
        ]);
        let mut owner = file("o");
        owner.meta.uid = 7;
        let other = tree(&[
            ("same", file("same")),
            ("large", file(&large)),
            ("content", file("new")),
            ("longer", file(&large.replace("xxxxxx", "xxxxxy"))),
            ("mode", Entry::file(0o600, b"m".to_vec())),
            ("owner", owner),
            ("link", link("a", 0)),
            ("other-link", link("b", 0o777)),
            ("kept", Entry::directory(0o755)),
            ("new", Entry::directory(0o755)),
            ("was-directory", file("now a file")),
        ]);
        let delta = Delta::between(&base, &other).unwrap();
        let (changed, gone) = told(&delta);
        assert_eq!(changed, ["content", "longer", "mode", "new", "other-link", "owner", "was-directory"]);
        assert_eq!(gone, [".wh.gone", "kept/.wh.gone"]);
        let same = Delta::between(&base, &base).unwrap();
        assert_eq!(told(&same), (vec![], vec![]));
    }
}
