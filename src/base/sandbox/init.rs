//! The second stage: process 1 of the room. Starts the command, buries what it leaves, and ends; the kernel ends the rest.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{DumpableBehavior, Signal, WaitOptions, set_dumpable_behavior, set_parent_process_death_signal};

use super::limits::Limits;
use super::protocol::{Inside, Reason, Resource, Verdict, could_not, read_order};
use super::{HELPER, step};

pub(super) const STAGE: &str = "init";

const WATCH_PAUSE: Duration = Duration::from_millis(50);

pub(super) fn main() -> ExitCode {
    let Ok(channel) = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else { return ExitCode::from(70) };
    let answer = Answer(Mutex::new(channel));
    let verdict = carry_out(&answer).unwrap_or_else(Verdict::Refused);
    answer.give(&verdict);
    ExitCode::SUCCESS
}

/// The way back to `enter`; the first answer is the one that counts, because the room ends with it.
struct Answer(Mutex<UnixStream>);

impl Answer {
    fn give(&self, verdict: &Verdict) {
        if let (Ok(mut channel), Ok(text)) = (self.0.lock(), serde_json::to_vec(verdict)) {
            channel.write_all(&text).ok();
            std::process::exit(0);
        }
    }

    fn hear(&self) -> io::Result<Inside> {
        let mut channel = self.0.lock().map_err(|_| io::Error::other("the channel is in use"))?;
        channel.write_all(b"+")?;
        read_order(&mut *channel)
    }
}

fn carry_out(answer: &Answer) -> Result<Verdict, Reason> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(could_not("hang on to the first stage's life"))?;
    // Nothing in the room may look into this process: it has the host's program open and more rights than they.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(could_not("hide the room's first process"))?;
    let inside = answer.hear().map_err(could_not("hear the order"))?;
    let what = || could_not("start the step");
    let (mut channel, theirs) = UnixStream::pair().map_err(what())?;
    let child = Command::new("/proc/self/exe")
        .args([HELPER, step::STAGE])
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::from(io::stderr()))
        .spawn()
        .map_err(what())?;
    let order = serde_json::to_vec(&inside).map_err(io::Error::from).map_err(what())?;
    channel.write_all(&order).and_then(|()| channel.shutdown(std::net::Shutdown::Write)).map_err(what())?;
    // It ends without a word when the step has become the command.
    let mut refusal = Vec::new();
    channel.read_to_end(&mut refusal).map_err(what())?;
    if !refusal.is_empty() {
        let refusal = serde_json::from_slice(&refusal).map_err(io::Error::from);
        return refusal.map(Verdict::Refused).map_err(what());
    }
    let limits = inside.order.filter(|_| inside.is_watched).map(|order| order.limits);
    std::thread::scope(|scope| {
        if let Some(limits) = limits {
            scope.spawn(move || watch(limits, answer));
        }
        let verdict = bury(child.id()).map_err(could_not("wait for the step")).unwrap_or_else(Verdict::Refused);
        // A step that ran into the kernel's wall between two counts still has all its processes.
        let exceeded = limits.filter(|_| !matches!(verdict, Verdict::Exited(0))).and_then(exceeded);
        answer.give(&exceeded.map_or(verdict, Verdict::Exceeded));
    });
    Err(Reason { what: "say how the step ended".into(), why: "the first stage is gone".into() })
}

/// Waits for the step and, meanwhile, for whatever it left to process 1.
fn bury(step: u32) -> io::Result<Verdict> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get().cast_unsigned() == step => {
                return Ok(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Verdict::Exited(code),
                    (None, signal) => Verdict::Signalled(signal.unwrap_or_default()),
                });
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Where no control group holds the limits: counts now and then, and ends the room when there is too much.
fn watch(limits: Limits, answer: &Answer) {
    loop {
        std::thread::sleep(WATCH_PAUSE);
        if let Some(resource) = exceeded(limits) {
            answer.give(&Verdict::Exceeded(resource));
        }
    }
}

/// Of what the room has more than it may, now.
fn exceeded(limits: Limits) -> Option<Resource> {
    match use_of_room() {
        (processes, _) if processes > limits.processes => Some(Resource::Processes),
        (_, memory) if memory > limits.memory => Some(Resource::Memory),
        _ => None,
    }
}

/// How many processes there are, and how much memory they hold that no file backs.
fn use_of_room() -> (u64, u64) {
    let (mut processes, mut memory) = (0, 0);
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            processes += 1;
            memory += held(&std::fs::read_to_string(entry.path().join("status")).unwrap_or_default());
        }
    }
    (processes, memory)
}

fn held(status: &str) -> u64 {
    let field = |line: &str| {
        let value = line.strip_prefix("RssAnon:").or_else(|| line.strip_prefix("RssShmem:"))?;
        value.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    status.lines().filter_map(field).sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_what_no_file_backs() {
        let status = "Name:\tx\nRssAnon:\t     100 kB\nRssFile:\t    9000 kB\nRssShmem:\t      28 kB\n";
        assert_eq!(super::held(status), 128 * 1024);
    }
}
