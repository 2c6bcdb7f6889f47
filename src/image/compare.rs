//! Two images compared file by file: what a reviewer sees when a build gives something else than the lock says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::SealError;
use super::config::CREATED_BY;
use super::inspect::{FileRecord, ImageFiles, InspectError, LayerCache, OpenImage, Owners, RecordKind, open_sealed};
use super::seal::{NPM_LAYER, PIP_LAYER, STATE_LAYER, SYSTEM_LAYER, SealedImage};
use crate::base::tar::Special;
use crate::model::Sha256;
use crate::store::Store;

/// What differs about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// The second image does not have it.
    OnlyInFirst,
    /// The first image does not have it.
    OnlyInSecond,
    /// A file here, a directory or link there.
    Kind,
    /// The bytes.
    Content,
    /// The permission bits.
    Mode,
    /// The owner or group.
    Owner,
    /// What a symbolic link points to, or which paths are hard links of each other.
    Link,
    /// The extended attributes.
    Attributes,
    /// The time.
    Time,
    /// The layer it is in.
    Layer,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::OnlyInFirst => "only in the first",
            Self::OnlyInSecond => "only in the second",
            Self::Kind => "kind",
            Self::Content => "content",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Link => "link",
            Self::Attributes => "attributes",
            Self::Time => "time",
            Self::Layer => "layer",
        })
    }
}

/// What a path is in one of the images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileFacts {
    /// `directory`, `file`, `symlink`, `character-device`, `block-device` or `fifo`.
    pub kind: &'static str,
    /// The size in bytes, of a file.
    pub size: Option<u64>,
    /// What its bytes hash to, of a file.
    pub sha256: Option<Sha256>,
    /// What it points to, of a symbolic link; of hard links, the first of them.
    pub link: Option<String>,
    /// Permission bits with setuid, setgid and sticky, in octal.
    pub mode: String,
    /// Numeric owner and group: `0:0`.
    pub owner: String,
    /// Names of its extended attributes.
    pub attributes: Vec<String>,
    /// Seconds since 1970.
    pub time: i64,
    /// What made its layer, as the image's history says.
    pub layer: Option<String>,
}

/// A path and all that differs about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileDifference {
    /// Relative to the root.
    pub path: PathBuf,
    /// What differs, sorted.
    pub differences: Vec<Difference>,
    /// What it is in the first image.
    pub first: Option<FileFacts>,
    /// What it is in the second image.
    pub second: Option<FileFacts>,
    /// The package it is of: `apt:git 1:2.47.3-0+deb13u1`, `npm:shout`, `pip:sums 3.1`.
    pub package: Option<String>,
    /// The step that makes such files: `apt.install`, `RUN`; of others' images what their history says.
    pub step: Option<String>,
}

impl std::fmt::Display for FileDifference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<String> = self.differences.iter().map(ToString::to_string).collect();
        write!(formatter, "/{}  {}", self.path.display(), words.join(", "))?;
        for more in [&self.package, &self.step].into_iter().flatten() {
            write!(formatter, "  {more}")?;
        }
        Ok(())
    }
}

/// The paths of a list of differences, for messages.
impl AsRef<Path> for FileDifference {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

/// A value of the config that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigDifference {
    /// Where it stands: `config.Env`.
    pub key: String,
    /// What the first image has.
    pub first: Option<Value>,
    /// What the second image has.
    pub second: Option<Value>,
}

/// An image by what it was called and its ID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageName {
    /// What it was called.
    pub name: String,
    /// The image ID.
    pub id: Sha256,
}

/// How two images differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageComparison {
    /// The first image.
    pub first: ImageName,
    /// The second image.
    pub second: ImageName,
    /// Whether they are one image: the same ID.
    pub same: bool,
    /// The paths that differ, sorted.
    pub files: Vec<FileDifference>,
    /// The values of the config that differ, sorted; the layers' digests are not among them.
    pub config: Vec<ConfigDifference>,
}

/// Names the paths of two images of the store that differ, sorted; none when only the configs differ.
///
/// # Errors
/// When a layer is missing from the store or damaged.
pub fn compare(first: &SealedImage, second: &SealedImage, store: &Store) -> Result<Vec<FileDifference>, SealError> {
    Ok(compare_images(&open_sealed(first, store)?, &open_sealed(second, store)?)?.files)
}

/// Compares two images: every path, the package and the step that it is of, and the configs.
///
/// # Errors
/// When a layer cannot be read or is damaged.
pub fn compare_images(first: &OpenImage, second: &OpenImage) -> Result<ImageComparison, InspectError> {
    let mut cache = LayerCache::default();
    let (one, other) = (cache.files(first)?, cache.files(second)?);
    drop(cache);
    let mut config = Vec::new();
    compare_values("", Some(&first.config), Some(&second.config), &mut config);
    let name = |image: &OpenImage| ImageName { name: image.name.clone(), id: image.id };
    Ok(ImageComparison {
        first: name(first),
        second: name(second),
        same: first.id == second.id,
        files: compare_files(&one, &other),
        config,
    })
}

fn compare_files(first: &ImageFiles, second: &ImageFiles) -> Vec<FileDifference> {
    let mut found: BTreeMap<&Path, Vec<Difference>> = BTreeMap::new();
    for (path, record) in &first.paths {
        let differences = match second.paths.get(path) {
            None => vec![Difference::OnlyInFirst],
            Some(other) => compare_records((first, record), (second, other)),
        };
        if !differences.is_empty() {
            found.insert(path, differences);
        }
    }
    let missing = second.paths.keys().filter(|path| !first.paths.contains_key(*path));
    found.extend(missing.map(|path| (path.as_path(), vec![Difference::OnlyInSecond])));
    let owners = [first, second].map(|files| Owners::of(files, found.keys().copied()));
    let described = found.iter().map(|(path, differences)| {
        let facts = |files: &ImageFiles| files.paths.get(*path).map(|record| facts(files, record));
        let (one, other) = (facts(first), facts(second));
        let package = owners[1].get(path).or_else(|| owners[0].get(path)).map(str::to_owned);
        let layer = other.as_ref().or(one.as_ref()).and_then(|facts| facts.layer.clone());
        let step = layer.map(|layer| step(&layer, package.as_deref()));
        let (path, differences) = (path.to_path_buf(), differences.clone());
        FileDifference { path, differences, first: one, second: other, package, step }
    });
    described.collect()
}

fn compare_records(first: (&ImageFiles, &FileRecord), second: (&ImageFiles, &FileRecord)) -> Vec<Difference> {
    let ((_, one), (_, other)) = (first, second);
    let mut found = Vec::new();
    match (&one.kind, &other.kind) {
        (RecordKind::File { digest: one, .. }, RecordKind::File { digest: other, .. }) if one != other => {
            found.push(Difference::Content);
        }
        (RecordKind::Symlink(one), RecordKind::Symlink(other)) if one != other => found.push(Difference::Link),
        (RecordKind::Special(one), RecordKind::Special(other)) if one != other => found.push(Difference::Kind),
        (one, other) if std::mem::discriminant(one) != std::mem::discriminant(other) => found.push(Difference::Kind),
        _ => {}
    }
    // Layers of others' images are split by steps of their own, which say nothing about a file.
    let own_layer = |(files, record): (&ImageFiles, &FileRecord)| {
        let step = files.steps.get(record.layer).cloned().flatten()?;
        step.strip_prefix(CREATED_BY).map(|origin| origin_of(origin).to_owned())
    };
    let layers = own_layer(first).zip(own_layer(second));
    let is_directory = one.kind == RecordKind::Directory;
    let checks = [
        (one.linked != other.linked, Difference::Link),
        (one.meta.mode != other.meta.mode, Difference::Mode),
        ((one.meta.uid, one.meta.gid) != (other.meta.uid, other.meta.gid), Difference::Owner),
        (one.meta.xattrs != other.meta.xattrs, Difference::Attributes),
        (one.mtime != other.mtime, Difference::Time),
        // A directory is in every layer that has something below it.
        (!is_directory && layers.is_some_and(|(one, other)| one != other), Difference::Layer),
    ];
    found.extend(checks.into_iter().filter(|(differs, _)| *differs).map(|(_, difference)| difference));
    found.sort();
    found.dedup();
    found
}

fn facts(files: &ImageFiles, record: &FileRecord) -> FileFacts {
    let (kind, size, sha256, target) = match &record.kind {
        RecordKind::Directory => ("directory", None, None, None),
        RecordKind::File { size, digest } => ("file", Some(*size), Some(*digest), None),
        RecordKind::Symlink(target) => ("symlink", None, None, Some(target.to_string_lossy().into_owned())),
        RecordKind::Special(Special::CharacterDevice(..)) => ("character-device", None, None, None),
        RecordKind::Special(Special::BlockDevice(..)) => ("block-device", None, None, None),
        RecordKind::Special(Special::Fifo) => ("fifo", None, None, None),
    };
    FileFacts {
        kind,
        size,
        sha256,
        link: target.or_else(|| record.linked.as_ref().map(|path| format!("/{}", path.display()))),
        mode: format!("{:04o}", record.meta.mode),
        owner: format!("{}:{}", record.meta.uid, record.meta.gid),
        attributes: record.meta.xattrs.keys().cloned().collect(),
        time: record.mtime,
        layer: files.steps.get(record.layer).cloned().flatten(),
    }
}

/// The step of the template that makes files of a layer; what the history says where it is no layer of oclock.
fn step(layer: &str, package: Option<&str>) -> String {
    let Some(origin) = layer.strip_prefix(CREATED_BY) else { return layer.to_owned() };
    let is_debian = package.is_some_and(|package| package.starts_with("apt:"));
    match origin_of(origin) {
        NPM_LAYER => "npm.install",
        PIP_LAYER => "pip.install",
        "files" => "COPY",
        SYSTEM_LAYER | STATE_LAYER if is_debian => "apt.install",
        SYSTEM_LAYER | STATE_LAYER => "RUN or a maintainer script",
        other => other,
    }
    .to_owned()
}

/// The origin of a layer without the package or part of it.
fn origin_of(layer: &str) -> &str {
    layer.split('/').next().unwrap_or(layer)
}

/// Collects the values that differ; objects key by key, everything else as a whole.
fn compare_values(key: &str, first: Option<&Value>, second: Option<&Value>, found: &mut Vec<ConfigDifference>) {
    if first == second || key == "rootfs" {
        return;
    }
    if let (Some(Value::Object(one)), Some(Value::Object(other))) = (first, second) {
        let keys: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
        for name in keys {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            compare_values(&key, one.get(name), other.get(name), found);
        }
        return;
    }
    found.push(ConfigDifference { key: key.to_owned(), first: first.cloned(), second: second.cloned() });
}
