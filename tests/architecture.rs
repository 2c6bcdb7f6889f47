//! Imports go down the list of modules only: a module may name those above it and none below it or beside it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

use std::fs;
use std::path::{Path, PathBuf};

/// The modules in the order of docs/ARCHITECTURE.md.
const LAYERS: &[&str] = &[
    "base", "model", "manifest", "lock", "template", "store", "source", "resolve", "fetch", "assemble", "engine",
    "image", "attest", "audit", "ops", "report", "cli",
];

/// Folders whose parts must not know each other.
const ISLANDS: &[(&str, &[&str])] = &[
    ("resolve", &["apt", "npm", "pip", "image"]),
    ("assemble", &["apt", "npm", "pip", "files"]),
    ("engine", &["buildah", "docker", "native"]),
];

/// What only `base` may name: the disk for writing, processes, sockets, the clock.
const BASE_ONLY: &[&str] = &[
    "std::process::Command",
    "Command::new(",
    "SystemTime::now",
    "Instant::now",
    "reqwest::Client",
    "std::env::var",
    "env::current_dir",
];

#[test]
fn imports_go_down_the_list_only() {
    let mut arrows = Vec::new();
    for (file, text) in sources() {
        let Some(here) = layer_of(&file) else { continue };
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
            for (index, layer) in LAYERS.iter().enumerate().skip(here + 1) {
                if line.contains(&format!("crate::{layer}::")) || line.contains(&format!("crate::{layer};")) {
                    arrows.push(format!("{}:{}: {} names {}", file.display(), number + 1, LAYERS[here], LAYERS[index]));
                }
            }
        }
    }
    assert!(arrows.is_empty(), "arrows that go up:\n{}", arrows.join("\n"));
}

#[test]
fn every_module_has_its_place_in_the_list() {
    let unknown: Vec<_> = sources()
        .into_iter()
        .map(|(file, _)| file)
        .filter(|file| layer_of(file).is_none() && !["lib.rs", "main.rs"].iter().any(|name| file.ends_with(name)))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn ecosystems_and_engines_never_import_each_other() {
    let mut arrows = Vec::new();
    for (file, text) in sources() {
        for (folder, islands) in ISLANDS {
            let Some(here) = islands.iter().find(|island| is_in(&file, folder, island)) else { continue };
            for other in islands.iter().filter(|other| *other != here) {
                for form in [format!("super::{other}::"), format!("crate::{folder}::{other}::")] {
                    arrows.extend(
                        text.lines()
                            .filter(|line| !is_comment(line) && line.contains(&form))
                            .map(|line| format!("{}: {line}", file.display())),
                    );
                }
            }
        }
    }
    assert!(arrows.is_empty(), "{}", arrows.join("\n"));
}

#[test]
fn only_base_touches_the_world() {
    let mut found = Vec::new();
    for (file, text) in sources() {
        if layer_of(&file).is_none_or(|layer| matches!(LAYERS[layer], "base")) {
            continue;
        }
        let program = text.split("#[cfg(test)]").next().unwrap_or_default();
        for form in BASE_ONLY {
            found.extend(
                program
                    .lines()
                    .filter(|line| !is_comment(line) && line.contains(form))
                    .map(|line| format!("{}: {line}", file.display())),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 20, "the sources were not found");
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            (file, text)
        })
        .collect()
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn layer_of(file: &Path) -> Option<usize> {
    let below = file.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = below.components().next()?.as_os_str().to_str()?;
    LAYERS.iter().position(|layer| *layer == first)
}

fn is_in(file: &Path, folder: &str, island: &str) -> bool {
    let text = file.to_string_lossy();
    text.contains(&format!("/src/{folder}/{island}/")) || text.ends_with(&format!("/src/{folder}/{island}.rs"))
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}
