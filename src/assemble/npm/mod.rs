//! The `node_modules` trees of global packages and projects, as npm would lay them out, written as a canonical tar.
//!
//! A pure function of `[npm]`, pins and store. Knows nothing of registries; no script runs here: those that are approved are
//! returned, to be run inside. Of npm's own files it writes the links of commands and manual pages, the hidden lockfile of each
//! project, its package.json and its package-lock.json.

mod error;
mod graph;
mod links;
mod lockfile;
mod package;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use self::graph::Installed;
use self::package::{Package, join};
use super::parts::read_ahead;
use crate::base::tar::{TarMeta, TarWriter};
use crate::lock::{NpmPin, global_directory, npm_location};
use crate::manifest::NpmSection;
use crate::model::{PackageName, Sha256};
use crate::resolve::npm::{INSTALL_EVENTS, compare_names, install_scripts};
use crate::store::Store;

/// How many packages are read ahead of the one that is being written.
const PACKAGES_AHEAD: usize = 2;

#[cfg(test)]
mod tests;

pub use error::NpmAssembleError;

/// What was laid out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NpmTree {
    /// What this layer owns: absolute paths of directories and single files or links, sorted.
    pub roots: Vec<String>,
    /// Approved scripts, to be run inside in this order.
    pub scripts: Vec<NpmScript>,
    /// Scripts that are not approved and shall not run, in the order in which npm would run them.
    pub skipped: Vec<NpmScript>,
}

/// One install script of one package in one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NpmScript {
    /// `name@version`.
    pub package: String,
    /// The package's absolute directory, in which it runs.
    pub directory: String,
    /// `preinstall`, `install` or `postinstall`.
    pub event: String,
    /// The command line, for `sh -c`.
    pub command: String,
}

/// Writes those of the trees that `pins` make up whose directory `is_wanted`: all of one that holds a `node_modules`. All pins
/// must be for the platform of the image.
///
/// Everything belongs to root; directories have mode 0755, but `/root` has 0700. Entries come in an order of their own: parents
/// first, a package's files together. Writes nothing at all when there are no pins and no projects.
///
/// # Errors
/// See [`NpmAssembleError`]; the tar is then incomplete.
pub fn write_trees<W: Write>(
    section: &NpmSection,
    pins: &[&NpmPin],
    is_wanted: impl Fn(&str) -> bool,
    store: &Store,
    out: &mut TarWriter<W>,
) -> Result<NpmTree, NpmAssembleError> {
    let roots = place_pins(section, pins)?;
    let mut layer = Layer { out, store, directories: BTreeSet::new(), tree: NpmTree::default() };
    for mut root in roots.into_iter().filter(|root| is_wanted(&root.directory)) {
        let wishes = section.projects.iter().find(|(directory, _)| directory.trim_end_matches('/') == root.directory);
        let wishes = wishes.filter(|_| !root.is_global).map(|(_, wishes)| wishes);
        layer.write_root(&mut root, wishes)?;
        layer.sort_scripts(&root, &section.scripts);
    }
    layer.tree.roots.sort();
    Ok(layer.tree)
}

/// Checks that every place of the pins is in a directory that `section` names.
///
/// # Errors
/// [`NpmAssembleError::ForeignPlace`] for the first that is not.
pub fn check_places(section: &NpmSection, pins: &[&NpmPin]) -> Result<(), NpmAssembleError> {
    place_pins(section, pins).map(drop)
}

/// The directories that `section` names, with the pins that are in each.
fn place_pins<'a>(section: &NpmSection, pins: &[&'a NpmPin]) -> Result<Vec<Root<'a>>, NpmAssembleError> {
    let mut roots = vec![Root::global(section)];
    roots.extend(section.projects.keys().map(|directory| Root::project(directory.trim_end_matches('/'))));
    for &pin in pins {
        for place in &pin.places {
            let Some(root) = roots.iter_mut().find(|root| root.location(place).is_some()) else {
                let package = format!("{}@{}", pin.name, pin.version);
                return Err(NpmAssembleError::ForeignPlace { package, place: place.clone() });
            };
            root.places.insert(place.clone(), pin);
        }
    }
    Ok(roots)
}

/// One directory that holds a `node_modules`.
struct Root<'a> {
    directory: String,
    is_global: bool,
    prefix: String,
    places: BTreeMap<String, &'a NpmPin>,
    installed: BTreeMap<String, Installed>,
    commands: Vec<Link>,
    scripts: Vec<NpmScript>,
    /// Files that tarballs bring into a `node_modules/.bin`: npm's own links go over them.
    binaries: BTreeMap<String, (u32, Vec<u8>)>,
}

/// A link to be made: where, and to which file.
struct Link {
    package: String,
    location: String,
    path: String,
    target: String,
}

impl Root<'_> {
    fn global(section: &NpmSection) -> Self {
        Self::new(global_directory(section), section.prefix.trim_end_matches('/').to_owned(), true)
    }

    fn project(directory: &str) -> Self {
        Self::new(directory.to_owned(), String::new(), false)
    }

    fn new(directory: String, prefix: String, is_global: bool) -> Self {
        let (places, installed, commands, scripts, binaries) = Default::default();
        Self { directory, is_global, prefix, places, installed, commands, scripts, binaries }
    }

    /// A place below this root: `node_modules/a`.
    fn location<'p>(&self, place: &'p str) -> Option<&'p str> {
        npm_location(place, &self.directory)
    }

    /// Whether a package is itself installed globally, not by another one.
    fn is_global_top(&self, location: &str) -> bool {
        self.is_global && depth(location) == 1
    }

    /// npm's order of work: by depth, then by path.
    fn order(&self, a: &str, b: &str) -> std::cmp::Ordering {
        let floor = |location| depth(location).saturating_sub(usize::from(self.is_global));
        floor(a).cmp(&floor(b)).then_with(|| compare_names(a, b))
    }
}

fn depth(location: &str) -> usize {
    location.split('/').filter(|part| *part == "node_modules").count()
}

/// The tar that is being written.
struct Layer<'a, W: Write> {
    out: &'a mut TarWriter<W>,
    store: &'a Store,
    directories: BTreeSet<String>,
    tree: NpmTree,
}

impl<W: Write> Layer<'_, W> {
    fn write_root(
        &mut self,
        root: &mut Root<'_>,
        wishes: Option<&BTreeMap<String, String>>,
    ) -> Result<(), NpmAssembleError> {
        self.write_packages(root)?;
        root.commands.sort_by(|a, b| a.path.cmp(&b.path));
        self.write_links(root)?;
        if !root.places.is_empty() {
            self.tree.roots.push(format!("{}/node_modules", root.directory));
        }
        match wishes {
            Some(wishes) => self.write_lockfiles(root, wishes),
            None => Ok(()),
        }
    }

    /// Writes packages in order, while a second thread reads the next ones.
    fn write_packages(&mut self, root: &mut Root<'_>) -> Result<(), NpmAssembleError> {
        let (places, store) = (root.places.clone(), self.store);
        let read = |(_, pin): (&String, &&NpmPin)| Package::read(pin, store);
        read_ahead(&places, PACKAGES_AHEAD, read, |(place, pin), package| {
            self.write_package(root, place, pin, package?)
        })
    }

    fn write_package(
        &mut self,
        root: &mut Root<'_>,
        place: &str,
        pin: &NpmPin,
        mut package: Package,
    ) -> Result<(), NpmAssembleError> {
        let location = root.location(place).unwrap_or_default().to_owned();
        self.describe(root, &location, pin, &package)?;
        for (directory, manifest) in package.manifests.clone() {
            for (_, file) in links::commands(&manifest) {
                package.fix_command(&join(&directory, &file)).map_err(NpmAssembleError::Write)?;
            }
        }
        self.directory(place)?;
        let is_other_place = |path: &str| {
            let absolute = format!("{place}/{path}");
            path.match_indices('/')
                .map(|(at, _)| &absolute[..place.len() + 1 + at])
                .chain([&*absolute])
                .any(|above| root.places.contains_key(above))
        };
        package.directories.retain(|path| !is_other_place(path));
        package.files.retain(|path, _| !is_other_place(path));
        for directory in &package.directories {
            self.directory(&format!("{place}/{directory}"))?;
        }
        for (path, file) in &package.files {
            let path = format!("{place}/{path}");
            let failed = NpmAssembleError::Write;
            if path.contains("/node_modules/.bin/") {
                root.binaries.insert(path, (file.mode, file.bytes(u64::MAX).map_err(failed)?));
                continue;
            }
            self.parents(&path)?;
            let meta = TarMeta::root(file.mode);
            self.out.file(in_tar(&path), &meta, file.size, &mut file.reader()).map_err(failed)?;
        }
        Ok(())
    }

    /// Notes what the package and those that it brings along mean for links, lockfiles and scripts.
    fn describe(
        &mut self,
        root: &mut Root<'_>,
        location: &str,
        pin: &NpmPin,
        package: &Package,
    ) -> Result<(), NpmAssembleError> {
        for (directory, manifest) in &package.manifests {
            let here = join(location, directory).trim_end_matches('/').to_owned();
            if !directory.is_empty() && root.places.contains_key(&format!("{}/{here}", root.directory)) {
                continue;
            }
            let scripts = install_scripts(manifest, package.has_binding(directory));
            if directory.is_empty() {
                check_scripts(pin, &scripts, &package.label)?;
            }
            let label = if directory.is_empty() { package.label.clone() } else { label_of(manifest) };
            note_links(root, &here, manifest, &label, |file| package.files.contains_key(&join(directory, file)));
            let absolute = format!("{}/{here}", root.directory);
            root.scripts.extend(scripts.iter().map(|(event, command)| NpmScript {
                package: label.clone(),
                directory: absolute.clone(),
                event: event.clone(),
                command: command.clone(),
            }));
            let integrity = pin.artifact.sha512.as_ref().filter(|_| directory.is_empty()).map(lockfile::integrity);
            let has_scripts = !scripts.is_empty();
            root.installed.insert(here, Installed { manifest: manifest.clone(), integrity, has_scripts });
        }
        Ok(())
    }

    fn write_links(&mut self, root: &Root<'_>) -> Result<(), NpmAssembleError> {
        let mut made: BTreeMap<&str, &Link> = BTreeMap::new();
        for link in &root.commands {
            let first = made.entry(&link.path).or_insert(link);
            if first.location != link.location && root.is_global_top(&link.location) {
                return Err(NpmAssembleError::BinConflict { package: link.package.clone(), path: link.path.clone() });
            }
            if root.order(&link.location, &first.location).is_lt() {
                *first = link;
            }
        }
        let is_covered = |path: &str| made.keys().any(|link| path == *link || path.starts_with(&format!("{link}/")));
        for (path, (mode, bytes)) in root.binaries.iter().filter(|(path, _)| !is_covered(path)) {
            self.file(path, &TarMeta::root(*mode), bytes)?;
        }
        for (path, link) in made {
            self.parents(path)?;
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            let target = links::relative(directory, &link.target);
            self.out
                .symlink(in_tar(path), &TarMeta::root(0o777), OsStr::new(&target))
                .map_err(NpmAssembleError::Write)?;
            if root.is_global_top(&link.location) {
                self.tree.roots.push(path.to_owned());
            }
        }
        Ok(())
    }

    fn write_lockfiles(&mut self, root: &Root<'_>, wishes: &BTreeMap<String, String>) -> Result<(), NpmAssembleError> {
        let name = root.directory.rsplit('/').next().unwrap_or_default();
        let reached = graph::reach(&root.installed, wishes);
        let meta = TarMeta::root(0o644);
        let hidden = lockfile::render_lockfile(name, None, &root.installed, &reached);
        let lock = lockfile::render_lockfile(name, Some(wishes), &root.installed, &reached);
        let manifest = lockfile::render_manifest(wishes);
        if !root.installed.is_empty() {
            self.file(&format!("{}/node_modules/.package-lock.json", root.directory), &meta, hidden.as_bytes())?;
        }
        for (file, text) in [("package-lock.json", lock), ("package.json", manifest)] {
            let path = format!("{}/{file}", root.directory);
            self.file(&path, &meta, text.as_bytes())?;
            self.tree.roots.push(path);
        }
        Ok(())
    }

    /// Divides a root's scripts into those that run and those that do not: event by event, each in npm's order.
    fn sort_scripts(&mut self, root: &Root<'_>, approved: &BTreeSet<PackageName>) {
        let location = |script: &NpmScript| root.location(&script.directory).unwrap_or_default().to_owned();
        for event in INSTALL_EVENTS {
            let mut scripts: Vec<&NpmScript> = root.scripts.iter().filter(|script| script.event == event).collect();
            scripts.sort_by(|a, b| root.order(&location(a), &location(b)));
            for script in scripts {
                let name = script.package.rsplit_once('@').map_or("", |(name, _)| name);
                let is_approved = approved.iter().any(|approved| approved.as_str() == name);
                let list = if is_approved { &mut self.tree.scripts } else { &mut self.tree.skipped };
                list.push(script.clone());
            }
        }
    }

    fn file(&mut self, path: &str, meta: &TarMeta, bytes: &[u8]) -> Result<(), NpmAssembleError> {
        self.parents(path)?;
        let write = self.out.file(in_tar(path), meta, bytes.len() as u64, &mut &*bytes);
        write.map_err(NpmAssembleError::Write)
    }

    /// Writes the directories above a path that are not written yet.
    fn parents(&mut self, path: &str) -> Result<(), NpmAssembleError> {
        match path.rsplit_once('/') {
            Some((above, _)) => self.directory(above),
            None => Ok(()),
        }
    }

    fn directory(&mut self, path: &str) -> Result<(), NpmAssembleError> {
        let path = path.trim_end_matches('/');
        if path.is_empty() || self.directories.contains(path) {
            return Ok(());
        }
        self.parents(path)?;
        // Debian's base-files has it so, and a layer must not open the superuser's home.
        let mode = if path == "/root" { 0o700 } else { 0o755 };
        self.directories.insert(path.to_owned());
        self.out.directory(in_tar(path), &TarMeta::root(mode)).map_err(NpmAssembleError::Write)
    }
}

/// A tar has no leading slash.
fn in_tar(path: &str) -> &Path {
    Path::new(path.trim_start_matches('/'))
}

fn label_of(manifest: &Value) -> String {
    let text = |key: &str| manifest.get(key).and_then(Value::as_str).unwrap_or_default();
    format!("{}@{}", text("name"), text("version"))
}

/// The scripts must be those that were looked at when the lock was written.
fn check_scripts(pin: &NpmPin, found: &BTreeMap<String, String>, label: &str) -> Result<(), NpmAssembleError> {
    let events: BTreeSet<&String> = pin.scripts.keys().chain(found.keys()).collect();
    for event in events {
        let command = found.get(event).cloned().unwrap_or_default();
        if pin.scripts.get(event) != Some(&Sha256::of(&command)) {
            return Err(NpmAssembleError::ScriptChanged { package: label.to_owned(), event: event.clone(), command });
        }
    }
    Ok(())
}

fn note_links(root: &mut Root<'_>, location: &str, manifest: &Value, label: &str, has_file: impl Fn(&str) -> bool) {
    let place = format!("{}/{location}", root.directory);
    let is_top = root.is_global_top(location);
    let scope = location.rfind("node_modules/").map_or("", |at| &location[..at + "node_modules".len()]);
    let bin = if is_top { format!("{}/bin", root.prefix) } else { format!("{}/{scope}/.bin", root.directory) };
    let mut add = |path: String, file: &str| {
        if has_file(file) {
            let target = format!("{place}/{file}");
            root.commands.push(Link { package: label.to_owned(), location: location.to_owned(), path, target });
        }
    };
    for (name, file) in links::commands(manifest) {
        add(format!("{bin}/{name}"), &file);
    }
    if is_top {
        let manuals = format!("{}/share/man", root.prefix);
        links::manuals(manifest).iter().for_each(|(link, file)| add(format!("{manuals}/{link}"), file));
    }
}
