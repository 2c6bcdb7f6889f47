//! buildah, step by step on a working container that is never committed: the container's directory is the result.
//!
//! Everything of a build lies in a store of its own below the scratch directory (driver `vfs`: one plain directory, no
//! mounts), so that one removal cleans up. Programs run in new mount, process and network namespaces that end with them:
//! no container outlives ^C, and the network is off twice, also for the chroot isolation, which cannot turn it off itself.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use super::containerfile::{
    CommandForm, Containerfile, CopyStep, DEFAULT_PATH, Instruction, Variables, parse_containerfile,
};
use super::{BuildRequest, BuiltRoot, Engine, EngineError, OnLine, RootLayer, Unusable, last_words};
use crate::base::environment::Environment;
use crate::base::explain::Explain;
use crate::base::fs;
use crate::base::process::{Cleanup, Invocation, ProcessError, find_program, own_limits};
use crate::model::Sha256;

const NAME: &str = "buildah";
/// What docker grants and buildah does not by default, so that steps may do the same under both.
const EXTRA_CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_MKNOD", "CAP_NET_RAW"];
/// A program that is in no image: a runtime that works says so, one that does not says something else.
const PROBE: &str = "/.oclock-probe";
const STORAGE_CONF: &str = "storage.conf";
const DELETE_TRIES: u32 = 20;
const DELETE_PAUSE: Duration = Duration::from_millis(100);
const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// Which isolations are acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    Oci,
    Chroot,
}

/// How a step is kept apart from the host.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Isolation {
    /// By this OCI runtime.
    Runtime(PathBuf),
    Chroot,
}

impl Isolation {
    /// The flags of `buildah run`; an OCI runtime keeps its state below `root` and not in the host's `/run`.
    fn flags(&self, root: &Path) -> Vec<String> {
        match self {
            Self::Runtime(path) => {
                let runtime = path.to_string_lossy().into_owned();
                let state = format!("root={}", state_directory(root, path).display());
                ["--isolation", "oci", "--runtime", &runtime, "--runtime-flag", &state, "--network", "none"]
                    .map(str::to_owned)
                    .to_vec()
            }
            Self::Chroot => ["--isolation", "chroot"].map(str::to_owned).to_vec(),
        }
    }
}

impl std::fmt::Display for Isolation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Runtime(path) => write!(formatter, "oci with {}", path.display()),
            Self::Chroot => formatter.write_str("chroot"),
        }
    }
}

fn state_directory(root: &Path, runtime: &Path) -> PathBuf {
    root.join("state").join(runtime.file_name().unwrap_or_default())
}

/// Ends what an OCI runtime still knows of, so that its control groups go, and removes the build's files.
fn clean_up(root: &Path, runtimes: &[PathBuf]) {
    for runtime in runtimes {
        let state = state_directory(root, runtime);
        for container in fs::sorted_entries(&state).unwrap_or_default() {
            let delete = Invocation::new(runtime).arg("--root").arg(&state).args(["delete", "--force"]);
            let delete = delete.arg(container.file_name()).limit(PROBE_LIMIT);
            // Its processes were killed a moment ago and may still be on their way out.
            for _ in 0..DELETE_TRIES {
                if delete.run().is_ok() {
                    break;
                }
                std::thread::sleep(DELETE_PAUSE);
            }
        }
    }
    fs::remove_directory(root).ok();
}

/// buildah as it was found.
#[derive(Debug)]
pub(super) struct Buildah {
    program: PathBuf,
    unshare: PathBuf,
    search: String,
    version: String,
    candidates: Vec<Isolation>,
    isolation: OnceLock<Isolation>,
}

impl Buildah {
    pub(super) fn find(wanted: Wanted, environment: &Environment) -> Result<Self, Unusable> {
        let search = environment.variable("PATH").unwrap_or(DEFAULT_PATH);
        let program = find_program(NAME, Some(search)).ok_or_else(|| Unusable::new(NAME, "it is not on the PATH"))?;
        if !rustix::process::geteuid().is_root() {
            return Err(Unusable::new(NAME, "it needs root here; a build without root is not supported yet"));
        }
        let unshare = find_program("unshare", Some(search)).ok_or_else(|| {
            Unusable::new(NAME, "`unshare` (util-linux), which keeps the network off, is not on the PATH")
        })?;
        let answer = Invocation::new(&program).arg("--version").run();
        let answer = answer.map_err(|error| Unusable::new(NAME, last_words(&error)))?.text();
        let version = answer.split_whitespace().nth(2).unwrap_or("unknown").to_owned();
        let runtimes = ["runc", "crun"].iter().filter_map(|name| find_program(name, Some(search)));
        let mut candidates: Vec<Isolation> = match wanted {
            Wanted::Any | Wanted::Oci => runtimes.map(Isolation::Runtime).collect(),
            Wanted::Chroot => Vec::new(),
        };
        if wanted != Wanted::Oci {
            candidates.push(Isolation::Chroot);
        }
        if candidates.is_empty() {
            return Err(Unusable::new(NAME, "neither `runc` nor `crun` is on the PATH"));
        }
        Ok(Self { program, unshare, search: search.to_owned(), version, candidates, isolation: OnceLock::new() })
    }

    fn runtimes(&self) -> Vec<PathBuf> {
        let runtime = |isolation: &Isolation| match isolation {
            Isolation::Runtime(path) => Some(path.clone()),
            Isolation::Chroot => None,
        };
        self.candidates.iter().filter_map(runtime).collect()
    }

    fn parse(request: &BuildRequest<'_>) -> Result<Containerfile, EngineError> {
        let text = fs::read_text(&request.context.join("Containerfile"))?;
        let file = parse_containerfile(&text)?;
        if file.from == "scratch" { Ok(file) } else { Err(EngineError::NotScratch { from: file.from }) }
    }

    /// The first isolation that can start something, found once.
    fn isolation(&self, workshop: &Workshop<'_>) -> Result<&Isolation, EngineError> {
        if let Some(isolation) = self.isolation.get() {
            return Ok(isolation);
        }
        let mut tried = Vec::new();
        for candidate in &self.candidates {
            match workshop.probe(candidate) {
                Ok(()) => return Ok(self.isolation.get_or_init(|| candidate.clone())),
                Err(why) => tried.push(Unusable::new(&format!("{NAME}, {candidate}"), why)),
            }
        }
        Err(EngineError::NoneUsable { tried })
    }
}

impl Engine for Buildah {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn flavour(&self) -> String {
        let isolation = self.isolation.get().or(self.candidates.first());
        isolation.map(ToString::to_string).unwrap_or_default()
    }

    fn build(&self, request: &BuildRequest<'_>, on_line: OnLine<'_>) -> Result<BuiltRoot, EngineError> {
        let file = Self::parse(request)?;
        let root = request.scratch.join("buildah");
        fs::ensure_directory(&root.join("tmp"))?;
        fs::write_stream(&root.join(STORAGE_CONF), &mut &b"[storage]\ndriver = \"vfs\"\n"[..])?;
        let (leftover, runtimes) = (root.clone(), self.runtimes());
        let cleanup = Cleanup::new(move || clean_up(&leftover, &runtimes));
        let mut workshop = Workshop::open(self, request, root)?;
        workshop.isolation = Some(self.isolation(&workshop)?);
        for (number, instruction) in file.instructions.iter().enumerate() {
            workshop.step(number + 1, instruction, on_line)?;
        }
        let directory = workshop.directory()?;
        Ok(BuiltRoot::kept_until_dropped(vec![RootLayer::Directory(directory)], vec![cleanup]))
    }

    fn load(&self, archive: &Path, tags: &[String]) -> Result<(), EngineError> {
        let fail = |source| EngineError::Failed { engine: NAME, action: "load the image", source: Box::new(source) };
        let source = format!("docker-archive:{}", archive.display());
        let id = Invocation::new(&self.program).args(["pull", "--quiet", &source]).run().map_err(fail)?.text();
        for tag in tags {
            Invocation::new(&self.program).args(["tag", &id, tag]).run().map_err(fail)?;
        }
        Ok(())
    }

    fn has_image(&self, id: &Sha256, tags: &[String]) -> bool {
        let id = id.to_string();
        let names = std::iter::once(id.as_str()).chain(tags.iter().map(String::as_str));
        names.into_iter().all(|name| {
            let inspect = ["inspect", "--type", "image", "--format", "{{.FromImageID}}", name];
            Invocation::new(&self.program).args(inspect).run().is_ok_and(|answer| answer.text() == id)
        })
    }
}

/// One build under way.
struct Workshop<'a> {
    engine: &'a Buildah,
    request: &'a BuildRequest<'a>,
    root: PathBuf,
    container: String,
    isolation: Option<&'a Isolation>,
    variables: Variables,
    directory: String,
    user: Option<String>,
    shell: Vec<String>,
}

impl<'a> Workshop<'a> {
    fn open(engine: &'a Buildah, request: &'a BuildRequest<'a>, root: PathBuf) -> Result<Self, EngineError> {
        let mut variables = Variables::default();
        variables.set("PATH", DEFAULT_PATH);
        let mut workshop = Self {
            engine,
            request,
            root,
            container: String::new(),
            isolation: None,
            variables,
            directory: "/".into(),
            user: None,
            shell: vec!["/bin/sh".into(), "-c".into()],
        };
        // Without them newer versions set limits that they may not be allowed to.
        let limits = own_limits().into_iter().flat_map(|limit| ["--ulimit".to_owned(), limit]);
        let from = workshop.buildah().arg("from").args(limits).arg("scratch").run();
        workshop.container = from.map_err(Self::failed("make a working container"))?.text();
        Ok(workshop)
    }

    fn failed(action: &'static str) -> impl FnOnce(ProcessError) -> EngineError {
        move |source| EngineError::Failed { engine: NAME, action, source: Box::new(source) }
    }

    /// buildah on the store of this build alone, with nothing of the user's environment and configuration.
    fn buildah(&self) -> Invocation {
        let flags = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--"];
        // OCI runtimes bring the loopback up in the container's network; a chroot has no other network than this one.
        let shell = ["sh", "-c", "ip link set lo up 2>/dev/null || ifconfig lo up 2>/dev/null; exec \"$0\" \"$@\""];
        let is_chroot = self.isolation == Some(&Isolation::Chroot);
        Invocation::new(&self.engine.unshare)
            .args(flags)
            .args(shell.into_iter().filter(|_| is_chroot))
            .arg(&self.engine.program)
            .arg("--root")
            .arg(self.root.join("root"))
            .arg("--runroot")
            .arg(self.root.join("run"))
            .args(["--storage-driver", "vfs"])
            .without_environment()
            .env("PATH", &self.engine.search)
            .env("HOME", &self.root)
            .env("TMPDIR", self.root.join("tmp"))
            .env("CONTAINERS_CONF", "/dev/null")
            .env("CONTAINERS_STORAGE_CONF", self.root.join(STORAGE_CONF))
            .directory(self.request.context)
            .limit(self.request.limit)
    }

    fn probe(&self, isolation: &Isolation) -> Result<(), String> {
        let run = self.buildah().arg("run").args(isolation.flags(&self.root)).args([&self.container, "--", PROBE]);
        match run.limit(PROBE_LIMIT).run() {
            Ok(_) => Ok(()),
            Err(error) => {
                let said = error.evidence().join("\n");
                let is_missing = said.lines().any(|line| line.contains(PROBE) && line.contains("no such file"));
                if is_missing { Ok(()) } else { Err(first_words(&error)) }
            }
        }
    }

    fn step(&mut self, number: usize, instruction: &Instruction, on_line: OnLine<'_>) -> Result<(), EngineError> {
        let (invocation, step) = match instruction {
            Instruction::Copy(copy) => {
                if let Some(parent) = copy.disputed_parent(&self.directory) {
                    let made = self.make_directory(&parent)?.run();
                    made.map_err(Self::failed("make a directory"))?;
                }
                (self.copy(copy), copy.describe())
            }
            Instruction::Run(command) => (self.run(command), command.describe_run()),
            Instruction::WorkingDirectory(path) => {
                self.directory.clone_from(path);
                (self.make_directory(path)?, format!("WORKDIR {path}"))
            }
            Instruction::Env(pairs) => {
                pairs.iter().for_each(|(name, value)| self.variables.set(name, value));
                return Ok(());
            }
            Instruction::User(user) => {
                self.user = Some(user.clone());
                return Ok(());
            }
            Instruction::Shell(words) | Instruction::OwnShell(words) => {
                self.shell.clone_from(words);
                return Ok(());
            }
            // They speak of the image's config, which oclock writes itself.
            Instruction::Command(_)
            | Instruction::Entrypoint(_)
            | Instruction::Expose(_)
            | Instruction::Healthcheck(_)
            | Instruction::Label(_)
            | Instruction::Volume(_)
            | Instruction::StopSignal(_) => return Ok(()),
        };
        on_line(&format!("step {number}: {step}"));
        let result = invocation.run_talking(on_line).map(drop);
        result.map_err(|source| EngineError::Step { number, step, engine: NAME, source: Box::new(source) })
    }

    fn copy(&self, copy: &CopyStep) -> Invocation {
        let mut invocation = self.buildah().args([if copy.unpacks { "add" } else { "copy" }, "--quiet"]);
        for (flag, value) in [("--chown", &copy.owner), ("--chmod", &copy.mode)] {
            if let Some(value) = value {
                invocation = invocation.args([flag, value]);
            }
        }
        let destination = match copy.destination.strip_prefix('/') {
            Some(_) => copy.destination.clone(),
            None => format!("{}/{}", self.directory.trim_end_matches('/'), copy.destination),
        };
        invocation.arg(&self.container).args(&copy.sources).arg(destination)
    }

    fn run(&self, command: &CommandForm) -> Invocation {
        let mut invocation = self.buildah().arg("run");
        if let Some(isolation) = self.isolation {
            invocation = invocation.args(isolation.flags(&self.root));
        }
        invocation = invocation.args(["--hostname", "oclock", "--workingdir", &self.directory]);
        for capability in EXTRA_CAPABILITIES {
            invocation = invocation.args(["--cap-add", capability]);
        }
        for (name, value) in self.variables.iter() {
            invocation = invocation.args(["--env".to_owned(), format!("{name}={value}")]);
        }
        if let Some(user) = &self.user {
            invocation = invocation.args(["--user", user]);
        }
        invocation = invocation.args([&self.container, "--"]);
        match command {
            CommandForm::Exec(words) => invocation.args(words),
            CommandForm::Shell(line) => invocation.args(&self.shell).arg(line),
        }
    }

    /// An empty directory is copied: works in a root that has no `mkdir` yet.
    fn make_directory(&self, path: &str) -> Result<Invocation, EngineError> {
        let empty = self.root.join("empty");
        fs::ensure_directory(&empty)?;
        fs::set_mode(&empty, 0o755)?;
        Ok(self.buildah().args(["copy", "--quiet"]).arg(&self.container).arg(empty).arg(path))
    }

    /// Where the container's files are: with `vfs` a plain directory that is there without a mount.
    fn directory(&self) -> Result<PathBuf, EngineError> {
        let answer = self.buildah().args(["mount", &self.container]).run();
        let directory = PathBuf::from(answer.map_err(Self::failed("say where the files are"))?.text());
        if directory.starts_with(&self.root) && directory.is_dir() {
            return Ok(directory);
        }
        let what = format!("the container's files should be in `{}`", directory.display());
        Err(EngineError::Answer { engine: NAME, what })
    }
}

fn first_words(error: &ProcessError) -> String {
    match error.evidence().first() {
        Some(line) => line.trim().to_owned(),
        None => error.to_string(),
    }
}
