//! What a verb can fail with: what the parts say, and a few things of its own.

use std::path::PathBuf;

use super::import::ImportError;
use super::revision::RevisionError;
use super::secrets::SecretsFound;
use crate::assemble::{AssembleError, BaseImageError};
use crate::attest::AttestError;
use crate::audit::Finding;
use crate::audit::secrets::SecretsError;
use crate::base::explain::{Excerpt, Explain, Kind};
use crate::base::fs::FsError;
use crate::base::http::HttpError;
use crate::base::process::ProcessError;
use crate::base::text::sanitize;
use crate::engine::EngineError;
use crate::fetch::FetchError;
use crate::image::{ConfigError, InspectError, SealError};
use crate::lock::{BuiltWheel, Drift, LockError, SealPin};
use crate::manifest::{ManifestError, ManifestFile};
use crate::model::{Platform, Sha256};
use crate::resolve::apt::AptError;
use crate::resolve::image::ImageError;
use crate::resolve::npm::NpmError;
use crate::resolve::pip::PipError;
use crate::source::{SourceError, show_moment};
use crate::store::StoreError;
use crate::template::TemplateError;

/// Why a verb did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// No manifest.
    #[error("there is no `{}`", path.display())]
    NoManifest {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// No lockfile.
    #[error("there is no `{}`", path.display())]
    NoLock {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// No template.
    #[error("there is no `Containerfile.in`")]
    NoTemplate {
        /// The system's answer.
        #[source]
        source: FsError,
    },
    /// Neither `--store` nor a home directory.
    #[error("there is no place for the store")]
    NoStore,
    /// Blobs can only be removed while nobody uses them.
    #[error("the store is in use by another oclock")]
    StoreInUse,
    /// A lock without platforms.
    #[error("the lockfile has no platform")]
    NoPlatform,
    /// A platform that is not in the lock.
    #[error("the lockfile has no pins for `{platform}`")]
    PlatformNotLocked {
        /// The platform.
        platform: Platform,
    },
    /// The lock does not answer the manifest.
    #[error("`lockfile.toml` no longer answers `oclock.toml`")]
    Drifted {
        /// Every disagreement.
        drifts: Vec<Drift>,
        /// Where the first one stands in the manifest.
        excerpt: Option<Box<Excerpt>>,
    },
    /// The lock was made for other rules than this program's.
    #[error("`lockfile.toml` was made for another seal than this oclock has")]
    OtherSeal {
        /// What the lock says.
        locked: SealPin,
        /// What this program does.
        own: SealPin,
    },
    /// A file that `init` would overwrite.
    #[error("`{}` is already there", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file of imported versions is none.
    #[error("`{}` cannot be read: {}", path.display(), sanitize(why))]
    Imported {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A version has other bytes than an imported lock names.
    #[error("`{}` has other bytes than the imported lock names", sanitize(label))]
    ImportedBytes {
        /// The version.
        label: String,
        /// The hashes in the lock.
        promised: Vec<String>,
        /// The hash of what was chosen.
        found: String,
    },
    /// The project's own files are not those that the recorded image was built from.
    #[error("the project's files are not those of the recorded image")]
    FilesChanged {
        /// The recorded context.
        recorded: Sha256,
        /// The context now.
        found: Sha256,
    },
    /// The build gave another image than the recorded one.
    #[error("the build gave another image than the lockfile records")]
    OtherImage {
        /// The recorded ID.
        recorded: Sha256,
        /// The ID now.
        found: Sha256,
        /// The first differing files, when both images are at hand.
        differences: Vec<String>,
    },
    /// A version that is needed and that no pin says.
    #[error("which {what} the image will have is not known")]
    UnknownTarget {
        /// `Python`, `Node`, `time` or `Debian suite`.
        what: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A time in the future.
    #[error("the epoch {epoch} is after this machine's clock")]
    EpochAhead {
        /// Seconds since 1970.
        epoch: i64,
    },
    /// A format that a command does not have.
    #[error("this command does not write `{asked}`")]
    Format {
        /// What was asked.
        asked: String,
        /// What it has.
        offered: Vec<String>,
    },
    /// A moment in the future, as of which nothing is known.
    #[error("{} is after this machine's clock", show_moment(*moment))]
    AsOfAhead {
        /// Seconds since 1970.
        moment: i64,
    },
    /// An output that is not known.
    #[error("`{text}` is no output")]
    Output {
        /// What was asked.
        text: String,
    },
    /// A word that names no package.
    #[error("`{}` names no package", sanitize(text))]
    What {
        /// The word.
        text: String,
    },
    /// A package that is not there.
    #[error("neither the lockfile nor the manifest has `{}`", sanitize(text))]
    UnknownWhat {
        /// The package.
        text: String,
        /// One that is there, and may be meant.
        nearest: Option<String>,
    },
    /// Several platforms in an output that holds one.
    #[error("`--all-platforms` writes OCI layouts alone")]
    OnePlatform,
    /// `--precise` for more or less than one package.
    #[error("`--precise` is for exactly one package")]
    Precise,
    /// Pins that shall move, and cannot without the others.
    #[error("what shall move cannot be moved alone")]
    CannotMove {
        /// Which and why, one a line.
        reasons: Vec<String>,
    },
    /// A version that was seen with other bytes before.
    #[error("{}", republished(findings))]
    Republished {
        /// One for each.
        findings: Vec<Finding>,
    },
    /// Pins that a lockfile cannot hold.
    #[error("what was chosen cannot be written as a lockfile: {reason}")]
    Unreadable {
        /// What is wrong with them.
        reason: String,
    },
    /// A root of trust that is none.
    #[error("`{}` is no root of trust of Sigstore: {}", path.display(), sanitize(why))]
    SigstoreRoot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A value of an option that is none.
    #[error(transparent)]
    Asked {
        /// What is wrong with it.
        source: crate::model::ValueError,
    },
    /// A source distribution that cannot be built.
    #[error("`{}` could not be built from source", sanitize(label))]
    SourceBuild {
        /// `pip:docopt 0.6.2`.
        label: String,
        /// What the engine said.
        #[source]
        source: Box<EngineError>,
    },
    /// A source distribution that is none, or whose build gave nothing usable.
    #[error("`{}` cannot be built from source: {}", sanitize(label), sanitize(why))]
    BadSource {
        /// `pip:docopt 0.6.2`.
        label: String,
        /// What is wrong with it.
        why: String,
    },
    /// What a source distribution is built with cannot be had.
    #[error("what `{}` is built with cannot be locked", sanitize(label))]
    BuildRequirements {
        /// `pip:docopt 0.6.2`.
        label: String,
        /// Why.
        #[source]
        source: Box<PipError>,
    },
    /// Building twice gave two wheels.
    #[error("`{}` is built to another wheel each time", sanitize(label))]
    UnsteadyBuild {
        /// `pip:docopt 0.6.2`.
        label: String,
        /// The files that differ.
        files: Vec<String>,
    },
    /// A build gave another wheel than the locked one.
    #[error("`{}` was built to another wheel than was locked", sanitize(label))]
    OtherWheel {
        /// `pip:docopt 0.6.2`.
        label: String,
        /// The locked wheel, and what came out.
        wheels: Box<(BuiltWheel, BuiltWheel)>,
    },
    /// A round of a rebuild that failed.
    #[error("the image could not be built again")]
    Rebuild {
        /// What the round's process said.
        #[source]
        source: ProcessError,
    },
    /// A round of a rebuild whose answer makes no sense.
    #[error("a round of the rebuild gave an answer that cannot be used: {what}")]
    RebuildAnswer {
        /// What is wrong with it.
        what: String,
    },
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The lockfile.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Sources.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry of the base image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The base image.
    #[error(transparent)]
    Base(#[from] BaseImageError),
    /// Files of other tools.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Debian packages.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// npm packages.
    #[error(transparent)]
    Npm(#[from] NpmError),
    /// Python packages.
    #[error(transparent)]
    Pip(#[from] PipError),
    /// Downloads.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The build context.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The image's config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The seal.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// An image that was to be looked into.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// A revision of the project.
    #[error(transparent)]
    Revision(#[from] RevisionError),
    /// Bills of materials, provenance, signatures.
    #[error(transparent)]
    Attest(#[from] AttestError),
    /// Secrets in the project or the image.
    #[error(transparent)]
    SecretsFound(#[from] Box<SecretsFound>),
    /// Looking for secrets.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The file system.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The client.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Who was republished: the only one by name, several by number.
fn republished(findings: &[Finding]) -> String {
    match findings {
        [one] => one.message.clone(),
        _ => format!("{} versions have other bytes than when they were first seen", findings.len()),
    }
}

/// What a failed build may lack, by what it said last.
fn build_hints(said: &[String]) -> Vec<String> {
    let says = |words: &[&str]| said.iter().any(|line| words.iter().any(|word| line.contains(word)));
    let network = ["Temporary failure in name resolution", "Network is unreachable", "Name or service not known"];
    let hint = if says(&["ModuleNotFoundError"]) {
        "it does not name all that it is built with, or is for an older Python: hold build requirements to older versions in `[pip] constraints`, or ask for another version"
    } else if says(&["Python.h"]) {
        "add the headers of Python to `[apt] packages`: `python3-dev`"
    } else if says(&["gcc", "g++", "x86_64-linux-gnu-gcc", "aarch64-linux-gnu-gcc", "No such file or directory: 'c"]) {
        "add a compiler to `[apt] packages`: `gcc`, `libc6-dev` and `python3-dev`, or `build-essential`"
    } else if says(&network) {
        "it wants the network while it is built, and there is none: ask for a version that has a wheel"
    } else {
        "add what it needs to `[apt] packages`, or ask for a version that has a wheel"
    };
    vec![hint.to_owned(), "`-v` shows all that the build says".to_owned()]
}

fn evidence_of(findings: &[Finding]) -> Vec<String> {
    match findings {
        [one] => one.evidence.clone(),
        _ => findings
            .iter()
            .flat_map(|finding| std::iter::once(&finding.message).chain(&finding.evidence))
            .cloned()
            .collect(),
    }
}

impl OpsError {
    /// The lock does not answer the manifest; finds the place of the first disagreement.
    pub fn drifted(file: &ManifestFile, drifts: Vec<Drift>) -> Self {
        let excerpt = drifts.first().and_then(|drift| file.locate_place(&drift.place, &drift.to_string()));
        Self::Drifted { drifts, excerpt: excerpt.map(Box::new) }
    }

    fn inner(&self) -> Option<&dyn Explain> {
        Some(match self {
            Self::Manifest(error) => error,
            Self::Lock(error) => error,
            Self::Template(error) => error,
            Self::Source(error) => error,
            Self::Store(error) => error,
            Self::Image(error) => error,
            Self::Base(error) => error,
            Self::Import(error) => error,
            Self::Apt(error) => error,
            Self::Npm(error) => error,
            Self::Pip(error) => error,
            Self::Fetch(error) => error,
            Self::Assemble(error) => error,
            Self::Engine(error) => error,
            Self::Config(error) => error,
            Self::Seal(error) => error,
            Self::Inspect(error) => error,
            Self::Revision(error) => error,
            Self::Attest(error) => error,
            Self::SecretsFound(error) => error.as_ref(),
            Self::Secrets(error) => error,
            Self::Fs(error) => error,
            Self::Http(error) => error,
            _ => return None,
        })
    }
}

impl Explain for OpsError {
    fn kind(&self) -> Kind {
        match self {
            Self::Drifted { .. } | Self::OtherImage { .. } | Self::FilesChanged { .. } | Self::OtherSeal { .. } => {
                Kind::No
            }
            Self::Republished { .. } | Self::ImportedBytes { .. } | Self::OtherWheel { .. } => Kind::Distrust,
            Self::SourceBuild { source, .. } => source.kind(),
            Self::BuildRequirements { source, .. } => source.kind(),
            Self::BadSource { .. } | Self::UnsteadyBuild { .. } => Kind::Unable,
            Self::Unreadable { .. } | Self::RebuildAnswer { .. } => Kind::Unable,
            Self::Rebuild { source } => source.kind(),
            Self::NoStore | Self::StoreInUse | Self::CannotMove { .. } => Kind::Unable,
            _ => self.inner().map_or(Kind::Asked, Explain::kind),
        }
    }

    fn excerpt(&self) -> Option<Excerpt> {
        match self {
            Self::Drifted { excerpt, .. } => excerpt.as_deref().cloned(),
            _ => self.inner().and_then(Explain::excerpt),
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::Drifted { drifts, excerpt } => {
                drifts.iter().skip(usize::from(excerpt.is_some())).map(ToString::to_string).collect()
            }
            Self::Republished { findings } => evidence_of(findings),
            Self::SourceBuild { source, .. } => source.evidence(),
            Self::BuildRequirements { source, .. } => source.evidence(),
            Self::UnsteadyBuild { files, .. } => {
                files.iter().map(|file| format!("differs  {}", sanitize(file))).collect()
            }
            Self::OtherWheel { wheels, .. } => {
                let line = |word: &str, wheel: &BuiltWheel| {
                    format!("{word}  sha256:{}  {}", wheel.sha256, sanitize(&wheel.file))
                };
                vec![line("locked", &wheels.0), line(" built", &wheels.1)]
            }
            Self::Rebuild { source } => source.evidence(),
            Self::ImportedBytes { promised, found, .. } => {
                let promised = promised.iter().map(|hash| format!("imported  {}", sanitize(hash)));
                promised.chain([format!("  chosen  {found}")]).collect()
            }
            Self::CannotMove { reasons } => reasons.iter().map(|line| sanitize(line)).collect(),
            Self::OtherImage { recorded, found, differences } => {
                let mut lines = vec![format!("recorded  sha256:{recorded}"), format!("   built  sha256:{found}")];
                lines.extend(differences.iter().cloned());
                lines
            }
            Self::OtherSeal { locked, own } => vec![
                format!("  locked  rules sha256:{}  encoder {}", locked.rules.short(), locked.encoder),
                format!("this one  rules sha256:{}  encoder {}", own.rules.short(), own.encoder),
            ],
            Self::FilesChanged { recorded, found } => {
                vec![format!("recorded context  sha256:{recorded}"), format!("     context now  sha256:{found}")]
            }
            _ => self.inner().map(Explain::evidence).unwrap_or_default(),
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::Drifted { .. } => vec!["checked offline; newer releases play no part in this answer".to_owned()],
            Self::OtherImage { .. } | Self::CannotMove { .. } => vec!["the lockfile was left as it was".to_owned()],
            Self::SourceBuild { source, .. } if matches!(**source, EngineError::Step { .. }) => vec![
                "it is built where the image's Debian packages and its locked build requirements are, and nothing else: no network".to_owned(),
            ],
            Self::BuildRequirements { .. } => {
                vec!["a build requirement is taken as a wheel; it is not built itself".to_owned()]
            }
            Self::OtherWheel { .. } => vec!["it was built of what is locked for it; the lockfile was left as it was".to_owned()],
            Self::Republished { .. } | Self::ImportedBytes { .. } => vec![
                "the lockfile was left as it was".to_owned(),
                "a published version is never replaced, so suspect the source or what is in between".to_owned(),
            ],
            Self::FilesChanged { .. } => {
                vec!["`context/`, `Containerfile.in` or where the manifest puts things has changed since `build --record`".to_owned()]
            }
            _ => self.inner().map(Explain::notes).unwrap_or_default(),
        }
    }

    fn hints(&self) -> Vec<String> {
        let one = |hint: &str| vec![hint.to_owned()];
        match self {
            Self::NoManifest { .. } => {
                one("run `oclock init` for a commented one, or name its directory with `-C DIR`")
            }
            Self::NoLock { .. } => one("run `oclock update`"),
            Self::NoTemplate { .. } => one("run `oclock init` in an empty directory for a commented one"),
            Self::SigstoreRoot { .. } => {
                one("`[policy] sigstore-root` names a `trusted_root.json`, as Sigstore gives it out")
            }
            Self::SourceBuild { source, .. } => match &**source {
                EngineError::Step { .. } => build_hints(&source.evidence()),
                other => other.hints(),
            },
            Self::BadSource { .. } => one("ask for another version of it, in `[pip] packages` or `constraints`"),
            Self::BuildRequirements { .. } => {
                one("hold them to versions that have wheels, in `[pip] constraints`, or ask for another version of it")
            }
            Self::UnsteadyBuild { .. } => {
                one("its build depends on time or chance: ask for a version that has a wheel, or tell its authors")
            }
            Self::OtherWheel { .. } => {
                one("run `oclock update`, which builds it twice, and review what changes in the lockfile")
            }
            Self::StoreInUse => one("run it again when that has ended"),
            Self::NoStore => one("name one with `--store DIR` or OCLOCK_STORE"),
            Self::Republished { .. } => {
                one("compare with another place: `oclock info` shows where each source was found")
            }
            Self::ImportedBytes { .. } => {
                one("`oclock info` shows the source that was asked; the lock may have been made with another")
            }
            Self::Imported { .. } => {
                one("import again into an empty directory, or remove the file and let `oclock update` choose")
            }
            Self::NoPlatform | Self::PlatformNotLocked { .. } => {
                one("add it to `[image] platforms` and run `oclock update`")
            }
            Self::Drifted { .. } => one("run `oclock update`"),
            Self::CannotMove { .. } => one("run `oclock update`, which chooses every version again"),
            Self::OnePlatform => {
                one("name one with `-o oci:DIR`; other outputs and engines hold one platform under a name")
            }
            Self::Precise => one("name one `npm:NAME`, `pip:NAME` or `apt:NAME`; a base is chosen in `[image] base`"),
            Self::What { .. } => one("write `npm:NAME`, `pip:NAME`, `apt:NAME` or `base`"),
            Self::UnknownWhat { nearest: Some(near), .. } => vec![format!("did you mean `{}`?", sanitize(near))],
            Self::UnknownWhat { nearest: None, .. } => one("`oclock list` shows what is locked"),
            Self::Exists { .. } => one("name another directory"),
            Self::OtherSeal { .. } => {
                one("use the oclock that wrote the lockfile, or run `oclock update` to move to this one")
            }
            Self::FilesChanged { .. } => one("run `oclock build --record` and review what changed with it"),
            Self::OtherImage { .. } => one("if the change is meant, run `oclock build --record`"),
            Self::UnknownTarget { hint, .. } => one(hint),
            Self::AsOfAhead { .. } => one("choose a date in the past, or set this machine's clock"),
            Self::EpochAhead { .. } => one("choose an `epoch` in the past, or set this machine's clock"),
            Self::Format { offered, .. } => vec![format!("it writes {}", offered.join(" and "))],
            Self::Output { .. } => one("the outputs are `oci:DIR`, `docker-archive:FILE` and `dir:DIR`"),
            _ => self.inner().map(Explain::hints).unwrap_or_default(),
        }
    }
}
