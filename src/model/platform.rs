//! The platform an image is for, and what each ecosystem calls it. Never the host's.

use std::fmt;

use super::{ValueError, text_value};

/// A processor architecture, by its name in container images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

impl Architecture {
    /// The name in container images and in Debian.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The kernel's name, as Python's `platform.machine()` gives it.
    pub fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// Node's `process.arch`.
    pub fn node_cpu(self) -> &'static str {
        match self {
            Self::Amd64 => "x64",
            Self::Arm64 => "arm64",
        }
    }
}

/// An operating system and architecture: `linux/amd64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// The architecture; the operating system is always Linux.
    pub architecture: Architecture,
}

impl Platform {
    /// `linux/amd64`.
    pub const LINUX_AMD64: Self = Self { architecture: Architecture::Amd64 };

    /// Reads `linux/amd64` or `linux/arm64`.
    ///
    /// # Errors
    /// When it is any other text.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let architecture = match text {
            "linux/amd64" => Architecture::Amd64,
            "linux/arm64" => Architecture::Arm64,
            _ => return Err(ValueError::new("platform", text, "`linux/amd64` and `linux/arm64` are known")),
        };
        Ok(Self { architecture })
    }

    /// The operating system: `linux`.
    pub fn os(self) -> &'static str {
        "linux"
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os(), self.architecture.as_str())
    }
}

text_value!(Platform);
