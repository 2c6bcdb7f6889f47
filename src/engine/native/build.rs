//! One build: steps carried out in order on a state, from kept results where there are some.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::ahead::Ahead;
use super::apply::{Files, change};
use super::archive::Archive;
use super::disk::{Disk, Extent};
use super::plan::{Action, Step};
use super::split::Parts;
use super::state::State;
use super::{HOST_NAME, NAME, drop_damaged};
use crate::base::fs;
use crate::base::memory;
use crate::base::process::ProcessError;
use crate::base::sandbox::{Limits, RunOrder, Sandbox};
use crate::base::text::count;
use crate::engine::{BuildRequest, EngineError, Known, OnLine, Results, Split, StepOutcome};
use crate::model::{Hasher, Sha256};
use crate::store::Store;

/// More than any build needs at one time, and few enough for the machine to go on.
const PROCESSES: u64 = 2048;
const MEMORY_LEAST: u64 = 512 * 1024 * 1024;

/// Raised whenever the same step on the same state would come out otherwise.
const STEP_VERSION: &str = "1";
const MEMO: &str = "step";

/// A result that is kept: the archive's digest, and whether it is all there is or only what the step changed.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct KeptResult {
    archive: Sha256,
    is_whole: bool,
}

/// One build on its way.
pub(super) struct Build<'a> {
    request: &'a BuildRequest<'a>,
    known: Known<'a>,
    pub state: State,
    files: Files<'a>,
    disk: Disk<'a>,
    place: PathBuf,
    ahead: Option<Ahead>,
    pub outcomes: Vec<StepOutcome>,
    /// The archives of kept results that were used.
    pub kept: Vec<Sha256>,
    pub notes: Vec<String>,
}

impl<'a> Build<'a> {
    pub(super) fn new(
        sandbox: &'a Sandbox,
        request: &'a BuildRequest<'a>,
        place: &Path,
        ahead: Option<Ahead>,
    ) -> Result<Self, EngineError> {
        let known = request.known;
        Ok(Self {
            request,
            known,
            state: State::default(),
            files: Files::open(request.context, known).map_err(fs::FsError::new("read", request.context))?,
            disk: Disk::new(sandbox, place),
            place: place.to_owned(),
            ahead,
            outcomes: Vec::new(),
            kept: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// Carries out all steps. What was begun ahead of its turn has ended then, or is not wanted any more.
    pub(super) fn carry_out_all(&mut self, steps: &[Step], on_line: OnLine<'_>) -> Result<(), EngineError> {
        let result = steps.iter().try_for_each(|step| self.carry_out(step, &mut *on_line));
        self.ahead = None;
        result
    }

    /// Changes the state as one step says.
    fn carry_out(&mut self, step: &Step, on_line: OnLine<'_>) -> Result<(), EngineError> {
        on_line(&format!("step {}: {}", step.number, step.title));
        let refused = |error: io::Error| ProcessError::Refused {
            what: "change the root filesystem".into(),
            why: error.to_string(),
        };
        match &step.action {
            Action::Run { .. } => self.run(step, on_line),
            action => change(&mut self.state, &mut self.files, action).map_err(refused),
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
        if let Some(ahead) = &mut self.ahead {
            ahead.start();
        }
        let mut order = order_of(&step.action, self.request);
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
        let (Some(split), Some(store)) = (split_of(&step.action, &self.known), self.known.store) else {
            return Ok(None);
        };
        let made = self.ahead.take_if(|ahead| ahead.number == step.number).and_then(Ahead::wait);
        let parts = Parts::of(split, &self.state);
        let mut kept: BTreeMap<Sha256, BTreeSet<PathBuf>> = BTreeMap::new();
        let mut missing: Vec<(PathBuf, Sha256)> = Vec::new();
        let mut archives: BTreeMap<Sha256, Archive> = BTreeMap::new();
        let (mut ran, mut taken) = (0, 0);
        for (part, digest) in parts.digests(&self.state) {
            let key = key_of(&step.action, "part", &digest);
            let own = made.as_ref().filter(|made| made.keys.contains(&key)).map(|made| made.archive);
            let count = if own.is_some() { &mut ran } else { &mut taken };
            match own.or_else(|| self.kept_digest(&key)).filter(|archive| self.open_once(archive, &mut archives)) {
                Some(archive) => {
                    *count += 1;
                    kept.entry(archive).or_default().insert(part);
                }
                None => missing.push((part, key)),
            }
        }
        ran += missing.len();
        let mut state = self.state.clone();
        if !missing.is_empty() {
            let (names, keys): (Vec<PathBuf>, Vec<Sha256>) = missing.into_iter().unzip();
            let root = parts.root_for(&names, &self.state);
            let sandbox = self.disk.sandbox();
            let place = self.place.join("parts");
            let room = PartsRoom { sandbox, request: self.request, store, action: &step.action, place: &place };
            match room.make(&root, &keys, &self.files.archives, on_line)? {
                None => return Ok(None),
                Some((digest, archive)) => {
                    self.kept.push(digest);
                    kept.entry(digest).or_default().extend(names);
                    archives.insert(digest, archive);
                }
            }
        }
        for (digest, names) in kept {
            let Some(archive) = archives.remove(&digest) else { continue };
            parts.take(&names, &archive, &mut state).map_err(|error| cannot_keep(&error))?;
            self.files.archives.push(archive);
        }
        self.state = state;
        Ok(Some((ran, taken)))
    }

    /// Opens a kept result. One that is missing or damaged counts as not kept.
    fn find_kept(&mut self, key: &Sha256) -> Option<(Archive, Extent)> {
        let answer = kept_result(&self.known, key)?;
        let archive = self.open_kept(self.known.store?, &answer.archive)?;
        Some((archive, if answer.is_whole { Extent::Whole } else { Extent::Changes }))
    }

    fn kept_digest(&self, key: &Sha256) -> Option<Sha256> {
        kept_result(&self.known, key).map(|answer| answer.archive)
    }

    /// Whether the archive of a kept result is among the open ones then.
    fn open_once(&mut self, digest: &Sha256, open: &mut BTreeMap<Sha256, Archive>) -> bool {
        let (Entry::Vacant(place), Some(store)) = (open.entry(*digest), self.known.store) else { return true };
        self.open_kept(store, digest).map(|archive| place.insert(archive)).is_some()
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
}

/// Where the parts of a step that have no kept result are carried out.
pub(super) struct PartsRoom<'a> {
    pub sandbox: &'a Sandbox,
    pub request: &'a BuildRequest<'a>,
    pub store: &'a Store,
    pub action: &'a Action,
    pub place: &'a Path,
}

impl PartsRoom<'_> {
    /// Runs the step on so little of the root, and keeps what it made under the parts' keys. None where it cannot be carried
    /// out on that.
    pub(super) fn make(
        &self,
        root: &State,
        keys: &[Sha256],
        archives: &[Archive],
        on_line: OnLine<'_>,
    ) -> Result<Option<(Sha256, Archive)>, ProcessError> {
        let path = self.place.with_extension("tar");
        let mut order = order_of(self.action, self.request);
        let mut disk = Disk::new(self.sandbox, self.place);
        match disk.run(root, archives, &mut order, &path, on_line) {
            Err(ProcessError::Interrupted) => Err(ProcessError::Interrupted),
            Err(_) => Ok(None),
            Ok(extent) => keep(self.store, keys, &path, extent).map(Some),
        }
    }
}

/// How a step is run in its room.
fn order_of(action: &Action, request: &BuildRequest<'_>) -> RunOrder {
    let (words, variables, directory, user) = match action {
        Action::Run { words, variables, directory, user } => {
            (words.clone(), variables.clone(), directory.clone(), user.clone())
        }
        Action::Copy(_) | Action::MakeDirectory { .. } => Default::default(),
    };
    RunOrder {
        root: PathBuf::new(),
        layers: None,
        words,
        variables,
        directory,
        user,
        hostname: HOST_NAME.to_owned(),
        limits: limits_of(request),
    }
}

pub(super) fn limits_of(request: &BuildRequest<'_>) -> Limits {
    let memory = request.memory.unwrap_or_else(usual_memory);
    Limits { time: request.limit, memory, processes: PROCESSES }
}

/// How a step can be carried out in parts, where it can.
pub(super) fn split_of<'a>(action: &Action, known: &Known<'a>) -> Option<&'a Split> {
    let Action::Run { words, .. } = action else { return None };
    known.splits.iter().find(|split| words.last() == Some(&split.line))
}

/// The kept result of a question, where kept ones are used.
pub(super) fn kept_result(known: &Known<'_>, key: &Sha256) -> Option<KeptResult> {
    let store = known.store.filter(|_| known.results == Results::Used)?;
    serde_json::from_slice(&store.memo(MEMO, key)?).ok()
}

/// Three quarters of the machine's memory.
fn usual_memory() -> u64 {
    (memory::total() / 4 * 3).max(MEMORY_LEAST)
}

/// All that decides what a step does: itself, and what it finds.
pub(super) fn key_of(action: &Action, extent: &str, found: &Sha256) -> Sha256 {
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
    let archive = Archive::open_written(&digest, store);
    let answer = KeptResult { archive: digest, is_whole: extent == Extent::Whole };
    let answer = serde_json::to_vec(&answer).unwrap_or_default();
    for key in keys {
        store.set_memo(MEMO, key, &answer).map_err(|error| cannot_keep(&error))?;
    }
    archive.map(|archive| (digest, archive)).map_err(|error| cannot_keep(&error))
}
