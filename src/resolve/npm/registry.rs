//! The registry's documents: each package bound to one source, each document fetched once, ahead of need where it can be foreseen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use tokio::task::AbortHandle;
use url::Url;

use super::error::NpmError;
use super::kept::Preferences;
use super::packument::{EdgeKind, Manifest, Packument, Target};
use super::spec::{Spec, SpecKind};
use crate::base::http::{HttpClient, HttpError, Request};
use crate::model::SourceName;
use crate::source::{AsOf, Source};
use crate::store::{Store, fetch_document};

/// The largest document that is read: popular packages have tens of MiB.
const LARGEST_DOCUMENT: u64 = 256 << 20;

/// Why a package could not be had. Shared by all who ask for it.
#[derive(Clone, Debug)]
pub(super) enum Absence {
    /// The registry has no such name.
    UnknownName,
    /// It has the name, and no version that answers.
    NoVersion {
        /// Tags and versions that it has.
        known: Vec<String>,
        /// The newest version that was published too late, and when that was.
        late: Option<String>,
    },
    /// The wish is not for a registry.
    Elsewhere,
}

type Answer = Result<Option<Arc<Packument>>, Refusal>;

/// A failure that all who ask are told of.
#[derive(Clone)]
enum Refusal {
    Http(Arc<HttpError>),
    Document(SourceName, Arc<serde_json::Error>),
    NoTimes(SourceName),
}

impl Refusal {
    fn about(self, name: &str) -> NpmError {
        let name = name.to_owned();
        match self {
            Self::Http(source) => NpmError::Registry { name, source },
            Self::Document(source_name, source) => NpmError::Document { name, source_name, source },
            Self::NoTimes(source_name) => NpmError::NoTimes { name, source_name },
        }
    }
}

/// The registries with what they have answered so far.
#[derive(Clone)]
pub(super) struct Registry(Arc<Inner>);

struct Inner {
    sources: Vec<Source>,
    http: HttpClient,
    store: Option<Store>,
    target: Target,
    preferences: Preferences,
    as_of: Option<AsOf>,
    documents: Mutex<BTreeMap<String, Arc<OnceCell<Answer>>>>,
    foreseen: Mutex<BTreeSet<(String, String)>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Registry {
    /// Asks `sources`; the first is the default. Documents that have not changed come from the store, where there is one.
    pub fn new(
        sources: &[&Source],
        (http, store): (&HttpClient, Option<&Store>),
        target: Target,
        preferences: Preferences,
        as_of: Option<&AsOf>,
    ) -> Result<Self, NpmError> {
        if sources.is_empty() {
            return Err(NpmError::NoSource);
        }
        Ok(Self(Arc::new(Inner {
            sources: sources.iter().map(|source| (*source).clone()).collect(),
            http: http.clone(),
            store: store.cloned(),
            target,
            preferences,
            as_of: as_of.cloned(),
            documents: Mutex::default(),
            foreseen: Mutex::default(),
            tasks: Mutex::default(),
        })))
    }

    /// The machine that packages are chosen for.
    pub fn target(&self) -> &Target {
        &self.0.target
    }

    /// The one source that a package is bound to.
    pub fn source_of(&self, package: &str) -> &Source {
        let scope = package.split_once('/').map(|(scope, _)| format!("{scope}/*"));
        let is_bound =
            |source: &&Source| source.packages.iter().any(|bound| bound == package || Some(bound) == scope.as_ref());
        self.0.sources.iter().skip(1).find(is_bound).unwrap_or(&self.0.sources[0])
    }

    /// The version that answers a wish of the entry `key`.
    pub async fn find(&self, key: &str, spec: &Spec) -> Result<Result<Arc<Manifest>, Absence>, NpmError> {
        if spec.kind == SpecKind::Elsewhere {
            return Ok(Err(Absence::Elsewhere));
        }
        let Some(packument) = self.document(spec.package(key)).await? else {
            return Ok(Err(Absence::UnknownName));
        };
        Ok(self
            .choose(&packument, spec)
            .ok_or_else(|| Absence::NoVersion { known: packument.known(8), late: self.explain_late(&packument, spec) }))
    }

    /// One version of a package, if its document has it.
    pub async fn exact(&self, package: &str, version: &str) -> Result<Option<Arc<Manifest>>, NpmError> {
        let packument = self.document(package).await?;
        Ok(packument.and_then(|packument| packument.manifest(version, self.target())))
    }

    /// When a version was published, where the registry says so and is asked for it.
    pub async fn published(&self, package: &str, version: &str) -> Result<Option<i64>, NpmError> {
        Ok(self.document(package).await?.and_then(|packument| packument.published(version)))
    }

    /// Whether what moves may go to an older version: to a precise one, or to the one of an earlier moment.
    pub fn may_go_down(&self) -> bool {
        self.0.preferences.is_precise() || self.0.as_of.is_some()
    }

    fn explain_late(&self, packument: &Packument, spec: &Spec) -> Option<String> {
        let as_of = self.0.as_of.as_ref()?;
        let version = packument.newest_late(spec)?;
        Some(format!("{version}, {}", as_of.explain(packument.published(version))))
    }

    /// A preferred version that answers, else npm's choice.
    fn choose(&self, packument: &Packument, spec: &Spec) -> Option<Arc<Manifest>> {
        let preferred = self.0.preferences.versions_of(packument.name());
        let counts = |text: &str| !self.0.preferences.moves(packument.name()) || !packument.is_late(text);
        let fitting = preferred.iter().filter(|(_, text)| counts(text)).filter(|(version, text)| match spec.kind {
            SpecKind::Tag => packument.tagged(&spec.text) == Some(*text),
            _ => spec.is_satisfied_by(Some(version)),
        });
        fitting
            .filter_map(|(_, text)| packument.manifest(text, self.target()))
            .next()
            .or_else(|| packument.pick(spec, self.target()))
    }

    /// Whether a package shall move, and whether to one version that may be an older one.
    pub fn preferences(&self) -> &Preferences {
        &self.0.preferences
    }

    /// Starts to fetch what a package will need, and what that will need, without waiting for it.
    pub fn foresee(&self, key: &str, spec: &Arc<Spec>) {
        let package = spec.package(key).to_owned();
        let is_new = lock(&self.0.foreseen).insert((package.clone(), spec.text.clone()));
        if !is_new || spec.kind == SpecKind::Elsewhere {
            return;
        }
        let (registry, spec) = (self.clone(), spec.clone());
        let task = tokio::spawn(async move {
            let Ok(Some(packument)) = registry.document(&package).await else { return };
            if let Some(manifest) = registry.choose(&packument, &spec) {
                registry.foresee_wishes(&manifest);
            }
        });
        lock(&self.0.tasks).push(task.abort_handle());
    }

    /// [`foresee`](Self::foresee) for all that a version depends on.
    pub fn foresee_wishes(&self, manifest: &Manifest) {
        for wish in &manifest.wishes {
            if wish.kind != EdgeKind::PeerOptional && !manifest.bundled.contains(&*wish.name) {
                self.foresee(&wish.name, &wish.spec);
            }
        }
    }

    /// Ends all fetches that nobody waits for.
    pub fn stop(&self) {
        lock(&self.0.tasks).drain(..).for_each(|task| task.abort());
    }

    async fn document(&self, package: &str) -> Result<Option<Arc<Packument>>, NpmError> {
        let cell = lock(&self.0.documents).entry(package.to_owned()).or_default().clone();
        let answer = cell.get_or_init(|| self.fetch(package)).await;
        answer.clone().map_err(|refusal| refusal.about(package))
    }

    async fn fetch(&self, package: &str) -> Answer {
        let source = self.source_of(package);
        let Some(url) = document_url(&source.url, package) else { return Ok(None) };
        let request = Request::get(url)
            .accept("application/json")
            .authorization(source.authorization.as_deref())
            .limit(LARGEST_DOCUMENT);
        let answer = match fetch_document(request, &self.0.http, self.0.store.as_ref()).await {
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(Refusal::Http(Arc::new(error))),
            Ok(answer) => answer,
        };
        let unread = |error| Refusal::Document(source.name.clone(), Arc::new(error));
        let packument = Packument::parse(package, &answer.body).map_err(unread)?;
        let packument = packument.without(&self.0.preferences.gone(package));
        let as_of = self.0.as_of.as_ref().filter(|as_of| as_of.asks(&source.name));
        let packument = match as_of {
            Some(as_of) => packument.standing(as_of).ok_or_else(|| Refusal::NoTimes(source.name.clone()))?,
            None => packument,
        };
        Ok(Some(Arc::new(packument)))
    }
}

/// `@scope/name` is one path segment.
fn document_url(base: &Url, package: &str) -> Option<Url> {
    crate::model::PackageName::parse(package).ok()?;
    base.join(&format!("./{}", package.replace('/', "%2f"))).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
