//! The interpreter and platform that wheels are chosen for.

use std::str::FromStr;

use uv_distribution_filename::WheelFilename;
use uv_pep440::Version;
use uv_pep508::{MarkerEnvironment, MarkerEnvironmentBuilder};
use uv_platform_tags::{Arch, Os, Platform, TagCompatibility, TagPriority, Tags, TagsOptions};

use super::{PipError, PipRequest};
use crate::model::Architecture;

/// CPython of one version on one Linux.
#[derive(Debug)]
pub(super) struct Target {
    /// The full version.
    pub(super) python: Version,
    /// What markers see. The kernel's release and version are empty: an image has none.
    pub(super) markers: MarkerEnvironment,
    /// For people: `CPython 3.13.5 on linux/amd64, glibc 2.41`.
    pub(super) description: String,
    tags: Tags,
}

impl Target {
    pub(super) fn new(request: &PipRequest<'_>) -> Result<Self, PipError> {
        let text = request.python_version;
        let fail = || PipError::Python { text: text.to_owned() };
        let python = Version::from_str(text).map_err(|_| fail())?;
        let (major, minor) = match &*python.release() {
            [3, minor, _, ..] => (3u8, u8::try_from(*minor).map_err(|_| fail())?),
            _ => return Err(fail()),
        };
        let arch = match request.platform.architecture {
            Architecture::Amd64 => Arch::X86_64,
            Architecture::Arm64 => Arch::Aarch64,
        };
        let (glibc_major, glibc_minor) = request.glibc;
        let os = Os::Manylinux { major: glibc_major, minor: glibc_minor };
        let options = TagsOptions { manylinux_compatible: true, is_cross: true, ..TagsOptions::default() };
        let tags = Tags::from_env(Platform::new(os, arch), (major, minor), "cpython", (major, minor), options)
            .map_err(|_| fail())?;
        let markers = MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
            implementation_name: "cpython",
            implementation_version: text,
            os_name: "posix",
            platform_machine: request.platform.architecture.machine(),
            platform_python_implementation: "CPython",
            platform_release: "",
            platform_system: "Linux",
            platform_version: "",
            python_full_version: text,
            python_version: &format!("{major}.{minor}"),
            sys_platform: "linux",
        })
        .map_err(|_| fail())?;
        let description = format!("CPython {text} on {}, glibc {glibc_major}.{glibc_minor}", request.platform);
        Ok(Self { python, markers, description, tags })
    }

    /// How well a wheel suits; nothing when it does not.
    pub(super) fn priority(&self, wheel: &WheelFilename) -> Option<TagPriority> {
        match wheel.compatibility(&self.tags) {
            TagCompatibility::Compatible(priority) => Some(priority),
            TagCompatibility::Incompatible(_) => None,
        }
    }
}
