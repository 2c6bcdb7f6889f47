//! Files put into a directory by name: what was there is replaced, and no link is followed.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown,
    fsetxattr, futimens, mkdirat, mknodat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::base::fs::copy_with;
use crate::base::tar::TarMeta;

const CAPABILITY: &str = "security.capability";

/// Numeric user and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub uid: u32,
    pub gid: u32,
}

impl Owner {
    pub(super) const ROOT: Self = Self { uid: 0, gid: 0 };

    /// With no attributes.
    pub(super) fn meta(self, mode: u32) -> TarMeta {
        TarMeta { uid: self.uid.into(), gid: self.gid.into(), ..TarMeta::root(mode) }
    }

    fn ids(self) -> (Option<Uid>, Option<Gid>) {
        (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
    }
}

/// What a file or directory gets besides its content.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    pub mode: u32,
    pub owner: Owner,
    /// Seconds since 1970; now when not given.
    pub mtime: Option<i64>,
    /// `security.capability`.
    pub capability: Option<Vec<u8>>,
}

impl Meta {
    fn times(&self) -> Option<Timestamps> {
        let time = Timespec { tv_sec: self.mtime?, tv_nsec: 0 };
        Some(Timestamps { last_access: time, last_modification: time })
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens a directory of the host.
pub(super) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, DIRECTORY, Mode::empty())?)
}

/// Says where, which the system's answer does not.
pub(super) fn at(path: &Path, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Opens a directory by its name, which is no link.
pub(super) fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?)
}

/// What a name in a directory is, links not followed.
fn look(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<Stat>> {
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

/// Of something that is open.
pub(super) fn set_time(file: BorrowedFd<'_>, meta: &Meta) -> io::Result<()> {
    Ok(meta.times().map_or(Ok(()), |times| futimens(file, &times))?)
}

/// Writes a file anew; what was there is not written through.
pub(super) fn put_file(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    meta: &Meta,
    mut content: &mut dyn Read,
) -> io::Result<()> {
    clear(parent, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = std::fs::File::from(openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
    copy_with(&mut content, &mut file, |_| {})?;
    set_owner_and_mode(file.as_fd(), meta.owner, meta.mode)?;
    if let Some(capability) = &meta.capability {
        fsetxattr(&file, CAPABILITY, capability, XattrFlags::empty())?;
    }
    set_time(file.as_fd(), meta)
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
    chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(unowned)?;
    let times = meta.times();
    Ok(times.map_or(Ok(()), |times| utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW))?)
}

/// The mode comes last: a change of owner takes setuid bits away.
fn set_owner_and_mode(file: BorrowedFd<'_>, owner: Owner, mode: u32) -> io::Result<()> {
    let (uid, gid) = owner.ids();
    fchown(file, uid, gid).map_err(unowned)?;
    Ok(fchmod(file, Mode::from_raw_mode(mode))?)
}

/// Network and FUSE file systems do not know the IDs that a user has in a room.
fn unowned(error: Errno) -> io::Error {
    match error {
        Errno::PERM => io::Error::new(
            io::ErrorKind::PermissionDenied,
            "its file system does not let an owner be set; the project's `.oclock` must be on a local one",
        ),
        other => other.into(),
    }
}
