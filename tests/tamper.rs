//! A lock that cannot be poisoned: lockfiles and manifests changed by someone with bad intent, in every ecosystem and in many
//! ways, and lockfiles changed at random. Each change is refused by `verify` offline, or, where it is a consistent swap on an
//! allowed source, at the registries or by the first-seen ledger; and no artifact byte reaches the context unverified.
//!
//! `make tamper` runs it with `OCLOCK_MUTATIONS=10000` and prints the table; `OCLOCK_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on may stop")]

mod support;

use std::collections::BTreeMap;
use std::fs;

use oclock::base::environment::Environment;
use oclock::base::explain::Explain;
use oclock::base::http::HttpOptions;
use oclock::base::progress::Progress;
use oclock::lock::parse_lockfile;
use oclock::ops::{self, Asking, Missing, OpsError, Paths, Session, SessionOptions, Verdict, VerifyOptions};
use support::based;
use support::mutations::{CLASSES, Dice, MANIFEST_CLASSES, mutate};
use support::project::Project;
use support::registries::Registries;
use support::sdists::Sdist;
use support::wheels::WheelBuilder;

/// Opens a project in this process, as the binary would.
fn session(project: &Project) -> Session {
    let variables = [("HOME", project.home().into_os_string()), ("PATH", project.tools().into_os_string())];
    let environment = Environment::from_variables(variables.map(|(name, value)| (name.into(), value)));
    let root = project.root();
    let paths = Paths::new(&root, "oclock.toml".as_ref(), "lockfile.toml".as_ref());
    let options = SessionOptions { paths, store: None, ledger: None, http: HttpOptions::default() };
    Session::open(options, environment, Progress::hidden()).unwrap()
}

/// How a lockfile was judged.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    /// It is none: the kind of the error.
    Form,
    /// It is one, and something is wrong: the first rule.
    Found(Verdict, &'static str),
    Proven,
}

fn judge(session: &Session, asking: Asking) -> Judged {
    match ops::verify(session, &VerifyOptions { asking, missing: Missing::Refused, previous: None, rebuild: None }) {
        Err(error @ (OpsError::Lock(_) | OpsError::Manifest(_))) => {
            assert_eq!(error.kind().exit_code(), 2, "{error}");
            Judged::Form
        }
        Err(error) => panic!("{error}"),
        Ok(outcome) if outcome.verdict == Verdict::Proven => Judged::Proven,
        Ok(outcome) => Judged::Found(outcome.verdict, outcome.findings[0].rule.id),
    }
}

/// What is staged for an engine, hashed; nothing when it is refused.
fn context(session: &Session) -> Option<String> {
    ops::context(session, None, None).ok().map(|outcome| outcome.digest.to_string())
}

struct Bench {
    project: Project,
    session: Session,
    lock: String,
    manifest: String,
    context: Option<String>,
}

impl Bench {
    fn new(project: Project) -> Self {
        let session = session(&project);
        let (lock, manifest) = (project.read("lockfile.toml"), project.read("oclock.toml"));
        assert_eq!(judge(&session, Asking::Nobody), Judged::Proven);
        let context = context(&session);
        Self { project, session, lock, manifest, context }
    }

    fn judge_lock(&self, lock: &str, asking: Asking) -> Judged {
        self.project.write("lockfile.toml", lock);
        let judged = judge(&self.session, asking);
        self.project.write("lockfile.toml", &self.lock);
        judged
    }

    /// No bytes but those of the true lock are ever staged without being what the lock says: either staging is refused, or
    /// what is staged are the same packages.
    fn stages_nothing_else(&self, lock: &str) -> bool {
        self.project.write("lockfile.toml", lock);
        let staged = context(&self.session);
        self.project.write("lockfile.toml", &self.lock);
        staged.is_none() || staged == self.context
    }
}

/// A locked and fetched project of all package ecosystems.
fn greeter(registries: &Registries) -> Bench {
    let project = Project::locked(registries);
    assert_eq!(project.run(&["--quiet", "fetch"]).code, 0);
    Bench::new(project)
}

#[test]
fn every_class_of_change_is_refused_in_every_ecosystem() {
    let registries = Registries::serve();
    let benches = [greeter(&registries), Bench::new(based::project(&registries))];
    let mut rows: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut missed = Vec::new();
    for class in CLASSES {
        for ecosystem in ["apt", "npm", "pip", "base"] {
            let bench = &benches[usize::from(ecosystem == "base")];
            let Some(changed) = (class.change)(&bench.lock, ecosystem) else {
                rows.entry(class.name).or_default().push("-".into());
                continue;
            };
            assert_ne!(changed, bench.lock, "{} {ecosystem} changes nothing", class.name);
            let judged = bench.judge_lock(&changed, Asking::Nobody);
            let said = match &judged {
                Judged::Form => "form".to_owned(),
                Judged::Found(_, rule) => (*rule).to_owned(),
                Judged::Proven => "MISSED".to_owned(),
            };
            if judged == Judged::Proven {
                missed.push(format!("{} {ecosystem}", class.name));
            }
            if !class.moves_packages && ecosystem != "base" && !bench.stages_nothing_else(&changed) {
                missed.push(format!("{} {ecosystem} reaches the context", class.name));
            }
            rows.entry(class.name).or_default().push(said);
        }
    }
    println!("{:28} {:22} {:22} {:22} {:22}", "change", "apt", "npm", "pip", "base");
    for class in CLASSES {
        let row = &rows[class.name];
        println!("{:28} {:22} {:22} {:22} {:22}", class.name, row[0], row[1], row[2], row[3]);
    }
    assert!(missed.is_empty(), "{missed:#?}");
    assert!(CLASSES.len() >= 24, "{} classes", CLASSES.len());
    for (index, ecosystem) in ["apt", "npm", "pip", "base"].iter().enumerate() {
        let applicable = rows.values().filter(|row| row[index] != "-").count();
        assert!(applicable >= 24, "{applicable} classes for {ecosystem}");
    }
}

#[test]
fn every_class_of_change_of_the_manifest_is_refused() {
    let registries = Registries::serve();
    let bench = greeter(&registries);
    for class in MANIFEST_CLASSES {
        let changed = (class.change)(&bench.manifest, "").unwrap();
        assert_ne!(changed, bench.manifest, "{} changes nothing", class.name);
        bench.project.write("oclock.toml", &changed);
        let judged = judge(&bench.session, Asking::Nobody);
        bench.project.write("oclock.toml", &bench.manifest);
        println!("{:28} {judged:?}", class.name);
        assert_ne!(judged, Judged::Proven, "{}", class.name);
    }
    assert!(MANIFEST_CLASSES.len() >= 10);
}

/// Someone publishes other bytes for a version on an allowed source, and locks them with all that belongs to them.
#[test]
fn a_consistent_swap_is_refused_by_the_registries_and_by_the_ledger() {
    for ecosystem in ["apt", "npm", "pip", "base"] {
        let mut honest = Registries::serve();
        let mut swapped = Registries::serve();
        let victim = match ecosystem {
            "base" => based::project(&honest),
            _ => Project::locked(&honest),
        };
        assert_eq!(victim.run(&["--quiet", "fetch"]).code, 0);
        let evil = serde_json::json!({ "dependencies": { "pad-left": "^1.0.0" }, "evil": true });
        match ecosystem {
            "apt" => swapped.deb("hello", "2.10-3", "Depends: libhello (>= 1.2)\nPriority: optional\n"),
            "npm" => swapped.npm("shout", "2.0.0", evil),
            "pip" => {
                swapped.edit_page("sums", Vec::clear);
                swapped.wheel(&WheelBuilder::new("sums", "3.1").requires("numbers>=1").line("Keywords: evil"));
            }
            _ => {}
        }
        let evil = match ecosystem {
            "base" => based::project_with(&swapped, "evil"),
            _ => Project::locked(&swapped),
        };
        assert_eq!(evil.run(&["--quiet", "fetch"]).code, 0);
        assert_eq!(judge(&session(&evil), Asking::Nobody), Judged::Proven, "the swap is consistent");
        // The victim gets the lock, and even the bytes; the registries of the victim are honest.
        victim.write("lockfile.toml", evil.read("lockfile.toml"));
        copy_blobs(&evil, &victim);
        let session = session(&victim);
        if ecosystem != "base" {
            let judged = judge(&session, Asking::Nobody);
            assert_eq!(judged, Judged::Found(Verdict::Distrust, "ledger-republished"), "{ecosystem}");
            victim.forget_ledger();
            assert_eq!(judge(&session, Asking::Nobody), Judged::Proven, "{ecosystem}: nobody can know");
        }
        let judged = judge(&session, Asking::Registries);
        assert!(matches!(judged, Judged::Found(..)), "{ecosystem}: {judged:?}");
        if ecosystem != "base" {
            assert_eq!(judged, Judged::Found(Verdict::Distrust, "registry-other"), "{ecosystem}");
        }
        honest.npm("unrelated", "1.0.0", serde_json::json!({}));
    }
}

fn copy_blobs(from: &Project, to: &Project) {
    let (from, to) = (from.store().join("blobs/sha256"), to.store().join("blobs/sha256"));
    for part in fs::read_dir(from).unwrap().flatten() {
        fs::create_dir_all(to.join(part.file_name())).unwrap();
        for blob in fs::read_dir(part.path()).unwrap().flatten() {
            fs::copy(blob.path(), to.join(part.file_name()).join(blob.file_name())).unwrap();
        }
    }
}

#[test]
fn lockfiles_changed_at_random_are_refused() {
    let registries = Registries::serve();
    refuses_random_changes(&greeter(&registries));
}

/// One of its packages has no wheel: it is built of a source distribution, with a wheel that needs another one.
#[test]
fn lockfiles_of_what_is_built_changed_at_random_are_refused() {
    let mut registries = Registries::serve();
    registries.shell();
    registries.python();
    Sdist { system: vec!["sums"], extra: "import sums", ..Sdist::new("tale", "1.0") }.publish(&mut registries);
    let project = Project::greeter(&registries);
    project.edit("oclock.toml", "\"nodejs\", \"python3\"]", "\"nodejs\", \"python3\", \"shell\"]");
    project.edit("oclock.toml", "packages = [\"sums>=3\"]", "packages = [\"tale\"]\nbuild = [\"tale\"]");
    for arguments in [&["update"][..], &["--quiet", "fetch"]] {
        let answer = project.run(arguments);
        assert_eq!(answer.code, 0, "{answer:?}");
    }
    refuses_random_changes(&Bench::new(project));
}

fn refuses_random_changes(bench: &Bench) {
    let number = |name: &str, usual: u64| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let (seed, rounds) = (number("OCLOCK_SEED", 20_261_129), number("OCLOCK_MUTATIONS", 300));
    println!("seed {seed}, {rounds} mutations");
    let mut dice = Dice::new(seed);
    let (mut form, mut found, mut missed) = (0, BTreeMap::<&str, usize>::new(), Vec::new());
    let (mut done, mut idle, mut online) = (0, 0, 0);
    while done < rounds {
        let Some((what, changed)) = mutate(&bench.lock, &mut dice).filter(|(_, changed)| *changed != bench.lock) else {
            continue;
        };
        done += 1;
        match bench.judge_lock(&changed, Asking::Nobody) {
            Judged::Form => form += 1,
            Judged::Found(_, rule) => {
                *found.entry(rule).or_default() += 1;
                // Another set of pins is staged as any is; bytes that are not what a pin says never are.
                if ["artifact-damaged", "artifact-identity", "artifact-content"].contains(&rule) {
                    assert!(bench.stages_nothing_else(&changed), "{what} reaches the context");
                }
            }
            // An archive that no pin is from vouches for nothing; `diff` shows what becomes of it.
            Judged::Proven if only_idle_archives_differ(&bench.lock, &changed) => idle += 1,
            // The same bytes under a name that is theirs but for the case of its letters: no registry has it so.
            Judged::Proven if bench.judge_lock(&changed, Asking::Registries) != Judged::Proven => online += 1,
            Judged::Proven => missed.push(what),
        }
    }
    println!(
        "{form} are no lockfile, {found:?}, {online} by the registries\nand {idle} change an archive that vouches for no pin"
    );
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Whether two locks are one but for archives that no pin is from.
fn only_idle_archives_differ(lock: &str, changed: &str) -> bool {
    let [lock, changed] = [lock, changed].map(|text| {
        let mut lock = parse_lockfile(text, "lockfile.toml").unwrap();
        let used: Vec<_> = lock.apt.iter().map(|pin| (pin.artifact.source.clone(), pin.suite.clone())).collect();
        lock.archives.retain(|archive| used.contains(&(archive.source.clone(), archive.suite.clone())));
        lock
    });
    lock == changed
}

#[test]
fn this_repositorys_lockfile_changed_at_random_is_refused_or_another_one() {
    let number = |name: &str, usual: u64| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let (seed, rounds) = (number("OCLOCK_SEED", 20_261_129), number("OCLOCK_MUTATIONS", 300) / 25);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("lockfile.toml");
    let text = fs::read_to_string(path).unwrap();
    let lock = parse_lockfile(&text, "lockfile.toml").unwrap();
    let mut dice = Dice::new(seed);
    for _ in 0..rounds {
        let Some((what, changed)) = mutate(&text, &mut dice).filter(|(_, changed)| *changed != text) else { continue };
        if let Ok(other) = parse_lockfile(&changed, "lockfile.toml") {
            assert_ne!(other, lock, "{what} means the same");
        }
    }
}
