//! Wheels that the manifest asks for by URL: locked by the hash that stands in it, fetched from the address that stands in it,
//! and refused wherever they are something else. uv is asked for the same on the same site.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

mod support;

use std::process::Command;

use oclock::model::Sha256;
use support::project::{Answer, Project};
use support::registries::Registries;
use support::wheels::WheelBuilder;

/// A wheel that no index lists, and its requirement.
fn publish(registries: &Registries, wheel: &WheelBuilder) -> String {
    let (bytes, file) = (wheel.build(), wheel.file_name());
    let requirement = format!("{} @ {}own/{file}#sha256={}", wheel.name, registries.site.url, Sha256::of(&bytes));
    registries.site.put(&format!("/own/{file}"), bytes);
    requirement
}

fn tape(version: &str) -> WheelBuilder {
    WheelBuilder::new("tape", version).requires("numbers>=1")
}

fn project(registries: &Registries, packages: &[&str], rest: &str) -> Project {
    let project = Project::greeter(registries);
    let packages = packages.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ");
    project.edit("oclock.toml", "packages = [\"sums>=3\"]", &format!("packages = [{packages}]\n{rest}"));
    project
}

/// Field by field what the lockfile has of a pin.
fn pin(project: &Project, name: &str) -> toml::Table {
    let lock: toml::Table = project.read("lockfile.toml").parse().unwrap();
    let pins = lock["pip"].as_array().unwrap();
    pins.iter().find(|pin| pin["name"].as_str() == Some(name)).unwrap().as_table().unwrap().clone()
}

fn refused(project: &Project, arguments: &[&str], code: i32, lines: &[&str]) {
    let answer = project.run(arguments);
    assert_eq!(answer.code, code, "{answer:?}");
    for line in lines {
        assert!(answer.stderr.contains(line), "`{line}` is not in\n{}", answer.stderr);
    }
}

fn done(project: &Project, arguments: &[&str]) -> Answer {
    let answer = project.run(arguments);
    assert_eq!(answer.code, 0, "{arguments:?} {answer:?}");
    answer
}

#[test]
fn a_wheel_by_url_is_locked_fetched_and_verified() {
    let mut registries = Registries::serve();
    let asked = publish(&registries, &tape("1.0"));
    let project = project(&registries, &[&asked, "sums>=3"], "");
    done(&project, &["update"]);
    let found = pin(&project, "tape");
    let text = |key: &str| found[key].as_str().unwrap();
    assert_eq!((text("version"), text("source")), ("1.0", "url"));
    assert_eq!(text("path"), "tape/tape-1.0-py3-none-any.whl");
    assert!(!project.read("lockfile.toml").contains("127.0.0.1"), "a lockfile names no host");
    assert_eq!(pin(&project, "numbers")["required-by"].as_array().unwrap().len(), 2);
    done(&project, &["update", "--check"]);
    // Nothing of it is asked for again: its bytes are at hand, and they are what is asked for.
    registries.site.take_asked();
    let before = project.read("lockfile.toml");
    done(&project, &["update"]);
    assert_eq!(project.read("lockfile.toml"), before);
    assert!(!registries.site.take_asked().iter().any(|path| path.contains("tape-1")));
    std::fs::remove_dir_all(project.store()).unwrap();
    done(&project, &["fetch"]);
    assert!(registries.site.asked("/own/tape-1.0-py3-none-any.whl"));
    assert!(!registries.site.asked("/simple/tape/"), "no index is asked for it");
    done(&project, &["verify", "--online"]);
    // Gone from its address: told, and not looked for elsewhere.
    registries.wheel(&tape("1.0"));
    registries.site.remove("/own/tape");
    std::fs::remove_dir_all(project.store()).unwrap();
    refused(&project, &["fetch"], 3, &["error: `pip:tape 1.0` is no longer to be had", "own/tape-1.0"]);
}

#[test]
fn what_changes_is_seen() {
    let registries = Registries::serve();
    let (old, new) = (publish(&registries, &tape("1.0")), publish(&registries, &tape("1.1")));
    let project = project(&registries, &[&old], "");
    done(&project, &["update"]);
    project.write("before.toml", project.read("lockfile.toml"));
    project.edit("oclock.toml", &old, &new);
    refused(&project, &["update", "--check"], 1, &["the lockfile pins tape 1.0, outside this range"]);
    done(&project, &["update", "pip:tape"]);
    let diff = project.run(&["diff", "before.toml", "lockfile.toml"]);
    assert!(diff.code == 0 && diff.stdout.contains("pip:tape  1.0 -> 1.1"), "{diff:?}");
    // Other bytes of the same version: the manifest's hash says so.
    let other = publish(&registries, &tape("1.1").requires("sums"));
    project.edit("oclock.toml", &new, &other);
    refused(&project, &["update", "--check"], 1, &["the lockfile has tape 1.1 in its place"]);
    // And where the hash is the old one, what comes now is not trusted.
    project.edit("oclock.toml", &other, &new);
    std::fs::remove_dir_all(project.store()).unwrap();
    for verb in ["update", "fetch"] {
        refused(&project, &[verb], 4, &["tape"]);
    }
}

#[test]
fn a_source_that_it_is_below_gives_its_name() {
    let registries = Registries::serve();
    let asked = publish(&registries, &tape("1.0"));
    let source = |place: &str| {
        format!("[sources.files]\nkind = \"pip\"\nurl = \"{}{place}\"\npackages = [\"tape\"]", registries.site.url)
    };
    let named = project(&registries, &[&asked], &source("own/"));
    done(&named, &["update"]);
    assert_eq!(pin(&named, "tape")["source"].as_str(), Some("files"));
    done(&named, &["update", "--check"]);
    std::fs::remove_dir_all(named.store()).unwrap();
    done(&named, &["fetch"]);
    let elsewhere = project(&registries, &[&asked], &source("other/"));
    refused(&elsewhere, &["update"], 2, &["is bound to the source `files`"]);
    let reserved = project(&registries, &[&asked], &source("own/").replace("files", "url"));
    refused(&reserved, &["update"], 2, &["error: no source can be called `url`"]);
}

#[test]
fn what_cannot_be_locked_is_refused_by_name() {
    let registries = Registries::serve();
    let asked = publish(&registries, &tape("1.0"));
    let (bare, hash) = asked.split_once('#').unwrap();
    for (packages, rest, code, line) in [
        (vec![bare], "", 2, "add `#sha256=` and the wheel's sha256 to the URL"),
        (vec![asked.as_str()], "constraints = [\"tape>1\"]", 3, "tape"),
        (
            vec!["sums"],
            &*format!("overrides = [\"{asked}\"]"),
            2,
            "by URL wheels are asked for in `[pip] packages` alone",
        ),
        (vec![&*bare.replace("own/", "other/"), hash], "", 2, "oclock.toml"),
    ] {
        let project = project(&registries, &packages, rest);
        refused(&project, &["update"], code, &[line]);
        assert!(!project.root().join("lockfile.toml").exists());
    }
    // In another package's metadata a URL is refused, whatever hash it has.
    let mut registries = registries;
    registries.wheel(&WheelBuilder::new("outer", "1.0").requires(&asked));
    let outer = project(&registries, &["outer"], "");
    refused(&outer, &["update"], 3, &["it requires `tape` from a URL, which cannot be locked"]);
    let foreign = publish(&registries, &tape("2.0").tags("cp313-cp313-win_amd64"));
    let foreign = project(&registries, &[&foreign], "");
    refused(&foreign, &["update"], 3, &["error: `tape` has no wheel that the target can use", "win_amd64"]);
}

#[test]
fn uv_takes_the_same_and_refuses_the_same() {
    let registries = Registries::serve();
    let asked = publish(&registries, &tape("1.0"));
    let uv = |text: &str| {
        let place = tempfile::tempdir().unwrap();
        let index = registries.site.url.join("simple/").unwrap();
        let mut command = Command::new(support::oracle::uv_program());
        command.args(["pip", "install", "--no-cache", "--python-version", "3.13", "--default-index", index.as_str()]);
        command.arg("--target").arg(place.path()).arg(text).env_remove("PIP_FIND_LINKS").output().unwrap()
    };
    let taken = uv(&asked);
    let said = String::from_utf8_lossy(&taken.stderr);
    assert!(taken.status.success() && said.contains("+ numbers==1.5") && said.contains("+ tape==1.0"), "{said}");
    let wrong = asked.replace("#sha256=", "#sha256=0").split_at(asked.len()).0.to_owned();
    assert!(!uv(&wrong).status.success());
    let project = project(&registries, &[&wrong], "");
    refused(
        &project,
        &["update"],
        4,
        &["error: `tape-1.0-py3-none-any.whl` arrived with bytes that `url` does not promise"],
    );
}
