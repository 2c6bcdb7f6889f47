//! What can be wrong with Debian packages that are put together.

use std::io;

use crate::base::explain::{Explain, Kind};
use crate::base::fs::FsError;
use crate::base::text::sanitize;
use crate::model::{PackageName, PackageVersion};
use crate::store::StoreError;

/// Why a set of Debian packages cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum AptAssembleError {
    /// A package is not in the store, or damaged there.
    #[error("could not read `apt:{package} {version}` from the store")]
    Store {
        /// The package.
        package: PackageName,
        /// Its version.
        version: PackageVersion,
        /// The store's answer.
        #[source]
        source: Box<StoreError>,
    },
    /// The bytes are those that were locked, but they are no Debian package.
    #[error("`apt:{package} {version}` is no valid Debian package: {}", sanitize(why))]
    Invalid {
        /// The package.
        package: PackageName,
        /// Its version.
        version: PackageVersion,
        /// What is wrong.
        why: String,
    },
    /// The package says that it is another one than the lock pins.
    #[error("`apt:{package}` is not what the lock pins: its {field} differs")]
    Mismatch {
        /// The package.
        package: PackageName,
        /// The field of its control file.
        field: &'static str,
        /// What the lock says.
        locked: String,
        /// What the package says.
        found: String,
    },
    /// A member of the package would land where nothing of a package belongs.
    #[error("`apt:{package}` brings `{}`, which is not unpacked: {why}", sanitize(path))]
    Hostile {
        /// The package.
        package: String,
        /// The member's path as it is in the package.
        path: String,
        /// Why it is refused.
        why: String,
    },
    /// Two packages bring the same file, and neither says that it replaces the other's.
    #[error("`apt:{first}` and `apt:{second}` both bring `{}`", sanitize(path))]
    Overlap {
        /// The path as the second package has it.
        path: String,
        /// The package that brought it first.
        first: String,
        /// The package that brings it too.
        second: String,
    },
    /// The package needs something that oclock does not emulate.
    #[error("`apt:{package}` cannot be unpacked outside the image: {why}")]
    Unsupported {
        /// The package.
        package: String,
        /// What it needs.
        why: String,
    },
    /// The lock pins a package twice.
    #[error("`apt:{package}` is pinned twice for one platform")]
    Twice {
        /// The package.
        package: PackageName,
    },
    /// The tar or the scratch file could not be written.
    #[error("could not write the unpacked packages")]
    Write {
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file system said no.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Explain for AptAssembleError {
    fn kind(&self) -> Kind {
        match self {
            Self::Store { source, .. } => source.kind(),
            Self::Invalid { .. } | Self::Mismatch { .. } | Self::Hostile { .. } => Kind::Distrust,
            Self::Overlap { .. } | Self::Unsupported { .. } => Kind::Unable,
            Self::Twice { .. } => Kind::Asked,
            Self::Write { .. } => Kind::Unable,
            Self::Fs(error) => error.kind(),
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::Store { source, .. } => source.evidence(),
            Self::Mismatch { locked, found, .. } => {
                vec![format!("  locked  {}", sanitize(locked)), format!("   found  {}", sanitize(found))]
            }
            _ => Vec::new(),
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::Mismatch { .. } | Self::Invalid { .. } => {
                vec!["the file has the locked sha256, so the lock or the archive is wrong, not the download".into()]
            }
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Store { source, .. } => source.hints(),
            Self::Mismatch { package, .. } => {
                vec![format!(
                    "undo edits of the lockfile, or run `oclock update` and review what changes about `{package}`"
                )]
            }
            Self::Overlap { second, .. } => {
                vec![format!("ask for only one of the two: `oclock list --format json` says what requires `{second}`")]
            }
            Self::Twice { .. } => vec!["run `oclock update` to write the lockfile anew".into()],
            Self::Fs(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}
