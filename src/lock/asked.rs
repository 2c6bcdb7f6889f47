//! Who asked for a pin: the shortest chain from the manifest down to it.

use std::collections::{BTreeMap, VecDeque};

use super::model::{BUILD_SYSTEM, ESSENTIAL, Lockfile, MANIFEST, PinView};
use crate::model::{Ecosystem, PackageName, PackageVersion, Platform};

/// Where a chain starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Asker {
    /// A requirement of the manifest.
    Manifest,
    /// The essential set of the base.
    Essential,
    /// Nothing that is in the lock.
    Nobody,
}

/// How a pin came to be in the lock.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Asked {
    /// Where the chain starts.
    pub by: Asker,
    /// The packages from there down to the pin itself, which is the last.
    pub chain: Vec<PackageName>,
}

/// Which pin of a lock is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PinKey<'a> {
    /// Where it comes from.
    pub ecosystem: Ecosystem,
    /// The platform it is for.
    pub platform: Platform,
    /// What it builds, where it is in no image.
    pub builds: Option<&'a PackageName>,
    /// Its name.
    pub name: &'a PackageName,
    /// Its version.
    pub version: &'a PackageVersion,
}

impl<'a> PinView<'a> {
    /// What tells it from all other pins of its lock.
    pub fn key(&self) -> PinKey<'a> {
        let PinView { ecosystem, platform, builds, name, version, .. } = *self;
        PinKey { ecosystem, platform, builds, name, version }
    }

    /// Whom its `required-by` means by a word. What builds a project has names of its own, and is asked for by the project
    /// itself under [`BUILD_SYSTEM`].
    pub fn asker(&self, by: &'a str) -> AskerName<'a> {
        match (by, self.builds) {
            (MANIFEST | ESSENTIAL, _) => (None, by),
            (BUILD_SYSTEM, Some(built)) => (None, built.as_str()),
            _ => (self.builds, by),
        }
    }
}

/// The chains of all pins of a lock.
#[derive(Debug)]
pub struct Askers<'a> {
    pins: Vec<PinView<'a>>,
    places: BTreeMap<PinKey<'a>, usize>,
    /// For each pin what stands above it in its chain; itself when the chain starts with it.
    above: Vec<Option<(Asker, usize)>>,
    below: Vec<Vec<usize>>,
}

impl<'a> Askers<'a> {
    /// Follows `required-by` from the manifest down, breadth first, in the lock's order.
    pub fn of(lock: &'a Lockfile) -> Self {
        let pins: Vec<PinView<'a>> = lock.pins().collect();
        let named = names(lock, &pins);
        let mut below = vec![Vec::new(); pins.len()];
        let mut roots = [Vec::new(), Vec::new()];
        for (index, pin) in pins.iter().enumerate() {
            for by in pin.required_by {
                match by.as_str() {
                    MANIFEST => roots[0].push(index),
                    ESSENTIAL => roots[1].push(index),
                    name => {
                        if let Some(asker) = named.get(&(pin.ecosystem, pin.platform, pin.asker(name))) {
                            below[*asker].push(index);
                        }
                    }
                }
            }
        }
        let places = pins.iter().enumerate().map(|(index, pin)| (pin.key(), index)).collect();
        let [manifest, essential] = roots;
        let mut askers = Self { above: vec![None; pins.len()], pins, places, below };
        askers.walk(Asker::Manifest, &manifest);
        askers.walk(Asker::Essential, &essential);
        askers
    }

    fn walk(&mut self, asker: Asker, roots: &[usize]) {
        let mut queue = VecDeque::new();
        for root in roots.iter().filter(|root| self.above[**root].is_none()).copied().collect::<Vec<_>>() {
            self.above[root] = Some((asker, root));
            queue.push_back(root);
        }
        while let Some(index) = queue.pop_front() {
            for next in self.below[index].clone() {
                if self.above[next].is_none() {
                    self.above[next] = Some((asker, index));
                    queue.push_back(next);
                }
            }
        }
    }

    /// Who asked for a pin; nobody when it is not in the lock.
    pub fn asked(&self, pin: PinKey<'_>) -> Asked {
        let found = self.places.get(&pin).copied();
        let Some(mut index) = found else { return Asked { by: Asker::Nobody, chain: vec![pin.name.clone()] } };
        let mut chain = vec![self.pins[index].name.clone()];
        let mut by = Asker::Nobody;
        while let Some((asker, above)) = self.above[index] {
            by = asker;
            if above == index {
                break;
            }
            index = above;
            chain.push(self.pins[index].name.clone());
        }
        chain.reverse();
        Asked { by, chain }
    }

    /// Names and versions of the pins that are asked for, directly or through others, by those that `is_start` picks.
    pub fn reached(&self, is_start: impl Fn(&PinView<'_>) -> bool) -> Vec<PinView<'a>> {
        let mut seen = vec![false; self.pins.len()];
        let mut stack: Vec<usize> = (0..self.pins.len()).filter(|index| is_start(&self.pins[*index])).collect();
        while let Some(index) = stack.pop() {
            if !std::mem::replace(&mut seen[index], true) {
                stack.extend(&self.below[index]);
            }
        }
        self.pins.iter().zip(seen).filter(|(_, seen)| *seen).map(|(pin, _)| *pin).collect()
    }
}

/// A pin as `required-by` means it: what it builds, and its name or for npm one of its places.
pub type AskerName<'a> = (Option<&'a PackageName>, &'a str);

/// Positions of pins by how `required-by` means them.
pub type Names<'a> = BTreeMap<(Ecosystem, Platform, AskerName<'a>), usize>;

/// What `required-by` may call each pin: its name, or for npm each of its places.
pub fn names<'a>(lock: &'a Lockfile, pins: &[PinView<'a>]) -> Names<'a> {
    let mut named = BTreeMap::new();
    let first_npm = lock.apt.len();
    for (index, pin) in pins.iter().enumerate() {
        match pin.ecosystem {
            Ecosystem::Apt | Ecosystem::Pip => {
                named.insert((pin.ecosystem, pin.platform, (pin.builds, pin.name.as_str())), index);
            }
            Ecosystem::Npm => {
                let places = lock.npm[index - first_npm].places.iter();
                named.extend(places.map(|place| ((pin.ecosystem, pin.platform, (None, place.as_str())), index)));
            }
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::sample;

    fn chain(asked: &Asked) -> Vec<&str> {
        asked.chain.iter().map(PackageName::as_str).collect()
    }

    #[test]
    fn a_chain_starts_at_the_manifest_and_ends_at_the_pin() {
        let lock = sample::lock();
        let askers = Askers::of(&lock);
        let ask = |ecosystem, name: &str, version: &str| {
            let (name, version) = (&sample::name(name), &sample::version(version));
            askers.asked(PinKey { ecosystem, platform: Platform::LINUX_AMD64, builds: None, name, version })
        };
        let openai = ask(Ecosystem::Pip, "openai", "2.9.0");
        assert_eq!((openai.by, chain(&openai)), (Asker::Manifest, vec!["graphiti-core", "openai"]));
        let redis = ask(Ecosystem::Pip, "redis", "6.4.0");
        assert_eq!(chain(&redis), ["redis"]);
        let binary = ask(Ecosystem::Npm, "opencode-linux-x64", "1.18.33");
        assert_eq!(chain(&binary), ["opencode-ai", "opencode-linux-x64"]);
        assert_eq!(ask(Ecosystem::Npm, "opencode-linux-x64", "9.9.9").by, Asker::Nobody);
    }

    #[test]
    fn what_builds_a_project_is_asked_for_by_it() {
        let lock = sample::building_lock();
        let asked = Askers::of(&lock).asked(lock.pip_builds[0].view().key());
        assert_eq!((asked.by, chain(&asked)), (Asker::Manifest, vec!["redis", "setuptools"]));
    }

    #[test]
    fn a_circle_that_nobody_asks_for_has_an_end() {
        let mut lock = sample::lock();
        lock.pip = vec![sample::pip_pin("a", "1", &["b"]), sample::pip_pin("b", "1", &["a"])];
        let askers = Askers::of(&lock);
        let asked = askers.asked(lock.pip[0].view().key());
        assert_eq!((asked.by, chain(&asked)), (Asker::Nobody, vec!["a"]));
    }

    #[test]
    fn what_is_reached_goes_through_others() {
        let lock = sample::lock();
        let askers = Askers::of(&lock);
        let reached = askers.reached(|pin| pin.name.as_str() == "graphiti-core");
        let names: Vec<&str> = reached.iter().map(|pin| pin.name.as_str()).collect();
        assert_eq!(names, ["graphiti-core", "openai", "redis"]);
    }
}
