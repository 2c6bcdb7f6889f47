//! `oclock why`: the chains from what the manifest asks for down to a pin. Reads manifest and lockfile alone.

use std::collections::{BTreeMap, VecDeque};

use super::error::OpsError;
use super::session::Session;
use super::what::{What, pins_named};
use crate::lock::{ESSENTIAL, Lockfile, MANIFEST, Names, PinView, names};
use crate::manifest::{AptRequirement, Manifest, ManifestFile, Place, parse_pip_requirement};
use crate::model::{Ecosystem, Platform};

/// Why pins are there.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct WhyOutcome {
    /// Every pin that is named, in the lockfile's order.
    pub pins: Vec<Explained>,
}

/// Why one pin is there.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Explained {
    /// The pin.
    pub pin: Link,
    /// The platform it is for.
    pub platform: Platform,
    /// One for each requirement that leads to it and one for the essential set, shortest first.
    pub chains: Vec<Chain>,
}

/// The way from something that is asked for to a pin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Chain {
    /// How many pins it has.
    pub length: usize,
    /// Where it starts.
    pub asked: AskedBy,
    /// The pins from there down; the one that is explained is the last.
    pub links: Vec<Link>,
}

/// Where a chain starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AskedBy {
    /// A requirement.
    Manifest {
        /// The manifest's file.
        file: String,
        /// The line of the requirement; none where only a provider of what is asked for is pinned.
        line: Option<usize>,
        /// The requirement as it is written.
        requirement: Option<String>,
    },
    /// The essential set of the base.
    Essential,
}

/// One pin of a chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Link {
    /// Its ecosystem.
    pub ecosystem: Ecosystem,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The project that it builds, where it is in no image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builds: Option<String>,
}

impl Link {
    fn to(pin: &PinView<'_>) -> Self {
        let (name, version) = (pin.name.to_string(), pin.version.to_string());
        Self { ecosystem: pin.ecosystem, name, version, builds: pin.builds.map(ToString::to_string) }
    }
}

/// Explains what is named.
///
/// # Errors
/// When manifest or lockfile are missing or wrong, or the lockfile does not have it.
pub fn why(session: &Session, what: &What) -> Result<WhyOutcome, OpsError> {
    let file = session.manifest()?;
    let lock = session.lock()?;
    let graph = Graph::of(&lock);
    let pins = pins_named(what, &lock)?.into_iter().map(|pin| Explained {
        pin: Link::to(&pin),
        platform: pin.platform,
        chains: graph.chains(&pin, &file),
    });
    Ok(WhyOutcome { pins: pins.collect() })
}

/// Which pins ask for which.
struct Graph<'a> {
    pins: Vec<PinView<'a>>,
    /// The directories of an npm pin; nothing for others.
    places: Vec<&'a [String]>,
    /// What `required-by` calls a pin: its name, or for npm each of its places.
    named: Names<'a>,
}

impl<'a> Graph<'a> {
    fn of(lock: &'a Lockfile) -> Self {
        let pins: Vec<PinView<'a>> = lock.pins().collect();
        let mut places: Vec<&[String]> = vec![&[]; lock.apt.len()];
        places.extend(lock.npm.iter().map(|pin| pin.places.as_slice()));
        places.resize(pins.len(), &[]);
        let named = names(lock, &pins);
        Self { pins, places, named }
    }

    /// The shortest chain from each requirement, found by walking up from the pin, breadth first.
    fn chains(&self, pin: &PinView<'a>, file: &ManifestFile) -> Vec<Chain> {
        let Some(start) = self.pins.iter().position(|other| other.key() == pin.key()) else { return Vec::new() };
        let mut below: BTreeMap<usize, usize> = BTreeMap::from([(start, start)]);
        let mut queue = VecDeque::from([start]);
        let mut chains = Vec::new();
        let mut is_essential = false;
        while let Some(index) = queue.pop_front() {
            for by in self.pins[index].required_by {
                match by.as_str() {
                    MANIFEST => {
                        chains.extend(self.asked(index, file).into_iter().map(|asked| self.chain(asked, index, &below)))
                    }
                    ESSENTIAL if is_essential => {}
                    ESSENTIAL => {
                        is_essential = true;
                        chains.push(self.chain(AskedBy::Essential, index, &below));
                    }
                    name => {
                        let asker = self.pins[index].asker(name);
                        let above = self.named.get(&(pin.ecosystem, pin.platform, asker));
                        if let Some(above) = above.filter(|above| !below.contains_key(above)) {
                            below.insert(*above, index);
                            queue.push_back(*above);
                        }
                    }
                }
            }
        }
        chains.sort();
        chains
    }

    fn chain(&self, asked: AskedBy, from: usize, below: &BTreeMap<usize, usize>) -> Chain {
        let mut links = vec![Link::to(&self.pins[from])];
        let mut here = from;
        while let Some(next) = below.get(&here).copied().filter(|next| *next != here) {
            links.push(Link::to(&self.pins[next]));
            here = next;
        }
        Chain { length: links.len(), asked, links }
    }

    /// The requirements that a pin answers directly.
    fn asked(&self, index: usize, file: &ManifestFile) -> Vec<AskedBy> {
        let manifest = &file.manifest;
        let name = self.pins[index].name.as_str();
        let requirements = match self.pins[index].ecosystem {
            Ecosystem::Apt => apt_requirements(manifest, name),
            Ecosystem::Npm => npm_requirements(manifest, self.places[index]),
            Ecosystem::Pip => pip_requirements(manifest, name),
        };
        let asked = |(place, requirement)| AskedBy::Manifest {
            file: file.file.clone(),
            line: file.locate_place(&place, "").map(|excerpt| excerpt.line),
            requirement: Some(requirement),
        };
        match requirements.is_empty() {
            true => vec![AskedBy::Manifest { file: file.file.clone(), line: None, requirement: None }],
            false => requirements.into_iter().map(asked).collect(),
        }
    }
}

fn apt_requirements(manifest: &Manifest, name: &str) -> Vec<(Place, String)> {
    let is_named = |text: &&String| AptRequirement::parse(text).is_ok_and(|asked| asked.name.as_str() == name);
    manifest.apt.packages.iter().filter(is_named).map(|text| (Place::Apt(text.clone()), text.clone())).collect()
}

fn pip_requirements(manifest: &Manifest, name: &str) -> Vec<(Place, String)> {
    let is_named = |text: &&String| parse_pip_requirement(text).is_ok_and(|asked| asked.name.to_string() == name);
    manifest.pip.packages.iter().filter(is_named).map(|text| (Place::Pip(text.clone()), text.clone())).collect()
}

fn npm_requirements(manifest: &Manifest, places: &[String]) -> Vec<(Place, String)> {
    let npm = &manifest.npm;
    let is_at = |place: String| places.contains(&place);
    let global = npm.packages.iter().filter(|(name, _)| is_at(format!("{}/lib/node_modules/{name}", npm.prefix)));
    let mut found: Vec<(Place, String)> =
        global.map(|(name, range)| (Place::Npm(name.clone()), format!("{name} = \"{range}\""))).collect();
    for (directory, packages) in &npm.projects {
        for (name, range) in packages.iter().filter(|(name, _)| is_at(format!("{directory}/node_modules/{name}"))) {
            let place = Place::NpmProject { directory: directory.clone(), name: name.clone() };
            found.push((place, format!("{name} = \"{range}\"")));
        }
    }
    found
}
