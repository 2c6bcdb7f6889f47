//! The README's tour runs as it is shown: its ```console blocks in a temporary directory, and between them the `update`
//! for which a reader has a network, here against registries on loopback.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::fs;
use std::path::Path;

use support::console::run_examples;
use support::project::Project;
use support::registries::Registries;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

#[test]
fn the_tour_runs_as_shown() {
    let readme = readme();
    let (before, after) = readme.split_once("```text\n$ oclock update\n").expect("the tour has an update");
    let project = Project::with(&Registries::serve());
    assert_eq!(run_examples("README.md", before, &project), 1);
    let update = project.run(&["-C", "hello", "--quiet", "update"]);
    assert_eq!((update.code, update.stderr.as_str()), (0, ""), "{update:?}");
    assert_eq!(project.run(&["-C", "hello", "--quiet", "context"]).code, 0);
    assert_eq!(run_examples("README.md", after, &project), 1);
}

#[test]
fn every_file_that_the_readme_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = readme();
    let links = readme.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    let tests = readme.split('`').filter(|word| word.starts_with("tests/") && !word.contains('*'));
    let named: Vec<&str> = links.chain(tests).collect();
    assert!(named.len() > 10, "{named:?}");
    let missing: Vec<&&str> = named.iter().filter(|path| !root.join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_sources_shown_are_ones_that_oclock_takes() {
    let readme = readme();
    let example = readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let project = Project::with(&Registries::serve());
    project.run(&["init"]);
    project.write("oclock.toml", project.read("oclock.toml") + "\n" + example);
    let info = project.run(&["info"]);
    assert_eq!(info.code, 0, "{info:?}");
    assert!(info.stdout.contains("https://npm.example.invalid/  (oclock.toml)"), "{info:?}");
    assert!(info.stdout.contains("https://python.example.invalid/simple/  (oclock.toml)"), "{info:?}");
}
