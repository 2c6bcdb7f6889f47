//! Every package that can be had or is there already, with what provides it and which version would be taken.
//!
//! Names are numbered in the order in which apt comes across them while it builds its cache: that number is apt's package
//! ID, the last judge between two providers. Knows nothing of sources, signatures or files.

use std::collections::{BTreeMap, HashMap};

use super::control::{Reduced, Stanza, stanzas};
use super::relation;
use super::version;

/// A package name's number, in the order of first mention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NameId(u32);

/// One version of one package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct VersionId(u32);

impl NameId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

impl VersionId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A Packages file.
#[derive(Clone, Copy, Debug)]
pub(super) struct IndexText<'a> {
    /// What it says.
    pub(super) index: &'a Reduced,
    /// The archive it belongs to, as an index into the caller's list.
    pub(super) archive: usize,
    /// apt's pin priority of that archive: 500, or less where its Release says NotAutomatic.
    pub(super) priority: u16,
}

/// Where a version can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is in the base image.
    Installed,
    /// In this archive.
    Archive(usize),
}

/// One version of one package.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version<'a> {
    pub(super) package: NameId,
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) origin: Origin,
    pub(super) stanza: &'a str,
    /// Whether a Debian system is not without it: Essential or of priority `required`.
    pub(super) is_essential: bool,
    /// Whether it is in the base and is to stay as it is (dpkg's selection state `hold`).
    pub(super) is_held: bool,
    priority: u16,
}

#[derive(Clone, Debug, Default)]
struct Package {
    versions: Vec<VersionId>,
    installed: Option<VersionId>,
    candidate: Option<VersionId>,
    /// Whether any of its versions says `Essential`, as apt itself counts.
    is_essential: bool,
    /// Whether any of its versions says `Protected` or `Important`.
    is_important: bool,
}

/// What a package provides under another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Provider<'a> {
    pub(super) version: VersionId,
    /// The version it provides that name as, if it says one.
    pub(super) provided: Option<&'a str>,
}

/// A stanza that no package can be made of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadStanza {
    pub(super) package: String,
    pub(super) why: &'static str,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Universe<'a> {
    pub(super) architecture: &'static str,
    // Only ever asked for one name: its order, which is not fixed, is never seen.
    ids: HashMap<&'a str, NameId>,
    packages: Vec<Package>,
    /// Packages of which there is one version and no other, whatever the archives have.
    only: BTreeMap<NameId, VersionId>,
    versions: Vec<Version<'a>>,
    providers: Vec<Vec<Provider<'a>>>,
}

impl<'a> Universe<'a> {
    /// Reads the archives in apt's order (that of the sources), then what is installed.
    pub(super) fn new(
        architecture: &'static str,
        archives: &[IndexText<'a>],
        installed: Option<&'a str>,
    ) -> Result<Self, BadStanza> {
        let mut universe = Self {
            architecture,
            ids: HashMap::with_capacity(1 << 17),
            packages: Vec::with_capacity(1 << 17),
            only: BTreeMap::new(),
            versions: Vec::with_capacity(1 << 17),
            providers: Vec::new(),
        };
        let mut provides = Vec::new();
        for index in archives {
            for name in index.index.mentions() {
                universe.intern(name);
            }
            for stanza in stanzas(index.index.stanzas()) {
                universe.add(stanza, Origin::Archive(index.archive), index.priority, &mut provides)?;
            }
        }
        for stanza in installed.into_iter().flat_map(stanzas) {
            for name in Stanza::parse(stanza).names(architecture) {
                universe.intern(name);
            }
            universe.add(stanza, Origin::Installed, 100, &mut provides)?;
        }
        universe.choose_candidates();
        universe.index_provides(provides);
        Ok(universe)
    }

    fn add(
        &mut self,
        text: &'a str,
        origin: Origin,
        priority: u16,
        provides: &mut Vec<VersionId>,
    ) -> Result<(), BadStanza> {
        let stanza = Stanza::parse(text);
        let bad = |why| BadStanza { package: stanza.package().to_owned(), why };
        if origin == Origin::Installed && !is_installed(&stanza).map_err(bad)? {
            return Ok(());
        }
        if stanza.package().is_empty() || stanza.version().is_empty() {
            return Err(bad("it has no name or no version"));
        }
        if stanza.architecture() != "all" && stanza.architecture() != self.architecture {
            return Err(bad("it is for a foreign architecture"));
        }
        let package = self.intern(stanza.package());
        let id = VersionId(self.versions.len() as u32);
        let (name, version) = (stanza.package(), stanza.version());
        let is_essential = stanza.essential() == "yes" || stanza.priority() == "required";
        let is_held = origin == Origin::Installed && stanza.status().starts_with("hold ");
        self.versions.push(Version { package, name, version, origin, stanza: text, is_essential, is_held, priority });
        let entry = &mut self.packages[package.index()];
        entry.versions.push(id);
        let is_apt = name == "apt";
        entry.is_essential |= is_apt || stanza.essential() == "yes";
        entry.is_important |= is_apt || stanza.protected() == "yes" || stanza.important() == "yes";
        if origin == Origin::Installed {
            entry.installed = Some(id);
        }
        if !stanza.provides().is_empty() || is_allowed(&stanza) {
            provides.push(id);
        }
        Ok(())
    }

    fn intern(&mut self, name: &'a str) -> NameId {
        let next = NameId(self.packages.len() as u32);
        let id = *self.ids.entry(name).or_insert(next);
        if id == next {
            self.packages.push(Package::default());
        }
        id
    }

    /// The highest priority wins, then the highest version, then the archive that was read first. Nothing older than what is
    /// installed counts, and what is installed stays unless an archive has something newer.
    fn choose_candidates(&mut self) {
        for index in 0..self.packages.len() {
            let package = &self.packages[index];
            let is_older = |id: &VersionId| package.installed.is_some_and(|installed| self.is_later(installed, *id));
            let counting = package.versions.iter().copied().filter(|id| !is_older(id));
            let best = counting.reduce(|best, id| if self.is_better(id, best) { id } else { best });
            let candidate = match (package.installed, best) {
                (Some(installed), Some(best)) if self.is_later(best, installed) => Some(best),
                (Some(installed), _) => Some(installed),
                (None, best) => best,
            };
            self.packages[index].candidate = candidate;
        }
    }

    fn is_better(&self, candidate: VersionId, best: VersionId) -> bool {
        let (candidate, best) = (self.version(candidate), self.version(best));
        let order = candidate.priority.cmp(&best.priority);
        order.then_with(|| version::compare(candidate.version, best.version)).is_gt()
    }

    /// Whether one version comes after another.
    pub(super) fn is_later(&self, left: VersionId, right: VersionId) -> bool {
        version::compare(self.version(left).version, self.version(right).version).is_gt()
    }

    /// What each stanza provides by itself, and `name:any` for what other architectures may use.
    fn index_provides(&mut self, provides: Vec<VersionId>) {
        self.providers = vec![Vec::new(); self.packages.len()];
        for version in provides {
            let stanza = self.stanza(version);
            for provided in relation::list(stanza.provides(), self.architecture) {
                match provided.bound {
                    None => self.add_provider(provided.name, version, None),
                    Some((relation::Operator::Equal, at)) => self.add_provider(provided.name, version, Some(at)),
                    Some(_) => {}
                }
            }
            if is_allowed(&stanza) {
                self.add_provider(&format!("{}:any", stanza.package()), version, Some(stanza.version()));
            }
        }
    }

    fn add_provider(&mut self, name: &str, version: VersionId, provided: Option<&'a str>) {
        let own = self.version(version);
        // What every package is anyway is not provided.
        let is_itself = own.name == name && provided.is_none_or(|provided| provided == own.version);
        if let Some(name) = self.ids.get(name).filter(|_| !is_itself) {
            self.providers[name.index()].push(Provider { version, provided });
        }
    }

    /// The number of a name, if anything mentions it.
    pub(super) fn id(&self, name: &str) -> Option<NameId> {
        self.ids.get(name).copied()
    }

    /// One version.
    pub(super) fn version(&self, id: VersionId) -> &Version<'a> {
        &self.versions[id.index()]
    }

    /// Its name and version, as people are shown it.
    pub(super) fn label(&self, id: VersionId) -> String {
        let Version { name, version, .. } = self.version(id);
        format!("{name} {version}")
    }

    /// What its stanza says.
    pub(super) fn stanza(&self, id: VersionId) -> Stanza<'a> {
        Stanza::parse(self.version(id).stanza)
    }

    /// All versions of a package, in the order read.
    pub(super) fn versions_of(&self, package: NameId) -> &[VersionId] {
        match self.only.get(&package) {
            Some(only) => std::slice::from_ref(only),
            None => &self.packages[package.index()].versions,
        }
    }

    /// Lets these versions be the only ones of their packages, and takes back every earlier choice of candidates.
    pub(super) fn keep_only(&mut self, versions: impl IntoIterator<Item = VersionId>) {
        self.only = versions.into_iter().map(|id| (self.versions[id.index()].package, id)).collect();
        self.choose_candidates();
    }

    /// The version in the base image.
    pub(super) fn installed(&self, package: NameId) -> Option<VersionId> {
        self.packages[package.index()].installed
    }

    /// The version that would be taken.
    pub(super) fn candidate(&self, package: NameId) -> Option<VersionId> {
        self.only.get(&package).copied().or(self.packages[package.index()].candidate)
    }

    /// Makes another version the one that would be taken.
    pub(super) fn set_candidate(&mut self, version: VersionId) {
        let package = self.version(version).package;
        self.packages[package.index()].candidate = Some(version);
    }

    /// What provides a name, all versions of it; the package of that name is not among them.
    pub(super) fn providers(&self, package: NameId) -> &[Provider<'a>] {
        &self.providers[package.index()]
    }

    /// Every name that is mentioned.
    pub(super) fn all_names(&self) -> impl Iterator<Item = NameId> + use<> {
        (0..self.packages.len() as u32).map(NameId)
    }

    /// Every version.
    pub(super) fn all_versions(&self) -> impl Iterator<Item = VersionId> + use<> {
        (0..self.versions.len() as u32).map(VersionId)
    }

    /// Whether apt does not remove a package by itself because it is essential.
    pub(super) fn is_essential(&self, package: NameId) -> bool {
        self.packages[package.index()].is_essential
    }

    /// Whether apt does not remove a package by itself because it is protected.
    pub(super) fn is_important(&self, package: NameId) -> bool {
        self.packages[package.index()].is_important
    }

    /// apt's pin priority of a version.
    pub(super) fn priority(&self, version: VersionId) -> u16 {
        self.version(version).priority
    }

    /// The names of all packages that can be had or are there.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        let real = self.packages.iter().filter_map(|package| package.versions.first());
        real.map(|id| self.version(*id).name)
    }

    /// Every version that would be taken.
    pub(super) fn candidates(&self) -> impl Iterator<Item = VersionId> {
        self.packages.iter().filter_map(|package| package.candidate)
    }

    /// Everything in the base image.
    pub(super) fn all_installed(&self) -> impl Iterator<Item = VersionId> {
        self.packages.iter().filter_map(|package| package.installed)
    }
}

/// Whether packages of other architectures may use it when they say `name:any`.
fn is_allowed(stanza: &Stanza<'_>) -> bool {
    stanza.multi_arch() == "allowed"
}

/// Whether dpkg counts it as installed.
fn is_installed(stanza: &Stanza<'_>) -> Result<bool, &'static str> {
    match stanza.status().rsplit(' ').next().unwrap_or_default() {
        "installed" | "triggers-awaited" | "triggers-pending" => Ok(true),
        "not-installed" | "config-files" => Ok(false),
        _ => Err("it is neither installed nor absent in the base"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(text: &str) -> Reduced {
        Reduced::new(text, "amd64")
    }

    fn of(index: &Reduced) -> IndexText<'_> {
        IndexText { index, archive: 0, priority: 500 }
    }

    fn candidate<'a>(universe: &Universe<'a>, name: &str) -> Option<&'a str> {
        Some(universe.version(universe.candidate(universe.id(name)?)?).version)
    }

    const OLD: &str =
        "Package: a\nVersion: 1\nArchitecture: all\nDepends: z, y\n\nPackage: y\nVersion: 1\nArchitecture: amd64\n";
    const NEW: &str = "Package: a\nVersion: 2\nArchitecture: all\n";

    #[test]
    fn names_are_numbered_by_first_mention() {
        let old = index(OLD);
        let universe = Universe::new("amd64", &[of(&old)], None).unwrap();
        let ids: Vec<u32> = ["a", "z", "y"].iter().map(|name| universe.id(name).unwrap().0).collect();
        assert_eq!(ids, [0, 1, 2]);
    }

    #[test]
    fn the_candidate_is_the_highest_of_the_highest_priority() {
        let (old, new) = (index(OLD), index(NEW));
        let backports = IndexText { priority: 100, ..of(&new) };
        let choose =
            |all: &[IndexText<'_>]| candidate(&Universe::new("amd64", all, None).unwrap(), "a").map(str::to_owned);
        assert_eq!(choose(&[of(&old), of(&new)]).as_deref(), Some("2"));
        assert_eq!(choose(&[of(&new), of(&old)]).as_deref(), Some("2"));
        assert_eq!(choose(&[of(&old), backports]).as_deref(), Some("1"));
        assert_eq!(choose(&[backports]).as_deref(), Some("2"));
    }

    #[test]
    fn what_is_installed_stays_unless_something_newer_is_there() {
        let status = "Package: a\nStatus: install ok installed\nVersion: 1.5\nArchitecture: all\n";
        let choose = |text| {
            let index = index(text);
            let universe = Universe::new("amd64", &[of(&index)], Some(status)).unwrap();
            candidate(&universe, "a").map(str::to_owned)
        };
        assert_eq!(choose(OLD).as_deref(), Some("1.5"));
        assert_eq!(choose(NEW).as_deref(), Some("2"));
    }

    #[test]
    fn a_low_priority_brings_up_to_date_only_what_has_no_other() {
        let status = "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n";
        let (old, new) = (index(OLD), index(NEW));
        let older = index(&OLD.replace("Version: 1", "Version: 0.5"));
        let choose = |main: &Reduced, priority| {
            let archives = [of(main), IndexText { priority, ..of(&new) }];
            let universe = Universe::new("amd64", &archives, Some(status)).unwrap();
            candidate(&universe, "a").map(str::to_owned)
        };
        // The archive has what is installed, at 500; or has something older, which does not count.
        assert_eq!(choose(&old, 100).as_deref(), Some("1"));
        assert_eq!(choose(&older, 100).as_deref(), Some("2"));
        assert_eq!(choose(&older, 1).as_deref(), Some("1"));
    }

    #[test]
    fn foreign_and_half_installed_packages_are_refused() {
        let foreign = index("Package: a\nVersion: 1\nArchitecture: i386\n");
        assert_eq!(Universe::new("amd64", &[of(&foreign)], None).unwrap_err().package, "a");
        let half = "Package: a\nStatus: install ok half-configured\nVersion: 1\nArchitecture: all\n";
        assert_eq!(Universe::new("amd64", &[], Some(half)).unwrap_err().package, "a");
    }
}
