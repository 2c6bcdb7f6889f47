//! Who the room's root is: root itself, or a user with ranges of subordinate IDs, mapped by `newuidmap` and `newgidmap`.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde::{Deserialize, Serialize};

use super::super::environment::Environment;
use super::super::process::find_program;
use super::HELPER;
use super::protocol::{Reason, could_not};

/// The stage that maps the IDs from outside, once its standard input ends.
pub(super) const STAGE: &str = "map";

/// Images use IDs up to 65534 (`nobody`), and 0 is the user's own.
const RANGE: u32 = 65_535;
const TOOL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Who becomes the room's root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Identity {
    /// Root: no user namespace is needed.
    Root,
    /// A user with subordinate IDs.
    Mapped(IdMap),
}

/// How the room's IDs come to be: 0 is the user's own, 1 and on are the range's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IdMap {
    uid: u32,
    gid: u32,
    first_uid: u32,
    first_gid: u32,
    newuidmap: PathBuf,
    newgidmap: PathBuf,
}

impl Identity {
    /// # Errors
    /// When the user is not root and cannot become it in a namespace of their own: says what to set.
    pub(super) fn find(environment: &Environment) -> Result<Self, String> {
        let uid = rustix::process::geteuid().as_raw();
        if uid == 0 {
            return Ok(Self::Root);
        }
        let read = |name: &str| std::fs::read_to_string(environment.host_path(name)).unwrap_or_default();
        let user = user_name(&read("etc/passwd"), uid).unwrap_or_else(|| uid.to_string());
        let tool = |name: &str| {
            find_program(name, environment.variable("PATH"))
                .or_else(|| find_program(name, Some(TOOL_PATH)))
                .ok_or_else(|| format!("`{name}` is not on the PATH; without root it is needed (package uidmap)"))
        };
        let (newuidmap, newgidmap) = (tool("newuidmap")?, tool("newgidmap")?);
        let range = |file: &str, flag: &str| {
            first_of_range(&read(file), &user, uid).ok_or_else(|| {
                format!(
                    "user `{user}` has no {RANGE} IDs of its own in /{file}; as root: `usermod {flag} 100000-165535 {user}`"
                )
            })
        };
        let first_uid = range("etc/subuid", "--add-subuids")?;
        let first_gid = range("etc/subgid", "--add-subgids")?;
        let gid = rustix::process::getegid().as_raw();
        Ok(Self::Mapped(IdMap { uid, gid, first_uid, first_gid, newuidmap, newgidmap }))
    }
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields.get(2).is_some_and(|field| field.parse() == Ok(uid)))?;
    Some(line[0].to_owned())
}

/// The start of the first range that is large enough (subuid(5)).
fn first_of_range(text: &str, user: &str, uid: u32) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let (first, count): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let is_own = owner == user || owner.parse() == Ok(uid);
        (is_own && count >= RANGE).then_some(first)
    })
}

impl IdMap {
    /// Makes this process root of a new user namespace. A helper outside maps the IDs, because only there may they be mapped.
    pub(super) fn enter(&self) -> Result<(), Reason> {
        let mapper = Command::new("/proc/self/exe")
            .args([HELPER, STAGE, &std::process::id().to_string()])
            .args([&self.newuidmap, &self.newgidmap])
            .args([self.uid, self.gid, self.first_uid, self.first_gid].map(|id| id.to_string()))
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(could_not("start the helper that maps IDs"))?;
        let made = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER);
        // Its standard input ends here, which tells it to go on.
        let answer = mapper.wait_with_output().map_err(could_not("wait for the helper that maps IDs"))?;
        made.map_err(could_not("make a user namespace (are they off on this machine?)"))?;
        if !answer.status.success() {
            let why = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
            return Err(Reason { what: "map the user's subordinate IDs".into(), why });
        }
        become_root().map_err(could_not("become root of the user namespace"))
    }
}

fn become_root() -> io::Result<()> {
    let (user, group) = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
    set_thread_res_gid(group, group, group)?;
    set_thread_groups(&[])?;
    Ok(set_thread_res_uid(user, user, user)?)
}

/// Maps the IDs of the process that its arguments name.
pub(super) fn main(arguments: &[String]) -> ExitCode {
    let [process, newuidmap, newgidmap, uid, gid, first_uid, first_gid] = arguments else { return ExitCode::from(70) };
    io::stdin().read_to_end(&mut Vec::new()).ok();
    let count = RANGE.to_string();
    for (program, own, first) in [(newuidmap, uid, first_uid), (newgidmap, gid, first_gid)] {
        let status = Command::new(program).args([process, "0", own, "1", "1", first, &count]).env_clear().status();
        if !status.is_ok_and(|status| status.success()) {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_large_range_of_the_user_is_taken() {
        let text = "other:100000:65536\nbuild:200000:1000\n1000:300000:65536\nbuild:400000:65536\n";
        assert_eq!(first_of_range(text, "build", 1000), Some(300_000));
        assert_eq!(first_of_range(text, "build", 7), Some(400_000));
        assert_eq!(first_of_range(text, "nobody", 65_534), None);
        assert_eq!(user_name("root:x:0:0::/:\nbuild:x:1000:1000::/:\n", 1000).as_deref(), Some("build"));
    }
}
