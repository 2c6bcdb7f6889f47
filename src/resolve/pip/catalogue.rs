//! What the indexes say, asked once each and ahead of need: pages by project, metadata by wheel.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use uv_normalize::PackageName;
use uv_pep440::Version;

use super::direct::Direct;
use super::metadata::{self, Metadata};
use super::page::{Choice, Page};
use super::requirement::Versions;
use super::target::Target;
use super::{PipError, WishedPip};
use crate::base::http::HttpClient;
use crate::manifest::WheelUrl;
use crate::model::Sha256;
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

    pub(super) fn http(&self) -> &HttpClient {
        &self.shared.http
    }

    /// The one source that a project comes from.
    pub(super) fn source_of(&self, name: &PackageName) -> &Source {
        self.shared.source_of(name)
    }

    pub(super) async fn page(&self, name: &PackageName) -> Result<Arc<Page>, PipError> {
        self.shared.page(name).await
    }

    /// The metadata of the wheel chosen for a version that the page has.
    pub(super) async fn metadata(&self, name: &PackageName, version: &Version) -> Result<Arc<Metadata>, PipError> {
        self.shared.metadata(name, version).await
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
            .wheels
            .range(..version)
            .rev()
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
        let Some(wheel) = page.wheels.get(version) else {
            return Err(PipError::Bug { what: format!("{name} {version} is not on its page") });
        };
        let cell = lock(&self.metadata).entry(wheel.sha256).or_default().clone();
        let read = async || {
            let read = metadata::read(name, version, wheel, self.source_of(name), &self.http, &self.store).await;
            read.map(|read| Arc::new(read.for_target(&self.target)))
        };
        cell.get_or_try_init(read).await.cloned()
    }
}

/// A panic elsewhere leaves these maps whole: each change is one insertion.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
