//! Damage in the store: bits flipped, files cut short, emptied, swapped, taken away or made longer, at random. What is staged
//! is what was locked or nothing; every damaged artifact is found; everything is repaired from the sources.
//!
//! `OCLOCK_DAMAGES` says how often (100 when not given; `make tamper` has 1,000), `OCLOCK_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on may stop")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oclock::base::environment::Environment;
use oclock::base::explain::{Explain, Kind};
use oclock::base::http::HttpOptions;
use oclock::base::progress::Progress;
use oclock::model::Artifact;
use oclock::ops::{self, Asking, Missing, Paths, Repair, Session, SessionOptions, Verdict, VerifyOptions};
use support::mutations::Dice;
use support::project::Project;
use support::registries::Registries;

fn session(project: &Project) -> Session {
    let variables = [("HOME", project.home().into_os_string()), ("PATH", project.tools().into_os_string())];
    let environment = Environment::from_variables(variables.map(|(name, value)| (name.into(), value)));
    let root = project.root();
    let paths = Paths::new(&root, "oclock.toml".as_ref(), "lockfile.toml".as_ref());
    let options = SessionOptions { paths, store: None, ledger: None, http: HttpOptions::default() };
    Session::open(options, environment, Progress::hidden()).unwrap()
}

/// All files below a directory with their bytes.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(current) = open.pop() {
        for entry in fs::read_dir(&current).into_iter().flatten().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => open.push(entry.path()),
                false => {
                    _ = found.insert(
                        entry.path().strip_prefix(directory).unwrap().to_owned(),
                        fs::read(entry.path()).unwrap(),
                    )
                }
            }
        }
    }
    found
}

/// Writes over a file without touching others that are hard links to the same bytes.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Damages one file, or swaps it with another of its kind; returns how, and which files are other than they were.
fn damage(store: &Path, names: &[PathBuf], dice: &mut Dice) -> (String, Vec<PathBuf>) {
    let name = &names[dice.below(names.len())];
    let path = store.join(name);
    let mut bytes = fs::read(&path).unwrap();
    let before = bytes.clone();
    let what = match dice.below(6) {
        0 if bytes.is_empty() => return damage(store, names, dice),
        0 => {
            let at = dice.below(bytes.len());
            bytes[at] ^= 1 << dice.below(8);
            "a bit"
        }
        1 => {
            bytes.truncate(dice.below(bytes.len()));
            "cut short"
        }
        2 => {
            bytes.clear();
            "emptied"
        }
        3 => {
            bytes.extend(b"more");
            "longer"
        }
        4 => {
            fs::remove_file(&path).unwrap();
            return (format!("{} taken away", name.display()), vec![name.clone()]);
        }
        _ => {
            let alike: Vec<&PathBuf> =
                names.iter().filter(|other| *other != name && kind(other) == kind(name)).collect();
            let Some(other) = alike.get(dice.below(alike.len())) else { return damage(store, names, dice) };
            let (own, others) = (bytes, fs::read(store.join(other)).unwrap());
            if own == others {
                return damage(store, names, dice);
            }
            overwrite(&path, &others);
            overwrite(&store.join(other), &own);
            return (
                format!("{} and {} swapped", name.display(), other.display()),
                vec![name.clone(), (*other).clone()],
            );
        }
    };
    if bytes == before {
        return damage(store, names, dice);
    }
    overwrite(&path, &bytes);
    (format!("{} {what}", name.display()), vec![name.clone()])
}

/// `blobs`, or the kind of memo.
fn kind(name: &Path) -> PathBuf {
    match name.starts_with("blobs") {
        true => "blobs".into(),
        false => name.parent().unwrap().to_owned(),
    }
}

struct Bench {
    project: Project,
    session: Session,
    /// What is staged when all is well.
    golden: BTreeMap<PathBuf, Vec<u8>>,
    /// The blobs of locked artifacts and signed indexes, by their names in the store.
    locked: BTreeSet<PathBuf>,
}

impl Bench {
    fn new(registries: &Registries) -> Self {
        let project = Project::locked(registries);
        let session = session(&project);
        ops::fetch(&session).unwrap();
        let lock = session.lock().unwrap();
        let indexes =
            lock.archives.iter().flat_map(|archive| std::iter::once(&archive.in_release).chain(&archive.indexes));
        let locked = lock.pins().map(|pin| pin.artifact).chain(indexes).map(|artifact| artifact.sha256);
        let root = session.store.root().to_owned();
        let locked =
            locked.map(|digest| session.store.blob_path(&digest).strip_prefix(&root).unwrap().to_owned()).collect();
        let mut bench = Self { project, session, golden: BTreeMap::new(), locked };
        bench.golden = bench.stage().unwrap();
        bench
    }

    fn store(&self) -> PathBuf {
        self.project.store()
    }

    /// Stages the context as an engine would be given it; what is missing is fetched first.
    fn stage(&self) -> Result<BTreeMap<PathBuf, Vec<u8>>, Kind> {
        let directory = self.project.root().join("staged");
        let staged = ops::context(&self.session, None, Some(&directory));
        let result = staged.map(|_| files(&directory)).map_err(|error| error.kind());
        fs::remove_dir_all(&directory).ok();
        result
    }

    fn forget_parts(&self) {
        for kind in ["system", "npm", "pip"] {
            fs::remove_dir_all(self.store().join("memo").join(kind)).ok();
        }
    }

    fn forget_wheels(&self) {
        fs::remove_dir_all(self.store().join("memo/pip-last")).ok();
    }

    fn verdict(&self) -> (Verdict, Vec<&'static str>) {
        let options =
            VerifyOptions { asking: Asking::Nobody, missing: Missing::Refused, previous: None, rebuild: None };
        let outcome = ops::verify(&self.session, &options).unwrap();
        (outcome.verdict, outcome.findings.iter().map(|finding| finding.rule.id).collect())
    }
}

#[test]
fn damage_is_found_when_staging_and_repaired_from_the_sources() {
    let number = |name: &str, usual: u64| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let (seed, rounds) = (number("OCLOCK_SEED", 20_261_129), number("OCLOCK_DAMAGES", 100));
    println!("seed {seed}, {rounds} times");
    let registries = Registries::serve();
    let bench = Bench::new(&registries);
    let mut dice = Dice::new(seed);
    let (mut refused, mut same, mut found) = (0, 0, 0);
    for round in 0..rounds {
        // Every other time no part is kept, and half of these times no wheel: all artifacts are read.
        if round % 2 == 0 {
            bench.forget_parts();
        }
        if round % 4 == 0 {
            bench.forget_wheels();
        }
        let names: Vec<PathBuf> = files(&bench.store()).into_keys().filter(|name| !name.starts_with("tmp")).collect();
        let (what, changed) = damage(&bench.store(), &names, &mut dice);
        let hits_locked = changed.iter().any(|name| bench.locked.contains(name));
        if hits_locked {
            let (verdict, rules) = bench.verdict();
            assert_ne!(verdict, Verdict::Proven, "{what}");
            assert!(!rules.is_empty(), "{what}");
            found += 1;
        }
        match bench.stage() {
            Ok(staged) => {
                assert!(staged == bench.golden, "{what}: other bytes were staged");
                same += 1;
            }
            Err(kind) => {
                assert!(matches!(kind, Kind::Distrust | Kind::Unable), "{what}: {kind:?}");
                refused += 1;
            }
        }
        ops::store_verify(&bench.session, Repair::Remove).unwrap();
        ops::fetch(&bench.session).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(bench.stage().as_ref() == Ok(&bench.golden), "{what}: not repaired");
        assert_eq!(bench.verdict().0, Verdict::Proven, "{what}");
    }
    println!("{refused} refused, {same} staged as locked, {found} damaged what is locked");
    assert!(refused > 0 && same > 0 && found > 0, "{refused} {same} {found}");
}

/// Parts are made side by side; which error is told does not depend on which of them is done first.
#[test]
fn of_several_damaged_parts_the_first_is_told() {
    let registries = Registries::serve();
    let bench = Bench::new(&registries);
    let lock = bench.session.lock().unwrap();
    let digests = |pins: Vec<&Artifact>| pins.iter().map(|artifact| artifact.sha256).collect::<Vec<_>>();
    let parts = [
        digests(lock.apt.iter().map(|pin| &pin.artifact).collect()),
        digests(lock.npm.iter().map(|pin| &pin.artifact).collect()),
        digests(lock.pip.iter().map(|pin| &pin.artifact).collect()),
    ];
    let path = |digest| bench.session.store.blob_path(digest);
    let whole: BTreeMap<PathBuf, Vec<u8>> =
        parts.iter().flatten().map(|digest| (path(digest), fs::read(path(digest)).unwrap())).collect();
    whole.keys().for_each(|path| overwrite(path, b"damaged"));
    for part in &parts {
        for _ in 0..5 {
            bench.forget_parts();
            bench.forget_wheels();
            let error = ops::context(&bench.session, None, None).unwrap_err();
            assert_eq!(error.kind(), Kind::Distrust);
            let evidence = error.evidence().join("\n");
            assert!(part.iter().any(|digest| evidence.contains(&digest.to_string())), "{error}\n{evidence}");
        }
        part.iter().for_each(|digest| overwrite(&path(digest), &whole[&path(digest)]));
    }
    assert_eq!(bench.stage(), Ok(bench.golden.clone()));
}

/// What is staged may be a hard link to the store: nobody may write through it.
#[test]
fn staging_leaves_the_store_as_it_was() {
    let registries = Registries::serve();
    let bench = Bench::new(&registries);
    let before = files(&bench.store());
    let links = |store: &Path| {
        let names = files(store).into_keys();
        names.map(|name| fs::metadata(store.join(name)).unwrap().nlink()).max().unwrap()
    };
    assert_eq!(bench.stage(), Ok(bench.golden.clone()));
    assert!(files(&bench.store()) == before);
    assert_eq!(links(&bench.store()), 1, "no link is left");
}
