//! The room in which a source distribution is built: the root filesystem that the image's Debian packages or base image
//! give, an environment of the locked build requirements, and the source. It is an image of oclock's own, with a manifest, a
//! lock and a template made for it, so that every engine builds in it offline; what is taken from it is the wheel alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::base::{base_config, inherited, manifest_of};
use super::build::seal_of;
use super::error::OpsError;
use super::fetch::{Want, ensure_artifacts};
use super::session::Session;
use super::staged::Staged;
use crate::assemble::files::read_project;
use crate::assemble::pip::{CanonicalWheel, canonical_wheel};
use crate::assemble::{AssembleError, Context, ContextRequest, assemble};
use crate::base::fs::{FsError, ensure_directory, link_or_copy, write_atomically};
use crate::engine::{self, Engine, EngineChoice, Results};
use crate::image::{Entry, Node, Tree};
use crate::lock::{AptPin, ArchivePin, BasePin, BuiltWheel, Lockfile, PipPin, fingerprints};
use crate::manifest::{Manifest, NpmSection, PipSection};
use crate::model::{Hasher, Platform, Sha256};
use crate::resolve::pip::{UnbuiltSource, build_system};
use crate::template;

/// Where everything is that a room has beyond the image's own packages.
const PLACE: &str = "oclock-build";
/// What runs inside.
const DRIVER: &str = include_str!("build.py");
/// Raised whenever the same inputs could be built to another wheel.
const ROOM_VERSION: &str = "1";
/// The kind of memo that remembers what the inputs of a room were built to.
const MEMO: &str = "built-wheel";
/// The largest wheel that is taken from a room, in bytes.
const WHEEL_LIMIT: u64 = 1 << 30;
/// The longest that a build may take where nothing else is said.
const USUAL_LIMIT: Duration = Duration::from_secs(1800);

/// How rooms are carried out.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoomOptions {
    /// The engine.
    pub engine: EngineChoice,
    /// Time limit for one build.
    pub limit: Duration,
    /// Bytes of memory that it may have in the built-in engine.
    pub memory: Option<u64>,
    /// Whether kept results of its steps will do.
    pub results: Results,
}

impl RoomOptions {
    /// With an engine, and all else as usual.
    pub(super) fn with(engine: EngineChoice) -> Self {
        Self { engine, limit: USUAL_LIMIT, memory: None, results: Results::Used }
    }
}

/// What is built, and with what.
#[derive(Clone, Copy)]
pub(super) struct Room<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) platform: Platform,
    pub(super) base: &'a BasePin,
    /// The archives that the Debian packages come from.
    pub(super) archives: &'a [ArchivePin],
    /// The Debian packages of the image.
    pub(super) apt: &'a [AptPin],
    /// The time of the room's files; no wheel depends on it.
    pub(super) epoch: i64,
    /// The source distribution.
    pub(super) source: &'a UnbuiltSource,
    /// The wheels that it is built with.
    pub(super) requires: &'a [PipPin],
}

/// What came of a build.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A wheel, which is in the store.
    Wheel(BuiltWheel),
    /// The backend needs these too.
    Requires(Vec<String>),
}

impl Room<'_> {
    /// What the wheel depends on, as one digest.
    fn question(&self) -> Sha256 {
        let mut hasher = Hasher::default();
        for field in ["oclock room", ROOM_VERSION, DRIVER, &self.platform.to_string()] {
            hasher.field(field);
        }
        hasher.field(self.source.artifact.path.file_name());
        hasher.field(self.source.artifact.sha256.as_bytes());
        hasher.field(self.manifest.pip.python.as_deref().unwrap_or_default());
        let layers = manifest_of(self.base, self.platform).into_iter().flat_map(|base| &base.layers);
        layers.for_each(|layer| hasher.field(layer.diff_id.as_bytes()));
        hasher.field("apt");
        self.debian().for_each(|pin| hasher.field(pin.artifact.sha256.as_bytes()));
        hasher.field("pip");
        self.requires.iter().for_each(|pin| hasher.field(pin.artifact.sha256.as_bytes()));
        hasher.finish()
    }

    fn debian(&self) -> impl Iterator<Item = &AptPin> {
        self.apt.iter().filter(|pin| pin.platform == self.platform)
    }

    /// What these inputs were built to on this machine before, where that is known.
    pub(super) fn remembered(&self, session: &Session) -> Option<BuiltWheel> {
        serde_json::from_slice(&session.store.memo(MEMO, &self.question())?).ok()
    }

    /// Builds the wheel `rounds` times, unless the same inputs were built before and it is still there.
    ///
    /// # Errors
    /// When the build fails, or gives another wheel each time.
    pub(super) fn build_or_recall(
        &self,
        session: &Session,
        options: RoomOptions,
        rounds: usize,
    ) -> Result<Outcome, OpsError> {
        match self.remembered(session).filter(|wheel| session.store.contains(&wheel.sha256)) {
            Some(wheel) => Ok(Outcome::Wheel(wheel)),
            None => self.build(session, options, rounds),
        }
    }

    /// Builds the wheel `rounds` times from nothing.
    ///
    /// # Errors
    /// As [`build_or_recall`](Self::build_or_recall).
    pub(super) fn build(&self, session: &Session, options: RoomOptions, rounds: usize) -> Result<Outcome, OpsError> {
        let failed = |source| OpsError::SourceBuild { label: self.source.label(), source: Box::new(source) };
        engine::ensure_runs(self.platform, &session.environment).map_err(failed)?;
        let engine = engine::find(options.engine, &session.environment).map_err(failed)?;
        let scratch = session.scratch("room-")?;
        let context = self.context(session, &scratch.path().join("project"), rounds)?;
        let phase = session.progress.spinner(&format!("building {} from source", self.source.label()));
        let root = self.carry_out(session, &*engine, &context, scratch.path(), options)?;
        let outcome = self.outcome(session, &root, scratch.path(), rounds)?;
        phase.finish(engine.name());
        Ok(outcome)
    }

    /// The room's context, from a project that is written for it.
    fn context(&self, session: &Session, directory: &Path, rounds: usize) -> Result<Context, OpsError> {
        let (manifest, lock) = (self.own_manifest(), self.own_lock());
        ensure_artifacts(session, &manifest, &lock, Want::Artifacts)?;
        let artifact = &self.source.artifact;
        let file = artifact.path.file_name();
        let system = build_system(session.store.open_blob(&artifact.sha256)?, file);
        let system = system.map_err(|why| OpsError::BadSource { label: self.source.label(), why })?;
        let asked = json!({
            "file": file, "rounds": rounds, "backend": system.backend, "backend-path": system.backend_path,
        });
        let own = directory.join(PLACE);
        ensure_directory(&own.join("source"))?;
        write_atomically(&own.join("build.py"), DRIVER.as_bytes())?;
        write_atomically(&own.join("build.json"), asked.to_string().as_bytes())?;
        link_or_copy(&session.store.blob_path(&artifact.sha256), &own.join("source").join(file))?;
        let base = base_config(session, &manifest, &lock, self.platform)?;
        let template = self.template();
        let rendered = template::render_on(&template, &manifest, &lock, self.platform, &inherited(base.as_ref()))?;
        let project = read_project(directory, &rendered.instructions.copies).map_err(AssembleError::from)?;
        let (platform, store) = (self.platform, &session.store);
        let request = ContextRequest {
            manifest: &manifest,
            lock: &lock,
            platform,
            rendered: &rendered,
            project: &project,
            store,
        };
        Ok(assemble(&request)?)
    }

    fn template(&self) -> String {
        let python = if self.requires.is_empty() { "python3" } else { &format!("/{PLACE}/env/bin/python") };
        format!(
            "FROM {{{{ base }}}}\n{{{{ apt.install }}}}\n{{{{ pip.install }}}}\nCOPY {PLACE}/ /{PLACE}/\nUSER 0\nRUN {python} /{PLACE}/build.py\n"
        )
    }

    fn own_manifest(&self) -> Manifest {
        let pip = PipSection {
            path: format!("/{PLACE}/env"),
            python: self.manifest.pip.python.clone(),
            ..PipSection::default()
        };
        Manifest { npm: NpmSection::default(), pip, ..self.manifest.clone() }
    }

    fn own_lock(&self) -> Lockfile {
        Lockfile {
            epoch: self.epoch,
            platforms: vec![self.platform],
            fingerprints: fingerprints(self.manifest),
            seal: seal_of(self.manifest),
            base: self.base.clone(),
            archives: self.archives.to_vec(),
            apt: self.debian().cloned().collect(),
            npm: Vec::new(),
            pip: self.requires.to_vec(),
            pip_builds: Vec::new(),
            images: BTreeMap::new(),
        }
    }

    fn carry_out(
        &self,
        session: &Session,
        engine: &dyn Engine,
        context: &Context,
        scratch: &Path,
        options: RoomOptions,
    ) -> Result<engine::BuiltRoot, OpsError> {
        let staged = Staged::new(context, engine, scratch, session)?;
        let request = staged.request(options.limit, options.memory, options.results);
        let built = engine.build(&request, &mut |line| tracing::debug!("{line}"));
        built.map_err(|source| OpsError::SourceBuild { label: self.source.label(), source: Box::new(source) })
    }

    /// Takes what was built from the root filesystem.
    fn outcome(
        &self,
        session: &Session,
        root: &engine::BuiltRoot,
        scratch: &Path,
        rounds: usize,
    ) -> Result<Outcome, OpsError> {
        let tree = Tree::read(root)?;
        let bad = |why: String| OpsError::BadSource { label: self.source.label(), why };
        if let Some(entry) = tree.get(Path::new(PLACE).join("requires.json").as_path()) {
            let text = content(entry).map_err(|error| bad(error.to_string()))?;
            let more = serde_json::from_slice(&text);
            return more.map(Outcome::Requires).map_err(|error| bad(error.to_string()));
        }
        let mut wheels = Vec::new();
        for round in 0..rounds {
            let directory = Path::new(PLACE).join("out").join(round.to_string());
            let found: Vec<&Path> =
                tree.children(&directory).filter(|path| path.extension().is_some_and(|end| end == "whl")).collect();
            let [path] = found[..] else { return Err(bad("its backend made no wheel, or several".to_owned())) };
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let entry = tree.get(path).ok_or_else(|| bad("its backend made no wheel".to_owned()))?;
            let bytes = content(entry).map_err(|error| bad(error.to_string()))?;
            let raw = scratch.join("wheel");
            write_atomically(&raw, &bytes)?;
            let file = std::fs::File::open(&raw).map_err(FsError::new("read", &raw))?;
            let wheel = canonical_wheel(file, &name).map_err(AssembleError::from)?;
            wheels.push((name, wheel));
        }
        let Some((name, wheel)) = wheels.pop() else { return Err(bad("its backend made no wheel".to_owned())) };
        if let Some(other) = wheels.iter().find(|other| **other != (name.clone(), wheel.clone())) {
            let files = differing(&other.1, &wheel);
            return Err(OpsError::UnsteadyBuild { label: self.source.label(), files });
        }
        self.keep(session, name, &wheel)
    }

    fn keep(&self, session: &Session, file: String, wheel: &CanonicalWheel) -> Result<Outcome, OpsError> {
        let sha256 = session.store.add_blob(&wheel.bytes)?;
        let built = BuiltWheel { file, size: wheel.bytes.len() as u64, sha256 };
        session.store.set_memo(MEMO, &self.question(), &serde_json::to_vec(&built).unwrap_or_default())?;
        Ok(Outcome::Wheel(built))
    }
}

/// A file's content, when it is one and not too large.
fn content(entry: &Entry) -> std::io::Result<Vec<u8>> {
    match &entry.node {
        Node::File { size, content } if *size <= WHEEL_LIMIT => content.with_reader(*size, |reader| {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes)?;
            Ok(bytes)
        }),
        _ => Err(std::io::Error::other("what its backend made is no file, or one of more than 1 GiB")),
    }
}

/// The files in which two builds differ; all else that does is the name.
fn differing(one: &CanonicalWheel, other: &CanonicalWheel) -> Vec<String> {
    let names = one.files.keys().chain(other.files.keys()).collect::<std::collections::BTreeSet<_>>();
    let differs = |name: &&String| one.files.get(*name) != other.files.get(*name);
    let files: Vec<String> = names.into_iter().filter(differs).cloned().collect();
    if files.is_empty() { vec!["the wheel's name, or a file's mode".to_owned()] } else { files }
}
