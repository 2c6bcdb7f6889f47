//! `oclock audit` with the real program: advisories, policy, waivers, forms of the answer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use oclock::lock::{parse_lockfile, render_lockfile};
use oclock::model::Sha256;
use serde_json::{Value, json};

use support::advisories::{advisory, archive, days_ago, harmless, write};
use support::project::{Answer, Project};
use support::registries::Registries;
use support::wheels::WheelBuilder;

fn audit(project: &Project, options: &[&str]) -> Answer {
    project.run(&[&["--quiet", "audit", "--advisories", "advisories"], options].concat())
}

/// A locked project with advisories that do not touch it.
fn bench() -> (Registries, Project) {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    write(&project, &harmless());
    (registries, project)
}

fn outcome(answer: &Answer) -> Value {
    serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

fn subjects(answer: &Answer, rule: &str) -> Vec<String> {
    let outcome = outcome(answer);
    let findings = outcome["findings"].as_array().unwrap().iter().filter(|finding| finding["rule"] == rule);
    findings.map(|finding| finding["subject"].as_str().unwrap().to_owned()).collect()
}

fn policy(project: &Project, text: &str) {
    let manifest = project.read("oclock.toml");
    project.write("oclock.toml", format!("{manifest}\n[policy]\n{text}\n"));
}

fn waiver(rule: &str, subject: &str, expires: &str) -> String {
    format!("[[policy.waivers]]\nrule = \"{rule}\"\nsubject = \"{subject}\"\nreason = \"known\"\nexpires = {expires}\n")
}

#[test]
fn pins_that_no_advisory_speaks_of_are_not_affected() {
    let (_registries, project) = bench();
    let answer = audit(&project, &[]);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{answer:?}");
    let date = &days_ago(1)[..10];
    let expected = format!(
        "apt: 0 affected, 6 not affected, 0 not audited (1 advisories, the newest of {date})\n\
         npm: 0 affected, 2 not affected, 0 not audited (1 advisories, the newest of {date})\n\
         pip: 0 affected, 2 not affected, 0 not audited (1 advisories, the newest of {date})\n"
    );
    assert_eq!(answer.stdout, expected);
}

#[test]
fn an_affected_pin_is_told_with_its_way_out() {
    let (_registries, project) = bench();
    let mut about = advisory("GHSA-1", "npm", "pad-left", Some("1.3.1"));
    about["aliases"] = json!(["CVE-2026-1"]);
    about["severity"] = json!([{ "type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N" }]);
    about["database_specific"] = json!({ "severity": "HIGH" });
    write(&project, &[about, advisory("PYSEC-1", "PyPI", "Numbers", None)]);
    let answer = audit(&project, &[]);
    assert_eq!(answer.code, 1);
    let expected = [
        "error: npm:pad-left 1.3.0 has CVE-2026-1: pad-left gives too much away [advisory]",
        "      severity  CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N, high",
        "          also  GHSA-1",
        "      fixed in  1.3.1",
        "         to do  oclock update npm:pad-left",
        "error: pip:numbers 1.5 has PYSEC-1: Numbers gives too much away [advisory]",
        "      fixed in  no version that the advisory names",
    ];
    let expected = expected.join("\n");
    assert!(answer.stdout.starts_with(&expected), "{}", answer.stdout);
    let outcome = outcome(&audit(&project, &["--format", "json"]));
    let state = |name: &str| {
        let pins = outcome["pins"].as_array().unwrap();
        pins.iter().find(|pin| pin["name"] == name).map(|pin| pin["state"].as_str().unwrap().to_owned()).unwrap()
    };
    assert_eq!([state("pad-left"), state("shout"), state("numbers")], ["affected", "not-affected", "affected"]);
}

#[test]
fn debian_is_matched_by_source_package_and_release() {
    let mut registries = Registries::serve();
    registries.deb("hello", "2.10-4", "Source: hello-src (2.10-3)\nDepends: libhello (>= 1.2)\n");
    let project = Project::locked(&registries);
    write(&project, &harmless());
    write(
        &project,
        &[
            advisory("DEBIAN-CVE-1", "Debian:12", "hello-src", Some("99")),
            advisory("DEBIAN-CVE-2", "Debian:13", "hello", Some("99")),
            advisory("DEBIAN-CVE-3", "Debian:13", "hello-src", Some("2.10-3")),
            advisory("DEBIAN-CVE-4", "Debian:13", "hello-src", Some("2.10-3+deb13u1")),
        ],
    );
    let answer = audit(&project, &["--format", "json"]);
    assert_eq!((answer.code, subjects(&answer, "advisory")), (1, vec!["apt:hello-src DEBIAN-CVE-4".to_owned()]));
    let lines = audit(&project, &[]).stdout;
    assert!(lines.contains("installed  apt:hello\n") && lines.contains("oclock update apt:hello\n"), "{lines}");
}

#[test]
fn without_advisories_the_answer_is_not_yes() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    let answer = project.run(&["--quiet", "--format", "json", "audit"]);
    assert_eq!((answer.code, subjects(&answer, "not-audited").len()), (1, 3), "{answer:?}");
    let allowed = project.run(&["--quiet", "audit", "--allow-not-audited"]);
    assert_eq!(allowed.code, 0);
    assert!(allowed.stdout.contains("warning: 2 pins of npm not audited for advisories: no advisory data is named"));
}

/// Each way in which data can fail, as files, with words of the reason.
fn failing_files(project: &Project) -> Vec<(&'static str, &'static str)> {
    let all = harmless();
    let whole = archive(&all);
    let mut old = all.clone();
    old.iter_mut().for_each(|advisory| advisory["modified"] = days_ago(31).into());
    project.write("stale/a.zip", archive(&old));
    project.write("unparsable/A.json", "{\"id\": 1}");
    project.write("unparsable/B.json", all[0].to_string());
    project.write("empty/README", "nothing");
    project.write("empty.zip", "");
    project.write("hollow.zip", archive(&[]));
    project.write("cut.zip", &whole[..whole.len() - 40]);
    project.write("other.zip", archive(&[advisory("GO-1", "Go", "x", None)]));
    project.write("page.zip", "<html>not here</html>");
    project.write("not-json.zip", archive(&[json!({ "id": "A" })]));
    vec![
        ("missing.zip", "there is no such file or directory"),
        ("stale", "31 days ago; 30 are allowed"),
        ("unparsable", "A.json` in it cannot be used"),
        ("not-json.zip", "A.json` in it cannot be used"),
        ("empty", "it holds no advisories"),
        ("empty.zip", "it holds no advisories"),
        ("hollow.zip", "it holds no advisories"),
        ("cut.zip", "it is no whole zip archive"),
        ("page.zip", "it is no whole zip archive"),
        ("other.zip", "the data holds no advisories for `npm`"),
    ]
}

#[test]
fn no_failing_file_gives_a_good_answer() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    write(&project, &harmless());
    for (place, words) in failing_files(&project) {
        let answer = project.run(&["--quiet", "audit", "--advisories", place]);
        assert_eq!(answer.code, 1, "{place}: {answer:?}");
        assert!(answer.stdout.contains(words), "{place}: {}", answer.stdout);
        assert!(answer.stdout.contains("npm: 0 affected, 0 not affected, 2 not audited"), "{place}: {}", answer.stdout);
    }
    // A place that fails counts also beside one that is whole: it may have said what the other does not.
    let both = audit(&project, &["--advisories", "missing.zip"]);
    assert_eq!(both.code, 1);
    assert_eq!(audit(&project, &[]).code, 0);
}

#[test]
fn no_failing_server_gives_a_good_answer() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    let site = &registries.site;
    failing_files(&project);
    let file = |name: &str| std::fs::read(project.root().join(name)).unwrap();
    for name in ["empty.zip", "cut.zip", "other.zip", "page.zip", "not-json.zip"] {
        site.put(&format!("/osv/{name}"), file(name));
    }
    site.put("/osv/stale.zip", file("stale/a.zip"));
    let whole = archive(&harmless());
    site.put_answer(
        "/osv/405.zip",
        "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", whole.len());
    site.put_answer("/osv/truncated.zip", [head.as_bytes(), &whole[..whole.len() / 2]].concat());
    for (name, words) in [
        ("absent.invalid", "could not reach"),
        ("stale.zip", "31 days ago; 30 are allowed"),
        ("not-json.zip", "A.json` in it cannot be used"),
        ("page.zip", "it is no whole zip archive"),
        ("empty.zip", "it holds no advisories"),
        ("404.zip", "is not there: 404"),
        ("405.zip", "answered 405"),
        ("truncated.zip", "could not reach"),
        ("cut.zip", "it is no whole zip archive"),
        ("other.zip", "the data holds no advisories for `PyPI`"),
    ] {
        let url = match name {
            // A port on which nobody listens any more.
            "absent.invalid" => "http://127.0.0.1:1/all.zip".to_owned(),
            name => format!("{}osv/{name}", site.url),
        };
        let answer = project.run(&["--quiet", "audit", "--advisories", &url]);
        assert_eq!(answer.code, 1, "{name}: {answer:?}");
        assert!(answer.stdout.contains(words), "{name}: {}", answer.stdout);
        assert!(answer.stdout.contains("pip: 0 affected, 0 not affected, 2 not audited"), "{name}: {}", answer.stdout);
    }
}

#[test]
fn a_directory_of_archives_is_asked_for_what_is_pinned() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    let site = &registries.site;
    for (directory, advisory) in ["npm", "PyPI", "Debian"].iter().zip(harmless()) {
        site.put(&format!("/osv/{directory}/all.zip"), archive(&[advisory]));
    }
    let url = format!("{}osv/", site.url);
    site.take_asked();
    let run = |options: &[&str]| project.run(&[&["--quiet", "audit", "--advisories", &url], options].concat());
    assert_eq!(run(&[]).code, 0);
    assert_eq!(site.take_asked(), ["/osv/Debian/all.zip", "/osv/npm/all.zip", "/osv/PyPI/all.zip"]);
    site.remove("/osv/npm/all.zip");
    let answer = run(&["--format", "json"]);
    assert_eq!((answer.code, subjects(&answer, "not-audited")), (1, vec!["advisories npm".to_owned()]));
}

#[test]
fn what_was_fetched_is_fetched_again_only_when_it_changed() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    let site = &registries.site;
    let whole = archive(&harmless());
    let head =
        format!("HTTP/1.1 200 OK\r\nETag: \"one\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", whole.len());
    site.put_answer("/osv/all.zip", [head.as_bytes(), &whole].concat());
    let url = format!("{}osv/all.zip", site.url);
    let run = |options: &[&str]| project.run(&[&["--quiet"], options, &["audit", "--advisories", &url]].concat());
    assert_eq!(run(&["--offline"]).code, 1, "nothing is kept yet");
    assert_eq!(run(&[]).code, 0);
    site.put_answer("/osv/all.zip", "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n");
    assert_eq!(run(&[]).code, 0);
    assert_eq!(run(&["--offline"]).code, 0);
    let mut more = harmless();
    more.push(advisory("A", "npm", "shout", None));
    let whole = archive(&more);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", whole.len());
    site.put_answer("/osv/all.zip", [head.as_bytes(), &whole].concat());
    assert_eq!(run(&[]).code, 1);
}

#[test]
fn the_index_is_made_once_and_made_again_when_it_is_gone() {
    let (_registries, project) = bench();
    project.write("all.zip", archive(&harmless()));
    let run = || project.run(&["--quiet", "audit", "--advisories", "all.zip"]);
    let before = project.snapshot();
    assert_eq!(run().code, 0);
    let after = project.snapshot();
    let made: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(run().code, 0);
    assert_eq!(project.snapshot(), after);
    std::fs::write(made[0], "npm/x\t{}\n").unwrap();
    assert_eq!(run().code, 4, "a damaged index is not trusted");
    std::fs::remove_file(made[0]).unwrap();
    assert_eq!(run().code, 0);
    assert_eq!(project.snapshot(), after);
}

#[test]
fn a_record_that_is_not_understood_concerns_its_package_alone() {
    let (_registries, project) = bench();
    let mut strange = advisory("ODD-1", "npm", "shout", None);
    strange["affected"][0]["ranges"][0]["type"] = "MOON".into();
    write(&project, &[strange]);
    let answer = audit(&project, &["--format", "json"]);
    assert_eq!((answer.code, subjects(&answer, "not-audited")), (1, vec!["advisories npm:shout".to_owned()]));
    let lines = audit(&project, &[]).stdout;
    assert!(lines.contains("ODD-1: ranges of type `MOON` are not known"), "{lines}");
    assert!(lines.contains("npm: 0 affected, 1 not affected, 1 not audited"), "{lines}");
}

#[test]
fn withdrawn_advisories_and_other_names_of_one_count_once() {
    let (_registries, project) = bench();
    let mut gone = advisory("GHSA-0", "npm", "shout", None);
    gone["withdrawn"] = days_ago(1).into();
    let mut one = advisory("GHSA-1", "PyPI", "sums", Some("3.2"));
    one["aliases"] = json!(["CVE-2026-7", "PYSEC-1"]);
    let mut other = advisory("PYSEC-1", "PyPI", "sums", Some("3.2"));
    other["aliases"] = Value::Null;
    write(&project, &[gone, one, other]);
    let answer = audit(&project, &["--format", "json"]);
    assert_eq!(subjects(&answer, "advisory"), ["pip:sums CVE-2026-7"]);
}

#[test]
fn a_waiver_excuses_until_its_day() {
    let (_registries, project) = bench();
    let mut about = advisory("GHSA-1", "npm", "shout", None);
    about["aliases"] = json!(["CVE-2026-1"]);
    write(&project, &[about]);
    let manifest = project.read("oclock.toml");
    for (waivers, code, words) in [
        (waiver("advisory", "npm:shout CVE-2026-1", "2999-01-01"), 0, "waived: known"),
        (waiver("advisory", "npm:shout GHSA-1", "2999-01-01"), 0, "waived: known"),
        (waiver("advisory", "npm:shout CVE-2026-1", "2020-01-01"), 1, "a waiver whose time is over [waiver-expired]"),
        (waiver("advisory", "npm:shout CVE-2026-2", "2999-01-01"), 1, "a waiver that excuses nothing [waiver-unused]"),
        (waiver("advisory", "npm:pad-left CVE-2026-1", "2999-01-01"), 1, "[waiver-unused]"),
    ] {
        project.write("oclock.toml", format!("{manifest}\n{waivers}"));
        let answer = audit(&project, &[]);
        assert_eq!(answer.code, code, "{waivers}{answer:?}");
        assert!(answer.stdout.contains(words), "{waivers}{}", answer.stdout);
    }
}

#[test]
fn a_gap_is_allowed_by_a_waiver_with_a_reason() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    project.write("advisories/N.json", harmless()[0].to_string());
    let gaps = ["apt", "pip"].map(|name| waiver("not-audited", &format!("advisories {name}"), "2999-01-01"));
    policy(&project, "");
    assert_eq!(audit(&project, &[]).code, 1);
    project.write("oclock.toml", format!("{}{}", project.read("oclock.toml"), gaps.concat()));
    assert_eq!(audit(&project, &[]).code, 0);
}

#[test]
fn what_nothing_fixes_may_be_a_warning() {
    let (_registries, project) = bench();
    write(&project, &[advisory("CVE-1", "npm", "shout", None)]);
    assert_eq!(audit(&project, &[]).code, 1);
    policy(&project, "unfixed-advisories = \"warning\"");
    let answer = audit(&project, &[]);
    assert_eq!(answer.code, 0);
    assert!(answer.stdout.starts_with("warning: npm:shout 2.0.0 has CVE-1"), "{}", answer.stdout);
    write(&project, &[advisory("CVE-2", "npm", "shout", Some("2.0.1"))]);
    assert_eq!(audit(&project, &[]).code, 1);
}

#[test]
fn the_policy_names_the_places_and_their_age() {
    let (_registries, project) = bench();
    policy(&project, "advisories = [\"advisories\"]\nadvisories-max-age-days = 0");
    let answer = project.run(&["--quiet", "audit"]);
    assert_eq!(answer.code, 1);
    assert!(answer.stdout.contains("1 days ago; 0 are allowed"), "{}", answer.stdout);
    project.edit("oclock.toml", "max-age-days = 0", "max-age-days = 2");
    assert_eq!(project.run(&["--quiet", "audit"]).code, 0);
    assert_eq!(project.run(&["--quiet", "-C", "../project", "audit"]).code, 0);
    let mut ahead = harmless();
    ahead.iter_mut().for_each(|advisory| advisory["modified"] = days_ago(-9).into());
    write(&project, &ahead);
    let answer = project.run(&["--quiet", "audit"]);
    assert!(answer.code == 1 && answer.stdout.contains("after this machine's clock"), "{answer:?}");
}

#[test]
fn sources_and_scripts_are_held_against_the_policy() {
    let mut registries = Registries::serve();
    registries.npm("shout", "2.0.1", json!({ "scripts": { "install": "node make.js" } }));
    let project = Project::locked(&registries);
    write(&project, &harmless());
    let manifest = project.read("oclock.toml");
    policy(&project, "sources = [\"debian\", \"npm\"]\nscripts = []");
    let answer = audit(&project, &["--format", "json"]);
    assert_eq!(answer.code, 1);
    assert_eq!(subjects(&answer, "policy-source"), ["pip:numbers", "pip:sums"]);
    assert_eq!(subjects(&answer, "policy-script"), ["npm:shout"]);
    project.write("oclock.toml", manifest);
    policy(&project, "sources = [\"debian\", \"npm\", \"pypi\"]\nscripts = [\"shout\"]");
    assert_eq!(audit(&project, &[]).code, 0);
}

#[test]
fn evidence_that_is_gone_is_found() {
    let (_registries, project) = bench();
    policy(&project, "keep-evidence = true");
    let answer = audit(&project, &["--format", "json"]);
    assert_eq!((answer.code, subjects(&answer, "not-audited")), (1, vec!["evidence".to_owned()]));
    publish(&project, 90);
    let lock = project.read("lockfile.toml");
    project.write("before.toml", &lock);
    assert_eq!(audit(&project, &["--previous", "before.toml"]).code, 0);
    let start = lock.find("published = ").unwrap();
    let end = start + lock[start..].find('\n').unwrap() + 1;
    project.write("lockfile.toml", format!("{}{}", &lock[..start], &lock[end..]));
    let answer = audit(&project, &["--previous", "before.toml", "--format", "json"]);
    assert_eq!((answer.code, subjects(&answer, "lock-evidence-lost")), (1, vec!["npm:pad-left".to_owned()]));
    project.write("lockfile.toml", lock.replace(support::registries::KEY, &"A".repeat(40)));
    let answer = audit(&project, &["--previous", "before.toml", "--format", "json"]);
    assert_eq!(answer.code, 1);
    assert_eq!(subjects(&answer, "lock-evidence-lost").len(), 2, "both archives: {answer:?}");
    let nowhere = audit(&project, &["--previous", "nowhere.toml"]);
    assert_eq!((nowhere.code, nowhere.stdout.as_str()), (3, ""), "git is not there to be asked: {nowhere:?}");
}

#[test]
fn what_git_has_is_the_lockfile_before() {
    let (_registries, project) = bench();
    std::os::unix::fs::symlink("/usr/bin/git", project.tools().join("git")).unwrap();
    let git = |arguments: &[&str]| {
        let fixed = ["-c", "user.name=a", "-c", "user.email=a@example.invalid", "-c", "init.defaultBranch=main"];
        let mut command = std::process::Command::new("git");
        let output = command.args(fixed).args(arguments).current_dir(project.root()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
    };
    policy(&project, "keep-evidence = true");
    publish(&project, 90);
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "first"]);
    assert_eq!(audit(&project, &[]).code, 0);
    let lock = project.read("lockfile.toml");
    let shout = lock.find("name = \"shout\"").unwrap();
    let start = shout + lock[shout..].find("published = ").unwrap();
    let end = start + lock[start..].find('\n').unwrap() + 1;
    project.write("lockfile.toml", format!("{}{}", &lock[..start], &lock[end..]));
    let answer = audit(&project, &["--format", "json"]);
    assert_eq!((answer.code, subjects(&answer, "lock-evidence-lost")), (1, vec!["npm:shout".to_owned()]));
}

/// Says in the lockfile when the npm packages and wheels were published.
fn publish(project: &Project, days_ago: i64) {
    let mut lock = parse_lockfile(&project.read("lockfile.toml"), "lockfile.toml").unwrap();
    let moment = Some(jiff::Timestamp::now().as_second() - days_ago * 86_400);
    lock.npm.iter_mut().for_each(|pin| pin.published = moment);
    lock.pip.iter_mut().for_each(|pin| pin.published = moment);
    project.write("lockfile.toml", render_lockfile(&lock));
}

#[test]
fn what_is_young_or_of_unknown_age_is_told() {
    let (_registries, project) = bench();
    publish(&project, 2);
    policy(&project, "min-age-days = 3");
    let answer = audit(&project, &["--format", "json"]);
    let young = ["npm:pad-left", "npm:shout", "pip:numbers", "pip:sums"];
    assert_eq!((answer.code, subjects(&answer, "policy-age")), (1, young.map(str::to_owned).to_vec()));
    assert!(audit(&project, &[]).stdout.contains("npm:shout 2.0.0 is 2 days old; the policy asks for 3 [policy-age]"));
    publish(&project, 3);
    assert_eq!(audit(&project, &[]).code, 0);
    let mut lock = parse_lockfile(&project.read("lockfile.toml"), "lockfile.toml").unwrap();
    lock.pip.iter_mut().for_each(|pin| pin.published = None);
    // An archive signed yesterday says nothing about how old its packages are.
    lock.archives.iter_mut().for_each(|archive| archive.date = jiff::Timestamp::now().as_second() - 86_400);
    project.write("lockfile.toml", render_lockfile(&lock));
    let answer = audit(&project, &["--format", "json"]);
    assert_eq!((answer.code, subjects(&answer, "not-audited")), (1, vec!["age apt".to_owned(), "age pip".to_owned()]));
    let taken = [waiver("source-times", "debian", "2999-01-01"), waiver("source-times", "pypi", "2999-01-01")];
    project.write("oclock.toml", format!("{}{}", project.read("oclock.toml"), taken.concat()));
    assert_eq!(audit(&project, &[]).code, 0);
}

#[test]
fn licences_are_read_from_the_artifacts() {
    let mut registries = Registries::serve();
    registries.npm("pad-left", "1.3.1", json!({ "license": "(MIT OR GPL-3.0-only)" }));
    registries.npm("shout", "2.0.1", json!({ "license": "ISC", "dependencies": { "pad-left": "^1.0.0" } }));
    registries.wheel(&WheelBuilder::new("sums", "3.2").line("License-Expression: Apache-2.0").requires("numbers>=1"));
    let project = Project::locked(&registries);
    write(&project, &harmless());
    policy(&project, "[policy.licences]\nallow = [\"MIT\", \"Apache-2.0\"]");
    let missing = audit(&project, &["--format", "json"]);
    assert_eq!((missing.code, subjects(&missing, "not-audited")), (1, vec!["licences".to_owned()]), "{missing:?}");
    assert_eq!(project.run(&["--quiet", "fetch"]).code, 0);
    let answer = audit(&project, &["--format", "json"]);
    assert_eq!((answer.code, subjects(&answer, "policy-licence")), (1, vec!["npm:shout".to_owned()]));
    let gaps = subjects(&answer, "not-audited");
    assert!(
        gaps.contains(&"licence pip:numbers".to_owned()) && gaps.contains(&"licence apt:hello".to_owned()),
        "{gaps:?}"
    );
    assert_eq!(gaps.len(), 7, "{gaps:?}");
    project.edit("oclock.toml", "allow = [\"MIT\", \"Apache-2.0\"]", "deny = [\"Apache-2.0\", \"MIT\"]");
    let answer = audit(&project, &["--format", "json"]);
    assert_eq!(subjects(&answer, "policy-licence"), ["pip:sums"]);
}

#[test]
fn secrets_of_the_project_are_told_with_their_place() {
    let (_registries, project) = bench();
    let key = [
        "-----BEGIN OPENSSH ",
        "PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n",
    ]
    .concat();
    project.write("context/app/key", format!("# mine\n{key}-----END OPENSSH {}-----\n", "PRIVATE KEY"));
    let answer = audit(&project, &["--format", "json"]);
    let outcome = outcome(&answer);
    let finding = &outcome["findings"][0];
    assert_eq!((answer.code, finding["place"]["file"].as_str()), (1, Some("context/app/key")), "{outcome}");
    let rule = finding["rule"].as_str().unwrap().to_owned();
    let excuse = waiver(&rule, "context/app/key", "2999-01-01");
    project.write("oclock.toml", format!("{}\n{excuse}", project.read("oclock.toml")));
    assert_eq!(audit(&project, &[]).code, 0);
}

#[test]
fn markdown_tells_the_same_and_cannot_be_broken() {
    let (_registries, project) = bench();
    let mut about = advisory("CVE-1", "npm", "shout", None);
    about["summary"] = "a | b\n<script> @all \u{202e}".into();
    write(&project, &[about]);
    let answer = audit(&project, &["--format", "markdown"]);
    assert_eq!(answer.code, 1);
    assert!(
        answer
            .stdout
            .contains("| error | npm:shout 2.0.0 has CVE-1: a \\| b \\<script\\> \\@all \u{fffd} | `advisory` |  |\n"),
        "{}",
        answer.stdout
    );
    assert!(answer.stdout.contains("\n- npm: 1 affected, 1 not affected, 0 not audited"), "{}", answer.stdout);
}

#[test]
fn nothing_is_changed_by_looking() {
    let (_registries, project) = bench();
    let before = project.read("lockfile.toml");
    audit(&project, &[]);
    assert_eq!(project.read("lockfile.toml"), before);
    let answer = project.run(&["audit", "--challenge", "npm:nobody"]);
    assert_eq!(answer.code, 2);
    assert!(answer.stderr.starts_with("error: neither the lockfile nor the manifest has `npm:nobody`\n"), "{answer:?}");
}

#[test]
fn a_version_that_was_seen_with_other_bytes_is_distrust() {
    let (_registries, project) = bench();
    let answer = audit(&project, &["--format", "json"]);
    let seen = outcome(&answer);
    assert_eq!((answer.code, &seen["seen_before"], &seen["never_seen"]), (0, &json!(10), &json!(0)));
    let mut lock = parse_lockfile(&project.read("lockfile.toml"), "lockfile.toml").unwrap();
    lock.pip[0].artifact.sha256 = Sha256::of("other");
    project.write("lockfile.toml", render_lockfile(&lock));
    let answer = audit(&project, &["--format", "json"]);
    assert_eq!((answer.code, subjects(&answer, "ledger-republished")), (4, vec!["pip:numbers".to_owned()]));
}

#[test]
fn names_that_were_never_seen_before_are_told() {
    let (_registries, project) = bench();
    assert!(!audit(&project, &[]).stdout.contains("first seen"), "all were seen when they were locked");
    let ledger = project.home().join(".local/share/oclock/ledger");
    let text = std::fs::read_to_string(&ledger).unwrap();
    let without = |names: &[&str]| {
        let known = |line: &&str| !names.iter().any(|name| line.contains(&format!(" {name} ")));
        std::fs::write(&ledger, text.lines().filter(known).map(|line| format!("{line}\n")).collect::<String>())
            .unwrap();
        audit(&project, &[]).stdout
    };
    let told = "\nfirst seen: 2 files; names never seen before: npm:shout, pip:sums\n";
    let said = without(&["shout", "sums"]);
    assert!(said.contains(told), "{said}");
    std::fs::write(&ledger, text.replace(" 2.0.0 shout-2.0.0", " 1.9.0 shout-1.9.0")).unwrap();
    let said = audit(&project, &[]).stdout;
    assert!(said.contains("\nfirst seen: 1 file, all of packages that were seen before\n"), "{said}");
    project.forget_ledger();
    assert!(audit(&project, &[]).stdout.contains("first seen: 10 files; names never seen before: apt:"));
    let outcome = outcome(&audit(&project, &["--format", "json"]));
    assert_eq!((&outcome["never_seen"], outcome["new_names"].as_array().unwrap().len()), (&json!(10), 10));
}
