//! Whether a lock answers a manifest, worked out offline from the two alone. Newer releases play no part in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::base::text::sanitize;
use crate::manifest::{
    AptChoice, AptRequirement, BaseRequest, Manifest, NpmRequirement, PipRequirement, Place, SourceKind, WheelUrl,
    parse_pip_constraint, parse_pip_release, parse_pip_requirement, pip_accepts,
};
use crate::model::{Ecosystem, PackageName, PackageVersion, Platform, SourceName};

use super::asked::AskerName;
use super::model::*;

/// One way in which a lock does not answer a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drift {
    /// What the manifest asks for, to be found with [`ManifestFile::locate_place`](crate::manifest::ManifestFile::locate_place).
    pub place: Place,
    /// The platform whose pins disagree; none when it is about all of them.
    pub platform: Option<Platform>,
    /// The disagreement.
    pub finding: Finding,
}

/// A disagreement between a manifest and a lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// The pinned version is not one that the requirement accepts.
    Outside {
        /// The pin.
        pin: PinName,
    },
    /// Another package than the one asked for is laid into its place.
    OtherPackage {
        /// The pin.
        pin: PinName,
    },
    /// No pin answers a requirement.
    Unpinned {
        /// The package asked for.
        ecosystem: Ecosystem,
        /// See `ecosystem`.
        name: PackageName,
    },
    /// A pin is there for a requirement that the manifest no longer has.
    Unasked {
        /// The pin.
        pin: PinName,
    },
    /// A pin is there for packages that are not, or that nobody asks for.
    Orphan {
        /// The pin.
        pin: PinName,
    },
    /// A package is laid into a directory that is none of those that the manifest asks for.
    Misplaced {
        /// The pin.
        pin: PinName,
        /// The directory.
        directory: String,
    },
    /// The manifest asks for a package, and its pin does not say so.
    Unclaimed {
        /// The pin.
        pin: PinName,
    },
    /// A package is pinned that the manifest leaves out by name.
    Omitted {
        /// The pin.
        pin: PinName,
    },
    /// A package is built from source, and the manifest does not allow it.
    Unbuildable {
        /// The pin.
        pin: PinName,
    },
    /// A package is bound to another source than the one it is pinned from.
    OtherSource {
        /// The pin.
        pin: PinName,
        /// The source it is pinned from.
        locked: SourceName,
        /// The source it is bound to.
        bound: SourceName,
    },
    /// A platform is asked for and not locked.
    NoPlatform(Platform),
    /// A platform is locked and no longer asked for.
    ExtraPlatform(Platform),
    /// The base is another one.
    Base {
        /// What the lock has.
        locked: String,
    },
    /// The image's time is another one.
    Epoch {
        /// What the lock has, in seconds since 1970.
        locked: i64,
    },
    /// A section asks for something else than it did, in a way that no pin shows.
    Section,
}

/// A pin's ecosystem, name and version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PinName {
    /// Where it comes from.
    pub ecosystem: Ecosystem,
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: PackageVersion,
}

impl From<PinView<'_>> for PinName {
    fn from(pin: PinView<'_>) -> Self {
        Self { ecosystem: pin.ecosystem, name: pin.name.clone(), version: pin.version.clone() }
    }
}

impl fmt::Display for PinName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.name, self.version)
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.finding {
            Finding::Outside { pin } => write!(formatter, "the lockfile pins {pin}, outside this range"),
            Finding::OtherPackage { pin } => write!(formatter, "the lockfile has {pin} in its place"),
            Finding::Unpinned { name, .. } => write!(formatter, "the lockfile has no pin for {name}"),
            Finding::Unasked { pin } => write!(formatter, "the lockfile pins {pin}, which is no longer asked for"),
            Finding::Orphan { pin } => write!(formatter, "the lockfile pins {pin}, which nothing in it requires"),
            Finding::Misplaced { pin, directory } => {
                write!(formatter, "the lockfile lays {pin} into {directory}, which is not asked for")
            }
            Finding::Unclaimed { pin } => {
                write!(formatter, "the lockfile pins {pin} and does not say that it is asked for")
            }
            Finding::Omitted { pin } => write!(formatter, "the lockfile pins {pin}, which is left out here"),
            Finding::Unbuildable { pin } => {
                write!(formatter, "the lockfile builds {pin} from source, which `[pip] build` does not allow")
            }
            Finding::OtherSource { pin, locked, bound } => {
                write!(formatter, "the lockfile has {pin} from `{locked}`, and it is bound to `{bound}`")
            }
            Finding::NoPlatform(platform) => write!(formatter, "the lockfile has no pins for {platform}"),
            Finding::ExtraPlatform(platform) => {
                write!(formatter, "the lockfile has pins for {platform}, which is no longer asked for")
            }
            Finding::Base { locked } => write!(formatter, "the lockfile stands on {}", sanitize(locked)),
            Finding::Epoch { locked } => match jiff::Timestamp::from_second(*locked) {
                Ok(moment) => write!(formatter, "the lockfile has {moment}"),
                Err(_) => write!(formatter, "the lockfile has {locked}"),
            },
            Finding::Section => formatter.write_str("this section asks for something else than when it was locked"),
        }?;
        match self.platform {
            Some(platform) => write!(formatter, " ({platform})"),
            None => Ok(()),
        }
    }
}

impl Drift {
    /// What to give to `oclock update` so that this alone is put right: `npm:express`, `base`; none for all of it.
    pub fn update_argument(&self) -> Option<String> {
        match &self.finding {
            Finding::Outside { pin } | Finding::OtherPackage { pin } | Finding::OtherSource { pin, .. } => {
                Some(format!("{}:{}", pin.ecosystem, pin.name))
            }
            Finding::Unpinned { ecosystem, name } => Some(format!("{ecosystem}:{name}")),
            Finding::Base { .. } => Some("base".to_owned()),
            Finding::Unasked { .. }
            | Finding::Orphan { .. }
            | Finding::Misplaced { .. }
            | Finding::Unclaimed { .. }
            | Finding::Omitted { .. }
            | Finding::Unbuildable { .. }
            | Finding::NoPlatform(_)
            | Finding::ExtraPlatform(_)
            | Finding::Epoch { .. }
            | Finding::Section => None,
        }
    }
}

/// Lists how a lock does not answer a manifest; nothing when it does. Sorted.
///
/// A requirement that parses in no language (a manifest that was not read from a file) counts as unanswered.
pub fn check(manifest: &Manifest, lock: &Lockfile) -> Vec<Drift> {
    let asked = super::fingerprints(manifest);
    let unchanged_apt = asked.apt == lock.fingerprints.apt && asked.image == lock.fingerprints.image;
    let mut drifts = Drifts::default();
    drifts.image(manifest, lock);
    for platform in lock.platforms.iter().copied().filter(|platform| manifest.image.platforms.contains(platform)) {
        drifts.apt(manifest, lock, platform, unchanged_apt);
        drifts.npm(manifest, lock, platform);
        drifts.pip(manifest, lock, platform, asked.pip == lock.fingerprints.pip);
        drifts.chain(lock, platform);
    }
    drifts.sources(manifest, lock);
    for (place, differs) in [
        (Place::Key("image"), asked.image != lock.fingerprints.image),
        (Place::Key("apt"), asked.apt != lock.fingerprints.apt),
        (Place::Key("npm"), asked.npm != lock.fingerprints.npm),
        (Place::Key("pip"), asked.pip != lock.fingerprints.pip),
    ] {
        if differs && !drifts.explained(&place) {
            drifts.add(place, None, Finding::Section);
        }
    }
    drifts.found.into_iter().collect()
}

#[derive(Default)]
struct Drifts {
    found: BTreeSet<Drift>,
}

impl Drifts {
    fn add(&mut self, place: Place, platform: Option<Platform>, finding: Finding) {
        self.found.insert(Drift { place, platform, finding });
    }

    /// Whether something found is about this section.
    fn explained(&self, section: &Place) -> bool {
        self.found.iter().any(|drift| {
            let own = match &drift.place {
                Place::Key(key) => key.split('.').next().unwrap_or(key),
                Place::Apt(_) => "apt",
                Place::Npm(_) | Place::NpmProject { .. } => "npm",
                Place::Pip(_) | Place::PipConstraint(_) | Place::PipOverride(_) => "pip",
                Place::Source(_) => "sources",
            };
            matches!(section, Place::Key(key) if *key == own)
        })
    }

    fn image(&mut self, manifest: &Manifest, lock: &Lockfile) {
        let image = &manifest.image;
        for platform in image.platforms.iter().filter(|platform| !lock.platforms.contains(platform)) {
            self.add(Place::Key("image.platforms"), None, Finding::NoPlatform(*platform));
        }
        for platform in lock.platforms.iter().filter(|platform| !image.platforms.contains(platform)) {
            self.add(Place::Key("image.platforms"), None, Finding::ExtraPlatform(*platform));
        }
        if let Some(locked) = other_base(&image.base, &lock.base) {
            self.add(Place::Key("image.base"), None, Finding::Base { locked });
        }
        // Without one of its own, an image of packages alone is as old as its newest archive.
        let newest = lock.archives.iter().map(|archive| archive.date).max();
        let newest = newest.filter(|_| matches!(lock.base, BasePin::Debian { .. }));
        if image.epoch.or(newest).is_some_and(|epoch| epoch != lock.epoch) {
            self.add(Place::Key("image.epoch"), None, Finding::Epoch { locked: lock.epoch });
        }
    }

    fn apt(&mut self, manifest: &Manifest, lock: &Lockfile, platform: Platform, unchanged: bool) {
        let pins: BTreeMap<&PackageName, &AptPin> =
            lock.apt.iter().filter(|pin| pin.platform == platform).map(|pin| (&pin.name, pin)).collect();
        let mut asked = BTreeSet::new();
        let mut unpinned = Vec::new();
        for text in &manifest.apt.packages {
            let Ok(requirement) = AptRequirement::parse(text) else { continue };
            let place = Place::Apt(text.clone());
            match pins.get(&requirement.name) {
                Some(pin) => {
                    // A suite goes by several names (trixie, stable), so that it is judged by the question being the same.
                    let suite_fits = match &requirement.choice {
                        AptChoice::FromSuite(suite) => unchanged || *suite == pin.suite,
                        AptChoice::Candidate | AptChoice::Exactly(_) | AptChoice::Like(_) => true,
                    };
                    if !requirement.accepts(&pin.version) || !suite_fits {
                        self.add(place, Some(platform), Finding::Outside { pin: pin.view().into() });
                    } else {
                        self.claimed(place, pin.view());
                    }
                }
                None => unpinned.push((place, requirement.name.clone())),
            }
            asked.insert(requirement.name);
        }
        let unasked: Vec<&&AptPin> = pins
            .values()
            .filter(|pin| pin.required_by.iter().any(|by| by == MANIFEST) && !asked.contains(&pin.name))
            .collect();
        // A virtual package is answered by another name, and one of a base image by no pin: where nothing changed since
        // the lock was made, the resolver's answer stands. Each such request has at most one answer.
        let answered_otherwise = !unasked.is_empty() || matches!(lock.base, BasePin::Image { .. });
        if unchanged && answered_otherwise && unasked.len() <= unpinned.len() {
            return;
        }
        for (place, name) in unpinned {
            self.add(place, Some(platform), Finding::Unpinned { ecosystem: Ecosystem::Apt, name });
        }
        for pin in unasked {
            self.add(Place::Key("apt"), Some(platform), Finding::Unasked { pin: pin.view().into() });
        }
    }

    fn npm(&mut self, manifest: &Manifest, lock: &Lockfile, platform: Platform) {
        let pins: Vec<&NpmPin> = lock.npm.iter().filter(|pin| pin.platform == platform).collect();
        let by_place: BTreeMap<&str, &NpmPin> =
            pins.iter().flat_map(|pin| pin.places.iter().map(|place| (place.as_str(), *pin))).collect();
        let mut tops = BTreeSet::new();
        for (place, directory, name, range) in npm_requirements(manifest) {
            let top = format!("{directory}/{name}");
            match (NpmRequirement::parse(name, range), by_place.get(top.as_str())) {
                (Ok(requirement), Some(pin)) if requirement.package != pin.name => {
                    self.add(place, Some(platform), Finding::OtherPackage { pin: pin.view().into() });
                }
                (Ok(requirement), Some(pin)) if requirement.accepts(&pin.version) => self.claimed(place, pin.view()),
                (_, Some(pin)) => self.add(place, Some(platform), Finding::Outside { pin: pin.view().into() }),
                (requirement, None) => {
                    let name = requirement.map(|asked| asked.package).or_else(|_| PackageName::parse(name));
                    if let Ok(name) = name {
                        let finding = Finding::Unpinned { ecosystem: Ecosystem::Npm, name };
                        self.add(place, Some(platform), finding);
                    }
                }
            }
            tops.insert(top);
        }
        let roots: BTreeSet<String> = npm_requirements(manifest).map(|(_, directory, ..)| directory).collect();
        // Among global packages stands only what is asked for: what they need lies below them.
        let global = format!("{}/lib/node_modules/", manifest.npm.prefix);
        let is_stray = |place: &&String| {
            let at_top = place.strip_prefix(&global).is_some_and(|name| !name.contains("/node_modules/"));
            !roots.iter().any(|root| is_laid_below(place, root)) || at_top && !tops.contains(*place)
        };
        for pin in &pins {
            for place in pin.places.iter().filter(is_stray) {
                let finding = Finding::Misplaced { pin: pin.view().into(), directory: place.clone() };
                self.add(Place::Key("npm"), Some(platform), finding);
            }
        }
        for pin in pins {
            let asked = pin.places.iter().any(|place| tops.contains(place));
            if pin.required_by.iter().any(|by| by == MANIFEST) && !asked {
                self.add(Place::Key("npm"), Some(platform), Finding::Unasked { pin: pin.view().into() });
            }
            if manifest.npm.omit.contains(&pin.name) {
                self.add(Place::Key("npm.omit"), Some(platform), Finding::Omitted { pin: pin.view().into() });
            }
        }
    }

    fn pip(&mut self, manifest: &Manifest, lock: &Lockfile, platform: Platform, unchanged: bool) {
        let pins: BTreeMap<&str, &PipPin> =
            lock.pip.iter().filter(|pin| pin.platform == platform).map(|pin| (pin.name.as_str(), pin)).collect();
        let mut asked = BTreeSet::new();
        let overrides = manifest.pip.overrides.iter().filter_map(|text| parse_pip_release(text).ok());
        let overrides: Vec<PipRequirement> = overrides.collect();
        let packages = manifest.pip.packages.iter();
        let packages = packages.filter_map(|text| Some((text, parse_pip_requirement(text).ok()?)));
        for (text, requirement) in packages {
            // Whether a marker holds is the resolver's to say, and it said so when the same was asked. An override stands
            // instead of the requirement, and is judged below.
            let is_overridden = overrides.iter().any(|instead| instead.name == requirement.name);
            let excused = unchanged && (is_conditional(&requirement) || is_overridden);
            let place = Place::Pip(text.clone());
            match pins.get(requirement.name.as_str()) {
                Some(pin) if !pip_accepts(&requirement, &pin.version) && !excused => {
                    self.add(place, Some(platform), Finding::Outside { pin: pin.view().into() });
                }
                None if !excused => {
                    if let Ok(name) = PackageName::parse(requirement.name.as_str()) {
                        let finding = Finding::Unpinned { ecosystem: Ecosystem::Pip, name };
                        self.add(place, Some(platform), finding);
                    }
                }
                Some(pin) if !excused && is_other_file(&requirement, pin) => {
                    self.add(place, Some(platform), Finding::OtherPackage { pin: pin.view().into() });
                }
                Some(pin) if !excused => self.claimed(place, pin.view()),
                Some(_) | None => {}
            }
            asked.insert(requirement.name.to_string());
        }
        let constraints = manifest.pip.constraints.iter();
        let constraints =
            constraints.filter_map(|text| Some((Place::PipConstraint(text.clone()), parse_pip_constraint(text).ok()?)));
        let overrides = manifest.pip.overrides.iter();
        let overrides =
            overrides.filter_map(|text| Some((Place::PipOverride(text.clone()), parse_pip_release(text).ok()?)));
        for (place, limit) in constraints.chain(overrides) {
            if let Some(pin) = pins.get(limit.name.as_str())
                && !pip_accepts(&limit, &pin.version)
                && !(unchanged && is_conditional(&limit))
            {
                self.add(place, Some(platform), Finding::Outside { pin: pin.view().into() });
            }
        }
        for pin in pins.values() {
            if pin.required_by.iter().any(|by| by == MANIFEST) && !asked.contains(pin.name.as_str()) {
                self.add(Place::Key("pip"), Some(platform), Finding::Unasked { pin: pin.view().into() });
            }
            if pin.built.is_some() && !manifest.pip.build.allows(&pin.name) {
                self.add(Place::Key("pip.build"), Some(platform), Finding::Unbuildable { pin: pin.view().into() });
            }
        }
    }

    /// A pin that answers a requirement says that it does.
    fn claimed(&mut self, place: Place, pin: PinView<'_>) {
        if !pin.required_by.iter().any(|by| by == MANIFEST) {
            self.add(place, Some(pin.platform), Finding::Unclaimed { pin: pin.into() });
        }
    }

    /// Every pin must be there for a requirement, for the essential set, or for a pin that is.
    fn chain(&mut self, lock: &Lockfile, platform: Platform) {
        for (ecosystem, section) in [
            (Ecosystem::Apt, Place::Key("apt")),
            (Ecosystem::Npm, Place::Key("npm")),
            (Ecosystem::Pip, Place::Key("pip")),
        ] {
            for pin in orphans(lock, ecosystem, platform) {
                self.add(section.clone(), Some(platform), Finding::Orphan { pin });
            }
        }
    }

    fn sources(&mut self, manifest: &Manifest, lock: &Lockfile) {
        for (name, source) in &manifest.sources {
            let ecosystem = match source.kind {
                SourceKind::Apt => Ecosystem::Apt,
                SourceKind::Npm => Ecosystem::Npm,
                SourceKind::Pip => Ecosystem::Pip,
                SourceKind::Image => continue,
            };
            for pin in lock.pins().filter(|pin| pin.ecosystem == ecosystem && pin.artifact.source != *name) {
                if is_bound(&source.packages, &pin, manifest) {
                    let locked = pin.artifact.source.clone();
                    let finding = Finding::OtherSource { pin: pin.into(), locked, bound: name.clone() };
                    self.add(Place::Source(name.clone()), Some(pin.platform), finding);
                }
            }
        }
    }
}

/// What the lock stands on, when it is not what is asked.
fn other_base(asked: &BaseRequest, locked: &BasePin) -> Option<String> {
    match (asked, locked) {
        (BaseRequest::Debian { suite: asked }, BasePin::Debian { suite }) if asked == suite => None,
        (BaseRequest::Image(asked), BasePin::Image { reference, index, .. })
            // The registry's name stays out of a lock; a digest is of the index.
            if (&asked.repository, &asked.tag) == (&reference.repository, &reference.tag)
                && asked.digest.is_none_or(|digest| digest == *index) =>
        {
            None
        }
        (_, BasePin::Debian { suite }) => Some(format!("Debian {suite}")),
        (_, BasePin::Image { reference, .. }) => Some(reference.to_string()),
    }
}

/// All npm requirements: where they stand, the node_modules they go into, name and range.
/// What the manifest asks of npm: where it says so, the directory it is laid into, the folder's name and the range.
pub(super) fn npm_requirements(manifest: &Manifest) -> impl Iterator<Item = (Place, String, &str, &str)> {
    let npm = &manifest.npm;
    let global = npm.packages.iter().map(move |(name, range)| {
        (Place::Npm(name.clone()), format!("{}/lib/node_modules", npm.prefix), name.as_str(), range.as_str())
    });
    let projects = npm.projects.iter().flat_map(|(directory, packages)| {
        packages.iter().map(move |(name, range)| {
            let place = Place::NpmProject { directory: directory.clone(), name: name.clone() };
            (place, format!("{directory}/node_modules"), name.as_str(), range.as_str())
        })
    });
    global.chain(projects)
}

/// Whether a place is one that Node looks at from a `node_modules` directory: `root/name(/node_modules/name)*`.
fn is_laid_below(place: &str, root: &str) -> bool {
    let Some(below) = place.strip_prefix(root).and_then(|rest| rest.strip_prefix('/')) else { return false };
    below.split("/node_modules/").all(|name| PackageName::parse(name).is_ok() && name != "node_modules")
}

/// Whether a requirement names one file by URL, and the pin is another.
fn is_other_file(requirement: &PipRequirement, pin: &PipPin) -> bool {
    let wheel = WheelUrl::of(requirement).ok().flatten();
    wheel.is_some_and(|wheel| wheel.sha256 != pin.artifact.sha256)
}

fn is_conditional(requirement: &PipRequirement) -> bool {
    requirement.marker.contents().is_some()
}

/// Whether a pin is bound to a source by these patterns; a binding by name goes before one by scope.
fn is_bound(patterns: &[String], pin: &PinView<'_>, manifest: &Manifest) -> bool {
    let normal = |text: &str| match pin.ecosystem {
        Ecosystem::Pip => text.replace(['_', '.'], "-").to_lowercase(),
        Ecosystem::Apt | Ecosystem::Npm => text.to_owned(),
    };
    let name = normal(pin.name.as_str());
    let by_name = |patterns: &[String]| patterns.iter().any(|pattern| normal(pattern) == name);
    let by_scope = |patterns: &[String]| {
        let scope = name.split_once('/').map(|(scope, _)| format!("{scope}/*"));
        scope.is_some_and(|scope| patterns.contains(&scope))
    };
    by_name(patterns) || by_scope(patterns) && !manifest.sources.values().any(|source| by_name(&source.packages))
}

/// The pins of an ecosystem that cannot be reached from the manifest or the essential set.
fn orphans(lock: &Lockfile, ecosystem: Ecosystem, platform: Platform) -> Vec<PinName> {
    let pins: Vec<PinView<'_>> =
        lock.pins().filter(|pin| pin.ecosystem == ecosystem && pin.platform == platform).collect();
    let mut required: BTreeMap<AskerName<'_>, Vec<usize>> = BTreeMap::new();
    for (index, pin) in pins.iter().enumerate() {
        for by in pin.required_by {
            required.entry(pin.asker(by)).or_default().push(index);
        }
    }
    // The names under which a pin requires others: its own, for npm its places.
    let npm_places: BTreeMap<(&PackageName, &PackageVersion), &[String]> = lock
        .npm
        .iter()
        .filter(|pin| pin.platform == platform)
        .map(|pin| ((&pin.name, &pin.version), pin.places.as_slice()))
        .collect();
    let mut reached = BTreeSet::new();
    let mut open = vec![(None, MANIFEST), (None, ESSENTIAL)];
    while let Some(by) = open.pop() {
        for &index in required.get(&by).into_iter().flatten() {
            if reached.insert(index) {
                let pin = pins[index];
                match ecosystem {
                    Ecosystem::Apt | Ecosystem::Pip => open.push((pin.builds, pin.name.as_str())),
                    Ecosystem::Npm => {
                        let places = npm_places.get(&(pin.name, pin.version)).copied().unwrap_or_default();
                        open.extend(places.iter().map(|place| (None, place.as_str())));
                    }
                }
            }
        }
    }
    let known: BTreeSet<AskerName<'_>> = match ecosystem {
        Ecosystem::Apt | Ecosystem::Pip => pins.iter().map(|pin| (pin.builds, pin.name.as_str())).collect(),
        Ecosystem::Npm => {
            npm_places.values().flat_map(|places| places.iter().map(|place| (None, place.as_str()))).collect()
        }
    };
    let is_known = |pin: &PinView<'_>, by: &str| by == MANIFEST || by == ESSENTIAL || known.contains(&pin.asker(by));
    let broken = |(index, pin): &(usize, &PinView<'_>)| {
        !reached.contains(index) || !pin.required_by.iter().all(|by| is_known(pin, by))
    };
    pins.iter().enumerate().filter(broken).map(|(_, pin)| PinName::from(*pin)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Stopwatch;
    use crate::lock::{fingerprints, sample};
    use crate::manifest::{ManifestFile, parse_manifest};

    fn drifts(from: &str, to: &str) -> Vec<String> {
        let text = sample::manifest_text();
        let edited = text.replace(from, to);
        assert!(from.is_empty() || text != edited, "the edit changed nothing");
        let file = ManifestFile::parse(&edited, "oclock.toml").unwrap();
        let drifts = check(&file.manifest, &sample::lock());
        let line = |drift: &Drift| file.locate_place(&drift.place, "").map(|excerpt| excerpt.line);
        drifts.iter().map(|drift| format!("{}: {drift}", line(drift).unwrap())).collect()
    }

    #[test]
    fn a_lock_answers_the_manifest_it_was_made_for() {
        assert_eq!(check(&sample::manifest(), &sample::lock()), []);
    }

    #[test]
    fn each_change_names_the_requirement_and_the_pin() {
        for (from, to, expected) in [
            (
                "nodejs=20.*",
                "nodejs=22.*",
                "6: the lockfile pins nodejs 20.19.2+dfsg-1, outside this range (linux/amd64)",
            ),
            (
                "\"git\", ",
                "",
                "5: the lockfile pins git 1:2.47.3-0+deb13u1, which is no longer asked for (linux/amd64)",
            ),
            ("\"git\", ", "\"git\", \"tini\", ", "6: the lockfile has no pin for tini (linux/amd64)"),
            ("^1.18", "^1.19", "9: the lockfile pins opencode-ai 1.18.33, outside this range (linux/amd64)"),
            ("^1.18", "npm:other@1", "9: the lockfile has opencode-ai 1.18.33 in its place (linux/amd64)"),
            (
                "\"@opencode-ai/plugin\" = \"1.18.33\"",
                "\"@opencode-ai/plugin\" = \"1.18.34\"",
                "12: the lockfile pins @opencode-ai/plugin 1.18.33, outside this range (linux/amd64)",
            ),
            (">=0.31", ">=0.32", "15: the lockfile pins graphiti-core 0.31.2, outside this range (linux/amd64)"),
            ("openai<3", "openai<2", "16: the lockfile pins openai 2.9.0, outside this range (linux/amd64)"),
            (", \"redis\"", ", \"falkordb\"", "15: the lockfile has no pin for falkordb (linux/amd64)"),
            ("trixie", "forky", "3: the lockfile stands on Debian trixie"),
            ("[apt]", "epoch = 2026-01-01T00:00:00Z\n[apt]", "5: the lockfile has 2026-11-20T00:00:00Z"),
            (
                "[apt]",
                "platforms = [\"linux/amd64\", \"linux/arm64\"]\n[apt]",
                "5: the lockfile has no pins for linux/arm64",
            ),
            ("[apt]", "[apt]\nrecommends = true", "5: this section asks for something else than when it was locked"),
            (
                "[npm.packages]",
                "[npm]\nomit = [\"opencode-linux-x64\"]\n[npm.packages]",
                "9: the lockfile pins opencode-linux-x64 1.18.33, which is left out here (linux/amd64)",
            ),
            (
                "[npm.packages]",
                "[npm]\nprefix = \"/opt/node\"\n[npm.packages]",
                "11: the lockfile has no pin for opencode-ai (linux/amd64)",
            ),
            (
                "[apt]",
                "[sources.mine]\nkind = \"npm\"\nurl = \"https://h.invalid\"\npackages = [\"@opencode-ai/*\"]\n[apt]",
                "5: the lockfile has @opencode-ai/plugin 1.18.33 from `npm`, and it is bound to `mine` (linux/amd64)",
            ),
        ] {
            let found = drifts(from, to);
            assert!(found.contains(&expected.to_owned()), "{to}: {found:#?}");
            assert!(!found.iter().any(|line| line.contains("something else")) || found.len() == 1, "{found:#?}");
        }
    }

    #[test]
    fn formatting_is_no_drift() {
        assert_eq!(
            drifts("packages = [\"git\", \"nodejs=20.*\"]", "packages = [ 'nodejs=20.*', # x\n 'git' ]"),
            [""; 0]
        );
    }

    #[test]
    fn a_pin_that_nothing_requires_is_found() {
        let manifest = sample::manifest();
        let mut lock = sample::lock();
        lock.pip[1].required_by = vec!["openai".into()];
        lock.npm[2].required_by = vec!["/gone".into()];
        lock.apt[1].required_by = vec!["essential".into(), "gone".into()];
        let found: Vec<String> = check(&manifest, &lock).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found.iter().all(|line| line.contains("which nothing in it requires")), "{found:#?}");
    }

    #[test]
    fn what_is_built_is_allowed_and_asks_for_what_builds_it() {
        let (manifest, lock) = (sample::building_manifest(), sample::building_lock());
        assert_eq!(check(&manifest, &lock), []);
        let found = |manifest: &Manifest, lock: &Lockfile| -> Vec<String> {
            check(manifest, lock).iter().map(ToString::to_string).collect()
        };
        let forbidden = "the lockfile builds redis 6.4.0 from source, which `[pip] build` does not allow (linux/amd64)";
        assert_eq!(found(&sample::manifest(), &lock), [forbidden]);
        let orphan = "the lockfile pins setuptools 80.9.0, which nothing in it requires (linux/amd64)";
        for by in ["redis", "setuptools", "openai"] {
            let mut other = lock.clone();
            other.pip_builds[0].wheel.required_by = vec![by.to_owned()];
            assert_eq!(found(&manifest, &other), [orphan], "{by} is not what asks for it");
        }
    }

    #[test]
    fn a_pin_edited_by_hand_is_found_without_the_fingerprint() {
        let mut lock = sample::lock();
        lock.pip[0].version = sample::version("0.30.0");
        let found = check(&sample::manifest(), &lock);
        assert!(matches!(&found[..], [Drift { finding: Finding::Outside { .. }, .. }]), "{found:#?}");
        assert_eq!(found[0].update_argument().as_deref(), Some("pip:graphiti-core"));
    }

    #[test]
    fn a_virtual_package_is_answered_by_its_provider() {
        let text = sample::manifest_text().replace("\"git\"", "\"git\", \"mail-transport-agent\"");
        let manifest = parse_manifest(&text, "oclock.toml").unwrap();
        let mut lock = Lockfile { fingerprints: fingerprints(&manifest), ..sample::lock() };
        lock.apt.insert(1, sample::apt_pin("exim4", "4.98", &["manifest"]));
        assert_eq!(check(&manifest, &lock), []);
        lock.apt.remove(1);
        assert_eq!(check(&manifest, &lock).len(), 1);
    }

    #[test]
    fn checking_a_large_lock_is_quick() {
        let mut lock = sample::lock();
        let number = |index: usize| format!("p{index:05}");
        lock.npm.extend((0..10_000).map(|index| {
            let by = if index == 0 { "manifest".to_owned() } else { format!("/x/{}", number(index - 1)) };
            let place = if index == 0 {
                "/usr/local/lib/node_modules/opencode-ai".into()
            } else {
                format!("/x/{}", number(index))
            };
            sample::npm_pin(&number(index), "1.0.0", &[&place], &[&by])
        }));
        let watch = Stopwatch::start();
        let found = check(&sample::manifest(), &lock);
        assert!(!found.is_empty());
        assert!(watch.seconds() < 2.0, "{} s", watch.seconds());
    }
}
