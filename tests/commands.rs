//! Every command, as a user meets it: the real binary in a temporary project against registries on loopback.
//! Exit code, standard output, standard error and written files. What is refused is in tests/refusals.rs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on may stop")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use support::project::{Answer, Project};
use support::registries::Registries;

/// The digest of the greeter's build context: the same on every machine, so that any change of it is seen here.
const CONTEXT: &str = "sha256:3eb0ca7f371c7105fdf0a19ea89c151a154397738f74118422406d64dc4a5834\n";

fn yes(stdout: &str) -> Answer {
    Answer { code: 0, stdout: stdout.into(), stderr: String::new() }
}

#[test]
fn init_writes_what_update_accepts_and_overwrites_nothing() {
    let registries = Registries::serve();
    let project = Project::with(&registries);
    assert_eq!(project.run(&["init"]), yes("oclock.toml\nContainerfile.in\n.gitignore\n"));
    assert!(project.root().join("context").is_dir());
    let before = project.snapshot();
    let again = project.run(&["init"]);
    assert_eq!(again.code, 2);
    assert_eq!(again.stderr, "error: `oclock.toml` is already there\n hint: name another directory\n");
    assert_eq!(project.snapshot(), before);
    let update = project.run(&["--quiet", "update"]);
    assert_eq!((update.code, update.stderr.as_str()), (0, ""), "{update:?}");
    assert_eq!(project.run(&["update", "--check"]), yes(""));
    assert_eq!(project.run(&["--quiet", "context"]).code, 0);
}

#[test]
fn init_keeps_a_gitignore_and_makes_the_directory_named() {
    let project = Project::empty();
    project.write("image/.gitignore", "own\n");
    assert_eq!(project.run(&["init", "image"]), yes("image/oclock.toml\nimage/Containerfile.in\n"));
    assert_eq!(project.read("image/.gitignore"), "own\n");
    assert_eq!(project.run(&["-C", "image", "init", "deeper/still"]).code, 0);
    assert!(project.root().join("image/deeper/still/oclock.toml").is_file());
}

#[test]
fn update_twice_gives_the_same_bytes() {
    let registries = Registries::serve();
    let project = Project::greeter(&registries);
    let first = project.run(&["--quiet", "update"]);
    assert!(first.code == 0 && first.stdout.starts_with("10 pins, the lockfile was written\n"), "{first:?}");
    let lock = project.read("lockfile.toml");
    let second = project.run(&["--quiet", "update"]);
    assert!(second.code == 0 && second.stdout.starts_with("10 pins, nothing changed\n"), "{second:?}");
    assert_eq!(project.read("lockfile.toml"), lock);
    let elsewhere = Project::greeter(&registries);
    let mut command = elsewhere.command(&["--quiet", "-j", "1", "update"]);
    command.env("TZ", "Asia/Kathmandu").env("LANG", "de_DE.UTF-8");
    assert_eq!(elsewhere.answer(&mut command).code, 0);
    assert_eq!(elsewhere.read("lockfile.toml"), lock, "another machine, time zone and number of requests");
    assert!(!lock.contains("127.0.0.1") && !lock.contains("http"), "a lockfile names no host");
}

#[test]
fn check_is_answered_offline_with_the_line_that_drifted() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    registries.site.take_asked();
    assert_eq!(project.run(&["update", "--check"]), yes(""));
    project.edit("oclock.toml", "shout = \"^2.0\"", "shout = \"^3.0\"");
    let before = project.snapshot();
    let drifted = project.run(&["update", "--check"]);
    let expected = "\
error: `lockfile.toml` no longer answers `oclock.toml`
  --> oclock.toml:9:1
   | shout = \"^3.0\"     the lockfile pins shout 2.0.0, outside this range (linux/amd64)
 note: checked offline; newer releases play no part in this answer
 hint: run `oclock update`
";
    assert_eq!(drifted, Answer { code: 1, stdout: String::new(), stderr: expected.into() });
    for command in ["build", "context"] {
        assert_eq!(project.run(&[command]).stderr, expected, "{command} wants a lock that answers");
    }
    project.edit("oclock.toml", "\"hello\", ", "");
    let two = project.run(&["update", "--check"]).stderr;
    assert!(two.contains("the lockfile pins hello 2.10-3, which is no longer asked for"), "{two}");
    project.edit("oclock.toml", "\"nodejs\"", "\"hello\", \"nodejs\"");
    project.edit("oclock.toml", "^3.0", "^2.0");
    assert_eq!(
        project.snapshot(),
        before
            .into_iter()
            .map(|(path, bytes)| (
                path.clone(),
                match path.ends_with("oclock.toml") {
                    true => fs::read(path).unwrap(),
                    false => bytes,
                }
            ))
            .collect()
    );
    assert_eq!(registries.site.take_asked(), Vec::<String>::new());
}

#[test]
fn dry_run_and_exit_code_say_what_would_change() {
    let mut registries = Registries::serve();
    let project = Project::locked(&registries);
    let code = |arguments: &[&str]| project.run(arguments).code;
    assert_eq!((code(&["update", "--exit-code"]), code(&["update", "--dry-run", "--exit-code"])), (0, 0));
    registries.npm("shout", "2.1.0", json!({ "dependencies": { "pad-left": "^1.0.0" } }));
    let lock = project.read("lockfile.toml");
    let dry = project.run(&["--quiet", "update", "--dry-run"]);
    assert_eq!(
        dry,
        yes(
            "npm:shout 2.0.0 -> 2.1.0  minor  +3 B  for shout = \"^2.0\"\n10 pins, the lockfile would change; nothing was written\n"
        )
    );
    assert_eq!(code(&["update", "--dry-run", "--exit-code"]), 1);
    assert_eq!(project.read("lockfile.toml"), lock);
    assert_eq!(code(&["update", "--exit-code"]), 1);
    let moved = project.read("lockfile.toml");
    let changed: Vec<&str> = moved.lines().filter(|line| !lock.contains(line)).collect();
    assert_eq!(changed.len(), 5, "one pin moved: version, path, size and two hashes: {changed:#?}");
    let json = project.run(&["--quiet", "--format", "json", "update"]).stdout;
    let outcome: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&outcome["changed"], &outcome["written"], &outcome["pins"]),
        (&json!(false), &json!(false), &json!(10))
    );
}

#[test]
fn list_shows_every_pin_in_columns_and_as_json() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    let list = project.run(&["list"]);
    assert_eq!((list.code, list.stderr.as_str()), (0, ""));
    let starts: Vec<&str> = list.stdout.lines().map(|line| line.split("  sha256:").next().unwrap()).collect();
    let expected = [
        "apt:apt         3.0.3              6.3 kB",
        "apt:base-files  13.8               6.3 kB",
        "apt:hello       2.10-3             6.3 kB",
        "apt:libhello    1.4-2+b1           6.3 kB",
        "apt:nodejs      20.19.2+dfsg-1     6.3 kB",
        "apt:python3     3.13.5-1           6.3 kB",
        "npm:pad-left    1.3.0               199 B",
        "npm:shout       2.0.0               233 B",
        "pip:numbers     1.5                 855 B",
        "pip:sums        3.1                 846 B",
    ];
    assert_eq!(starts, expected);
    let json: Value = serde_json::from_str(&project.run(&["list", "--format", "json"]).stdout).unwrap();
    assert_eq!(json["pins"].as_array().unwrap().len(), 10);
    let pin = &json["pins"][3];
    assert_eq!(
        (&pin["ecosystem"], &pin["name"], &pin["version"], &pin["required_by"]),
        (&json!("apt"), &json!("libhello"), &json!("1.4-2+b1"), &json!(["hello"]))
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure_and_a_full_output_is() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    let mut command = project.command(&["list"]);
    command.stdout(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let full = command.stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(full.status.code(), Some(3));
    let expected = "error: could not write to `standard output`\nbecause: No space left on device (os error 28)\n hint: free some room on that disk\n";
    assert_eq!(String::from_utf8(full.stderr).unwrap(), expected);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = project.command(&["list"]).stdout(writer).output().unwrap();
    assert_eq!((closed.status.code(), closed.stderr), (Some(0), Vec::new()));
}

#[test]
fn render_prints_the_containerfile_with_exact_pins() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    let expected = r#"FROM scratch

# base: debian trixie, from signed packages alone
# apt: 6 packages
#   apt=3.0.3 sha256:d0791f37bf3b
#   base-files=13.8 sha256:c5600cd7d685
#   hello=2.10-3 sha256:d7f31186cdb3
#   libhello=1.4-2+b1 sha256:980df181540b
#   nodejs=20.19.2+dfsg-1 sha256:53709e1cc765
#   python3=3.13.5-1 sha256:4965876e7b20
ADD .oclock/system.tar /
COPY .oclock/steps/ /.oclock/
# oclock: shell
SHELL ["/bin/sh", "/.oclock/step"]
RUN ["/bin/sh", "/.oclock/configure"]
# npm: 2 packages
#   pad-left=1.3.0 sha256:0f3986fe4762
#   shout=2.0.0 sha256:b5278403fb2d
ADD .oclock/npm.tar /
# pip: 2 packages
#   numbers=1.5 sha256:c93115752e99
#   sums=3.1 sha256:f3013fda17f1
ADD .oclock/pip.tar /
RUN sh /.oclock/compile

COPY context/app/ /app/
LABEL shout="2.0.0"
CMD ["/bin/sh"]
"#;
    assert_eq!(project.run(&["render"]), yes(expected));
    assert_eq!(project.run(&["render", "--platform", "linux/amd64"]), yes(expected));
}

#[test]
fn the_context_has_one_digest_whatever_the_machine() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    assert_eq!(project.run(&["--quiet", "context"]), yes(CONTEXT));
    assert_eq!(project.run(&["--quiet", "context", "--digest"]), yes(CONTEXT));
    let other = Project::with(&registries);
    let deep = "a/very/deep/directory/for/one/small/project";
    for name in ["oclock.toml", "Containerfile.in", "lockfile.toml", "context/app/more/empty", "context/app/hello.txt"]
    {
        other.write(&format!("{deep}/{name}"), project.read(name));
        let path = other.root().join(deep).join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
    }
    let mut command = std::process::Command::new("/bin/sh");
    command.args([
        "-c",
        "umask 0077; exec \"$0\" --quiet -C \"$1\" context --to staged",
        env!("CARGO_BIN_EXE_oclock"),
        deep,
    ]);
    command
        .current_dir(other.root())
        .env_clear()
        .env("HOME", other.home())
        .env("PATH", "")
        .env("TZ", "Pacific/Chatham");
    assert_eq!(other.answer(&mut command), yes(CONTEXT));
    let staged = other.root().join(deep).join("staged");
    assert_eq!(fs::read_to_string(staged.join("context/app/hello.txt")).unwrap(), "hello\n");
    assert_eq!(fs::metadata(staged.join("context/app/hello.txt")).unwrap().permissions().mode() & 0o777, 0o644);
    assert!(staged.join("Containerfile").is_file());
    let taken = other.run(&["--quiet", "-C", deep, "context", "--to", "staged"]);
    assert_eq!(
        (taken.code, taken.stderr.as_str()),
        (2, "error: `staged` is already there\n hint: name another directory\n")
    );
    other.write(&format!("{deep}/context/app/hello.txt"), "hello!\n");
    assert_ne!(other.run(&["--quiet", "-C", deep, "context"]).stdout, CONTEXT);
}

#[test]
fn a_link_that_leads_out_of_the_context_is_refused() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    symlink("/etc/passwd", project.root().join("context/app/users")).unwrap();
    let answer = project.run(&["--quiet", "context"]);
    assert_eq!(answer.code, 2);
    assert!(answer.stderr.starts_with("error: the link `app/users` leads out of the context\n"), "{}", answer.stderr);
}

#[test]
fn info_shows_sources_store_and_engines() {
    let registries = Registries::serve();
    let project = Project::greeter(&registries);
    let expected = format!(
        "\
oclock    {0}  lockfile format 1
store     TEMP/home/.cache/oclock
source    debian           http://LOOPBACK/debian/  (~/.config/oclock/config.toml)
source    debian-security  http://LOOPBACK/security/  (~/.config/oclock/config.toml)
source    npm              http://LOOPBACK/npm/  (~/.config/oclock/config.toml)
source    pypi             http://LOOPBACK/simple/  (~/.config/oclock/config.toml)
engine    native           {0} (namespaces)
engine    buildah          it is not on the PATH
engine    docker           it is not on the PATH
",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(project.run(&["info"]), yes(&expected));
    let json: Value = serde_json::from_str(&project.run(&["info", "--format", "json"]).stdout).unwrap();
    assert_eq!(json["sources"].as_array().unwrap().len(), 4);
}

#[test]
fn fetch_brings_what_is_missing_and_offline_says_what_is() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    let missing = project.run(&["--quiet", "fetch", "--offline"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (3, ""));
    let expected = "\
error: 8 locked files are missing in the store
  missing  apt:apt 3.0.3
  missing  apt:base-files 13.8
  missing  apt:hello 2.10-3
  missing  apt:libhello 1.4-2+b1
  missing  apt:nodejs 20.19.2+dfsg-1
  missing  apt:python3 3.13.5-1
  missing  pip:numbers 1.5
  missing  pip:sums 3.1
 hint: run `oclock fetch` while the sources can be reached
";
    assert_eq!(missing.stderr, expected);
    assert_eq!(project.run(&["--quiet", "fetch"]), yes("8 files fetched, 39.7 kB\n"));
    registries.site.take_asked();
    let nothing = yes("nothing to fetch: the store has every locked file\n");
    assert_eq!(project.run(&["--quiet", "fetch"]), nothing);
    assert_eq!(project.run(&["--quiet", "fetch", "--offline"]), nothing);
    assert_eq!(project.run(&["--quiet", "--offline", "context"]), yes(CONTEXT));
    assert_eq!(registries.site.take_asked(), Vec::<String>::new(), "the store has everything");
    fs::remove_dir_all(project.store()).unwrap();
    assert_eq!(project.run(&["--quiet", "fetch"]).code, 0);
    assert_eq!(project.run(&["--quiet", "--offline", "context"]), yes(CONTEXT), "a new store from the lockfile alone");
}

#[test]
fn the_store_says_where_it_is_and_finds_and_repairs_damage() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    project.run(&["fetch"]);
    assert_eq!(project.run(&["store", "path"]), yes("TEMP/home/.cache/oclock\n"));
    assert_eq!(project.run(&["--store", "elsewhere", "store", "path"]), yes("elsewhere\n"));
    let mut command = project.command(&["store", "path"]);
    assert_eq!(
        project.answer(command.env("OCLOCK_STORE", "/tmp/named-by-variable-oclock")).stdout,
        "/tmp/named-by-variable-oclock\n"
    );
    fs::remove_dir_all("/tmp/named-by-variable-oclock").unwrap();
    let size = project.run(&["store", "size"]);
    assert!(size.stdout.starts_with("1") && size.stdout.contains(" blobs, "), "{size:?}");
    let whole = project.run(&["--quiet", "store", "verify"]);
    assert!(whole.code == 0 && whole.stdout.ends_with(" blobs, 0 damaged\n"), "{whole:?}");
    let hello = "d7f31186cdb36d76b9bccaa03975fc9508f6cff306d94436668a8e3ec1ad6a12";
    let blob = project.store().join("blobs/sha256").join(&hello[..2]).join(hello);
    fs::write(&blob, "other bytes").unwrap();
    let build = project.run(&["--quiet", "context"]);
    assert_eq!(build.code, 4);
    assert!(build.stderr.contains("run `oclock store verify --repair` and then `oclock fetch`"), "{}", build.stderr);
    let damaged = project.run(&["--quiet", "store", "verify"]);
    assert_eq!(damaged.code, 4);
    assert!(damaged.stdout.starts_with(&format!("sha256:{hello}  damaged\n")), "{damaged:?}");
    assert!(blob.exists(), "verify alone removes nothing");
    let repaired = project.run(&["--quiet", "store", "verify", "--repair"]);
    assert_eq!(repaired.code, 0);
    assert!(repaired.stdout.starts_with(&format!("sha256:{hello}  damaged, removed\n")), "{repaired:?}");
    assert_eq!(project.run(&["--quiet", "fetch"]), yes("1 file fetched, 6.3 kB\n"));
    assert_eq!(project.run(&["--quiet", "context"]), yes(CONTEXT));
}

#[test]
fn a_project_elsewhere_is_entered_with_all_its_relative_paths() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    let outside = Project::with(&registries);
    let root = project.root();
    let root = root.to_str().unwrap();
    assert_eq!(outside.run(&["-C", root, "--quiet", "--store", "st", "context", "--to", "out"]), yes(CONTEXT));
    assert!(project.root().join("out/Containerfile").is_file() && project.root().join("st/blobs").is_dir());
    assert_eq!(fs::read_dir(outside.root()).unwrap().count(), 0);
    project.write("other.toml", project.read("oclock.toml"));
    project.write("other.lock", project.read("lockfile.toml"));
    fs::remove_file(project.root().join("oclock.toml")).unwrap();
    assert_eq!(project.run(&["update", "--check", "--manifest", "other.toml", "--lockfile", "other.lock"]), yes(""));
    let nowhere = project.run(&["-C", "nowhere", "list"]);
    assert_eq!(
        (nowhere.code, nowhere.stderr.as_str()),
        (3, "error: could not enter `nowhere`\nbecause: No such file or directory (os error 2)\n")
    );
}

#[test]
fn talk_goes_to_standard_error_and_can_be_silenced() {
    let registries = Registries::serve();
    let project = Project::greeter(&registries);
    let talk = project.run(&["update"]);
    assert!(talk.stderr.contains("resolving apt") && !talk.stderr.contains('\u{1b}'), "{talk:?}");
    assert_eq!(project.run(&["--progress", "never", "update"]).stderr, "");
    project.edit("oclock.toml", "shout = \"^2.0\"", "shout = \"^3.0\"");
    assert!(project.run(&["--color", "always", "update", "--check"]).stderr.contains("\u{1b}["));
    let verbose = project.run(&["--verbose", "update", "--check"]);
    assert_eq!(verbose.code, 1);
}

#[test]
fn every_answer_is_to_be_had_as_json() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    let ask = |arguments: &[&str]| -> Value {
        let answer = project.run(&[&["--quiet", "--format", "json"], arguments].concat());
        assert_eq!(answer.code, 0, "{answer:?}");
        assert_eq!(answer.stdout.lines().count(), 1, "{answer:?}");
        serde_json::from_str(&answer.stdout).unwrap()
    };
    assert_eq!(
        ask(&["init", "new"]),
        json!({ "written": ["new/oclock.toml", "new/Containerfile.in", "new/.gitignore"] })
    );
    assert_eq!(ask(&["context"]), json!({ "digest": &CONTEXT.trim()["sha256:".len()..] }));
    assert_eq!(ask(&["store", "path"]), json!({ "path": "TEMP/home/.cache/oclock" }));
    assert_eq!(ask(&["fetch"]), json!({ "files": 0, "bytes": 0, "superseded": 0, "later": 0 }));
    assert_eq!(ask(&["store", "verify"])["damaged"], json!([]));
    assert!(ask(&["store", "size"])["blobs"].as_u64().unwrap() > 10);
}

#[test]
fn pruned_pins_alone_are_moved() {
    let mut registries = Registries::serve();
    let project = Project::locked(&registries);
    registries.npm("shout", "2.1.0", json!({ "dependencies": { "pad-left": "^1.0.0" } }));
    let before = project.read("lockfile.toml");
    let nothing = project.run(&["--quiet", "update", "--pruned"]);
    assert_eq!((nothing.code, project.read("lockfile.toml")), (0, before.clone()), "{nothing:?}");
    registries.replace_deb("hello", "2.10-3", "2.10-4", "Depends: libhello (>= 1.2)\n");
    assert_eq!(project.run(&["--quiet", "fetch"]).code, 3);
    let moved = project.run(&["--quiet", "update", "--pruned"]);
    assert_eq!(moved.code, 0, "{moved:?}");
    assert!(moved.stdout.contains("apt:hello 2.10-3 -> 2.10-4  revision  for hello\n"), "{moved:?}");
    let after = project.read("lockfile.toml");
    assert!(after.contains("version = \"2.10-4\"") && after.contains("shout-2.0.0.tgz"), "only what is gone moves");
    assert_eq!(project.run(&["--quiet", "fetch"]).code, 0);
}
