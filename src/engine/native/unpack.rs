//! ADD of a tar: unpacked over the root, later entries over earlier ones, as docker's and buildah's own unpacking does.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, makedev};

use super::root::{
    Meta, Owner, Root, at, put_directory, put_file, put_hard_link, put_special, put_symlink, set_directory, set_time,
};
use crate::base::tar::Special;
use crate::base::untar::{FileRange, TarEntry, TarKind, read_tar};

const CAPABILITY: &str = "security.capability";

/// Unpacks below `destination`.
pub(super) fn unpack(root: &Root, archive: &Path, destination: &Path) -> io::Result<()> {
    let file = File::open(archive).map_err(|error| at(archive, error))?;
    drop(root.ensure_directory(destination, Owner::ROOT)?);
    let mut unpacker = Unpacker { root, archive: &file, destination, parent: None, directories: Vec::new() };
    read_tar(&file, 0, |entry| {
        let path = entry.path.clone();
        unpacker.put(entry).map_err(|error| at(&path, error))
    })?;
    unpacker.set_times()
}

struct Unpacker<'a> {
    root: &'a Root,
    archive: &'a File,
    destination: &'a Path,
    /// The directory that the last entry went to, because the next one is mostly beside it.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Directories get their times when nothing more comes into them.
    directories: Vec<(PathBuf, Meta)>,
}

impl Unpacker<'_> {
    fn put(&mut self, entry: TarEntry) -> io::Result<()> {
        // The root itself is not the archive's to change.
        let Some(name) = entry.path.file_name().map(ToOwned::to_owned) else { return Ok(()) };
        let parent = self.destination.join(entry.path.parent().unwrap_or(Path::new("")));
        if self.parent.as_ref().is_none_or(|(path, _)| *path != parent) {
            let opened = self.root.ensure_directory(&parent, Owner::ROOT)?;
            self.parent = Some((parent, opened));
        }
        let Some((_, parent)) = &self.parent else { return Ok(()) };
        let parent = parent.as_fd();
        let meta = meta_of(&entry)?;
        match entry.kind {
            TarKind::Directory => {
                let directory = put_directory(parent, &name)?;
                set_directory(directory.as_fd(), &meta)?;
                self.directories.push((self.destination.join(&entry.path), meta));
                Ok(())
            }
            TarKind::File { offset, size } => {
                put_file(parent, &name, &meta, &mut FileRange::new(self.archive, offset, size))
            }
            TarKind::Symlink(target) => put_symlink(parent, &name, &meta, &target),
            TarKind::HardLink(target) => {
                let target_name = target.file_name().ok_or_else(|| io::Error::other("it is a link to the root"))?;
                let above = self.root.directory(&self.destination.join(target.parent().unwrap_or(Path::new(""))))?;
                put_hard_link(parent, &name, above.as_fd(), target_name)
            }
            TarKind::Special(special) => {
                let (kind, device) = match special {
                    Special::CharacterDevice(major, minor) => (FileType::CharacterDevice, makedev(major, minor)),
                    Special::BlockDevice(major, minor) => (FileType::BlockDevice, makedev(major, minor)),
                    Special::Fifo => (FileType::Fifo, 0),
                };
                put_special(parent, &name, &meta, kind, device)
            }
        }
    }

    fn set_times(&self) -> io::Result<()> {
        for (path, meta) in self.directories.iter().rev() {
            // A later entry may have put something else there.
            if let Ok(directory) = self.root.directory(path) {
                set_time(directory.as_fd(), meta).map_err(|error| at(path, error))?;
            }
        }
        Ok(())
    }
}

fn meta_of(entry: &TarEntry) -> io::Result<Meta> {
    let id = |id: u64| u32::try_from(id).map_err(|_| io::Error::other("its owner's number is too large"));
    Ok(Meta {
        mode: entry.meta.mode,
        owner: Owner { uid: id(entry.meta.uid)?, gid: id(entry.meta.gid)? },
        mtime: (entry.mtime, 0),
        capability: entry.meta.xattrs.get(CAPABILITY).cloned(),
    })
}
