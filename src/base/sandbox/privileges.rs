//! What a step may do: a user, few capabilities, no new ones, and no system calls that reach past the room.

use std::collections::BTreeMap;

use rustix::fs::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

use super::protocol::{Reason, could_not};

/// What dpkg and maintainer scripts need: to own, read, mark and run files as anyone, and to become anyone.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::MKNOD);

const PERMISSION: u32 = libc::EPERM.cast_unsigned();
const NO_SUCH_CALL: u32 = libc::ENOSYS.cast_unsigned();
const NO_SUCH_FAMILY: u32 = libc::EAFNOSUPPORT.cast_unsigned();

/// Calls of the second set of numbers that x86-64 kernels may answer to (x32).
#[cfg(target_arch = "x86_64")]
const OTHER_NUMBERS: Option<i64> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const OTHER_NUMBERS: Option<i64> = None;

/// Calls that act on the whole machine, on other processes, or on what namespaces do not part (keyrings, clocks).
const REFUSED: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_migrate_pages,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// Calls whose arguments cannot be looked at, and for which programs have another way.
const UNKNOWN: &[i64] =
    &[libc::SYS_clone3, libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_io_uring_setup];

const NAMESPACE_FLAGS: &[i32] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Ways to type into a terminal.
const TERMINAL_INPUT: [u32; 2] = [0x5412, 0x541c];

/// Families of sockets that stay in the room. Others reach hardware, a hypervisor (vsock) or the kernel's crypto.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
/// The audit log is the host's; programs do without when there seems to be none.
const AUDIT: i32 = 9;

/// Who a step runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Where HOME points when nothing else says so.
    pub home: String,
}

impl User {
    /// Finds `USER[:GROUP]` by number or by the room's own `/etc/passwd` and `/etc/group`.
    pub(super) fn find(user: Option<&str>) -> Result<Self, Reason> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let user = user.unwrap_or("0");
        Self::among(user, &read("/etc/passwd"), &read("/etc/group"))
            .ok_or_else(|| Reason { what: format!("run as `{user}`"), why: "the image has no such user".into() })
    }

    fn among(user: &str, passwd: &str, group: &str) -> Option<Self> {
        let (user, wanted_group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
        let fields = |line: &'_ str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        let named = |fields: &Vec<String>| fields[0] == user || fields.get(2).is_some_and(|uid| uid == user);
        let line = passwd.lines().map(fields).find(|line| line.len() >= 6 && named(line));
        let uid = match &line {
            Some(line) => line[2].parse().ok()?,
            None => user.parse().ok()?,
        };
        let group_number = |name: &str| -> Option<u32> {
            let mut lines = group.lines().map(fields).filter(|line| line.len() >= 3);
            let line = lines.find(|line| line[0] == name);
            line.map_or(name.parse().ok(), |line| line[2].parse().ok())
        };
        let gid = match (wanted_group, &line) {
            (Some(group), _) => group_number(group)?,
            (None, Some(line)) => line[3].parse().ok()?,
            (None, None) => 0,
        };
        let is_member = |line: &Vec<String>| line.get(3).is_some_and(|members| members.split(',').any(|m| m == user));
        let groups = match wanted_group {
            Some(_) => Vec::new(),
            None => group.lines().map(fields).filter(is_member).filter_map(|line| line[2].parse().ok()).collect(),
        };
        let home = line.map_or_else(|| "/".to_owned(), |line| line[5].clone());
        Some(Self { uid, gid, groups, home })
    }
}

/// Becomes the user and gives up everything else, for good.
pub(super) fn give_up(user: &User) -> Result<(), Reason> {
    drop_bounding_set().map_err(could_not("drop capabilities"))?;
    clear_ambient_capability_set().map_err(could_not("drop ambient capabilities"))?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    let become_user = || -> rustix::io::Result<()> {
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)
    };
    become_user().map_err(could_not(format!("become user {}:{}", user.uid, user.gid)))?;
    if user.uid == 0 {
        let sets = CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() };
        set_capabilities(None, sets).map_err(could_not("drop capabilities"))?;
    }
    set_no_new_privs(true).map_err(could_not("forbid new privileges"))?;
    for filter in filters().map_err(could_not("make the filter of system calls"))? {
        apply_filter(&filter).map_err(could_not("apply the filter of system calls"))?;
    }
    Ok(())
}

fn drop_bounding_set() -> rustix::io::Result<()> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if KEPT.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            // The kernel knows no more.
            Err(rustix::io::Errno::INVAL) => break,
            other => other?,
        }
    }
    Ok(())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// One filter for each answer.
fn filters() -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let always = |calls: &[i64]| -> Rules { calls.iter().map(|call| (*call, Vec::new())).collect() };
    let mut refused = always(REFUSED);
    let flag = |flag: &i32| {
        let flag = u64::from(flag.cast_unsigned());
        rule(&[(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)])
    };
    refused.insert(libc::SYS_clone, NAMESPACE_FLAGS.iter().map(flag).collect::<Result<_, _>>()?);
    let request = |request: &u32| rule(&[(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::from(*request))]);
    refused.insert(libc::SYS_ioctl, TERMINAL_INPUT.iter().map(request).collect::<Result<_, _>>()?);
    let differs = |family: i32| (0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, u64::from(family.cast_unsigned()));
    let is = |place, value: i32| (place, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::from(value.cast_unsigned()));
    let sockets = vec![rule(&FAMILIES.map(differs))?, rule(&[is(0, libc::AF_NETLINK), is(2, AUDIT)])?];
    let families = Rules::from([(libc::SYS_socket, sockets)]);
    [(refused, PERMISSION), (always(UNKNOWN), NO_SUCH_CALL), (families, NO_SUCH_FAMILY)]
        .into_iter()
        .map(|(rules, answer)| filter(with_other_numbers(rules), answer))
        .collect()
}

fn rule(conditions: &[(u8, SeccompCmpArgLen, SeccompCmpOp, u64)]) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = conditions
        .iter()
        .map(|(place, length, operator, value)| SeccompCondition::new(*place, length.clone(), operator.clone(), *value))
        .collect::<Result<_, _>>()?;
    SeccompRule::new(conditions)
}

fn with_other_numbers(rules: Rules) -> Rules {
    let others = rules.clone().into_iter().filter_map(|(call, rules)| Some((call | OTHER_NUMBERS?, rules)));
    others.chain(rules.clone()).collect()
}

fn filter(rules: Rules, answer: u32) -> Result<BpfProgram, seccompiler::BackendError> {
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(answer), architecture)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:/bin/false\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlog:x:4:web,other\n";

    #[test]
    fn users_are_found_by_name_and_number() {
        let user = |text| User::among(text, PASSWD, GROUP);
        let web = User { uid: 33, gid: 34, groups: vec![4], home: "/var/www".into() };
        assert_eq!(user("web"), Some(web.clone()));
        assert_eq!(user("web:log"), Some(User { gid: 4, groups: vec![], ..web.clone() }));
        assert_eq!(user("7:8"), Some(User { uid: 7, gid: 8, groups: vec![], home: "/".into() }));
        assert_eq!(user("7").unwrap().gid, 0);
        assert_eq!(user("0").unwrap().home, "/root");
        assert_eq!(user("none"), None);
        assert_eq!(user("7:none"), None);
    }

    #[test]
    fn the_filters_can_be_made() {
        assert_eq!(filters().unwrap().len(), 3);
    }
}
