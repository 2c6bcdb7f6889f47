//! `oclock diff`: each class of risk, their order, git revisions, formats, and git's textconv with the real git.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

use oclock::lock::{
    AptPin, BasePin, BuiltWheel, ImagePin, Lockfile, PipBuildPin, PipPin, fingerprints, parse_lockfile, render_lockfile,
};
use oclock::manifest::parse_manifest;
use oclock::model::{Architecture, ArtifactPath, PackageName, PackageVersion, Platform, Sha256, SourceName};
use serde_json::Value;
use support::git::Repository;
use support::project::{Answer, MANIFEST, Project};
use support::registries::Registries;
use support::wheels::WheelBuilder;

const AMD64: Platform = Platform::LINUX_AMD64;
const LEVELS: [&str; 3] = ["error", "warning", "note"];

/// A locked project whose lockfile was changed since it was kept as `before.toml`.
struct Change {
    project: Project,
    old: Lockfile,
}

impl Change {
    fn new() -> Self {
        Self::from(Project::locked(&Registries::serve()))
    }

    fn from(project: Project) -> Self {
        let text = project.read("lockfile.toml");
        project.write("before.toml", &text);
        Self { old: parse_lockfile(&text, "before.toml").unwrap(), project }
    }

    /// Changes the older side, from which the newer one is made.
    fn before(&mut self, change: impl FnOnce(&mut Lockfile)) {
        change(&mut self.old);
        self.project.write("before.toml", render_lockfile(&self.old));
    }

    fn after(&self, change: impl FnOnce(&mut Lockfile)) {
        let mut lock = self.old.clone();
        change(&mut lock);
        self.project.write("lockfile.toml", render_lockfile(&lock));
    }

    fn json(&self) -> Value {
        let answer = self.project.run(&["--format", "json", "diff", "before.toml"]);
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{answer:?}");
        serde_json::from_str(&answer.stdout).unwrap()
    }

    /// What is found after a change: rule, level, subject, and the line that each points at.
    fn found(&self, change: impl FnOnce(&mut Lockfile)) -> Vec<(String, String, String, String)> {
        self.after(change);
        let text = self.project.read("lockfile.toml");
        let line = |finding: &Value| match finding["place"]["line"].as_u64() {
            Some(line) => text.lines().nth(usize::try_from(line).unwrap() - 1).unwrap().to_owned(),
            None => String::new(),
        };
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        let findings = self.json()["findings"].as_array().unwrap().clone();
        findings.iter().map(|f| (word(&f["rule"]), word(&f["level"]), word(&f["subject"]), line(f))).collect()
    }

    /// Asserts that a change gives one finding, which points at a line that starts so.
    fn gives(&self, rule: &str, level: &str, subject: &str, line: &str, change: impl FnOnce(&mut Lockfile)) {
        let found = self.found(change);
        assert_eq!(found.len(), 1, "{rule}: {found:#?}");
        let (found_rule, found_level, found_subject, found_line) = &found[0];
        assert_eq!((found_rule.as_str(), found_level.as_str(), found_subject.as_str()), (rule, level, subject));
        assert!(found_line.starts_with(line) && line.is_empty() == found_line.is_empty(), "{rule}: {found_line}");
    }
}

fn version(text: &str) -> PackageVersion {
    PackageVersion::parse(text).unwrap()
}

fn pip<'a>(lock: &'a mut Lockfile, name: &str) -> &'a mut PipPin {
    lock.pip.iter_mut().find(|pin| pin.name.as_str() == name).unwrap()
}

fn wheel(name: &str, at: &str, required_by: &str) -> PipPin {
    let path = format!("{name}/{}-{at}-py3-none-any.whl", name.replace('-', "_"));
    let mut pin = PipPin {
        name: PackageName::parse(name).unwrap(),
        version: version(at),
        platform: AMD64,
        tags: "py3-none-any".into(),
        published: None,
        artifact: oclock::model::Artifact {
            source: SourceName::parse("pypi").unwrap(),
            path: ArtifactPath::parse(&path).unwrap(),
            size: 1000,
            sha256: Sha256::of(&path),
            sha512: None,
        },
        built: None,
        required_by: vec![required_by.to_owned()],
    };
    pin.required_by.sort();
    pin
}

/// Moves a Debian package to another version.
fn deb_to_version(pin: &mut AptPin, at: &str) {
    pin.version = version(at);
    pin.artifact.path = ArtifactPath::parse(&format!("pool/{}_{at}_amd64.deb", pin.name)).unwrap();
}

/// Moves a wheel to another version.
fn to_version(pin: &mut PipPin, at: &str) {
    let moved = wheel(pin.name.as_str(), at, "manifest");
    pin.version = moved.version;
    pin.artifact = moved.artifact;
}

fn image(id: &str, context: &str) -> BTreeMap<Platform, ImagePin> {
    let pin = ImagePin { id: Sha256::of(id), digest: Sha256::of(id), context: Sha256::of(context) };
    BTreeMap::from([(AMD64, pin)])
}

#[test]
fn the_same_version_from_elsewhere_or_with_other_bytes_is_an_error() {
    let change = Change::new();
    change.gives("lock-rehashed", "error", "pip:numbers", "sha256 = ", |lock| {
        pip(lock, "numbers").artifact.sha256 = Sha256::of("other");
    });
    change.gives("lock-rehashed", "error", "npm:shout", "sha256 = ", |lock| {
        lock.npm[1].artifact.sha512 = Some(oclock::model::Sha512::of("other"));
    });
    let found = change.found(|lock| pip(lock, "numbers").artifact.source = SourceName::parse("other").unwrap());
    let found: Vec<_> = found.iter().map(|(rule, level, subject, _)| (&rule[..], &level[..], &subject[..])).collect();
    assert_eq!(found, [("lock-source", "error", "pip:numbers"), ("lock-source", "error", "source:other")]);
    change.gives("lock-other-file", "warning", "pip:numbers", "path = ", |lock| {
        let pin = pip(lock, "numbers");
        pin.tags = "cp313-cp313-manylinux_2_28_x86_64".into();
        let path = "numbers/numbers-1.5-cp313-cp313-manylinux_2_28_x86_64.whl";
        pin.artifact.path = ArtifactPath::parse(path).unwrap();
        pin.artifact.sha256 = Sha256::of("other");
    });
    change.gives("lock-relabelled", "warning", "apt:hello", "name = \"hello\"", |lock| {
        lock.apt[2].source_package = PackageName::parse("goodbye").unwrap();
    });
}

#[test]
fn another_wheel_of_the_same_inputs_is_an_error() {
    let mut change = Change::new();
    change.before(|lock| {
        let pin = pip(lock, "numbers");
        let size = pin.artifact.size;
        pin.artifact.path = ArtifactPath::parse("numbers/numbers-1.5.tar.gz").unwrap();
        pin.built = Some(BuiltWheel { file: "numbers-1.5-py3-none-any.whl".into(), size, sha256: Sha256::of("built") });
        let builds = PackageName::parse("numbers").unwrap();
        lock.pip_builds = vec![PipBuildPin { builds, wheel: wheel("backend", "1.0", "build-system") }];
    });
    let other = |lock: &mut Lockfile| pip(lock, "numbers").built.as_mut().unwrap().sha256 = Sha256::of("other");
    change.gives("lock-rebuilt-wheel", "error", "pip:numbers", "wheel = { file", other);
    let found = change.found(|lock| {
        other(lock);
        lock.pip_builds[0].wheel = wheel("backend", "1.1", "build-system");
    });
    let found: Vec<_> = found.iter().map(|(rule, level, subject, _)| (&rule[..], &level[..], &subject[..])).collect();
    assert_eq!(found, [("lock-rebuilt-wheel", "warning", "pip:numbers")]);
    change.gives("lock-rehashed", "error", "pip:backend", "sha256 = ", |lock| {
        lock.pip_builds[0].wheel.artifact.sha256 = Sha256::of("other");
    });
}

#[test]
fn lost_evidence_is_an_error() {
    let mut change = Change::new();
    change.gives("lock-rollback", "error", "archive:debian/trixie", "date = 2024-02-", |lock| {
        lock.archives[0].date -= 86_400;
    });
    change.before(|lock| lock.archives[0].keys.push("F".repeat(40)));
    change.gives("lock-evidence-lost", "error", "archive:debian/trixie", "keys = ", |lock| {
        lock.archives[0].keys.pop();
    });
    let more = change.found(|lock| lock.archives[0].keys.push("F".repeat(64)));
    assert_eq!(more, [], "another key beside the old ones is no loss");
}

#[test]
fn install_scripts_are_graver_when_they_may_run() {
    let change = Change::new();
    let script = |lock: &mut Lockfile| {
        lock.npm[1].scripts.insert("postinstall".into(), Sha256::of("x"));
    };
    change.gives("lock-scripts", "warning", "npm:shout", "scripts = { postinstall", script);
    change.project.edit("oclock.toml", "[npm.packages]", "[npm]\nscripts = [\"shout\"]\n\n[npm.packages]");
    change.gives("lock-scripts", "error", "npm:shout", "scripts = { postinstall", script);
    let mut change = change;
    change.before(script);
    change.gives("lock-scripts", "error", "npm:shout", "scripts = { postinstall", |lock| {
        lock.npm[1].scripts.insert("postinstall".into(), Sha256::of("y"));
    });
    assert_eq!(change.found(|lock| lock.npm[1].scripts.clear()), [], "a script that is gone runs no more");
}

#[test]
fn names_and_versions_that_nobody_expects_are_warned_of() {
    let change = Change::new();
    change.gives("lock-new-name", "warning", "pip:zeta", "name = \"zeta\"", |lock| {
        lock.pip.push(wheel("zeta", "1.0", "numbers"));
    });
    let message = change.json()["findings"][0]["message"].as_str().unwrap().to_owned();
    assert_eq!(message, "`pip:zeta 1.0` was not locked before; asked for by sums > numbers");
    change.gives("lock-downgrade", "warning", "pip:numbers", "version = \"1.4\"", |lock| {
        to_version(pip(lock, "numbers"), "1.4");
    });
    change.gives("lock-unasked", "warning", "pip:numbers", "version = \"1.6\"", |lock| {
        lock.fingerprints.apt = Sha256::of("another question");
        to_version(pip(lock, "numbers"), "1.6");
    });
    let refreshed = change.found(|lock| to_version(pip(lock, "numbers"), "1.6"));
    assert_eq!(refreshed, [], "the manifest asks the same, so newer releases are the reason");
    let other_python = change.found(|lock| {
        lock.fingerprints.apt = Sha256::of("another question");
        deb_to_version(&mut lock.apt[5], "3.14.0-1");
        to_version(pip(lock, "numbers"), "1.6");
    });
    assert_eq!(other_python, [], "another Python is a reason for other wheels");
}

#[test]
fn a_release_younger_than_the_policy_asks_for_is_an_error() {
    let mut change = Change::new();
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let young = |lock: &mut Lockfile| {
        let pin = pip(lock, "numbers");
        to_version(pin, "1.6");
        pin.published = Some(now - 2 * 86_400);
    };
    assert_eq!(change.found(young), [], "no policy, no limit");
    assert_eq!(change.json()["pins"][0]["age_days"], 2);
    change.project.write("oclock.toml", format!("{MANIFEST}\n[policy]\nmin-age-days = 3\n"));
    change.gives("policy-age", "error", "pip:numbers", "published = ", young);
    let message = change.json()["findings"][0]["message"].as_str().unwrap().to_owned();
    assert_eq!(message, "`pip:numbers 1.6` is 2 days old, and the policy asks for 3");
    let old = change.found(|lock| {
        young(lock);
        pip(lock, "numbers").published = Some(now - 4 * 86_400);
    });
    assert_eq!(old, []);
    change.before(young);
    assert_eq!(change.found(|_| ()), [], "what was locked before is for `audit` to judge");
    change.gives("lock-evidence-lost", "error", "pip:numbers", "sha256 = ", |lock| {
        pip(lock, "numbers").published = None;
    });
}

#[test]
fn base_time_seal_and_platforms_are_named() {
    let change = Change::new();
    change.gives("lock-base", "warning", "base", "[base]", |lock| {
        lock.base = BasePin::Debian { suite: "forky".into() };
    });
    change.gives("lock-seal", "warning", "seal", "[seal]", |lock| lock.seal.rules = Sha256::of("other"));
    change.gives("lock-epoch", "note", "epoch", "epoch = 2024-03-02", |lock| lock.epoch += 86_400);
    change.gives("lock-epoch", "warning", "epoch", "epoch = 2024-02-29", |lock| lock.epoch -= 86_400);
    change.gives("lock-platforms", "note", "platforms", "platforms = [", |lock| {
        lock.platforms.push(Platform { architecture: Architecture::Arm64 });
    });
}

#[test]
fn recorded_images_are_told_apart() {
    let mut change = Change::new();
    assert_eq!(change.found(|lock| lock.images = image("one", "context")), [], "a first record is no risk");
    change.before(|lock| lock.images = image("one", "context"));
    change.gives("lock-image", "error", "image", "[image.", |lock| lock.images = image("two", "context"));
    change.gives("lock-image-moved", "note", "image", "[image.", |lock| lock.images = image("two", "other"));
    change.gives("lock-image-unrecorded", "warning", "image", "", |lock| lock.images.clear());
}

/// Much at once, as nobody should send it.
fn everything(lock: &mut Lockfile) {
    lock.epoch += 86_400;
    lock.seal.encoder = "other".into();
    lock.images.clear();
    lock.archives[0].date -= 86_400;
    lock.archives[1].keys = vec!["F".repeat(40)];
    lock.npm[0].scripts.insert("install".into(), Sha256::of("x"));
    lock.apt[0].artifact.sha256 = Sha256::of("other");
    pip(lock, "numbers").artifact.source = SourceName::parse("other").unwrap();
    to_version(pip(lock, "sums"), "3.0");
    lock.pip.push(wheel("zeta", "1.0", "sums"));
    deb_to_version(&mut lock.apt[2], "2.10-4");
}

#[test]
fn the_order_is_risk_and_not_the_name() {
    let mut change = Change::new();
    change.before(|lock| lock.images = image("one", "context"));
    let found = change.found(everything);
    let rules: Vec<&str> = found.iter().map(|(rule, ..)| rule.as_str()).collect();
    let expected = [
        "lock-rehashed",
        "lock-source",
        "lock-source",
        "lock-evidence-lost",
        "lock-rollback",
        "lock-scripts",
        "lock-new-name",
        "lock-downgrade",
        "lock-seal",
        "lock-image-unrecorded",
        "lock-epoch",
    ];
    assert_eq!(rules, expected);
    let ranks: Vec<_> = found.iter().map(|(_, level, ..)| LEVELS.iter().position(|l| l == level)).collect();
    assert!(ranks.is_sorted(), "{ranks:?}");
    let names: Vec<String> = change.json()["pins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pin| format!("{}:{}", pin["ecosystem"].as_str().unwrap(), pin["name"].as_str().unwrap()))
        .collect();
    let by_risk = ["apt:apt", "pip:numbers", "npm:pad-left", "pip:zeta", "pip:sums", "apt:hello"];
    assert_eq!(names, by_risk, "what nothing was found about comes last");
}

#[test]
fn waivers_excuse_and_levels_decide_the_exit_code() {
    let change = Change::new();
    let (project, code) = (&change.project, |arguments: &[&str]| change.project.run(arguments).code);
    assert_eq!(code(&["diff", "--exit-code", "--fail-on", "note", "before.toml"]), 0);
    change.after(|lock| pip(lock, "numbers").artifact.sha256 = Sha256::of("other"));
    assert_eq!(code(&["diff", "before.toml"]), 0);
    assert_eq!(code(&["diff", "--exit-code", "before.toml"]), 1);
    assert_eq!(code(&["diff", "--fail-on", "error", "before.toml"]), 1);
    let waiver = |expires: &str| {
        let waiver = "rule = \"lock-rehashed\"\nsubject = \"pip:numbers\"\nreason = \"the index was rebuilt\"";
        project.write("oclock.toml", format!("{MANIFEST}\n[[policy.waivers]]\n{waiver}\nexpires = {expires}\n"));
    };
    waiver("2999-01-01");
    assert_eq!(code(&["diff", "--fail-on", "note", "before.toml"]), 0);
    let text = project.run(&["diff", "before.toml"]).stdout;
    assert!(text.contains("waived: lockfile.toml:") && text.contains("waived: the index was rebuilt"), "{text}");
    waiver("2020-01-01");
    let found = change.json()["findings"].clone();
    assert_eq!((&found[0]["rule"], &found[1]["rule"]), (&"lock-rehashed".into(), &"waiver-expired".into()));
    change.after(|_| ());
    waiver("2999-01-01");
    assert_eq!(change.json()["findings"], Value::Array(Vec::new()), "what it excused may have been merged");
    change.after(|lock| lock.epoch += 60);
    assert_eq!(code(&["diff", "--fail-on", "warning", "before.toml"]), 0);
    assert_eq!(code(&["diff", "--fail-on", "note", "before.toml"]), 1);
    let found = change.json()["findings"].clone();
    let idle = found.as_array().unwrap().iter().find(|finding| finding["rule"] == "waiver-unused").unwrap();
    assert_eq!((&idle["level"], &idle["subject"]), (&"note".into(), &"pip:numbers".into()), "{found}");
    // Waivers of other commands' rules are not its matter.
    let other = "rule = \"policy-age\"\nsubject = \"pip:numbers\"\nreason = \"known\"\nexpires = 2999-01-01";
    project.write("oclock.toml", format!("{MANIFEST}\n[[policy.waivers]]\n{other}\n"));
    assert!(!change.json()["findings"].to_string().contains("waiver"), "{}", change.json());
}

/// A locked project under git, with oclock and git on its PATH.
fn repository(registries: &Registries) -> Project {
    let project = Project::locked(registries);
    symlink(env!("CARGO_BIN_EXE_oclock"), project.tools().join("oclock")).unwrap();
    Repository::start(&project);
    project
}

fn git(project: &Project, arguments: &[&str]) -> Answer {
    Repository::at(project).git(arguments)
}

#[test]
fn revisions_are_compared_with_the_working_copy() {
    let mut registries = Registries::serve();
    let project = repository(&registries);
    let answer = project.run(&["diff", "--exit-code"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "lockfile.toml is as HEAD:lockfile.toml\n"), "{answer:?}");
    registries.wheel(&WheelBuilder::new("numbers", "1.6"));
    assert_eq!(project.run(&["--quiet", "update"]).code, 0);
    let expected = "HEAD:lockfile.toml -> lockfile.toml\n\n  up  pip:numbers  1.5 -> 1.6  minor  +2 B  for sums>=3\n\n\
                    1 up; 9 pins as before; 40.1 kB -> 40.2 kB (+2 B)\nthe manifest asks the same as before\n";
    assert_eq!(project.run(&["diff"]).stdout, expected);
    git(&project, &["commit", "--quiet", "--all", "--message", "numbers"]);
    let answer = project.run(&["diff", "HEAD~1", "HEAD"]);
    assert_eq!(
        answer.stdout,
        expected.replace("-> lockfile.toml", "-> HEAD:lockfile.toml").replace("HEAD:l", "HEAD~1:l").replacen(
            "-> HEAD~1",
            "-> HEAD",
            1
        )
    );
    let back = project.run(&["diff", "main", "HEAD~1:lockfile.toml"]).stdout;
    assert!(back.contains("warning: lockfile.toml:") && back.contains("[lock-downgrade]"), "{back}");
}

#[test]
fn a_project_may_be_below_the_top_of_its_repository() {
    let project = repository(&Registries::serve());
    for name in ["oclock.toml", "lockfile.toml"] {
        project.write(&format!("sub/{name}"), project.read(name));
    }
    git(&project, &["add", "--all"]);
    git(&project, &["commit", "--quiet", "--message", "sub"]);
    let answer = project.run(&["-C", "sub", "diff"]);
    assert_eq!(answer.stdout, "lockfile.toml is as HEAD:lockfile.toml\n", "{answer:?}");
    let answer = project.run(&["diff", "HEAD:sub/lockfile.toml", "sub/lockfile.toml"]);
    assert_eq!(answer.stdout, "sub/lockfile.toml is as HEAD:sub/lockfile.toml\n", "{answer:?}");
    let answer = project.run(&["-C", "sub", "diff", "HEAD~1"]);
    assert_eq!(answer.code, 2);
    assert!(answer.stderr.starts_with("error: `HEAD~1` has no `lockfile.toml`\n"), "{answer:?}");
}

#[test]
fn what_is_no_revision_is_told() {
    let registries = Registries::serve();
    let project = repository(&registries);
    let answer = project.run(&["diff", "nowhere"]);
    assert_eq!(answer.code, 2);
    assert!(answer.stderr.starts_with("error: `nowhere` is neither a file nor a git revision\n"), "{answer:?}");
    assert!(answer.stderr.contains("hint: `git branch --all`"), "{answer:?}");
    let answer = project.run(&["diff", "--", "--output=x"]);
    assert_eq!(answer.code, 2, "{answer:?}");
    assert!(!project.root().join("x").exists());
    project.write("wrong.toml", "version = 2\n");
    git(&project, &["add", "wrong.toml"]);
    git(&project, &["commit", "--quiet", "--message", "wrong"]);
    let answer = project.run(&["diff", "HEAD:wrong.toml"]);
    assert!(answer.stderr.starts_with("error: the lockfile of `HEAD:wrong.toml` cannot be read\n"), "{answer:?}");
    assert_eq!(answer.code, 2);
    std::fs::remove_file(project.tools().join("git")).unwrap();
    let answer = project.run(&["diff"]);
    assert_eq!(answer.code, 3);
    let expected = "error: `HEAD` is no file, and git cannot be asked whether it is a revision\n\
                    because: could not start `git`\nbecause: No such file or directory (os error 2)\n \
                    hint: install git, or name two files\n";
    assert_eq!(answer.stderr, expected);
}

#[test]
fn a_pin_that_no_changed_requirement_leads_to_is_unasked() {
    let project = repository(&Registries::serve());
    project.edit("oclock.toml", "\"sums>=3\"", "\"sums>=3\", \"zeta\"");
    let mut lock = parse_lockfile(&project.read("lockfile.toml"), "").unwrap();
    lock.fingerprints = fingerprints(&parse_manifest(&project.read("oclock.toml"), "").unwrap());
    lock.pip.push(wheel("zeta", "1.0", "manifest"));
    lock.pip.push(wheel("zeta-core", "1.0", "zeta"));
    to_version(pip(&mut lock, "numbers"), "1.6");
    project.write("lockfile.toml", render_lockfile(&lock));
    let answer = project.run(&["--format", "json", "diff"]);
    let outcome: Value = serde_json::from_str(&answer.stdout).unwrap();
    let found: Vec<(&str, &str)> = outcome["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["rule"].as_str().unwrap(), f["subject"].as_str().unwrap()))
        .collect();
    let expected = [("lock-new-name", "pip:zeta"), ("lock-new-name", "pip:zeta-core"), ("lock-unasked", "pip:numbers")];
    assert_eq!(found, expected);
    assert_eq!(outcome["questions"], serde_json::json!(["pip"]));
}

#[test]
fn json_keeps_its_shape() {
    let change = Change::new();
    change.after(|lock| to_version(pip(lock, "numbers"), "1.4"));
    let outcome = change.json();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(keys(&outcome), "old new differs findings questions pins totals");
    assert_eq!(keys(&outcome["findings"][0]), "rule level subject message place evidence excuse");
    let pin = "ecosystem name platforms fate from to bump asked_by asked requirement age_days growth rules";
    assert_eq!(keys(&outcome["pins"][0]), pin);
    assert_eq!(keys(&outcome["totals"]), "up down came went changed same bytes_before bytes_now");
    assert_eq!(
        outcome["pins"][0],
        serde_json::json!({
            "ecosystem": "pip", "name": "numbers", "platforms": ["linux/amd64"], "fate": "down", "from": "1.5",
            "to": "1.4", "bump": "minor", "asked_by": "manifest", "asked": ["sums", "numbers"],
            "requirement": "sums>=3", "age_days": null, "growth": 145, "rules": ["lock-downgrade"],
        })
    );
}

#[test]
fn sarif_points_at_the_line() {
    let change = Change::new();
    change.after(|lock| pip(lock, "numbers").artifact.sha256 = Sha256::of("other"));
    let answer = change.project.run(&["--format", "sarif", "diff", "before.toml"]);
    let log: Value = serde_json::from_str(&answer.stdout).unwrap();
    let result = &log["runs"][0]["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&"lock-rehashed".into(), &"error".into()));
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "lockfile.toml");
    let line = usize::try_from(place["region"]["startLine"].as_u64().unwrap()).unwrap();
    let digest = format!("sha256 = \"{}\"", Sha256::of("other"));
    assert_eq!(change.project.read("lockfile.toml").lines().nth(line - 1), Some(&digest[..]));
    assert!(log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap().len() >= 15);
}

#[test]
fn markdown_puts_risk_first_and_folds_the_rest() {
    let change = Change::new();
    change.after(everything);
    let text = change.project.run(&["--format", "markdown", "diff", "before.toml"]).stdout;
    let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} is not in\n{text}"));
    assert!(place("| error | `apt:apt 3.0.3` has other bytes") < place("| warning | "), "{text}");
    assert!(place("| warning | ") < place("<details><summary>6 changed pins</summary>"), "{text}");
    assert!(place("| up | `apt:hello` | 2.10-3 → 2.10-4 | revision |") < place("</details>"), "{text}");
    assert!(text.ends_with("`before.toml` → `lockfile.toml`\n"), "{text}");
}

#[test]
fn markdown_fits_a_comment_and_says_what_is_left_out() {
    let change = Change::new();
    change.after(|lock| {
        lock.pip.extend((0..10_000).map(|number| wheel(&format!("z{number:05}"), "1.0", "sums")));
    });
    let text = change.project.run(&["--format", "markdown", "diff", "before.toml"]).stdout;
    assert!(text.chars().count() < 65_536, "{}", text.chars().count());
    let shown = text.matches("| warning | ").count();
    assert!(shown > 100, "{shown}");
    assert!(
        text.contains(&format!("**{} findings left out: a comment has no room for more.", 10_000 - shown)),
        "{}",
        &text[60_000..]
    );
    assert!(text.contains("**10000 pins left out:") && text.contains("</details>"), "{}", &text[60_000..]);
    assert!(text.contains("10000 came; 10 pins as before"), "{}", &text[..300]);
}

#[test]
fn git_shows_one_line_a_pin() {
    let project = repository(&Registries::serve());
    project.write(".gitattributes", "lockfile.toml diff=oclock\n");
    git(&project, &["config", "diff.oclock.textconv", "oclock diff --textconv"]);
    let mut lock = parse_lockfile(&project.read("lockfile.toml"), "").unwrap();
    to_version(pip(&mut lock, "numbers"), "1.6");
    project.write("lockfile.toml", render_lockfile(&lock));
    let text = git(&project, &["diff", "--unified=0", "lockfile.toml"]).stdout;
    let changed: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with(['+', '-']) && !line.starts_with("---") && !line.starts_with("+++"))
        .collect();
    assert_eq!(changed.len(), 2, "{text}");
    assert!(
        changed[0].starts_with(
            "-pip:numbers 1.5 linux/amd64 pypi numbers/numbers-1.5-py3-none-any.whl 855 bytes sha256:c931"
        ),
        "{text}"
    );
    assert!(
        changed[1].starts_with("+pip:numbers 1.6 linux/amd64 ") && changed[1].ends_with(" py3-none-any for sums"),
        "{text}"
    );
    project.write("lockfile.toml", "no lockfile\n");
    let text = git(&project, &["diff", "--unified=0", "lockfile.toml"]).stdout;
    assert!(text.contains("\n+no lockfile\n"), "what is no lockfile is shown as it is: {text}");
}

/// One line of the textconv for each line of a lockfile that says something: nothing can change unseen.
#[test]
fn textconv_hides_nothing() {
    let change = Change::new();
    let show = |name: &str| change.project.run(&["diff", "--textconv", name]).stdout;
    let before = show("before.toml");
    let edits: [fn(&mut Lockfile); 9] = [
        |lock| lock.epoch += 1,
        |lock| lock.fingerprints.npm = Sha256::of("x"),
        |lock| lock.archives[1].indexes[0].size = 7,
        |lock| lock.apt[0].source_version = version("9"),
        |lock| lock.npm[0].places[0].push('x'),
        |lock| lock.npm[0].artifact.sha512 = Some(oclock::model::Sha512::of("x")),
        |lock| {
            lock.npm[0].scripts.insert("install".into(), Sha256::of("x"));
        },
        |lock| pip(lock, "sums").required_by.push("numbers".into()),
        |lock| lock.images = image("one", "context"),
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        let mut lock = change.old.clone();
        edit(&mut lock);
        pip(&mut lock, "sums").required_by.sort();
        change.project.write("after.toml", render_lockfile(&lock));
        let after = show("after.toml");
        assert_ne!(before, after, "edit {number}");
        assert!(after.starts_with("epoch "), "edit {number}: {after}");
    }
}
