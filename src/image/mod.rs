//! Sealing: a root filesystem → canonical layers → config → manifest → layouts. Written by oclock alone, so that every
//! engine gives the same image. It must not know lockfiles or ecosystems: origins are names and paths.

mod compare;
mod config;
mod delta;
mod encode;
pub mod inspect;
mod known;
mod layers;
mod manifest;
mod output;
mod packages;
mod rules;
mod seal;
mod split;
mod tree;

use std::path::PathBuf;

use crate::base::explain::{Excerpt, Explain, Kind};
use crate::base::fs::FsError;
use crate::engine::containerfile::ContainerfileError;
use crate::model::Sha256;
use crate::store::StoreError;

pub use compare::{
    ConfigDifference, Difference, FileDifference, FileFacts, ImageComparison, ImageName, compare, compare_images,
};
pub use config::{ConfigError, Healthcheck, ImageConfig, config_of, config_on, inherited_config};
pub use encode::encoder;
pub use inspect::{InspectError, OpenImage, open_path, open_sealed};
pub use layers::Origin;
pub use manifest::{BaseBlob, Blob, EncodedManifest, ManifestFormat, manifest_format, manifest_of};
pub use output::{index_of, write_directory, write_docker_archive, write_oci, write_oci_index};
pub use packages::python_source;
pub use rules::{rules_digest, rules_text};
pub use seal::{
    BASE_LAYER, Encoding, NPM_LAYER, PIP_LAYER, SYSTEM_LAYER, SealBase, SealRequest, SealedImage, SealedLayer, seal,
    seal_on,
};
pub use tree::{Content, Entry, Node, Tree};

/// What cannot be sealed or written.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The root filesystem has something that an image cannot have, or cannot be read.
    #[error("the root filesystem cannot be sealed at `{}`", path.display())]
    Root {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: std::io::Error,
    },
    /// The scrub rules built into oclock are wrong.
    #[error("the scrub rules are wrong: {what}")]
    Rules {
        /// What is wrong.
        what: String,
    },
    /// An OCI manifest would lose the image's HEALTHCHECK.
    #[error("an OCI manifest cannot hold this image's HEALTHCHECK")]
    HealthcheckLost,
    /// The compressor failed.
    #[error("a layer could not be compressed")]
    Encode {
        /// The layer.
        diff_id: Sha256,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The base image's config has a field of another form.
    #[error("the base image's config cannot be inherited")]
    Base {
        /// Which and why.
        #[source]
        source: serde_json::Error,
    },
    /// Text that should be JSON or the other way round.
    #[error("the image's {what} could not be written as JSON")]
    Json {
        /// Which part.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The Containerfile cannot be used.
    #[error(transparent)]
    Containerfile(#[from] ContainerfileError),
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An image cannot be looked into.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The disk said no.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Explain for SealError {
    fn kind(&self) -> Kind {
        match self {
            Self::Root { .. } | Self::Encode { .. } | Self::Base { .. } => Kind::Unable,
            Self::HealthcheckLost => Kind::Asked,
            Self::Rules { .. } | Self::Json { .. } => Kind::Bug,
            Self::Containerfile(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Inspect(error) => error.kind(),
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
            Self::Store(error) => error.evidence(),
            Self::Inspect(error) => error.evidence(),
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::HealthcheckLost => {
                vec!["take out `compression = \"zstd\"`: images with gzip layers keep their HEALTHCHECK".into()]
            }
            Self::Containerfile(error) => error.hints(),
            Self::Store(error) => error.hints(),
            Self::Inspect(error) => error.hints(),
            Self::Fs(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}
