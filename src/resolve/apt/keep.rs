//! Choosing again with as little change as can be: pins that can still be had stay what they are, the others move.
//!
//! Every package of the lock is asked for at once, so that what was chosen before satisfies what needs it; what nothing
//! needs any more is left out afterwards. A kept pin gives way only where nothing holds together with it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::archive::Archive;
use super::control::{Reduced, Stanza, stanzas};
use super::error::{AptError, SolveError};
use super::pins::{Asked, PinWriter};
use super::request::{self, Selection, SuiteNames};
use super::universe::{IndexText, Origin, Universe, VersionId};
use super::{AptRequest, AptSolution, Question, deb, solve};
use crate::base::http::HttpClient;
use crate::lock::{AptPin, ArchivePin, ESSENTIAL};
use crate::model::{PackageName, PackageVersion};
use crate::source::Source;
use crate::store::Store;

/// The suites as they are now, fetched and verified. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Today {
    archives: Arc<Vec<Archive>>,
}

/// Where the signed indexes of today list the very file of a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// In the suite that it was taken from.
    OwnSuite,
    /// In another suite of its source.
    OtherSuite,
    /// Nowhere.
    Nowhere,
}

/// What the signed indexes of today say of a pin's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// They list its very file.
    Listed,
    /// They list the version with another file; its sha256 as it stands there.
    Other(String),
    /// They do not list the version.
    Unlisted,
}

/// What is to be kept. Its `.deb` must be in the store where [`Today`] lists it nowhere.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// The pins of the lock for the platform asked for.
    pub pins: &'a [&'a AptPin],
    /// Those of them that shall move, by name.
    pub moving: &'a BTreeSet<PackageName>,
    /// The version that what moves shall have, where it is one package and one version is asked for.
    pub precise: Option<&'a PackageVersion>,
    /// The archives of the lock.
    pub archives: &'a [ArchivePin],
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSolution {
    /// All pins of the platform, sorted by name; those that were kept differ at most in who asks for them.
    pub pins: Vec<AptPin>,
    /// Pins that could have been had and that nothing holds together with.
    pub released: BTreeSet<PackageName>,
}

impl Today {
    /// Fetches and verifies the suites side by side.
    ///
    /// # Errors
    /// See [`AptError`].
    pub async fn fetch(
        request: &AptRequest<'_>,
        sources: &[&Source],
        http: &HttpClient,
        store: &Store,
    ) -> Result<Self, AptError> {
        let archives = super::fetch_archives(request, sources, http, store).await?;
        Ok(Self { archives: Arc::new(archives) })
    }

    /// Chooses what is asked with all it needs. The request is for the suite, platform and moment that were fetched.
    ///
    /// # Errors
    /// See [`AptError`].
    pub async fn resolve(&self, request: &AptRequest<'_>) -> Result<AptSolution, AptError> {
        let (question, archives) = (Question::new(request), self.archives.clone());
        super::on_deep_stack(move || question.answer(&archives)).await
    }

    /// Where each pin is listed, with its source, path and hash; in the order of `pins`.
    pub fn listings(&self, pins: &[&AptPin]) -> Vec<Listing> {
        let found = self.find(pins);
        let listings = pins.iter().zip(found).map(|(pin, found)| match found {
            Some((archive, _)) if self.archives[archive].pin.suite == pin.suite => Listing::OwnSuite,
            Some(_) => Listing::OtherSuite,
            None => Listing::Nowhere,
        });
        listings.collect()
    }

    /// What is said of each pin's version by its own source, in the order of `pins`.
    pub fn standings(&self, pins: &[&AptPin]) -> Vec<Standing> {
        let mut standings = vec![Standing::Unlisted; pins.len()];
        let wanted: BTreeMap<&str, usize> =
            pins.iter().enumerate().map(|(index, pin)| (pin.name.as_str(), index)).collect();
        for archive in self.archives.iter() {
            for text in archive.indexes.iter().flat_map(|index| stanzas(index.stanzas())) {
                let stanza = Stanza::parse(text);
                let Some(index) = wanted.get(stanza.package()).copied() else { continue };
                let pin = pins[index];
                let is_version = archive.pin.source == pin.artifact.source
                    && (stanza.version(), stanza.architecture()) == (pin.version.as_str(), pin.architecture.as_str());
                if is_version && stanza.sha256() == pin.artifact.sha256.to_string() {
                    standings[index] = Standing::Listed;
                } else if is_version && standings[index] == Standing::Unlisted {
                    standings[index] = Standing::Other(stanza.sha256().to_owned());
                }
            }
        }
        standings
    }

    /// What a lock says of them.
    pub fn archives(&self) -> impl Iterator<Item = &ArchivePin> {
        self.archives.iter().map(|archive| &archive.pin)
    }

    /// The archive and the stanza that list each pin, its own suite's where that lists it.
    fn find(&self, pins: &[&AptPin]) -> Vec<Option<(usize, &str)>> {
        let wanted: BTreeMap<&str, usize> =
            pins.iter().enumerate().map(|(index, pin)| (pin.name.as_str(), index)).collect();
        let mut found = vec![None; pins.len()];
        for (number, archive) in self.archives.iter().enumerate() {
            for text in archive.indexes.iter().flat_map(|index| stanzas(index.stanzas())) {
                let stanza = Stanza::parse(text);
                let Some(index) = wanted.get(stanza.package()).copied() else { continue };
                let pin = pins[index];
                if is_file_of(&stanza, pin)
                    && archive.pin.source == pin.artifact.source
                    && (found[index].is_none() || archive.pin.suite == pin.suite)
                {
                    found[index] = Some((number, text));
                }
            }
        }
        found
    }
}

fn is_file_of(stanza: &Stanza<'_>, pin: &AptPin) -> bool {
    stanza.filename() == pin.artifact.path.as_str() && stanza.sha256() == pin.artifact.sha256.to_string()
}

/// Chooses again what is asked, keeping what is to be kept.
///
/// # Errors
/// See [`AptError`]: nothing holds together even where kept pins that are in the way move too.
pub async fn resolve_keeping(
    request: &AptRequest<'_>,
    kept: Kept<'_>,
    today: &Today,
    store: &Store,
) -> Result<KeptSolution, AptError> {
    let keeping = Keeping {
        question: Question::new(request),
        pins: kept.pins.iter().map(|pin| (*pin).clone()).collect(),
        moving: kept.moving.clone(),
        precise: kept.precise.cloned(),
        archives: kept.archives.to_vec(),
        today: today.clone(),
        store: store.clone(),
    };
    super::on_deep_stack(move || keeping.answer()).await
}

/// A question that owns its parts.
struct Keeping {
    question: Question,
    pins: Vec<AptPin>,
    moving: BTreeSet<PackageName>,
    precise: Option<PackageVersion>,
    archives: Vec<ArchivePin>,
    today: Today,
    store: Store,
}

/// An archive whose versions are in the universe: one of today, or one of the lock with those kept pins that today's do
/// not list as they were.
struct Shelf<'a> {
    pin: &'a ArchivePin,
    names: SuiteNames,
    priority: u16,
}

/// How far a package of the lock is still held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// At this version.
    Version(VersionId),
    /// At any version.
    Package,
    /// Not at all: it is there only where something needs it.
    Nothing,
}

type Holds<'p> = BTreeMap<&'p str, Hold>;

impl Keeping {
    fn answer(&self) -> Result<KeptSolution, AptError> {
        let kept: Vec<&AptPin> = self.pins.iter().filter(|pin| !self.moving.contains(&pin.name)).collect();
        let (mut shelves, mut texts) = self.shelves_of_today();
        let places = self.shelve(&kept, &mut shelves, &mut texts)?;
        let indexes: Vec<IndexText<'_>> = texts
            .iter()
            .map(|(shelf, reduced)| IndexText { index: reduced, archive: *shelf, priority: shelves[*shelf].priority })
            .collect();
        let architecture = self.question.platform.architecture.as_str();
        let installed = self.question.installed.as_deref();
        let mut universe = Universe::new(architecture, &indexes, installed).map_err(super::bad_record)?;
        let mut holds: Holds<'_> = self.pins.iter().map(|pin| (pin.name.as_str(), Hold::Package)).collect();
        for (pin, shelf) in kept.iter().zip(places) {
            let id = version_of(&universe, pin, shelf).ok_or_else(|| AptError::Unlisted {
                package: format!("{} {}", pin.name, pin.version),
                why: "its own record calls it something else".into(),
            })?;
            holds.insert(pin.name.as_str(), Hold::Version(id));
        }
        let (chosen, asked) = self.solve(&mut universe, &shelves, &mut holds)?;
        let released = kept.iter().filter(|pin| !matches!(holds.get(pin.name.as_str()), Some(Hold::Version(_))));
        let released: BTreeSet<PackageName> = released.map(|pin| pin.name.clone()).collect();
        let pins = self.write(&universe, &shelves, &chosen, &asked)?;
        let moved = |name: &PackageName| {
            let old = self.pins.iter().find(|pin| pin.name == *name);
            old.map(|pin| &pin.artifact) != pins.iter().find(|pin| pin.name == *name).map(|pin| &pin.artifact)
        };
        Ok(KeptSolution { released: released.into_iter().filter(moved).collect(), pins })
    }

    fn shelves_of_today(&self) -> (Vec<Shelf<'_>>, Vec<(usize, Cow<'_, Reduced>)>) {
        let archives = &self.today.archives;
        let shelf = |archive: &'_ Archive| SuiteNames::new(&archive.pin.suite, &archive.release);
        let shelves = archives
            .iter()
            .map(|archive| Shelf { pin: &archive.pin, names: shelf(archive), priority: archive.release.priority })
            .collect();
        let texts = archives
            .iter()
            .enumerate()
            .flat_map(|(number, archive)| archive.indexes.iter().map(move |reduced| (number, Cow::Borrowed(reduced))));
        (shelves, texts.collect())
    }

    /// Sees to it that each kept pin is on a shelf of its own source and suite, and says on which.
    fn shelve<'s>(
        &'s self,
        kept: &[&AptPin],
        shelves: &mut Vec<Shelf<'s>>,
        texts: &mut Vec<(usize, Cow<'s, Reduced>)>,
    ) -> Result<Vec<usize>, AptError> {
        let mut added: BTreeMap<usize, String> = BTreeMap::new();
        let mut places = Vec::new();
        for (pin, found) in kept.iter().zip(self.today.find(kept)) {
            let text = match found {
                Some((archive, _)) if shelves[archive].pin.suite == pin.suite => {
                    places.push(archive);
                    continue;
                }
                Some((_, stanza)) => format!("{}\n\n", stanza.trim_end_matches('\n')),
                None => deb::read_stanza(pin, &self.store)?,
            };
            let shelf = self.old_shelf(pin, shelves)?;
            added.entry(shelf).or_default().push_str(&text);
            places.push(shelf);
        }
        let architecture = self.question.platform.architecture.as_str();
        let reduced = |text: String| Cow::Owned(Reduced::new(&text, architecture));
        texts.extend(added.into_iter().map(|(shelf, text)| (shelf, reduced(text))));
        Ok(places)
    }

    /// The shelf for what today does not list: below every other, so that it is never taken for what is new.
    fn old_shelf<'s>(&'s self, pin: &AptPin, shelves: &mut Vec<Shelf<'s>>) -> Result<usize, AptError> {
        let is_own = |archive: &ArchivePin| archive.source == pin.artifact.source && archive.suite == pin.suite;
        let today = self.today.archives.len();
        if let Some(index) = shelves.iter().skip(today).position(|shelf| is_own(shelf.pin)) {
            return Ok(today + index);
        }
        let archive = self.archives.iter().find(|archive| is_own(archive)).ok_or_else(|| AptError::Unlisted {
            package: format!("{} {}", pin.name, pin.version),
            why: "the lock names no archive for its source and suite".into(),
        })?;
        let names = shelves[..today].iter().find(|shelf| is_own(shelf.pin)).map(|shelf| shelf.names.clone());
        let nameless = || SuiteNames { suite: archive.suite.clone(), names: BTreeSet::new(), version: None };
        shelves.push(Shelf { pin: archive, names: names.unwrap_or_else(nameless), priority: 0 });
        Ok(shelves.len() - 1)
    }

    /// Tries until something holds together, each time letting go of one package that was in the way.
    fn solve(
        &self,
        universe: &mut Universe<'_>,
        shelves: &[Shelf<'_>],
        holds: &mut Holds<'_>,
    ) -> Result<(Vec<VersionId>, Asked), AptError> {
        let suites: Vec<SuiteNames> = shelves.iter().map(|shelf| shelf.names.clone()).collect();
        loop {
            universe.keep_only(holds.values().filter_map(|hold| match hold {
                Hold::Version(id) => Some(*id),
                Hold::Package | Hold::Nothing => None,
            }));
            match self.attempt(universe, &suites, holds) {
                Ok(answer) => return Ok(answer),
                Err(SolveError::NoSolution { named, steps, ask }) => {
                    if !let_go(holds, &named) {
                        return Err(SolveError::NoSolution { named, steps, ask }.into());
                    }
                }
                // A requirement that was changed since refuses the version that is held.
                Err(SolveError::UnknownVersion { package, wanted, available }) => {
                    match holds.get_mut(package.as_str()) {
                        Some(hold @ Hold::Version(_)) => *hold = Hold::Package,
                        _ => return Err(SolveError::UnknownVersion { package, wanted, available }.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn attempt(
        &self,
        universe: &mut Universe<'_>,
        suites: &[SuiteNames],
        holds: &Holds<'_>,
    ) -> Result<(Vec<VersionId>, Asked), SolveError> {
        if let Some(version) = &self.precise {
            for name in &self.moving {
                request::take(universe, name.as_str(), version.as_str(), suites)?;
            }
        }
        let Selection { versions: manifest, switches } = request::select(universe, &self.question.packages, suites)?;
        let candidate = |name: &str| universe.id(name).and_then(|id| universe.candidate(id));
        let mut essential = Vec::new();
        for pin in self.pins.iter().filter(|pin| pin.required_by.iter().any(|by| by == ESSENTIAL)) {
            let missing = || SolveError::UnknownPackage { package: pin.name.to_string(), nearest: None };
            essential.push(candidate(pin.name.as_str()).ok_or_else(missing)?);
        }
        let held = holds.iter().filter(|(_, hold)| **hold != Hold::Nothing).filter_map(|(name, _)| candidate(name));
        let mut requests: Vec<VersionId> = Vec::new();
        for id in essential.iter().chain(&manifest).copied().chain(held) {
            if !requests.contains(&id) {
                requests.push(id);
            }
        }
        solve::switch(universe, &requests, &switches, self.question.recommends);
        let chosen = solve::solve(universe, &requests, self.question.recommends)?;
        Ok((chosen, Asked { manifest: manifest.into_iter().collect(), essential: essential.into_iter().collect() }))
    }

    fn write(
        &self,
        universe: &Universe<'_>,
        shelves: &[Shelf<'_>],
        chosen: &[VersionId],
        asked: &Asked,
    ) -> Result<Vec<AptPin>, AptError> {
        let archives: Vec<&ArchivePin> = shelves.iter().map(|shelf| shelf.pin).collect();
        let Question { platform, recommends, .. } = self.question;
        let writer = PinWriter { universe, archives: &archives, platform, recommends };
        let roots = asked.essential.iter().chain(&asked.manifest).copied();
        let mut pins = writer.pins(&writer.reachable(chosen, roots), asked)?;
        for pin in &mut pins {
            let old = self.pins.iter().find(|old| old.name == pin.name && old.artifact == pin.artifact);
            if let Some(old) = old {
                *pin = AptPin { required_by: std::mem::take(&mut pin.required_by), ..old.clone() };
            }
        }
        Ok(pins)
    }
}

/// The version that a pin is, on the shelf where it is.
fn version_of(universe: &Universe<'_>, pin: &AptPin, shelf: usize) -> Option<VersionId> {
    let is_pin = |id: &&VersionId| {
        let version = universe.version(**id);
        version.origin == Origin::Archive(shelf)
            && version.version == pin.version.as_str()
            && is_file_of(&universe.stanza(**id), pin)
    };
    universe.versions_of(universe.id(pin.name.as_str())?).iter().find(is_pin).copied()
}

/// Lets go of the last package named that is held at its version, else of the last one that is held at all. Says whether
/// there was one.
fn let_go(holds: &mut Holds<'_>, named: &[String]) -> bool {
    let last = |holds: &Holds<'_>, is_held: fn(Hold) -> bool| {
        let held = |name: &&String| holds.get(name.as_str()).is_some_and(|hold| is_held(*hold));
        named.iter().rev().find(held).cloned()
    };
    let (name, looser) = match last(holds, |hold| matches!(hold, Hold::Version(_))) {
        Some(name) => (name, Hold::Package),
        None => match last(holds, |hold| hold == Hold::Package) {
            Some(name) => (name, Hold::Nothing),
            None => return false,
        },
    };
    if let Some(hold) = holds.get_mut(name.as_str()) {
        *hold = looser;
    }
    true
}
