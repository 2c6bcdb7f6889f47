//! `oclock init --from`: files of other tools become a project, and the versions that their locks name are those that `update`
//! chooses. The first tests ask registries on loopback; the last ones make locks with the real uv and npm, and ask the registries
//! that these ask.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};
use support::oracle::uv_program;
use support::project::{Answer, Project};
use support::registries::Registries;
use support::wheels::WheelBuilder;

const DOCKERFILE: &str = r#"# syntax=docker/dockerfile:1
# Our server.
ARG PORT_DEFAULT=8080
FROM debian:trixie-slim
ARG DEBIAN_FRONTEND=noninteractive
ARG PORT=8080
ENV NODE_ENV=production
WORKDIR /srv/app
RUN apt-get update && apt-get install -y --no-install-recommends \
    hello=2.10* \
    # for the server
    nodejs python3 \
 && useradd --system app \
 && rm -rf /var/lib/apt/lists/*
COPY package*.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --no-audit
RUN pip install --no-cache-dir -r requirements.txt
COPY --chown=app src/ ./src/
RUN echo '{{ not a template }}' > /etc/motd
RUN curl -fsSL https://get.invalid/tool.sh | sh
USER app
CMD ["node", "src/server.js"]
"#;

/// Older and newer releases of what the greeter's packages are.
fn registries() -> Registries {
    let mut registries = Registries::serve();
    registries.npm("pad-left", "1.9.0", json!({}));
    registries.npm("shout", "2.4.0", json!({ "dependencies": { "pad-left": "^1.0.0" } }));
    registries.wheel(&WheelBuilder::new("numbers", "1.9"));
    registries.wheel(&WheelBuilder::new("sums", "3.4").requires("numbers>=1"));
    registries
}

fn package_lock(pad_left: &Value) -> String {
    json!({
        "name": "app", "version": "1.0.0", "lockfileVersion": 3, "requires": true,
        "packages": {
            "": { "name": "app", "version": "1.0.0", "dependencies": { "shout": "^2.0.0" } },
            "node_modules/pad-left": pad_left,
            "node_modules/shout": { "version": "2.0.0", "dependencies": { "pad-left": "^1.0.0" } },
            "node_modules/quiet": { "version": "1.0.0", "dev": true },
        },
    })
    .to_string()
}

fn write_inputs(project: &Project) {
    project.write("Dockerfile", DOCKERFILE);
    project.write(
        "package.json",
        r#"{ "name": "app", "dependencies": { "shout": "^2.0.0" }, "devDependencies": { "quiet": "1" } }"#,
    );
    project.write("package-lock.json", package_lock(&json!({ "version": "1.3.0" })));
    project.write("requirements.in", "sums>=3\n");
    project.write("requirements.txt", "numbers==1.5\n    # via sums\nsums==3.1\n    # via -r requirements.in\n");
}

const ALL: [&str; 8] = [
    "--quiet",
    "init",
    "--from",
    "Dockerfile",
    "package.json",
    "package-lock.json",
    "requirements.in",
    "requirements.txt",
];

fn locked(project: &Project) -> BTreeSet<(String, String)> {
    let lock: toml::Table = project.read("lockfile.toml").parse().unwrap();
    let pins = ["npm", "pip"]
        .into_iter()
        .flat_map(|kind| lock.get(kind).and_then(toml::Value::as_array).into_iter().flatten());
    let text = |pin: &toml::Value, key: &str| pin[key].as_str().unwrap().to_owned();
    pins.map(|pin| (text(pin, "name"), text(pin, "version"))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    pairs.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
}

/// The lines of an answer that are about one part.
fn about<'a>(answer: &'a Answer, part: &str) -> Vec<&'a str> {
    answer.stdout.lines().filter(|line| line.contains(part)).collect()
}

#[test]
fn several_files_become_one_project_whose_versions_stay() {
    let registries = registries();
    let project = Project::with(&registries);
    write_inputs(&project);
    let answer = project.run(&ALL);
    assert_eq!((answer.code, answer.stderr.as_str()), (1, ""), "{answer:?}");
    assert!(
        answer.stdout.starts_with("oclock.toml\nContainerfile.in\n.gitignore\nimported.toml\n"),
        "{}",
        answer.stdout
    );
    let left: Vec<&str> = answer.stdout.lines().filter(|line| line.starts_with('!')).collect();
    assert_eq!(left.len(), 1, "{}", answer.stdout);
    assert!(left[0].starts_with("! Dockerfile:20  curl -fsSL") && left[0].contains("no network"), "{left:?}");
    assert!(answer.stdout.ends_with("4 versions of the old lock for `oclock update` to keep\n"), "{}", answer.stdout);
    // The base is an image here; the test's registries have none.
    project.edit("oclock.toml", "base = \"debian:trixie-slim\"", "base = { debian = \"trixie\" }");
    let update = project.run(&["--quiet", "update"]);
    assert_eq!((update.code, update.stderr.as_str()), (0, ""), "{update:?}\n{}", project.read("oclock.toml"));
    assert!(update.stdout.contains("4 imported versions kept\n"), "{update:?}");
    let expected = [("numbers", "1.5"), ("pad-left", "1.3.0"), ("shout", "2.0.0"), ("sums", "3.1")];
    assert_eq!(locked(&project), pairs(&expected));
    assert!(!project.root().join("imported.toml").exists());
    for name in ["package.json", "package-lock.json", "src/server.js"] {
        project.write(&format!("context/{name}"), "{}\n");
    }
    let rendered = project.run(&["render"]);
    assert_eq!(rendered.code, 0, "{rendered:?}\n{}", project.read("Containerfile.in"));
    let context = project.run(&["--quiet", "context"]);
    assert_eq!(context.code, 0, "{context:?}");
    // What is chosen again is chosen from what there is now.
    let again = project.run(&["--quiet", "update"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(locked(&project).contains(&("shout".to_owned(), "2.4.0".to_owned())), "{:?}", locked(&project));
}

#[test]
fn the_manifest_and_the_template_say_what_the_files_said() {
    let project = Project::empty();
    write_inputs(&project);
    project.run(&ALL);
    let manifest = project.read("oclock.toml");
    for line in [
        "name = \"app\"",
        "base = \"debian:trixie-slim\"",
        "packages = [\n  \"hello=2.10*\",\n  \"nodejs\",\n  \"python3\",\n]\n",
        "[npm.projects.\"/srv/app\"]\nshout = \"^2.0.0\"\n",
        "packages = [\n  \"sums>=3\",\n]\n",
    ] {
        assert!(manifest.replace("\"shout\"", "shout").contains(line), "{line} is not in\n{manifest}");
    }
    let expected = "\
# Imported by `oclock init --from`. `oclock render` prints what it becomes.
FROM {{ base }}

{{ apt.install }}
{{ npm.install }}
{{ pip.install }}

ENV PATH=/opt/venv/bin:$PATH

# What the Dockerfile did beside installing packages. COPY takes from context/.
# Our server.
ENV PORT=\"8080\"
ENV NODE_ENV=production
WORKDIR /srv/app
RUN useradd --system app
COPY package-lock.json package.json ./
COPY --chown=app src/ ./src/
RUN echo '{{ \"{{\" }} not a template }}' > /etc/motd
# Line 20 was not carried over: a build has no network: put what it brings into context/ and COPY it
# RUN curl -fsSL https://get.invalid/tool.sh | sh
USER app
CMD [\"node\", \"src/server.js\"]
";
    assert_eq!(project.read("Containerfile.in"), expected);
}

#[test]
fn what_a_lock_names_and_no_source_has_is_told() {
    let mut registries = registries();
    registries.edit_npm("pad-left", |document| _ = document["versions"].as_object_mut().unwrap().remove("1.3.0"));
    registries.edit_page("numbers", |files| files.retain(|file| !file["filename"].as_str().unwrap().contains("1.5")));
    let project = Project::with(&registries);
    write_inputs(&project);
    project.run(&ALL);
    project.edit("oclock.toml", "base = \"debian:trixie-slim\"", "base = { debian = \"trixie\" }");
    let update = project.run(&["--quiet", "update"]);
    assert_eq!(update.code, 0, "{update:?}");
    let expected = "! npm:pad-left 1.3.0 -> 1.9.0: its registry no longer has it\n! pip:numbers 1.5 -> 1.9: its index no longer has it\n2 imported versions kept\n";
    assert!(update.stdout.starts_with(expected), "{update:?}");
}

#[test]
fn other_bytes_under_a_locked_version_are_refused() {
    let registries = registries();
    let lie = "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==";
    for (file, text, named) in [
        ("package-lock.json", package_lock(&json!({ "version": "1.3.0", "integrity": lie })), "npm:pad-left 1.3.0"),
        ("requirements.txt", format!("sums==3.1 --hash=sha256:{}\n", "0".repeat(64)), "pip:sums 3.1"),
    ] {
        let project = Project::with(&registries);
        project.write(file, text);
        assert_eq!(project.run(&["init", "--from", file]).code, 0);
        let update = project.run(&["--quiet", "update"]);
        assert_eq!(update.code, 4, "{update:?}");
        assert!(
            update.stderr.starts_with(&format!("error: `{named}` has other bytes than the imported lock names\n")),
            "{update:?}"
        );
        assert!(!project.root().join("lockfile.toml").exists());
    }
}

#[test]
fn nothing_is_written_over_what_is_there_or_from_what_cannot_be_read() {
    let project = Project::empty();
    project.write("requirements.txt", "sums\n");
    project.write("setup.cfg", "x\n");
    project.write("sub/package-lock.json", "{ \"lockfileVersion\": 1 }");
    project.write("sub/package.json", "[");
    for (file, error) in [
        ("setup.cfg", "error: `setup.cfg` is no file that can be imported\n"),
        (
            "sub/package-lock.json",
            "error: `sub/package-lock.json` cannot be read: its lockfileVersion is 1, which does not say what is asked for",
        ),
        ("sub/package.json", "error: `sub/package.json` cannot be read: "),
        ("missing.txt", "error: "),
    ] {
        let answer = project.run(&["init", "--from", file]);
        assert!(answer.code == 2 && answer.stderr.starts_with(error), "{answer:?}");
        assert!(!project.root().join("oclock.toml").exists());
    }
    project.write("Containerfile.in", "own\n");
    assert_eq!(project.run(&["init", "--from", "requirements.txt"]).code, 2);
    assert_eq!(project.read("Containerfile.in"), "own\n");
}

#[test]
fn what_cannot_be_carried_over_is_named_with_its_line() {
    let project = Project::empty();
    project.write(
        "Dockerfile",
        "ARG TAG\nFROM node:20 AS build\nRUN npm run build\nFROM python:${TAG:-3.12}-slim\nARG EXTRA\nARG NAME=x\n\
         RUN apt-get update; apt-get install -y git $EXTRA\n\
         RUN pip install -e . git+https://h.invalid/a --index-url https://user:secret@h.invalid/simple --index-strategy unsafe flask==2.*\n\
         COPY --from=build /dist /dist\nADD https://h.invalid/x /x\nADD a.tar.gz /\n\
         RUN if true; then apt-get install -y vim; fi\nRUN <<EOF\nset -e\nid\nEOF\nSHELL [\"/bin/bash\", \"-c\"]\nRUN npm install -g prettier@3 yarn\n",
    );
    let answer = project.run(&["init", "--from", "Dockerfile"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    for (line, what) in [
        (2, "stage build"),
        (5, "ARG EXTRA"),
        (7, "$EXTRA"),
        (8, "-e ."),
        (8, "git+https://h.invalid/a"),
        (8, "--index-url https://…@h.invalid/simple"),
        (8, "--index-strategy unsafe"),
        (9, "COPY --from=build /dist /dist"),
        (10, "ADD https://h.invalid/x /x"),
        (11, "ADD a.tar.gz /"),
        (12, "RUN if true; then apt-get install -y vim; fi"),
        (17, "SHELL"),
    ] {
        let found = about(&answer, what);
        assert!(
            found.iter().any(|found| found.starts_with(&format!("! Dockerfile:{line}  "))),
            "{line} {what}: {}",
            answer.stdout
        );
    }
    assert!(!answer.stdout.contains("secret"));
    let manifest = project.read("oclock.toml");
    assert!(!manifest.contains("unsafe"), "{manifest}");
    for part in ["base = \"python:3.12-slim\"", "\"git\"", "recommends = true", "\"flask==2.*\"", "prettier", "yarn"] {
        assert!(manifest.contains(part), "{part}\n{manifest}");
    }
    let template = project.read("Containerfile.in");
    assert!(template.contains("RUN set -e; \\\n    id\n") && !template.contains("secret"), "{template}");
}

#[test]
fn what_is_asked_for_instead_comes_along() {
    let registries = registries();
    let project = Project::with(&registries);
    let package = json!({
        "name": "app",
        "dependencies": { "shout": "^2.0.0" },
        "devDependencies": { "quiet": "1" },
        "overrides": {
            "pad-left@1": "1.3.0",
            "quiet": "$quiet",
            "shout": { ".": "$shout", "pad-left": "1.3.0", "tapes": { "reel": "github:u/reel" } },
            "wheel": "file:../wheel",
            "x y": "1",
            "yard": "",
        },
        "resolutions": { "quiet": "2" },
    });
    project.write("package.json", serde_json::to_string_pretty(&package).unwrap());
    project.write(
        "pyproject.toml",
        "[project]\nname = \"app\"\ndependencies = [\"sums>=3\"]\n[tool.uv]\n\
         override-dependencies = [\"numbers==1.5\", \"a @ git+https://h.invalid/a\"]\nconstraint-dependencies = [\"sums<3.4\"]\n",
    );
    project.write("overrides.txt", "flask==2.0 ; sys_platform == 'win32'\n");
    let answer = project.run(&["init", "--from", "package.json", "pyproject.toml", "overrides.txt"]);
    assert_eq!((answer.code, answer.stderr.as_str()), (1, ""), "{answer:?}");
    let left: Vec<&str> =
        answer.stdout.lines().filter_map(|line| line.strip_prefix("! ")?.split("  (").next()).collect();
    let expected = [
        "package.json:23  resolutions",
        "package.json:16  shout > tapes > reel: github:u/reel",
        "package.json:19  wheel: file:../wheel",
        "package.json:20  x y",
        "pyproject.toml:5  a @ git+https://h.invalid/a",
    ];
    assert_eq!(left, expected, "{}", answer.stdout);
    let manifest: toml::Table = project.read("oclock.toml").parse().unwrap();
    let expected = "\"pad-left@1\" = \"1.3.0\"\nquiet = \"1\"\nshout = { \".\" = \"$shout\", pad-left = \"1.3.0\" }\nyard = \"*\"\n";
    assert_eq!(manifest["npm"]["overrides"], toml::Value::Table(expected.parse().unwrap()));
    let texts = |key: &str| {
        manifest["pip"][key].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(texts("overrides"), ["numbers==1.5", "flask==2.0 ; sys_platform == 'win32'"]);
    assert_eq!(texts("constraints"), ["sums<3.4"]);
    let update = project.run(&["--quiet", "update"]);
    assert_eq!(update.code, 0, "{update:?}\n{}", project.read("oclock.toml"));
    let expected = [("numbers", "1.5"), ("pad-left", "1.3.0"), ("shout", "2.4.0"), ("sums", "3.1")];
    assert_eq!(locked(&project), pairs(&expected));
}

/// oclock as the user of this machine runs it, with the sources that uv and npm use here.
fn run_here(project: &Project, arguments: &[&str]) -> Answer {
    let mut command = project.command(arguments);
    command.envs(std::env::vars_os().filter(|(name, _)| name != "OCLOCK_STORE" && name != "OCLOCK_LEDGER"));
    command.arg("--store").arg(project.store()).arg("--ledger").arg(project.home().join("ledger"));
    project.answer(&mut command)
}

/// The places and versions of what is locked; a Python project's place is its name.
fn places(project: &Project, kind: &str) -> BTreeMap<String, String> {
    let lock: toml::Table = project.read("new/lockfile.toml").parse().unwrap();
    let mut found = BTreeMap::new();
    for pin in lock[kind].as_array().unwrap() {
        let (name, version) = (pin["name"].as_str().unwrap(), pin["version"].as_str().unwrap());
        let named = [toml::Value::from(name)];
        let places = pin.get("places").and_then(toml::Value::as_array).map_or(&named[..], Vec::as_slice);
        found.extend(places.iter().map(|place| (place.as_str().unwrap().to_owned(), version.to_owned())));
    }
    found
}

#[test]
fn the_versions_of_uv_s_locks_stay() {
    let project = Project::empty();
    let requires = "[project]\nname = \"web-api\"\nversion = \"1\"\nrequires-python = \">=3.11\"\n\
                    dependencies = [\"fastapi>=0.100\", \"uvicorn[standard]>=0.23\"]\n\
                    [tool.uv]\noverride-dependencies = [\"idna==3.7\"]\nconstraint-dependencies = [\"anyio<4.9\"]\n";
    project.write("pyproject.toml", requires);
    let before = ["--exclude-newer", "2025-06-01"];
    let uv = |arguments: &[&str]| {
        let mut command = Command::new(uv_program());
        support::oracle::run(command.current_dir(project.root()).args(arguments).args(before))
    };
    uv(&["lock", "-q"]);
    uv(&["export", "-q", "--format", "pylock.toml", "--no-emit-project", "-o", "pylock.toml"]);
    uv(&["export", "-q", "--format", "requirements.txt", "--no-emit-project", "-o", "requirements.txt"]);
    assert!(project.read("requirements.txt").contains("--hash=sha256:"));
    let lock: toml::Table = project.read("uv.lock").parse().unwrap();
    let text = |package: &toml::Value, key: &str| package[key].as_str().unwrap().to_owned();
    let theirs: BTreeMap<String, String> =
        lock["package"].as_array().unwrap().iter().map(|one| (text(one, "name"), text(one, "version"))).collect();
    for files in [&["uv.lock"][..], &["pyproject.toml", "pylock.toml"], &["requirements.txt"]] {
        let answer = run_here(&project, &[&["init", "new", "--from"], files].concat());
        assert_eq!(answer.code, 0, "{answer:?}");
        let says = project
            .read("new/oclock.toml")
            .contains("constraints = [\n  \"anyio<4.9\",\n]\noverrides = [\n  \"idna==3.7\",\n]\n");
        assert_eq!(says, files[0] != "requirements.txt", "{}", project.read("new/oclock.toml"));
        let update = run_here(&project, &["-C", "new", "--quiet", "update"]);
        assert_eq!(update.code, 0, "{update:?}");
        assert!(!update.stdout.contains('!'), "{files:?}: {update:?}");
        let ours = places(&project, "pip");
        assert!(
            ours.len() > 15 && ours.iter().all(|(name, version)| theirs.get(name) == Some(version)),
            "{files:?}: {ours:?}"
        );
        std::fs::remove_dir_all(project.root().join("new")).unwrap();
    }
}

#[test]
fn the_versions_and_places_of_npm_s_locks_stay() {
    let mut found = Vec::new();
    for form in ["3", "1"] {
        let project = Project::empty();
        let package = |express: &str, debug: &str, esbuild: &str| {
            let own = json!({ "express": express, "debug": debug, "esbuild": esbuild, "other": format!("npm:{}", "strip-ansi@6.0.0") });
            json!({ "name": "shop", "version": "1.0.0", "dependencies": own, "optionalDependencies": { "fsevents": "2.3.2" } })
        };
        project.write("package.json", package("4.18.2", "4.3.4", "0.19.2").to_string());
        let mut npm = Command::new("npm");
        npm.args(["install", "--package-lock-only", "--ignore-scripts", "--lockfile-version", form]);
        support::oracle::run(npm.current_dir(project.root()));
        // As a project stands some time after it was locked: its ranges allow newer versions.
        let ranges = package("^4.18.0", "^4.0.0", "^0.19.0");
        project.write("package.json", ranges.to_string());
        let answer = run_here(&project, &["init", "new", "--from", "package.json", "package-lock.json"]);
        assert_eq!(answer.code, 1, "{answer:?}");
        assert_eq!(about(&answer, "! ").len(), 1, "scripts alone: {answer:?}");
        if form == "1" {
            // The lock does not say that it is for another system.
            let manifest = project.read("new/oclock.toml");
            project.write("new/oclock.toml", manifest.replace("\"fsevents\" = \"2.3.2\"\n", ""));
        }
        let update = run_here(&project, &["-C", "new", "--quiet", "update"]);
        assert_eq!(update.code, 0, "{update:?}");
        let lock: Value = serde_json::from_str(&project.read("package-lock.json")).unwrap();
        let ours = places(&project, "npm");
        for (place, version) in &ours {
            let folders = place.strip_prefix("/app/node_modules/").unwrap();
            let theirs =
                match form {
                    "1" => folders.split("/node_modules/").fold(&lock, |above, folder| &above["dependencies"][folder])
                        ["version"]
                        .as_str(),
                    _ => lock["packages"][format!("node_modules/{folders}")]["version"].as_str(),
                };
            let theirs = theirs.unwrap().rsplit('@').next();
            assert_eq!(theirs, Some(version.as_str()), "{place}");
        }
        if form == "1" {
            assert_eq!(Some(&ours), found.first());
            continue;
        }
        found.push(ours.clone());
        let needed = lock["packages"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(key, one)| !key.is_empty() && one["optional"] != true);
        let missing: Vec<&String> =
            needed.map(|(key, _)| key).filter(|key| !ours.contains_key(&format!("/app/{key}"))).collect();
        assert!(missing.is_empty() && ours.len() > 60, "{missing:?}");
    }
}
