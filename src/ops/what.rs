//! `npm:express`, `base`: what a person names on the command line, and which pins of a lock that is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::error::OpsError;
use crate::base::text::nearest;
use crate::lock::{AptPin, ESSENTIAL, Lockfile, PinView};
use crate::manifest::{AptRequirement, Manifest, parse_pip_requirement};
use crate::model::{Ecosystem, PackageName};

/// What is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A package of one ecosystem.
    Package {
        /// Where it comes from.
        ecosystem: Ecosystem,
        /// Its name.
        name: PackageName,
    },
    /// What the image stands on.
    Base,
}

impl What {
    /// Reads `npm:NAME`, `pip:NAME`, `apt:NAME` or `base`.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self, OpsError> {
        if text == "base" {
            return Ok(Self::Base);
        }
        let refuse = || OpsError::What { text: text.to_owned() };
        let (ecosystem, name) = text.split_once(':').ok_or_else(refuse)?;
        let ecosystem = Ecosystem::ALL.into_iter().find(|known| known.as_str() == ecosystem).ok_or_else(refuse)?;
        let name = match ecosystem {
            Ecosystem::Pip => normal_python_name(name),
            Ecosystem::Apt | Ecosystem::Npm => name.to_owned(),
        };
        Ok(Self::Package { ecosystem, name: PackageName::parse(&name).map_err(|_| refuse())? })
    }
}

impl fmt::Display for What {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package { ecosystem, name } => write!(formatter, "{ecosystem}:{name}"),
            Self::Base => formatter.write_str("base"),
        }
    }
}

/// The name normalisation of PEP 503.
fn normal_python_name(name: &str) -> String {
    let parts: Vec<&str> = name.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect();
    parts.join("-").to_lowercase()
}

/// The names that shall move, by ecosystem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Moving {
    names: BTreeMap<Ecosystem, BTreeSet<PackageName>>,
    /// Whether what the image stands on shall move.
    pub(super) base: bool,
}

impl Moving {
    /// What is named, looked up in the lock and in the manifest.
    ///
    /// # Errors
    /// When something is in neither.
    pub(super) fn named(what: &[What], manifest: &Manifest, lock: &Lockfile) -> Result<Self, OpsError> {
        let known = known_names(manifest, lock);
        let mut moving = Self::default();
        for one in what {
            match one {
                What::Base => {
                    moving.base = true;
                    base_names(lock).into_iter().for_each(|name| moving.add(Ecosystem::Apt, name));
                }
                What::Package { ecosystem, name } if known.contains(&(*ecosystem, name.as_str().to_owned())) => {
                    moving.add(*ecosystem, name.clone());
                    aliased(*ecosystem, name, lock).into_iter().for_each(|name| moving.add(Ecosystem::Npm, name));
                }
                What::Package { .. } => return Err(unknown(one, &known)),
            }
        }
        Ok(moving)
    }

    pub(super) fn add(&mut self, ecosystem: Ecosystem, name: PackageName) {
        self.names.entry(ecosystem).or_default().insert(name);
    }

    pub(super) fn of(&self, ecosystem: Ecosystem) -> BTreeSet<PackageName> {
        self.names.get(&ecosystem).cloned().unwrap_or_default()
    }
}

/// The one of the pins of a lock that are named; all versions of it.
///
/// # Errors
/// When the lock has none.
pub(super) fn pins_named<'a>(what: &What, lock: &'a Lockfile) -> Result<Vec<PinView<'a>>, OpsError> {
    let is_named = |pin: &PinView<'_>| match what {
        What::Package { ecosystem, name } => pin.ecosystem == *ecosystem && pin.name == name,
        What::Base => pin.required_by.iter().any(|by| by == ESSENTIAL),
    };
    let pins: Vec<PinView<'_>> = lock.pins().filter(is_named).collect();
    match pins.is_empty() {
        false => Ok(pins),
        true => Err(unknown(what, &locked_names(lock))),
    }
}

/// The npm packages that are laid into a folder of this name under an alias.
fn aliased(ecosystem: Ecosystem, name: &PackageName, lock: &Lockfile) -> Vec<PackageName> {
    let end = format!("/node_modules/{name}");
    let is_there = |places: &[String]| places.iter().any(|place| place.ends_with(&end));
    let pins = lock.npm.iter().filter(|pin| ecosystem == Ecosystem::Npm && is_there(&pin.places));
    pins.map(|pin| pin.name.clone()).collect()
}

type Names = BTreeSet<(Ecosystem, String)>;

fn unknown(what: &What, known: &Names) -> OpsError {
    let text = what.to_string();
    let all: Vec<String> = known.iter().map(|(ecosystem, name)| format!("{ecosystem}:{name}")).collect();
    let bare = text.split_once(':').map_or(text.as_str(), |(_, name)| name);
    let elsewhere = all.iter().find(|other| other.split_once(':').is_some_and(|(_, name)| name == bare));
    let near = elsewhere.map(String::as_str).or_else(|| nearest(&text, all.iter().map(String::as_str)));
    OpsError::UnknownWhat { nearest: near.map(str::to_owned), text }
}

fn locked_names(lock: &Lockfile) -> Names {
    lock.pins().map(|pin| (pin.ecosystem, pin.name.to_string())).collect()
}

fn known_names(manifest: &Manifest, lock: &Lockfile) -> Names {
    let mut names = locked_names(lock);
    let apt = manifest.apt.packages.iter().filter_map(|text| AptRequirement::parse(text).ok());
    names.extend(apt.map(|requirement| (Ecosystem::Apt, requirement.name.to_string())));
    let projects = manifest.npm.projects.values().flat_map(BTreeMap::keys);
    names.extend(manifest.npm.packages.keys().chain(projects).map(|name| (Ecosystem::Npm, name.clone())));
    let pip = manifest.pip.packages.iter().filter_map(|text| parse_pip_requirement(text).ok());
    names.extend(pip.map(|requirement| (Ecosystem::Pip, requirement.name.to_string())));
    names
}

/// The Debian packages that the essential set is made of, with all that it needs.
fn base_names(lock: &Lockfile) -> BTreeSet<PackageName> {
    let mut base: BTreeSet<PackageName> = BTreeSet::new();
    let is_new = |pin: &&AptPin, base: &BTreeSet<PackageName>| {
        let needs = |by: &String| by == ESSENTIAL || base.iter().any(|name| name.as_str() == by);
        !base.contains(&pin.name) && pin.required_by.iter().any(needs)
    };
    loop {
        let more: Vec<PackageName> =
            lock.apt.iter().filter(|pin| is_new(pin, &base)).map(|pin| pin.name.clone()).collect();
        if more.is_empty() {
            return base;
        }
        base.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::explain::Explain;
    use crate::lock::parse_lockfile;

    fn lock() -> Lockfile {
        let page = include_str!("../../docs/lockfile.md");
        let text = page.split("```toml\n").nth(1).unwrap().split("```\n").next().unwrap();
        parse_lockfile(text, "lockfile.toml").unwrap()
    }

    #[test]
    fn what_is_named_has_an_ecosystem() {
        for (text, shown) in [("npm:@a/b", "npm:@a/b"), ("pip:Foo_Bar.baz", "pip:foo-bar-baz"), ("base", "base")] {
            assert_eq!(What::parse(text).unwrap().to_string(), shown);
        }
        for text in ["lodash", "gem:rails", "npm:", "apt:a b", ""] {
            assert!(matches!(What::parse(text), Err(OpsError::What { .. })), "{text}");
        }
    }

    #[test]
    fn what_is_not_locked_is_told_with_what_may_be_meant() {
        for (text, near) in [("pip:openia", "pip:openai"), ("npm:git", "apt:git")] {
            let error = pins_named(&What::parse(text).unwrap(), &lock()).unwrap_err();
            assert_eq!(error.hints()[0], format!("did you mean `{near}`?"));
        }
    }

    #[test]
    fn the_base_is_all_that_the_essential_set_needs() {
        let names: Vec<String> = base_names(&lock()).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["libc6"]);
    }
}
