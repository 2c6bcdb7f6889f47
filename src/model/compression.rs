//! How the layers of an image are compressed when it leaves for a layout or a registry.

use super::ValueError;

/// The compression of layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayerCompression {
    /// gzip (RFC 1952), which every engine and registry reads.
    #[default]
    Gzip,
    /// zstd (RFC 8878), which OCI 1.1 has and older engines do not read.
    Zstd,
}

impl LayerCompression {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    /// Reads `gzip` or `zstd`.
    ///
    /// # Errors
    /// When it is any other text.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let found = Self::ALL.into_iter().find(|compression| compression.as_str() == text);
        found.ok_or_else(|| ValueError::new("compression of layers", text, "the two are `gzip` and `zstd`"))
    }

    /// The name in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

impl std::fmt::Display for LayerCompression {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}
