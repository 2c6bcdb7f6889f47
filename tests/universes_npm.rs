//! Small registries made up at random: npm's placements, and what holds for any tree whoever laid it out.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test program")]

#[path = "support/npm_judge.rs"]
mod npm_judge;
#[path = "support/site.rs"]
mod site;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::LazyLock;

use npm_judge::{Judge, NODE};
use oclock::base::http::{HttpClient, HttpOptions};
use oclock::manifest::{NpmOverride, NpmSection, SourceKind};
use oclock::model::{Platform, SourceName};
use oclock::resolve::npm::{NpmError, NpmPlace, NpmRequest, plan};
use oclock::source::Source;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRng, TestRunner};
use site::Site;

const NAMES: [&str; 7] = ["aa", "b", "@s/c", "d-d", "E", "f.f", "g"];
const VERSIONS: [&str; 6] = ["1.0.0", "1.1.0", "1.2.3", "2.0.0", "2.1.0-beta.1", "3.0.0"];
/// Each range with the versions that it takes, by their place in [`VERSIONS`]: written down by hand, so that no parser is asked.
const RANGES: [(&str, &[usize]); 12] = [
    ("*", &[0, 1, 2, 3, 4, 5]),
    ("^1", &[0, 1, 2]),
    ("~1.1.0", &[1]),
    ("1.0.0", &[0]),
    (">=1.1 <3", &[1, 2, 3]),
    ("^2 || ^3", &[3, 5]),
    ("1.0 - 1.1", &[0, 1]),
    ("2.x", &[3]),
    (">=2.1.0-beta.0", &[4, 5]),
    ("<2", &[0, 1, 2]),
    ("latest", &[0, 1, 2, 3, 4, 5]),
    ("^7", &[]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Prod,
    Optional,
    Peer,
    PeerOptional,
}

impl Kind {
    fn field(self) -> &'static str {
        match self {
            Self::Prod => "dependencies",
            Self::Optional => "optionalDependencies",
            Self::Peer | Self::PeerOptional => "peerDependencies",
        }
    }
}

/// A dependency: which package, as what, in which range.
type Wish = (usize, Kind, usize);

#[derive(Clone, Debug)]
struct Release {
    version: usize,
    wishes: Vec<Wish>,
    /// Keys that change whether it is chosen or installed.
    trait_: usize,
}

/// Keys of a release, and whether it runs on the target with them.
const TRAITS: [(&str, bool); 6] = [
    ("", true),
    ("", true),
    (r#","deprecated":"old""#, true),
    (r#","engines":{"node":">=22"}"#, true),
    (r#","os":["darwin"]"#, false),
    (r#","libc":["glibc"]"#, true),
];

#[derive(Clone, Debug)]
struct Universe {
    releases: Vec<Vec<Release>>,
    latest: Vec<usize>,
    asked: BTreeMap<usize, usize>,
    overrides: Vec<(usize, Option<usize>, usize)>,
    is_global: bool,
}

fn wish(kinds: &'static [Kind]) -> impl Strategy<Value = Wish> {
    // Most ranges take much, or hardly a universe would have a tree.
    let range = prop_oneof![120 => prop::sample::select(&[0, 1, 4, 5, 9, 10][..]), 40 => 0..RANGES.len() - 1, 1 => Just(RANGES.len() - 1)];
    (0..NAMES.len(), prop::sample::select(kinds), range)
}

fn release(kinds: &'static [Kind]) -> impl Strategy<Value = Release> {
    let wishes = prop::collection::vec(wish(kinds), 0..3);
    let trait_ = prop_oneof![12 => Just(0), 1 => 0..TRAITS.len()];
    (0..VERSIONS.len(), wishes, trait_).prop_map(|(version, wishes, trait_)| Release { version, wishes, trait_ })
}

fn universe(kinds: &'static [Kind], overrides: usize) -> impl Strategy<Value = Universe> {
    let releases = prop::collection::vec(prop::collection::vec(release(kinds), 4..10), NAMES.len());
    let asked = prop::collection::btree_map(0..NAMES.len(), 0..RANGES.len() - 1, 1..4);
    let latest = prop::collection::vec(0..9usize, NAMES.len());
    let overrides =
        prop::collection::vec((0..NAMES.len(), prop::option::of(0..NAMES.len()), 0..10usize), 0..=overrides);
    (releases, latest, asked, overrides, any::<bool>()).prop_map(
        |(mut releases, latest, asked, overrides, is_global)| {
            for (name, package) in releases.iter_mut().enumerate() {
                let mut seen = BTreeSet::new();
                package.retain(|release| seen.insert(release.version));
                package.sort_by_key(|release| release.version);
                for release in package {
                    let mut seen = BTreeSet::new();
                    release.wishes.retain(|wish| wish.0 != name && seen.insert(wish.0));
                }
            }
            let is_global = is_global && overrides.is_empty();
            Universe { releases, latest, asked, overrides, is_global }
        },
    )
}

impl Universe {
    /// The registry's document of a package; `reversed` writes everything the other way round.
    fn document(&self, name: usize, reversed: bool) -> String {
        let order = |mut items: Vec<String>| {
            if reversed {
                items.reverse();
            }
            items.join(",")
        };
        let versions = self.releases[name].iter().map(|release| {
            let (called, version) = (NAMES[name], VERSIONS[release.version]);
            let mut fields = String::new();
            for field in ["dependencies", "optionalDependencies", "peerDependencies"] {
                let own = release.wishes.iter().filter(|wish| wish.1.field() == field);
                let own = own.map(|(to, _, range)| format!("{:?}:{:?}", NAMES[*to], RANGES[*range].0)).collect();
                write!(fields, ",{field:?}:{{{}}}", order(own)).unwrap();
            }
            let meta = release.wishes.iter().filter(|wish| wish.1 == Kind::PeerOptional);
            let meta = meta.map(|wish| format!("{:?}:{{\"optional\":true}}", NAMES[wish.0])).collect();
            let keys = TRAITS[release.trait_].0;
            format!(
                r#""{version}":{{"name":"{called}","version":"{version}"{fields},"peerDependenciesMeta":{{{}}}{keys},
                "dist":{{"integrity":"sha512-{name}{}","tarball":"http://127.0.0.1:1/{called}/-/x-{version}.tgz"}}}}"#,
                order(meta),
                release.version
            )
        });
        let latest = &self.releases[name][self.latest[name] % self.releases[name].len()];
        let latest = VERSIONS[latest.version];
        let versions = order(versions.collect());
        format!(r#"{{"name":"{}","dist-tags":{{"latest":"{latest}"}},"versions":{{{versions}}}}}"#, NAMES[name])
    }

    fn publish(&self, site: &Site, below: &str, reversed: bool) {
        for (name, called) in NAMES.iter().enumerate() {
            let document = self.document(name, reversed);
            site.put(&format!("/{below}/{}", called.replace('/', "%2f")), document);
        }
    }

    fn wishes(&self) -> BTreeMap<String, String> {
        let text = |(name, range): (&usize, &usize)| (NAMES[*name].to_owned(), RANGES[*range].0.to_owned());
        self.asked.iter().map(text).collect()
    }

    /// As package.json has them; the first of a name counts.
    fn overrides(&self) -> Vec<NpmOverride> {
        let mut all: Vec<NpmOverride> = Vec::new();
        for (outer, inner, range) in &self.overrides {
            let wanted = Some(RANGES[*range].0.to_owned());
            let entry = |key: usize| NpmOverride { key: NAMES[key].into(), wanted: wanted.clone(), below: Vec::new() };
            let made = match inner {
                None => entry(*outer),
                Some(inner) => NpmOverride { key: NAMES[*outer].into(), wanted: None, below: vec![entry(*inner)] },
            };
            if all.iter().all(|known| known.key != made.key) {
                all.push(made);
            }
        }
        all
    }

    fn request(&self, registry: &str) -> serde_json::Value {
        let value = |entry: &NpmOverride| match &entry.wanted {
            Some(wanted) => serde_json::json!(wanted),
            None => serde_json::json!({ &entry.below[0].key: &entry.below[0].wanted }),
        };
        let overrides = self.overrides();
        let overrides: serde_json::Map<String, serde_json::Value> =
            overrides.iter().map(|entry| (entry.key.clone(), value(entry))).collect();
        let mode = if self.is_global { "global" } else { "local" };
        serde_json::json!({ "registry": registry, "mode": mode, "dependencies": self.wishes(), "overrides": overrides })
    }

    fn plan(&self, registry: &str) -> Result<Vec<NpmPlace>, NpmError> {
        let mut section = NpmSection { prefix: "/p".into(), overrides: self.overrides(), ..NpmSection::default() };
        match self.is_global {
            true => section.packages = self.wishes(),
            false => drop(section.projects.insert("/p/lib".into(), self.wishes())),
        }
        let source = Source {
            name: SourceName::parse("npm").unwrap(),
            kind: SourceKind::Npm,
            url: registry.parse().unwrap(),
            mirrors: Vec::new(),
            authorization: None,
            packages: Vec::new(),
            suites: Vec::new(),
            components: Vec::new(),
            signed_by: None,
            found_in: "test".into(),
        };
        let request = NpmRequest {
            platform: Platform::LINUX_AMD64,
            section: &section,
            node_version: NODE,
            previous: &[],
            as_of: None,
            keep: None,
        };
        static ASKING: LazyLock<(tokio::runtime::Runtime, HttpClient)> = LazyLock::new(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            (runtime, HttpClient::new(HttpOptions { tries: 1, ..HttpOptions::default() }))
        });
        ASKING.0.block_on(plan(&request, &[&source], &ASKING.1))
    }

    fn release(&self, name: &str, version: &str) -> &Release {
        let name = NAMES.iter().position(|known| *known == name).unwrap();
        self.releases[name].iter().find(|release| VERSIONS[release.version] == version).unwrap()
    }
}

const ALL: &[Kind] = &[Kind::Prod, Kind::Prod, Kind::Prod, Kind::Peer, Kind::Peer, Kind::Optional, Kind::PeerOptional];
const NO_PEERS: &[Kind] = &[Kind::Prod, Kind::Prod, Kind::Optional];

/// The same universes in each run.
fn universes(count: usize, kinds: &'static [Kind], overrides: usize) -> Vec<Universe> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = universe(kinds, overrides);
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

#[test]
fn trees_are_those_of_npm() {
    let count = std::env::var("OCLOCK_UNIVERSES").map_or(40, |count| count.parse().unwrap());
    let (site, judge) = (Site::serve(), Judge::ready());
    let plain = universes(count, ALL, 0);
    let all: Vec<Universe> = plain.into_iter().chain(universes(count / 2, ALL, 2)).collect();
    let registry = |at: usize| format!("{}u{at}/", site.url);
    for (at, universe) in all.iter().enumerate() {
        universe.publish(&site, &format!("u{at}"), false);
    }
    let requests: Vec<_> = all.iter().enumerate().map(|(at, universe)| universe.request(&registry(at))).collect();
    let theirs = judge.run("npm-universes.mjs", &[], &serde_json::to_string(&requests).unwrap());
    let theirs: Vec<BTreeMap<String, String>> = serde_json::from_str(&theirs).unwrap();
    let mut differing = Vec::new();
    for (at, (universe, theirs)) in all.iter().zip(&theirs).enumerate() {
        let ours = universe.plan(&registry(at));
        let mine: BTreeMap<String, String> = match &ours {
            Err(_) => BTreeMap::new(),
            Ok(places) => {
                let below = |place: &NpmPlace| place.place.strip_prefix("/p/lib/").unwrap().to_owned();
                places.iter().map(|place| (below(place), format!("{}@{}", place.name, place.version))).collect()
            }
        };
        // Of some contradictions npm makes a tree in which a dependency is not met; that one is refused.
        if matches!(ours, Err(NpmError::Unmet { .. })) {
            continue;
        }
        if ours.is_err() != theirs.contains_key("error") || ours.is_ok() && mine != *theirs {
            println!("{at}: {}", requests[at]);
            println!("  {ours:?}\n  {theirs:?}");
            differing.push(at);
        }
    }
    let refused = theirs.iter().filter(|answer| answer.contains_key("error")).count();
    println!("{} of {} as npm has them; npm refuses {refused}", all.len() - differing.len(), all.len());
    assert!(refused < all.len() / 2, "hardly any has a tree");
    assert!(differing.is_empty(), "not as npm: {differing:?}");
}

/// What `require` finds from a directory: Node's own algorithm, which knows nothing of how the tree came about.
fn require<'a>(places: &'a BTreeMap<String, NpmPlace>, from: &str, name: &str) -> Option<&'a NpmPlace> {
    let mut here = from;
    loop {
        if let Some(found) = places.get(&format!("{here}/node_modules/{name}")) {
            return Some(found);
        }
        here = &here[..here.rfind("/node_modules/")?];
    }
}

/// Every dependency of every package finds a version in its range; one that is optional may find nothing.
fn check(universe: &Universe, places: &[NpmPlace]) -> Result<(), String> {
    let places: BTreeMap<String, NpmPlace> = places.iter().map(|place| (place.place.clone(), place.clone())).collect();
    let takes =
        |range: usize, place: &NpmPlace| RANGES[range].1.iter().any(|version| VERSIONS[*version] == place.version);
    for (name, range) in &universe.asked {
        match places.get(&format!("/p/lib/node_modules/{}", NAMES[*name])) {
            Some(found) if takes(*range, found) => {}
            found => return Err(format!("{} {} is {found:?}", NAMES[*name], RANGES[*range].0)),
        }
    }
    for (directory, place) in &places {
        let release = universe.release(&place.name, &place.version);
        for (to, kind, range) in &release.wishes {
            let found = require(&places, directory, NAMES[*to]);
            let fits = match (kind, found) {
                (Kind::Prod, found) => found.is_some_and(|found| takes(*range, found)),
                // Of peers npm promises less: those of packages that the manifest does not name may be left in conflict.
                (Kind::Peer, found) => {
                    let is_direct = universe.asked.keys().any(|name| NAMES[*name] == place.name)
                        && directory.matches("/node_modules/").count() == 1;
                    found.is_some()
                        && (!is_direct || universe.is_global || found.is_some_and(|found| takes(*range, found)))
                }
                (Kind::Optional | Kind::PeerOptional, _) => true,
            };
            if !fits {
                return Err(format!(
                    "{directory} {} {kind:?} {} {}: {found:?}",
                    place.version, NAMES[*to], RANGES[*range].0
                ));
            }
        }
    }
    Ok(())
}

/// Whether every wish can be had at all, and all there is runs on the target: then no choice leads into a dead end.
fn has_no_dead_end(universe: &Universe) -> bool {
    let can_be_had = |to: usize, range: usize| {
        // A pre-release is not taken for a range like `*`.
        let fits = |release: &Release| RANGES[range].1.contains(&release.version) && release.version != 4;
        universe.releases[to].iter().any(fits)
    };
    universe.asked.iter().all(|(to, range)| can_be_had(*to, *range))
        && universe.releases.iter().flatten().all(|release| {
            let is_met = |(to, kind, range): &Wish| *kind != Kind::Prod || can_be_had(*to, *range);
            TRAITS[release.trait_].1 && release.wishes.iter().all(is_met)
        })
}

/// The versions that can be part of a tree: those whose needed dependencies all have such a version in range (the largest such
/// set, found by taking out what is not).
fn possible(universe: &Universe) -> BTreeSet<(usize, usize)> {
    let all = universe.releases.iter().enumerate();
    let mut possible: BTreeSet<(usize, usize)> =
        all.flat_map(|(name, package)| package.iter().map(move |release| (name, release.version))).collect();
    loop {
        let stays = |(name, version): &(usize, usize)| {
            let release = universe.releases[*name].iter().find(|release| release.version == *version).unwrap();
            let is_met = |(to, kind, range): &Wish| {
                *kind != Kind::Prod || RANGES[*range].1.iter().any(|version| possible.contains(&(*to, *version)))
            };
            TRAITS[release.trait_].1 && release.wishes.iter().all(is_met)
        };
        let left: BTreeSet<_> = possible.iter().copied().filter(stays).collect();
        if left.len() == possible.len() {
            return left;
        }
        possible = left;
    }
}

proptest! {
    #![proptest_config(Config { cases: 32, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..Config::default() })]

    #[test]
    fn every_tree_holds_and_order_plays_no_part(universe in universe(ALL, 0)) {
        let site = Site::serve();
        universe.publish(&site, "one", false);
        universe.publish(&site, "other", true);
        let one = universe.plan(&format!("{}one/", site.url));
        let other = universe.plan(&format!("{}other/", site.url));
        prop_assert_eq!(one.as_ref().ok(), other.as_ref().ok());
        if let Ok(places) = one {
            prop_assert_eq!(check(&universe, &places), Ok(()));
        }
    }

    /// Without peers, brute force knows: what is laid out can be, and where nothing can go wrong there is a tree.
    #[test]
    fn without_peers_there_is_a_tree_where_there_can_be_one(universe in universe(NO_PEERS, 0)) {
        let site = Site::serve();
        universe.publish(&site, "u", false);
        let possible = possible(&universe);
        match universe.plan(&format!("{}u/", site.url)) {
            Ok(places) => {
                prop_assert_eq!(check(&universe, &places), Ok(()));
                for place in places {
                    let name = NAMES.iter().position(|known| *known == place.name).unwrap();
                    let release = universe.release(&place.name, &place.version);
                    prop_assert!(possible.contains(&(name, release.version)), "{place:?} can be in no tree");
                }
            }
            // Only circles, of versions or of placing, may be missing.
            Err(NpmError::Unsupported { .. } | NpmError::Unmet { .. }) => {}
            Err(error) => prop_assert!(!has_no_dead_end(&universe), "{error}"),
        }
    }
}
