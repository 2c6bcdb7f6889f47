//! What several files say together: where npm's project goes, which interpreters the image needs, which files are missing.

use std::path::Path;

use super::{Collected, ImportFate};

/// Where a project's packages go when no Dockerfile says it.
const DIRECTORY: &str = "/app";

/// The `npm ci` of a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProjectUse {
    /// The directory it runs in.
    pub directory: String,
    /// Whether it installs what is for development.
    pub dev: bool,
}

impl ProjectUse {
    /// What the Dockerfile says, else where its image stands at the end, else `/app`; there without what is for development.
    pub(super) fn of(collected: &Collected) -> Self {
        let elsewhere = || collected.directory.clone().unwrap_or_else(|| DIRECTORY.to_owned());
        collected.project.clone().unwrap_or_else(|| Self { directory: elsewhere(), dev: false })
    }
}

/// Asks for the interpreters that a Debian base does not bring, and tells of files that were not given.
pub(super) fn settle(given: &[&Path], collected: &mut Collected) {
    let first = given.first().map_or_else(String::new, |path| path.display().to_string());
    let is_image = collected.base.as_deref().is_some_and(|base| base.starts_with('"'));
    let base = collected.base.clone().unwrap_or_default();
    let has_npm = !collected.npm.is_empty() || !collected.projects.is_empty();
    for (needed, name, package) in [(has_npm, "node", "nodejs"), (!collected.pip.is_empty(), "python", "python3")] {
        let brings = is_image && base.contains(name);
        if !needed || brings || collected.apt.iter().any(|asked| asked.split(['=', '/']).next() == Some(package)) {
            continue;
        }
        collected.apt.push(package.to_owned());
        collected.note((&first, 1), ImportFate::Changed, name, format!("`{package}` of Debian, in [apt] packages"));
    }
    for (name, by, line) in std::mem::take(&mut collected.reads) {
        let has = |path: &&&Path| path.file_name().is_some_and(|file| file == name.as_str());
        if !given.iter().any(|path| has(&path)) {
            let then = format!("it was not given: name it too, `--from {by} {name}`");
            collected.note((&by, line), ImportFate::Left, &name, then);
        }
    }
}
