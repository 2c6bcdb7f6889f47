//! npm packages: the tree that npm would lay out for a target, as pins.
//!
//! Owns the registry's documents, npm's choice of versions and arborist's placement (npm 12.2), for projects and for global
//! installations. Knows nothing of what becomes of the pins. Works without npm and never looks at the machine it runs on.
//!
//! What npm does and this does not, and refuses by name: folders, archives and repositories as dependencies, circles of versions
//! that npm closes with a symbolic link. As of npm 12, a package's own npm-shrinkwrap.json counts for nothing.

mod can_place;
mod collate;
mod error;
mod ideal;
mod kept;
mod overrides;
mod packument;
mod pins;
mod place;
mod registry;
mod scripts;
mod sets;
mod spec;
mod tarball;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};

use self::kept::Preferences;
use self::packument::{EdgeKind, Target, Wish};
use self::pins::{Plan, Planned};
use self::registry::Registry;
use self::spec::Spec;
use self::tarball::{Contents, Tarball};
use self::tree::{Strategy, Tree};
use crate::base::http::HttpClient;
use crate::base::progress::{Phase, Progress};
use crate::base::text::{count, human_size};
use crate::lock::{Keep, NpmPin};
use crate::manifest::NpmSection;
use crate::model::{Artifact, PackageName, PackageVersion, Platform, Sha512};
use crate::source::{AsOf, Source};
use crate::store::Store;

#[cfg(test)]
mod tests;

pub use collate::compare as compare_names;
pub use error::NpmError;
pub use scripts::{HasBinding, INSTALL_EVENTS, claimed_identity, install_scripts};
pub use tarball::{TarballFacts, parse_integrity, read_tarball};

/// How many tarballs are fetched at once.
const TARBALLS_AT_ONCE: usize = 16;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct NpmRequest<'a> {
    /// The platform of the image; its C library is glibc.
    pub platform: Platform,
    /// `[npm]`.
    pub section: &'a NpmSection,
    /// The Node of the image, such as `20.19.2`.
    pub node_version: &'a str,
    /// The pins of the last lock: what is known of a tarball is taken from there when its sha512 has not changed.
    pub previous: &'a [NpmPin],
    /// As of when versions count; as of now without it.
    pub as_of: Option<&'a AsOf>,
    /// The pins that stay where they satisfy; without it everything is chosen again.
    pub keep: Option<Keep<'a, NpmPin>>,
}

/// Where a package goes, before its tarball was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NpmPlace {
    /// The absolute directory.
    pub place: String,
    /// The package's registered name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Chooses versions and places, and learns of every tarball what the lock has to say.
///
/// The first source is the default; a package is bound to another one by that one's `packages` (`name` or `@scope/*`).
/// Pins are sorted by name and version.
///
/// # Errors
/// See [`NpmError`]; nothing is written but blobs and memos of the store.
pub async fn resolve(
    request: &NpmRequest<'_>,
    sources: &[&Source],
    http: &HttpClient,
    store: &Store,
    progress: &Progress,
) -> Result<Vec<NpmPin>, NpmError> {
    let registry = registry_for(request, sources, (http, Some(store)))?;
    let phase = progress.spinner("choosing npm packages");
    let plan = plan_all(request, &registry).await;
    registry.stop();
    let plan = plan?;
    phase.finish(&count(plan.0.len(), "package"));
    let phase = progress.bytes("fetching npm packages", 0);
    let lookup = Lookup { request, registry: &registry, http, store, phase: &phase };
    let pins = stream::iter(plan.0.into_values().map(|planned| lookup.pin(planned)))
        .buffered(TARBALLS_AT_ONCE)
        .try_collect::<Vec<NpmPin>>()
        .await?;
    let size = pins.iter().map(|pin| pin.artifact.size).sum();
    phase.finish(&format!("{}, {}", count(pins.len(), "tarball"), human_size(size)));
    Ok(pins)
}

/// Chooses versions and places alone, without fetching a tarball. Sorted by place.
///
/// # Errors
/// See [`NpmError`].
pub async fn plan(request: &NpmRequest<'_>, sources: &[&Source], http: &HttpClient) -> Result<Vec<NpmPlace>, NpmError> {
    let registry = registry_for(request, sources, (http, None))?;
    let plan = plan_all(request, &registry).await;
    registry.stop();
    let mut places: Vec<NpmPlace> = Vec::new();
    for ((name, version, _), planned) in plan?.0 {
        let place = |place| NpmPlace { place, name: name.clone(), version: version.clone() };
        places.extend(planned.places.into_iter().map(place));
    }
    places.sort();
    Ok(places)
}

fn registry_for(
    request: &NpmRequest<'_>,
    sources: &[&Source],
    asking: (&HttpClient, Option<&Store>),
) -> Result<Registry, NpmError> {
    let target = Target::new(request.platform, request.node_version)
        .ok_or_else(|| NpmError::NodeVersion { text: request.node_version.to_owned() })?;
    Registry::new(sources, asking, target, Preferences::new(request.keep), request.as_of)
}

/// Plans all global packages as one tree and each project as one of its own.
async fn plan_all(request: &NpmRequest<'_>, registry: &Registry) -> Result<Plan, NpmError> {
    let section = request.section;
    let omit: BTreeSet<String> = section.omit.iter().map(PackageName::to_string).collect();
    let global = format!("{}/lib", section.prefix.trim_end_matches('/'));
    let mut roots = Vec::new();
    if !section.packages.is_empty() {
        roots.push((Strategy::Shallow, global, &section.packages));
    }
    for (directory, packages) in &section.projects {
        roots.push((Strategy::Hoisted, directory.trim_end_matches('/').to_owned(), packages));
    }
    let mut plan = Plan::default();
    let mut optional = BTreeSet::new();
    for (strategy, root, packages) in roots {
        let (wishes, overrides) = (wishes_of(packages), section.overrides.as_slice());
        let tree = ideal::plan(
            ideal::Request { strategy, wishes, omit: &omit, overrides, root: &root, keep: request.keep },
            registry,
        )
        .await?;
        check_needed(&tree, &omit)?;
        optional.extend(tree.installed().into_iter().flat_map(|node| optional_names(&tree, node)));
        plan.add(&tree, &root);
    }
    match omit.difference(&optional).next() {
        Some(name) => Err(NpmError::UnknownOmit { name: name.clone(), known: optional.into_iter().collect() }),
        None => Ok(plan),
    }
}

fn wishes_of(packages: &BTreeMap<String, String>) -> Vec<Wish> {
    packages.iter().map(|(name, spec)| Wish::new(name, Spec::parse(spec), EdgeKind::Prod)).collect()
}

fn optional_names(tree: &Tree, node: tree::NodeId) -> Vec<String> {
    let wishes = tree[node].manifest.wishes.iter().filter(|wish| wish.kind == EdgeKind::Optional);
    wishes.map(|wish| wish.spec.package(&wish.name).to_owned()).collect()
}

/// A package that is left out by name must not be needed by another way.
fn check_needed(tree: &Tree, omit: &BTreeSet<String>) -> Result<(), NpmError> {
    match tree.installed().into_iter().find(|node| !tree[*node].inert && omit.contains(&tree[*node].manifest.name)) {
        Some(node) => Err(NpmError::NeededOmit { name: tree[node].manifest.name.clone(), chain: tree.chain(node) }),
        None => Ok(()),
    }
}

/// What is needed to learn about tarballs.
struct Lookup<'a> {
    request: &'a NpmRequest<'a>,
    registry: &'a Registry,
    http: &'a HttpClient,
    store: &'a Store,
    phase: &'a Phase,
}

impl Lookup<'_> {
    async fn pin(&self, planned: Planned) -> Result<NpmPin, NpmError> {
        let manifest = &planned.manifest;
        let package = format!("{}@{}", manifest.name, manifest.version_text);
        let source = self.registry.source_of(&manifest.name);
        let tarball = Tarball::new(package, source, &manifest.dist)?;
        let name = PackageName::parse(&manifest.name)?;
        let version = PackageVersion::parse(&manifest.version_text)?;
        let published = self.registry.published(&manifest.name, &manifest.version_text).await?;
        if let Some(known) = self.known(&name, &version, &tarball.sha512) {
            let artifact = Artifact { source: source.name.clone(), path: tarball.path, ..known.artifact.clone() };
            return Ok(self.assemble(planned, (name, version, published), artifact, known.scripts.clone()));
        }
        let contents = match tarball.recall(self.store) {
            Some(contents) => contents,
            None => tarball.fetch(source, self.http, self.store, self.phase).await?,
        };
        if let Some(missing) = planned.bundled.difference(&contents.bundled).next() {
            return Err(NpmError::MissingBundle { package: tarball.package, missing: missing.clone() });
        }
        let Contents { sha256, size, scripts, .. } = contents;
        let artifact =
            Artifact { source: source.name.clone(), path: tarball.path, size, sha256, sha512: Some(tarball.sha512) };
        Ok(self.assemble(planned, (name, version, published), artifact, scripts))
    }

    fn known(&self, name: &PackageName, version: &PackageVersion, sha512: &Sha512) -> Option<&NpmPin> {
        let is_same = |pin: &&NpmPin| {
            pin.name == *name && pin.version == *version && pin.artifact.sha512.as_ref() == Some(sha512)
        };
        self.request.previous.iter().find(is_same)
    }

    fn assemble(
        &self,
        planned: Planned,
        (name, version, published): (PackageName, PackageVersion, Option<i64>),
        artifact: Artifact,
        scripts: BTreeMap<String, crate::model::Sha256>,
    ) -> NpmPin {
        NpmPin {
            name,
            version,
            published,
            platform: self.request.platform,
            places: planned.places.into_iter().collect(),
            artifact,
            scripts,
            required_by: planned.required_by.into_iter().collect(),
        }
    }
}
