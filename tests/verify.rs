//! `oclock verify`: the real binary in a temporary project against registries on loopback.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::project::{Answer, Project};
use support::registries::Registries;
use support::wheels::WheelBuilder;

const HELLO: &str = "d7f31186cdb36d76b9bccaa03975fc9508f6cff306d94436668a8e3ec1ad6a12";

fn fetched(registries: &Registries) -> Project {
    let project = Project::locked(registries);
    assert_eq!(project.run(&["--quiet", "fetch"]).code, 0);
    project
}

fn verify(project: &Project, more: &[&str]) -> Answer {
    project.run(&[&["--quiet", "verify"], more].concat())
}

fn findings(project: &Project, more: &[&str]) -> (i32, Vec<String>) {
    let answer = project.run(&[&["--quiet", "--format", "json", "verify"], more].concat());
    let outcome: Value = serde_json::from_str(&answer.stdout).unwrap_or_else(|_| panic!("{answer:?}"));
    let line =
        |finding: &Value| format!("{} {}", finding["rule"].as_str().unwrap(), finding["subject"].as_str().unwrap());
    (answer.code, outcome["findings"].as_array().unwrap().iter().map(line).collect())
}

#[test]
fn a_lockfile_whose_bytes_are_at_hand_is_proven_without_a_network() {
    let registries = Registries::serve();
    let project = fetched(&registries);
    registries.site.take_asked();
    let expected = "\
lockfile    in its one form, and answers the manifest
artifacts   10 of 10 whole and what their pins say, 40.1 kB
signatures  2 signed archives vouch for 6 Debian pins
before      no lockfile before this one is at hand
first seen  10 known, 0 new, 0 republished (TEMP/home/.local/share/oclock/ledger)
image       none is recorded
proven
";
    assert_eq!(verify(&project, &[]), Answer { code: 0, stdout: expected.into(), stderr: String::new() });
    assert_eq!(registries.site.take_asked(), Vec::<String>::new());
    assert_eq!(verify(&project, &["--online"]).code, 0);
}

#[test]
fn what_is_not_in_the_store_is_not_proven_unless_it_may_be_missing() {
    let registries = Registries::serve();
    let project = fetched(&registries);
    let clone = Project::with(&registries);
    for name in ["oclock.toml", "Containerfile.in", "lockfile.toml"] {
        clone.write(name, project.read(name));
    }
    let answer = verify(&clone, &[]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stdout.contains("error: 10 locked artifacts are not in the store and not checked [not-checked]\n    missing  apt:apt 3.0.3\n"), "{}", answer.stdout);
    assert!(answer.stdout.ends_with("not proven\n"));
    let (code, found) = findings(&clone, &[]);
    assert_eq!(
        (code, &found[..]),
        (
            1,
            &["not-checked apt:debian-security/trixie-security", "not-checked apt:debian/trixie", "not-checked store"]
                .map(str::to_owned)[..]
        )
    );
    let allowed = verify(&clone, &["--allow-missing"]);
    assert!(allowed.code == 0 && allowed.stdout.contains("warning: 10 locked artifacts"), "{allowed:?}");
    assert_eq!(clone.run(&["--quiet", "fetch"]).code, 0);
    assert_eq!(verify(&clone, &[]).code, 0);
}

#[test]
fn a_damaged_blob_is_not_to_be_trusted() {
    let registries = Registries::serve();
    let project = fetched(&registries);
    let blob = project.store().join("blobs/sha256").join(&HELLO[..2]).join(HELLO);
    let mut bytes = fs::read(&blob).unwrap();
    bytes[100] ^= 1;
    fs::write(&blob, bytes).unwrap();
    assert_eq!(findings(&project, &[]), (4, vec!["artifact-damaged apt:hello".to_owned()]));
    assert_eq!(findings(&project, &["--allow-missing"]).0, 4);
}

#[test]
fn an_artifact_of_another_version_is_found_whatever_the_lock_calls_it() {
    let registries = Registries::serve();
    for (edits, rule) in [
        (
            &[("\nversion = \"2.0.0\"", "\nversion = \"2.0.1\""), ("shout-2.0.0.tgz", "shout-2.0.1.tgz")][..],
            "artifact-identity npm:shout",
        ),
        (&[("\nversion = \"3.1\"", "\nversion = \"3.2\""), ("sums-3.1-", "sums-3.2-")], "artifact-identity pip:sums"),
        (
            &[("\nversion = \"2.10-3\"", "\nversion = \"2.10-4\""), ("hello_2.10-3_", "hello_2.10-4_")],
            "artifact-identity apt:hello",
        ),
        (&[("source-package = \"hello\"", "source-package = \"hullo\"")], "artifact-identity apt:hello"),
    ] {
        let project = fetched(&registries);
        let mut lock = project.read("lockfile.toml");
        for (from, to) in edits {
            assert!(lock.contains(from), "{from}");
            lock = lock.replacen(from, to, 1);
        }
        project.write("lockfile.toml", lock);
        let (code, found) = findings(&project, &[]);
        assert!(code == 4 && found.contains(&rule.to_owned()), "{edits:?}: {found:?}");
    }
}

#[test]
fn a_pin_that_was_taken_out_is_missed_by_those_that_need_it() {
    let registries = Registries::serve();
    for (name, rule) in [("pad-left", "npm:shout"), ("numbers", "pip:sums"), ("libhello", "apt:hello")] {
        let project = fetched(&registries);
        let lock = project.read("lockfile.toml");
        let tables: Vec<&str> =
            lock.split_inclusive("\n\n").filter(|table| !table.contains(&format!("\nname = \"{name}\"\n"))).collect();
        assert!(tables.concat().len() < lock.len());
        project.write("lockfile.toml", tables.concat());
        let (code, found) = findings(&project, &[]);
        assert_eq!((code, &found[..]), (1, &[format!("requirement-unpinned {rule}")][..]));
    }
}

#[test]
fn the_registries_are_asked_what_they_say_today() {
    let mut registries = Registries::serve();
    let project = fetched(&registries);
    registries
        .edit_npm("shout", |document| document["versions"]["2.0.0"]["deprecated"] = json!("use whisper\u{1b}[2J"));
    registries.edit_page("numbers", |files| files[0]["yanked"] = json!("broken"));
    let answer = verify(&project, &["--online"]);
    assert_eq!(answer.code, 1);
    assert!(
        answer
            .stdout
            .contains("warning: `npm:shout 2.0.0` is deprecated: use whisper\u{fffd}[2J [registry-deprecated]\n"),
        "{}",
        answer.stdout
    );
    assert!(answer.stdout.contains("error: `pip:numbers 1.5` was yanked [registry-yanked]\n"), "{}", answer.stdout);
    assert_eq!(verify(&project, &[]).code, 0, "offline nobody is asked");
    registries.edit_npm("shout", |document| {
        document["versions"]["2.0.0"]["dist"]["integrity"] = json!(format!("sha512-{}==", "A".repeat(86)))
    });
    registries.edit_npm("pad-left", |document| document["versions"] = json!({}));
    registries.edit_page("numbers", |files| files.clear());
    registries.edit_page("sums", |files| files[0]["hashes"]["sha256"] = json!("0".repeat(64)));
    registries.deb("libhello", "1.4-2+b1", "Priority: optional\n");
    registries.replace_deb("hello", "2.10-3", "2.10-4", "Depends: libhello (>= 1.2)\n");
    let (code, found) = findings(&project, &["--online"]);
    let expected = [
        "registry-gone apt:hello",
        "registry-gone npm:pad-left",
        "registry-gone pip:numbers",
        "registry-other apt:libhello",
        "registry-other npm:shout",
        "registry-other pip:sums",
        "registry-deprecated npm:shout",
    ];
    assert_eq!((code, found), (4, expected.map(str::to_owned).to_vec()));
    assert_eq!(findings(&project, &["--online", "--offline"]).0, 1, "what cannot be asked is not proven");
}

#[test]
fn a_version_that_is_dated_otherwise_today_is_found() {
    let mut registries = Registries::serve_since("2025-06-01T00:00:00Z");
    let project = fetched(&registries);
    assert_eq!(findings(&project, &["--online"]), (0, Vec::new()));
    registries.edit_npm("shout", |document| document["time"]["2.0.0"] = json!("2025-06-01T00:00:01Z"));
    registries.edit_page("sums", |files| files[0]["upload-time"] = json!("2025-05-31T23:59:59Z"));
    // A registry that says no time contradicts nothing.
    registries.edit_npm("pad-left", |document| document["time"] = json!({}));
    let (code, found) = findings(&project, &["--online"]);
    assert_eq!(
        (code, found),
        (1, ["registry-published npm:shout", "registry-published pip:sums"].map(str::to_owned).to_vec())
    );
    let said = verify(&project, &["--online"]).stdout;
    assert!(said.contains("error: `npm:shout 2.0.0` was published at another time than the lockfile says"), "{said}");
    assert!(said.contains("locked  2025-06-01") && said.contains("served  2025-05-31"), "{said}");
    assert_eq!(verify(&project, &[]).code, 0, "offline nobody is asked");
}

#[test]
fn a_yanked_version_can_be_excused_and_a_hash_cannot() {
    let mut registries = Registries::serve();
    let project = fetched(&registries);
    registries.edit_page("numbers", |files| files[0]["yanked"] = json!(true));
    let waiver = "\n[[policy.waivers]]\nrule = \"registry-yanked\"\nsubject = \"pip:numbers\"\nreason = \"known and harmless here\"\nexpires = 2999-01-01\n";
    let manifest = project.read("oclock.toml");
    project.write("oclock.toml", format!("{manifest}{waiver}"));
    assert_eq!(verify(&project, &["--online"]).code, 0);
    registries.edit_page("numbers", |files| files[0]["hashes"]["sha256"] = json!("0".repeat(64)));
    let waivers = format!("{manifest}{waiver}{}", waiver.replace("yanked", "other"));
    project.write("oclock.toml", waivers);
    let (code, found) = findings(&project, &["--online"]);
    assert!(code == 4 && found.contains(&"registry-other pip:numbers".to_owned()), "{found:?}");
}

#[test]
fn nothing_may_go_back_since_the_lockfile_before() {
    let mut registries = Registries::serve();
    let project = fetched(&registries);
    project.write("before.toml", project.read("lockfile.toml"));
    assert!(verify(&project, &["--previous", "before.toml"]).stdout.contains("nothing goes back since before.toml\n"));
    let later = project.read("lockfile.toml").replace("2024-03-01T00:00:00Z", "2024-03-02T00:00:00Z");
    project.write("before.toml", later.replacen(HELLO, &"0".repeat(64), 1));
    let (code, found) = findings(&project, &["--previous", "before.toml"]);
    let expected = [
        "rollback-archive apt:debian-security/trixie-security",
        "rollback-archive apt:debian/trixie",
        "rollback-digest apt:hello",
    ];
    assert_eq!((code, found), (4, expected.map(str::to_owned).to_vec()));
    project.write("before.toml", "version = 7\n");
    assert_eq!(
        findings(&project, &["--previous", "before.toml"]),
        (0, vec!["rollback-unreadable lockfile".to_owned()])
    );
    assert_eq!(verify(&project, &["--previous", "nothing.toml"]).code, 3);
    registries.npm("unrelated", "1.0.0", json!({}));
}

#[test]
fn the_lockfile_before_is_the_last_other_one_that_git_has() {
    let registries = Registries::serve();
    let project = fetched(&registries);
    let lock = project.read("lockfile.toml");
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "user.name=t", "-c", "user.email=t@example.invalid"]).args(arguments);
        assert!(command.current_dir(project.root()).output().unwrap().status.success(), "git {arguments:?}");
    };
    git(&["init", "-q"]);
    project.write("lockfile.toml", lock.replacen(HELLO, &"0".repeat(64), 1));
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    project.write("lockfile.toml", &lock);
    let verify = |wanted: &str| {
        let mut command = project.command(&["--quiet", "verify"]);
        let answer = project.answer(command.env("PATH", std::env::var_os("PATH").unwrap()));
        assert!(answer.stdout.contains(wanted), "{answer:?}");
        assert_eq!(answer.code, 4);
    };
    verify("before      something goes back since lockfile.toml of ");
    git(&["commit", "-qam", "two"]);
    verify("error: `apt:hello 2.10-3` has other bytes than in the lockfile before [rollback-digest]\n");
}

#[test]
fn a_republished_version_is_caught_in_every_ecosystem() {
    for ecosystem in ["apt:hello 2.10-3", "npm:shout 2.0.0", "pip:sums 3.1"] {
        let mut registries = Registries::serve();
        let project = Project::locked(&registries);
        let lock = project.read("lockfile.toml");
        match &ecosystem[..3] {
            "apt" => registries.deb("hello", "2.10-3", "Depends: libhello (>= 1.3)\n"),
            "npm" => registries.npm("shout", "2.0.0", json!({ "dependencies": { "pad-left": "^1.3.0" } })),
            _ => {
                registries.edit_page("sums", |files| files.clear());
                registries.wheel(&WheelBuilder::new("sums", "3.1").requires("numbers>=1.5"));
            }
        }
        let refused = project.run(&["--quiet", "update"]);
        assert_eq!((refused.code, refused.stdout.as_str()), (4, ""), "{refused:?}");
        let first = format!("error: `{ecosystem}` has other bytes than when it was first seen\n    locked  sha256:");
        assert!(refused.stderr.starts_with(&first), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("first on 20") && refused.stderr.contains("    seen  sha256:"),
            "{}",
            refused.stderr
        );
        assert_eq!(project.read("lockfile.toml"), lock);
        // A lock of someone who never saw the first one: the same ledger finds it when it is fetched or verified.
        let elsewhere = Project::locked(&registries);
        project.write("lockfile.toml", elsewhere.read("lockfile.toml"));
        assert_eq!(project.run(&["--quiet", "fetch"]).code, 4, "{ecosystem}");
        let (code, found) = findings(&project, &[]);
        let rule = format!("ledger-republished {}", ecosystem.split(' ').next().unwrap());
        assert!(code == 4 && found.contains(&rule), "{found:?}");
        assert_eq!(elsewhere.run(&["--quiet", "fetch"]).code, 0);
        assert_eq!(
            findings(&elsewhere, &[]),
            (0, Vec::new()),
            "whoever sees it for the first time has nothing to hold it against"
        );
        let ledger = elsewhere.home().join(".local/share/oclock/ledger");
        let mine = project.home().join(".local/share/oclock/ledger");
        let merged = format!("{}{}", fs::read_to_string(&mine).unwrap(), fs::read_to_string(&ledger).unwrap());
        fs::write(&ledger, merged).unwrap();
        assert_eq!(findings(&elsewhere, &[]), (4, vec![rule]), "and a merged ledger has");
    }
}

#[test]
fn a_ledger_can_be_named_and_a_torn_one_is_told() {
    let registries = Registries::serve();
    let project = fetched(&registries);
    let answer = verify(&project, &["--ledger", "own/ledger"]);
    assert!(answer.code == 0 && answer.stdout.contains("0 known, 10 new, 0 republished (own/ledger)"), "{answer:?}");
    let text = project.read("own/ledger");
    assert_eq!(text.lines().count(), 11);
    assert!(text.ends_with('\n') && text.is_ascii());
    project.write("own/ledger", &text[..text.len() - 20]);
    let mut command = project.command(&["--quiet", "verify"]);
    let torn = project.answer(command.env("OCLOCK_LEDGER", "own/ledger"));
    assert!(
        torn.stdout.contains("warning: line 11 of the ledger `own/ledger` was torn off [ledger-unreadable]"),
        "{torn:?}"
    );
    assert_eq!(torn.code, 0);
    let again = verify(&project, &["--ledger", "own/ledger"]);
    assert!(again.stdout.contains("10 known, 0 new"), "{again:?}");
}

#[test]
fn the_answer_is_to_be_had_in_every_form() {
    let registries = Registries::serve();
    let project = fetched(&registries);
    project.edit("oclock.toml", "shout = \"^2.0\"", "shout = \"^3.0\"");
    let ask = |format: &str| project.run(&["--quiet", "--format", format, "verify"]);
    let sarif: Value = serde_json::from_str(&ask("sarif").stdout).unwrap();
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&json!("lock-drift"), &json!("error")));
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 9);
    assert!(sarif["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap().len() >= 18);
    let markdown = ask("markdown");
    assert!(markdown.code == 1 && markdown.stdout.starts_with("**not proven**\n"), "{markdown:?}");
    let json: Value = serde_json::from_str(&ask("json").stdout).unwrap();
    assert_eq!((&json["verdict"], &json["checks"][0]["what"]), (&json!("no"), &json!("lockfile")));
}
