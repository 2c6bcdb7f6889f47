//! The engines that execute a rendered Containerfile with the network off and yield a root filesystem, no more: their
//! layers, times, history and compression are ignored. They must not know what a lockfile or an image's bytes are.

mod buildah;
pub mod containerfile;
mod docker;
mod foreign;
mod native;
mod saved;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::base::environment::Environment;
use crate::base::explain::{Excerpt, Explain, Kind};
use crate::base::fs::FsError;
use crate::base::process::{Cleanup, ProcessError};
use crate::base::tree::Tree;
use crate::model::{Platform, Sha256, ValueError};
use crate::store::{Store, StoreError};

use containerfile::ContainerfileError;
pub use saved::{ImageStorage, save_image};

pub use foreign::ensure_runs;

/// Which engine is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// The first that can be used of native, buildah and docker.
    #[default]
    Auto,
    /// The built-in one.
    Native,
    /// buildah with an OCI runtime, or without one where none works.
    Buildah,
    /// buildah with runc or crun.
    BuildahOci,
    /// buildah without a container: a chroot.
    BuildahChroot,
    /// docker with BuildKit when it is there, else its classic builder.
    Docker,
    /// docker's classic builder.
    DockerClassic,
    /// docker with BuildKit.
    DockerBuildkit,
}

impl EngineChoice {
    /// Every choice by its name.
    pub const ALL: [(&'static str, Self); 8] = [
        ("auto", Self::Auto),
        ("native", Self::Native),
        ("buildah", Self::Buildah),
        ("buildah:oci", Self::BuildahOci),
        ("buildah:chroot", Self::BuildahChroot),
        ("docker", Self::Docker),
        ("docker:classic", Self::DockerClassic),
        ("docker:buildkit", Self::DockerBuildkit),
    ];

    /// Reads a name such as `auto`, `buildah` or `docker:classic`.
    ///
    /// # Errors
    /// When it is another one.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
        known.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            ValueError::new("engine", text, format!("known are {}", names.join(", ")))
        })
    }
}

/// One build.
#[derive(Clone, Copy, Debug)]
pub struct BuildRequest<'a> {
    /// A staged directory with `Containerfile` and all that its ADD and COPY name.
    pub context: &'a Path,
    /// A directory that exists, is empty, and has room for the root filesystem.
    pub scratch: &'a Path,
    /// The same in memory, where there is enough of it. Only the built-in engine makes use of it.
    pub memory_scratch: Option<&'a Path>,
    /// The longest that one step may take.
    pub limit: Duration,
    /// Bytes of memory that all processes of one step may have together; most of the machine's when not given. Only the
    /// built-in engine keeps it.
    pub memory: Option<u64>,
    /// What is known of the context and may be kept between builds. Only the built-in engine makes use of it.
    pub known: Known<'a>,
}

/// What a build may rely on instead of finding it out again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// The sha256 of files of the context, by their paths in it; others are hashed.
    pub digests: Option<&'a BTreeMap<String, Sha256>>,
    /// Where results of steps are kept; nothing is kept without.
    pub store: Option<&'a Store>,
    /// Whether kept results are used.
    pub results: Results,
    /// Steps that can be carried out in parts.
    pub splits: &'a [Split],
}

/// A RUN step that does the same to each part of a directory: each of its own directories is one, and its files together.
/// A part's results lie in it; what the step changes elsewhere is of no use to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The step's command line.
    pub line: String,
    /// The directory, absolute.
    pub directory: String,
    /// How the names of the files end that the step reads in it.
    pub suffix: String,
    /// How the paths begin that the step needs besides. It is given no others, and no byte code of theirs; where that is too
    /// little, it is carried out as a whole on all of the root.
    pub sees: Vec<String>,
}

/// Whether a step's kept result will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Results {
    /// Yes.
    #[default]
    Used,
    /// Every step is carried out, and its result kept anew.
    Made,
}

/// Takes each line that an engine says, as it comes.
pub type OnLine<'a> = &'a mut (dyn FnMut(&str) + Send);

/// A part of a root filesystem; later ones lie over earlier ones.
#[derive(Clone, Debug)]
pub enum RootLayer {
    /// A directory that is the whole tree.
    Directory(PathBuf),
    /// An upper directory of overlayfs: whiteouts are character devices 0:0, opaque directories carry an attribute.
    Overlay(PathBuf),
    /// An uncompressed tar in a file from this offset on; whiteouts are files named `.wh.…`.
    Tar {
        /// The file.
        path: PathBuf,
        /// Where the archive starts in it, in bytes.
        offset: u64,
    },
    /// The whole tree as a value.
    Tree(Arc<Tree>),
}

/// What was done with a RUN step.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StepOutcome {
    /// The instruction.
    pub step: String,
    /// How many parts of it were carried out; a step is one part as a rule.
    pub ran: usize,
    /// For how many parts the kept result was taken.
    pub kept: usize,
}

/// A root filesystem that an engine made. It is gone when this is dropped.
#[derive(Debug)]
pub struct BuiltRoot {
    /// Its parts, lowest first.
    pub layers: Vec<RootLayer>,
    /// What was done with each step that changes the root, where the engine tells.
    pub steps: Vec<StepOutcome>,
    /// The archives in the store that hold kept results of steps.
    pub kept: Vec<Sha256>,
    /// What the user should know.
    pub notes: Vec<String>,
    cleanups: Vec<Cleanup>,
}

impl BuiltRoot {
    /// A root filesystem that is there already and stays.
    pub fn of(layers: Vec<RootLayer>) -> Self {
        Self::kept_until_dropped(layers, Vec::new())
    }

    fn kept_until_dropped(layers: Vec<RootLayer>, cleanups: Vec<Cleanup>) -> Self {
        Self { layers, steps: Vec::new(), kept: Vec::new(), notes: Vec::new(), cleanups }
    }

    /// Whether something is to be removed when this is dropped.
    pub fn is_temporary(&self) -> bool {
        !self.cleanups.is_empty()
    }
}

/// What executes Containerfiles and, for most, keeps images.
pub trait Engine: std::fmt::Debug + Send + Sync {
    /// `native`, `buildah` or `docker`.
    fn name(&self) -> &str;

    /// Its version.
    fn version(&self) -> &str;

    /// How it builds: an isolation or a builder, for people.
    fn flavour(&self) -> String;

    /// Executes the context's Containerfile with the network off.
    ///
    /// # Errors
    /// When the Containerfile cannot be used, a step fails or takes too long, or the engine itself fails.
    fn build(&self, request: &BuildRequest<'_>, on_line: OnLine<'_>) -> Result<BuiltRoot, EngineError>;

    /// Whether it holds every file that it reads against its digest, so that nobody else need do it before.
    fn verifies_context(&self) -> bool {
        false
    }

    /// Whether it has a place where the user's images are.
    fn keeps_images(&self) -> bool {
        true
    }

    /// Takes an image from a docker archive into the user's images and gives it these tags.
    ///
    /// # Errors
    /// When the engine refuses.
    fn load(&self, archive: &Path, tags: &[String]) -> Result<(), EngineError>;

    /// Whether the user's images have this one under all these tags.
    fn has_image(&self, id: &Sha256, tags: &[String]) -> bool;
}

/// Why an engine cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The engine.
    pub engine: String,
    /// Why.
    pub why: String,
}

impl Unusable {
    fn new(engine: &str, why: impl Into<String>) -> Self {
        Self { engine: engine.to_owned(), why: why.into() }
    }
}

/// What went wrong with an engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No engine can be used.
    #[error("no container engine can be used")]
    NoneUsable {
        /// What was tried and why each cannot be used.
        tried: Vec<Unusable>,
    },
    /// Names were asked for, and nothing here keeps images.
    #[error("no engine here can hold an image named `{name}`")]
    NoKeeper {
        /// The names.
        name: String,
        /// What was tried and why each cannot be used.
        tried: Vec<Unusable>,
    },
    /// The Containerfile cannot be used.
    #[error(transparent)]
    Containerfile(#[from] ContainerfileError),
    /// The Containerfile stands on an image.
    #[error("the Containerfile stands on `{from}`, and only `FROM scratch` can be built offline")]
    NotScratch {
        /// What it stands on.
        from: String,
    },
    /// A step failed.
    #[error("step {number}, `{step}`, failed in {engine}")]
    Step {
        /// From 1; FROM is not counted.
        number: usize,
        /// The instruction.
        step: String,
        /// The engine.
        engine: &'static str,
        /// What the program said.
        #[source]
        source: Box<ProcessError>,
    },
    /// The engine's program failed.
    #[error("{engine} could not {action}")]
    Failed {
        /// The engine.
        engine: &'static str,
        /// What it should have done.
        action: &'static str,
        /// What the program said.
        #[source]
        source: Box<ProcessError>,
    },
    /// The engine said something that is not understood.
    #[error("{engine} gave an answer that cannot be used: {what}")]
    Answer {
        /// The engine.
        engine: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// An instruction has a form that this engine does not carry out.
    #[error("{what} cannot be done by the engine `{engine}`")]
    Instruction {
        /// The engine.
        engine: &'static str,
        /// The instruction and what of it.
        what: String,
        /// Engines that can.
        other: &'static str,
    },
    /// Only engines with images of their own take one.
    #[error("the engine `{engine}` keeps no images")]
    KeepsNoImages {
        /// The engine.
        engine: &'static str,
    },
    /// Its steps are programs of another architecture.
    #[error("an image for `{platform}` cannot be built on this {machine} machine")]
    Foreign {
        /// The platform.
        platform: Platform,
        /// This machine's architecture.
        machine: &'static str,
        /// What is missing.
        reason: String,
    },
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk said no.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Explain for EngineError {
    fn kind(&self) -> Kind {
        match self {
            Self::Containerfile(error) => error.kind(),
            Self::NotScratch { .. } | Self::Instruction { .. } => Kind::Asked,
            Self::Step { source, .. } | Self::Failed { source, .. } => source.kind(),
            Self::NoneUsable { .. }
            | Self::NoKeeper { .. }
            | Self::Answer { .. }
            | Self::KeepsNoImages { .. }
            | Self::Foreign { .. } => Kind::Unable,
            Self::Store(error) => error.kind(),
            Self::Fs(error) => error.kind(),
        }
    }

    fn excerpt(&self) -> Option<Excerpt> {
        match self {
            Self::Containerfile(error) => error.excerpt(),
            _ => None,
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::NoneUsable { tried } | Self::NoKeeper { tried, .. } => {
                let width = tried.iter().map(|one| one.engine.len()).max().unwrap_or(0);
                tried.iter().map(|one| format!("{:>width$}  {}", one.engine, one.why)).collect()
            }
            Self::Step { source, .. } | Self::Failed { source, .. } => source.evidence(),
            Self::Foreign { reason, .. } => vec![reason.clone()],
            Self::Store(error) => error.evidence(),
            _ => Vec::new(),
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::Step { source, .. } if matches!(**source, ProcessError::Failed { .. }) => {
                vec!["steps run without a network; what they need must be in the lockfile or in `context/`".into()]
            }
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoKeeper { .. } => {
                vec!["write the image out under that name instead: `--output docker-archive:FILE`".into()]
            }
            Self::NoneUsable { .. } => {
                vec!["install buildah and runc (`apt-get install buildah runc`), or start the docker daemon".into()]
            }
            Self::Instruction { other, .. } => vec![format!("use another engine (`--engine`): {other}")],
            Self::Foreign { platform, .. } => vec![format!(
                "build on a machine of that architecture, or register one (`apt-get install qemu-user-static`) that runs {} programs",
                platform.architecture.machine()
            )],
            Self::Containerfile(error) => error.hints(),
            Self::Store(error) => error.hints(),
            Self::Fs(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

/// Takes kept results of steps out of the store whose bytes are not what they should be; says which.
///
/// # Errors
/// When one cannot be removed.
pub fn drop_damaged(store: &Store, kept: &[Sha256]) -> Result<Vec<String>, EngineError> {
    native::drop_damaged(store, kept)
}

/// Finds an engine that can be used.
///
/// # Errors
/// When none can: names what was tried and why each is unusable.
pub fn find(choice: EngineChoice, environment: &Environment) -> Result<Box<dyn Engine>, EngineError> {
    let mut tried = Vec::new();
    if matches!(choice, EngineChoice::Auto | EngineChoice::Native) {
        match native::Native::find(environment) {
            Ok(engine) => return Ok(Box::new(engine)),
            Err(why) => tried.push(why),
        }
    }
    find_program(choice, environment, &mut tried).ok_or(EngineError::NoneUsable { tried })
}

/// Finds the engine that holds the user's images: the chosen one, or buildah or docker beside the built-in one.
///
/// # Errors
/// When none can be used: names what was tried and why.
pub fn find_keeper(choice: EngineChoice, environment: &Environment) -> Result<Box<dyn Engine>, EngineError> {
    let choice = if choice == EngineChoice::Native { EngineChoice::Auto } else { choice };
    let mut tried = Vec::new();
    find_program(choice, environment, &mut tried).ok_or(EngineError::NoneUsable { tried })
}

fn find_program(choice: EngineChoice, environment: &Environment, tried: &mut Vec<Unusable>) -> Option<Box<dyn Engine>> {
    use EngineChoice as Choice;
    let isolation = match choice {
        Choice::Auto | Choice::Buildah => Some(buildah::Wanted::Any),
        Choice::BuildahOci => Some(buildah::Wanted::Oci),
        Choice::BuildahChroot => Some(buildah::Wanted::Chroot),
        Choice::Native | Choice::Docker | Choice::DockerClassic | Choice::DockerBuildkit => None,
    };
    if let Some(wanted) = isolation {
        match buildah::Buildah::find(wanted, environment) {
            Ok(engine) => return Some(Box::new(engine)),
            Err(why) => tried.push(why),
        }
    }
    let builder = match choice {
        Choice::Auto | Choice::Docker => Some(docker::Wanted::Any),
        Choice::DockerClassic => Some(docker::Wanted::Classic),
        Choice::DockerBuildkit => Some(docker::Wanted::Buildkit),
        Choice::Native | Choice::Buildah | Choice::BuildahOci | Choice::BuildahChroot => None,
    };
    if let Some(wanted) = builder {
        match docker::Docker::find(wanted, environment) {
            Ok(engine) => return Some(Box::new(engine)),
            Err(whys) => tried.extend(whys),
        }
    }
    None
}

/// Removes a scratch directory that a build left because it was ended, whoever its files belong to.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_leftover(directory: &Path, environment: &Environment) -> Result<(), EngineError> {
    native::remove_leftover(directory, environment)
}

/// What the hidden command [`sandbox::HELPER`](crate::base::sandbox::HELPER) of the program does; `arguments` are those
/// after it.
pub fn helper_main(arguments: &[String]) -> ExitCode {
    let (stage, rest) = match arguments.split_first() {
        Some((stage, rest)) => (Some(stage.as_str()), rest),
        None => (None, &[][..]),
    };
    crate::base::sandbox::helper_main(stage, rest, native::run_task)
}

/// What each engine is, for people: its name, and its version or why it cannot be used.
pub fn survey(environment: &Environment) -> Vec<(String, String)> {
    let choices =
        [("native", EngineChoice::Native), ("buildah", EngineChoice::Buildah), ("docker", EngineChoice::Docker)];
    let look = |(name, choice): (&str, EngineChoice)| {
        let found = match find(choice, environment) {
            Ok(engine) => format!("{} ({})", engine.version(), engine.flavour()),
            Err(EngineError::NoneUsable { tried }) => tried.first().map_or_else(String::new, |one| one.why.clone()),
            Err(error) => error.to_string(),
        };
        (name.to_owned(), found)
    };
    choices.into_iter().map(look).collect()
}

/// What a program said last, as one line.
fn last_words(error: &ProcessError) -> String {
    match error.evidence().last() {
        Some(line) => line.trim().to_owned(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_engine_names_what_was_tried() {
        let empty = tempfile::tempdir().unwrap();
        let path = empty.path().as_os_str().to_owned();
        let environment = Environment::from_variables([("PATH".into(), path)]);
        let error = find_keeper(EngineChoice::Auto, &environment).unwrap_err();
        assert_eq!(error.kind(), Kind::Unable);
        let evidence = error.evidence();
        assert_eq!(evidence.len(), 2, "{evidence:?}");
        assert!(evidence[0].contains("buildah") && evidence[1].contains("docker"), "{evidence:?}");
        assert!(error.hints()[0].contains("apt-get install buildah runc"));
    }

    #[test]
    fn an_engine_has_one_name() {
        for (name, choice) in EngineChoice::ALL {
            assert_eq!(EngineChoice::parse(name), Ok(choice));
        }
        assert!(EngineChoice::parse("podman").unwrap_err().to_string().contains("docker:classic"));
    }
}
