//! What must hold between the parts of a lockfile, beyond each field being valid by itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Ecosystem, PackageName, Platform, SourceName, check_image_path};

use super::form::{are_archive_paths, is_deb_path, is_npm_path, wheel_flaw};
use super::model::*;
use super::read::{parse_architecture, parse_key, parse_requirer, parse_word, script_names};

/// What a complaint is about: a pin by its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Whole,
    Archive(usize),
    Apt(usize),
    Npm(usize),
    Pip(usize),
    PipBuild(usize),
}

type Complaint = (Subject, String);

/// Says whether a lockfile made by the program is one that can be read again.
///
/// # Errors
/// The first thing that does not hold, in words.
pub fn check_lockfile(lock: &Lockfile) -> Result<(), String> {
    check_whole(lock).map_err(|(_, reason)| reason)
}

pub(super) fn check_whole(lock: &Lockfile) -> Result<(), Complaint> {
    check_head(lock).map_err(|reason| (Subject::Whole, reason))?;
    sorted(&lock.archives, ArchivePin::order, Subject::Archive)?;
    sorted(&lock.apt, |pin| (pin.platform, pin.name.clone()), Subject::Apt)?;
    sorted(&lock.npm, |pin| (pin.platform, pin.name.clone(), pin.version.clone()), Subject::Npm)?;
    sorted(&lock.pip, |pin| (pin.platform, pin.name.clone()), Subject::Pip)?;
    let room = |pin: &PipBuildPin| (pin.wheel.platform, pin.builds.clone(), pin.wheel.name.clone());
    sorted(&lock.pip_builds, room, Subject::PipBuild)?;
    for (index, pin) in lock.archives.iter().enumerate() {
        check_archive(pin).map_err(|reason| (Subject::Archive(index), reason))?;
    }
    check_apt(lock)?;
    check_npm(lock)?;
    for (index, pin) in lock.pip.iter().enumerate() {
        check_pip(pin).map_err(|reason| (Subject::Pip(index), reason))?;
    }
    for (index, pin) in lock.pip_builds.iter().enumerate() {
        check_pip_build(lock, pin).map_err(|reason| (Subject::PipBuild(index), reason))?;
    }
    for (subject, pin) in subjects(lock) {
        check_pin(lock, pin).map_err(|reason| (subject, reason))?;
    }
    check_sources(lock)
}

/// A source speaks one protocol, a package comes from one source, and one file has one digest.
fn check_sources(lock: &Lockfile) -> Result<(), Complaint> {
    let mut kinds: BTreeMap<&SourceName, &str> = BTreeMap::new();
    if let BasePin::Image { source, .. } = &lock.base {
        kinds.insert(source, "base");
    }
    kinds.extend(lock.archives.iter().map(|archive| (&archive.source, Ecosystem::Apt.as_str())));
    let mut homes: BTreeMap<(Ecosystem, &PackageName), &SourceName> = BTreeMap::new();
    let mut files = BTreeMap::new();
    let mut sizes = BTreeMap::new();
    for (subject, pin) in subjects(lock) {
        let (artifact, source) = (pin.artifact, &pin.artifact.source);
        let other = *kinds.entry(source).or_insert(pin.ecosystem.as_str());
        let home = *homes.entry((pin.ecosystem, pin.name)).or_insert(source);
        let file = *files.entry((source, &artifact.path)).or_insert((artifact.sha256, artifact.sha512));
        let size = *sizes.entry(artifact.sha256).or_insert(artifact.size);
        let holds = || {
            require(other == pin.ecosystem.as_str(), || {
                format!("`{source}` has {other} packages here, and {} is one of {}", pin.name, pin.ecosystem)
            })?;
            // A Debian package may come from another archive on each platform; the signed chain says which.
            require(pin.ecosystem == Ecosystem::Apt || home == source, || {
                format!("{} comes from `{home}` and from `{source}`", pin.name)
            })?;
            require(file == (artifact.sha256, artifact.sha512), || format!("{} has two digests", artifact.path))?;
            require(size == artifact.size, || format!("sha256:{} has two sizes", artifact.sha256.short()))
        };
        holds().map_err(|reason: String| (subject, reason))?;
    }
    Ok(())
}

fn subjects(lock: &Lockfile) -> impl Iterator<Item = (Subject, PinView<'_>)> {
    let apt = lock.apt.iter().enumerate().map(|(index, pin)| (Subject::Apt(index), pin.view()));
    let npm = lock.npm.iter().enumerate().map(|(index, pin)| (Subject::Npm(index), pin.view()));
    let pip = lock.pip.iter().enumerate().map(|(index, pin)| (Subject::Pip(index), pin.view()));
    let builds = lock.pip_builds.iter().enumerate().map(|(index, pin)| (Subject::PipBuild(index), pin.view()));
    apt.chain(npm).chain(pip).chain(builds)
}

fn check_head(lock: &Lockfile) -> Result<(), String> {
    let known = |platform: &Platform| lock.platforms.contains(platform);
    require(!lock.platforms.is_empty(), || "it has no platform".into())?;
    require(is_sorted(&lock.platforms), || "`platforms` is not sorted and unique".into())?;
    require(is_moment(lock.epoch), || "`epoch` is out of range".into())?;
    require(lock.images.keys().all(known), || "an image is recorded for a platform without pins".into())?;
    parse_word(&lock.seal.encoder).map_err(|error| error.to_string())?;
    match &lock.base {
        BasePin::Debian { suite } => crate::manifest::parse_suite(suite).map(|_| ()).map_err(|error| error.to_string()),
        BasePin::Image { reference, manifests, .. } => {
            require(reference.registry.is_none(), || {
                "the base names a host: its registry is said by `source` alone".into()
            })?;
            require(manifests.keys().eq(&lock.platforms), || {
                "the base's manifests are not those of `platforms`".into()
            })?;
            let layers = manifests.values().flat_map(|manifest| &manifest.layers);
            let mut sizes = manifests.values().map(|manifest| manifest.size).chain(layers.map(|layer| layer.size));
            require(sizes.all(is_size), || "a size of the base is out of range".into())
        }
    }
}

fn check_archive(pin: &ArchivePin) -> Result<(), String> {
    crate::manifest::parse_suite(&pin.suite).map_err(|error| error.to_string())?;
    require(is_moment(pin.date), || "`date` is out of range".into())?;
    require(!pin.keys.is_empty(), || format!("no key vouches for {}", pin.suite))?;
    require(is_sorted(&pin.keys), || "`keys` is not sorted and unique".into())?;
    pin.keys.iter().try_for_each(|key| parse_key(key).map(|_| ())).map_err(|error| error.to_string())?;
    require(pin.indexes.is_sorted_by(|a, b| a.path < b.path), || "`indexes` is not sorted by path and unique".into())?;
    let mut artifacts = std::iter::once(&pin.in_release).chain(&pin.indexes);
    require(artifacts.clone().all(|artifact| artifact.source == pin.source), || {
        "an index comes from another source than its archive".into()
    })?;
    require(artifacts.all(|artifact| artifact.sha512.is_none() && is_size(artifact.size)), || {
        "an index has a field that it cannot have".into()
    })?;
    require(are_archive_paths(pin), || format!("a path of {} is not the one that archives have", pin.suite))
}

fn check_apt(lock: &Lockfile) -> Result<(), Complaint> {
    let archives: BTreeSet<_> = lock.archives.iter().map(|pin| (&pin.source, pin.suite.as_str())).collect();
    for (index, pin) in lock.apt.iter().enumerate() {
        let own = pin.platform.architecture.as_str();
        let holds = || {
            parse_architecture(&pin.architecture).map_err(|error| error.to_string())?;
            require(pin.architecture == "all" || pin.architecture == own, || {
                format!("{} is built for {} and pinned for {}", pin.name, pin.architecture, pin.platform)
            })?;
            require(archives.contains(&(&pin.artifact.source, pin.suite.as_str())), || {
                format!(
                    "no signed archive vouches for {}: `[[archive]]` has no {} of {}",
                    pin.name, pin.suite, pin.artifact.source
                )
            })?;
            require(pin.artifact.sha512.is_none(), || "a Debian package has no sha512 here".into())?;
            require(is_deb_path(pin), || {
                format!("the file of {} {} is not called `name_version_architecture.deb`", pin.name, pin.version)
            })
        };
        holds().map_err(|reason: String| (Subject::Apt(index), reason))?;
    }
    Ok(())
}

fn check_npm(lock: &Lockfile) -> Result<(), Complaint> {
    let mut taken = BTreeMap::new();
    let scripts = script_names();
    for (index, pin) in lock.npm.iter().enumerate() {
        let mut holds = || {
            require(!pin.places.is_empty(), || format!("{} has no place", pin.name))?;
            require(is_sorted(&pin.places), || "`places` is not sorted and unique".into())?;
            for place in &pin.places {
                check_image_path(place).map_err(|error| error.to_string())?;
                require(taken.insert((pin.platform, place), &pin.name).is_none(), || {
                    format!("two packages are laid into {place}")
                })?;
            }
            require(pin.scripts.keys().all(|name| scripts.contains(name.as_str())), || {
                "a script has a name that npm does not run".into()
            })?;
            require(pin.artifact.sha512.is_some(), || format!("{} has no sha512", pin.name))?;
            require(is_npm_path(&pin.name, &pin.version, &pin.artifact.path), || {
                format!("the path of {} {} is not `name/-/name-version.tgz`", pin.name, pin.version)
            })
        };
        holds().map_err(|reason: String| (Subject::Npm(index), reason))?;
    }
    Ok(())
}

fn check_pip(pin: &PipPin) -> Result<(), String> {
    parse_word(&pin.tags).map_err(|error| error.to_string())?;
    if let Some(flaw) = wheel_flaw(pin) {
        return Err(flaw);
    }
    require(pin.built.as_ref().is_none_or(|built| is_size(built.size)), || "the wheel's size is out of range".into())?;
    require(pin.artifact.sha512.is_none(), || "a wheel has no sha512 here".into())
}

fn check_pip_build(lock: &Lockfile, pin: &PipBuildPin) -> Result<(), String> {
    check_pip(&pin.wheel)?;
    let (name, builds) = (&pin.wheel.name, &pin.builds);
    require(pin.wheel.built.is_none(), || format!("{name} would have to be built itself, to build {builds}"))?;
    let is_built =
        |other: &PipPin| (&other.name, other.platform) == (builds, pin.wheel.platform) && other.built.is_some();
    require(lock.pip.iter().any(is_built), || format!("{name} is there to build {builds}, which is not built"))?;
    require(pin.wheel.required_by.iter().all(|by| by != MANIFEST && by != ESSENTIAL), || {
        format!("{name} builds {builds}, and nothing else can ask for that")
    })
}

fn check_pin(lock: &Lockfile, pin: PinView<'_>) -> Result<(), String> {
    require(lock.platforms.contains(&pin.platform), || {
        format!("{} is pinned for {}, which has no image", pin.name, pin.platform)
    })?;
    require(!pin.required_by.is_empty(), || format!("nothing requires {}", pin.name))?;
    require(is_sorted(pin.required_by), || "`required-by` is not sorted and unique".into())?;
    pin.required_by.iter().try_for_each(|by| parse_requirer(by).map(|_| ())).map_err(|error| error.to_string())?;
    require(is_size(pin.artifact.size), || format!("the size of {} is out of range", pin.name))?;
    let essential = pin.ecosystem == Ecosystem::Apt || !pin.required_by.iter().any(|by| by == ESSENTIAL);
    require(essential, || format!("{} cannot be of the essential set", pin.name))
}

fn sorted<T, K: Ord>(items: &[T], key: impl Fn(&T) -> K, subject: impl Fn(usize) -> Subject) -> Result<(), Complaint> {
    match items.windows(2).position(|pair| key(&pair[0]) >= key(&pair[1])) {
        None => Ok(()),
        Some(index) => Err((subject(index + 1), "the pins are not sorted, or one stands twice".into())),
    }
}

fn is_sorted<T: Ord>(items: &[T]) -> bool {
    items.is_sorted_by(|a, b| a < b)
}

/// Sizes are written as TOML integers, which are signed.
fn is_size(size: u64) -> bool {
    i64::try_from(size).is_ok()
}

/// The years 1970 to 9999, which every date format has.
fn is_moment(seconds: i64) -> bool {
    (0..=253_402_300_799).contains(&seconds)
}

fn require(holds: bool, complaint: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(complaint()) }
}
