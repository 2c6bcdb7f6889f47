//! docs/ci: every command of the workflow and of the shell scripts, carried out in a clone of a repository.
//!
//! What cannot run here has stand-ins: `gh`, which needs a forge, and `oclock build`, which needs an engine and real
//! packages; of the latter the real program is asked whether it knows the options.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use oclock::lock::{parse_lockfile, render_lockfile};
use oclock::model::Sha256;
use support::advisories::{days_ago, harmless, write};
use support::git::Repository;
use support::project::{Answer, Project};
use support::registries::Registries;
use support::wheels::WheelBuilder;
use yaml_rust2::{Yaml, YamlLoader};

const TOOLS: &[&str] = &["bash", "cat", "env", "sh"];

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ci").join(name)).unwrap()
}

/// A repository with a branch that moves a wheel and one that gives it other bytes, and a runner's clone of it.
struct Bench {
    _registries: Registries,
    author: Project,
    runner: Project,
}

impl Bench {
    fn new() -> Self {
        let mut registries = Registries::serve();
        let author = Project::locked(&registries);
        let manifest = author.read("oclock.toml");
        author.write("oclock.toml", format!("{manifest}\n[policy]\nadvisories = [\"advisories\"]\n"));
        write(&author, &harmless());
        let repository = Repository::start(&author);
        repository.git(&["switch", "--quiet", "--create", "poison"]);
        let mut lock = parse_lockfile(&author.read("lockfile.toml"), "").unwrap();
        lock.pip[1].artifact.sha256 = Sha256::of("poison");
        author.write("lockfile.toml", render_lockfile(&lock));
        repository.git(&["commit", "--quiet", "--all", "--message", "poison"]);
        repository.git(&["switch", "--quiet", "main"]);
        repository.git(&["switch", "--quiet", "--create", "bump"]);
        registries.at(&days_ago(12));
        registries.wheel(&WheelBuilder::new("numbers", "1.6"));
        assert_eq!(author.run(&["--quiet", "update"]).code, 0);
        repository.git(&["commit", "--quiet", "--all", "--message", "bump"]);
        repository.git(&["switch", "--quiet", "main"]);
        let runner = Project::with(&registries);
        Repository::clone(&author, &runner);
        let bench = Self { _registries: registries, author, runner };
        bench.stand_ins();
        bench
    }

    fn stand_ins(&self) {
        let tools = self.runner.tools();
        for tool in TOOLS {
            let found = ["/usr/bin", "/bin"].map(|directory| Path::new(directory).join(tool));
            symlink(found.into_iter().find(|path| path.exists()).unwrap(), tools.join(tool)).unwrap();
        }
        let oclock = env!("CARGO_BIN_EXE_oclock");
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = build ]; then exec {oclock} \"$@\" --help > /dev/null; fi\nexec {oclock} --quiet \"$@\"\n"
        );
        let gh = "#!/bin/sh\necho \"gh $*\" >> \"$HOME/gh\"\n".to_owned();
        for (name, script) in [("oclock", script), ("gh", gh)] {
            fs::write(tools.join(name), script).unwrap();
            fs::set_permissions(tools.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn git(&self, arguments: &[&str]) -> Answer {
        Repository::at(&self.runner).git(arguments)
    }

    fn shell(&self, shell: &[&str], script: &str, variables: &[(String, String)]) -> Answer {
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg(script).current_dir(self.runner.root()).env_clear();
        command.env("HOME", self.runner.home()).env("PATH", self.runner.tools()).env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GITHUB_STEP_SUMMARY", self.runner.home().join("summary")).envs(variables.iter().cloned());
        self.runner.answer(&mut command)
    }

    /// The `run` steps of a job as a runner carries them out: after a failed step only those that say `always()`. Returns
    /// each step's name and exit code.
    fn job(&self, job: &Yaml) -> Vec<(String, i32)> {
        let mut codes: Vec<(String, i32)> = Vec::new();
        for step in job["steps"].as_vec().unwrap() {
            let Some(script) = step["run"].as_str() else {
                assert!(step["uses"].as_str().is_some(), "{step:?}");
                continue;
            };
            let condition = step["if"].as_str().unwrap_or_default();
            assert!(
                ["", "always()", "github.event.pull_request.head.repo.fork == false"].contains(&condition),
                "{condition}"
            );
            if codes.iter().any(|(_, code)| *code != 0) && condition != "always()" {
                continue;
            }
            let variables: Vec<_> = [&job["env"], &step["env"]].into_iter().flat_map(variables).collect();
            let answer = self.shell(&["/bin/bash", "-e", "-c"], script, &variables);
            codes.push((step["name"].as_str().unwrap().to_owned(), answer.code));
            assert!(answer.code < 2, "{script}: {answer:?}");
        }
        codes
    }

    fn said_to_gh(&self) -> String {
        fs::read_to_string(self.runner.home().join("gh")).unwrap_or_default()
    }
}

/// What a runner puts in for an expression.
fn filled(text: &str) -> &str {
    match text {
        "${{ github.base_ref }}" | "${{ github.ref_name }}" => "main",
        "${{ github.token }}" => "token",
        "${{ github.event.pull_request.number }}" => "7",
        other => other,
    }
}

/// The variables of a job or step, with what a runner puts in for its expressions.
fn variables(env: &Yaml) -> Vec<(String, String)> {
    let Some(pairs) = env.as_hash() else { return Vec::new() };
    let pairs = pairs.iter().map(|(name, text)| (name.as_str().unwrap(), filled(text.as_str().unwrap())));
    let pairs: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert!(pairs.iter().all(|(_, value)| !value.contains("${{")), "{pairs:?}");
    pairs
}

fn workflow() -> Yaml {
    let text = file("github.yml");
    let documents = YamlLoader::load_from_str(&text).unwrap();
    assert_eq!(documents.len(), 1);
    let workflow = documents[0].clone();
    let jobs: Vec<&str> = workflow["jobs"].as_hash().unwrap().keys().filter_map(Yaml::as_str).collect();
    assert_eq!(jobs, ["review", "update"]);
    // What a stranger may write (names of branches, titles) reaches a script as a variable only.
    for job in workflow["jobs"].as_hash().unwrap().values() {
        for step in job["steps"].as_vec().unwrap() {
            assert!(!step["run"].as_str().unwrap_or_default().contains("${{"), "{step:?}");
        }
    }
    workflow
}

#[test]
fn the_review_job_passes_an_honest_bump() {
    let bench = Bench::new();
    bench.git(&["switch", "--quiet", "bump"]);
    let codes = bench.job(&workflow()["jobs"]["review"]);
    let names: Vec<&str> = codes.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "Which oclock, and which sources",
        "The lockfile answers the manifest",
        "What changed",
        "Say so in the pull request",
        "Policy and advisories",
        "Nothing grave without a waiver",
    ];
    assert_eq!(names, expected);
    assert!(codes.iter().all(|(_, code)| *code == 0), "{codes:?}");
    let comment = bench.runner.read("diff.md");
    assert!(
        comment.contains("Nothing stands out.") && comment.contains("| up | `pip:numbers` | 1.5 → 1.6 |"),
        "{comment}"
    );
    assert_eq!(fs::read_to_string(bench.runner.home().join("summary")).unwrap(), comment);
    assert_eq!(bench.said_to_gh(), "gh pr comment 7 --body-file diff.md --edit-last --create-if-none\n");
    for name in ["diff.sarif", "audit.sarif"] {
        let log: serde_json::Value = serde_json::from_str(&bench.runner.read(name)).unwrap();
        assert_eq!(log["version"], "2.1.0", "{name}");
    }
}

#[test]
fn the_review_job_stops_a_poisoned_lockfile() {
    let bench = Bench::new();
    bench.git(&["switch", "--quiet", "poison"]);
    let codes = bench.job(&workflow()["jobs"]["review"]);
    assert_eq!(codes.last().unwrap(), &("Nothing grave without a waiver".to_owned(), 1), "{codes:?}");
    let comment = bench.runner.read("diff.md");
    assert!(comment.contains("| error | `pip:sums 3.1` has other bytes under the same version"), "{comment}");
    let log: serde_json::Value = serde_json::from_str(&bench.runner.read("diff.sarif")).unwrap();
    assert_eq!(log["runs"][0]["results"][0]["ruleId"], "lock-rehashed");
}

#[test]
fn the_update_job_proposes_what_is_newer_and_nothing_when_there_is_nothing() {
    let bench = Bench::new();
    let update = &workflow()["jobs"]["update"];
    let codes = bench.job(update);
    assert!(codes.len() == 4 && codes.iter().all(|(_, code)| *code == 0), "{codes:?}");
    let pushed = Repository::at(&bench.author).git(&["show", "--format=%s", "lockfile-update"]).stdout;
    assert!(pushed.starts_with("lockfile: newer versions\n") && pushed.contains("+version = \"1.6\""), "{pushed}");
    let asked = bench.said_to_gh();
    assert_eq!(asked, "gh pr create --base main --title lockfile: newer versions --body-file diff.md\n");
    let again = bench.job(update);
    assert!(again.iter().all(|(_, code)| *code == 0), "{again:?}");
    assert_eq!(bench.said_to_gh(), asked, "the second run found nothing newer");
}

#[test]
fn the_shell_scripts_do_the_same() {
    let bench = Bench::new();
    for (branch, code) in [("bump", 0), ("poison", 1)] {
        bench.git(&["switch", "--quiet", branch]);
        let answer = bench.shell(&["/bin/sh", "-c"], &format!("set -- origin/main\n{}", file("review.sh")), &[]);
        assert_eq!(answer.code, code, "{branch}: {answer:?}");
        assert!(bench.runner.read("diff.md").starts_with("### Lockfile\n"));
    }
    bench.git(&["switch", "--quiet", "main"]);
    let update = format!("set -- newer\n{}", file("update.sh"));
    let answer = bench.shell(&["/bin/sh", "-c"], &update, &[]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let pushed = Repository::at(&bench.author).git(&["show", "--format=%s", "newer"]).stdout;
    assert!(pushed.starts_with("lockfile: newer versions\n"), "{pushed}");
}
