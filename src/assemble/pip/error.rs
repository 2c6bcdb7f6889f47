//! Why wheels do not become an environment.

use std::io;

use crate::base::explain::{Explain, Kind};
use crate::base::text::sanitize;
use crate::model::PackageName;
use crate::store::StoreError;

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum PipAssembleError {
    /// The environment's path or interpreter is no absolute path.
    #[error("`{}` is no path that a Python environment can have", sanitize(path))]
    Path {
        /// The path.
        path: String,
    },
    /// Two pins of one name.
    #[error("`{name}` is locked twice for one environment")]
    Twice {
        /// The project.
        name: PackageName,
    },
    /// A wheel that no tool may install.
    #[error("`{}` is not to be trusted: {}", sanitize(wheel), sanitize(why))]
    Hostile {
        /// The wheel's file name.
        wheel: String,
        /// What it does.
        why: String,
        /// The file in it, or the place it goes to.
        file: String,
    },
    /// A wheel of a kind that is not known.
    #[error("`{}` cannot be installed: {}", sanitize(wheel), sanitize(why))]
    Unsupported {
        /// The wheel's file name.
        wheel: String,
        /// Why.
        why: String,
    },
    /// The store does not have a wheel, or not whole.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output failed.
    #[error("could not write the Python environment")]
    Write(#[source] io::Error),
}

impl Explain for PipAssembleError {
    fn kind(&self) -> Kind {
        match self {
            Self::Path { .. } => Kind::Asked,
            Self::Twice { .. } => Kind::Asked,
            Self::Hostile { .. } => Kind::Distrust,
            Self::Unsupported { .. } | Self::Write(_) => Kind::Unable,
            Self::Store(error) => error.kind(),
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::Hostile { file, .. } if !file.is_empty() => vec![format!("file  {}", sanitize(file))],
            Self::Store(error) => error.evidence(),
            _ => Vec::new(),
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::Hostile { .. } => {
                vec!["its bytes are those that were locked: the wheel itself was made like this".into()]
            }
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Path { .. } => vec!["set `path = \"/opt/venv\"` under `[pip]`".into()],
            Self::Twice { .. } => vec!["run `oclock update`: it writes the lockfile anew".into()],
            Self::Hostile { .. } | Self::Unsupported { .. } => {
                vec!["lock another version of it, with a constraint under `[pip]`".into()]
            }
            Self::Store(error) => error.hints(),
            Self::Write(_) => Vec::new(),
        }
    }
}
