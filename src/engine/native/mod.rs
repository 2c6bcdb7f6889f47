//! The built-in engine: carries out the Containerfile itself, with nothing installed.
//!
//! A Containerfile becomes a list of [`Step`]s, plain values that hold all that decides what they do. A root filesystem is a
//! value too ([`State`]): files are ranges of archives, known by their digests. ADD and COPY change that value and touch no
//! disk. A RUN needs a root on the disk, so its result is kept, as an archive of what it changed, under the digest of the step
//! and of the state that it started from; only when there is none is the state laid out (`disk.rs`) and the command run in a
//! closed room (`base/sandbox`). Files are put on the disk and packed by tasks that see owners as the room does: this program
//! started again with a hidden argument (`oclock __step …`), which is no command of the user's.

mod apply;
mod archive;
mod disk;
mod lay;
mod pack;
mod plan;
mod root;
mod split;
mod state;
mod task;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::containerfile::{Containerfile, parse_containerfile};
use super::{BuildRequest, BuiltRoot, Engine, EngineError, Known, OnLine, Results, RootLayer, StepOutcome, Unusable};
use crate::base::environment::Environment;
use crate::base::fs;
use crate::base::process::{Cleanup, ProcessError};
use crate::base::sandbox::{Limits, RunOrder, Sandbox, remove_tree, sweep_leftovers};
use crate::base::text::count;
use crate::model::{Hasher, Sha256};
use crate::store::{Store, StoreError};

use apply::{Files, copy_into};
use archive::Archive;
use disk::{Disk, Extent};
use plan::{Action, Step, plan_steps};
use root::Owner;
use split::Parts;
use state::State;
pub use task::run_task;
use task::{Task, run};

const NAME: &str = "native";
const HOST_NAME: &str = "oclock";
/// More than any build needs at one time, and few enough for the machine to go on.
const PROCESSES: u64 = 2048;
const MEMORY_LEAST: u64 = 512 * 1024 * 1024;

/// The engine as it was found usable.
#[derive(Debug)]
pub(super) struct Native {
    sandbox: Sandbox,
}

impl Native {
    pub(super) fn find(environment: &Environment) -> Result<Self, Unusable> {
        if !cfg!(target_os = "linux") {
            return Err(Unusable::new(NAME, "it needs Linux"));
        }
        Sandbox::find(environment).map(|sandbox| Self { sandbox }).map_err(|why| Unusable::new(NAME, why))
    }

    fn read(request: &BuildRequest<'_>) -> Result<Containerfile, EngineError> {
        let file = parse_containerfile(&fs::read_text(&request.context.join("Containerfile"))?)?;
        if file.from == "scratch" { Ok(file) } else { Err(EngineError::NotScratch { from: file.from }) }
    }

    fn cleanup(&self, place: &Path) -> Cleanup {
        let (sandbox, place) = (self.sandbox.clone(), place.to_owned());
        Cleanup::new(move || drop(remove(&sandbox, &place)))
    }
}

impl Engine for Native {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn flavour(&self) -> String {
        self.sandbox.describe().to_owned()
    }

    fn build(&self, request: &BuildRequest<'_>, on_line: OnLine<'_>) -> Result<BuiltRoot, EngineError> {
        let steps = plan_steps(&Self::read(request)?)?;
        let scratch = std::path::absolute(request.scratch).map_err(fs::FsError::new("find", request.scratch))?;
        let place = scratch.join(NAME);
        let cleanup = self.cleanup(&place);
        let mut notes = Vec::new();
        loop {
            let mut build = Build::new(&self.sandbox, request, &place)?;
            let result = steps.iter().try_for_each(|step| build.carry_out(step, &mut *on_line));
            let error = match result {
                Ok(()) => {
                    notes.extend(build.notes);
                    let layer = RootLayer::Tree(Arc::new(build.state.tree));
                    let root = BuiltRoot::kept_until_dropped(vec![layer], vec![cleanup]);
                    return Ok(BuiltRoot { steps: build.outcomes, kept: build.kept, notes, ..root });
                }
                Err(error) => error,
            };
            let dropped = request.known.store.map_or(Ok(Vec::new()), |store| drop_damaged(store, &build.kept))?;
            if dropped.is_empty() {
                return Err(error);
            }
            notes.extend(dropped);
            remove(&self.sandbox, &place).map_err(|source| EngineError::Failed {
                engine: NAME,
                action: "start again",
                source: Box::new(source),
            })?;
        }
    }

    fn verifies_context(&self) -> bool {
        true
    }

    fn keeps_images(&self) -> bool {
        false
    }

    fn load(&self, _archive: &Path, _tags: &[String]) -> Result<(), EngineError> {
        Err(EngineError::KeepsNoImages { engine: NAME })
    }

    fn has_image(&self, _id: &Sha256, _tags: &[String]) -> bool {
        false
    }
}

/// Raised whenever the same step on the same state would come out otherwise.
const STEP_VERSION: &str = "1";
const MEMO: &str = "step";

/// A result that is kept: the archive's digest, and whether it is all there is or only what the step changed.
#[derive(serde::Serialize, serde::Deserialize)]
struct KeptResult {
    archive: Sha256,
    is_whole: bool,
}

/// One build on its way.
struct Build<'a> {
    request: &'a BuildRequest<'a>,
    known: Known<'a>,
    state: State,
    files: Files<'a>,
    disk: Disk<'a>,
    place: PathBuf,
    outcomes: Vec<StepOutcome>,
    /// The archives of kept results that were used.
    kept: Vec<Sha256>,
    notes: Vec<String>,
}

impl<'a> Build<'a> {
    fn new(sandbox: &'a Sandbox, request: &'a BuildRequest<'a>, place: &Path) -> Result<Self, EngineError> {
        let known = request.known;
        Ok(Self {
            request,
            known,
            state: State::default(),
            files: Files::open(request.context, known).map_err(fs::FsError::new("read", request.context))?,
            disk: Disk::new(sandbox, place),
            place: place.to_owned(),
            outcomes: Vec::new(),
            kept: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// Changes the state as one step says.
    fn carry_out(&mut self, step: &Step, on_line: OnLine<'_>) -> Result<(), EngineError> {
        on_line(&format!("step {}: {}", step.number, step.title));
        let refused = |error: io::Error| ProcessError::Refused {
            what: "change the root filesystem".into(),
            why: error.to_string(),
        };
        match &step.action {
            Action::MakeDirectory { path } => {
                self.state.ensure_directory(Path::new(path), Owner::ROOT).map(drop).map_err(refused)
            }
            Action::Copy(copy) => copy_into(&mut self.state, &mut self.files, copy).map_err(refused),
            Action::Run { .. } => self.run(step, on_line),
        }
        .map_err(|source| EngineError::Step {
            number: step.number,
            step: step.title.clone(),
            engine: NAME,
            source: Box::new(source),
        })
    }

    fn run(&mut self, step: &Step, on_line: OnLine<'_>) -> Result<(), ProcessError> {
        let (ran, kept) = match self.run_split(step, on_line)? {
            Some(counts) => counts,
            None => self.run_whole(step, on_line)?,
        };
        on_line(&format!("step {}: {} carried out, {}", step.number, count(ran, "part"), count(kept, "kept result")));
        self.outcomes.push(StepOutcome { step: step.title.clone(), ran, kept });
        Ok(())
    }

    fn run_whole(&mut self, step: &Step, on_line: OnLine<'_>) -> Result<(usize, usize), ProcessError> {
        let key = key_of(&step.action, "whole", &self.state.digest());
        if let Some((archive, extent)) = self.find_kept(&key)
            && self.lay_over(archive, extent).is_ok()
        {
            return Ok((0, 1));
        }
        let path = self.place.join(format!("step-{}.tar", step.number));
        let mut order = self.order(&step.action);
        let extent = self.disk.run(&self.state, &self.files.archives, &mut order, &path, on_line)?;
        let archive = match self.known.store {
            None => Archive::open(&path, None, None).map_err(|error| cannot_keep(&error))?,
            Some(store) => {
                let (digest, archive) = keep(store, &[key], &path, extent)?;
                self.kept.push(digest);
                archive
            }
        };
        self.lay_over(archive, extent).map_err(|error| cannot_keep(&error))?;
        self.disk.is_now(&self.state);
        Ok((1, 0))
    }

    /// Carries out only the parts of a step that have no kept result. Nothing is done where the step is none of parts, or
    /// cannot be carried out on so little of the root.
    fn run_split(&mut self, step: &Step, on_line: OnLine<'_>) -> Result<Option<(usize, usize)>, ProcessError> {
        let Action::Run { words, .. } = &step.action else { return Ok(None) };
        let split = self.known.splits.iter().find(|split| words.last() == Some(&split.line));
        let (Some(split), Some(store)) = (split, self.known.store) else { return Ok(None) };
        let parts = Parts::of(split, &self.state);
        let mut kept: BTreeMap<Sha256, Vec<PathBuf>> = BTreeMap::new();
        let mut missing: Vec<(PathBuf, Sha256)> = Vec::new();
        let mut archives: BTreeMap<Sha256, Archive> = BTreeMap::new();
        for (part, digest) in parts.digests(&self.state) {
            let key = key_of(&step.action, "part", &digest);
            match self.find_kept_digest(&key, &mut archives) {
                Some(archive) => kept.entry(archive).or_default().push(part),
                None => missing.push((part, key)),
            }
        }
        let (ran, taken) = (missing.len(), kept.values().map(Vec::len).sum());
        let mut state = self.state.clone();
        if !missing.is_empty() {
            let (names, keys): (Vec<PathBuf>, Vec<Sha256>) = missing.into_iter().unzip();
            let root = parts.root_for(&names, &self.state);
            let place = self.place.join("parts");
            let path = self.place.join(format!("step-{}.tar", step.number));
            fs::ensure_directory(&place).map_err(|error| cannot_keep(&error))?;
            let mut order = self.order(&step.action);
            let mut disk = Disk::new(self.disk.sandbox(), &place);
            let extent = match disk.run(&root, &self.files.archives, &mut order, &path, on_line) {
                Err(ProcessError::Interrupted) => return Err(ProcessError::Interrupted),
                Err(_) => return Ok(None),
                Ok(extent) => extent,
            };
            let (digest, archive) = keep(store, &keys, &path, extent)?;
            self.kept.push(digest);
            for name in &names {
                parts.take(name, &archive, &mut state).map_err(|error| cannot_keep(&error))?;
            }
            self.files.archives.push(archive);
        }
        for (digest, names) in kept {
            let Some(archive) = archives.remove(&digest) else { continue };
            for name in names {
                parts.take(&name, &archive, &mut state).map_err(|error| cannot_keep(&error))?;
            }
            self.files.archives.push(archive);
        }
        self.state = state;
        Ok(Some((ran, taken)))
    }

    /// Opens a kept result. One that is missing or damaged counts as not kept.
    fn find_kept(&mut self, key: &Sha256) -> Option<(Archive, Extent)> {
        let store = self.known.store.filter(|_| self.known.results == Results::Used)?;
        let answer: KeptResult = serde_json::from_slice(&store.memo(MEMO, key)?).ok()?;
        let archive = self.open_kept(store, &answer.archive)?;
        Some((archive, if answer.is_whole { Extent::Whole } else { Extent::Changes }))
    }

    /// The digest of a kept result's archive, which is among the open ones then.
    fn find_kept_digest(&mut self, key: &Sha256, open: &mut BTreeMap<Sha256, Archive>) -> Option<Sha256> {
        let store = self.known.store.filter(|_| self.known.results == Results::Used)?;
        let answer: KeptResult = serde_json::from_slice(&store.memo(MEMO, key)?).ok()?;
        if let Entry::Vacant(place) = open.entry(answer.archive) {
            place.insert(self.open_kept(store, &answer.archive)?);
        }
        Some(answer.archive)
    }

    fn open_kept(&mut self, store: &Store, digest: &Sha256) -> Option<Archive> {
        self.kept.push(*digest);
        let archive = Archive::open(&store.blob_path(digest), Some(digest), Some(store));
        if archive.is_err() {
            self.notes.extend(drop_damaged(store, &[*digest]).unwrap_or_default());
        }
        archive.ok()
    }

    fn lay_over(&mut self, archive: Archive, extent: Extent) -> io::Result<()> {
        let mut state = if extent == Extent::Whole { State::default() } else { self.state.clone() };
        archive.lay_over(&mut state)?;
        self.state = state;
        self.files.archives.push(archive);
        Ok(())
    }

    fn order(&self, action: &Action) -> RunOrder {
        let (words, variables, directory, user) = match action {
            Action::Run { words, variables, directory, user } => {
                (words.clone(), variables.clone(), directory.clone(), user.clone())
            }
            Action::Copy(_) | Action::MakeDirectory { .. } => Default::default(),
        };
        let memory = self.request.memory.unwrap_or_else(usual_memory);
        RunOrder {
            root: PathBuf::new(),
            layers: None,
            words,
            variables,
            directory,
            user,
            hostname: HOST_NAME.to_owned(),
            limits: Limits { time: self.request.limit, memory, processes: PROCESSES },
        }
    }
}

/// All that decides what a step does: itself, and what it finds.
fn key_of(action: &Action, extent: &str, found: &Sha256) -> Sha256 {
    let mut hasher = Hasher::default();
    for field in ["oclock step", STEP_VERSION, env!("CARGO_PKG_VERSION"), HOST_NAME, extent] {
        hasher.field(field);
    }
    hasher.field(serde_json::to_vec(action).unwrap_or_default());
    hasher.field(found.as_bytes());
    hasher.finish()
}

fn cannot_keep(error: &dyn std::error::Error) -> ProcessError {
    let why = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    ProcessError::Refused { what: "keep what the step made".into(), why }
}

/// Moves a step's archive into the store and remembers what it answers.
fn keep(store: &Store, keys: &[Sha256], path: &Path, extent: Extent) -> Result<(Sha256, Archive), ProcessError> {
    let mut blob = store.create_blob().map_err(|error| cannot_keep(&error))?;
    let mut file = std::fs::File::open(path).map_err(|error| cannot_keep(&error))?;
    io::copy(&mut file, &mut blob).map_err(|error| cannot_keep(&error))?;
    let (digest, _) = blob.commit(None).map_err(|error| cannot_keep(&error))?;
    fs::remove_file(path).map_err(|error| cannot_keep(&error))?;
    let archive = Archive::open(&store.blob_path(&digest), Some(&digest), Some(store));
    let answer = KeptResult { archive: digest, is_whole: extent == Extent::Whole };
    let answer = serde_json::to_vec(&answer).unwrap_or_default();
    for key in keys {
        store.set_memo(MEMO, key, &answer).map_err(|error| cannot_keep(&error))?;
    }
    archive.map(|archive| (digest, archive)).map_err(|error| cannot_keep(&error))
}

/// Takes kept results out of the store whose bytes are not what they should be, and says so.
pub(super) fn drop_damaged(store: &Store, kept: &[Sha256]) -> Result<Vec<String>, EngineError> {
    let mut notes = Vec::new();
    for digest in kept {
        if let Err(StoreError::Damaged { .. }) = store.open_blob(digest) {
            store.remove_blob(digest).map_err(EngineError::Store)?;
            notes.push(format!(
                "the kept result {} of a step was damaged; it is dropped and made again",
                digest.short()
            ));
        }
    }
    Ok(notes)
}

/// Removes what a build left that was ended before it could clean up, whoever its files belong to.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn remove_leftover(path: &Path, environment: &Environment) -> Result<(), EngineError> {
    sweep_leftovers();
    if remove_tree(path).is_ok() {
        return Ok(());
    }
    let gone = |source| EngineError::Failed { engine: NAME, action: "remove what an earlier build left", source };
    let sandbox =
        Sandbox::find(environment).map_err(|why| EngineError::NoneUsable { tried: vec![Unusable::new(NAME, why)] })?;
    remove(&sandbox, path).map_err(|source| gone(Box::new(source)))
}

fn remove(sandbox: &Sandbox, path: &Path) -> Result<(), ProcessError> {
    if sandbox.is_root() && remove_tree(path).is_ok() {
        return Ok(());
    }
    run(sandbox, &Task::Remove { path: path.to_owned() })
}

/// Three quarters of the machine's memory.
fn usual_memory() -> u64 {
    let text = fs::read_text(Path::new("/proc/meminfo")).unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    (total.unwrap_or(0_u64) * 1024 / 4 * 3).max(MEMORY_LEAST)
}
