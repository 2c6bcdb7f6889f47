//! The one form of an artifact's path: worked out from what is pinned, so that a lock cannot send anyone elsewhere.
//!
//! A path says nothing that name, version and tags do not say already; a lock whose path says something else is refused.

use std::str::FromStr;

use uv_distribution_filename::{DistFilename, WheelFilename};
use uv_pep440::Version;

use super::model::{AptPin, ArchivePin, PipPin};
use crate::model::{ArtifactPath, PackageName, PackageVersion};

/// A project's wheel in its source: `project/filename`.
///
/// # Errors
/// When the file name has a character that a path may not have.
pub fn wheel_path(project: &PackageName, file_name: &str) -> Result<ArtifactPath, crate::model::ValueError> {
    ArtifactPath::parse(&format!("{project}/{file_name}"))
}

/// Whether `path` is where an npm registry has a version's tarball: `name/-/file-version.tgz`, where `file` is the name without
/// its scope. Build metadata may be left out.
pub fn is_npm_path(name: &PackageName, version: &PackageVersion, path: &ArtifactPath) -> bool {
    let file = name.as_str().rsplit('/').next().unwrap_or_default();
    let full = version.as_str();
    let plain = full.split('+').next().unwrap_or(full);
    [full, plain].iter().any(|version| path.as_str() == format!("{name}/-/{file}-{version}.tgz"))
}

/// Whether the file is called as Debian archives call a package: `name_version_architecture.deb`, the version without its
/// epoch, or with it where an archive writes it. The directory is the archive's to choose; its signed index vouches for it.
pub(super) fn is_deb_path(pin: &AptPin) -> bool {
    let version = pin.version.as_str();
    let without_epoch = version.split_once(':').map_or(version, |(_, rest)| rest);
    let (name, architecture, file) = (&pin.name, &pin.architecture, pin.artifact.path.file_name());
    [without_epoch, version, &version.replace(':', "%3a"), &version.replace(':', "%3A")]
        .iter()
        .any(|version| file == format!("{name}_{version}_{architecture}.deb"))
}

/// Whether an archive's files are where archives have them: `dists/suite/InRelease` and
/// `dists/suite/component/binary-architecture/Packages…`.
pub(super) fn are_archive_paths(pin: &ArchivePin) -> bool {
    let below = format!("dists/{}/", pin.suite);
    let is_index = |path: &str| {
        let Some((directory, file)) = path.strip_prefix(&below).and_then(|rest| rest.rsplit_once('/')) else {
            return false;
        };
        let last = directory.rsplit('/').next().unwrap_or_default();
        last.starts_with("binary-") && (file == "Packages" || file.starts_with("Packages."))
    };
    pin.in_release.path.as_str() == format!("{below}InRelease")
        && pin.indexes.iter().all(|index| is_index(index.path.as_str()))
}

/// What is wrong with the file name of a source distribution: it must say the pin's project and version, and be of a kind
/// that can be built.
fn source_flaw(pin: &PipPin, file: &str) -> Option<String> {
    let (name, version) = (&pin.name, &pin.version);
    let project = uv_normalize::PackageName::from_str(name.as_str()).ok()?;
    let Some(DistFilename::SourceDistFilename(found)) = DistFilename::try_from_filename(file, &project) else {
        return Some(format!("the file of {name} is no source distribution's name"));
    };
    if !is_buildable(file) {
        return Some(format!("the file of {name} is of a kind that is not built"));
    }
    let is_same = Version::from_str(version.as_str()).ok().as_ref() == Some(&found.version);
    (!is_same).then(|| format!("the file of {name} {version} is one of version {}", found.version))
}

/// Whether a source distribution is of a kind that is built here: `.tar.gz` (PEP 625) or `.zip`.
pub fn is_buildable(file: &str) -> bool {
    file.ends_with(".tar.gz") || file.ends_with(".zip")
}

/// What is wrong with a wheel's path: it must be `project/filename`, and the file name must say the pin's project, version
/// and tags (PEP 427, "File name convention").
pub(super) fn wheel_flaw(pin: &PipPin) -> Option<String> {
    let path = pin.artifact.path.as_str();
    let (name, version) = (&pin.name, &pin.version);
    let Some(file) = path.strip_prefix(&format!("{name}/")).filter(|file| !file.contains('/')) else {
        return Some(format!("the path of {name} is not `{name}/` and a file name"));
    };
    let is_normal = uv_normalize::PackageName::from_str(name.as_str()).is_ok_and(|own| own.as_ref() == name.as_str());
    if !is_normal {
        return Some(format!("{name} is not a project's name in its normal form"));
    }
    if pin.built.is_some()
        && let Some(flaw) = source_flaw(pin, file)
    {
        return Some(flaw);
    }
    let file = pin.wheel_file();
    let Ok(wheel) = WheelFilename::from_str(file) else {
        return Some(format!("the file of {name} is no wheel's name"));
    };
    if wheel.name.as_ref() != name.as_str() {
        return Some(format!("the file of {name} is one of {}", wheel.name));
    }
    if Version::from_str(version.as_str()).ok().as_ref() != Some(&wheel.version) {
        return Some(format!("the file of {name} {version} is one of version {}", wheel.version));
    }
    let stem = file.strip_suffix(".whl").unwrap_or(file);
    let tags = stem.rmatch_indices('-').nth(2).map(|(dash, _)| &stem[dash + 1..]);
    (tags != Some(pin.tags.as_str())).then(|| format!("the file of {name} has other tags than the lock says"))
}
