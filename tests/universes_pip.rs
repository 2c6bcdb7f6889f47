//! Small indexes made up at random: a set of wheels is found where brute force finds one, and it holds by a check of its own.
#![allow(clippy::unwrap_used, reason = "a test program")]

#[path = "support/wheels.rs"]
mod wheels;

use std::collections::{BTreeMap, BTreeSet};

use oclock::base::http::{HttpClient, HttpOptions};
use oclock::base::progress::Progress;
use oclock::lock::PipPin;
use oclock::manifest::{PipSection, SourceKind};
use oclock::model::{Platform, SourceName};
use oclock::resolve::pip::{PipError, PipRequest, resolve};
use oclock::source::Source;
use oclock::store::Store;
use proptest::prelude::*;
use proptest::test_runner::Config;
use wheels::{Index, Listed, Manner, WheelBuilder};

const NAMES: [&str; 4] = ["aa", "bb", "cc", "dd"];
const VERSIONS: [&str; 4] = ["1.0", "1.5", "2.0", "3.0"];
/// Each range with the versions that it takes, by their place in [`VERSIONS`]: written down by hand, so that no parser is asked.
const RANGES: [(&str, &[usize]); 8] = [
    ("", &[0, 1, 2, 3]),
    (">=1.5", &[1, 2, 3]),
    ("<2", &[0, 1]),
    ("==1.*", &[0, 1]),
    ("!=1.5", &[0, 2, 3]),
    ("~=1.0", &[0, 1]),
    ("==2.0", &[2]),
    (">3", &[]),
];
/// Markers, and whether they hold for CPython 3.13 on linux.
const MARKERS: [(&str, bool); 3] =
    [("python_version >= '3.8'", true), ("sys_platform == 'win32'", false), ("python_full_version < '3.13.5'", false)];

#[derive(Clone, Debug)]
struct Requirement {
    to: usize,
    range: usize,
    marker: usize,
    /// Asked for with the extra `x`.
    with_extra: bool,
    /// Needed by the extra `x` alone.
    of_extra: bool,
}

#[derive(Clone, Debug)]
struct Universe {
    /// By name and version: what it requires, and whether the target's Python will do.
    releases: BTreeMap<(usize, usize), (Vec<Requirement>, bool)>,
    asked: Vec<Requirement>,
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let range = prop_oneof![20 => 0..RANGES.len() - 1, 1 => Just(RANGES.len() - 1)];
    let marker = prop_oneof![5 => Just(0), 1 => 0..MARKERS.len()];
    (0..NAMES.len(), range, marker, any::<bool>(), prop::bool::weighted(0.3))
        .prop_map(|(to, range, marker, with_extra, of_extra)| Requirement { to, range, marker, with_extra, of_extra })
}

fn universe() -> impl Strategy<Value = Universe> {
    let release = (prop::collection::vec(requirement(), 0..4), prop::bool::weighted(0.9));
    let releases = prop::collection::btree_map((0..NAMES.len(), 0..VERSIONS.len()), release, 8..16);
    (releases, prop::collection::vec(requirement(), 1..3)).prop_map(|(mut releases, mut asked)| {
        for ((name, _), (requires, _)) in &mut releases {
            requires.retain(|requirement| requirement.to != *name);
        }
        asked.iter_mut().for_each(|requirement| requirement.of_extra = false);
        Universe { releases, asked }
    })
}

fn text(requirement: &Requirement) -> String {
    let Requirement { to, range, marker, with_extra, of_extra } = requirement;
    let extra = if *with_extra { "[x]" } else { "" };
    let only = if *of_extra { " and extra == 'x'" } else { "" };
    format!("{}{extra}{} ; {}{only}", NAMES[*to], RANGES[*range].0, MARKERS[*marker].0)
}

impl Universe {
    fn files(&self) -> Vec<Listed> {
        let wheel = |((name, version), (requires, runs)): (&(usize, usize), &(Vec<Requirement>, bool))| {
            let wheel = WheelBuilder::new(NAMES[*name], VERSIONS[*version]).line("Provides-Extra: x");
            let wheel = if *runs { wheel } else { wheel.line("Requires-Python: >=3.14") };
            Listed::wheel(&requires.iter().fold(wheel, |wheel, requirement| wheel.requires(&text(requirement))))
        };
        self.releases.iter().map(wheel).collect()
    }

    /// Whether a set of versions answers everything: what is asked, and what each of the set requires with its extras.
    fn holds(&self, chosen: &BTreeMap<usize, usize>) -> bool {
        let active = |requirement: &&Requirement| MARKERS[requirement.marker].1;
        let mut extras: BTreeSet<usize> =
            self.asked.iter().filter(active).filter(|asked| asked.with_extra).map(|asked| asked.to).collect();
        loop {
            let of = |name: usize, version: usize| self.releases[&(name, version)].0.iter();
            let required = chosen.iter().flat_map(|(name, version)| {
                let has_extra = extras.contains(name);
                of(*name, *version).filter(move |requirement| !requirement.of_extra || has_extra)
            });
            let all: Vec<&Requirement> = self.asked.iter().chain(required).filter(active).collect();
            let more: BTreeSet<usize> = all.iter().filter(|one| one.with_extra).map(|one| one.to).collect();
            if !more.is_subset(&extras) {
                extras.extend(more);
                continue;
            }
            let runs = chosen.iter().all(|(name, version)| self.releases[&(*name, *version)].1);
            let is_met =
                |one: &&Requirement| chosen.get(&one.to).is_some_and(|version| RANGES[one.range].1.contains(version));
            return runs && all.iter().all(is_met);
        }
    }

    /// Whether any set of versions does, by trying them all.
    fn has_solution(&self) -> bool {
        let mut sets = vec![BTreeMap::new()];
        for name in 0..NAMES.len() {
            let versions = (0..VERSIONS.len()).filter(|version| self.releases.contains_key(&(name, *version)));
            let with = |set: &BTreeMap<usize, usize>, version| {
                let mut set = set.clone();
                set.insert(name, version);
                set
            };
            let more: Vec<_> = versions
                .flat_map(|version| sets.iter().map(move |set| with(set, version)).collect::<Vec<_>>())
                .collect();
            sets.extend(more);
        }
        sets.iter().any(|set| self.holds(set))
    }

    fn solve(&self, files: &[Listed], asked: &[Requirement]) -> Result<Vec<PipPin>, PipError> {
        let index = Index::serve(Manner::Json, files);
        let source = Source {
            name: SourceName::parse("pypi").unwrap(),
            kind: SourceKind::Pip,
            url: index.url.clone(),
            mirrors: Vec::new(),
            authorization: None,
            packages: Vec::new(),
            suites: Vec::new(),
            components: Vec::new(),
            signed_by: None,
            found_in: "test".to_owned(),
        };
        let section = PipSection { packages: asked.iter().map(text).collect(), ..PipSection::default() };
        let request = PipRequest {
            platform: Platform::LINUX_AMD64,
            section: &section,
            python_version: "3.13.5",
            glibc: (2, 41),
            as_of: None,
            keep: None,
            wished: &[],
            built: &BTreeMap::new(),
        };
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let http = HttpClient::new(HttpOptions { tries: 1, ..HttpOptions::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(resolve(&request, &[&source], &http, &store, &Progress::hidden()))
    }
}

proptest! {
    #![proptest_config(Config { cases: 24, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_solution_is_found_where_there_is_one_in_any_order(universe in universe()) {
        let files = universe.files();
        let found = universe.solve(&files, &universe.asked);
        prop_assert_eq!(found.is_ok(), universe.has_solution(), "{:?}", found.as_ref().err());
        if let Ok(pins) = &found {
            let place = |list: &[&str], text: &str| list.iter().position(|known| *known == text).unwrap();
            let chosen = pins.iter().map(|pin| (place(&NAMES, pin.name.as_str()), place(&VERSIONS, pin.version.as_str())));
            prop_assert!(universe.holds(&chosen.collect()), "{pins:?}");
            let turned: Vec<Listed> = universe.files().into_iter().rev().collect();
            prop_assert_eq!(&universe.solve(&turned, &universe.asked).unwrap(), pins, "the order of an index plays no part");
        }
    }
}

#[test]
fn circles_of_requirements_end() {
    let asked = |to| Requirement { to, range: 0, marker: 0, with_extra: true, of_extra: false };
    let back = |to| (vec![Requirement { of_extra: true, ..asked(to) }], true);
    let releases = BTreeMap::from([((0, 2), back(1)), ((1, 2), back(2)), ((2, 2), back(0))]);
    let universe = Universe { releases, asked: vec![asked(0)] };
    let pins = universe.solve(&universe.files(), &universe.asked).unwrap();
    let shown: Vec<String> = pins.iter().map(|pin| format!("{} < {}", pin.name, pin.required_by.join(" "))).collect();
    assert_eq!(shown, ["aa < cc manifest", "bb < aa", "cc < bb"]);
}
