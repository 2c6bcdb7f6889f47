//! This repository's own image: the committed lockfile under every engine and under other circumstances gives the recorded
//! image, and the image keeps its promises. Real registries, real engines; nothing is skipped.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says what it does")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const NAME: &str = "opencode-server-test:acceptance";

/// One test, because each part stands on the image that the one before it built.
#[test]
fn the_repositorys_own_image_is_the_recorded_one_everywhere_and_keeps_its_promises() {
    let project = Project::copy();
    let recorded = project.update_pruned();
    let first = project.build(&["--engine", "docker-buildkit", "--tag", NAME], &[]);
    if let Some(recorded) = recorded {
        assert_eq!((first.id.as_str(), first.digest.as_str()), (recorded.id.as_str(), recorded.digest.as_str()));
    }
    every_engine_gives_it(&project, &first);
    other_circumstances_give_it(&project, &first);
    nothing_changed_starts_no_engine(&project, &first);
    secrets_are_refused(&project);
    what_is_installed_answers();
    acceptance(&project);
    run(Command::new("docker").args(["rmi", NAME]));
}

fn every_engine_gives_it(project: &Project, first: &Built) {
    for engine in ["native", "buildah-oci", "buildah-chroot", "docker-classic"] {
        let built = project.build(&["--engine", engine, "--no-load", "--no-reuse"], &[]);
        assert_eq!(&built, first, "{engine}");
    }
}

/// An empty store, another directory, time zone, locale, umask, host name, clock and one core.
fn other_circumstances_give_it(project: &Project, first: &Built) {
    let elsewhere = project.moved();
    let store = elsewhere.directory.join("store").display().to_string();
    // The clock is moved only for the build: with another one no certificate of a registry is valid.
    run(&mut elsewhere.oclock(&[], &["--store", &store, "fetch"]));
    let prefix = ["unshare", "--uts", "sh", "-c", "hostname elsewhere; umask 077; exec \"$@\"", "sh"];
    let prefix: Vec<&str> =
        prefix.into_iter().chain(["taskset", "--cpu-list", "0", "faketime", "2031-05-06 07:08:09"]).collect();
    let variables = [
        ("TZ", "Asia/Tokyo"),
        ("LANG", "tr_TR.UTF-8"),
        ("SOURCE_DATE_EPOCH", "1"),
        ("http_proxy", "http://proxy.invalid"),
    ];
    let arguments = ["--store", &store, "--offline", "--engine", "buildah-oci", "--no-load", "--no-reuse"];
    let built = elsewhere.build_with(&prefix, &arguments, &variables);
    assert_eq!(&built, first);
}

fn nothing_changed_starts_no_engine(project: &Project, first: &Built) {
    let built = project.build(&["--no-load"], &[("PATH", "/nonexistent")]);
    assert_eq!(&built, first);
}

/// The image as shipped holds none; with one planted in a file or left by a step it is refused, and nothing is recorded.
fn secrets_are_refused(project: &Project) {
    let clean = run(&mut project.oclock(&[], &["build", "--no-load"]));
    assert!(said(&clean).contains(", 0 secrets, "), "{}", said(&clean));
    let planted = project.moved();
    let lock = fs::read_to_string(planted.directory.join("lockfile.toml")).unwrap();
    let refused = |arguments: &[&str]| {
        let output = planted.oclock(&[], arguments).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{}", said(&output));
        assert_eq!(fs::read_to_string(planted.directory.join("lockfile.toml")).unwrap(), lock);
        said(&output)
    };
    // Put together here, so that this file holds none.
    let key = format!("AKIA{}", "Q3EGZ7WXTN5VJ2LM");
    let file = planted.directory.join("context/scripts/settings");
    fs::write(&file, format!("# for backups\nKEY_ID={key}\n")).unwrap();
    let answer = refused(&["build", "--record", "--no-load"]);
    assert!(answer.starts_with("error: `context/scripts/settings` holds an AWS access key ID\n"), "{answer}");
    fs::remove_file(file).unwrap();

    let template = planted.directory.join("Containerfile.in");
    let text = fs::read_to_string(&template).unwrap();
    let step = format!("RUN id={}; echo \"KEY_ID=AKIA$id\" > /root/left\nEXPOSE 4096\n", &key[4..]);
    fs::write(&template, text.replace("EXPOSE 4096\n", &step)).unwrap();
    let answer = refused(&["build", "--record", "--no-load", "--engine", "docker-buildkit"]);
    assert!(answer.contains("error: `/root/left` holds an AWS access key ID\n"), "{answer}");
    assert!(answer.contains("AKIA… (20 characters), layer system\n") && !answer.contains(&key), "{answer}");

    let manifest = planted.directory.join("oclock.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let waiver = |subject: &str| {
        let waiver = format!("[[policy.waivers]]\nrule = \"secret-aws-access-key\"\nsubject = \"{subject}\"\n");
        fs::write(&manifest, format!("{text}\n{waiver}reason = \"planted\"\nexpires = 2999-01-01\n")).unwrap();
    };
    waiver("/root/other");
    let answer = refused(&["build", "--record", "--no-load"]);
    assert!(answer.contains("error: 2 findings against this image\n") && answer.contains("waiver-unused"), "{answer}");
    waiver("/root/left");
    run(&mut planted.oclock(&[], &["build", "--record", "--no-load"]));
}

fn what_is_installed_answers() {
    let imports = "import graphiti_core, falkordb, redis, ddtrace, b2sdk, datadog_api_client";
    for command in [
        &["opencode", "--version"][..],
        &["/opt/venv/bin/python", "-c", imports],
        &["rclone", "version"],
        &["redis-cli", "--version"],
        &["crontab", "-h"],
        &["git", "--version"],
        &["/usr/bin/python3", "-m", "pip", "--python", "/opt/venv/bin/python", "check"],
        &["sh", "-c", "test -z \"$(dpkg --audit)$(dpkg --verify)\""],
        &["/app/scripts/verify"],
    ] {
        let (program, rest) = command.split_first().unwrap();
        let container = ["run", "--rm", "--network", "none", "--entrypoint", program, NAME];
        let output = Command::new("docker").args(container).args(rest).output().unwrap();
        let usage = command[0] == "crontab";
        assert!(output.status.success() || usage, "{command:?}: {}", said(&output));
        assert!(!usage || said(&output).contains("crontab"), "{command:?}: {}", said(&output));
    }
}

/// `tests/acceptance`: the server, its memory, tracing, backup and cron, on loopback alone.
fn acceptance(project: &Project) {
    let checks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/acceptance");
    let stores = project.directory.join("stores");
    run(Command::new("python3").arg(checks.join("prepare_stores.py")).arg(&stores));
    let output = Command::new("python3")
        .arg(checks.join("run.py"))
        .args(["--engine", "docker", "--image", NAME, "--stores"])
        .arg(&stores)
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", said(&output));
}

#[derive(Debug, PartialEq, Eq)]
struct Built {
    id: String,
    digest: String,
}

struct Project {
    _temporary: tempfile::TempDir,
    directory: PathBuf,
}

impl Project {
    /// The repository's project files in a directory of their own.
    fn copy() -> Self {
        Self::of(Path::new(env!("CARGO_MANIFEST_DIR")))
    }

    fn moved(&self) -> Self {
        Self::of(&self.directory)
    }

    fn of(from: &Path) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().join("a/deeper/place");
        fs::create_dir_all(&directory).unwrap();
        for name in ["oclock.toml", "Containerfile.in", "lockfile.toml", "context"] {
            run(Command::new("cp").arg("-r").arg(from.join(name)).arg(&directory));
        }
        Self { _temporary: temporary, directory }
    }

    /// Moves pins that the mirrors dropped since the lockfile was committed; gives the recorded image if none was.
    fn update_pruned(&self) -> Option<Built> {
        let before = fs::read_to_string(self.directory.join("lockfile.toml")).unwrap();
        let output = run(&mut self.oclock(&[], &["update", "--pruned"]));
        let after = fs::read_to_string(self.directory.join("lockfile.toml")).unwrap();
        if before != after {
            println!(
                "pins of the committed lockfile were pruned, the recorded image is not compared:\n{}",
                said(&output)
            );
            return None;
        }
        let lock: toml::Table = after.parse().unwrap();
        let image = &lock["image"]["linux/amd64"];
        let text = |key: &str| image[key].as_str().unwrap().to_owned();
        Some(Built { id: text("id"), digest: text("digest") })
    }

    fn build(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Built {
        self.build_with(&[], arguments, variables)
    }

    fn build_with(&self, prefix: &[&str], arguments: &[&str], variables: &[(&str, &str)]) -> Built {
        let all: Vec<&str> = ["--format", "json", "build"].into_iter().chain(arguments.iter().copied()).collect();
        let mut command = self.oclock(prefix, &all);
        let output = run(command.envs(variables.iter().copied()));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |key: &str| answer[key].as_str().unwrap().to_owned();
        Built { id: text("id"), digest: text("digest") }
    }

    fn oclock(&self, prefix: &[&str], arguments: &[&str]) -> Command {
        let words: Vec<&str> = prefix.iter().copied().chain([env!("CARGO_BIN_EXE_oclock")]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("-C").arg(&self.directory).args(arguments);
        command
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    output
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
