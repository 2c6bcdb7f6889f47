//! pip: requirements → the whole closure of wheels for the target interpreter and platform.
//!
//! PubGrub over the simple indexes (PEP 503, 691). A project's page says which wheels there are; what a wheel needs is read
//! from its metadata, which costs a few kilobytes of its end. Where the manifest lets a project be built, versions without a
//! wheel count too: what a source distribution needs is read from its metadata where that is settled (metadata 2.2), else
//! from the wheel that it was built to, and where there is none yet the answer is [`PipError::Unbuilt`]: whoever asked
//! builds it and asks again, for nothing is built here. A URL is taken where the manifest names a wheel with its hash; those
//! in metadata are refused by name. It knows nothing of the host's Python.

mod catalogue;
mod direct;
mod error;
mod explain;
mod html;
mod metadata;
mod page;
mod pins;
mod priority;
mod requirement;
mod sdist;
mod solve;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use url::Url;
use uv_normalize::PackageName;
use uv_pep440::Version;

use crate::base::http::HttpClient;
use crate::base::progress::Progress;
use crate::lock::{BuiltWheel, Keep, PipPin};
use crate::manifest::PipSection;
use crate::model::{self, Artifact, Platform, Sha256};
use crate::source::{AsOf, Source};
use crate::store::Store;

pub use error::PipError;
pub use page::{ListedFile, fetch_files};
pub use sdist::{BuildSystem, build_system, source_file};

use catalogue::{Catalogue, Choices};
use requirement::{Asked, Node};
use solve::Solution;
use target::Target;

/// What shall be resolved, and for which interpreter.
#[derive(Clone, Copy, Debug)]
pub struct PipRequest<'a> {
    /// The platform of the image.
    pub platform: Platform,
    /// `[pip]` of the manifest.
    pub section: &'a PipSection,
    /// The target's full Python version, such as `3.13.5`: markers look at all of it.
    pub python_version: &'a str,
    /// The target's glibc, such as `(2, 41)`: the newest manylinux level it runs.
    pub glibc: (u16, u16),
    /// As of when files count; as of now without it.
    pub as_of: Option<&'a AsOf>,
    /// The pins that stay where they satisfy; without it everything is chosen again.
    pub keep: Option<Keep<'a, PipPin>>,
    /// Versions that another tool's lock names, taken where they are allowed; nothing else is known of them.
    pub wished: &'a [WishedPip],
    /// The wheels that were built so far.
    pub built: &'a Built,
}

/// Wheels by the digests of the source distributions that they were built of.
pub type Built = BTreeMap<Sha256, BuiltWheel>;

/// A source distribution that has to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnbuiltSource {
    /// The project.
    pub name: model::PackageName,
    /// Its version.
    pub version: model::PackageVersion,
    /// The source distribution; the store may not have it yet.
    pub artifact: Artifact,
}

impl UnbuiltSource {
    /// `pip:docopt 0.6.2`.
    pub fn label(&self) -> String {
        format!("pip:{} {}", self.name, self.version)
    }
}

/// A version that another tool's lock names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WishedPip {
    /// The project.
    pub name: PackageName,
    /// The version.
    pub version: Version,
    /// The files that the lock vouches for; a file among them is better than any other.
    pub hashes: BTreeSet<Sha256>,
}

/// Chooses one file for every project in the closure, sorted by name.
///
/// `sources` are simple indexes: the first serves every project that no other source is bound to by its `packages`.
///
/// # Errors
/// See [`PipError`]: among others when nothing satisfies all requirements, or what does has no wheel for the target.
pub async fn resolve(
    request: &PipRequest<'_>,
    sources: &[&Source],
    http: &HttpClient,
    store: &Store,
    progress: &Progress,
) -> Result<Vec<PipPin>, PipError> {
    let target = Target::new(request)?;
    let asked = Asked::parse(&section_of(request), &target)?;
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let phase = progress.spinner("resolving pip");
    let mut wished: BTreeMap<PackageName, Vec<WishedPip>> = BTreeMap::new();
    request.wished.iter().for_each(|wish| wished.entry(wish.name.clone()).or_default().push(wish.clone()));
    let (preferred, gone) = (preferred(request)?, gone(request));
    let wheels = asked.wheels.clone();
    let (build, built) = (request.section.build.clone(), request.built.clone());
    let as_of = request.as_of.cloned();
    let choices = Choices { preferred, wished, gone, as_of, wheels, build, built };
    let catalogue = Catalogue::new(target, choices, sources, http, store)?;
    asked.check_names(&catalogue).await?;
    let solution = solve::solve(&asked, &catalogue).await?;
    check_kept(request, &solution, &catalogue).await?;
    let pins = pins::pins(&asked, &solution, &catalogue, request.platform).await?;
    phase.finish(&crate::base::text::count(pins.len(), "wheel"));
    Ok(pins)
}

/// The section, with the one version that what moves shall have among its constraints.
fn section_of(request: &PipRequest<'_>) -> PipSection {
    let mut section = request.section.clone();
    if let Some(Keep { moving, precise: Some(version), .. }) = request.keep {
        section.constraints.extend(moving.iter().map(|name| format!("{name}=={version}")));
    }
    section
}

/// The locked files to be taken before all others.
fn preferred(request: &PipRequest<'_>) -> Result<BTreeMap<PackageName, Sha256>, PipError> {
    let Some(keep) = request.keep else { return Ok(BTreeMap::new()) };
    let staying = keep.pins.iter().filter(|pin| !keep.moving.contains(&pin.name));
    let preferred = staying.map(|pin| {
        let name = PackageName::from_str(pin.name.as_str());
        let name = name.map_err(|error| PipError::Bug { what: format!("`{}` is locked: {error}", pin.name) })?;
        Ok((name, pin.artifact.sha256))
    });
    preferred.collect()
}

/// The locked files that cannot be had any more.
fn gone(request: &PipRequest<'_>) -> BTreeSet<Sha256> {
    let Some(keep) = request.keep else { return BTreeSet::new() };
    let is_gone = |pin: &&&PipPin| keep.gone.contains(&(pin.name.clone(), pin.version.clone()));
    keep.pins.iter().filter(is_gone).map(|pin| pin.artifact.sha256).collect()
}

/// A pin that could not stay because its index does not have the file any more is not moved in silence.
async fn check_kept(request: &PipRequest<'_>, solution: &Solution, catalogue: &Catalogue) -> Result<(), PipError> {
    for pin in request.keep.iter().flat_map(|keep| keep.pins) {
        let Ok(name) = PackageName::from_str(pin.name.as_str()) else { continue };
        let is_kept = request.keep.is_some_and(|keep| !keep.moving.contains(&pin.name));
        if !is_kept || !solution.contains_key(&Node::Project(name.clone())) {
            continue;
        }
        if catalogue.page(&name).await?.lacks_preferred {
            let source_name = catalogue.source_of(&name).name.clone();
            return Err(PipError::Gone { path: pin.artifact.path.clone(), source_name });
        }
    }
    Ok(())
}

/// Finds where a locked wheel is now: reads the project's page and takes the file with this name and hash.
///
/// # Errors
/// When the page cannot be read, no longer lists the file, or lists it with another hash.
pub async fn locate(artifact: &Artifact, source: &Source, http: &HttpClient) -> Result<Url, PipError> {
    let project = artifact.path.as_str().split('/').next().unwrap_or_default();
    let listed = page::fetch_files(project, source, http, None).await?.unwrap_or_default();
    let Some(file) = listed.into_iter().find(|file| file.filename == artifact.path.file_name()) else {
        return Err(PipError::Gone { path: artifact.path.clone(), source_name: source.name.clone() });
    };
    match file.sha256 {
        Some(found) if found != artifact.sha256 => {
            Err(PipError::OtherHash { file: file.filename, locked: artifact.sha256, found })
        }
        _ => Ok(file.url),
    }
}
