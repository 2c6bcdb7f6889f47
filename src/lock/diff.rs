//! What a change of a lock means, pin by pin.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Artifact, Ecosystem, PackageName, PackageVersion, Platform, Sha256, SourceName};

use super::asked::PinKey;
use super::bump::compare_versions;
use super::model::*;

/// How two locks differ. Empty when they do not.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LockDiff {
    /// Pins that came, went or changed; in the order of ecosystem, platform and name.
    pub pins: Vec<PinDiff>,
    /// The base of the one and of the other, when they differ.
    pub base: Option<(BasePin, BasePin)>,
    /// The image's time in the one and in the other, in seconds since 1970, when they differ.
    pub epoch: Option<(i64, i64)>,
    /// The platforms of the one and of the other, when they differ.
    pub platforms: Option<(Vec<Platform>, Vec<Platform>)>,
    /// Signed archives that came, went or changed: source and suite, and the newest dates of both.
    pub archives: Vec<(SourceName, String, Option<i64>, Option<i64>)>,
    /// Whether the rules that turn a root filesystem into bytes differ.
    pub seal: Option<(SealPin, SealPin)>,
    /// Whether the manifest's fingerprints differ.
    pub questions: Option<(Fingerprints, Fingerprints)>,
    /// Recorded images that came, went or changed.
    pub images: Vec<(Platform, Option<ImagePin>, Option<ImagePin>)>,
}

/// One package that came, went or changed on one platform.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PinDiff {
    /// Where it comes from.
    pub ecosystem: Ecosystem,
    /// The platform it is for.
    pub platform: Platform,
    /// What it builds, where it is in no image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builds: Option<PackageName>,
    /// Its name.
    pub name: PackageName,
    /// What it was; none when it came.
    pub old: Option<PinSide>,
    /// What it is; none when it went.
    pub new: Option<PinSide>,
    /// What changed, gravest first; nothing when it came or went.
    pub changes: Vec<PinChange>,
}

/// A pin on one side.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PinSide {
    /// Its version.
    pub version: PackageVersion,
    /// When its source says that it was published, in seconds since 1970.
    pub published: Option<i64>,
    /// Its size in bytes.
    pub size: u64,
    /// Who asked for it.
    pub required_by: Vec<String>,
}

/// One thing that changed about a pin.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinChange {
    /// The same version has other bytes: what a published version never does.
    Rehashed {
        /// What it hashed to.
        from: Sha256,
        /// What it hashes to.
        to: Sha256,
    },
    /// The wheel that is built of it has other bytes: what it is built of or with changed, or how.
    Rebuilt {
        /// What the wheel hashed to; none where it was a wheel already.
        from: Option<Sha256>,
        /// What it hashes to; none where it is a wheel already.
        to: Option<Sha256>,
    },
    /// The same version by another of its files, as a Python release may have several: names of the files.
    File {
        /// Which it was.
        from: String,
        /// Which it is.
        to: String,
    },
    /// What vouched for it is gone: the names of the fields.
    Evidence(Vec<String>),
    /// It comes from another source.
    Source {
        /// Where it came from.
        from: SourceName,
        /// Where it comes from.
        to: SourceName,
    },
    /// Its install scripts changed: names of those that came, went or have another command line.
    Scripts {
        /// Those that came.
        added: Vec<String>,
        /// Those that went.
        removed: Vec<String>,
        /// Those whose command line changed.
        changed: Vec<String>,
    },
    /// It has another version.
    Version(Direction),
    /// It has another size, in bytes.
    Size {
        /// What it had.
        from: u64,
        /// What it has.
        to: u64,
    },
    /// It is elsewhere in its source, under the same version.
    Path,
    /// It is laid into other places of the image.
    Places,
    /// Others ask for it.
    RequiredBy,
    /// Something else about it: the suite, the architecture, the wheel's tags, the source package.
    Details,
}

/// Which way a version went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To a newer one.
    Up,
    /// To an older one.
    Down,
    /// To one that counts as the same.
    Sideways,
}

impl LockDiff {
    /// Whether the two are the same.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl PinDiff {
    /// Which pin of a lock this is, in one of its versions.
    pub fn key<'a>(&'a self, version: &'a PackageVersion) -> PinKey<'a> {
        let (ecosystem, platform, builds, name) = (self.ecosystem, self.platform, self.builds.as_ref(), &self.name);
        PinKey { ecosystem, platform, builds, name, version }
    }

    /// Whether a reviewer must look: other bytes under the same version, or another source.
    pub fn is_alarming(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, PinChange::Rehashed { .. } | PinChange::Source { .. }))
    }

    /// By how many bytes the package grew.
    pub fn growth(&self) -> i128 {
        let size = |side: &Option<PinSide>| side.as_ref().map_or(0, |side| i128::from(side.size));
        size(&self.new) - size(&self.old)
    }
}

/// Compares two locks.
pub fn diff(old: &Lockfile, new: &Lockfile) -> LockDiff {
    let (before, after) = (facets(old), facets(new));
    let groups: BTreeSet<&Group> = before.keys().chain(after.keys()).collect();
    let none = Vec::new();
    let pins = groups.into_iter().flat_map(|group| {
        let pairs = pair(before.get(group).unwrap_or(&none), after.get(group).unwrap_or(&none));
        pairs.into_iter().filter_map(|(old, new)| pin_diff(group, old, new))
    });
    LockDiff {
        pins: pins.collect(),
        base: changed(&old.base, &new.base),
        epoch: changed(&old.epoch, &new.epoch),
        platforms: changed(&old.platforms, &new.platforms),
        archives: archives(old, new),
        seal: changed(&old.seal, &new.seal),
        questions: changed(&old.fingerprints, &new.fingerprints),
        images: images(old, new),
    }
}

fn changed<T: Clone + PartialEq>(old: &T, new: &T) -> Option<(T, T)> {
    (old != new).then(|| (old.clone(), new.clone()))
}

fn archives(old: &Lockfile, new: &Lockfile) -> Vec<(SourceName, String, Option<i64>, Option<i64>)> {
    let by_name = |lock: &'_ Lockfile| -> BTreeMap<(SourceName, String), Vec<ArchivePin>> {
        let mut named: BTreeMap<_, Vec<ArchivePin>> = BTreeMap::new();
        for pin in &lock.archives {
            named.entry((pin.source.clone(), pin.suite.clone())).or_default().push(pin.clone());
        }
        named.values_mut().for_each(|pins| pins.sort_by_key(ArchivePin::order));
        named
    };
    let (old, new) = (by_name(old), by_name(new));
    let names: BTreeSet<_> = old.keys().chain(new.keys()).cloned().collect();
    let differing = names.into_iter().filter(|name| old.get(name) != new.get(name));
    let date = |pins: &BTreeMap<_, Vec<ArchivePin>>, name: &_| pins.get(name)?.iter().map(|pin| pin.date).max();
    differing.map(|name| (name.0.clone(), name.1.clone(), date(&old, &name), date(&new, &name))).collect()
}

fn images(old: &Lockfile, new: &Lockfile) -> Vec<(Platform, Option<ImagePin>, Option<ImagePin>)> {
    let platforms: BTreeSet<Platform> = old.images.keys().chain(new.images.keys()).copied().collect();
    let sides = platforms.into_iter().map(|of| (of, old.images.get(&of).copied(), new.images.get(&of).copied()));
    sides.filter(|(_, old, new)| old != new).collect()
}

/// A pin's ecosystem and platform, what it builds, and its name.
type Group = (Ecosystem, Platform, Option<PackageName>, PackageName);

/// What is compared of a pin.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Facet<'a> {
    version: &'a PackageVersion,
    published: Option<i64>,
    artifact: &'a Artifact,
    required_by: &'a [String],
    places: &'a [String],
    scripts: Option<&'a BTreeMap<String, Sha256>>,
    built: Option<&'a BuiltWheel>,
    details: [&'a str; 4],
}

fn facets(lock: &Lockfile) -> BTreeMap<Group, Vec<Facet<'_>>> {
    let mut groups: BTreeMap<Group, Vec<Facet<'_>>> = BTreeMap::new();
    let mut add = |pin: PinView<'_>, facet| {
        let group = (pin.ecosystem, pin.platform, pin.builds.cloned(), pin.name.clone());
        groups.entry(group).or_default().push(facet);
    };
    for pin in &lock.apt {
        let details = [pin.architecture.as_str(), &pin.suite, pin.source_package.as_str(), pin.source_version.as_str()];
        add(pin.view(), Facet { details, ..plain(&pin.version, &pin.artifact, &pin.required_by) });
    }
    for pin in &lock.npm {
        let facet = plain(&pin.version, &pin.artifact, &pin.required_by);
        let published = pin.published;
        add(pin.view(), Facet { published, places: &pin.places, scripts: Some(&pin.scripts), ..facet });
    }
    let builds = lock.pip_builds.iter().map(|pin| (pin.view(), &pin.wheel));
    for (view, pin) in lock.pip.iter().map(|pin| (pin.view(), pin)).chain(builds) {
        let facet = plain(&pin.version, &pin.artifact, &pin.required_by);
        let details = [pin.tags.as_str(), "", "", ""];
        add(view, Facet { published: pin.published, built: pin.built.as_ref(), details, ..facet });
    }
    for facets in groups.values_mut().filter(|facets| facets.len() > 1) {
        facets.sort_by(|one, other| (one.version, one.artifact).cmp(&(other.version, other.artifact)));
    }
    groups
}

fn plain<'a>(version: &'a PackageVersion, artifact: &'a Artifact, required_by: &'a [String]) -> Facet<'a> {
    Facet { version, published: None, artifact, required_by, places: &[], scripts: None, built: None, details: [""; 4] }
}

type Pair<'a> = (Option<Facet<'a>>, Option<Facet<'a>>);

/// Matches the versions of one package (npm may have several): the same version, then a shared place, then in order.
fn pair<'a>(old: &[Facet<'a>], new: &[Facet<'a>]) -> Vec<Pair<'a>> {
    let (mut old, mut new) = (old.to_vec(), new.to_vec());
    let mut pairs: Vec<Pair<'a>> = Vec::new();
    let mut take = |is_same: &dyn Fn(&Facet<'_>, &Facet<'_>) -> bool| {
        let mut index = 0;
        while index < old.len() {
            match new.iter().position(|candidate| is_same(&old[index], candidate)) {
                Some(other) => pairs.push((Some(old.remove(index)), Some(new.remove(other)))),
                None => index += 1,
            }
        }
    };
    take(&|one, other| one.version == other.version);
    take(&|one, other| one.places.iter().any(|place| other.places.contains(place)));
    take(&|_, _| true);
    pairs.extend(old.into_iter().map(|side| (Some(side), None)));
    pairs.extend(new.into_iter().map(|side| (None, Some(side))));
    pairs
}

fn pin_diff(group: &Group, old: Option<Facet<'_>>, new: Option<Facet<'_>>) -> Option<PinDiff> {
    if old == new {
        return None;
    }
    let changes = match (&old, &new) {
        (Some(old), Some(new)) => pin_changes(group.0, old, new),
        _ => Vec::new(),
    };
    let side = |facet: Facet<'_>| PinSide {
        version: facet.version.clone(),
        published: facet.published,
        size: facet.artifact.size,
        required_by: facet.required_by.to_vec(),
    };
    let (ecosystem, platform, builds, name) = group.clone();
    Some(PinDiff { ecosystem, platform, builds, name, old: old.map(side), new: new.map(side), changes })
}

fn pin_changes(ecosystem: Ecosystem, old: &Facet<'_>, new: &Facet<'_>) -> Vec<PinChange> {
    let same_version = old.version == new.version;
    let (from, to) = (old.artifact, new.artifact);
    let mut changes = Vec::new();
    let other_file = ecosystem == Ecosystem::Pip && same_version && from.path != to.path;
    if other_file {
        let name = |artifact: &Artifact| artifact.path.file_name().to_owned();
        changes.push(PinChange::File { from: name(from), to: name(to) });
    }
    if same_version && !other_file && has_other_bytes(from, to) {
        changes.push(PinChange::Rehashed { from: from.sha256, to: to.sha256 });
    }
    if old.built != new.built {
        let digest = |built: Option<&BuiltWheel>| built.map(|built| built.sha256);
        changes.push(PinChange::Rebuilt { from: digest(old.built), to: digest(new.built) });
    }
    let lost = [
        ("sha512", from.sha512.is_some() && to.sha512.is_none()),
        ("published", old.published.is_some() && new.published.is_none()),
    ];
    let lost: Vec<String> = lost.iter().filter(|(_, gone)| *gone).map(|(field, _)| (*field).to_owned()).collect();
    if !lost.is_empty() {
        changes.push(PinChange::Evidence(lost));
    }
    let is_redated = old.published.zip(new.published).is_some_and(|(before, after)| before != after);
    if from.source != to.source {
        changes.push(PinChange::Source { from: from.source.clone(), to: to.source.clone() });
    }
    if let (Some(old), Some(new)) = (old.scripts, new.scripts) {
        changes.extend(script_changes(old, new));
    }
    if !same_version {
        changes.push(PinChange::Version(direction(ecosystem, old.version, new.version)));
    }
    if from.size != to.size {
        changes.push(PinChange::Size { from: from.size, to: to.size });
    }
    if same_version && !other_file && from.path != to.path {
        changes.push(PinChange::Path);
    }
    for (differs, change) in [
        (old.places != new.places, PinChange::Places),
        (old.required_by != new.required_by, PinChange::RequiredBy),
        ((old.details != new.details || is_redated) && same_version && !other_file, PinChange::Details),
    ] {
        changes.extend(differs.then_some(change));
    }
    changes
}

/// Whether a digest that both have differs.
fn has_other_bytes(from: &Artifact, to: &Artifact) -> bool {
    from.sha256 != to.sha256 || from.sha512.zip(to.sha512).is_some_and(|(from, to)| from != to)
}

fn script_changes(old: &BTreeMap<String, Sha256>, new: &BTreeMap<String, Sha256>) -> Option<PinChange> {
    let names = |of: &BTreeMap<String, Sha256>, is: &dyn Fn(&str, &Sha256) -> bool| -> Vec<String> {
        of.iter().filter(|(name, hash)| is(name, hash)).map(|(name, _)| name.clone()).collect()
    };
    (old != new).then(|| PinChange::Scripts {
        added: names(new, &|name, _| !old.contains_key(name)),
        removed: names(old, &|name, _| !new.contains_key(name)),
        changed: names(new, &|name, hash| old.get(name).is_some_and(|before| before != hash)),
    })
}

/// What does not parse in its ecosystem counts as the same.
fn direction(ecosystem: Ecosystem, old: &PackageVersion, new: &PackageVersion) -> Direction {
    match compare_versions(ecosystem, old, new) {
        Some(Ordering::Less) => Direction::Up,
        Some(Ordering::Greater) => Direction::Down,
        Some(Ordering::Equal) | None => Direction::Sideways,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lock::sample;

    proptest! {
        #[test]
        fn only_what_is_equal_has_no_difference(one in sample::any_lock(), other in sample::any_lock()) {
            prop_assert!(diff(&one, &one).is_empty());
            prop_assert_eq!(diff(&one, &other).is_empty(), one == other);
            let (there, back) = (diff(&one, &other), diff(&other, &one));
            prop_assert_eq!(there.pins.len(), back.pins.len());
            for (there, back) in there.pins.iter().zip(&back.pins) {
                prop_assert_eq!((&there.old, &there.new), (&back.new, &back.old));
            }
        }
    }

    /// A lock, and the same with its pins in another order.
    fn shuffled() -> impl Strategy<Value = (Lockfile, Lockfile)> {
        sample::any_lock().prop_flat_map(|lock| {
            let apt = Just(lock.apt.clone()).prop_shuffle();
            let npm = Just(lock.npm.clone()).prop_shuffle();
            let pip = Just(lock.pip.clone()).prop_shuffle();
            let builds = Just(lock.pip_builds.clone()).prop_shuffle();
            (Just(lock), apt, npm, pip, builds).prop_map(|(lock, apt, npm, pip, pip_builds)| {
                let other = Lockfile { apt, npm, pip, pip_builds, ..lock.clone() };
                (lock, other)
            })
        })
    }

    proptest! {
        #[test]
        fn order_plays_no_part((lock, other) in shuffled(), before in sample::any_lock()) {
            prop_assert!(diff(&lock, &other).is_empty());
            prop_assert_eq!(diff(&before, &lock), diff(&before, &other));
        }
    }

    /// The diff of the sample's pins after a change.
    fn after(change: impl FnOnce(&mut Lockfile)) -> Vec<PinDiff> {
        let mut lock = sample::lock();
        change(&mut lock);
        diff(&sample::lock(), &lock).pins
    }

    fn changes(change: impl FnOnce(&mut Lockfile)) -> Vec<PinChange> {
        let mut pins = after(change);
        assert_eq!(pins.len(), 1, "{pins:#?}");
        pins.remove(0).changes
    }

    #[test]
    fn versions_go_up_and_down_as_their_ecosystem_says() {
        let apt = |lock: &mut Lockfile| lock.apt[0] = sample::apt_pin("git", "1:2.47.3-0+deb13u1~", &["manifest"]);
        assert_eq!(changes(apt)[0], PinChange::Version(Direction::Down));
        let pip = |lock: &mut Lockfile| lock.pip[1] = sample::pip_pin("openai", "2.10.0", &["graphiti-core"]);
        assert!(matches!(changes(pip)[..], [PinChange::Version(Direction::Up), PinChange::Size { .. }]));
    }

    #[test]
    fn the_same_version_with_other_bytes_is_loud() {
        let pins = after(|lock| lock.npm[1].artifact.sha256 = Sha256::of("other"));
        assert!(matches!(pins[0].changes[..], [PinChange::Rehashed { .. }]) && pins[0].is_alarming());
        let source = |lock: &mut Lockfile| lock.pip[0].artifact.source = sample::source("other");
        assert!(matches!(changes(source)[..], [PinChange::Source { .. }]));
    }

    #[test]
    fn another_wheel_of_the_same_source_is_told_and_so_is_what_builds_it() {
        let before = sample::building_lock();
        let mut after = before.clone();
        after.pip_builds[0].wheel = sample::pip_pin("setuptools", "81.0.0", &["build-system"]);
        let built = after.pip[2].built.as_mut().unwrap();
        let (from, to) = (built.sha256, Sha256::of("other"));
        built.sha256 = to;
        let pins = diff(&before, &after).pins;
        assert_eq!(pins[0].changes, [PinChange::Rebuilt { from: Some(from), to: Some(to) }]);
        assert_eq!(pins[1].builds.as_ref().map(PackageName::as_str), Some("redis"));
        assert_eq!(pins[1].changes[0], PinChange::Version(Direction::Up));
        let went = diff(&before, &sample::lock()).pins;
        assert!(went.iter().any(|pin| pin.builds.is_some() && pin.new.is_none()), "{went:#?}");
    }

    #[test]
    fn another_file_of_a_release_and_lost_evidence_are_told_apart_from_other_bytes() {
        let wheel = |lock: &mut Lockfile| {
            lock.pip[0].artifact = sample::artifact("pypi", "graphiti-core/graphiti_core-0.31.2-cp313-none-any.whl");
            lock.pip[0].tags = "cp313-none-any".into();
        };
        assert!(matches!(changes(wheel)[..], [PinChange::File { .. }, PinChange::Size { .. }]));
        let lost = changes(|lock| lock.npm[1].artifact.sha512 = None);
        assert_eq!(lost, [PinChange::Evidence(vec!["sha512".into()])]);
        let before = sample::lock();
        assert!(before.pip[0].published.is_some());
        let mut undated = before.clone();
        undated.pip[0].published = None;
        let lost = diff(&before, &undated).pins.remove(0).changes;
        assert_eq!(lost, [PinChange::Evidence(vec!["published".into()])]);
        assert_eq!(diff(&undated, &before).pins.remove(0).changes, [], "more evidence than before");
        let mut after = before.clone();
        after.pip[0].published = Some(2);
        assert_eq!(diff(&before, &after).pins.remove(0).changes, [PinChange::Details]);
        let other = changes(|lock| lock.npm[1].artifact.sha512 = Some(crate::model::Sha512::of("other")));
        assert!(matches!(other[..], [PinChange::Rehashed { .. }]));
    }

    #[test]
    fn scripts_that_come_are_named() {
        let found = changes(|lock| {
            lock.npm[1].scripts.insert("install".into(), Sha256::of("x"));
            lock.npm[1].scripts.insert("postinstall".into(), Sha256::of("y"));
        });
        let expected =
            PinChange::Scripts { added: vec!["install".into()], removed: vec![], changed: vec!["postinstall".into()] };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn versions_of_one_npm_package_are_matched_by_place() {
        let two = |first: &str, second: &str| {
            let mut lock = sample::lock();
            lock.npm = vec![
                sample::npm_pin("p", first, &["/a/p"], &["manifest"]),
                sample::npm_pin("p", second, &["/b/p"], &["manifest"]),
            ];
            lock
        };
        let pins = diff(&two("1.0.0", "2.0.0"), &two("1.1.0", "2.1.0")).pins;
        let moves: Vec<_> = pins
            .iter()
            .map(|pin| (pin.old.as_ref().unwrap().version.as_str(), pin.new.as_ref().unwrap().version.as_str()))
            .collect();
        assert_eq!(moves, [("1.0.0", "1.1.0"), ("2.0.0", "2.1.0")]);
    }

    #[test]
    fn what_came_and_went_is_told() {
        let pins = after(|lock| {
            lock.pip.remove(0);
            lock.apt.push(sample::apt_pin("tini", "0.19.0", &["manifest"]));
        });
        assert_eq!(pins.len(), 2);
        assert!(pins[0].old.is_none() && pins[0].growth() > 0 && pins[1].new.is_none() && pins[1].growth() < 0);
    }
}
