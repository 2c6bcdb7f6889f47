//! `oclock build`: the image, offline from the lockfile.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::base::{base_config, manifest_of, sealed_layers};
use super::error::OpsError;
use super::fetch::{Want, ensure_artifacts};
use super::room::RoomOptions;
use super::secrets::{refuse_in_image, refuse_in_project};
use super::session::{Session, platform_of};
use super::source_builds::{built_wheels, ensure_built};
use super::staged::Staged;
use super::store_gc::collect_after_build;
use crate::assemble::files::read_project;
use crate::assemble::{AssembleError, BaseConfig, BaseImage, Context, ContextRequest, assemble};
use crate::audit::secrets::Secrets;
use crate::base::fs::write_atomically;
use crate::base::progress::Progress;
use crate::engine::{self, BuildRequest, BuiltRoot, Engine, EngineChoice, EngineError, Results, StepOutcome};
use crate::image::{
    self, EncodedManifest, Encoding, ImageConfig, Origin, SealBase, SealRequest, SealedImage, SealedLayer,
};
use crate::lock::{self, ImagePin, Lockfile, SealPin, render_lockfile};
use crate::manifest::Manifest;
use crate::model::{Hasher, LayerCompression, Platform, Sha256};
use crate::store::Store;
use crate::template::Rendered;

/// Whether the result is written into the lockfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// The result must be the recorded one, where there is one.
    Compare,
    /// The result is recorded.
    Write,
}

/// Whether a kept image of the same inputs will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Yes.
    Allowed,
    /// Run every step again.
    Refused,
}

/// Which names the image gets in the local engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loading {
    /// None: it is not loaded.
    Nothing,
    /// The manifest's name and tags.
    Manifest,
    /// These.
    Tags(Vec<String>),
}

/// Where else the image goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageOutput {
    /// An OCI layout directory.
    OciLayout(PathBuf),
    /// One file that `docker load` takes.
    DockerArchive(PathBuf),
    /// A directory with manifest, config and layers, as skopeo's `dir:`.
    Directory(PathBuf),
}

impl ImageOutput {
    /// Reads `oci:DIR`, `docker-archive:FILE` or `dir:DIR`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(text: &str) -> Result<Self, OpsError> {
        match text.split_once(':') {
            Some((_, "")) | None => Err(OpsError::Output { text: text.to_owned() }),
            Some(("oci", path)) => Ok(Self::OciLayout(path.into())),
            Some(("docker-archive", path)) => Ok(Self::DockerArchive(path.into())),
            Some(("dir", path)) => Ok(Self::Directory(path.into())),
            Some(_) => Err(OpsError::Output { text: text.to_owned() }),
        }
    }
}

/// How to build.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// The platform; the lock's first when not given.
    pub platform: Option<Platform>,
    /// The engine.
    pub engine: EngineChoice,
    /// Names in the local engine.
    pub loading: Loading,
    /// Other places.
    pub outputs: Vec<ImageOutput>,
    /// Compare with the lockfile or write to it.
    pub recording: Recording,
    /// Whether a kept image will do.
    pub reuse: Reuse,
    /// Whether the manifest digest is wanted although nothing is written out.
    pub digest: WantDigest,
    /// How many of the RUN steps are carried out; for finding out what a step makes.
    pub steps: Steps,
    /// Time limit for the engine.
    pub limit: Duration,
    /// Bytes of memory that a step may have in the built-in engine.
    pub memory: Option<u64>,
}

/// How many of the RUN steps are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// All of them.
    All,
    /// The first ones.
    First(usize),
}

/// Whether the manifest digest, which needs compression, is worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantDigest {
    /// Yes.
    Yes,
    /// Only where something else needs it.
    IfNeeded,
}

/// What was built.
#[derive(Clone, Debug, serde::Serialize)]
pub struct BuildOutcome {
    /// The image ID.
    pub id: Sha256,
    /// The manifest digest, where it was worked out.
    pub digest: Option<Sha256>,
    /// The context's digest.
    pub context: Sha256,
    /// The engine that ran the steps; none when a kept image was the answer.
    pub engine: Option<String>,
    /// What was done with each RUN step, where the built-in engine carried them out.
    pub steps: Vec<StepOutcome>,
    /// The names it was loaded under.
    pub loaded: Vec<String>,
}

/// Manifest, lockfile and template, read and found to agree.
pub(super) struct Prepared {
    pub manifest: Manifest,
    pub lock: Lockfile,
    pub platform: Platform,
    pub rendered: Rendered,
}

pub(super) fn prepare(session: &Session, platform: Option<Platform>) -> Result<Prepared, OpsError> {
    let file = session.manifest()?;
    let lock = session.lock()?;
    let drifts = lock::check(&file.manifest, &lock);
    if !drifts.is_empty() {
        return Err(OpsError::drifted(&file, drifts));
    }
    check_seal(&file.manifest, &lock)?;
    let platform = platform_of(platform, &lock)?;
    let rendered = session.rendered(&file.manifest, &lock, platform)?;
    Ok(Prepared { manifest: file.manifest, lock, platform, rendered })
}

/// The rules and the encoder that this program seals a manifest's image with.
pub(super) fn seal_of(manifest: &Manifest) -> SealPin {
    SealPin { rules: image::rules_digest(), encoder: image::encoder(manifest.image.compression).to_owned() }
}

/// The rules that a lock was made for must be this program's: others would give another image.
pub(super) fn check_seal(manifest: &Manifest, lock: &Lockfile) -> Result<(), OpsError> {
    let own = seal_of(manifest);
    if lock.seal == own { Ok(()) } else { Err(OpsError::OtherSeal { locked: lock.seal.clone(), own }) }
}

impl Prepared {
    pub(super) fn assemble(&self, session: &Session) -> Result<Context, OpsError> {
        Ok(self.assemble_with_secrets(session, RoomOptions::with(EngineChoice::Auto))?.0)
    }

    /// The context, and the secrets of the project that waivers excuse.
    fn assemble_with_secrets(&self, session: &Session, rooms: RoomOptions) -> Result<(Context, Secrets), OpsError> {
        let copies = &self.rendered.instructions.copies;
        let project = read_project(&session.paths.context(), copies).map_err(AssembleError::from)?;
        let secrets = refuse_in_project(session, self, &project)?;
        ensure_artifacts(session, &self.manifest, &self.lock, Want::Artifacts)?;
        ensure_built(session, &self.manifest, &self.lock, self.platform, rooms)?;
        let phase = session.progress.spinner("assembling the context");
        let context = assemble(&ContextRequest {
            manifest: &self.manifest,
            lock: &self.lock,
            platform: self.platform,
            rendered: &self.rendered,
            project: &project,
            store: &session.store,
        })?;
        phase.finish(&context.digest().short());
        Ok((context, secrets))
    }
}

/// Builds the image, compares it with the recorded one, loads and writes it where asked.
///
/// # Errors
/// When artifacts are missing, no engine is usable, a step fails, or another image comes out than recorded.
pub fn build(session: &Session, options: &BuildOptions) -> Result<BuildOutcome, OpsError> {
    let mut prepared = prepare(session, options.platform)?;
    if let Steps::First(number) = options.steps {
        prepared.rendered.text = engine::containerfile::with_run_steps(&prepared.rendered.text, number)
            .map_err(crate::engine::EngineError::from)?;
    }
    let base = base_config(session, &prepared.manifest, &prepared.lock, prepared.platform)?;
    let config = match &base {
        Some(base) => image::config_on(&prepared.rendered.text, image::inherited_config(&base.runtime)?)?,
        None => image::config_of(&prepared.rendered.text)?,
    };
    image::manifest_format(prepared.manifest.image.compression, config.healthcheck.is_some())?;
    let rooms = RoomOptions {
        engine: options.engine,
        limit: options.limit,
        memory: options.memory,
        results: results_of(options.reuse),
    };
    let (context, secrets) = prepared.assemble_with_secrets(session, rooms)?;
    let recorded = prepared.lock.images.get(&prepared.platform).copied();
    let expected = recorded.filter(|_| options.recording == Recording::Compare);
    check_files(expected, &context)?;
    let mut builder = Builder {
        session,
        options,
        prepared: &prepared,
        base,
        config: &config,
        context: &context,
        engine: None,
        steps: Vec::new(),
        kept: Vec::new(),
        keeper: None,
    };
    builder.check_names()?;
    let image = builder.image()?;
    refuse_in_image(session, &prepared, &context, &secrets, &image)?;
    check_image(session, expected, &image)?;
    let digest = builder.digest(&image, expected)?;
    builder.write_outputs(&image)?;
    let loaded = builder.load(&image)?;
    if options.recording == Recording::Write {
        let digest = digest.ok_or(OpsError::NoPlatform)?;
        record(session, &prepared, ImagePin { id: image.id, digest, context: context.digest() })?;
    }
    let in_use = builder.in_use(&image);
    session.store.mark_used(&in_use);
    if builder.engine.is_some() {
        collect_after_build(session, &in_use)?;
    }
    let engine = builder.engine.map(|engine| format!("{} {}", engine.name(), engine.version()));
    Ok(BuildOutcome { id: image.id, digest, context: context.digest(), engine, steps: builder.steps, loaded })
}

struct Builder<'a> {
    session: &'a Session,
    options: &'a BuildOptions,
    prepared: &'a Prepared,
    /// The config of the base image.
    base: Option<BaseConfig>,
    config: &'a ImageConfig,
    context: &'a Context,
    /// What ran the steps.
    engine: Option<Box<dyn Engine>>,
    /// What was done with each RUN step.
    steps: Vec<StepOutcome>,
    /// The archives of results that were kept.
    kept: Vec<Sha256>,
    /// What holds the image, where that is another one.
    keeper: Option<Box<dyn Engine>>,
}

fn results_of(reuse: Reuse) -> Results {
    match reuse {
        Reuse::Allowed => Results::Used,
        Reuse::Refused => Results::Made,
    }
}

/// What came of carrying out the steps.
enum Ran {
    Image(SealedImage),
    /// A kept result was damaged; without it the next try makes it anew.
    Again,
}

/// How many differing paths an error names.
const SHOWN: usize = 20;
const MEMO: &str = "image";
/// Where an image is remembered by its own ID.
const MEMO_BY_ID: &str = "image-by-id";
/// Raised whenever the same root filesystem would be sealed to other bytes; a lockfile format of its own then.
const SEAL_VERSION: &str = "2";

impl Builder<'_> {
    /// The kept image of the same inputs, or a new one.
    fn image(&mut self) -> Result<SealedImage, OpsError> {
        let question = self.question();
        if self.options.reuse == Reuse::Allowed
            && let Some(image) = self.kept(&question)
        {
            return Ok(image);
        }
        let image = self.run()?;
        let answer = serde_json::to_vec(&image).unwrap_or_default();
        self.session.store.set_memo(MEMO, &question, &answer)?;
        self.session.store.set_memo(MEMO_BY_ID, &image.id, &answer)?;
        Ok(image)
    }

    /// What a build needs again is of use, although nothing of it was read.
    fn in_use(&self, image: &SealedImage) -> BTreeSet<Sha256> {
        let layers = image.layers.iter().map(|layer| layer.diff_id).chain([image.id]);
        let of_base = image.layers.iter().filter_map(|layer| layer.blob.as_ref()).map(|base| base.blob.digest);
        let pins = self.prepared.lock.pins().filter(|pin| pin.platform == self.prepared.platform);
        let artifacts = pins.map(|pin| pin.artifact.sha256);
        let steps = self.kept.iter().copied();
        let wheels = built_wheels(&self.prepared.lock, self.prepared.platform).copied();
        layers.chain(of_base).chain(artifacts).chain(wheels).chain(self.context.package_tars()).chain(steps).collect()
    }

    fn question(&self) -> Sha256 {
        let mut hasher = Hasher::default();
        hasher.field(self.context.digest().as_bytes());
        hasher.field(image::rules_digest().as_bytes());
        hasher.field(self.prepared.lock.epoch.to_string());
        hasher.field(SEAL_VERSION);
        if let Some(base) = manifest_of(&self.prepared.lock.base, self.prepared.platform) {
            hasher.field(base.digest.as_bytes());
        }
        hasher.finish()
    }

    fn kept(&self, question: &Sha256) -> Option<SealedImage> {
        let image: SealedImage = serde_json::from_slice(&self.session.store.memo(MEMO, question)?).ok()?;
        is_whole(&image, &self.session.store).then_some(image)
    }

    fn run(&mut self) -> Result<SealedImage, OpsError> {
        engine::ensure_runs(self.prepared.platform, &self.session.environment)?;
        let engine = engine::find(self.options.engine, &self.session.environment)?;
        let scratch = self.session.scratch("build-")?;
        let staged = Staged::new(self.context, &*engine, scratch.path(), self.session)?;
        let request = staged.request(self.options.limit, self.options.memory, results_of(self.options.reuse));
        // Each time there is one damaged result less.
        let image = loop {
            if let Ran::Image(image) = self.run_once(&*engine, &request)? {
                break image;
            }
        };
        self.engine = Some(engine);
        Ok(image)
    }

    /// Carries out the steps and seals what they made. What was kept of an earlier build and turns out to be damaged is
    /// dropped.
    fn run_once(&mut self, engine: &dyn Engine, request: &BuildRequest<'_>) -> Result<Ran, OpsError> {
        let progress = self.session.progress.clone();
        let phase = progress.spinner(&format!("building with {}", engine.name()));
        let built = engine.build(request, &mut |line| tracing::debug!("{line}"));
        let root = match built {
            Ok(root) => root,
            Err(error) => {
                self.context.verify_blobs(&self.session.store)?;
                return Err(error.into());
            }
        };
        phase.finish(engine.version());
        root.notes.iter().for_each(|note| progress.say(note));
        let origins = self.origins();
        let seal = SealRequest {
            epoch: self.prepared.lock.epoch,
            platform: self.prepared.platform,
            config: self.config,
            origins: &origins,
            encoding: if self.needs_encoding() { Encoding::Now(self.compression()) } else { Encoding::Later },
        };
        let error = match self.seal(&root, &seal, &progress) {
            Ok(image) => {
                self.steps.clone_from(&root.steps);
                self.kept.clone_from(&root.kept);
                return Ok(Ran::Image(image));
            }
            Err(error) => error,
        };
        let dropped = engine::drop_damaged(&self.session.store, &root.kept)?;
        if dropped.is_empty() {
            self.context.verify_blobs(&self.session.store)?;
            return Err(error);
        }
        dropped.iter().for_each(|note| progress.say(note));
        Ok(Ran::Again)
    }

    fn seal(&self, root: &BuiltRoot, request: &SealRequest<'_>, progress: &Progress) -> Result<SealedImage, OpsError> {
        let store = &self.session.store;
        let (pinned, config) = (manifest_of(&self.prepared.lock.base, self.prepared.platform), &self.base);
        let (Some(pinned), Some(config)) = (pinned, config) else {
            return Ok(image::seal(root, request, store, progress)?);
        };
        let tree = BaseImage::read(pinned, store)?.tree;
        let layers = sealed_layers(pinned, store)?;
        let base = SealBase { tree: &tree, layers: &layers, history: &config.history };
        Ok(image::seal_on(&base, root, request, store, progress)?)
    }

    fn origins(&self) -> Vec<Origin> {
        let origin = |name: &str, roots: &[String]| Origin { name: name.to_owned(), roots: roots.to_vec() };
        vec![
            origin("files", &self.context.file_roots),
            origin(image::NPM_LAYER, &self.context.npm_roots),
            origin(image::PIP_LAYER, &self.context.pip_roots),
        ]
    }

    fn digest(&self, image: &SealedImage, expected: Option<ImagePin>) -> Result<Option<Sha256>, OpsError> {
        if !self.needs_encoding() {
            return Ok(None);
        }
        let digest = self.manifest_of(image)?.digest;
        match expected {
            Some(pin) if pin.digest != digest => {
                Err(OpsError::OtherImage { recorded: pin.digest, found: digest, differences: Vec::new() })
            }
            _ => Ok(Some(digest)),
        }
    }

    fn compression(&self) -> LayerCompression {
        self.prepared.manifest.image.compression
    }

    fn manifest_of(&self, image: &SealedImage) -> Result<EncodedManifest, OpsError> {
        Ok(image::manifest_of(image, self.compression(), &self.session.store, &self.session.progress)?)
    }

    /// Whether compressed layers are needed, for the manifest's digest or to be written out.
    fn needs_encoding(&self) -> bool {
        self.options.digest == WantDigest::Yes || self.options.recording == Recording::Write || self.writes_compressed()
    }

    fn writes_compressed(&self) -> bool {
        self.options.outputs.iter().any(|output| !matches!(output, ImageOutput::DockerArchive(_)))
    }

    fn write_outputs(&self, image: &SealedImage) -> Result<(), OpsError> {
        let store = &self.session.store;
        for output in &self.options.outputs {
            match output {
                ImageOutput::OciLayout(path) => {
                    let manifest = self.manifest_of(image)?;
                    image::write_oci(path, &manifest, self.prepared.platform, &self.names(), store)?;
                }
                ImageOutput::DockerArchive(path) => image::write_docker_archive(path, image, &self.names(), store)?,
                ImageOutput::Directory(path) => {
                    image::write_directory(path, &self.manifest_of(image)?, store)?;
                }
            }
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        match &self.options.loading {
            Loading::Tags(tags) => tags.clone(),
            Loading::Nothing | Loading::Manifest => {
                let section = &self.prepared.manifest.image;
                section.tags.iter().map(|tag| format!("{}:{tag}", section.name)).collect()
            }
        }
    }

    /// Names that were asked for must have a place: found out before anything is built.
    fn check_names(&mut self) -> Result<(), OpsError> {
        let Loading::Tags(names) = &self.options.loading else { return Ok(()) };
        match engine::find_keeper(self.options.engine, &self.session.environment) {
            Ok(keeper) => self.keeper = Some(keeper),
            Err(EngineError::NoneUsable { tried }) => {
                return Err(EngineError::NoKeeper { name: names.join("`, `"), tried }.into());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The engine that holds the user's images; none where only the built-in one is to be had.
    fn find_keeper(&self) -> Result<Option<Box<dyn Engine>>, OpsError> {
        match engine::find_keeper(self.options.engine, &self.session.environment) {
            Ok(keeper) => Ok(Some(keeper)),
            Err(EngineError::NoneUsable { .. })
                if matches!(self.options.engine, EngineChoice::Auto | EngineChoice::Native) =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn load(&mut self, image: &SealedImage) -> Result<Vec<String>, OpsError> {
        if self.options.loading == Loading::Nothing {
            return Ok(Vec::new());
        }
        let names = self.names();
        let is_kept_by_builder = self.engine.as_ref().is_some_and(|engine| engine.keeps_images());
        if !is_kept_by_builder && self.keeper.is_none() {
            self.keeper = self.find_keeper()?;
        }
        let Some(keeper) = (if is_kept_by_builder { &self.engine } else { &self.keeper }) else {
            self.session.progress.say(
                "kept in the store; no buildah or docker here takes it (`-o docker-archive:FILE` or `-o oci:DIR` writes it out)",
            );
            return Ok(Vec::new());
        };
        if !keeper.has_image(&image.id, &names) {
            let scratch = self.session.scratch("load-")?;
            let archive = scratch.path().join("image.tar");
            image::write_docker_archive(&archive, image, &[], &self.session.store)?;
            keeper.load(&archive, &names)?;
        }
        Ok(names)
    }
}

fn check_files(expected: Option<ImagePin>, context: &Context) -> Result<(), OpsError> {
    match expected {
        Some(pin) if pin.context != context.digest() => {
            Err(OpsError::FilesChanged { recorded: pin.context, found: context.digest() })
        }
        _ => Ok(()),
    }
}

fn check_image(session: &Session, expected: Option<ImagePin>, image: &SealedImage) -> Result<(), OpsError> {
    let Some(pin) = expected.filter(|pin| pin.id != image.id) else { return Ok(()) };
    let differences = match kept_by_id(&pin.id, &session.store) {
        Some(recorded) => {
            let found = image::compare(&recorded, image, &session.store)?;
            let mut lines: Vec<String> = found.iter().take(SHOWN).map(ToString::to_string).collect();
            if found.len() > SHOWN {
                let (more, ids) = (found.len() - SHOWN, [pin.id.prefixed(), image.id.prefixed()].join(" "));
                lines.push(format!("and {more} more: `oclock diff --image {ids}` names them all"));
            }
            lines
        }
        None => vec!["the recorded image is not in the store, so its files cannot be compared".to_owned()],
    };
    Err(OpsError::OtherImage { recorded: pin.id, found: image.id, differences })
}

/// The image of an ID, as it was kept when it was built.
pub(super) fn kept_by_id(id: &Sha256, store: &Store) -> Option<SealedImage> {
    let image: SealedImage = serde_json::from_slice(&store.memo(MEMO_BY_ID, id)?).ok()?;
    is_whole(&image, store).then_some(image)
}

fn is_whole(image: &SealedImage, store: &Store) -> bool {
    let is_kept = |layer: &SealedLayer| {
        store.contains(&layer.diff_id) && layer.blob.is_none_or(|base| store.contains(&base.blob.digest))
    };
    store.contains(&image.id) && image.layers.iter().all(is_kept)
}

fn record(session: &Session, prepared: &Prepared, pin: ImagePin) -> Result<(), OpsError> {
    let mut lock = prepared.lock.clone();
    if lock.images.insert(prepared.platform, pin) != Some(pin) {
        write_atomically(&session.paths.lockfile, render_lockfile(&lock).as_bytes())?;
    }
    Ok(())
}
