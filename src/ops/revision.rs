//! A lockfile as it is, or as it was: from a file, or from a revision of the project's git repository.

use std::path::{Path, PathBuf};

use super::error::OpsError;
use super::session::Session;
use crate::base::explain::{Excerpt, Explain, Kind};
use crate::base::fs::{read_text, read_text_if_present};
use crate::base::process::{Invocation, ProcessError};
use crate::base::text::sanitize;
use crate::lock::{LockError, Lockfile, fingerprints, parse_lockfile};
use crate::manifest::{Manifest, ManifestFile};

/// Why git did not give what a revision names.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// Neither a file nor a revision.
    #[error("`{}` is neither a file nor a git revision", sanitize(asked))]
    Unknown {
        /// What was asked.
        asked: String,
        /// What git said.
        said: Vec<String>,
    },
    /// The revision is there and has no such file.
    #[error("`{}` has no `{}`", sanitize(revision), sanitize(path))]
    NoFile {
        /// The revision.
        revision: String,
        /// The file, as git was asked for it.
        path: String,
    },
    /// The file is there and no text.
    #[error("`{}` is not UTF-8", sanitize(spec))]
    NoText {
        /// The revision and path.
        spec: String,
    },
    /// git could not be started.
    #[error("`{}` is no file, and git cannot be asked whether it is a revision", sanitize(asked))]
    NoGit {
        /// What was asked.
        asked: String,
        /// Why.
        #[source]
        source: ProcessError,
    },
    /// The lockfile of a revision cannot be read.
    #[error("the lockfile of `{}` cannot be read", sanitize(spec))]
    Lock {
        /// The revision and path.
        spec: String,
        /// Why.
        #[source]
        source: Box<LockError>,
    },
}

impl Explain for RevisionError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoGit { .. } => Kind::Unable,
            Self::Lock { source, .. } => source.kind(),
            Self::Unknown { .. } | Self::NoFile { .. } | Self::NoText { .. } => Kind::Asked,
        }
    }

    fn excerpt(&self) -> Option<Excerpt> {
        match self {
            Self::Lock { source, .. } => source.excerpt(),
            _ => None,
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::Unknown { said, .. } => said.clone(),
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Unknown { .. } => "`git branch --all` lists branches; one of a remote may have to be fetched first",
            Self::NoFile { .. } => "name the file with the revision: `REVISION:PATH`, from the top of the repository",
            Self::NoGit { .. } => "install git, or name two files",
            Self::NoText { .. } | Self::Lock { .. } => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

/// A lockfile with what belongs to it.
#[derive(Clone, Debug)]
pub(super) struct Side {
    /// What it is called: a file, or a revision with its path.
    pub label: String,
    /// Its text.
    pub text: String,
    /// What it says.
    pub lock: Lockfile,
    /// The manifest beside it, where there is one.
    pub manifest: Option<ManifestFile>,
}

impl Side {
    /// The manifest, when the lock answers its very questions: another one says nothing about this lock.
    pub(super) fn own_manifest(&self) -> Option<&Manifest> {
        let manifest = &self.manifest.as_ref()?.manifest;
        (fingerprints(manifest) == self.lock.fingerprints).then_some(manifest)
    }
}

/// Reads the working copy's lockfile and manifest.
pub(super) fn working_copy(session: &Session) -> Result<Side, OpsError> {
    let path = &session.paths.lockfile;
    let text = read_text_if_present(path)?.ok_or_else(|| OpsError::NoLock { path: path.clone() })?;
    let label = path.display().to_string();
    let manifest = session.paths.manifest.exists().then(|| session.manifest()).transpose()?;
    Ok(Side { lock: parse_lockfile(&text, &label)?, label, text, manifest })
}

/// Reads what the user named: a file that is there, else a revision.
pub(super) fn read_side(session: &Session, asked: &str) -> Result<Side, OpsError> {
    let path = Path::new(asked);
    if !path.is_file() {
        return of_revision(session, asked);
    }
    let text = read_text(path)?;
    let lock = parse_lockfile(&text, asked)?;
    let is_own = path == session.paths.lockfile;
    let manifest = (is_own && session.paths.manifest.exists()).then(|| session.manifest()).transpose()?;
    Ok(Side { label: asked.to_owned(), text, lock, manifest })
}

fn of_revision(session: &Session, asked: &str) -> Result<Side, OpsError> {
    let (revision, path) = match asked.split_once(':') {
        Some((revision, path)) if !path.is_empty() => (revision, Some(path)),
        _ => (asked.trim_end_matches(':'), None),
    };
    let git = Git::beside(&session.paths.lockfile);
    let commit = git.commit(revision, asked)?;
    let own = |file: &Path| format!("./{}", file.file_name().unwrap_or_default().to_string_lossy());
    let (lock_path, manifest_path) = match path {
        None => (own(&session.paths.lockfile), own(&session.paths.manifest)),
        Some(path) => {
            let folder = path.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
            (path.to_owned(), format!("{folder}{}", own(&session.paths.manifest).trim_start_matches("./")))
        }
    };
    let shown = lock_path.trim_start_matches("./").to_owned();
    let missing = || RevisionError::NoFile { revision: revision.to_owned(), path: shown.clone() };
    let label = format!("{revision}:{shown}");
    let text = git.file(&commit, &lock_path, &label)?.ok_or_else(missing)?;
    let lock = parse_lockfile(&text, &label)
        .map_err(|source| RevisionError::Lock { spec: label.clone(), source: Box::new(source) })?;
    let manifest = git.file(&commit, &manifest_path, &label)?;
    // An old manifest may be of an older form; the locks are compared without it then.
    let manifest =
        manifest.and_then(|text| ManifestFile::parse(&text, &session.paths.manifest.display().to_string()).ok());
    Ok(Side { label, text, lock, manifest })
}

/// git, asked where the project is.
struct Git {
    directory: PathBuf,
}

impl Git {
    fn beside(lockfile: &Path) -> Self {
        let parent = lockfile.parent().filter(|parent| !parent.as_os_str().is_empty() && parent.is_dir());
        Self { directory: parent.unwrap_or(Path::new(".")).to_owned() }
    }

    fn ask(&self, arguments: &[&str]) -> Result<Vec<u8>, ProcessError> {
        let git = Invocation::new("git").args(arguments.iter().copied()).directory(&self.directory);
        Ok(git.env("LC_ALL", "C").run()?.stdout)
    }

    /// The commit that a revision names.
    fn commit(&self, revision: &str, asked: &str) -> Result<String, RevisionError> {
        let spec = format!("{revision}^{{commit}}");
        match self.ask(&["rev-parse", "--verify", "--end-of-options", &spec]) {
            Ok(answer) => Ok(String::from_utf8_lossy(&answer).trim().to_owned()),
            Err(source @ ProcessError::Start { .. }) => Err(RevisionError::NoGit { asked: asked.to_owned(), source }),
            Err(error) => Err(RevisionError::Unknown { asked: asked.to_owned(), said: error.evidence() }),
        }
    }

    /// A file of a commit; nothing when it is not there.
    fn file(&self, commit: &str, path: &str, label: &str) -> Result<Option<String>, RevisionError> {
        let Ok(bytes) = self.ask(&["cat-file", "blob", &format!("{commit}:{path}")]) else { return Ok(None) };
        String::from_utf8(bytes).map(Some).map_err(|_| RevisionError::NoText { spec: label.to_owned() })
    }
}
