//! The chain InRelease → Packages → `.deb`, verified again from the store alone, however much later.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::unpack_index;
use super::control::{Stanza, stanzas};
use super::error::AptError;
use super::later::later_than;
use super::pins;
use super::release::{Listed, Release, show_time};
use super::signature::Keyring;
use crate::lock::{AptPin, ArchivePin, BasePin, ESSENTIAL, Lockfile};
use crate::model::{Artifact, SourceName};
use crate::store::{Store, StoreError};

/// A link of the chain that does not hold, or that cannot be looked at.
#[derive(Debug)]
pub struct BrokenLink {
    /// What it is about: `apt:hello`, or `apt:debian/trixie` for all packages of an archive's suite.
    pub subject: String,
    /// What is wrong.
    pub error: AptError,
}

/// What looking at the whole chain showed.
#[derive(Debug, Default)]
pub struct ChainReport {
    /// Every link that does not hold or cannot be looked at.
    pub broken: Vec<BrokenLink>,
    /// How many locked archives are not in the store any more, with later ones that vouch in their place.
    pub stand_ins: usize,
}

/// Verifies the signature of every InRelease with its keys as they were at its Date, that each lists the Packages files of the
/// lock, and that these list every Debian pin with its version, source package, size and hash. Of a suite that the lock has at
/// several dates, one listing is enough. Works without a network.
///
/// Where a file of a locked archive is not in the store, a later archive of the same suite that [`remember_later`] kept vouches
/// for the pins that it lists; it is verified in the same way.
///
/// A source that `keyrings` has nothing for is verified with Debian's own archive keys.
///
/// # Errors
/// At the first link that does not hold; when a file of the chain is not in the store.
///
/// [`remember_later`]: super::remember_later
pub fn verify_chain(lock: &Lockfile, store: &Store, keyrings: &BTreeMap<SourceName, Keyring>) -> Result<(), AptError> {
    check_chain(lock, store, keyrings).broken.into_iter().next().map_or(Ok(()), |broken| Err(broken.error))
}

/// The archives that vouch for the pins of one suite.
#[derive(Default)]
struct Vouchers {
    archives: Vec<ArchivePin>,
    /// The Date of the newest of those that only stand in for a locked one.
    later: Option<i64>,
}

/// The same, naming every link that does not hold. What hangs below a broken link is not looked at.
pub fn check_chain(lock: &Lockfile, store: &Store, keyrings: &BTreeMap<SourceName, Keyring>) -> ChainReport {
    let mut report = ChainReport::default();
    let mut open: BTreeMap<(&SourceName, &str), Vec<&AptPin>> = BTreeMap::new();
    for pin in &lock.apt {
        open.entry((&pin.artifact.source, &pin.suite)).or_default().push(pin);
    }
    let mut suites: BTreeMap<(&SourceName, &str), Vouchers> = BTreeMap::new();
    let mut failed = BTreeSet::new();
    let essential = Essential::of(lock);
    for archive in &lock.archives {
        let suite = (&archive.source, archive.suite.as_str());
        match verify_archive(archive, store, keyrings).and_then(|()| ensure_indexes(archive, store)) {
            Ok(()) => suites.entry(suite).or_default().archives.push(archive.clone()),
            Err(error @ AptError::Store(StoreError::Missing { .. })) => {
                match stand_in(archive, lock, store, keyrings) {
                    Some(later) => {
                        report.stand_ins += 1;
                        let vouchers = suites.entry(suite).or_default();
                        vouchers.later = vouchers.later.max(Some(later.date));
                        vouchers.archives.push(later);
                    }
                    None => {
                        failed.insert(suite);
                        report.broken.push(BrokenLink { subject: subject(suite), error });
                    }
                }
            }
            Err(error) => {
                failed.insert(suite);
                report.broken.push(BrokenLink { subject: subject(suite), error });
            }
        }
    }
    for (suite, vouchers) in suites {
        match unlisted_pins(&vouchers, open.remove(&suite).unwrap_or_default(), &essential, store) {
            Ok(links) => report.broken.extend(links),
            Err(error) => report.broken.push(BrokenLink { subject: subject(suite), error }),
        }
    }
    open.retain(|suite, _| !failed.contains(suite));
    let why = "the lock names no archive for its source and suite";
    report.broken.extend(open.values().flatten().map(|pin| unlisted(pin, why, None)));
    report
}

/// Of a locked index that is not at hand nothing below can be looked at.
fn ensure_indexes(archive: &ArchivePin, store: &Store) -> Result<(), AptError> {
    match archive.indexes.iter().find(|index| !store.contains(&index.sha256)) {
        Some(index) => Err(StoreError::Missing { digest: index.sha256 }.into()),
        None => Ok(()),
    }
}

/// The newest later archive that is whole and signed.
fn stand_in(
    archive: &ArchivePin,
    lock: &Lockfile,
    store: &Store,
    keyrings: &BTreeMap<SourceName, Keyring>,
) -> Option<ArchivePin> {
    let whole =
        |later: &ArchivePin| verify_archive(later, store, keyrings).and_then(|()| ensure_indexes(later, store)).is_ok();
    later_than(archive, lock, store).into_iter().filter(whole).max_by_key(|later| later.date)
}

/// Which packages an image of packages alone cannot be without.
struct Essential<'a> {
    is_wanted: bool,
    architectures: BTreeSet<&'a str>,
    pinned: BTreeSet<&'a str>,
}

impl<'a> Essential<'a> {
    fn of(lock: &'a Lockfile) -> Self {
        let own = lock.platforms.iter().map(|platform| platform.architecture.as_str());
        Self {
            is_wanted: matches!(lock.base, BasePin::Debian { .. }),
            architectures: own.chain(["all"]).collect(),
            pinned: lock.apt.iter().map(|pin| pin.name.as_str()).collect(),
        }
    }

    /// Whether a package that is listed must be pinned and is not.
    fn lacks(&self, stanza: &Stanza<'_>) -> bool {
        self.has(stanza)
            && self.architectures.contains(stanza.architecture())
            && !self.pinned.contains(stanza.package())
    }

    /// Whether the image cannot be without a package.
    fn has(&self, stanza: &Stanza<'_>) -> bool {
        self.is_wanted && (stanza.essential() == "yes" || stanza.priority() == "required" || stanza.package() == "apt")
    }
}

fn subject((source, suite): (&SourceName, &str)) -> String {
    format!("apt:{source}/{suite}")
}

/// Refuses lists of a suite that are older than those the lock already had: someone may be replaying what had known flaws.
///
/// # Errors
/// At the first list that the lock did not have and whose Date is before one that it had.
pub fn check_rollback(locked: &[ArchivePin], found: &[ArchivePin]) -> Result<(), AptError> {
    for archive in found.iter().filter(|archive| !locked.contains(archive)) {
        let same = locked.iter().filter(|had| (&had.source, &had.suite) == (&archive.source, &archive.suite));
        if let Some(newest) = same.map(|had| had.date).max().filter(|newest| archive.date < *newest) {
            return Err(AptError::Rollback {
                name: archive.source.clone(),
                suite: archive.suite.clone(),
                locked: show_time(newest),
                found: show_time(archive.date),
            });
        }
    }
    Ok(())
}

fn verify_archive(
    archive: &ArchivePin,
    store: &Store,
    keyrings: &BTreeMap<SourceName, Keyring>,
) -> Result<(), AptError> {
    let name = &archive.source;
    let path = archive.in_release.path.to_string();
    let signature = |source| AptError::Signature { name: name.clone(), path: path.clone(), source };
    let refused = |error| AptError::Release { name: name.clone(), path: path.clone(), source: Box::new(error) };
    let bundled;
    let keyring = match keyrings.get(name) {
        Some(keyring) => keyring,
        None => {
            bundled = Keyring::bundled().map_err(signature)?;
            &bundled
        }
    };
    let bytes = store.read_blob(&archive.in_release.sha256)?;
    let verified = keyring.verify(&bytes, archive.date).map_err(signature)?;
    let release = Release::parse(&verified.text).map_err(refused)?;
    release.check_suite(&archive.suite).map_err(refused)?;
    let differs = |why| AptError::OtherArchive { name: name.clone(), path: path.clone(), why };
    if bytes.len() as u64 != archive.in_release.size {
        return Err(differs("it has another size than the lock says"));
    }
    if release.date != archive.date {
        return Err(differs("its Date is not the one in the lock"));
    }
    if verified.keys != archive.keys {
        return Err(differs("it is signed by other keys than the lock says"));
    }
    archive.indexes.iter().try_for_each(|index| verify_index(archive, &release, index))
}

fn verify_index(archive: &ArchivePin, release: &Release, index: &Artifact) -> Result<(), AptError> {
    let below = index.path.as_str().strip_prefix(&format!("dists/{}/", archive.suite));
    match below.and_then(|below| release.listed(below)) {
        Some(listed) if (listed.sha256, listed.size) == (index.sha256, index.size) => Ok(()),
        Some(listed) => Err(AptError::OtherIndex {
            name: archive.source.clone(),
            path: index.path.to_string(),
            listed: Box::new((listed.sha256, listed.size)),
            found: Box::new((index.sha256, index.size)),
        }),
        None => Err(AptError::OtherArchive {
            name: archive.source.clone(),
            path: index.path.to_string(),
            why: "the signed InRelease does not list it",
        }),
    }
}

/// A package as an index lists it: name, version, architecture, its source package with that one's version, its file.
type ListedPackage = (String, String, String, (String, String), Artifact);

fn unlisted_pins(
    vouchers: &Vouchers,
    pins: Vec<&AptPin>,
    essential: &Essential<'_>,
    store: &Store,
) -> Result<Vec<BrokenLink>, AptError> {
    let mut lacking: BTreeSet<(String, String)> = BTreeSet::new();
    let wanted: BTreeSet<&str> = pins.iter().map(|pin| pin.name.as_str()).collect();
    let mut found: BTreeMap<ListedPackage, Vec<bool>> = BTreeMap::new();
    for index in vouchers.archives.iter().flat_map(|archive| &archive.indexes) {
        let listed = Listed { sha256: index.sha256, size: index.size };
        let text = unpack_index(store, index.path.as_str(), listed)?;
        for stanza in stanzas(&text).map(Stanza::parse) {
            if essential.lacks(&stanza) {
                lacking.insert((stanza.package().to_owned(), stanza.version().to_owned()));
            }
            if !wanted.contains(stanza.package()) {
                continue;
            }
            let bad = |source| AptError::BadRecord { package: stanza.package().to_owned(), source };
            let artifact = pins::artifact(&index.source, &stanza).map_err(bad)?;
            let text = |value: &str| value.to_owned();
            let (source, source_version) = pins::source_of(&stanza);
            let built_from = (text(source), text(source_version));
            let named = (text(stanza.package()), text(stanza.version()), text(stanza.architecture()));
            let listed = (named.0, named.1, named.2, built_from, artifact);
            found.entry(listed).or_default().push(essential.has(&stanza));
        }
    }
    let flaw = |pin: &&AptPin| {
        let built_from = (pin.source_package.to_string(), pin.source_version.to_string());
        let named = (pin.name.to_string(), pin.version.to_string(), pin.architecture.clone());
        match found.get(&(named.0, named.1, named.2, built_from, pin.artifact.clone())) {
            Some(said) => misjudged(pin, said),
            None => Some("no index of its archive has this version with this source package, file, size and hash"),
        }
    };
    let flawed = pins.iter().filter_map(|pin| Some((*pin, flaw(pin)?)));
    let mut broken: Vec<BrokenLink> = flawed.map(|(pin, why)| unlisted(pin, why, vouchers.later)).collect();
    broken.extend(lacking.into_iter().map(|(name, version)| {
        let why = "a system is not without it, and no pin has it";
        link(&name, &version, why, vouchers.later)
    }));
    Ok(broken)
}

/// What is wrong with a pin's word on being essential, of which each index that lists it has `said` something.
fn misjudged(pin: &AptPin, said: &[bool]) -> Option<&'static str> {
    match pin.required_by.iter().any(|by| by == ESSENTIAL) {
        true if !said.contains(&true) => Some("`required-by` calls it essential, and no index of its archive does"),
        false if !said.contains(&false) => Some("its archive calls it essential, and `required-by` does not"),
        _ => None,
    }
}

fn unlisted(pin: &AptPin, why: &str, later: Option<i64>) -> BrokenLink {
    link(pin.name.as_str(), pin.version.as_str(), why, later)
}

/// What a later index says proves nothing of one that is not at hand.
fn link(name: &str, version: &str, why: &str, later: Option<i64>) -> BrokenLink {
    let (package, why) = (format!("{name} {version}"), why.to_owned());
    let error = match later {
        None => AptError::Unlisted { package, why },
        Some(date) => AptError::NotTraced { package, date: show_time(date), why },
    };
    BrokenLink { subject: format!("apt:{name}"), error }
}
