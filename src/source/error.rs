//! Why a source is not known.

use crate::base::explain::{Excerpt, Explain, Kind};
use crate::base::fs::FsError;
use crate::base::text::nearest;
use crate::manifest::{ManifestError, SourceKind};
use crate::model::SourceName;

use super::model::names;

/// Why a source is not known, or not taken.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No client on this machine says where to go.
    #[error("no {what} is known")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// Where, in order.
        looked: Vec<String>,
        /// What to write into the manifest.
        section: &'static str,
    },
    /// A lockfile or manifest names a source that is not there.
    #[error("there is no source `{name}`")]
    Unknown {
        /// The name.
        name: SourceName,
        /// The names that `[sources]` has.
        known: Vec<String>,
    },
    /// Two sources could both be asked for any package.
    #[error("the source `{name}` has no packages of its own")]
    Unbound {
        /// The source.
        name: SourceName,
        /// The source that all other packages come from.
        default: String,
        /// Where it is said.
        found_in: String,
    },
    /// A client is set to mix a second index with the first.
    #[error("{found_in} names a second Python index")]
    ExtraIndex {
        /// The index, without credentials.
        url: String,
        /// Where it is said.
        found_in: String,
    },
    /// A Debian archive with a name of its own must say its suites.
    #[error("the source `{name}` has no `suites`")]
    NoSuites {
        /// The source.
        name: SourceName,
        /// Where it is said.
        found_in: String,
    },
    /// A default name is used for something else.
    #[error("the source `{name}` must be of kind {wanted:?}")]
    WrongKind {
        /// The source.
        name: SourceName,
        /// The kind that this name has.
        wanted: SourceKind,
        /// Where it is said.
        found_in: String,
    },
    /// A name that means something else.
    #[error("no source can be called `{name}`")]
    Reserved {
        /// The name.
        name: SourceName,
        /// Where it is said.
        found_in: String,
    },
    /// An address that cannot be used.
    #[error("{found_in} has an address that cannot be used: {reason}")]
    Url {
        /// What is wrong.
        reason: String,
        /// Where it is said.
        found_in: String,
    },
    /// A client's settings cannot be understood.
    #[error("`{file}` cannot be understood: {reason}")]
    Settings {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The user's settings of oclock are wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file cannot be read.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Explain for SourceError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } | Self::Fs(_) => Kind::Unable,
            Self::Manifest(error) => error.kind(),
            _ => Kind::Asked,
        }
    }

    fn excerpt(&self) -> Option<Excerpt> {
        match self {
            Self::Manifest(error) => error.excerpt(),
            _ => None,
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::NotFound { looked, .. } => looked.iter().map(|place| format!("looked in  {place}")).collect(),
            Self::ExtraIndex { url, .. } => vec![format!("second index  {url}")],
            Self::Unbound { found_in, .. }
            | Self::NoSuites { found_in, .. }
            | Self::WrongKind { found_in, .. }
            | Self::Reserved { found_in, .. } => {
                vec![format!("said in  {found_in}")]
            }
            _ => Vec::new(),
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::Unbound { default, .. } => vec![format!(
                "each package has one source; what is bound to none comes from `{default}`, and nothing is asked twice"
            )],
            Self::ExtraIndex { .. } => {
                vec!["two indexes for one name let the second replace packages of the first".into()]
            }
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NotFound { section, .. } => vec![
                format!("add `[sources.{section}]` with `url = \"…\"` to oclock.toml, or to ~/.config/oclock/config.toml for all projects"),
                "`oclock info` shows what was found and where".into(),
            ],
            Self::Unknown { name, .. } if name.as_str() == names::URL => {
                vec!["ask for the wheel by its URL again, in `[pip] packages`, or run `oclock update`".into()]
            }
            Self::Reserved { name, .. } => {
                vec![format!("`{name}` stands for wheels that are asked for by URL: choose another name")]
            }
            Self::Unknown { name, known } => match nearest(name.as_str(), known.iter().map(String::as_str)) {
                Some(near) => vec![format!("`[sources.{near}]` is known: did you mean it?")],
                None => vec![format!("add `[sources.{name}]` with its kind and url to oclock.toml")],
            },
            Self::Unbound { name, .. } => {
                vec![format!("add `packages = [\"…\"]` to `[sources.{name}]`, or name it as the default one")]
            }
            Self::ExtraIndex { .. } => vec![
                "bind its packages: `[sources.NAME]` with kind = \"pip\", its url and `packages = [\"…\"]` in oclock.toml"
                    .into(),
                "or say `[sources.pypi]` in oclock.toml, and the client's settings are not read".into(),
            ],
            Self::NoSuites { name, .. } => vec![format!("add `suites = [\"{{suite}}\"]` to `[sources.{name}]`")],
            Self::Manifest(error) => error.hints(),
            Self::Fs(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}
