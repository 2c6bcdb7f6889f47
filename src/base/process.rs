//! Other programs: run with their output caught, or streamed, and ended with everything they started.

use std::cell::Cell;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clock::Stopwatch;
use super::explain::{Explain, Kind};

/// A program could not be started, failed, or took too long.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It is not on the PATH or may not be run.
    #[error("could not start `{program}`")]
    Start {
        /// The program's name.
        program: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It ended with another status than 0.
    #[error("`{command}` failed: {status}")]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// The last lines it wrote.
        tail: Vec<String>,
    },
    /// It was ended because it took longer than it may.
    #[error("`{command}` was ended after {seconds} s")]
    TimedOut {
        /// The command line.
        command: String,
        /// The limit.
        seconds: u64,
        /// The last lines it wrote.
        tail: Vec<String>,
    },
    /// It was ended, or could not go on, because it wanted more than it may have.
    #[error("`{command}` wanted more than the {limit} that it may have")]
    Exceeded {
        /// The command line.
        command: String,
        /// What it may have: `2.0 GB of memory`, `2048 processes`.
        limit: String,
        /// The last lines it wrote.
        tail: Vec<String>,
    },
    /// The room for it could not be made as it must be.
    #[error("could not {what}: {why}")]
    Refused {
        /// What could not be done.
        what: String,
        /// Why.
        why: String,
    },
    /// The user interrupted oclock.
    #[error("interrupted")]
    Interrupted,
}

impl Explain for ProcessError {
    fn kind(&self) -> Kind {
        match self {
            Self::Interrupted => Kind::Interrupted,
            _ => Kind::Unable,
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::Failed { tail, .. } | Self::TimedOut { tail, .. } | Self::Exceeded { tail, .. } => tail.clone(),
            _ => Vec::new(),
        }
    }
}

/// A command line with its environment, before it is run.
#[derive(Clone, Debug)]
pub struct Invocation {
    program: OsString,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    removed: Vec<OsString>,
    cleared: bool,
    input: Option<PathBuf>,
    directory: Option<PathBuf>,
    limit: Option<Duration>,
    unwanted: Unwanted,
}

/// Says from another thread that a program's result is not wanted any more. It is ended then, as if by an interrupt.
#[derive(Clone, Debug, Default)]
pub struct Unwanted(Arc<AtomicBool>);

impl Unwanted {
    /// Says so.
    pub fn say(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_said(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What a program that ended well wrote.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text without the white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

impl Invocation {
    /// Names the program; it is looked for on the PATH.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            variables: Vec::new(),
            removed: Vec::new(),
            cleared: false,
            input: None,
            directory: None,
            limit: None,
            unwanted: Unwanted::default(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Takes a variable away.
    #[must_use]
    pub fn without_env(mut self, name: impl Into<OsString>) -> Self {
        self.removed.push(name.into());
        self
    }

    /// Starts from no variables at all, instead of oclock's own.
    #[must_use]
    pub fn without_environment(mut self) -> Self {
        self.cleared = true;
        self
    }

    /// Gives it this file as standard input; without, there is none.
    #[must_use]
    pub fn input(mut self, path: impl Into<PathBuf>) -> Self {
        self.input = Some(path.into());
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Ends the program and its children after this time.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Ends the program and its children when its result is not wanted any more.
    #[must_use]
    pub fn unless(mut self, unwanted: Unwanted) -> Self {
        self.unwanted = unwanted;
        self
    }

    /// The command line for messages.
    pub fn display(&self) -> String {
        std::iter::once(&self.program)
            .chain(&self.arguments)
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs it to its end with no standard input, keeping what it writes.
    ///
    /// # Errors
    /// When it cannot be started, takes too long, or ends with another status than 0.
    pub fn run(&self) -> Result<Output, ProcessError> {
        self.run_with(|_| {})
    }

    /// The same, calling `on_line` with each line of standard error as it comes.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_with(&self, on_line: impl FnMut(&str) + Send) -> Result<Output, ProcessError> {
        self.run_into(on_line, |reader, sink: &mut Vec<u8>| reader.read_to_end(sink).map(|_| ()))
            .map(|(stdout, stderr)| Output { stdout, stderr })
    }

    /// Runs it with standard output given to `consume` as a stream, which may be large.
    ///
    /// # Errors
    /// As [`run`](Self::run), or what `consume` says when the program itself ended well.
    pub fn run_into<T: Default + Send>(
        &self,
        mut on_line: impl FnMut(&str) + Send,
        consume: impl FnOnce(&mut dyn Read, &mut T) -> io::Result<()> + Send,
    ) -> Result<(T, Vec<u8>), ProcessError> {
        let mut child = Guard(self.spawn(Stdio::piped(), Stdio::piped())?);
        let (Some(mut stdout), Some(mut stderr)) = (child.0.stdout.take(), child.0.stderr.take()) else {
            return Err(self.start_error(io::Error::other("no pipes")));
        };
        let mut talk = Vec::new();
        let (consumed, status) = std::thread::scope(|scope| {
            let consumer = scope.spawn(move || {
                let mut value = T::default();
                let result = consume(&mut stdout, &mut value);
                io::copy(&mut stdout, &mut io::sink()).ok();
                result.map(|()| value)
            });
            let talk = &mut talk;
            scope.spawn(move || read_lines(&mut stderr, talk, &mut on_line));
            let status = self.wait(&mut child.0);
            if status.is_err() {
                end_group(&child.0);
            }
            (consumer.join(), status)
        });
        self.check(status, &talk)?;
        match consumed {
            Ok(Ok(value)) => Ok((value, talk)),
            Ok(Err(source)) => Err(self.start_error(source)),
            Err(_) => Err(self.start_error(io::Error::other("the reader of its output failed"))),
        }
    }

    /// Runs it with both of its streams merged, calling `on_line` with each line as it comes; returns all it wrote.
    ///
    /// # Errors
    /// As [`run`](Self::run); the last lines of both streams are the evidence.
    pub fn run_talking(&self, mut on_line: impl FnMut(&str) + Send) -> Result<Vec<u8>, ProcessError> {
        let (mut reader, writer) = io::pipe().map_err(|source| self.start_error(source))?;
        let streams = writer.try_clone().map(|clone| (Stdio::from(clone), Stdio::from(writer)));
        let (stdout, stderr) = streams.map_err(|source| self.start_error(source))?;
        let mut child = Guard(self.spawn(stdout, stderr)?);
        let mut talk = Vec::new();
        let status = std::thread::scope(|scope| {
            let talk = &mut talk;
            scope.spawn(move || read_lines(&mut reader, talk, &mut on_line));
            let status = self.wait(&mut child.0);
            if status.is_err() {
                end_group(&child.0);
            }
            status
        });
        self.check(status, &talk)?;
        Ok(talk)
    }

    fn spawn(&self, stdout: Stdio, stderr: Stdio) -> Result<Child, ProcessError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(self.standard_input()?).stdout(stdout).stderr(stderr);
        if self.cleared {
            command.env_clear();
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        for name in &self.removed {
            command.env_remove(name);
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        // A group of its own, so that ^C on the terminal reaches oclock alone and it ends the whole group itself.
        command.process_group(0);
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if is_ending() {
            return Err(ProcessError::Interrupted);
        }
        let child = command.spawn().map_err(|source| self.start_error(source))?;
        running.push(child.id());
        Ok(child)
    }

    fn standard_input(&self) -> Result<Stdio, ProcessError> {
        match &self.input {
            None => Ok(Stdio::null()),
            Some(path) => std::fs::File::open(path).map(Stdio::from).map_err(|source| self.start_error(source)),
        }
    }

    fn start_error(&self, source: io::Error) -> ProcessError {
        ProcessError::Start { program: self.program.to_string_lossy().into_owned(), source }
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus, ProcessError> {
        let started = Stopwatch::start();
        let mut pause = Duration::from_millis(1);
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(source) => return Err(self.start_error(source)),
            }
            if self.unwanted.is_said() {
                end_group(child);
                child.wait().ok();
                return Err(ProcessError::Interrupted);
            }
            if let Some(limit) = self.limit
                && started.seconds() > limit.as_secs_f64()
            {
                end_group(child);
                child.wait().ok();
                return Err(ProcessError::TimedOut {
                    command: self.display(),
                    seconds: limit.as_secs(),
                    tail: Vec::new(),
                });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn check(&self, status: Result<ExitStatus, ProcessError>, talk: &[u8]) -> Result<(), ProcessError> {
        let tail = last_lines(talk, 20);
        match status {
            Ok(status) if status.success() => Ok(()),
            _ if is_ending() => Err(ProcessError::Interrupted),
            Ok(status) => Err(ProcessError::Failed { command: self.display(), status: status.to_string(), tail }),
            Err(ProcessError::TimedOut { command, seconds, .. }) => {
                Err(ProcessError::TimedOut { command, seconds, tail })
            }
            Err(error) => Err(error),
        }
    }
}

/// The program that is running, to be run again.
///
/// # Errors
/// When the system does not say where it is.
pub fn own_program() -> Result<PathBuf, ProcessError> {
    std::env::current_exe().map_err(|source| ProcessError::Start { program: "oclock".to_owned(), source })
}

/// Undoes what `setarch` did, for this process and all that it starts: steps of a build must see the machine and the kernel
/// as they are, under every engine. libc6's preinst refuses the old kernel that `setarch --uname-2.6` claims. Where a filter
/// forbids it, everything stays as it is.
pub fn clear_personality() {
    nix::sys::personality::set(nix::sys::personality::Persona::empty()).ok();
}

/// This process's own limits on open files and processes, as `NAME=SOFT:HARD`, -1 for none.
pub fn own_limits() -> [String; 2] {
    use rustix::process::{Resource, getrlimit};
    [("nofile", Resource::Nofile), ("nproc", Resource::Nproc)].map(|(name, resource)| {
        let limit = getrlimit(resource);
        let word = |value: Option<u64>| value.map_or_else(|| "-1".to_owned(), |value| value.to_string());
        format!("{name}={}:{}", word(limit.current), word(limit.maximum))
    })
}

/// The process groups under way, for [`end_all`].
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Whether [`end_all`] was called: nothing new is started then, except by the cleanups themselves.
static ENDING: AtomicBool = AtomicBool::new(false);

/// What [`end_all`] does after the programs are gone, by a number for taking it out again.
static CLEANUPS: Mutex<Vec<(u64, CleanupAction)>> = Mutex::new(Vec::new());

type CleanupAction = Box<dyn FnOnce() + Send>;

thread_local! {
    static CLEANING: Cell<bool> = const { Cell::new(false) };
}

fn is_ending() -> bool {
    ENDING.load(Ordering::SeqCst) && !CLEANING.get()
}

/// Ends every program that is running, with its children, and then cleans up what they left: what ^C does before oclock
/// leaves. Programs started afterwards are refused as interrupted.
pub fn end_all() {
    let running: Vec<u32> = {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        ENDING.store(true, Ordering::SeqCst);
        running.drain(..).collect()
    };
    running.into_iter().for_each(kill_group);
    CLEANING.set(true);
    while let Some((_, clean)) = CLEANUPS.lock().unwrap_or_else(PoisonError::into_inner).pop() {
        clean();
    }
    CLEANING.set(false);
}

/// Something that must be cleaned up once: when this is dropped, or by [`end_all`], whichever comes first.
#[derive(Debug)]
pub struct Cleanup {
    number: u64,
}

impl Cleanup {
    /// Remembers what to do. It must not fail loudly: nobody listens any more.
    pub fn new(clean: impl FnOnce() + Send + 'static) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        CLEANUPS.lock().unwrap_or_else(PoisonError::into_inner).push((number, Box::new(clean)));
        Self { number }
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        let mut cleanups = CLEANUPS.lock().unwrap_or_else(PoisonError::into_inner);
        let place = cleanups.iter().position(|(number, _)| *number == self.number);
        let clean = place.map(|place| cleanups.remove(place).1);
        drop(cleanups);
        if let Some(clean) = clean {
            clean();
        }
    }
}

/// Where a program is on the PATH of `search`.
pub fn find_program(name: &str, search: Option<&str>) -> Option<PathBuf> {
    std::env::split_paths(search?).map(|directory| directory.join(name)).find(|path| is_executable(path))
}

/// Whether a path is a file that may be run.
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|id| *id != self.0.id());
        if let Ok(None) = self.0.try_wait() {
            end_group(&self.0);
            self.0.wait().ok();
        }
    }
}

fn end_group(child: &Child) {
    kill_group(child.id());
}

fn kill_group(id: u32) {
    if let Some(group) = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
    }
}

fn read_lines(reader: &mut impl Read, keep: &mut Vec<u8>, on_line: &mut impl FnMut(&str)) {
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length) = reader.read(&mut buffer) {
        if length == 0 {
            break;
        }
        keep.extend_from_slice(&buffer[..length]);
        for &byte in &buffer[..length] {
            if byte == b'\n' {
                on_line(&String::from_utf8_lossy(&line));
                line.clear();
            } else {
                line.push(byte);
            }
        }
    }
    if !line.is_empty() {
        on_line(&String::from_utf8_lossy(&line));
    }
}

fn last_lines(talk: &[u8], most: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(talk);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(most)..].iter().map(|line| super::text::sanitize(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_talk_are_kept_apart() {
        let mut lines = Vec::new();
        let output = Invocation::new("sh")
            .args(["-c", "echo out; echo one >&2; echo two >&2"])
            .run_with(|line| lines.push(line.to_owned()))
            .unwrap();
        assert_eq!(output.text(), "out");
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn a_failure_shows_the_last_lines() {
        let error = Invocation::new("sh").args(["-c", "echo why >&2; exit 7"]).run().unwrap_err();
        assert_eq!(error.evidence(), ["why"]);
        assert!(error.to_string().contains("exit status: 7"), "{error}");
    }

    #[test]
    fn both_streams_are_one_talk() {
        let talk = Invocation::new("/bin/sh")
            .without_environment()
            .env("A", "b")
            .args(["-c", "echo $A$HOME; echo err >&2; exit 3"])
            .run_talking(|_| {})
            .unwrap_err();
        assert_eq!(talk.evidence(), ["b", "err"]);
    }

    #[test]
    fn a_cleanup_runs_once() {
        let runs = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counter = std::sync::Arc::clone(&runs);
        let cleanup = Cleanup::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(runs.load(Ordering::SeqCst), 0);
        drop(cleanup);
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_limit_ends_the_children_too() {
        let error =
            Invocation::new("sh").args(["-c", "sleep 60 & wait"]).limit(Duration::from_millis(200)).run().unwrap_err();
        assert!(matches!(error, ProcessError::TimedOut { .. }), "{error}");
    }
}
