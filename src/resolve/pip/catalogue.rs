//! What the indexes say, asked once each and ahead of need: pages by project, metadata by file.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use uv_normalize::PackageName;
use uv_pep440::Version;

use super::direct::Direct;
use super::metadata::{self, Metadata};
use super::page::{Candidate, Choice, FileKind, Page};
use super::requirement::Versions;
use super::target::Target;
use super::{Built, PipError, UnbuiltSource, WishedPip};
use crate::base::http::HttpClient;
use crate::lock::{BuiltWheel, wheel_path};
use crate::manifest::{PipBuild, WheelUrl};
use crate::model::{self, Artifact, Sha256};
use crate::source::{AsOf, Source};
use crate::store::Store;

/// How many versions are looked at ahead once a project proves hard to settle.
const AHEAD: usize = 16;

type Cells<K, T> = Mutex<BTreeMap<K, Arc<OnceCell<Arc<T>>>>>;

/// What of all projects is taken before all else, and what not.
#[derive(Debug, Default)]
pub(super) struct Choices {
    /// The locked files to be taken where their versions are allowed.
    pub(super) preferred: BTreeMap<PackageName, Sha256>,
    /// The versions that another tool's lock names.
    pub(super) wished: BTreeMap<PackageName, Vec<WishedPip>>,
    /// Files that are listed and cannot be had.
    pub(super) gone: BTreeSet<Sha256>,
    /// As of when files count.
    pub(super) as_of: Option<AsOf>,
    /// Wheels that the manifest asks for by URL.
    pub(super) wheels: BTreeMap<PackageName, WheelUrl>,
    /// Which projects may be built from source.
    pub(super) build: PipBuild,
    /// The wheels that were built of source distributions, by the digests of these.
    pub(super) built: Built,
}

/// The indexes as far as they were asked. Dropping it stops what is still under way.
#[derive(Debug)]
pub(super) struct Catalogue {
    shared: Arc<Shared>,
    ahead: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Shared {
    target: Target,
    choices: Choices,
    http: HttpClient,
    store: Store,
    default: Source,
    bound: BTreeMap<PackageName, Source>,
    direct: BTreeMap<PackageName, Direct>,
    pages: Cells<PackageName, Page>,
    metadata: Cells<Sha256, Metadata>,
}

impl Catalogue {
    pub(super) fn new(
        target: Target,
        choices: Choices,
        sources: &[&Source],
        http: &HttpClient,
        store: &Store,
    ) -> Result<Self, PipError> {
        let (default, others) = sources.split_first().ok_or(PipError::NoSource)?;
        let mut bound = BTreeMap::new();
        for source in others {
            for name in &source.packages {
                let name = PackageName::from_str(name).map_err(|error| PipError::Requirement {
                    text: name.clone(),
                    why: format!("it stands under `packages` of source `{}`: {error}", source.name),
                })?;
                bound.entry(name).or_insert_with(|| Source::clone(source));
            }
        }
        let mut direct = BTreeMap::new();
        for (name, wheel) in &choices.wheels {
            direct.insert(name.clone(), Direct::new(wheel.clone(), sources, bound.get(name))?);
        }
        let shared = Shared {
            target,
            choices,
            http: http.clone(),
            store: store.clone(),
            default: Source::clone(default),
            bound,
            direct,
            pages: Mutex::default(),
            metadata: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared), ahead: Mutex::default() })
    }

    pub(super) fn target(&self) -> &Target {
        &self.shared.target
    }

    /// The one source that a project comes from.
    pub(super) fn source_of(&self, name: &PackageName) -> &Source {
        self.shared.source_of(name)
    }

    pub(super) async fn page(&self, name: &PackageName) -> Result<Arc<Page>, PipError> {
        self.shared.page(name).await
    }

    /// The metadata of the file chosen for a version that the page has.
    pub(super) async fn metadata(&self, name: &PackageName, version: &Version) -> Result<Arc<Metadata>, PipError> {
        self.shared.metadata(name, version).await
    }

    /// A file of a project as the lock has it.
    pub(super) async fn artifact(&self, name: &PackageName, file: &Candidate) -> Result<Artifact, PipError> {
        self.shared.artifact(name, file).await
    }

    /// A source distribution of a project that has to be built.
    pub(super) async fn unbuilt(
        &self,
        name: &PackageName,
        version: &Version,
        file: &Candidate,
    ) -> Result<UnbuiltSource, PipError> {
        self.shared.unbuilt(name, version, file).await
    }

    /// The wheel that was built of a source distribution.
    pub(super) fn built(&self, source: &Sha256) -> Option<&BuiltWheel> {
        self.shared.choices.built.get(source)
    }

    /// Starts reading a project's page and the metadata of the version that would be chosen now.
    pub(super) fn prefetch(&self, name: &PackageName, allowed: &Versions) {
        if lock(&self.shared.pages).contains_key(name) {
            return;
        }
        self.shared.cell(name);
        let (shared, name, allowed) = (self.shared.clone(), name.clone(), allowed.clone());
        self.spawn(async move {
            let Ok(page) = shared.page(&name).await else { return };
            if let Some(version) = page.choose(&allowed) {
                let _ = shared.metadata(&name, version).await;
            }
        });
    }

    /// Starts reading the metadata of the versions that come next when `version` fails.
    pub(super) fn prefetch_below(&self, name: &PackageName, page: &Page, allowed: &Versions, version: &Version) {
        let next = page
            .files
            .range(..version)
            .rev()
            .filter(|(_, file)| file.kind == FileKind::Wheel)
            .filter(|(version, wheel)| !wheel.yanked && !version.any_prerelease() && allowed.contains(version));
        for (version, wheel) in next.take(AHEAD) {
            if lock(&self.shared.metadata).contains_key(&wheel.sha256) {
                continue;
            }
            let (shared, name, version) = (self.shared.clone(), name.clone(), version.clone());
            self.spawn(async move {
                let _ = shared.metadata(&name, &version).await;
            });
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        lock(&self.ahead).spawn(work);
    }
}

impl Shared {
    fn source_of(&self, name: &PackageName) -> &Source {
        let direct = self.direct.get(name).map(|direct| &direct.source);
        direct.or_else(|| self.bound.get(name)).unwrap_or(&self.default)
    }

    fn cell(&self, name: &PackageName) -> Arc<OnceCell<Arc<Page>>> {
        lock(&self.pages).entry(name.clone()).or_default().clone()
    }

    async fn page(&self, name: &PackageName) -> Result<Arc<Page>, PipError> {
        let as_of = self.choices.as_of.as_ref().filter(|as_of| as_of.asks(&self.source_of(name).name));
        let choice = Choice {
            preferred: self.choices.preferred.get(name).copied(),
            wished: self.choices.wished.get(name).map_or(&[][..], Vec::as_slice),
            gone: &self.choices.gone,
            as_of,
            builds: model::PackageName::parse(name.as_ref()).is_ok_and(|name| self.choices.build.allows(&name)),
        };
        let fetch = async || {
            let page = match self.direct.get(name) {
                Some(direct) => direct.page(name, choice.gone, &self.target, &self.http, &self.store).await,
                None => {
                    let asking = (&self.http, &self.store);
                    Page::fetch(name, self.source_of(name), asking, &self.target, choice).await
                }
            };
            page.map(Arc::new)
        };
        self.cell(name).get_or_try_init(fetch).await.cloned()
    }

    async fn metadata(&self, name: &PackageName, version: &Version) -> Result<Arc<Metadata>, PipError> {
        let page = self.page(name).await?;
        let Some(file) = page.files.get(version) else {
            return Err(PipError::Bug { what: format!("{name} {version} is not on its page") });
        };
        let cell = lock(&self.metadata).entry(file.sha256).or_default().clone();
        let asker = metadata::Asker { file, source: self.source_of(name), http: &self.http, store: &self.store };
        let read = async || {
            let read = match (file.kind, self.choices.built.get(&file.sha256)) {
                (FileKind::Wheel, _) => asker.read(name, version).await?,
                (FileKind::Source, Some(wheel)) => metadata::read_built(name, version, wheel, &self.store)?,
                (FileKind::Source, None) => match asker.read_source(name, version).await? {
                    Some(read) => read,
                    None => return Err(PipError::Unbuilt { sources: vec![self.unbuilt(name, version, file).await?] }),
                },
            };
            Ok(Arc::new(read.for_target(&self.target)))
        };
        cell.get_or_try_init(read).await.cloned()
    }
}

impl Shared {
    /// A file as the lock has it.
    async fn artifact(&self, name: &PackageName, file: &Candidate) -> Result<Artifact, PipError> {
        let source = self.source_of(name);
        let size = match file.size {
            Some(size) => size,
            None => metadata::size_of(&file.url, &file.filename, source, &self.http).await?,
        };
        let path = wheel_path(&model::PackageName::parse(name.as_ref())?, &file.filename)?;
        Ok(Artifact { source: source.name.clone(), path, size, sha256: file.sha256, sha512: None })
    }

    async fn unbuilt(
        &self,
        name: &PackageName,
        version: &Version,
        file: &Candidate,
    ) -> Result<UnbuiltSource, PipError> {
        Ok(UnbuiltSource {
            name: model::PackageName::parse(name.as_ref())?,
            version: model::PackageVersion::parse(&version.to_string())?,
            artifact: self.artifact(name, file).await?,
        })
    }
}

/// A panic elsewhere leaves these maps whole: each change is one insertion.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
