//! What a room may have: memory and processes by control groups (version 2 or 1) where this user may make some, else by
//! counting (`init`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::super::process::Cleanup;

const PREFIX: &str = "oclock-";
const OPEN_FILES: u64 = 1024;
const OPEN_FILES_MOST: u64 = 1024 * 1024;
const STACK: u64 = 8 * 1024 * 1024;
const REMOVE_TRIES: u32 = 250;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// What one step may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The longest that it may take.
    pub time: Duration,
    /// Bytes of memory for all of its processes together.
    pub memory: u64,
    /// Processes and threads at one time.
    pub processes: u64,
}

/// The control groups of one room. They are gone when this is dropped.
#[derive(Debug)]
pub(super) struct Groups {
    directories: Vec<PathBuf>,
    _cleanup: Option<Cleanup>,
}

impl Groups {
    /// Makes the groups that this user may make; none where that is not so.
    pub(super) fn create(limits: &Limits) -> Self {
        let places = own_places();
        let mut directories = Vec::new();
        let made = places.iter().try_for_each(|place| {
            directories.push(place.create(limits)?);
            Ok::<(), io::Error>(())
        });
        let is_complete = made.is_ok() && places.iter().any(|place| place.limits_memory);
        let leftover = directories.clone();
        let cleanup = Cleanup::new(move || leftover.iter().for_each(|directory| remove(directory)));
        if is_complete {
            Self { directories, _cleanup: Some(cleanup) }
        } else {
            Self { directories: Vec::new(), _cleanup: None }
        }
    }

    pub(super) fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// Whether the kernel ended something for want of memory.
    pub(super) fn memory_ran_out(&self) -> bool {
        self.counts("memory.events", "oom_kill") || self.counts("memory.oom_control", "oom_kill")
    }

    /// Whether a process was refused.
    pub(super) fn processes_ran_out(&self) -> bool {
        self.counts("pids.events", "max")
    }

    fn counts(&self, file: &str, name: &str) -> bool {
        let counted = |text: String| {
            text.lines().any(|line| line.split_once(' ').is_some_and(|(key, count)| key == name && count != "0"))
        };
        self.directories.iter().any(|directory| fs::read_to_string(directory.join(file)).is_ok_and(counted))
    }
}

/// Takes this process into a group; what it starts is in it too.
pub(super) fn join(group: &Path) -> io::Result<()> {
    fs::write(group.join("cgroup.procs"), "0")
}

/// The limits that each process has by itself, the same whatever the host's are. Where the room's limits are kept by
/// counting, the kernel's own for processes stands behind it; it has none for memory in use, only for memory asked for.
pub(super) fn apply(limits: &Limits, is_watched: bool) -> io::Result<()> {
    let set = |resource, soft: u64, hard: u64| {
        let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let hard = hard.min(most);
        setrlimit(resource, Rlimit { current: Some(soft.min(hard)), maximum: Some(hard) })
    };
    set(Resource::Core, 0, 0)?;
    set(Resource::Nofile, OPEN_FILES, OPEN_FILES_MOST)?;
    set(Resource::Stack, STACK, u64::MAX)?;
    if is_watched {
        let processes = limits.processes.saturating_mul(2);
        set(Resource::Nproc, processes, processes)?;
    }
    Ok(())
}

/// Where groups can be made.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// The group that oclock itself is in.
    own: PathBuf,
    /// The top of the hierarchy.
    top: PathBuf,
    is_second_version: bool,
    limits_memory: bool,
}

fn own_places() -> Vec<Place> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    places(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
}

/// Reads where the hierarchies are mounted (proc(5), mountinfo) and where in them this process is.
fn places(mounts: &str, groups: &str) -> Vec<Place> {
    let own_group = |controller: &str| {
        let find = |line: &str| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let is_it = controllers.split(',').any(|name| name == controller);
            is_it.then(|| path.trim_start_matches('/').to_owned())
        };
        groups.lines().find_map(find)
    };
    let mut first = Vec::new();
    let mut second = None;
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (mut left, mut right) = (left.split(' ').skip(3), right.split(' '));
        let (Some(root), Some(mounted), Some(kind)) = (left.next(), left.next(), right.next()) else { continue };
        let options = right.nth(1).unwrap_or_default();
        let place = |controller: &str, is_second_version, limits_memory| {
            let top = PathBuf::from(mounted);
            let group = own_group(controller)?;
            let below = Path::new(&group).strip_prefix(root.trim_start_matches('/')).map(Path::to_owned);
            let own = top.join(below.unwrap_or_default());
            Some(Place { own: if own.is_dir() { own } else { top.clone() }, top, is_second_version, limits_memory })
        };
        match kind {
            "cgroup2" => second = place("", true, true),
            "cgroup" => {
                for controller in options.split(',').filter(|name| matches!(*name, "memory" | "pids")) {
                    first.extend(place(controller, false, controller == "memory"));
                }
            }
            _ => {}
        }
    }
    if first.is_empty() { second.into_iter().collect() } else { first }
}

impl Place {
    fn create(&self, limits: &Limits) -> io::Result<PathBuf> {
        let above = self.parent()?;
        sweep(&above);
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = above.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&directory)?;
        let written = self.limit(&directory, limits);
        if written.is_err() {
            remove(&directory);
        }
        written.map(|()| directory)
    }

    /// The group to make ours in: version 2 gives limits only below a group that passes its controllers on.
    fn parent(&self) -> io::Result<PathBuf> {
        if !self.is_second_version {
            return Ok(self.own.clone());
        }
        let passes_on = |group: &&Path| {
            let file = group.join("cgroup.subtree_control");
            let has = |text: String| ["memory", "pids"].iter().all(|name| text.split_whitespace().any(|c| c == *name));
            fs::write(&file, "+memory +pids").ok();
            fs::read_to_string(&file).is_ok_and(has)
        };
        let above = self.own.ancestors().take_while(|group| group.starts_with(&self.top)).find(passes_on);
        above.map(Path::to_owned).ok_or_else(|| io::ErrorKind::PermissionDenied.into())
    }

    fn limit(&self, directory: &Path, limits: &Limits) -> io::Result<()> {
        let set = |name: &str, value: u64| fs::write(directory.join(name), value.to_string());
        if self.is_second_version {
            set("memory.max", limits.memory)?;
            set("memory.swap.max", 0).ok();
            // All or nothing: a step that lost one process is of no use.
            set("memory.oom.group", 1)?;
            return set("pids.max", limits.processes);
        }
        if !self.limits_memory {
            return set("pids.max", limits.processes);
        }
        set("memory.limit_in_bytes", limits.memory)?;
        set("memory.memsw.limit_in_bytes", limits.memory).ok();
        Ok(())
    }
}

/// The control groups that limit this process's memory, its own and those above.
pub fn memory_groups() -> Vec<PathBuf> {
    let mut groups = Vec::new();
    for place in own_places().iter().filter(|place| place.limits_memory) {
        let above = place.own.ancestors().take_while(|group| group.starts_with(&place.top));
        groups.extend(above.map(Path::to_owned));
    }
    groups
}

/// Removes what programs that were ended left, wherever this one would make groups.
pub(super) fn sweep_groups() {
    for place in own_places() {
        if let Ok(above) = place.parent() {
            sweep(&above);
        }
    }
}

/// Removes groups of programs that were ended before they could do it themselves.
fn sweep(above: &Path) {
    for entry in fs::read_dir(above).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
            fs::remove_dir(entry.path()).ok();
        }
    }
}

/// Processes that were just ended may still be on their way out.
fn remove(directory: &Path) {
    for _ in 0..REMOVE_TRIES {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(REMOVE_PAUSE),
            _ => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_where_they_are_mounted() {
        let mounts = "22 1 0:20 / /none/a rw - tmpfs tmpfs rw\n\
            30 22 0:26 / /none/memory rw,relatime - cgroup cgroup rw,memory\n\
            31 22 0:27 /job /none/pids rw shared:9 - cgroup cgroup rw,pids\n\
            32 22 0:28 / /none/unified rw - cgroup2 cgroup2 rw\n";
        let groups = "8:pids:/job/x\n4:memory:/own\n0::/\n";
        let found = places(mounts, groups);
        let tops: Vec<_> = found.iter().map(|place| (place.top.to_str().unwrap(), place.limits_memory)).collect();
        assert_eq!(tops, [("/none/memory", true), ("/none/pids", false)]);
        let only_second = places("32 22 0:28 / /none/unified rw - cgroup2 cgroup2 rw\n", "0::/user\n");
        assert!(only_second[0].is_second_version && only_second.len() == 1);
        assert_eq!(places("", groups), []);
    }
}
