//! A project that holds a secret, or files that no image can be built from, is refused before anything is fetched or built: the
//! real binary in a temporary project. What steps leave behind in an image is in tests/engines.rs and tests/image.rs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use support::project::{Answer, Project};
use support::registries::Registries;

/// Secrets of nobody. `·` is taken out, so that this file holds none.
const PLANTED: [(&str, &str, &str, &str); 5] = [
    (
        "context/app/aws.ini",
        "secret-aws-access-key",
        "[default]\naws_access_key_id = AKIA·Q3EGZ7WXTN5VJ2LM\n",
        "AKIA… (20 characters)",
    ),
    (
        "context/app/backup.env",
        "secret-b2-key",
        "B2_APPLICATION_KEY=K005·q8Zt3vXk1LmNw5sYhJdFcUeBgOi\n",
        "K005… (31 characters)",
    ),
    (
        "context/app/datadog.yaml",
        "secret-datadog-key",
        "# agent\n\ndd_api_key: 9a3f·5c7e1b2d4f608192a3b4c5d6e7f8\n",
        "… (32 characters)",
    ),
    (
        "context/app/key.pem",
        "secret-private-key",
        "-----BEGIN PRI·VATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIGqzH5rnZ3mTqy0cL9bFJ2x8kVvWd1s4eUoRt7hYpNQa\n-----END PRI·VATE KEY-----\n",
        "… (64 characters)",
    ),
    (
        "context/app/npmrc",
        "secret-npm-token",
        "//registry.invalid/:_authToken=npm_·q8Zt3vXk1LmNw5sYhJdFcUeBgOiAyXtWqRzP\n",
        "npm_… (40 characters)",
    ),
];

const NOTES: &str = " note: nothing was fetched or built
 note: docs/security.md says what counts as a secret, and what to do about a false alarm
 hint: take it out, and give it when the container starts: as a variable or a mounted file
";

fn planted(text: &str) -> String {
    text.replace('·', "")
}

/// Runs `context` and `build`, which must say the same, and leave the project and the store as they were.
fn refused(project: &Project) -> Answer {
    let before = project.snapshot();
    let answer = project.run(&["--quiet", "context"]);
    assert_eq!(project.run(&["--quiet", "build"]), answer);
    assert!(project.snapshot() == before, "something was written or fetched");
    assert_eq!(answer.stdout, "");
    answer
}

#[test]
fn every_planted_key_is_named_with_its_file_and_line_and_never_shown() {
    let project = Project::locked(&Registries::serve());
    for (file, _, text, _) in PLANTED {
        project.write(file, planted(text));
    }
    let expected = format!(
        "\
error: 5 findings against this image
  context/app/aws.ini:2       secret-aws-access-key  AKIA… (20 characters)
  context/app/backup.env:1    secret-b2-key          K005… (31 characters)
  context/app/datadog.yaml:3  secret-datadog-key     … (32 characters)
  context/app/npmrc:1         secret-npm-token       npm_… (40 characters)
  context/app/key.pem:1       secret-private-key     … (64 characters)
{NOTES}"
    );
    let answer = refused(&project);
    assert_eq!((answer.code, answer.stderr.as_str()), (1, expected.as_str()));
    for (file, rule, text, shown) in PLANTED {
        for (other, ..) in PLANTED {
            fs::remove_file(project.root().join(other)).ok();
        }
        project.write(file, planted(text));
        let answer = refused(&project);
        assert!(answer.code == 1 && answer.stderr.starts_with(&format!("error: `{file}` holds a")), "{answer:?}");
        assert!(answer.stderr.contains(rule) && answer.stderr.contains(shown), "{answer:?}");
        let secret = planted(text.split_once('·').unwrap().1);
        assert!(!answer.stderr.contains(secret.trim().lines().next().unwrap()), "{answer:?}");
    }
}

#[test]
fn variables_and_labels_of_the_containerfile_are_looked_at_put_together() {
    let registries = Registries::serve();
    let token = planted("npm_·q8Zt3vXk1LmNw5sYhJdFcUeBgOiAyXtWqRzP");
    for (instruction, line) in [
        (format!("ENV NPM_TOKEN={token}"), ":8"),
        (format!("ENV NPM_TOKEN {token}"), ":8"),
        (format!("LABEL token=\"{token}\""), ":8"),
        (format!("RUN echo //registry.invalid/:_authToken={token} > /root/.npmrc"), ":8"),
        (format!("ENV FIRST=npm_\nENV NPM_TOKEN=${{FIRST}}{}", &token[4..]), ":9"),
        (format!("LABEL token={{{{ \"npm\" }}}}_{}", &token[4..]), " (rendered)"),
    ] {
        let project = Project::locked(&registries);
        project.edit("Containerfile.in", "LABEL", &format!("{instruction}\nLABEL"));
        let answer = refused(&project);
        let place = format!("Containerfile.in{line}");
        assert_eq!(answer.code, 1, "{instruction}: {answer:?}");
        assert!(answer.stderr.starts_with("error: `Containerfile.in` holds an npm token\n"), "{answer:?}");
        assert!(answer.stderr.contains(&place), "{instruction}: {answer:?}");
    }
}

#[test]
fn a_waiver_excuses_what_it_names_until_its_day() {
    let project = Project::locked(&Registries::serve());
    let (file, rule, text, _) = PLANTED[0];
    project.write(file, planted(text));
    let manifest = project.read("oclock.toml");
    let waiver = |subject: &str, expires: &str| {
        let waiver = format!(
            "[[policy.waivers]]\nrule = \"{rule}\"\nsubject = \"{subject}\"\nreason = \"a sample of the manual\"\n"
        );
        project.write("oclock.toml", format!("{manifest}\n{waiver}expires = {expires}\n"));
    };
    waiver(file, "2999-01-01");
    assert_eq!(project.run(&["--quiet", "context"]).code, 0);
    waiver("context/app/other.ini", "2999-01-01");
    let other = refused(&project);
    assert!(
        other.code == 1 && other.stderr.starts_with(&format!("error: `{file}` holds an AWS access key ID\n")),
        "{other:?}"
    );
    waiver(file, "2020-01-01");
    let over = refused(&project);
    let lines = format!(
        "error: 2 findings against this image\n  {file}:2  {rule}  AKIA… (20 characters)\n  oclock.toml:15         waiver-expired         for `{file}`\n"
    );
    assert!(over.code == 1 && over.stderr.starts_with(&lines), "{}", over.stderr);
}

#[test]
fn all_that_is_wrong_with_the_context_is_said_at_once() {
    let registries = Registries::serve();
    let project = Project::locked(&registries);
    let app = project.root().join("context/app");
    project.edit(
        "Containerfile.in",
        "COPY app/ /app/\n",
        "COPY app/ /app/\nCOPY plugin/ graphiti/ scripts/ /srv/\nCOPY [\"config.json\", \"/etc/\"]\n",
    );
    symlink("/etc/passwd", app.join("absolute")).unwrap();
    symlink("../../../up", app.join("upwards")).unwrap();
    symlink("hello.txt", app.join("fine")).unwrap();
    let _listener = UnixListener::bind(app.join("socket")).unwrap();
    mknodat(CWD, app.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    fs::write(app.join(std::ffi::OsString::from(String::from("esc\u{1b}"))), "").unwrap();
    fs::write(app.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"latin\xe9")), "").unwrap();
    let expected = "\
error: 10 things are wrong with the build context
  context/app/absolute  a link out of the context, to `/etc/passwd`
  context/app/esc\u{fffd}      its name has control characters
  context/app/latin\u{fffd}    its name is not UTF-8, and engines disagree on such names
  context/app/pipe      a pipe, which no image can hold
  context/app/socket    a socket, which no image can hold
  context/app/upwards   a link out of the context, to `../../../up`
  Containerfile.in:8    copies `plugin`, which `context` does not have
  Containerfile.in:8    copies `graphiti`, which `context` does not have
  Containerfile.in:8    copies `scripts`, which `context` does not have
  Containerfile.in:9    copies `config.json`, which `context` does not have
 note: nothing was fetched or built
 hint: copy the file itself into the context
 hint: remove it, or move it out of the context
";
    let answer = refused(&project);
    assert_eq!((answer.code, answer.stderr.as_str()), (2, expected));
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let project = Project::locked(&Registries::serve());
    let file = project.root().join("context/app/hello.txt");
    fs::create_dir(project.root().join("context/closed")).unwrap();
    for path in [&file, &project.root().join("context/closed")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let answer = as_nobody(&project, &["--quiet", "context"]);
    let expected = "\
error: 2 things are wrong with the build context
  context/app/hello.txt  could not read it: Permission denied (os error 13)
  context/closed         could not list it: Permission denied (os error 13)
 note: nothing was fetched or built
 hint: run as a user who may, or change the owner of that path
";
    assert_eq!((answer.code, answer.stdout.as_str(), answer.stderr.as_str()), (3, "", expected));
}

/// Runs the binary as a user who is not root, and to whom the whole project belongs.
fn as_nobody(project: &Project, arguments: &[&str]) -> Answer {
    const NOBODY: u32 = 65_534;
    let binary = project.tools().join("oclock");
    fs::copy(env!("CARGO_BIN_EXE_oclock"), &binary).unwrap();
    let mut command = Command::new(&binary);
    command.args(arguments).current_dir(project.root()).env_clear().env("HOME", project.home());
    if rustix::process::geteuid().is_root() {
        give(project.root().parent().unwrap(), NOBODY);
        command.uid(NOBODY).gid(NOBODY);
    }
    project.answer(&mut command)
}

fn give(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), user));
    }
    chown(path, Some(user), Some(user)).unwrap();
}

#[test]
fn a_file_that_changes_while_it_is_read_is_named() {
    let project = Project::locked(&Registries::serve());
    project.run(&["fetch"]);
    let file = project.root().join("context/app/hello.txt");
    fs::write(&file, vec![b'a'; 64 << 20]).unwrap();
    let ended = AtomicBool::new(false);
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::os::unix::fs::FileExt;
            let file = fs::OpenOptions::new().write(true).open(&file).unwrap();
            while !ended.load(Ordering::SeqCst) {
                file.write_all_at(b"a", 0).unwrap();
            }
        });
        let answer = project.run(&["--quiet", "context"]);
        ended.store(true, Ordering::SeqCst);
        answer
    });
    let expected = "\
error: `app/hello.txt` changed while it was read
 note: nothing was fetched or built
 hint: let whatever writes it finish, and run the command again
";
    assert_eq!((answer.code, answer.stderr.as_str()), (3, expected));
}
