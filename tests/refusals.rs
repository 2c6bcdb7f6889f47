//! What is wrong with the input is said with its place, its exit code and what to do, and nothing is written or lost:
//! the real binary in a temporary project against registries on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on may stop")]

mod support;

use std::fs;

use serde_json::json;
use support::full_disk::FullDisk;
use support::project::{Answer, Project};
use support::registries::{KEY, Registries};

const HELLO: &str = "d7f31186cdb36d76b9bccaa03975fc9508f6cff306d94436668a8e3ec1ad6a12";

/// Runs a command that must be refused with exactly these words, and leave the project and the store as they were.
fn refused(project: &Project, arguments: &[&str], code: i32, stderr: &str) {
    let before = project.snapshot();
    let answer = project.run(&[&["--quiet"], arguments].concat());
    assert_eq!(answer.stderr, stderr);
    assert_eq!((answer.code, answer.stdout.as_str()), (code, ""));
    let after = project.snapshot();
    let changed: Vec<_> =
        before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path)).collect();
    assert!(changed.is_empty(), "changed by a refused command: {changed:#?}");
}

/// A locked project with one thing changed in one of its files.
fn edited(registries: &Registries, file: &str, from: &str, to: &str) -> Project {
    let project = Project::locked(registries);
    project.edit(file, from, to);
    project
}

#[test]
fn an_unknown_manifest_key_is_named_with_the_nearest_one() {
    let project = edited(&Registries::serve(), "oclock.toml", "packages = [\"hello\"", "pakages = [\"hello\"");
    let expected = "\
error: unknown key `apt.pakages` in `oclock.toml`
  --> oclock.toml:6:1
   | pakages = [\"hello\", \"nodejs\", \"python3\"]     not known here
 hint: did you mean `packages`?
";
    for command in [&["update"][..], &["update", "--check"], &["build"], &["render"], &["info"], &["fetch"]] {
        refused(&project, command, 2, expected);
    }
}

#[test]
fn a_value_of_the_wrong_type_is_shown_where_it_stands() {
    let project = edited(&Registries::serve(), "oclock.toml", "[\"sums>=3\"]", "\"sums>=3\"");
    let expected = "\
error: `pip.packages` must be a list
  --> oclock.toml:12:12
   | packages = \"sums>=3\"     this is a string
";
    refused(&project, &["update"], 2, expected);
}

#[test]
fn a_name_that_no_registry_knows_is_never_guessed() {
    let registries = Registries::serve();
    let npm = edited(&registries, "oclock.toml", "shout = \"^2.0\"", "opencode = \"*\"");
    let expected = "\
error: the npm registry has no package `opencode`
  asked by  manifest
 note: an unregistered name can be taken by anyone at any time, so oclock never guesses which one was meant
 hint: look up the package's registered name in its own documentation; it may differ from its command
";
    refused(&npm, &["update"], 3, expected);
    let apt = edited(&registries, "oclock.toml", "\"hello\"", "\"helo\"");
    refused(&apt, &["update"], 3, "error: no archive has a package `helo`\n hint: there is a package `hello`\n");
    let pip = edited(&registries, "oclock.toml", "\"sums>=3\"", "\"summs\"");
    let answer = pip.run(&["--quiet", "update"]);
    assert_eq!((answer.code, answer.stderr.lines().next().unwrap()), (3, "error: no project `summs` in `pypi`"));
}

#[test]
fn a_version_that_does_not_exist_is_answered_with_those_that_do() {
    let registries = Registries::serve();
    let npm = edited(&registries, "oclock.toml", "shout = \"^2.0\"", "shout = \"9.9.9\"");
    let expected =
        "error: no version of `shout` answers `9.9.9`\n  asked by  manifest\n     known  latest = 2.0.0, 2.0.0\n";
    refused(&npm, &["update"], 3, expected);
    let apt = edited(&registries, "oclock.toml", "\"hello\"", "\"hello=9.*\"");
    refused(&apt, &["update"], 3, "error: no archive has `hello` as `9.*`\n  2.10-3  trixie\n");
    let pip = edited(&registries, "oclock.toml", "\"sums>=3\"", "\"sums>=9\"");
    let expected = "\
error: no versions satisfy all Python requirements
  no usable release of sums >=9
  the manifest asks for sums >=9
 note: `sums` has no release in that range; its newest is 3.1
 hint: loosen one of the requirements above in `[pip]`
";
    refused(&pip, &["update"], 3, expected);
}

#[test]
fn requirements_that_exclude_each_other_are_all_shown() {
    let mut registries = Registries::serve();
    registries.npm("plugin", "1.0.0", json!({ "peerDependencies": { "shout": "^1.0.0" } }));
    registries.deb("needy", "1", "Depends: hello (>= 3)\n");
    registries.deb("hostile", "1", "Conflicts: hello\n");
    let pip = edited(&registries, "oclock.toml", "[\"sums>=3\"]", "[\"sums>=3\"]\nconstraints = [\"numbers<1\"]");
    let expected = "\
error: no versions satisfy all Python requirements
  sums requires numbers in versions that `constraints` rule out or that exclude each other
  the manifest asks for sums >=3
 hint: loosen one of the requirements above in `[pip]`
";
    refused(&pip, &["update"], 3, expected);
    let project = "[npm.projects.\"/app\"]\nshout = \"^2.0\"\nplugin = \"^1\"";
    let npm = edited(&registries, "oclock.toml", "[npm.packages]\nshout = \"^2.0\"", project);
    let expected = "\
error: `plugin@1.0.0` cannot be placed: its wishes and those of its neighbours contradict each other
  asked by  manifest
    wanted  shout@^1.0.0
   present  shout@2.0.0
 hint: ask for other versions in `[npm]`, so that all peers can be met
";
    refused(&npm, &["update"], 3, expected);
    let note = " note: apt-get's rules have no answer to this either; nothing is removed or kept back to make room\n";
    let head = "error: the requested Debian packages cannot be installed together\n";
    let needy = edited(&registries, "oclock.toml", "\"hello\"", "\"needy\"");
    let why = "  needy 1 depends on hello (>= 3)\n  hello 2.10-3 is what there is\n";
    refused(&needy, &["update"], 3, &format!("{head}{why}{note}"));
    let hostile = edited(&registries, "oclock.toml", "\"hello\"", "\"hello\", \"hostile\"");
    let why = "  hostile 1 conflicts with hello 2.10-3\n";
    refused(&hostile, &["update"], 3, &format!("{head}{why}{note}"));
}

const UNDO: &str = " note: a lockfile is written by oclock alone, so that each line in a review was meant\n \
hint: undo the edit (`git diff` shows it), or remove the file and run `oclock update`, which chooses anew\n";

#[test]
fn a_lockfile_of_another_form_is_refused_by_every_command() {
    let registries = Registries::serve();
    let digest = format!("D{}", &HELLO[1..]);
    let edits = [
        (
            "source-package = \"hello\"",
            "source-package = \"hello\"\nflavour = \"x\"",
            "error: unknown key `apt.flavour` in `lockfile.toml`\n  --> lockfile.toml:79:1\n   | flavour = \"x\"     not known here\n".to_owned(),
        ),
        (
            "pool/hello_",
            "../hello_",
            "error: `apt.path` has an invalid value\n  --> lockfile.toml:71:8\n   | path = \"../hello_2.10-3_amd64.deb\"     `../hello_2.10-3_amd64.deb` is no artifact path: it must be relative and without empty, `.` and `..` parts\n".to_owned(),
        ),
        (
            HELLO,
            &digest,
            format!("error: `apt.sha256` has an invalid value\n  --> lockfile.toml:73:10\n   | sha256 = \"{digest}\"     `{digest}` is no sha256 digest: it must be lower-case hexadecimal\n"),
        ),
        (
            "[seal]",
            "[seal] # mine",
            "error: `lockfile.toml` is not as oclock writes it\n  --> lockfile.toml:12:1\n   | [seal] # mine     this line\n     found  [seal] # mine\n  expected  [seal]\n".to_owned(),
        ),
    ];
    for (from, to, expected) in edits {
        let project = edited(&registries, "lockfile.toml", from, to);
        for command in [&["build"][..], &["update"], &["update", "--check"], &["list"], &["fetch"], &["context"]] {
            refused(&project, command, 2, &format!("{expected}{UNDO}"));
        }
    }
}

#[test]
fn a_lockfile_with_another_hash_gets_no_bytes() {
    let registries = Registries::serve();
    let other = HELLO.replacen("d7f3", "d7f4", 1);
    let project = edited(&registries, "lockfile.toml", HELLO, &other);
    project.forget_ledger();
    let kept = format!(".oclock/quarantine/{HELLO}");
    let expected = format!(
        "\
error: `apt:hello 2.10-3` arrived with bytes that were not locked
    locked  sha256:{other}  6,336 bytes
  received  sha256:{HELLO}  6,336 bytes
      from  http://LOOPBACK/debian/pool/hello_2.10-3_amd64.deb
 note: the store was not changed; the download is kept in {kept}
 note: a published version is never replaced, so suspect the source or what is in between
 hint: compare with another place: `oclock info` shows where `debian` was found
"
    );
    assert_eq!(project.run(&["--quiet", "build"]).stderr, expected);
    refused(&project, &["build"], 4, &expected);
    assert!(project.root().join(kept).is_file());
}

#[test]
fn a_lockfile_with_another_version_or_path_is_found_out() {
    let registries = Registries::serve();
    for (from, to, code, first) in [
        (
            "version = \"2.0.0\"",
            "version = \"2.0.1\"",
            2,
            "error: `lockfile.toml` contradicts itself: the path of shout 2.0.1 is not `name/-/name-version.tgz`",
        ),
        (
            "\nversion = \"3.1\"",
            "\nversion = \"3.2\"",
            2,
            "error: `lockfile.toml` contradicts itself: the file of sums 3.2 is one of version 3.1",
        ),
        (
            "\nversion = \"2.10-3\"",
            "\nversion = \"2.10-4\"",
            2,
            "error: `lockfile.toml` contradicts itself: the file of hello 2.10-4 is not called `name_version_architecture.deb`",
        ),
        (
            "pool/hello_2.10-3",
            "pool/libhello_1.4-2+b1",
            2,
            "error: `lockfile.toml` contradicts itself: the file of hello 2.10-3 is not called `name_version_architecture.deb`",
        ),
        ("pool/hello_2.10-3", "lake/hello_2.10-3", 3, "error: `apt:hello 2.10-3` is no longer to be had"),
    ] {
        let project = Project::locked(&registries);
        let lock = project.read("lockfile.toml").replacen(from, to, 1);
        project.write("lockfile.toml", &lock);
        let answer = project.run(&["--quiet", "build"]);
        assert_eq!((answer.code, answer.stderr.lines().next().unwrap()), (code, first), "{to}");
        assert_eq!(project.read("lockfile.toml"), lock);
        assert!(answer.stderr.contains(" hint: "), "{}", answer.stderr);
    }
}

#[test]
fn bytes_that_differ_are_quarantined_and_never_stored() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    registries.site.change("pool/hello_", |mut bytes| {
        bytes[6000] ^= 1;
        bytes
    });
    let answer = project.run(&["--quiet", "fetch"]);
    assert_eq!(answer.code, 4);
    let first = "error: `apt:hello 2.10-3` arrived with bytes that were not locked";
    assert_eq!(answer.stderr.lines().next().unwrap(), first);
    let kept: Vec<_> = fs::read_dir(project.root().join(".oclock/quarantine")).unwrap().flatten().collect();
    assert_eq!(kept.len(), 1);
    let name = kept[0].file_name().into_string().unwrap();
    assert!(answer.stderr.contains(&format!("kept in .oclock/quarantine/{name}")), "{}", answer.stderr);
    assert!(!project.store().join("blobs/sha256").join(&name[..2]).join(&name).exists());
    assert!(!project.store().join("blobs/sha256").join(&HELLO[..2]).join(HELLO).exists());
    refused(&project, &["fetch"], 4, &answer.stderr);
    // What else was locked has come, and the honest bytes are taken when they come.
    registries.site.change("pool/hello_", |mut bytes| {
        bytes[6000] ^= 1;
        bytes
    });
    let fetched = Answer { code: 0, stdout: "1 file fetched, 6.3 kB\n".into(), stderr: String::new() };
    assert_eq!(project.run(&["--quiet", "fetch"]), fetched);
}

#[test]
fn a_tarball_or_wheel_that_is_not_what_its_index_promises_is_not_locked() {
    for (file, source) in [("shout-2.0.0.tgz", "npm"), ("sums-3.1-py3-none-any.whl.metadata", "pypi")] {
        let registries = Registries::serve();
        registries.site.change(file, |mut bytes| {
            bytes[20] ^= 1;
            bytes
        });
        let project = Project::greeter(&registries);
        let answer = project.run(&["--quiet", "update"]);
        assert_eq!((answer.code, answer.stdout.as_str()), (4, ""), "{source}: {answer:?}");
        assert!(!project.root().join("lockfile.toml").exists());
    }
}

#[test]
fn an_unknown_name_in_the_template_is_shown_with_the_nearest_one() {
    let registries = Registries::serve();
    for (from, to, expected) in [
        (
            "apt.install",
            "apt.instal",
            "error: could not render `Containerfile.in`: `apt.instal` is undefined\n  --> Containerfile.in:3:4\n   | {{ apt.instal }}\n hint: did you mean `install`?\n",
        ),
        (
            "pip.install",
            "pipp.install",
            "error: could not render `Containerfile.in`: `pipp` is undefined\n  --> Containerfile.in:5:4\n   | {{ pipp.install }}\n hint: did you mean `pip`?\n",
        ),
        (
            "npm:shout",
            "npm:shoot",
            "error: could not render `Containerfile.in`: nothing named `npm:shoot` is locked; did you mean `npm:shout`?\n  --> Containerfile.in:8:17\n   | LABEL shout=\"{{ version(\"npm:shoot\") }}\"\n",
        ),
        (
            "COPY app/",
            "COPY apq/",
            "error: `Containerfile.in` copies `apq`, which `context` does not have\n  --> Containerfile.in:7:1\n   | COPY apq/ /app/\n note: nothing was fetched or built\n hint: did you mean `app`?\n",
        ),
    ] {
        let project = edited(&registries, "Containerfile.in", from, to);
        project.run(&["fetch"]);
        refused(&project, &["build"], 2, expected);
    }
}

#[test]
fn no_engine_names_what_was_tried() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    project.run(&["fetch"]);
    project.run(&["context"]);
    let expected = "\
error: no container engine can be used
  buildah  it is not on the PATH
 hint: install buildah and runc (`apt-get install buildah runc`), or start the docker daemon
";
    refused(&project, &["build", "--engine", "buildah"], 3, expected);
    refused(&project, &["build", "--engine", "buildah", "--no-load", "-o", "oci:image"], 3, expected);
    let other = expected.replace("  buildah", "  docker");
    refused(&project, &["build", "--engine", "docker"], 3, &other);
}

#[test]
fn a_full_disk_leaves_lockfile_and_store_as_they_were() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    let lock = project.read("lockfile.toml");
    fs::create_dir(project.root().join("small")).unwrap();
    let small = FullDisk::over(&project.root().join("small"));
    fs::write(project.root().join("small/ballast"), vec![0; 40 << 10]).unwrap();
    project.run(&["fetch"]);
    for command in [&["--store", "small/store", "fetch"][..], &["--store", "small/store", "context"]] {
        let answer = project.run(&[&["--quiet"], command].concat());
        assert_eq!((answer.code, answer.stdout.as_str()), (3, ""), "{answer:?}");
        assert!(answer.stderr.contains("No space left on device"), "{}", answer.stderr);
        assert!(answer.stderr.contains("`--store DIR`"), "{}", answer.stderr);
    }
    assert_eq!(project.read("lockfile.toml"), lock);
    let verify = project.run(&["--quiet", "--store", "small/store", "store", "verify"]);
    assert!(verify.code == 0 && verify.stdout.ends_with(" 0 damaged\n"), "nothing half-written: {verify:?}");
    assert_eq!(fs::read_dir(project.root().join("small/store/tmp")).unwrap().count(), 0);
    drop(small);
}

#[test]
fn a_full_disk_leaves_the_old_lockfile() {
    let mut registries = Registries::serve();
    let project = Project::locked(&registries);
    let files = ["oclock.toml", "Containerfile.in", "lockfile.toml"].map(|name| (name, project.read(name)));
    let small = FullDisk::over(&project.root());
    for (name, text) in &files {
        fs::write(project.root().join(name), text).unwrap();
    }
    fs::write(project.root().join("ballast"), vec![0; 64 << 10]).unwrap_err();
    registries.npm("shout", "2.1.0", json!({}));
    let answer = project.run(&["--quiet", "update"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (3, ""));
    assert!(
        answer.stderr.starts_with("error: could not write `lockfile.toml`\nbecause: No space left on device"),
        "{answer:?}"
    );
    assert!(answer.stderr.ends_with(" hint: free some room on that disk\n"), "{answer:?}");
    for (name, text) in &files {
        assert_eq!(project.read(name), *text);
    }
    let left: Vec<_> = fs::read_dir(project.root()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), files.len() + 1, "nothing is left beside them: {left:?}");
    drop(small);
}

#[test]
fn a_signature_that_does_not_verify_is_not_to_be_trusted() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    registries.site.change("trixie/InRelease", |bytes| {
        String::from_utf8(bytes).unwrap().replace("Origin: Test", "Origin: Best").into()
    });
    let expected = format!(
        "\
error: `dists/trixie/InRelease` of `debian` is not to be trusted
because: the signature of {KEY} does not verify: the text was changed or the signature is damaged
"
    );
    refused(&project, &["update"], 4, &expected);
    // A key that the user does not trust, and an index that is not the one that was signed.
    let other = Registries::serve();
    let stranger = Project::locked(&other);
    let key = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/apt/key.asc")).unwrap();
    fs::write(stranger.home().join(".config/oclock/archive.asc"), key).unwrap();
    let answer = stranger.run(&["--quiet", "update"]);
    assert!(
        answer.code == 4 && answer.stderr.contains(&format!("signed by key {KEY}, which is not in the keyring")),
        "{answer:?}"
    );
    let index = Registries::serve();
    let project = Project::greeter(&index);
    index.site.change("debian/dists/trixie/main/binary-amd64/Packages", |bytes| {
        String::from_utf8(bytes).unwrap().replacen("Size: 6336", "Size: 6337", 1).into()
    });
    let answer = project.run(&["--quiet", "update"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (4, ""), "{answer:?}");
    assert!(!project.root().join("lockfile.toml").exists());
}

#[test]
fn a_source_that_is_not_there_is_told_from_one_that_lies() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    registries.site.remove("pool/hello_");
    let answer = project.run(&["--quiet", "fetch"]);
    let expected = "\
error: `apt:hello 2.10-3` is no longer to be had
    source  debian
      file  pool/hello_2.10-3_amd64.deb
     asked  http://LOOPBACK/debian/
 note: sources drop superseded files; what else the lock pins was fetched and is kept
 hint: run `oclock update --pruned` to move these pins and nothing else
 hint: or name a place that still has them as a mirror in `[sources]`
";
    assert_eq!((answer.code, answer.stderr.as_str()), (3, expected));
}

#[test]
fn what_is_asked_wrongly_ends_with_two() {
    let project = Project::with(&Registries::serve());
    let refused = |arguments: &[&str]| {
        let answer = project.run(arguments);
        assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{arguments:?}: {answer:?}");
        answer.stderr
    };
    assert!(refused(&["update", "--frobnicate"]).starts_with("error: unexpected argument '--frobnicate' found\n"));
    assert!(refused(&["frobnicate"]).starts_with("error: unrecognized subcommand 'frobnicate'\n"));
    assert!(refused(&["update", "--check", "--dry-run"]).contains("cannot be used with"));
    assert!(refused(&["build", "--platform", "linux/vax"]).contains("`linux/amd64` and `linux/arm64` are known"));
    assert!(refused(&["-j", "many", "list"]).contains("invalid value 'many'"));
    assert!(refused(&[]).contains("Usage: oclock"));
    assert_eq!(
        refused(&["update"]),
        "error: there is no `oclock.toml`\n hint: run `oclock init` for a commented one, or name its directory with `-C DIR`\n"
    );
    project.run(&["init"]);
    assert_eq!(refused(&["list"]), "error: there is no `lockfile.toml`\n hint: run `oclock update`\n");
    assert_eq!(refused(&["update", "--check"]), "error: there is no `lockfile.toml`\n hint: run `oclock update`\n");
    assert_eq!(project.run(&["--quiet", "update"]).code, 0);
    let output = "error: `tar:x` is no output\n hint: the outputs are `oci:DIR`, `docker-archive:FILE` and `dir:DIR`\n";
    assert_eq!(refused(&["--quiet", "build", "-o", "tar:x"]), output);
    let platform = "error: the lockfile has no pins for `linux/arm64`\n hint: add it to `[image] platforms` and run `oclock update`\n";
    assert_eq!(refused(&["build", "--platform", "linux/arm64"]), platform);
    fs::remove_file(project.root().join("Containerfile.in")).unwrap();
    let template = refused(&["render"]);
    assert!(
        template.starts_with("error: there is no `Containerfile.in`\n") && template.contains("oclock init"),
        "{template}"
    );
    let mut homeless = project.command(&["list"]);
    let answer = project.answer(homeless.env_remove("HOME"));
    let expected = "error: there is no place for the store\n hint: name one with `--store DIR` or OCLOCK_STORE\n";
    assert_eq!((answer.code, answer.stderr.as_str()), (3, expected));
}

#[test]
fn npm_packages_that_differ_in_case_alone_are_refused() {
    let mut registries = Registries::serve();
    registries.npm("Shout", "2.0.0", json!({}));
    let project = Project::greeter(&registries);
    project.edit("oclock.toml", "shout = \"^2.0\"", "Shout = \"2\"\nshout = \"2\"");
    let answer = project.run(&["--quiet", "update"]);
    let expected = "error: `Shout` and `shout` differ in case alone, and npm keeps one of them\n hint: ask for one of them in a directory of its own, or under another name: `mine = \"npm:shout@…\"`\n";
    assert_eq!((answer.code, answer.stderr.as_str()), (2, expected));
}

/// What npm takes from elsewhere than a registry (npm-package-arg).
const ELSEWHERE: [&str; 12] = [
    "git+https://h.invalid/u/inner.git#v1",
    "git+ssh://git@h.invalid/u/inner.git",
    "git://h.invalid/u/inner.git",
    "github:u/inner",
    "gitlab:u/inner#semver:^1",
    "u/inner",
    "file:../inner",
    "../inner",
    "link:../inner",
    "workspace:*",
    "https://h.invalid/inner-1.0.0.tgz",
    "inner-1.0.0.tgz",
];

#[test]
fn npm_packages_from_elsewhere_are_refused_by_name() {
    let mut registries = Registries::serve();
    let project = Project::greeter(&registries);
    project.edit("oclock.toml", "shout = \"^2.0\"", "outer = \"1\"");
    for form in ELSEWHERE {
        for kind in ["dependencies", "optionalDependencies", "peerDependencies"] {
            registries.npm("middle", "1.0.0", json!({ kind: { "inner": form } }));
            registries.npm("outer", "1.0.0", json!({ "dependencies": { "middle": "^1.0.0" } }));
            let answer = project.run(&["update"]);
            assert_eq!(answer.code, 3, "{kind} {form}: {answer:?}");
            let expected = format!(
                "error: `inner` is asked for as `{form}`, which is not from a registry\n  asked by  manifest → outer@1.0.0 → middle@1.0.0\n"
            );
            assert!(answer.stderr.contains(&expected), "{kind} {form}:\n{}", answer.stderr);
        }
    }
    for form in ELSEWHERE {
        project.write(
            "oclock.toml",
            support::project::MANIFEST.replace("shout = \"^2.0\"", &format!("inner = \"{form}\"")),
        );
        let answer = project.run(&["update"]);
        let (line, why) = (format!("inner = \"{form}\""), format!("`{form}` is no npm version range: "));
        assert_eq!(answer.code, 2, "{form}: {answer:?}");
        assert!(answer.stderr.contains(&line) && answer.stderr.contains(&why), "{form}:\n{}", answer.stderr);
    }
}
