//! A project in a temporary directory and the real binary in it, with an environment that has nothing of the host's.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::registries::Registries;

pub const MANIFEST: &str = r#"[image]
name = "greeter"
base = { debian = "trixie" }

[apt]
packages = ["hello", "nodejs", "python3"]

[npm.packages]
shout = "^2.0"

[pip]
packages = ["sums>=3"]
"#;

pub const TEMPLATE: &str = "FROM {{ base }}\n\n{{ apt.install }}\n{{ npm.install }}\n{{ pip.install }}\n\nCOPY app/ /app/\nLABEL shout=\"{{ version(\"npm:shout\") }}\"\nCMD [\"/bin/sh\"]\n";

/// What a run said and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub struct Project {
    directory: tempfile::TempDir,
}

impl Project {
    /// An empty project, with no settings and nothing on the PATH.
    pub fn empty() -> Self {
        let project = Self { directory: tempfile::tempdir().unwrap() };
        for directory in ["home", "bin", "project"] {
            fs::create_dir(project.directory.path().join(directory)).unwrap();
        }
        project
    }

    /// An empty project of a user whose oclock asks these registries.
    pub fn with(registries: &Registries) -> Self {
        let project = Self::empty();
        let settings = project.home().join(".config/oclock");
        fs::create_dir_all(&settings).unwrap();
        for (name, text) in registries.settings() {
            fs::write(settings.join(name), text).unwrap();
        }
        project
    }

    /// The same with the manifest, template and files that most tests use.
    pub fn greeter(registries: &Registries) -> Self {
        let project = Self::with(registries);
        project.write("oclock.toml", MANIFEST);
        project.write("Containerfile.in", TEMPLATE);
        project.write("context/app/hello.txt", "hello\n");
        project.write("context/app/more/empty", "");
        project
    }

    /// And locked.
    pub fn locked(registries: &Registries) -> Self {
        let project = Self::greeter(registries);
        let answer = project.run(&["update"]);
        assert_eq!(answer.code, 0, "{answer:?}");
        project
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("project")
    }

    pub fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// As a user who sees all packages for the first time.
    pub fn forget_ledger(&self) {
        fs::remove_dir_all(self.home().join(".local/share/oclock")).unwrap();
    }

    /// The one directory on the PATH.
    pub fn tools(&self) -> PathBuf {
        self.directory.path().join("bin")
    }

    pub fn store(&self) -> PathBuf {
        self.home().join(".cache/oclock")
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root().join(name)).unwrap()
    }

    /// Replaces a part of a file, which must be there once.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert_eq!(text.matches(from).count(), 1, "`{from}` in {name}:\n{text}");
        self.write(name, text.replace(from, to));
    }

    /// The binary, started in the project's directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oclock"));
        command.args(arguments).current_dir(self.root()).env_clear();
        command.env("HOME", self.home()).env("PATH", self.tools());
        command
    }

    /// The scratch directory of a build, on the disk or in memory, where the built-in engine's room has a file of this name.
    pub fn scratch_with(&self, name: &str) -> Option<PathBuf> {
        let own = rustix::process::geteuid().as_raw();
        let places = [self.root().join(".oclock"), format!("/dev/shm/oclock-{own}").into()];
        let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
        let has_it = |path: &PathBuf| entries(path.join("native")).any(|layer| layer.path().join(name).exists());
        places.into_iter().flat_map(entries).map(|entry| entry.path()).find(has_it)
    }

    pub fn run(&self, arguments: &[&str]) -> Answer {
        self.answer(&mut self.command(arguments))
    }

    /// What a command says, with what differs from run to run left out: temporary directories and ports.
    pub fn answer(&self, command: &mut Command) -> Answer {
        let output = command.output().unwrap();
        let text = |bytes| {
            let text = String::from_utf8(bytes).unwrap().replace(self.directory.path().to_str().unwrap(), "TEMP");
            without_ports(&text)
        };
        Answer { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Every file of the project but its scratch, and every blob of the store: what no failed command may change.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.root(), &mut files);
        collect(&self.store().join("blobs"), &mut files);
        files.retain(|path, _| !path.starts_with(self.root().join(".oclock")));
        files
    }
}

fn collect(directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            collect(&path, files);
        } else if kind.is_file() {
            files.insert(path.clone(), fs::read(path).unwrap());
        } else {
            // Links and what no file is: that they are there.
            files.insert(path, Vec::new());
        }
    }
}

fn without_ports(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |whole, part| whole + "LOOPBACK" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}
