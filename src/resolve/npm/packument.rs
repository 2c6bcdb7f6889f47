//! A package's document as the registry serves it, and npm's choice among its versions (behaviour of npm-pick-manifest 12).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use deno_semver::{Version, VersionReq};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::spec::{Spec, SpecKind};
use crate::model::Platform;
use crate::source::{AsOf, parse_moment};

/// The npm whose behaviour is reproduced; some packages ask for one in `engines`.
const NPM_VERSION: &str = "12.2.2";

/// The machine that packages are chosen for.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Platform of the image.
    pub platform: Platform,
    /// Its Node.
    pub node: Version,
    /// Its npm.
    pub npm: Version,
}

impl Target {
    /// Reads the Node version, such as `20.19.2`.
    pub fn new(platform: Platform, node_version: &str) -> Option<Self> {
        let node = Version::parse_from_npm(node_version).ok()?;
        let npm = Version::parse_from_npm(NPM_VERSION).ok()?;
        Some(Self { platform, node, npm })
    }
}

/// How a dependency is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EdgeKind {
    /// `dependencies`.
    Prod,
    /// `optionalDependencies`.
    Optional,
    /// `peerDependencies`.
    Peer,
    /// `peerDependencies` that `peerDependenciesMeta` calls optional.
    PeerOptional,
}

impl EdgeKind {
    /// Whether it is met beside the package instead of below it.
    pub fn is_peer(self) -> bool {
        matches!(self, Self::Peer | Self::PeerOptional)
    }

    /// Whether it may stay unmet.
    pub fn is_optional(self) -> bool {
        matches!(self, Self::Optional | Self::PeerOptional)
    }
}

/// One declared dependency.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// The folder it is looked for in `node_modules`.
    pub name: Arc<str>,
    /// `name` as file systems without case see it.
    pub key: Arc<str>,
    /// What is asked for.
    pub spec: Arc<Spec>,
    /// How.
    pub kind: EdgeKind,
}

impl Wish {
    /// Makes one.
    pub fn new(name: &str, spec: Spec, kind: EdgeKind) -> Self {
        Self { name: name.into(), key: name.to_lowercase().into(), spec: Arc::new(spec), kind }
    }
}

/// One version of a package.
#[derive(Clone, Debug, Default)]
pub(super) struct Manifest {
    /// The registry's name; empty for a root or a package that could not be loaded.
    pub name: String,
    /// The version as text.
    pub version_text: String,
    /// The version.
    pub version: Option<Version>,
    /// What it depends on, in the order in which npm's edges stand.
    pub wishes: Vec<Wish>,
    /// The names of dependencies that its tarball brings along.
    pub bundled: BTreeSet<String>,
    /// The registry's `dist`.
    pub dist: Dist,
    engines_fit: bool,
    platform_fits: bool,
    deprecated: bool,
}

/// Where a version's tarball is and what it must hash to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Dist {
    /// Subresource integrity (W3C SRI), `sha512-…` as a rule.
    pub integrity: Option<String>,
    /// SHA-1 in hexadecimal.
    pub shasum: Option<String>,
    /// URL of the tarball.
    pub tarball: Option<String>,
}

impl Manifest {
    /// What a manifest of oclock asks for, or nothing at all.
    pub fn root(wishes: Vec<Wish>) -> Self {
        Self { wishes, ..Self::default() }
    }

    /// Whether `engines` admits the target.
    pub fn engines_fit(&self) -> bool {
        self.engines_fit
    }

    /// Whether `os`, `cpu` and `libc` admit the target.
    pub fn platform_fits(&self) -> bool {
        self.platform_fits
    }

    /// What tells one set of bytes from another: the registry's hash.
    pub fn identity(&self) -> Option<&str> {
        self.dist.integrity.as_deref().or(self.dist.shasum.as_deref())
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawManifest {
    name: Value,
    version: Value,
    dependencies: Value,
    optional_dependencies: Value,
    peer_dependencies: Value,
    peer_dependencies_meta: Value,
    bundle_dependencies: Value,
    bundled_dependencies: Value,
    engines: Value,
    os: Value,
    cpu: Value,
    libc: Value,
    deprecated: Value,
    dist: Dist,
}

#[derive(Deserialize)]
struct RawPackument {
    #[serde(rename = "dist-tags", default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    versions: BTreeMap<String, Box<RawValue>>,
    #[serde(default)]
    time: BTreeMap<String, Value>,
}

/// All versions of a package.
#[derive(Debug)]
pub(super) struct Packument {
    name: String,
    tags: BTreeMap<String, String>,
    versions: BTreeMap<String, Box<RawValue>>,
    times: BTreeMap<String, i64>,
    /// Versions that are there and do not count, because they were published too late.
    late: BTreeSet<String>,
    read: Mutex<BTreeMap<String, Option<Arc<Manifest>>>>,
}

impl Packument {
    /// Reads the registry's answer about `name`. Versions that claim another name do not count.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let RawPackument { tags, versions, time } = serde_json::from_slice(bytes)?;
        let moment = |value: &Value| value.as_str().and_then(parse_moment);
        let times = time.iter().filter_map(|(version, value)| Some((version.clone(), moment(value)?)));
        let times = times.filter(|(version, _)| versions.contains_key(version)).collect();
        let late = BTreeSet::new();
        Ok(Self { name: name.to_owned(), tags, versions, times, late, read: Mutex::default() })
    }

    /// The package that it is about.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version that a tag names.
    pub fn tagged(&self, tag: &str) -> Option<&str> {
        self.tags.get(tag).map(String::as_str)
    }

    /// The tags and versions, for a message: tags first, then the newest versions.
    pub fn known(&self, most: usize) -> Vec<String> {
        let mut versions = self.sorted(|_| true);
        versions.truncate(most);
        let tags = self.tags.iter().map(|(tag, version)| format!("{tag} = {version}"));
        tags.take(most).chain(versions.into_iter().map(|(_, text)| text.to_owned())).collect()
    }

    /// Chooses a version as npm does: `latest` if it is in range, runs on the target and is not deprecated; else the best of
    /// those in range, by (not deprecated and runs), runs, not deprecated, highest.
    pub fn pick(&self, spec: &Spec, target: &Target) -> Option<Arc<Manifest>> {
        let range = match &spec.kind {
            SpecKind::Tag => {
                let tagged = self.tags.get(&spec.text)?;
                // What a tag named before is not kept: the highest up to what it names now (behaviour of `npm --before`).
                return match self.is_late(tagged) {
                    true => self.pick(&Spec::parse(&format!("<={tagged}")), target),
                    false => self.manifest(tagged, target),
                };
            }
            SpecKind::Version(version) => {
                return self.manifest(&clean(version), target).filter(|found| !self.is_late(&found.version_text));
            }
            SpecKind::Elsewhere => return None,
            SpecKind::Any => None,
            SpecKind::Range(range) => Some(range),
        };
        if let Some(latest) = self.tags.get("latest")
            && range.is_none_or(|range| Version::parse_from_npm(latest).is_ok_and(|version| range.matches(&version)))
            && !self.is_late(latest)
            && let Some(manifest) = self.manifest(latest, target)
            && manifest.engines_fit
            && !manifest.deprecated
        {
            return Some(manifest);
        }
        let mut best: Option<(u8, Arc<Manifest>)> = None;
        for (_, text) in self.sorted(|version| range.map_or(version.pre.is_empty(), |range| range.matches(version))) {
            let Some(manifest) = self.manifest(text, target) else { continue };
            let class = match (manifest.engines_fit, manifest.deprecated) {
                (true, false) => return Some(manifest),
                (true, true) => 2,
                (false, false) => 1,
                (false, true) => 0,
            };
            if best.as_ref().is_none_or(|(other, _)| class > *other) {
                best = Some((class, manifest));
            }
        }
        best.map(|(_, manifest)| manifest)
    }

    /// The versions that pass, highest first.
    fn sorted(&self, passes: impl Fn(&Version) -> bool) -> Vec<(Version, &str)> {
        let parsed = self.versions.keys().filter_map(|text| Some((Version::parse_from_npm(text).ok()?, text.as_str())));
        let mut versions: Vec<_> =
            parsed.filter(|(version, text)| passes(version) && !self.late.contains(*text)).collect();
        versions.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| b.0.build.cmp(&a.0.build)));
        versions
    }

    /// The document as if some versions had never been published.
    #[must_use]
    pub fn without(mut self, versions: &BTreeSet<String>) -> Self {
        self.versions.retain(|version, _| !versions.contains(version));
        self
    }

    /// The document in which versions that were published too late do not count; nothing when it says no times.
    pub fn standing(mut self, as_of: &AsOf) -> Option<Self> {
        if self.times.is_empty() && !self.versions.is_empty() {
            return None;
        }
        let is_late = |version: &&String| !as_of.admits(self.times.get(*version).copied());
        self.late = self.versions.keys().filter(is_late).cloned().collect();
        Some(self)
    }

    /// When a version was published, where the document says so.
    pub fn published(&self, version: &str) -> Option<i64> {
        self.times.get(version).copied()
    }

    /// Whether a version counts.
    pub fn is_late(&self, version: &str) -> bool {
        self.late.contains(version)
    }

    /// The newest of those that would answer and were published too late.
    pub fn newest_late(&self, spec: &Spec) -> Option<&str> {
        if let SpecKind::Tag = spec.kind {
            return self.tags.get(&spec.text).map(String::as_str).filter(|version| self.is_late(version));
        }
        let parsed = self.late.iter().filter_map(|text| Some((Version::parse_from_npm(text).ok()?, text.as_str())));
        let fitting = parsed.filter(|(version, _)| spec.is_satisfied_by(Some(version)));
        fitting.max_by(|one, other| one.0.cmp(&other.0)).map(|(_, text)| text)
    }

    /// One version, if it is there, whether it counts or not.
    pub fn manifest(&self, version: &str, target: &Target) -> Option<Arc<Manifest>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.get(version) {
            return known.clone();
        }
        let raw = self.versions.get(version).and_then(|raw| serde_json::from_str::<RawManifest>(raw.get()).ok());
        let manifest = raw.and_then(|raw| raw.into_manifest(target)).filter(|manifest| manifest.name == self.name);
        let manifest = manifest.map(Arc::new);
        read.insert(version.to_owned(), manifest.clone());
        manifest
    }
}

/// A version's text without build metadata, as it stands in a registry.
fn clean(version: &Version) -> String {
    let mut clean = version.clone();
    clean.build.clear();
    clean.to_string()
}

impl RawManifest {
    fn into_manifest(self, target: &Target) -> Option<Manifest> {
        let version_text = self.version.as_str()?.to_owned();
        let engine = |name: &str, version: &Version| {
            let wanted = self.engines.get(name).and_then(Value::as_str).map(str::trim);
            wanted.is_none_or(|range| {
                range.is_empty() || VersionReq::parse_from_npm(range).is_ok_and(|r| admits(&r, version))
            })
        };
        let platform = target.platform;
        Some(Manifest {
            name: self.name.as_str()?.to_owned(),
            version: Version::parse_from_npm(&version_text).ok(),
            engines_fit: engine("node", &target.node) && engine("npm", &target.npm),
            platform_fits: is_listed(&self.os, platform.os())
                && is_listed(&self.cpu, platform.architecture.node_cpu())
                && is_listed(&self.libc, "glibc"),
            deprecated: match &self.deprecated {
                Value::Null | Value::Bool(false) => false,
                Value::String(text) => !text.is_empty(),
                _ => true,
            },
            bundled: self.bundled(),
            wishes: self.wishes(),
            dist: self.dist,
            version_text,
        })
    }

    /// The edges in npm's order: peers, optional peers, dependencies, optional dependencies; the last mention of a name counts.
    fn wishes(&self) -> Vec<Wish> {
        let is_optional = |name: &str| {
            let meta = self.peer_dependencies_meta.get(name).and_then(|meta| meta.get("optional"));
            meta.is_some_and(|flag| flag != &Value::Bool(false) && flag != &Value::Null)
        };
        let mut wishes: Vec<Wish> = Vec::new();
        let mut add = |name: &str, spec: &str, kind| {
            let wish = Wish::new(name, Spec::parse(spec), kind);
            wishes.retain(|other| other.key != wish.key);
            wishes.push(wish);
        };
        let (optional_peers, peers): (Vec<_>, Vec<_>) =
            entries(&self.peer_dependencies).partition(|(name, _)| is_optional(name));
        peers.into_iter().for_each(|(name, spec)| add(name, spec, EdgeKind::Peer));
        optional_peers.into_iter().for_each(|(name, spec)| add(name, spec, EdgeKind::PeerOptional));
        let optional = self.optional_dependencies.as_object();
        entries(&self.dependencies)
            .filter(|(name, _)| !optional.is_some_and(|all| all.contains_key(*name)))
            .for_each(|(name, spec)| add(name, spec, EdgeKind::Prod));
        entries(&self.optional_dependencies).for_each(|(name, spec)| add(name, spec, EdgeKind::Optional));
        wishes
    }

    fn bundled(&self) -> BTreeSet<String> {
        let list =
            if self.bundle_dependencies.is_null() { &self.bundled_dependencies } else { &self.bundle_dependencies };
        match list {
            Value::Bool(true) => entries(&self.dependencies).map(|(name, _)| name.to_owned()).collect(),
            Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Value::Object(names) => names.keys().cloned().collect(),
            _ => BTreeSet::new(),
        }
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &str)> {
    value.as_object().into_iter().flatten().filter_map(|(name, spec)| Some((name.as_str(), spec.as_str()?)))
}

/// Whether an engine's range admits a version. npm would admit pre-releases too; targets are releases.
fn admits(range: &VersionReq, version: &Version) -> bool {
    range.range().is_some() && range.matches(version)
}

/// Whether an `os`, `cpu` or `libc` list admits a value: none that is negated, one of the others if there are others.
fn is_listed(list: &Value, value: &str) -> bool {
    let names: Vec<&str> = match list {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => return true,
    };
    if names == ["any"] {
        return true;
    }
    let (negated, named): (Vec<&str>, Vec<&str>) = names.into_iter().partition(|name| name.starts_with('!'));
    !negated.iter().any(|name| &name[1..] == value) && (named.is_empty() || named.contains(&value))
}
