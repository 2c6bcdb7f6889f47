//! What a lock needs that the store does not have.

use std::collections::BTreeSet;

use url::Url;

use crate::lock::{BaseLayer, BasePin, Lockfile, PinView};
use crate::model::{Artifact, Platform};
use crate::source::Sources;
use crate::store::Store;

/// What is missing. Each file stands in it once.
#[derive(Clone, Debug, Default)]
pub struct FetchPlan<'a> {
    /// Files of pins: without them nothing can be built. Sorted by artifact.
    pub artifacts: Vec<Wanted<'a>>,
    /// Signed indexes of the archives: without them the signatures cannot be verified again. Sorted by artifact.
    pub proofs: Vec<Wanted<'a>>,
    /// Layers of the base image, lowest first; the image registry's client brings them.
    pub layers: Vec<&'a BaseLayer>,
}

/// One missing file with its name for people.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The file.
    pub artifact: &'a Artifact,
    /// `npm:lodash 4.17.21`.
    pub label: String,
    /// The moments at which snapshot-style archives have it, the likeliest first.
    pub moments: Vec<i64>,
}

/// The same, for a task that outlives the plan.
pub(super) struct OwnedWant {
    pub artifact: Artifact,
    /// Its address, where the manifest names it; nothing else is asked then.
    pub url: Option<Url>,
    pub label: String,
    pub moments: Vec<i64>,
}

impl<'a> Wanted<'a> {
    /// The file of a pin of a lock.
    pub fn of(pin: PinView<'a>, lock: &Lockfile) -> Self {
        let label = format!("{}:{} {}", pin.ecosystem, pin.name, pin.version);
        Self { artifact: pin.artifact, label, moments: moments(lock, pin.artifact) }
    }
}

/// The moments at which a snapshot-style archive is asked for a file: those at which the lock's archives of its source were
/// read; where they were not read from snapshots a day after their Date, when all that they list has been taken up, and then
/// that Date.
pub fn moments(lock: &Lockfile, artifact: &Artifact) -> Vec<i64> {
    let own = lock.archives.iter().filter(|archive| archive.source == artifact.source);
    let moments = own.flat_map(|archive| match archive.snapshot {
        Some(snapshot) => vec![snapshot],
        None => vec![archive.date + 86_400, archive.date],
    });
    let mut moments: Vec<i64> = moments.collect();
    moments.sort_unstable_by(|one, other| other.cmp(one));
    moments.dedup();
    moments
}

impl Wanted<'_> {
    pub(super) fn to_owned_want(&self, sources: &Sources) -> OwnedWant {
        let (artifact, url) = (self.artifact.clone(), sources.wheel(self.artifact).cloned());
        OwnedWant { artifact, url, label: self.label.clone(), moments: self.moments.clone() }
    }
}

impl FetchPlan<'_> {
    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.artifacts.is_empty() && self.proofs.is_empty() && self.layers.is_empty()
    }

    /// The size in bytes of all files but the layers.
    pub fn bytes(&self) -> u64 {
        self.artifacts.iter().chain(&self.proofs).map(|want| want.artifact.size).sum()
    }
}

/// Lists what building for `platform` needs, and what verifying needs, that the store does not have.
///
/// A blob counts as there by its name; its bytes are verified whenever they are read.
pub fn plan<'a>(lock: &'a Lockfile, platform: Platform, store: &Store) -> FetchPlan<'a> {
    let pins = lock.pins().filter(|pin| pin.platform == platform).map(|pin| Wanted::of(pin, lock));
    let archives = lock.archives.iter().flat_map(|archive| {
        let label = format!("the signed index of {} {}", archive.source, archive.suite);
        let indexes = archive.indexes.iter().filter(move |index| is_for(index, platform));
        std::iter::once(&archive.in_release).chain(indexes).map(move |artifact| Wanted {
            artifact,
            label: label.clone(),
            moments: moments(lock, artifact),
        })
    });
    let layers = match &lock.base {
        BasePin::Debian { .. } => Vec::new(),
        BasePin::Image { manifests, .. } => {
            manifests.get(&platform).map_or(Vec::new(), |manifest| manifest.layers.iter().collect())
        }
    };
    let mut seen = BTreeSet::new();
    FetchPlan {
        artifacts: missing(pins.collect(), store),
        proofs: missing(archives.collect(), store),
        layers: layers
            .into_iter()
            .filter(|layer| !store.contains(&layer.digest) && seen.insert(layer.digest))
            .collect(),
    }
}

/// Whether an index is for this platform, by the part of its path that names an architecture.
fn is_for(index: &Artifact, platform: Platform) -> bool {
    let own = format!("binary-{}", platform.architecture.as_str());
    let mut parts = index.path.as_str().split('/').filter(|part| part.starts_with("binary-")).peekable();
    parts.peek().is_none() || parts.any(|part| part == own || part == "binary-all")
}

fn missing<'a>(mut wanted: Vec<Wanted<'a>>, store: &Store) -> Vec<Wanted<'a>> {
    let mut seen = BTreeSet::new();
    wanted.retain(|want| !store.contains(&want.artifact.sha256));
    wanted.sort_by(|one, other| one.artifact.cmp(other.artifact));
    wanted.retain(|want| seen.insert(want.artifact.sha256));
    wanted
}
