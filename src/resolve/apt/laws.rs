//! Laws of the solver on small universes drawn at random: what it says holds, by a checker that shares nothing with it; there is
//! an answer where a look through all sets finds one; the order of requests decides no verdict; and where real apt has an
//! answer, it is the same.
//!
//! The draws are the same on every run; `OCLOCK_LAWS=N` makes N of each.

#[cfg(test)]
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::control::Reduced;
use super::error::SolveError;
use super::solve::solve;
use super::universe::{IndexText, Universe, VersionId};
use crate::manifest::Recommends;

/// Packages of a universe: `a` to `h`.
const PACKAGES: usize = 8;
/// Names that are only provided.
const VIRTUAL: [&str; 2] = ["v", "w"];

#[derive(Clone, Debug)]
struct Wish {
    name: String,
    /// `=`, `>=` or `<<` and a version.
    bound: Option<(&'static str, u8)>,
}

#[derive(Clone, Debug)]
struct Package {
    name: String,
    version: u8,
    depends: Vec<Vec<Wish>>,
    conflicts: Vec<Wish>,
    breaks: Vec<Wish>,
    provides: Vec<(String, Option<u8>)>,
}

fn name(index: usize) -> String {
    char::from(b'a' + index as u8).to_string()
}

fn wish() -> impl Strategy<Value = Wish> {
    let real = (0..PACKAGES).prop_map(name);
    let provided = (0..VIRTUAL.len()).prop_map(|index| VIRTUAL[index].to_owned());
    let bound = prop_oneof![
        4 => Just(None),
        1 => (prop_oneof![Just("="), Just(">="), Just("<<")], 1..3u8).prop_map(Some),
    ];
    (prop_oneof![5 => real, 1 => provided], bound).prop_map(|(name, bound)| Wish { name, bound })
}

fn package() -> impl Strategy<Value = Package> {
    let provides = (0..VIRTUAL.len(), prop::option::of(1..3u8));
    let provides = provides.prop_map(|(index, version)| (VIRTUAL[index].to_owned(), version));
    let (conflicts, breaks) = (vec(wish(), 0..2), vec(wish(), 0..2));
    (1..3u8, vec(vec(wish(), 1..3), 0..3), conflicts, breaks, vec(provides, 0..2), 0..3u8).prop_map(
        |(version, depends, conflicts, breaks, provides, calm)| Package {
            name: String::new(),
            version,
            depends,
            conflicts: if calm == 0 { conflicts } else { Vec::new() },
            breaks: if calm == 1 { breaks } else { Vec::new() },
            provides,
        },
    )
}

/// A universe and what is asked of it.
fn universe() -> impl Strategy<Value = (Vec<Package>, Vec<String>)> {
    let packages = vec(package(), PACKAGES).prop_map(|mut packages| {
        packages.iter_mut().enumerate().for_each(|(index, package)| package.name = name(index));
        packages
    });
    (packages, prop::sample::subsequence((0..PACKAGES).map(name).collect::<Vec<_>>(), 1..4))
}

fn text(packages: &[Package]) -> String {
    let wish = |wish: &Wish| match wish.bound {
        Some((operator, version)) => format!("{} ({operator} {version})", wish.name),
        None => wish.name.clone(),
    };
    let list = |wishes: &[Wish]| wishes.iter().map(wish).collect::<Vec<_>>().join(", ");
    let mut text = String::new();
    for package in packages {
        let depends: Vec<String> =
            package.depends.iter().map(|group| group.iter().map(wish).collect::<Vec<_>>().join(" | ")).collect();
        let provides: Vec<String> = package
            .provides
            .iter()
            .map(|(name, version)| version.map_or(name.clone(), |version| format!("{name} (= {version})")))
            .collect();
        text += &format!("Package: {}\nVersion: {}\nArchitecture: all\n", package.name, package.version);
        let fields = [
            ("Depends", depends.join(", ")),
            ("Conflicts", list(&package.conflicts)),
            ("Breaks", list(&package.breaks)),
            ("Provides", provides.join(", ")),
        ];
        for (field, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            text += &format!("{field}: {value}\n");
        }
        let file = format!("pool/{}.deb", package.name);
        text += &format!("Filename: {file}\nSize: 1\nSHA256: {}\n\n", "0".repeat(64));
    }
    text
}

type Answer = Result<BTreeSet<String>, SolveError>;

fn ours(packages: &[Package], requests: &[String]) -> Answer {
    let index = Reduced::new(&text(packages), "amd64");
    let universe = Universe::new("amd64", &[IndexText { index: &index, archive: 0, priority: 500 }], None).unwrap();
    let ids: Vec<VersionId> =
        requests.iter().map(|name| universe.candidate(universe.id(name).unwrap()).unwrap()).collect();
    let chosen = solve(&universe, &ids, Recommends::Ignore)?;
    Ok(chosen.into_iter().map(|id| universe.version(id).name.to_owned()).collect())
}

/// Whether a package is, or provides, what is wished.
fn answers(package: &Package, wish: &Wish) -> bool {
    let inside = |version: u8| match wish.bound {
        None => true,
        Some(("=", wanted)) => version == wanted,
        Some((">=", wanted)) => version >= wanted,
        Some((_, wanted)) => version < wanted,
    };
    let provided =
        |(name, version): &(String, Option<u8>)| *name == wish.name && version.map_or(wish.bound.is_none(), inside);
    (package.name == wish.name && inside(package.version)) || package.provides.iter().any(provided)
}

/// What is wrong with a set of packages.
fn flaw(set: &[&Package], requests: &[String]) -> Option<String> {
    if let Some(missing) = requests.iter().find(|name| !set.iter().any(|package| package.name == **name)) {
        return Some(format!("{missing} is not there"));
    }
    for package in set {
        let unmet =
            package.depends.iter().find(|group| !group.iter().any(|wish| set.iter().any(|other| answers(other, wish))));
        let mut excluded = package.conflicts.iter().chain(&package.breaks);
        let excluded = excluded.find(|wish| set.iter().any(|other| other.name != package.name && answers(other, wish)));
        if unmet.is_some() || excluded.is_some() {
            return Some(format!("{}: {unmet:?} is unmet, {excluded:?} is there", package.name));
        }
    }
    None
}

fn pick<'p>(packages: &'p [Package], names: &BTreeSet<String>) -> Vec<&'p Package> {
    packages.iter().filter(|package| names.contains(&package.name)).collect()
}

/// Whether any set at all holds together.
fn has_answer(packages: &[Package], requests: &[String]) -> bool {
    (0..1u32 << packages.len()).any(|bits| {
        let set: Vec<&Package> = packages
            .iter()
            .enumerate()
            .filter(|(index, _)| bits >> index & 1 == 1)
            .map(|(_, package)| package)
            .collect();
        flaw(&set, requests).is_none()
    })
}

fn draws(usual: u32) -> TestRunner {
    let cases = std::env::var("OCLOCK_LAWS").ok().and_then(|number| number.parse().ok()).unwrap_or(usual);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn an_answer_holds_and_there_is_one_where_one_can_be() {
    let law = |(packages, requests): (Vec<Package>, Vec<String>)| {
        let answer = ours(&packages, &requests);
        match &answer {
            Ok(names) => prop_assert_eq!(flaw(&pick(&packages, names), &requests), None),
            Err(SolveError::NoSolution { steps, .. }) => prop_assert!(!steps.is_empty()),
            Err(other) => prop_assert!(false, "{other:?}"),
        }
        prop_assert_eq!(answer.is_ok(), has_answer(&packages, &requests), "{:?}", answer);
        let turned: Vec<String> = requests.iter().rev().cloned().collect();
        prop_assert_eq!(answer.is_ok(), ours(&packages, &turned).is_ok(), "another order of requests");
        Ok(())
    };
    draws(3000).run(&universe(), law).unwrap();
}

/// Real apt with nothing but a universe.
struct Apt {
    home: tempfile::TempDir,
}

impl Apt {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        for part in ["lists/partial", "cache/archives/partial", "etc/none"] {
            std::fs::create_dir_all(home.path().join(part)).unwrap();
        }
        let at = home.path().display();
        let configuration = format!(
            "Dir \"{at}\"; Dir::State \"{at}\"; Dir::State::status \"{at}/status\"; Dir::State::lists \"{at}/lists\";\n\
             Dir::Cache \"{at}/cache\"; Dir::Cache::pkgcache \"\"; Dir::Cache::srcpkgcache \"\"; Dir::Etc \"{at}/etc\";\n\
             Dir::Etc::parts \"none\"; Dir::Etc::main \"none.conf\"; Dir::Etc::sourcelist \"sources.list\";\n\
             Dir::Etc::sourceparts \"none\"; Dir::Etc::preferencesparts \"none\"; APT::Architecture \"amd64\";\n\
             APT::Architectures {{ \"amd64\"; }}; Debug::NoLocking \"true\"; Acquire::Languages \"none\";\n\
             APT::Sandbox::User \"\"; APT::Install-Recommends \"false\";\n"
        );
        std::fs::write(home.path().join("apt.conf"), configuration).unwrap();
        std::fs::write(home.path().join("status"), "").unwrap();
        std::fs::write(home.path().join("etc/sources.list"), "deb [trusted=yes] http://laws.invalid/d s main\n")
            .unwrap();
        let release = "Suite: s\nCodename: s\nArchitectures: amd64\nComponents: main\n";
        let apt = Self { home };
        std::fs::write(apt.list("Release"), release).unwrap();
        apt
    }

    fn list(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join("lists").join(format!("laws.invalid_d_dists_s_{name}"))
    }

    /// The names that apt would install; nothing when it gives up.
    fn ask(&self, packages: &[Package], requests: &[String]) -> Option<BTreeSet<String>> {
        std::fs::write(self.list("main_binary-amd64_Packages"), text(packages)).unwrap();
        let output = Command::new("apt-get")
            .env("APT_CONFIG", self.home.path().join("apt.conf"))
            .env("LC_ALL", "C")
            .args(["install", "-s", "-y", "-q"])
            .args(requests)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let installed = text.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
        output.status.success().then(|| installed.map(str::to_owned).collect())
    }
}

#[test]
fn what_is_chosen_is_what_apt_chooses() {
    assert!(Path::new("/usr/bin/apt-get").exists(), "apt-get is needed for this comparison");
    let apt = Apt::new();
    let tally = std::cell::RefCell::new(BTreeMap::<&str, usize>::new());
    let law = |(packages, requests): (Vec<Package>, Vec<String>)| {
        let (ours, theirs) = (ours(&packages, &requests), apt.ask(&packages, &requests));
        let kind = match (ours, theirs) {
            (Ok(ours), Some(theirs)) => {
                prop_assert_eq!(ours, theirs);
                "the same"
            }
            (Err(_), None) => "no answer",
            // Before 3.0 apt does not go on by clauses.
            (Ok(_), None) => "apt gives up",
            (Err(error), Some(theirs)) => {
                prop_assert!(false, "apt has {theirs:?}: {error:?}");
                ""
            }
        };
        *tally.borrow_mut().entry(kind).or_default() += 1;
        Ok(())
    };
    draws(60).run(&universe(), law).unwrap();
    println!("{:?}", tally.borrow());
    assert!(tally.borrow()["the same"] > 10, "{tally:?}");
}
