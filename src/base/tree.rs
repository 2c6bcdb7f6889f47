//! A root filesystem as a value: every path with its kind and metadata, contents left where they are on the disk.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::path_map::PathMap;
use super::tar::{Special, TarMeta};
use super::untar::{FileRange, TarEntry, TarKind, read_tar};

/// The one extended attribute that belongs to an image; the others (ACLs, labels) belong to a host's file system.
pub const CAPABILITY: &str = "security.capability";
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// As many symbolic links as Linux follows in one path.
const LINKS_MAX: usize = 40;

/// Where a file's bytes are.
#[derive(Clone, Debug)]
pub enum Content {
    /// In a file of its own, with device and inode: hard links share them.
    File {
        /// The file.
        path: PathBuf,
        /// Its device and inode.
        inode: (u64, u64),
    },
    /// In an archive.
    Range {
        /// The archive's file.
        archive: Arc<File>,
        /// Where the content starts.
        offset: u64,
    },
    /// Here.
    Bytes(Vec<u8>),
    /// Bytes that are known by their sha256, wherever they are. Whoever reads them holds them against it on the way.
    Known {
        /// Where they are.
        content: Box<Self>,
        /// Their sha256.
        digest: [u8; 32],
    },
}

/// What is at a path.
#[derive(Clone, Debug)]
pub enum Node {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Its bytes.
        content: Content,
    },
    /// A symbolic link.
    Symlink(OsString),
    /// A device or FIFO.
    Special(Special),
}

/// One path's node with its metadata.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub node: Node,
    /// Owner, mode, attributes.
    pub meta: TarMeta,
}

impl Entry {
    /// An empty directory of root.
    pub fn directory(mode: u32) -> Self {
        Self { node: Node::Directory, meta: TarMeta::root(mode) }
    }

    /// A file of root with these bytes.
    pub fn file(mode: u32, bytes: Vec<u8>) -> Self {
        Self {
            node: Node::File { size: bytes.len() as u64, content: Content::Bytes(bytes) },
            meta: TarMeta::root(mode),
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.node, Node::Directory)
    }

    /// Tells `field` all that makes the entry what it is, its content by its sha256. Gives false, and means nothing, where
    /// that is not known.
    pub fn describe(&self, mut field: impl FnMut(&[u8])) -> bool {
        let TarMeta { mode, uid, gid, xattrs } = &self.meta;
        // The mode of a symbolic link means nothing, and archives write any.
        let mode = if matches!(self.node, Node::Symlink(_)) { 0o777 } else { *mode };
        field(&mode.to_le_bytes());
        field(&uid.to_le_bytes());
        field(&gid.to_le_bytes());
        field(&(xattrs.len() as u64).to_le_bytes());
        for (name, value) in xattrs {
            field(name.as_bytes());
            field(value);
        }
        match &self.node {
            Node::Directory => field(b"directory"),
            Node::Symlink(target) => {
                field(b"link");
                field(target.as_bytes());
            }
            Node::Special(special) => {
                field(b"special");
                field(format!("{special:?}").as_bytes());
            }
            Node::File { size, content } => {
                let Some(digest) = content.digest() else { return false };
                field(b"file");
                field(&size.to_le_bytes());
                field(&digest);
            }
        }
        true
    }
}

/// A root filesystem. Paths are relative; the root itself is not among them: its mode is 0755 whatever the engine says.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    entries: PathMap<Entry>,
}

impl Tree {
    /// All paths with their entries, parents before children.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_path(), entry))
    }

    /// What is at a path.
    pub fn get(&self, path: &Path) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts all of another tree over this one.
    pub fn add_tree(&mut self, tree: &Self) {
        if self.is_empty() {
            self.clone_from(tree);
        } else {
            tree.iter().for_each(|(path, entry)| self.insert(path.to_owned(), entry.clone()));
        }
    }

    /// Puts an entry at a path; a directory stays what it holds when it is replaced by a directory, else that is gone.
    pub fn insert(&mut self, path: PathBuf, entry: Entry) {
        if !entry.is_directory() && self.entries.get(&path).is_some_and(Entry::is_directory) {
            self.remove(&path);
        }
        self.entries.insert(path, entry);
    }

    /// Puts an entry at a path, with parents of mode 0755 where they are missing.
    pub fn insert_with_parents(&mut self, path: &Path, entry: Entry) {
        for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            if !self.entries.get(parent).is_some_and(Entry::is_directory) {
                self.insert(parent.to_owned(), Entry::directory(0o755));
            }
        }
        self.insert(path.to_owned(), entry);
    }

    /// Takes out a path and all below it; returns how many there were.
    pub fn remove(&mut self, path: &Path) -> usize {
        let below = self.remove_below(path);
        below + usize::from(self.entries.remove(path).is_some())
    }

    /// Takes out all below a path; returns how many there were.
    pub fn remove_below(&mut self, path: &Path) -> usize {
        let after = self.entries.after(path).map(|(other, _)| other);
        let below: Vec<PathBuf> = after.take_while(|other| other.starts_with(path)).cloned().collect();
        for other in &below {
            self.entries.remove(other);
        }
        below.len()
    }

    /// The names directly below a path.
    pub fn children<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Path> {
        self.entries
            .after(path)
            .map(|(other, _)| other.as_path())
            .take_while(move |other| other.starts_with(path))
            .filter(move |other| other.parent() == Some(path))
    }

    /// Lays the layer over the tree that lies in `archive` from `offset` on, uncompressed: whiteouts are files named
    /// `.wh.…` (OCI image layer specification 1.1, "Whiteouts"). `note` is told each path's own time.
    ///
    /// # Errors
    /// When it cannot be read or is not understood.
    pub fn add_tar(&mut self, archive: &Arc<File>, offset: u64, mut note: impl FnMut(&Path, i64)) -> io::Result<()> {
        let mut entries = Vec::new();
        read_tar(archive, offset, |entry| {
            entries.push(entry);
            Ok(())
        })?;
        self.add_layer(entries, |offset| Content::Range { archive: Arc::clone(archive), offset }, &mut note)
    }

    /// The same for entries that were read before; `content` gives the bytes that start at an offset of their archive.
    ///
    /// # Errors
    /// When a hard link leads to nothing.
    pub fn add_layer(
        &mut self,
        entries: Vec<TarEntry>,
        content: impl Fn(u64) -> Content,
        mut note: impl FnMut(&Path, i64),
    ) -> io::Result<()> {
        // What a layer hides is what lies below it, not what it holds itself, wherever the mark stands in it.
        let (mut hidden, mut opaque, mut items) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            let name = entry.path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
            let parent = entry.path.parent().unwrap_or(Path::new("")).to_owned();
            if name == OPAQUE {
                opaque.push(parent);
            } else if let Some(name) = name.strip_prefix(WHITEOUT) {
                hidden.push(parent.join(OsStr::from_bytes(name)));
            } else if !entry.path.as_os_str().is_empty() {
                items.push(entry);
            }
        }
        for path in hidden {
            self.remove(&path);
        }
        for directory in opaque {
            self.remove_below(&directory);
        }
        for item in items {
            note(&item.path, item.mtime);
            self.add_tar_entry(item, &content)?;
        }
        Ok(())
    }

    fn add_tar_entry(&mut self, item: TarEntry, content: &impl Fn(u64) -> Content) -> io::Result<()> {
        let node = match item.kind {
            TarKind::Directory => Node::Directory,
            TarKind::File { offset, size } => Node::File { size, content: content(offset) },
            TarKind::Symlink(target) => Node::Symlink(target),
            TarKind::Special(special) => Node::Special(special),
            TarKind::HardLink(target) => {
                let linked =
                    self.entries.get(&target).cloned().ok_or_else(|| {
                        io::Error::other(format!("`{}` is a hard link to nothing", item.path.display()))
                    })?;
                self.insert(item.path, linked);
                return Ok(());
            }
        };
        let mut meta = item.meta;
        meta.xattrs.retain(|name, _| name == CAPABILITY && matches!(node, Node::File { .. }));
        self.insert(item.path, Entry { node, meta });
        Ok(())
    }

    /// Adds the directories that paths need and no entry names, of root with mode 0755.
    ///
    /// # Errors
    /// When something that is no directory has entries below it: unpackers disagree what that means.
    pub fn ensure_parents(&mut self) -> io::Result<()> {
        let mut missing = Vec::new();
        for (path, _) in self.entries.iter() {
            for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
                match self.entries.get(parent) {
                    Some(entry) if entry.is_directory() => break,
                    Some(_) => {
                        let what = format!("`{}` lies below what is no directory", path.display());
                        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                    }
                    None => missing.push(parent.to_owned()),
                }
            }
        }
        self.entries.extend(missing.into_iter().map(|path| (path, Entry::directory(0o755))));
        Ok(())
    }

    /// Where a path leads when symbolic links are followed as below a root of one's own; nothing when it leads nowhere.
    pub fn resolve(&self, path: &Path) -> Option<PathBuf> {
        let parts = |path: &Path| -> Vec<OsString> {
            path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
        };
        let mut waiting = parts(path);
        let mut here = PathBuf::new();
        let mut links = 0;
        while let Some(part) = waiting.pop() {
            match Path::new(&part).components().next()? {
                Component::RootDir => here = PathBuf::new(),
                Component::ParentDir => drop(here.pop()),
                Component::Normal(name) => {
                    let next = here.join(name);
                    match &self.entries.get(&next)?.node {
                        Node::Symlink(target) => {
                            links += 1;
                            if links > LINKS_MAX {
                                return None;
                            }
                            waiting.extend(parts(Path::new(target)));
                        }
                        _ => here = next,
                    }
                }
                Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Some(here)
    }

    /// The bytes of a file, symbolic links followed; nothing when there is no such file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_file(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let entry = self.resolve(path).and_then(|path| self.entries.get(&path));
        let Some(Entry { node: Node::File { size, content }, .. }) = entry else { return Ok(None) };
        let mut bytes = Vec::new();
        content.with_reader(*size, |reader| reader.read_to_end(&mut bytes))?;
        Ok(Some(bytes))
    }
}

impl Content {
    /// Calls `read` with a reader of the content, which has `size` bytes.
    ///
    /// # Errors
    /// When the content cannot be opened, and those of `read`.
    pub fn with_reader<T>(&self, size: u64, read: impl FnOnce(&mut dyn Read) -> io::Result<T>) -> io::Result<T> {
        read(&mut *self.open(size)?)
    }

    fn open(&self, size: u64) -> io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Self::File { path, .. } => Box::new(File::open(path)?),
            Self::Range { archive, offset } => Box::new(FileRange::new(archive, *offset, size)),
            Self::Bytes(bytes) => Box::new(&bytes[..]),
            Self::Known { content, digest } => {
                Box::new(Checked { reader: content.open(size)?, hasher: Sha256::new(), left: size, digest })
            }
        })
    }

    /// The sha256 of the bytes, where it is known unread.
    pub fn digest(&self) -> Option<[u8; 32]> {
        match self {
            Self::Known { digest, .. } => Some(*digest),
            Self::Bytes(bytes) => Some(Sha256::digest(bytes).into()),
            Self::File { .. } | Self::Range { .. } => None,
        }
    }

    /// Whether both are the same bytes of the same file, so that nothing need be read to know it.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { inode, .. }, Self::File { inode: of_other, .. }) => inode == of_other,
            (Self::Range { archive, offset }, Self::Range { archive: of_other, offset: other }) => {
                Arc::ptr_eq(archive, of_other) && offset == other
            }
            (Self::Known { digest, .. }, Self::Known { digest: of_other, .. }) => digest == of_other,
            _ => false,
        }
    }
}

/// Reads on and compares when the last byte has come.
struct Checked<'a> {
    reader: Box<dyn Read + 'a>,
    hasher: Sha256,
    left: u64,
    digest: &'a [u8; 32],
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        let was_left = self.left;
        self.left = self.left.saturating_sub(length as u64);
        if was_left > 0 && self.left == 0 && self.hasher.clone().finalize().as_slice() != self.digest {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its bytes are not those that were kept"));
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::tar::TarWriter;

    fn layer(write: impl FnOnce(&mut TarWriter<File>)) -> Arc<File> {
        let mut writer = TarWriter::new(tempfile::tempfile().unwrap(), 7);
        write(&mut writer);
        Arc::new(writer.finish().unwrap())
    }

    fn file(writer: &mut TarWriter<File>, path: &str, bytes: &[u8]) {
        writer.file(Path::new(path), &TarMeta::root(0o644), bytes.len() as u64, &mut &*bytes).unwrap();
    }

    #[test]
    fn a_whiteout_and_its_successor_may_stand_in_one_layer_in_any_order() {
        for first_new in [true, false] {
            let mut tree = Tree::default();
            tree.add_tar(&layer(|writer| file(writer, "a", b"old")), 0, |_, _| {}).unwrap();
            let upper = layer(|writer| {
                let names = if first_new { ["a", ".wh.a"] } else { [".wh.a", "a"] };
                names.iter().for_each(|name| file(writer, name, b"new"));
            });
            tree.add_tar(&upper, 0, |_, _| {}).unwrap();
            assert_eq!(tree.read_file(Path::new("a")).unwrap().unwrap(), b"new");
            assert_eq!(tree.len(), 1);
        }
    }

    #[test]
    fn links_are_followed_below_the_root_alone() {
        let mut tree = Tree::default();
        let archive = layer(|writer| {
            for (path, target) in [("etc/os-release", "../usr/lib/os-release"), ("lib", "usr/lib"), ("round", "/round")]
            {
                writer.symlink(Path::new(path), &TarMeta::root(0o777), target.as_ref()).unwrap();
            }
            writer
                .symlink(Path::new("usr/lib/up"), &TarMeta::root(0o777), "../../../../etc/os-release".as_ref())
                .unwrap();
            file(writer, "usr/lib/os-release", b"ID=debian");
        });
        let mut times = BTreeMap::new();
        let note = |path: &Path, time| {
            times.insert(path.to_owned(), time);
        };
        tree.add_tar(&archive, 0, note).unwrap();
        tree.ensure_parents().unwrap();
        for path in ["etc/os-release", "/lib/os-release", "lib/up"] {
            assert_eq!(tree.read_file(Path::new(path)).unwrap().unwrap(), b"ID=debian", "{path}");
        }
        assert_eq!((tree.resolve(Path::new("round")), tree.resolve(Path::new("lib/none"))), (None, None));
        assert_eq!(times[Path::new("lib")], 7);
        assert!(tree.get(Path::new("usr")).unwrap().is_directory());
    }

    #[test]
    fn nothing_lies_below_a_link() {
        let mut tree = Tree::default();
        let archive = layer(|writer| {
            writer.symlink(Path::new("lib"), &TarMeta::root(0o777), "usr/lib".as_ref()).unwrap();
            file(writer, "lib/x", b"x");
        });
        tree.add_tar(&archive, 0, |_, _| {}).unwrap();
        assert!(tree.ensure_parents().unwrap_err().to_string().contains("`lib/x`"));
    }
}
