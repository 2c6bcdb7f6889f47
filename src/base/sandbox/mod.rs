//! A closed room for one command: fresh namespaces on a directory that becomes `/`, with nothing of the host in view.
//!
//! Owns how the room is made and taken down; it knows nothing of images, instructions or oclock's files. No process is
//! forked without starting a program anew, so no unsafe code is needed: oclock starts itself again, in three stages that
//! hang on each other by parent-death signals and end when the one above them does:
//!
//! 1. `enter` becomes root of a user namespace (where the user is not root), joins the control groups, makes the other
//!    namespaces and keeps the time. It is the only one that sees the host.
//! 2. `init` is process 1 of the process namespace. When it ends the kernel ends all others, whatever they did to hide. It
//!    cannot be traced or read by them.
//! 3. `step` makes the mounts, changes the root, gives up what it may do, and becomes the command.
//!
//! Orders and answers are JSON over standard input, so that nothing else need be inherited.

mod enter;
mod identity;
mod init;
mod limits;
mod loopback;
mod privileges;
mod protocol;
mod step;
mod view;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use super::environment::Environment;
use super::fs;
use super::process::{Invocation, ProcessError, Unwanted};
use super::text::human_size;
use identity::Identity;
use limits::Groups;
pub use limits::{Limits, memory_groups};
pub use protocol::{Layers, Resource, RunOrder};
use protocol::{Order, Reason, Verdict, Work};

/// The hidden first argument that makes this program one of the stages.
pub const HELPER: &str = "__step";

/// How much longer than its own limit `enter` may take before it is ended from outside.
const GRACE: std::time::Duration = std::time::Duration::from_secs(30);

/// The means to run commands in closed rooms, as they were found on this machine.
#[derive(Clone, Debug)]
pub struct Sandbox {
    program: PathBuf,
    identity: Identity,
    unwanted: Unwanted,
}

/// What a task of the caller's own, run as the room's root, answers with: nothing, or what went wrong.
pub type TaskRunner = fn(Value) -> Result<(), String>;

impl Sandbox {
    /// Looks whether closed rooms can be made here, by making one.
    ///
    /// # Errors
    /// When not: says why, and what to set.
    pub fn find(environment: &Environment) -> Result<Self, String> {
        let identity = Identity::find(environment)?;
        let sandbox = Self { program: environment.program(), identity, unwanted: Unwanted::default() };
        match sandbox.call(Work::Probe(None), &mut |_| {}) {
            Ok(Verdict::Exited(0)) => Ok(sandbox),
            Ok(Verdict::Refused(reason)) => Err(reason.sentence()),
            Ok(other) => Err(format!("trying it gave an answer that cannot be used: {other:?}")),
            Err(error) => Err(said(&error)),
        }
    }

    /// The same for work that another thread may end.
    #[must_use]
    pub fn unless(&self, unwanted: Unwanted) -> Self {
        Self { unwanted, ..self.clone() }
    }

    /// Whether the caller is root, so that the files of a room belong to whom they say.
    pub fn is_root(&self) -> bool {
        matches!(self.identity, Identity::Root)
    }

    /// Whether the kernel itself bounds the memory of a room and of the files that it has in memory, by trying.
    pub fn bounds_memory(&self, limits: &Limits) -> bool {
        !Groups::create(limits).directories().is_empty()
    }

    /// Whether directories in this place can be laid over each other, by trying.
    pub fn can_layer(&self, layers: &Layers) -> bool {
        matches!(self.call(Work::Probe(Some(layers.clone())), &mut |_| {}), Ok(Verdict::Exited(0)))
    }

    /// How the room's root comes to be, for people.
    pub fn describe(&self) -> &'static str {
        match self.identity {
            Identity::Root => "namespaces",
            Identity::Mapped(_) => "namespaces, without root",
        }
    }

    /// Runs a command in a room and takes the room down. Each line that it writes goes to `on_line`.
    ///
    /// # Errors
    /// When the room cannot be made, or the command fails, takes too long or wants more than it may have.
    pub fn run(&self, order: &RunOrder, on_line: &mut (dyn FnMut(&str) + Send)) -> Result<(), ProcessError> {
        let command = order.words.join(" ");
        let groups = Groups::create(&order.limits);
        let mut tail = Tail::default();
        let mut listen = |line: &str| {
            tail.push(line);
            on_line(line);
        };
        let work = Work::Run { order: order.clone(), groups: groups.directories().to_vec() };
        let answer = self.call(work, &mut listen);
        let tail = tail.lines;
        let exceeded = |resource: Resource, tail: Vec<String>| {
            let limit = match resource {
                Resource::Memory => format!("{} of memory", human_size(order.limits.memory)),
                Resource::Processes => format!("{} processes", order.limits.processes),
            };
            ProcessError::Exceeded { command: command.clone(), limit, tail }
        };
        // Whatever the command says of it: what the kernel ended on the way makes the result worthless.
        let interrupted = matches!(answer, Err(ProcessError::Interrupted));
        if !interrupted && groups.memory_ran_out() {
            return Err(exceeded(Resource::Memory, tail));
        }
        let verdict = answer?;
        if !matches!(verdict, Verdict::Exited(0)) && groups.processes_ran_out() {
            return Err(exceeded(Resource::Processes, tail));
        }
        match verdict {
            Verdict::Exited(0) => Ok(()),
            Verdict::Exited(code) => {
                Err(ProcessError::Failed { command, status: format!("exit status: {code}"), tail })
            }
            Verdict::Signalled(signal) => {
                Err(ProcessError::Failed { command, status: format!("signal: {signal}"), tail })
            }
            Verdict::TimedOut => Err(ProcessError::TimedOut { command, seconds: order.limits.time.as_secs(), tail }),
            Verdict::Exceeded(resource) => Err(exceeded(resource, tail)),
            Verdict::Refused(reason) => Err(reason.error()),
        }
    }

    /// Runs a task of the caller's own as the room's root: with the host's files in view, but with the owners of the
    /// room's files as the room sees them.
    ///
    /// # Errors
    /// What the task says, or when it cannot be run.
    pub fn run_task(&self, task: Value) -> Result<(), ProcessError> {
        match self.call(Work::Task(task), &mut |_| {})? {
            Verdict::Exited(0) => Ok(()),
            Verdict::Refused(reason) => Err(reason.error()),
            other => Err(start_error(io::Error::other(format!("a task cannot answer {other:?}")))),
        }
    }

    fn call(&self, work: Work, on_line: &mut (dyn FnMut(&str) + Send)) -> Result<Verdict, ProcessError> {
        let limit = match &work {
            Work::Run { order, .. } => Some(order.limits.time + GRACE),
            Work::Probe(_) => Some(GRACE),
            Work::Task(_) => None,
        };
        let order = Order { parent: std::process::id(), identity: self.identity.clone(), work };
        let order = serde_json::to_vec(&order).map_err(|error| start_error(error.into()))?;
        let file = tempfile::NamedTempFile::new().map_err(start_error)?;
        fs::write_stream(file.path(), &mut &order[..]).map_err(|error| start_error(error.source))?;
        let mut invocation = Invocation::new(&self.program).args([HELPER, enter::STAGE]).without_environment();
        invocation = invocation.input(file.path()).unless(self.unwanted.clone());
        if let Some(limit) = limit {
            invocation = invocation.limit(limit);
        }
        let output = invocation.run_with(on_line)?;
        serde_json::from_slice(&output.stdout).map_err(|error| start_error(error.into()))
    }
}

/// What this program does when its first argument is [`HELPER`]: one of the stages. `run_task` carries out what
/// [`Sandbox::run_task`] was given.
pub fn helper_main(stage: Option<&str>, arguments: &[String], run_task: TaskRunner) -> ExitCode {
    match stage {
        Some(enter::STAGE) => enter::main(run_task),
        Some(identity::STAGE) => identity::main(arguments),
        Some(init::STAGE) => init::main(),
        Some(step::STAGE) => step::main(),
        _ => ExitCode::from(70),
    }
}

fn start_error(source: io::Error) -> ProcessError {
    ProcessError::Start { program: "a closed room".to_owned(), source }
}

fn said(error: &ProcessError) -> String {
    use super::explain::Explain;
    match (error, error.evidence().last()) {
        (_, Some(line)) => line.trim().to_owned(),
        (ProcessError::Start { source, .. }, None) => format!("{error}: {source}"),
        (_, None) => error.to_string(),
    }
}

impl Reason {
    fn sentence(&self) -> String {
        format!("could not {}: {}", self.what, self.why)
    }

    fn error(&self) -> ProcessError {
        ProcessError::Refused { what: self.what.clone(), why: self.why.clone() }
    }
}

/// The last lines that a command wrote.
#[derive(Default)]
struct Tail {
    lines: Vec<String>,
}

const TAIL: usize = 20;

impl Tail {
    fn push(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        if self.lines.len() == TAIL {
            self.lines.remove(0);
        }
        self.lines.push(super::text::sanitize(line));
    }
}

/// Removes control groups that programs left which were ended.
pub fn sweep_leftovers() {
    limits::sweep_groups();
}

/// Removes a directory whose files belong to users of a room, again and again while processes that were just ended are
/// still on their way out.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    const TRIES: u32 = 50;
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
    let mut tries = 0;
    loop {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied || tries == TRIES => return Err(error),
            Err(_) => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            Ok(()) => return Ok(()),
        }
    }
}
