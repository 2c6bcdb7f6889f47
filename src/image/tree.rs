//! What engines made, read as a tree: directories, overlayfs's upper directories, archives.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use super::SealError;
use crate::base::tar::{Special, TarMeta};
use crate::engine::{BuiltRoot, RootLayer};

pub use crate::base::tree::{Content, Entry, Node, Tree};

use crate::base::tree::CAPABILITY;

const OVERLAY_OPAQUE: &str = "trusted.overlay.opaque";
/// Attributes of overlayfs that make a directory or file mean something that lies elsewhere.
const OVERLAY_REDIRECTS: [&str; 2] = ["trusted.overlay.redirect", "trusted.overlay.metacopy"];

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
            RootLayer::Tree(tree) => {
                self.add_tree(tree);
                Ok(())
            }
            RootLayer::Tar { path, offset } => {
                let fail = |source| SealError::Root { path: path.clone(), source };
                let archive = Arc::new(File::open(path).map_err(fail)?);
                self.add_tar(&archive, *offset, |_, _| {}).map_err(fail)
            }
        }
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
