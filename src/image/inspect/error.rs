//! Why an image cannot be looked into.

use crate::base::explain::{Explain, Kind};
use crate::base::fs::FsError;
use crate::base::text::sanitize;
use crate::model::{Platform, Sha256};

/// What is wrong with an image that was to be read.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Nothing that is known as an image.
    #[error("`{}` is no image that can be read: {}", sanitize(place), sanitize(why))]
    NotAnImage {
        /// Where it is.
        place: String,
        /// Why not.
        why: String,
    },
    /// Several images, of which one must be chosen.
    #[error("`{}` holds several images", sanitize(place))]
    Several {
        /// Where it is.
        place: String,
        /// What they are for.
        platforms: Vec<String>,
    },
    /// No image for the platform.
    #[error("`{}` holds no image for `{platform}`", sanitize(place))]
    NoPlatform {
        /// Where it is.
        place: String,
        /// What was asked for.
        platform: Platform,
    },
    /// No kept image has the ID.
    #[error("the store keeps no image `{}`", id.prefixed())]
    NotKept {
        /// The ID.
        id: Sha256,
    },
    /// Bytes that are not those of their digest.
    #[error("`{}` is damaged: {what} has other bytes than its digest says", sanitize(place))]
    Damaged {
        /// Where the image is.
        place: String,
        /// Which part.
        what: String,
        /// The digest that is named.
        named: Sha256,
        /// What the bytes hash to.
        found: Sha256,
    },
    /// A layer that cannot be read.
    #[error("a layer of `{}` cannot be read", sanitize(place))]
    Layer {
        /// Where the image is.
        place: String,
        /// The system's answer, or what is wrong with the archive.
        #[source]
        source: std::io::Error,
    },
    /// The disk said no.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Explain for InspectError {
    fn kind(&self) -> Kind {
        match self {
            Self::Damaged { .. } => Kind::Distrust,
            Self::Layer { .. } | Self::NotKept { .. } => Kind::Unable,
            Self::NotAnImage { .. } | Self::Several { .. } | Self::NoPlatform { .. } => Kind::Asked,
            Self::Fs(error) if error.is_not_found() => Kind::Asked,
            Self::Fs(error) => error.kind(),
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::Several { platforms, .. } => platforms.iter().map(|platform| sanitize(platform)).collect(),
            Self::Damaged { named, found, .. } => {
                vec![format!("named  {}", named.prefixed()), format!("holds  {}", found.prefixed())]
            }
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NotAnImage { .. } => vec![
                "images are `docker-archive:FILE`, `oci:DIR`, `oci-archive:FILE`, `dir:DIR`, `docker:NAME`, `buildah:NAME` and `sha256:ID`"
                    .to_owned(),
            ],
            Self::Several { .. } => vec!["choose one with `--platform`".to_owned()],
            Self::NotKept { .. } => vec!["run `oclock build`, which keeps what it builds".to_owned()],
            Self::Fs(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}
