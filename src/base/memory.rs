//! The machine's memory: how much there is, how much this process may still take, and a directory that lies in it.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, StatVfsMountFlags};

use super::environment::Environment;
use super::sandbox::memory_groups;

/// The magic number of tmpfs (statfs(2)).
const TMPFS: u64 = 0x0102_1994;
/// Attributes of users are what overlayfs marks its directories with; tmpfs has them since Linux 6.6.
const ATTRIBUTE: &str = "user.oclock";

/// Bytes that the machine has; 0 where that cannot be found out.
pub fn total() -> u64 {
    machine("MemTotal:").unwrap_or(0)
}

/// Bytes that this process and what it starts may still take: of the machine, and of each control group that it is in.
pub fn available() -> u64 {
    let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let left = |group: PathBuf| {
        let most = number(group.join("memory.max")).or_else(|| number(group.join("memory.limit_in_bytes")))?;
        let used = number(group.join("memory.current")).or_else(|| number(group.join("memory.usage_in_bytes")))?;
        Some(most.saturating_sub(used))
    };
    memory_groups().into_iter().filter_map(left).chain(machine("MemAvailable:")).min().unwrap_or(0)
}

fn machine(line: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = text.lines().find_map(|other| other.strip_prefix(line)?.trim().strip_suffix(" kB")?.parse().ok());
    kilobytes.map(|number: u64| number * 1024)
}

/// A directory of this user alone below `/dev/shm`, made where it is missing. None where that is no tmpfs, forbids programs or
/// knows no attributes of users, or where somebody else has it.
pub fn directory(environment: &Environment) -> Option<PathBuf> {
    let shared = environment.host_path("dev/shm");
    let uid = rustix::process::geteuid();
    let own = shared.join(format!("oclock-{}", uid.as_raw()));
    let is_memory = rustix::fs::statfs(&shared).is_ok_and(|found| u64::try_from(found.f_type) == Ok(TMPFS));
    let runs_programs =
        rustix::fs::statvfs(&shared).is_ok_and(|found| !found.f_flag.contains(StatVfsMountFlags::NOEXEC));
    if !is_memory || !runs_programs {
        return None;
    }
    rustix::fs::mkdir(&own, Mode::RWXU).ok();
    let found = rustix::fs::lstat(&own).ok()?;
    let own_mode = FileType::Directory.as_raw_mode() | Mode::RWXU.as_raw_mode();
    let is_own = found.st_uid == uid.as_raw() && found.st_mode == own_mode;
    (is_own && xattr::set(&own, ATTRIBUTE, b"y").is_ok()).then_some(own)
}

/// Bytes that are free in the file system of a path; 0 where that cannot be found out.
pub fn free(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize))
}
