//! The files of a base image as the lowest part of the tar.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use crate::base::path_map::PathMap;
use crate::base::tar::TarWriter;
use crate::base::tree::{Content, Entry, Node, Tree};

/// A base image's root filesystem.
#[derive(Clone, Copy, Debug)]
pub struct BaseFiles<'a> {
    /// Every path.
    pub tree: &'a Tree,
    /// The paths' own times, in seconds since 1970: byte code in the base is valid only beside sources of their time.
    pub times: &'a PathMap<i64>,
}

impl BaseFiles<'_> {
    /// Writes all files with their own times. What is written next has the time `epoch` again.
    pub(super) fn write<W: Write>(&self, epoch: i64, out: &mut TarWriter<W>) -> io::Result<()> {
        let mut written = BTreeMap::new();
        for (path, entry) in self.tree.iter() {
            out.set_time(self.times.get(path).copied().unwrap_or(epoch));
            write_entry(path, entry, &mut written, out)?;
        }
        out.set_time(epoch);
        Ok(())
    }
}

/// `written` has the path at which the content of each place in each layer was first.
fn write_entry<'a, W: Write>(
    path: &'a Path,
    entry: &Entry,
    written: &mut BTreeMap<(usize, u64), &'a Path>,
    out: &mut TarWriter<W>,
) -> io::Result<()> {
    match &entry.node {
        Node::Directory => out.directory(path, &entry.meta),
        Node::Symlink(target) => out.symlink(path, &entry.meta, target),
        Node::Special(special) => out.special(path, &entry.meta, *special),
        Node::File { size, content } => {
            // Hard links of a layer are files at one place of one archive; an empty file shares its place with the next.
            if let (Content::Range { archive, offset }, 1..) = (content, *size) {
                match written.entry((Arc::as_ptr(archive) as usize, *offset)) {
                    Slot::Occupied(first) => return out.hard_link(path, &entry.meta, first.get()),
                    Slot::Vacant(place) => drop(place.insert(path)),
                }
            }
            content.with_reader(*size, |reader| out.file(path, &entry.meta, *size, reader))
        }
    }
}
