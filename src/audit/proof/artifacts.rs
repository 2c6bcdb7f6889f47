//! Every artifact of the store hashed again and looked into: is it what its pin says? On all cores, each file read as a stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{CONTENT, DAMAGED, IDENTITY, UNCHECKED, apt, npm, pip};
use crate::audit::finding::{Finding, Level, Rule};
use crate::base::progress::Progress;
use crate::base::text::{count, sanitize};
use crate::lock::{AptPin, Lockfile, NpmPin, PinView, PipBuildPin, PipPin};
use crate::store::{Store, StoreError};

/// What looking at all artifacts showed.
#[derive(Debug, Default)]
pub struct ArtifactReport {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Artifacts that were looked at and are whole.
    pub whole: usize,
    /// Their bytes.
    pub bytes: u64,
    /// `npm:lodash 4.17.21`: those that the store does not have.
    pub missing: Vec<String>,
    /// What the whole ones say that they need, by the position of the pin in [`Lockfile::pins`].
    pub facts: BTreeMap<usize, Facts>,
}

/// What an artifact says of its surroundings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Groups of names, one of each being needed.
    pub needs: Vec<Vec<String>>,
    /// Every name that it mentions as something it could do with.
    pub mentions: BTreeSet<String>,
    /// Further names that it answers to.
    pub provides: Vec<String>,
}

/// A pin of any ecosystem.
#[derive(Clone, Copy)]
pub(super) enum AnyPin<'a> {
    Apt(&'a AptPin),
    Npm(&'a NpmPin),
    Pip(&'a PipPin),
    PipBuild(&'a PipBuildPin),
}

/// Why a pin's artifact was not found whole.
pub(super) enum Flaw {
    /// It is not in the store.
    Missing,
    /// A rule that it breaks.
    Broken(&'static Rule, String, Vec<String>),
}

/// What is said of a whole artifact: facts, and findings that do not make it less whole.
pub(super) type Looked = (Facts, Vec<Finding>);

impl Flaw {
    pub(super) fn of_store(error: StoreError) -> Self {
        match error {
            StoreError::Missing { .. } => Self::Missing,
            StoreError::Damaged { digest, found, .. } => Self::Broken(
                &DAMAGED,
                "is damaged in the store".into(),
                vec![format!("  locked  sha256:{digest}"), format!("   holds  sha256:{found}")],
            ),
            other => Self::Broken(&CONTENT, format!("cannot be read: {}", sanitize(&other.to_string())), Vec::new()),
        }
    }

    pub(super) fn content(why: &str) -> Self {
        Self::Broken(&CONTENT, sanitize(why), Vec::new())
    }

    /// The pin says one thing and the artifact another.
    pub(super) fn identity(what: &str, locked: &str, found: &str) -> Self {
        let evidence = vec![format!("  locked  {}", sanitize(locked)), format!("   holds  {}", sanitize(found))];
        Self::Broken(&IDENTITY, format!("is not what its pin says: its {what} differs"), evidence)
    }
}

impl<'a> AnyPin<'a> {
    pub(super) fn all(lock: &'a Lockfile) -> Vec<Self> {
        let apt = lock.apt.iter().map(Self::Apt);
        let pip = lock.pip.iter().map(Self::Pip).chain(lock.pip_builds.iter().map(Self::PipBuild));
        apt.chain(lock.npm.iter().map(Self::Npm)).chain(pip).collect()
    }

    pub(super) fn view(self) -> PinView<'a> {
        match self {
            Self::Apt(pin) => pin.view(),
            Self::Npm(pin) => pin.view(),
            Self::Pip(pin) => pin.view(),
            Self::PipBuild(pin) => pin.view(),
        }
    }

    fn look(self, store: &Store) -> Result<Looked, Flaw> {
        match self {
            Self::Apt(pin) => apt::look(pin, store),
            Self::Npm(pin) => npm::look(pin, store),
            Self::Pip(pin) => pip::look(pin, store),
            Self::PipBuild(pin) => pip::look(&pin.wheel, store),
        }
    }
}

/// `npm:lodash 4.17.21`.
pub(super) fn label(pin: &PinView<'_>) -> String {
    format!("{}:{} {}", pin.ecosystem, pin.name, pin.version)
}

/// `npm:lodash`.
pub(super) fn subject(pin: &PinView<'_>) -> String {
    format!("{}:{}", pin.ecosystem, pin.name)
}

/// Looks at the artifacts of all pins.
pub fn check_artifacts(lock: &Lockfile, store: &Store, progress: &Progress) -> ArtifactReport {
    let pins = AnyPin::all(lock);
    let total = pins.iter().map(|pin| pin.view().artifact.size).sum();
    let phase = progress.bytes("verifying artifacts", total);
    let (next, report) = (AtomicUsize::new(0), Mutex::new(ArtifactReport::default()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(pins.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(pin) = pins.get(index) else { break };
                    let view = pin.view();
                    let looked = check_size(&view, store).and_then(|()| pin.look(store));
                    phase.advance(view.artifact.size);
                    report.lock().unwrap_or_else(PoisonError::into_inner).take(index, &view, looked);
                }
            });
        }
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.missing.sort();
    report.missing.dedup();
    phase.finish(&format!("{} whole", count(report.whole, "artifact")));
    report
}

impl ArtifactReport {
    fn take(&mut self, index: usize, pin: &PinView<'_>, looked: Result<Looked, Flaw>) {
        match looked {
            Ok((facts, findings)) => {
                self.whole += 1;
                self.bytes += pin.artifact.size;
                self.facts.insert(index, facts);
                self.findings.extend(findings);
            }
            Err(Flaw::Missing) => self.missing.push(label(pin)),
            Err(Flaw::Broken(rule, what, evidence)) => {
                let finding = Finding::new(rule, subject(pin), format!("`{}` {what}", label(pin)));
                self.findings.push(Finding { evidence, ..finding });
            }
        }
    }

    /// The finding for what the store does not have, as grave as `level`.
    pub fn unchecked(&self, level: Level) -> Option<Finding> {
        if self.missing.is_empty() {
            return None;
        }
        const SHOWN: usize = 12;
        let number = self.missing.len();
        let are = if number == 1 { "is" } else { "are" };
        let message = format!("{} {are} not in the store and not checked", count(number, "locked artifact"));
        let mut evidence: Vec<String> =
            self.missing.iter().take(SHOWN).map(|label| format!("missing  {label}")).collect();
        if number > SHOWN {
            evidence.push(format!("and {} more", number - SHOWN));
        }
        Some(Finding { level, evidence, ..Finding::new(&UNCHECKED, "store", message) })
    }
}

/// The lock's size is a promise of its own: it caps every download.
fn check_size(pin: &PinView<'_>, store: &Store) -> Result<(), Flaw> {
    let path = store.blob_path(&pin.artifact.sha256);
    let Ok(found) = std::fs::metadata(&path) else { return Err(Flaw::Missing) };
    if found.len() == pin.artifact.size {
        return Ok(());
    }
    // Of a damaged blob the digest says more than the size.
    store.open_blob(&pin.artifact.sha256).map_err(Flaw::of_store)?;
    let evidence = vec![format!("  locked  {} bytes", pin.artifact.size), format!("   holds  {} bytes", found.len())];
    Err(Flaw::Broken(&DAMAGED, "has another size than was locked".into(), evidence))
}
