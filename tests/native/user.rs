//! All of it once more as an ordinary user, who is made for that and has subordinate IDs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Output};

use super::{Bench, USUAL, is_root};

/// Steps whose result tells root's view from a user's where they are not the same.
const OWNERS: &str = "COPY --chown=7:8 files /srv/files\nRUN cd /opt && echo x > file && chown 33:34 file && chmod 4750 file && ln file hard && mkfifo fifo \
    && mkdir -m 000 closed && touch closed/in && chown -R 65534:12 closed && chmod 2711 /srv/files\nUSER web\nRUN id > /tmp/../var/tmp/x || true; umask";

fn image_id() -> String {
    let bench = Bench::new();
    bench.write("context/files/one", "one");
    let outcome = bench.build(OWNERS, USUAL);
    outcome.result.unwrap().id.to_string()
}

#[test]
#[ignore = "run as the ordinary user by `an_ordinary_user_has_the_same`"]
fn tell_the_image() {
    let path = std::env::var_os("OCLOCK_TEST_ANSWER").expect("`an_ordinary_user_has_the_same` sets it");
    fs::write(path, image_id()).unwrap();
}

#[test]
#[ignore = "run as the ordinary user by `an_ordinary_user_has_the_same`"]
fn without_subordinate_ids_it_says_what_to_set() {
    use oclock::base::environment::Environment;
    use oclock::base::explain::Explain;
    use oclock::engine::{EngineChoice, find};
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let uid = rustix::process::getuid().as_raw();
    fs::write(root.path().join("etc/passwd"), format!("builder:x:{uid}:{uid}::/:/bin/sh\n")).unwrap();
    fs::write(root.path().join("etc/subuid"), "builder:100000:1000\n").unwrap();
    let environment = Environment::from_variables(std::env::vars_os()).with_root(root.path());
    let error = find(EngineChoice::Native, &environment).unwrap_err();
    let evidence = error.evidence().join("\n");
    let expected = "user `builder` has no 65535 IDs of its own in /etc/subuid; as root: `usermod --add-subuids 100000-165535 builder`";
    assert!(evidence.contains(expected), "{evidence}");
    let without_tools = Environment::from_variables([("PATH".into(), "/nonexistent".into())]).with_root(root.path());
    assert!(find(EngineChoice::Native, &without_tools).is_err());
}

/// A user with subordinate IDs, gone with all that is its when dropped.
struct User {
    name: String,
    home: tempfile::TempDir,
}

impl User {
    fn make() -> Self {
        let name = format!("oclock-test-{}", std::process::id());
        let home = tempfile::tempdir().unwrap();
        run(Command::new("useradd").args(["--no-create-home", "--home-dir"]).arg(home.path()).arg(&name));
        let (uid, gid) = (id("-u", &name), id("-g", &name));
        chown(home.path(), Some(uid), Some(gid)).unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for file in ["/etc/subuid", "/etc/subgid"] {
            if !fs::read_to_string(file).unwrap_or_default().lines().any(|line| line.starts_with(&format!("{name}:"))) {
                let mut file = fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
                writeln!(file, "{name}:7000000:65536").unwrap();
            }
        }
        Self { name, home }
    }

    fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &self.name, "--regid", &id("-g", &self.name).to_string(), "--clear-groups", "--"]);
        command.arg(program).env_clear().current_dir("/");
        command
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.home.path())
            .env("TMPDIR", self.home.path());
        command
    }
}

impl Drop for User {
    fn drop(&mut self) {
        Command::new("userdel").arg(&self.name).output().ok();
    }
}

fn id(flag: &str, name: &str) -> u32 {
    String::from_utf8(run(Command::new("id").args([flag, name])).stdout).unwrap().trim().parse().unwrap()
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{said}");
    output
}

#[test]
fn an_ordinary_user_has_the_same() {
    if !is_root() {
        assert!(std::env::var_os("OCLOCK_TEST_ANSWER").is_some(), "run this as root: it makes a user");
        return;
    }
    let user = User::make();
    let answer = user.home.path().join("answer");
    let mut command = user.command(&std::env::current_exe().unwrap());
    command.env("OCLOCK_TEST_ANSWER", &answer).args(["--include-ignored", "--test-threads", "1"]);
    let said = String::from_utf8(run(&mut command).stdout).unwrap();
    let passed: usize = said.split("test result: ok. ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(passed >= 20, "{said}");
    assert_eq!(fs::read_to_string(answer).unwrap(), image_id());
}
