//! A root filesystem by its directory: every path is followed as if that were `/`, whatever links lie in it.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat,
    fchmod, fchown, fsetxattr, futimens, mkdirat, mknodat, openat, openat2, readlinkat, statat, symlinkat, unlinkat,
    utimensat,
};
use rustix::io::Errno;

const CAPABILITY: &str = "security.capability";
/// As the kernel has it.
const LINKS_MOST: u32 = 40;

/// Numeric user and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub uid: u32,
    pub gid: u32,
}

impl Owner {
    pub(super) const ROOT: Self = Self { uid: 0, gid: 0 };

    fn ids(self) -> (Option<Uid>, Option<Gid>) {
        (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
    }
}

/// What a file or directory gets besides its content.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    pub mode: u32,
    pub owner: Owner,
    pub mtime: (i64, u32),
    /// `security.capability`.
    pub capability: Option<Vec<u8>>,
}

impl Meta {
    fn times(&self) -> Timestamps {
        let time = Timespec { tv_sec: self.mtime.0, tv_nsec: self.mtime.1.into() };
        Timestamps { last_access: time, last_modification: time }
    }
}

/// The root.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { directory: openat(CWD, path, DIRECTORY, Mode::empty())? })
    }

    /// Opens a directory that is there.
    pub(super) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.resolve(path, DIRECTORY).map_err(|error| at(path, error))
    }

    /// Opens a directory; where there is none it is made with mode 0755 for `owner`, and its parents for root.
    pub(super) fn ensure_directory(&self, path: &Path, owner: Owner) -> io::Result<OwnedFd> {
        match self.resolve(path, DIRECTORY) {
            Err(Errno::NOENT) => {}
            other => return other.map_err(|error| at(path, error)),
        }
        let path = self.without_last_links(path)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(at(&path, Errno::NOENT));
        };
        let parent = self.ensure_directory(parent, Owner::ROOT)?;
        mkdirat(&parent, name, Mode::from_raw_mode(0o755)).map_err(|error| at(&path, error))?;
        let made = open_directory(parent.as_fd(), name)?;
        set_owner_and_mode(made.as_fd(), owner, 0o755)?;
        Ok(made)
    }

    /// What is there, links followed; nothing where nothing is.
    pub(super) fn kind(&self, path: &Path) -> io::Result<Option<FileType>> {
        match self.resolve(path, OFlags::PATH | OFlags::CLOEXEC) {
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(at(path, error)),
            Ok(found) => Ok(Some(FileType::from_raw_mode(rustix::fs::fstat(found)?.st_mode))),
        }
    }

    /// A file's text; empty where there is none.
    pub(super) fn read_text(&self, path: &str) -> io::Result<String> {
        match self.resolve(Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC) {
            Err(Errno::NOENT) => Ok(String::new()),
            Err(error) => Err(at(Path::new(path), error)),
            Ok(file) => io::read_to_string(std::fs::File::from(file)),
        }
    }

    /// The path that a file is written to: where the last part is a link, what it points to, whether that is there or not.
    pub(super) fn without_last_links(&self, path: &Path) -> io::Result<PathBuf> {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MOST {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path) };
            let target = match self.resolve(parent, DIRECTORY) {
                Ok(parent) => readlinkat(&parent, name, Vec::new()),
                Err(error) => Err(error),
            };
            match target {
                Ok(target) => path = parent.join(PathBuf::from(OsString::from_vec(target.into_bytes()))),
                Err(Errno::INVAL | Errno::NOENT) => return Ok(path),
                Err(error) => return Err(at(&path, error)),
            }
        }
        Err(at(&path, Errno::LOOP))
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        openat2(&self.directory, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }
}

/// Says where, which the system's answer does not.
pub(super) fn at(path: &Path, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?)
}

/// What a name in a directory is, links not followed.
pub(super) fn look(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<Stat>> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        other => Ok(Some(other?)),
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Makes room for something that is no directory.
fn clear(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match look(parent, name)? {
        Some(stat) if is_directory(&stat) => Err(io::Error::other("a directory is in the way")),
        Some(_) => Ok(unlinkat(parent, name, AtFlags::empty())?),
        None => Ok(()),
    }
}

/// Makes a directory, or takes the one that is there, and opens it. Anything else in its place goes.
pub(super) fn put_directory(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let found = look(parent, name)?;
    if !found.as_ref().is_some_and(is_directory) {
        if found.is_some() {
            unlinkat(parent, name, AtFlags::empty())?;
        }
        mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
    }
    open_directory(parent, name)
}

/// Gives a directory its owner and mode; its time is set when it is full.
pub(super) fn set_directory(directory: BorrowedFd<'_>, meta: &Meta) -> io::Result<()> {
    set_owner_and_mode(directory, meta.owner, meta.mode)
}

pub(super) fn set_time(file: BorrowedFd<'_>, meta: &Meta) -> io::Result<()> {
    Ok(futimens(file, &meta.times())?)
}

/// Writes a file anew; what was there is not written through.
pub(super) fn put_file(parent: BorrowedFd<'_>, name: &OsStr, meta: &Meta, content: &mut dyn Read) -> io::Result<()> {
    clear(parent, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = std::fs::File::from(openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
    copy_all(content, &mut file)?;
    set_owner_and_mode(file.as_fd(), meta.owner, meta.mode)?;
    if let Some(capability) = &meta.capability {
        fsetxattr(&file, CAPABILITY, capability, XattrFlags::empty())?;
    }
    set_time(file.as_fd(), meta)
}

fn copy_all(content: &mut dyn Read, file: &mut std::fs::File) -> io::Result<()> {
    thread_local! {
        static BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; 256 * 1024]);
    }
    BUFFER.with_borrow_mut(|buffer| {
        loop {
            match content.read(buffer)? {
                0 => return Ok(()),
                length => file.write_all(&buffer[..length])?,
            }
        }
    })
}

pub(super) fn put_symlink(parent: BorrowedFd<'_>, name: &OsStr, meta: &Meta, target: &OsStr) -> io::Result<()> {
    clear(parent, name)?;
    symlinkat(target, parent, name)?;
    set_unopened(parent, name, meta)
}

pub(super) fn put_special(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    meta: &Meta,
    kind: FileType,
    device: u64,
) -> io::Result<()> {
    clear(parent, name)?;
    mknodat(parent, name, kind, Mode::from_raw_mode(meta.mode), device)?;
    rustix::fs::chmodat(parent, name, Mode::from_raw_mode(meta.mode), AtFlags::empty())?;
    set_unopened(parent, name, meta)
}

pub(super) fn put_hard_link(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    target: BorrowedFd<'_>,
    target_name: &OsStr,
) -> io::Result<()> {
    clear(parent, name)?;
    Ok(rustix::fs::linkat(target, target_name, parent, name, AtFlags::empty())?)
}

fn set_unopened(parent: BorrowedFd<'_>, name: &OsStr, meta: &Meta) -> io::Result<()> {
    let (uid, gid) = meta.owner.ids();
    chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(utimensat(parent, name, &meta.times(), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The mode comes last: a change of owner takes setuid bits away.
fn set_owner_and_mode(file: BorrowedFd<'_>, owner: Owner, mode: u32) -> io::Result<()> {
    let (uid, gid) = owner.ids();
    fchown(file, uid, gid)?;
    Ok(fchmod(file, Mode::from_raw_mode(mode))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_lead_nowhere_outside() {
        let directory = tempfile::tempdir().unwrap();
        let (inside, outside) = (directory.path().join("root"), directory.path().join("outside"));
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        symlink(&outside, inside.join("absolute")).unwrap();
        symlink("../../outside", inside.join("relative")).unwrap();
        symlink("/a/b", inside.join("dangling")).unwrap();
        let root = Root::open(&inside).unwrap();
        assert_eq!(root.kind(Path::new("/absolute")).unwrap(), None);
        assert_eq!(root.without_last_links(Path::new("/dangling")).unwrap(), Path::new("/a/b"));
        let owner = Owner { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() };
        if owner == Owner::ROOT {
            for path in ["/absolute/x", "/relative/y", "/dangling/z"] {
                root.ensure_directory(Path::new(path), owner).unwrap();
            }
            assert!(inside.join("a/b/z").is_dir() && inside.join("outside/y").is_dir());
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        assert_eq!(root.read_text("/no/such").unwrap(), "");
    }
}
