//! Whether what pinned packages need is pinned too: a pin that was taken out, or moved away, is missed by those that need it.
//!
//! By name alone: the versions were the resolver's to choose. What a base image has already is not known here.

use std::collections::{BTreeMap, BTreeSet};

use super::REQUIRES;
use super::artifacts::{AnyPin, ArtifactReport, label, subject};
use crate::audit::finding::Finding;
use crate::lock::{BasePin, Lockfile, NpmPin};
use crate::model::{Ecosystem, PackageName, Platform};

/// Checks the needs of all artifacts that were found whole. `omitted` are npm packages that the manifest leaves out by name.
pub fn check_requires(lock: &Lockfile, report: &ArtifactReport, omitted: &BTreeSet<PackageName>) -> Vec<Finding> {
    let pins = AnyPin::all(lock);
    let mut names: BTreeSet<(Ecosystem, Platform, &str)> = BTreeSet::new();
    for (index, pin) in pins.iter().enumerate() {
        let view = pin.view();
        names.insert((view.ecosystem, view.platform, view.name.as_str()));
        let provides = report.facts.get(&index).map(|facts| facts.provides.as_slice()).unwrap_or_default();
        names.extend(provides.iter().map(|name| (view.ecosystem, view.platform, name.as_str())));
    }
    let places: BTreeMap<(Platform, &str), &NpmPin> =
        lock.npm.iter().flat_map(|pin| pin.places.iter().map(move |place| ((pin.platform, place.as_str()), pin))).collect();
    let on_image = matches!(lock.base, BasePin::Image { .. });
    let mut findings = Vec::new();
    for (index, pin) in pins.iter().enumerate() {
        let (view, Some(facts)) = (pin.view(), report.facts.get(&index)) else { continue };
        let is_there = |name: &String| match pin {
            AnyPin::Npm(pin) => pin.places.iter().all(|place| has_neighbour(&places, pin.platform, place, name)),
            AnyPin::Apt(_) | AnyPin::Pip(_) => names.contains(&(view.ecosystem, view.platform, name.as_str())),
        };
        let excused = |group: &&Vec<String>| {
            let is_omitted = |name: &String| omitted.iter().any(|omitted| omitted.as_str() == name);
            view.ecosystem == Ecosystem::Apt && on_image
                || view.ecosystem == Ecosystem::Npm && group.iter().any(is_omitted)
        };
        for group in facts.needs.iter().filter(|group| !excused(group) && !group.iter().any(is_there)) {
            let message = format!("`{}` needs {}, and no pin answers", label(&view), group.join(" or "));
            findings.push(Finding::new(&REQUIRES, subject(&view), message));
        }
    }
    findings
}

/// Whether Node finds `name` from a package at `place`: in a `node_modules` of it or above it.
fn has_neighbour(places: &BTreeMap<(Platform, &str), &NpmPin>, platform: Platform, place: &str, name: &str) -> bool {
    let mut directory = Some(place);
    while let Some(current) = directory.filter(|current| !current.is_empty()) {
        if !current.ends_with("/node_modules")
            && places.contains_key(&(platform, format!("{current}/node_modules/{name}").as_str()))
        {
            return true;
        }
        directory = current.rsplit_once('/').map(|(above, _)| above);
    }
    false
}
