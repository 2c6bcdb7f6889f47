//! The lockfile as a value. Plain data: reading, writing and comparing it are its neighbours' work.

use std::collections::BTreeMap;

use crate::model::{Artifact, Ecosystem, ImageReference, PackageName, PackageVersion, Platform, Sha256, SourceName};

/// The format this program reads and writes. A change of bytes for the same lockfile raises it.
pub const FORMAT_VERSION: u32 = 1;

/// What an image is made of, down to the hash of every byte that goes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lockfile {
    /// Seconds since 1970 that the image takes as its time (SOURCE_DATE_EPOCH). Never after the moment of locking.
    pub epoch: i64,
    /// The platforms that have pins, sorted.
    pub platforms: Vec<Platform>,
    /// Identities of the manifest's sections, so that drift is found offline.
    pub fingerprints: Fingerprints,
    /// The scrub rules and the encoder that the image was sealed with.
    pub seal: SealPin,
    /// What the image stands on.
    pub base: BasePin,
    /// The signed package archives, sorted by source, suite, date and InRelease.
    pub archives: Vec<ArchivePin>,
    /// Debian packages, sorted by platform and name.
    pub apt: Vec<AptPin>,
    /// npm packages, sorted by platform, name and version.
    pub npm: Vec<NpmPin>,
    /// Python wheels, sorted by platform and name.
    pub pip: Vec<PipPin>,
    /// Python wheels that source distributions are built with, sorted by platform, what they build, and name.
    pub pip_builds: Vec<PipBuildPin>,
    /// What these pins build to, once `build --record` has seen it.
    pub images: BTreeMap<Platform, ImagePin>,
}

/// One identity for each manifest section that resolving depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fingerprints {
    /// Base, platforms, epoch.
    pub image: Sha256,
    /// `[apt]`.
    pub apt: Sha256,
    /// `[npm]`.
    pub npm: Sha256,
    /// `[pip]`.
    pub pip: Sha256,
}

/// The rules that turn a root filesystem into bytes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SealPin {
    /// sha256 of the scrub rules' file.
    pub rules: Sha256,
    /// The compressor with its version, level and block size, such as `gzip-libdeflate-1.26.1-6-4MiB`.
    pub encoder: String,
}

/// What the image stands on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub enum BasePin {
    /// Nothing but signed packages of this suite.
    Debian {
        /// The suite, such as `trixie`.
        suite: String,
    },
    /// An image of a registry, by digest.
    Image {
        /// The reference as asked, with its tag.
        reference: ImageReference,
        /// The source (registry) it is bound to.
        source: SourceName,
        /// The digest of the index (or of the only manifest) that the tag named.
        index: Sha256,
        /// One manifest for each platform.
        manifests: BTreeMap<Platform, BaseManifest>,
    },
}

/// One platform's manifest of a base image.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BaseManifest {
    /// The manifest's own digest.
    pub digest: Sha256,
    /// The manifest's size in bytes.
    pub size: u64,
    /// The digest of the image's config.
    pub config: Sha256,
    /// The layers, lowest first.
    pub layers: Vec<BaseLayer>,
}

/// One layer of a base image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BaseLayer {
    /// The digest of the blob as the registry has it.
    pub digest: Sha256,
    /// The blob's size in bytes.
    pub size: u64,
    /// The digest of the uncompressed tar.
    pub diff_id: Sha256,
}

/// One suite of a signed archive: the chain InRelease → Packages, down to which every `.deb` is traced.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ArchivePin {
    /// The source that has it.
    pub source: SourceName,
    /// The suite, such as `trixie-security`.
    pub suite: String,
    /// The Date field of its InRelease, in seconds since 1970; the keys are judged as of then.
    pub date: i64,
    /// The moment at which a snapshot-style archive was read, in seconds since 1970; nothing for any other.
    pub snapshot: Option<i64>,
    /// Fingerprints (upper-case hexadecimal) of the keys whose signatures verified, sorted.
    pub keys: Vec<String>,
    /// The InRelease file; its path is below the source's base URL.
    pub in_release: Artifact,
    /// The Packages files used, sorted by path; each listed with this sha256 in the InRelease.
    pub indexes: Vec<Artifact>,
}

/// One Debian package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AptPin {
    /// The binary package.
    pub name: PackageName,
    /// Its version.
    pub version: PackageVersion,
    /// The platform it is for.
    pub platform: Platform,
    /// Its own architecture: `amd64`, `arm64` or `all`.
    pub architecture: String,
    /// The suite it was taken from.
    pub suite: String,
    /// The source package it was built from, and that one's version: what advisories speak of.
    pub source_package: PackageName,
    /// See `source_package`.
    pub source_version: PackageVersion,
    /// The `.deb`.
    pub artifact: Artifact,
    /// Who asked: names of packages of this lock, `manifest` for a requirement, `essential` for the base set. Sorted.
    pub required_by: Vec<String>,
}

/// One npm package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NpmPin {
    /// The package's real name, also where an alias is installed.
    pub name: PackageName,
    /// Its version.
    pub version: PackageVersion,
    /// The platform it is for.
    pub platform: Platform,
    /// The directories it is laid into, absolute, sorted: `/usr/local/lib/node_modules/opencode-ai`.
    pub places: Vec<String>,
    /// When the source says that it was published, in seconds since 1970; nothing where it does not say.
    pub published: Option<i64>,
    /// The tarball; `sha512` is the registry's integrity where it serves one.
    pub artifact: Artifact,
    /// sha256 of the command line of each install script (preinstall, install, postinstall) that it brings.
    pub scripts: BTreeMap<String, Sha256>,
    /// Who asked: places of packages of this lock or `manifest`. Sorted.
    pub required_by: Vec<String>,
}

/// One Python wheel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipPin {
    /// The project's normalised name.
    pub name: PackageName,
    /// Its version.
    pub version: PackageVersion,
    /// The platform it is for.
    pub platform: Platform,
    /// The wheel's tags as in its file name: `cp313-cp313-manylinux_2_17_x86_64`.
    pub tags: String,
    /// When the source says that it was uploaded, in seconds since 1970; nothing where it does not say.
    pub published: Option<i64>,
    /// The wheel, or the source distribution that it is built of; the path is `project/filename`.
    pub artifact: Artifact,
    /// The wheel, where the artifact is a source distribution.
    pub built: Option<BuiltWheel>,
    /// Who asked: names of packages of this lock or `manifest`. Sorted.
    pub required_by: Vec<String>,
}

/// A wheel that was built of a source distribution, in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct BuiltWheel {
    /// Its file name.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
}

/// One Python wheel of the room in which a source distribution is built. It is in no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipBuildPin {
    /// The project that is built with it: the pin of that name and platform has a [`PipPin::built`].
    pub builds: PackageName,
    /// The wheel. Who asked: names of packages of the same room, or [`BUILD_SYSTEM`].
    pub wheel: PipPin,
}

/// What a lock builds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ImagePin {
    /// The image ID: sha256 of the config.
    pub id: Sha256,
    /// sha256 of the manifest with layers compressed by the lock's encoder.
    pub digest: Sha256,
    /// The digest of the build context that it was built from: pins, the project's own files and the Containerfile.
    pub context: Sha256,
}

/// What every pin has, whatever its ecosystem.
#[derive(Clone, Copy, Debug)]
pub struct PinView<'a> {
    /// Where it comes from.
    pub ecosystem: Ecosystem,
    /// Its name.
    pub name: &'a PackageName,
    /// Its version.
    pub version: &'a PackageVersion,
    /// The platform it is for.
    pub platform: Platform,
    /// When its source says that it was published, in seconds since 1970.
    pub published: Option<i64>,
    /// Its file.
    pub artifact: &'a Artifact,
    /// Who asked for it.
    pub required_by: &'a [String],
    /// The project that is built with it, where it is in no image.
    pub builds: Option<&'a PackageName>,
}

impl ArchivePin {
    /// What archives are sorted by: a suite may stand in a lock with several dates.
    pub fn order(&self) -> (SourceName, String, i64, Sha256) {
        (self.source.clone(), self.suite.clone(), self.date, self.in_release.sha256)
    }
}

impl Lockfile {
    /// All pins, ecosystem by ecosystem, in the lockfile's order.
    pub fn pins(&self) -> impl Iterator<Item = PinView<'_>> {
        let apt = self.apt.iter().map(AptPin::view);
        let npm = self.npm.iter().map(NpmPin::view);
        let pip = self.pip.iter().map(PipPin::view);
        apt.chain(npm).chain(pip).chain(self.pip_builds.iter().map(PipBuildPin::view))
    }

    /// The pins whose packages are in an image, in the same order: all but those that only build others.
    pub fn installed(&self) -> impl Iterator<Item = PinView<'_>> {
        self.pins().filter(|pin| pin.builds.is_none())
    }

    /// Every file that building for `platform` needs, sorted and each once. Base layers are not among them.
    pub fn artifacts(&self, platform: Platform) -> Vec<&Artifact> {
        let mut artifacts: Vec<&Artifact> =
            self.pins().filter(|pin| pin.platform == platform).map(|pin| pin.artifact).collect();
        artifacts.sort();
        artifacts.dedup();
        artifacts
    }
}

macro_rules! view {
    ($pin:ident, $ecosystem:ident, $published:expr) => {
        impl $pin {
            /// What it has in common with pins of other ecosystems.
            pub fn view(&self) -> PinView<'_> {
                PinView {
                    ecosystem: Ecosystem::$ecosystem,
                    name: &self.name,
                    version: &self.version,
                    platform: self.platform,
                    published: $published(self),
                    artifact: &self.artifact,
                    required_by: &self.required_by,
                    builds: None,
                }
            }
        }
    };
}

view!(AptPin, Apt, |_| None);
view!(NpmPin, Npm, |pin: &NpmPin| pin.published);
view!(PipPin, Pip, |pin: &PipPin| pin.published);

impl PipPin {
    /// The digest of the wheel that is installed.
    pub fn wheel_sha256(&self) -> &Sha256 {
        self.built.as_ref().map_or(&self.artifact.sha256, |built| &built.sha256)
    }

    /// The file name of the wheel that is installed.
    pub fn wheel_file(&self) -> &str {
        self.built.as_ref().map_or_else(|| self.artifact.path.file_name(), |built| &built.file)
    }
}

impl PipBuildPin {
    /// What it has in common with other pins.
    pub fn view(&self) -> PinView<'_> {
        PinView { builds: Some(&self.builds), ..self.wheel.view() }
    }
}

/// The name under which a manifest's own requirement stands in `required-by`.
pub const MANIFEST: &str = "manifest";
/// The name under which the essential set stands in `required-by`.
pub const ESSENTIAL: &str = "essential";
/// The name under which the project that is built stands in `required-by` of what it is built with.
pub const BUILD_SYSTEM: &str = "build-system";
