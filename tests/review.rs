//! docs/review.md, carried out by a reviewer with a clean clone and an empty store.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::fs;
use std::path::Path;

use oclock::lock::{parse_lockfile, render_lockfile};
use oclock::model::Sha256;
use support::advisories::{days_ago, harmless, write};
use support::console::run_examples;
use support::git::Repository;
use support::project::Project;
use support::registries::Registries;
use support::wheels::WheelBuilder;

/// The author's repository, with one honest branch and one that is not.
fn author(registries: &mut Registries) -> Project {
    let project = Project::locked(registries);
    let manifest = project.read("oclock.toml");
    project.write("oclock.toml", format!("{manifest}\n[policy]\nadvisories = [\"advisories\"]\n"));
    write(&project, &harmless());
    let repository = Repository::start(&project);
    repository.git(&["switch", "--quiet", "--create", "quick-fix"]);
    let mut lock = parse_lockfile(&project.read("lockfile.toml"), "").unwrap();
    lock.pip[1].artifact.sha256 = Sha256::of("poison");
    lock.npm[0].scripts.insert("postinstall".into(), Sha256::of("curl | sh"));
    project.write("lockfile.toml", render_lockfile(&lock));
    repository.git(&["commit", "--quiet", "--all", "--message", "tidy up"]);
    repository.git(&["switch", "--quiet", "main"]);
    repository.git(&["switch", "--quiet", "--create", "bump"]);
    registries.at(&days_ago(12));
    registries.wheel(&WheelBuilder::new("numbers", "1.6"));
    let answer = project.run(&["--quiet", "update", "pip:numbers"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    repository.git(&["commit", "--quiet", "--all", "--message", "numbers 1.6"]);
    repository.git(&["switch", "--quiet", "main"]);
    project
}

#[test]
fn a_reviewer_sees_what_the_page_shows() {
    let mut registries = Registries::serve();
    let author = author(&mut registries);
    let reviewer = Project::with(&registries);
    Repository::clone(&author, &reviewer);
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/review.md")).unwrap();
    assert_eq!(run_examples("review.md", &page, &reviewer), 6);
}
