//! `oclock update WHAT…`, `--minimal` and `--precise` with the real program, against registries on loopback: what is named
//! moves with what it forces, and everything else stays where it is, to the byte.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use oclock::lock::{Lockfile, parse_lockfile};
use serde_json::json;
use support::project::{Answer, Project};
use support::registries::Registries;
use support::wheels::WheelBuilder;

/// A locked project, and registries in which everything has something newer since.
fn later() -> (Registries, Project) {
    let mut registries = Registries::serve();
    let project = Project::locked(&registries);
    registries.supersede_deb("hello", "2.10-3", "2.12-1", "Depends: libhello (>= 1.2)\n");
    registries.supersede_deb("libhello", "1.4-2+b1", "1.5-1", "");
    registries.supersede_deb("base-files", "13.8", "13.9", "Essential: yes\nPriority: required\n");
    registries.npm("pad-left", "1.4.0", json!({}));
    registries.npm("shout", "2.1.0", json!({ "dependencies": { "pad-left": "^1.0.0" } }));
    registries.wheel(&WheelBuilder::new("numbers", "1.6"));
    registries.wheel(&WheelBuilder::new("sums", "3.2").requires("numbers>=1"));
    (registries, project)
}

fn lock(project: &Project) -> Lockfile {
    parse_lockfile(&project.read("lockfile.toml"), "lockfile.toml").unwrap()
}

fn pins(project: &Project) -> Vec<String> {
    lock(project).pins().map(|pin| format!("{}:{} {}", pin.ecosystem, pin.name, pin.version)).collect()
}

/// What went and what came.
fn moved(project: &Project, arguments: &[&str]) -> Vec<String> {
    let before = pins(project);
    let answer = project.run(arguments);
    assert_eq!(answer.code, 0, "{answer:?}");
    let after = pins(project);
    let went = before.iter().filter(|pin| !after.contains(pin)).map(|pin| format!("- {pin}"));
    let came = after.iter().filter(|pin| !before.contains(pin)).map(|pin| format!("+ {pin}"));
    let check = project.run(&["update", "--check"]);
    assert_eq!(check.code, 0, "{check:?}");
    went.chain(came).collect()
}

fn refused(project: &Project, arguments: &[&str], code: i32, lines: &[&str]) -> Answer {
    let before = project.read("lockfile.toml");
    let answer = project.run(arguments);
    assert_eq!((answer.code, answer.stdout.as_str()), (code, ""), "{answer:?}");
    for line in lines {
        assert!(answer.stderr.lines().any(|said| said.trim() == *line), "`{line}` is not in\n{}", answer.stderr);
    }
    assert_eq!(project.read("lockfile.toml"), before, "a refused update changes nothing");
    answer
}

#[test]
fn what_is_named_moves_alone() {
    let (registries, project) = later();
    registries.site.take_asked();
    assert_eq!(moved(&project, &["update", "npm:pad-left"]), ["- npm:pad-left 1.3.0", "+ npm:pad-left 1.4.0"]);
    let asked = registries.site.take_asked();
    assert!(asked.iter().all(|path| path.starts_with("/npm/")), "other registries are not asked: {asked:?}");
    assert_eq!(moved(&project, &["update", "pip:Sums"]), ["- pip:sums 3.1", "+ pip:sums 3.2"]);
    assert_eq!(moved(&project, &["update", "apt:hello"]), ["- apt:hello 2.10-3", "+ apt:hello 2.12-1"]);
    let several = ["update", "apt:libhello", "npm:shout"];
    let both = ["- apt:libhello 1.4-2+b1", "- npm:shout 2.0.0", "+ apt:libhello 1.5-1", "+ npm:shout 2.1.0"];
    assert_eq!(moved(&project, &several), both);
    let before = project.read("lockfile.toml");
    assert_eq!(moved(&project, &several), [""; 0]);
    assert_eq!(project.read("lockfile.toml"), before, "once more changes nothing");
    assert_eq!(moved(&project, &["update", "base"]), ["- apt:base-files 13.8", "+ apt:base-files 13.9"]);
    assert_eq!(moved(&project, &["update"]), ["- pip:numbers 1.5", "+ pip:numbers 1.6"]);
}

#[test]
fn what_is_forced_moves_along() {
    let (mut registries, project) = later();
    registries.npm("pad-left", "1.5.0", json!({}));
    registries.npm("shout", "2.2.0", json!({ "dependencies": { "pad-left": "^1.5.0" } }));
    registries.wheel(&WheelBuilder::new("numbers", "2.0"));
    registries.wheel(&WheelBuilder::new("sums", "4.0").requires("numbers>=2"));
    registries.supersede_deb("hello", "2.12-1", "3-1", "Depends: libhello (>= 1.5)\n");
    let npm = ["- npm:pad-left 1.3.0", "- npm:shout 2.0.0", "+ npm:pad-left 1.5.0", "+ npm:shout 2.2.0"];
    assert_eq!(moved(&project, &["update", "npm:shout"]), npm);
    let pip = ["- pip:numbers 1.5", "- pip:sums 3.1", "+ pip:numbers 2.0", "+ pip:sums 4.0"];
    assert_eq!(moved(&project, &["update", "pip:sums"]), pip);
    let apt = ["- apt:hello 2.10-3", "- apt:libhello 1.4-2+b1", "+ apt:hello 3-1", "+ apt:libhello 1.5-1"];
    assert_eq!(moved(&project, &["update", "apt:hello"]), apt);
}

#[test]
fn a_change_of_the_manifest_forces_no_more_than_it_must() {
    let (mut registries, project) = later();
    registries.deb("tree", "2.2.1-1", "Depends: libhello\n");
    let unchanged = project.read("lockfile.toml");
    registries.site.take_asked();
    assert_eq!(moved(&project, &["update", "--minimal"]), [""; 0]);
    assert_eq!(registries.site.take_asked(), [""; 0], "an answered manifest needs no source");
    assert_eq!(project.read("lockfile.toml"), unchanged);

    project.edit("oclock.toml", "\"hello\", ", "\"tree\", \"hello=2.12*\", ");
    let apt = ["- apt:hello 2.10-3", "+ apt:hello 2.12-1", "+ apt:tree 2.2.1-1"];
    assert_eq!(moved(&project, &["update", "--minimal"]), apt);
    project.edit("oclock.toml", "shout = \"^2.0\"", "shout = \"^2.1\"");
    project.edit("oclock.toml", "sums>=3", "sums>=3.2");
    let others = ["- npm:shout 2.0.0", "- pip:sums 3.1", "+ npm:shout 2.1.0", "+ pip:sums 3.2"];
    assert_eq!(moved(&project, &["update", "--minimal"]), others);
    project.edit("oclock.toml", "packages = [\"sums>=3.2\"]", "packages = [\"numbers\"]");
    assert_eq!(moved(&project, &["update", "--minimal"]), ["- pip:sums 3.2"]);
    project.edit("oclock.toml", "[npm.packages]\nshout = \"^2.1\"\n", "");
    assert_eq!(moved(&project, &["update", "--minimal"]), ["- npm:pad-left 1.3.0", "- npm:shout 2.1.0"]);
}

#[test]
fn a_platform_that_is_added_leaves_the_other_alone() {
    let (mut registries, project) = later();
    registries.add_arm64();
    let before = lock(&project);
    project.edit("oclock.toml", "[image]\n", "[image]\nplatforms = [\"linux/arm64\", \"linux/amd64\"]\n");
    let answer = project.run(&["update", "--minimal"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let after = lock(&project);
    let of = |lock: &Lockfile, platform: &str| -> Vec<String> {
        let pins = lock.pins().filter(|pin| pin.platform.to_string() == platform);
        pins.map(|pin| format!("{} {}", pin.name, pin.version)).collect()
    };
    assert_eq!(of(&after, "linux/amd64"), of(&before, "linux/amd64"));
    let arm64 = of(&after, "linux/arm64");
    assert!(arm64.contains(&"hello 2.12-1".to_owned()) && arm64.contains(&"sums 3.2".to_owned()), "{arm64:?}");
    assert_eq!(arm64.len(), 10);
    assert_eq!(project.run(&["update", "--check"]).code, 0);
    assert_eq!(moved(&project, &["update", "--minimal"]), [""; 0]);
    let all = project.run(&["update"]);
    assert_eq!(all.code, 0, "{all:?}");
    assert_eq!(of(&lock(&project), "linux/amd64"), of(&lock(&project), "linux/arm64"));
    assert_eq!(lock(&project).archives.len(), 2, "one list of each suite serves both");
}

#[test]
fn the_summary_says_how_far_how_old_how_much_and_for_whom() {
    let (mut registries, project) = later();
    let days = 3 * 86_400;
    registries.at(&jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() - days).unwrap().to_string());
    registries.npm("tiny", "1.0.0", json!({}));
    registries.npm("shout", "2.3.0", json!({ "dependencies": { "tiny": "1" } }));
    let answer = project.run(&["--quiet", "update", "npm:shout"]);
    let lines: Vec<&str> = answer.stdout.lines().collect();
    assert!(lines[0].starts_with("- npm:pad-left 1.3.0  gone  -"), "{answer:?}");
    assert!(lines[1].starts_with("npm:shout 2.0.0 -> 2.3.0  minor  3 days"), "{answer:?}");
    assert!(
        lines[2].starts_with("+ npm:tiny 1.0.0  new  3 days  +") && lines[2].ends_with("  for shout = \"^2.0\""),
        "{answer:?}"
    );
    assert_eq!(lines[3..], ["10 pins, the lockfile was written"]);
    let down = project.run(&["--quiet", "update", "npm:shout", "--precise", "2.1.0", "--format", "json"]);
    let down: serde_json::Value = serde_json::from_str(&down.stdout).unwrap();
    let shout = down["moves"].as_array().unwrap().iter().find(|pin| pin["name"] == "shout").unwrap();
    assert_eq!((&shout["fate"], &shout["from"], &shout["to"]), (&json!("down"), &json!("2.3.0"), &json!("2.1.0")));
}

#[test]
fn a_precise_version_goes_up_and_down() {
    let (_registries, project) = later();
    assert_eq!(moved(&project, &["update"]).len(), 14);
    let npm = ["- npm:pad-left 1.4.0", "+ npm:pad-left 1.3.0"];
    assert_eq!(moved(&project, &["update", "npm:pad-left", "--precise", "1.3.0"]), npm);
    let pip = ["- pip:numbers 1.6", "+ pip:numbers 1.5"];
    assert_eq!(moved(&project, &["update", "pip:numbers", "--precise", "1.5"]), pip);
    let up = ["- npm:pad-left 1.3.0", "+ npm:pad-left 1.4.0"];
    assert_eq!(moved(&project, &["update", "npm:pad-left", "--precise", "1.4.0"]), up);
}

#[test]
fn a_precise_debian_version_is_one_that_an_archive_has() {
    let (mut registries, project) = later();
    registries.deb("hello", "2.11-1", "Depends: libhello (>= 1.2)\n");
    let moves = ["- apt:hello 2.10-3", "+ apt:hello 2.11-1"];
    assert_eq!(moved(&project, &["update", "apt:hello", "--precise", "2.11-1"]), moves);
    let answer = refused(&project, &["update", "apt:hello", "--precise", "9"], 3, &[]);
    assert!(answer.stderr.contains("2.12-1  trixie"), "{answer:?}");
}

#[test]
fn a_precise_version_that_is_not_to_be_had_is_refused() {
    let (_registries, project) = later();
    let one = "hint: name one `npm:NAME`, `pip:NAME` or `apt:NAME`; a base is chosen in `[image] base`";
    refused(&project, &["update", "npm:shout", "npm:pad-left", "--precise", "2.1.0"], 2, &[one]);
    refused(&project, &["update", "base", "--precise", "1"], 2, &[one]);
    let answer = refused(&project, &["update", "npm:pad-left", "--precise", "9.9.9"], 3, &[]);
    assert!(answer.stderr.contains("npm:pad-left 1.4.0 is what its requirements allow, not 9.9.9"), "{answer:?}");
    refused(&project, &["update", "pip:numbers", "--precise", "0.1"], 3, &[]);
    assert_eq!(project.run(&["update", "--precise", "1"]).code, 2);
}

#[test]
fn what_is_not_there_is_named_with_what_may_be_meant() {
    let (_registries, project) = later();
    refused(&project, &["update", "npm:pad-lift"], 2, &["hint: did you mean `npm:pad-left`?"]);
    refused(&project, &["update", "npm:sums"], 2, &["hint: did you mean `pip:sums`?"]);
    refused(&project, &["update", "apt:wholly-other"], 2, &["hint: `oclock list` shows what is locked"]);
    let bare = ["error: `shout` names no package", "hint: write `npm:NAME`, `pip:NAME`, `apt:NAME` or `base`"];
    refused(&project, &["update", "shout"], 2, &bare);
}

#[test]
fn trying_changes_nothing() {
    let (_registries, project) = later();
    let before = project.read("lockfile.toml");
    let answer = project.run(&["update", "npm:shout", "--dry-run", "--exit-code"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stdout.contains("npm:shout 2.0.0 -> 2.1.0"), "{answer:?}");
    assert_eq!(project.read("lockfile.toml"), before);
    assert_eq!(project.run(&["update", "--minimal", "--exit-code"]).code, 0);
}

#[test]
fn a_pin_that_the_archive_no_longer_lists_stays_while_it_can_be_had() {
    let (mut registries, project) = later();
    registries.replace_deb("nodejs", "20.19.2+dfsg-1", "20.19.3+dfsg-1", "");
    let answer = refused(&project, &["update", "apt:hello"], 3, &[]);
    assert!(answer.stderr.contains("--pruned"), "{answer:?}");
    let all = moved(&project, &["update", "apt:hello", "--pruned"]);
    assert!(all.contains(&"+ apt:nodejs 20.19.3+dfsg-1".to_owned()), "{all:?}");
    assert!(!all.iter().any(|line| line.contains("npm:") || line.contains("pip:")), "{all:?}");

    // Once the store has them, they stay, and the older signed list stays beside today's.
    let fetched = project.run(&["fetch"]);
    assert_eq!(fetched.code, 0, "{fetched:?}");
    registries.replace_deb("nodejs", "20.19.3+dfsg-1", "20.19.4+dfsg-1", "");
    registries.replace_deb("hello", "2.12-1", "2.13-1", "Depends: libhello (>= 1.2)\n");
    assert_eq!(moved(&project, &["update", "apt:hello"]), ["- apt:hello 2.12-1", "+ apt:hello 2.13-1"]);
}
