//! From a solution to pins: only what is reached from the manifest, each with who asked for it.

use std::collections::{BTreeMap, BTreeSet};

use uv_normalize::PackageName;
use uv_pep440::Version;

use super::catalogue::Catalogue;
use super::metadata::Metadata;
use super::page::{FileKind, tags_of};
use super::requirement::{Asked, Node};
use super::solve::Solution;
use super::{PipError, UnbuiltSource};
use crate::lock::{MANIFEST, PipPin};
use crate::model::{self, PackageVersion, Platform};

type RequiredBy = BTreeMap<PackageName, BTreeSet<String>>;

/// Makes the pins, sorted by name.
pub(super) async fn pins(
    asked: &Asked,
    solution: &Solution,
    catalogue: &Catalogue,
    platform: Platform,
) -> Result<Vec<PipPin>, PipError> {
    check_extras(asked, solution, catalogue).await?;
    let required_by = required_by(asked, solution, catalogue).await?;
    let pinned = required_by.into_iter().map(|(name, required_by)| async move {
        let version = version_of(solution, &name)?;
        pin(&name, version, required_by, catalogue, platform).await
    });
    let (mut pins, mut sources) = (Vec::new(), Vec::new());
    for pinned in futures::future::try_join_all(pinned).await? {
        match pinned {
            Pinned::Wheel(pin) => pins.push(pin),
            Pinned::Unbuilt(source) => sources.push(source),
        }
    }
    if sources.is_empty() { Ok(pins) } else { Err(PipError::Unbuilt { sources }) }
}

/// A pin, or what has to be built before there is one.
enum Pinned {
    Wheel(PipPin),
    Unbuilt(UnbuiltSource),
}

fn version_of<'a>(solution: &'a Solution, name: &PackageName) -> Result<&'a Version, PipError> {
    let missing = || PipError::Bug { what: format!("`{name}` is required but was not decided") };
    solution.get(&Node::Project(name.clone())).ok_or_else(missing)
}

/// Refuses an extra that the manifest names and the chosen version does not have: it would silently add nothing.
async fn check_extras(asked: &Asked, solution: &Solution, catalogue: &Catalogue) -> Result<(), PipError> {
    for (name, extra) in asked.extras() {
        let version = version_of(solution, name)?;
        let metadata = catalogue.metadata(name, version).await?;
        let Metadata::Usable { extras, .. } = &*metadata else { continue };
        if !extras.contains(extra) {
            let mut known: Vec<String> = extras.iter().map(ToString::to_string).collect();
            known.sort();
            let (name, version, extra) = (name.to_string(), version.to_string(), extra.to_string());
            return Err(PipError::UnknownExtra { name, version, extra, known });
        }
    }
    Ok(())
}

/// Walks from the manifest over what the decided versions require.
async fn required_by(asked: &Asked, solution: &Solution, catalogue: &Catalogue) -> Result<RequiredBy, PipError> {
    let mut found = RequiredBy::new();
    let mut nodes: Vec<Node> = Vec::new();
    let mut seen = BTreeSet::new();
    for (node, _) in asked.edges() {
        if let Some(name) = node.name() {
            found.entry(name.clone()).or_default().insert(MANIFEST.to_owned());
        }
        nodes.push(node);
    }
    while let Some(node) = nodes.pop() {
        let Some(name) = node.name().cloned() else { continue };
        if !seen.insert(node.clone()) {
            continue;
        }
        let metadata = catalogue.metadata(&name, version_of(solution, &name)?).await?;
        let Metadata::Usable { requires, .. } = &*metadata else { continue };
        for requirement in asked.active(&node, requires, catalogue.target()) {
            let to = &requirement.name;
            if *to != name {
                found.entry(to.clone()).or_default().insert(name.to_string());
            }
            nodes.push(Node::Project(to.clone()));
            nodes.extend(requirement.extras.iter().map(|extra| Node::Extra(to.clone(), extra.clone())));
        }
    }
    Ok(found)
}

async fn pin(
    name: &PackageName,
    version: &Version,
    required_by: BTreeSet<String>,
    catalogue: &Catalogue,
    platform: Platform,
) -> Result<Pinned, PipError> {
    let page = catalogue.page(name).await?;
    let missing = || PipError::Bug { what: format!("`{name} {version}` is not on its page") };
    let file = page.files.get(version).ok_or_else(missing)?;
    let built = catalogue.built(&file.sha256).filter(|_| file.kind == FileKind::Source);
    if file.kind == FileKind::Source && built.is_none() {
        return Ok(Pinned::Unbuilt(catalogue.unbuilt(name, version, file).await?));
    }
    Ok(Pinned::Wheel(PipPin {
        name: model::PackageName::parse(name.as_ref())?,
        version: PackageVersion::parse(&version.to_string())?,
        platform,
        tags: tags_of(built.map_or(&file.filename, |built| &built.file)).to_owned(),
        published: file.published,
        artifact: catalogue.artifact(name, file).await?,
        built: built.cloned(),
        required_by: required_by.into_iter().collect(),
    }))
}
