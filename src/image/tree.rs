//! A root filesystem as a value: every path with its kind and metadata, contents left where they are on the disk.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SealError;
use crate::base::tar::{Special, TarMeta};
use crate::base::untar::{FileRange, TarEntry, TarKind, read_tar};
use crate::engine::{BuiltRoot, RootLayer};

/// The one extended attribute that belongs to an image; the others (ACLs, labels) belong to a host's file system.
const CAPABILITY: &str = "security.capability";
const OVERLAY_OPAQUE: &str = "trusted.overlay.opaque";
/// Attributes of overlayfs that make a directory or file mean something that lies elsewhere.
const OVERLAY_REDIRECTS: [&str; 2] = ["trusted.overlay.redirect", "trusted.overlay.metacopy"];
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

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
}

/// A root filesystem. Paths are relative; the root itself is not among them: its mode is 0755 whatever the engine says.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Tree {
    /// Reads what an engine made.
    ///
    /// # Errors
    /// When something cannot be read or is not understood.
    pub fn read(root: &BuiltRoot) -> Result<Self, SealError> {
        let mut tree = Self::default();
        for layer in &root.layers {
            tree.add(layer)?;
        }
        Ok(tree)
    }

    /// Lays one more layer over the tree.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn add(&mut self, layer: &RootLayer) -> Result<(), SealError> {
        match layer {
            RootLayer::Directory(path) => self.add_directory(path, Path::new(""), Whiteouts::None),
            RootLayer::Overlay(path) => self.add_directory(path, Path::new(""), Whiteouts::Overlay),
            RootLayer::Tar { path, offset } => self.add_tar(path, *offset),
        }
    }

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
        let range = (std::ops::Bound::Excluded(path.to_owned()), std::ops::Bound::Unbounded);
        let below: Vec<PathBuf> = self
            .entries
            .range::<PathBuf, _>(range)
            .map(|(other, _)| other)
            .take_while(|other| other.starts_with(path))
            .cloned()
            .collect();
        for other in &below {
            self.entries.remove(other);
        }
        below.len()
    }

    /// The names directly below a path.
    pub fn children<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Path> {
        let range = (std::ops::Bound::Excluded(path.to_owned()), std::ops::Bound::Unbounded);
        self.entries
            .range::<PathBuf, _>(range)
            .map(|(other, _)| other.as_path())
            .take_while(move |other| other.starts_with(path))
            .filter(move |other| other.parent() == Some(path))
    }

    fn add_directory(&mut self, root: &Path, below: &Path, whiteouts: Whiteouts) -> Result<(), SealError> {
        let directory = root.join(below);
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| SealError::Root { path, source }
        };
        for item in std::fs::read_dir(&directory).map_err(fail(below))? {
            let item = item.map_err(fail(below))?;
            let path = below.join(item.file_name());
            let metadata = item.metadata().map_err(fail(&path))?;
            if whiteouts == Whiteouts::Overlay && self.overlay_whiteout(&item.path(), &path, &metadata)? {
                continue;
            }
            let Some(entry) = read_entry(&item.path(), &metadata).map_err(fail(&path))? else { continue };
            let descend = entry.is_directory();
            self.insert(path.clone(), entry);
            if descend {
                self.add_directory(root, &path, whiteouts)?;
            }
        }
        Ok(())
    }

    /// Does what a whiteout or an opaque directory asks; says whether the path was a whiteout.
    fn overlay_whiteout(&mut self, from: &Path, path: &Path, metadata: &Metadata) -> Result<bool, SealError> {
        if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
            self.remove(path);
            return Ok(true);
        }
        let fail = |source| SealError::Root { path: path.to_owned(), source };
        for name in OVERLAY_REDIRECTS.iter().filter(|_| metadata.is_dir() || metadata.is_file()) {
            if xattr::get(from, name).map_err(fail)?.is_some() {
                return Err(fail(io::Error::other(format!("overlayfs moved it (`{name}`), which is not followed"))));
            }
        }
        if metadata.is_dir() && xattr::get(from, OVERLAY_OPAQUE).map_err(fail)?.is_some_and(|value| value == b"y") {
            self.remove_below(path);
        }
        Ok(false)
    }

    fn add_tar(&mut self, path: &Path, offset: u64) -> Result<(), SealError> {
        let fail = |source| SealError::Root { path: path.to_owned(), source };
        let archive = Arc::new(File::open(path).map_err(fail)?);
        // An opaque mark hides what lower layers hold, not what this one does, wherever the mark stands in it.
        let mut opaque = Vec::new();
        let mut items = Vec::new();
        read_tar(&archive, offset, |entry| {
            let name = entry.path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
            let parent = entry.path.parent().unwrap_or(Path::new("")).to_owned();
            if name == OPAQUE {
                opaque.push(parent);
            } else if let Some(hidden) = name.strip_prefix(WHITEOUT) {
                opaque.push(parent.join(std::ffi::OsStr::from_bytes(hidden)));
                self.remove(&parent.join(std::ffi::OsStr::from_bytes(hidden)));
                opaque.pop();
            } else if !entry.path.as_os_str().is_empty() {
                items.push(entry);
            }
            Ok(())
        })
        .map_err(fail)?;
        for directory in opaque {
            self.remove_below(&directory);
        }
        for item in items {
            self.add_tar_entry(item, &archive).map_err(fail)?;
        }
        Ok(())
    }

    fn add_tar_entry(&mut self, item: TarEntry, archive: &Arc<File>) -> io::Result<()> {
        let node = match item.kind {
            TarKind::Directory => Node::Directory,
            TarKind::File { offset, size } => {
                Node::File { size, content: Content::Range { archive: Arc::clone(archive), offset } }
            }
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
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whiteouts {
    None,
    Overlay,
}

/// Nothing for a socket, which no archive can hold.
fn read_entry(path: &Path, metadata: &Metadata) -> io::Result<Option<Entry>> {
    let kind = metadata.file_type();
    let device = || (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    let mut meta = TarMeta {
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid().into(),
        gid: metadata.gid().into(),
        ..TarMeta::default()
    };
    let node = if kind.is_dir() {
        Node::Directory
    } else if kind.is_symlink() {
        Node::Symlink(std::fs::read_link(path)?.into_os_string())
    } else if kind.is_file() {
        if let Some(value) = xattr::get(path, CAPABILITY)? {
            meta.xattrs.insert(CAPABILITY.to_owned(), value);
        }
        let content = Content::File { path: path.to_owned(), inode: (metadata.dev(), metadata.ino()) };
        Node::File { size: metadata.len(), content }
    } else if kind.is_char_device() {
        let (major, minor) = device();
        Node::Special(Special::CharacterDevice(major, minor))
    } else if kind.is_block_device() {
        let (major, minor) = device();
        Node::Special(Special::BlockDevice(major, minor))
    } else if kind.is_fifo() {
        Node::Special(Special::Fifo)
    } else {
        return Ok(None);
    };
    Ok(Some(Entry { node, meta }))
}

impl Content {
    /// Calls `read` with a reader of the content, which has `size` bytes.
    ///
    /// # Errors
    /// When the content cannot be opened, and those of `read`.
    pub fn with_reader<T>(&self, size: u64, read: impl FnOnce(&mut dyn Read) -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::File { path, .. } => read(&mut File::open(path)?),
            Self::Range { archive, offset } => read(&mut FileRange::new(archive, *offset, size)),
            Self::Bytes(bytes) => read(&mut &bytes[..]),
        }
    }

    /// Whether both are the same bytes of the same file, so that nothing need be read to know it.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { inode, .. }, Self::File { inode: of_other, .. }) => inode == of_other,
            (Self::Range { archive, offset }, Self::Range { archive: of_other, offset: other }) => {
                Arc::ptr_eq(archive, of_other) && offset == other
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::tar::TarWriter;

    fn names(tree: &Tree) -> Vec<String> {
        tree.iter().map(|(path, _)| path.display().to_string()).collect()
    }

    fn layer(directory: &Path, name: &str, files: &[&str]) -> RootLayer {
        let mut writer = TarWriter::new(Vec::new(), 0);
        for file in files {
            match file.strip_suffix('/') {
                Some(path) => writer.directory(Path::new(path), &TarMeta::root(0o755)).unwrap(),
                None => writer.file(Path::new(file), &TarMeta::root(0o644), 1, &mut &b"x"[..]).unwrap(),
            }
        }
        let path = directory.join(name);
        std::fs::write(&path, writer.finish().unwrap()).unwrap();
        RootLayer::Tar { path, offset: 0 }
    }

    #[test]
    fn whiteouts_hide_what_lies_below() {
        let directory = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        tree.add(&layer(directory.path(), "1", &["a/", "a/old", "a-b", "b/", "b/c/", "b/c/d", "e"])).unwrap();
        tree.add(&layer(directory.path(), "2", &["a/", "a/new", "a/.wh..wh..opq", "b/.wh.c", "e/"])).unwrap();
        assert_eq!(names(&tree), ["a", "a/new", "a-b", "b", "e"]);
        assert!(tree.get(Path::new("e")).unwrap().is_directory());
    }

    #[test]
    fn a_file_in_place_of_a_directory_takes_all_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        tree.add(&layer(directory.path(), "1", &["a/", "a/x", "a.b"])).unwrap();
        tree.add(&layer(directory.path(), "2", &["a"])).unwrap();
        assert_eq!(names(&tree), ["a", "a.b"]);
        tree.insert_with_parents(Path::new("a/b/c"), Entry::file(0o600, b"z".to_vec()));
        assert_eq!(names(&tree), ["a", "a/b", "a/b/c", "a.b"]);
        assert_eq!(tree.children(Path::new("a")).collect::<Vec<_>>(), [Path::new("a/b")]);
        assert_eq!(tree.remove(Path::new("a")), 3);
    }

    #[test]
    fn a_directory_and_its_tar_are_one_tree() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir_all(root.join("d")).unwrap();
        std::fs::write(root.join("d/f"), "text").unwrap();
        std::fs::hard_link(root.join("d/f"), root.join("d/g")).unwrap();
        std::os::unix::fs::symlink("f", root.join("d/l")).unwrap();
        let mut tree = Tree::default();
        tree.add(&RootLayer::Directory(root)).unwrap();
        assert_eq!(names(&tree), ["d", "d/f", "d/g", "d/l"]);
        let place = |name: &str| match &tree.get(Path::new(name)).unwrap().node {
            Node::File { content, .. } => content.clone(),
            _ => panic!(),
        };
        assert!(place("d/f").is_same_place(&place("d/g")));
        let text = place("d/f").with_reader(4, |reader| io::read_to_string(reader)).unwrap();
        assert_eq!(text, "text");
    }
}
