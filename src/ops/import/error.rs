//! Why files of other tools could not be imported.

use crate::base::explain::{Explain, Kind};
use crate::base::fs::FsError;
use crate::base::text::sanitize;

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file that is none of those known.
    #[error("`{}` is no file that can be imported", sanitize(file))]
    Unknown {
        /// The file.
        file: String,
    },
    /// Two files of one kind.
    #[error("`{}` and `{}` ask for the same kind of thing", sanitize(one), sanitize(other))]
    Twice {
        /// The first.
        one: String,
        /// The second.
        other: String,
    },
    /// A file that is not what its name says.
    #[error("`{}` cannot be read: {}", sanitize(file), sanitize(why))]
    Unreadable {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The disk.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Explain for ImportError {
    fn kind(&self) -> Kind {
        match self {
            Self::Fs(error) if !error.is_not_found() => error.kind(),
            _ => Kind::Asked,
        }
    }

    fn notes(&self) -> Vec<String> {
        vec!["nothing was written".to_owned()]
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Unknown { .. } => vec![
                "known are Dockerfile, Containerfile, package.json, package-lock.json, pyproject.toml, uv.lock, pylock.*.toml \
                 and requirements in *.txt or *.in"
                    .to_owned(),
            ],
            Self::Twice { .. } => vec!["name one of them; an image has one manifest".to_owned()],
            Self::Unreadable { .. } | Self::Fs(_) => Vec::new(),
        }
    }
}
