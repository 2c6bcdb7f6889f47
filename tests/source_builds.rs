//! Python projects without a wheel, with the real program: refused by name, or built in a room of the image's own Python and
//! what is locked for it, to a wheel that comes out the same. Needs busybox-static, python3, and root or subordinate IDs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use oclock::lock::{Lockfile, parse_lockfile, render_lockfile};
use oclock::model::Sha256;
use serde_json::json;
use support::image_registry::{HandMade, ImageRegistry, Packing, tar};
use support::project::{Answer, Project};
use support::registries::{Registries, own_python, shell_data};
use support::sdists::Sdist;
use support::wheels::WheelBuilder;

const TEMPLATE: &str = "FROM {{ base }}\n{{ apt.install }}\n{{ npm.install }}\n{{ pip.install }}\n";

/// Registries with a base that runs Python, and these source distributions.
fn registries(sources: &[Sdist]) -> Registries {
    let mut registries = Registries::serve();
    registries.shell();
    registries.python();
    sources.iter().for_each(|source| source.publish(&mut registries));
    registries
}

fn project(registries: &Registries, pip: &str) -> Project {
    let project = Project::with(registries);
    let head = "[image]\nname = \"built\"\nbase = { debian = \"trixie\" }\n\n[apt]\npackages = [\"shell\", \"python3\"]\n\n[pip]\n";
    project.write("oclock.toml", format!("{head}{pip}\n"));
    project.write("Containerfile.in", TEMPLATE);
    project
}

fn locked(registries: &Registries, pip: &str) -> Project {
    let project = project(registries, pip);
    done(&project, &["update"]);
    project
}

fn done(project: &Project, arguments: &[&str]) -> Answer {
    let answer = project.run(arguments);
    assert_eq!(answer.code, 0, "{arguments:?}: {answer:?}");
    answer
}

fn refused(project: &Project, arguments: &[&str], code: i32, words: &[&str]) {
    let before = fs::read(project.root().join("lockfile.toml")).ok();
    let answer = project.run(arguments);
    assert_eq!(answer.code, code, "{answer:?}");
    for word in words {
        assert!(answer.stderr.contains(word), "`{word}` is not in\n{}", answer.stderr);
    }
    assert_eq!(fs::read(project.root().join("lockfile.toml")).ok(), before, "the lockfile is left as it was");
}

fn lock(project: &Project) -> Lockfile {
    parse_lockfile(&project.read("lockfile.toml"), "lockfile.toml").unwrap()
}

fn wheel(project: &Project, name: &str) -> Sha256 {
    lock(project).pip.iter().find(|pin| pin.name.as_str() == name).unwrap().built.clone().unwrap().sha256
}

fn blob(project: &Project, digest: &Sha256) -> PathBuf {
    let text = digest.to_string();
    project.store().join("blobs/sha256").join(&text[..2]).join(&text)
}

/// The lock with something changed in it by hand.
fn tampered(project: &Project, change: impl FnOnce(&mut Lockfile)) {
    let mut other = lock(project);
    change(&mut other);
    project.write("lockfile.toml", render_lockfile(&other));
}

#[test]
fn what_has_no_wheel_is_refused_by_name_and_built_where_the_manifest_allows_it() {
    let registries = registries(&[Sdist::new("tale", "1.0")]);
    let project = project(&registries, "packages = [\"tale\"]");
    let words = [
        "error: `tale` has no wheel that the target can use",
        "found  1.0: source only",
        "note: there is a source distribution of `tale`; nothing is built from source unless `[pip] build` says so",
        "hint: let it be built, in a room without a network: `build = [\"tale\"]` under `[pip]`",
    ];
    refused(&project, &["update"], 3, &words);
    project.edit("oclock.toml", "packages = [\"tale\"]", "packages = [\"tale\"]\nbuild = [\"other\"]");
    refused(&project, &["update"], 3, &words[..1]);
    project.edit("oclock.toml", "build = [\"other\"]", "build = [\"Tale\"]");
    done(&project, &["update"]);
    let text = project.read("lockfile.toml");
    let source = Sha256::of(Sdist::new("tale", "1.0").bytes());
    assert!(text.contains(&format!("path = \"tale/tale-1.0.tar.gz\"\nsize = {}\nsha256 = \"{source}\"\nwheel = {{ file = \"tale-1.0-py3-none-any.whl\", ", Sdist::new("tale", "1.0").bytes().len())), "{text}");
    assert!(!text.contains("[[pip-build]]"), "its backend needs nothing");
    done(&project, &["update", "--check"]);
    done(&project, &["verify"]);
    let listed = done(&project, &["list"]).stdout;
    assert!(listed.contains(&format!("sha256:{source}  built to sha256:{}", wheel(&project, "tale"))), "{listed}");
    let image = done(&project, &["build", "--no-load"]).stdout;
    assert_eq!(done(&project, &["build", "--no-load", "--no-reuse"]).stdout, image);
    done(&project, &["update"]);
    assert_eq!(project.read("lockfile.toml"), text, "once more changes nothing");
    project.edit("oclock.toml", "build = [\"Tale\"]", "build = false");
    refused(&project, &["build"], 1, &["the lockfile builds tale 1.0 from source, which `[pip] build` does not allow"]);
}

#[test]
fn the_same_inputs_give_the_same_wheel_and_another_one_is_not_taken() {
    let registries = registries(&[Sdist::new("tale", "1.0")]);
    let first = locked(&registries, "packages = [\"tale\"]\nbuild = true");
    let digest = wheel(&first, "tale");
    let image = done(&first, &["build", "--no-load"]).stdout;
    // Elsewhere, from the lockfile alone.
    let second = project(&registries, "packages = [\"tale\"]\nbuild = true");
    second.write("lockfile.toml", first.read("lockfile.toml"));
    done(&second, &["fetch"]);
    let answer = second.run(&["verify"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stdout.contains("`pip:tale 1.0` was not built here from what is locked"), "{answer:?}");
    assert_eq!(done(&second, &["--offline", "build", "--no-load"]).stdout, image);
    done(&second, &["verify"]);
    assert_eq!(fs::read(blob(&second, &digest)).unwrap(), fs::read(blob(&first, &digest)).unwrap());
    // A wheel that is locked and does not come out.
    let honest = first.read("lockfile.toml");
    tampered(&first, |lock| lock.pip[0].built.as_mut().unwrap().sha256 = Sha256::of("other"));
    let answer = first.run(&["verify"]);
    assert_eq!(answer.code, 4, "{answer:?}");
    assert!(answer.stdout.contains("`pip:tale 1.0` is not built to the locked wheel"), "{answer:?}");
    let words = [
        "error: `pip:tale 1.0` was built to another wheel than was locked",
        &format!("locked  sha256:{}", Sha256::of("other")),
        &format!(" built  sha256:{digest}"),
    ];
    refused(&first, &["build", "--no-load"], 4, &words);
    first.write("lockfile.toml", honest);
    fs::remove_file(blob(&first, &digest)).unwrap();
    assert_eq!(done(&first, &["build", "--no-load", "--no-reuse"]).stdout, image, "it is built again");
    assert!(blob(&first, &digest).is_file());
}

/// A project whose backend packs what the package `tool` says.
fn with_tool() -> (Registries, Sdist) {
    let extra = "import tool; files[\"said.py\"] = \"said = %r\\n\" % tool.__doc__";
    let source = Sdist { system: vec!["tool>=1"], extra, ..Sdist::new("tale", "1.0") };
    let mut registries = registries(std::slice::from_ref(&source));
    registries.wheel(&tool("1.1"));
    (registries, source)
}

fn tool(version: &str) -> WheelBuilder {
    let mut wheel = WheelBuilder::new("tool", version).requires("numbers");
    wheel.files[0].1 = format!("\"\"\"tool {version}\"\"\"\n").into_bytes();
    wheel
}

#[test]
fn what_builds_a_project_is_locked_for_it_and_moves_by_name() {
    let (mut registries, _) = with_tool();
    let project = locked(&registries, "packages = [\"tale\"]\nbuild = [\"tale\"]");
    let pins = |project: &Project| -> Vec<String> {
        let named = |pin: &oclock::lock::PipBuildPin| {
            format!("{} < {} for {}", pin.wheel.name, pin.wheel.required_by.join(" "), pin.builds)
        };
        lock(project).pip_builds.iter().map(named).collect()
    };
    assert_eq!(pins(&project), ["numbers < tool for tale", "tool < build-system for tale"]);
    assert_eq!(lock(&project).pip.len(), 1, "nothing of it is in the image");
    let why = done(&project, &["why", "pip:numbers"]).stdout;
    assert!(
        why.contains("pip:numbers (builds tale) 1.5") && why.contains("> tale 1.0 > tool 1.1 > numbers 1.5"),
        "{why}"
    );
    assert!(done(&project, &["render"]).stdout.contains("# pip: 1 package\n"));
    let (before, first) = (project.read("lockfile.toml"), wheel(&project, "tale"));
    registries.wheel(&tool("1.2"));
    registries.wheel(&WheelBuilder::new("numbers", "1.6"));
    done(&project, &["update", "--minimal"]);
    assert_eq!(project.read("lockfile.toml"), before);
    let moved = done(&project, &["update", "pip:tool"]).stdout;
    assert!(moved.contains("pip:tool (builds tale) 1.1 -> 1.2"), "{moved}");
    assert!(moved.contains("~ pip:tale 1.0 is built to another wheel"), "{moved}");
    assert!(project.read("lockfile.toml").contains("numbers-1.5"), "the others stay");
    assert_ne!(wheel(&project, "tale"), first);
    done(&project, &["verify"]);
    done(&project, &["update", "pip:tool", "--precise", "1.1"]);
    assert_eq!(project.read("lockfile.toml"), before);
    done(&project, &["update"]);
    assert!(project.read("lockfile.toml").contains("numbers-1.6"));
}

#[test]
fn a_lock_whose_room_was_changed_is_not_proven() {
    let (mut registries, _) = with_tool();
    registries.wheel(&tool("1.2"));
    let project = locked(&registries, "packages = [\"tale\"]\nbuild = [\"tale\"]");
    let honest = project.read("lockfile.toml");
    type Change = fn(&mut Lockfile);
    let changes: [(&str, Change); 9] = [
        ("another wheel", |lock| lock.pip[0].built.as_mut().unwrap().sha256 = Sha256::of("x")),
        ("another size", |lock| lock.pip[0].built.as_mut().unwrap().size += 1),
        ("another name", |lock| {
            lock.pip[0].built.as_mut().unwrap().file = "tale-1.0-py2-none-any.whl".into();
            lock.pip[0].tags = "py2-none-any".into();
        }),
        ("another source", |lock| lock.pip[0].artifact.sha256 = Sha256::of("x")),
        ("a room without one", |lock| drop(lock.pip_builds.remove(1))),
        ("a room without any", |lock| lock.pip_builds.clear()),
        ("other bytes in the room", |lock| lock.pip_builds[1].wheel.artifact.sha256 = Sha256::of("x")),
        ("swapped bytes in the room", |lock| {
            let [one, other] = [0, 1].map(|index| lock.pip_builds[index].wheel.artifact.sha256);
            lock.pip_builds[0].wheel.artifact.sha256 = other;
            lock.pip_builds[1].wheel.artifact.sha256 = one;
        }),
        ("asked for by nobody", |lock| lock.pip_builds[0].wheel.required_by = vec!["tale".into()]),
    ];
    for (what, change) in changes {
        tampered(&project, change);
        let answer = project.run(&["verify"]);
        assert!([1, 4].contains(&answer.code), "{what}: {answer:?}");
        project.write("lockfile.toml", &honest);
    }
    done(&project, &["verify"]);
}

#[test]
fn what_a_backend_asks_for_is_locked_too() {
    let source = Sdist { asks: "[\"tool\"]", extra: "import tool", ..Sdist::new("tale", "1.0") };
    let mut registries = registries(&[source]);
    registries.wheel(&tool("1.1"));
    let project = locked(&registries, "packages = [\"tale\"]\nbuild = [\"tale\"]");
    assert_eq!(lock(&project).pip_builds.len(), 2);
    let source = Sdist { asks: "[\"tool; python_version < '3'\"]", ..Sdist::new("saga", "1.0") };
    source.publish(&mut registries);
    project.edit("oclock.toml", "packages = [\"tale\"]\nbuild = [\"tale\"]", "packages = [\"saga\"]\nbuild = true");
    refused(&project, &["update"], 3, &["which is not for this platform"]);
}

#[test]
fn what_a_source_needs_is_read_from_what_is_settled_or_from_what_it_is_built_to() {
    let old = Sdist { requires: vec!["numbers<2"], ..Sdist::new("tale", "1.0") };
    // It says before it is built that it cannot be had, and so is never built: its backend would fail.
    let info = "Requires-Dist: nowhere>1\n";
    let new = Sdist { info, extra: "raise SystemExit(1)", ..Sdist::new("tale", "2.0") };
    let static_one = Sdist { info: "Requires-Dist: sums\n", requires: vec!["sums"], ..Sdist::new("saga", "1.0") };
    let registries = registries(&[old, new, static_one]);
    let project = locked(&registries, "packages = [\"tale\", \"saga\"]\nbuild = true");
    let pins: Vec<String> = lock(&project).pip.iter().map(|pin| format!("{} {}", pin.name, pin.version)).collect();
    assert_eq!(pins, ["numbers 1.5", "saga 1.0", "sums 3.1", "tale 1.0"]);
    done(&project, &["build", "--no-load"]);
}

#[test]
fn a_wheel_is_preferred_and_a_newer_source_counts() {
    let mut registries = registries(&[Sdist::new("tale", "1.0"), Sdist::new("tale", "2.0")]);
    registries.wheel(&WheelBuilder::new("tale", "1.0"));
    let project = locked(&registries, "packages = [\"tale\"]");
    let version = |project: &Project| lock(project).pip[0].version.to_string();
    assert_eq!((version(&project).as_str(), lock(&project).pip[0].built.is_none()), ("1.0", true));
    project.edit("oclock.toml", "packages = [\"tale\"]", "packages = [\"tale\"]\nbuild = true");
    done(&project, &["update"]);
    assert_eq!((version(&project).as_str(), lock(&project).pip[0].built.is_some()), ("2.0", true));
    registries.wheel(&WheelBuilder::new("tale", "2.0"));
    done(&project, &["update"]);
    assert_eq!((version(&project).as_str(), lock(&project).pip[0].built.is_none()), ("2.0", true));
}

#[test]
fn what_cannot_be_built_says_why() {
    let of = |name, extra| Sdist { extra, ..Sdist::new(name, "1.0") };
    let mut registries = registries(&[
        of("raises", "raise RuntimeError(\"no rule to make it\")"),
        of("dials", "import urllib.request; urllib.request.urlopen(\"http://192.0.2.1/\", timeout=5)"),
        of("clock", "files[\"when.py\"] = os.urandom(8).hex()"),
        of("compiles", "import subprocess; subprocess.run([\"gcc\", \"x.c\"], check=True)"),
        of("renames", "name = \"other\""),
        Sdist { system: vec!["raises"], ..Sdist::new("nested", "1.0") },
        Sdist { system: vec!["absent"], ..Sdist::new("lacking", "1.0") },
    ]);
    registries.pip_file("broken", "broken-1.0.tar.gz", b"no archive", json!({}));
    registries.pip_file("squeezed", "squeezed-1.0.tar.bz2", b"no archive", json!({}));
    registries.pip_file("later", "later-1.0.tar.gz", b"no archive", json!({ "requires-python": ">=4" }));
    for (name, words) in [
        (
            "raises",
            &[
                "error: `pip:raises 1.0` could not be built from source",
                "RuntimeError: no rule to make it",
                "no network",
            ][..],
        ),
        (
            "dials",
            &[
                "could not be built from source",
                "Network is unreachable",
                "hint: it wants the network while it is built",
            ],
        ),
        ("clock", &["error: `pip:clock 1.0` is built to another wheel each time", "differs  when.py"]),
        ("compiles", &["No such file or directory: 'gcc'", "hint: add a compiler to `[apt] packages`: `gcc`"]),
        ("renames", &["its METADATA says that it is other 1.0"]),
        (
            "nested",
            &[
                "error: what `pip:nested 1.0` is built with cannot be locked",
                "raises",
                "a build requirement is taken as a wheel",
            ],
        ),
        ("lacking", &["error: what `pip:lacking 1.0` is built with cannot be locked", "no project `absent`"]),
        ("broken", &["it cannot be unpacked"]),
        ("squeezed", &["found  1.0: source as .tar.bz2, which is not built"]),
        ("later", &["requires Python >=4"]),
    ] {
        let project = project(&registries, &format!("packages = [\"{name}\"]\nbuild = true"));
        refused(&project, &["update"], 3, words);
    }
}

/// The room stands on the base: its Python, its variables, and a user who may write nowhere.
#[test]
fn a_source_is_built_on_a_base_image() {
    let (mut registries, images) = (Registries::serve(), ImageRegistry::start());
    let extra = "import os; files[\"said.py\"] = \"said = %r\\n\" % (os.environ[\"GREETING\"],)";
    Sdist { extra, ..Sdist::new("tale", "1.0") }.publish(&mut registries);
    let (version, python) = own_python();
    let status =
        format!("Package: python3\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}-1\n\n");
    let files = [
        ("var/lib/dpkg/status", status.as_str()),
        ("etc/os-release", "ID=debian\nVERSION_CODENAME=trixie\n"),
        ("etc/passwd", "root:x:0:0::/root:/bin/sh\nnode:x:7:7::/srv:/bin/sh\n"),
        ("etc/group", "root:x:0:\nnode:x:7:\n"),
        ("srv/", ""),
    ];
    let mut base = HandMade::new()
        .layer(shell_data(), Packing::Plain)
        .layer(python, Packing::Gzip)
        .layer(tar(&files), Packing::Plain);
    base.runtime = json!({ "Env": ["GREETING=two words", "PATH=/usr/bin:/bin"], "User": "node", "WorkingDir": "/srv" });
    let layout = images.directory.path().join("base");
    base.write(&layout);
    images.push(&layout, "base:1", None);
    let project = Project::with(&registries);
    let settings = project.home().join(".config/oclock/config.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{text}\n[sources.registry]\nkind = \"image\"\nurl = \"{}\"\n", images.url()))
        .unwrap();
    project.write("oclock.toml", "[image]\nname = \"built\"\nbase = \"base:1\"\nepoch = 2024-03-01T00:00:00Z\n\n[pip]\npackages = [\"tale\"]\nbuild = true\n");
    project.write("Containerfile.in", TEMPLATE);
    done(&project, &["update"]);
    let content = fs::read(blob(&project, &wheel(&project, "tale"))).unwrap();
    assert!(content.windows(18).any(|bytes| bytes == b"said = 'two words'"), "it is not compressed");
    done(&project, &["verify"]);
    done(&project, &["build", "--no-load"]);
}

/// A real project with a setup.py and nothing else, on the real Debian, by setuptools; the wheel of another engine is the same.
#[test]
fn a_real_project_is_built_alike_by_every_engine() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let manifest = "[image]\nname = \"real\"\nbase = { debian = \"trixie\" }\n\n[apt]\npackages = [\"python3\"]\n\n[pip]\npackages = [\"docopt==0.6.2\"]\nbuild = [\"docopt\"]\n";
    fs::write(path("oclock.toml"), manifest).unwrap();
    fs::write(path("Containerfile.in"), TEMPLATE).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oclock"));
        let output =
            command.arg("-C").arg(directory.path()).arg("--store").arg(path("store")).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    };
    run(&["update"]);
    let text = fs::read_to_string(path("lockfile.toml")).unwrap();
    let built = parse_lockfile(&text, "lockfile.toml").unwrap().pip[0].built.clone().unwrap();
    assert_eq!(built.file, "docopt-0.6.2-py2.py3-none-any.whl");
    let digest = built.sha256.to_string();
    let blob = path("store/blobs/sha256").join(&digest[..2]).join(&digest);
    for engine in ["native", "buildah", "docker"] {
        fs::remove_file(&blob).unwrap();
        let said = run(&["--offline", "build", "--no-load", "--engine", engine]);
        assert!(said.contains("building pip:docopt 0.6.2 from source"), "{engine}: {said}");
        assert!(blob.is_file(), "{engine}");
    }
}
