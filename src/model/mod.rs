//! Plain values that every part speaks of: digests, packages, artifacts, platforms, image references.

mod artifact;
mod compression;
mod debian_version;
mod digest;
mod image_path;
mod image_ref;
mod package;
mod platform;

pub use artifact::{Artifact, ArtifactPath, SourceName};
pub use compression::LayerCompression;
pub use debian_version::compare_debian_versions;
pub use digest::{Hasher, Sha256, Sha512};
pub use image_path::check_image_path;
pub use image_ref::ImageReference;
pub use package::{Ecosystem, PackageName, PackageVersion};
pub use platform::{Architecture, Platform};

/// A text that is not a valid value of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no {kind}: {why}", crate::base::text::sanitize(text))]
pub struct ValueError {
    /// What it should have been.
    pub kind: &'static str,
    /// What it was.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl ValueError {
    /// Says what `text` should have been and why it is not.
    pub fn new(kind: &'static str, text: &str, why: impl Into<String>) -> Self {
        Self { kind, text: text.chars().take(120).collect(), why: why.into() }
    }
}

/// Writes `FromStr`, `TryFrom<String>`, `Display`, `Serialize` and `Deserialize` for a newtype with one `parse`.
macro_rules! text_value {
    ($name:ident) => {
        impl std::str::FromStr for $name {
            type Err = crate::model::ValueError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}
use text_value;
