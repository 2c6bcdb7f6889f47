//! Where npm's packages are installed: the directories that hold a `node_modules`, and in which of them scripts run.

use std::collections::BTreeMap;

use super::{Lockfile, NpmPin};
use crate::manifest::NpmSection;
use crate::model::Platform;

/// The directories that hold a `node_modules`, absolute: that of the global packages, where there are some, and the projects.
/// Of each, whether an approved script of a locked package runs in it. None without pins for the platform.
pub fn npm_trees(lock: &Lockfile, section: &NpmSection, platform: Platform) -> BTreeMap<String, bool> {
    let pins: Vec<&NpmPin> = lock.npm.iter().filter(|pin| pin.platform == platform).collect();
    if pins.is_empty() {
        return BTreeMap::new();
    }
    let is_approved = |pin: &&&NpmPin| !pin.scripts.is_empty() && section.scripts.contains(&pin.name);
    let runs_scripts = |directory: &str| pins.iter().filter(is_approved).any(|pin| is_in(pin, directory));
    let global = global_directory(section);
    let projects = section.projects.keys().map(|project| project.trim_end_matches('/').to_owned());
    let directories = pins.iter().any(|pin| is_in(pin, &global)).then_some(global).into_iter().chain(projects);
    directories.map(|directory| (directory.clone(), runs_scripts(&directory))).collect()
}

/// Where the `node_modules` of the global packages is.
pub fn global_directory(section: &NpmSection) -> String {
    format!("{}/lib", section.prefix.trim_end_matches('/'))
}

/// Whether one of a pin's places is below a directory's `node_modules`.
fn is_in(pin: &NpmPin, directory: &str) -> bool {
    pin.places.iter().any(|place| npm_location(place, directory).is_some())
}

/// A place below a directory: `node_modules/a`.
pub fn npm_location<'a>(place: &'a str, directory: &str) -> Option<&'a str> {
    let below = place.strip_prefix(directory)?.strip_prefix('/')?;
    let is_clean = below.split('/').all(|part| !matches!(part, "" | "." | ".."));
    (is_clean && below.starts_with("node_modules/")).then_some(below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::sample::{lock, name, npm_pin};
    use crate::model::Sha256;

    #[test]
    fn a_directory_runs_scripts_where_an_approved_package_with_some_is() {
        let project = |directory: &str| (directory.to_owned(), BTreeMap::new());
        let section = NpmSection {
            prefix: "/usr/local/".into(),
            projects: [project("/a"), project("/ab/"), project("/c")].into(),
            scripts: [name("approved")].into(),
            ..NpmSection::default()
        };
        let pin = |package: &str, place: &str, event: &str| {
            let scripts = [(event.to_owned(), Sha256::of(event))].into();
            NpmPin { scripts, ..npm_pin(package, "1.0.0", &[place], &["manifest"]) }
        };
        let mut lock = lock();
        let trees = |npm: Vec<NpmPin>, lock: &mut Lockfile| {
            lock.npm = npm;
            let found: Vec<(String, bool)> = npm_trees(lock, &section, Platform::LINUX_AMD64).into_iter().collect();
            found
        };
        let of =
            |a, ab, c| [("/a", a), ("/ab", ab), ("/c", c)].map(|(place, runs): (&str, bool)| (place.to_owned(), runs));
        assert_eq!(trees(Vec::new(), &mut lock), []);
        let other = pin("other", "/a/node_modules/other", "install");
        assert_eq!(trees(vec![other.clone()], &mut lock), of(false, false, false));
        let approved = pin("approved", "/ab/node_modules/x/node_modules/approved", "install");
        assert_eq!(trees(vec![other, approved], &mut lock), of(false, true, false));
        let global = pin("approved", "/usr/local/lib/node_modules/approved", "install");
        let global = trees(vec![global], &mut lock);
        assert_eq!(global.last(), Some(&("/usr/local/lib".to_owned(), true)));
        assert_eq!(global[..3], of(false, false, false));
    }
}
