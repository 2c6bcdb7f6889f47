//! Where things stand in a lockfile's text, for messages and annotations that point at a line.

use crate::model::Ecosystem;

/// The lines of a lockfile in canonical form.
#[derive(Clone, Debug)]
pub struct LockLines<'a> {
    lines: Vec<&'a str>,
    apt: Vec<usize>,
    npm: Vec<usize>,
    pip: Vec<usize>,
    pip_builds: Vec<usize>,
    archives: Vec<usize>,
}

impl<'a> LockLines<'a> {
    /// Looks where the tables start. The text must be one that [`parse_lockfile`](super::parse_lockfile) accepts.
    pub fn of(text: &'a str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let starts = |header: &str| {
            lines.iter().enumerate().filter(|(_, line)| **line == header).map(|(index, _)| index).collect()
        };
        let headers = ["[[apt]]", "[[npm]]", "[[pip]]", "[[pip-build]]", "[[archive]]"];
        let [apt, npm, pip, pip_builds, archives] = headers.map(starts);
        Self { apt, npm, pip, pip_builds, archives, lines }
    }

    /// The line (from 1) of a field of a pin, which is the `index`th of its ecosystem; of the pin when it has no such field.
    pub fn pin(&self, ecosystem: Ecosystem, index: usize, field: &str) -> Option<usize> {
        let starts = match ecosystem {
            Ecosystem::Apt => &self.apt,
            Ecosystem::Npm => &self.npm,
            Ecosystem::Pip => &self.pip,
        };
        starts.get(index).map(|start| self.field(*start, field))
    }

    /// The same of a wheel that source distributions are built with.
    pub fn pip_build(&self, index: usize, field: &str) -> Option<usize> {
        self.pip_builds.get(index).map(|start| self.field(*start, field))
    }

    /// The line (from 1) of a field of the `index`th archive.
    pub fn archive(&self, index: usize, field: &str) -> Option<usize> {
        self.archives.get(index).map(|start| self.field(*start, field))
    }

    /// The line (from 1) of a table such as `[seal]`, or of a field at the top such as `epoch`.
    pub fn top(&self, name: &str) -> Option<usize> {
        let is_it = |line: &&str| **line == *name || is_field(line, name);
        self.lines.iter().position(is_it).map(|index| index + 1)
    }

    fn field(&self, start: usize, field: &str) -> usize {
        let table = self.lines[start..].iter().take_while(|line| !line.is_empty());
        start + table.enumerate().find(|(_, line)| is_field(line, field)).map_or(0, |(offset, _)| offset) + 1
    }
}

fn is_field(line: &str, name: &str) -> bool {
    line.strip_prefix(name).is_some_and(|rest| rest.starts_with(" = "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{render_lockfile, sample};

    #[test]
    fn fields_are_found_where_they_stand() {
        let lock = sample::lock();
        let text = render_lockfile(&lock);
        let lines = LockLines::of(&text);
        let at = |line: Option<usize>| text.lines().nth(line.unwrap() - 1).unwrap();
        let digest = format!("sha256 = \"{}\"", lock.npm[1].artifact.sha256);
        assert_eq!(at(lines.pin(Ecosystem::Npm, 1, "sha256")), digest);
        assert_eq!(at(lines.pin(Ecosystem::Apt, 1, "version")), "version = \"2.41-12\"");
        assert_eq!(at(lines.pin(Ecosystem::Pip, 0, "scripts")), "[[pip]]");
        assert_eq!(at(lines.archive(0, "suite")), "suite = \"trixie\"");
        assert_eq!(at(lines.top("epoch")), "epoch = 2026-11-20T00:00:00Z");
        assert_eq!(at(lines.top("[seal]")), "[seal]");
        assert_eq!(lines.pin(Ecosystem::Apt, 99, "version"), None);
    }
}
