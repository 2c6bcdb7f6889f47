//! What a step left as one archive, so that its owners and closed files can be read from outside the user namespace: a whole
//! root, or an upper directory of overlayfs, whose whiteouts become files named `.wh.…`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::root::at;
use crate::base::tar::{Special, TarMeta, TarWriter};

const CAPABILITY: &str = "security.capability";
const OPAQUE: &str = "user.overlay.opaque";
const OPAQUE_MARK: &str = ".wh..wh..opq";
const HIDDEN_MARK: &str = ".wh.";

/// Writes `root` to the new file `archive`, with the times in seconds: later steps may look at them.
pub(super) fn pack(root: &Path, archive: &Path) -> io::Result<()> {
    let file = File::create(archive).map_err(|error| at(archive, error))?;
    let mut packer =
        Packer { root, out: TarWriter::new(BufWriter::with_capacity(1 << 20, file), 0), links: BTreeMap::new() };
    packer.below(Path::new(""))?;
    packer.out.finish().map(drop)
}

struct Packer<'a, W: Write> {
    root: &'a Path,
    out: TarWriter<W>,
    /// Files with several names, by inode, with the first of them.
    links: BTreeMap<u64, PathBuf>,
}

impl<W: Write> Packer<'_, W> {
    fn below(&mut self, directory: &Path) -> io::Result<()> {
        let entries = crate::base::fs::sorted_entries(&self.root.join(directory)).map_err(|error| error.source);
        for entry in entries.map_err(|error| at(directory, error))? {
            let path = directory.join(entry.file_name());
            let metadata = entry.metadata().map_err(|error| at(&path, error))?;
            self.out.set_time(metadata.mtime());
            self.put(&path, &metadata).map_err(|error| at(&path, error))?;
            if metadata.is_dir() {
                self.opaque(&path).map_err(|error| at(&path, error))?;
                self.below(&path)?;
            }
        }
        Ok(())
    }

    fn opaque(&mut self, path: &Path) -> io::Result<()> {
        if xattr::get(self.root.join(path), OPAQUE)?.is_some_and(|value| value == b"y") {
            self.out.file(&path.join(OPAQUE_MARK), &TarMeta::root(0o600), 0, &mut io::empty())?;
        }
        Ok(())
    }

    fn put(&mut self, path: &Path, metadata: &Metadata) -> io::Result<()> {
        let from = self.root.join(path);
        let kind = metadata.file_type();
        let mut meta = TarMeta {
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid().into(),
            gid: metadata.gid().into(),
            ..TarMeta::default()
        };
        if kind.is_dir() {
            return self.out.directory(path, &meta);
        }
        if kind.is_char_device() && metadata.rdev() == 0 {
            let mut name = OsString::from(HIDDEN_MARK);
            name.push(path.file_name().unwrap_or_default());
            return self.out.file(&path.with_file_name(name), &TarMeta::root(0o600), 0, &mut io::empty());
        }
        if kind.is_symlink() {
            return self.out.symlink(path, &meta, fs::read_link(from)?.as_os_str());
        }
        if metadata.nlink() > 1 {
            if let Some(first) = self.links.get(&metadata.ino()) {
                return self.out.hard_link(path, &meta, first);
            }
            self.links.insert(metadata.ino(), path.to_owned());
        }
        if kind.is_file() {
            if let Some(value) = xattr::get(&from, CAPABILITY)? {
                meta.xattrs.insert(CAPABILITY.to_owned(), value);
            }
            return self.out.file(path, &meta, metadata.len(), &mut File::open(from)?);
        }
        let numbers = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        let special = if kind.is_fifo() {
            Special::Fifo
        } else if kind.is_char_device() {
            Special::CharacterDevice(numbers.0, numbers.1)
        } else if kind.is_block_device() {
            Special::BlockDevice(numbers.0, numbers.1)
        } else {
            // A socket, which no archive can hold.
            return Ok(());
        };
        self.out.special(path, &meta, special)
    }
}
