//! Steps that try to get out, to see, to stay or to take too much.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Bench, May, USUAL, is_root, is_running, own_number};

const MEBIBYTE: u64 = 1024 * 1024;

#[test]
fn no_network_and_no_loopback_of_the_host_is_reached() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = format!("oclock-test-{}", std::process::id());
    let abstract_listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    abstract_listener.set_nonblocking(true).unwrap();
    let host_sockets = fs::read_to_string("/proc/net/unix").unwrap();
    assert!(host_sockets.contains(&name));
    let said = bench
        .build(
            &format!(
                "RUN echo x | nc -w 3 127.0.0.1 {port} && echo REACHED; echo x | nc -w 3 192.0.2.1 80 && echo REACHED; \
                 sed -n 's/:.*//p' /proc/net/dev; cat /proc/net/unix; ip -o link show"
            ),
            USUAL,
        )
        .success();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(abstract_listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(!said.contains("REACHED") && !said.contains(&name), "{said}");
    let interfaces: Vec<&str> = said.lines().filter(|line| line.contains(": <")).collect();
    assert_eq!(interfaces.len(), 1, "{said}");
    assert!(interfaces[0].contains("lo: <LOOPBACK,UP"), "{said}");
}

#[test]
fn no_file_of_the_host_is_seen() {
    let bench = Bench::new();
    bench.write("secret", "planted words");
    let secret = bench.path("secret").display().to_string();
    // A file that oclock has open without knowing of it.
    let open = fs::File::open(bench.path("secret")).unwrap();
    let _inherited = rustix::io::dup(&open).unwrap();
    let said = bench
        .build(
            &format!(
                "RUN cat {secret} /proc/1/root{secret} /proc/self/root{secret} ../../../../../../..{secret}; \
                 ls -l /proc/1/cwd/ /proc/1/fd /proc/1/exe /proc/1/root/; cat /proc/1/environ /proc/1/maps; \
                 for fd in /proc/self/fd/*; do echo \"open $(basename $fd)\"; done; cat /proc/self/fd/[3-9] ; \
                 ls /; cat /proc/mounts; true"
            ),
            USUAL,
        )
        .success();
    assert!(!said.contains("planted words"), "{said}");
    // The shell reads the directory with one more of its own at most.
    let open: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("open ")).collect();
    assert!(open.iter().all(|number| ["0", "1", "2", "3"].contains(number)), "{open:?}");
    assert!(said.contains("/proc/1/exe: Permission denied") || said.contains("/proc/1/exe: cannot read"), "{said}");
    let host = bench.directory.path().file_name().unwrap().to_str().unwrap();
    // The root's own mount says where it comes from in mountinfo, not in mounts.
    assert!(!said.lines().any(|line| line.starts_with("tmpfs") && line.contains(host)), "{said}");
    assert!(!said.contains("/host"), "{said}");
}

#[test]
fn no_process_of_the_host_is_seen_or_ended() {
    let bench = Bench::new();
    let number = own_number(41);
    let mut child = Command::new("sleep").arg(&number).spawn().unwrap();
    let lines = format!(
        "RUN cat /proc/*/cmdline | tr '\\0' ' '; ls -d /proc/[0-9]*; kill -9 {0}; kill -9 -1; kill -9 1; echo still here",
        child.id()
    );
    let outcome = bench.build(&format!("RUN cat /proc/*/cmdline | tr '\\0' ' '\n{lines}"), USUAL);
    let said = outcome.said();
    assert!(child.try_wait().unwrap().is_none(), "the host's process was ended: {said}");
    assert!(!said.replace(&lines, "").contains(&format!("sleep {number}")), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();
    let seen = said.lines().filter(|line| line.starts_with("/proc/")).count();
    assert!(seen > 0 && seen < 6, "{said}");
}

#[test]
fn nothing_is_written_outside() {
    let bench = Bench::new();
    fs::create_dir(bench.path("outside")).unwrap();
    fs::set_permissions(bench.path("outside"), fs::Permissions::from_mode(0o777)).unwrap();
    bench.write("context/files/one", "copied");
    bench.write("context/files/two", "copied");
    let outside = bench.path("outside").display().to_string();
    let said = bench
        .build(
            &format!(
                "RUN echo x > {outside}/a; echo x > /proc/1/root{outside}/b; ln -s {outside} /away; ln -s ../../../../../../../{outside} /opt/up; \
                 ln -s /../..{outside}/new /dangling; \
                 echo 1 > /proc/sys/vm/drop_caches && echo WROTE; echo h > /proc/sysrq-trigger && echo WROTE; \
                 mount -t tmpfs x /opt && echo MOUNTED; mount -o remount,rw /proc/sys && echo MOUNTED; umount /proc && echo MOUNTED; true\n\
                 COPY files/one /away/one\nCOPY files /opt/up\nCOPY files/two /dangling\nWORKDIR /away/made\nRUN rm -r /away/* && ls -a {outside} && cat {outside}/new"
            ),
            USUAL,
        );
    assert_eq!(fs::read_dir(bench.path("outside")).unwrap().count(), 0);
    let said = said.said();
    assert!(!said.contains("WROTE") && !said.contains("MOUNTED"), "{said}");
}

#[test]
fn copies_go_where_the_roots_own_links_lead() {
    let bench = Bench::new();
    bench.write("context/files/one", "copied");
    let said = bench
        .build(
            "RUN mkdir /opt/real && ln -s /opt/real /link && ln -s real/none /opt/dangling\nCOPY files /link\nCOPY files/one /link/two\n\
             COPY files/one /opt/dangling\nWORKDIR /link/made\nRUN cd / && find /opt -type f; pwd; ls -ld /opt/real/made",
            USUAL,
        )
        .success();
    for file in ["/opt/real/one", "/opt/real/two", "/opt/real/none"] {
        assert!(said.lines().any(|line| line == file), "{file}: {said}");
    }
}

#[test]
fn no_device_of_the_host_is_opened() {
    let bench = Bench::new();
    let said = bench
        .build(
            "RUN for n in 'b 254 0' 'b 8 0' 'b 259 0' 'b 7 0' 'c 1 1' 'c 10 232'; do mknod /opt/x $n && dd if=/opt/x of=/opt/y bs=1 count=1 && echo OPENED; rm -f /opt/x; done; \
             for n in 'b 254 0' 'b 8 0' 'c 1 1' 'c 1 3'; do mknod /dev/x $n && dd if=/dev/x of=/opt/y bs=1 count=1 && echo OPENED; rm -f /dev/x; done; \
             chmod 600 /dev/null /dev/tty; chown 7:7 /dev/zero; ls /dev | tr '\\n' ' '",
            USUAL,
        )
        .success();
    assert!(!said.contains("OPENED"), "{said}");
    let devices = "fd full null random shm stderr stdin stdout tty urandom zero ";
    assert!(said.lines().any(|line| line == devices), "{said}");
    for name in ["null", "zero", "tty"] {
        let metadata = fs::metadata(Path::new("/dev").join(name)).unwrap();
        assert_eq!((metadata.mode() & 0o777, metadata.uid()), (0o666, 0), "the host's /dev/{name} was changed");
    }
}

#[test]
fn no_capability_is_gained() {
    let bench = Bench::new();
    let said = bench
        .build(
            "RUN cp /bin/busybox /opt/id && chmod 4755 /opt/id && grep -E 'Cap|NoNew|Seccomp:' /proc/self/status\n\
             RUN unshare -r true && echo GAINED; unshare -m true && echo GAINED; nsenter -t 1 -m true && echo GAINED; \
             hostname other && echo GAINED; date -s 2001-01-01; dmesg && echo GAINED; swapoff -a /opt && echo GAINED; \
             chroot / /bin/true && echo chrooted\n\
             USER web\nRUN echo \"user $(/opt/id -u) $(id -u) $(id -g) $HOME\"; grep -E 'CapEff' /proc/self/status",
            USUAL,
        )
        .success();
    assert!(!said.contains("GAINED") && said.contains("can't set date"), "{said}");
    let field = |name: &str| -> Vec<u64> {
        let lines = said.lines().filter_map(|line| line.strip_prefix(name));
        lines.map(|value| u64::from_str_radix(value.trim(), 16).unwrap()).collect()
    };
    // chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, sys_chroot, mknod, setfcap
    let kept = [0, 1, 3, 4, 5, 6, 7, 8, 18, 27, 31].iter().fold(0, |all, bit| all | 1_u64 << bit);
    assert_eq!(field("CapEff:"), [kept, 0]);
    assert_eq!(field("CapBnd:"), [kept]);
    assert_eq!((field("CapInh:"), field("CapAmb:")), (vec![0], vec![0]));
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), (vec![1], vec![2]));
    assert!(said.contains("user 33 33 34 /var/www"), "{said}");
}

#[test]
fn a_step_has_a_fixed_environment() {
    let bench = Bench::new();
    let said = bench
        .build(
            "ENV A=b\nRUN echo \"variables $(env | sort | tr '\\n' ' ')\"; umask; hostname; wc -c; tty; (: > /dev/tty) 2>&1; ulimit -n; ulimit -c; cat /proc/self/cgroup | head -1",
            USUAL,
        )
        .success();
    assert!(said.contains("variables A=b HOME=/root HOSTNAME=oclock PATH=/usr/local/sbin:"), "{said}");
    for line in ["0022", "oclock", "0", "not a tty", "1024"] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
}

#[test]
fn nothing_outlives_its_step() {
    let bench = Bench::new();
    let number = own_number(42);
    // In a pattern, so that the line that looks for it is not what it finds.
    let pattern = format!("[{}]{}", &number[..1], &number[1..]);
    let said = bench
        .build(
            &format!(
                "RUN (setsid sleep {number} > /dev/null 2>&1 &); (setsid sh -c 'trap \"\" TERM HUP INT; sleep {number}; sleep {number}' &); \
                 sleep {number} & sleep 1; ps | grep -c '{pattern}'\nRUN ps | grep '{pattern}' && echo OUTLIVED; true"
            ),
            USUAL,
        )
        .success();
    let started: u32 = said.lines().find_map(|line| line.parse().ok()).unwrap();
    assert!(started >= 3 && !said.contains("OUTLIVED"), "{said}");
    assert!(!is_running(&number));
}

#[test]
fn memory_without_end_is_a_clear_error() {
    let bench = Bench::new();
    let may = May { have: Some(64 * MEBIBYTE), ..USUAL };
    let said = bench.build("RUN cat /dev/zero | tail -c 2000000000", may).failure();
    assert!(said.contains("step 2, `RUN cat /dev/zero"), "{said}");
    assert!(said.contains("wanted more than the 67.1 MB of memory that it may have"), "{said}");
}

#[test]
fn a_step_that_loses_a_process_for_want_of_memory_has_failed() {
    let bench = Bench::new();
    let may = May { have: Some(64 * MEBIBYTE), ..USUAL };
    let said = bench.build("RUN (cat /dev/zero | tail -c 2000000000) || true; sleep 1; echo went on", may).failure();
    assert!(said.contains("of memory that it may have"), "{said}");
}

#[test]
fn a_fork_bomb_is_a_clear_error() {
    let bench = Bench::new();
    let number = own_number(43);
    let said = bench.build(&format!("RUN while :; do sleep {number} & done"), USUAL).failure();
    assert!(said.contains("wanted more than the 2048 processes that it may have"), "{said}");
    assert!(!is_running(&number));
}

#[test]
fn an_endless_step_is_a_clear_error() {
    let bench = Bench::new();
    let number = own_number(44);
    let may = May { take: Duration::from_secs(2), ..USUAL };
    let said = bench.build(&format!("RUN setsid sleep {number} & while :; do :; done"), may).failure();
    assert!(said.contains("was ended after 2 s"), "{said}");
    assert!(!is_running(&number));
}

#[test]
fn what_a_step_cannot_be_is_said() {
    let bench = Bench::new();
    for (lines, expected) in [
        ("RUN [\"/no/such\"]", "could not start `/no/such`: No such file"),
        ("USER nobody-here\nRUN true", "could not run as `nobody-here`: the image has no such user"),
        ("RUN echo told the reason >&2; exit 9", "told the reason"),
        ("RUN echo told the reason >&2; exit 9", "exit status: 9"),
        ("RUN kill -9 $$", "signal: 9"),
        ("COPY none /", "none: No such file"),
        ("RUN rm -rf /dev; rmdir /proc; true\nRUN true\nRUN exit 1", "step 4"),
    ] {
        let said = bench.build(lines, USUAL).failure();
        assert!(said.contains(expected), "{lines}: {said}");
    }
}

#[test]
fn files_keep_what_a_step_gave_them() {
    let bench = Bench::new();
    let mknod = if is_root() { "mknod /opt/null c 1 3" } else { "true" };
    let outcome = bench.build(
        &format!(
            "RUN cd /opt && echo x > file && chown 33:34 file && chmod 4750 file && ln file hard && ln -s file soft && mkfifo fifo && mkdir -m 1777 d && chown 65534:65534 d && {mknod} && mkdir -m 000 closed && touch closed/in && chown 12:12 closed"
        ),
        USUAL,
    );
    outcome.success();
}
