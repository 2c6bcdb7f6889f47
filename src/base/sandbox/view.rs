//! What the room sees: its root, a `/proc` of its own processes, a `/dev` of eight devices, and nothing of the host.
//!
//! The root is changed first and the mounts are made from inside, so that a link that an earlier step left in place of
//! `/proc` or `/dev` leads nowhere else.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatVfsMountFlags, chmodat, makedev, mknodat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount,
};

use super::protocol::{Layers, Reason, could_not};

/// Names with major and minor number.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const DEVICE_LINKS: [(&str, &str); 4] =
    [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")];
/// As docker has it: enough for the semaphores of Python's workers.
const SHARED_MEMORY: &CStr = c"mode=1777,size=64m";
const DEVICE_DIRECTORY: &CStr = c"mode=755,size=64k";
/// What `/proc` tells of the host's memory, keys and hardware.
const HIDDEN_FILES: [&str; 8] =
    ["kcore", "keys", "kmsg", "timer_list", "sched_debug", "latency_stats", "kpagecount", "kpageflags"];
const HIDDEN_DIRECTORIES: [&str; 3] = ["acpi", "scsi", "asound"];

const CLOSED: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Whether a room could be made: tries the two mounts that a machine may refuse.
pub(super) fn probe(layers: Option<&Layers>) -> Result<(), Reason> {
    keep_mounts_private()?;
    lay_over(layers)?;
    mount("proc", "/proc", "proc", CLOSED, None).map_err(could_not("mount a /proc of its own"))?;
    mount("tmpfs", "/dev", "tmpfs", CLOSED, DEVICE_DIRECTORY).map_err(could_not("mount a /dev of its own"))
}

/// Makes `root` the root of this mount namespace, with all that belongs there.
pub(super) fn enter(root: &Path, layers: Option<&Layers>) -> Result<(), Reason> {
    keep_mounts_private()?;
    lay_over(layers)?;
    change_root(root).map_err(could_not("change the root"))?;
    // From here on `/` is the room and the working directory is the host.
    for name in ["/proc", "/dev"] {
        ensure_directory(name).map_err(could_not(format!("use `{name}` of the root filesystem")))?;
    }
    mount("proc", "/proc", "proc", CLOSED, None).map_err(could_not("mount /proc"))?;
    make_devices().map_err(could_not("make /dev"))?;
    close_proc().map_err(could_not("close parts of /proc"))?;
    unmount(".", UnmountFlags::DETACH).map_err(could_not("leave the host's files"))?;
    std::env::set_current_dir("/").map_err(could_not("enter the root"))
}

fn keep_mounts_private() -> Result<(), Reason> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(could_not("keep mounts private"))
}

/// Marks of overlayfs are attributes that users may set too, so that root and a user leave the same. Names are relative, so
/// that nothing in them need be escaped.
fn lay_over(layers: Option<&Layers>) -> Result<(), Reason> {
    let Some(layers) = layers else { return Ok(()) };
    let lay = || -> io::Result<()> {
        std::env::set_current_dir(&layers.place)?;
        let options =
            format!("lowerdir={},upperdir={},workdir={},userxattr", layers.lower.join(":"), layers.upper, layers.work);
        let options = std::ffi::CString::new(options)?;
        Ok(mount("overlay", layers.root.as_str(), "overlay", MountFlags::empty(), options.as_c_str())?)
    };
    lay().map_err(could_not("lay the parts of the root over each other"))
}

/// The old root ends up over the new one and stays the working directory until it is left.
fn change_root(root: &Path) -> io::Result<()> {
    mount_bind(root, root)?;
    // What the file system under the root forbids, it must go on forbidding.
    let forbids_programs = rustix::fs::statvfs(root)?.f_flag.contains(StatVfsMountFlags::NOEXEC);
    let noexec = if forbids_programs { MountFlags::NOEXEC } else { MountFlags::empty() };
    mount_remount(root, MountFlags::BIND | MountFlags::NODEV | MountFlags::NOSUID | noexec, "")?;
    let host = rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    std::env::set_current_dir(root)?;
    rustix::process::pivot_root(".", ".")?;
    Ok(rustix::process::fchdir(host)?)
}

/// No link is followed: what a step put in the way is an error.
fn ensure_directory(path: &str) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(io::Error::other("it is no directory")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::create_dir(path),
        Err(error) => Err(error),
    }
}

/// The devices are files of the room's own where this user may make some: a change of their mode must not reach the host's.
/// `/dev` itself opens none, so that a device which a step makes there is of no use.
fn make_devices() -> io::Result<()> {
    mount("tmpfs", "/dev", "tmpfs", MountFlags::NOSUID | MountFlags::NOEXEC, DEVICE_DIRECTORY)?;
    let own = make_own_devices();
    let below = rustix::fs::openat(CWD, "/dev", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    mount("tmpfs", "/dev", "tmpfs", CLOSED, DEVICE_DIRECTORY)?;
    for (name, ..) in DEVICES {
        let inside = format!("/dev/{name}");
        std::fs::write(&inside, "")?;
        match &own {
            Ok(()) => mount_bind(format!("/proc/self/fd/{}/{name}", below.as_raw_fd()), inside)?,
            // Relative, and so the host's. In a user namespace nobody owns it, so nobody changes it.
            Err(rustix::io::Errno::PERM) => mount_bind(format!("dev/{name}"), inside)?,
            Err(error) => return Err((*error).into()),
        }
    }
    for (name, target) in DEVICE_LINKS {
        std::os::unix::fs::symlink(target, format!("/dev/{name}"))?;
    }
    std::fs::create_dir("/dev/shm")?;
    Ok(mount("shm", "/dev/shm", "tmpfs", CLOSED, SHARED_MEMORY)?)
}

fn make_own_devices() -> rustix::io::Result<()> {
    for (name, major, minor) in DEVICES {
        let path = format!("/dev/{name}");
        let mode = Mode::from_raw_mode(0o666);
        mknodat(CWD, &path, FileType::CharacterDevice, mode, makedev(major, minor))?;
        chmodat(CWD, &path, mode, AtFlags::empty())?;
    }
    Ok(())
}

/// Nobody may write to what `/proc` has besides processes, whoever they are: much of it acts on the whole machine.
fn close_proc() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc")?.collect::<io::Result<Vec<_>>>()? {
        let (path, kind) = (entry.path(), entry.file_type()?);
        let is_process = entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
        if is_process || kind.is_symlink() || (kind.is_file() && entry.metadata()?.mode() & 0o222 == 0) {
            continue;
        }
        mount_bind(&path, &path)?;
        mount_remount(&path, MountFlags::BIND | MountFlags::RDONLY | CLOSED, "")?;
    }
    let present = |name: &&str| Path::new("/proc").join(name).exists();
    for name in HIDDEN_FILES.iter().filter(|name| present(name)) {
        mount_bind("/dev/null", format!("/proc/{name}"))?;
    }
    for name in HIDDEN_DIRECTORIES.iter().filter(|name| present(name)) {
        mount("tmpfs", format!("/proc/{name}"), "tmpfs", MountFlags::RDONLY | CLOSED, c"size=4k,nr_inodes=1")?;
    }
    Ok(())
}
