//! Where bytes come from: the sources that the user's own clients know, and what `[sources]` adds or overrides.
//!
//! Names no host: defaults are read from client configuration by kept libraries, or asked of the pip or uv on the PATH.
//! Each package has one source and never a second one to fall back to. It knows no resolver and sends no request.

mod apt;
mod error;
mod image;
mod link;
mod model;
mod moment;
mod npm;
mod pip;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use url::Url;

use crate::base::environment::Environment;
use crate::base::fs::read_text_if_present;
use crate::manifest::{PipSection, SourceKind, SourceSection, WheelUrl, parse_pip_requirement, parse_settings};
use crate::model::{Artifact, ImageReference, Sha256, SourceName};
use crate::store::Store;

pub use error::SourceError;
pub use image::repository_at;
pub use link::{recall_link, remember_link};
pub use model::*;
pub use moment::{AsOf, NO_TIMES, age, at_moment, is_dated, no_times_hint, parse_moment, show_moment};

/// What is known about sources. Each kind is looked up when it is first asked for, and then kept.
#[derive(Debug)]
pub struct Sources {
    environment: Environment,
    project: PathBuf,
    store: Option<Store>,
    /// `[sources]` of the project, then of the user.
    overrides: BTreeMap<SourceName, Source>,
    /// The addresses of wheels that the manifest asks for by URL.
    wheels: BTreeMap<Sha256, Url>,
    npm: OnceLock<Vec<Source>>,
    pip: OnceLock<Vec<Source>>,
    apt: OnceLock<Vec<Source>>,
}

/// Takes note of the environment and of `[sources]`: the project's `overrides` and those in the user's
/// `~/.config/oclock/config.toml`, of which the project's win. Nothing else is read before it is asked for.
///
/// # Errors
/// When the user's settings cannot be read.
pub fn discover(
    environment: &Environment,
    project: &Path,
    overrides: &BTreeMap<SourceName, SourceSection>,
) -> Result<Sources, SourceError> {
    let mut all = BTreeMap::new();
    if let Some(directory) = environment.config_directory() {
        let path = directory.join("config.toml");
        if let Some(text) = read_text_if_present(&path)? {
            let shown = shown_path(environment, &path);
            for (name, section) in parse_settings(&text, &shown)? {
                all.insert(name.clone(), overriding(&name, &section, &directory, &shown)?);
            }
        }
    }
    for (name, section) in overrides {
        all.insert(name.clone(), overriding(name, section, project, "oclock.toml")?);
    }
    Ok(Sources {
        environment: environment.clone(),
        project: project.to_owned(),
        store: None,
        overrides: all,
        wheels: BTreeMap::new(),
        npm: OnceLock::new(),
        pip: OnceLock::new(),
        apt: OnceLock::new(),
    })
}

impl Sources {
    /// Keeps in the store what takes long to ask again.
    #[must_use]
    pub fn with_store(mut self, store: &Store) -> Self {
        self.store = Some(store.clone());
        self
    }

    /// Takes note of the wheels that the manifest asks for by URL: a lockfile does not say where they are.
    #[must_use]
    pub fn with_wheels(mut self, section: &PipSection) -> Self {
        let asked = section.packages.iter().filter_map(|text| parse_pip_requirement(text).ok());
        let wheels = asked.filter_map(|requirement| WheelUrl::of(&requirement).ok().flatten());
        self.wheels = wheels.map(|wheel| (wheel.sha256, wheel.url)).collect();
        self
    }

    /// The address of a locked file, where the manifest names it.
    pub fn wheel(&self, artifact: &Artifact) -> Option<&Url> {
        self.wheels.get(&artifact.sha256)
    }

    /// Whether a locked file is asked for by URL, or was: then no index lists it.
    pub fn is_asked_by_url(&self, artifact: &Artifact) -> bool {
        self.wheel(artifact).is_some() || artifact.source.as_str() == names::URL
    }

    /// The npm registries: the one for all packages first, then those that packages or scopes are bound to.
    ///
    /// # Errors
    /// When the settings cannot be read, or one of two registries has no packages of its own.
    pub fn npm(&self) -> Result<Vec<Source>, SourceError> {
        kept(&self.npm, || {
            self.with_bound(SourceKind::Npm, names::NPM, || npm::discover(&self.environment, &self.project))
        })
    }

    /// The Python indexes: the one for all packages first, then those that packages are bound to.
    ///
    /// # Errors
    /// When no index is found, the settings cannot be read, or one of two indexes has no packages of its own.
    pub fn pip(&self) -> Result<Vec<Source>, SourceError> {
        let bound = |url: &str| {
            let mut known = self.overrides.values().filter(|source| source.kind == SourceKind::Pip);
            link::parse_url(url).is_ok_and(|(url, _)| known.any(|source| source.url == url))
        };
        let ask = || pip::discover(&self.environment, &self.project, self.store.as_ref(), bound);
        kept(&self.pip, || self.with_bound(SourceKind::Pip, names::PYPI, ask))
    }

    /// The Debian archives for a suite, with the suites that each serves.
    ///
    /// # Errors
    /// When the host has no Debian sources and `[sources]` has none either.
    pub fn apt(&self, suite: &str) -> Result<Vec<Source>, SourceError> {
        let all = kept(&self.apt, || {
            let mut sources =
                apt::discover(&self.environment, |name| self.overrides.keys().any(|own| own.as_str() == name))?;
            sources.extend(self.overrides.values().filter(|source| source.kind == SourceKind::Apt).cloned());
            sources.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(sources)
        })?;
        Ok(all.into_iter().filter_map(|source| apt::for_suite(source, suite)).collect())
    }

    /// The registry of base images: the one that a reference names, or the one for references that name none.
    ///
    /// # Errors
    /// When the container tools' settings cannot be read.
    pub fn image(&self, registry: Option<&str>) -> Result<Source, SourceError> {
        let named = |source: &&Source| match registry {
            Some(host) => source.kind == SourceKind::Image && image::is_at(source, host),
            None => source.name.as_str() == names::REGISTRY,
        };
        match self.overrides.values().find(named) {
            Some(source) => Ok(source.clone()),
            None => image::discover(&self.environment, registry),
        }
    }

    /// The registry of a base image, with the user's login for its repository.
    ///
    /// # Errors
    /// As [`image`](Self::image).
    pub fn image_of(&self, reference: &ImageReference) -> Result<Source, SourceError> {
        let mut source = self.image(reference.registry.as_deref())?;
        if self.overrides.contains_key(&source.name) && source.authorization.is_some() {
            return Ok(source);
        }
        let repository = image::repository_at(&source, reference);
        let login = image::login_at(&self.environment, &source, reference.registry.as_deref(), &repository)?;
        source.authorization = login.or(source.authorization);
        Ok(source)
    }

    /// The source of that name, as a lockfile has it. For Debian archives the suites are patterns still.
    ///
    /// # Errors
    /// When there is no such source, or it cannot be looked up.
    pub fn get(&self, name: &SourceName) -> Result<Source, SourceError> {
        if let Some(source) = self.overrides.get(name) {
            return Ok(source.clone());
        }
        let candidates = match name.as_str() {
            names::URL => self.wheels.values().next().map(url_source).transpose()?.into_iter().collect(),
            names::DEBIAN | names::DEBIAN_SECURITY => apt::discover(&self.environment, |_| false)?,
            names::PYPI => self.pip()?,
            names::REGISTRY => vec![self.image(None)?],
            _ => self.npm()?,
        };
        let known: Vec<String> = self.overrides.keys().map(ToString::to_string).collect();
        candidates
            .into_iter()
            .find(|source| source.name == *name)
            .ok_or_else(|| SourceError::Unknown { name: name.clone(), known })
    }

    /// The override of the default name or what was discovered, then the overrides that packages are bound to.
    fn with_bound(
        &self,
        kind: SourceKind,
        default: &str,
        discover: impl FnOnce() -> Result<Vec<Source>, SourceError>,
    ) -> Result<Vec<Source>, SourceError> {
        let of_kind = || self.overrides.values().filter(|source| source.kind == kind);
        let mut sources = match of_kind().find(|source| source.name.as_str() == default) {
            Some(source) => vec![source.clone()],
            None => discover()?,
        };
        for source in of_kind().filter(|source| source.name.as_str() != default) {
            if source.packages.is_empty() {
                let default = default.to_owned();
                return Err(SourceError::Unbound {
                    name: source.name.clone(),
                    default,
                    found_in: source.found_in.clone(),
                });
            }
            sources.retain(|found| found.name != source.name);
            sources.push(source.clone());
        }
        Ok(sources)
    }
}

/// The source of a wheel that is asked for by URL and is below none of the sources that there are.
///
/// # Errors
/// Never, for an address that [`WheelUrl`] took.
pub fn url_source(wheel: &Url) -> Result<Source, SourceError> {
    found(names::URL, SourceKind::Pip, (wheel.clone(), None), "oclock.toml".to_owned())
}

/// The one of several sources that a package comes from: bound by its name, else by its scope, else the source without
/// bindings.
pub fn source_of<'a>(sources: &'a [Source], package: &str) -> Option<&'a Source> {
    let scope = package.split_once('/').map(|(scope, _)| format!("{scope}/*"));
    let is_bound = |wanted: &str| {
        sources.iter().find(|source| source.packages.iter().any(|bound| same_name(source.kind, bound, wanted)))
    };
    is_bound(package).or_else(|| is_bound(&scope?)).or_else(|| sources.iter().find(|source| source.packages.is_empty()))
}

/// Python names are the same in any spelling (the name normalisation of PEP 503).
fn same_name(kind: SourceKind, one: &str, other: &str) -> bool {
    let normal = |text: &str| -> String {
        let parts: Vec<&str> = text.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect();
        parts.join("-").to_lowercase()
    };
    one == other || kind == SourceKind::Pip && normal(one) == normal(other)
}

fn kept(
    cell: &OnceLock<Vec<Source>>,
    look_up: impl FnOnce() -> Result<Vec<Source>, SourceError>,
) -> Result<Vec<Source>, SourceError> {
    if let Some(sources) = cell.get() {
        return Ok(sources.clone());
    }
    let sources = look_up()?;
    Ok(cell.get_or_init(|| sources).clone())
}

fn overriding(
    name: &SourceName,
    section: &SourceSection,
    directory: &Path,
    found_in: &str,
) -> Result<Source, SourceError> {
    check_kind(name, section.kind, found_in)?;
    let (url, authorization) =
        link::parse_url(&section.url).map_err(|reason| SourceError::Url { reason, found_in: found_in.to_owned() })?;
    let mut mirrors = Vec::new();
    for mirror in &section.mirrors {
        let (mirror, _) =
            link::parse_url(mirror).map_err(|reason| SourceError::Url { reason, found_in: found_in.to_owned() })?;
        mirrors.push(mirror);
    }
    let suites = match (&section.suites[..], section.kind) {
        ([], SourceKind::Apt) => apt::default_suites(name.as_str())
            .ok_or_else(|| SourceError::NoSuites { name: name.clone(), found_in: found_in.to_owned() })?,
        (suites, _) => suites.to_vec(),
    };
    Ok(Source {
        name: name.clone(),
        kind: section.kind,
        url,
        mirrors,
        authorization,
        packages: section.packages.clone(),
        suites,
        components: section.components.clone(),
        signed_by: section.signed_by.as_ref().map(|path| directory.join(path)),
        found_in: found_in.to_owned(),
    })
}

/// The default names mean what they say, also when they are overridden.
fn check_kind(name: &SourceName, kind: SourceKind, found_in: &str) -> Result<(), SourceError> {
    let wanted = match name.as_str() {
        names::DEBIAN | names::DEBIAN_SECURITY => SourceKind::Apt,
        names::NPM => SourceKind::Npm,
        names::PYPI => SourceKind::Pip,
        names::REGISTRY => SourceKind::Image,
        names::URL => return Err(SourceError::Reserved { name: name.clone(), found_in: found_in.to_owned() }),
        _ => return Ok(()),
    };
    if kind == wanted {
        return Ok(());
    }
    Err(SourceError::WrongKind { name: name.clone(), wanted, found_in: found_in.to_owned() })
}

/// A path for people: `~` for the home directory.
fn shown_path(environment: &Environment, path: &Path) -> String {
    let below_home = environment.home().and_then(|home| path.strip_prefix(home).ok().map(Path::to_owned));
    below_home.map_or_else(|| path.display().to_string(), |below| format!("~/{}", below.display()))
}

/// A source that a client's settings name.
fn found(
    name: &str,
    kind: SourceKind,
    link: (url::Url, Option<String>),
    found_in: String,
) -> Result<Source, SourceError> {
    let name = SourceName::parse(name)
        .map_err(|error| SourceError::Settings { file: found_in.clone(), reason: error.to_string() })?;
    Ok(Source {
        name,
        kind,
        url: link.0,
        mirrors: Vec::new(),
        authorization: link.1,
        packages: Vec::new(),
        suites: Vec::new(),
        components: Vec::new(),
        signed_by: None,
        found_in,
    })
}

#[cfg(test)]
mod tests;
