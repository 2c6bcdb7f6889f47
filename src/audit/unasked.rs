//! Which pins moved although nothing asked for it, as far as two locks and two manifests can say.

use std::collections::BTreeSet;

use super::lock_changes::LockChange;
use crate::lock::{Askers, Fingerprints, Lockfile, PinChange, PinDiff, PinView, pinned_upstream};
use crate::manifest::{AptRequirement, Manifest, NpmRequirement, PipSection, parse_pip_requirement};
use crate::model::{Ecosystem, PackageName, Platform};

/// Pins that came or moved beside a change of the manifest that does not lead to them.
///
/// Where the manifest asks the same as before, everything that moved did so because newer releases are there, and nothing
/// can be told apart: the answer is nothing then. A section whose question changed is judged by its requirements, when both
/// manifests are at hand; otherwise all of it counts as asked for.
pub(super) fn unasked<'a>(change: &LockChange<'a>, new_askers: &Askers<'_>) -> Vec<&'a PinDiff> {
    let diff = change.diff;
    let Some((before, after)) = &diff.questions else { return Vec::new() };
    if diff.base.is_some() || diff.platforms.is_some() {
        return Vec::new();
    }
    let old_askers = Askers::of(change.old);
    let mut found = Vec::new();
    for ecosystem in Ecosystem::ALL {
        let moved = diff.pins.iter().filter(|pin| pin.ecosystem == ecosystem && is_move(pin));
        let asked = match question(change, ecosystem, before, after) {
            Question::Same => Reached::default(),
            Question::Other => continue,
            Question::About(names) => {
                let is_start = |pin: &PinView<'_>| pin.ecosystem == ecosystem && names.contains(pin.name);
                Reached::of(old_askers.reached(is_start).into_iter().chain(new_askers.reached(is_start)))
            }
        };
        found.extend(moved.filter(|pin| !asked.has(pin)));
    }
    found
}

/// Whether another version, or a package that was not there, is in the lock now.
fn is_move(pin: &PinDiff) -> bool {
    let other = pin.changes.iter().any(|change| matches!(change, PinChange::Version(_)));
    pin.new.is_some() && (other || pin.old.is_none())
}

/// Names that a changed requirement leads to, on each platform.
#[derive(Default)]
struct Reached(BTreeSet<(Platform, PackageName)>);

impl Reached {
    fn of<'a>(pins: impl Iterator<Item = PinView<'a>>) -> Self {
        Self(pins.map(|pin| (pin.platform, pin.name.clone())).collect())
    }

    fn has(&self, pin: &PinDiff) -> bool {
        self.0.contains(&(pin.platform, pin.name.clone()))
    }
}

/// What the manifest asks of an ecosystem, beside what it asked before.
enum Question {
    Same,
    /// Something that can move every pin, or that is not known.
    Other,
    /// Requirements of these packages alone.
    About(BTreeSet<PackageName>),
}

fn question(change: &LockChange<'_>, ecosystem: Ecosystem, before: &Fingerprints, after: &Fingerprints) -> Question {
    let (same, target) = match ecosystem {
        Ecosystem::Apt => (before.apt == after.apt, &[][..]),
        Ecosystem::Npm => (before.npm == after.npm, &["nodejs"][..]),
        Ecosystem::Pip => (before.pip == after.pip, &["python3", "libc6"][..]),
    };
    if target.iter().any(|name| has_other_upstream(change.old, change.new, name)) {
        return Question::Other;
    }
    match (same, change.old_manifest, change.new_manifest) {
        (true, ..) => Question::Same,
        (false, Some(old), Some(new)) => requirements(ecosystem, old, new).map_or(Question::Other, Question::About),
        (false, ..) => Question::Other,
    }
}

fn has_other_upstream(old: &Lockfile, new: &Lockfile, name: &str) -> bool {
    let version = |lock: &Lockfile, platform| pinned_upstream(&lock.apt, name, platform);
    new.platforms.iter().any(|platform| version(old, *platform) != version(new, *platform))
}

/// The packages whose requirements differ; nothing when something else of the section differs too.
fn requirements(ecosystem: Ecosystem, old: &Manifest, new: &Manifest) -> Option<BTreeSet<PackageName>> {
    let mut names = BTreeSet::new();
    match ecosystem {
        Ecosystem::Apt => {
            let rest = |manifest: &Manifest| (manifest.apt.recommends, manifest.apt.suite.clone());
            if rest(old) != rest(new) {
                return None;
            }
            for text in differing(&old.apt.packages, &new.apt.packages) {
                names.insert(AptRequirement::parse(text).ok()?.name);
            }
        }
        Ecosystem::Npm => {
            let rest = |manifest: &Manifest| {
                let npm = &manifest.npm;
                (npm.prefix.clone(), npm.omit.clone(), npm.scripts.clone(), npm.node.clone())
            };
            if rest(old) != rest(new) {
                return None;
            }
            let (before, after) = (npm_requirements(old), npm_requirements(new));
            for (_, name, range) in before.symmetric_difference(&after) {
                names.insert(NpmRequirement::parse(name, range).ok()?.package);
            }
        }
        Ecosystem::Pip => {
            let rest = |pip: &PipSection| (pip.path.clone(), pip.constraints.clone(), pip.python.clone());
            if rest(&old.pip) != rest(&new.pip) {
                return None;
            }
            for text in differing(&old.pip.packages, &new.pip.packages) {
                names.insert(PackageName::parse(parse_pip_requirement(text).ok()?.name.as_str()).ok()?);
            }
        }
    }
    Some(names)
}

fn differing<'a>(old: &'a [String], new: &'a [String]) -> Vec<&'a String> {
    let (old, new): (BTreeSet<&String>, BTreeSet<&String>) = (old.iter().collect(), new.iter().collect());
    old.symmetric_difference(&new).copied().collect()
}

fn npm_requirements(manifest: &Manifest) -> BTreeSet<(&str, &str, &str)> {
    let global = manifest.npm.packages.iter().map(|(name, range)| ("", name.as_str(), range.as_str()));
    let projects = manifest.npm.projects.iter().flat_map(|(directory, packages)| {
        packages.iter().map(|(name, range)| (directory.as_str(), name.as_str(), range.as_str()))
    });
    global.chain(projects).collect()
}
