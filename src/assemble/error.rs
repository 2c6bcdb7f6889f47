//! What can go wrong between the store and the staged context.

use super::apt::AptAssembleError;
use super::base_image::BaseImageError;
use super::files::FilesError;
use super::npm::NpmAssembleError;
use super::pip::PipAssembleError;
use crate::base::explain::{Excerpt, Explain, Kind};
use crate::base::fs::FsError;
use crate::store::StoreError;

/// Why no build context can be made.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// Debian packages.
    #[error(transparent)]
    Apt(#[from] AptAssembleError),
    /// npm packages.
    #[error(transparent)]
    Npm(#[from] NpmAssembleError),
    /// Python wheels.
    #[error(transparent)]
    Pip(#[from] PipAssembleError),
    /// The base image.
    #[error(transparent)]
    Base(#[from] BaseImageError),
    /// The project's own files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The staging directory.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The lock pins wheels, but no Python that could run them.
    #[error("the lockfile pins Python packages, but no Python to run them")]
    NoPython,
    /// The lock stands on an image that is not there for the platform.
    #[error("the lockfile's base has no image for the platform")]
    NoBase,
}

impl AssembleError {
    fn inner(&self) -> Option<&dyn Explain> {
        match self {
            Self::Apt(error) => Some(error),
            Self::Npm(error) => Some(error),
            Self::Pip(error) => Some(error),
            Self::Base(error) => Some(error),
            Self::Files(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Fs(error) => Some(error),
            Self::NoPython | Self::NoBase => None,
        }
    }
}

impl Explain for AssembleError {
    fn kind(&self) -> Kind {
        self.inner().map_or(Kind::Asked, Explain::kind)
    }

    fn excerpt(&self) -> Option<Excerpt> {
        self.inner().and_then(Explain::excerpt)
    }

    fn evidence(&self) -> Vec<String> {
        self.inner().map(Explain::evidence).unwrap_or_default()
    }

    fn notes(&self) -> Vec<String> {
        self.inner().map(Explain::notes).unwrap_or_default()
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoPython => vec!["add `python3` to `[apt] packages`".to_owned()],
            Self::NoBase => vec!["run `oclock update`".to_owned()],
            _ => self.inner().map(Explain::hints).unwrap_or_default(),
        }
    }
}
