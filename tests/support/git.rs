//! Projects under git: the real one, with no settings of the machine or the user.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use super::project::{Answer, Project};

/// Where git is on this machine.
pub fn git_program() -> PathBuf {
    let directories = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&directories).map(|directory| directory.join("git")).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("these tests need git"))
}

/// A project whose directory is a repository, with git on its PATH.
pub struct Repository<'a> {
    project: &'a Project,
}

impl<'a> Repository<'a> {
    /// Makes a project's directory a repository and commits all of it to `main`.
    pub fn start(project: &'a Project) -> Self {
        let repository = Self::of(project);
        repository.git(&["init", "--quiet", "--initial-branch", "main"]);
        project.write(".gitignore", ".oclock/\n");
        repository.git(&["add", "--all"]);
        repository.git(&["commit", "--quiet", "--message", "locked"]);
        repository
    }

    /// Clones another project's repository into this project's empty directory.
    pub fn clone(from: &Project, to: &'a Project) -> Self {
        let repository = Self::of(to);
        repository.git(&["clone", "--quiet", from.root().to_str().unwrap(), "."]);
        repository
    }

    /// The repository that a project is already.
    pub fn at(project: &'a Project) -> Self {
        Self { project }
    }

    fn of(project: &'a Project) -> Self {
        symlink(git_program(), project.tools().join("git")).unwrap();
        std::fs::write(project.home().join(".gitconfig"), "[user]\nname = A\nemail = a@example.invalid\n").unwrap();
        Self { project }
    }

    /// Runs git, which must end well.
    pub fn git(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(git_program());
        command.args(["-c", "core.pager=cat"]).args(arguments).current_dir(self.project.root()).env_clear();
        command.env("HOME", self.project.home()).env("PATH", self.project.tools());
        command.env("GIT_CONFIG_NOSYSTEM", "1");
        let answer = self.project.answer(&mut command);
        assert_eq!(answer.code, 0, "git {arguments:?}: {answer:?}");
        answer
    }
}
