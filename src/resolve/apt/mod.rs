//! Debian packages: signed archives read, a closure chosen as apt would choose it, each `.deb` pinned by its hash.
//!
//! No apt is needed on the host. All suites of all sources are one universe, as in one sources.list. It must not know
//! what is done with the pins, nor any other ecosystem.

mod archive;
mod chain;
mod control;
mod deb;
mod error;
mod keep;
mod later;
#[cfg(test)]
mod laws;
mod pins;
mod relation;
mod release;
mod request;
mod signature;
mod solve;
mod universe;
mod version;

use std::collections::{BTreeMap, BTreeSet};

pub use chain::{BrokenLink, ChainReport, check_chain, check_rollback, verify_chain};
pub use deb::{DebIdentity, read_identity};
pub use error::{AptError, SolveError};
pub use keep::{Kept, KeptSolution, Listing, Standing, Today, resolve_keeping};
pub use later::remember_later;
pub use release::ReleaseError;
pub use signature::{Keyring, SignatureError};

use archive::{Archive, SuiteRequest};
use request::{Selection, SuiteNames};
use universe::{BadStanza, IndexText, Universe, VersionId};

use crate::base::fs;
use crate::base::http::HttpClient;
use crate::lock::{AptPin, ArchivePin};
use crate::manifest::Recommends;
use crate::model::{PackageName, PackageVersion, Platform, SourceName};
use crate::source::{AsOf, Source};
use crate::store::Store;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct AptRequest<'a> {
    /// The platform the packages are for.
    pub platform: Platform,
    /// The suite, such as `trixie`; each source's own `suites` say what it serves for it.
    pub suite: &'a str,
    /// Requirements in apt's language, in the order written.
    pub packages: &'a [String],
    /// Whether Recommends are followed.
    pub recommends: Recommends,
    /// dpkg's status of a base image. `None` is an empty root: the essential set (Essential, Priority `required`, apt) is then
    /// resolved together with what is asked.
    pub installed: Option<&'a str>,
    /// The moment of locking in seconds since 1970: Valid-Until and the expiry of keys are judged by it.
    pub now: i64,
    /// As of when packages count, which takes a snapshot-style archive; as of now without it.
    pub as_of: Option<&'a AsOf>,
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AptSolution {
    /// The signed archives, sorted by source and suite.
    pub archives: Vec<ArchivePin>,
    /// The packages to install, sorted by name.
    pub pins: Vec<AptPin>,
    /// What the base image has already.
    pub installed: BTreeMap<PackageName, PackageVersion>,
}

/// Enough for apt's depth of 3,000 dependencies.
const STACK_BYTES: usize = 64 << 20;

/// Fetches and verifies the suites side by side, and chooses what is asked with all it needs.
///
/// # Errors
/// See [`AptError`]; nothing is chosen from an archive that is not to be trusted.
pub async fn resolve(
    request: &AptRequest<'_>,
    archives: &[&Source],
    http: &HttpClient,
    store: &Store,
) -> Result<AptSolution, AptError> {
    Today::fetch(request, archives, http, store).await?.resolve(request).await
}

/// Runs what follows dependencies on a thread of its own, with a stack that is deep enough.
async fn on_deep_stack<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AptError> + Send + 'static,
) -> Result<T, AptError> {
    let (answer, result) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("apt-solver".into())
        .stack_size(STACK_BYTES)
        .spawn(move || answer.send(work()).ok())
        .map_err(|_| AptError::Worker)?;
    result.await.map_err(|_| AptError::Worker)?
}

/// The keyrings of sources: their own where they name one, Debian's archive keys otherwise.
///
/// # Errors
/// When a file cannot be read or holds no key.
pub fn read_keyrings(sources: &[&Source]) -> Result<BTreeMap<SourceName, Keyring>, AptError> {
    sources.iter().map(|source| Ok((source.name.clone(), read_keyring(source)?))).collect()
}

fn read_keyring(source: &Source) -> Result<Keyring, AptError> {
    let name = &source.name;
    let (path, keyring) = match &source.signed_by {
        None => ("the bundled keyring".to_owned(), Keyring::bundled()),
        Some(path) => {
            let bytes = fs::read(path).map_err(|source| AptError::Keyring { name: name.clone(), source })?;
            (path.display().to_string(), Keyring::parse(&bytes))
        }
    };
    keyring.map_err(|source| AptError::Signature { name: name.clone(), path, source })
}

async fn fetch_archives(
    request: &AptRequest<'_>,
    sources: &[&Source],
    http: &HttpClient,
    store: &Store,
) -> Result<Vec<Archive>, AptError> {
    let keyrings = read_keyrings(sources)?;
    let dated = sources.iter().map(|source| Dated::new(source, request)).collect::<Result<Vec<_>, _>>()?;
    let mut suites = Vec::new();
    for dated in &dated {
        let keyring = keyrings.get(&dated.source.name).ok_or(AptError::NoSource)?;
        for pattern in &dated.source.suites {
            suites.push((dated, keyring, pattern.replace("{suite}", request.suite)));
        }
    }
    if suites.is_empty() {
        return Err(AptError::NoSource);
    }
    let architecture = request.platform.architecture.as_str();
    let fetches = suites.iter().map(|(dated, keyring, suite)| {
        let Dated { source, now, snapshot } = dated;
        SuiteRequest { source, keyring, suite, architecture, now: *now, snapshot: *snapshot }.fetch(http, store)
    });
    futures::future::try_join_all(fetches).await
}

/// A source as of the moment asked for.
struct Dated {
    source: Source,
    /// The moment by which it is judged.
    now: i64,
    /// The moment at which a snapshot is read.
    snapshot: Option<i64>,
}

impl Dated {
    fn new(source: &Source, request: &AptRequest<'_>) -> Result<Self, AptError> {
        let before = request.as_of.filter(|as_of| as_of.asks(&source.name)).map(|as_of| as_of.before);
        let now = before.unwrap_or(request.now);
        match (source.is_snapshot(), before) {
            (false, Some(_)) => Err(AptError::NoSnapshot { name: source.name.clone() }),
            (is_snapshot, _) => Ok(Self { source: source.at(now), now, snapshot: is_snapshot.then_some(now) }),
        }
    }
}

/// A request that owns its parts, so that it can be answered on a thread of its own.
struct Question {
    platform: Platform,
    packages: Vec<String>,
    recommends: Recommends,
    installed: Option<String>,
}

impl Question {
    fn new(request: &AptRequest<'_>) -> Self {
        Self {
            platform: request.platform,
            packages: request.packages.to_vec(),
            recommends: request.recommends,
            installed: request.installed.map(str::to_owned),
        }
    }

    fn answer(&self, archives: &[Archive]) -> Result<AptSolution, AptError> {
        let texts: Vec<IndexText<'_>> = archives
            .iter()
            .enumerate()
            .flat_map(|(index, archive)| {
                let priority = archive.release.priority;
                archive.indexes.iter().map(move |reduced| IndexText { index: reduced, archive: index, priority })
            })
            .collect();
        let architecture = self.platform.architecture.as_str();
        let mut universe = Universe::new(architecture, &texts, self.installed.as_deref()).map_err(bad_record)?;
        let suites: Vec<SuiteNames> =
            archives.iter().map(|archive| SuiteNames::new(&archive.pin.suite, &archive.release)).collect();
        let Selection { versions: asked, switches } = request::select(&mut universe, &self.packages, &suites)?;
        let essential = if self.installed.is_none() { essential_set(&universe) } else { Vec::new() };
        let mut requests = essential.clone();
        requests.extend(asked.iter().filter(|id| !essential.contains(id)));
        solve::switch(&mut universe, &requests, &switches, self.recommends);
        let chosen = solve::solve(&universe, &requests, self.recommends)?;
        let asked = pins::Asked { manifest: asked.into_iter().collect(), essential: essential.into_iter().collect() };
        let origins: Vec<&ArchivePin> = archives.iter().map(|archive| &archive.pin).collect();
        let writer = pins::PinWriter {
            universe: &universe,
            archives: &origins,
            platform: self.platform,
            recommends: self.recommends,
        };
        let (pins, installed) = (writer.pins(&chosen, &asked)?, writer.installed()?);
        let mut archives: Vec<ArchivePin> = archives.iter().map(|archive| archive.pin.clone()).collect();
        archives.sort_by(|left, right| (&left.source, &left.suite).cmp(&(&right.source, &right.suite)));
        Ok(AptSolution { archives, pins, installed })
    }
}

fn bad_record(BadStanza { package, why }: BadStanza) -> AptError {
    AptError::BadIndex { path: format!("the record of {package}"), why: why.into() }
}

/// What an empty root needs to be a Debian system on which dpkg and apt work: sorted by name.
fn essential_set(universe: &Universe<'_>) -> Vec<VersionId> {
    let is_essential = |id: &VersionId| {
        let version = universe.version(*id);
        version.is_essential || version.name == "apt"
    };
    let names: BTreeSet<(&str, VersionId)> =
        universe.candidates().filter(is_essential).map(|id| (universe.version(id).name, id)).collect();
    names.into_iter().map(|(_, id)| id).collect()
}
