//! Whether pins need each other as the lock says: what a package needs is pinned, and `required-by` names those who need it and
//! nobody else. A pin that was taken out, moved or slipped in is found by what its neighbours say of themselves.
//!
//! By name alone: the versions were the resolver's to choose. What a base image has already is not known here.

use std::collections::{BTreeMap, BTreeSet};

use super::artifacts::{AnyPin, ArtifactReport, label, subject};
use super::{REQUIRED_BY, REQUIRES};
use crate::audit::finding::Finding;
use crate::lock::{BUILD_SYSTEM, BasePin, ESSENTIAL, Lockfile, MANIFEST, Names, PinView};
use crate::model::{Ecosystem, PackageName, Platform};

/// Checks the needs of all artifacts that were found whole. `omitted` are npm packages that the manifest leaves out by name.
pub fn check_requires(lock: &Lockfile, report: &ArtifactReport, omitted: &BTreeSet<PackageName>) -> Vec<Finding> {
    let web = Web::new(lock, report);
    let mut findings = Vec::new();
    for index in 0..web.pins.len() {
        findings.extend(web.unmet(index, omitted));
        findings.extend(web.falsely_required(index));
        findings.extend(web.unnamed(index));
    }
    findings
}

/// Who is where.
struct Web<'a> {
    pins: Vec<AnyPin<'a>>,
    report: &'a ArtifactReport,
    /// Positions by name; not of npm, where a name may stand several times.
    by_name: Names<'a>,
    /// Further names that are answered to.
    provided: BTreeSet<(Ecosystem, Platform, &'a str)>,
    /// npm: positions by place.
    by_place: BTreeMap<(Platform, &'a str), usize>,
    on_image: bool,
}

impl<'a> Web<'a> {
    fn new(lock: &'a Lockfile, report: &'a ArtifactReport) -> Self {
        let pins = AnyPin::all(lock);
        let (mut by_name, mut provided, mut by_place) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        for (index, pin) in pins.iter().enumerate() {
            let view = pin.view();
            match pin {
                AnyPin::Npm(pin) => {
                    by_place.extend(pin.places.iter().map(|place| ((pin.platform, place.as_str()), index)))
                }
                AnyPin::Apt(_) | AnyPin::Pip(_) | AnyPin::PipBuild(_) => {
                    by_name.insert((view.ecosystem, view.platform, (view.builds, view.name.as_str())), index);
                }
            }
            let provides = report.facts.get(&index).map(|facts| facts.provides.as_slice()).unwrap_or_default();
            provided.extend(provides.iter().map(|name| (view.ecosystem, view.platform, name.as_str())));
        }
        Self { pins, report, by_name, provided, by_place, on_image: matches!(lock.base, BasePin::Image { .. }) }
    }

    /// Those who answer when the pin at `index` needs `name`: who needs it, under the name that `required-by` has, and whom it gets.
    fn answers(&self, index: usize, name: &str) -> Vec<(String, Option<usize>)> {
        let view = self.pins[index].view();
        match self.pins[index] {
            AnyPin::Npm(pin) => {
                pin.places.iter().map(|place| (place.clone(), self.neighbour(pin.platform, place, name))).collect()
            }
            AnyPin::Apt(_) | AnyPin::Pip(_) | AnyPin::PipBuild(_) => {
                let found = self.by_name.get(&(view.ecosystem, view.platform, (view.builds, name)));
                vec![(view.name.to_string(), found.copied())]
            }
        }
    }

    /// The package that Node finds as `name` from `place`: in a `node_modules` of it or above it.
    fn neighbour(&self, platform: Platform, place: &str, name: &str) -> Option<usize> {
        let mut directory = Some(place);
        while let Some(current) = directory.filter(|current| !current.is_empty()) {
            if !current.ends_with("/node_modules")
                && let Some(index) = self.by_place.get(&(platform, format!("{current}/node_modules/{name}").as_str()))
            {
                return Some(*index);
            }
            directory = current.rsplit_once('/').map(|(above, _)| above);
        }
        None
    }

    /// What the pin needs and nothing answers.
    fn unmet(&self, index: usize, omitted: &BTreeSet<PackageName>) -> Vec<Finding> {
        let (view, Some(facts)) = (self.pins[index].view(), self.report.facts.get(&index)) else { return Vec::new() };
        let is_met = |name: &String| {
            self.answers(index, name).iter().all(|(_, answer)| answer.is_some())
                || self.provided.contains(&(view.ecosystem, view.platform, name.as_str()))
        };
        let is_excused = |name: &String| match view.ecosystem {
            Ecosystem::Apt => self.on_image,
            Ecosystem::Npm => omitted.iter().any(|omitted| omitted.as_str() == name),
            Ecosystem::Pip => false,
        };
        let unmet = facts.needs.iter().filter(|group| !group.iter().any(|name| is_met(name) || is_excused(name)));
        let finding = |group: &Vec<String>| {
            let message = format!("`{}` needs {}, and no pin answers", label(&view), group.join(" or "));
            Finding::new(&REQUIRES, subject(&view), message)
        };
        unmet.map(finding).collect()
    }

    /// Those in `required-by` who never mention the pin.
    fn falsely_required(&self, index: usize) -> Vec<Finding> {
        let view = self.pins[index].view();
        // What a project's build system asks for is not in its wheel.
        let others = [MANIFEST, ESSENTIAL, BUILD_SYSTEM];
        let claimed = view.required_by.iter().filter(|by| !others.contains(&by.as_str()));
        let is_false = |by: &&String| {
            let requirer = match self.pins[index] {
                AnyPin::Npm(pin) => self.by_place.get(&(pin.platform, by.as_str())),
                AnyPin::Apt(_) | AnyPin::Pip(_) | AnyPin::PipBuild(_) => {
                    self.by_name.get(&(view.ecosystem, view.platform, view.asker(by)))
                }
            };
            let facts = requirer.and_then(|requirer| self.report.facts.get(requirer));
            facts.is_some_and(|facts| !self.names_of(index).iter().any(|name| facts.mentions.contains(name)))
        };
        claimed.filter(is_false).map(|by| misnamed(&view, format!("names {by}, which does not ask for it"))).collect()
    }

    /// The names that others may ask for a pin by.
    fn names_of(&self, index: usize) -> Vec<String> {
        match self.pins[index] {
            AnyPin::Npm(pin) => {
                let last = |place: &String| Some(place.rsplit_once("/node_modules/")?.1.to_owned());
                pin.places.iter().filter_map(last).collect()
            }
            AnyPin::Apt(_) | AnyPin::Pip(_) | AnyPin::PipBuild(_) => {
                let provides = self.report.facts.get(&index).map(|facts| facts.provides.clone()).unwrap_or_default();
                std::iter::once(self.pins[index].view().name.to_string()).chain(provides).collect()
            }
        }
    }

    /// Those whom the pin surely needs, and whose `required-by` does not say so.
    fn unnamed(&self, index: usize) -> Vec<Finding> {
        let Some(facts) = self.report.facts.get(&index) else { return Vec::new() };
        let single = facts.needs.iter().filter_map(|group| match &group[..] {
            [name] => Some(name),
            _ => None,
        });
        let answers = single.flat_map(|name| self.answers(index, name));
        let silent = answers.filter_map(|(by, answer)| {
            let needed = self.pins[answer.filter(|answer| *answer != index)?].view();
            let message = format!("does not name {by}, which asks for it");
            (!needed.required_by.contains(&by)).then(|| misnamed(&needed, message))
        });
        silent.collect()
    }
}

fn misnamed(pin: &PinView<'_>, what: String) -> Finding {
    Finding::new(&REQUIRED_BY, subject(pin), format!("`required-by` of `{}` {what}", label(pin)))
}
