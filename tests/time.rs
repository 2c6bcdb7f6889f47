//! `--as-of` and `[policy] min-age-days` with the real program, against registries on loopback that move: what was published
//! later does not count, and a source that says no times is named.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use oclock::lock::parse_lockfile;
use serde_json::json;
use support::project::Project;
use support::registries::Registries;
use support::wheels::WheelBuilder;

const OLD: &str = "2024-03-05T10:00:00Z";
const SNAPSHOT: &str = "20240401T000000Z";

/// The registries of a day in March 2024.
fn registries() -> Registries {
    Registries::serve_since(OLD)
}

/// A project that reads Debian from snapshots at `http://…/snapshot/{time}/`.
fn project(registries: &Registries) -> Project {
    let project = Project::greeter(registries);
    let settings = project.home().join(".config/oclock/config.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let text = text
        .replace("/debian/\"", "/snapshot/{time}/debian/\"")
        .replace("/security/\"", "/snapshot/{time}/security/\"");
    std::fs::write(&settings, text).unwrap();
    project
}

/// What is published on another day.
fn move_on(registries: &mut Registries, moment: &str, patch: u32) {
    registries.at(moment);
    registries.npm("pad-left", &format!("1.4.{patch}"), json!({}));
    registries.npm("shout", &format!("2.1.{patch}"), json!({ "dependencies": { "pad-left": "^1.0.0" } }));
    registries.wheel(&WheelBuilder::new("numbers", &format!("1.6.{patch}")));
    registries.wheel(&WheelBuilder::new("sums", &format!("3.2.{patch}")).requires("numbers>=1"));
    registries.deb("hello", &format!("2.12-{patch}"), "Depends: libhello (>= 1.2)\n");
}

fn succeed(project: &Project, arguments: &[&str]) -> String {
    let answer = project.run(arguments);
    assert_eq!(answer.code, 0, "{answer:?}");
    project.read("lockfile.toml")
}

#[test]
fn the_same_moment_gives_the_same_bytes_on_every_day() {
    let mut registries = registries();
    registries.take_snapshot(SNAPSHOT);
    let first = succeed(&project(&registries), &["update", "--as-of", "2024-04-01"]);
    move_on(&mut registries, "2024-05-01T00:00:00Z", 1);
    let second = succeed(&project(&registries), &["update", "--as-of", "2024-04-01"]);
    move_on(&mut registries, "2024-06-01T00:00:00Z", 2);
    registries.take_snapshot("20240501T000000Z");
    let one_more = project(&registries);
    assert_eq!(succeed(&one_more, &["update", "--as-of", "2024-04-01T00:00:00Z"]), first);
    assert_eq!(second, first);

    let lock = parse_lockfile(&first, "lockfile.toml").unwrap();
    let said: Vec<String> = lock.pins().map(|pin| format!("{} {}", pin.name, pin.version)).collect();
    assert!(
        ["hello 2.10-3", "shout 2.0.0", "pad-left 1.3.0", "sums 3.1"].iter().all(|pin| said.contains(&(*pin).into()))
    );
    let moment = Some(OLD.parse::<jiff::Timestamp>().unwrap().as_second());
    assert!(lock.npm.iter().all(|pin| pin.published == moment) && lock.pip.iter().all(|pin| pin.published == moment));
    assert!(lock.archives.iter().all(|archive| archive.snapshot == Some(1_711_929_600)), "{first}");

    // A month later some of it was there.
    let later = succeed(&one_more, &["update", "--as-of", "2024-05-01T00:00:00Z"]);
    let lock = parse_lockfile(&later, "lockfile.toml").unwrap();
    let said: Vec<String> = lock.pins().map(|pin| format!("{} {}", pin.name, pin.version)).collect();
    assert!(
        ["hello 2.12-2", "shout 2.1.1", "pad-left 1.4.1", "sums 3.2.1"].iter().all(|pin| said.contains(&(*pin).into())),
        "{said:?}"
    );
}

#[test]
fn a_file_is_found_in_the_snapshot_that_the_lock_names() {
    let registries = registries();
    registries.take_snapshot(SNAPSHOT);
    let project = project(&registries);
    let lock = succeed(&project, &["update", "--as-of", "2024-04-01"]);
    std::fs::remove_dir_all(project.store()).unwrap();
    registries.site.take_asked();
    let answer = project.run(&["fetch"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let asked = registries.site.take_asked();
    assert!(
        asked.iter().any(|path| path.starts_with("/snapshot/20240401T000000Z/debian/pool/hello_2.10-3")),
        "{asked:?}"
    );
    assert!(!lock.contains("http"), "a lock names no host");
}

#[test]
fn what_a_mirror_dropped_is_found_in_a_snapshot_by_its_hash() {
    let mut registries = registries();
    // The day after the archive's Date, 1 March 2024.
    registries.take_snapshot("20240302T000000Z");
    let project = Project::greeter(&registries);
    let settings = project.home().join(".config/oclock/config.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let mirror = format!(
        "mirrors = [\"{}gone/\", \"{}snapshot/{{time}}/debian/\"]\nsuites",
        registries.site.url, registries.site.url
    );
    std::fs::write(&settings, text.replacen("suites", &mirror, 1)).unwrap();
    let lock = succeed(&project, &["update"]);
    assert!(!lock.contains("snapshot"), "{lock}");
    registries.replace_deb("hello", "2.10-3", "2.12-1", "Depends: libhello (>= 1.2)\n");
    std::fs::remove_dir_all(project.store()).unwrap();
    let answer = project.run(&["fetch"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(
        registries
            .site
            .take_asked()
            .contains(&"/snapshot/20240302T000000Z/debian/pool/hello_2.10-3_amd64.deb".to_owned())
    );
    assert_eq!(project.run(&["update", "--pruned"]).stdout, "10 pins, nothing changed\n");
}

#[test]
fn what_says_no_times_is_named_unless_that_is_waived() {
    let registries = Registries::serve();
    let project = Project::greeter(&registries);
    let refused = |needle: &str| {
        let answer = project.run(&["update", "--as-of", "2024-04-01"]);
        assert_eq!((answer.code, answer.stdout.as_str()), (3, ""), "{answer:?}");
        assert!(answer.stderr.contains(needle), "`{needle}`: {answer:?}");
        assert!(!project.root().join("lockfile.toml").exists());
    };
    let waive = |source: &str, expires: &str| {
        let waiver = format!(
            "[[policy.waivers]]\nrule = \"source-times\"\nsubject = \"{source}\"\nreason = \"test\"\nexpires = {expires}\n"
        );
        project.write("oclock.toml", format!("{}\n{waiver}", project.read("oclock.toml")));
    };
    refused("error: `debian` is no snapshot archive: it has only what is there today\n");
    waive("debian", "9000-01-01");
    waive("debian-security", "9000-01-01");
    refused("does not say when");
    waive("npm", "2020-01-01");
    waive("pypi", "9000-01-01");
    refused("error: `npm` does not say when versions of `");
    waive("npm", "9000-01-01");
    succeed(&project, &["update", "--as-of", "2024-04-01"]);
}

#[test]
fn young_releases_wait() {
    let mut registries = registries();
    registries.take_snapshot(SNAPSHOT);
    let project = Project::greeter(&registries);
    let waivers = ["debian", "debian-security"].map(|source| {
        format!("[[policy.waivers]]\nrule = \"source-times\"\nsubject = \"{source}\"\nreason = \"test\"\nexpires = 9000-01-01\n")
    });
    project.write(
        "oclock.toml",
        format!("{}\n[policy]\nmin-age-days = 7\n{}", project.read("oclock.toml"), waivers.join("\n")),
    );
    let before = succeed(&project, &["update"]);
    let yesterday = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() - 2 * 86_400).unwrap().to_string();
    move_on(&mut registries, &yesterday, 0);
    let lock = succeed(&project, &["update"]);
    let moved: Vec<&str> = lock.lines().filter(|line| !before.contains(line)).collect();
    assert!(moved.iter().any(|line| line.contains("2.12-0")), "Debian's are waived: {moved:?}");
    assert!(!lock.contains("1.4.0") && !lock.contains("1.6.0"), "{lock}");

    project.edit("oclock.toml", "sums>=3", "sums>=3.2");
    let answer = project.run(&["update"]);
    assert_eq!(answer.code, 3, "{answer:?}");
    assert!(answer.stderr.contains(&format!("found  3.2.0: a wheel published {yesterday}, 2 days ago")), "{answer:?}");
    project.edit("oclock.toml", "sums>=3.2", "sums>=3");
    project.edit("oclock.toml", "shout = \"^2.0\"", "shout = \"^2.1\"");
    let answer = project.run(&["update"]);
    assert_eq!(answer.code, 3, "{answer:?}");
    assert!(answer.stderr.contains(&format!("too late  2.1.0, published {yesterday}, 2 days ago")), "{answer:?}");
}

#[test]
fn a_locked_release_stays_however_young() {
    let mut registries = registries();
    let project = Project::greeter(&registries);
    let yesterday = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() - 86_400).unwrap().to_string();
    move_on(&mut registries, &yesterday, 0);
    succeed(&project, &["update"]);
    let arguments = ["update", "npm:pad-left", "pip:numbers", "--as-of", "2024-04-01"];
    let lock = parse_lockfile(&succeed(&project, &arguments), "lockfile.toml").unwrap();
    let said: Vec<String> = lock.pins().map(|pin| format!("{} {}", pin.name, pin.version)).collect();
    for pin in ["pad-left 1.3.0", "shout 2.1.0", "numbers 1.5", "sums 3.2.0", "hello 2.12-0"] {
        assert!(said.contains(&pin.to_owned()), "{pin}: {said:?}");
    }
}

#[test]
fn a_moment_is_a_date_in_the_past() {
    let registries = registries();
    let project = project(&registries);
    for moment in ["9000-01-01", "yesterday", "2024-13-01", "2024-01-01T00:00:00"] {
        assert_eq!(project.run(&["update", "--as-of", moment]).code, 2, "{moment}");
    }
}
