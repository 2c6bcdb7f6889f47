//! A second `update`: every index is asked again, and what has not changed is not sent again; what has changed is seen at once,
//! and what a server says of a document is not taken for what it says of another.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

mod support;

use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use support::project::Project;
use support::registries::Registries;
use support::site::Naming;
use support::wheels::WheelBuilder;

/// What two ecosystems' documents and the signed index of the archive are asked for by.
const DOCUMENTS: [&str; 6] = [
    "/debian/dists/trixie/InRelease",
    "/npm/pad-left",
    "/npm/shout",
    "/security/dists/trixie-security/InRelease",
    "/simple/numbers/",
    "/simple/sums/",
];

/// A locked project and its registries, which call answers as they are told.
fn locked(naming: Naming) -> (Registries, Project) {
    let registries = Registries::serve();
    registries.site.name_answers(naming);
    let project = Project::locked(&registries);
    registries.site.take_asked();
    registries.site.take_sent();
    (registries, project)
}

/// Updates again; returns what was asked for, and what of it was sent.
fn update(registries: &Registries, project: &Project) -> (Vec<String>, Vec<String>) {
    let answer = project.run(&["--quiet", "update"]);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{answer:?}");
    let sorted = |mut paths: Vec<String>| {
        paths.sort();
        paths
    };
    (sorted(registries.site.take_asked()), sorted(registries.site.take_sent()))
}

#[test]
fn what_has_not_changed_is_asked_for_and_not_sent() {
    for naming in [Naming::Tags, Naming::OldTimes] {
        let (registries, project) = locked(naming);
        let before = project.read("lockfile.toml");
        assert_eq!(update(&registries, &project), (DOCUMENTS.map(str::to_owned).to_vec(), Vec::new()), "{naming:?}");
        assert_eq!(project.read("lockfile.toml"), before);
    }
}

#[test]
fn what_has_no_name_that_holds_is_sent_again() {
    for naming in [Naming::None, Naming::NewTimes] {
        let (registries, project) = locked(naming);
        assert_eq!(update(&registries, &project).1, DOCUMENTS, "{naming:?}");
    }
}

#[test]
fn what_has_changed_is_seen_at_once() {
    let (mut registries, project) = locked(Naming::Tags);
    registries.npm("pad-left", "1.4.0", json!({}));
    registries.wheel(&WheelBuilder::new("numbers", "1.6"));
    registries.replace_deb("hello", "2.10-3", "2.12-1", "Depends: libhello (>= 1.2)\n");
    let sent = update(&registries, &project).1;
    let changed = ["/debian/dists/trixie/InRelease", "/npm/pad-left", "/simple/numbers/"];
    assert!(changed.iter().all(|path| sent.iter().any(|sent| sent == path)), "{sent:?}");
    assert!(!sent.iter().any(|path| path == "/npm/shout" || path == "/simple/sums/"), "{sent:?}");
    let lock = project.read("lockfile.toml");
    for version in ["version = \"1.4.0\"", "version = \"1.6\"", "version = \"2.12-1\""] {
        assert!(lock.contains(version), "{lock}");
    }
    // And what was kept anew is the new one.
    assert_eq!(update(&registries, &project).1, [""; 0]);
    assert_eq!(project.read("lockfile.toml"), lock);
}

#[test]
fn a_server_that_names_another_answer_is_not_believed() {
    for naming in [Naming::OtherTags, Naming::NoTags] {
        let (mut registries, project) = locked(naming);
        registries.npm("pad-left", "1.4.0", json!({}));
        let (asked, sent) = update(&registries, &project);
        assert_eq!(asked.iter().filter(|path| *path == "/npm/pad-left").count(), 2, "{naming:?}: {asked:?}");
        assert!(sent.iter().any(|path| path == "/npm/pad-left"), "{naming:?}: {sent:?}");
        assert!(project.read("lockfile.toml").contains("version = \"1.4.0\""), "{naming:?}");
    }
}

#[test]
fn what_was_kept_counts_for_nothing_without_asking() {
    let (registries, project) = locked(Naming::Tags);
    let offline = project.run(&["--offline", "update"]);
    assert_eq!(offline.code, 3, "{offline:?}");
    // Kept documents that are damaged are fetched again.
    for entry in std::fs::read_dir(project.store().join("memo/document")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(update(&registries, &project).1, DOCUMENTS);
    // A server that says that nothing changed to one who did not ask so has answered nothing.
    std::fs::remove_dir_all(project.store().join("memo/document")).unwrap();
    registries.site.put_answer("/npm/shout", "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n");
    let answer = project.run(&["update"]);
    assert!(answer.code == 3 && answer.stderr.contains("answered 304 Not Modified"), "{answer:?}");
}

#[test]
fn another_node_and_another_python_count_at_once() {
    let mut registries = Registries::serve();
    registries.npm("pad-left", "1.4.0", json!({ "engines": { "node": ">=22" } }));
    registries.wheel(&WheelBuilder::new("numbers", "1.6").tags("cp314-none-any"));
    let project = Project::locked(&registries);
    let versions = |project: &Project| {
        let lock: toml::Table = project.read("lockfile.toml").parse().unwrap();
        let of = |kind: &str| lock[kind].as_array().unwrap()[0]["version"].as_str().unwrap().to_owned();
        (of("npm"), of("pip"))
    };
    assert_eq!(versions(&project), ("1.3.0".to_owned(), "1.5".to_owned()));
    registries.replace_deb("nodejs", "20.19.2+dfsg-1", "22.1.0-1", "");
    registries.replace_deb("python3", "3.13.5-1", "3.14.1-1", "");
    update(&registries, &project);
    assert_eq!(versions(&project), ("1.4.0".to_owned(), "1.6".to_owned()));
}

#[test]
fn pip_is_asked_for_its_default_index_once() {
    let registries = Registries::serve();
    let project = Project::greeter(&registries);
    let settings = project.home().join(".config/oclock/config.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text.split("[sources.pypi]").next().unwrap()).unwrap();
    let (log, pip) = (project.home().join("asked"), project.tools().join("pip"));
    let index = registries.site.url.join("simple").unwrap();
    let script =
        format!("#!/bin/sh\necho >> {}\necho '  -i, --index-url <url>  Base URL (default {index}).'\n", log.display());
    std::fs::write(&pip, script).unwrap();
    std::fs::set_permissions(&pip, std::fs::Permissions::from_mode(0o755)).unwrap();
    for _ in 0..3 {
        update(&registries, &project);
    }
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "\n");
}
