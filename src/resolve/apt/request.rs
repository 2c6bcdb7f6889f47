//! Requirements in apt's language: `name`, `name=version`, `name/suite`; the version may hold `*` and `?`.

use std::collections::{BTreeMap, BTreeSet};

use super::error::SolveError;
use super::release::Release;
use super::solve::Switch;
use super::universe::{Origin, Universe, VersionId};
use super::version;
use crate::base::text::nearest;

/// A requirement taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Requirement<'a> {
    name: &'a str,
    wanted: Wanted<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted<'a> {
    Candidate,
    Version(&'a str),
    Suite(&'a str),
}

/// A suite as requests may name it.
#[derive(Clone, Debug)]
pub(super) struct SuiteNames {
    /// The suite as it was asked for.
    pub(super) suite: String,
    /// Its Suite and Codename.
    pub(super) names: BTreeSet<String>,
    /// Its Version, such as `13.2`.
    pub(super) version: Option<String>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// Each version once, in the order asked.
    pub(super) versions: Vec<VersionId>,
    /// Those for whose sake the candidates of others change.
    pub(super) switches: Vec<Switch>,
}

impl SuiteNames {
    pub(super) fn new(suite: &str, release: &Release) -> Self {
        Self { suite: suite.to_owned(), names: release.names.clone(), version: release.version.clone() }
    }

    /// Whether apt takes what stands after `/` or `=` for this release: by its names, or by its version where that begins with
    /// a digit; `*` is every release.
    fn is_release(&self, pattern: &str) -> bool {
        if !pattern.starts_with(|first: char| first.is_ascii_digit()) {
            return self.suite == pattern || self.names.iter().any(|name| version::matches(pattern, name));
        }
        self.version.as_ref().is_some_and(|own| match pattern.strip_suffix('*') {
            Some(start) => own.starts_with(start),
            None => version::matches(pattern, own),
        })
    }
}

/// The versions that are asked for; they become the candidates of their packages.
pub(super) fn select(
    universe: &mut Universe<'_>,
    requests: &[String],
    suites: &[SuiteNames],
) -> Result<Selection, SolveError> {
    let (mut selected, mut switches) = (Vec::new(), Vec::new());
    let mut pinned: BTreeMap<String, VersionId> = BTreeMap::new();
    for request in requests {
        let requirement = parse(request, universe.architecture)?;
        let id = find(universe, requirement, suites)?;
        if requirement.wanted != Wanted::Candidate {
            let name = universe.version(id).name.to_owned();
            if let Some(other) = pinned.insert(name, id).filter(|other| *other != id) {
                return Err(two_versions(universe, other, id));
            }
        }
        selected.push(id);
        switches.extend(switch(universe, id, requirement.wanted, suites));
    }
    for id in pinned.values() {
        universe.set_candidate(*id);
    }
    // A plain request for a package that another request pins means the pinned version.
    let mut unique = Vec::new();
    for id in selected {
        let name = universe.version(id).name;
        let id = pinned.get(name).copied().unwrap_or(id);
        if !unique.contains(&id) {
            unique.push(id);
        }
    }
    Ok(Selection { versions: unique, switches })
}

/// What a version that is not asked for by its exact number means for others.
fn switch(universe: &Universe<'_>, version: VersionId, wanted: Wanted<'_>, suites: &[SuiteNames]) -> Option<Switch> {
    let pattern = match wanted {
        Wanted::Candidate => return None,
        Wanted::Version(exact) if exact == universe.version(version).version => return None,
        Wanted::Version(pattern) | Wanted::Suite(pattern) => pattern,
    };
    let archives = suites.iter().enumerate().filter(|(_, suite)| suite.is_release(pattern));
    Some(Switch { version, archives: archives.map(|(archive, _)| archive).collect() })
}

/// Makes one version of a package the one that would be taken.
pub(super) fn take(
    universe: &mut Universe<'_>,
    name: &str,
    version: &str,
    suites: &[SuiteNames],
) -> Result<(), SolveError> {
    let versions = universe.id(name).map(|id| universe.versions_of(id).to_vec()).unwrap_or_default();
    if versions.is_empty() {
        return Err(unknown_package(universe, name));
    }
    match best(universe, &versions, |id| universe.version(id).version == version) {
        Some(id) => universe.set_candidate(id),
        None => return Err(unknown_version(universe, name, version, &versions, suites)),
    }
    Ok(())
}

fn two_versions(universe: &Universe<'_>, first: VersionId, second: VersionId) -> SolveError {
    SolveError::TwoVersions {
        package: universe.version(first).name.to_owned(),
        first: universe.version(first).version.to_owned(),
        second: universe.version(second).version.to_owned(),
    }
}

fn parse<'a>(request: &'a str, architecture: &str) -> Result<Requirement<'a>, SolveError> {
    let refuse = |why| Err(SolveError::Request { request: request.to_owned(), why });
    let (name, wanted) = match (request.split_once('='), request.split_once('/')) {
        (Some((name, version)), _) if !name.contains('/') => (name, Wanted::Version(version.trim())),
        (_, Some((name, suite))) => (name, Wanted::Suite(suite.trim())),
        _ => (request, Wanted::Candidate),
    };
    let name = name.trim();
    let name = match name.split_once(':') {
        None => name,
        Some((plain, qualifier)) if qualifier == architecture || matches!(qualifier, "all" | "any" | "native") => plain,
        Some(_) => return refuse("packages of a foreign architecture are not supported"),
    };
    if matches!(wanted, Wanted::Version("") | Wanted::Suite("")) {
        return refuse("a version or suite must follow the sign");
    }
    if name.contains(['*', '?', '[', '^', '$', '~', '(']) {
        return refuse("patterns are not supported in names");
    }
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-._".contains(&byte);
    if name.is_empty() || !name.bytes().all(|byte| is_name(byte) || byte.is_ascii_uppercase()) {
        return refuse("it is `name`, `name=version` or `name/suite`");
    }
    Ok(Requirement { name, wanted })
}

fn find(universe: &Universe<'_>, requirement: Requirement<'_>, suites: &[SuiteNames]) -> Result<VersionId, SolveError> {
    let id = universe.id(requirement.name);
    let versions = id.map(|id| universe.versions_of(id)).unwrap_or_default();
    if versions.is_empty() {
        return find_provider(universe, requirement);
    }
    match requirement.wanted {
        Wanted::Candidate => {
            let candidate = id.and_then(|id| universe.candidate(id));
            candidate.ok_or_else(|| unknown_package(universe, requirement.name))
        }
        Wanted::Version(pattern) => {
            best(universe, versions, |id| version::matches(pattern, universe.version(id).version))
                .ok_or_else(|| unknown_version(universe, requirement.name, pattern, versions, suites))
        }
        Wanted::Suite(suite) => best(universe, versions, |id| match universe.version(id).origin {
            Origin::Archive(archive) => suites[archive].suite == suite || suites[archive].names.contains(suite),
            Origin::Installed => false,
        })
        .ok_or_else(|| unknown_version(universe, requirement.name, suite, versions, suites)),
    }
}

/// The highest of the versions that are wanted, the installed one of two equals.
fn best(universe: &Universe<'_>, versions: &[VersionId], wanted: impl Fn(VersionId) -> bool) -> Option<VersionId> {
    let text = |id: VersionId| universe.version(id).version;
    let highest = versions
        .iter()
        .copied()
        .filter(|id| wanted(*id))
        .reduce(|best, id| if version::compare(text(id), text(best)).is_gt() { id } else { best })?;
    let installed = universe.installed(universe.version(highest).package);
    Some(installed.filter(|installed| text(*installed) == text(highest)).unwrap_or(highest))
}

/// A name that is only provided stands for its provider when there is exactly one.
fn find_provider(universe: &Universe<'_>, requirement: Requirement<'_>) -> Result<VersionId, SolveError> {
    let id = universe.id(requirement.name);
    let all = id.map(|id| universe.providers(id)).unwrap_or_default();
    let candidates: BTreeMap<&str, VersionId> = all
        .iter()
        .map(|provider| universe.version(provider.version))
        .filter_map(|version| Some((version.name, universe.candidate(version.package)?)))
        .filter(|(_, candidate)| all.iter().any(|provider| provider.version == *candidate))
        .collect();
    let mut ids = candidates.values();
    match (ids.next(), ids.next(), requirement.wanted) {
        (None, _, _) => Err(unknown_package(universe, requirement.name)),
        (Some(only), None, Wanted::Candidate) => Ok(*only),
        _ => Err(SolveError::Virtual {
            package: requirement.name.to_owned(),
            providers: candidates.keys().map(|name| (*name).to_owned()).collect(),
        }),
    }
}

fn unknown_package(universe: &Universe<'_>, name: &str) -> SolveError {
    if let Some(kept) = name.strip_suffix('-')
        && universe.id(kept).is_some_and(|id| !universe.versions_of(id).is_empty())
    {
        return SolveError::Request { request: name.to_owned(), why: "removals are not supported" };
    }
    SolveError::UnknownPackage { package: name.to_owned(), nearest: nearest(name, universe.names()).map(str::to_owned) }
}

fn unknown_version(
    universe: &Universe<'_>,
    package: &str,
    wanted: &str,
    versions: &[VersionId],
    suites: &[SuiteNames],
) -> SolveError {
    let mut available: Vec<_> = versions.iter().map(|id| universe.version(*id)).collect();
    available.sort_by(|left, right| version::compare(right.version, left.version));
    let place = |origin| match origin {
        Origin::Archive(archive) => suites[archive].suite.as_str(),
        Origin::Installed => "in the base",
    };
    let available = available.iter().map(|version| format!("{}  {}", version.version, place(version.origin))).collect();
    SolveError::UnknownVersion { package: package.to_owned(), wanted: wanted.to_owned(), available }
}
