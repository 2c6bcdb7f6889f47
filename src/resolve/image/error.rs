//! What can go wrong with a registry.

use crate::base::explain::{Explain, Kind};
use crate::base::fs::FsError;
use crate::base::http::HttpError;
use crate::model::{Platform, Sha256};
use crate::store::StoreError;

/// Why a base image could not be pinned or fetched.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The registry does not have it.
    #[error("no registry image is named `{reference}`")]
    Unknown {
        /// The image.
        reference: String,
        /// The source that was asked.
        source_name: String,
    },
    /// The registry wants credentials, or other ones.
    #[error("the registry does not let us read `{reference}`")]
    Denied {
        /// The image.
        reference: String,
        /// The source that was asked.
        source_name: String,
    },
    /// The image is not there for the platform.
    #[error("`{reference}` has no image for `{platform}`")]
    NoPlatform {
        /// The image.
        reference: String,
        /// What was wanted.
        platform: Platform,
        /// What there is.
        offered: Vec<String>,
    },
    /// Bytes with another digest than the one asked for.
    #[error("`{reference}` arrived with bytes of another digest")]
    OtherDigest {
        /// The image.
        reference: String,
        /// What was asked for.
        expected: Sha256,
        /// What came.
        found: Sha256,
    },
    /// A document that is no manifest or config.
    #[error("what the registry has as `{reference}` cannot be read: {detail}")]
    Document {
        /// The image.
        reference: String,
        /// What is wrong.
        detail: String,
    },
    /// The network.
    #[error("could not read `{reference}` from its registry")]
    Http {
        /// The image.
        reference: String,
        /// Why.
        #[source]
        source: Box<HttpError>,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file system.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Explain for ImageError {
    fn kind(&self) -> Kind {
        match self {
            Self::OtherDigest { .. } => Kind::Distrust,
            Self::Store(error) => error.kind(),
            _ => Kind::Unable,
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::OtherDigest { expected, found, .. } => {
                vec![format!("expected  sha256:{expected}"), format!("received  sha256:{found}")]
            }
            Self::Store(error) => error.evidence(),
            _ => Vec::new(),
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::NoPlatform { offered, .. } => vec![format!("it has {}", offered.join(", "))],
            Self::Unknown { source_name, .. } | Self::Denied { source_name, .. } => {
                vec![format!("asked the source `{source_name}`")]
            }
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Unknown { .. } => {
                vec!["look at name and tag in `[image] base`; `oclock info` shows the source's address".to_owned()]
            }
            Self::Denied { .. } => {
                vec!["log in with the engine (`docker login`, `buildah login`): its credentials are used".to_owned()]
            }
            Self::NoPlatform { .. } => {
                vec!["take the platform out of `[image] platforms`, or choose another base".to_owned()]
            }
            Self::Http { source, .. } => source.hints(),
            Self::Store(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}
