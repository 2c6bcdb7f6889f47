//! The first stage: sees the host, makes the namespaces, keeps the time, and says how it ended.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use super::super::clock::Stopwatch;
use super::identity::Identity;
use super::init;
use super::protocol::{Inside, Order, Reason, Verdict, Work, could_not, read_order};
use super::{HELPER, TaskRunner, limits};

pub(super) const STAGE: &str = "enter";

/// How long a room without a command may take.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

pub(super) fn main(run_task: TaskRunner) -> ExitCode {
    let verdict = match carry_out(run_task) {
        Ok(verdict) => verdict,
        Err(reason) => Verdict::Refused(reason),
    };
    let written = serde_json::to_vec(&verdict).map(|text| io::stdout().lock().write_all(&text));
    if matches!(written, Ok(Ok(()))) { ExitCode::SUCCESS } else { ExitCode::from(70) }
}

fn carry_out(run_task: TaskRunner) -> Result<Verdict, Reason> {
    close_inherited().map_err(could_not("close inherited files"))?;
    let order: Order = read_order(&mut io::stdin().lock()).map_err(could_not("read the order"))?;
    die_with(order.parent)?;
    let groups = match &order.work {
        Work::Run { groups, .. } => groups.as_slice(),
        Work::Probe(_) | Work::Task(_) => &[],
    };
    let is_grouped = !groups.is_empty() && groups.iter().all(|group| limits::join(group).is_ok());
    if let Identity::Mapped(map) = &order.identity {
        map.enter()?;
        // A change of who it is takes the signal away.
        die_with(order.parent)?;
    }
    let (inside, limit) = match order.work {
        Work::Task(task) => {
            return run_task(task).map(|()| Verdict::Exited(0)).map_err(could_not("change the root filesystem"));
        }
        Work::Probe(layers) => (Inside { order: None, layers, is_watched: false }, PROBE_LIMIT),
        Work::Run { order, .. } => {
            let limit = order.limits.time;
            (Inside { order: Some(order), layers: None, is_watched: !is_grouped }, limit)
        }
    };
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(namespaces).map_err(could_not("make namespaces"))?;
    run_inside(&inside, limit)
}

/// Closes what oclock itself inherited and did not know of: nothing of it may reach the room.
fn close_inherited() -> io::Result<()> {
    let numbers: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in numbers {
        // The one that listed them is closed already.
        nix::unistd::close(number).ok();
    }
    Ok(())
}

fn die_with(parent: u32) -> Result<(), Reason> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(could_not("hang on to oclock's life"))?;
    let is_there = getppid().is_some_and(|pid| pid.as_raw_nonzero().get().cast_unsigned() == parent);
    if is_there { Ok(()) } else { Err(Reason { what: "go on".into(), why: "oclock has ended".into() }) }
}

fn run_inside(inside: &Inside, limit: Duration) -> Result<Verdict, Reason> {
    let what = || could_not("start the room's first process");
    let (mut channel, theirs) = UnixStream::pair().map_err(what())?;
    let mut init = Command::new("/proc/self/exe")
        .args([HELPER, init::STAGE])
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .map_err(what())?;
    let told = tell(&mut channel, inside);
    if let Err(error) = told {
        end(&mut init);
        return Err(what()(error));
    }
    let answer = read_within(&mut channel, limit);
    if answer.is_err() {
        end(&mut init);
    }
    init.wait().map_err(could_not("wait for the room's first process"))?;
    match answer {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Ok(Verdict::TimedOut)
        }
        Err(error) => Err(could_not("hear from the room")(error)),
        // Ended from outside before it could say anything: by the kernel for want of memory, as a rule.
        Ok(answer) if answer.is_empty() => Ok(Verdict::Signalled(9)),
        Ok(answer) => serde_json::from_slice(&answer).map_err(could_not("understand the room")),
    }
}

/// The order is given only when `init` has said that it ends with us.
fn tell(channel: &mut UnixStream, inside: &Inside) -> io::Result<()> {
    channel.read_exact(&mut [0])?;
    channel.write_all(&serde_json::to_vec(inside)?)?;
    channel.shutdown(std::net::Shutdown::Write)
}

fn read_within(channel: &mut UnixStream, limit: Duration) -> io::Result<Vec<u8>> {
    let started = Stopwatch::start();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = limit.saturating_sub(Duration::from_secs_f64(started.seconds()));
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        channel.set_read_timeout(Some(left))?;
        match channel.read(&mut buffer) {
            Ok(0) => return Ok(answer),
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waiting for it is waiting for all of the room: the kernel lets process 1 go last.
fn end(init: &mut Child) {
    init.kill().ok();
    init.wait().ok();
}
