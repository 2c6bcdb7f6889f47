//! Bills of materials: what they say, that they are valid by the official schemas, that they are the same on every run.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use oclock::lock::{BaseLayer, BaseManifest, BasePin, parse_lockfile, render_lockfile};
use oclock::model::{Platform, Sha256};
use serde_json::{Value, json};
use support::oracle::judge;
use support::project::Project;
use support::registries::{Documentation, Registries};
use support::wheels::WheelBuilder;

const COPYRIGHT: &str = "Format: https://www.example.invalid/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nCopyright: A\n\
                         License: GPL-2+ or Artistic\n\nFiles: debian/*\nCopyright: B\nLicense: own-words\n Do with it\n .\n what you want.\n";

/// A project with every way in which packages name their licence.
fn licensed(registries: &mut Registries) -> Project {
    registries.documented_deb("free", "1:1.0+x", "Source: liberty (1:1.0)\n", &Documentation::Copyright(COPYRIGHT));
    registries.documented_deb("free-data", "1.0", "Depends: free\n", &Documentation::Of("free"));
    registries.documented_deb("wordy", "1.0", "", &Documentation::Copyright("It may be used.\n"));
    let author = "A B <a@example.invalid>";
    registries.npm(
        "shout",
        "2.1.0",
        json!({ "license": "(MIT OR ISC)", "author": author, "dependencies": { "pad-left": "^1.0.0" } }),
    );
    registries.wheel(&WheelBuilder::new("sums", "3.2").requires("numbers>=1").line("License-Expression: Apache-2.0"));
    let project = Project::greeter(registries);
    project.edit("oclock.toml", "\"hello\", ", "\"hello\", \"free-data\", \"wordy\", ");
    for command in ["update", "fetch"] {
        let answer = project.run(&[command]);
        assert_eq!(answer.code, 0, "{answer:?}");
    }
    project
}

fn said(project: &Project, arguments: &[&str]) -> String {
    let answer = project.run(&[&["--quiet", "sbom"], arguments].concat());
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{arguments:?}");
    answer.stdout
}

fn write(project: &Project, name: &str, text: &str) -> PathBuf {
    project.write(name, text);
    project.root().join(name)
}

fn by_name(document: &Value, list: &str) -> BTreeMap<String, Value> {
    let entries = document[list].as_array().unwrap();
    entries.iter().map(|entry| (entry["name"].as_str().unwrap().to_owned(), entry.clone())).collect()
}

#[test]
fn a_bill_has_what_lock_and_artifacts_say() {
    let project = licensed(&mut Registries::serve());
    let bill: Value = serde_json::from_str(&said(&project, &[])).unwrap();
    let components = by_name(&bill, "components");
    assert_eq!(components["debian"]["type"], "operating-system");
    let lock = parse_lockfile(&project.read("lockfile.toml"), "lockfile.toml").unwrap();
    assert_eq!(components.len(), lock.pins().count() + 1);
    for pin in lock.pins() {
        let component = &components[pin.name.as_str()];
        let mut hashes = vec![json!({ "alg": "SHA-256", "content": pin.artifact.sha256.to_string() })];
        hashes.extend(pin.artifact.sha512.map(|hash| json!({ "alg": "SHA-512", "content": hash.to_string() })));
        assert_eq!(component["hashes"], Value::Array(hashes), "{}", pin.name);
    }
    let free = &components["free"];
    assert_eq!(free["purl"], "pkg:deb/debian/free@1:1.0%2Bx?arch=amd64&distro=trixie&upstream=liberty%401:1.0");
    assert_eq!(free["supplier"], json!({ "name": "A", "contact": [{ "email": "a@example.invalid" }] }));
    let expression =
        |name: &str| components[name]["licenses"][0]["expression"].as_str().unwrap_or("unknown").to_owned();
    assert!(expression("free").starts_with("(GPL-2.0-or-later OR Artistic-1.0) AND LicenseRef-own-words-"));
    assert_eq!(expression("free-data"), expression("free"), "its documentation is a link");
    assert_eq!(expression("shout"), "(MIT OR ISC)");
    assert_eq!(expression("sums"), "Apache-2.0");
    assert_eq!(components["shout"]["authors"], json!([{ "name": "A B", "email": "a@example.invalid" }]));
    for (name, why) in [
        ("hello", "it has no copyright file"),
        ("wordy", "its copyright file is not in the machine-readable form"),
        ("pad-left", "its package.json names no licence"),
        ("numbers", "its METADATA names no licence"),
    ] {
        assert_eq!(expression(name), "unknown");
        let reason = json!({ "name": "oclock:licence-unknown", "value": why });
        assert!(components[name]["properties"].as_array().unwrap().contains(&reason), "{name}");
    }
}

#[test]
fn who_requires_whom_is_as_in_the_lockfile() {
    let project = licensed(&mut Registries::serve());
    let bill: Value = serde_json::from_str(&said(&project, &[])).unwrap();
    let graph: BTreeMap<&str, Vec<&str>> = bill["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let name = |value: &Value| -> &str { Box::leak(value.as_str().unwrap().to_owned().into_boxed_str()) };
            let on = entry["dependsOn"].as_array().into_iter().flatten().map(name).collect();
            (name(&entry["ref"]), on)
        })
        .collect();
    assert_eq!(graph["pkg:npm/shout@2.1.0"], ["pkg:npm/pad-left@1.3.0"]);
    assert_eq!(graph["pkg:pypi/sums@3.2"], ["pkg:pypi/numbers@1.5"]);
    assert_eq!(graph["pkg:deb/debian/free-data@1.0?arch=amd64&distro=trixie"].len(), 1);
    assert!(graph["image"].contains(&"pkg:npm/shout@2.1.0") && graph["image"].contains(&"base"));
    assert!(graph["image"].iter().any(|purl| purl.contains("/base-files@")), "the essential set");
    assert!(!graph["image"].iter().any(|purl| purl.contains("pad-left")));
}

#[test]
fn both_formats_are_valid_by_the_official_schemas() {
    let project = licensed(&mut Registries::serve());
    // This repository's own lock has every sort of name: scoped, with epochs, with a plus.
    let own = |name: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let real = Project::empty();
    real.write("oclock.toml", own("oclock.toml"));
    real.write("lockfile.toml", own("lockfile.toml"));
    for kind in ["cyclonedx", "spdx"] {
        let whole = said(&project, &["--as", kind]);
        let mut files = vec![write(&project, &format!("{kind}.json"), &whole)];
        files.push(write(&project, &format!("{kind}-lock.json"), &said(&project, &["--as", kind, "--lock-only"])));
        files.push(write(&project, &format!("{kind}-base.json"), &on_an_image(&real, kind)));
        real.write("lockfile.toml", own("lockfile.toml"));
        files.push(write(&project, &format!("{kind}-real.json"), &said(&real, &["--as", kind, "--lock-only"])));
        assert_eq!(judge(kind, &files), "");
        // A judge that takes everything would be none.
        let (from, to) = if kind == "spdx" { ("\"CONTAINER\"", "\"BARREL\"") } else { ("\"container\"", "\"barrel\"") };
        let damaged = write(&project, "damaged.json", &whole.replacen(from, to, 1));
        assert_ne!(judge(kind, &[damaged]), "");
    }
}

/// The bill of the same pins on a base image.
fn on_an_image(project: &Project, kind: &str) -> String {
    let mut lock = parse_lockfile(&project.read("lockfile.toml"), "lockfile.toml").unwrap();
    let layer =
        |name: &str| BaseLayer { digest: Sha256::of(name), size: 7, diff_id: Sha256::of(format!("tar of {name}")) };
    let manifest = BaseManifest {
        digest: Sha256::of("manifest"),
        size: 5,
        config: Sha256::of("config"),
        layers: vec![layer("lower"), layer("upper")],
    };
    lock.base = BasePin::Image {
        reference: "library/node:20-slim".parse().unwrap(),
        source: "registry".parse().unwrap(),
        index: Sha256::of("index"),
        manifests: BTreeMap::from([(Platform::LINUX_AMD64, manifest)]),
    };
    project.write("lockfile.toml", render_lockfile(&lock));
    let text = said(project, &["--as", kind, "--lock-only"]);
    for part in ["lower", "upper", "manifest"] {
        assert!(text.contains(&Sha256::of(part).to_string()), "{part}");
    }
    assert!(text.contains("pkg:oci/node@sha256:"));
    text
}

#[test]
fn a_bill_is_the_same_bytes_on_every_run_and_machine() {
    let mut registries = Registries::serve();
    let project = licensed(&mut registries);
    let other = Project::with(&registries);
    for name in ["oclock.toml", "lockfile.toml"] {
        other.write(name, project.read(name));
    }
    assert_eq!(other.run(&["fetch"]).code, 0);
    for arguments in [&["sbom"][..], &["sbom", "--as", "spdx"], &["--format", "json", "sbom"]] {
        let first = project.run(arguments).stdout;
        assert!(first.len() > 1000);
        let mut twin = Command::new("sh");
        twin.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(env!("CARGO_BIN_EXE_oclock")).args(arguments);
        twin.args(["--offline", "--jobs", "1"]).current_dir(other.root()).env_clear().env("HOME", other.home());
        twin.env("PATH", "/usr/bin:/bin").env("TZ", "Pacific/Chatham").env("LANG", "tr_TR.UTF-8");
        assert_eq!(other.answer(&mut twin).stdout, first, "{arguments:?}");
        assert_eq!(project.run(arguments).stdout, first, "remembered: {arguments:?}");
    }
}

#[test]
fn a_missing_or_damaged_artifact_is_an_error_and_nothing_is_said() {
    let project = licensed(&mut Registries::serve());
    let lock = parse_lockfile(&project.read("lockfile.toml"), "lockfile.toml").unwrap();
    let digest = lock.pins().find(|pin| pin.name.as_str() == "free").unwrap().artifact.sha256.to_string();
    let blob = project.store().join("blobs/sha256").join(&digest[..2]).join(&digest);
    fs::write(&blob, "other bytes").unwrap();
    let answer = project.run(&["sbom"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (4, ""), "{answer:?}");
    fs::remove_file(&blob).unwrap();
    let answer = project.run(&["sbom"]);
    let expected = "error: 1 artifact of the lockfile is not in the store\n  apt:free 1:1.0+x\n hint: run `oclock fetch` while the sources can be reached\n";
    assert_eq!((answer.code, answer.stdout.as_str(), answer.stderr.as_str()), (3, "", expected));
    assert_eq!(project.run(&["sbom", "--lock-only"]).code, 0);
}
